"""Every recorded rate equals the formula it was meant to follow."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import optim

from learnkit import (
    Callback,
    CosAnneal,
    DataBunch,
    DataError,
    LayerOptimizer,
    ScheduleRates,
    constant,
    cosine,
    exponential,
    fit,
    flat_cosine,
    linear,
    load_model,
    one_cycle,
    phases,
    triangle,
)
from tests.train.helpers import Trace, World, assert_same, batches, bunch, learner, net, plain_net, snapshot

NB = len(batches())
PROGRESS = st.floats(0, 1)
RATE = st.floats(1e-6, 10)


def half_cosine(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


# ---------------------------------------------------------------- pure functions


@given(start=RATE, end=RATE, t=PROGRESS)
def test_simple_schedules(start, end, t):
    assert constant(start)(t) == start
    assert linear(start, end)(t) == pytest.approx((1 - t) * start + t * end)
    assert cosine(start, end)(t) == pytest.approx(half_cosine(start, end, t))
    assert exponential(start, end)(t) == pytest.approx(math.exp((1 - t) * math.log(start) + t * math.log(end)))


@given(start=RATE, peak=RATE, end=RATE, pct=st.floats(0.05, 0.95), t=PROGRESS)
def test_one_cycle_rises_and_falls_along_cosines(start, peak, end, pct, t):
    expected = half_cosine(start, peak, t / pct) if t < pct else half_cosine(peak, end, (t - pct) / (1 - pct))
    assert one_cycle(start, peak, end, pct_start=pct)(t) == pytest.approx(expected)


@given(pct=st.floats(0.05, 0.95), t=PROGRESS)
def test_flat_cosine(pct, t):
    expected = 1.0 if t < pct else half_cosine(1, 0, (t - pct) / (1 - pct))
    assert flat_cosine(pct)(t) == pytest.approx(expected, abs=1e-9)


@given(div=st.floats(1.5, 50), pct=st.floats(0, 50), t=PROGRESS)
def test_triangle(div, pct, t):
    slope = (1 - pct / 100) / 2
    corners = [0, slope, 2 * slope, 1] if pct else [0, 0.5, 1, 1]
    expected = np.interp(t, corners, [1 / div, 1, 1 / div, 0.01 / div if pct else 1 / div])
    at_the_very_end = pct == 0 and t == 1  # of a last phase without length
    assert at_the_very_end or triangle(div, pct)(t) == pytest.approx(expected, abs=1e-9)


@given(shares=st.lists(st.integers(1, 5), min_size=1, max_size=5), t=PROGRESS)
def test_phases_follow_one_another(shares, t):
    total = sum(shares)
    schedule = phases(*((share / total, linear(i, i + 1)) for i, share in enumerate(shares)))
    corners = np.cumsum([0, *shares]) / total
    assert schedule(t) == pytest.approx(np.interp(t, corners, range(len(shares) + 1)), abs=1e-6)


@pytest.mark.parametrize(
    "parts",
    [(), ((0.5, constant(1)),), ((0.6, constant(1)), (0.6, constant(1))), ((1.5, constant(1)), (-0.5, constant(1)))],
)
def test_phases_must_add_up(parts):
    with pytest.raises(ValueError, match="must be positive and add up to 1; got"):
        phases(*parts)


def test_exponential_needs_positive_ends():
    with pytest.raises(ValueError, match="`end` must be a positive number"):
        exponential(1.0, 0.0)


# ---------------------------------------------------------------- cosine cycles


class Epochs(Callback):
    def __init__(self) -> None:
        self.n = 0

    def before_epoch(self, run: Any) -> None:
        self.n += 1


def restarts(lr: float, lengths: list[int]) -> list[float]:
    """SGDR in closed form, the rate of every batch; `lengths` are epochs."""
    return [half_cosine(lr, 0, i / (n * NB)) for n in lengths for i in range(n * NB)]


@pytest.mark.parametrize(
    ("n_cycle", "cycle_len", "cycle_mult", "lengths"),
    [(3, 1, 2, [1, 2, 4]), (1, 3, 1, [3]), (3, 1, 1, [1, 1, 1]), (2, 2, 3, [2, 6])],
)
def test_cosine_restarts(n_cycle, cycle_len, cycle_mult, lengths):
    """`fit(lr, 3, cycle_len=1, cycle_mult=2)` is 1 + 2 + 4 epochs; validation does not move the rate."""
    learn, trace, epochs = learner(), Trace(), Epochs()
    learn.fit(0.3, n_cycle, cycle_len=cycle_len, cycle_mult=cycle_mult, callbacks=[trace, epochs])
    assert epochs.n == sum(lengths) == len(learn.sched.epochs)
    assert [lr for (lr,) in trace.lrs] == learn.sched.lrs
    assert learn.sched.lrs == pytest.approx(restarts(0.3, lengths), abs=1e-12)
    assert set(trace.moms) == {0.9}


def test_differential_rates_keep_their_ratios():
    learn, trace = learner(model=plain_net()), Trace()
    learn.fit([1e-3, 0, 1e-1], 2, cycle_len=1, cycle_mult=2, callbacks=[trace])
    for i, base in enumerate([1e-3, 0, 1e-1]):
        assert [rates[i] for rates in trace.lrs] == pytest.approx(restarts(base, [1, 2]), abs=1e-12)


def test_without_cycles_the_rate_stays():
    learn = learner()
    learn.fit(0.01, 2)
    assert learn.sched.lrs == [0.01] * 2 * NB
    assert len(learn.sched.epochs) == 2


def test_rates_are_set_per_batch_also_when_accumulating():
    learn = learner(accumulate=3)
    learn.fit(0.3, 2, cycle_len=1)
    assert learn.sched.lrs == pytest.approx(restarts(0.3, [1, 1]), abs=1e-12)


def test_cancelled_batches_belong_to_the_cycle():
    """The cycle still ends with the epoch."""
    from learnkit import CancelBatch

    class Skip(Callback):
        def before_batch(self, run):
            if run.training and run.batch == 1:
                raise CancelBatch

    learn = learner()
    learn.fit(0.3, 2, cycle_len=1, callbacks=[Skip()])
    expected = restarts(0.3, [1, 1])
    assert learn.sched.lrs == pytest.approx([lr for i, lr in enumerate(expected) if i % NB != 1], abs=1e-12)


def test_weights_are_saved_at_the_end_of_each_cycle(tmp_path):
    learn, trace = learner(tmp_path), Trace()
    learn.fit(0.1, 3, cycle_len=1, cycle_mult=2, cycle_save_name="snap", callbacks=[trace])
    files = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert files == [f"snap_cyc_{i}.safetensors" for i in range(3)]
    for i, epoch in enumerate([0, 2, 6]):
        learn.load(f"snap_cyc_{i}")
        assert_same(learn.model, trace.after_training[epoch])


@pytest.mark.parametrize("validated", [True, False])
def test_best_weights_are_saved(tmp_path, validated):
    data = bunch(tmp_path) if validated else DataBunch(tmp_path, batches(), target=bunch().target)
    learn, trace = learner(tmp_path, data=data), Trace()
    learn.fit(0.5, 5, best_save_name="best", callbacks=[trace])
    figure = "val_loss" if validated else "trn_loss"
    rows = learn.sched.epochs
    best = min(range(5), key=lambda i: rows[i][figure])
    learn.load("best")
    assert_same(learn.model, trace.after_training[best])


# ---------------------------------------------------------------- one cycle, triangles


@pytest.mark.parametrize(
    ("opt_fn", "has_momentum"), [(partial(optim.SGD, momentum=0.9), True), (None, True), (optim.SGD, False)]
)
def test_one_cycle_of_rate_and_momentum(opt_fn, has_momentum):
    learn, trace = learner(opt_fn=opt_fn), Trace()
    learn.fit_one_cycle(3, 0.2, div=10, div_final=100, pct_start=0.3, moms=(0.9, 0.6, 0.8), callbacks=[trace])
    n = 3 * NB

    def cycle(start: float, peak: float, end: float) -> list[float]:
        return [
            half_cosine(start, peak, t / 0.3) if t < 0.3 else half_cosine(peak, end, (t - 0.3) / 0.7)
            for t in (i / n for i in range(n))
        ]

    assert learn.sched.lrs == pytest.approx(cycle(0.02, 0.2, 0.002))
    assert trace.moms == pytest.approx(cycle(0.9, 0.6, 0.8) if has_momentum else [0.0] * n)
    assert [lr for (lr,) in trace.lrs] == learn.sched.lrs


def test_one_cycle_by_default():
    learn = learner()
    learn.fit_one_cycle(4, [1e-3] * 6 + [0.1])
    lrs, moms = learn.sched.lrs, learn.sched.moms
    assert [lrs[0], max(lrs)] == pytest.approx([0.1 / 25, 0.1])
    assert lrs.index(max(lrs)) == moms.index(min(moms)) == NB
    assert (moms[0], min(moms)) == (0.95, 0.85)
    assert lrs[-1] < 0.1 / 25 < lrs[1]


@pytest.mark.parametrize("moms", [(), (0.95, 0.8)])
def test_clr_beta(moms):
    learn, trace = learner(), Trace()
    learn.fit(0.4, 2, cycle_len=2, use_clr_beta=(20, 10, *moms), callbacks=[trace])
    t = np.arange(2 * NB) / (2 * NB)
    corners = [0, 0.45, 0.9, 1]
    expected = np.interp(t, corners, [0.02, 0.4, 0.02, 0.0002])
    assert learn.sched.lrs == pytest.approx([*expected, *expected])
    momentum = np.interp(t, corners, [0.95, 0.8, 0.95, 0.95]) if moms else np.full(len(t), 0.9)
    assert trace.moms == pytest.approx([*momentum, *momentum])


def test_fine_tune_trains_the_head_and_then_everything():
    parts: list[tuple[int, list[bool], list[float]]] = []

    class Parts(Callback):
        def before_fit(self, run):
            parts.append((run.n_epochs, [p.requires_grad for p in run.model.parameters()], []))

        def before_step(self, run):
            parts[-1][2].append(run.opt.param_groups[0]["lr"])

    learn = learner(model=plain_net(), callbacks=[Parts()])
    learn.fine_tune(8, 0.1, freeze_epochs=4)
    (n_head, head, head_lrs), (n_all, everything, first_lrs) = parts
    assert (n_head, head) == (4, [False, False, True, True])
    assert (n_all, everything) == (8, [True] * 4)
    assert max(head_lrs) == pytest.approx(0.1)
    assert max(first_lrs) == pytest.approx(0.1 / 200)
    assert max(learn.sched.lrs) == pytest.approx(0.1 / 2)


# ---------------------------------------------------------------- the callbacks by themselves


@pytest.mark.parametrize(
    ("nb", "mult", "ends"), [(3, 1, [3, 6, 9, 12]), (2, 1.5, [2, 5, 9]), (3, 2, [3, 9]), (50, 1, [])]
)
def test_cycle_ends(nb, mult, ends):
    """Cycles need not be whole epochs."""
    model, trace = plain_net(), Trace()
    lo = LayerOptimizer(optim.SGD, model, 0.1)
    heard = []
    sched = CosAnneal(lo, nb, lambda sched, cycle: heard.append((sched, cycle, len(trace.lrs))), mult)
    fit(model, DataBunch(".", batches()), 3, lo.opt, F.cross_entropy, None, [trace, sched], progress=False)
    assert heard == [(sched, i, end) for i, end in enumerate(ends)]
    assert sched.cycle == len(ends)


def test_schedule_of_another_optimizer_is_refused():
    model = plain_net()
    lo = LayerOptimizer(optim.SGD, model, 0.1)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"belongs to another optimizer: call `fit` with `lo.opt`"):
        fit(model, bunch(), 1, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy, None, [CosAnneal(lo, 3)])
    assert_same(before, model)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda lo: CosAnneal(lo.opt, 3), TypeError, r"`lo` must be a LayerOptimizer; got SGD.*LayerOptimizer\(optim"),
        (lambda lo: CosAnneal(lo, 0), ValueError, "`nb` must be a positive whole number"),
        (lambda lo: CosAnneal(lo, 3, cycle_mult=0.5), ValueError, "`cycle_mult` must be at least 1"),
        (
            lambda lo: ScheduleRates(lo, 2.5, constant(1)),  # type: ignore[arg-type]
            ValueError,
            "`nb` must be a positive whole number",
        ),
    ],
)
def test_bad_schedule(make, error, words):
    with pytest.raises(error, match=words):
        make(LayerOptimizer(optim.SGD, plain_net(), 0.1))


class NoLength:
    def __iter__(self):
        return iter(batches())


@pytest.mark.parametrize(
    "train",
    [
        lambda learn: learn.fit(0.1, 1, cycle_len=1),
        lambda learn: learn.fit_one_cycle(1, 0.1),
        lambda learn: learn.fit(0.1, 1, cycle_len=1, use_clr_beta=(10, 10)),
    ],
)
@pytest.mark.parametrize(
    ("loader", "words"), [(NoLength(), "no length.*`__len__`.*cycle_len=None"), ([], "training loader is empty")]
)
def test_schedule_over_a_loader_without_length(train, loader, words):
    learn = learner(data=DataBunch(".", loader, batches(8), target=bunch().target))
    world = World(learn)
    with pytest.raises(DataError, match=words):
        train(learn)
    world.assert_unchanged(learn)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_cycle": 0}, "`n_cycle` must be a positive whole number"),
        ({"n_cycle": 2.5}, "`n_cycle` must be a positive whole number"),
        ({"cycle_len": 0}, "`cycle_len` must be a positive whole number"),
        ({"cycle_len": 1, "cycle_mult": 0}, "`cycle_mult` must be a positive whole number"),
        ({"cycle_save_name": "a"}, "`cycle_save_name` needs cycles: pass `cycle_len` too"),
        ({"use_clr_beta": (10, 10)}, "`use_clr_beta` needs cycles"),
        ({"cycle_len": 1, "use_clr_beta": (10,)}, r"must be \(div, pct\) or \(div, pct, max_mom, min_mom\)"),
        ({"cycle_len": 1, "use_clr_beta": (10, 10, 0.9)}, r"must be \(div, pct\)"),
        ({"lrs": -1.0}, "`lrs` must not be negative"),
        ({"wds": -1.0}, "`wds` must not be negative"),
    ],
)
def test_bad_fit_arguments_change_nothing(arguments, words):
    learn = learner()
    learn.fit(0.1, 1)
    world = World(learn)
    with pytest.raises(ValueError, match=words):
        learn.fit(**{"lrs": 0.1, "n_cycle": 1, **arguments})
    world.assert_unchanged(learn)


def test_saved_cycle_can_be_loaded_without_a_learner(tmp_path):
    learn = learner(tmp_path)
    learn.fit(0.1, 1, cycle_len=1, cycle_save_name="a")
    model = net(seed=4)
    load_model(model, tmp_path / "models" / "a_cyc_0")
    assert_same(model, learn.model)
