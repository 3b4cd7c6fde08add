"""Batches of results -> results of the whole set, in whatever structure a model or a loader gives them.

A tensor or array whose first size is the number of items is joined over the items, a list that holds one thing per item
becomes one list of all of them, and tuples, lists and dicts of these are joined part by part. What is of another size in
every batch (a sequence as long as the longest of its batch) comes as a list with one array per item, and what does not
belong to items (a number per batch) as a list with one entry per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from learnkit.core.device import PerItem, to_np
from learnkit.core.errors import DataError
from learnkit.data.shapes import rebuilt

__all__ = ["batch_len", "join", "stack", "take"]


def batch_len(xs: tuple[Any, ...], y: Any) -> int:
    """Return the number of items: the length of the first tensor found in the target, else in the inputs.

    Of packed sequences it is their number.
    """
    pending = [xs, y]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
        if isinstance(value, PackedSequence):
            return int(value.batch_sizes[0])
        if isinstance(value, dict):
            value = tuple(value.values())
        if isinstance(value, tuple | list):
            pending.extend(reversed(value))
    return 1


def join(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Join what was had of each batch.

    Parameters
    ----------
    batches : sequence
        Tensors, arrays, or nests of them, of one structure.
    sizes : sequence of int
        Number of items in each batch.

    Returns
    -------
    Any
        The same structure of arrays; see the top of this file.

    Raises
    ------
    DataError
        If the structure differs from batch to batch.

    Examples
    --------
    >>> import torch
    >>> from learnkit.data.joining import join
    >>> pairs = join([(torch.zeros(2, 3), torch.ones(2)), (torch.zeros(1, 3), torch.ones(1))], [2, 1])
    >>> [part.shape for part in pairs]
    [(3, 3), (3,)]
    """
    batches = [to_np(batch) for batch in batches]
    first = batches[0]
    if all(isinstance(batch, np.ndarray) for batch in batches):
        return _join_arrays(batches, sizes, alone=True)
    return _join(batches, sizes) if isinstance(first, Mapping | tuple | list) else _join_leaves(batches, sizes)


def _join(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
    first = batches[0]
    if all(isinstance(batch, np.ndarray) for batch in batches):
        return _join_arrays(batches, sizes)
    if isinstance(first, Mapping):
        keys = list(first)
        _check(all(isinstance(batch, Mapping) and set(batch) == set(keys) for batch in batches), batches)
        return {key: _join([batch[key] for batch in batches], sizes) for key in keys}
    if isinstance(first, tuple | list):
        _check(all(isinstance(batch, tuple | list) for batch in batches), batches)
        lengths = {len(batch) for batch in batches}
        per_item = all(len(batch) == size for batch, size in zip(batches, sizes, strict=True))
        if per_item and isinstance(first, list) and (isinstance(first, PerItem) or not _are_parts(batches, sizes)):
            return [item for batch in batches for item in batch]
        _check(len(lengths) == 1, batches)
        return rebuilt(first, [_join(parts, sizes) for parts in zip(*batches, strict=True)])
    return _join_leaves(batches, sizes)


def _are_parts(batches: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether the entries of a list each hold all items of the batch: a list as long as the batch could be either."""
    pairs = list(zip(batches, sizes, strict=True))
    same_number = len({len(batch) for batch in batches}) == 1
    return same_number and all(
        isinstance(part, np.ndarray) and part.ndim > 0 and len(part) == size for batch, size in pairs for part in batch
    )


def _join_arrays(batches: Sequence[Any], sizes: Sequence[int], *, alone: bool = False) -> Any:
    ndim = max(batch.ndim for batch in batches)
    if len(batches) > 1:  # a model that squeezes takes the axis of the items from a batch of one
        pairs = zip(batches, sizes, strict=True)
        batches = [batch[None] if size == 1 and batch.ndim == ndim - 1 else batch for batch, size in pairs]
    of_items = all(batch.ndim and len(batch) == size for batch, size in zip(batches, sizes, strict=True))
    if of_items or (alone and all(batch.ndim for batch in batches)):
        if len({batch.shape[1:] for batch in batches}) == 1:
            return np.concatenate(batches)
        return [item for batch in batches for item in batch]
    return list(batches)


def _join_leaves(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
    return None if all(batch is None for batch in batches) else list(batches)


def _check(same: bool, batches: Sequence[Any]) -> None:
    if not same:
        kinds = sorted({_kind(batch) for batch in batches})
        raise DataError(
            f"the results of the batches cannot be joined, their structure differs: {', '.join(kinds[:4])}. A model and a "
            "loader must give every batch in one structure."
        )


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dict of " + ", ".join(map(str, value))
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__


def take(values: Any, idxs: Any, n: int) -> Any:
    """Return the items of these numbers of what `join` returned for `n` items; what is not per item stays."""
    return _map(lambda x: x[idxs] if x.ndim and len(x) == n else x, values, idxs, n)


def _map(fn: Callable[[Any], Any], values: Any, idxs: Any, n: int) -> Any:
    if isinstance(values, np.ndarray):
        return fn(values)
    if isinstance(values, Mapping):
        return {key: _map(fn, part, idxs, n) for key, part in values.items()}
    if isinstance(values, list) and len(values) == n:
        return [values[i] for i in idxs]
    if isinstance(values, tuple | list):
        return rebuilt(values, [_map(fn, part, idxs, n) for part in values])
    return values


def stack(versions: Sequence[Any]) -> Any:
    """Stack several results of one structure along a new first axis, part by part; a list of items stays one per version."""
    first = versions[0]
    if isinstance(first, np.ndarray):
        return np.stack(versions)
    if isinstance(first, Mapping):
        return {key: stack([version[key] for version in versions]) for key in first}
    if isinstance(first, tuple):
        return rebuilt(first, [stack(parts) for parts in zip(*versions, strict=True)])
    if isinstance(first, list) and all(isinstance(part, np.ndarray) for version in versions for part in version):
        same = all(len({part.shape for part in parts}) == 1 for parts in zip(*versions, strict=True))
        if same:
            return [np.stack(parts) for parts in zip(*versions, strict=True)]
    return list(versions)
