"""What each callback does, compared with the same thing done by hand."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

from learnkit import (
    Callback,
    CancelEpoch,
    CSVLog,
    CutMix,
    DataBunch,
    EarlyStopping,
    GradientClip,
    LossRegulariser,
    MixUp,
    NonFiniteError,
    ReduceOnPlateau,
    SaveBest,
    StopOnNaN,
    TensorBoardLog,
    WeightAverage,
    fit,
    load_model,
    validate,
)
from learnkit.train.checkpoint import read_meta
from tests.train.helpers import (
    N_CLASSES,
    N_IN,
    Trace,
    assert_close,
    assert_same,
    batches,
    bunch,
    differs,
    learner,
    net,
    plain_net,
    snapshot,
)


def run_fit(
    callbacks: list[Callback],
    n: int = 3,
    model: nn.Module | None = None,
    data: Any = None,
    lr: float = 0.1,
    **kwargs: Any,
) -> nn.Module:
    model = net() if model is None else model
    opt = optim.SGD(model.parameters(), lr=lr)
    torch.manual_seed(1)
    kwargs = {"crit": F.cross_entropy, "metrics": ["accuracy"], "progress": False, **kwargs}
    fit(model, data or bunch(), n, opt, callbacks=callbacks, **kwargs)
    return model


class Script(Callback):
    """Puts the figures it was given into the epoch table, and keeps the weights of each epoch."""

    def __init__(self, values: list[float], name: str = "val_loss") -> None:
        self.values, self.name = values, name
        self.weights: list[dict[str, Tensor]] = []
        self.lrs: list[float] = []

    def before_epoch(self, run: Any) -> None:
        self.lrs.append(run.opt.param_groups[0]["lr"])

    def after_epoch(self, run: Any) -> None:
        run.results[self.name] = self.values[run.epoch]
        self.weights.append(snapshot(run.model))


FIGURES = st.lists(st.sampled_from([0.1, 0.2, 0.21, 0.3, 0.5, 0.9, math.nan]), min_size=1, max_size=7)
MODES = st.sampled_from(["min", "max"])
TINY = DataBunch(".", batches(8), batches(8, seed=1))


def improvements(values: list[float], mode: str, min_delta: float) -> list[int]:
    """Epochs that were better than the best before them."""
    better, best = [], math.inf
    for epoch, value in enumerate(values):
        value = value if mode == "min" else -value
        if best - value > min_delta:
            best = value
            better.append(epoch)
    return better


# ---------------------------------------------------------------- watching a figure


@given(values=FIGURES, mode=MODES, patience=st.integers(1, 3), min_delta=st.sampled_from([0.0, 0.05]))
@settings(max_examples=40, deadline=None)
def test_early_stopping_stops_after_so_many_epochs_without_improvement(values, mode, patience, min_delta):
    script = Script(values)
    stop = EarlyStopping("val_loss", mode, patience, min_delta=min_delta)
    run_fit([script, stop], len(values), plain_net(), TINY)
    better = improvements(values, mode, min_delta)
    expected = len(values)
    for epoch in range(len(values)):
        if epoch - max([-1, *(b for b in better if b <= epoch)]) >= patience:
            expected = epoch + 1
            break
    assert len(script.weights) == expected
    assert stop.best_epoch == max([-1, *(b for b in better if b < expected)])


@given(values=FIGURES, mode=MODES)
@settings(max_examples=20, deadline=None)
def test_save_best_keeps_the_weights_of_the_best_epoch(tmp_path_factory, values, mode):
    path = tmp_path_factory.mktemp("best") / "deep" / "best"
    script = Script(values)
    model = run_fit([script, SaveBest(path, "val_loss", mode)], len(values), plain_net(), TINY)
    assert_same(model, script.weights[-1])
    better = improvements(values, mode, 0.0)
    assert path.with_name("best.safetensors").exists() == bool(better)
    if better:
        load_model(model, path)
        assert_same(model, script.weights[better[-1]])


def test_save_best_can_put_the_best_weights_back(tmp_path):
    script = Script([0.5, 0.2, 0.4])
    model = run_fit([script, SaveBest(tmp_path / "best", restore=True, meta={"by": "me"})])
    assert_same(model, script.weights[1])
    assert read_meta(tmp_path / "best") == {"by": "me"}


def test_save_best_does_not_put_weights_back_after_an_error(tmp_path):
    class Faulty(Callback):
        def before_epoch(self, run):
            if run.epoch == 2:
                raise ValueError("stop")

    script, model = Script([0.2, 0.4, 0.4]), net()
    with pytest.raises(ValueError, match="stop"):
        run_fit([script, SaveBest(tmp_path / "best", restore=True), Faulty()], model=model)
    assert_same(model, script.weights[1])


def test_early_stopping_still_saves_the_best_weights_in_either_order(tmp_path):
    """The epoch that ends the fit is the best by the figure that is saved on."""
    for name, reverse in (("one", False), ("other", True)):
        both = [EarlyStopping("val_loss", patience=2), SaveBest(tmp_path / name, "trn_loss")]
        worse, better = Script([0.5, 0.6, 0.7, 0.8]), Script([0.9, 0.8, 0.7, 0.6], "trn_loss")
        run_fit([worse, better, *(both[::-1] if reverse else both)], 4)
        assert len(worse.weights) == 3
        loaded = net(seed=5)
        load_model(loaded, tmp_path / name)
        assert_same(loaded, worse.weights[2])


@given(
    values=FIGURES,
    mode=MODES,
    patience=st.integers(1, 3),
    factor=st.sampled_from([0.1, 0.5]),
    min_lr=st.sampled_from([0.0, 0.03, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_reduce_on_plateau(values, mode, patience, factor, min_lr):
    script = Script([*values, 0.0])
    run_fit(
        [script, ReduceOnPlateau("val_loss", mode, factor, patience, min_lr=min_lr)],
        len(script.values),
        plain_net(),
        TINY,
    )
    expected, lr, waited = [], 0.1, 0
    better = improvements(values, mode, 0.0)
    for epoch in range(len(values) + 1):
        expected.append(lr)
        waited = 0 if epoch in better else waited + 1
        if waited == patience:
            waited, lr = 0, max(lr * factor, min(min_lr, lr))
    assert script.lrs == pytest.approx(expected)


@pytest.mark.parametrize("make", [EarlyStopping, lambda *args: SaveBest("best", *args), ReduceOnPlateau])
def test_watching_something_that_is_not_there(make):
    with pytest.raises(ValueError, match='which direction of \'accuracy\' is better: mode="max" or mode="min"'):
        make("accuracy")
    with pytest.raises(ValueError, match="`mode` must be one of 'min', 'max'; got 'up'"):
        make("accuracy", "up")
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match="watches 'f1', but this fit reports trn_loss, val_loss, accuracy"):
        run_fit([make("f1", "max")], model=model)
    with pytest.raises(ValueError, match=r"watches 'val_loss', but this fit reports trn_loss.*no validation set"):
        run_fit([make()], model=model, data=DataBunch(".", batches()))
    assert_same(before, model)


def test_watching_starts_anew_in_each_fit():
    stop = EarlyStopping(patience=1)
    first, second = Script([0.1, 0.2, 0.3]), Script([0.9, 0.8, 0.7])
    run_fit([first, stop])
    run_fit([second, stop])
    assert (len(first.weights), len(second.weights)) == (2, 3)


def test_cancelled_epoch_without_the_figure_counts_for_nothing(tmp_path):
    class Skip(Callback):
        def before_valid(self, run):
            if run.epoch == 1:
                raise CancelEpoch

    stop, save = EarlyStopping(patience=1), SaveBest(tmp_path / "best")
    run_fit([Skip(), stop, save], 2)
    assert (stop.waited, stop.best_epoch, save.best_epoch) == (0, 0, 0)


# ---------------------------------------------------------------- changing what is trained


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


class Blends(Callback):
    """Reads off what was blended: item i is a picture whose channel i is one, so that every blend shows its parts."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.partners: list[int] = []
        self.valid: list[float] = []

    def after_loss(self, run: Any) -> None:
        parts = run.xs[0].mean((2, 3))  # (items, parts), the share of each item in each blend
        if not run.training:
            self.valid.append((parts - torch.eye(len(parts))).abs().max().item())
            return
        torch.testing.assert_close(parts.sum(1), torch.ones(len(parts)))
        per_target = -run.pred.log_softmax(1)[:, run.y]  # of each blend towards the target of each item
        torch.testing.assert_close(run.loss, (parts * per_target).sum(1).mean())
        own = parts.diagonal()
        self.shares.append(own.min().item())
        self.partners.append(int((parts > 0).sum(1).max()))


def blend(callbacks: list[Callback], n_batches: int, size: int) -> Blends:
    n = 12
    x, y = torch.eye(n)[:, :, None, None].expand(n, n, size, size).contiguous(), torch.arange(n) % N_CLASSES
    blends = Blends()
    data = DataBunch(".", [(x, y)] * n_batches, [(x, y)])
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, N_CLASSES))
    run_fit([*callbacks, blends], 1, model, data, lr=0.01)
    assert len(blends.shares) == n_batches
    assert blends.valid == [0.0]  # what is validated is not blended
    return blends


def test_mixup_blends_pairs_of_items_and_their_losses():
    alpha = 0.4
    blends = blend([MixUp(alpha)], 150, 1)
    shares = torch.tensor(blends.shares)
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert max(blends.partners) == 2
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 150))
    assert shares.var().item() == pytest.approx(variance, rel=0.25)


def test_cutmix_counts_the_losses_by_the_area_that_was_cut():
    blends = blend([CutMix()], 60, 8)
    assert max(blends.partners) == 2
    areas = [(1 - share) * 64 for share in blends.shares]
    assert areas == pytest.approx([round(area) for area in areas], abs=1e-3)  # whole pixels
    assert len({round(area) for area in areas}) > 10


@pytest.mark.parametrize("kinds", [(MixUp, CutMix), (CutMix, MixUp)])
def test_blends_of_blends_count_every_item_by_its_share(kinds):
    blends = blend([kind() for kind in kinds], 20, 8)
    assert max(blends.partners) == 4


def test_cutmix_needs_pictures():
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"CutMix needs pictures of shape \(B, C, H, W\); got \(8, 6\)"):
        run_fit([CutMix()], model=model)
    assert_same(before, model)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_mixup_of_a_regression_blends_targets_too(shape):
    """For a linear loss in the target: the same as training on blended targets."""
    x = torch.eye(8)
    y = torch.arange(8.0)

    class Check(Callback):
        def after_loss(self, run):
            if run.training:
                per_item = (run.pred.view(-1, 1) - y.view(1, -1)) ** 2  # towards each target
                torch.testing.assert_close(run.loss, (run.xs[0] * per_item).sum(1).mean())

    data = DataBunch(".", [(x, y.view(shape))] * 3, [(x, y.view(shape))])
    run_fit([MixUp(), Check()], 2, nn.Linear(8, 1), data, 0.01, crit=F.mse_loss, metrics=None)


def test_mixup_needs_inputs_that_can_be_blended():
    codes = torch.arange(8)
    with pytest.raises(TypeError, match="blends decimal inputs"):
        run_fit([MixUp()], 1, nn.Embedding(8, 3), DataBunch(".", [(codes, codes % 3)] * 2))


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


# ---------------------------------------------------------------- not a number


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


# ---------------------------------------------------------------- logs


def rows(path: Any) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_csv_log_holds_the_epoch_table(tmp_path):
    figures = []

    class Figures(Callback):
        def after_epoch(self, run):
            figures.append([str(run.epoch), *(str(value) for value in run.results.values())])

    path = tmp_path / "logs" / "history.csv"
    run_fit([CSVLog(path), Figures()], 2)
    assert rows(path) == [["epoch", "trn_loss", "val_loss", "accuracy"], *figures]
    run_fit([CSVLog(path)], 1)
    assert len(rows(path)) == 2  # started anew
    run_fit([CSVLog(path, append=True)], 2, metrics=["f1"])
    assert len(rows(path)) == 4
    assert [row[-1] for row in rows(path)[2:]] == ["", ""]  # accuracy was not measured
    assert {len(row) for row in rows(path)} == {4}


def test_csv_log_is_readable_after_each_epoch_and_leaves_out_what_a_cancel_skipped(tmp_path):
    class Peek(Callback):
        def before_train(self, run):
            assert len(rows(tmp_path / "log.csv")) == run.epoch + 1
            if run.epoch == 1:
                raise CancelEpoch

    run_fit([Peek(), CSVLog(tmp_path / "log.csv")])
    assert [len(list(filter(None, row))) for row in rows(tmp_path / "log.csv")[1:]] == [4, 1, 4]


def test_tensorboard_log_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trace = Trace()
    state = torch.get_rng_state()
    log = TensorBoardLog(tmp_path, every=2)
    assert torch.equal(state, torch.get_rng_state())
    model = run_fit([log, trace], 2)
    assert_same(model, run_fit([], 2))
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        "batch/trn_loss",
        "batch/lr_0",
        "epoch/trn_loss",
        "epoch/val_loss",
        "epoch/accuracy",
    }
    assert [(event.step, event.value) for event in board.Scalars("batch/lr_0")] == [
        (i, pytest.approx(0.1)) for i in range(0, 2 * len(batches()), 2)
    ]
    assert [event.step for event in board.Scalars("epoch/val_loss")] == [0, 1]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: EarlyStopping(patience=0), ValueError, "`patience` must be a positive whole number"),
        (lambda: ReduceOnPlateau(factor=2), ValueError, r"`factor` must be in \(0, 1\)"),
        (lambda: ReduceOnPlateau(patience=0), ValueError, "`patience` must be a positive whole number"),
        (lambda: MixUp(0), ValueError, "`alpha` must be a positive number"),
        (lambda: WeightAverage(1.0), ValueError, r"`decay` must be in \(0, 1\)"),
        (lambda: TensorBoardLog("runs", every=0), ValueError, "`every` must be a positive whole number"),
    ],
)
def test_bad_argument(make, error, words):
    with pytest.raises(error, match=words):
        make()


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
