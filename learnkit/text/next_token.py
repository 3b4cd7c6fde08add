"""`NextToken`: what a language model predicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list
from learnkit.data.targets import Target, exp_of_log_probabilities

__all__ = ["NextToken"]


class NextToken(Target):
    """The token that comes next: cross-entropy, log-probabilities.

    Parameters
    ----------
    itos : sequence of str
        The vocabulary.

    Examples
    --------
    >>> from learnkit.text import NextToken
    >>> NextToken(["<unk>", "<pad>", "to", "be"]).encode(["be", "to", "zebra"])
    array([3, 2, 0])
    """

    metrics = ("perplexity",)

    def __init__(self, itos: Sequence[str]) -> None:
        self.classes: list[Any] = check_list("itos", itos, "tokens")
        self.c = len(self.classes)

    def encode(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """Return the number of each token; 0 for an unknown one."""
        numbers = {token: i for i, token in enumerate(self.classes)}
        return np.array(
            [numbers.get(label, 0) for label in check_list("labels", labels, "tokens", error=DataError)], dtype=np.int64
        )

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the scores, mean over the tokens."""
        return F.cross_entropy(pred, y)

    def activation(self, pred: Tensor) -> Tensor:
        """Log-probabilities."""
        return F.log_softmax(pred.float(), dim=1)

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Exponential of the log-probabilities."""
        return exp_of_log_probabilities(preds)

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Most probable token at each place."""
        return [self.classes[i] for i in np.argmax(preds, axis=1)]
