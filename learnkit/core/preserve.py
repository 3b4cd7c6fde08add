"""Leaving things as they were: what lets a helper run a model without changing the training that follows."""

from __future__ import annotations

import copy
import os
import random
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    "evaluating",
    "model_lock",
    "module_tensors",
    "preserve_model",
    "preserve_rng",
    "preserve_states",
    "random_state",
    "set_random_state",
]


@contextmanager
def preserve_rng(*generators: torch.Generator | None) -> Iterator[None]:
    """Put every random generator back as it was: Python's, NumPy's, torch's on all devices, and those given.

    Parameters
    ----------
    *generators : torch.Generator or None
        Generators of their own, such as a data loader's; `None` is passed over.
    """
    state = random_state(*generators)
    try:
        yield
    finally:
        set_random_state(state, *generators)


def random_state(*generators: torch.Generator | None) -> dict[str, Any]:
    """Return the state of every random generator: Python's, NumPy's, torch's on all devices, and those given."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "own": [None if generator is None else generator.get_state() for generator in generators],
    }


def set_random_state(state: Mapping[str, Any], *generators: torch.Generator | None) -> None:
    """Put every random generator to a state that `random_state` returned for as many generators."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    for generator, own in zip(generators, state["own"], strict=True):
        if generator is not None:
            generator.set_state(own)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block with `model` in evaluation mode, then give every submodule its own mode and state back.

    State is what changes while predicting: buffers and hidden states kept as plain attributes. PyTorch's own layers and
    batch norms are left alone, as they change nothing in this mode. One thread at a time is in such a block with a model; a block
    within a block of the same thread is fine.
    """
    with model_lock(model):
        modes = [(module, module.training) for module in model.modules()]
        if any(training for _, training in modes):
            model.eval()
        try:
            with _preserve_states([module for module, _ in modes if not _is_constant(module)]):
                yield
        finally:
            for module, training in modes:
                if module.training != training:  # setting an attribute of a module is slow
                    module.training = training


def model_lock(model: nn.Module) -> Any:
    """Return the lock a thread holds while it depends on the mode or state of a model."""
    with _guard:
        if model not in _locks:
            _locks[model] = threading.RLock()
        return _locks[model]


_guard = threading.Lock()
_locks: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


def _forget_locks() -> None:
    """In a forked process the threads that held a lock are gone."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def preserve_states(model: nn.Module) -> AbstractContextManager[None]:
    """Put the buffers and attributes of a model back after a block, in whatever mode it is; see `preserve_model`."""
    return _preserve_states(list(model.modules()), everything=True)


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[None]:
    """Train `model` in the block, then put everything back.

    Parameters, gradients, buffers, modes, and whatever else modules keep as plain attributes: the hidden state of a
    recurrent network, counters, lists and dicts. Whether they were changed in place, resized, replaced or new.
    """
    params = [(p, p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    places = [(module, dict(module.named_parameters(recurse=False))) for module in model.modules()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        with _preserve_states(list(model.modules()), everything=True):
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
def _preserve_states(modules: list[nn.Module], *, everything: bool = False) -> Iterator[None]:
    """Put buffers and tensor attributes back, whether they were changed in place, resized, replaced or are new.

    With `everything`, also attributes that hold no tensors, and what is in lists and dicts.
    """
    states = [(module, _states(module)) for module in modules]
    names = [(module, {*vars(module), *module._buffers}) for module in modules]
    values = [(x, x.detach().clone()) for _, state in states for value in state.values() for x in _tensors(value)]
    attributes = [(module, _attributes(module)) for module in modules] if everything else []
    containers = [
        (value, copy.copy(value)) for _, own in attributes for value in own.values() if type(value) in (list, dict, set)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values:
                if tensor.shape != value.shape:
                    tensor.resize_(value.shape)
                tensor.copy_(value)
        for module, before in names:
            found = [*module._buffers, *(name for name, value in vars(module).items() if _is_nest(value))]
            for name in found:
                if name not in before:
                    delattr(module, name)
        for module, state in states:
            for name, attribute in state.items():
                if getattr(module, name, _GONE) is not attribute:
                    setattr(module, name, attribute)
        for container, content in containers:
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
        for module, own in attributes:
            for name in _attributes(module).keys() - own.keys():
                del vars(module)[name]
            vars(module).update(own)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return all that a module keeps as plain attributes; PyTorch's own layers keep only settings."""
    if type(module).__module__.startswith("torch.nn."):
        return {}
    return {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}


_GONE = object()


def _is_constant(module: nn.Module) -> bool:
    """Whether a module changes nothing of itself in evaluation mode."""
    return type(module).__module__.startswith("torch.nn.") or isinstance(module, _BatchNorm)


def module_tensors(module: nn.Module) -> dict[str, Any]:
    """Return the plain attributes of a module that may change while training: tensors, nests of them, `None`.

    PyTorch's own layers keep nothing in such attributes, and what holds parameters is another name for these.
    """
    if type(module).__module__.startswith("torch.nn."):
        return {}
    found = {name: x for name, x in vars(module).items() if name not in _OF_EVERY_MODULE and (x is None or _is_nest(x))}
    return {name: x for name, x in found.items() if not any(isinstance(part, nn.Parameter) for part in _tensors(x))}


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def _states(module: nn.Module) -> dict[str, Any]:
    """Return the buffers and plain attributes that may change while training: tensors, nests of them, `None`."""
    attributes = {name: value for name, value in vars(module).items() if value is None or _is_nest(value)}
    return {**dict(module._buffers.items()), **attributes}


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
