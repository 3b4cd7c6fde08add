"""Rows as people have them (a frame, dicts, lists of dicts) as columns of plain values, without pandas.

The values are those of the frame that `learnkit.data.frames` makes of the same rows, so that both are prepared alike.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from learnkit.core.errors import DataError

__all__ = ["as_python", "columns_of", "is_missing", "some"]


def columns_of(items: Any) -> dict[Any, list[Any]]:
    """Return rows as the values of each column; in a row without a column its value is `None`.

    Parameters
    ----------
    items : mapping, list of mapping, frame or series
        A dict of single values and a series are one row, a dict of lists is several.

    Returns
    -------
    dict of name to list
        All of one length.

    Raises
    ------
    DataError
        If they are none of these, or the columns do not make rows.
    """
    if hasattr(items, "iloc"):  # pandas is recognised, never imported
        if not hasattr(items, "columns"):
            return columns_of(dict(items.items()))
        names = list(items.columns)
        if len(set(names)) < len(names) or getattr(items.columns, "nlevels", 1) > 1:
            raise DataError("the columns of the frame must have names of their own, of one level; rename them.")
        return {name: items[name].tolist() for name in names}
    if isinstance(items, Mapping):
        return {name: _as_in_a_frame(values) for name, values in _lists(items).items()}
    if isinstance(items, list | tuple) and items and all(isinstance(row, Mapping) for row in items):
        names = list(dict.fromkeys(name for row in items for name in row))
        return {name: _as_in_a_frame([row.get(name) for row in items]) for name in names}
    raise DataError(
        f"rows must be a dict, a list of dicts or a frame, and not empty; got {type(items).__name__} {items!r:.60}."
    )


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: `None`, NaN, or one of pandas' own."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def as_python(value: Any) -> Any:
    """Return what numpy holds as Python's own value; a date stays, as its item may be a number that means something else."""
    dates = np.datetime64 | np.timedelta64
    return value.item() if isinstance(value, np.generic) and not isinstance(value, dates) else value


def some(values: Sequence[Any], n: int = 5) -> str:
    """Return the first `n` values as text, for a message."""
    return ", ".join(map(str, values[:n])) + (", ..." if len(values) > n else "")


def _lists(items: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    """Return each column as a list, single values repeated in each row."""
    if any(hasattr(values, "iloc") for values in items.values()):
        raise DataError(
            "the dict holds pandas series, whose rows have labels; make a frame of it: pd.DataFrame(items)."
        )
    lists = {name: list(values) for name, values in items.items() if _is_list(values)}
    lengths = sorted({len(values) for values in lists.values()})
    if len(lengths) > 1:
        raise DataError(f"the columns of the dict do not make rows: they have {some(lengths)} values.")
    n = lengths[0] if lengths else 1
    return {name: lists[name] if name in lists else [value] * n for name, value in items.items()}


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple | range) or (hasattr(values, "tolist") and getattr(values, "ndim", 0) > 0)


def _as_in_a_frame(values: list[Any]) -> list[Any]:
    """Return whole numbers as floats where a frame would hold them so: beside a fraction or a missing value."""
    if {type(value) for value in values} <= {int}:
        return values
    whole = [isinstance(value, int | np.integer) and _fits(value) for value in values]
    rest = (value for value, known in zip(values, whole, strict=True) if not known)
    if all(value is None or isinstance(value, float | np.floating) for value in rest) and not all(whole):
        return [float(value) if known else value for value, known in zip(values, whole, strict=True)]
    return values


def _fits(value: Any) -> bool:
    """Whether an integer, which a boolean is not, is one of 64 bits."""
    return not isinstance(value, bool | np.timedelta64) and -(2**63) <= int(value) < 2**64
