"""Shapes of predictions and targets: sizes of one are no difference, any other is.

`(B, 1)` against `(B,)` does not fail in torch, it broadcasts to `(B, B)` and learns nonsense; so do `(B, 1, H, W)` against
`(B, H, W)`. The library's own losses and metrics put the target into the shape of the prediction here, and refuse what
differs by more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from learnkit.core.errors import DataError

__all__ = ["align_classes", "align_values", "differ_by_ones", "like_targets", "shape_of_items"]


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its sizes of one."""
    return tuple(size for size in shape if size != 1)


def differ_by_ones(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes differ, and only by sizes of one."""
    return tuple(a) != tuple(b) and without_ones(a) == without_ones(b)


def align_values(pred: Tensor, y: Tensor) -> Tensor:
    """Return the target in the shape of the prediction, element for element.

    Raises
    ------
    DataError
        If they differ by more than sizes of one.
    """
    if pred.shape == y.shape:
        return y
    if not differ_by_ones(pred.shape, y.shape):
        number = "differ in number" if pred.numel() != y.numel() else "differ in shape"
        raise DataError(
            f"predictions {tuple(pred.shape)} and targets {tuple(y.shape)} {number}: there must be one prediction per "
            "target. Only sizes of one may differ."
        )
    return y.reshape(pred.shape)


def align_classes(pred: Tensor, y: Tensor) -> Tensor:
    """Return class numbers in the shape of the scores without their axis 1; what does not fit is left for the loss."""
    expected = (*pred.shape[:1], *pred.shape[2:])
    if y.is_floating_point() or tuple(y.shape) == expected or not differ_by_ones(y.shape, expected):
        return y
    return y.reshape(expected)


def shape_of_items(targets: Any) -> Any:
    """Return the shape of one item's target, for arrays or tensors of many items or a nest of them; `None` if there is none."""
    if isinstance(targets, tuple | list):
        return [shape_of_items(part) for part in targets]
    if isinstance(targets, Mapping):
        return {key: shape_of_items(part) for key, part in targets.items()}
    shape = getattr(targets, "shape", ())
    return tuple(shape[1:]) if len(shape) else None


def like_targets(preds: Any, shape: Any) -> Any:
    """Return predictions in the shape of the targets where only sizes of one are in the way, so that they can be compared.

    Parameters
    ----------
    preds : array of shape (n, ...), or a nest of them
    shape : tuple of int, or a like nest of them
        Of one item's target, see `shape_of_items`; `None` if it is not known.
    """
    if isinstance(preds, np.ndarray):
        known = isinstance(shape, tuple) and preds.ndim > 0
        return preds.reshape(len(preds), *shape) if known and differ_by_ones(preds.shape[1:], shape) else preds
    if isinstance(preds, Mapping) and isinstance(shape, Mapping) and preds.keys() == shape.keys():
        return {key: like_targets(part, shape[key]) for key, part in preds.items()}
    if isinstance(preds, tuple | list) and isinstance(shape, list) and len(preds) == len(shape):
        parts = [like_targets(part, one) for part, one in zip(preds, shape, strict=True)]
        return rebuilt(preds, parts)
    return preds


def rebuilt(like: Any, parts: list[Any]) -> Any:
    """Return a list, tuple or namedtuple of the same kind with other parts."""
    if isinstance(like, list):
        return parts
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
