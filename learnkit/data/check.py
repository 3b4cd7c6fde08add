"""Is this data what a model can be trained on? One look at the first batch of each loader and at all the targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from learnkit.core.device import to_np
from learnkit.core.errors import DataError
from learnkit.core.listing import some
from learnkit.core.preserve import preserve_rng
from learnkit.data.loaders import begin, generators, split_batch
from learnkit.data.targets import Category, Target

__all__ = ["bad_values", "check_data", "first_batch", "peek"]

IGNORED = -100
"""The class number that cross-entropy leaves out."""
_AGAIN = "Give a list or a loader, which every epoch can read anew."
MOST_BYTES = 1 << 28  # of the pictures in memory that are compared with each other


def check_data(loaders: Mapping[str, Any], target: Target | None, *, strict: bool = True) -> list[str]:
    """See `DataBunch.check`.

    Parameters
    ----------
    loaders : mapping of str to iterable or None
        By the names they have in a data bunch: `trn_dl`, `val_dl`, `test_dl`.
    target : Target or None
    strict : bool, default True
        Whether class numbers that do not exist are an error.
    """
    notes: list[str] = []
    for name, dl in loaders.items():
        if dl is None:
            continue
        if isinstance(dl, Iterator):
            notes.append(f"`{name}` is a generator, which can be read only once: it was not looked at. {_AGAIN}")
            continue
        xs, y = first_batch(dl, name)
        if bad := bad_values(xs, None if name == "test_dl" else y):
            raise DataError(f"the first batch of `{name}`: {bad}.")
        inputs = [pair for i, x in enumerate(xs) for pair in _tensors(f"input {i}", x)]
        notes += [f"`{name}`: {note}" for part, x in inputs for note in _remarks(part, x)]
        if name != "test_dl":
            notes += _check_targets(target, dl, name, y, strict)
    return notes + _overlap(loaders["trn_dl"], loaders["val_dl"])


def first_batch(dl: Any, name: str) -> tuple[tuple[Any, ...], Any]:
    """Return inputs and target of the first batch, which must be no arrays; see `peek`."""
    xs, y = peek(dl, name)
    kinds = [type(x).__name__ for x in xs]
    if any(isinstance(x, np.ndarray) for x in xs):
        raise DataError(
            f"the inputs of `{name}` must be tensors; got {', '.join(kinds)}. `T(array)` makes one of an array."
        )
    return xs, y


def peek(dl: Any, name: str) -> tuple[tuple[Any, ...], Any]:
    """Return inputs and target of the first batch, leaving loader and random generators as they were."""
    if isinstance(dl, Iterator):
        raise DataError(f"`{name}` is a generator, which can be read only once. {_AGAIN}")
    state = dl.state() if hasattr(dl, "set_state") else None
    with preserve_rng(*generators(dl)):
        batch = next(begin(dl), None)
    if state is not None:
        dl.set_state(state)
    if batch is None:
        raise DataError(f"`{name}` is empty: it gave no batch.")
    return split_batch(batch)


def bad_values(xs: tuple[Any, ...], y: Any) -> str:
    """Say which input holds NaN or infinite values, and in which items; "" if none does."""
    parts = [pair for i, x in enumerate(xs) for pair in _tensors(f"input {i}" if len(xs) > 1 else "its input", x)]
    for name, x in [*parts, *_tensors("its target", y)]:
        if x.is_floating_point() and x.ndim:
            bad = (~x.reshape(len(x), -1).isfinite().all(1)).nonzero().flatten().tolist()
            if bad:
                return f"{name} holds NaN or infinite values in {len(bad)} of {len(x)} items (numbers {some(bad)} of the batch)"
    return ""


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors in an input or target, which may be a nest of them, by name; packed sequences one below the other."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, PackedSequence):
        yield name, pad_packed_sequence(value, batch_first=True)[0]
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name} `{key}`", part)
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from _tensors(f"{name}, part {i}", part)


def _remarks(name: str, x: Tensor) -> list[str]:
    if x.dtype == torch.float64:
        return [f"{name} is float64 and the weights of models are float32: give it as `x.float()`."]
    if x.dtype == torch.uint8:
        return [f"{name} is uint8, which most layers do not take: give it as `x.float() / 255`, normalised."]
    if not x.is_floating_point() or x.numel() < 2:
        return []
    mean, std = float(x.float().mean()), float(x.float().std())
    if abs(mean) > 5 or std > 10:
        return [f"{name} is not normalised: mean {mean:.3g}, standard deviation {std:.3g}. Bring both near 0 and 1."]
    if std == 0:
        return [f"{name} is the same number, {mean:.3g}, everywhere."]
    return []


def _check_targets(target: Target | None, dl: Any, name: str, y: Any, strict: bool) -> list[str]:
    """Check the classes of all items where they are at hand, else of the first batch: of an item, or of each place in it."""
    everything = _all_targets(dl)
    if not isinstance(target, Category) or (everything is None and not isinstance(y, Tensor)):
        return []
    codes = to_np(y) if everything is None else everything
    if codes.dtype.kind == "f":  # shares of classes, for soft targets
        return []
    counted = codes != IGNORED
    bad = np.argwhere(counted & ((codes < 0) | (codes >= target.c)))
    if len(bad):
        item = int(bad[0][0]) if codes.ndim else 0
        label = _item_name(dl, item) if everything is not None else f"item {item} of the first batch"
        text = (
            f"`{name}`: {label} has the class number {codes[tuple(bad[0])]}; there are {target.c} classes, numbered from 0 "
            f"({', '.join(map(str, target.classes[:8]))}). {len({row[0] for row in bad.tolist()})} item(s) are like this."
        )
        if strict:
            raise DataError(text)
        return [text]
    codes = codes[counted]
    counts = np.bincount(codes.reshape(-1), minlength=target.c)
    if name != "trn_dl" or everything is None:
        return []
    if (counts > 0).sum() == 1:
        only = target.classes[int(counts.argmax())]
        return [f"`{name}`: all items are of the class {only!r}: there is nothing to tell apart."]
    return [f"`{name}`: the class {target.classes[i]!r} has no item." for i in np.flatnonzero(counts == 0)[:5]]


def _all_targets(dl: Any) -> NDArray[Any] | None:
    y = getattr(getattr(dl, "dataset", None), "y", None)
    if y is None and hasattr(dl, "tensors"):
        y = to_np(dl.tensors[-1])
    return y if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iuf" else None


def _item_name(dl: Any, i: int) -> str:
    dataset: Any = getattr(dl, "dataset", None)
    return dataset.name(i) if hasattr(dataset, "name") else f"item {i}"


def _overlap(trn_dl: Any, val_dl: Any) -> list[str]:
    """Say which items are used both to train and to validate."""
    trn, val = (getattr(getattr(dl, "dataset", None), "items", None) for dl in (trn_dl, val_dl))
    if trn is None or val is None or not len(val):
        return []
    if isinstance(trn, np.ndarray) != isinstance(val, np.ndarray):
        return []
    if isinstance(trn, np.ndarray):
        if trn.nbytes + val.nbytes > MOST_BYTES:
            return []
        known = {row.tobytes() for row in trn}
        both = [f"item {i}" for i, row in enumerate(val) if row.tobytes() in known]
    else:
        known = set(map(str, trn))
        both = [str(item) for item in val if str(item) in known]
    if not both:
        return []
    return [
        f"{len(both)} of {len(val)} validation items are training items too ({some(both, 3)}): the results will be too good."
    ]
