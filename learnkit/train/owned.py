"""What a callback, or a loss, owns besides data: modules, optimizers, schedulers, generators. All have a state of their own."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.train.events import Callback

__all__ = ["has_state", "load_state", "owned", "state_of", "unkept"]


def owned(owner: Any, foreign: Collection[int] = ()) -> dict[str, Any]:
    """Return by name what an object keeps, in its attributes or nests of them, that has a state.

    Parameters
    ----------
    owner : Any
        A loss that is a module is its own only part.
    foreign : collection of int
        The `id` of what belongs to others: the model that is trained, its layers and parameters, the optimizer.

    Examples
    --------
    >>> from torch import nn
    >>> from learnkit import Callback
    >>> from learnkit.train.owned import owned
    >>> class Critic(Callback):
    ...     def __init__(self):
    ...         self.nets, self.name = [nn.Linear(2, 1)], "critic"
    >>> list(owned(Critic()))
    ['nets.0']
    """
    if isinstance(owner, nn.Module) and not isinstance(owner, Callback):
        return {} if id(owner) in foreign else {"": owner}
    owner = getattr(owner, "__self__", owner)  # a loss may be a method
    return {
        name: part
        for attribute, value in _attributes(owner)
        for name, part in _parts(attribute, value)
        if id(part) not in foreign
    }


def has_state(value: Any) -> bool:
    """Whether an object has a state that can be taken and given back."""
    if isinstance(value, torch.Generator | np.random.Generator | random.Random):
        return True
    if isinstance(value, Tensor):
        return value.requires_grad
    methods = (getattr(value, name, None) for name in ("state_dict", "load_state_dict"))
    return not isinstance(value, type) and all(callable(method) for method in methods)


def state_of(part: Any) -> Any:
    """Return the state of a part, as data."""
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, random.Random):
        return part.getstate()
    return part.detach().clone() if isinstance(part, Tensor) else part.state_dict()


@torch.no_grad()
def load_state(part: Any, state: Any) -> None:
    """Give a part back the state that `state_of` returned."""
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, random.Random):
        part.setstate(state)
    elif isinstance(part, Tensor):
        part.copy_(state)
    else:
        part.load_state_dict(state)


def unkept(owner: Any, foreign: Collection[int] = ()) -> list[str]:
    """Return the attributes of a callback that learn or collect something, and have no state that could be taken."""
    return [
        f"{name} ({type(value).__name__})"
        for name, value in _attributes(owner)
        if isinstance(value, set | deque) or _learns(value, foreign, depth=2)
    ]


def _attributes(owner: Any) -> list[tuple[str, Any]]:
    return list(vars(owner).items()) if hasattr(owner, "__dict__") else []


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if has_state(value):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _parts(f"{name}.{key}", part)
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from _parts(f"{name}.{i}", part)


def _learns(value: Any, foreign: Collection[int], depth: int) -> bool:
    """Whether an object without a state of its own has something inside that is trained."""
    if has_state(value) or isinstance(value, type | Callable | tuple | list | dict):
        return False
    inside = [part for _, part in _attributes(value)]
    if any(isinstance(part, nn.Module | Optimizer | nn.Parameter) and id(part) not in foreign for part in inside):
        return True
    return depth > 1 and any(_learns(part, foreign, depth - 1) for part in inside)
