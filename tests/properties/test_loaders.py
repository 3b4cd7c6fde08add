"""Loaders and splits of anything: the rows as they are, once each, in batches of the size asked for, or words."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch.utils.data import DataLoader

from learnkit import DataError, TensorLoader, split_by_group
from learnkit.core.listing import check_list
from learnkit.tabular import ColumnarModelData
from learnkit.text import BPTTLoader, Field, LanguageModelData, TextData

few = settings(max_examples=60, deadline=None)
DTYPES = st.sampled_from(
    [np.float64, np.float32, np.float16, np.int64, np.int32, np.int8, np.uint8, np.uint16, np.bool_]
)
AS: dict[str, Callable[[Any], Any]] = {
    "array": lambda x: x,
    "read-only": lambda x: (x.setflags(write=False), x)[1],
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "frame": pd.DataFrame,
    "tensor": lambda x: torch.from_numpy(x.astype(np.float32)),
}


@few
@given(st.data(), st.integers(1, 40), st.integers(1, 12), st.booleans(), st.booleans(), st.booleans())
def test_arrays_of_any_kind_are_batched_row_by_row(
    data: st.DataObject, n: int, bs: int, shuffle: bool, drop_last: bool, drop_single: bool
) -> None:
    values = data.draw(npst.arrays(data.draw(DTYPES), (n, 2)))
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0).clip(-1000, 1000).astype(values.dtype)
    kind = data.draw(st.sampled_from(sorted(AS)))
    several = data.draw(st.booleans())
    x = AS[kind](values)
    ids = np.arange(n)
    dl = TensorLoader((x, ids) if several else x, ids, bs, shuffle, drop_last=drop_last, drop_single=drop_single)
    batches = list(dl)
    assert len(batches) == len(dl)
    left = n % bs
    used = n - left if drop_last else n - (drop_single and n > bs > 1 and left == 1)
    rows = [int(i) for *_, y in batches for i in y]
    assert len(rows) == len(set(rows)) == used
    assert shuffle or rows == list(range(used))
    assert [len(y) for *_, y in batches] == [min(bs, used - start) for start in range(0, used, bs)]
    whole = np.asarray(values).dtype.kind in "bui" and kind != "tensor"
    for got, *_, y in batches:
        assert got.dtype == (torch.int64 if whole else torch.float32)
        np.testing.assert_array_equal(got.numpy(), values[y.numpy()].astype(np.int64 if whole else np.float32))
    for i, (*_, y) in enumerate(DataLoader(dl.dataset, bs)):
        assert y.tolist() == ids[i * bs : (i + 1) * bs].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            lambda x, y: (x, x, y),
            r"several inputs come in a tuple before the targets: TensorLoader\(\(x1, x2\), y, bs=...\)",
        ),
        (lambda x, y: (x.numpy(), x.numpy(), y.numpy()), "several inputs come in a tuple"),
        (lambda x, y: (x.tolist(), y), r"`xs\[0\]` must be a tensor or array of shape .*np.array"),
        (lambda x, y: ("abc", y), "`xs` must be a tensor or array .* str 'abc'"),
        (lambda x, y: (x, "abc"), "`y` must be a tensor or array"),
        (lambda x, y: (x, None), "`y` must be a tensor or array"),
        (lambda x, y: ([], y), "`xs` holds no input"),
        (lambda x, y: (x, torch.tensor(1)), "`y` must have one row per item"),
        (lambda x, y: (np.array(["a", "b"]), y), "`xs` cannot be made a tensor: expected numbers"),
        (lambda x, y: (np.array([{}, {}]), y), "`xs` cannot be made a tensor"),
        (lambda x, y: (pd.DataFrame({"a": ["x"]}), y), "`xs` cannot be made a tensor"),
        (lambda x, y: (x[:3], y), "must have one length; got .3. inputs and 5 targets"),
        (lambda x, y: (x[:0], y[:0]), "the tensors are empty"),
    ],
)
def test_what_cannot_be_batched_is_said(arguments: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        TensorLoader(*arguments(torch.zeros(5, 2), torch.zeros(5)))


@few
@given(
    st.lists(st.sampled_from([1, 2, 3, "a", "b", (1,), 2.5]), min_size=2, max_size=24),
    st.floats(0.05, 0.95),
    st.integers(0, 3),
)
def test_groups_of_any_type_are_held_out_whole_and_as_near_as_can_be(
    groups: list[Any], val_pct: float, seed: int
) -> None:
    array = np.empty(len(groups), dtype=object)
    array[:] = groups
    if len(set(groups)) == 1:
        with pytest.raises(DataError, match="single group"):
            split_by_group(array, val_pct, seed)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        idxs = split_by_group(array, val_pct, seed)
    held = {groups[i] for i in idxs}
    assert sorted(idxs.tolist()) == [i for i, group in enumerate(groups) if group in held]
    sizes = [groups.count(group) for group in set(groups)]
    sums = {sum(some) for k in range(1, len(sizes)) for some in itertools.combinations(sizes, k)}
    wanted = val_pct * len(groups)
    assert abs(len(idxs) - wanted) <= max(min(abs(s - wanted) for s in sums), 0.005 * len(groups)) + 1e-9


@given(
    st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.dictionaries(st.text(), st.integers()))
)
def test_what_is_no_list_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(TypeError, match="^`names` must be a list of names; got "):
        check_list("names", value, "names")


@given(st.lists(st.one_of(st.text(), st.integers(), st.lists(st.text()))))
def test_a_list_stays_as_it_is(values: list[Any]) -> None:
    for given_as in (values, tuple(values), iter(values)):
        assert check_list("names", given_as, "names") == values


@few
@given(st.integers(2, 30), st.integers(1, 9), st.integers(1, 9))
def test_another_batch_size_changes_nothing_else(n: int, bs: int, other: int) -> None:
    df = pd.DataFrame({"Km": np.linspace(0, 1, n)})
    md: Any = ColumnarModelData.from_data_frame(".", [], df, np.arange(float(n)), bs=bs)
    md.trn_dl.bs = other
    sizes = [len(y) for *_, y in md.trn_dl]
    assert len(sizes) == len(md.trn_dl)
    assert sum(sizes) == n - (n > other > 1 and n % other == 1)
    assert md.trn_dl.shuffle


def test_the_batch_size_of_texts_is_that_of_their_loaders(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a b", "b", "a a a", "b b", "a"] * 5, "label": ["x", "y"] * 12 + ["x"]})
    data: Any = TextData.from_dataframes(tmp_path, Field(tokenize=str.split), "text", "label", frame, frame, bs=4)
    data.bs = 8
    assert [y.shape[0] for _, y in data.val_dl] == [8, 8, 8, 1]
    assert sorted(y.shape[0] for _, y in data.trn_dl) == [8, 8, 8]  # the single text left over is left out
    assert (data.texts_dl(["a"]).bs, data.trn_dl.shuffle, data.val_dl.shuffle) == (8, True, False)
    md: Any = LanguageModelData.from_dataframes(tmp_path, Field(tokenize=str.split), "text", frame, frame[:3], bs=2)
    md.bs = 4
    assert md.trn_dl.bs == md.val_dl.bs == 4
    x, _ = next(iter(md.trn_dl))
    assert x.shape[1] == 4
    assert sum(len(x) for x, _ in md.trn_dl) == BPTTLoader(md.trn_dl.ids, 4).rows
    for bunch in (data, md):
        with pytest.raises(ValueError, match="`bs` must be a positive whole number"):
            bunch.bs = 0
