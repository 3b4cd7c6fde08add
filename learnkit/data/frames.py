"""Rows as people have them (frames, dicts, lists of dicts) as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from learnkit.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rows", "as_frame"]

Rows: TypeAlias = "pd.DataFrame | pd.Series[Any] | Mapping[Any, Any] | Sequence[Mapping[Any, Any]]"


def as_frame(rows: Rows) -> pd.DataFrame:
    """Return rows as a frame: a series or a dict of single values is one row, a dict of lists and a list of dicts several.

    Raises
    ------
    TypeError
        If they are none of these.
    DataError
        If the lists of a dict differ in length.
    """
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return rows
    if isinstance(rows, pd.Series):
        return pd.DataFrame([dict(zip(rows.index, rows.tolist(), strict=True))])
    if isinstance(rows, Mapping):
        several = [name for name, value in rows.items() if pd.api.types.is_list_like(value)]
        try:
            return pd.DataFrame(dict(rows) if several else [dict(rows)])
        except ValueError as exc:
            raise DataError(f"the columns of the dict do not make rows: {exc}.") from exc
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame([dict(row) for row in rows])
    raise TypeError(f"rows must be a DataFrame, a Series, a dict or a list of dicts; got {type(rows).__name__}.")
