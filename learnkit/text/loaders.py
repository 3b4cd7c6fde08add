"""Batches of text: windows of one long stream for language models, whole texts of similar length for classifiers.

All are `(length, batch)`: time runs down, each column is a piece of the stream or a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.errors import DataError, check_positive
from learnkit.core.settable import Settable
from learnkit.data.loaders import single_left
from learnkit.text.texts import Corpus
from learnkit.text.vocab import Vocab

__all__ = ["BPTTLoader", "TextLoader"]

HALVED = 0.05  # how often a window is half as long
SPREAD = 5.0  # standard deviation of a window's length, in tokens
POOL = 50  # batches whose texts are sorted together


class BPTTLoader(Settable):
    """Batches `(x, y)` for back-propagation through time over one long stream of tokens.

    The stream is cut into `bs` columns that are read side by side, a window of about `bptt` tokens at a time: `x` has
    shape `(window, bs)`, and `y`, shape `(window * bs,)`, is what comes one token later. While training a window's
    length varies around `bptt` and is half of it 5 times in 100 (Merity, Keskar & Socher 2017), so that an epoch's
    windows begin elsewhere each time; they always cover the whole stream, in as many batches as `len` says. Fewer than
    `bs` tokens at the very end have no column to go to.

    Parameters
    ----------
    ids : array of int, shape (n,)
        The stream; it may be memory-mapped.
    bs : int, default 64
        Columns.
    bptt : int, default 70
        Tokens in a window.
    vary : bool, default False
        Vary the length of the windows, new each epoch.
    backwards : bool, default False
        Read the stream from its end: the model predicts the token before.
    generator : torch.Generator, optional
        Of the lengths; torch's global one by default.

    Raises
    ------
    DataError
        If the stream is too short for `bs` columns.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.text import BPTTLoader
    >>> x, y = next(iter(BPTTLoader(np.arange(11), bs=2, bptt=3)))
    >>> x.tolist(), y.tolist()
    ([[0, 5], [1, 6], [2, 7]], [1, 6, 2, 7, 3, 8])
    """

    def __init__(
        self,
        ids: NDArray[Any],
        bs: int = 64,
        bptt: int = 70,
        *,
        vary: bool = False,
        backwards: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.bs = int(check_positive("bs", bs, integer=True))
        self.bptt = int(check_positive("bptt", bptt, integer=True))
        self.ids, self.vary, self.backwards, self.generator = ids, vary, backwards, generator
        if self.rows < 1:
            raise DataError(
                f"{len(ids)} tokens are too few for {self.bs} columns (`bs`), which need {self.bs + 1} at the least. Use "
                "a smaller `bs`, or more text."
            )

    @property
    def rows(self) -> int:
        """Length of a column."""
        return (len(self.ids) - 1) // self.bs

    def __len__(self) -> int:
        usual = self.bptt * (1 - HALVED / 2) if self.vary else self.bptt
        return -(-self.rows // max(int(usual), 1))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches from number `batch` on.

        Parameters
        ----------
        batch : int

        Yields
        ------
        x : Tensor of int64, shape (window, bs)
        y : Tensor of int64, shape (window * bs,)
        """
        starts = self._window_starts()

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for start, stop in zip(starts[batch:-1], starts[batch + 1 :], strict=True):
                window = self._columns(start, stop + 1)
                yield window[:-1], window[1:].reshape(-1)

        return batches()

    def _columns(self, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop` of the columns, shape `(stop - start, bs)`.

        The columns overlap by a token: what the last row of one is to predict is the first token of the next.
        """
        first = np.arange(self.bs)[None, :] * self.rows + np.arange(start, stop)[:, None]
        if self.backwards:
            first = len(self.ids) - 1 - first
        return torch.from_numpy(self.ids[first].astype(np.int64))

    def _window_starts(self) -> list[int]:
        """Return where each window of this epoch begins, and the end."""
        n = len(self)
        if not self.vary:
            return [*range(0, self.rows, self.bptt), self.rows]
        halved = torch.rand(n, generator=self.generator) < HALVED
        usual = torch.where(halved, self.bptt / 2, float(self.bptt))
        drawn = (usual + SPREAD * torch.randn(n, generator=self.generator)).clamp(min=min(5.0, self.bptt))
        # Stretched by a few percent at most, so that they cover the rows exactly.
        ends = (drawn.double().cumsum(0) * (self.rows / drawn.double().sum())).round().long()
        starts = [0, *ends[:-1].tolist(), self.rows]
        return starts if all(b > a for a, b in pairwise(starts)) else self._even_starts(n)

    def _even_starts(self, n: int) -> list[int]:
        return [self.rows * i // n for i in range(n + 1)]


class TextLoader(Settable):
    """Batches `(x, y)` of whole texts, those of similar length together.

    `x` has shape `(longest, batch)`, shorter texts padded at the end with `Vocab.pad`. Texts of one length need no
    padding, so validation and test sets are visited from the longest text to the shortest; `order` says in which order,
    and a text learner puts its predictions back. While training the order is random but for being sorted among the
    texts of 50 batches, and the batch with the longest text comes first, to find out at once whether memory is enough.

    Parameters
    ----------
    corpus : Corpus
    y : array of shape (n, ...)
        Encoded targets.
    rows : array of int, shape (n,), optional
        Which texts of the corpus these are; all by default.
    bs : int, default 64
        Batch size.
    shuffle : bool, default False
        New order each epoch.
    backwards : bool, default False
        Each text from its end to its beginning.
    max_len : int, optional
        Keep only so many tokens of a text, those at its end.
    generator : torch.Generator, optional
        Of the order; torch's global one by default.

    Attributes
    ----------
    order : array of int64, shape (n,) or None
        Position in the data set of each item as it comes; `None` when shuffled.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.text import Field, TextLoader, Corpus
    >>> TEXT = Field(tokenize=str.split)
    >>> TEXT.build_vocab(["good", "not so good"])
    >>> ids, offsets = np.array([2, 3, 4, 5, 2, 3]), np.array([0, 2, 6])
    >>> dl = TextLoader(Corpus(ids, offsets, TEXT.vocab), np.array([1, 0]), bs=2)
    >>> x, y = next(iter(dl))
    >>> x.T.tolist(), y.tolist(), dl.order.tolist()
    ([[4, 5, 2, 3], [2, 3, 1, 1]], [0, 1], [1, 0])
    """

    def __init__(
        self,
        corpus: Corpus,
        y: NDArray[Any],
        rows: NDArray[np.int64] | None = None,
        bs: int = 64,
        shuffle: bool = False,
        *,
        backwards: bool = False,
        max_len: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.corpus, self.shuffle, self.backwards, self.generator = corpus, shuffle, backwards, generator
        self.rows = np.arange(len(corpus)) if rows is None else np.asarray(rows, dtype=np.int64)
        self.bs = int(check_positive("bs", bs, integer=True))
        self.max_len = None if max_len is None else int(check_positive("max_len", max_len, integer=True))
        if len(y) != len(self.rows):
            raise DataError(f"there are {len(self.rows)} texts and {len(y)} targets.")
        if not len(self.rows):
            raise DataError("there are no texts here to make batches of.")
        self.y = torch.from_numpy(np.require(y, requirements="W"))
        self.lengths = corpus.lengths[self.rows]
        self.order = None if shuffle else np.argsort(-self.lengths, kind="stable")

    @property
    def n(self) -> int:
        """Texts in an epoch: a single one left over cannot be trained on by batch norm, and any one of them is left out."""
        return len(self.rows) - (self.shuffle and single_left(len(self.rows), self.bs))

    def __len__(self) -> int:
        return -(-self.n // self.bs)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches from number `batch` on.

        Parameters
        ----------
        batch : int

        Yields
        ------
        x : Tensor of int64, shape (longest, batch)
        y : Tensor of shape (batch, ...)
        """
        order = self._shuffled() if self.order is None else self.order
        return (self._batch(order[i : i + self.bs]) for i in range(batch * self.bs, self.n, self.bs))

    def _batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return stack_texts([self.numbers(int(i)) for i in chosen]), self.y[torch.from_numpy(chosen)]

    @property
    def n_rows(self) -> int:
        """How many texts there are."""
        return len(self.rows)

    def take(self, idxs: Tensor) -> tuple[Tensor, Tensor]:
        """Return some texts as a batch, the longest first."""
        chosen = idxs.numpy()
        return self._batch(chosen[np.argsort(-self.lengths[chosen], kind="stable")])

    def numbers(self, i: int) -> NDArray[Any]:
        """Return the numbers of text `i` of the data set, as batches have them."""
        text = self.corpus[int(self.rows[i])]
        if self.max_len is not None:
            text = text[-self.max_len :]
        return text[::-1] if self.backwards else text

    def _shuffled(self) -> NDArray[np.int64]:
        order = torch.randperm(len(self.rows), generator=self.generator).numpy()[: self.n]
        pools = [order[i : i + POOL * self.bs] for i in range(0, len(order), POOL * self.bs)]
        order = np.concatenate([pool[np.argsort(-self.lengths[pool], kind="stable")] for pool in pools])
        n_full = len(order) // self.bs
        batches = order[: n_full * self.bs].reshape(n_full, self.bs)
        batches = batches[torch.randperm(n_full, generator=self.generator).numpy()]
        if n_full:  # the longest text is the first of its batch
            longest = int(self.lengths[batches[:, 0]].argmax())
            batches[[0, longest]] = batches[[longest, 0]]
        return np.concatenate([batches.reshape(-1), order[n_full * self.bs :]])


def stack_texts(texts: Sequence[NDArray[Any]]) -> Tensor:
    """Return texts as the columns of one tensor, padded at the end."""
    x = np.full((max(map(len, texts)), len(texts)), Vocab.pad, dtype=np.int64)
    for column, text in enumerate(texts):
        x[: len(text), column] = text
    return torch.from_numpy(x)
