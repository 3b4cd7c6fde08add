"""Prepared frames and arrays as tensors, and loaders that slice batches from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.data.loaders import TensorLoader

__all__ = ["columns_array", "frame_tensors", "largest_code", "row_loader"]


def frame_tensors(
    df: pd.DataFrame, cat_sz: Sequence[tuple[Any, int]], cont_flds: Sequence[Any], rows: Any = slice(None)
) -> tuple[Tensor, Tensor]:
    """Return the rows of a prepared frame as codes, in the narrowest integers, and numbers.

    Parameters
    ----------
    df : DataFrame
    cat_sz : sequence of (name, int)
        The columns of codes, and how many codes each can have.
    cont_flds : sequence
        The columns of numbers.
    rows : array of int or bool, or slice(None)
        Which rows.

    Returns
    -------
    cats : Tensor of shape (n, n_cat), integers
    conts : Tensor of shape (n, n_cont), float32
    """
    n = len(df) if isinstance(rows, slice) else int(rows.sum()) if rows.dtype == bool else len(rows)
    largest = max([size for _, size in cat_sz], default=1) - 1
    narrow = torch.int8 if largest <= 127 else torch.int16 if largest <= 32767 else torch.int32
    # Column by column into the final tensors, so that no second copy of the whole table is ever held.
    cats, conts = torch.empty(n, len(cat_sz), dtype=narrow), torch.empty(n, len(cont_flds), dtype=torch.float32)
    for j, (name, size) in enumerate(cat_sz):
        codes = _codes(df, name)[rows]
        if n and codes.max() >= size:
            raise DataError(
                f"column {name!r} holds the code {codes.max()}; the embedding has {size}, for codes 0 to {size - 1}."
            )
        cats.numpy()[:, j] = codes
    for j, name in enumerate(cont_flds):
        conts.numpy()[:, j] = _numbers(df, name)[rows]
    return cats, conts


def _codes(df: pd.DataFrame, name: Any) -> NDArray[Any]:
    series = df[name]
    if series.dtype == bool:
        return series.to_numpy().astype(np.int8)
    if series.dtype.kind not in "iu" or isinstance(series.dtype, pd.CategoricalDtype):
        raise DataError(
            f"column {name!r} is to be categorical, but it holds {series.dtype} values, not codes. Make it a category before "
            f"proc_df: train_cats(df, [{name!r}])."
        )
    if series.isna().any():
        raise DataError(f"column {name!r} has missing values; `proc_df` gives them a code of their own.")
    codes = series.to_numpy(dtype=np.int64) if not isinstance(series.dtype, np.dtype) else series.to_numpy()
    if len(codes) and codes.min() < 0:
        raise DataError(f"column {name!r} holds the code {codes.min()}; codes count from 0.")
    return codes


def largest_code(df: pd.DataFrame, name: Any) -> int:
    """Return the largest code of a column, 0 if it has no rows."""
    codes = _codes(df, name)
    return int(codes.max()) if len(codes) else 0


def _numbers(df: pd.DataFrame, name: Any) -> NDArray[Any]:
    series = df[name]
    if not (pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype)):
        raise DataError(
            f"column {name!r} holds {series.dtype} values, and the model needs numbers. Prepare the frame with `proc_df`, "
            "or leave the column out."
        )
    with np.errstate(over="ignore"):
        values = series.to_numpy(dtype=np.float32, na_value=np.nan)
    # The sum is finite if all values are, and costs no array of its own.
    if not np.isfinite(values.sum(dtype=np.float64)):
        row = int(np.isfinite(values).argmin())
        if series.iloc[row] is not pd.NA and np.isfinite(raw := float(series.iloc[row])):
            raise DataError(
                f"column {name!r} holds {raw:g} in row {row}, too large a number for a model; scale the column."
            )
        n = int((~np.isfinite(values)).sum())
        raise DataError(f"column {name!r} has {n:,} missing or infinite value(s); `proc_df` fills the missing ones.")
    return values


def columns_array(xs: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of columns as int64 or float32, or say what is wrong with it."""
    array = np.asarray(xs)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"`{name}` must be numbers of shape (n, n_columns); got shape {array.shape}, dtype {array.dtype}."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise DataError(f"`{name}` holds {int((~np.isfinite(array)).sum()):,} missing or infinite value(s).")
        odd = np.abs(array) > np.finfo(np.float32).max
        if odd.any():
            raise DataError(
                f"`{name}` holds {array[odd][0]:g} in row {int(odd.any(1).argmax())}, too large a number for a model; scale the column."
            )
        return array.astype(np.float32)
    return array.astype(np.int64)


def row_loader(xs: Sequence[Tensor], y: Tensor, bs: int, *, train: bool, shuffle: bool) -> TensorLoader:
    """Return a loader of training rows, or one of larger batches of rows that are only predicted."""
    if train:
        return TensorLoader(xs, y, bs, shuffle, drop_single=True, widen=True)
    return TensorLoader(xs, y, max(bs, 1024), widen=True)


def _no_labels(y: Tensor, n: int) -> Tensor:
    return torch.zeros((n, *y.shape[1:]), dtype=y.dtype)
