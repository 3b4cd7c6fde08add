"""From a frame of anything to a frame of numbers: what `proc_df` learns of the training rows.

Categories become codes (0 is missing or unknown), missing numbers the median beside a column that says so, and
numbers are scaled. What was learned is a `Mapper`. Plain pandas; torch is not touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.core.listing import some
from learnkit.core.old_names import old_arguments
from learnkit.data.frames import check_columns, check_frame
from learnkit.tabular.columns import (
    as_numbers,
    check_listed,
    column_of,
    kind_of,
    listed,
    mixed_types,
    names_of,
    usable_kind,
)
from learnkit.tabular.mapper import CategoryColumn, Mapper, NumberColumn, narrow, plain, scaled

__all__ = ["proc_df"]


@old_arguments
def proc_df(
    df: pd.DataFrame,
    y_fld: str | Sequence[str] | None = None,
    skip_flds: Sequence[str] | None = None,
    ignore_flds: Sequence[str] | None = None,
    do_scale: bool = True,
    na_dict: dict[str, float] | None = None,
    max_n_cat: int | None = None,
    subset: int | None = None,
    mapper: Mapper | None = None,
    *,
    seed: int = 42,
) -> tuple[pd.DataFrame, NDArray[Any] | None, dict[str, float], Mapper]:
    """Split off the target and turn everything else into numbers.

    Categories (and text) become codes 1, 2, ... with 0 for missing. A number that is missing becomes the median, and
    a column `{name}_na` says where. Numbers are scaled to mean 0 and standard deviation 1, booleans stay.

    Parameters
    ----------
    df : DataFrame
        It is not changed.
    y_fld : str or sequence of str, optional
        The target's column; several for a target of several numbers.
    skip_flds : sequence of str, optional
        Columns to leave out. With `mapper`: columns that only these rows have, and nothing is said of them.
    ignore_flds : sequence of str, optional
        Columns to pass through as they are.
    do_scale : bool, default True
        Scale numbers. Without it they stay float64.
    na_dict : dict, optional
        `nas` of an earlier call: exactly these columns get a `_na` column, and these fillers.
    max_n_cat : int, optional
        A category with at most so many levels becomes columns of zeros and ones instead of codes.
    subset : int, optional
        Use only so many rows, chosen at random, in their order.
    mapper : Mapper, optional
        `mapper` of an earlier call: prepare these rows as those were, see `Mapper.transform`. It holds the
        fillers too, and all other arguments but `y_fld`, `skip_flds` and `subset` are then taken from it.
    seed : int, default 42
        Of the choice of `subset`.

    Returns
    -------
    df : DataFrame
        The prepared columns.
    y : array of shape (n,) or (n, n_targets), or None
        The target: numbers as they are, text and categories as labels; of several columns numbers only. `None`
        without `y_fld`, or where new rows have no such column.
    nas : dict of str to float
        The fillers of the columns that had missing values.
    mapper : Mapper
        What was learned; `df.attrs` carries it along, so that the model can be saved with it.

    Raises
    ------
    DataError
        If a column mixes types, holds infinite values or times; if columns share a name, or the name of a new one
        (`Km_na`); if the target has missing values. The message names the column.

    Warns
    -----
    UserWarning
        If a column holds no value at all: it is left out. With `mapper`, what `Mapper.transform` says.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import proc_df
    >>> trn = pd.DataFrame({"State": ["HE", None, "BY"], "Km": [1.0, None, 3.0], "Sales": [5, 6, 7]})
    >>> df, y, nas, mapper = proc_df(trn, "Sales", do_scale=False)
    >>> df
       State   Km  Km_na
    0      2  1.0  False
    1      0  2.0   True
    2      1  3.0  False
    >>> nas
    {'Km': 2.0}
    """
    check_frame(df)
    if mapper is not None and not isinstance(mapper, Mapper):
        raise TypeError(f"`mapper` must be what `proc_df` returned; got {type(mapper).__name__}.")
    if subset is not None:
        size = min(int(check_positive("subset", subset, integer=True)), len(df))
        df = df.iloc[np.sort(np.random.default_rng(seed).choice(len(df), size, replace=False))]
    y_fld = tuple(names_of(y_fld)) if pd.api.types.is_list_like(y_fld) else y_fld
    y = _labels(df, y_fld, needed=mapper is None)
    if mapper is not None:
        out = mapper._transform(df, listed("skip_flds", skip_flds))
    else:
        out, mapper = _learn(df, y_fld, skip_flds, ignore_flds, do_scale, na_dict, max_n_cat)
    nas = {c.name: c.fill for c in mapper.columns if isinstance(c, NumberColumn) and c.flag}
    return out, y, nas, mapper


def _learn(
    df: pd.DataFrame,
    y_fld: Any,
    skip_flds: Sequence[str] | None,
    ignore_flds: Sequence[str] | None,
    do_scale: bool,
    na_dict: dict[str, float] | None,
    max_n_cat: int | None,
) -> tuple[pd.DataFrame, Mapper]:
    skip, ignore = check_listed(df, "skip_flds", skip_flds), check_listed(df, "ignore_flds", ignore_flds)
    used = [name for name in df.columns if name not in (*skip, *ignore, *names_of(y_fld))]
    empty = [name for name in used if not df[name].notna().any()]
    used = [name for name in used if name not in empty]
    if not used:
        raise DataError(f"no column is left to learn from{f': {empty[0]!r} holds no value at all' if empty else ''}.")
    if empty:
        warnings.warn(
            f"proc_df: {len(empty)} column(s) hold no value at all and are left out: {some(empty)}.", stacklevel=3
        )
    columns: list[CategoryColumn | NumberColumn] = []
    out: dict[Any, Any] = {name: df[name] for name in ignore}
    late: dict[Any, Any] = {}
    for name in used:
        series = column_of(df, name)
        kind = usable_kind(series, name)
        if kind in ("category", "text"):
            categorical = series if kind == "category" else series.astype("category")
            values, levels = _levels(categorical, name)
            category = CategoryColumn(name, values, levels, max_n_cat is not None and len(levels) <= max_n_cat)
            codes = narrow(categorical.cat.codes.to_numpy(), len(levels))
            codes += 1
            columns.append(category)
            if category.one_hot:
                late |= {n: codes == (i + 1) % (len(levels) + 1) for i, n in enumerate(category.outputs)}
            else:
                out[name] = codes
        else:
            number, result, gaps = _learn_number(series, name, do_scale and kind != "bool", na_dict)
            columns.append(number)
            out[name] = result
            if number.flag:
                late[f"{name}_na"] = gaps
    _check_names(df, columns)
    mapper = Mapper(tuple(columns), y_fld, tuple(skip), tuple(ignore))
    return mapper._frame(out, late, df.index), mapper


def _check_names(df: pd.DataFrame, columns: list[CategoryColumn | NumberColumn]) -> None:
    """Refuse names that a file cannot keep, and two columns that would have one name."""
    odd = [c.name for c in columns if not (c.name is None or isinstance(c.name, str | int | float))]
    if odd:
        raise DataError(
            f"columns must be called by text or numbers; got {odd[0]!r} ({type(odd[0]).__name__}). Rename it."
        )
    taken = {name: f"column {name!r} of the frame" for name in df.columns}
    for column in columns:
        for name, source in column.derived:
            if name in taken:
                raise DataError(f"{taken[name]} and {source} would both be called {name!r}; rename one of them first.")
            taken[name] = source


def _learn_number(
    series: pd.Series[Any], name: str, do_scale: bool, na_dict: dict[str, float] | None
) -> tuple[NumberColumn, NDArray[Any], NDArray[np.bool_]]:
    values = as_numbers(series, name)
    gaps = np.isnan(values)
    any_gap = bool(gaps.any())
    known = values[~gaps] if any_gap else values
    dtype = "bool" if series.dtype == bool else "float32" if do_scale else "float64"
    fill = float(np.median(known))
    flag = any_gap
    if na_dict is not None:
        flag = name in na_dict
        fill = float(na_dict.get(name, fill))
        if not np.isfinite(fill):
            raise DataError(f"`na_dict` must give a number for {name!r}; got {fill}.")
    if dtype == "bool":
        fill = float(fill > 0)
    # Only what the rows hold counts: a filler that stands in no row has not been learned from.
    constant = bool((known == known[0]).all() and (not any_gap or fill == known[0]))
    if constant:
        fill = float(known[0])
    filled = np.where(gaps, fill, values) if any_gap else values
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = (float(filled.mean()), float(filled.std())) if do_scale else (0.0, 1.0)
    if constant:
        mean, std = (fill, 1.0) if do_scale else (0.0, 1.0)
    if not np.isfinite(std):
        large = np.abs(known).argmax()
        raise DataError(
            f"column {name!r} holds numbers too large to scale, such as {known[large]:g}. Correct them, make them missing, "
            "or take their logarithm."
        )
    number = NumberColumn(name, fill, flag, mean, std or 1.0, dtype, constant, kind_of(series, name) == "bool")
    return number, scaled(values, gaps, number), gaps


def _levels(categorical: pd.Series[Any], name: str) -> tuple[str, tuple[Any, ...]]:
    """Return what kind of values the categories are, and the categories as JSON can hold them."""
    categories = categorical.cat.categories
    inferred = pd.api.types.infer_dtype(categories, skipna=False)
    if inferred.startswith("mixed") and inferred != "mixed-integer-float":
        raise DataError(mixed_types(categories.tolist(), name))
    values = _VALUES.get(inferred, "other")
    return values, tuple(plain(level, values) for level in categories)


_VALUES = {
    "string": "text", "integer": "int", "floating": "float", "mixed-integer-float": "float", "boolean": "bool",
    "date": "date", "datetime": "date", "datetime64": "date",
}  # fmt: skip


def _labels(df: pd.DataFrame, y_fld: Any, *, needed: bool) -> NDArray[Any] | None:
    """Return the target, of several columns side by side; `None` where new rows have none."""
    targets = names_of(y_fld)
    absent = [name for name in targets if name not in df.columns]
    if absent and (needed or len(absent) < len(targets)):
        check_columns(df.columns, absent, "`y_fld`: the frame")
    if absent or not targets:
        return None
    if not isinstance(y_fld, tuple):
        return _target(column_of(df, y_fld), y_fld)
    parts = [_target(column_of(df, name), name) for name in targets]
    for name, part in zip(targets, parts, strict=True):
        if part.dtype == object:
            raise DataError(
                f"several targets must be numbers, or zeros and ones; {name!r} holds {some(part[:3].tolist())}. Predict a class "
                "by a model of its own."
            )
    return np.stack(parts, axis=1)


def _target(series: pd.Series[Any], name: Any) -> NDArray[Any]:
    missing = int(series.isna().sum())
    if missing:
        raise DataError(
            f"the target {name!r} has {missing:,} missing value(s), the first in row {int(series.isna().to_numpy().argmax())}. "
            f"Leave these rows out: df = df[df[{name!r}].notna()]."
        )
    kind = kind_of(series, name)
    if kind in ("date", "span"):
        raise DataError(
            f"the target {name!r} holds {'dates' if kind == 'date' else 'spans of time'}; turn them into numbers first, days "
            "since a start for example."
        )
    if kind in ("category", "text"):
        _levels(series if kind == "category" else series.astype("category"), name)
        return series.to_numpy(dtype=object)
    if kind == "number":
        values = as_numbers(series, name)  # refuses infinite values
        if not pd.api.types.is_integer_dtype(series.dtype):
            return values
        # Whole numbers from 2**63 on would turn negative in the signed type.
        unsigned = pd.api.types.is_unsigned_integer_dtype(series.dtype)
        return series.to_numpy(dtype=np.uint64 if unsigned else np.int64)
    return series.to_numpy(dtype=bool)
