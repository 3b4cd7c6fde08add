"""`learn.interpret()` of any learner: classes, several labels, masks, numbers; or words about what is missing."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit import (
    Category,
    DataBunch,
    Interpretation,
    Learner,
    MultiCategory,
    Real,
    Target,
    TensorLoader,
    ValueInterpretation,
)
from learnkit.core.errors import DataError


def learner(model: nn.Module, x: Tensor, y: Tensor, target: Target | None, **kwargs: Any) -> Learner:
    return Learner(DataBunch(".", TensorLoader(x, y, 4), TensorLoader(x, y, 4), target=target), model, **kwargs)


def test_classes() -> None:
    x = torch.tensor([[2.0, 0], [0, 3], [1, 0], [0, 1], [4, 0]])
    said = learner(nn.Identity(), x, torch.tensor([0, 1, 1, 1, 0]), Category(["no", "yes"])).interpret()
    assert isinstance(said, Interpretation)
    assert said.confusion_matrix().tolist() == [[2, 0], [1, 2]]
    assert said.most_incorrect().tolist() == [2]
    np.testing.assert_allclose(said.probs, x.softmax(1), atol=1e-6)


def test_several_labels() -> None:
    x, y = torch.tensor([[3.0, -3], [3, 3]]), torch.tensor([[1.0, 0], [0, 1]])
    said = learner(nn.Identity(), x, y, MultiCategory(["a", "b"])).interpret()
    assert said.is_multi
    assert said.top_losses(1)[1].tolist() == [1]


def test_an_item_of_masks_is_a_place() -> None:
    x = torch.randn(3, 2, 4, 5)
    y = x.argmax(1)
    y[1, 2, 3] = 1 - y[1, 2, 3]
    said = learner(nn.Identity(), x, y, Category(["back", "front"])).interpret()
    assert said.confusion_matrix().sum() == 60
    (wrong,) = said.most_incorrect()
    assert np.unravel_index(wrong, y.shape) == (1, 2, 3)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2)])
def test_numbers(shape: tuple[int, ...]) -> None:
    x = torch.randn(6, shape[1] if len(shape) > 1 else 1)
    y = x.reshape(shape).clone()
    y[4] += 3
    said = learner(nn.Identity(), x, y, Real(x.shape[1])).interpret()
    assert isinstance(said, ValueInterpretation)
    assert said.errors.shape == shape
    losses, items = said.top_losses(2)
    assert items[0] == 4
    np.testing.assert_allclose(losses, [9, 0], atol=1e-5)
    report = said.report()
    assert report.shape == (x.shape[1], 4)
    assert report["mae"][0] == 0.5
    assert len(said.plot().lines) == x.shape[1] + 1


def test_values_that_are_all_the_same_have_no_r2() -> None:
    assert math.isnan(ValueInterpretation([1.0, 2.0], [3.0, 3.0]).report()["r2"][0])
    with pytest.raises(DataError, match=r"values of one shape; got \(2,\) and \(2, 1\)"):
        ValueInterpretation([1.0, 2.0], [[1.0], [2.0]])


def test_classes_mixed_up_are_counted_without_a_matrix_of_all() -> None:
    n = 60_000  # words of a language: a matrix of all pairs would have 29 GB
    said = Interpretation(np.zeros((6, n), dtype=np.float32), [0, 0, 1, 1, 2, 5], list(range(n)))
    assert said.most_confused() == [(1, 0, 2), (2, 0, 1), (5, 0, 1)]
    assert said.most_confused(min_count=2) == [(1, 0, 2)]


def test_what_is_missing_is_said() -> None:
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    with pytest.raises(DataError, match=r"DataBunch\(\.\.\., target=Category\(classes\)\)"):
        learner(nn.Identity(), x, y, None, crit=F.cross_entropy).interpret()
    own = learner(nn.Identity(), x, y, Category(["no", "yes"]), crit=lambda out, y: F.cross_entropy(2 * out, y))
    with pytest.raises(DataError, match="no log-probabilities"):
        own.interpret()
    trains = DataBunch(".", [(x, y)], target=Category(["no", "yes"]))
    with pytest.raises(DataError, match="no validation set"):
        Learner(trains, nn.Identity()).interpret()
