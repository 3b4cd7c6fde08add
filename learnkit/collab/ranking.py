"""Implicit feedback: what is learnt from (a ranking loss) and how it is shown while training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list
from learnkit.data.targets import Target

__all__ = ["Preference", "bpr_loss"]


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
    """What is predicted from implicit feedback: scores that only mean an order."""

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
