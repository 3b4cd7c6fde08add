"""Metrics of another library, torchmetrics' for example, and what any metric may come to: a number or several."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from learnkit.core.device import to_np
from learnkit.core.errors import TrainingError
from learnkit.data.shapes import differ_by_ones
from learnkit.train.metric import Metric

__all__ = ["Foreign", "columns_of"]

MOST_COLUMNS = 1000


def columns_of(name: str, value: Any) -> dict[str, float]:
    """Return what a metric came to as columns of the epoch table.

    A number is a column; of a dict each entry is one, by its key; of a vector each number is one, `name_0`, `name_1`, ...

    Raises
    ------
    TrainingError
        If it is anything else, a matrix for example.
    """
    if isinstance(value, Mapping):
        found: dict[str, float] = {}
        for key, part in value.items():
            found |= columns_of(str(key), part)
        return found
    try:
        array = to_np(value)
        shape = getattr(array, "shape", None)
        if isinstance(array, tuple | list) or shape not in (None, ()):
            numbers = [float(number) for number in array]
            if 0 < len(numbers) <= MOST_COLUMNS and (shape is None or len(shape) == 1):
                return {name: numbers[0]} if shape == (1,) else {f"{name}_{i}": x for i, x in enumerate(numbers)}
        elif not isinstance(array, str | bytes):
            return {name: float(array)}
    except (TypeError, ValueError):
        pass
    kind = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
    raise TrainingError(
        f"the metric {name!r} gives {kind}, which the epoch table cannot show: it shows a number, a dict of numbers or a "
        "vector of them. Compute it from `learn.predict_with_targs()` after the training."
    )


class Foreign(Metric):
    """An object with `update`, `compute` and `reset` from another library, torchmetrics' for example."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.name = type(metric).__name__.lower()
        # torchmetrics takes one shape only, so sizes of one can be put right; other objects see the data as they are.
        self.aligns = type(metric).__module__.startswith("torchmetrics.")

    @property
    def directions(self) -> dict[str, bool | None]:
        """The columns it will have, as far as it says so before it has seen data, and whether more of each is better."""
        inner = dict(self.metric.items()) if isinstance(self.metric, nn.ModuleDict) else {self.name: self.metric}
        return {
            column: getattr(metric, "higher_is_better", None)
            for name, metric in inner.items()
            for column in _figures(str(name), metric)
        }

    def reset(self) -> None:
        """Pass on."""
        self.metric.reset()

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Pass on, on the device of the predictions."""
        if isinstance(preds, Tensor):
            if hasattr(self.metric, "to"):
                self.metric.to(preds.device)
            if self.aligns and isinstance(targs, Tensor) and differ_by_ones(preds.shape, targs.shape):
                preds = preds.reshape(targs.shape)
        self.metric.update(preds, targs)

    def compute(self) -> Any:
        """Pass on."""
        value = self.metric.compute()
        several = isinstance(value, Mapping | tuple | list) or getattr(value, "ndim", 0) > 0
        return value if several else float(value)

    def rehearse(self, preds: Any, targs: Any) -> tuple[str, ...]:
        """Return the columns that a copy has after a batch.

        Raises
        ------
        TrainingError
            If what it computes cannot be shown.
        """
        fresh = copy.deepcopy(self)
        fresh.reset()
        fresh.update(preds, targs)
        return tuple(columns_of(self.name, fresh.compute()))


def _figures(name: str, metric: Any) -> list[str]:
    """Return the columns of one metric: of one per class (`average=None` in torchmetrics) as many as there are classes."""
    n: Any = getattr(metric, "num_classes", None)
    n = getattr(metric, "num_labels", None) if n is None else n
    average: Any = getattr(metric, "average", "")
    per_class = average in (None, "none") and isinstance(n, int) and n > 1
    return [f"{name}_{i}" for i in range(n)] if per_class else [name]
