"""`ColumnarModelData`: what batches look like, what kinds of targets there are, and what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnkit import Category, DataError, Learner, MultiCategory, Real, TensorLoader, fit
from learnkit.tabular import ColumnarModelData, proc_df


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"State": rng.choice(["HE", "BY", "SH"], 100), "Km": rng.normal(size=100), "Age": rng.integers(0, 90, 100)}
    )


def test_batches_of_a_frame(frame):
    df, _, _, _ = proc_df(frame)
    y = np.arange(100, dtype=np.float32)
    md = ColumnarModelData.from_data_frame(".", [3, -1], df, y, bs=16, test_df=df[:5])
    cats, conts, _ = next(iter(md.trn_dl))
    assert (cats.dtype, cats.shape) == (torch.int64, (16, 1))
    assert (conts.dtype, conts.shape) == (torch.float32, (16, 2))
    assert isinstance(md.trn_dl, TensorLoader)
    assert isinstance(md.val_dl, TensorLoader)
    assert isinstance(md.test_dl, TensorLoader)
    assert md.val_y.tolist() == [3, 99]
    val_cats, val_conts, val_y = next(iter(md.val_dl))
    assert val_y.tolist() == [3, 99]
    assert val_cats[:, 0].tolist() == df["State"].iloc[[3, 99]].tolist()
    np.testing.assert_array_equal(val_conts, df[["Km", "Age"]].iloc[[3, 99]].to_numpy(np.float32))
    assert sorted(torch.cat([b[-1] for b in md.trn_dl]).tolist()) == [v for v in range(100) if v not in (3, 99)]
    assert len(next(iter(md.test_dl))[0]) == 5
    assert md.trn_dl.tensors[0].dtype == torch.int8  # kept in a byte, given as int64
    assert md.cat_sz == [("State", 4)]
    assert md.emb_szs == [(4, 2)]


def test_there_are_always_two_inputs(frame):
    raw = pd.DataFrame({"user": np.arange(100) % 7, "item": np.arange(100) % 5})
    md = ColumnarModelData.from_data_frame(".", [0], raw, np.ones(100), ["user", "item"], 64)
    cats, conts, _ = next(iter(md.trn_dl))
    assert cats.shape == (64, 2)
    assert conts.shape == (64, 0)
    assert md.cat_sz == [("user", 7), ("item", 5)]
    cats, conts, _ = next(iter(ColumnarModelData.from_data_frame(".", [0], frame[["Km"]], np.ones(100)).trn_dl))
    assert cats.shape == (64, 0)
    assert conts.shape == (64, 1)


def test_by_hand_embedding_dot_of_the_lesson():
    class EmbeddingDot(nn.Module):
        def __init__(self, n_users, n_items):
            super().__init__()
            self.u, self.m = nn.Embedding(n_users, 4), nn.Embedding(n_items, 4)

        def forward(self, cats, conts):
            users, items = cats[:, 0], cats[:, 1]
            return (self.u(users) * self.m(items)).sum(1)

    x = pd.DataFrame({"userId": np.arange(200) % 10, "movieId": np.arange(200) % 7})
    data = ColumnarModelData.from_data_frame(".", [1, 2, 3], x, np.ones(200), ["userId", "movieId"], 64)
    model = EmbeddingDot(10, 7)
    results = fit(model, data, 2, torch.optim.SGD(model.parameters(), 1e-1), F.mse_loss, progress=False)
    assert np.isfinite(results["val_loss"])


def test_character_model_of_the_lesson():
    class Char3(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.out = nn.Embedding(9, 5), nn.Linear(15, 9)

        def forward(self, *cs):
            return F.log_softmax(self.out(torch.cat([self.e(c) for c in cs], 1)), -1)

    text = np.arange(300) % 9
    xs = np.stack([text[:-3], text[1:-2], text[2:-1]], axis=1)
    md = ColumnarModelData.from_arrays(".", [-1], xs, text[3:], bs=32)
    *columns, yt = next(iter(md.trn_dl))
    assert [c.shape for c in columns] == [(32,)] * 3
    assert (columns[0].dtype, yt.dtype) == (torch.int64, torch.int64)
    model = Char3()
    results = fit(model, md, 20, torch.optim.Adam(model.parameters(), 1e-2), F.nll_loss, ["accuracy"], progress=False)
    assert results["accuracy"] == 1
    assert isinstance(Learner(md, model).data.target, Category)


def test_sequences_of_classes_reach_the_loss_as_they_are():
    md = ColumnarModelData.from_arrays(".", [-1], np.zeros((10, 8), int), np.zeros((10, 8), int), bs=4)
    assert md.target is None
    assert next(iter(md.trn_dl))[-1].shape == (4, 8)


@pytest.mark.parametrize(
    ("y", "options", "kind", "c", "dtype"),
    [
        (np.arange(100), {}, Real, 1, torch.float32),
        (np.arange(100)[:, None], {}, Real, 1, torch.float32),
        (np.arange(300).reshape(100, 3), {}, Real, 3, torch.float32),
        (np.array(["no", "yes"] * 50, dtype=object), {"is_reg": False}, Category, 2, torch.int64),
        (pd.Series(["no", "yes", "why", "no"] * 25), {"is_reg": False}, Category, 3, torch.int64),
        (np.arange(100) % 4, {"is_reg": False}, Category, 4, torch.int64),
        (np.array([True, False] * 50), {"is_reg": False}, Category, 2, torch.int64),
        (np.eye(2)[np.arange(100) % 2], {"is_reg": False, "is_multi": True}, MultiCategory, 2, torch.float32),
    ],
)
def test_kinds_of_targets(frame, y, options, kind, c, dtype):
    md = ColumnarModelData.from_data_frame(".", range(80, 100), proc_df(frame)[0], y, bs=16, **options)
    assert type(md.target) is kind
    assert md.c == c
    assert next(iter(md.trn_dl))[-1].dtype == dtype
    learn = md.get_learner(szs=[8])
    learn.no_progress()
    assert np.isfinite(learn.fit(1e-3, 1)["val_loss"])
    preds, targs = learn.predict_with_targs()
    assert preds.shape == (np.shape(targs) if kind is Real else (20, c))
    np.testing.assert_array_equal(targs, md.val_y)
    if kind is Real:
        assert targs.shape == (20, *y.shape[1:])


def test_a_last_batch_of_one_row_is_left_out_of_training(frame):
    md = ColumnarModelData.from_data_frame(
        ".", range(3), proc_df(frame)[0], np.ones(100), bs=32
    )  # 97 rows = 3 x 32 + 1
    assert [len(b[-1]) for b in md.trn_dl] == [32, 32, 32]
    md = ColumnarModelData.from_data_frame(".", range(2), proc_df(frame)[0], np.ones(100), bs=32)
    assert [len(b[-1]) for b in md.trn_dl] == [32, 32, 32, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_idxs": [100]}, "`val_idxs` must be in 0..99"),
        ({"val_idxs": range(100)}, "nothing would be left"),
        ({"y": np.ones(99)}, "100 rows and 99 targets"),
        ({"y": np.r_[np.nan, np.ones(99)]}, r"1 missing value\(s\), the first in row 0"),
        ({"y": np.array([None, "a"] * 50, dtype=object), "is_reg": False}, r"`y` has 50 missing"),
        ({"y": np.array(["a", "b"] * 50, dtype=object)}, "is_reg=False"),
        ({"y": np.zeros(100), "is_reg": False}, "at least two classes; `y` has only 0.0"),
        ({"y": np.zeros((100, 2)), "is_reg": False}, "is_multi=True"),
        ({"y": np.full((100, 2), 5), "is_reg": False, "is_multi": True}, "zeros and ones"),
        ({"cat_flds": ["Nope"]}, "`cat_flds`: the frame has no column 'Nope'; it has: "),
        ({"cat_flds": ["Km"]}, "not codes"),
        ({"df": pd.DataFrame({"Km": ["far"] * 100})}, "the model needs numbers"),
        ({"df": pd.DataFrame({"Km": [np.nan] * 100})}, "100 missing or infinite"),
        ({"df": pd.DataFrame({"Km": np.zeros(0)})}, "no rows"),
        ({"df": pd.DataFrame({"c": [-1] * 100}), "cat_flds": ["c"]}, "codes count from 0"),
        ({"test_df": pd.DataFrame({"Km": [1.0]})}, "`test_df`, unlike the training frame, has no column 'State', '"),
    ],
)
def test_bad_input_is_named(frame, change, message):
    arguments = {"val_idxs": [0], "df": proc_df(frame)[0], "y": np.ones(100), **change}
    with pytest.raises(DataError, match=message):
        ColumnarModelData.from_data_frame(".", **arguments)


def test_bad_arrays_are_named():
    with pytest.raises(DataError, match="must be numbers of shape"):
        ColumnarModelData.from_arrays(".", [0], np.array([["a"], ["b"]]), np.ones(2))
    with pytest.raises(DataError, match="class numbers must be"):
        ColumnarModelData.from_arrays(".", [0], np.ones((2, 1)), np.array([-1, 1]))
    with pytest.raises(DataError, match="was not made by from_data_frame"):
        ColumnarModelData.from_arrays(".", [0], np.ones((4, 1)), np.ones(4)).get_learner()


def test_loader_gathers_many_batches_at_once_and_gives_each_row_once():
    x = torch.arange(1000, dtype=torch.int16)[:, None].repeat(1, 700)  # more than one chunk
    dl = TensorLoader(x, torch.arange(1000), bs=7, shuffle=True, widen=True, generator=torch.Generator().manual_seed(3))
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(3))
    batches = list(dl)
    assert len(batches) == len(dl) == 143
    assert torch.equal(torch.cat([y for _, y in batches]), order)
    assert all(torch.equal(xs[:, 0], y) and xs.dtype == torch.int64 for xs, y in batches)
    dropping = TensorLoader(x, torch.arange(1000), bs=7, drop_last=True)
    assert [len(y) for _, y in dropping] == [7] * 142 == [7] * len(dropping)


def test_a_column_of_a_frame_as_target_needs_no_copy_by_hand(tmp_path):
    frame = pd.DataFrame({"a": [0, 1, 2, 1], "y": np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)})
    md = ColumnarModelData.from_data_frame(tmp_path, [3], frame[["a"]], frame["y"], ["a"], 2)  # read-only in pandas 3
    np.testing.assert_array_equal(md.val_y.reshape(-1), [4.0])


def test_read_only_arrays_are_taken_as_they_are(tmp_path):
    xs, y = np.arange(8.0)[:, None], np.arange(8)
    xs.flags.writeable = y.flags.writeable = False
    for is_reg in (None, True, False):
        md = ColumnarModelData.from_arrays(tmp_path, [0, 7], xs, y, 2, test_xs=xs, is_reg=is_reg)
        assert md.val_y.reshape(-1).tolist() == [0, 7]


def sales(n: int) -> pd.DataFrame:
    return pd.DataFrame({"State": ["HE", "BY"] * (n // 2), "Km": np.arange(n) * 1.0, "Sales": np.arange(n) * 1.0})


def test_a_frame_of_validation_rows_of_its_own(tmp_path):
    trn, val = sales(20), sales(6).assign(State="SH")
    df, y, _, mapper = proc_df(trn, "Sales")
    with pytest.warns(UserWarning, match="never seen in training"):
        val_df, val_y, _, _ = proc_df(val, "Sales", mapper=mapper)
    assert y is not None
    assert val_y is not None
    md: Any = ColumnarModelData.from_data_frames(tmp_path, df, val_df[["Km", "State"]], y, val_y, bs=8, test_df=val_df)
    joined, joined_y, _, _ = proc_df(pd.concat([trn, val]), "Sales")
    assert joined_y is not None
    with pytest.warns(UserWarning, match="never seen in training"):
        same: Any = ColumnarModelData.from_data_frame(tmp_path, range(20, 26), joined, joined_y, bs=8)
    assert md.val_y.tolist() == same.val_y.tolist() == list(range(6))
    assert md.val_dl.tensors[0].tolist() == same.val_dl.tensors[0].tolist() == [[0]] * 6
    assert md.trn_dl.tensors[0].tolist() == same.trn_dl.tensors[0].tolist()
    assert len(md.test_dl.tensors[0]) == 6
    assert md.mapper == mapper


def test_a_frame_that_was_prepared_otherwise_is_refused(tmp_path):
    """Its codes mean other categories."""
    df, y, _, mapper = proc_df(sales(20), "Sales")
    other, other_y, _, _ = proc_df(sales(4).assign(State="SH", Km=[1.0, 2, 3, 9]), "Sales")
    assert y is not None
    assert other_y is not None
    with pytest.raises(DataError, match="`val_df` was not prepared like the training rows.*mapper=mapper"):
        ColumnarModelData.from_data_frames(tmp_path, df, other, y, other_y)
    with pytest.raises(DataError, match="`test_df` was not prepared like"):
        ColumnarModelData.from_data_frame(tmp_path, [0], df, y, test_df=other)
    with pytest.raises(DataError, match="`df` was not prepared like"):
        ColumnarModelData.from_data_frame(tmp_path, [0], other, other_y, mapper=mapper)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_y": np.zeros(3)}, "every validation row needs a target: got 4 rows and 3 targets"),
        ({"trn_y": np.zeros(3)}, "every row needs a target"),
        ({"val_y": np.zeros((4, 2))}, "`trn_y` and `val_y` must be of one kind"),
        ({"val_y": list("abcd")}, "must be of one kind"),
        ({"val_y": [1.0, None, 2.0, 3.0]}, r"`val_y` has 1 missing value\(s\), the first in row 1"),
        ({"val_df": pd.DataFrame({"Km": np.zeros(4)})}, "`val_df`, unlike the training frame, has no column 'State'"),
    ],
)
def test_frames_of_their_own_that_do_not_fit(tmp_path, change, message):
    df, y, _, mapper = proc_df(sales(20), "Sales")
    val_df, val_y, _, _ = proc_df(sales(4), "Sales", mapper=mapper)
    parts: Any = {"trn_df": df, "val_df": val_df, "trn_y": y, "val_y": val_y} | change
    with pytest.raises(DataError, match=message):
        ColumnarModelData.from_data_frames(tmp_path, **parts)
    with pytest.raises(TypeError, match="`val_df` must be a pandas DataFrame"):
        ColumnarModelData.from_data_frames(tmp_path, **{**parts, **change, "val_df": [1], "trn_y": y, "val_y": val_y})


def test_numbers_too_large_for_a_model_are_named_with_their_value(tmp_path):
    big = np.array([1.0, 1e200, 2.0])
    with pytest.raises(DataError, match=r"column 'x' holds 1e\+200 in row 1, too large"):
        ColumnarModelData.from_data_frame(tmp_path, False, pd.DataFrame({"x": big}), [1, 2, 3])
    with pytest.raises(DataError, match=r"`xs` holds 1e\+200 in row 1, too large"):
        ColumnarModelData.from_arrays(tmp_path, False, big, [1.0, 2.0, 3.0])


def test_a_name_for_a_list_is_refused(frame, tmp_path):
    df, _, _, _ = proc_df(frame)
    with pytest.raises(TypeError, match=r"`cat_flds` must be a list of column names; write \['State'\]"):
        ColumnarModelData.from_data_frame(tmp_path, False, df, np.arange(100), "State")
