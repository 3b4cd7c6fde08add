"""From a frame of anything to a frame of numbers: what `proc_df` learns of the training rows.

Categories become codes (0 is missing or unknown), missing numbers the median beside a column that says so, and
numbers are scaled. What was learned is a `Mapper`. Plain pandas; torch is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.tabular.columns import DATES, as_numbers, check_frame, check_listed, kind_of, mixed_types, some
from learnkit.tabular.mapper import CategoryColumn, Mapper, NumberColumn, narrow, plain, scaled

__all__ = ["proc_df"]


def proc_df(
    df: pd.DataFrame,
    y_fld: str | None = None,
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
    y_fld : str, optional
        The target's column.
    skip_flds : sequence of str, optional
        Columns to leave out.
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
        fillers too, and all other arguments but `y_fld` and `subset` are then taken from it.
    seed : int, default 42
        Of the choice of `subset`.

    Returns
    -------
    df : DataFrame
        The prepared columns.
    y : array of shape (n,) or None
        The target: numbers as they are, text and categories as labels. `None` without `y_fld`, or where new rows
        have no such column.
    nas : dict of str to float
        The fillers of the columns that had missing values.
    mapper : Mapper
        What was learned; `df.attrs` carries it along, so that the model can be saved with it.

    Raises
    ------
    DataError
        If a column mixes types, is empty, holds infinite values or dates; if columns share a name; if the target has
        missing values. The message names the column.

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
    if y_fld is not None and y_fld not in df.columns and mapper is None:
        raise DataError(f"there is no column {y_fld!r} to predict; the frame has: {some(list(df.columns), 20)}.")
    y = None if y_fld is None or y_fld not in df.columns else _target(df[y_fld], y_fld)
    if mapper is not None:
        out = mapper.transform(df)
    else:
        out, mapper = _learn(df, y_fld, skip_flds, ignore_flds, do_scale, na_dict, max_n_cat)
    nas = {c.name: c.fill for c in mapper.columns if isinstance(c, NumberColumn) and c.flag}
    return out, y, nas, mapper


def _learn(
    df: pd.DataFrame,
    y_fld: str | None,
    skip_flds: Sequence[str] | None,
    ignore_flds: Sequence[str] | None,
    do_scale: bool,
    na_dict: dict[str, float] | None,
    max_n_cat: int | None,
) -> tuple[pd.DataFrame, Mapper]:
    skip, ignore = check_listed(df, "skip_flds", skip_flds), check_listed(df, "ignore_flds", ignore_flds)
    used = [name for name in df.columns if name not in (*skip, *ignore) and name != y_fld]
    if not used:
        raise DataError("no column is left to learn from.")
    columns: list[CategoryColumn | NumberColumn] = []
    out: dict[Any, Any] = {name: df[name] for name in ignore}
    late: dict[Any, Any] = {}
    for name in used:
        series = df[name]
        kind = kind_of(series, name)
        if kind == "date":
            raise DataError(DATES.format(name=name))
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
    clash = sorted(str(name) for name in late if name in df.columns)
    if clash:
        raise DataError(f"the frame has columns with the names of new ones, {some(clash)}; rename them.")
    mapper = Mapper(tuple(columns), y_fld, tuple(skip), tuple(ignore))
    return mapper._frame(out, late, df.index), mapper


def _learn_number(
    series: pd.Series[Any], name: str, do_scale: bool, na_dict: dict[str, float] | None
) -> tuple[NumberColumn, NDArray[Any], NDArray[np.bool_]]:
    values = as_numbers(series, name)
    gaps = np.isnan(values)
    any_gap = bool(gaps.any())
    known = values[~gaps] if any_gap else values
    if not len(known):
        raise DataError(f"column {name!r} holds no value at all; leave it out with skip_flds=[{name!r}].")
    fill = float(np.median(known))
    flag = any_gap
    if na_dict is not None:
        flag = name in na_dict
        fill = float(na_dict.get(name, fill))
    filled = np.where(gaps, fill, values) if any_gap else values
    mean, std = (float(filled.mean()), float(filled.std())) if do_scale else (0.0, 1.0)
    constant = bool((known == known[0]).all())
    if constant:
        mean, std = (fill, 1.0) if do_scale else (0.0, 1.0)
    if not np.isfinite(std):
        raise DataError(f"column {name!r} holds numbers too large to scale (up to {np.abs(known).max():g}).")
    dtype = "bool" if series.dtype == bool else "float32" if do_scale else "float64"
    number = NumberColumn(name, fill, flag, mean, std, dtype, constant)
    return number, scaled(values, gaps, number), gaps


def _levels(categorical: pd.Series[Any], name: str) -> tuple[str, tuple[Any, ...]]:
    """Return what kind of values the categories are, and the categories as JSON can hold them."""
    categories = categorical.cat.categories
    if not len(categories):
        raise DataError(f"column {name!r} holds no value at all; leave it out with skip_flds=[{name!r}].")
    inferred = pd.api.types.infer_dtype(categories, skipna=False)
    if inferred.startswith("mixed") and inferred != "mixed-integer-float":
        raise DataError(mixed_types(categories.tolist(), name))
    values = _VALUES.get(inferred, "other")
    return values, tuple(plain(level, values) for level in categories)


_VALUES = {
    "string": "text", "integer": "int", "floating": "float", "mixed-integer-float": "float", "boolean": "bool",
    "date": "date", "datetime": "date", "datetime64": "date",
}  # fmt: skip


def _target(series: pd.Series[Any], name: str) -> NDArray[Any]:
    missing = int(series.isna().sum())
    if missing:
        raise DataError(
            f"the target {name!r} has {missing:,} missing value(s), the first in row {int(series.isna().to_numpy().argmax())}. "
            f"Leave these rows out: df = df[df[{name!r}].notna()]."
        )
    kind = kind_of(series, name)
    if kind == "date":
        raise DataError(
            f"the target {name!r} holds dates; turn them into numbers first, days since a start for example."
        )
    if kind in ("category", "text"):
        _levels(series if kind == "category" else series.astype("category"), name)
        return series.to_numpy(dtype=object)
    if kind == "number":
        values = as_numbers(series, name)  # refuses infinite values
        whole = pd.api.types.is_integer_dtype(series.dtype)
        return series.to_numpy(dtype=np.int64) if whole else values
    return series.to_numpy(dtype=bool)
