"""The events of the training loop and how to listen to them.

A `Callback` overrides the events it cares for. Each gets the `Run`, the one object that holds the state of
the fit, and may read it and write to it. Raising `CancelBatch`, `CancelEpoch` or `CancelFit` ends that phase:
every other callback still hears the event, and the phase's `after_` event is still sent.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.core.errors import user_stacklevel
from learnkit.core.listing import check_list
from learnkit.core.settable import check_known
from learnkit.train.players import Player
from learnkit.train.running import RunningLoss

_FOREIGN = re.compile(r"on_(train|fit|epoch|batch|step|loss|backward|validation)_(begin|start|end)")

__all__ = [
    "EVENTS",
    "Callback",
    "Cancel",
    "CancelBatch",
    "CancelEpoch",
    "CancelFit",
    "Phase",
    "Run",
    "bind_events",
    "check_callbacks",
]


class Cancel(Exception):
    """Base of the three ways to end a phase early; not an error.

    A cancel that is narrower than the phase it is raised in ends that phase: `CancelBatch` raised in
    `before_epoch` ends the epoch.
    """

    scope = 0


class CancelBatch(Cancel):
    """Go on with the next batch."""

    scope = 1


class CancelEpoch(Cancel):
    """Go on with the next epoch, skipping what is left of this one, validation included."""

    scope = 2


class CancelFit(Cancel):
    """End the fit."""

    scope = 3


class Callback:
    """Override the events you need; all of them do nothing here.

    Batches of the training and of the validation pass send the same events; `run.training` tells which it is.

    `lr_find`, `check` and `validate` of a learner send their events too, and then give each callback its attributes back. A
    callback that only watches a training (writes files, saves weights) sets `rehearses = False` in its class, and is left
    alone by them.

    Checkpoints keep the attributes that are data, and the state of those that have one (`state_dict`): modules, optimizers,
    schedulers, random generators, also in lists and dicts. A resumed fit (`run.resumed`) sends `before_fit`, and `before_epoch`
    and `before_train` of the epoch it goes on with, then gives each callback its attributes back.

    A method called `before_...`, `after_...` or `cleanup_...` that is no event is refused when the class is
    defined, so that a misspelt event cannot be ignored in silence.

    Examples
    --------
    >>> import torch
    >>> from learnkit import Callback, CancelFit, DataBunch, Learner, Real
    >>> class Look(Callback):
    ...     def after_step(self, run):
    ...         print(run.epoch, run.batch, run.n_batches, tuple(run.pred.shape))
    ...         if run.batch == 1:
    ...             raise CancelFit
    >>> x = torch.ones(4, 2)
    >>> learn = Learner(DataBunch(".", [(x, x.sum(1))] * 9, target=Real()), torch.nn.Linear(2, 1))
    >>> with learn.no_progress():
    ...     _ = learn.fit(0.1, 1, callbacks=[Look()])
    0 0 9 (4, 1)
    0 1 9 (4, 1)
    """

    rehearses: ClassVar[bool] = True

    if not TYPE_CHECKING:  # a checker would take every name for one that can be set

        def __setattr__(self, name: str, value: Any) -> None:
            # A misspelt setting of ours is refused; a callback of the user's keeps what it likes.
            if type(self).__module__.startswith("learnkit."):
                check_known(self, name, value, sys._getframe(1))
            super().__setattr__(name, value)

    def before_fit(self, run: Run) -> None:
        """Once, before anything else."""

    def before_epoch(self, run: Run) -> None:
        """Start of an epoch; `run.results` is empty."""

    def before_train(self, run: Run) -> None:
        """Start of the training pass."""

    def before_batch(self, run: Run) -> None:
        """`run.xs` and `run.y` are on the device; replace them to change what is learnt from."""

    def after_pred(self, run: Run) -> None:
        """`run.pred` holds the model's output."""

    def after_loss(self, run: Run) -> None:
        """`run.loss` is computed; replace it to change what is minimised."""

    def after_backward(self, run: Run) -> None:
        """Gradients of this batch are added (scaled, with `precision="fp16"`)."""

    def before_step(self, run: Run) -> None:
        """Gradients are complete, unscaled and clipped; the optimizer is about to use them."""

    def after_step(self, run: Run) -> None:
        """The optimizer has changed the weights; gradients are still there."""

    def after_batch(self, run: Run) -> None:
        """End of a batch, also of a cancelled one."""

    def after_train(self, run: Run) -> None:
        """End of the training pass."""

    def before_valid(self, run: Run) -> None:
        """Start of the validation pass, if there is a validation set."""

    def after_valid(self, run: Run) -> None:
        """End of the validation pass."""

    def after_epoch(self, run: Run) -> None:
        """`run.results` holds the figures of the epoch: `trn_loss`, `val_loss`, metrics.

        After a cancelled epoch those that were not computed are missing.
        """

    def after_fit(self, run: Run) -> None:
        """Once, at the end of a fit that was finished or cancelled; not after an error."""

    def cleanup_fit(self, run: Run) -> None:
        """Always, last of all, also after an error or Ctrl-C: remove hooks, close files."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback: its attributes that are data.

        Data are numbers, text, `None`, tensors and arrays (the model's own parameters are not), and lists, tuples and
        dicts of them. Override this and `load_state_dict` where that is too much or not enough.
        """
        return {name: value for name, value in vars(self).items() if _is_data(value)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned when the checkpoint was taken."""
        for name, value in state.items():
            # What is no data here is the constructor's business: a file, a function, a method.
            if _is_data(getattr(self, name, None)):
                setattr(self, name, value)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in dir(cls):
            if _FOREIGN.fullmatch(name):
                raise TypeError(
                    f"{cls.__name__}.{name} is another library's event. Events here are: {', '.join(EVENTS)}."
                )
            if not name.startswith(("before_", "after_", "cleanup_")):
                continue
            method = getattr(cls, name)
            if name not in EVENTS:
                near = difflib.get_close_matches(name, EVENTS, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else f" Events are: {', '.join(EVENTS)}."
                raise TypeError(f"{cls.__name__}.{name} is not an event.{hint}")
            if not callable(method) or len(inspect.signature(method).parameters) != 2:
                raise TypeError(f"{cls.__name__}.{name} must be a method `def {name}(self, run)`.")


EVENTS = tuple(name for name in vars(Callback) if name.startswith(("before_", "after_", "cleanup_")))


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_data(x) for pair in value.items() for x in pair)
    if isinstance(value, tuple | list):
        return type(value) in (tuple, list) and all(_is_data(x) for x in value)
    if isinstance(value, Tensor):
        return not value.requires_grad and not isinstance(value, nn.Parameter)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return value is None or isinstance(value, bool | int | float | str | np.number)


def check_callbacks(callbacks: Iterable[Callback] | None) -> list[Callback]:
    """Return `callbacks` as a list, or say what is wrong with them."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback):
        raise TypeError(f"`callbacks` must be a list; write [{type(callbacks).__name__}(...)].")
    checked = check_list("callbacks", callbacks, "callbacks")
    for callback in checked:
        if not isinstance(callback, Callback):
            hint = " Pass an instance, not the class." if isinstance(callback, type) else ""
            raise TypeError(f"`callbacks` must hold learnkit callbacks; got {callback!r}.{hint}")
    return checked


def bind_events(callbacks: Iterable[Callback]) -> dict[str, list[Callable[[Run], None]]]:
    """Return the bound methods that listen to each event, in the order of the callbacks."""
    return {
        event: [getattr(cb, event) for cb in callbacks if getattr(type(cb), event) is not getattr(Callback, event)]
        for event in EVENTS
    }


class Run:
    """The state of one fit: what callbacks read and write.

    Attributes
    ----------
    model : nn.Module
    opt : torch.optim.Optimizer
    crit : callable
    player, players : Player, tuple of Player
        Whose turn it is, and all of them; in most fits there is only one. Of several `opt` and `crit` are those of the one
        whose turn it is, and the last one's loss is that of the validation.
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
    higher_is_better : dict of str to bool
        The direction of the figures of which it is known.
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
    model, opt, crit, n_epochs, callbacks, players
        As for `fit`, which makes the run.
    """

    def __init__(
        self,
        model: nn.Module,
        opt: Optimizer,
        crit: Callable[[Any, Any], Tensor],
        n_epochs: int,
        callbacks: Sequence[Callback],
        players: Sequence[Player] = (),
    ) -> None:
        self.model = model
        self.opt = opt
        self.crit = crit
        self.players = tuple(players) or (Player("only", opt, crit),)
        self.player = self.players[0]
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
        self.higher_is_better: dict[str, bool] = {}
        self.columns: dict[str, tuple[str, ...]] = {}
        self.results: dict[str, float] = {}
        self.callbacks = tuple(callbacks)
        self.resumed = False
        self._listeners = bind_events(callbacks)

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns of the epoch table, as they are known so far: a figure that has several has a column for each."""
        return tuple(column for name in self.figures for column in self.columns.get(name, (name,)))

    def note_columns(self, declared: Sequence[str], found: Iterable[str]) -> None:
        """Take note of the columns that the figures of a metric turn out to be."""
        columns = tuple(found)
        if columns != tuple(declared):
            self.columns |= dict.fromkeys(declared, ()) | {declared[0]: columns}

    def remark(self, text: str) -> None:
        """Say, once per fit, what may be meant but usually is not."""
        warnings.warn(text, stacklevel=user_stacklevel())

    def begin_pass(self, *, training: bool, n_batches: int | None) -> None:
        """Set out on a pass over training or validation data."""
        self.training, self.n_batches, self.batch = training, n_batches, -1
        if not training:
            self.give_turn(self.players[-1])

    def give_turn(self, player: Player) -> None:
        """Go on with a player's optimizer and loss; where it is this player's turn already, those of a callback stay."""
        if player is not self.player:
            self.player, self.opt, self.crit = player, player.opt, player.crit

    def forget_batch(self) -> None:
        """Let go of the batch at hand, so that its memory can be used again."""
        self.xs, self.y, self.pred, self.extra, self.loss = (), None, None, (), torch.zeros(())

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
