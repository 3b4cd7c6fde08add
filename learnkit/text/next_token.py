"""`NextToken`: what a language model predicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list
from learnkit.data.targets import OneOfClasses

__all__ = ["NextToken"]


class NextToken(OneOfClasses):
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
        self.classes = check_list("itos", itos, "tokens")
        self.c = len(self.classes)

    def encode(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """Return the number of each token; 0 for an unknown one."""
        numbers = {token: i for i, token in enumerate(self.classes)}
        return np.array(
            [numbers.get(label, 0) for label in check_list("labels", labels, "tokens", error=DataError)], dtype=np.int64
        )
