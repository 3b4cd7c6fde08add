"""`data.check` and `learn.check`: what is wrong is said before training, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from learnkit import Category, DataBunch, DataError, Learner, NonFiniteError, Real, TensorLoader, TrainingError
from learnkit.core.preserve import random_state
from learnkit.train.archive import digest
from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, tfms_from_stats
from tests.train.helpers import N_IN, assert_same, items, learner, net, snapshot
from tests.train.test_resume import Cursor, Stateful

X, Y = items(40)
GOOD = DataBunch(".", TensorLoader(X, Y, 8, shuffle=True), TensorLoader(X, Y, 8), target=Category(list("abc")))


def bunch_of(x: Tensor = X, y: Tensor = Y, target: Any = None, **kwargs: Any) -> DataBunch:
    dl = TensorLoader(x, y, 8, shuffle=True)
    return DataBunch(".", dl, TensorLoader(x, y, 8), target=target or Category(list("abc")), **kwargs)


def test_good_data_and_models_pass_without_a_word() -> None:
    assert GOOD.check() == []
    assert learner(data=GOOD).check() == []


@pytest.mark.parametrize("model", [net, Stateful])
def test_nothing_is_changed(model: Any) -> None:
    for dl in (TensorLoader(X, Y, 8, shuffle=True, generator=torch.Generator().manual_seed(1)), Cursor(X, Y)):
        ends = []
        for check in (False, True):
            torch.manual_seed(4)
            learn = Learner(DataBunch(".", dl, [(X[:8], Y[:8])], target=Category(list("abc"))), model())
            learn.no_progress()
            state = dl.generator.get_state() if isinstance(dl, TensorLoader) else dl.state()  # type: ignore[union-attr]
            learn.fit(1e-3, 1)
            sched = learn.sched.to_frame()
            before = snapshot(learn.model), random_state(), [m.training for m in learn.model.modules()]
            if check:
                learn.check()
                assert_same(before[0], learn.model)
                assert digest(before[1]) == digest(random_state())
                assert before[2] == [m.training for m in learn.model.modules()]
                assert learn.sched.to_frame().equals(sched)
                assert all(p.grad is None for p in learn.model.parameters())
            learn.fit(1e-2, 2)
            ends.append(snapshot(learn.model))
            if isinstance(dl, TensorLoader):
                dl.generator.set_state(state)  # type: ignore[union-attr, arg-type]
            else:
                dl.set_state(state)  # type: ignore[arg-type]
        assert_same(*ends)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            lambda: bunch_of(X.index_fill(0, torch.tensor([3]), torch.nan)[:8], Y[:8]),
            "its input holds NaN or infinite values in 1 of 8",
        ),
        (
            lambda: bunch_of(y=Y.index_fill(0, torch.tensor([13]), 3)),
            "`trn_dl`: item 13 has the class number 3; there are 3 classes",
        ),
        (lambda: bunch_of(y=torch.ones_like(Y)), "all training items are of the class 'b': nothing to tell apart"),
        (lambda: bunch_of(y=X[:, 0] / 0, target=Real()), "its target holds NaN or infinite values in 8 of 8"),
        (lambda: DataBunch(".", [], target=Category(list("abc"))), "`trn_dl` is empty"),
        (lambda: DataBunch(".", iter([(X, Y)]), target=Category(list("abc"))), "`trn_dl` is a generator"),
        (lambda: DataBunch(".", [X], target=Category(list("abc"))), "a batch must be a tuple"),
        (
            lambda: DataBunch(".", [(X.numpy(), Y)], target=Category(list("abc"))),
            "inputs of `trn_dl` must be tensors; got ndarray",
        ),
    ],
)
def test_what_is_wrong_with_data_is_said(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        data().check()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: bunch_of(X * 50 + 100), "input 0 is not normalised: mean"),
        (lambda: bunch_of(X.double()), "input 0 is float64"),
        (lambda: bunch_of((X * 9).byte()), "input 0 is uint8"),
        (lambda: bunch_of(X * 0 + 3), "is the same number, 3, everywhere"),
        (lambda: bunch_of(y=Y.clamp(max=1)), "the class 'c' has no item"),
    ],
)
def test_what_may_be_meant_is_noted(data: Any, words: str) -> None:
    assert words in " ".join(data().check())


def test_pictures_in_both_sets_are_noted_and_damaged_ones_named(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (9, 9), (9 * i, 0, 99)).save(tmp_path / part / name / f"{i}.png")
    data = ImageClassifierData.from_paths(tmp_path, 4, tfms_from_stats(([0.5] * 3, [0.5] * 3), 8), num_workers=0)
    assert data.check() == []
    data.val_ds.items[:2] = data.trn_ds.items[:2]
    assert "2 of 8 validation items are training items too" in data.check()[0]
    bad = tmp_path / "valid" / "dog" / "3.png"
    bad.write_bytes(bad.read_bytes()[:40])
    data.val_ds.items[0] = bad
    with pytest.raises(DataError, match=r"valid/dog/3\.png cannot be read"):
        data.check()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 9, 9, 3), dtype=np.uint8)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 8)
    same = ImageClassifierData.from_arrays(
        tmp_path, (pixels, [0, 1] * 4), (pixels[:3], [0, 1, 0]), 4, tfms, num_workers=0
    )
    assert "3 of 3 validation items are training items too (item 0, item 1, item 2)" in same.check()[0]


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(N_IN, 3), nn.Linear(N_IN, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_what_is_wrong_with_a_model_is_said() -> None:
    with pytest.raises(TrainingError, match="the model gives 2 score"):
        learner(data=GOOD, model=nn.Linear(N_IN, 2)).check()
    with pytest.raises(TrainingError, match="the model failed on batch 0"):
        learner(data=GOOD, model=nn.Linear(N_IN + 1, 3)).check()
    with pytest.raises(TrainingError, match="loss .*does not fit"):
        learner(data=GOOD, crit=nn.NLLLoss(weight=torch.ones(2))).check()
    with pytest.raises(NonFiniteError, match="the loss of the first training batch is nan"):
        learner(data=GOOD, crit=lambda pred, y: F.cross_entropy(pred, y).sub(99).log()).check()

    def odd(preds: Tensor, targs: Tensor) -> Tensor:
        return preds @ targs

    with pytest.raises(TrainingError, match="the metric 'odd' cannot be computed"):
        learner(data=GOOD, metrics=[odd]).check()
    assert learner(data=GOOD, model=Idle()).check() == [
        "2 trainable parameter(s) have no part in the loss: idle.weight, idle.bias."
    ]


def test_pictures_with_precomputed_activations(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32, aug_tfms=[RandomFlip()])
    data = ImageClassifierData.from_arrays(
        tmp_path, (pixels, np.arange(20) % 2), (pixels + 1, np.arange(20) % 2), 4, tfms, num_workers=0
    )
    learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False, xtra_fc=[8])
    assert learn.check() == []
    learn.precompute = True
    assert learn.check() == []
    assert learn.precompute
