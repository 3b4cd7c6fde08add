"""`Probe`: what `learn.check()` looks at while one batch runs through the training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from learnkit.core.errors import NonFiniteError, TrainingError
from learnkit.core.listing import some
from learnkit.data.targets import Category, Target
from learnkit.train.events import Callback, Run
from learnkit.train.watch import Watch

__all__ = ["Probe"]


class Probe(Callback):
    """Checks what the model makes of one batch; it refuses nothing that `fit` would train.

    Parameters
    ----------
    target : Target or None
        What is predicted, if the loss is the target's.
    watchers : sequence of Watch
        Callbacks whose figures the fit must report.

    Attributes
    ----------
    notes : list of str
        What was noticed but is no error.
    """

    def __init__(self, target: Target | None, watchers: Sequence[Watch] = ()) -> None:
        self.target, self.watchers = target, watchers
        self.notes: list[str] = []

    def before_fit(self, run: Run) -> None:
        """Take note of what the fit remarks, instead of a warning; look for the figures that are watched."""
        run.remark = self.notes.append  # type: ignore[method-assign, assignment]
        for watcher in self.watchers:
            watcher.check_figure(run)

    def after_pred(self, run: Run) -> None:
        """Check the number of scores: one for each class."""
        if not isinstance(self.target, Category) or not isinstance(run.pred, Tensor):
            return
        scores = run.pred.shape[self.target.class_axis] if run.pred.ndim > 1 else 1
        if scores == self.target.c:
            return
        text = (
            f"the model gives {scores} score(s) per item; the data has {self.target.c} ({type(self.target).__name__} "
            f"{self.target.classes[:8]})."
        )
        if scores < self.target.c:
            raise TrainingError(text)
        if text not in self.notes:
            self.notes.append(text)

    def after_loss(self, run: Run) -> None:
        """Check the loss."""
        loss = float(run.loss.detach())
        if not math.isfinite(loss):
            part = "training" if run.training else "validation"
            raise NonFiniteError(
                f"the loss of the first {part} batch is {loss}, and its inputs and targets are finite: look at the model's "
                "first weights, or at a loss that takes logarithms of scores."
            )

    def before_step(self, run: Run) -> None:
        """Look for parameters without a gradient."""
        idle = [name for name, p in run.model.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            self.notes.append(f"{len(idle)} trainable parameter(s) have no part in the loss: {some(idle)}.")
