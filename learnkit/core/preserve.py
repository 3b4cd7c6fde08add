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
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    own = [(generator, generator.get_state()) for generator in generators if generator is not None]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
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
    state of a recurrent network), whether they were changed in place or replaced.
    """
    grads = [(p, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    states = [(module, _states(module)) for module in model.modules()]
    held = [*model.parameters(), *(x for _, state in states for value in state.values() for x in _tensors(value))]
    values = [(tensor, tensor.detach().clone()) for tensor in held]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)
        for p, grad in grads:
            p.grad = grad
        for module, state in states:
            for name, attribute in state.items():
                setattr(module, name, attribute)
        for module, training in modes:
            module.training = training


def _states(module: nn.Module) -> dict[str, Any]:
    """Return the buffers and plain attributes that may change while training: tensors, nests of them, `None`."""
    attributes = {name: value for name, value in vars(module).items() if value is None or _is_nest(value)}
    return {**dict(module.named_buffers(recurse=False)), **attributes}


def _is_nest(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(_is_nest(item) for item in value)
    return isinstance(value, Tensor)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
