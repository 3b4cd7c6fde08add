"""Implicit feedback: what is learnt from (a ranking loss) and how it is shown while training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from learnkit.collab.metrics import rank_held_out
from learnkit.core.errors import DataError, check_choice
from learnkit.core.listing import check_list
from learnkit.data.targets import Target
from learnkit.train.events import Callback

if TYPE_CHECKING:
    from learnkit.collab.bunch import CollabFilterData
    from learnkit.train.events import Run

__all__ = ["Preference", "RankingMetrics", "bpr_loss"]


def bpr_loss(scores: Tensor, y: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: what was taken should score above what was not (Rendle et al. 2009).

    Parameters
    ----------
    scores : Tensor of shape (B, 1 + negatives)
        Column 0 are the items taken.
    y : Tensor, optional
        Not looked at; a loss is called with it.

    Returns
    -------
    Tensor
        Mean of `-log(sigmoid(taken - other))`.

    Examples
    --------
    >>> import torch
    >>> from learnkit.collab import bpr_loss
    >>> round(float(bpr_loss(torch.tensor([[2.0, 2.0]]))), 4)
    0.6931
    """
    return -F.logsigmoid(scores[:, :1] - scores[:, 1:]).mean()


class Preference(Target):
    """What is predicted from implicit feedback: scores that only mean an order.

    Examples
    --------
    >>> from learnkit.collab import Preference
    >>> Preference().c
    1
    """

    c = 1
    classes = None

    def encode(self, labels: Iterable[Any]) -> NDArray[np.float32]:
        """Return zeros: that the pair is there is all there is to know."""
        return np.zeros(
            len(check_list("labels", labels, "labels, one for each item", error=DataError)), dtype=np.float32
        )

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Bayesian personalised ranking; see `bpr_loss`."""
        return bpr_loss(pred, y)

    def activation(self, pred: Tensor) -> Tensor:
        """Scores as they are."""
        return pred.float()

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Scores as they are."""
        return preds

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Return the scores as a list."""
        return list(preds.tolist())


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

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.collab import CollabFilterDataset, RankingMetrics
    >>> frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz")})
    >>> cf = CollabFilterDataset.from_data_frame(".", frame, "user", "item", None)
    >>> RankingMetrics(cf.get_data([5]), k=1).figures
    {'recall': 'recall@1', 'ndcg': 'ndcg@1'}
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
