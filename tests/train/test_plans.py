"""A fit is data: a plan can be kept, compared and followed, and gives the weights of the calls that make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import (
    Callback,
    Category,
    CheckpointError,
    Cycles,
    DataBunch,
    FineTune,
    Learner,
    OneCycle,
    Plan,
    TensorLoader,
    seed_everything,
)
from learnkit.store.archive import pack, unpack
from learnkit.train.plans import plans_from_data
from learnkit.train.resume import Checkpoints
from tests.train.helpers import assert_same, items, net, snapshot
from tests.train.test_resume import KillAt, Killed

PLANS: list[tuple[Plan, Callable[[Learner], Any]]] = [
    (Cycles(0.02, 2), lambda learn: learn.fit(0.02, 2)),
    (
        Cycles([1e-3] * 6 + [1e-2], 2, 0.01, cycle_len=1, cycle_mult=2),
        lambda learn: learn.fit([1e-3] * 6 + [1e-2], 2, 0.01, 1, 2),
    ),
    (Cycles(np.full(7, 2e-3), 1, cycle_len=2), lambda learn: learn.fit(np.full(7, 2e-3), 1, cycle_len=2)),
    (
        Cycles(0.02, 1, cycle_len=3, use_clr_beta=(10, 10, 0.95, 0.85)),
        lambda learn: learn.fit(0.02, 1, cycle_len=3, use_clr_beta=(10, 10, 0.95, 0.85)),
    ),
    (
        Cycles(0.02, 1, 0.1, cycle_len=2, use_clr=(20, 4), use_wd_sched=True, norm_wds=True),
        lambda learn: learn.fit(0.02, 1, 0.1, cycle_len=2, use_clr=(20, 4), use_wd_sched=True, norm_wds=True),
    ),
    (OneCycle(2, slice(1e-3, 1e-2), 0.01), lambda learn: learn.fit_one_cycle(2, slice(1e-3, 1e-2), 0.01)),
    (FineTune(2, 1e-2), lambda learn: learn.fine_tune(2, 1e-2)),
]
SEVERAL = [OneCycle(1, 1e-2, layers="head"), Cycles(1e-2, 2, cycle_len=1, layers="all"), OneCycle(1, 1e-3)]


def learner(callbacks: Sequence[Callback] = ()) -> Learner:
    seed_everything(3)  # so a learner must have trained before the next one is made
    x, y = items(40)
    data = DataBunch(".", TensorLoader(x, y, 8, shuffle=True), TensorLoader(x, y, 20), target=Category(list("abc")))
    learn = Learner(data, net(), callbacks=list(callbacks))
    learn.no_progress()
    return learn


@pytest.mark.parametrize(("plan", "call"), PLANS)
def test_following_a_plan_is_the_call_that_makes_it(plan: Plan, call: Callable[[Learner], Any]) -> None:
    one = learner()
    expected = call(one)
    other = learner()
    assert other.follow(plan) == expected
    assert_same(snapshot(one.model), other.model)


@pytest.mark.parametrize("plan", [plan for plan, _ in PLANS])
def test_a_plan_comes_back_from_its_data(plan: Plan) -> None:
    tensors: dict[str, torch.Tensor] = {}
    kept = pack([plan.to_data()], tensors)
    assert plans_from_data(unpack(kept, tensors)) == [plan]


def test_several_plans_are_one_fit_after_the_other() -> None:
    one = learner()
    one.follow(SEVERAL)
    other = learner()
    other.freeze()
    other.fit_one_cycle(1, 1e-2)
    other.unfreeze()
    other.fit(1e-2, 2, cycle_len=1)
    other.fit_one_cycle(1, 1e-3)
    assert_same(snapshot(one.model), other.model)


@pytest.mark.parametrize("kill", [0, 3, 7, 13, 17])
def test_the_rest_of_several_plans_is_followed_after_an_interruption(kill: int, tmp_path: Path) -> None:
    whole = learner()
    expected = whole.follow(SEVERAL)
    broken = learner([KillAt(kill)])
    with pytest.raises(Killed):
        broken.follow(SEVERAL, checkpoint=tmp_path, every=1)
    again = learner([KillAt(10**6)])
    assert again.resume(tmp_path) == expected
    assert_same(snapshot(whole.model), again.model)


@pytest.mark.parametrize(
    ("call", "method", "arguments"),
    [
        (
            lambda learn, **kw: learn.fit(1e-2, 2, cycle_len=1, cycle_mult=2, **kw),
            "fit",
            {"lrs": 1e-2, "n_cycle": 2, "wds": None, "cycle_len": 1, "cycle_mult": 2, "metrics": None,
             "cycle_save_name": None, "best_save_name": None, "use_clr_beta": None},
        ),
        (lambda learn, **kw: learn.fine_tune(2, 1e-2, **kw), "fine_tune", {"epochs": 2, "base_lr": 1e-2, "freeze_epochs": 1}),
    ],
)  # fmt: skip
def test_a_checkpoint_of_an_earlier_version_goes_on(
    call: Any, method: str, arguments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learner()
    expected = call(whole)
    broken = learner([KillAt(6)])
    with pytest.raises(Killed):
        call(broken, checkpoint=tmp_path, every=1)
    resume = Checkpoints.resume

    def as_it_was_kept(folder: Any) -> Checkpoints:
        checkpoints = resume(folder)
        parts = {name: checkpoints.call[name] for name in ("part", "settings", "target")}
        checkpoints.call = {"method": method, "arguments": arguments, **parts}
        return checkpoints

    again = learner([KillAt(10**6)])
    monkeypatch.setattr(Checkpoints, "resume", as_it_was_kept)
    assert again.resume(tmp_path) == expected
    assert_same(snapshot(whole.model), again.model)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ([{"kind": "Forever", "lrs": 1}], "a fit of the kind 'Forever' is not known"),
        ([{"kind": "Cycles", "lrs": 0.1, "n_cycle": 1, "speed": 2}], "called with 'speed', which this learnkit"),
        ([{"kind": "Cycles", "lrs": 0.1}], "cannot be read"),
        ([{"kind": "Cycles", "lrs": 0.1, "n_cycle": "many"}], "cannot be read"),
        ([{"lrs": 0.1}], "cannot be read"),
        ([7], "cannot be read"),
    ],
)
def test_plans_that_are_not_known_are_refused(saved: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        plans_from_data(saved)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cycles(0.1, 0), "`n_cycle`"),
        (lambda: Cycles(0.1, 2, cycle_mult=2), "`cycle_mult` needs cycles"),
        (lambda: Cycles(0.1, 1, cycle_len=1, use_clr=(1, 2), use_clr_beta=(10, 10)), "two shapes of one cycle"),
        (lambda: Cycles(0.1, 1, norm_wds=True), "`norm_wds`.*use_wd_sched=True"),
        (lambda: OneCycle(0, 0.1), "`n_epoch`"),
        (lambda: OneCycle(1, 0.1, layers="last"), "`layers` must be one of"),  # type: ignore[arg-type]
        (lambda: FineTune(0), "`n_epoch`"),
        (lambda: learner().follow([]), "nothing to train"),
        (lambda: learner().follow(OneCycle(1, 0.1), wds_sched_mult=lambda s: 1.0), "`wds_sched_mult`.*use_wd_sched"),
    ],
)
def test_what_a_plan_cannot_be_is_said_when_it_is_made(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_plans_are_plans() -> None:
    with pytest.raises(TypeError, match=r"must hold plans, such as OneCycle\(5, 1e-3\); got 3"):
        learner().follow([3])  # type: ignore[list-item]
