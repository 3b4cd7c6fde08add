"""How good a list of recommendations is: recall, NDCG, MAP and hit rate of its first `k` items.

They are computed for some users at a time, so the users-by-items matrix is never there as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.collab.interactions import Interactions
from learnkit.core.errors import DataError, check_choice, check_positive
from learnkit.train.events import Callback, Run

if TYPE_CHECKING:
    from learnkit.collab.bunch import CollabFilterData

__all__ = ["RankingMetrics", "rank_held_out", "ranking_metrics", "top_items"]

Scorer = Callable[[NDArray[np.int64]], Tensor]
"""User codes of shape (B,) -> scores of shape (B, n_items), column 0 being the unknown item."""

SCORES_AT_ONCE = 1 << 23  # 32 MB of float32 scores


def ranking_metrics(hits: NDArray[np.bool_], n_held_out: NDArray[np.int64]) -> dict[str, float]:
    """Return the ranking metrics of lists of `k` items, means over the users.

    Parameters
    ----------
    hits : array of bool, shape (n_users, k)
        Whether the item at each rank is one that was held out.
    n_held_out : array of int, shape (n_users,)
        How many items were held out for each user, at least one.

    Returns
    -------
    dict of str to float
        `recall`: share of the held-out items that are in the list. `ndcg`: discounted gain, `1 / log2(rank + 1)` per
        hit, as a share of the best possible (Järvelin & Kekäläinen 2002). `map`: precision at the rank of each hit,
        summed and divided by the most hits there could be. `hit_rate`: share of the users with any hit.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.collab import ranking_metrics
    >>> {name: round(value, 3) for name, value in ranking_metrics(np.array([[True, False, True]]), np.array([4])).items()}
    {'recall': 0.5, 'ndcg': 0.704, 'map': 0.556, 'hit_rate': 1.0}
    """
    hits, n_held_out = np.asarray(hits, dtype=bool), np.asarray(n_held_out)
    if hits.ndim != 2 or n_held_out.shape != hits.shape[:1] or not len(hits) or n_held_out.min() < 1:
        raise DataError(
            f"`hits` must be of shape (users, k) and `n_held_out` of shape (users,), each at least 1; got shapes "
            f"{hits.shape} and {n_held_out.shape}."
        )
    k = hits.shape[1]
    ranks = np.arange(1, k + 1)
    discounts = 1 / np.log2(ranks + 1)
    possible = np.minimum(n_held_out, k)
    precision = hits.cumsum(1) / ranks
    return {
        "recall": float((hits.sum(1) / n_held_out).mean()),
        "ndcg": float((hits @ discounts / discounts.cumsum()[possible - 1]).mean()),
        "map": float(((precision * hits).sum(1) / possible).mean()),
        "hit_rate": float(hits.any(1).mean()),
    }


def top_items(
    scorer: Scorer, users: NDArray[np.int64], k: int, exclude: Interactions | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `k` items with the highest scores for each user, best first.

    Parameters
    ----------
    scorer : callable
        User codes -> scores of every item.
    users : array of int64, shape (n,)
    k : int
    exclude : Interactions or None
        Items that are not to be recommended again.

    Returns
    -------
    codes : array of int64, shape (n, k)
        0 where a user has fewer than `k` items left.
    scores : array of float32, shape (n, k)
    """
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    start = 0
    size = 1  # the first call tells how many items there are
    while start < len(users):
        some = users[start : start + size]
        scores = scorer(some).detach().float().clone()
        scores[:, 0] = -torch.inf
        if exclude is not None:
            where, items = exclude.rows(some)
            scores[torch.from_numpy(where), torch.from_numpy(items)] = -torch.inf
        best, codes = scores.topk(min(k, scores.shape[1]), dim=1)
        codes = codes.masked_fill(best.isneginf(), 0)
        parts.append((codes.cpu().numpy(), best.cpu().numpy()))
        start += len(some)
        size = max(SCORES_AT_ONCE // scores.shape[1], 1)
    return np.concatenate([codes for codes, _ in parts]), np.concatenate([best for _, best in parts])


def rank_held_out(
    scorer: Scorer,
    seen: Interactions | None,
    held_out: Interactions,
    *,
    k: int = 10,
    max_users: int | None = None,
) -> dict[str, float]:
    """Recommend to every user with held-out items, and compare.

    Parameters
    ----------
    scorer : callable
        User codes of shape `(B,)` -> scores of shape `(B, n_items)`. A baseline can be measured as well as a model.
    seen : Interactions or None
        Items of the training set, which are not recommended again.
    held_out : Interactions
        Items that a good list has.
    k : int, default 10
        Length of the lists.
    max_users : int, optional
        Of more users a fixed sample is measured.

    Returns
    -------
    dict of str to float
        See `ranking_metrics`.

    Raises
    ------
    DataError
        If no user has a held-out item.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit.collab import Interactions, rank_held_out
    >>> held_out = Interactions.from_pairs(np.array([1]), np.array([2]), n_users=2, n_items=4)
    >>> popularity = torch.tensor([0.0, 9.0, 5.0, 1.0])
    >>> rank_held_out(lambda users: popularity.expand(len(users), -1), None, held_out, k=2)["recall"]
    1.0
    """
    k = int(check_positive("k", k, integer=True))
    counts = held_out.counts().copy()
    counts[0] = 0  # nothing is known of the unknown user
    users = np.flatnonzero(counts)
    if not len(users):
        raise DataError("no user has a held-out item, so there is nothing to compare with.")
    if max_users is not None and len(users) > max_users:
        users = np.sort(np.random.default_rng(0).choice(users, max_users, replace=False))
    codes, _ = top_items(scorer, users, k, seen)
    hits = held_out.contains(np.repeat(users, codes.shape[1]).reshape(codes.shape), codes)
    return ranking_metrics(hits & (codes > 0), counts[users])


class RankingMetrics(Callback):
    """Add ranking metrics of the validation set to every epoch's figures.

    Parameters
    ----------
    data : CollabFilterData
    k : int, default 10
        Length of the list that is looked at.
    names : tuple of str, default ("recall", "ndcg")
        Which of `recall`, `ndcg`, `map`, `hit_rate`.
    max_users : int, default 2000
        Of more users a fixed sample is measured, to keep an epoch quick.
    """

    def __init__(
        self, data: CollabFilterData, k: int = 10, names: tuple[str, ...] = ("recall", "ndcg"), max_users: int = 2000
    ) -> None:
        self.data, self.k, self.max_users = data, k, max_users
        chosen = (names,) if isinstance(names, str) else tuple(names)
        for name in chosen:
            check_choice("names", name, ("recall", "ndcg", "map", "hit_rate"))
        self.figures = {name: f"{name}@{k}" for name in chosen}

    def before_fit(self, run: Run) -> None:
        """Ask for columns in the epoch table."""
        if self.data.held_out is not None:
            run.figures = (*run.figures, *self.figures.values())
            run.higher_is_better |= dict.fromkeys(self.figures.values(), True)

    def after_valid(self, run: Run) -> None:
        """Rank for the users of the validation set."""
        if self.data.held_out is None:
            return
        found = rank_held_out(
            self.data.scorer(run.model), self.data.seen, self.data.held_out, k=self.k, max_users=self.max_users
        )
        run.results |= {self.figures[name]: found[name] for name in self.figures}
