"""A batch -> inputs of the model and target, in whichever form a loader gives it.

A batch is a tuple or list whose last element is the target, or a dict that holds the target under a name that says so. The
inputs of a dict go to the parameters of the model's `forward` that bear their names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from learnkit.core.errors import DataError

__all__ = ["TARGET_NAMES", "NamedInputs", "bind_inputs", "split_batch"]

TARGET_NAMES = ("y", "target", "targets", "label", "labels")
"""The names under which a dict may hold the target."""


class NamedInputs(dict[str, Any]):
    """The inputs of a batch that was a dict."""


def split_batch(batch: Any) -> tuple[tuple[Any, ...], Any]:
    """Split a batch into the tuple of model inputs and the target.

    Of a dict with several inputs the tuple holds one `NamedInputs`, see `bind_inputs`.
    """
    if isinstance(batch, Mapping):
        return _split_dict(batch)
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        shape = f" of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else ""
        raise DataError(
            f"a batch must be a tuple (x, y) or (x1, x2, ..., y), or a dict with a target; got {type(batch).__name__}{shape}. "
            "If your loader gives no target, add one: it may be a tensor of zeros."
        )
    *xs, y = batch
    if len(xs) == 1 and isinstance(xs[0], tuple | list) and not isinstance(xs[0], PackedSequence):
        return tuple(xs[0]), y
    return tuple(xs), y


def _split_dict(batch: Mapping[Any, Any]) -> tuple[tuple[Any, ...], Any]:
    found = [name for name in TARGET_NAMES if name in batch]
    if len(found) != 1 or len(batch) < 2:
        reason = "the target twice" if len(found) > 1 else "nothing but a target" if found else "no target"
        raise DataError(
            f"a batch must be a tuple (x, y), or a dict of inputs with the target under one of the names "
            f"{', '.join(TARGET_NAMES)}; got dict with {reason} (its names: {', '.join(map(str, batch))}). If your loader gives "
            "no target, add one: it may be a tensor of zeros."
        )
    inputs = NamedInputs((name, value) for name, value in batch.items() if name != found[0])
    return (tuple(inputs.values()) if len(inputs) == 1 else (inputs,)), batch[found[0]]


def bind_inputs(model: Any, xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return named inputs in the order in which a model takes them; others are returned as they are.

    A model with a single parameter that bears none of the names is given the dict.

    Raises
    ------
    DataError
        If the names are not those of the model's parameters.
    """
    if len(xs) != 1 or not isinstance(xs[0], NamedInputs):
        return xs
    inputs = xs[0]
    params = list(inspect.signature(model.forward).parameters.values())
    names = [p.name for p in params if p.kind == p.POSITIONAL_OR_KEYWORD]
    if len(params) == 1 and names and names[0] not in inputs:
        return ({**inputs},)
    try:
        bound = inspect.signature(model.forward).bind(**inputs)
    except TypeError as exc:
        raise DataError(
            f"the batch holds the inputs {', '.join(inputs)}, and {type(model).__name__}.forward takes {', '.join(names)}: {exc}. "
            "Name them alike, or give tuples (x1, x2, ..., y)."
        ) from exc
    bound.apply_defaults()
    if bound.kwargs:
        raise DataError(
            f"{type(model).__name__}.forward takes {', '.join(bound.kwargs)} by name only, and a batch is given by position: "
            "write a module around it whose forward takes them in order."
        )
    return bound.args
