"""Training that is taken back: what `lr_find`, `check` and `validate` do to model, loss, callbacks and random numbers."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnkit.core.preserve import preserve_model, preserve_rng
from learnkit.train.events import Callback
from learnkit.train.owned import has_state, load_state, owned, state_of

__all__ = ["preserve_callbacks", "rehearsal"]


@contextmanager
def rehearsal(
    model: nn.Module, crit: Any, callbacks: Iterable[Callback], generators: Sequence[torch.Generator] = ()
) -> Iterator[None]:
    """Train in the block, then put model, loss, callbacks and random generators back as they were, bit for bit."""
    with ExitStack() as stack:
        stack.enter_context(preserve_rng(*generators))
        stack.enter_context(preserve_model(model))
        if isinstance(crit, nn.Module):
            stack.enter_context(preserve_model(crit))
        stack.enter_context(preserve_callbacks(callbacks))
        yield


@contextmanager
def preserve_callbacks(callbacks: Iterable[Callback]) -> Iterator[None]:
    """Give callbacks their attributes back after a block: data, in place where it is a list, dict or tensor, and what they own."""
    with ExitStack() as stack:
        for callback in callbacks:
            stack.callback(_keep_attributes(callback, {}))
            for part in owned(callback).values():
                if isinstance(part, nn.Module):
                    stack.enter_context(preserve_model(part))
                else:
                    stack.callback(load_state, part, copy.deepcopy(state_of(part)))
        yield


def _keep_attributes(owner: Any, known: dict[int, Any]) -> Callable[[], None]:
    back = {name: _keep(value, known) for name, value in vars(owner).items()}

    def restore() -> None:
        values = {name: put_back() for name, put_back in back.items()}
        vars(owner).clear()
        vars(owner).update(values)

    return restore


def _keep(value: Any, known: dict[int, Any]) -> Callable[[], Any]:
    """Return what puts a value back as it is now, and returns it: the same object with the same contents."""
    if id(value) in known or has_state(value):
        return lambda: value
    known[id(value)] = value
    if isinstance(value, Tensor | np.ndarray):
        return _keep_numbers(value)
    if isinstance(value, list | tuple):
        parts = [_keep(part, known) for part in value]

        def restore_list() -> Any:
            items = [put_back() for put_back in parts]
            if isinstance(value, list):
                value[:] = items
            return value

        return restore_list
    if isinstance(value, dict):
        entries = {key: _keep(part, known) for key, part in value.items()}

        def restore_dict() -> Any:
            items = {key: put_back() for key, put_back in entries.items()}
            value.clear()
            value.update(items)
            return value

        return restore_dict
    if isinstance(value, set | deque):
        members = list(value)

        def restore_members() -> Any:
            value.clear()
            value.update(members) if isinstance(value, set) else value.extend(members)
            return value

        return restore_members
    if (
        hasattr(value, "__dict__")
        and not callable(value)
        and type(value).__module__.partition(".")[0] not in _LIBRARIES
    ):
        restore_own = _keep_attributes(value, known)

        def restore_object() -> Any:
            restore_own()
            return value

        return restore_object
    return lambda: value


def _keep_numbers(value: Any) -> Callable[[], Any]:
    before = value.detach().clone() if isinstance(value, Tensor) else value.copy()

    @torch.no_grad()
    def restore() -> Any:
        if isinstance(value, Tensor):
            value.copy_(before)
        else:
            value[...] = before
        return value

    return restore


_LIBRARIES = (
    "builtins",
    "io",
    "_io",
    "learnkit",
    "logging",
    "matplotlib",
    "pandas",
    "pathlib",
    "tensorboard",
    "torch",
    "tqdm",
)
"""Whose objects are left alone: they are files, figures and loaders, not the state of a callback."""
