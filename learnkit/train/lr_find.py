"""The learning-rate range test: try rising rates on a copy of the training, suggest three, change nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from learnkit.core.errors import DataError, NonFiniteError
from learnkit.core.plots import get_ax
from learnkit.train.events import Callback, CancelFit, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["LRFindResult", "RangeTest"]


@dataclass(frozen=True)
class LRFindResult:
    """What `learn.lr_find()` returns: three suggestions and the curve they were read from.

    Attributes
    ----------
    steepest : float
        Where the loss falls fastest.
    valley : float
        Two thirds down the longest fall of the loss; a good default.
    minimum : float
        A tenth of the rate with the lowest loss.
    lrs, losses : list of float
        The rates tried and the smoothed loss at each.

    Parameters
    ----------
    steepest, valley, minimum, lrs, losses
        The attributes.
    """

    steepest: float
    valley: float
    minimum: float
    lrs: list[float] = field(repr=False)
    losses: list[float] = field(repr=False)

    def plot(self, skip_start: int = 10, skip_end: int = 5, *, ax: Axes | None = None) -> Axes:
        """Draw loss against learning rate with the suggestions marked; see `Recorder.plot`."""
        ax = get_ax(ax)
        end = max(len(self.lrs) - skip_end, skip_start + 2)
        lrs, losses = self.lrs[skip_start:end], self.losses[skip_start:end]
        if len(lrs) < 2:  # a test that diverged at once
            lrs, losses = self.lrs, self.losses
        ax.plot(lrs, losses)
        for name, colour in (("steepest", "tab:green"), ("valley", "tab:red"), ("minimum", "tab:purple")):
            rate = getattr(self, name)
            label = f"{name}{'/10' if name == 'minimum' else ''} {rate:.1e}"
            ax.plot(rate, np.interp(rate, self.lrs, self.losses), "o", color=colour, label=label)
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
        return ax


class RangeTest(Callback):
    """Raise the rate by a constant factor per batch and stop when the loss has blown up (Smith 2017).

    It reads the loss of every batch, which waits for the device: a test of a hundred batches can afford it.
    """

    def __init__(self, start_lr: float, end_lr: float, n_iter: int, *, blow_up: float = 4.0) -> None:
        self.start_lr, self.end_lr, self.n_iter, self.blow_up = start_lr, end_lr, n_iter, blow_up
        self.diverged = False
        self.lrs: list[float] = []
        self.losses: list[float] = []

    def before_batch(self, run: Run) -> None:
        """Set the next rate."""
        progress = len(self.lrs) / max(self.n_iter - 1, 1)
        for group in run.opt.param_groups:
            group["lr"] = self.start_lr * (self.end_lr / self.start_lr) ** progress

    def after_batch(self, run: Run) -> None:
        """Note the smoothed loss; stop at the end, or when it is hopeless."""
        loss = run.running_loss.smooth()
        if not math.isfinite(loss):
            self.diverged = True
            raise CancelFit
        self.lrs.append(run.opt.param_groups[-1]["lr"])
        self.losses.append(loss)
        blown_up = len(self.losses) > 10 and loss > self.blow_up * min(self.losses)
        if blown_up or len(self.lrs) == self.n_iter:
            raise CancelFit

    def result(self) -> LRFindResult:
        """Return curve and suggestions."""
        if len(self.lrs) < 3:
            if not self.diverged:
                raise DataError(f"the loader gave only {len(self.lrs)} batch(es); a test needs at least 3.")
            raise NonFiniteError(
                f"the loss was not finite after {len(self.lrs)} batches, at learning rates from {self.start_lr:g} on. "
                "Look for NaN in the data, or start at a lower rate (`start_lr`)."
            )
        return LRFindResult(*suggest(self.lrs, self.losses), lrs=self.lrs, losses=self.losses)


def suggest(lrs: list[float], losses: list[float]) -> tuple[float, float, float]:
    """Read three suggestions off a curve: steepest fall, valley, a tenth of the minimum."""
    curve = np.asarray(losses)
    lowest = int(curve.argmin())
    start, end = _longest_fall(curve)
    # The first batches' average is hardly smoothed yet, so the steepest step is looked for after a tenth of the way.
    first = min(len(curve) // 10, max(lowest - 2, 0))
    falling = slice(first, max(lowest, first + 2) + 1)
    slopes = np.gradient(curve[falling], np.log(lrs[falling]))
    return lrs[first + int(slopes.argmin())], lrs[start + (end - start) * 2 // 3], lrs[lowest] / 10


def _longest_fall(curve: np.ndarray) -> tuple[int, int]:
    """Return start and end of the longest decreasing subsequence."""
    n = len(curve)
    length, previous = np.ones(n, dtype=int), np.full(n, -1)
    for i in range(1, n):
        candidates = np.where(curve[:i] > curve[i], length[:i], 0)
        best = int(candidates.argmax())
        if candidates[best] >= length[i]:
            length[i], previous[i] = candidates[best] + 1, best
    end = start = int(length.argmax())
    while previous[start] >= 0:
        start = int(previous[start])
    return start, end
