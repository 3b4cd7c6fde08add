"""`Vocab`: which number stands for which token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list, one_or_list
from learnkit.runtime.tokens import PAD, UNKNOWN

__all__ = ["Vocab"]


class TokenNumbers(dict[str, int]):
    """Number of each token; that of the unknown one for all others."""

    def __missing__(self, token: str) -> int:
        return 0


class Vocab:
    """Tokens and their numbers: unknown is 0, padding is 1, then the most frequent first.

    Parameters
    ----------
    itos : sequence of str
        The tokens in the order of their numbers, beginning with `<unk>` and `<pad>`.

    Attributes
    ----------
    itos : list of str
        Token of each number.
    stoi : dict of str to int
        Number of each token; 0 for one that is not there.

    Raises
    ------
    DataError
        If a token comes twice, or the first two are others.

    Examples
    --------
    >>> from learnkit.text import Vocab
    >>> vocab = Vocab.from_counts({"to": 2, "be": 2, "or": 1}, min_freq=2)
    >>> vocab.itos, vocab.stoi["be"], vocab.stoi["zebra"]
    (['<unk>', '<pad>', 'be', 'to'], 2, 0)
    """

    unk, pad = 0, 1

    def __init__(self, itos: Sequence[str]) -> None:
        self.itos = check_list("itos", itos, "tokens", error=DataError)
        if self.itos[:2] != [UNKNOWN, PAD] or not all(isinstance(token, str) for token in self.itos):
            raise DataError(
                f"a vocabulary is a list of texts that begins with {UNKNOWN!r}, {PAD!r}; got {self.itos[:4]}."
            )
        self.stoi = TokenNumbers({token: i for i, token in enumerate(self.itos)})
        if len(self.stoi) < len(self.itos):
            twice = next(token for i, token in enumerate(self.itos) if self.stoi[token] != i)
            raise DataError(f"the vocabulary holds {twice!r} more than once.")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], *, min_freq: int = 1, max_size: int | None = None) -> Vocab:
        """Keep the tokens that came often enough, the most frequent first, equal ones in alphabetical order.

        Parameters
        ----------
        counts : mapping of str to int
            How often each token came.
        min_freq : int, default 1
            Rarer ones are left out.
        max_size : int, optional
            At most so many, besides unknown and padding.

        Returns
        -------
        Vocab
        """
        frequent = [token for token, n in counts.items() if n >= min_freq and token not in (UNKNOWN, PAD)]
        frequent.sort(key=lambda token: (-counts[token], token))
        return cls([UNKNOWN, PAD, *frequent[:max_size]])

    def __len__(self) -> int:
        return len(self.itos)

    def __contains__(self, token: object) -> bool:
        return token in self.stoi

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and other.itos == self.itos

    def __hash__(self) -> int:
        return hash(tuple(self.itos))

    def __repr__(self) -> str:
        return f"Vocab of {len(self):,} tokens: {', '.join(self.itos[:8])}, ..."

    def numbers(self, tokens: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each token, shape `(n,)`."""
        stoi = self.stoi
        return np.array([stoi[token] for token in check_list("tokens", tokens, "tokens")], dtype=np.int64)

    def tokens(self, numbers: Iterable[int]) -> list[str]:
        """Return the token of each number."""
        return [
            self.itos[i]
            for i in one_or_list("numbers", numbers, "numbers", lambda value: isinstance(value, int | np.integer))
        ]

    def matches(self, other: Vocab) -> NDArray[np.int64]:
        """Return the number in `other` of each token of this vocabulary, -1 where it has none, shape `(len(self),)`."""
        return np.array([other.stoi[token] if token in other else -1 for token in self.itos], dtype=np.int64)
