"""Frames: rows as people have them (frames, dicts, lists of dicts), and the checks of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from learnkit.core.errors import DataError
from learnkit.core.listing import some

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rows", "as_frame", "check_columns", "check_frame"]

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


def check_frame(df: Any) -> None:
    """Refuse what is no frame, has no rows, or columns that cannot be told apart by name."""
    import pandas as pd

    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"`df` must be a pandas DataFrame; got {type(df).__name__}.")
    check_columns(df.columns, [], "the frame")
    if not df.columns.is_unique:
        twice = sorted({str(name) for name in df.columns[df.columns.duplicated()]})
        raise DataError(f"several columns share the name(s) {some(twice)}; rename or drop one of each.")
    if not len(df):
        raise DataError("the frame has no rows.")


def check_columns(columns: Sequence[Any] | pd.Index[Any], names: Sequence[Any], where: str) -> None:
    """Refuse columns of which some are missing, naming those that are there, or are there twice.

    Parameters
    ----------
    columns : sequence
        Those that are there.
    names : sequence
        Those that must be.
    where : str
        What has them, for the message: "the frame", a file.
    """
    if getattr(columns, "nlevels", 1) > 1:
        raise DataError(f"the columns of {where} have several levels; join their names into one first.")
    there = list(columns)
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f"{where} has no column {some([repr(name) for name in missing])}; it has: "
            f"{some([repr(name) for name in there], 20) or 'none'}."
        )
    twice = [name for name in names if there.count(name) > 1]
    if twice:
        raise DataError(f"{where} has several columns called {twice[0]!r}; rename or drop one of each.")
