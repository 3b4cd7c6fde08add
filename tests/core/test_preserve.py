"""Helpers that run a model leave no trace, also when they fail."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit.core.preserve import evaluating, preserve_model, preserve_rng


def disturb(context: AbstractContextManager[Any], act: Callable[[], Any], fail: bool) -> None:
    """Run `act` in `context`, which then ends well or with an error."""
    with suppress(KeyboardInterrupt), context:
        act()
        if fail:
            raise KeyboardInterrupt


@pytest.mark.parametrize("fail", [False, True])
def test_every_random_generator_is_put_back(fail: bool) -> None:
    own = torch.Generator().manual_seed(3)

    def draw() -> list[float]:
        numbers = random.random(), np.random.rand(), torch.rand(()), torch.rand((), generator=own)  # noqa: NPY002
        return [float(number) for number in numbers]

    state = own.get_state()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = draw()
    own.set_state(state)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    disturb(preserve_rng(own, None), draw, fail)
    assert draw() == expected


@pytest.mark.parametrize("fail", [False, True])
def test_every_submodule_gets_its_own_mode_back(fail: bool) -> None:
    norm = nn.BatchNorm1d(2).eval()
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(norm, nn.Dropout(0.5)))
    modes = [m.training for m in model.modules()]
    seen: list[bool] = []
    disturb(evaluating(model), lambda: seen.extend(m.training for m in model.modules()), fail)
    assert not any(seen)
    assert [m.training for m in model.modules()] == modes


class Stateful(nn.Module):
    """Keeps a hidden state the way the lessons do, in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.hidden: tuple[Tensor, Tensor] | None = None
        self.steps = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        out, hidden = self.rnn(x, self.hidden)
        self.hidden = (hidden[0].detach(), hidden[1].detach())
        self.steps[0] += 1
        return self.norm(out.flatten(0, 1))


def train_a_little(model: Stateful) -> None:
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        opt.zero_grad()
        model(torch.randn(4, 5, 2)).pow(2).sum().backward()
        opt.step()
    model.eval()


def everything(model: Stateful) -> list[Any]:
    hidden = [None] if model.hidden is None else [h.clone() for h in model.hidden]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    tensors = [x.clone() for x in model.state_dict().values()]
    return [*tensors, *grads, *hidden, model.steps[0].clone(), [m.training for m in model.modules()]]


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x is y or x == y
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("warm", [False, True], ids=["new model", "with gradients and hidden state"])
def test_a_model_trained_in_the_block_is_bit_for_bit_what_it_was(warm: bool, fail: bool) -> None:
    model = Stateful()
    if warm:
        train_a_little(model)
        model.train()
        model.norm.eval()
    before = everything(model)
    parameters = list(model.parameters())
    disturb(preserve_model(model), lambda: train_a_little(model), fail)
    assert same(everything(model), before)
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))


def test_replaced_buffers_and_parameters_come_back_as_the_objects_they_were() -> None:
    model = nn.BatchNorm1d(2)
    weight, mean = model.weight, model.running_mean
    with preserve_model(model):
        model.running_mean = torch.ones(2)
        model.weight = nn.Parameter(torch.zeros(2))
    assert model.running_mean is mean
    assert model.weight is weight
    assert model.weight.tolist() == [1, 1]


def test_a_state_that_first_appears_in_the_block_does_not_stay() -> None:
    class Lazy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.latest = super().forward(x)
            return self.latest

    model = Lazy(2, 2)
    with preserve_model(model):
        model(torch.zeros(1, 2))
    assert not hasattr(model, "latest")
