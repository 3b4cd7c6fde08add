"""State forgotten in time, steps in proportion to their window, averages from when the loss stops improving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from learnkit import Callback, Category, DataBunch, Learner, fit
from learnkit.text import NTASGD, ResetState, ScaleRateByLength
from tests.text.helpers import language_data, language_learner
from tests.train.helpers import Trace, assert_same, batches, plain_net, snapshot


class Remembers(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)
        self.seen: list[bool] = []

    def reset(self) -> None:
        self.seen.append(self.training)


def test_reset_state_forgets_before_each_pass() -> None:
    """Twice then: the loop does so by itself."""
    model = Remembers()
    data = DataBunch(".", batches(), batches())
    opt = optim.SGD(model.parameters(), 0.1)
    fit(model, data, 2, opt, nn.functional.cross_entropy, callbacks=[ResetState()], progress=False)
    assert len(model.seen) == 2 * 4
    other = plain_net()  # nothing to forget
    opt = optim.SGD(other.parameters(), 0.1)
    fit(other, data, 1, opt, nn.functional.cross_entropy, callbacks=[ResetState()], progress=False)


class Rates(Callback):
    """Notes the length of each window, and the rate at the step and after the batch."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []

    def after_step(self, run: Any) -> None:
        self.at_step = run.opt.param_groups[0]["lr"]

    def after_batch(self, run: Any) -> None:
        if run.training:
            self.rows.append((len(run.xs[0]), self.at_step, run.opt.param_groups[0]["lr"]))


def test_a_step_is_as_long_as_its_window(tmp_path: Path) -> None:
    learn, rates = language_learner(tmp_path), Rates()
    learn.fit(1e-2, 1, callbacks=[rates])
    assert len({n for n, _, _ in rates.rows}) > 3
    for n, at_step, after in rates.rows:
        assert at_step == pytest.approx(1e-2 * n / 20)
        assert after == 1e-2
    assert set(learn.sched.lrs) == {1e-2}  # the record shows the schedule
    learn.set_data(language_data(tmp_path, learn.field, bptt=10))
    rates = Rates()
    learn.fit(1e-2, 1, callbacks=[rates])
    assert all(at_step == pytest.approx(1e-2 * n / 10) for n, at_step, _ in rates.rows)


def test_rates_of_a_schedule_are_scaled_too(tmp_path: Path) -> None:
    learn, rates = language_learner(tmp_path), Rates()
    learn.fit(1e-2, 1, cycle_len=1, callbacks=[rates])
    for (n, at_step, _), rate in zip(rates.rows, learn.sched.lrs, strict=True):
        assert at_step == pytest.approx(rate * n / 20)
    assert learn.sched.lrs[-1] < 1e-3


class Losses(Callback):
    """Sets the validation losses."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def after_epoch(self, run: Any) -> None:
        run.results["val_loss"] = self.losses[run.epoch]


def averaged(losses: list[float], patience: int, *, val: bool = True) -> tuple[nn.Module, Trace]:
    data = DataBunch(".", batches(), batches(8) if val else None, target=Category(list("abc")))
    learn = Learner(data, plain_net(), optim.SGD)
    learn.no_progress()
    trace = Trace()
    learn.fit(0.5, len(losses), callbacks=[trace, *([Losses(losses)] if val else []), NTASGD(patience)])
    return learn.model, trace


def mean_of(steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: torch.stack([step[name].double() for step in steps]).mean(0).float() for name in steps[0]}


@pytest.mark.parametrize(
    ("losses", "patience", "from_epoch"),
    [
        ([5, 4, 3, 3.5, 3.6, 3.7, 3.8], 2, 6),  # 3.7 is not below 3, the best of more than two epochs before
        ([5, 4, 4, 4, 3, 3], 1, 4),  # nor is 4 below 4
        ([1, 2, 3, 4, 5, 6], 5, None),  # no epoch has one more than five before it
        ([6, 5, 4, 3, 2, 1], 1, None),
    ],
)
def test_averaging_begins_when_the_loss_stops_improving(
    losses: list[float], patience: int, from_epoch: int | None
) -> None:
    model, trace = averaged(losses, patience)
    per_epoch = len(trace.steps) // len(losses)
    if from_epoch is None:
        assert_same(snapshot(model), trace.steps[-1])
        return
    expected = mean_of(trace.steps[from_epoch * per_epoch :])
    for name, value in snapshot(model).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)


def test_training_goes_on_from_its_own_weights_while_the_average_is_validated() -> None:
    _, with_average = averaged([1, 2, 3, 4], 1)
    _, without = averaged([4, 3, 2, 1], 1)
    for a, b in zip(with_average.steps, without.steps, strict=True):
        assert_same(a, b)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="`patience` must be a positive whole number"):
        NTASGD(0)
    with pytest.raises(ValueError, match="`bptt` must be a positive whole number"):
        ScaleRateByLength(0)
