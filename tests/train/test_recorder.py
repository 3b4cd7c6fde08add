"""What a fit leaves behind is what happened, and what is shown is that."""

from __future__ import annotations

import io
import math
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

from learnkit import (
    Callback,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    Category,
    DataBunch,
    LearnkitError,
    ProgressTable,
    Recorder,
    fit,
)
from learnkit.train.recorder import format_figure
from learnkit.train.running import RunningLoss
from tests.train.helpers import N_CLASSES, N_IN, Trace, batches, bunch, items, learner, net, plain_net

NB = len(batches())


# ---------------------------------------------------------------- the running loss


@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.integers(1, 9)), min_size=1, max_size=30), st.integers(0, 30))
def test_running_loss(entries, start):
    """Whenever it is read: every loss, their smoothed value, the mean over the items of an epoch."""
    start = min(start, len(entries) - 1)
    running = RunningLoss(beta=0.9)
    for i, (loss, n) in enumerate(entries):
        if i == start:
            running.start_epoch()
        running.add(torch.tensor(loss), n)
        if n % 3 == 0:
            running.read()
    losses, sizes = zip(*entries, strict=True)
    weights = [0.9 ** (len(losses) - 1 - i) for i in range(len(losses))]
    assert running.read() == pytest.approx(list(losses))
    smooth = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert running.smooth() == pytest.approx(smooth, abs=1e-6)
    total = sum(loss * n for loss, n in entries[start:])
    assert running.epoch_mean() == pytest.approx(total / sum(sizes[start:]), abs=1e-6)


def test_running_loss_of_nothing():
    running = RunningLoss()
    assert (len(running), running.read()) == (0, [])
    assert math.isnan(running.smooth())
    assert math.isnan(running.epoch_mean())


# ---------------------------------------------------------------- the recorder


@pytest.mark.parametrize(
    ("opt_fn", "moms"), [(partial(optim.SGD, momentum=0.8), 0.8), (None, 0.9), (optim.Adagrad, None)]
)
def test_recorder_notes_every_batch_and_epoch(opt_fn, moms):
    learn, trace = learner(opt_fn=opt_fn), Trace()
    results = learn.fit(0.01, 3, callbacks=[trace])
    sched = learn.sched
    assert sched.losses == trace.losses
    assert sched.lrs == [0.01] * 3 * NB
    assert sched.moms == ([] if moms is None else [moms] * 3 * NB)
    assert [list(row) for row in sched.epochs] == [["epoch", "trn_loss", "val_loss", "accuracy", "time"]] * 3
    assert [row["epoch"] for row in sched.epochs] == [0, 1, 2]
    assert {name: sched.epochs[-1][name] for name in results} == results
    assert all(row["time"] > 0 for row in sched.epochs)


def test_second_fit_starts_a_new_record():
    learn = learner()
    learn.fit(0.01, 3)
    learn.fit(0.02, 1)
    assert (len(learn.sched.losses), len(learn.sched.epochs), learn.sched.lrs[0]) == (NB, 1, 0.02)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_are_per_batch_also_when_accumulating(accumulate):
    learn = learner(accumulate=accumulate)
    learn.fit(0.01, 2)
    assert len(learn.sched.losses) == len(learn.sched.lrs) == len(learn.sched.moms) == 2 * NB


def stop_at(event: str, error: type[BaseException]) -> Callback:
    def stop(self: Any, run: Any) -> None:
        if run.training and run.epoch == 1 and run.batch == 1:
            raise error

    return type("Stop", (Callback,), {event: stop})()


BATCH_EVENTS = [
    "before_batch",
    "after_pred",
    "after_loss",
    "after_backward",
    "before_step",
    "after_step",
    "after_batch",
]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, CancelFit, CancelEpoch, CancelBatch])
@pytest.mark.parametrize("event", BATCH_EVENTS)
def test_record_of_a_training_that_was_broken_off_is_whole(event, error):
    """The second epoch ends in its second batch: as many rates as losses, those of the batches that were learnt from."""
    learn, trace = learner(), Trace()
    try:
        learn.fit(0.01, 2, callbacks=[trace, stop_at(event, error)])
    except (ValueError, KeyboardInterrupt):
        assert error in (ValueError, KeyboardInterrupt)
    sched = learn.sched
    trained = event not in ("before_batch", "after_pred", "after_loss")
    rest = 2 if error is CancelBatch else 0
    assert len(sched.losses) == len(sched.lrs) == len(sched.moms) == NB + 1 + trained + rest
    assert len(sched.epochs) == 1 + (error in (CancelFit, CancelEpoch, CancelBatch))
    assert sched.losses[:NB] == trace.losses[:NB]


def test_broken_off_training_can_be_drawn():
    learn = learner()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(0.01, 2, callbacks=[stop_at("after_loss", KeyboardInterrupt)])
    assert len(learn.sched.plot_loss().lines) == 3
    assert len(learn.sched.plot_lr(show_moms=True).lines) == 1


def test_record_is_whole_when_the_backward_pass_fails():
    learn = learner()
    calls = []

    def crit(pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        loss = F.cross_entropy(pred, y)
        return loss.detach() if len(calls) == 3 else loss

    learn.crit = crit
    with pytest.raises(RuntimeError):
        learn.fit(0.01, 1)
    assert len(learn.sched.losses) == len(learn.sched.lrs) == len(learn.sched.moms)


def test_to_frame():
    learn = learner()
    assert learn.sched.to_frame().empty
    learn.fit(0.01, 2)
    frame = learn.sched.to_frame()
    assert list(frame.columns) == ["epoch", "trn_loss", "val_loss", "accuracy", "time"]
    assert frame["trn_loss"].tolist() == [row["trn_loss"] for row in learn.sched.epochs]
    assert frame["epoch"].tolist() == [0, 1]


# ---------------------------------------------------------------- plots


def test_plots_need_a_fit():
    for plot in (Recorder().plot_lr, Recorder().plot_loss):
        with pytest.raises(LearnkitError, match=r"nothing has been trained yet: call `learn.fit\(...\)` first"):
            plot()


def test_the_rates_drawn_are_those_of_what_came_last():
    learn = learner()
    found = learn.lr_find(n_iter=20)
    assert np.asarray(learn.sched.plot_lr(show_moms=True).lines[0].get_ydata()).tolist() == found.lrs
    with pytest.raises(LearnkitError, match=r"nothing has been trained yet.*`plot\(\)` draws what `lr_find` measured"):
        learn.sched.plot_loss()
    learn.fit(0.1, 1)
    assert np.asarray(learn.sched.plot_lr().lines[0].get_ydata()).tolist() == learn.sched.lrs
    found = learn.lr_find(n_iter=20)
    assert np.asarray(learn.sched.plot_lr().lines[0].get_ydata()).tolist() == found.lrs
    assert len(np.asarray(learn.sched.plot_loss().lines[0].get_ydata())) == NB  # the record of the fit is as it was


def test_plots_draw_what_was_recorded_where_they_are_told_to():
    import matplotlib.pyplot as plt

    learn = learner()
    learn.fit_one_cycle(3, 0.1)
    sched = learn.sched
    _, (a, b) = plt.subplots(1, 2)

    def drawn(line: Any, *, x: bool = False) -> list[float]:
        return list(line.get_xdata() if x else line.get_ydata())

    assert sched.plot_lr(show_moms=True, ax=a) is a
    assert drawn(a.lines[0]) == sched.lrs
    twin = next(ax for ax in a.figure.axes if ax.get_ylabel() == "momentum")
    assert drawn(twin.lines[0]) == sched.moms
    assert sched.plot_loss(ax=b) is b
    raw, smooth, validation = b.lines
    assert drawn(raw) == sched.losses
    assert len(drawn(smooth)) == 3 * NB
    assert drawn(validation) == [row["val_loss"] for row in sched.epochs]
    assert drawn(validation, x=True) == [NB - 1, 2 * NB - 1, 3 * NB - 1]
    assert len(drawn(sched.plot_loss(skip_start=5).lines[0])) == 3 * NB - 5


# ---------------------------------------------------------------- the table and the bar


def table(capsys: Any) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_every_epoch_prints_a_row_under_one_heading(capsys, monkeypatch):
    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)
    learn = learner()
    learn.show_progress = True
    learn.fit(0.01, 2)
    heading, *rows = table(capsys)
    assert heading == ["epoch", "trn_loss", "val_loss", "accuracy", "time"]
    for printed, row in zip(rows, learn.sched.epochs, strict=True):
        figures = [format_figure(row[name]) for name in heading[1:-1]]
        assert printed[:-1] == [str(row["epoch"]), *figures]
        assert printed[-1].endswith("s")


def test_columns_stand_under_their_names(capsys, monkeypatch):
    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)
    model = plain_net()
    fit(model, bunch(), 2, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy, ["average_precision", "f1"])
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 3


def test_figures_that_a_cancelled_epoch_lacks_are_blank(capsys, monkeypatch):
    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)

    class Skip(Callback):
        def before_valid(self, run):
            raise CancelEpoch

    learn = learner(callbacks=[Skip()])
    learn.show_progress = True
    learn.fit(0.01, 1)
    heading, row = table(capsys)
    assert (len(heading), len(row)) == (5, 3)


@pytest.mark.parametrize("how", ["environment", "call", "with", "argument"])
def test_silence(how, capsys, monkeypatch):
    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)
    learn = learner()
    learn.show_progress = True
    if how == "environment":
        monkeypatch.setenv("LEARNKIT_PROGRESS", "0")
        learn.fit(0.01, 1)
    elif how == "call":
        learn.no_progress()
        learn.fit(0.01, 1)
        assert not learn.show_progress
    elif how == "with":
        with learn.no_progress():
            learn.fit(0.01, 1)
        assert learn.show_progress
    else:
        fit(model := net(), bunch(), 1, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy, progress=False)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_terminal_shows_a_bar_and_the_table_stays_whole(length, capsys, monkeypatch):
    class NoLength:
        def __iter__(self):
            return iter(batches())

    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    loader = batches() if length == "known" else NoLength()
    data = DataBunch(".", loader, batches(8))
    model, bar = plain_net(), ProgressTable(interval=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    fit(model, data, 2, opt, F.cross_entropy, None, [bar], progress=False)
    shown = screen.getvalue()
    assert f"epoch 1/2  batch 3/{NB if length == 'known' else '?'}  loss" in shown
    assert "epoch 2/2  validating 1/1" in shown
    assert [row[0] for row in table(capsys)] == ["epoch", "0", "1"]


def test_bar_is_closed_after_an_error(monkeypatch):
    monkeypatch.delenv("LEARNKIT_PROGRESS", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    from tqdm import tqdm

    model, bar = plain_net(), ProgressTable(interval=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fit(model, bunch(), 2, opt, F.cross_entropy, None, [bar, stop_at("after_step", error)], progress=False)
        assert bar._bar is None
        assert not getattr(tqdm, "_instances", ())


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.5, "0.5000"), (0.0, "0.0000"), (1234.5678, "1234.5678"), (1e-5, "1.000e-05"), (-2e6, "-2.000e+06")],
)
def test_format_figure(value, text):
    assert format_figure(value) == text


# ---------------------------------------------------------------- a loss that does not fall


def fresh(opt_fn: Any = None, n: int = 200, **kwargs: Any) -> Any:
    x, y = items(n)
    parts = list(zip(x.split(8), y.split(8), strict=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(N_IN, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, N_CLASSES))
    return learner(
        data=DataBunch(".", parts, parts[:2], target=Category([*"abc"])), model=model, opt_fn=opt_fn, **kwargs
    )


def test_a_first_epoch_that_does_not_lower_the_loss_is_remarked_once(capsys, monkeypatch):
    """0.5 suits gradient descent here, and not the default."""
    monkeypatch.setenv("LEARNKIT_PROGRESS", "1")

    def said(learn: Any, lr: float, n: int = 1) -> str:
        learn.show_progress = True
        learn.fit(lr, n)
        return capsys.readouterr().out

    learn = fresh()
    out = said(learn, 0.5, 2)
    assert out.count("after epoch 0 the loss is no better than at the start: ") == 1
    assert "with AdamW at learning rate 0.5. `learn.lr_find()` suggests a rate." in out
    assert '`opt_fn="sgd_momentum"`' in out
    assert "no better" not in said(learn, 0.5)  # once
    assert "no better" not in said(fresh("sgd"), 0.5)
    assert "no better" not in said(fresh(), 2e-3)
    assert "no better" not in said(fresh(n=80), 0.5)  # too early to tell


def test_a_loss_that_stays_where_it_is_gets_a_line_under_the_table(capsys, monkeypatch):
    monkeypatch.setenv("LEARNKIT_PROGRESS", "1")
    for shown in (False, True):
        learn = fresh("sgd", crit=lambda pred, y: pred.sum() * 0 + 1)
        learn.show_progress = shown
        learn.fit(1e-6, 1)
        out = capsys.readouterr().out
        words = "1.0000 in the first batch, now 1.0000, with SGD at learning rate 1e-06. `learn.lr_find()` suggests a rate.\n"
        assert (words in out) == shown


def test_a_model_with_loaded_weights_may_stay_where_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEARNKIT_PROGRESS", "1")
    learn, other = fresh(), fresh(crit=lambda pred, y: pred.sum() * 0 + 1)
    learn.data.path = other.data.path = tmp_path
    learn.save("a")
    other.load("a")
    other.show_progress = True
    other.fit(1e-9, 1)
    assert "no better" not in capsys.readouterr().out
