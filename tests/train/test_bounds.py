"""Classes are compared on the CPU as the loss itself would do it there."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks import device
from learnkit import Category, TrainingError
from learnkit.data.loaders import DeviceLoader
from learnkit.train.bounds import ClassBounds

LOSSES: dict[str, Any] = {
    "function": F.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "module that ignores 255": nn.CrossEntropyLoss(ignore_index=255),
    "bound to ignore 2": partial(F.cross_entropy, ignore_index=2),
    "negative log-likelihood": nn.NLLLoss(),
    "the target's": Category(["a", "b", "c"]).loss,
}


def refused(call: Any) -> bool:
    try:
        call()
    except (IndexError, TrainingError):
        return True
    return False


@pytest.mark.parametrize("name", LOSSES)
@given(classes=st.lists(st.sampled_from([0, 1, 2, 3, 7, 255, -1, -100]), min_size=1, max_size=4))
def test_what_the_loss_refuses_is_refused_and_nothing_else(name, classes):
    crit, pred, y = LOSSES[name], torch.randn(len(classes), 3), torch.tensor(classes)
    bounds = ClassBounds(crit)
    bounds.see(torch.randn(1, 3), torch.tensor([0]))
    assert refused(lambda: bounds(y)) == refused(lambda: crit(pred, y))


def test_the_message_names_the_class():
    bounds = ClassBounds(F.cross_entropy)
    with pytest.raises(
        TrainingError, match=r"`cross_entropy` does not fit.*holds class 7, but the model scores classes 0 to 2"
    ):
        bounds.see(torch.randn(2, 3), torch.tensor([1, 7]))


def test_the_axis_of_the_classes_is_the_targets():
    sequences, masks = Category(list("abc"), class_axis=-1), Category(list("abc"))
    for target, shape in ((sequences, (2, 5, 3)), (masks, (2, 3, 5))):
        bounds = ClassBounds(target.loss)
        bounds.see(torch.randn(shape), torch.zeros(2, 5, dtype=torch.long))
        bounds(torch.full((2, 5), 2))
        with pytest.raises(TrainingError, match="holds class 3"):
            bounds(torch.full((2, 5), 3))


def test_values_shares_of_classes_and_losses_of_ones_own_are_left_alone():
    for crit in (F.mse_loss, F.binary_cross_entropy_with_logits, lambda pred, y: F.cross_entropy(pred, y)):
        bounds = ClassBounds(crit)
        assert not bounds.waiting
        bounds(torch.tensor([99]))
    bounds = ClassBounds(F.cross_entropy)
    bounds.see(torch.randn(2, 3), torch.rand(2, 3))
    bounds(torch.rand(2, 3) * 100)


def test_a_loader_shows_the_targets_before_they_are_moved():
    batches = [(torch.ones(2, 3), torch.tensor([i, i])) for i in range(3)]
    loader, seen = DeviceLoader(batches, torch.device("meta")), []
    loader.before_move = lambda y: seen.append((y.device.type, int(y[0])))
    assert [y.device.type for _, y in loader] == ["meta"] * 3
    assert seen == [("cpu", 0), ("cpu", 1), ("cpu", 2)]


def test_what_must_hold_on_any_device_holds_here(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["device", "--device", "cpu"])
    with pytest.warns(UserWarning, match="fp16"):
        code = device.main()
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.count("| yes |") == len(device.checks())
