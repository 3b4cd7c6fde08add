"""Training on tables, and life after it: raw rows, files, embeddings, importance, partial dependence."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from learnkit import CheckpointError, DataError, load_learner, seed_everything
from learnkit.store.archive import read_archive
from learnkit.tabular import (
    ColumnarModelData,
    get_cv_idxs,
    proc_df,
)


def prepared(df: pd.DataFrame, y_fld: str) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Return the prepared columns and the target."""
    out, y, _, _ = proc_df(df, y_fld)
    assert y is not None
    return out, y


def sales(n=600, seed=0):
    """A table in which sales depend on the state and, in a curve, on the distance; the rest is noise."""
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(
        {"State": rng.choice(["BY", "HE", "SH"], n), "Km": rng.uniform(0, 10, n), "Noise": rng.normal(size=n)}
    )
    df.loc[rng.random(n) < 0.1, "Km"] = np.nan
    df["Sales"] = df["State"].map({"BY": 10, "HE": 14, "SH": 30}) + (df["Km"].fillna(5) - 5) ** 2 / 2
    return df


@pytest.fixture(params=["mlp", "ple"])
def learn(request, tmp_path):
    trn = sales()
    df, y = prepared(trn, "Sales")
    md = ColumnarModelData.from_data_frame(tmp_path, get_cv_idxs(len(df)), df, y, bs=32)
    learn = md.get_learner(y_range=(0, 60), szs=[64, 32], drops=0.0, arch=request.param)
    learn.no_progress()
    learn.fit_one_cycle(12, 2e-2)
    return learn


def test_it_learns_and_says_what_it_learned(learn):
    assert learn.validate()["rmse"] < 2.5  # the standard deviation is about 10
    importance = learn.feature_importance(n_repeats=2)
    assert importance["column"].tolist()[-1] == "Noise"
    assert sorted(importance["column"]) == ["Km", "Noise", "State"]  # the flag goes with its number
    assert learn.feature_importance("r2")["importance"].iloc[0] > 0.1
    states = learn.partial_dependence("State")
    assert states["State"].tolist()[-3:] == ["BY", "HE", "SH"]
    assert states["prediction"].is_monotonic_increasing or len(states) == 4
    curve = learn.partial_dependence("Km", n_points=21)
    assert curve["Km"].between(0, 10).all()
    assert curve["prediction"].iloc[10] < min(curve["prediction"].iloc[[0, -1]]) - 4


def test_raw_rows_give_the_predictions_of_the_prepared_ones(learn):
    raw = sales()
    val = get_cv_idxs(len(raw))
    np.testing.assert_allclose(learn.predict_df(raw.iloc[val]), learn.predict(), atol=1e-5)
    with pytest.warns(UserWarning, match="never seen"):
        learn.predict_df(pd.DataFrame({"Noise": [0.0], "Km": [1.0], "State": ["XX"]}))
    with pytest.raises(DataError, match="no column 'Km'"):
        learn.predict_df(raw.drop(columns="Km"))


def test_a_fresh_process_predicts_the_same_from_raw_rows(learn, tmp_path):
    path = learn.export(tmp_path / "sales")
    rows = sales(50, seed=1).drop(columns="Sales")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    code = (
        "import sys, json, pandas as pd\n"
        "from learnkit import load_learner\n"
        "print(json.dumps(load_learner(sys.argv[1]).predict_df(pd.read_csv(sys.argv[2])).tolist()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "rows.csv"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(out.stdout), learn.predict_df(rows), rtol=1e-6, atol=1e-6)


def test_the_file_holds_the_preparation_as_data(learn, tmp_path):
    path = learn.export(tmp_path / "sales")
    columns = read_archive(path, "learner").state["recipe"]["data"]["mapper"]["columns"]
    assert [c["levels"] for c in columns if c["kind"] == "category"] == [["BY", "HE", "SH"]]
    again = load_learner(path)
    assert repr(again.model) == repr(learn.model)
    assert again.embeddings("State").equals(learn.embeddings("State"))
    with pytest.raises(DataError, match="no validation"):
        again.predict()


def test_an_exported_learner_trains_on_other_rows(learn, tmp_path):
    again = load_learner(learn.export(tmp_path / "sales"))
    raw = sales(300, seed=5)
    df, y, _, _ = proc_df(raw, "Sales", mapper=again.data.mapper)
    assert y is not None
    ends = []
    for each in (learn, again):
        each.set_data(ColumnarModelData.from_data_frame(tmp_path, range(50), df, y, bs=32))
        seed_everything(0)
        with each.no_progress():
            ends.append(each.fit_one_cycle(2, 3e-3))
    assert ends[0] == ends[1]


def test_weights_of_another_preparation_are_refused(learn, tmp_path):
    learn.save("sales")
    other = sales()
    other["State"] = other["State"].replace("BY", "AA")
    df, y = prepared(other, "Sales")
    md = ColumnarModelData.from_data_frame(tmp_path, False, df, y)
    same_shape = md.get_learner(y_range=(0, 60), szs=[64, 32], drops=0.0, arch=learn.spec.arch)
    with pytest.raises(CheckpointError, match="preparation differ"):
        same_shape.load("sales")
    learn.load("sales")


def test_what_was_not_prepared_by_proc_df_cannot_take_raw_rows(tmp_path):
    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    learn = ColumnarModelData.from_data_frame(tmp_path, range(8), df, df["Km"], ["Store"], bs=8).get_learner()
    with pytest.raises(DataError, match="not known how the training frame was prepared"):
        learn.predict_df(df)
    assert learn.embeddings("Store").index.tolist() == [0, 1, 2, 3]
    more, y = prepared(df.assign(y=1.0), "y")
    more["more"] = 1.0
    learn = ColumnarModelData.from_data_frame(tmp_path, False, more, y).get_learner()
    with pytest.raises(DataError, match="columns more were added after"):
        learn.predict_df(df)


def test_classifiers_decode_and_give_probabilities(tmp_path):
    trn = sales()
    trn["Far"] = np.where(trn.pop("Sales") > 20, "far", "near")
    df, y = prepared(trn, "Far")
    learn = ColumnarModelData.from_data_frame(tmp_path, range(100), df, y, bs=32, is_reg=False).get_learner()
    learn.no_progress()
    assert learn.fit_one_cycle(5, 1e-2)["accuracy"] > 0.85
    assert learn.predict_df(trn[:4], decode=True) == [["far", "near"][i] for i in learn.predict_df(trn[:4]).argmax(1)]
    probs = learn.partial_dependence("State", target="far")
    np.testing.assert_allclose(probs["prediction"] + learn.partial_dependence("State")["prediction"], 1, atol=1e-5)
    with pytest.raises(DataError, match="`target` must be one of the classes far, near"):
        learn.partial_dependence("State", target="middling")
    again = load_learner(learn.export(tmp_path / "far"))
    assert again.data.classes == ["far", "near"]


def test_drawings(learn):
    assert learn.plot_embeddings("State").get_title() == "embedding of State"
    assert len(learn.plot_importance().patches) == 3
    assert learn.plot_partial_dependence("Km").get_xlabel() == "Km"
    bars = [bar.get_width() for bar in learn.plot_partial_dependence("State").patches]
    assert len(bars) >= 3
    assert bars == sorted(bars)
    shown = [label.get_text() for label in learn.plot_partial_dependence("State", n=2).get_yticklabels()]
    assert len(shown) == 2
    assert "SH" in shown  # the highest and the lowest
    with pytest.raises(DataError, match="no categorical column 'Km'"):
        learn.embeddings("Km")
    with pytest.raises(DataError, match="no column 'Nope'"):
        learn.partial_dependence("Nope")


def test_the_call_of_the_lesson(tmp_path):
    trn = sales()
    df, y = prepared(trn, "Sales")
    yl = np.log(y)
    cat_sz = [("State", len(trn["State"].unique()) + 1)]
    emb_szs = [(c, min(50, (c + 1) // 2)) for _, c in cat_sz]
    md = ColumnarModelData.from_data_frame(
        tmp_path, range(100), df, yl.astype(np.float32), cat_flds=["State"], bs=128, test_df=df
    )
    m = md.get_learner(emb_szs, len(df.columns) - 1, 0.04, 1, [1000, 500], [0.001, 0.01], y_range=(0, np.max(yl) * 1.2))
    m.no_progress()
    results = m.fit(3e-3, 12, metrics=["exp_rmspe"])
    assert results["exp_rmspe"] < 0.5
    assert m.predict(is_test=True).shape == (600,)


def test_get_learner_says_what_does_not_fit(learn):
    md = learn.data
    for arguments, message in (
        ({"emb_szs": [(4, 2), (3, 2)]}, "one \\(codes, width\\) per categorical column"),
        ({"emb_szs": [(2, 2)]}, "the column needs 4"),
        ({"n_cont": 9}, "`n_cont` is 9; the data has 3"),
        ({"arch": "forest"}, "`arch` must be one of"),
        ({"y_range": (1, 0)}, "lowest < highest"),
        ({"szs": [10], "drops": [0.1, 0.2]}, "one entry per layer"),
    ):
        with pytest.raises(ValueError, match=message):
            md.get_learner(**arguments)


def test_raw_rows_may_be_a_dict_a_series_or_dicts(tmp_path):
    trn = sales(60)
    df, y = prepared(trn, "Sales")
    learn = ColumnarModelData.from_data_frame(tmp_path, False, df, y, bs=8).get_learner(szs=[8])
    rows = trn.drop(columns="Sales")[:3]
    expected = learn.predict_df(rows)
    records: Any = rows.to_dict("records")
    np.testing.assert_array_equal(learn.predict_df(records), expected)
    np.testing.assert_array_equal(learn.predict_df(rows.to_dict("list")), expected)
    for i in range(3):
        for row in (records[i], rows.iloc[i]):
            np.testing.assert_allclose(learn.predict_df(row), expected[i : i + 1], rtol=1e-5, atol=1e-6)
    gap = learn.predict_df({**records[0], "Km": None, "State": None})
    np.testing.assert_array_equal(gap, learn.predict_df(rows[:1].assign(Km=np.nan, State=None)))
    with pytest.raises(TypeError, match="rows must be a DataFrame, a Series, a dict or a list of dicts; got str"):
        learn.predict_df("HE")  # type: ignore[arg-type]


def test_a_column_called_like_a_flag_is_its_own(tmp_path):
    """`Km_na` of the user's says nothing of `Km`, which has no gaps and so no flag."""
    trn = pd.DataFrame({"Km_na": np.arange(40.0) % 7, "Km": np.arange(40.0), "Sales": np.arange(40.0)})
    df, y = prepared(trn, "Sales")
    learn = ColumnarModelData.from_data_frame(tmp_path, range(30, 40), df, y, bs=8).get_learner(szs=[8])
    assert sorted(learn.feature_importance()["column"]) == ["Km", "Km_na"]
    assert learn.partial_dependence("Km_na", n_points=3)["Km_na"].between(0, 6).all()
