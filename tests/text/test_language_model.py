"""A language model's own loss is the loss of its scores, and only a training pass gets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit import Callback, TrainingError
from learnkit.text import AWDLSTM, LanguageModel, NextToken, Undecoded
from tests.marks import needs_bf16
from tests.text.helpers import language_data


def pairs(crit: Callable[..., Tensor], bf16: bool = False, tie: bool = True) -> list[list[Tensor]]:
    """Loss and gradients, with the scores skipped and without."""
    torch.manual_seed(0)
    model: Any = LanguageModel(AWDLSTM(300, 16, 24, 2), 300, tie)
    x, y = torch.randint(0, 300, (2, 41, 6))
    found = []
    for undecoded in (True, False):
        model.reset()
        model.zero_grad()
        model.undecoded = undecoded
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            pred: Any = model(x)[0]
            assert isinstance(pred, Undecoded) is undecoded
            loss = pred.loss(crit, y.flatten()) if undecoded else crit(pred, y.flatten())
        (3 * loss).backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    return found


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize(
    "crit", [F.cross_entropy, NextToken(["a", "b"]).loss, nn.CrossEntropyLoss(label_smoothing=0.1)]
)
def test_loss_and_gradients_are_those_of_the_scores(crit: Callable[..., Tensor], tie: bool) -> None:
    for ours, theirs in zip(*pairs(crit, tie=tie), strict=True):
        torch.testing.assert_close(ours, theirs)


@needs_bf16
def test_in_half_precision_they_are_the_same_to_the_bit() -> None:
    assert all(torch.equal(a, b) for a, b in zip(*pairs(F.cross_entropy, bf16=True), strict=True))


class Seen(Callback):
    def __init__(self) -> None:
        self.kinds: set[tuple[bool, str]] = set()

    def after_pred(self, run: Any) -> None:
        self.kinds.add((run.training, type(run.pred).__name__))


class Breaks(Callback):
    def after_backward(self, run: Any) -> None:
        raise RuntimeError("on purpose")


def test_training_skips_the_scores_and_nothing_else_does(tmp_path: Path) -> None:
    learn = language_data(tmp_path).get_model(None, 12, 24, 2)
    learn.no_progress()
    seen, model = Seen(), learn.model
    learn.fit(1e-2, 1, callbacks=[seen])
    assert seen.kinds == {(True, "Undecoded"), (False, "Tensor")}
    x, _ = next(iter(learn.data.trn_dl))
    assert isinstance(model.train()(x)[0], Tensor)
    with pytest.raises((RuntimeError, TrainingError), match="on purpose"):
        learn.fit(1e-2, 1, callbacks=[Breaks()])
    assert isinstance(model.train()(x)[0], Tensor)
