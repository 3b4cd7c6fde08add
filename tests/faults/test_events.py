"""An error in any event, at any time, of any callback: the checkpoints before it are good, and resuming ends the same."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from learnkit import Callback, EarlyStopping, MixUp, SaveBest, WeightAverage, seed_everything
from learnkit.train.events import EVENTS
from tests.train.helpers import assert_same, learner, net

ROUNDS = int(os.environ.get("LEARNKIT_FAULTS", "1"))


class Breaking(Callback):
    """Raises in the given event when it comes for the given time; it keeps no state, so it breaks once."""

    def __init__(self, event: str, after: int) -> None:
        self.event, self.after = event, after

    def state_dict(self) -> dict[str, Any]:
        return {}


def _listen(event: str) -> Any:
    def listener(self: Any, run: Any) -> None:
        if self.event == event:
            self.after -= 1
            if self.after < 0:
                raise OSError(f"broken in {event}")

    return listener


for _event in EVENTS:
    setattr(Breaking, _event, _listen(_event))


def make(path: Path, breaking: Breaking, first: bool) -> Any:
    others = [MixUp(), WeightAverage(0.9), SaveBest(path / "best"), EarlyStopping(patience=50)]
    learn = learner(path, net(seed=1))
    learn.callbacks = [breaking, *others] if first else [*others, breaking]
    return learn


@pytest.mark.parametrize("event", EVENTS)
def test_after_an_error_a_fit_is_resumed_to_the_same_bits(event: str, tmp_path: Path) -> None:
    rng = random.Random(event)
    for i in range(ROUNDS):
        path = tmp_path / str(i)
        first, every = rng.random() < 0.5, rng.choice([1, 3])
        once = event in ("before_fit", "after_fit", "cleanup_fit")
        after = 0 if once else rng.randrange(3 if event.endswith(("epoch", "train", "valid")) else 12)
        whole = make(path / "whole", Breaking("none", 0), first)
        seed_everything(5)
        whole.fit(1e-2, 3)
        broken = make(path, Breaking(event, after), first)
        seed_everything(5)
        with pytest.raises(OSError, match=f"broken in {event}"):
            broken.fit(1e-2, 3, checkpoint=path / "c", every=every)
        again = make(path, Breaking("none", 0), first)
        if event == "before_fit" or (event in ("before_epoch", "before_train") and after == 0):
            seed_everything(5)  # it broke before the first checkpoint
            again.fit(1e-2, 3, checkpoint=path / "c", every=every)
        else:
            seed_everything(6)
            again.resume(path / "c")
        assert_same(whole.model, again.model)
        assert whole.sched.losses == again.sched.losses
        assert (path / "best.safetensors").read_bytes() == (path / "whole" / "best.safetensors").read_bytes()
