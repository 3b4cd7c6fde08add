"""Codes and values without a training row: they count as unknown, the warning says so, and no seed decides."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit import load_learner, seed_everything
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.tabular.coverage import Coverage

SEEN = "1 value\\(s\\) of 'State' were never seen in training \\(SH\\) and became 0, as if missing"


def table(states):
    n = len(states)
    return pd.DataFrame({"State": states, "Km": np.arange(n) * 1.0, "Sales": np.arange(n) % 7 * 1.0})


def prepared(df, **options) -> Any:
    return proc_df(df, "Sales", **options)


def data_of(df, val_idxs, path=".", **options) -> Any:
    x, y, _, _ = prepared(df, **options)
    return ColumnarModelData.from_data_frame(path, val_idxs, x, y, bs=8)


def trained(md, seed=0):
    seed_everything(seed)
    learn = md.get_learner(szs=[8])
    with learn.no_progress():
        learn.fit(1e-2, 1)
    return learn


@pytest.mark.parametrize(
    "states",
    [
        ["HE", "BY"] * 10 + ["SH", "HE"],  # a level that stands only in the validation rows
        pd.Categorical(["HE", "BY"] * 10 + [None, "HE"], categories=["BY", "HE", "SH"]),  # one that no row has
    ],
)
def test_a_level_without_a_training_row_is_the_unknown_one(states, tmp_path):
    df = table(states)
    unused = not (df["State"] == "SH").any()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        md = data_of(df, [20, 21], tmp_path)
    assert [str(w.message) for w in caught] == (
        [] if unused else [f"preparing the validation rows: {SEEN.replace(chr(92), '')}."]
    )
    assert md.val_dl.tensors[0].tolist() == [[0], [2]]
    assert md.cat_sz == [("State", 4)]
    learn = trained(md)
    rows = pd.DataFrame({"State": ["SH", None], "Km": 3.0})
    with pytest.warns(UserWarning, match=SEEN):
        preds = learn.predict_df(rows)
    assert preds[0] == preds[1]
    path = learn.export(tmp_path / "model")
    with pytest.warns(UserWarning, match=SEEN):
        np.testing.assert_array_equal(load_learner(path).predict_df(rows), preds)


def test_levels_of_a_test_frame_count_too(tmp_path):
    x, y, _, mapper = prepared(table(["HE", "BY"] * 10 + ["SH"]))
    test, _, _, _ = proc_df(table(["SH", "BY"]), "Sales", mapper=mapper)
    with pytest.warns(UserWarning, match="never seen in training"):
        md: Any = ColumnarModelData.from_data_frame(tmp_path, [20], x, y, bs=8, test_df=test)
    assert md.test_dl.tensors[0].tolist() == [[0], [1]]


def test_codes_made_by_hand_stay_and_begin_amid_the_others(tmp_path):
    df = pd.DataFrame({"Store": [0, 1, 2, 4] * 5 + [3], "Km": np.arange(21.0)})
    with pytest.warns(UserWarning, match=r"1 code\(s\) of 'Store' were never seen in training \(3\)"):
        md: Any = ColumnarModelData.from_data_frame(tmp_path, [20], df, df["Km"], ["Store"], bs=4)
    assert md.val_dl.tensors[0].tolist() == [[3]]
    model: Any = md.get_learner(szs=[8]).model
    weight = model.embs.embs[0].weight
    assert (weight[3] == 0).all()
    assert weight[1].abs().sum() > 0


def test_values_other_than_the_only_one_of_training(tmp_path):
    """One-hot columns, `_na` columns and numbers alike: their weight has not moved from where the seed put it."""
    df = table(["HE", "BY"] * 10 + ["SH", None])
    df["Open"] = 1.0
    df.loc[20, "Open"] = 7.0
    df.loc[21, "Km"] = np.nan
    with pytest.warns(UserWarning, match="preparing the validation rows") as caught:
        md = data_of(df, [20, 21], tmp_path, max_n_cat=5)
    text = str(caught[0].message)
    for part in ("1 value(s) of 'Open', which was always 1 in training", "1 value(s) of 'Km_na'", "'State_SH'"):
        assert part in text
    held_out = dict(zip(md.cont_flds, md.val_dl.tensors[1].T.tolist(), strict=True))
    assert held_out["Open"] == [md.trn_dl.tensors[1][0, md.cont_flds.index("Open")].item()] * 2
    assert held_out["Km_na"] == held_out["State_SH"] == held_out["State_nan"] == [0.0, 0.0]
    learn = trained(md)
    new = pd.DataFrame({"State": ["SH", "XX"], "Km": [1.0, 1.0], "Open": [7.0, 1.0]})
    with pytest.warns(UserWarning, match="preparing the rows"):
        preds = learn.predict_df(new)
    assert preds[0] == preds[1]


def test_what_earlier_rows_taught_still_counts_after_set_data(tmp_path):
    df = table(["HE", "BY"] * 10 + ["SH", "SH"])
    x, y, _, _ = prepared(df)
    learn = trained(ColumnarModelData.from_data_frame(tmp_path, False, x, y, bs=8))
    with pytest.warns(UserWarning, match="never seen"):
        fewer = ColumnarModelData.from_data_frame(tmp_path, [20, 21], x, y, bs=8)
    assert fewer.coverage.untrained == {"State": [0, 3]}
    learn.set_data(fewer)
    assert learn.coverage.untrained == {"State": [0]}
    learn.predict_df(df[["State", "Km"]])  # nothing to say


def test_weights_of_another_fold_fit(tmp_path):
    """Which rows were held out changes nothing of what a code means."""
    x, y, _, _ = prepared(table(["HE", "BY"] * 10 + ["SH"]))
    first = trained(ColumnarModelData.from_data_frame(tmp_path, [0], x, y, bs=8))
    first.save("fold")
    with pytest.warns(UserWarning, match="never seen"):
        other = ColumnarModelData.from_data_frame(tmp_path, [20], x, y, bs=8).get_learner(szs=[8])
    other.load("fold")


def test_it_is_data():
    coverage = Coverage.of(
        torch.tensor([[0, 1], [2, 1]], dtype=torch.int8),
        torch.tensor([[1.0, 5.0], [2.0, 5.0]]),
        [("a", 3), (7, 2)],
        ["x", 8],
    )
    assert coverage == Coverage({"a": [1], 7: [0]}, {8: 5.0})
    assert Coverage.from_data(coverage.to_data()) == coverage
    assert Coverage.from_data(None) == Coverage()
    assert coverage.joined(Coverage({"a": [1, 2]}, {8: 4.0})) == Coverage({"a": [1]})
