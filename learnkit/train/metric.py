"""What a metric is: what it keeps of each batch, and its value at the end of an epoch.

A `Metric` keeps what it needs from each batch (counts, sums, or the predictions themselves) and computes once, at the
end. The library's own put predictions and targets into one shape; what a user wrote gets both as they are.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from learnkit.core.device import T
from learnkit.data.joining import batch_len, join
from learnkit.data.shapes import rebuilt

__all__ = ["Collected", "Mean", "Metric", "Rooted", "Sums", "added", "metric_name", "ours", "wide"]


class Metric(ABC):
    """Base of the metrics: `reset`, `update` with each batch, `compute` at the end; `merge` where others saw other batches.

    Attributes
    ----------
    name : str
        Heading in the epoch table.
    aligns : bool
        Whether it puts predictions and targets into one shape itself, as the library's own do. Yours get what the model
        returned (through the activation) and what the data holds.
    higher_is_better : bool or None
        Which direction is better, for what watches it (`EarlyStopping`, `SaveBest`); `None` where that is not known.

    Examples
    --------
    >>> from learnkit import Metric
    >>> class MaxError(Metric):
    ...     name = "max_error"
    ...     def reset(self):
    ...         self.worst = 0.0
    ...     def update(self, preds, targs):
    ...         self.worst = max(self.worst, float((preds - targs).abs().max()))
    ...     def compute(self):
    ...         return self.worst
    ...     def merge(self, other):
    ...         self.worst = max(self.worst, other.worst)
    >>> MaxError()([1.0, 2.0], [1.0, 2.5])
    0.5
    """

    name: str
    aligns: bool = False
    higher_is_better: bool | None = None

    @abstractmethod
    def reset(self) -> None:
        """Forget every batch."""

    @abstractmethod
    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Take note of a batch: tensors on any device, without gradient."""

    @abstractmethod
    def compute(self) -> Any:
        """Return the value over every batch since `reset`: a number, or a dict or vector of them, a column each."""

    def merge(self, other: Self) -> None:
        """Take in what another of its kind kept of other batches, as several processes see them: the value is that of all."""
        raise NotImplementedError(
            f"it is not known how two of the metric {self.name!r} become one: {type(self).__name__} must define `merge(other)`."
        )

    def __call__(self, preds: Any, targs: Any) -> Any:
        """Return the value for these arrays or tensors alone."""
        fresh = copy.deepcopy(self)
        fresh.reset()
        fresh.update(T(preds), T(targs))
        return fresh.compute()


class Sums(Metric):
    """A metric computed from sums over the items, which stay on the device until the end."""

    def reset(self) -> None:
        """Forget every batch."""
        self.totals: Any = None

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Add the sums of a batch."""
        self.totals = added(self.totals, self.sums(preds, targs))

    def merge(self, other: Self) -> None:
        """Add the sums of other batches."""
        self.totals = added(self.totals, other.totals)

    def compute(self) -> float:
        """Return the value of the sums."""
        if self.totals is None:
            return math.nan
        return float(self.value(self.totals.cpu().double()))

    @abstractmethod
    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Return the sums of one batch, one tensor of any shape."""

    @abstractmethod
    def value(self, totals: Tensor) -> Tensor | float:
        """Return the metric, given the sums of all batches."""


class Mean(Sums):
    """The mean of a per-item value, weighted right over batches of any size.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` -> tensor with one value per item (of any shape; all are averaged), or with the mean over
        the batch.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Mean
    >>> absolute = Mean(lambda preds, targs: (preds - targs).abs(), name="absolute")
    >>> absolute([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
    1.0
    """

    def __init__(self, fn: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or metric_name(fn)

    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Sum and number of the values."""
        values = self.fn(preds, targs)
        total, n = values.sum(dtype=wide(values)), values.numel()
        if values.ndim == 0:  # already a mean over the batch
            n = batch_len((), targs)
            total = total * n
        return torch.stack([total, torch.full_like(total, n)])

    def value(self, totals: Tensor) -> Tensor:
        """Sum over number."""
        return totals[0] / totals[1]


class Rooted(Mean):
    """Square root of a mean: `rmse` and its relatives, rooted once, after the last batch.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` -> tensor with one (squared) value per item.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Rooted
    >>> Rooted(lambda preds, targs: (preds - targs) ** 2, name="rmse")([0.0, 0.0], [1.0, 7.0])
    5.0
    """

    def value(self, totals: Tensor) -> Tensor:
        """Root of sum over number."""
        return (totals[0] / totals[1]).sqrt()


class Collected(Metric):
    """Any function of all predictions and all targets, called once per epoch.

    What a plain function given as a metric is turned into. It keeps every prediction of the epoch, so for a
    language model with its huge outputs use `Mean` or a `Metric` of your own.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` of two tensors (of nests of them, where model or data give such) -> number, or a dict or vector
        of numbers, which get a column each.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Collected
    >>> Collected(lambda preds, targs: (preds - targs).abs().median(), name="median_error")([1.0, 2.0, 9.0], [1.0, 1.0, 1.0])
    1.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or metric_name(fn)

    def reset(self) -> None:
        """Forget every batch."""
        self.preds: list[Any] = []
        self.targs: list[Any] = []
        self.sizes: list[int] = []

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Keep a batch."""
        self.preds.append(preds)
        self.targs.append(targs)
        self.sizes.append(batch_len((preds,), targs))

    def merge(self, other: Self) -> None:
        """Keep the other's batches, too: they come after its own."""
        self.preds, self.targs, self.sizes = (
            self.preds + other.preds,
            self.targs + other.targs,
            self.sizes + other.sizes,
        )

    def compute(self) -> Any:
        """Call the function on everything."""
        if not self.preds:
            return math.nan
        value = self.fn(_together(self.preds, self.sizes), _together(self.targs, self.sizes))
        return (
            float(value) if getattr(value, "ndim", 0) == 0 and not isinstance(value, Mapping | tuple | list) else value
        )


def _together(parts: list[Any], sizes: list[int]) -> Any:
    if all(isinstance(part, Tensor) and part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
        return torch.cat(parts)
    return _tensors(join(parts, sizes))


def _tensors(value: Any) -> Any:
    """Return a nest of arrays as tensors."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {key: _tensors(part) for key, part in value.items()}
    return rebuilt(value, [_tensors(part) for part in value]) if isinstance(value, tuple | list) else value


M = TypeVar("M", bound=Metric)


def ours(metric: M, *, higher_is_better: bool) -> M:
    """Mark a metric made of a function of the library's: it puts both into one shape itself, and its direction is known."""
    metric.aligns, metric.higher_is_better = True, higher_is_better
    return metric


def added(total: Any, more: Any) -> Any:
    """Return the sum of two tensors, of which either may not be there yet."""
    return more if total is None else total if more is None else total + more


def metric_name(fn: Any) -> str:
    """Return the name of a function, or of what is around it."""
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__)).lstrip("_")


def wide(x: Tensor) -> torch.dtype:
    """Return the widest float there is on the device of a tensor."""
    return torch.float32 if x.device.type == "mps" else torch.float64  # MPS has no double
