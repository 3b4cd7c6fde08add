"""A batch that is a dict: the target by its name, the inputs to the parameters that bear theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit import DataBunch, DataError, Learner
from tests.train.helpers import N_IN, assert_same, batches, plain_net, run_fit


@pytest.mark.parametrize("name", ["y", "target", "targets", "label", "labels"])
def test_one_input_trains_as_a_pair_does(name):
    plain, named = plain_net(), plain_net()
    parts: list[Any] = [{name: y, "x": x} for x, y in batches()]
    run_fit([], 2, plain, DataBunch(".", batches(), batches()))
    run_fit([], 2, named, DataBunch(".", parts, parts))
    assert_same(plain, named)
    learns = [Learner(DataBunch(".", dl, dl), plain, crit=F.cross_entropy) for dl in (batches(), parts)]
    np.testing.assert_array_equal(learns[0].predict(), learns[1].predict())


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(N_IN, 3), nn.Linear(N_IN, 3)

    def forward(self, first: Tensor, mask: Tensor | None = None, second: Tensor | None = None) -> Tensor:
        return self.a(first) - (0 if second is None else 2 * self.b(second))


def test_several_inputs_go_to_the_parameters_of_their_names():
    """Whatever their order in the dict; what is not there keeps its default."""
    parts: list[Any] = [{"second": 2 * x, "labels": y, "first": x} for x, y in batches()]
    model = Two()
    learn = Learner(DataBunch(".", parts, parts), model, crit=F.cross_entropy)
    learn.no_progress()
    x = torch.cat([x for x, _ in batches()])
    with torch.no_grad():
        expected = model(x, None, 2 * x)
    np.testing.assert_allclose(learn.predict(), expected, rtol=1e-5, atol=1e-6)
    assert "val_loss" in learn.fit(0.01, 1)
    other: list[Any] = [{"third": x, "labels": y, "first": x} for x, y in batches()]
    with pytest.raises(
        DataError, match=r"the batch holds the inputs third, first, and Two.forward takes first, mask, second"
    ):
        learn.predict_dl(other)
