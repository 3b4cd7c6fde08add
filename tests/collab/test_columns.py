"""Times and titles of any kind."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.collab import CollabFilterDataset
from learnkit.collab.columns import as_times

pa: Any = pytest.importorskip("pyarrow")

ZONED = ["2024-01-01T12:00+05:00", "2024-01-01T09:00+00:00", "2024-01-01T01:00-07:00", "2024-01-01T13:00+05:00"]
ORDER = [0, 2, 3, 1]  # 07:00, 09:00, 08:00, 08:00 in UTC: a tie keeps its order


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"u": [1, 1, 2, 2], "i": [10, 20, 10, 20], "r": [1.0, 2.0, 3.0, 4.0], **columns})


@pytest.mark.parametrize(
    "times",
    [
        ZONED,
        pd.to_datetime(pd.Series(ZONED), utc=True),
        pd.to_datetime(pd.Series(ZONED), utc=True).dt.tz_convert("Asia/Tokyo"),
        [datetime.datetime.fromisoformat(text) for text in ZONED],
        [pd.Timestamp(text) for text in ZONED],
        pd.to_datetime(pd.Series(ZONED), utc=True).astype(pd.ArrowDtype(pa.timestamp("us", tz="UTC"))),
        pd.Series(ZONED, dtype="string"),
        pd.Series(ZONED, dtype="category"),
        [7, 9, 8, 8],
        pd.Series([7, 9, 8, 8], dtype="Int64"),
        [datetime.date(2024, 1, day) for day in (7, 9, 8, 8)],
        pd.Series([7.0, 9.0, 8.0, 8.0], dtype=pd.ArrowDtype(pa.float64())),
    ],
    ids=str,
)
def test_times_sort_as_they_passed(times: Any) -> None:
    found = as_times(pd.Series(times, name="t"))
    assert np.argsort(found, kind="stable").tolist() == ORDER
    cf = CollabFilterDataset.from_data_frame(".", frame(t=pd.Series(times)), "u", "i", "r", time_name="t")
    assert cf.split_by_time(0.25).tolist() == [1]


@pytest.mark.parametrize(
    "times", [["soon", "later"], ["31/01/2024", "2024"], [True, "x"], [1, "2024-01-01"], [[1], [2]]], ids=str
)
def test_what_is_no_time_is_shown(times: Any) -> None:
    with pytest.raises(DataError, match="column 't' must hold numbers, dates or text like 2024-01-31 12:00; got"):
        as_times(pd.Series(times, name="t", dtype=object))


@pytest.mark.parametrize("gap", [None, np.nan, pd.NaT])
def test_a_missing_time_is_named(gap: Any) -> None:
    with pytest.raises(DataError, match="column 't' has no time in row 1"):
        as_times(pd.Series([ZONED[0], gap], name="t", dtype=object))


def test_times_of_a_file(tmp_path: Any) -> None:
    frame(t=ZONED).to_csv(tmp_path / "r.csv", index=False)
    cf = CollabFilterDataset.from_csv(tmp_path, "r.csv", "u", "i", "r", time_name="t")
    assert cf.split_by_time(0.25).tolist() == [1]


# ---------------------------------------------------------------- titles


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, "", " "], ids=repr)
@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_an_item_without_a_title_shows_its_id(gap: Any, kind: Any) -> None:
    titles = {10: "Alien", 20: gap}
    for given in (titles, {10: "Alien"}):
        made: Any = kind(given) if kind is dict else pd.Series(given, dtype=object)
        cf = CollabFilterDataset.from_data_frame(".", frame(), "u", "i", "r", titles=made)
        assert cf.titles == ["Alien", "20"]
        learn = cf.get_learner(2, val_idxs=[])
        assert set(learn.item_bias().title) == {"Alien", "20"}
        assert set(learn.item_factors(names=made).title) == {"Alien", "20"}


@pytest.mark.parametrize("titles", [["A", "B"], "A", pd.DataFrame({"i": [10], "title": ["A"]}), np.array(["A", "B"])])
def test_titles_that_are_no_mapping_are_refused(titles: Any) -> None:
    with pytest.raises(TypeError, match=r"`titles` must map item ids to titles, as a dict or a Series"):
        CollabFilterDataset.from_data_frame(".", frame(), "u", "i", "r", titles=titles)
    learn = CollabFilterDataset.from_data_frame(".", frame(), "u", "i", "r").get_learner(2, val_idxs=[])
    with pytest.raises(TypeError, match="`names` must map item ids to titles"):
        learn.item_bias(names=titles)
