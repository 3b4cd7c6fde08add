"""The training loop: `fit` trains, `validate` measures.

`fit` is the lowest level of the library and works by itself: a plain `nn.Module`, loaders, an optimizer and a loss. What
observes the training is a callback. The order of things is here; the numbers of a step (mixed precision, accumulation,
clipping) are in `step.py`. With the defaults, the weights that come out are bit for bit those of the loop you would write by
hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.core.errors import DataError, TrainingError, check_positive
from learnkit.core.layers import forget_state, model_device, set_train_mode
from learnkit.core.old_names import old_arguments
from learnkit.core.precision import Autocast, autocast_for
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.joining import batch_len
from learnkit.data.loaders import DeviceLoader, generators, n_batches
from learnkit.data.targets import Target
from learnkit.train.bounds import ClassBounds
from learnkit.train.callbacks import LossRegulariser
from learnkit.train.events import Callback, Cancel, Run, check_callbacks
from learnkit.train.explain import describe, explain
from learnkit.train.firstlook import FirstLook
from learnkit.train.lazy import complete
from learnkit.train.losses import Activation, Loss, check_activation, gets_whole, read
from learnkit.train.measure import NO_BATCHES, Measure
from learnkit.train.metric import Metric
from learnkit.train.metrics import MetricLike, as_metrics, directions_of, figures_of
from learnkit.train.players import Player, as_players, check_players
from learnkit.train.recorder import ProgressTable
from learnkit.train.resume import Checkpoints
from learnkit.train.step import Forward, Step
from learnkit.train.turns import Turns, loss_names

__all__ = ["fit", "validate"]


class Loaders(Protocol):
    """What `fit` needs of `data`: a `DataBunch` has it."""

    @property
    def trn_dl(self) -> Iterable[Any]:
        """Training batches."""

    @property
    def val_dl(self) -> Iterable[Any] | None:
        """Validation batches."""


@old_arguments
def fit(
    model: nn.Module,
    data: Loaders,
    n_epochs: int,
    opt: Optimizer | None = None,
    crit: Loss | None = None,
    metrics: Sequence[MetricLike] | None = None,
    callbacks: Sequence[Callback] | None = None,
    *,
    players: Sequence[Player] | None = None,
    precision: str = "fp32",
    accumulate: int = 1,
    clip: float | None = None,
    channels_last: bool = False,
    compile: bool | str = False,
    progress: bool = True,
    checkpoints: Checkpoints | None = None,
    activation: Activation | str | None = None,
) -> dict[str, float]:
    """Train `model` for `n_epochs` and validate after each.

    Parameters
    ----------
    model : nn.Module
        Called as `model(*xs)`; on the device it shall be trained on. One with a method `reset()` is told to forget, by
        calling it, before each pass over training or validation data, as in the course. Of a tuple it returns, the library's losses and
        PyTorch's get the first element, the prediction; the rest is extra, for `reg_fn`. A loss of your own gets what the
        model returned, whole, unless there is a `reg_fn` (`LossRegulariser`) for the rest, or the model has an attribute
        `returns_extra = True`, as the library's own have. Dicts and lists go to `crit` as they are, and a
        `TrainingOutput` applies `crit` to itself.
    data : DataBunch
        Or any object with `trn_dl` and `val_dl`, two iterables of `(x, y)` (`val_dl` may be `None`).
    n_epochs : int
        Passes over the training data.
    opt : torch.optim.Optimizer
        Over the model's parameters; `LayerOptimizer(...).opt` is one. `LBFGS`, and any other whose `step` asks for a
        closure, evaluates the loss of a batch as often as it wants.
    crit : callable
        `crit(pred, y)` -> scalar tensor, the mean over the batch. The losses of targets and PyTorch's are given shapes that
        differ by sizes of one put right (`(B, 1)` against `(B,)`); a loss of your own gets the data as it is, and is
        refused on the first batch if it only broadcasts.
    metrics : sequence, optional
        Names, functions `metric(preds, targs)`, `Metric` objects or torchmetrics objects (a `MetricCollection` too),
        computed over the whole validation set. A dict or a vector of numbers gets a column each.
    callbacks : sequence of Callback, optional
        In the order in which they shall hear events.
    players : sequence of Player, optional
        In place of `opt` and `crit`: parts of the model that are trained in turn, each by its own. The last one is what is
        measured, by its `forward` and `crit`.
    precision : {"fp32", "bf16", "fp16"}, default "fp32"
        Arithmetic of the forward pass (`torch.autocast`); fp16 scales the loss. A device that cannot gets fp32 and a
        warning, one that can but slowly a warning; what it can is tried out.
    accumulate : int, default 1
        Batches per optimizer step. Each batch counts by its number of items, so a short last window and a
        short last batch weigh what they should.
    clip : float, optional
        Scale gradients down to this norm.
    channels_last : bool, default False
        Memory layout of pictures and convolutions; faster on recent hardware.
    compile : bool or str, default False
        Run the model through `torch.compile`; a string names the backend.
    progress : bool, default True
        Print a row per epoch under a progress bar. `LEARNKIT_PROGRESS=0` turns it off everywhere.
    checkpoints : Checkpoints, optional
        Takes checkpoints between batches, and brings a fit that is resumed to where its checkpoint was taken; see
        `Learner.fit` and `Learner.resume`.
    activation : callable or {"log_softmax", "sigmoid", "none"}, optional
        What turns scores into the predictions that metrics see. By default as target and loss have it; of a loss of your
        own it is not known, and classes' scores are left as they are.

    Returns
    -------
    dict of str to float
        Figures of the last epoch: `trn_loss` and `val_loss`, means over the items, and the metrics. With several players
        `trn_loss` is the last one's, and each has its own, `critic_loss` say.

    Raises
    ------
    DataError
        If a batch has no target, or there is no batch at all.
    TrainingError
        If model, loss and batch do not fit together; shapes and dtypes are named. If nothing would be trained: the
        optimizer holds another model's parameters, or none that requires gradients, or two players' the same ones.
    OutOfMemoryError
        If a batch does not fit into memory; the model can be used on.

    Examples
    --------
    >>> import torch, torch.nn.functional as F
    >>> from learnkit import DataBunch, fit
    >>> x = torch.randn(64, 3)
    >>> batches = [(x, (x.sum(1) > 0).long())]
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> results = fit(model, DataBunch(".", batches, batches), 20, opt, F.cross_entropy, ["accuracy"], progress=False)
    >>> results["accuracy"] > 0.8
    True
    """
    if not hasattr(data, "trn_dl") or not hasattr(data, "val_dl"):
        raise TypeError(f"`data` must be a DataBunch; got {type(data).__name__}. Write DataBunch('.', trn_dl, val_dl).")
    players = as_players(players, opt, crit)
    n_epochs = int(check_positive("n_epochs", n_epochs, integer=True))
    accumulate = int(check_positive("accumulate", accumulate, integer=True))
    device = model_device(model)
    trn_dl, val_dl = _on_device(model, data, device, channels_last=channels_last)
    scorers = as_metrics(metrics, target=getattr(data, "target", None))
    shown = [*check_callbacks(callbacks), *([ProgressTable()] if progress else ())]
    run = Run(model, players[0].opt, players[0].crit, n_epochs, shown, players)
    run.clip = clip
    run.resumed, first_epoch = (False, 0) if checkpoints is None else (checkpoints.resuming, checkpoints.first_epoch)
    # Known before the first event, so that a callback that watches a figure can refuse one that there will not be.
    run.figures = ("trn_loss", *loss_names(run), *(("val_loss", *figures_of(scorers)) if val_dl is not None else ()))
    run.higher_is_better = directions_of(scorers) | dict.fromkeys(loss_names(run), False)
    if remark := check_players(model, players, run.callbacks):
        run.remark(remark)
    turns, measure = _make_steps(run, data, scorers, activation, precision, compile, accumulate)
    measure.forward.watch(trn_dl, val_dl)
    n_trn, n_val = n_batches(data.trn_dl), 0 if data.val_dl is None else n_batches(data.val_dl)
    said = n_trn  # by the training loader; `None` once it turned out to be wrong
    batches: Iterator[tuple[int, Any]] = iter(())

    try:
        with run.phase("fit"):
            run.emit("before_fit")
            for run.epoch in range(first_epoch, n_epochs):
                with run.phase("epoch"):
                    run.results = {}
                    run.emit("before_epoch")
                    with run.phase("train"):
                        run.begin_pass(training=True, n_batches=n_trn)
                        turns.start_pass()
                        run.emit("before_train")
                        set_train_mode(model)  # in each epoch anew: the validation before left it in the other
                        forget_state(model)  # what a recurrent model kept belongs to other texts
                        run.running_loss.start_epoch()
                        if checkpoints is None:
                            batches = enumerate(trn_dl)
                        elif checkpoints.resuming:  # only now: before, the callbacks made what is put back here
                            batches = checkpoints.restore(run, trn_dl, turns)
                        else:
                            batches = checkpoints.begin_epoch(run, trn_dl, turns)
                        for run.batch, (run.xs, run.y) in batches:
                            step = turns.next()
                            with run.phase("batch"), step:
                                run.emit("before_batch")
                                step.compute_loss()
                                step.backward()
                                run.emit("after_backward")
                                if step.is_due:
                                    step.update()
                            if checkpoints is not None and step.between_windows:  # gradients are in no checkpoint
                                checkpoints.save_if_due(run, trn_dl, turns)
                        said = _check_length(run, said)
                        turns.end_pass()
                    run.results |= turns.losses()
                    if val_dl is not None:
                        with run.phase("valid"):
                            run.begin_pass(training=False, n_batches=n_val)
                            run.emit("before_valid")
                            run.results |= measure(run, val_dl)
    except BaseException as exc:
        # Before callbacks clean up: they let go of what tells what happened.
        reason = explain(exc, (data.trn_dl, data.val_dl), batch_len(run.xs, run.y), describe(run.xs), device)
        _clean_up(run, failed=True)
        if reason is None:
            raise
        run.forget_batch()
        batches = iter(())  # with the error, no batch and no loading process may stay in memory
        raise reason from exc
    _clean_up(run)
    return run.results


def validate(
    model: nn.Module,
    dl: Iterable[Any],
    crit: Loss,
    metrics: Sequence[MetricLike] | None = None,
    callbacks: Sequence[Callback] | None = None,
    *,
    target: Target | None = None,
    precision: str = "fp32",
    channels_last: bool = False,
    activation: Activation | str | None = None,
) -> dict[str, float]:
    """Measure `model` on a loader; model, modes and random generators are left as they were.

    Parameters
    ----------
    model : nn.Module
        Called as `model(*xs)`.
    dl : iterable of batches
        Each `(x, y)`.
    crit : callable
        `crit(pred, y)` -> scalar tensor, the mean over the batch.
    metrics : sequence, optional
        As for `fit`.
    callbacks : sequence of Callback, optional
        Those of the fit: they hear `before_fit` and `after_fit`, the events of a validation pass, and `cleanup_fit`.
    target : Target, optional
        Says, with the loss, what metrics see predictions through.
    precision, channels_last, activation
        As for `fit`.

    Returns
    -------
    dict of str to float
        `val_loss`, the mean over the items, and the metrics over the whole set.

    Examples
    --------
    >>> import torch, torch.nn.functional as F
    >>> from learnkit import validate
    >>> batches = [(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1]))]
    >>> results = validate(torch.nn.Identity(), batches, F.cross_entropy, ["accuracy"])
    >>> {name: round(value, 4) for name, value in results.items()}
    {'val_loss': 0.6931, 'accuracy': 0.75}
    """
    device = model_device(model)
    complete(model, dl)
    loader = DeviceLoader(dl, device, channels_last=channels_last, model=model)
    check_activation(activation)
    scorers, reading = as_metrics(metrics, target=target), read(crit, target, activation)
    run = Run(model, torch.optim.SGD([torch.zeros(())]), crit, 1, check_callbacks(callbacks))
    run.n_batches, run.batch = n_batches(dl), -1
    run.figures = ("val_loss", *figures_of(scorers))
    measure = Measure(_forward(run, autocast_for(precision, device)), scorers, reading)
    measure.forward.watch(loader)
    with evaluating(model), preserve_rng(*generators(dl)):
        try:
            with run.phase("fit"):
                run.emit("before_fit")
                with run.phase("valid"):
                    run.emit("before_valid")
                    run.results = measure(run, loader, FirstLook(crit, reading, scorers))
        except BaseException:
            _clean_up(run, failed=True)
            raise
        _clean_up(run)
    if not run.results:
        raise TrainingError("a callback ended the validation before its end, so there is nothing to report.")
    return run.results


def _on_device(
    model: nn.Module, data: Loaders, device: torch.device, *, channels_last: bool
) -> tuple[DeviceLoader, DeviceLoader | None]:
    """Return loaders that move their batches to the model; it gets its memory layout, and the sizes of lazy layers, from here."""
    if channels_last:
        model.to(memory_format=torch.channels_last)
    for name, dl in (("training", data.trn_dl), ("validation", data.val_dl)):
        if dl is not None and n_batches(dl) == 0:
            raise DataError(NO_BATCHES.format(name))
    complete(model, data.trn_dl)
    moved = partial(DeviceLoader, device=device, channels_last=channels_last, model=model)
    return moved(data.trn_dl), None if data.val_dl is None else moved(data.val_dl)


def _make_steps(
    run: Run,
    data: Loaders,
    scorers: Sequence[Metric],
    activation: Activation | str | None,
    precision: str,
    compile: bool | str,
    accumulate: int,
) -> tuple[Turns, Measure]:
    """Return how each player is trained, and how the last one is measured."""
    check_activation(activation)
    device, target, steps = model_device(run.model), getattr(data, "target", None), []
    target = target if isinstance(target, Target) else None
    autocast = autocast_for(precision, device)
    for player in run.players:
        run.give_turn(player)
        forward = _forward(run, autocast, compile)
        reading = read(run.crit, target, activation)
        look = FirstLook(run.crit, reading, scorers if player is run.players[-1] else ())
        scaler = torch.amp.GradScaler(device.type, enabled=autocast.fp16)
        steps.append(Step(run, player, forward, look, accumulate=accumulate, scaler=scaler))
    run.give_turn(run.players[0])
    return Turns(run, steps), Measure(forward, scorers, reading)


def _forward(run: Run, autocast: Autocast, compile: bool | str = False) -> Forward:
    device = model_device(run.model)
    if isinstance(run.crit, nn.Module):  # it may hold weights of classes, made on the CPU
        run.crit.to(device)
    bounds = None if device.type == "cpu" else ClassBounds(run.crit)
    regularised = any(isinstance(callback, LossRegulariser) for callback in run.callbacks)
    whole = gets_whole(run.crit, run.model, regularised=regularised)
    call = run.player.forward or run.model
    if compile:
        call = torch.compile(call, backend=compile if isinstance(compile, str) else "inductor")
    return Forward(call, run.crit, autocast, whole=whole, bounds=bounds)


def _check_length(run: Run, said: int | None) -> int | None:
    """Refuse a pass without batches, and remark, once, a length that is not what the training loader said it was."""
    if run.batch < 0:
        raise DataError(NO_BATCHES.format("training"))
    if said in (None, run.batch + 1):
        return said
    run.remark(_WRONG_LENGTH.format(said, run.batch + 1, run.epoch))
    return None


def _clean_up(run: Run, *, failed: bool = False) -> None:
    """Send `cleanup_fit` to every callback, whatever any of them does, then raise their first error.

    After a fit that failed theirs are dropped: the error that ended the fit is the one to be seen.
    """
    errors: list[BaseException] = []
    for listener in run._listeners["cleanup_fit"]:
        try:
            listener(run)
        except Cancel:
            pass
        except BaseException as exc:
            errors.append(exc)
    for player in run.players:  # gradients of a whole model are as large as the model
        player.opt.zero_grad(set_to_none=True)
    if errors and not failed:
        raise errors[0]


_WRONG_LENGTH = (
    "the training loader says that it has {} batches (its `len`), and gave {} in epoch {}. Schedules of rates are fitted to the "
    "epochs as they are, in the first one by a jump at its end; mend the `__len__` of the data set or loader."
)
