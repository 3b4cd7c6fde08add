"""Classes that there are none of, noticed while they are still on the CPU.

On the CPU a class beyond the model's scores is an error like any other. On a GPU it stops the kernel, and with it all that the
process has on the device: no learner can be used on. So there the classes of each batch are compared before they are moved.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from learnkit.core.errors import TrainingError
from learnkit.data.targets import OneOfClasses
from learnkit.train.losses import BY_CLASS, Loss, loss_name, target_of, torch_name

__all__ = ["ClassBounds", "outside"]


class ClassBounds:
    """Compares class numbers with what the model scores.

    Parameters
    ----------
    crit : callable
        The loss. What one of the user's own does with class numbers is not known, so nothing is compared.
    """

    def __init__(self, crit: Loss) -> None:
        self.crit = crit
        target = target_of(crit)
        self.axis = target.class_axis if isinstance(target, OneOfClasses) else 1
        self.n_classes: int | None = None
        # For the first scores, which say how many classes there are.
        self.waiting = isinstance(target, OneOfClasses) or torch_name(crit) in BY_CLASS

    def see(self, pred: Any, y: Any) -> None:
        """Learn from the first scores how many classes there are, and check the classes that belong to them."""
        self.waiting = False
        if isinstance(pred, Tensor) and pred.ndim >= 2 and pred.is_floating_point():
            self.n_classes = pred.shape[self.axis]
            self(y)

    def __call__(self, y: Any) -> None:
        """Check the targets of a batch.

        Raises
        ------
        TrainingError
            If one is a class that the model has no score for.
        """
        if self.n_classes is None or not isinstance(y, Tensor) or not y.numel() or y.dtype not in _CLASSES:
            return
        low, high = (int(x) for x in torch.aminmax(y))
        if low < 0 or high >= self.n_classes:
            counted = y[y != _ignored(self.crit)]
            low, high = (int(x) for x in torch.aminmax(counted)) if len(counted) else (0, 0)
        if held := outside(low, high, self.n_classes):
            raise TrainingError(f"the loss {loss_name(self.crit)} does not fit this data.{held}")


_CLASSES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _ignored(crit: Any) -> int:
    """Return the class that a loss passes over: PyTorch's have -100 if nothing else is said."""
    while isinstance(crit, partial):
        if "ignore_index" in crit.keywords:
            return int(crit.keywords["ignore_index"])
        crit = crit.func
    return int(getattr(crit, "ignore_index", -100))


def outside(low: int, high: int, n_classes: int) -> str:
    """Say which class there is no score for; nothing where there is one for all from `low` to `high`."""
    if low >= 0 and high < n_classes:
        return ""
    only = "class 0 only" if n_classes == 1 else f"classes 0 to {n_classes - 1}"
    return f" The target holds class {low if low < 0 else high}, but the model scores {only}."
