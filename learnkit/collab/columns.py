"""Columns beside the ids: the ratings, when each was given, and what an item is called."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learnkit.collab.ids import Vocabulary, decoded
from learnkit.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    Titles = Mapping[Any, str] | pd.Series[Any]

__all__ = ["as_ratings", "as_times", "check_titles", "compact", "title_of", "titles_of"]

STEP = 1 << 18  # rows looked at a time


def as_ratings(column: pd.Series) -> NDArray[np.float32]:
    """Return ratings in single precision, or name the first that is no number."""
    import pandas as pd

    if column.dtype.kind in "mM":
        raise DataError(f"column {column.name!r} must hold ratings; got the date or span {column.iloc[0]!r}.")
    if column.dtype.kind == "c":
        raise DataError(f"column {column.name!r} must hold ratings; got the complex number {column.iloc[0]!r}.")
    if column.dtype.kind not in "iufb":
        written = decoded(column).astype(object)
        try:
            column = pd.to_numeric(written, errors="coerce")
        except OverflowError:  # a whole number of hundreds of digits
            column = pd.to_numeric(written.map(_within_reach), errors="coerce")
    else:
        written = column
    with np.errstate(over="ignore"):  # what single precision cannot hold is named below
        values = column.to_numpy(dtype=np.float32, na_value=np.nan)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        value = written.iloc[row]
        value = value.item() if isinstance(value, np.generic) else value
        raise DataError(
            f"{int((~finite).sum())} rating(s) in column {column.name!r} are missing, infinite, beyond 3.4e38 or no number, "
            f"the first is {value!r} in row {row}. Drop or repair them. Without ratings pass rating_name=None."
        )
    return np.array(values, dtype=np.float32) if values.base is not None else values


def compact(ratings: NDArray[np.float32]) -> NDArray[Any]:
    """Return the ratings in half precision where nothing is lost."""
    if np.abs(ratings).max() > 1000:  # beyond that even whole numbers and halves are rounded
        return ratings
    half = ratings.astype(np.float16)
    return (
        half if all((half[i : i + STEP] == ratings[i : i + STEP]).all() for i in range(0, len(half), STEP)) else ratings
    )


def as_times(column: pd.Series) -> NDArray[Any]:
    """Return times that sort: numbers as they are, dates in UTC; text as ISO 8601 writes dates (`2024-01-31T12:00+02:00`).

    Raises
    ------
    DataError
        If one is missing, or is neither a number nor a date; its row is named.
    """
    column = decoded(column)
    if column.isna().any():
        row = int(np.flatnonzero(column.isna().to_numpy())[0])
        raise DataError(f"column {column.name!r} has no time in row {row}. Drop such rows, or leave out `time_name`.")
    if column.dtype.kind in "iuf":
        return column.to_numpy()
    if column.dtype.kind == "M" or column.dtype.kind in "OSU":
        dates = column if column.dtype.kind == "M" else _dates(column.astype(object))
        if dates is not None:
            zone = getattr(dates.dt, "tz", None)
            if zone is not None:
                dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
            return dates.to_numpy(dtype="datetime64[ns]")
    raise DataError(
        f"column {column.name!r} must hold numbers, dates or text like 2024-01-31 12:00; got {column.iloc[0]!r}. Convert it, "
        "pd.to_datetime(df[column], format=...), and make the dataset with `from_data_frame`."
    )


def _within_reach(value: Any) -> Any:
    """Return a number that a float can hold; infinity for a larger one."""
    return math.inf if isinstance(value, int) and abs(value) > sys.float_info.max else value


def _dates(column: pd.Series) -> pd.Series | None:
    """Return dates that are objects or ISO 8601 text as a column in UTC; `None` where one is no date."""
    import pandas as pd

    if any(isinstance(value, int | float) for value in column):  # to_datetime would take them for nanoseconds
        return None
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601")
    except (TypeError, ValueError, OverflowError):
        return None


def check_titles(titles: Any, name: str) -> dict[Any, Any]:
    """Return a mapping from ids to titles as a dict, or say what it must be."""
    import pandas as pd

    if isinstance(titles, pd.Series) or (isinstance(titles, Mapping) and not isinstance(titles, pd.DataFrame)):
        return dict(titles.items())
    raise TypeError(
        f"`{name}` must map item ids to titles, as a dict or a Series does whose index are the ids "
        f"(movies.set_index('movieId').title); got {type(titles).__name__}."
    )


def titles_of(items: Vocabulary, titles: Titles) -> list[str]:
    """Return a title for each item: the one given, else, or where it is missing, its id.

    Raises
    ------
    DataError
        If not one item has a title.
    """
    known = check_titles(titles, "titles")
    ids = items.decode(np.arange(1, items.size))
    if not any(item in known for item in ids):
        raise DataError(
            f"`titles` has none of the {len(ids)} items. Its keys look like {next(iter(known), None)!r}, the ids like "
            f"{ids[0]!r}; both must be of the same type."
        )
    return [title_of(known, item, item) for item in ids]


def title_of(known: Mapping[Any, Any], item: Hashable, otherwise: Any) -> str:
    """Return the title of an item, or something else where it has none or a missing one."""
    import pandas as pd

    title = known.get(item)
    missing = title is None or (pd.api.types.is_scalar(title) and pd.isna(title)) or not str(title).strip()
    return str(otherwise if missing else title)
