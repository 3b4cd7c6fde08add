"""Loaders: anything iterable that gives batches. `DeviceLoader` is the one place where batches are moved.

A batch is a tuple or list whose last element is the target; everything before it is an input of the model:
`(x, y)`, `(cats, conts, y)`, or `((x1, x2), y)`. Or it is a dict, see `learnkit.data.batches`.

What exact resume asks of a loader. Any iterable will do: it is brought to where a fit was interrupted by consuming the
batches before. A loader that can do better

- makes every random draw that decides an epoch when iteration begins, before its first batch: the order, or one seed
  for a generator of its own that everything later in the epoch is drawn from;
- has `iter_from(batch)`, which makes the same draws and begins with that batch, without loading those before it;
- has `state()` and `set_state(state)` if it keeps anything between epochs that decides the next one, other than a
  `torch.Generator` in its attribute `generator`, which is kept for it. A state is JSON data, tensors, or nests of them.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler

from learnkit.core.device import T, to_device
from learnkit.core.errors import DataError, check_positive
from learnkit.core.settable import Settable
from learnkit.data.batches import bind_inputs, split_batch
from learnkit.data.dataset import InBatch, ItemDataset
from learnkit.data.rows import RowDataset

CHUNK_BYTES = 1 << 20  # what `TensorLoader` gathers at once: small enough for a cache, large enough to be worth it

__all__ = [
    "DeviceLoader",
    "ItemLoader",
    "TensorLoader",
    "begin",
    "fast_forward",
    "generators",
    "n_batches",
    "single_left",
    "split_batch",
    "with_dataset",
]


def n_batches(dl: Iterable[Any]) -> int | None:
    """Return the number of batches, `None` for a loader that does not know."""
    try:
        return len(dl)  # type: ignore[arg-type]
    except TypeError:  # no `__len__`, or a DataLoader over an iterable dataset
        return None


def generators(dl: Any) -> list[torch.Generator]:
    """Return the random generators a loader owns, so that a helper can put them back."""
    owners = [dl, getattr(dl, "sampler", None), getattr(getattr(dl, "batch_sampler", None), "sampler", None)]
    found = {id(g): g for owner in owners if isinstance(g := getattr(owner, "generator", None), torch.Generator)}
    return list(found.values())


def fast_forward(dl: Iterable[Any], batch: int) -> Iterator[Any]:
    """Begin an epoch of a loader at a batch, with every draw that decides the epoch made when this returns.

    Parameters
    ----------
    dl : iterable of batches
        One with `iter_from` skips what comes before; of another it is loaded and dropped.
    batch : int
        Number of the first batch to give; the loader's length for none.

    Raises
    ------
    DataError
        If there are not so many.
    """
    if hasattr(dl, "iter_from"):
        batches = begin(dl, lambda: iter(dl.iter_from(batch)))
        return itertools.chain(list(itertools.islice(batches, 1)), batches)  # most draw with their first batch
    batches = begin(dl)
    if sum(1 for _ in itertools.islice(batches, batch)) < batch:
        raise DataError(f"the loader gives fewer than {batch} batches; it is not the one the fit began with.")
    return batches


def begin(dl: Any, start: Callable[[], Iterator[Any]] | None = None) -> Iterator[Any]:
    """Return `iter(dl)`, or say what keeps a loader's processes from starting.

    Raises
    ------
    DataError
        If new processes are to be given what cannot be copied to them: a lambda, say, or an open file.
    """
    if not getattr(dl, "num_workers", 0):
        return iter(dl) if start is None else start()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got pickle error")  # torch's remark on the error that follows
            return iter(dl) if start is None else start()
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        if not re.search(r"pickle|local object|serializ", str(exc)):
            raise
        found = _cannot_be_copied(dl)
        raise DataError(
            f"the loading processes cannot be started: each is given a copy of the data set, and {found or 'a part of it'} cannot "
            f"be copied to another process ({exc}). Write lambdas and functions within functions as `def` at the top of a module, "
            "open files when an item is asked for, or load in this process with `num_workers=0`."
        ) from exc


def _cannot_be_copied(dl: Any) -> str:
    """Name the attributes of a data set, or the settings of its loader, that cannot be pickled."""
    dataset = getattr(dl, "dataset", None)
    parts = {f"`{type(dataset).__name__}.{name}`": value for name, value in getattr(dataset, "__dict__", {}).items()}
    parts |= {f"`{name}`": getattr(dl, name, None) for name in ("collate_fn", "worker_init_fn")}
    found = []
    for name, value in parts.items():
        if isinstance(value, Tensor | np.ndarray):
            continue
        try:
            pickle.dumps(value)
        except Exception:  # whatever it is that an object raises
            found.append(name)
    return " and ".join(found)


def single_left(n: int, bs: int) -> bool:
    """Whether the last batch of an epoch would hold a single item, which batch norm cannot be trained on."""
    return n > bs > 1 and n % bs == 1


class DeviceLoader(Settable):
    """Iterate over a loader as `(xs, y)` on `device`: inputs always a tuple, copies from pinned memory not waited for.

    Parameters
    ----------
    dl : iterable
        Any loader of batches as described at the top of this file.
    device : torch.device
        Where to.
    channels_last : bool, default False
        Give pictures the channels-last memory layout.
    model : nn.Module, optional
        Whose parameters the inputs of a batch that is a dict are named after.

    Attributes
    ----------
    before_move : callable or None
        Called with each batch's targets before they are moved.
    """

    def __init__(
        self, dl: Iterable[Any], device: torch.device, *, channels_last: bool = False, model: Any = None
    ) -> None:
        self.dl, self.device, self.channels_last, self.model = dl, device, channels_last, model
        self.before_move: Callable[[Any], None] | None = None

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        return self.move(self.dl)

    def move(self, batches: Iterable[Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Give these batches of the loader on the device."""
        for batch in begin(batches):
            xs, y = split_batch(batch)
            xs = xs if self.model is None else bind_inputs(self.model, xs)
            if self.before_move is not None and isinstance(y, Tensor) and y.device.type == "cpu":
                self.before_move(y)
            yield to_device((xs, y), self.device, channels_last=self.channels_last)


class TensorLoader(Settable):
    """Batches sliced from whole tensors: no per-row Python at all.

    Parameters
    ----------
    xs : Tensor or array of shape (n, ...), or sequence of them
        The inputs. Of arrays and frames whole numbers become int64 and others float32; tensors stay as they are.
    y : Tensor or array of shape (n, ...)
        The targets.
    bs : int, default 64
        Batch size.
    shuffle : bool, default False
        New order each epoch, drawn from `generator`.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    drop_single : bool, default False
        Leave out a last batch of a single item, which batch norm cannot be trained on; another item in each epoch.
    generator : torch.Generator, optional
        Torch's global one by default.
    widen : bool, default False
        Give inputs of narrow integers (`int8` to `int32`) as `int64`: codes can be kept in a byte and still index
        an embedding.

    Raises
    ------
    DataError
        If inputs or targets are no numbers, differ in length or are empty.

    Examples
    --------
    >>> import torch
    >>> from learnkit import TensorLoader
    >>> dl = TensorLoader(torch.arange(10.0)[:, None], torch.arange(10), bs=4)
    >>> [len(y) for x, y in dl]
    [4, 4, 2]
    """

    def __init__(
        self,
        xs: Tensor | ArrayLike | Sequence[Tensor | ArrayLike],
        y: Tensor | ArrayLike,
        bs: int = 64,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        drop_single: bool = False,
        generator: torch.Generator | None = None,
        widen: bool = False,
    ) -> None:
        if isinstance(bs, Tensor | np.ndarray) and bs.ndim:
            raise DataError("several inputs come in a tuple before the targets: TensorLoader((x1, x2), y, bs=...).")
        inputs = xs if isinstance(xs, list | tuple) else (xs,)
        if not inputs:
            raise DataError("`xs` holds no input: it is a tensor or array, or a list of them.")
        self.tensors: tuple[Tensor, ...] = (
            *(_as_tensor("xs" if inputs is not xs else f"xs[{i}]", x) for i, x in enumerate(inputs)),
            _as_tensor("y", y),
        )
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) > 1:
            raise DataError(
                f"inputs and targets must have one length; got {lengths[:-1]} inputs and {lengths[-1]} targets."
            )
        if not lengths[0]:
            raise DataError("the tensors are empty: there is nothing to make batches of.")
        self.bs = int(check_positive("bs", bs, integer=True))
        self.shuffle, self.drop_last, self.drop_single = shuffle, drop_last, drop_single
        self.generator, self.widen = generator, widen

    @cached_property
    def dataset(self) -> RowDataset:
        """The items, in order, for PyTorch's own loader."""
        return RowDataset(self)

    @property
    def n_rows(self) -> int:
        """How many items there are."""
        return len(self.tensors[0])

    @property
    def targets(self) -> Tensor:
        """The target of each item."""
        return self.tensors[-1]

    def take(self, idxs: Tensor) -> tuple[Tensor, ...]:
        """Return some items as a batch on the CPU."""
        return tuple(self._widened([x.index_select(0, idxs.to(x.device)).cpu() for x in self.tensors]))

    def _widened(self, chunk: list[Tensor]) -> list[Tensor]:
        if self.widen:
            chunk[:-1] = [x.long() if x.dtype in _NARROW else x for x in chunk[:-1]]
        return chunk

    def __len__(self) -> int:
        return -(-self._n_used // self.bs)

    @property
    def _n_used(self) -> int:
        """How many items an epoch has, whatever the batch size is by now."""
        n = self.n_rows
        if self.drop_last:
            return n // self.bs * self.bs
        return n - (self.drop_single and single_left(n, self.bs))

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, ...]]:
        """Begin at a batch; the order is drawn first, as for a whole epoch."""
        n = len(self.tensors[0])
        order = torch.randperm(n, generator=self.generator).to(self.tensors[0].device) if self.shuffle else None
        stop = self._n_used
        # Many batches are gathered at once and given as views: one gather for all of them costs little more than
        # one for a single small batch.
        step = self.bs * max(1, CHUNK_BYTES // max(1, self.bs * sum(map(_row_bytes, self.tensors))))
        for start in range(batch * self.bs, stop, step):
            rows = slice(start, min(start + step, stop))
            chunk = [x[rows] if order is None else x.index_select(0, order[rows]) for x in self.tensors]
            yield from zip(*(x.split(self.bs) for x in self._widened(chunk)), strict=True)


_NARROW = (torch.int8, torch.int16, torch.int32, torch.uint8)


def _as_tensor(name: str, value: Any) -> Tensor:
    """Return an input or target as a tensor, or say what is wrong with it."""
    if not isinstance(value, Tensor):
        if (
            isinstance(value, str | bytes)
            or not hasattr(value, "__len__")
            or (name != "y" and isinstance(value, list | tuple))
        ):
            raise DataError(
                f"`{name}` must be a tensor or array of shape (n, ...); got {type(value).__name__} {value!r:.60}. Several inputs "
                "are a list of tensors or arrays, a table of numbers is np.array(...)."
            )
        try:
            value = T(np.asarray(value))
        except (TypeError, ValueError, RuntimeError) as exc:
            raise DataError(f"`{name}` cannot be made a tensor: {exc}") from exc
    if not value.ndim:
        raise DataError(f"`{name}` must have one row per item, shape (n, ...); got a single number.")
    return value


def _row_bytes(tensor: Tensor) -> int:
    return tensor[:1].numel() * tensor.element_size()


class ItemLoader(Settable, DataLoader[Any]):
    """PyTorch's `DataLoader` over an `ItemDataset`: batches assembled by the dataset, a new seed each epoch.

    Parameters
    ----------
    dataset : ItemDataset
        What to load.
    bs : int, default 64
        Batch size.
    shuffle : bool, default False
        New order each epoch.
    num_workers : int, optional
        Loading processes. By default none on a machine that computes on its CPU, where they would only compete
        with the training, and up to 8 (never more than there are cores) beside a GPU.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    weights : array of shape (n,), optional
        Draw as many items as there are, each with a chance in proportion to its weight, instead of each once.
    generator : torch.Generator, optional
        What order and augmentation are drawn from; torch's global one by default.
    sampler : Sampler, optional
        Gives the order, instead of `shuffle` and `weights`.
    """

    def __init__(
        self,
        dataset: ItemDataset,
        bs: int = 64,
        shuffle: bool = False,
        *,
        num_workers: int | None = None,
        drop_last: bool = False,
        weights: ArrayLike | None = None,
        generator: torch.Generator | None = None,
        sampler: Sampler[int] | None = None,
    ) -> None:
        check_positive("bs", bs, integer=True)
        cuda = torch.cuda.is_available()
        if num_workers is None:
            num_workers = min(8, os.cpu_count() or 1) if cuda else 0
        if sampler is None and weights is not None:
            sampler = WeightedRandomSampler(np.asarray(weights).tolist(), len(dataset), generator=generator)
        elif sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        finish: Callable[[Any], Any] = dataset.finish if cuda else _already_a_batch
        super().__init__(
            dataset,
            batch_size=bs,
            sampler=_From(sampler),
            num_workers=num_workers,
            drop_last=drop_last,
            collate_fn=finish,
            pin_memory=cuda,
            generator=generator,
        )
        # Beside a GPU the loading processes finish the batches, so that pinned memory goes straight there. Without one
        # they hand them over as they are: bytes instead of floats, a quarter of the memory to fill and to map.
        self._finish_here = not cuda

    def __iter__(self) -> Any:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Any:
        """Begin at a batch; the order and the augmentation are drawn first, as for a whole epoch."""
        # Drawn here, in the main process, and handed to the workers with the dataset.
        self.dataset.epoch_seed = int(torch.randint(2**62, (), generator=self.generator))  # type: ignore[attr-defined]
        self.sampler.first = batch * self.batch_size  # type: ignore[attr-defined, operator]
        if self.num_workers:
            self.dataset.share(self.num_workers)  # type: ignore[attr-defined]
        batches = super().__iter__()
        return map(self.dataset.finish, batches) if self._finish_here else batches  # type: ignore[attr-defined]


def with_dataset(dl: DataLoader[Any], dataset: ItemDataset, *, in_order: bool = False) -> DataLoader[Any]:
    """Return a loader with the settings of `dl` over another dataset with as many items in the same order.

    Batch size, weights, order, seed, loading processes, pinning and what is left out of an epoch stay.

    Parameters
    ----------
    dl : DataLoader
        Ours or PyTorch's.
    dataset : ItemDataset
    in_order : bool, default False
        Give every item once, in order, whatever `dl` does.
    """
    batch_size = dl.batch_size or getattr(dl.batch_sampler, "batch_size", None) or 1
    if isinstance(dl, ItemLoader):
        sampler = SequentialSampler(dataset) if in_order else copy.copy(dl.sampler.sampler)  # type: ignore[attr-defined]
        drop_last = dl.drop_last and not in_order
        made: DataLoader[Any] = ItemLoader(
            dataset, batch_size, num_workers=dl.num_workers, drop_last=drop_last, sampler=sampler
        )
    elif in_order:
        collate = None if dl.batch_sampler is None else dl.collate_fn
        made = DataLoader(dataset, batch_size, num_workers=dl.num_workers, collate_fn=collate)
    elif dl.batch_size is None:  # batches, or items, of the user's own choice
        order = {"sampler": dl.sampler} if dl.batch_sampler is None else {"batch_sampler": dl.batch_sampler}
        batched = {"batch_size": None} if dl.batch_sampler is None else {}
        made = DataLoader(dataset, num_workers=dl.num_workers, collate_fn=dl.collate_fn, **order, **batched)  # type: ignore[arg-type]
    else:
        made = DataLoader(
            dataset,
            dl.batch_size,
            sampler=dl.sampler,
            num_workers=dl.num_workers,
            collate_fn=dl.collate_fn,
            drop_last=dl.drop_last,
            persistent_workers=dl.persistent_workers,
        )
    for name in _SETTINGS:
        setattr(made, name, getattr(dl, name))
    return made


_SETTINGS = ("generator", "pin_memory", "prefetch_factor", "timeout", "worker_init_fn", "multiprocessing_context")


class _From(Sampler[int]):
    """The indices of a sampler from the one numbered `first` on."""

    def __init__(self, sampler: Sampler[int]) -> None:
        self.sampler, self.first = sampler, 0

    @property
    def generator(self) -> Any:
        return getattr(self.sampler, "generator", None)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        first, self.first = self.first, 0
        return map(InBatch, itertools.islice(self.sampler, first, None))


def _already_a_batch(batch: Any) -> Any:
    return batch
