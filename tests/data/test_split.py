"""Validation sets: the size asked for, never everything, never twice the same item."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnkit.core.errors import DataError
from learnkit.data.split import check_val_idxs, get_cv_idxs, split_by_group, split_by_order, split_by_stratum

fractions = st.floats(0.01, 0.9)


@given(st.integers(2, 300), fractions, st.integers(0, 5))
def test_the_folds_of_a_seed_are_disjoint_and_of_the_size_asked_for(n: int, val_pct: float, seed: int) -> None:
    size = max(int(n * val_pct), 1)
    folds = [get_cv_idxs(n, i, val_pct, seed) for i in range(n // size)]
    assert all(len(fold) == size for fold in folds)
    everything = np.concatenate(folds)
    assert len(set(everything.tolist())) == len(everything)
    assert everything.min() >= 0
    assert everything.max() < n
    np.testing.assert_array_equal(folds[0], get_cv_idxs(n, val_pct=val_pct, seed=seed))


def test_random_splits_leave_the_global_generator_alone() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    get_cv_idxs(50)
    split_by_group(list("aabbcc"))
    split_by_stratum(list("aabbcc"))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002


def test_there_is_no_such_fold() -> None:
    with pytest.raises(ValueError, match=r"`cv_idx` must be in 0..4 for 10 items at val_pct=0.2; got 5"):
        get_cv_idxs(10, cv_idx=5)
    with pytest.raises(ValueError, match=r"must be in \(0, 1\); got 20. For 20% pass 0.2"):
        get_cv_idxs(10, val_pct=20)
    with pytest.raises(ValueError, match="`n` must be a positive whole number"):
        get_cv_idxs(0)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), fractions)
def test_split_by_order_validates_on_what_comes_last(values: list[int], val_pct: float) -> None:
    size = max(int(len(values) * val_pct), 1)
    cut = sorted(values)[-size]
    if cut == min(values):
        with pytest.raises(DataError, match=f"share the value {cut}"):
            split_by_order(values, val_pct)
        return
    idxs = split_by_order(values, val_pct)
    held = np.isin(np.arange(len(values)), idxs)
    assert min(np.array(values)[held]) > max(np.array(values)[~held])
    assert size <= len(idxs) < len(values)


def test_split_by_order_takes_dates_and_refuses_missing_ones() -> None:
    dates = np.array(["2015-03-01", "2015-01-01", "2015-02-01"], "datetime64[D]")
    assert split_by_order(dates, 0.4).tolist() == [0]
    with pytest.raises(DataError, match="missing"):
        split_by_order([1.0, float("nan"), 3.0, 2.0], 0.25)


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NaT, pd.NA])
def test_split_by_order_refuses_a_gap_among_objects(gap: Any) -> None:
    for values in ([datetime.date(2015, 1, 1), gap, datetime.date(2015, 1, 2)], [1, gap, 2], ["a", gap, "b"]):
        with pytest.raises(DataError, match="must be there for every item"):
            split_by_order(np.array(values, dtype=object), 0.3)


def test_split_by_order_of_objects_and_of_text() -> None:
    dates = pd.Series(pd.to_datetime(["2015-03-01", "2015-01-01", "2015-02-01"]))
    kinds: list[Any] = [dates, dates.dt.date, dates.dt.tz_localize("Europe/Paris"), dates.dt.to_period("D")]
    for values in kinds:
        assert split_by_order(values, 0.4).tolist() == [0]
    text = ["10.01.2015", "02.01.2016", "03.01.2015"]
    with pytest.warns(UserWarning, match=r"`values` is text, such as '10.01.2015'.*For dates pass pd.to_datetime"):
        assert split_by_order(text, 0.4).tolist() == [0]
    with pytest.warns(UserWarning, match="is text"):
        split_by_order(pd.Series(text), 0.4)
    with pytest.raises(DataError, match="one type that sorts"):
        split_by_order(np.array([1, "a", 2], dtype=object), 0.4)
    with pytest.raises(DataError, match=r"got shape \(2, 2\)"):
        split_by_order([[1, 2], [3, 4]], 0.4)


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60), fractions, st.integers(0, 5))
def test_split_by_group_never_divides_a_group(groups: list[str], val_pct: float, seed: int) -> None:
    if len(set(groups)) == 1:
        with pytest.raises(DataError, match="single group"):
            split_by_group(groups, val_pct, seed)
        return
    idxs = split_by_group(groups, val_pct, seed)
    held = {groups[i] for i in idxs}
    assert held
    assert held != set(groups)
    assert len(idxs) == sum(group in held for group in groups)
    assert len(idxs) <= val_pct * len(groups) or len(held) == 1


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80), fractions)
def test_split_by_stratum_holds_out_the_share_of_every_class(labels: list[str], val_pct: float) -> None:
    idxs = split_by_stratum(labels, val_pct)
    assert idxs.tolist() == sorted(set(idxs.tolist()))
    for name in set(labels):
        n, held = labels.count(name), sum(labels[i] == name for i in idxs)
        assert held == (0 if n == 1 else min(max(round(n * val_pct), 1), n - 1))


@pytest.mark.parametrize("split", [split_by_order, split_by_group, split_by_stratum])
def test_nothing_cannot_be_split(split: Any) -> None:
    with pytest.raises(DataError):
        split([])


@given(st.integers(2, 30), st.data())
def test_good_indices_pass_negative_ones_counted_from_the_end(n: int, data: st.DataObject) -> None:
    idxs = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n - 1))
    signed = [i - n if data.draw(st.booleans()) else i for i in idxs]
    assert check_val_idxs(signed, n).tolist() == idxs


@pytest.mark.parametrize(
    ("idxs", "message"),
    [
        ([0, 10], r"must be in 0..9 for 10 items; got 0..10"),
        ([-11, 3], r"must be in 0..9 for 10 items; got -11..3"),
        ([1, 2, 1], "the same index more than once"),
        ([9, -1], "the same index more than once"),
        (range(10), "all 10 items"),
        ([0.5], "list of whole numbers; got shape .1,., dtype float64"),
        ([[1, 2]], r"list of whole numbers; got shape \(1, 2\)"),
        ([True, False], "list of whole numbers; got .* dtype bool"),
    ],
)
def test_bad_validation_indices_are_refused(idxs: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"`val_idxs`.*{message}"):
        check_val_idxs(idxs, 10)
