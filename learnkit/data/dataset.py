"""Item + target + transform -> `(x, y)`, one by one or a batch at a time.

In our loader randomness is tied to the item and the epoch, not to the process that happens to load it: the same seed
gives the same augmented batches with 0 workers or 8, and a different picture of the item in each epoch. Whoever else
asks, PyTorch's own loader or a pair of brackets, gets finished items: the first time the picture of our epoch, each
further time another one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from learnkit.core.errors import DataError

__all__ = ["BatchTransform", "InBatch", "ItemDataset", "seeded_globals"]


class InBatch(int):
    """An index asked for by `ItemLoader`, which wants the batch in one piece and finishes it later."""


@runtime_checkable
class BatchTransform(Protocol):
    """A transform in two steps: `item` on each item, `batch` once on the stacked results.

    What can be done on a whole batch (conversion to float, normalisation) belongs into `batch`: it is several
    times faster there than item by item.
    """

    def item(self, x: Any, rng: np.random.Generator) -> Tensor:
        """Turn one opened item into a tensor, the same shape for every item of a batch."""

    def batch(self, x: Tensor) -> Tensor:
        """Finish a stacked batch."""


class ItemDataset(Dataset[Any]):
    """Items that are opened one by one, with their encoded targets.

    Parameters
    ----------
    items : sequence
        File names, or rows of an array.
    y : array or None
        Encoded targets, one per item; `None` for items to predict, whose `y` is then 0.
    open_item : callable
        Item -> whatever the transform takes.
    tfm : BatchTransform or callable, optional
        A callable is applied to each opened item, with the random generators seeded for that item.

    Attributes
    ----------
    epoch_seed : int
        Set by the loader at the start of each epoch; decides the augmentation together with the item's index.
    """

    def __init__(
        self,
        items: Sequence[Any] | NDArray[Any],
        y: NDArray[Any] | None,
        open_item: Callable[[Any], Any],
        tfm: Any = None,
    ) -> None:
        if isinstance(items, str | bytes):
            raise TypeError(
                f"`items` must be a list of items; got the text {items!r:.60}. For one write [{items!r:.60}]."
            )
        if y is not None and len(items) != len(y):
            raise DataError(f"every item needs a target: got {len(items)} items and {len(y)} targets.")
        self.items, self.y, self.open_item, self.tfm = items, y, open_item, tfm
        self.epoch_seed = 0
        self._at: Tensor | None = None
        self._asked: tuple[int, NDArray[np.uint32]] | None = None  # how often for each item, in the epoch of that seed

    def __len__(self) -> int:
        return len(self.items)

    def share(self, n_workers: int) -> None:
        """Prepare to be loaded by so many processes, which note in memory that all share what they have in hand."""
        self._at = torch.full((n_workers, 2), -1).share_memory_()

    @property
    def loading(self) -> list[int]:
        """The loading processes, those that have had an item in hand."""
        return [] if self._at is None else [pid for pid in self._at[:, 0].tolist() if pid > 0]

    def in_hand(self, pids: Collection[int]) -> list[str]:
        """Name the items that loading processes have in hand, or had when they died."""
        return [] if self._at is None else [self.name(i) for pid, i in self._at.tolist() if pid in pids]

    def name(self, i: int) -> str:
        """Name item `i` for messages."""
        item = self.items[i]
        return f"item {i}" if isinstance(item, np.ndarray | Tensor) else f"item {i}, {item}"

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of a dataset of {len(self)} items")
        xs, ys = self.finish(self.batch([i % len(self)], self._seed_of(i % len(self))))
        return (tuple(x[0] for x in xs) if isinstance(xs, tuple | list) else xs[0]), ys[0]

    def __getitems__(self, idxs: Sequence[int]) -> Any:
        """Return what PyTorch's loaders collate: finished items; for `ItemLoader` the batch in one piece."""
        if len(idxs) and isinstance(idxs[0], InBatch):
            return self.batch(idxs, self.epoch_seed)
        return [self[int(i)] for i in idxs]

    def _seed_of(self, i: int) -> int:
        """Return what decides the augmentation of an item that somebody else's loop asks for, each time anew."""
        worker = get_worker_info()
        if worker is not None:
            return worker.seed  # another one in each epoch and process
        if self._asked is None or self._asked[0] != self.epoch_seed:
            self._asked = self.epoch_seed, np.zeros(len(self), dtype=np.uint32)
        times = int(self._asked[1][i])
        self._asked[1][i] += 1
        return int(np.random.SeedSequence((self.epoch_seed, times)).generate_state(1)[0]) if times else self.epoch_seed

    def batch(self, idxs: Sequence[int], seed: int) -> tuple[Any, Any]:
        """Return a whole batch `(xs, ys)`, stacked but not finished, its augmentation decided by `seed` and the items."""
        in_two_steps = isinstance(self.tfm, BatchTransform)  # asked once per batch: slow, as of all protocols
        xs = [self._load(int(i), seed, in_two_steps) for i in idxs]
        try:
            batch = default_collate(xs)
        except (RuntimeError, TypeError) as exc:
            shapes = {str(tuple(getattr(x, "shape", ()))): self.name(int(i)) for i, x in zip(idxs, xs, strict=True)}
            listing = "; ".join(f"{shape} ({name})" for shape, name in list(shapes.items())[:4])
            raise DataError(
                f"the items of a batch must have one shape; got {listing}. Prepare them to one: `tfms` with a size do."
            ) from exc
        ys = np.zeros(len(xs), dtype=np.int64) if self.y is None else self.y[np.asarray(idxs)]
        return batch, torch.from_numpy(np.asarray(ys))

    def finish(self, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        """Do what the transform does on whole batches; what a loading process hands over can stay small until then."""
        xs, ys = batch
        return (self.tfm.batch(xs) if isinstance(self.tfm, BatchTransform) else xs), ys

    def _load(self, i: int, seed: int, in_two_steps: bool) -> Any:
        worker = get_worker_info()
        if self._at is not None and worker is not None and worker.id < len(self._at):
            self._at[worker.id, 0], self._at[worker.id, 1] = os.getpid(), i
        try:
            x = self.open_item(self.items[i])
            if in_two_steps:
                return self.tfm.item(x, np.random.default_rng((seed, i)))
            if self.tfm is not None:
                with seeded_globals(int(np.random.SeedSequence((seed, i)).generate_state(1)[0])):
                    return self.tfm(x)
            return x
        except DataError as exc:
            name = self.name(i)
            if name.partition(", ")[2] in str(exc) and ", " in name:  # it says which file
                raise
            raise DataError(f"{name}: {exc}") from exc
        except Exception as exc:
            raise DataError(f"{self.name(i)} could not be loaded: {type(exc).__name__}: {exc}") from exc


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed the global generators for a block, for transforms that draw from them, and put them back."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the transform may be anybody's
    torch.random.default_generator.manual_seed(seed)  # the CPU's alone; items are loaded there
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
