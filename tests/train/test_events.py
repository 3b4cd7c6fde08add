"""Every callback hears every event; cancels and errors end exactly what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from learnkit import Callback, CancelBatch, CancelEpoch, CancelFit, DataBunch, fit
from learnkit.train.events import EVENTS, bind_events
from tests.train.helpers import Events, Trace, assert_same, batches, differs, plain_net, snapshot

N_EPOCHS = 2
TRAIN_BATCH = [
    "before_batch",
    "after_pred",
    "after_loss",
    "after_backward",
    "before_step",
    "after_step",
    "after_batch",
]
VALID_BATCH = ["before_batch", "after_pred", "after_loss", "after_batch"]
EPOCH = [
    "before_epoch",
    "before_train",
    *TRAIN_BATCH * 3,
    "after_train",
    "before_valid",
    *VALID_BATCH * 2,
    "after_valid",
    "after_epoch",
]
FULL = ["before_fit", *EPOCH * N_EPOCHS, "after_fit", "cleanup_fit"]
SCOPES = {"batch": 1, "train": 1, "valid": 1, "epoch": 2, "fit": 3}


def run_fit(callbacks: list[Callback], accumulate: int = 1, loader: Any = None) -> nn.Module:
    model = plain_net()
    data = DataBunch(".", batches(22) if loader is None else loader, batches(9, 5, seed=1))
    opt = optim.SGD(model.parameters(), lr=0.1)
    fit(model, data, N_EPOCHS, opt, F.cross_entropy, None, callbacks, accumulate=accumulate, progress=False)
    return model


class RaiseAt(Events):
    """Raises at the n-th event it hears."""

    def __init__(self, position: int, error: type[BaseException]) -> None:
        super().__init__()
        self.position, self.error = position, error


def _raising(event: str) -> Any:
    def listen(self: RaiseAt, run: Any) -> None:
        self.log.append(event)
        if len(self.log) - 1 == self.position:
            raise self.error

    return listen


for _event in EVENTS:
    setattr(RaiseAt, _event, _raising(_event))


def test_order_of_events():
    events = Events()
    run_fit([events])
    assert events.log == FULL


def test_events_are_those_of_the_class_and_all_of_them_happen():
    assert set(EVENTS) == set(FULL)


def test_event_of_a_window_of_accumulated_batches():
    """A step is taken once per window; the last one is short."""
    events = Events()
    run_fit([events], accumulate=2)
    without_step = [event for event in TRAIN_BATCH if "step" not in event]
    train = events.log[events.log.index("before_train") + 1 : events.log.index("after_train")]
    assert train == [*without_step, *TRAIN_BATCH, *TRAIN_BATCH]


def after_cancel(position: int, scope: int) -> list[str]:
    """What is heard if the event at `position` cancels: its open phases are closed up to the one it bounds."""
    open_phases: list[tuple[str, int]] = []  # name, where it is closed
    for i, event in enumerate(FULL[: position + 1]):
        when, phase = event.split("_")
        if when == "before" and phase in SCOPES:
            open_phases.append((phase, closing(i, phase)))
        elif when == "after" and phase in SCOPES:
            open_phases.pop()
    when, phase = FULL[position].split("_")
    if phase == "fit" and when != "before":
        return FULL
    if when == "after" and SCOPES.get(phase, 0) >= scope:
        return FULL  # that phase is over anyway
    closed, resume = [], position + 1
    while open_phases:
        phase, end = open_phases.pop()
        closed.append(f"after_{phase}")
        resume = end + 1
        if SCOPES[phase] >= scope:
            break
    return [*FULL[: position + 1], *closed, *FULL[resume:]]


def closing(start: int, phase: str) -> int:
    return FULL.index(f"after_{phase}", start)


@pytest.mark.parametrize(("cancel", "scope"), [(CancelBatch, 1), (CancelEpoch, 2), (CancelFit, 3)])
def test_cancel_from_every_event(cancel, scope):
    """All callbacks hear the event first; open phases still get their `after_` event; the rest goes on."""
    wrong = []
    for position, event in enumerate(FULL):
        before, canceller, after = Events(), RaiseAt(position, cancel), Events()
        run_fit([before, canceller, after])
        if not before.log == canceller.log == after.log == after_cancel(position, scope):
            wrong.append((position, event))
    assert wrong == []


@pytest.mark.parametrize("order", [(CancelBatch, CancelFit), (CancelFit, CancelBatch), (CancelEpoch, CancelFit)])
def test_widest_of_several_cancels_wins(order):
    position = FULL.index("after_loss")
    events = Events()
    run_fit([*(RaiseAt(position, cancel) for cancel in order), events])
    assert events.log == after_cancel(position, 3)


@pytest.mark.parametrize("event", ["before_batch", "after_pred", "after_loss", "after_backward", "before_step"])
@pytest.mark.parametrize("known_length", [True, False])
def test_cancelled_batch_is_as_if_it_had_not_been_there(event, known_length):
    class Skip(Callback):
        pass

    def skip(self: Callback, run: Any) -> None:
        if run.training and run.batch in (1, 3):
            raise CancelBatch

    setattr(Skip, event, skip)

    class Iterable:
        def __iter__(self):
            return iter(batches(38))

    trace = Trace()
    model = run_fit([Skip(), trace], loader=batches(38) if known_length else Iterable())
    others = [batch for i, batch in enumerate(batches(38)) if i not in (1, 3)]
    assert len(others) == 3
    assert_same(model, run_fit([], loader=others))


@pytest.mark.parametrize("event", ["before_batch", "after_pred", "after_loss"])
def test_cancelled_batch_of_a_window_does_not_count_in_it(event):
    class Skip(Callback):
        pass

    def skip(self: Callback, run: Any) -> None:
        if run.training and run.batch in (0, 3):
            raise CancelBatch

    setattr(Skip, event, skip)
    others = [batch for i, batch in enumerate(batches(38)) if i not in (0, 3)]
    model = run_fit([Skip()], loader=batches(38), accumulate=2)
    assert_same(model, run_fit([], loader=others, accumulate=2))


def test_cancelled_epoch_is_not_validated_and_the_next_one_starts_clean():
    class FirstBatchOnly(Callback):
        def __init__(self):
            self.seen = []

        def before_batch(self, run):
            if run.batch == 1 and run.epoch == 0:
                raise CancelEpoch

        def after_epoch(self, run):
            self.seen.append(sorted(run.results))

    callback = FirstBatchOnly()
    model = run_fit([callback])
    reference = plain_net()
    opt = optim.SGD(reference.parameters(), lr=0.1)
    for x, y in [batches(22)[0], *batches(22)]:
        opt.zero_grad()
        F.cross_entropy(reference(x), y).backward()
        opt.step()
    assert callback.seen == [[], ["trn_loss", "val_loss"]]
    assert_same(model, reference)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_from_every_event(error):
    """It comes out as it is; everybody's `cleanup_fit` is called, and only that."""
    wrong = []
    for position, event in enumerate(FULL):
        before, faulty, after = Events(), RaiseAt(position, error), Events()
        with pytest.raises(error):
            run_fit([before, faulty, after])
        here = [] if event == "cleanup_fit" else [event]
        heard = FULL[:position]
        if (before.log, after.log) != ([*heard, *here, "cleanup_fit"], [*heard, "cleanup_fit"]):
            wrong.append((position, event))
    assert wrong == []


def test_first_error_is_the_one_seen():
    """An error in a clean-up does not hide the error that ended the fit."""

    class Clumsy(Callback):
        def cleanup_fit(self, run):
            raise RuntimeError("clumsy")

    class Faulty(Callback):
        def after_step(self, run):
            raise ValueError("the cause")

    events = Events()
    with pytest.raises(ValueError, match="the cause"):
        run_fit([Clumsy(), Faulty(), events])
    assert events.log[-1] == "cleanup_fit"
    with pytest.raises(RuntimeError, match="clumsy"):
        run_fit([Clumsy()])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("after_epohc", "Did you mean `after_epoch`"),
        ("before_batches", "Did you mean `before_batch`"),
        ("cleanup_fits", "Did you mean `cleanup_fit`"),
        ("after_0123456789", "Events are: before_fit, "),
    ],
)
def test_misspelt_event_is_refused_when_the_class_is_made(name, hint):
    with pytest.raises(TypeError, match=rf"Wrong\.{name} is not an event.*{hint}"):
        type("Wrong", (Callback,), {name: lambda self, run: None})


@pytest.mark.parametrize("method", [lambda self: None, lambda self, run, more: None, 3])
def test_event_with_a_wrong_signature_is_refused(method):
    with pytest.raises(TypeError, match=r"must be a method `def after_step\(self, run\)`"):
        type("Wrong", (Callback,), {"after_step": method})


def test_misspelt_event_in_a_mixin_is_refused_too():
    class Mixin:
        def after_setp(self, run):
            pass

    with pytest.raises(TypeError, match="after_setp is not an event"):
        type("Wrong", (Mixin, Callback), {})


def test_events_of_a_mixin_and_of_a_parent_are_heard():
    class Mixin:
        def after_step(self, run):
            run.heard.append("mixin")

    class Parent(Callback):
        def before_fit(self, run):
            run.heard = []

    class Child(Mixin, Parent):
        def after_fit(self, run):
            self.heard = run.heard

    child = Child()
    run_fit([child])
    assert child.heard == ["mixin"] * 6


def test_only_what_is_overridden_is_called():
    """So that a callback costs nothing for the events it does not care for."""

    class One(Callback):
        def after_step(self, run):
            pass

    bound = bind_events([One(), Callback()])
    assert {event: len(methods) for event, methods in bound.items() if methods} == {"after_step": 1}


def test_run_holds_the_state_that_callbacks_may_read():
    seen: list[Any] = []

    class Reader(Callback):
        def before_fit(self, run):
            seen.append((run.n_epochs, run.figures))

        def after_loss(self, run):
            if run.epoch == 1 and run.batch == 0:
                assert isinstance(run.xs, tuple)
                assert run.pred.shape == (len(run.y), 3)
                assert run.loss.ndim == 0
                seen.append((run.training, run.n_batches, tuple(run.xs[0].shape), run.extra))

        def after_epoch(self, run):
            seen.append(sorted(run.results))

    run_fit([Reader()])
    figures = ["trn_loss", "val_loss"]
    assert seen == [(2, tuple(figures)), figures, (True, 3, (8, 6), ()), (False, 2, (5, 6), ()), figures]


def test_what_a_callback_writes_is_what_is_trained_on():
    class Half(Callback):
        def before_batch(self, run):
            if run.training:
                run.xs, run.y = tuple(x[: len(run.y) // 2] for x in run.xs), run.y[: len(run.y) // 2]

        def after_loss(self, run):
            if run.training:
                run.loss = 2 * run.loss

    model = run_fit([Half()])
    reference = plain_net()
    opt = optim.SGD(reference.parameters(), lr=0.1)
    for x, y in batches(22) * N_EPOCHS:
        n = len(y) // 2
        opt.zero_grad()
        (2 * F.cross_entropy(reference(x[:n]), y[:n])).backward()
        opt.step()
    assert_same(model, reference)
    assert differs(snapshot(model), snapshot(plain_net()))


def test_gradients_are_complete_before_a_step_and_still_there_after_it():
    grads: list[list[torch.Tensor]] = []

    class Grads(Callback):
        def before_step(self, run):
            grads.append([p.grad.clone() for p in run.model.parameters()])

        def after_step(self, run):
            assert all(torch.equal(p.grad, g) for p, g in zip(run.model.parameters(), grads[-1], strict=True))

    model = plain_net()
    x, y = batches(22)[0]
    F.cross_entropy(model(x), y).backward()
    run_fit([Grads()])
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads[0], strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["on_epoch_end", "on_train_begin", "on_batch_end"])
def test_events_of_other_libraries_are_refused(name):
    with pytest.raises(TypeError, match="another library's event.*after_epoch"):
        type("Foreign", (Callback,), {name: lambda self, run: None})
