"""Leaving things as they were: what lets a helper run a model without changing the training that follows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["evaluating", "preserve_model", "preserve_rng"]


@contextmanager
def preserve_rng(*generators: torch.Generator | None) -> Iterator[None]:
    """Put every random generator back as it was: Python's, NumPy's, torch's on all devices, and those given.

    Parameters
    ----------
    *generators : torch.Generator or None
        Generators of their own, such as a data loader's; `None` is passed over.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    own = [(generator, generator.get_state()) for generator in generators if generator is not None]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for generator, state in own:
            generator.set_state(state)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block with `model` in evaluation mode, then give every submodule its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[None]:
    """Train `model` in the block, then put everything back.

    Parameters, gradients, buffers, modes, and any tensors that modules keep as plain attributes (the hidden
    state of a recurrent network).
    """
    with torch.no_grad():
        values = [(tensor, tensor.clone()) for tensor in (*model.parameters(), *model.buffers())]
    grads = [(p, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    attributes = [
        (module, {name: value for name, value in vars(module).items() if _is_state(value)})
        for module in model.modules()
    ]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)
        for p, grad in grads:
            p.grad = grad
        for module, saved in attributes:
            vars(module).update(saved)
        for module, training in modes:
            module.training = training


def _is_state(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(_is_state(item) for item in value)
    return isinstance(value, Tensor)
