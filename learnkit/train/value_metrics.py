"""Metrics of values: how far predictions are from their targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learnkit.data.shapes import align_values
from learnkit.train.metric import Mean, Rooted, Sums, ours, wide

__all__ = ["R2", "exp_rmspe", "mae", "mse", "r2", "rmse"]


class R2(Sums):
    """Coefficient of determination: the share of the targets' variance that is explained, mean over the outputs.

    Examples
    --------
    >>> from learnkit import R2
    >>> R2()([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    """

    name = "r2"
    aligns = True
    higher_is_better = True

    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Number, sum and sum of squares of the targets, sum of squared errors; per output."""
        preds, targs = _columns(preds, targs)
        n = torch.full_like(targs[0], len(targs))
        return torch.stack([n, targs.sum(0), (targs**2).sum(0), ((preds - targs) ** 2).sum(0)])

    def value(self, totals: Tensor) -> float:
        """One minus unexplained over total variance."""
        n, total, squares, errors = totals
        spread = squares - total**2 / n
        return float((1 - errors / spread).mean()) if bool((spread > 0).all()) else math.nan


def _exp_rmspe(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (1 - preds.exp() / targs.exp()) ** 2


def _squared_error(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (preds - targs) ** 2


def _absolute_error(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (preds - targs).abs()


def _columns(preds: Tensor, targs: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as `(n, outputs)` in the widest float there is, refusing shapes that would only broadcast."""
    targs = align_values(preds, targs)
    preds, targs = preds.to(wide(preds)), targs.to(wide(targs))
    return preds.reshape(len(preds), -1), targs.reshape(len(preds), -1)


mse = ours(Mean(_squared_error, name="mse"), higher_is_better=False)
"""Mean squared error."""
rmse = ours(Rooted(_squared_error, name="rmse"), higher_is_better=False)
"""Root of the mean squared error over the whole set (not the mean of the batches' roots)."""
mae = ours(Mean(_absolute_error, name="mae"), higher_is_better=False)
"""Mean absolute error."""
r2 = R2()
"""Coefficient of determination; see `R2`."""
exp_rmspe = ours(Rooted(_exp_rmspe, name="exp_rmspe"), higher_is_better=False)
"""Root mean square percentage error of predictions and targets that are logarithms."""
