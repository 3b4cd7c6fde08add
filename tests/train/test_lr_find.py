"""The range test measures what it says, and leaves everything else as it was."""

from __future__ import annotations

import collections
import itertools
import math
from types import SimpleNamespace
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
    CSVLog,
    DataBunch,
    DataError,
    EarlyStopping,
    GradientClip,
    LearnkitError,
    LossRegulariser,
    MixUp,
    NonFiniteError,
    Recorder,
    ReduceOnPlateau,
    SaveBest,
    StopOnNaN,
    TrainingError,
)
from learnkit.train.lr_find import suggest
from tests.train.helpers import N_IN, Events, World, batches, bunch, learner, net, plain_net

LRS = [float(lr) for lr in np.geomspace(1e-5, 10, 60)]


def test_equals_a_range_test_written_by_hand():
    """Rates rise by a constant factor per batch; losses are smoothed without the bias of their start."""
    learn = learner(model=net(), opt_fn=optim.SGD)
    torch.manual_seed(1)
    found = learn.lr_find(1e-4, 1.0, n_iter=10)
    torch.manual_seed(1)
    model, parts = net(), batches()
    model.load_state_dict(learn.model.state_dict())
    torch.manual_seed(1)
    opt = optim.SGD(model.parameters(), lr=0.1)
    lrs, losses, average = [], [], 0.0
    for i in range(10):
        lrs.append(1e-4 * (1.0 / 1e-4) ** (i / 9))
        opt.param_groups[0]["lr"] = lrs[-1]
        x, y = parts[i % len(parts)]
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        average = 0.98 * average + 0.02 * loss.item()
        losses.append(average / (1 - 0.98 ** (i + 1)))
    assert found.lrs == pytest.approx(lrs)
    assert found.losses == pytest.approx(losses, rel=1e-5)
    assert [found.lrs[0], found.lrs[-1]] == pytest.approx([1e-4, 1.0])


def test_stops_when_the_loss_has_blown_up():
    found = learner(model=plain_net(), opt_fn=optim.SGD).lr_find(1e-3, 1e6, n_iter=100)
    assert 10 < len(found.lrs) < 100
    assert found.losses[-1] > 4 * min(found.losses)
    assert all(loss <= 4 * min(found.losses[: i + 1]) for i, loss in enumerate(found.losses[:-1]) if i >= 10)
    assert found.minimum * 10 < found.lrs[-1]


def test_all_groups_are_tried_at_the_same_rate():
    learn = learner(model=plain_net(), splitter=lambda model: [[layer] for layer in model])
    assert learn.lr_find(n_iter=12).lrs[0] == 1e-5


@pytest.mark.parametrize(
    ("curve", "minimum", "steepest", "valley"),
    [
        # flat, then a fall from 20 to 40 that is steepest in the middle, then a rise
        (
            [2.0] * 20 + [1 + math.cos(math.pi * i / 20) for i in range(21)] + [0.1 * i for i in range(1, 20)],
            40,
            30,
            None,
        ),
        # up, a straight fall from 10 to 39, up again: the valley is two thirds down the fall
        ([4 + i / 10 for i in range(10)] + [5 - i / 10 for i in range(30)] + [3.0] * 20, 39, None, 29),
    ],
)
def test_suggestions_of_known_curves(curve, minimum, steepest, valley):
    s, v, m = suggest(LRS, curve)
    assert m == LRS[minimum] / 10
    assert steepest is None or s == LRS[steepest]
    assert valley is None or v == LRS[valley]


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=60))
def test_suggestions_of_any_curve(curve):
    lrs = LRS[: len(curve)]
    steepest, valley, minimum = suggest(lrs, curve)
    assert {steepest, valley} <= set(lrs)
    assert minimum * 10 == pytest.approx(lrs[int(np.argmin(curve))])


@given(st.lists(st.integers(0, 9), min_size=3, max_size=9))
def test_valley_lies_on_the_longest_fall(curve):
    """The longest strictly falling subsequence, by brute force."""
    n = len(curve)
    falls = [[i for i in range(n) if mask >> i & 1] for mask in range(1, 2**n)]
    falls = [fall for fall in falls if all(curve[a] > curve[b] for a, b in itertools.pairwise(fall))]
    longest = max(map(len, falls))
    position = LRS.index(suggest(LRS[:n], [float(v) for v in curve])[1])
    ends = {(fall[0], fall[-1]) for fall in falls if len(fall) == longest}
    assert position in {start + (end - start) * 2 // 3 for start, end in ends}


def test_result_is_kept_and_drawn():
    learn = learner()
    with pytest.raises(LearnkitError, match=r"call `learn.lr_find\(\)` first"):
        learn.sched.plot()
    found = learn.lr_find(n_iter=30)
    assert learn.sched.lr_finding is found
    ax = learn.sched.plot(skip_start=5, skip_end=2)
    assert ax.get_xscale() == "log"
    assert len(ax.lines[0].get_xdata()) == len(found.lrs) - 7  # type: ignore[arg-type]
    assert [str(line.get_label()).split()[0] for line in ax.lines[1:]] == ["steepest", "valley", "minimum/10"]
    assert found.plot(ax=ax) is ax
    assert "lrs" not in repr(found)


def test_losses_are_regularised_and_clipped_as_in_training():
    learn = learner(model=plain_net())
    plain = learn.lr_find(n_iter=5).losses
    learn.reg_fn = lambda pred, extra, loss: loss + 10
    assert learn.lr_find(n_iter=5).losses == pytest.approx([loss + 10 for loss in plain], rel=1e-3)


def test_the_callbacks_of_the_learner_take_part():
    def found(callbacks: list[Callback], clip: float | None = None) -> list[float]:
        learn = learner(callbacks=callbacks, opt_fn="sgd")
        learn.clip = clip
        torch.manual_seed(3)
        return learn.lr_find(1e-3, 1, n_iter=9).losses

    events = Events()
    plain = found([events])
    assert events.log == []  # it has forgotten
    assert found([GradientClip(0.1)]) == found([], clip=0.1) != plain
    assert found([LossRegulariser(lambda pred, extra, loss: loss + 10)]) == pytest.approx(
        [loss + 10 for loss in plain], abs=0.1
    )
    assert found([MixUp()]) != plain


def test_what_only_watches_saves_or_writes_is_left_alone(tmp_path):
    callbacks: list[Any] = [
        CSVLog(tmp_path / "log.csv"),
        SaveBest(tmp_path / "best"),
        EarlyStopping(patience=1),
        ReduceOnPlateau(),
        Recorder(),
        StopOnNaN(),
    ]
    learn = learner(callbacks=callbacks)
    assert len(learn.lr_find(n_iter=20).lrs) == 20
    learn.check()
    learn.validate()
    assert not list(tmp_path.iterdir())


class Rich(Callback):
    """Has all that a callback can have, and changes it at every batch."""

    def __init__(self) -> None:
        self.n, self.rows, self.by_name = 0, [[0.0]], {"a": [0]}
        self.sums, self.array = torch.zeros(2), np.zeros(2)
        self.seen, self.latest = {0}, collections.deque([0], maxlen=3)
        self.nets = [nn.Sequential(nn.Linear(N_IN, 2), nn.BatchNorm1d(2))]
        self.opt = optim.Adam(self.nets[0].parameters(), 0.1)
        self.sched = optim.lr_scheduler.StepLR(self.opt, 2)
        self.offset = nn.Parameter(torch.zeros(1))
        self.own = SimpleNamespace(count=[0])
        self.torch_rng, self.numpy_rng = torch.Generator().manual_seed(1), np.random.default_rng(1)

    def before_batch(self, run: Any) -> None:
        self.n += 1
        self.rows[0].append(float(self.n))
        self.by_name[str(self.n)] = [self.n]
        self.sums += 1
        self.array += 1
        self.seen.add(self.n)
        self.latest.append(self.n)
        self.own.count.append(self.n)
        self.new = self.n
        with torch.enable_grad():
            self.opt.zero_grad()
            (self.nets[0](run.xs[0]) ** 2).sum().backward()
        self.opt.step()
        self.sched.step()
        self.offset.data += 1
        noise = float(torch.rand(1, generator=self.torch_rng)) + float(self.numpy_rng.random())
        run.xs = (run.xs[0] + 0.01 * noise + 0.01 * self.n,)

    def everything(self) -> Any:
        parts = [self.nets[0].state_dict(), self.opt.state_dict(), self.sched.state_dict()]
        rngs = self.torch_rng.get_state().tolist(), self.numpy_rng.bit_generator.state
        names = ("n", "rows", "by_name", "sums", "array", "seen", "latest", "offset")
        data = [repr(getattr(self, name)) for name in names]
        return repr((parts, rngs, data, self.own.count, hasattr(self, "new"), self.nets[0][0].weight.grad))


@pytest.mark.parametrize("call", [lambda x: x.lr_find(n_iter=5), lambda x: x.check(), lambda x: x.validate()])
def test_callbacks_are_put_back_as_they_were(call):
    rich = Rich()
    learn = learner(callbacks=[rich])
    for _ in range(2):
        before, held = rich.everything(), (rich.rows, rich.rows[0], rich.sums, rich.seen, rich.own)
        call(learn)
        assert rich.everything() == before
        assert all(a is b for a, b in zip(held, (rich.rows, rich.rows[0], rich.sums, rich.seen, rich.own), strict=True))
        learn.fit(0.01, 1)
        assert rich.everything() != before


def test_a_loss_with_a_state_is_put_back_too():
    class Weighs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        mean: torch.Tensor

        def forward(self, pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.mean += pred.detach().mean()
            return F.cross_entropy(pred, y)

    crit = Weighs()
    learn = learner(crit=crit)
    learn.lr_find(n_iter=5)
    learn.check()
    assert crit.mean == 0


def test_stays_silent(capsys):
    learn = learner()
    learn.show_progress = True
    learn.lr_find(n_iter=5)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- what it works on


class NoLength:
    def __iter__(self):
        return iter(batches())


@pytest.mark.parametrize("loader", [batches(8), NoLength(), batches()])
def test_goes_round_a_short_loader(loader):
    learn = learner(data=DataBunch(".", loader, target=bunch().target))
    assert len(learn.lr_find(1e-5, 1e-2, n_iter=25).lrs) == 25


def test_loader_that_runs_dry_gives_what_was_measured():
    learn = learner(data=DataBunch(".", iter(batches() * 2), target=bunch().target))
    assert len(learn.lr_find().lrs) == 8


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start_lr": 0}, "`start_lr` must be a positive number"),
        ({"start_lr": 1.0, "end_lr": 0.1}, "`end_lr` must be above `start_lr`; got 0.1 and 1.0"),
        ({"n_iter": 0}, "`n_iter` must be a positive whole number"),
        ({"n_iter": 2.5}, "`n_iter` must be a positive whole number"),
        ({"n_iter": 2}, "`n_iter`"),  # too few to read a suggestion from
        ({"wds": [0.1, 0.2]}, "(?s)`wds` must be one number or 7.*0: Linear"),
    ],
)
def test_bad_argument_changes_nothing(arguments, words):
    learn = learner()
    learn.fit(0.1, 1)
    world = World(learn)
    with pytest.raises(ValueError, match=words):
        learn.lr_find(**arguments)
    world.assert_unchanged(learn)


def broken_inputs() -> Any:
    x, y = batches()[0]
    return [(x * math.nan, y)]


@pytest.mark.parametrize(
    ("loader", "error", "words"),
    [
        (broken_inputs(), NonFiniteError, r"not finite after 0 batches.*NaN in the data.*`start_lr`"),
        ([], DataError, "training loader is empty"),
        (iter([]), DataError, "training loader is empty"),
        ([x for x, _ in batches()], DataError, "must be a tuple"),
        ([(x, y + 9) for x, y in batches()], TrainingError, "classes 0 to 2"),
    ],
)
def test_bad_data_changes_nothing(loader, error, words):
    learn = learner(data=DataBunch(".", loader, target=bunch().target))
    learn.model[3].eval()  # type: ignore[index]
    world = World(learn)
    with pytest.raises(error, match=words):
        learn.lr_find()
    world.assert_unchanged(learn)
    assert learn.sched.lr_finding is None


def test_everything_frozen_is_said_as_in_fit():
    learn = learner()
    for p in learn.model.parameters():
        p.requires_grad_(False)
    world = World(learn)
    with pytest.raises(TrainingError, match=r"everything is frozen.*`learn.unfreeze\(\)`"):
        learn.lr_find()
    world.assert_unchanged(learn)


def test_interrupted_range_test_changes_nothing():
    learn = learner()
    calls = []

    def crit(pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return F.cross_entropy(pred, y)

    learn.crit = crit
    world = World(learn)
    with pytest.raises(KeyboardInterrupt):
        learn.lr_find()
    world.assert_unchanged(learn)
