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
    """Run a block with `model` in evaluation mode, then give every submodule its own mode and state back.

    State is what changes while predicting: buffers and hidden states kept as plain attributes. PyTorch's own layers are
    left alone, as they change nothing in this mode.
    """
    modules = [module for module in model.modules() if not type(module).__module__.startswith("torch.nn.")]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with _preserve_states(modules):
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
    params = [(p, p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    places = [(module, dict(module.named_parameters(recurse=False))) for module in model.modules()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        with _preserve_states(list(model.modules())):
            yield
    finally:
        for p, value, grad in params:
            p.data.copy_(value)
            p.grad = grad
        for module, own in places:
            for name, p in own.items():
                setattr(module, name, p)
        for module, training in modes:
            module.training = training


@contextmanager
def _preserve_states(modules: list[nn.Module]) -> Iterator[None]:
    """Put buffers and tensor attributes back, whether they were changed in place or replaced."""
    states = [(module, _states(module)) for module in modules]
    names = [(module, set(vars(module))) for module in modules]
    values = [(x, x.detach().clone()) for _, state in states for value in state.values() for x in _tensors(value)]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)
        for module, before in names:
            for name in [name for name, value in vars(module).items() if name not in before and _is_nest(value)]:
                delattr(module, name)
        for module, state in states:
            for name, attribute in state.items():
                setattr(module, name, attribute)


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
