"""Who has met what: the items of each user as two arrays, built and searched without a user-by-item matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.collab.ids import code_dtype

__all__ = ["Interactions", "count_codes", "sorted_pairs"]

BLOCK = 1 << 19  # rows sorted at a time


class Interactions:
    """The distinct items of each user, in compressed rows (the CSR layout of sparse matrices).

    Parameters
    ----------
    starts : array of int64, shape (n_users + 1,)
        User `u` has `items[starts[u]:starts[u + 1]]`.
    items : array of int, shape (n,)
        Item codes, ascending within each user.
    n_items : int
        Size of the item table, row 0 included.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.collab import Interactions
    >>> seen = Interactions.from_pairs(np.array([1, 2, 1]), np.array([3, 1, 2]), n_users=3, n_items=4)
    >>> seen.of(1).tolist(), seen.contains(np.array([1, 2]), np.array([2, 2])).tolist()
    ([2, 3], [True, False])
    """

    def __init__(self, starts: NDArray[np.int64], items: NDArray[Any], n_items: int) -> None:
        self.starts, self.items, self.n_items = starts, items, n_items
        self._keys: NDArray[np.int64] | None = None

    @classmethod
    def from_pairs(cls, users: NDArray[Any], items: NDArray[Any], n_users: int, n_items: int) -> Interactions:
        """Collect pairs of codes; a pair that occurs twice is kept once."""
        kept = np.empty(len(users), dtype=code_dtype(n_items))
        counts = np.zeros(n_users, dtype=np.int64)
        n = 0
        for keys, _ in sorted_pairs(users, items, n_users, n_items):
            distinct = keys[np.diff(keys, prepend=-1) != 0]
            kept[n : n + len(distinct)] = distinct % n_items
            counts += np.bincount(distinct // n_items, minlength=n_users)
            n += len(distinct)
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), kept[:n].copy(), n_items)

    @property
    def n_users(self) -> int:
        """Number of users, row 0 included."""
        return len(self.starts) - 1

    def counts(self) -> NDArray[np.int64]:
        """Number of items of each user."""
        return np.diff(self.starts)

    def of(self, user: int) -> NDArray[np.int64]:
        """Item codes of one user."""
        return self.items[self.starts[user] : self.starts[user + 1]].astype(np.int64)

    def rows(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return every (position in `users`, item code) pair of several users."""
        counts = self.starts[users + 1] - self.starts[users]
        where = np.repeat(np.arange(len(users)), counts)
        first = np.repeat(self.starts[users] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        return where, self.items[first + np.arange(len(where))].astype(np.int64)

    def contains(self, users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell for each pair of codes whether the user has the item."""
        if self._keys is None:
            owner = np.repeat(np.arange(self.n_users, dtype=np.int64), self.counts())
            self._keys = owner * self.n_items + self.items
        wanted = np.asarray(users, dtype=np.int64) * self.n_items + np.asarray(items, dtype=np.int64)
        if not len(self._keys):
            return np.zeros(wanted.shape, dtype=bool)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return self._keys[at] == wanted

    def sample_others(self, users: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw `n` items for each user, uniformly among those the user has not.

        An item that the user has is drawn again, up to five times; a user who has (nearly) everything may keep one.

        Returns
        -------
        Tensor of int64, shape (len(users), n)
        """
        drawn = torch.randint(1, max(self.n_items, 2), (len(users), n), generator=generator)
        for _ in range(5):
            taken = self.contains(users[:, None].expand_as(drawn).numpy(), drawn.numpy())
            again = torch.from_numpy(np.argwhere(taken))
            if not len(again):
                break
            fresh = torch.randint(1, max(self.n_items, 2), (len(again),), generator=generator)
            drawn[again[:, 0], again[:, 1]] = fresh
        return drawn


def sorted_pairs(
    users: NDArray[Any], items: NDArray[Any], n_users: int, n_items: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs as sorted keys `user * n_items + item` with their rows, a block of users at a time.

    Rows with equal keys stay in their order. Users come in order, and all rows of a user in one block.
    """
    ends = np.cumsum(count_codes(users, n_users))
    low = 0
    while low < n_users:
        before = int(ends[low - 1]) if low else 0
        high = max(int(np.searchsorted(ends, before + BLOCK, side="right")), low + 1)
        rows = np.flatnonzero((users >= low) & (users < high))
        keys = users[rows].astype(np.int64) * n_items + items[rows]
        order = np.argsort(keys, kind="stable")
        yield keys[order], rows[order]
        low = high


def count_codes(codes: NDArray[Any], size: int, leave_out: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Count how often each code occurs (in rows not left out), without a second copy of a long column."""
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(codes), BLOCK):
        part = codes[start : start + BLOCK]
        if leave_out is not None:
            part = part[~leave_out[start : start + BLOCK]]
        counts += np.bincount(part, minlength=size)
    return counts
