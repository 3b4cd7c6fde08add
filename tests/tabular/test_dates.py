"""Features from dates and history: every column of the lesson, and the same values as the slow way."""

import time

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import add_datepart, get_elapsed, rolling_means, rolling_sums

LESSON_PARTS = [
    "Year", "Month", "Week", "Day", "Dayofweek", "Dayofyear", "Is_month_end", "Is_month_start", "Is_quarter_end",
    "Is_quarter_start", "Is_year_end", "Is_year_start", "Elapsed",
]  # fmt: skip
LESSON_COLUMNS = ["A" + part for part in LESSON_PARTS]


def test_add_datepart_gives_every_column_of_the_lesson():
    df = pd.DataFrame({"A": pd.to_datetime(["2015-12-31 23:59:58", "2016-02-29 00:00:00"])})
    assert add_datepart(df, "A", drop=False) is df
    assert list(df) == ["A", *LESSON_COLUMNS]
    assert list(df.loc[0, ["AYear", "AMonth", "AWeek", "ADay", "ADayofweek", "ADayofyear"]]) == [
        2015,
        12,
        53,
        31,
        3,
        365,
    ]
    assert df.loc[0, [c for c in LESSON_COLUMNS if "_end" in c]].all()
    assert not df.loc[0, [c for c in LESSON_COLUMNS if "_start" in c]].any()
    assert df.loc[1, "AElapsed"] == pd.Timestamp("2016-02-29").timestamp()


def test_add_datepart_time_parts_and_prefix():
    df = add_datepart(pd.DataFrame({"saleDate": ["2015-01-01 13:05:09"]}), "saleDate", time=True)
    assert "saleDate" not in df
    assert list(df.loc[0, ["saleHour", "saleMinute", "saleSecond"]]) == [13, 5, 9]


def test_add_datepart_survives_missing_dates_and_time_zones():
    dates = pd.Series(pd.to_datetime(pd.Series(["2015-01-01 00:30", None]))).dt.tz_localize("Europe/Prague")
    df = add_datepart(pd.DataFrame({"Date": dates}), "Date", time=True)
    assert list(df.loc[0, ["Year", "Day", "Hour"]]) == [2015, 1, 0]  # the local clock
    assert df.loc[0, "Elapsed"] == pd.Timestamp("2014-12-31 23:30", tz="UTC").timestamp()
    assert df.loc[1, ["Year", "Week", "Elapsed"]].isna().all()
    assert not df.loc[1, "Is_year_start"]


def test_add_datepart_refuses_what_is_no_date():
    with pytest.raises(DataError, match="not dates"):
        add_datepart(pd.DataFrame({"Date": [20150101]}), "Date")
    with pytest.raises(DataError, match="cannot be read as dates"):
        add_datepart(pd.DataFrame({"Date": ["yesterday-ish"]}), "Date")
    with pytest.raises(DataError, match="no column 'Date'"):
        add_datepart(pd.DataFrame({"date": []}), "Date")


def slow_elapsed(df, fld):
    """The loop of the lesson."""
    last_date, last_store, res = np.datetime64("NaT", "s"), 0, []
    for s, v, d in zip(df.Store.values, df[fld].values, df.Date.values, strict=True):
        if s != last_store:
            last_date, last_store = np.datetime64("NaT", "s"), s
        if v:
            last_date = d
        res.append((d - last_date) / np.timedelta64(1, "D"))
    return np.array(res)


@pytest.mark.parametrize("ascending", [True, False])
def test_get_elapsed_equals_the_loop_of_the_lesson(ascending):
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "Store": rng.integers(1, 9, 500),
            "Date": pd.Timestamp("2015") + pd.to_timedelta(rng.integers(0, 90, 500), "D"),
        }
    )
    df["Promo"] = rng.random(500) < 0.2
    df = df.sort_values(["Store", "Date"], ascending=[True, ascending])
    np.testing.assert_allclose(get_elapsed(df, "Promo", "After")["AfterPromo"], slow_elapsed(df, "Promo"))


def test_get_elapsed_wants_dates_in_order():
    df = pd.DataFrame({"Store": 1, "Date": pd.to_datetime(["2015-01-02", "2015-01-01", "2015-01-03"]), "Promo": 1})
    with pytest.raises(DataError, match="sort_values"):
        get_elapsed(df, "Promo", "After")


@pytest.mark.parametrize(("window", "closed"), [("3D", "right"), ("3D", "left"), (4, "right")])
def test_rolling_sums_and_means_equal_pandas(window, closed):
    rng = np.random.default_rng(1)
    df = pd.DataFrame(
        {
            "Store": rng.integers(0, 5, 400),
            "Date": pd.Timestamp("2015") + pd.to_timedelta(rng.integers(0, 60 * 24, 400), "h"),
        }
    )
    df["Sales"] = np.where(rng.random(400) < 0.1, np.nan, rng.normal(size=400))
    sums = rolling_sums(df, "Sales", "Store", "Date", window, current=closed == "right")["Sales_bw"]
    means = rolling_means(df, ["Sales"], "Store", "Date", window, current=closed == "right")["Sales_mean_bw"]
    assert sums.index.equals(df.index)
    ordered = df.sort_values(["Store", "Date"], kind="stable")
    expected = ordered.set_index("Date").groupby("Store")["Sales"].rolling(window, min_periods=1, closed=closed)
    np.testing.assert_allclose(sums[ordered.index], expected.sum(), atol=1e-12)
    np.testing.assert_allclose(means[ordered.index], expected.mean(), atol=1e-12)


def test_rolling_forward_looks_ahead():
    df = pd.DataFrame({"s": 1, "d": pd.date_range("2015", periods=4), "x": [1, 2, 4, 8]})
    assert rolling_sums(df, "x", "s", "d", 2, forward=True)["x_fw"].tolist() == [3, 6, 12, 8]
    assert rolling_sums(df, "x", "s", "d", "2D", forward=True, current=False)["x_fw"].tolist()[:3] == [6, 12, 8]


def test_rolling_says_what_a_window_is():
    df = pd.DataFrame({"s": [1], "d": pd.to_datetime(["2015"]), "x": [1]})
    with pytest.raises(ValueError, match="span of time"):
        rolling_sums(df, "x", "s", "d", "a week")
    with pytest.raises(ValueError, match="window"):
        rolling_sums(df, "x", "s", "d", 0)


def test_a_million_rows_take_seconds():
    rng = np.random.default_rng(0)
    n = 1_000_000
    df = pd.DataFrame({"s": np.sort(rng.integers(0, 1000, n)), "x": rng.random(n) < 0.05})
    df["d"] = pd.Timestamp("2015") + pd.to_timedelta(np.arange(n), "h")
    start = time.process_time()
    get_elapsed(df, "x", "After", group="s", date="d")
    rolling_sums(df, "x", "s", "d", "7D")
    assert time.process_time() - start < 60  # about 1.5; a row at a time would take many minutes


def test_add_datepart_without_drop_leaves_datetimes():
    df = add_datepart(pd.DataFrame({"Date": ["2015-07-31", None]}), "Date", drop=False)
    assert df["Date"].dtype.kind == "M"
    assert df["Date"].dt.year.tolist()[0] == 2015
    assert df["Date"].isna().tolist() == [False, True]
    assert (df["Date"].iloc[:1] > "2015-01-01").all()


def test_add_datepart_never_overwrites_a_column():
    df = pd.DataFrame({"Date": pd.to_datetime(["2015-07-31"]), "Year": ["first"], "Week": [99]})
    before = df.copy()
    with pytest.raises(DataError, match=r"parts of 'Date' would overwrite column\(s\) of the frame: Year, Week"):
        add_datepart(df, "Date")
    pd.testing.assert_frame_equal(df, before)
    assert add_datepart(df, "Date", prefix="sale")["saleYear"].tolist() == [2015]
    assert df["Year"].tolist() == ["first"]
    own = add_datepart(pd.DataFrame({"Day": pd.to_datetime(["2015-07-31"])}), "Day", prefix="")
    assert own["Day"].tolist() == [31]
    assert "Year" in own
    with pytest.raises(DataError, match="overwrite column.s. of the frame: Day"):
        add_datepart(pd.DataFrame({"Day": pd.to_datetime(["2015-07-31"])}), "Day", drop=False, prefix="")


def test_add_datepart_takes_periods_and_refuses_mixed_zones():
    df = pd.DataFrame({"Date": pd.period_range("2015-07-31", periods=2, freq="D")})
    assert add_datepart(df, "Date")["Day"].tolist() == [31, 1]
    mixed = pd.DataFrame({"Date": ["2015-01-01 00:00+01:00", "2015-01-01 00:00+02:00"]})
    with pytest.raises(DataError, match="utc=True where time zones differ"):
        add_datepart(mixed, "Date")


@pytest.mark.parametrize(
    "event",
    [
        [0, 1, 0],
        [np.nan, 1.0, 0.0],
        [False, True, False],
        pd.array([None, True, False], dtype="boolean"),
        pd.array([None, 1, 0], dtype="Int64"),
        np.array([None, True, False], dtype=object),
        pd.Categorical([0, 1, 0]),
    ],
)
def test_get_elapsed_reads_every_kind_of_event_and_a_gap_is_none(event):
    df = pd.DataFrame({"Store": 1, "Date": pd.date_range("2015-01-01", periods=3), "Promo": event})
    assert get_elapsed(df, "Promo", "After")["AfterPromo"].fillna(-1).tolist() == [-1, 0, 1]


@pytest.mark.parametrize(
    "event",
    [["0", "1", "0"], ["False", "True", "False"], pd.Categorical(["a", "0", "0"]), pd.date_range("2015", periods=3)],
)
def test_get_elapsed_refuses_events_that_are_text_or_dates(event):
    df = pd.DataFrame({"Store": 1, "Date": pd.date_range("2015-01-01", periods=3), "Promo": event})
    with pytest.raises(
        DataError, match="'Promo' must hold numbers or booleans; it holds (text|date).*Say where the event happens"
    ):
        get_elapsed(df, "Promo", "After")
    assert list(df) == ["Store", "Date", "Promo"]


def test_get_elapsed_never_overwrites_a_column():
    df = pd.DataFrame({"Store": 1, "Date": pd.date_range("2015-01-01", periods=3), "Promo": 1, "AfterPromo": 7})
    with pytest.raises(DataError, match="days from 'Promo' would overwrite the frame's column 'AfterPromo'"):
        get_elapsed(df, "Promo", "After")


@pytest.mark.parametrize(
    "values", [pd.date_range("2015", periods=3), pd.to_timedelta([1, 2, 3], unit="D"), ["1", "2", "3"]]
)
def test_rolling_refuses_what_is_no_number(values):
    df = pd.DataFrame({"Store": 1, "Date": pd.date_range("2015-01-01", periods=3), "x": values})
    for rolling in (rolling_sums, rolling_means):
        with pytest.raises(DataError, match="'x' must hold numbers or booleans; it holds (date|span|text)"):
            rolling(df, "x", "Store", "Date", 2)


def test_rolling_sums_of_a_repeated_index_are_added_by_position():
    day = pd.DataFrame({"Store": [1, 2], "Date": pd.to_datetime(["2015-01-01"] * 2), "Promo": [1, 2]})
    df = pd.concat([day, day.assign(Date=pd.Timestamp("2015-01-02"))])  # the index is 0, 1, 0, 1
    with pytest.warns(UserWarning, match="index holds labels more than once.*by position"):
        sums = rolling_sums(df, "Promo", "Store", "Date", 2)
    df[sums.columns] = sums.to_numpy()
    assert len(df) == 4
    assert df["Promo_bw"].tolist() == [1, 2, 2, 4]
