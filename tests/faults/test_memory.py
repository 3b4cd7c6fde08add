"""Memory stays flat over many epochs, and over calls repeated many times."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import Callback, EarlyStopping, MixUp, SaveBest, WeightAverage
from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, tfms_from_stats
from tests.train.helpers import items, learner

LONG = int(os.environ.get("LEARNKIT_FAULTS", "1")) > 1
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the bytes this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def tensors() -> tuple[int, int]:
    """Return number and bytes of the tensors that are alive."""
    gc.collect()
    alive = [x for x in gc.get_objects() if type(x) in (torch.Tensor, nn.Parameter)]
    return len(alive), sum(x.nbytes for x in alive)


class Watch(Callback):
    """Looks at the memory after some epochs."""

    def __init__(self, epochs: tuple[int, ...]) -> None:
        self.epochs = epochs
        self.seen: list[tuple[int, int, int]] = []

    def after_epoch(self, run: Any) -> None:
        if run.epoch in self.epochs:
            self.seen.append((*tensors(), resident()))


@pytest.mark.parametrize("checkpoints", [False, True])
def test_two_hundred_epochs(checkpoints: bool, tmp_path: Path) -> None:
    learn = learner(tmp_path)
    watch = Watch((20, 110, 199))
    callbacks = [MixUp(), WeightAverage(0.9), SaveBest(tmp_path / "best"), EarlyStopping(patience=999), watch]
    options: dict[str, Any] = {"checkpoint": tmp_path / "c", "every": 7} if checkpoints else {}
    learn.fit(1e-3, 200, callbacks=callbacks, **options)
    early, middle, late = watch.seen
    assert early[:2] == middle[:2] == late[:2]  # not a tensor more, not a byte more
    assert late[2] - early[2] < 6 << 20, [f"{x[2]:,}" for x in watch.seen]
    print("200 epochs:", [f"{x[0]} tensors, {x[1]:,} B, {x[2]:,} B resident" for x in watch.seen])
    if checkpoints:
        assert len(list((tmp_path / "c").iterdir())) == 2


def pictures(path: Path) -> ConvLearner:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32, aug_tfms=[RandomFlip()])
    data = ImageClassifierData.from_arrays(
        path, (pixels, np.arange(16) % 2), (pixels, np.arange(16) % 2), 8, tfms, num_workers=0
    )
    learn = ConvLearner.pretrained("timm/test_resnet", data, weights=False, xtra_fc=[8])
    learn.no_progress()
    return learn


CALLS: dict[str, Callable[[Any], object]] = {
    "lr_find": lambda learn: learn.lr_find(n_iter=4),
    "fit": lambda learn: learn.fit(1e-4, 1),
    "predict": lambda learn: learn.predict(),
    "predict_array": lambda learn: learn.predict_array(torch.zeros(2, 3, 32, 32)),
    "TTA": lambda learn: learn.TTA(2),
    "cam": lambda learn: learn.cam([0, 1]),
    "validate": lambda learn: learn.validate(),
    "check": lambda learn: learn.check(),
    "summary": lambda learn: learn.summary(),
    "save and load": lambda learn: learn.load(learn.save("m")),
    "export": lambda learn: learn.export(learn.data.path / "m"),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_repeated_many_times(call: str, tmp_path: Path) -> None:
    learn = pictures(tmp_path)
    times = 60 if LONG else 15
    for _ in range(5):  # caches, pools of memory, the first record
        CALLS[call](learn)
    before, start = tensors(), resident()
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in learn.model.modules())
    for _ in range(times):
        CALLS[call](learn)
    after, end = tensors(), resident()
    print(f"{call}: {before} -> {after} tensors and bytes, resident {end - start:+,} B in {times} calls")
    assert after == before
    assert sum(len(m._forward_hooks) + len(m._backward_hooks) for m in learn.model.modules()) == hooks
    assert end - start < 8 << 20


def test_models_and_their_locks_are_let_go() -> None:
    from learnkit.core import preserve

    n = len(preserve._locks)
    for _ in range(5):
        learn = learner()
        learn.predict_array(items(2)[0])
        del learn
    gc.collect()
    assert len(preserve._locks) <= n
