"""Validation sets: the size asked for, never everything, never twice the same item."""

import datetime
import itertools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from learnkit import DataBunch, Prep, Real
from learnkit.collab import CollabFilterDataset
from learnkit.core.errors import DataError
from learnkit.data.split import (
    check_val_idxs,
    get_cv_idxs,
    nearest_sum,
    split_by_group,
    split_by_order,
    split_by_stratum,
    split_rows,
)
from learnkit.tabular import ColumnarModelData
from learnkit.vision import ImageClassifierData, imagenet_stats, tfms_from_stats

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
    idxs, said = share_of(groups, val_pct, seed)
    held = {groups[i] for i in idxs}
    assert held
    assert held != set(groups)
    assert len(idxs) == sum(group in held for group in groups)
    # No other choice of groups comes nearer to what was asked, and one that is far from it is said.
    sizes, wanted = [groups.count(name) for name in set(groups)], val_pct * len(groups)
    sums = [sum(some) for k in range(1, len(sizes)) for some in itertools.combinations(sizes, k)]
    gap = abs(len(idxs) - wanted)
    assert gap <= max(min(abs(found - wanted) for found in sums), 0.005 * len(groups)) + 1e-9
    assert bool(said) == (gap > max(wanted / 4, 1))


def share_of(groups: Any, val_pct: float, seed: int = 42) -> tuple[list[int], list[str]]:
    """Return the indices held out, and what was said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        idxs = split_by_group(groups, val_pct, seed).tolist()
    return idxs, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("seed", range(5))
def test_split_by_group_comes_as_near_as_the_groups_allow(seed: int) -> None:
    groups = ["big"] * 900 + [f"small {i}" for i in range(10) for _ in range(10)]
    with pytest.warns(
        UserWarning, match=r"than 10.0%: 100 of 1,000 items are held out, 10 of 11 groups. The largest.*900"
    ):
        assert split_by_group(groups, 0.2, seed).tolist() == list(range(900, 1000))
    with pytest.warns(UserWarning, match="than 50.0%: 50 of 100 items"):
        assert len(split_by_group([0, 1] * 50, 0.2, seed)) == 50
    many = np.random.default_rng(seed).integers(0, 50_000, 100_000)  # more sums than can be looked at
    assert len(split_by_group(many, 0.2, seed)) == pytest.approx(20_000, abs=500)
    sizes = np.array([1_000_000, *[40] * 20_001])
    assert sizes[nearest_sum(sizes.tolist(), 390, 0)].sum() == 400


def test_groups_are_of_any_type_and_none_is_missing() -> None:
    mixed = np.array([1, "a", 1, "a", (2,), (2,)] * 3, dtype=object)
    assert len(split_by_group(mixed, 0.33)) == 6
    assert split_by_group(pd.DataFrame({"g": [1, 1, 2]}), 0.3).tolist() == [2]
    for gap in (None, float("nan"), pd.NA):
        with pytest.raises(DataError, match="every item must have a group; item 1 has"):
            split_by_group(np.array(["a", gap, "b"], dtype=object), 0.3)


@pytest.mark.parametrize("split", [split_by_order, split_by_group, split_by_stratum])
def test_a_text_is_no_column(split: Any) -> None:
    for values in ("abc", 3, None):
        with pytest.raises(DataError, match=r"must be one value per item, of shape \(n,\); got"):
            split(values)


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


def test_by_default_a_fifth_validates_the_latest_where_times_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "1")
    trains, val = split_rows(None, 50)
    assert (val == get_cv_idxs(50)).all()
    assert sorted(np.flatnonzero(~trains)) == sorted(val)
    split_rows(None, 60)
    assert capsys.readouterr().out.count("a random fifth") == 1
    times = pd.date_range("2024-01-01", periods=10)[::-1]
    assert split_rows(None, 10, times=times)[1].tolist() == [0, 1]
    assert split_rows([3, -1], 10, times=times)[1].tolist() == [3, 9]
    nothing: tuple[Any, ...] = (False, [], np.zeros(0, dtype=np.int64))
    for none in nothing:
        trains, val = split_rows(none, 10, before="nothing")
        assert trains.all()
        assert not len(val)
    assert split_rows(None, 1)[0].all()
    with pytest.raises(DataError, match="the latest fifth cannot be held out.*Pass `val_idxs`. too many items share"):
        split_rows(None, 10, times=np.zeros(10))
    with pytest.warns(FutureWarning, match="until now it held out nothing") as said:
        split_rows(None, 50, before="nothing")
    assert said[0].filename == __file__
    split_rows(None, 90, before="nothing")  # once is enough


class AsItIs(Prep):
    def item(self, raw: Any) -> torch.Tensor:
        return torch.tensor([raw])

    def to_data(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "AsItIs":
        return cls()


@pytest.mark.filterwarnings("ignore:`val_idxs=None`:FutureWarning")
def test_no_indices_mean_the_same_in_every_factory(tmp_path: Path) -> None:
    n = 25
    numbers = np.arange(n, dtype=np.float32)
    for i in range(n):
        Image.fromarray(np.full((4, 4, 3), i, dtype=np.uint8)).save(tmp_path / f"{i:02}.png")
    names = [f"{i:02}.png" for i in range(n)]
    table = pd.DataFrame({"name": names, "y": numbers})
    table.to_csv(tmp_path / "labels.csv", index=False)
    ratings = pd.DataFrame({"user": np.arange(n), "item": np.arange(n) % 5, "rating": numbers})
    frame = pd.DataFrame({"x": numbers})

    pictures: Any = {"tfms": tfms_from_stats(imagenet_stats, 4), "continuous": True, "num_workers": 0}
    factories: list[Callable[[Any], Any]] = [
        lambda idxs: DataBunch.from_items(tmp_path, AsItIs(), numbers, numbers, idxs, target=Real),
        lambda idxs: ImageClassifierData.from_csv(tmp_path, "", "labels.csv", val_idxs=idxs, **pictures),
        lambda idxs: ImageClassifierData.from_names_and_array(tmp_path, names, numbers, None, idxs, **pictures),
        lambda idxs: ColumnarModelData.from_data_frame(tmp_path, idxs, frame, numbers),
        lambda idxs: ColumnarModelData.from_arrays(tmp_path, idxs, frame.to_numpy(), numbers),
        lambda idxs: CollabFilterDataset.from_data_frame(tmp_path, ratings, "user", "item", "rating").get_data(idxs),
    ]
    for make in factories:
        held_out = np.concatenate([np.asarray(batch[-1]).ravel() for batch in make(None).val_dl])
        assert sorted(held_out) == sorted(get_cv_idxs(n))
        assert make(False).val_dl is None


def test_the_latest_rows_of_a_frame_and_the_latest_ratings_validate(tmp_path: Path) -> None:
    dates = pd.date_range("2024-01-01", periods=10)[::-1]
    frame = pd.DataFrame({"x": np.arange(10.0)}, index=dates)
    with pytest.warns(FutureWarning, match="the latest fifth.* until now it held out nothing"):
        data = ColumnarModelData.from_data_frame(tmp_path, None, frame, np.arange(10.0))
    assert data.val_y.tolist() == [0, 1]
    ratings = pd.DataFrame({"u": range(10), "i": [0, 1] * 5, "r": np.arange(10.0), "t": dates})
    cf = CollabFilterDataset.from_data_frame(tmp_path, ratings, "u", "i", "r", time_name="t")
    with pytest.warns(FutureWarning, match="the latest fifth.* until now it held out a random fifth"):
        rated = cf.get_data()
    assert rated.val_y.tolist() == [0, 1]
