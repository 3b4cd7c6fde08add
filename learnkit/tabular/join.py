"""Looking rows up in another table, and saying what was not found."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pandas as pd

from learnkit.core.errors import DataError
from learnkit.tabular.columns import EXACT_FLOAT64, check_column, column_of, kind_of, names_of

__all__ = ["join_df"]


def join_df(
    left: pd.DataFrame,
    right: pd.DataFrame,
    left_on: str | Sequence[str],
    right_on: str | Sequence[str] | None = None,
    suffix: str = "_y",
) -> pd.DataFrame:
    """Look every row of `left` up in `right`: a left outer join that says what it did not find.

    Parameters
    ----------
    left, right : DataFrame
        Rows of `left` keep their order. Give `right` one row per key.
    left_on : str or sequence of str
        The key in `left`.
    right_on : str or sequence of str, optional
        The key in `right`, where it is called otherwise.
    suffix : str, default "_y"
        Added to the names of columns of `right` that `left` has too. Joining the same table twice needs another one
        the second time.

    Returns
    -------
    DataFrame
        With a new index 0, 1, ... Columns from `right` are missing where nothing matched. A row whose key is missing
        matches nothing.

    Raises
    ------
    DataError
        If a key column is missing, the keys are of two types (text and numbers, floats and whole numbers beyond
        2**53), or two columns would have one name.

    Warns
    -----
    UserWarning
        With the number of rows that found no match, and if `right` holds a key twice, which repeats rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import join_df
    >>> sales = pd.DataFrame({"Store": [1, 2, 1], "Sales": [5, 6, 7]})
    >>> join_df(sales, pd.DataFrame({"Store": [1, 2], "State": ["HE", "BY"]}), "Store")
       Store  Sales State
    0      1      5    HE
    1      2      6    BY
    2      1      7    HE
    """
    left_keys = names_of(left_on)
    right_keys = left_keys if right_on is None else names_of(right_on)
    if not left_keys or len(left_keys) != len(right_keys):
        raise DataError(f"`left_on` and `right_on` must name as many columns; got {left_keys} and {right_keys}.")
    for frame, keys, name in ((left, left_keys, "left"), (right, right_keys, "right")):
        for key in keys:
            check_column(frame, key, name)
    _check_new_names(left, right, left_keys, right_keys, suffix)
    ours, theirs = _with_plain_keys(left, left_keys), _with_plain_keys(right, right_keys)
    theirs = theirs[theirs[right_keys].notna().all(axis=1)]  # pandas would let one missing key match another
    for left_key, right_key in zip(left_keys, right_keys, strict=True):
        _check_kinds(ours[left_key], theirs[right_key], left_key, right_key)
    try:
        # The indicator has a name of its own, which neither table can have by chance.
        joined = ours.merge(
            theirs,
            how="left",
            left_on=left_keys,
            right_on=right_keys,
            suffixes=("", suffix),
            indicator="_join_df_found",
        )
    except (ValueError, TypeError) as exc:
        raise DataError(f"the tables cannot be joined on {left_keys}: {exc}") from exc
    unmatched = int((joined.pop("_join_df_found") == "left_only").sum())
    if unmatched:
        no_key = int(left[left_keys].isna().any(axis=1).sum())
        warnings.warn(
            f"join_df: {unmatched:,} of {len(left):,} rows found no match on {', '.join(map(str, left_keys))}"
            f"{f' ({no_key:,} have no key)' if no_key else ''}; their new columns are missing values.",
            stacklevel=2,
        )
    if len(joined) > len(left):
        warnings.warn(
            f"join_df: the result has {len(joined):,} rows, `left` has {len(left):,}: `right` holds some keys more than "
            f"once. For one row each, pass right.drop_duplicates({right_keys}).",
            stacklevel=2,
        )
    return joined


def _check_new_names(
    left: pd.DataFrame, right: pd.DataFrame, left_keys: list[Any], right_keys: list[Any], suffix: str
) -> None:
    """Refuse a suffix by which two columns would get one name."""
    same_keys = {ours for ours, theirs in zip(left_keys, right_keys, strict=True) if ours == theirs}
    taken: dict[Any, str] = {name: f"column {name!r} of `left`" for name in left.columns}
    for name in right.columns:
        if name in same_keys:
            continue
        new = f"{name}{suffix}" if name in left.columns else name
        if new in taken:
            raise DataError(
                f"{taken[new]} and column {name!r} of `right` would both be called {new!r}; tell them apart with another "
                f"`suffix` than {suffix!r}, or leave one out."
            )
        taken[new] = f"column {name!r} of `right`"


def _with_plain_keys(df: pd.DataFrame, keys: list[Any]) -> pd.DataFrame:
    """Return the frame with keys that pandas can compare: Arrow's dictionaries as categories."""
    plain = {key: column for key in keys if (column := column_of(df, key)).dtype != df.dtypes[key]}
    if not plain:
        return df
    out = df.copy(deep=False)
    for key, column in plain.items():
        out[key] = column
    return out


def _check_kinds(left: pd.Series[Any], right: pd.Series[Any], left_key: Any, right_key: Any) -> None:
    """Refuse keys that hold two kinds of values: they would never match, or match by chance."""
    ours, theirs = _values(left), _values(right)
    if ours.empty or theirs.empty:
        return
    kinds = kind_of(ours, left_key), kind_of(theirs, right_key)
    problem = f"the key {left_key!r} of `left` is {left.dtype} ({kinds[0]}), {right_key!r} of `right` is {right.dtype} ({kinds[1]})"
    if kinds[0] != kinds[1]:
        advice = {
            frozenset(
                {"text", "number"}
            ): "Make both numbers, pd.to_numeric(...), or both text as it is written in the file",
            frozenset({"text", "date"}): "Make both dates: pd.to_datetime(...)",
            frozenset({"text", "span"}): "Make both spans: pd.to_timedelta(...)",
            frozenset({"bool", "number"}): "Make both numbers: .astype(int)",
        }.get(frozenset(kinds), "Make them one type: .astype(str) for both, for example")
        raise DataError(f"{problem}. {advice}.")
    for whole, other in ((ours, theirs), (theirs, ours)):
        large = pd.api.types.is_integer_dtype(whole.dtype) and pd.api.types.is_float_dtype(other.dtype)
        if large and (whole.max() > EXACT_FLOAT64 or whole.min() < -EXACT_FLOAT64):
            raise DataError(
                f"{problem}: floats cannot tell apart whole numbers above {EXACT_FLOAT64:,}. Read both as whole numbers "
                "(dtype='Int64' where some are missing) or as text."
            )


def _values(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return what a key column holds; of a categorical its categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.categories.to_series()
    return column.dropna()
