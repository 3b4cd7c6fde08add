"""What the columns of a frame hold: their kinds, categories, smaller types, and the checks that all of it needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list, some
from learnkit.data.frames import check_columns, check_frame

EXACT_FLOAT32 = 2.0**24  # up to here float32 holds every whole number
EXACT_FLOAT64 = 2**53  # and float64

__all__ = ["apply_cats", "cont_cat_split", "df_shrink", "kind_of", "train_cats"]


def cont_cat_split(
    df: pd.DataFrame, max_card: int = 20, dep_var: str | Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """Sort columns into continuous and categorical ones by their values.

    Parameters
    ----------
    df : DataFrame
    max_card : int, default 20
        Whole numbers with at most so many distinct values are categories.
    dep_var : str or sequence of str, optional
        The target(s), left out.

    Returns
    -------
    cont_names : list of str
    cat_names : list of str

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import cont_cat_split
    >>> df = pd.DataFrame({"Km": [0.5, 1.5], "State": ["HE", "BY"], "Open": [1, 0], "Sales": [5, 6]})
    >>> cont_cat_split(df, dep_var="Sales")
    (['Km'], ['State', 'Open'])
    """
    check_frame(df)
    left_out = check_listed(df, "dep_var", names_of(dep_var))
    cont_names, cat_names = [], []
    for name in df.columns:
        if name in left_out:
            continue
        column = column_of(df, name)
        kind = usable_kind(column, name)
        whole = kind == "number" and pd.api.types.is_integer_dtype(column.dtype)
        if kind == "number" and not (whole and column.nunique() <= max_card):
            cont_names.append(name)
        else:
            cat_names.append(name)
    return cont_names, cat_names


def train_cats(df: pd.DataFrame, cat_flds: Sequence[str] | None = None) -> pd.DataFrame:
    """Make every column of text an ordered pandas categorical, in place.

    Parameters
    ----------
    df : DataFrame
        Changed in place.
    cat_flds : sequence of str, optional
        Further columns to make categories of: numbers that are names, such as a store's.

    Returns
    -------
    DataFrame
        `df` itself.

    Raises
    ------
    DataError
        If a column mixes types, or one of `cat_flds` is not in the frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import train_cats
    >>> df = train_cats(pd.DataFrame({"State": ["HE", "BY", "HE"], "Store": [7, 7, 9]}), ["Store"])
    >>> list(df["State"].cat.categories), list(df["Store"].cat.categories)
    (['BY', 'HE'], [7, 9])
    """
    check_frame(df)
    wanted = check_listed(df, "cat_flds", cat_flds)
    for name in df.columns:
        column = column_of(df, name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            if not isinstance(df.dtypes[name], pd.CategoricalDtype):
                df[name] = column
        elif name in wanted or kind_of(column, name) == "text":
            df[name] = column.astype("category").cat.as_ordered()
    return df


def apply_cats(df: pd.DataFrame, trn: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of `df` the categories that the same columns of `trn` have, in place.

    Parameters
    ----------
    df : DataFrame
        Changed in place. A value that is no category of `trn` becomes missing, and a warning counts it.
    trn : DataFrame
        After `train_cats`.

    Returns
    -------
    DataFrame
        `df` itself.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import apply_cats, train_cats
    >>> trn = train_cats(pd.DataFrame({"State": ["HE", "BY"]}))
    >>> apply_cats(pd.DataFrame({"State": ["HE", "HE"]}), trn)["State"].cat.codes.tolist()
    [1, 1]
    """
    check_frame(df)
    notes = []
    for name in df.columns:
        if name in trn.columns and isinstance(trn[name].dtype, pd.CategoricalDtype):
            categories = trn[name].cat.categories
            own = column_of(df, name).astype("category")
            # The last entry is that of missing values, whose code is -1.
            table = np.append(categories.get_indexer(own.cat.categories), -1)
            new = pd.Categorical.from_codes(table[own.cat.codes.to_numpy()], categories=categories, ordered=True)
            lost = int(((new.codes < 0) & df[name].notna().to_numpy()).sum())
            if lost:
                notes.append(f"{lost:,} value(s) of {name!r} are no category of the training frame and became missing")
            df[name] = pd.Series(new, index=df.index)
    if notes:
        warnings.warn("apply_cats: " + "; ".join(notes) + ".", stacklevel=2)
    return df


def df_shrink(df: pd.DataFrame, skip: Sequence[str] = (), obj2cat: bool = True) -> pd.DataFrame:
    """Return the frame with every column in the smallest type that holds it.

    Whole numbers get the smallest integer type, text becomes a categorical. Floats become float32, which has seven
    digits, unless that would change more than the eighth: a column that holds a number above 16,777,216 (2**24) that
    float32 does not have, or one too large or too small for it, stays as it is. So numbers that count or name
    something never merge.

    Parameters
    ----------
    df : DataFrame
        It is not changed.
    skip : sequence of str
        Columns to leave as they are.
    obj2cat : bool, default True
        Make text categorical.

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import df_shrink
    >>> [str(dtype) for dtype in df_shrink(pd.DataFrame({"n": [1, 300], "x": [0.5, 1.5], "s": ["a", "b"]})).dtypes]
    ['int16', 'float32', 'category']
    """
    check_frame(df)
    check_listed(df, "skip", skip)
    out = df.copy(deep=False)
    for name in df.columns:
        column = column_of(df, name)
        if name in set(skip) or isinstance(df.dtypes[name], pd.CategoricalDtype):
            continue
        if pd.api.types.is_integer_dtype(column.dtype):
            out[name] = pd.to_numeric(column, downcast="integer")
        elif pd.api.types.is_float_dtype(column.dtype):
            if _fits_float32(column.to_numpy(dtype=np.float64, na_value=np.nan)):
                out[name] = column.astype("Float32" if isinstance(column.dtype, pd.Float64Dtype) else "float32")
        elif obj2cat and (isinstance(column.dtype, pd.CategoricalDtype) or kind_of(column, name) == "text"):
            out[name] = column.astype("category")
    return out


def _fits_float32(values: NDArray[np.float64]) -> bool:
    """Whether float32 holds the column to seven digits, and exactly where the gaps between its numbers exceed 1."""
    size = np.abs(values[np.isfinite(values)])
    limits = np.finfo(np.float32)
    if ((size > limits.max) | ((size > 0) & (size < limits.tiny))).any():
        return False
    large = size[size > EXACT_FLOAT32]
    return bool((large.astype(np.float32) == large).all())


def column_of(df: pd.DataFrame, name: Any) -> pd.Series[Any]:
    """Return a column of the frame; Arrow's dictionary-encoded text as pandas' own categories."""
    column = df[name]
    if str(column.dtype).startswith("dictionary<"):
        values = column.astype(object)
        return values.where(values.notna(), None).astype("category")
    return column


def kind_of(series: pd.Series[Any], name: Any) -> str:
    """Return what a column holds: "category", "text", "bool", "number", "date" or "span" (of time, or a time of day)."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"column {name!r} holds complex numbers; split it into two columns of real ones.")
    if pd.api.types.is_numeric_dtype(dtype):
        return "number"
    if dtype.kind == "m":
        return "span"
    if dtype.kind == "M" or isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return "date"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred in ("string", "empty"):
        return "text"
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return "number"
    if inferred == "boolean":
        return "bool"
    if inferred in ("date", "datetime", "datetime64", "period"):
        return "date"
    if inferred in ("timedelta", "timedelta64", "time"):
        return "span"
    values = series.dropna()
    if not len(values):
        return "text"
    raise DataError(mixed_types(values.tolist(), name))


def usable_kind(series: pd.Series[Any], name: Any) -> str:
    """Return `kind_of` a column that a model is to learn from; times have to be made numbers first."""
    kind = kind_of(series, name)
    if kind == "date":
        raise DataError(
            f"column {name!r} holds dates. Call add_datepart(df, {name!r}) first, or leave it out with skip_flds=[{name!r}]."
        )
    if kind == "span":
        raise DataError(
            f"column {name!r} holds spans of time. Make numbers of them first, pd.to_timedelta(df[{name!r}].astype(str))"
            f".dt.total_seconds() for example, or leave it out with skip_flds=[{name!r}]."
        )
    return kind


def as_numbers(series: pd.Series[Any], name: Any) -> NDArray[np.float64]:
    """Return a column as float64 with NaN for missing; infinite values are refused, and what is no number."""
    kind = kind_of(series, name)
    if kind == "category":
        kind = kind_of(series.cat.categories.to_series(), name)
    if kind not in ("number", "bool") and series.notna().any():
        examples = series.dropna().head(3).tolist()
        hint = " Convert it with pd.to_numeric." if kind == "text" else ""
        raise DataError(
            f"column {name!r} was made of numbers in training; here it is {series.dtype} ({kind}), with values like "
            f"{some(examples)}.{hint}"
        )
    if kind not in ("number", "bool"):
        return np.full(len(series), np.nan)
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    # A sum is finite exactly if all values are (or it overflows), and needs no array of its own.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(values.sum())
    if not finite and np.isinf(values).any():
        n = int(np.isinf(values).sum())
        raise DataError(
            f"column {name!r} holds {n:,} infinite value(s). Make them missing first: "
            f"df[{name!r}] = df[{name!r}].replace([np.inf, -np.inf], np.nan)."
        )
    return values


def mixed_types(values: list[Any], name: Any) -> str:
    """Say what types a column mixes, and how to make it one."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(type(value).__name__, value)
    listing = ", ".join(f"{kind} ({value!r})" for kind, value in list(found.items())[:4])
    if len(found) == 1:
        return f"column {name!r} holds {listing}, which is neither a number nor a category; leave it out or convert it."
    return (
        f"column {name!r} mixes types: {listing}. Make it one: df[{name!r}].astype(str) for categories, "
        f"pd.to_numeric(df[{name!r}], errors='coerce') for numbers."
    )


def check_listed(df: pd.DataFrame, argument: str, names: Sequence[str] | None) -> list[Any]:
    """Return the names as a list, all of which must be columns of the frame."""
    wanted = listed(argument, names)
    check_columns(df.columns, wanted, f"`{argument}`: the frame")
    return wanted


def listed(argument: str, names: Sequence[str] | None) -> list[Any]:
    """Return names as a list; a single one is refused rather than read letter by letter."""
    if isinstance(names, str):
        raise TypeError(f"`{argument}` must be a list of column names; write [{names!r}].")
    return [] if names is None else check_list(argument, names, "column names")


def names_of(names: Any) -> list[Any]:
    """Return one name, several or `None` as a list of names."""
    if names is None:
        return []
    return list(names) if isinstance(names, list | tuple | set | np.ndarray | pd.Index) else [names]


def check_column(df: pd.DataFrame, name: Any, frame: str = "df") -> None:
    """Refuse a frame that has no column of this name, or several."""
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"`{frame}` must be a pandas DataFrame; got {type(df).__name__}.")
    check_columns(df.columns, [name], f"`{frame}`")
