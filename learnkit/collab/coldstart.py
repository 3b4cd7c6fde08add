"""What a user or item without ratings looks like: the mean of those that have some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import nn

from learnkit.collab.models import EmbeddingModel
from learnkit.train.events import Callback

if TYPE_CHECKING:
    from learnkit.train.events import Run

__all__ = ["ColdStart"]


class ColdStart(Callback):
    """Give rows of the tables that no rating trains, row 0 (unknown) among them, the mean of the trained rows.

    It does so after the training pass of each epoch, so validation, predictions and saved weights all have it, and
    a new user gets what an average user would: the items most liked, in the order of their mean score.

    Parameters
    ----------
    user_counts, item_counts : array of int, shape (n_users,) and (n_items,)
        Training ratings of each code.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit.collab import ColdStart, EmbeddingDot
    >>> model = EmbeddingDot(3, 3, 2)
    >>> ColdStart(np.array([0, 5, 5]), np.array([0, 5, 5])).fill(model)
    >>> bool(torch.allclose(model.user_factors.weight[0], model.user_factors.weight[1:].mean(0)))
    True
    """

    def __init__(self, user_counts: NDArray[Any], item_counts: NDArray[Any]) -> None:
        self.set_counts(user_counts, item_counts)

    def set_counts(self, user_counts: NDArray[Any], item_counts: NDArray[Any]) -> None:
        """Take the counts of other training ratings."""
        self.users_trained = torch.from_numpy(user_counts > 0)
        self.items_trained = torch.from_numpy(item_counts > 0)

    def after_train(self, run: Run) -> None:
        """Fill the rows before they are used to validate."""
        self.fill(run.model)

    def fill(self, model: nn.Module) -> None:
        """Fill the rows of a model of ours; another is left alone."""
        if isinstance(model, EmbeddingModel):
            for table in model.user_tables():
                _fill(table, self.users_trained)
            for table in model.item_tables():
                _fill(table, self.items_trained)


@torch.no_grad()
def _fill(table: nn.Embedding, trained: torch.Tensor) -> None:
    trained = trained.to(table.weight.device)
    if trained.any():
        weights = trained.to(table.weight.dtype)
        mean = weights @ table.weight / weights.sum()  # a product, as indexing would copy a large table
        table.weight[~trained] = mean
