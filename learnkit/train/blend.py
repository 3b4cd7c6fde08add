"""MixUp and CutMix: training on blends of items."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from learnkit.core.errors import check_positive
from learnkit.train.events import Callback, Run

__all__ = ["CutMix", "MixUp"]


class Blend(Callback, ABC):
    """Base of the callbacks that train on two items at once, and on a blend of their losses.

    Parameters
    ----------
    alpha : float
        Of the Beta(alpha, alpha) distribution the share of the first item is drawn from, per batch.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = check_positive("alpha", alpha)
        self._beta = torch.distributions.Beta(alpha, alpha)
        self.share = 1.0
        self.order: Any = None

    def before_fit(self, run: Run) -> None:
        """Put a loss in place that blends, when training, the losses towards both targets."""
        if len(run.players) > 1:
            raise TypeError(
                f"{type(self).__name__} blends the targets of one loss; with several players do it in theirs."
            )
        if not isinstance(run.crit, BlendedLoss):
            run.crit = BlendedLoss(run)
        run.crit.blends.append(self)

    def before_batch(self, run: Run) -> None:
        """Pair each item with another one of the batch."""
        if not run.training:
            return
        if not any(x.is_floating_point() for x in run.xs):
            raise TypeError(f"{type(self).__name__} blends decimal inputs (pictures, say); this model has none.")
        self.share = float(self._beta.sample())
        self.order = torch.randperm(len(run.y), device=run.y.device)
        run.xs = tuple(self.blend(x, x[self.order]) if x.is_floating_point() else x for x in run.xs)

    @abstractmethod
    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the blended inputs."""


class BlendedLoss:
    """The loss of items that were blended, by one callback or by several in turn."""

    def __init__(self, run: Run) -> None:
        self.run, self.crit = run, run.crit
        self.blends: list[Blend] = []

    def __call__(self, pred: Any, y: Any) -> Tensor:
        return self._loss(pred, y, self.blends) if self.run.training else self.crit(pred, y)

    def _loss(self, pred: Any, y: Any, blends: list[Blend]) -> Tensor:
        if not blends:
            return self.crit(pred, y)
        first, rest = blends[0], blends[1:]
        return first.share * self._loss(pred, y, rest) + (1 - first.share) * self._loss(pred, y[first.order], rest)


class MixUp(Blend):
    """Train on blends of two items and of their losses (Zhang et al. 2018, "mixup").

    Parameters
    ----------
    alpha : float, default 0.4
        Of the Beta(alpha, alpha) distribution the blend is drawn from, per batch. Larger blends more.
    """

    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__(alpha)

    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Average the pixels, or whatever the numbers are."""
        return torch.lerp(other, x, self.share)


class CutMix(Blend):
    """Train on pictures with a rectangle cut from another one, and on a blend of their losses (Yun et al. 2019).

    Parameters
    ----------
    alpha : float, default 1.0
        Of the Beta(alpha, alpha) distribution the size of the rectangle is drawn from, per batch.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Put a rectangle of `other` into `x`; the losses count by the area that was really cut."""
        if x.ndim != 4:
            raise ValueError(f"CutMix needs pictures of shape (B, C, H, W); got {tuple(x.shape)}.")
        h, w = x.shape[2:]
        side = math.sqrt(1 - self.share)
        centre_y, centre_x = (int(n * u) for n, u in zip((h, w), torch.rand(2).tolist(), strict=True))
        top, bottom = max(centre_y - int(h * side / 2), 0), min(centre_y + int(h * side / 2), h)
        left, right = max(centre_x - int(w * side / 2), 0), min(centre_x + int(w * side / 2), w)
        x = x.clone()
        x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        self.share = 1 - (bottom - top) * (right - left) / (h * w)
        return x
