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

from learnkit import (
    Callback,
    Category,
    DataBunch,
    DataError,
    EarlyStopping,
    Learner,
    MultiCategory,
    NonFiniteError,
    Real,
    TensorLoader,
    TrainingError,
)
from learnkit.core.preserve import random_state
from learnkit.store.archive import digest
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
        (lambda: bunch_of(y=X[:, 0] / 0, target=Real()), "its target holds NaN or infinite values in 8 of 8"),
        (lambda: DataBunch(".", [], target=Category(list("abc"))), "`trn_dl` is empty"),
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
        (lambda: bunch_of(y=torch.ones_like(Y)), "all items are of the class 'b': there is nothing to tell apart"),
        (lambda: DataBunch(".", iter([(X, Y)]), target=Category(list("abc"))), "`trn_dl` is a generator"),
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


def test_data_that_trains_is_not_refused_before() -> None:
    one_class = bunch_of(y=torch.ones_like(Y))
    once = DataBunch(".", iter([(X, Y)]), [(X, Y)], target=Category(list("abc")))
    for data, words in ((one_class, "nothing to tell apart"), (once, "read only once")):
        learn = Learner(data, nn.Linear(N_IN, 3))
        assert words in " ".join(learn.check())
        learn.fit(0.1, 1)
        assert len(learn.sched.losses)


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


class Maps(nn.Module):
    """Scores for every place of a picture."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Adds(nn.Module):
    """Takes two inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(N_IN, 3), nn.Linear(2, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.a(left) + self.b(right)


PICTURES = torch.randn(8, 1, 6, 5)
MASKS = (PICTURES[:, 0] > 0).long() + (PICTURES[:, 0] > 1).long()


def ignoring(pred: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(pred, y, ignore_index=255)


@pytest.mark.parametrize(
    ("batch", "model", "target", "crit"),
    [
        ((PICTURES, MASKS), lambda: Maps(3), Category([*"abc"]), None),
        ((PICTURES, MASKS.masked_fill(MASKS == 1, -100)), lambda: Maps(3), Category([*"abc"]), None),
        ((PICTURES, MASKS.masked_fill(MASKS == 1, 255)), lambda: Maps(3), Category([*"abc"]), ignoring),
        ((PICTURES, MASKS[:, None]), lambda: Maps(3), Category([*"abc"]), None),
        ((PICTURES, PICTURES * 2), lambda: Maps(1), Real(), None),
        ((PICTURES, (PICTURES > 0).float()), lambda: Maps(1), MultiCategory(["a"]), None),
        ((PICTURES, PICTURES), lambda: Maps(1), None, F.mse_loss),
        ({"right": X[:, :2], "left": X, "y": Y}, Adds, Category([*"abc"]), None),
        ((X, X[:, :2], Y), Adds, Category([*"abc"]), None),
        (((X, X[:, :2]), Y), Adds, Category([*"abc"]), None),
        ((X, (Y > 0).float()), lambda: nn.Linear(N_IN, 1), Category([*"ab"]), F.binary_cross_entropy_with_logits),
        ((X, {"class": Y, "sum": X.sum(1)}), lambda: nn.Linear(N_IN, 3), Category([*"abc"]), lambda p, y: F.cross_entropy(p, y["class"])),
    ],
    ids=["masks", "ignored", "ignored by an own loss", "masks with a channel", "pictures", "maps", "own loss", "dict", "two inputs", "a pair", "one logit", "targets"],
)  # fmt: skip
def test_what_fit_trains_passes(batch: Any, model: Any, target: Any, crit: Any) -> None:
    learn = learner(data=DataBunch(".", [batch], [batch], target=target), model=model(), crit=crit, metrics=[])
    notes = learn.check()
    assert not [note for note in notes if "class number 255" not in note]
    assert learn.fit(1e-3, 1)["val_loss"] > 0


def test_nan_within_a_nest_of_inputs_is_named_and_more_scores_than_classes_are_noted() -> None:
    bad = {"left": X, "right": X[:, :2].index_fill(0, torch.tensor([2]), torch.nan), "y": Y}
    with pytest.raises(DataError, match="its input `right` holds NaN or infinite values in 1 of 40 items"):
        learner(data=DataBunch(".", [bad], target=Category([*"abc"])), model=Adds()).check()
    assert learner(data=GOOD, model=nn.Linear(N_IN, 5)).check() == [
        "the model gives 5 score(s) per item; the data has 3 (Category ['a', 'b', 'c'])."
    ]
    wrong = MASKS.clone()
    wrong[3, 2, 2] = 7
    with pytest.raises(DataError, match=r"item 3 of the first batch has the class number 7.*1 item\(s\)"):
        learner(data=DataBunch(".", [(PICTURES, wrong)], target=Category([*"abc"])), model=Maps(3)).check()


def test_what_fit_refuses_is_refused() -> None:
    """The learner's callbacks take part, and the figures that are watched must be there."""

    class Fails(Callback):
        def before_batch(self, run: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learner(data=GOOD, callbacks=[Fails()]).check()
    with pytest.raises(ValueError, match="EarlyStopping watches 'acuracy', but this fit reports"):
        learner(data=GOOD, callbacks=[EarlyStopping("acuracy", "max")]).check()
