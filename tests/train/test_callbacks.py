"""What each callback does, compared with the same thing done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from learnkit import (
    Callback,
    DataBunch,
    GradientClip,
    LossRegulariser,
    NonFiniteError,
    SaveBest,
    StopOnNaN,
    WeightAverage,
    fit,
    load_model,
    validate,
)
from tests.train.helpers import (
    N_CLASSES,
    N_IN,
    Script,
    Trace,
    assert_close,
    assert_same,
    batches,
    bunch,
    differs,
    learner,
    net,
    plain_net,
    run_fit,
    snapshot,
)


def test_gradient_clip_is_the_loops_clip():
    assert_same(run_fit([GradientClip(0.05)]), run_fit([], clip=0.05))
    assert differs(snapshot(run_fit([])), snapshot(run_fit([], clip=0.05)))
    for bad in (0, -1.0, math.inf):
        with pytest.raises(ValueError, match="`max_norm` must be a positive number"):
            GradientClip(bad)


class Twin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(N_IN, 5), nn.Linear(5, N_CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.a(x)
        return self.b(hidden), hidden, x


def test_regulariser_gets_the_extra_outputs_and_only_when_training():
    calls = []

    def reg_fn(pred: Tensor, extra: tuple[Tensor, ...], loss: Tensor) -> Tensor:
        calls.append(len(extra))
        return loss + 0.5 * extra[0].square().mean() + 0.1 * pred.square().mean()

    model, reference = Twin(), Twin()
    figures = fit(
        model, bunch(), 1, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy, None, [LossRegulariser(reg_fn)]
    )
    opt = optim.SGD(reference.parameters(), lr=0.1)
    total = 0.0
    for x, y in batches():
        opt.zero_grad()
        pred, hidden, _ = reference(x)
        loss = F.cross_entropy(pred, y) + 0.5 * hidden.square().mean() + 0.1 * pred.square().mean()
        loss.backward()
        opt.step()
        total += loss.item() * len(y)
    assert calls == [2] * len(batches())
    assert_same(model, reference)
    assert figures["trn_loss"] == pytest.approx(total / 26)  # what is minimised is what is reported
    plain = validate(reference, bunch().val_dl, F.cross_entropy)["val_loss"]  # type: ignore[arg-type]
    assert figures["val_loss"] == pytest.approx(plain)


def floats(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if value.is_floating_point()}


@pytest.mark.parametrize(("decay", "start"), [(0.9, 0), (0.5, 0), (0.7, 1)])
def test_moving_average_of_the_weights(decay, start):
    trace, reference = Trace(), Trace()
    model = run_fit([WeightAverage(decay, start), trace])
    own = run_fit([reference])
    for a, b in zip(trace.steps, reference.steps, strict=True):  # it trains on from its own weights
        assert_same(a, b)
    steps = [floats(weights) for weights in trace.steps[start * len(batches()) :]]
    average = steps[0]
    for n, weights in enumerate(steps[1:], start=1):
        share = max(1 - decay, 1 / (n + 1))
        average = {name: (1 - share) * average[name] + share * weights[name] for name in average}
    assert_close(floats(snapshot(model)), average, atol=1e-6, rtol=1e-5)
    assert differs(snapshot(model), snapshot(own))


@pytest.mark.parametrize("start", [0, 1, 2])
def test_mean_of_the_weights_of_the_epochs(start):
    """Stochastic weight averaging; what is validated is the average so far."""
    seen = []

    class Seen(Callback):
        def after_valid(self, run):
            seen.append(snapshot(run.model))

    trace = Trace()
    model = run_fit([WeightAverage(start=start), trace, Seen()], 4)
    for epoch in range(4):
        counted = trace.after_training[start : epoch + 1]
        expected = (
            {name: torch.stack([floats(w)[name] for w in counted]).mean(0) for name in floats(counted[0])}
            if counted
            else floats(trace.after_training[epoch])
        )
        assert_close(floats(seen[epoch]), expected, atol=1e-6, rtol=1e-5)
    assert_same(model, seen[-1])


def test_average_that_never_starts_changes_nothing():
    assert_same(run_fit([WeightAverage(0.9, start=50)]), run_fit([]))


def test_after_an_error_the_model_has_its_own_weights_not_the_average():
    class Faulty(Callback):
        def after_valid(self, run):
            if run.epoch == 1:
                raise ValueError("stop")

    trace, model = Trace(), net()
    with pytest.raises(ValueError, match="stop"):
        run_fit([WeightAverage(0.9), trace, Faulty()], model=model)
    assert_same(model, trace.after_training[-1])


def test_saved_best_weights_are_the_averaged_ones_that_were_validated(tmp_path):
    for i, reverse in enumerate([False, True]):
        seen: list[dict[str, Tensor]] = []

        class Seen(Callback):
            def after_valid(self, run):
                seen.append(snapshot(run.model))  # noqa: B023 - called within this round

        both = [WeightAverage(0.9), SaveBest(tmp_path / str(i))]
        run_fit([Script([0.3, 0.1, 0.2]), Seen(), *(both[::-1] if reverse else both)])
        loaded = net(seed=3)
        load_model(loaded, tmp_path / str(i))
        assert_same(loaded, seen[1])


def broken(epoch_of_nan: int, where: str) -> tuple[Any, list[Callback]]:
    """Data and callbacks that put NaN into items 2 and 5 of batch 1."""

    class Break(Callback):
        def before_batch(self, run):
            if run.training and run.batch == 1 and run.epoch == epoch_of_nan:
                if where == "input":
                    run.xs = (run.xs[0].clone(),)
                    run.xs[0][[2, 5], 3] = math.nan
                elif where == "target":
                    run.y = run.y.clone()
                    run.y[[2, 5]] = math.inf

        def after_loss(self, run):
            if where == "loss" and run.training and run.batch == 1 and run.epoch == epoch_of_nan:
                run.loss = run.loss * math.nan

    return bunch(), [Break(), StopOnNaN()]


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("input", r"its input holds NaN or infinite values in 2 of 8 items \(numbers 2, 5 of the batch\).*leave out"),
        ("loss", r"though its inputs are: every layer's output is finite.*diverged at learning rate 0\.1: try a tenth"),
    ],
)
def test_not_a_number_stops_the_fit_and_puts_the_weights_of_the_epochs_start_back(epoch, where, words):
    data, callbacks = broken(epoch, where)
    model, trace = net(), Trace()
    before = snapshot(model)
    words = rf"the loss of batch 1 in epoch {epoch} is not finite.*{words}.*weights are those from the start"
    with pytest.raises(NonFiniteError, match=words):
        run_fit([trace, *callbacks], model=model, data=data)
    assert_same(trace.after_training[-1] if epoch else before, model)
    assert len(trace.steps) == epoch * len(batches()) + 1  # the bad batch makes no step


def test_not_a_number_in_the_target_is_named():
    x, _ = batches()[0]
    y = x.sum(1)
    y[3] = math.nan
    model = nn.Linear(N_IN, 1)
    with pytest.raises(NonFiniteError, match=r"its target holds NaN.*1 of 8 items \(numbers 3 of the batch\)"):
        run_fit([StopOnNaN()], 1, model, DataBunch(".", [(x, y)]), crit=F.mse_loss, metrics=None)


def test_the_input_that_holds_it_is_named():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(N_IN, 3)

        def forward(self, a, b):
            return self.lin(a + b)

    x, y = batches()[0]
    bad = x.clone()
    bad[7] = math.inf
    with pytest.raises(NonFiniteError, match=r"batch 1 in epoch 0.*input 1 holds.*1 of 8 items \(numbers 7 "):
        run_fit([StopOnNaN()], 1, Two(), DataBunch(".", [(x, x, y), (x, bad, y)]))


def test_guard_changes_nothing_of_a_healthy_training():
    assert_same(run_fit([StopOnNaN()]), run_fit([]))


def test_a_loss_that_is_read_late_is_not_said_to_have_diverged_as_if_that_were_known():
    class Late(StopOnNaN):
        """As on a GPU: in batch 2 the loss of batch 1 is read."""

        def after_backward(self, run):
            if run.batch == 2:
                self._stop(run, 1)

    words = (
        r"loss of batch 1 in epoch 0 is not finite. It was read.*Either the training diverged.*`learn.check\(\)` looks"
    )
    with pytest.raises(NonFiniteError, match=words):
        run_fit([Late()])


def test_learner_clip_and_reg_fn_are_these_callbacks(tmp_path):
    def train(**settings: Any) -> nn.Module:
        learn = learner(tmp_path, plain_net(), callbacks=settings.pop("callbacks", None))
        for name, value in settings.items():
            setattr(learn, name, value)
        learn.fit(0.1, 2)
        return learn.model

    def reg_fn(pred: Tensor, extra: Any, loss: Tensor) -> Tensor:
        return loss + pred.square().mean()

    assert_same(train(clip=0.1), train(callbacks=[GradientClip(0.1)]))
    assert_same(train(reg_fn=reg_fn), train(callbacks=[LossRegulariser(reg_fn)]))
    assert differs(snapshot(train()), snapshot(train(reg_fn=reg_fn)))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: WeightAverage(1.0), ValueError, r"`decay` must be in \(0, 1\)"),
    ],
)
def test_bad_argument(make, error, words):
    with pytest.raises(error, match=words):
        make()
