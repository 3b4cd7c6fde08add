"""The callbacks that come with learnkit and change or guard a training: each is small, and works with any other in any order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.core.device import map_tensors
from learnkit.core.errors import NonFiniteError, check_fraction, check_positive
from learnkit.core.preserve import preserve_rng, preserve_states
from learnkit.data.check import bad_values
from learnkit.train.events import Callback, Run

__all__ = ["GradientClip", "LossRegulariser", "StopOnNaN", "WeightAverage"]


class GradientClip(Callback):
    """Scale the gradients down to a norm, as `fit(..., clip=)` and `learn.clip` do.

    Parameters
    ----------
    max_norm : float
        Largest norm over all parameters together (Pascanu et al. 2013).
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = check_positive("max_norm", max_norm)

    def before_fit(self, run: Run) -> None:
        """Ask the loop to clip."""
        run.clip = self.max_norm


class LossRegulariser(Callback):
    """Add a penalty to the training loss, as `learn.reg_fn` does.

    Parameters
    ----------
    reg_fn : callable
        `reg_fn(pred, extra, loss)` -> the loss to minimise; `extra` are the model's outputs after the first.
        The reported training loss is the regularised one.
    """

    def __init__(self, reg_fn: Callable[[Any, tuple[Any, ...], Tensor], Tensor]) -> None:
        self.reg_fn = reg_fn

    def after_loss(self, run: Run) -> None:
        """Replace the training loss."""
        if run.training:
            run.loss = self.reg_fn(run.pred, run.extra, run.loss)


class StopOnNaN(Callback):
    """Stop with an error that names the batch when the loss is NaN or infinite, and put good weights back.

    The model gets the weights it had at the start of the epoch, so it stays usable. Every `Learner` has this
    callback. On a GPU the losses are read every half second rather than every step.

    Raises
    ------
    NonFiniteError
        Naming epoch and batch, and where it began: in the inputs or the target, or in which layer.

    Examples
    --------
    >>> import torch
    >>> from learnkit import DataBunch, Learner, Real
    >>> data = DataBunch(".", [(torch.tensor([[float("nan")]]), torch.zeros(1))], target=Real())
    >>> Learner(data, torch.nn.Linear(1, 1)).fit(0.1, 1)
    Traceback (most recent call last):
    ...
    learnkit.core.errors.NonFiniteError: the loss of batch 0 in epoch 0 is not finite: ...
    """

    rehearses = False

    def __init__(self) -> None:
        self._good: list[tuple[Tensor, Tensor]] = []
        self._resumed = False  # in this epoch
        self._batches: list[int] = []  # of the losses not checked yet
        self._due = 0.0

    def before_train(self, run: Run) -> None:
        """Remember the weights."""
        with torch.no_grad():
            self._good = [(x, x.detach().clone()) for x in (*run.model.parameters(), *run.model.buffers())]
        self._batches, self._resumed = [], False

    def after_backward(self, run: Run) -> None:
        """Check the loss: at once where that is free, every half second where it would wait for the device."""
        if run.loss.device.type == "cpu":
            if not math.isfinite(run.loss.item()):
                self._stop(run, run.batch)
            return
        self._batches.append(run.batch)
        if time.perf_counter() > self._due:
            self._check(run)

    def after_train(self, run: Run) -> None:
        """Check what is left."""
        self._check(run)

    def cleanup_fit(self, run: Run) -> None:
        """Let the copies go."""
        self._good, self._batches = [], []

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a checkpoint holds good weights itself."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the weights as they are now for the good ones."""
        self._good, self._resumed = [(x, x.detach().clone()) for x, _ in self._good], True

    def _check(self, run: Run) -> None:
        losses = run.running_loss.read()
        unchecked = losses[len(losses) - len(self._batches) :]
        for batch, loss in zip(self._batches, unchecked, strict=True):
            if not math.isfinite(loss):
                self._stop(run, batch)
        self._batches = []
        self._due = time.perf_counter() + 0.5

    def _stop(self, run: Run, batch: int) -> None:
        at_hand = batch == run.batch  # on a GPU the batch may be gone
        layer = _first_bad_layer(run.model, run.xs if at_hand else None)
        with torch.no_grad():
            for tensor, value in self._good:
                tensor.copy_(value)
        loss = f"the loss of batch {batch} in epoch {run.epoch} is not finite"
        bad = bad_values(run.xs, run.y) if at_hand else ""
        if bad:
            cause = f": {bad}. Mend or leave out these items."
        else:
            rate = run.opt.param_groups[-1]["lr"]
            diverged = (
                f"he training diverged at learning rate {rate:.3g}: try a tenth of it (`learn.lr_find()` suggests one), or "
                "`learn.clip = 1.0`."
            )
            if at_hand:
                cause = f", though its inputs are: {layer}. T{diverged}"
            else:
                cause = (
                    f". It was read some batches later, when {layer}. Either t{diverged} Or that batch holds what is no number: "
                    '`learn.check()` looks for it, and a fit with device="cpu" names the item.'
                )
        since = "where the fit was resumed" if self._resumed else "the start of this epoch"
        raise NonFiniteError(f"{loss}{cause} The weights are those from {since}.")


class WeightAverage(Callback):
    """Validate and end with an average of the weights along the way instead of the last ones.

    With `decay` an exponential moving average over steps (Polyak & Juditsky 1992); without, the plain mean of
    the weights at the end of each epoch from `start` on (SWA, Izmailov et al. 2018). Buffers, such as
    batch-norm statistics, are averaged too. From the validation to the end of the epoch everybody sees the average,
    `SaveBest` too, and so the fit ends; training itself goes on from its own weights.

    Parameters
    ----------
    decay : float, optional
        Share of the old average kept at each step, e.g. 0.999. `None` for SWA.
    start : int, default 0
        First epoch that counts.
    """

    def __init__(self, decay: float | None = None, start: int = 0) -> None:
        self.decay = None if decay is None else check_fraction("decay", decay)
        self.start = start
        self._average: list[Tensor] = []
        self._own: list[Tensor] | None = None
        self._n = 0

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        self._average, self._own, self._n = [], None, 0

    def before_epoch(self, run: Run) -> None:
        """Go on training from the model's own weights."""
        self._swap_back(run.model)

    def after_step(self, run: Run) -> None:
        """Move the average a little."""
        if self.decay is not None and run.epoch >= self.start:
            # Early on a plain mean, so that the random start does not weigh for thousands of steps.
            self._update(run.model, max(1 - self.decay, 1 / (self._n + 1)))

    def after_train(self, run: Run) -> None:
        """Take in the epoch (SWA)."""
        if self.decay is None and run.epoch >= self.start:
            self._update(run.model, 1 / (self._n + 1))

    def before_valid(self, run: Run) -> None:
        """Let everybody see the average from here to the end of the epoch."""
        self._swap_in(run.model)

    def after_fit(self, run: Run) -> None:
        """Keep the average."""
        self._swap_in(run.model)
        self._own = None

    def cleanup_fit(self, run: Run) -> None:
        """After an error, give the model its own weights back."""
        self._swap_back(run.model)
        self._average = []

    @torch.no_grad()
    def _update(self, model: nn.Module, share: float) -> None:
        values = [x.detach() for x in _floats(model)]
        if not self._average:
            self._average = [x.clone() for x in values]
        else:
            torch._foreach_lerp_(self._average, values, share)
        self._n += 1

    def _swap_in(self, model: nn.Module) -> None:
        if self._n and self._own is None:
            self._own = [x.detach().clone() for x in _floats(model)]
            self._put(model, self._average)

    def _swap_back(self, model: nn.Module) -> None:
        if self._own is not None:
            self._put(model, self._own)
            self._own = None

    @torch.no_grad()
    def _put(self, model: nn.Module, values: list[Tensor]) -> None:
        for x, value in zip(_floats(model), values, strict=True):
            x.copy_(value)


def _floats(model: nn.Module) -> list[Tensor]:
    return [x for x in (*model.parameters(), *model.buffers()) if x.is_floating_point()]


@torch.no_grad()
def _first_bad_layer(model: nn.Module, xs: tuple[Any, ...] | None) -> str:
    """Say in which layer NaN or infinity began: in its weights, or in what it makes of good inputs."""
    named = dict(model.named_modules())
    for name, p in model.named_parameters():
        if not bool(p.isfinite().all()):
            owner = named[name.rpartition(".")[0]]
            return f"the weights `{name}` ({type(owner).__name__}) were not finite any more"
    if xs is None:
        return "the weights are finite still"
    found: list[str] = []

    def look(name: str, module: nn.Module, output: Any) -> None:
        tensors: list[Tensor] = []
        map_tensors(tensors.append, output)
        if not found and any(x.is_floating_point() and not bool(x.isfinite().all()) for x in tensors):
            found.append(f"it began in the layer `{name or '(the model)'}` ({type(module).__name__})")

    leaves = [(name, module) for name, module in named.items() if next(module.children(), None) is None]
    handles = [
        module.register_forward_hook(lambda m, args, output, name=name: look(name, m, output))
        for name, module in [*leaves, ("", model)]
    ]
    try:
        with preserve_rng(), preserve_states(model):
            model(*xs)
    finally:
        for handle in handles:
            handle.remove()
    return (
        found[0]
        if found
        else "every layer's output is finite in full precision, so it began in the loss or its arithmetic"
    )
