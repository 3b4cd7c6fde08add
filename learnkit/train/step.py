"""The numbers of a step: forward pass and loss, gradients, and what the optimizer makes of them.

Mixed precision, accumulation, clipping, and optimizers that evaluate the loss themselves several times in a step (`LBFGS` and
any other whose `step` cannot do without a closure) are here; the order of things is in `loop.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.core.errors import LearnkitError, TrainingError
from learnkit.core.precision import Autocast
from learnkit.data.joining import batch_len
from learnkit.data.loaders import DeviceLoader
from learnkit.train.bounds import ClassBounds
from learnkit.train.events import Run
from learnkit.train.explain import MISFIT, from_outside, loss_misfit, model_misfit, no_gradient, no_number
from learnkit.train.firstlook import FirstLook
from learnkit.train.losses import Loss, TrainingOutput, aligner, split_output
from learnkit.train.players import Player
from learnkit.train.trainable import parameters

__all__ = ["Closure", "Forward", "Step"]


class Forward:
    """Model and loss: computes `run.pred`, `run.extra` and `run.loss` from `run.xs` and `run.y`, with their events.

    Parameters
    ----------
    model : callable
        The model, compiled or not, or what a player calls in its place.
    crit : callable
        The loss of the fit, which says how a target is brought beside a prediction.
    autocast : Autocast
    whole : bool
        Whether a tuple that the model returns is the prediction; see `gets_whole`.
    bounds : ClassBounds, optional
        On a GPU, where a class that the model has no score for would end the process's use of the device.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        crit: Loss,
        autocast: Autocast,
        *,
        whole: bool,
        bounds: ClassBounds | None = None,
    ) -> None:
        self.model, self.autocast, self.whole, self.bounds = model, autocast, whole, bounds
        self._align = aligner(crit)

    def watch(self, *loaders: DeviceLoader | None) -> None:
        """Let loaders compare the classes of each batch before they move it, where the device cannot be asked."""
        for dl in loaders:
            if dl is not None:
                dl.before_move = self.bounds

    def __call__(self, run: Run, look: FirstLook | None = None) -> None:
        """Compute the loss of the batch at hand, and let `look` see it while there is something to find out."""
        with self.autocast():
            self._predict(run)
            self._judge(run)
            if look is not None and look.waiting:
                look(run)

    def _predict(self, run: Run) -> None:
        try:
            output = self.model(*run.xs)
        except MISFIT as exc:
            if from_outside(exc):
                raise
            raise model_misfit(run, exc) from exc
        run.pred, run.extra = split_output(output, whole=self.whole)
        run.emit("after_pred")

    def _judge(self, run: Run) -> None:
        if self.bounds is not None and self.bounds.waiting:
            self.bounds.see(run.pred, run.y)
        try:
            if isinstance(run.pred, TrainingOutput):
                run.loss = run.pred.loss(run.crit, run.y)
            else:
                run.loss = run.crit(run.pred, self._align(run.pred, run.y))
        except MISFIT as exc:
            if from_outside(exc):
                raise
            raise loss_misfit(run, exc) from exc
        if not isinstance(run.loss, Tensor) or run.loss.ndim or run.loss.is_complex():
            raise no_number(run)
        run.emit("after_loss")
        if run.training and not run.loss.requires_grad:
            raise no_gradient(run)


class Step:
    """From a player's batches to steps of its optimizer: one for each batch, or for each window of `accumulate` batches.

    Parameters
    ----------
    run : Run
    player : Player
    forward : Forward
    look : FirstLook
    accumulate : int
    scaler : torch.amp.GradScaler
        Scales the loss, where the arithmetic is fp16.
    """

    def __init__(
        self,
        run: Run,
        player: Player,
        forward: Forward,
        look: FirstLook,
        *,
        accumulate: int,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.run, self.player, self.forward, self.look = run, player, forward, look
        self.accumulate, self.scaler = accumulate, scaler
        self.number = run.players.index(player)
        self._others = [other for other in run.players if other is not player]
        self._resting: list[nn.Parameter] = []
        self.waiting = 0  # batches whose gradients wait for the next step
        self._first, self._weight = 1, 0.0  # items in the first of them, and in all of them as a multiple of that
        fp16 = scaler.is_enabled()
        closure = Closure(run, forward, accumulate=accumulate, fp16=fp16) if wants_closure(player.opt) else None
        self._closure = closure

    def __enter__(self) -> None:
        """For a batch, let the parameters of the other players need no gradient."""
        if self._others:
            self._resting = [p for other in self._others for p in parameters(other.opt) if p.requires_grad]
            for p in self._resting:
                p.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for p in self._resting:
            p.requires_grad_(True)

    @property
    def between_windows(self) -> bool:
        """Whether no gradients wait; a full window's do no longer, as its step may have been cancelled."""
        return self.waiting in (0, self.accumulate)

    @property
    def is_due(self) -> bool:
        """Whether the window is full, or the pass at its end as far as its length is known."""
        return self.waiting == self.accumulate or self.run.batch + 1 == self.run.n_batches

    def compute_loss(self) -> None:
        """Run model and loss on the batch at hand, before the first of a window without gradients."""
        if self.between_windows:  # here, not after the step: until the next batch callbacks can look at the gradients
            self.waiting = 0
            self.run.opt.zero_grad(set_to_none=True)
        self.forward(self.run, self.look)

    def backward(self) -> None:
        """Add the gradients of the batch to those that wait."""
        run = self.run
        loss, n = run.loss, batch_len(run.xs, run.y)
        run.running_loss.add(loss, n, self.number)  # as it is: what is reported knows nothing of weights and scales
        if self.accumulate > 1:  # a batch counts by its items, relative to the window's first
            self._first, self._weight = (self._first, self._weight) if self.waiting else (max(n, 1), 0.0)
            self._weight += n / self._first
            loss = loss * (n / self._first)
        self.waiting += 1
        self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Let the optimizer change the weights."""
        run = self.run
        self.waiting = 0  # also if what follows is cancelled: a window ends with its step
        self.scaler.unscale_(run.opt)  # before anybody looks at a norm
        if self.accumulate > 1:  # gradients are a weighted sum so far; make them a mean
            for p in parameters(run.opt):
                if p.grad is not None:
                    p.grad.div_(self._weight)
        clip_gradients(run)
        try:
            run.emit("before_step")
            make_step(self.scaler, run.opt, self._closure)
        finally:
            self.scaler.update()  # also of a step that was cancelled, or it could not be unscaled again
        run.emit("after_step")


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
    forward : Forward
    accumulate : int
    fp16 : bool
        Whether gradients are scaled.

    Raises
    ------
    TrainingError
        If batches are accumulated or gradients scaled: the loss that is evaluated is that of one batch, as it is.
    """

    def __init__(self, run: Run, forward: Forward, *, accumulate: int, fp16: bool) -> None:
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
            self.forward(self.run)
            self.run.loss.backward()
        clip_gradients(self.run)
        return self.run.loss


def clip_gradients(run: Run) -> None:
    """Scale the gradients of the player whose turn it is down to its norm, or to that of the fit."""
    clip = run.clip if run.player.clip is None else run.player.clip
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters(run.opt), clip)
