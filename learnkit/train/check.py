"""`Probe`: what `learn.check()` looks at while one batch runs through the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from learnkit.core.errors import NonFiniteError, TrainingError
from learnkit.data.targets import Target
from learnkit.train.events import Callback

if TYPE_CHECKING:
    from learnkit.train.loop import Run

__all__ = ["Probe"]


class Probe(Callback):
    """Checks what the model makes of one batch.

    Parameters
    ----------
    target : Target or None
        What is predicted.

    Attributes
    ----------
    notes : list of str
        What was noticed but is no error.
    """

    def __init__(self, target: Target | None) -> None:
        self.target = target
        self.notes: list[str] = []

    def before_fit(self, run: Run) -> None:
        """Take note of what the fit remarks, instead of a warning."""
        run.remark = self.notes.append  # type: ignore[method-assign, assignment]

    def after_pred(self, run: Run) -> None:
        """Check the number of scores."""
        if self.target is None or not isinstance(run.pred, Tensor):
            return
        scores = run.pred.shape[-1] if run.pred.ndim > 1 else 1
        if scores != self.target.c:
            classes = "" if self.target.classes is None else f" {self.target.classes[:8]}"
            raise TrainingError(
                f"the model gives {scores} score(s) per item; the data has {self.target.c} ({type(self.target).__name__}{classes})."
            )

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
            shown = ", ".join(idle[:5]) + (", ..." if len(idle) > 5 else "")
            self.notes.append(f"{len(idle)} trainable parameter(s) have no part in the loss: {shown}.")
