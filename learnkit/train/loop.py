"""The training loop: `fit` trains, `validate` measures, `Run` is the state the callbacks share.

`fit` is the lowest level of the library and works by itself: a plain `nn.Module`, loaders, an optimizer and a
loss. What observes the training is a callback; what changes its arithmetic (mixed precision, accumulation,
clipping) is written out below, where it can be read. With the defaults, the weights that come out are bit for
bit those of the loop you would write by hand.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.optim import Optimizer

from learnkit.core.errors import DataError, TrainingError, check_positive, user_stacklevel
from learnkit.core.layers import forget_state, model_device, set_train_mode
from learnkit.core.old_names import old_arguments
from learnkit.core.precision import Autocast, autocast_for
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.joining import batch_len
from learnkit.data.loaders import DeviceLoader, generators, n_batches
from learnkit.data.shapes import differ_by_ones
from learnkit.data.targets import Target
from learnkit.train.callbacks import LossRegulariser
from learnkit.train.events import Callback, Cancel, bind_events, check_callbacks
from learnkit.train.failures import explain, from_outside
from learnkit.train.firstlook import FirstLook
from learnkit.train.foreign import columns_of
from learnkit.train.lazy import complete
from learnkit.train.losses import Activation, Reading, aligner, check_activation, gets_whole, is_own, read
from learnkit.train.metric import Metric
from learnkit.train.metrics import MetricLike, as_metrics, figures_of
from learnkit.train.recorder import ProgressTable, RunningLoss
from learnkit.train.resume import Checkpoints
from learnkit.train.stepping import Closure, make_step, parameters, wants_closure
from learnkit.train.trainable import check_trains

__all__ = ["Run", "TrainingOutput", "batch_len", "describe", "fit", "forward_pass", "validate"]

Loss = Callable[[Any, Any], Tensor]


class TrainingOutput(ABC):
    """What a model may return while it trains, in place of scores: it knows how a loss is applied to it.

    Examples
    --------
    >>> import torch
    >>> from learnkit import TrainingOutput
    >>> class Twice(TrainingOutput):
    ...     "Two predictions, each of which shall be good by itself."
    ...     def __init__(self, first, second):
    ...         self.both = (first, second)
    ...     def loss(self, crit, y):
    ...         return sum(crit(pred, y) for pred in self.both) / 2
    >>> Twice(torch.ones(3), torch.zeros(3)).loss(torch.nn.functional.mse_loss, torch.ones(3))
    tensor(0.5000)
    """

    @abstractmethod
    def loss(self, crit: Loss, y: Any) -> Tensor:
        """Return the loss `crit` as one number, the mean over the batch."""


class Loaders(Protocol):
    """What `fit` needs of `data`: a `DataBunch` has it."""

    @property
    def trn_dl(self) -> Iterable[Any]:
        """Training batches."""

    @property
    def val_dl(self) -> Iterable[Any] | None:
        """Validation batches."""


class Run:
    """The state of one fit: what callbacks read and write.

    Attributes
    ----------
    model : nn.Module
    opt : torch.optim.Optimizer
    crit : callable
    n_epochs : int
    epoch : int
        Counted from 0.
    batch : int
        Number of the batch in the current pass, from 0.
    n_batches : int or None
        Batches of the current pass; `None` if its loader does not know.
    training : bool
        Whether the current pass trains.
    xs, y : tuple, Any
        Inputs and target of the current batch, on the device.
    pred, extra : Any, tuple
        The model's output. Of a tuple the first element is the prediction and the rest is `extra`; where the loss is one
        of your own, `pred` is the whole tuple (see `fit`).
    loss : Tensor
        Of the current batch.
    clip : float or None
        Largest allowed norm of the gradient.
    running_loss : RunningLoss
        Every training loss so far.
    figures : tuple of str
        What an epoch is going to report, in the order of the epoch table: `trn_loss`, `val_loss`, the metrics.
    columns : dict of str to tuple of str
        The columns of a figure that turned out, on the first batch, to have several; see `headings`.
    results : dict of str to float
        Figures of the current epoch so far.
    callbacks : tuple of Callback
        All that hear the events, in their order.
    resumed : bool
        Whether this fit goes on from a checkpoint.

    Parameters
    ----------
    model, opt, crit, n_epochs, callbacks
        As for `fit`, which makes the run.

    Examples
    --------
    >>> from learnkit import Callback, Run
    >>> class Look(Callback):
    ...     def after_batch(self, run: Run) -> None:
    ...         if run.training and run.batch == 0:
    ...             print(run.epoch, run.n_batches, tuple(run.pred.shape))
    """

    def __init__(
        self, model: nn.Module, opt: Optimizer, crit: Loss, n_epochs: int, callbacks: Sequence[Callback]
    ) -> None:
        self.model = model
        self.opt = opt
        self.crit = crit
        self.n_epochs = n_epochs
        self.epoch = 0
        self.batch = 0
        self.n_batches: int | None = None
        self.training = False
        self.xs: tuple[Any, ...] = ()
        self.y: Any = None
        self.pred: Any = None
        self.extra: tuple[Any, ...] = ()
        self.loss: Tensor = torch.zeros(())
        self.clip: float | None = None
        self.running_loss = RunningLoss()
        self.figures: tuple[str, ...] = ()
        self.columns: dict[str, tuple[str, ...]] = {}
        self.results: dict[str, float] = {}
        self.callbacks = tuple(callbacks)
        self.resumed = False
        self._listeners = bind_events(callbacks)
        self._align = aligner(crit)
        self._whole = gets_whole(crit, model, regularised=any(isinstance(x, LossRegulariser) for x in callbacks))

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns of the epoch table, as they are known so far: a figure that has several has a column for each."""
        return tuple(column for name in self.figures for column in self.columns.get(name, (name,)))

    def note_columns(self, metric: Metric, found: Iterable[str]) -> None:
        """Take note of the columns a metric turns out to have."""
        declared, columns = figures_of([metric]), tuple(found)
        if columns != tuple(declared):
            self.columns |= dict.fromkeys(declared, ()) | {declared[0]: columns}

    def remark(self, text: str) -> None:
        """Say, once per fit, what may be meant but usually is not."""
        warnings.warn(text, stacklevel=user_stacklevel())

    def emit(self, event: str) -> None:
        """Send an event to every callback, then let the widest cancel among them take effect."""
        listeners = self._listeners[event]
        if not listeners:
            return
        cancel: Cancel | None = None
        for listener in listeners:
            try:
                listener(self)
            except Cancel as raised:
                if cancel is None or raised.scope > cancel.scope:
                    cancel = raised
        if cancel is not None:
            raise cancel

    def phase(self, name: str) -> Phase:
        """Bound a phase: its `after_` event is sent however it was ended, except by an error."""
        return Phase(self, name)


class Phase:
    """Where a cancel stops: `with run.phase("batch")` swallows `CancelBatch` and passes the wider ones on."""

    scopes: ClassVar = {"batch": 1, "train": 1, "valid": 1, "epoch": 2, "fit": 3}

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.event, self.scope = run, f"after_{name}", self.scopes[name]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> bool:
        if exc is not None and not isinstance(exc, Cancel):
            return False
        scope = 0 if exc is None else exc.scope
        try:
            self.run.emit(self.event)
        except Cancel as raised:
            if raised.scope > max(self.scope, scope):
                raise
        return exc is not None and scope <= self.scope


@old_arguments
def fit(
    model: nn.Module,
    data: Loaders,
    n_epochs: int,
    opt: Optimizer,
    crit: Loss,
    metrics: Sequence[MetricLike] | None = None,
    callbacks: Sequence[Callback] | None = None,
    *,
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
        Figures of the last epoch: `trn_loss` and `val_loss`, means over the items, and the metrics.

    Raises
    ------
    DataError
        If a batch has no target, or there is no batch at all.
    TrainingError
        If model, loss and batch do not fit together; shapes and dtypes are named. If nothing would be trained: the
        optimizer holds another model's parameters, or none that requires gradients.
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
    if isinstance(crit, type):
        raise TypeError(f"`crit` is the class {crit.__name__}; pass an instance, {crit.__name__}().")
    n_epochs = int(check_positive("n_epochs", n_epochs, integer=True))
    accumulate = int(check_positive("accumulate", accumulate, integer=True))
    device = model_device(model)
    autocast = autocast_for(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast.fp16)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    forward = torch.compile(model, backend=compile if isinstance(compile, str) else "inductor") if compile else model
    trn_dl = DeviceLoader(data.trn_dl, device, channels_last=channels_last, model=model)
    val_dl = (
        None if data.val_dl is None else DeviceLoader(data.val_dl, device, channels_last=channels_last, model=model)
    )
    n_trn, n_val = n_batches(data.trn_dl), 0 if data.val_dl is None else n_batches(data.val_dl)
    if n_trn == 0 or (val_dl is not None and n_val == 0):
        raise DataError(_NO_BATCHES.format("training" if n_trn == 0 else "validation"))
    complete(model, data.trn_dl)
    target = getattr(data, "target", None)
    scorers = as_metrics(metrics, target=target)
    check_activation(activation)
    reading = read(crit, target if isinstance(target, Target) else None, activation)
    look = FirstLook(crit, reading, scorers)
    run = Run(model, opt, crit, n_epochs, [*check_callbacks(callbacks), *([ProgressTable()] if progress else ())])
    run.clip = clip
    run.resumed, first_epoch = (False, 0) if checkpoints is None else (checkpoints.resuming, checkpoints.first_epoch)
    run.figures = ("trn_loss", *(("val_loss", *figures_of(scorers)) if val_dl is not None else ()))

    if remark := check_trains(model, opt, (crit, *run.callbacks)):
        run.remark(remark)

    def evaluate() -> None:
        with autocast():
            forward_pass(run, forward)

    closure = Closure(run, evaluate, accumulate=accumulate, fp16=autocast.fp16) if wants_closure(opt) else None
    batches: Iterator[tuple[int, Any]] = iter(())
    waiting = 0  # batches whose gradients wait for the next step
    said = n_trn  # by the training loader; `None` once it turned out to be wrong
    first, weight = 1, 0.0  # items in the first of them, and in all of them as a multiple of that

    def step() -> None:
        nonlocal waiting
        waiting = 0
        scaler.unscale_(opt)
        if accumulate > 1:  # gradients are a weighted sum so far; make them a mean
            for p in parameters(opt):
                if p.grad is not None:
                    p.grad.div_(weight)
        if run.clip is not None:
            nn.utils.clip_grad_norm_(parameters(opt), run.clip)
        try:
            run.emit("before_step")
            make_step(scaler, opt, closure)
        finally:
            scaler.update()
        run.emit("after_step")

    try:
        with run.phase("fit"):
            run.emit("before_fit")
            for run.epoch in range(first_epoch, n_epochs):
                with run.phase("epoch"):
                    run.results = {}
                    run.emit("before_epoch")
                    with run.phase("train"):
                        run.training, run.n_batches, run.batch = True, n_trn, -1
                        run.emit("before_train")
                        set_train_mode(model)
                        forget_state(model)
                        run.running_loss.start_epoch()
                        waiting = 0
                        batches = enumerate(trn_dl) if checkpoints is None else checkpoints.batches(run, trn_dl, scaler)
                        for run.batch, (run.xs, run.y) in batches:
                            with run.phase("batch"):
                                run.emit("before_batch")
                                if waiting in (0, accumulate):  # new window; a full one's step may have been cancelled
                                    waiting = 0
                                    opt.zero_grad(set_to_none=True)
                                with autocast():
                                    forward_pass(run, forward)
                                    if look.waiting:
                                        look(run)
                                loss, n = run.loss, batch_len(run.xs, run.y)
                                run.running_loss.add(loss, n)
                                if accumulate > 1:  # a batch counts by its items, relative to the window's first
                                    first, weight = (first, weight) if waiting else (max(n, 1), 0.0)
                                    weight += n / first
                                    loss = loss * (n / first)
                                waiting += 1
                                scaler.scale(loss).backward()
                                run.emit("after_backward")
                                if waiting == accumulate or run.batch + 1 == n_trn:
                                    step()
                            if checkpoints is not None and waiting in (0, accumulate):  # between two windows
                                checkpoints.save_if_due(run, trn_dl, scaler)
                        if run.batch < 0:
                            raise DataError(_NO_BATCHES.format("training"))
                        if said not in (None, run.batch + 1):
                            run.remark(_WRONG_LENGTH.format(said, run.batch + 1, run.epoch))
                            said = None  # once
                        if 0 < waiting < accumulate:  # a short last window of a loader that does not know its length
                            step()
                    run.results["trn_loss"] = run.running_loss.epoch_mean()
                    if val_dl is not None:
                        with run.phase("valid"):
                            run.training, run.n_batches, run.batch = False, n_val, -1
                            run.emit("before_valid")
                            run.results |= _validation_pass(run, forward, val_dl, scorers, reading, autocast)
    except BaseException as exc:
        reason = explain(exc, (data.trn_dl, data.val_dl), batch_len(run.xs, run.y), describe(run.xs), device)
        _clean_up(run, failed=True)
        if reason is None:
            raise
        run.xs, run.y, run.pred, run.extra, run.loss = (), None, None, (), torch.zeros(())
        loss, batches = run.loss, iter(())  # with the error, no batch and no loading process may stay in memory
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
    >>> batches = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))]
    >>> sorted(validate(torch.nn.Linear(3, 2), batches, F.cross_entropy, ["accuracy"]))
    ['accuracy', 'val_loss']
    """
    device = model_device(model)
    complete(model, dl)
    loader = DeviceLoader(dl, device, channels_last=channels_last, model=model)
    check_activation(activation)
    scorers, reading = as_metrics(metrics, target=target), read(crit, target, activation)
    run = Run(model, torch.optim.SGD([torch.zeros(())]), crit, 1, check_callbacks(callbacks))
    run.n_batches, run.batch = n_batches(dl), -1
    run.figures = ("val_loss", *figures_of(scorers))
    autocast, look = autocast_for(precision, device), FirstLook(crit, reading, scorers)
    with evaluating(model), preserve_rng(*generators(dl)):
        try:
            with run.phase("fit"):
                run.emit("before_fit")
                with run.phase("valid"):
                    run.emit("before_valid")
                    run.results = _validation_pass(run, model, loader, scorers, reading, autocast, look)
        except BaseException:
            _clean_up(run, failed=True)
            raise
        _clean_up(run)
    if not run.results:
        raise TrainingError("a callback ended the validation before its end, so there is nothing to report.")
    return run.results


@torch.no_grad()
def _validation_pass(
    run: Run,
    forward: Callable[..., Any],
    loader: DeviceLoader,
    scorers: Sequence[Metric],
    reading: Reading,
    autocast: Autocast,
    look: FirstLook | None = None,
) -> dict[str, float]:
    run.model.eval()
    forget_state(run.model)
    for scorer in scorers:
        scorer.reset()
    total: Any = 0.0
    count = 0
    for run.batch, (run.xs, run.y) in enumerate(loader):
        with run.phase("batch"):
            run.emit("before_batch")
            with autocast():
                forward_pass(run, forward)
                if look is not None and look.waiting:
                    look(run)
            n = batch_len(run.xs, run.y)
            total = total + run.loss.detach().float() * n
            count += n
            if scorers:
                ours, theirs = reading.for_library(run.pred, run.y), (reading.for_user(run.pred), run.y)
                for scorer in scorers:
                    _update(scorer, *(ours if scorer.aligns else theirs))
    if not count:
        raise DataError(_NO_BATCHES.format("validation"))
    figures = {"val_loss": float(total) / count}
    for scorer in scorers:
        found = _compute(scorer)
        run.note_columns(scorer, found)
        figures |= found
    return figures


def forward_pass(run: Run, forward: Callable[..., Any]) -> None:
    """Compute `run.pred`, `run.extra` and `run.loss` from `run.xs` and `run.y`, with their events."""
    try:
        output = forward(*run.xs)
    except _MISFIT as exc:
        if from_outside(exc):
            raise
        where = f"batch {run.batch} of epoch {run.epoch}"
        raise TrainingError(
            f"the model failed on {where}: inputs {describe(run.xs)}.{_model_hint(run, exc)} {exc}"
        ) from exc
    run.pred, run.extra = split_output(output, whole=run._whole)
    run.emit("after_pred")
    try:
        if isinstance(run.pred, TrainingOutput):
            run.loss = run.pred.loss(run.crit, run.y)
        else:
            run.loss = run.crit(run.pred, run._align(run.pred, run.y))
    except _MISFIT as exc:
        if from_outside(exc):
            raise
        raise TrainingError(
            f"the loss {_name(run.crit)} does not fit: the model gave {describe(run.pred)}, the target is "
            f"{describe(run.y)}.{_loss_hint(run, exc)} {exc}"
        ) from exc
    if not isinstance(run.loss, Tensor) or run.loss.ndim or run.loss.is_complex():
        raise TrainingError(
            f"the loss {_name(run.crit)} must return one number as a tensor, the mean over the batch; it returned "
            f"{describe(run.loss)}."
        )
    run.emit("after_loss")
    if run.training and not run.loss.requires_grad:
        raise TrainingError(
            f"the loss {_name(run.crit)} does not depend on anything that is trained, so it has no gradient: somewhere between "
            "the model's weights and the loss is a `detach()`, `.data`, `torch.no_grad()`, an `argmax`, or a way over NumPy; "
            "or the layers that are not frozen have no part in it."
        )


def split_output(output: Any, *, whole: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """Split what a model returns into the prediction and extra outputs: a tuple's first element and the rest.

    With `whole` the prediction is the tuple itself.
    """
    if not isinstance(output, tuple) or not output or isinstance(output, PackedSequence):
        return output, ()
    return output if whole else output[0], output[1:]


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
    run.opt.zero_grad(set_to_none=True)
    if errors and not failed:
        raise errors[0]


def _update(scorer: Metric, preds: Any, y: Any) -> None:
    try:
        scorer.update(preds, y)
    except (AttributeError, RuntimeError, TypeError, IndexError, ValueError) as exc:
        raise TrainingError(
            f"the metric {scorer.name!r} does not fit predictions {describe(preds)} and targets {describe(y)}: {exc}"
        ) from exc


def _compute(scorer: Metric) -> dict[str, float]:
    try:
        return columns_of(scorer.name, scorer.compute())
    except TrainingError:
        raise
    except (AttributeError, RuntimeError, TypeError, IndexError, ValueError) as exc:
        raise TrainingError(
            f"the metric {scorer.name!r} cannot be computed from what the model predicts: {exc}"
        ) from exc


def describe(value: Any) -> str:
    """Describe a batch, or a part of one, for a message: dtypes and shapes."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, PackedSequence):
        return f"packed {describe(value.data)} of {int(value.batch_sizes[0])} sequences"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    return type(value).__name__


def _name(crit: Any) -> str:
    return f"`{getattr(crit, '__qualname__', type(crit).__name__)}`"


def _model_hint(run: Run, exc: Exception) -> str:
    if "more than 1 value per channel" in str(exc):
        return " Batch norm cannot train on a single item: use a larger batch size, or `drop_last=True` in the loader."
    if any(hasattr(x, "__array__") and not isinstance(x, Tensor) for x in run.xs):
        return " The inputs of a batch must be tensors: `torch.as_tensor(x)` in the loader."
    p = next((p for p in run.model.parameters() if p.is_floating_point()), None)
    other = [x for x in run.xs if isinstance(x, Tensor) and p is not None and x.dtype not in (p.dtype, torch.int64)]
    return " The model's weights are float32: give it `x.float()`." if other else ""


def _loss_hint(run: Run, exc: Exception) -> str:
    pred, y = run.pred, run.y
    if is_own(run.crit) and not (isinstance(pred, Tensor) and isinstance(y, Tensor)):
        return ""  # only whoever wrote it knows what it takes
    if not isinstance(y, Tensor):
        return (
            " The target of a batch must be a tensor: `torch.as_tensor(y)` in the loader, class names as their numbers."
        )
    if not isinstance(pred, Tensor):
        return (
            " The losses of the library and of PyTorch take a tensor: return that, or pass a `crit=` that takes it out."
        )
    several = pred.ndim == 2 and pred.shape[1] > 1
    if y.is_floating_point() and several and y.ndim == 1:
        return " Class targets must be whole numbers: use `y.long()`, or give the model one output for a regression."
    if y.dtype in (torch.bool, torch.int8, torch.int16, torch.int32) and several and y.ndim == 1:
        return " Class targets must be 64-bit whole numbers: use `y.long()`."
    if "out of bounds" in str(exc) and pred.ndim >= 2 and y.numel():
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= pred.shape[1]:
            outside = low if low < 0 else high
            only = "class 0 only" if pred.shape[1] == 1 else f"classes 0 to {pred.shape[1] - 1}"
            return f" The target holds class {outside}, but the model scores {only}."
    if not y.is_floating_point() and (pred.shape == y.shape or differ_by_ones(pred.shape, y.shape)):
        return " This loss needs decimal targets: use `y.float()`."
    return ""


_MISFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a model or loss raises that is given something else than it expects."""
_NO_BATCHES = (
    "the {} loader is empty: it gave no batch. Check that the data set is not empty, and with `drop_last=True` that it "
    "holds at least one full batch. A generator can be used only once: give a list or a loader. Without validation, "
    "`val_dl` is None."
)
_WRONG_LENGTH = (
    "the training loader says that it has {} batches (its `len`), and gave {} in epoch {}. Schedules of rates are fitted to the "
    "epochs as they are, in the first one by a jump at its end; mend the `__len__` of the data set or loader."
)
