"""Features from dates and from a table's history: date parts, days since an event, rolling sums.

Plain pandas in, plain pandas out; nothing here touches torch. Everything works on whole columns, so a million
rows take seconds.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.core.listing import some
from learnkit.tabular.columns import check_column, column_of, kind_of

__all__ = ["add_datepart", "get_elapsed", "rolling_means", "rolling_sums"]

DATE_PARTS = (
    "Year", "Month", "Week", "Day", "Dayofweek", "Dayofyear",
    "Is_month_end", "Is_month_start", "Is_quarter_end", "Is_quarter_start", "Is_year_end", "Is_year_start",
)  # fmt: skip
TIME_PARTS = ("Hour", "Minute", "Second")
_PANDAS_NAMES = {"Dayofweek": "day_of_week", "Dayofyear": "day_of_year"}
US_PER_DAY = 86_400_000_000


def add_datepart(
    df: pd.DataFrame, fld: str, drop: bool = True, time: bool = False, *, prefix: str | None = None
) -> pd.DataFrame:
    """Add the parts of a date as columns: year, month, week, day, day of week and of year, period ends, seconds.

    The names start with `prefix`, or else with `fld` without a final "Date": `saledate` gives `saleYear`, `Date` gives
    `Year`.

    Parameters
    ----------
    df : DataFrame
        Changed in place.
    fld : str
        A column of dates, or of text that reads as dates.
    drop : bool, default True
        Remove `fld`. Without it the column stays, as datetimes.
    time : bool, default False
        Also add `Hour`, `Minute` and `Second`.
    prefix : str, optional
        What the new names start with.

    Returns
    -------
    DataFrame
        `df` itself. `Elapsed` counts seconds since 1970 (in UTC, where the dates have a time zone; the other parts
        are those of the local clock). Of a missing date the numbers are missing and the `Is_` columns are false.

    Raises
    ------
    DataError
        If there is no such column, it holds no dates, or the frame has a column with one of the new names.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import add_datepart
    >>> df = pd.DataFrame({"Date": pd.to_datetime(["2015-07-31", "2015-08-01"])})
    >>> add_datepart(df, "Date")[["Year", "Month", "Day", "Dayofweek", "Is_month_end", "Elapsed"]]
       Year  Month  Day  Dayofweek  Is_month_end     Elapsed
    0  2015      7   31          4          True  1438300800
    1  2015      8    1          5         False  1438387200
    """
    dates = _dates(df, fld)
    start = re.sub("[Dd]ate$", "", str(fld)) if prefix is None else prefix
    parts = DATE_PARTS + (TIME_PARTS if time else ())
    new = [start + part for part in (*parts, "Elapsed")]
    taken = [name for name in new if name in df.columns and not (drop and name == fld)]
    if taken:
        raise DataError(
            f"the parts of {fld!r} would overwrite column(s) of the frame: {some(taken)}. Rename or drop them, or call the new "
            "ones otherwise: add_datepart(..., prefix='...')."
        )
    missing = dates.isna()
    none_missing = not missing.any()

    def number(values: pd.Series[Any]) -> pd.Series[Any]:
        # Whole numbers when every date is there, floats with NaN when not, whatever pandas gives.
        return values.astype("int64" if none_missing else "float64")

    if not drop:
        df[fld] = dates
    elif fld not in new:
        del df[fld]
    for part in parts:
        if part == "Week":
            df[start + part] = number(dates.dt.isocalendar().week.astype("Int64"))
        else:
            values = getattr(dates.dt, _PANDAS_NAMES.get(part, part.lower()))
            df[start + part] = values.fillna(False).astype(bool) if part.startswith("Is_") else number(values)
    utc = dates if dates.dt.tz is None else dates.dt.tz_convert("UTC").dt.tz_localize(None)
    seconds = pd.Series(utc.to_numpy().astype("datetime64[s]").astype("int64"), index=df.index)
    df[start + "Elapsed"] = number(seconds if none_missing else seconds.astype("float64").mask(missing))
    return df


def get_elapsed(df: pd.DataFrame, fld: str, pre: str, group: str = "Store", date: str = "Date") -> pd.DataFrame:
    """Add the days since the latest row of the same group in which `fld` was true, as the column `pre + fld`.

    Sort by group and date first. With dates falling (`ascending=[True, False]`) the latest such row lies in the
    future, and the result is the days until it, as a negative number. The row itself counts: there it is 0.

    Parameters
    ----------
    df : DataFrame
        Changed in place. Its order within each group decides.
    fld : str
        A column of booleans or numbers: true or non-zero where the event happens. A missing value is no event.
    pre : str
        Start of the new column's name: `"After"`, `"Before"`.
    group, date : str
        Columns to group by and to count days from; parts of a day count as fractions.

    Returns
    -------
    DataFrame
        `df` itself; the new column is NaN before a group's first event.

    Raises
    ------
    DataError
        If a column is missing, `fld` holds neither booleans nor numbers, the frame has a column of the new name, or
        the dates of a group neither rise nor fall.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import get_elapsed
    >>> df = pd.DataFrame({"Store": [1, 1, 1, 2], "Date": pd.date_range("2015-01-01", periods=4), "Promo": [0, 1, 0, 0]})
    >>> get_elapsed(df, "Promo", "After")["AfterPromo"].tolist()
    [nan, 0.0, 1.0, nan]
    """
    check_column(df, fld)
    if pre + fld in df.columns:
        raise DataError(
            f"the days from {fld!r} would overwrite the frame's column {pre + fld!r}; drop it first, or use another `pre`."
        )
    happened = _numbers(column_of(df, fld), fld, "Say where the event happens: df[{name!r}] = df[{name!r}] == ...")
    order, starts = _group_order(df, group)
    moments = _moments(df, date)[order]
    step = np.diff(moments)
    within = np.ones(len(step), dtype=bool)
    within[starts[1:] - 1] = False  # the step from one group to the next says nothing
    if not ((step >= 0) | ~within).all() and not ((step <= 0) | ~within).all():
        raise DataError(
            f"the rows of each {group!r} must be in order of {date!r}. Sort first: "
            f"df.sort_values([{group!r}, {date!r}]), with ascending=[True, False] for the days until."
        )
    event = ((happened != 0) & ~np.isnan(happened))[order]
    position = np.arange(len(df))
    latest = np.maximum.accumulate(np.where(event, position, -1))
    first = np.repeat(starts, np.diff(np.append(starts, len(df))))
    elapsed = np.where(latest >= first, (moments - moments[np.maximum(latest, 0)]) / US_PER_DAY, np.nan)
    result = np.empty(len(df))
    result[order] = elapsed
    df[pre + fld] = result
    return df


def rolling_sums(
    df: pd.DataFrame,
    cols: str | Sequence[str],
    group: str,
    date: str,
    window: int | str,
    *,
    forward: bool = False,
    current: bool = True,
) -> pd.DataFrame:
    """Sum columns over the rows of the same group in a window that ends (or starts) at each row.

    Parameters
    ----------
    df : DataFrame
        In any order; it is not changed.
    cols : str or sequence of str
        Columns of numbers. Missing values are left out of the sums.
    group, date : str
        Columns to group by and to order by.
    window : int or str
        A number of rows, or a span of time such as `"7D"` or `"36h"`.
    forward : bool, default False
        Look ahead instead of back.
    current : bool, default True
        Whether the row itself counts. Without it, and with a span of time, rows of the same moment do not count
        either: what is left was known before.

    Returns
    -------
    DataFrame
        Columns `{col}_bw` (`{col}_fw` with `forward`), with the rows and the index of `df`; NaN where the window
        holds no value. Add them by position, which is right whatever the index: `df[sums.columns] = sums.to_numpy()`.

    Raises
    ------
    DataError
        If a column is missing or holds no numbers, or dates are missing.

    Warns
    -----
    UserWarning
        If the index of `df` holds a label more than once: `df.join(...)` would repeat rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import rolling_sums
    >>> df = pd.DataFrame({"Store": [1, 1, 1, 2], "Date": pd.date_range("2015-01-01", periods=4), "Promo": [1, 1, 0, 1]})
    >>> rolling_sums(df, "Promo", "Store", "Date", 2)["Promo_bw"].tolist()
    [1.0, 2.0, 1.0, 1.0]
    """
    return _rolling(df, cols, group, date, window, forward, current, mean=False)


def rolling_means(
    df: pd.DataFrame,
    cols: str | Sequence[str],
    group: str,
    date: str,
    window: int | str,
    *,
    forward: bool = False,
    current: bool = True,
) -> pd.DataFrame:
    """Average columns over the rows of the same group in a window; see `rolling_sums`.

    Returns
    -------
    DataFrame
        Columns `{col}_mean_bw` (`{col}_mean_fw` with `forward`), with the rows and the index of `df`.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import rolling_means
    >>> df = pd.DataFrame({"Store": [1, 1, 1, 2], "Date": pd.date_range("2015-01-01", periods=4), "Sales": [4, 6, 8, 1]})
    >>> rolling_means(df, "Sales", "Store", "Date", "7D", current=False)["Sales_mean_bw"].tolist()
    [nan, 4.0, 5.0, nan]
    """
    return _rolling(df, cols, group, date, window, forward, current, mean=True)


def _rolling(
    df: pd.DataFrame,
    cols: str | Sequence[str],
    group: str,
    date: str,
    window: int | str,
    forward: bool,
    current: bool,
    *,
    mean: bool,
) -> pd.DataFrame:
    names = [cols] if isinstance(cols, str) else list(cols)
    for name in names:
        check_column(df, name)
    columns = [
        _numbers(column_of(df, name), name, "Sums and means are of numbers; leave it out, or convert it first.")
        for name in names
    ]
    moments = _moments(df, date)
    if forward:
        moments = -moments  # ahead in time is back in minus time
    order, starts = _group_order(df, group, moments)
    moments = moments[order]
    n, position = len(df), np.arange(len(df))
    sizes = np.diff(np.append(starts, n))
    first = np.repeat(starts, sizes)
    if isinstance(window, str):
        span = _microseconds(window)
        # Moments become ranks, so that one sorted axis of whole numbers holds all groups one after the other.
        distinct, rank = np.unique(moments, return_inverse=True)
        offset = np.repeat(np.arange(len(starts)), sizes) * (len(distinct) + 1)
        oldest = np.searchsorted(distinct, moments - span, side="right" if current else "left")
        begin = np.searchsorted(offset + rank, offset + oldest)
        end = position + 1 if current else np.searchsorted(offset + rank, offset + rank)
    else:
        rows = int(check_positive("window", window, integer=True))
        begin = np.maximum(first, position - rows + (1 if current else 0))
        end = position + (1 if current else 0)
    begin = np.maximum(begin, first)
    empty = begin >= end
    out: dict[str, NDArray[np.float64]] = {}
    for name, column in zip(names, columns, strict=True):
        values = column[order]
        known = ~np.isnan(values)
        total = _window_sums(np.where(known, values, 0.0), begin, end)
        count = end - begin if known.all() else _window_sums(known.astype(np.float64), begin, end)
        total[empty | (count == 0)] = np.nan
        result = np.empty(n)
        result[order] = total / np.maximum(count, 1) if mean else total
        out[f"{name}{'_mean' if mean else ''}_{'fw' if forward else 'bw'}"] = result
    if not df.index.is_unique:
        warnings.warn(
            "the frame's index holds labels more than once, so df.join(...) would repeat rows; add the result by position: "
            "df[sums.columns] = sums.to_numpy().",
            stacklevel=3,
        )
    return pd.DataFrame(out, index=df.index)


def _window_sums(values: NDArray[np.float64], begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float64]:
    """Sum `values[begin[i]:end[i]]` for every i; what an empty window gives is not defined.

    Each window is added up by itself, so unlike differences of a running total the sums carry no error from
    the rest of the column.
    """
    if not len(values):
        return np.empty(0)
    bounds = np.empty(2 * len(values), dtype=np.int64)
    bounds[0::2], bounds[1::2] = np.minimum(begin, len(values)), end
    return np.add.reduceat(np.append(values, 0.0), bounds)[0::2]


def _group_order(
    df: pd.DataFrame, group: str, moments: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the rows group by group (in order of `moments`), and where each group starts."""
    check_column(df, group)
    codes = pd.factorize(df[group], use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable") if moments is None else np.lexsort((moments, codes))
    sorted_codes = codes[order]
    starts = np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]]) if len(df) else np.empty(0, np.int64)
    return order, starts


def _moments(df: pd.DataFrame, date: str) -> NDArray[np.int64]:
    """Return a date column as microseconds since 1970."""
    dates = _dates(df, date)
    if dates.isna().any():
        raise DataError(f"{int(dates.isna().sum())} row(s) have no {date!r}; drop or fill them first.")
    utc = dates if dates.dt.tz is None else dates.dt.tz_convert("UTC").dt.tz_localize(None)
    return utc.to_numpy().astype("datetime64[us]").astype("int64")


def _microseconds(window: str) -> int:
    try:
        span = pd.Timedelta(window)
    except ValueError as exc:
        raise ValueError(f"`window` must be a number of rows or a span of time such as '7D'; got {window!r}.") from exc
    check_positive("window", span / pd.Timedelta(microseconds=1))
    return int(span / pd.Timedelta(microseconds=1))


def _dates(df: pd.DataFrame, fld: str) -> pd.Series[Any]:
    check_column(df, fld)
    column = df[fld]
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        dates = pd.to_datetime(column)  # Arrow's dates become pandas' own
        return dates if hasattr(dates, "dt") and not hasattr(dates.dtype, "pyarrow_dtype") else _from_arrow(dates)
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise DataError(
            f"column {fld!r} holds {column.dtype} numbers, not dates. Say what they count: "
            f"pd.to_datetime(df[{fld!r}], unit='s')."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas 2 gives objects where time zones differ
            return pd.to_datetime(column)
    except (ValueError, TypeError, OverflowError, FutureWarning) as exc:
        raise DataError(
            f"column {fld!r} cannot be read as dates: {exc}. Convert it yourself with pd.to_datetime(df[{fld!r}], format=...), "
            "with utc=True where time zones differ."
        ) from exc


def _from_arrow(dates: pd.Series[Any]) -> pd.Series[Any]:
    return pd.Series(dates.to_numpy(dtype="datetime64[us]", na_value=np.datetime64("NaT", "ns")), index=dates.index)


def _numbers(column: pd.Series[Any], name: Any, advice: str) -> NDArray[np.float64]:
    """Return numbers or booleans as float64 with NaN for missing; anything else is refused."""
    kind = kind_of(column, name)
    if kind == "category":
        kind = kind_of(column.cat.categories.to_series(), name)
    if kind not in ("number", "bool"):
        if not column.notna().any():
            return np.full(len(column), np.nan)
        raise DataError(
            f"column {name!r} must hold numbers or booleans; it holds {kind} ({column.dtype}), such as "
            f"{column.dropna().iloc[0]!r}. {advice.format(name=name)}"
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
