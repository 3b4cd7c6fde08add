"""What is to be predicted, as arrays: the target that fits the labels, and the labels as the model is to meet them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError
from learnkit.data.targets import Category, MultiCategory, Real, Target

__all__ = ["as_labels", "class_numbers", "join_labels", "make_target"]

MOST_CLASSES = 1_000_000  # a class number beyond is an identifier, and would ask for a model with a score for each


def as_labels(y: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Return labels as an array of numbers, booleans or text, one row per item, or say what is wrong with them."""
    try:
        labels = np.asarray(y)
    except ValueError as exc:
        raise DataError(f"`{name}` must have the same number of targets in every row: {exc}.") from exc
    if labels.dtype.kind == "U" and not hasattr(y, "dtype"):
        labels = np.asarray(y, dtype=object)  # a list that mixes 1 and "a" would have become text
    if labels.ndim not in (1, 2) or not len(labels):
        raise DataError(f"`{name}` must be an array of shape (n,) or (n, n_targets); got shape {labels.shape}.")
    missing = pd.isna(labels).reshape(len(labels), -1).any(1)
    if missing.any():
        rows = np.flatnonzero(missing)
        raise DataError(
            f"`{name}` has {len(rows):,} missing value(s), the first in row {rows[0]}. Leave these rows out."
        )
    if labels.dtype.kind in "iufbU":
        return labels
    flat = labels.ravel()
    inferred = pd.api.types.infer_dtype(flat)
    if inferred == "string":
        return labels
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return np.asarray(pd.to_numeric(flat.astype(float) if inferred == "decimal" else flat)).reshape(labels.shape)
    if inferred == "boolean":
        return labels.astype(bool)
    kinds = sorted({type(value).__name__ for value in flat.tolist()})
    if len(kinds) > 1:
        raise DataError(f"`{name}` mixes types ({', '.join(kinds[:4])}); make all labels text, str(label) for each.")
    raise DataError(
        f"`{name}` holds {labels.dtype if labels.dtype != object else kinds[0]} values, such as {flat[0]!r}; targets are numbers, "
        "or text for classes."
    )


def join_labels(trn_y: ArrayLike, val_y: ArrayLike) -> tuple[NDArray[Any], int]:
    """Return training and validation labels in one array, and how many belong to the training."""
    trn, val = as_labels(trn_y, "trn_y"), as_labels(val_y, "val_y")
    if trn.shape[1:] != val.shape[1:] or (trn.dtype.kind in "OU") != (val.dtype.kind in "OU"):
        raise DataError(
            f"`trn_y` and `val_y` must be of one kind; got shape {trn.shape}, {trn.dtype}, and shape {val.shape}, {val.dtype}."
        )
    return np.concatenate([trn, val]), len(trn)


def class_numbers(labels: NDArray[Any]) -> tuple[Target, NDArray[Any]]:
    """Return the target of whole numbers that are classes 0, 1, ... themselves."""
    for value in (labels.min(), labels.max()):
        if not 0 <= value < MOST_CLASSES:
            raise DataError(f"class numbers must be 0, 1, ...; `y` holds {value}. For values pass is_reg=True.")
    return Category(range(max(int(labels.max()) + 1, 2))), labels.astype(np.int64)


def make_target(y: ArrayLike, is_reg: bool, is_multi: bool) -> tuple[Target, NDArray[Any]]:
    """Return the target and the encoded labels."""
    labels = as_labels(y)
    if is_multi:
        if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
            raise DataError(
                f"with is_multi=True, `y` must be zeros and ones of shape (n, n_classes); got shape {labels.shape}, dtype "
                f"{labels.dtype}."
            )
        return MultiCategory(range(labels.shape[1])), labels.astype(np.float32)
    if is_reg:
        return _numbers_to_meet(labels)  # in the shape they were given in, which predictions take too
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"a class per row is expected: `y` of shape (n,); got {labels.shape}. For several, is_multi=True."
        )
    if labels.dtype.kind == "f" and (odd := ~np.isfinite(labels) | (labels != np.floor(labels))).any():
        raise DataError(
            f"classes are whole numbers or text; `y` holds {labels[odd][0]:g} in row {int(odd.argmax())}. To predict numbers pass "
            "is_reg=True; of probabilities take the class, y > 0.5."
        )
    codes, classes = pd.factorize(labels, sort=True)
    if len(classes) < 2:
        raise DataError(f"a classifier needs at least two classes; `y` has only {classes.tolist()[0]!r}.")
    return Category(np.asarray(classes).tolist()), codes.astype(np.int64)


def _numbers_to_meet(labels: NDArray[Any]) -> tuple[Target, NDArray[Any]]:
    if labels.dtype.kind not in "iufb":
        raise DataError(
            f"a regression needs numbers as targets; `y` holds {labels.dtype} (such as {labels.flat[0]!r}). To predict "
            "classes pass is_reg=False."
        )
    values = labels.astype(np.float64).reshape(len(labels), -1)
    odd = ~(np.abs(values) <= np.finfo(np.float32).max)
    if odd.any():
        raise DataError(
            f"`y` holds {values[odd][0]:g} in row {int(odd.any(1).argmax())}, which a model cannot come close to: float32 ends at "
            "3.4e+38. Leave such rows out, or predict the logarithm."
        )
    real = Real(1 if labels.ndim == 1 else labels.shape[1])
    return real, real.encode(labels)
