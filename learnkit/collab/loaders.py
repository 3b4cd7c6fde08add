"""Batches of ratings, cut from compact columns: no per-row Python, and no second copy of a long column.

The columns stay as they are (item codes of 27,000 items need two bytes each, not eight); a block of shuffled rows at
a time becomes int64, and batches are slices of the block.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from learnkit.collab.interactions import Interactions
from learnkit.core.errors import DataError, check_positive
from learnkit.core.settable import Settable
from learnkit.data.rows import RowDataset

__all__ = ["RankingLoader", "RatingLoader"]

BLOCK = 1 << 16  # rows gathered at a time
LARGE = 1 << 22  # rows above which a shuffled order is computed as it is needed and not stored
MULTIPLIER = 0x2545F4914F6CDD1D  # odd and without pattern (Vigna 2016); products wrap around
ROUNDS = 6  # of the cipher that computes it
NEGATIVES_SEED = 0  # of the sampled items that the validation loss is computed with


class RatingLoader(Settable):
    """Batches `(users, items, ratings)`: int64, int64 and float32, each of shape `(B,)`.

    Parameters
    ----------
    users, items : Tensor of int, shape (n,)
        Codes, of any integer type.
    ratings : Tensor of float, shape (n,)
        Of any precision.
    rows : Tensor of int, optional
        Which rows belong to this loader, in which order; all by default.
    bs : int, default 256
        Batch size.
    shuffle : bool, default False
        New order each epoch.
    leave_out : Tensor of bool, shape (n,), optional
        Rows that do not belong to this loader, instead of `rows`: a byte for each, where most rows do belong.
    generator : torch.Generator, optional
        Of the order; torch's global one by default.

    Raises
    ------
    DataError
        If there are no rows.

    Examples
    --------
    >>> import torch
    >>> from learnkit.collab import RatingLoader
    >>> dl = RatingLoader(torch.tensor([1, 1, 2]), torch.tensor([1, 2, 1]), torch.tensor([5.0, 3.0, 4.0]), bs=2)
    >>> [y.tolist() for users, items, y in dl]
    [[5.0, 3.0], [4.0]]
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        rows: Tensor | None = None,
        bs: int = 256,
        shuffle: bool = False,
        *,
        leave_out: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.users, self.items, self.ratings, self.rows, self.leave_out = users, items, ratings, rows, leave_out
        self.n = len(users) if rows is None else len(rows)
        if leave_out is not None:
            if rows is not None:
                raise ValueError("`rows` and `leave_out` both say which rows to take; pass one of them.")
            self.n -= int(leave_out.sum())
        if not self.n:
            raise DataError("there are no ratings here to make batches of.")
        self.bs = int(check_positive("bs", bs, integer=True))
        self.shuffle, self.generator = shuffle, generator

    @cached_property
    def dataset(self) -> RowDataset:
        """The ratings, in order, for PyTorch's own loader."""
        return RowDataset(self)

    @property
    def n_rows(self) -> int:
        """How many ratings there are."""
        return self.n

    @property
    def targets(self) -> Tensor:
        """The rating of each row."""
        return self.ratings[self._positions].float()

    def take(self, idxs: Tensor) -> tuple[Tensor, ...]:
        """Return some rows as a batch."""
        return self._block(self._positions[idxs].long(), self._epoch_seed())

    @cached_property
    def _positions(self) -> Tensor:
        """Where the rows of this loader are in the columns."""
        if self.rows is not None:
            return self.rows
        if self.leave_out is not None:
            return torch.nonzero(~self.leave_out).squeeze(1).int()
        return torch.arange(len(self.users), dtype=torch.int32)

    def __len__(self) -> int:
        return -(-self.n // self.bs)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Begin at a batch; the order is drawn first, as for a whole epoch."""
        waiting = torch.zeros(0, dtype=torch.int64)  # rows of a batch that is not full yet
        seed, done = self._epoch_seed(), 0
        for rows in self._row_blocks():
            rows = torch.cat([waiting, rows]) if len(waiting) else rows
            full = len(rows) // self.bs * self.bs
            yield from self._batches(rows[:full], seed + done, batch - done)
            waiting, done = rows[full:], done + full // self.bs
        yield from self._batches(waiting, seed + done, batch - done)

    def _batches(self, rows: Tensor, seed: int, skip: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of some rows but the first `skip`; where all are skipped nothing is gathered."""
        skip = max(skip, 0)
        if skip * self.bs < len(rows):
            users, items, ratings = (column.split(self.bs) for column in self._block(rows, seed))
            yield from itertools.islice(zip(users, items, ratings, strict=True), skip, None)

    def _epoch_seed(self) -> int:
        """Return what the random draws of the epoch's blocks begin with; there are none here."""
        return 0

    def _row_blocks(self) -> Iterator[Tensor]:
        """Yield this epoch's rows, a block at a time."""
        step = max(BLOCK // self.bs, 1) * self.bs
        if self.rows is not None:
            order = self.rows[torch.randperm(self.n, generator=self.generator)] if self.shuffle else self.rows
            yield from order.split(step)
            return
        for rows in self._all_rows(len(self.users), step):
            yield rows if self.leave_out is None else rows[~self.leave_out.index_select(0, rows)]

    def _all_rows(self, n: int, step: int) -> Iterator[Tensor]:
        if not self.shuffle:
            return (torch.arange(start, min(start + step, n)) for start in range(0, n, step))
        if n <= LARGE:
            return iter(torch.randperm(n, generator=self.generator).split(step))
        keys = torch.randint(2**62, (ROUNDS,), generator=self.generator).tolist()
        return scattered(n, keys, step)

    def _block(self, rows: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gather some rows."""
        users, items = (column.index_select(0, rows).long() for column in (self.users, self.items))
        return users, items, self.ratings.index_select(0, rows).float()


class RankingLoader(RatingLoader):
    """Batches for a ranking loss: `(users, items, zeros)` with `items` of shape `(B, 1 + negatives)`.

    Column 0 is what the user took, the others are items drawn from those the user did not take. Training draws new
    ones each epoch; a loader that does not shuffle always draws the same. For the other options see `RatingLoader`.

    Parameters
    ----------
    users, items : Tensor of int, shape (n,)
        Codes of what was taken.
    seen : Interactions
        What never counts as not taken.
    negatives : int, default 1
        Items drawn per pair.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit.collab import Interactions, RankingLoader
    >>> users, items = torch.tensor([1, 2]), torch.tensor([1, 2])
    >>> seen = Interactions.from_pairs(users.numpy(), items.numpy(), n_users=3, n_items=3)
    >>> batch = next(iter(RankingLoader(users, items, seen)))
    >>> batch[1].tolist()
    [[1, 2], [2, 1]]
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        seen: Interactions,
        rows: Tensor | None = None,
        bs: int = 256,
        shuffle: bool = False,
        *,
        negatives: int = 1,
        leave_out: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        zeros = torch.zeros(1).expand(len(users))
        super().__init__(users, items, zeros, rows, bs, shuffle, leave_out=leave_out, generator=generator)
        self.seen = seen
        self.negatives = int(check_positive("negatives", negatives, integer=True))

    def take(self, idxs: Tensor) -> tuple[Tensor, ...]:
        """Return some pairs as a batch; a loader that always draws the same items draws them here too."""
        if self.shuffle:
            return super().take(idxs)
        users, taken, zeros = RatingLoader._block(self, self._positions[idxs].long(), 0)
        return users, torch.cat([taken[:, None], self._others[idxs]], dim=1), zeros

    @cached_property
    def _others(self) -> Tensor:
        """The items drawn for each row, epoch by epoch the same."""
        return torch.cat([items[:, 1:] for _, items, _ in self])

    def _epoch_seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self.generator)) if self.shuffle else NEGATIVES_SEED

    def _block(self, rows: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        users, taken, zeros = super()._block(rows, seed)
        others = self.seen.sample_others(users, self.negatives, torch.Generator().manual_seed(seed))
        return users, torch.cat([taken[:, None], others], dim=1), zeros


def scattered(n: int, keys: Sequence[int], step: int) -> Iterator[Tensor]:
    """Yield the numbers below `n` in an order that looks random, in blocks, without keeping any of it.

    A Feistel cipher (Luby & Rackoff 1988) permutes the numbers of an even number of bits; those below `n` are kept.

    Parameters
    ----------
    n : int
    keys : sequence of int
        One per round; they decide the order.
    step : int
        Numbers enciphered at a time; a block holds those of them that are below `n`.
    """
    half = (max(n - 1, 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    for start in range(0, 1 << (2 * half), step):
        x = torch.arange(start, min(start + step, 1 << (2 * half)))
        left, right = x >> half, x & mask
        for key in keys:
            mixed = (right ^ (key & mask)) * MULTIPLIER + key
            left, right = right, left ^ ((mixed ^ (mixed >> 31)) * MULTIPLIER >> 24 & mask)
        x = left << half | right
        yield x[x < n]
