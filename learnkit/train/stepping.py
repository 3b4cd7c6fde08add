"""One step of an optimizer: of the usual kind, and of those that evaluate the loss themselves, several times in a step.

The latter are `LBFGS` and any other whose `step` cannot do without a closure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.core.errors import LearnkitError, TrainingError
from learnkit.train.failures import from_outside

if TYPE_CHECKING:
    from learnkit.train.loop import Run

__all__ = ["Closure", "make_step", "parameters", "wants_closure"]


def make_step(scaler: torch.amp.GradScaler, opt: Optimizer, closure: Closure | None) -> None:
    """Let the optimizer change the weights.

    Raises
    ------
    TrainingError
        If it cannot work with such gradients.
    """
    try:
        if closure is None:
            scaler.step(opt)
        else:
            closure.step(opt)
    except (RuntimeError, TypeError, ValueError, AssertionError) as exc:
        if isinstance(exc, LearnkitError) or from_outside(exc):
            raise
        name = type(opt).__name__
        raise TrainingError(f"the optimizer {name} cannot make a step with this model's gradients: {exc}") from exc


def wants_closure(opt: Optimizer) -> bool:
    """Whether `opt.step` cannot do without a function that evaluates the loss anew."""
    try:
        closure = inspect.signature(opt.step).parameters.get("closure")
    except (TypeError, ValueError):
        return False
    return closure is not None and closure.default is closure.empty


class Closure:
    """What such an optimizer calls in a step: the loss of the batch at hand and its gradients, at the weights of the moment.

    The first call gives what the loop has just computed; those that follow run model, loss and gradient again, with the
    events `after_pred` and `after_loss`. After the step the run is back at what the loop computed, which is what is reported.

    Parameters
    ----------
    run : Run
    forward : callable
        `forward()` computes `run.loss`.
    accumulate : int
    fp16 : bool
        Whether gradients are scaled.

    Raises
    ------
    TrainingError
        If batches are accumulated or gradients scaled: the loss that is evaluated is that of one batch, as it is.
    """

    def __init__(self, run: Run, forward: Callable[[], None], *, accumulate: int, fp16: bool) -> None:
        name = type(run.opt).__name__
        if accumulate > 1:
            raise TrainingError(
                f"{name} evaluates the loss of a batch several times in a step, so batches cannot be accumulated: "
                "leave `accumulate` at 1 and use larger batches."
            )
        if fp16:
            raise TrainingError(f'{name} cannot work with scaled gradients: use precision="fp32" or "bf16".')
        self.run, self.forward = run, forward
        self._computed = False

    def step(self, opt: Optimizer) -> None:
        """Let the optimizer make its step."""
        run = self.run
        kept = run.pred, run.extra, run.loss
        self._computed = True
        opt.step(self)  # type: ignore[arg-type]
        run.pred, run.extra, run.loss = kept

    def __call__(self) -> Tensor:
        """Return the loss, with its gradients in the parameters."""
        if self._computed:
            self._computed = False
            return self.run.loss
        self.run.opt.zero_grad(set_to_none=True)
        with torch.enable_grad():
            self.forward()
            self.run.loss.backward()
        if self.run.clip is not None:
            nn.utils.clip_grad_norm_(parameters(self.run.opt), self.run.clip)
        return self.run.loss


def parameters(opt: Optimizer) -> Iterable[Any]:
    """Return the parameters of all groups."""
    return (p for group in opt.param_groups for p in group["params"])
