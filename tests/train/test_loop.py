"""The loop is the one you would write by hand, whatever it is given, and says so when it cannot be."""

from __future__ import annotations

import math
import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import (
    Callback,
    Category,
    CosAnneal,
    DataBunch,
    DataError,
    LayerOptimizer,
    Learner,
    LossRegulariser,
    Real,
    TrainingError,
    fit,
    validate,
)
from learnkit.core.precision import autocast_for, bfloat16_on
from learnkit.train.events import Run
from learnkit.train.predictions import predict
from learnkit.train.step import Closure, Forward
from tests.train.helpers import (
    N_CLASSES,
    N_IN,
    Trace,
    assert_close,
    assert_same,
    batches,
    bunch,
    differs,
    items,
    net,
    plain_loop,
    plain_net,
    snapshot,
)

OPTS: dict[str, Any] = {
    "sgd": partial(optim.SGD, lr=0.1, momentum=0.9),
    "adamw": partial(optim.AdamW, lr=0.01, weight_decay=0.1),
}
quiet_fit = partial(fit, progress=False)


def sgd(model: nn.Module, lr: float = 0.1) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=lr)


# ---------------------------------------------------------------- the same arithmetic


@pytest.mark.parametrize("opt", OPTS)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_equals_a_loop_written_by_hand(opt, accumulate):
    """Three epochs with batch norm, dropout, a shuffling loader, a short last batch and window, and validation."""
    models = [net(), net()]
    loaders = [
        (DataLoader(TensorDataset(*items(50)), 8, shuffle=True), DataLoader(TensorDataset(*items(11, seed=1)), 4))
        for _ in models
    ]
    torch.manual_seed(1)
    plain_loop(models[0], *loaders[0], 3, OPTS[opt](models[0].parameters()), F.cross_entropy, accumulate)
    torch.manual_seed(1)
    data = DataBunch(".", *loaders[1])
    before = snapshot(models[1])
    quiet_fit(
        models[1], data, 3, OPTS[opt](models[1].parameters()), F.cross_entropy, ["accuracy"], accumulate=accumulate
    )
    assert_same(models[0], models[1])
    assert len(differs(before, snapshot(models[1]))) == len(before)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7), accumulate=st.integers(1, 4))
@settings(max_examples=25)
def test_accumulating_equals_bigger_batches(sizes, accumulate):
    """A window steps like one batch of all its items, whatever the sizes; the last window may be short."""
    x, y = items(sum(sizes))
    small = list(zip(x.split(sizes), y.split(sizes), strict=True))
    windows = [small[i : i + accumulate] for i in range(0, len(small), accumulate)]
    big = [tuple(map(torch.cat, zip(*window, strict=True))) for window in windows]
    runs = []
    for loader, n in ((small, accumulate), (iter_only(small), accumulate), (big, 1)):
        model, trace = plain_net(), Trace()
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        results = quiet_fit(model, DataBunch(".", loader), 2, opt, F.cross_entropy, None, [trace], accumulate=n)
        assert len(trace.steps) == 2 * len(big)
        runs.append((model, results["trn_loss"]))
    (known, loss), (unknown_length, other_loss), (one_batch, big_loss) = runs
    assert_same(known, unknown_length)
    assert_close(known, one_batch, atol=1e-5, rtol=1e-4)
    assert loss == other_loss == pytest.approx(big_loss, rel=1e-4)  # weights do not move within a window


def test_losses_are_means_over_the_items():
    """Not means of batch means: the last batch is short."""
    seen: list[tuple[float, int]] = []

    def crit(pred: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(pred, y)
        seen.append((loss.item(), len(y)))
        return loss

    data = bunch()
    model = net()
    results = quiet_fit(model, data, 1, sgd(model), crit)

    def mean(part: list[tuple[float, int]]) -> float:
        return sum(loss * n for loss, n in part) / sum(n for _, n in part)

    n = len(data.trn_dl)  # type: ignore[arg-type]
    assert results["trn_loss"] == pytest.approx(mean(seen[:n]))
    assert results["val_loss"] == pytest.approx(mean(seen[n:]))
    assert validate(model, data.val_dl, F.cross_entropy)["val_loss"] == pytest.approx(results["val_loss"])  # type: ignore[arg-type]


def test_channels_last_is_only_another_memory_layout():
    torch.manual_seed(0)
    x, y = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    data = DataBunch(".", [(x[:8], y[:8]), (x[8:], y[8:])], [(x, y)])
    models, results = [], []
    for channels_last in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )
        layouts = Layouts()
        results.append(
            quiet_fit(model, data, 3, sgd(model), F.cross_entropy, None, [layouts], channels_last=channels_last)
        )
        assert layouts.seen == {channels_last}
        models.append(model)
    assert_close(models[0], models[1], atol=1e-5, rtol=1e-4)
    assert results[0]["val_loss"] == pytest.approx(results[1]["val_loss"], abs=1e-5)


class Layouts(Callback):
    def __init__(self) -> None:
        self.seen: set[bool] = set()

    def before_batch(self, run: Any) -> None:
        self.seen.add(run.xs[0].is_contiguous(memory_format=torch.channels_last))


def test_compiled_model_gives_the_same_weights_and_stays_itself():
    runs = []
    for compiled in (False, "eager"):
        model = net()
        torch.manual_seed(3)
        quiet_fit(model, bunch(), 2, sgd(model), F.cross_entropy, compile=compiled)
        runs.append(model)
    assert_same(runs[0], runs[1])  # under the same names, too


def test_bf16_trains_in_bf16_where_the_device_can_and_keeps_weights_in_fp32():
    seen = set()

    class Watch(Callback):
        def after_pred(self, run):
            seen.add((run.training, run.pred.dtype))

    model, reference = plain_net(), plain_net()
    before = snapshot(model)
    loaders = batches(), batches(12, seed=1)
    first = validate(model, loaders[1], F.cross_entropy, precision="bf16")["val_loss"]
    data = DataBunch(".", *loaders)
    results = quiet_fit(model, data, 4, sgd(model), F.cross_entropy, ["accuracy"], [Watch()], precision="bf16")
    exact = quiet_fit(reference, data, 4, sgd(reference), F.cross_entropy)
    dtype = torch.bfloat16 if bfloat16_on(torch.device("cpu")).works else torch.float32
    assert seen == {(True, dtype), (False, dtype)}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert len(differs(before, snapshot(model))) == len(before)
    assert results["val_loss"] < first
    assert results["val_loss"] == pytest.approx(exact["val_loss"], abs=0.02)
    assert_close(model, reference, atol=0.02, rtol=0.05)


def test_fp16_on_the_cpu_warns_and_trains_in_fp32():
    model, reference = net(), net()
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=r"cpu.*fp16.*fp32"):
        quiet_fit(model, bunch(), 1, sgd(model), F.cross_entropy, precision="fp16")
    torch.manual_seed(1)
    quiet_fit(reference, bunch(), 1, sgd(reference), F.cross_entropy)
    assert_same(model, reference)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_clip_bounds_the_norm_and_changes_nothing_below_it(accumulate):
    norms: list[float] = []

    class Norm(Callback):
        def before_step(self, run):
            norms.append(torch.stack([p.grad.norm() for p in run.model.parameters()]).norm().item())

    def run(clip: float | None) -> nn.Module:
        norms.clear()
        model = plain_net()
        quiet_fit(model, bunch(), 2, sgd(model), F.cross_entropy, None, [Norm()], clip=clip, accumulate=accumulate)
        return model

    free = run(None)
    largest, smallest = max(norms), min(norms)
    assert_same(free, run(largest * 1.01))
    bound = (largest + smallest) / 2
    run(bound)
    assert max(norms) == pytest.approx(bound, rel=1e-4)
    assert min(norms) < bound * 0.999


# ---------------------------------------------------------------- what it works on


def iter_only(parts: list[Any]) -> Any:
    """An iterable that can be run through many times and does not know its length."""

    class Parts:
        def __iter__(self):
            return iter(parts)

    return Parts()


class Stream(IterableDataset[Any]):
    def __iter__(self):
        return iter(zip(*items(26), strict=True))


def test_every_kind_of_loader_trains_alike():
    loaders = {
        "list": batches(),
        "tuple": tuple(batches()),
        "lists as batches": [list(batch) for batch in batches()],
        "DataLoader": DataLoader(TensorDataset(*items()), 8),
        "stream DataLoader": DataLoader(Stream(), 8),
        "iterable without len": iter_only(batches()),
    }
    models = {}
    for name, loader in loaders.items():
        models[name] = net()
        results = quiet_fit_fixed_noise(models[name], loader)
        assert set(results) == {"trn_loss", "val_loss"}
    for model in models.values():
        assert_same(models["list"], model)


def quiet_fit_fixed_noise(model: nn.Module, loader: Any) -> dict[str, float]:
    class Noise(Callback):  # a DataLoader draws a seed of its own, which would shift those of the dropout
        def before_batch(self, run):
            torch.manual_seed(run.epoch * 100 + run.batch)

    data = SimpleNamespace(trn_dl=loader, val_dl=loader)  # any object with two loaders will do
    return quiet_fit(model, data, 2, sgd(model), F.cross_entropy, None, [Noise()])


def test_generator_trains_for_one_epoch():
    model, reference = plain_net(), plain_net()
    quiet_fit(model, DataBunch(".", (batch for batch in batches())), 1, sgd(model), F.cross_entropy)
    quiet_fit(reference, DataBunch(".", batches()), 1, sgd(reference), F.cross_entropy)
    assert_same(model, reference)
    used_up = DataBunch(".", (batch for batch in batches()))
    with pytest.raises(DataError, match="generator can be used only once"):
        quiet_fit(model, used_up, 2, sgd(model), F.cross_entropy)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.lin = nn.Embedding(4, 3), nn.Linear(3 + N_IN, N_CLASSES)

    def forward(self, cats: Tensor, conts: Tensor) -> Tensor:
        return self.lin(torch.cat([self.emb(cats), conts], 1))


@pytest.mark.parametrize("nested", [True, False])
def test_two_inputs(nested):
    cats = torch.arange(26) % 4
    x, y = items()
    parts = list(zip(cats.split(8), x.split(8), y.split(8), strict=True))
    loader = [((a, b), t) for a, b, t in parts] if nested else parts
    torch.manual_seed(0)
    model = TwoInputs()
    torch.manual_seed(0)
    reference = TwoInputs()
    opt = sgd(reference)
    for a, b, t in parts:
        opt.zero_grad()
        F.cross_entropy(reference(a, b), t).backward()
        opt.step()
    results = quiet_fit(model, DataBunch(".", loader, loader), 1, sgd(model), F.cross_entropy, ["accuracy"])
    assert_same(model, reference)
    assert 0 <= results["accuracy"] <= 1


def test_model_that_returns_a_dict_goes_to_crit_as_it_is():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(N_IN, N_CLASSES), nn.Linear(N_IN, 1)

        def forward(self, x):
            return {"kind": self.a(x), "size": self.b(x)}

    def crit(pred: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(pred["kind"], y["kind"]) + F.mse_loss(pred["size"][:, 0], y["size"])

    loader = [(x, {"kind": y, "size": x.sum(1)}) for x, y in batches()]
    model, trace = Heads(), Trace()
    results = quiet_fit(model, DataBunch(".", loader, loader), 3, sgd(model), crit, None, [trace])
    sizes = [len(x) for x, _ in loader]
    assert results["trn_loss"] == pytest.approx(
        sum(loss * n for loss, n in zip(trace.losses[-4:], sizes, strict=True)) / 26
    )
    assert results["val_loss"] < trace.losses[0]


class WithExtra(nn.Module):
    """Returns its prediction and what a penalty is computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(N_IN, 5), nn.Linear(5, N_CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.a(x)
        return self.b(hidden), hidden


@pytest.mark.parametrize(
    ("crit", "module"),
    [(F.cross_entropy, nn.CrossEntropyLoss()), (lambda p, y: F.cross_entropy(p, y), partial(F.cross_entropy))],
)
def test_loss_may_be_a_function_or_a_module(crit, module):
    runs = []
    for loss in (crit, module):
        model = plain_net()
        runs.append((model, quiet_fit(model, bunch(), 1, sgd(model), loss)))
    assert_same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("crit", [F.mse_loss, nn.L1Loss(), F.smooth_l1_loss])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_column_predictions_and_flat_targets_do_not_broadcast(crit, accumulate):
    """`(B, 1)` against `(B,)` is the trap of every regression: it would train on a `(B, B)` loss."""
    x, _ = items()
    y = x[:, 0] * 2 + 1
    column, flat = nn.Linear(N_IN, 1), nn.Sequential(nn.Linear(N_IN, 1), nn.Flatten(0))
    flat[0].load_state_dict(column.state_dict())
    results = []
    model: nn.Module
    for model, targets in ((column, y), (column, y[:, None]), (flat, y), (flat, y[:, None])):
        model = nn.Sequential(column) if model is column else flat
        own = {name: value.clone() for name, value in model.state_dict().items()}
        loader = list(zip(x.split(8), targets.split(8), strict=True))
        data = DataBunch(".", loader, loader)
        figures = quiet_fit(model, data, 2, sgd(model), crit, ["rmse", "mae"], accumulate=accumulate)
        results.append((figures, list(snapshot(model).values())))
        model.load_state_dict(own)
    for figures, weights in results[1:]:
        assert figures == pytest.approx(results[0][0])
        assert all(torch.equal(a, b) for a, b in zip(weights, results[0][1], strict=True))
    xs, ys = x[:8], y[:8]
    shaped = crit(column(xs)[:, 0], ys).item()
    assert validate(column, [(xs, ys)], crit)["val_loss"] == pytest.approx(shaped)


@pytest.mark.parametrize(
    ("crit", "cast"),
    [
        (F.cross_entropy, lambda y: y.long()),
        (F.cross_entropy, lambda y: y.long()[:, None]),
        (F.cross_entropy, lambda y: F.one_hot(y, N_CLASSES).float()),
        (F.cross_entropy, lambda y: y.to(torch.uint8)),
        (F.binary_cross_entropy_with_logits, lambda y: F.one_hot(y, N_CLASSES).float()),
    ],
)
def test_kinds_of_class_targets(crit, cast):
    loader = [(x, cast(y)) for x, y in batches()]
    model = plain_net()
    first = validate(model, loader, crit)["val_loss"]
    results = quiet_fit(model, DataBunch(".", loader, loader), 15, sgd(model, 0.5), crit)
    assert results["val_loss"] < 0.8 * first


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int32])
def test_real_targets_may_be_whole_numbers(dtype):
    x, _ = items()
    y = (x[:, 0] * 3).round()
    loader = list(zip(x.split(8), y.to(dtype).split(8), strict=True))
    reference_loader = list(zip(x.split(8), y.split(8), strict=True))
    models = []
    for parts in (loader, reference_loader):
        torch.manual_seed(0)
        model = nn.Linear(N_IN, 1)
        quiet_fit(model, DataBunch(".", parts, parts, target=Real()), 2, sgd(model), Real().loss)
        models.append(model)
    assert_same(*models)


def test_course_recipe_cosine_annealing_and_the_plain_loop():
    """`CosAnneal(lo, len(trn_dl), cycle_mult=2, on_cycle_end=...)`, `fit(m, data, 2**4 - 1, lo.opt, ...)`."""
    data, m = bunch(), nn.Sequential(plain_net(), nn.LogSoftmax(dim=1))
    lo = LayerOptimizer(optim.Adam, m, 1e-2, 1e-5)
    ends, trace = [], Trace()

    class Epochs(Callback):
        def after_epoch(self, run):
            self.n = run.epoch + 1

    def on_cycle_end(sched: Any, cycle: int) -> None:
        ends.append((cycle, len(trace.lrs)))

    nb, epochs = len(data.trn_dl), Epochs()  # type: ignore[arg-type]
    cb = [CosAnneal(lo, nb, cycle_mult=2, on_cycle_end=on_cycle_end), trace, epochs]
    results = fit(m, data, 2**4 - 1, lo.opt, F.nll_loss, callbacks=cb)
    assert epochs.n == 15
    assert ends == [(0, nb), (1, 3 * nb), (2, 7 * nb), (3, 15 * nb)]
    expected = [1e-2 * (1 + math.cos(math.pi * i / (nb * 2**c))) / 2 for c in range(4) for i in range(nb * 2**c)]
    assert [lr for (lr,) in trace.lrs] == pytest.approx(expected)
    assert results["val_loss"] < trace.losses[0]


def test_positional_arguments_of_the_course():
    model = plain_net()
    results = fit(model, bunch(), 1, sgd(model), F.cross_entropy, ["accuracy"], [Trace()])
    assert list(results) == ["trn_loss", "val_loss", "accuracy"]


def test_without_validation_only_the_training_loss_is_reported():
    model = plain_net()
    assert list(quiet_fit(model, DataBunch(".", batches()), 2, sgd(model), F.cross_entropy, ["accuracy"])) == [
        "trn_loss"
    ]


def test_torchmetrics_object_is_a_metric():
    torchmetrics = pytest.importorskip("torchmetrics")
    model = plain_net()
    theirs = torchmetrics.Accuracy(task="multiclass", num_classes=N_CLASSES)
    results = quiet_fit(model, bunch(), 2, sgd(model), F.cross_entropy, ["accuracy", theirs])
    ours, other = results["accuracy"], results["multiclassaccuracy"]
    assert ours == pytest.approx(other)
    assert 0 < ours < 1


def test_function_is_a_metric_of_the_whole_set():
    lengths = []

    def spread(preds: Tensor, targs: Tensor) -> float:
        lengths.append((tuple(preds.shape), tuple(targs.shape)))
        return 0.25

    model = plain_net()
    results = quiet_fit(model, bunch(), 2, sgd(model), F.cross_entropy, [spread])
    assert results["spread"] == 0.25
    assert lengths == [((12, N_CLASSES), (12,))] * 2


def test_frozen_weights_keep_still_and_so_do_their_batch_norms():
    model = net()
    for p in model[:2].parameters():
        p.requires_grad_(False)
    before = snapshot(model)
    quiet_fit(model, bunch(), 2, sgd(model), F.cross_entropy)
    still = [name for name in before if name not in differs(before, snapshot(model))]
    assert still == [name for name in before if name.startswith(("0.", "1."))]


def test_gradients_are_released_at_the_end():
    model = plain_net()
    quiet_fit(model, bunch(), 1, sgd(model), F.cross_entropy)
    assert all(p.grad is None for p in model.parameters())


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("trn", "val", "which"),
    [
        ([], [], "training"),
        ([], None, "training"),
        (iter_only([]), None, "training"),
        (DataLoader(TensorDataset(*items(5)), 8, drop_last=True), None, "training"),
        (batches(), [], "validation"),
        (batches(), DataLoader(TensorDataset(*items(5)), 8, drop_last=True), "validation"),
    ],
)
def test_empty_loader_is_an_error_that_says_what_to_do_before_anything_changes(trn, val, which):
    model = net()
    before = snapshot(model)
    with pytest.raises(DataError, match=rf"{which} loader is empty.*drop_last=True"):
        quiet_fit(model, DataBunch(".", trn, val), 2, sgd(model), F.cross_entropy)
    assert_same(before, model)


def test_empty_validation_loader_without_length_is_an_error():
    model = net()
    with pytest.raises(DataError, match="validation loader is empty"):
        quiet_fit(model, DataBunch(".", batches(), iter_only([])), 2, sgd(model), F.cross_entropy)
    with pytest.raises(DataError, match="validation loader is empty"):
        validate(model, [], F.cross_entropy)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([x for x, _ in batches()], r"must be a tuple \(x, y\).*got Tensor of shape \(8, 6\).*no target, add one"),
        ([(x,) for x, _ in batches()], r"must be a tuple \(x, y\).*add one"),
        (
            [{"x": x, "z": y} for x, y in batches()],
            r"must be a tuple \(x, y\), or a dict .* names y, target, .*got dict with no target",
        ),
    ],
)
def test_batch_without_target(loader, words):
    model = net()
    before = snapshot(model)
    with pytest.raises(DataError, match=words):
        quiet_fit(model, DataBunch(".", loader), 1, sgd(model), F.cross_entropy)
    assert_same(before, model)


def with_targets(cast: Any) -> list[Any]:
    return [(x, cast(y)) for x, y in batches()]


@pytest.mark.parametrize(
    ("loader", "crit", "words"),
    [
        (
            with_targets(lambda y: y.float()),
            F.cross_entropy,
            r"cross_entropy.*float32 \(8, 3\).*target is float32 \(8,\).*y\.long\(\)",
        ),
        (
            with_targets(lambda y: y.int()),
            F.cross_entropy,
            r"cross_entropy.*float32 \(8, 3\).*target is int32 \(8,\).*y\.long\(\)",
        ),
        (
            with_targets(lambda y: F.one_hot(y, N_CLASSES)),
            F.binary_cross_entropy_with_logits,
            r"binary_cross_entropy_with_logits.*target is int64 \(8, 3\).*y\.float\(\)",
        ),
        (
            with_targets(lambda y: y + 4),
            F.cross_entropy,
            r"holds class 6.*classes 0 to 2",
        ),
        (
            with_targets(lambda y: y + 4),
            nn.CrossEntropyLoss(),
            r"CrossEntropyLoss.*holds class 6.*classes 0 to 2",
        ),
        (
            with_targets(lambda y: y[:-1]),
            F.cross_entropy,
            r"float32 \(8, 3\).*int64 \(7,\)",
        ),
        (batches(), lambda pred, y: F.cross_entropy(pred, y, reduction="none"), r"must return one number.*mean"),
        (batches(), lambda pred, y: 0.5, r"must return one number.*float"),
        ([(torch.cat([x, x], 1), y) for x, y in batches()], F.cross_entropy, r"model failed.*batch 0.*\(8, 12\)"),
        ([(x, x, y) for x, y in batches()], F.cross_entropy, r"model failed.*batch 0.*\(8, 6\).*\(8, 6\)"),
    ],
)
def test_what_does_not_fit_together_is_explained_and_changes_nothing(loader, crit, words):
    model = plain_net()
    before = snapshot(model)
    with pytest.raises(TrainingError, match="(?s)" + words):
        quiet_fit(model, DataBunch(".", loader), 1, sgd(model), crit)
    assert_same(before, model)
    with pytest.raises(TrainingError, match="(?s)" + words):
        validate(model, loader, crit)


def test_metric_that_does_not_fit_is_named():
    with pytest.raises(TrainingError, match=r"metric 'rmse' does not fit.*\(5, 3\).*\(5,\)"):
        quiet_fit(model := plain_net(), bunch(), 1, sgd(model), F.cross_entropy, ["rmse"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"metrics": ["acuracy"]}, ValueError, r"unknown metric 'acuracy'. Did you mean 'accuracy'\?"),
        ({"metrics": ["zzzz"]}, ValueError, r"unknown metric 'zzzz'. Known are: accuracy, .*function"),
        ({"metrics": [3]}, TypeError, r"name, a function or an object with update"),
        ({"precision": "fp8"}, ValueError, r"`precision` must be one of 'fp32', 'bf16', 'fp16'; got 'fp8'"),
        ({"accumulate": 0}, ValueError, r"`accumulate` must be a positive whole number"),
        ({"n_epochs": 0}, ValueError, r"`n_epochs` must be a positive whole number"),
        ({"n_epochs": 1.5}, ValueError, r"`n_epochs` must be a positive whole number"),
        ({"n_epochs": "3"}, TypeError, r"`n_epochs` must be a positive number"),
        ({"callbacks": Trace()}, TypeError, r"must be a list; write \[Trace"),
        ({"callbacks": [Trace]}, TypeError, r"Pass an instance, not the class"),
        ({"callbacks": [print]}, TypeError, r"must hold learnkit callbacks"),
    ],
)
def test_bad_argument(arguments, error, words):
    model = net()
    before, mode = snapshot(model), model.training
    everything = {"n_epochs": 1, "opt": sgd(model), "crit": F.cross_entropy, **arguments}
    with pytest.raises(error, match=words):
        quiet_fit(model, bunch(), **everything)
    assert_same(before, model)
    assert model.training == mode


# ---------------------------------------------------------------- validate


def test_validate_leaves_modes_weights_and_random_numbers():
    model = net()
    model[3].eval()
    modes, before = [m.training for m in model.modules()], snapshot(model)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(*items()), 8, shuffle=True, generator=generator)
    own = generator.get_state()
    first = validate(model, loader, F.cross_entropy, ["accuracy", "top5_accuracy"])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(own, generator.get_state())
    assert [m.training for m in model.modules()] == modes
    assert_same(before, model)
    assert validate(model, loader, F.cross_entropy, ["accuracy", "top5_accuracy"]) == first


def test_validate_shows_metrics_what_predict_returns():
    """With a target, metrics see its activation, here probabilities."""
    seen = []

    def look(preds: Tensor, targs: Tensor) -> float:
        seen.append(preds)
        return 0.0

    validate(plain_net(), batches(), F.cross_entropy, [look], target=bunch().target)
    assert torch.allclose(seen[0].exp().sum(1), torch.ones(26))


def test_a_loader_in_place_of_a_bunch_and_a_class_in_place_of_a_loss_are_explained():
    model = nn.Linear(2, 2)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(TypeError, match=r"DataBunch\('\.', trn_dl, val_dl\)"):
        fit(model, batches, 1, opt, nn.CrossEntropyLoss(), progress=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pass an instance, CrossEntropyLoss\(\)"):
        fit(model, DataBunch(".", batches), 1, opt, nn.CrossEntropyLoss, progress=False)  # type: ignore[arg-type]


def test_a_single_item_for_batch_norm_and_doubles_for_floats_get_a_hint():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    one = DataBunch(".", [(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))])
    with pytest.raises(TrainingError, match="larger batch size"):
        fit(model, one, 1, opt, F.cross_entropy, progress=False)
    double = DataBunch(".", [(torch.zeros(4, 2).double(), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(TrainingError, match=r"x\.float\(\)"):
        fit(model, double, 1, opt, F.cross_entropy, progress=False)


# ---------------------------------------------------------------- models that carry a state along


class Counts(nn.Linear):
    """Adds to its scores how many batches it has seen since it was reset."""

    def __init__(self) -> None:
        super().__init__(N_IN, N_CLASSES)
        self.passes: list[bool] = []
        self.seen: Tensor | None = None

    def reset(self) -> None:
        self.passes.append(self.training)
        self.seen = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = torch.zeros(1) if self.seen is None else self.seen + 1
        return super().forward(x) + self.seen * torch.arange(N_CLASSES)


def test_a_model_with_reset_forgets_before_each_pass():
    model, data = Counts(), bunch()
    val_dl: Any = data.val_dl
    quiet_fit(model, data, 2, sgd(model), F.cross_entropy)
    assert model.passes == [True, False] * 2
    by_hand = Counts()
    by_hand.load_state_dict(model.state_dict())
    with torch.no_grad():
        scores = torch.cat([by_hand(x) for x, _ in val_dl])
    for _ in range(2):  # validating and predicting begin afresh, and leave the state as it was
        state = model.seen
        found = validate(model, val_dl, F.cross_entropy)["val_loss"]
        assert found == pytest.approx(F.cross_entropy(scores, torch.cat([y for _, y in val_dl])).item(), rel=1e-5)
        assert torch.equal(torch.as_tensor(predict(model, val_dl).preds), scores)
        assert model.seen is state


def test_a_reset_that_starts_the_weights_anew_or_wants_arguments_is_another_one():
    class Anew(nn.Linear):
        def reset(self) -> None:
            self.weight.data.normal_()

    model = Anew(N_IN, N_CLASSES)
    before = snapshot(model)
    with pytest.raises(TrainingError, match=r"`Anew.reset\(\)` changes the weights.*another name"):
        quiet_fit(model, bunch(), 1, sgd(model), F.cross_entropy)
    assert_same(before, model)

    class Wants(nn.Linear):
        def reset(self, scale: float) -> None:
            raise AssertionError

    wants = Wants(N_IN, N_CLASSES)
    quiet_fit(wants, bunch(), 1, sgd(wants), F.cross_entropy)


# ---------------------------------------------------------------- what trains nothing, and steps of another kind


def test_a_loss_without_a_gradient_is_refused_in_words():
    model = plain_net()
    for crit in (
        lambda pred, y: F.cross_entropy(pred.detach(), y),
        lambda pred, y: (pred.argmax(1) != y).float().mean(),
    ):
        with pytest.raises(TrainingError, match="does not depend on anything that is trained"):
            quiet_fit(model, bunch(), 1, sgd(model), crit)


def test_what_is_no_optimizer_over_the_model_is_refused():
    model = plain_net()
    with pytest.raises(
        TypeError, match=r"must be a torch optimizer over the model's parameters; got LayerOptimizer.*`.opt`"
    ):
        quiet_fit(model, bunch(), 1, LayerOptimizer(optim.SGD, model, 0.1), F.cross_entropy)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got type"):
        quiet_fit(model, bunch(), 1, optim.SGD, F.cross_entropy)  # type: ignore[arg-type]
    opt = sgd(model)
    model[-1] = nn.Linear(8, N_CLASSES)
    with pytest.warns(UserWarning, match=r"2 parameter\(s\) in the optimizer are not the model's.*2\.weight, 2\.bias"):
        quiet_fit(model, bunch(), 1, opt, F.cross_entropy)


def test_the_loss_and_callbacks_may_have_parameters_in_the_optimizer():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, pred: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(pred * self.scale, y)

    class Shifts(Callback):
        def __init__(self) -> None:
            self.layers = [nn.Linear(N_IN, N_IN)]

        def before_batch(self, run: Any) -> None:
            run.xs = (self.layers[0](run.xs[0]),)

    model, crit, shifts = plain_net(), Scaled(), Shifts()
    model.requires_grad_(False)
    held = [*model.parameters(), *crit.parameters(), *shifts.layers[0].parameters()]
    before = shifts.layers[0].weight.detach().clone()
    quiet_fit(model, bunch(), 1, optim.SGD(held, 0.1), crit, callbacks=[shifts])
    assert crit.scale.item() != 1
    assert not torch.equal(before, shifts.layers[0].weight)


def test_lbfgs_takes_what_the_loop_gives_every_optimizer():
    """Clipping, a callback's penalty, decay; the loss that is reported is that before the step."""
    model, trace = plain_net(), Trace()
    lo = LayerOptimizer(partial(optim.LBFGS, max_iter=4, line_search_fn="strong_wolfe"), model, 0.5, 0.01)
    x, y = items(20)
    first = F.cross_entropy(model(x), y).item()
    penalty = LossRegulariser(lambda pred, extra, loss: loss + 0 * pred.sum())
    quiet_fit(model, DataBunch(".", [(x, y)]), 8, lo.opt, F.cross_entropy, callbacks=[penalty, trace], clip=0.5)
    assert trace.losses[0] == pytest.approx(first)
    assert trace.losses[-1] < 0.8 * first
    with pytest.raises(TrainingError, match="cannot be accumulated: leave `accumulate` at 1"):
        quiet_fit(model, bunch(), 1, lo.opt, F.cross_entropy, accumulate=2)
    forward = Forward(model, F.cross_entropy, autocast_for("fp32", torch.device("cpu")), whole=False)
    with pytest.raises(TrainingError, match="scaled gradients"):
        Closure(Run(model, lo.opt, F.cross_entropy, 1, ()), forward, accumulate=1, fp16=True)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda out: {"scores": out}, "gave {scores: float32"),
        (lambda out: [out], "gave [float32"),
        (lambda out: None, "gave NoneType"),
        (lambda out: (), r"gave []"),
    ],
)
def test_what_the_losses_of_the_library_cannot_take_is_said(answer, word):
    class Answers(nn.Linear):
        def forward(self, x):
            return answer(super().forward(x))

    model = Answers(3, 2)
    learn = Learner(DataBunch(".", [(torch.randn(4, 3), torch.arange(4) % 2)], target=Category(["a", "b"])), model)
    with pytest.raises(TrainingError, match=re.escape(word)) as error:
        learn.fit(1e-2, 1)
    assert "take a tensor: return that, or pass a `crit=`" in str(error.value)
    assert error.value.__cause__ is not None or answer(1) == ()


@pytest.mark.parametrize(
    ("outputs", "y", "word"),
    [
        (2, ["a", "b", "a", "b"], "The target of a batch must be a tensor"),
        (2, torch.tensor([0, -1, 0, 1]), "The target holds class -1, but the model scores classes 0 to 1"),
        (1, torch.tensor([0, 1, 0, 1]), "The target holds class 1, but the model scores class 0 only"),
        (2, torch.tensor([0, 1, 0]), r"batch_size \(4\)"),
    ],
)
def test_targets_that_a_loss_cannot_take_are_said(outputs, y, word):
    data = DataBunch(".", [(torch.randn(4, 3), y)], target=Category(["a", "b"]))
    with pytest.raises(TrainingError, match=word) as error:
        Learner(data, nn.Linear(3, outputs)).fit(1e-2, 1)
    assert "decimal" not in str(error.value)


def test_true_and_false_as_classes_and_arrays_as_inputs_get_a_hint():
    x, y = torch.randn(4, 3), torch.tensor([True, False, True, False])
    with pytest.raises(TrainingError, match=r"Class targets must be 64-bit whole numbers: use `y.long\(\)`"):
        Learner(DataBunch(".", [(x, y)]), nn.Linear(3, 2), crit=F.cross_entropy).fit(1e-2, 1)
    with pytest.raises(TrainingError, match=r"inputs of a batch must be tensors: `torch.as_tensor\(x\)`"):
        Learner(DataBunch(".", [(x.numpy(), y.long())]), nn.Linear(3, 2), crit=F.cross_entropy).fit(1e-2, 1)


def test_a_complex_loss_is_refused():
    data = DataBunch(".", [(torch.randn(4, 3), torch.randn(4))])
    with pytest.raises(TrainingError, match=r"must return one number as a tensor.* it returned complex64 \(\)"):
        Learner(data, nn.Linear(3, 1), crit=lambda pred, y: pred.mean() * 1j).fit(1e-2, 1)
