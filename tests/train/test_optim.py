"""Layer groups, their rates and decays; frozen groups keep still."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from learnkit import LayerOptimizer, TrainingError, fit, set_lrs
from learnkit.train.optim import (
    OPTIMIZERS,
    default_opt,
    default_splitter,
    get_momentum,
    group_params,
    set_momentum,
    spread,
)
from tests.train.helpers import (
    N_CLASSES,
    N_IN,
    Trace,
    assert_close,
    assert_same,
    batches,
    bunch,
    learner,
    net,
    plain_net,
    snapshot,
)


def groups_of(model: nn.Sequential) -> list[list[nn.Module]]:
    return [[layer] for layer in model if list(layer.parameters())]


# ---------------------------------------------------------------- one number per group


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, [0.1] * 3),
        (1, [1.0] * 3),
        (np.float32(0.5), [0.5] * 3),
        ([1e-4, 1e-3, 1e-2], [1e-4, 1e-3, 1e-2]),
        (np.array([1e-4, 1e-3, 1e-2]), [1e-4, 1e-3, 1e-2]),
        ((0, 0, 1), [0.0, 0.0, 1.0]),
        (torch.tensor([0.25, 0.5, 1.0]), [0.25, 0.5, 1.0]),
        (slice(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        (slice(1e-2), [1e-3, 1e-3, 1e-2]),
    ],
)
def test_spread(value, expected):
    assert spread("lrs", value, 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("0.1", TypeError, "`lrs` must be a number, a list of numbers or a slice; got the text '0.1'"),
        ([0.1, 0.2], ValueError, "`lrs` must be one number or 3, one per layer group; got 2"),
        ([], ValueError, "one number or 3.*got 0"),
        (-0.1, ValueError, "must not be negative"),
        (float("nan"), ValueError, "must not be negative or infinite"),
        (slice(1e-4, None), ValueError, r"must be slice\(lo, hi\) or slice\(hi\)"),
        (slice(1e-4, 1e-2, 3), ValueError, r"must be slice\(lo, hi\)"),
        (slice(0.0, 1e-2), ValueError, "`lrs` must be a positive number"),
    ],
)
def test_spread_of_something_else(value, error, words):
    with pytest.raises(error, match=words):
        spread("lrs", value, 3)


def test_wrong_length_prints_the_groups():
    model = net()
    words = (
        r"(?s)`wds` must be one number or 7.*got 2.*0: Linear \(56 parameters\).*2: ReLU \(0 parameters\).*6: Linear"
    )
    with pytest.raises(ValueError, match=words):
        LayerOptimizer(optim.Adam, default_splitter(model), 0.1, [0.1, 0.2])


def test_slice_is_spread_over_the_groups_that_have_parameters():
    lo = LayerOptimizer(optim.SGD, default_splitter(plain_net()), slice(1e-4, 1e-2))
    assert [lo.lrs[0], lo.lrs[2]] == pytest.approx([1e-4, 1e-2])


# ---------------------------------------------------------------- the optimizer


def test_groups_of_the_optimizer_are_those_of_the_model():
    model = plain_net()
    lo = LayerOptimizer(partial(optim.SGD, momentum=0.9), groups_of(model), [0.1, 0.2], [0.01, 0.02])
    assert [group["params"] for group in lo.opt.param_groups] == [
        list(model[0].parameters()),
        list(model[2].parameters()),
    ]
    assert [(group["lr"], group["momentum"]) for group in lo.opt.param_groups] == [(0.1, 0.9), (0.2, 0.9)]
    assert (lo.lrs, lo.wds) == ([0.1, 0.2], [0.01, 0.02])


def test_model_is_one_group_and_shared_parameters_are_in_one_group_only():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    assert [len(params) for params in group_params([[a], [b]])] == [2, 1]
    assert len(LayerOptimizer(optim.Adam, nn.Sequential(a, b), 0.1).opt.param_groups) == 1
    LayerOptimizer(optim.Adam, [[a], [b]], 0.1)  # torch would refuse a parameter in two groups


def test_model_without_parameters():
    with pytest.raises(ValueError, match="no parameters to train"):
        LayerOptimizer(optim.Adam, nn.Sequential(nn.ReLU()), 0.1)


def test_set_lrs():
    model = plain_net()
    lo = LayerOptimizer(optim.SGD, groups_of(model), 0.1)
    lo.scale_lrs(0.5)
    assert [group["lr"] for group in lo.opt.param_groups] == [0.05, 0.05]
    set_lrs(lo, [0.1, 0.3])
    assert (lo.lrs, [group["lr"] for group in lo.opt.param_groups]) == ([0.1, 0.3], [0.1, 0.3])
    set_lrs(lo.opt, slice(1e-4, 1e-3))
    assert [group["lr"] for group in lo.opt.param_groups] == pytest.approx([1e-4, 1e-3])
    lo.scale_lrs(1)
    assert [group["lr"] for group in lo.opt.param_groups] == [0.1, 0.3]  # the base rates are the layer optimizer's
    with pytest.raises(ValueError, match=r"one number or 2.*got 3"):
        set_lrs(lo.opt, [1, 2, 3])
    with pytest.raises(ValueError, match=r"(?s)one number or 2.*got 3.*0: Linear"):
        set_lrs(lo, [1, 2, 3])


@pytest.mark.parametrize(
    ("opt_fn", "before"),
    [
        (partial(optim.SGD, momentum=0.9), 0.9),
        (optim.Adam, 0.9),
        (partial(optim.RMSprop, momentum=0.5), 0.5),
        (default_opt, 0.9),
        (optim.Adagrad, None),
    ],
)
def test_momentum(opt_fn, before):
    opt = opt_fn(plain_net().parameters(), lr=0.1)
    betas = opt.param_groups[0].get("betas", ())[1:]
    assert get_momentum(opt.param_groups[0]) == before
    set_momentum(opt, 0.7)
    assert get_momentum(opt.param_groups[0]) == (None if before is None else 0.7)
    assert opt.param_groups[0].get("betas", ())[1:] == betas


# ---------------------------------------------------------------- weight decay


def train(model: nn.Module, opt: optim.Optimizer, n: int = 3) -> nn.Module:
    torch.manual_seed(1)
    fit(model, bunch(), n, opt, F.cross_entropy, progress=False)
    return model


def test_decay_of_adam_is_adamw():
    model, reference = net(), net()
    train(model, LayerOptimizer(optim.Adam, model, 0.05, 0.3).opt)
    train(reference, optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0.3))
    assert_close(model, reference, atol=1e-6, rtol=1e-5)
    assert_close(
        train(other := net(), LayerOptimizer(optim.AdamW, other, 0.05, 0.3).opt), reference, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_decay_of_sgd_is_decoupled_and_per_group(momentum):
    """`w <- w (1 - lr wd) - lr v`, with the momentum `v` made of gradients alone; frozen weights do not shrink."""
    model, reference = plain_net(), plain_net()
    for net_ in (model, reference):
        net_[0].bias.requires_grad_(False)
    lrs, wds = [0.1, 0.3], [0.5, 0.0]
    lo = LayerOptimizer(partial(optim.SGD, momentum=momentum, weight_decay=0.7), groups_of(model), lrs, wds)
    train(model, lo.opt, n=2)
    velocity: dict[str, torch.Tensor] = {}
    for x, y in batches() * 2:
        reference.zero_grad()
        F.cross_entropy(reference(x), y).backward()
        with torch.no_grad():
            for name, p in reference.named_parameters():
                if p.grad is None:
                    continue
                group = 0 if name.startswith("0") else 1
                v = velocity[name] = velocity.get(name, 0) * momentum + p.grad
                p.mul_(1 - lrs[group] * wds[group]).sub_(lrs[group] * v)
    assert torch.equal(model.state_dict()["0.bias"], plain_net().state_dict()["0.bias"])
    assert_close(model, reference, atol=1e-6, rtol=1e-5)


def test_decay_follows_the_schedule():
    """The weights shrink by the rate of the moment, so that a rate of zero changes nothing."""
    model = nn.Linear(N_IN, N_CLASSES)
    lo = LayerOptimizer(optim.SGD, model, 0.5, 0.4)
    expected = model.weight.detach().clone()
    for factor in (1.0, 0.5, 0.0):
        lo.scale_lrs(factor)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        lo.opt.step()
        expected *= 1 - 0.5 * factor * 0.4
        torch.testing.assert_close(model.weight.detach(), expected)


def test_without_wds_the_optimizers_own_decay_stays():
    model, reference = net(), net()
    own = partial(optim.SGD, weight_decay=0.1)
    train(model, LayerOptimizer(own, model, 0.1).opt)
    train(reference, optim.SGD(reference.parameters(), lr=0.1, weight_decay=0.1))
    assert_same(model, reference)
    lo = LayerOptimizer(own, net(), 0.1, 0.0)
    assert lo.opt.param_groups[0]["weight_decay"] == 0  # `wds=0` means none


# ---------------------------------------------------------------- freezing, through the learner


class Norms(nn.Module):
    """Three groups, each with batch norms: one with parameters, one without."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(n, m), nn.BatchNorm1d(m), nn.BatchNorm1d(m, affine=False))
            for n, m in ((N_IN, 5), (5, 4), (4, N_CLASSES))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return x


def by_part(model: Any) -> list[list[nn.Module]]:
    return [[part] for part in model.parts]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[tuple[int, str]]:
    """Which parts changed: (group, "weights"), (group, "statistics"), (group, "plain statistics")."""
    kinds = {"running_mean": "statistics", "running_var": "statistics", "num_batches_tracked": "statistics"}
    out = set()
    for name in before:
        _, group, layer, kind = name.split(".")
        if not torch.equal(before[name], after[name]):
            out.add((int(group), ("plain " if layer == "2" else "") + kinds.get(kind, "weights")))
    return out


EVERYTHING = {(i, kind) for i in range(3) for kind in ("weights", "statistics", "plain statistics")}


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda learn: None, EVERYTHING),
        (lambda learn: learn.freeze(), {part for part in EVERYTHING if part[0] == 2}),
        (lambda learn: learn.freeze_to(1), {part for part in EVERYTHING if part[0] >= 1}),
        (lambda learn: learn.freeze_to(-1), {part for part in EVERYTHING if part[0] == 2}),
        (lambda learn: (learn.freeze(), learn.unfreeze()), EVERYTHING),
        (lambda learn: (learn.freeze(), learn.freeze_to(1)), {part for part in EVERYTHING if part[0] >= 1}),
        (lambda learn: learn.bn_freeze(True), {part for part in EVERYTHING if part[0] == 2 or part[1] == "weights"}),
        (
            lambda learn: (learn.freeze(), learn.bn_freeze(True), learn.unfreeze()),
            {part for part in EVERYTHING if part[0] == 2 or part[1] == "weights"},
        ),
        (lambda learn: (learn.bn_freeze(True), learn.bn_freeze(False)), EVERYTHING),
        (
            lambda learn: (learn.bn_freeze(True), learn.freeze_to(1), learn.bn_freeze(False)),
            {p for p in EVERYTHING if p[0]},
        ),
    ],
)
def test_what_moves(prepare, expected):
    learn = learner(model=Norms(), splitter=by_part)
    prepare(learn)
    for wds in (None, 0.1):
        before = snapshot(learn.model)
        learn.fit([0.1, 0.1, 0.1], 1, wds=wds)
        assert moved(before, snapshot(learn.model)) == expected
        before = snapshot(learn.model)
        learn.validate()
        assert moved(before, snapshot(learn.model)) == set()


def test_frozen_batch_norm_uses_its_running_statistics():
    """Training only the head of a frozen body is training on the body's evaluation-mode output."""
    model, reference = net(p=0.0), net(p=0.0)
    learn = learner(model=model)
    learn.freeze()
    learn.fit(0.1, 2)
    reference.eval()
    opt = default_opt(reference[6].parameters(), lr=0.1)
    for x, y in batches() * 2:
        opt.zero_grad()
        F.cross_entropy(reference(x), y).backward()
        opt.step()
    assert_close(model, reference)


def test_one_group_bn_freeze_keeps_all_statistics():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()

        def forward(self, x):
            return self.body(x)

    learn = learner(model=Whole())
    learn.bn_freeze()
    before = snapshot(learn.model)
    learn.fit(0.1, 1)
    after = snapshot(learn.model)
    assert torch.equal(before["body.1.running_mean"], after["body.1.running_mean"])
    assert not torch.equal(before["body.1.weight"], after["body.1.weight"])


@pytest.mark.parametrize(
    ("n", "error", "words"),
    [
        (3, ValueError, r"(?s)`n` must be in -3\.\.2 for 3 groups; got 3.*0: Sequential.*2: Sequential"),
        (-4, ValueError, "must be in -3..2"),
        (1.0, TypeError, "whole number"),
        (None, TypeError, "whole number"),
    ],
)
def test_freeze_to_something_else_changes_nothing(n, error, words):
    learn = learner(model=Norms(), splitter=by_part)
    learn.freeze_to(1)
    before = [p.requires_grad for p in learn.model.parameters()]
    with pytest.raises(error, match=words):
        learn.freeze_to(n)
    assert [p.requires_grad for p in learn.model.parameters()] == before


def test_freeze_means_the_last_group_that_has_parameters():
    learn = learner(model=nn.Sequential(*plain_net(), nn.LogSoftmax(dim=1)))
    learn.freeze()
    assert [p.requires_grad for p in learn.model.parameters()] == [False, False, True, True]


def test_splitter_that_forgets_a_layer():
    learn = learner(model=plain_net(), splitter=lambda model: [[model[0]]])
    with pytest.raises(ValueError, match=r"leaves out 2 parameter\(s\): 2\.weight, 2\.bias"):
        learn.freeze()
    with pytest.raises(ValueError, match="leaves out"):
        learn.fit([0.1], 1)


def test_rates_of_the_groups_keep_their_ratios_in_every_cycle():
    trace, lrs = Trace(), [1e-3, 1e-2, 1e-1]
    learn = learner(model=Norms(), splitter=by_part)
    learn.fit(lrs, 2, cycle_len=1, cycle_mult=2, callbacks=[trace])
    assert len(trace.lrs) == 3 * len(batches())
    for rates in trace.lrs:
        assert np.array(rates) / rates[-1] == pytest.approx([1e-2, 1e-1, 1.0])
    assert trace.lrs[0] == pytest.approx(lrs)


def test_rate_of_zero_is_no_training_for_that_group():
    learn = learner(model=Norms(), splitter=by_part)
    before = snapshot(learn.model)
    learn.fit([0, 0, 0.1], 1, wds=0.1)
    assert {group for group, kind in moved(before, snapshot(learn.model)) if kind == "weights"} == {2}


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name(name):
    spelt = name.upper().replace("_", "-")
    lo = LayerOptimizer(spelt, nn.Linear(2, 1), 0.1)
    assert type(lo.opt).__name__.lower() == name.replace("_momentum", "").replace("_", "")
    assert lo.opt.param_groups[0].get("weight_decay", 0) == 0
    assert get_momentum(lo.opt.param_groups[0]) == (0.9 if name == "sgd_momentum" else get_momentum(opt_group(name)))


def opt_group(name: str) -> dict[str, Any]:
    """A parameter group as PyTorch's class makes it."""
    kind: Any = OPTIMIZERS[name]
    made = kind if isinstance(kind, type) else {"adamw": optim.AdamW, "sgd_momentum": optim.SGD}[name]
    return made([nn.Parameter(torch.zeros(1))], lr=0.1).param_groups[0]


def test_a_learner_takes_a_name_and_trains_as_with_the_function():
    ends = []
    for opt_fn in ("sgd", optim.SGD):
        learn = learner(opt_fn=opt_fn)
        torch.manual_seed(1)
        learn.fit(0.1, 2)
        ends.append(snapshot(learn.model))
    assert_same(*ends)
    learn = learner()
    learn.opt_fn = "rmsprop"  # type: ignore[assignment]  # replaced between fits
    learn.fit(1e-3, 1)


@pytest.mark.parametrize(
    ("opt_fn", "error", "words"),
    [
        ("adma", ValueError, "there is no optimizer 'adma'. By name there are adamw, adam, sgd, sgd_momentum, rmsprop"),
        (0.1, TypeError, "must be a name .* or a function .* got float"),
        (optim.SGD(nn.Linear(1, 1).parameters(), 0.1), TypeError, "since each fit makes a new one; got SGD"),
    ],
)
def test_what_is_no_optimizer_is_refused_when_the_learner_is_made(opt_fn, error, words):
    with pytest.raises(error, match=words):
        learner(opt_fn=opt_fn)


def test_an_optimizer_that_cannot_be_made_says_why():
    split = [[layer] for layer in net() if list(layer.parameters())]
    with pytest.raises(TrainingError, match=r"LBFGS cannot be made .*rate of its own \(4\).*one number as the rate"):
        LayerOptimizer(optim.LBFGS, split, 0.1)
    with pytest.raises(TrainingError, match=r"cannot be made as .*unexpected keyword argument 'lr'"):
        LayerOptimizer(lambda params: optim.SGD(params, lr=0.1), net(), 0.1)
    with pytest.raises(TypeError, match="must return a torch optimizer; .* returned list"):
        LayerOptimizer(lambda params, lr: list(params), net(), 0.1)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("rate", [None, {"head": 1}, object(), [None], [[1], [1, 2]]])
def test_a_rate_that_is_no_number_is_refused_in_words(rate):
    with pytest.raises(TypeError, match="`lrs` must be a number, a list of numbers or a slice; got"):
        spread("lrs", rate, 1)
