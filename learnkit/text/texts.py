"""Texts as numbers, as tokens, and as they come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError
from learnkit.text.vocab import Vocab

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Corpus", "TextItem", "TokenList", "column_of", "texts_of"]


@dataclass(frozen=True)
class Corpus:
    """Texts as numbers.

    Attributes
    ----------
    ids : array of int, shape (n_tokens,)
        All texts one after another, memory-mapped if they lie on disk.
    offsets : array of int64, shape (n_texts + 1,)
        Text `i` is `ids[offsets[i]:offsets[i + 1]]`.
    vocab : Vocab
        What the numbers mean.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.text import Corpus, Vocab
    >>> corpus = Corpus(np.array([2, 3, 2]), np.array([0, 1, 3]), Vocab(["<unk>", "<pad>", "to", "be"]))
    >>> len(corpus), corpus[1].tolist(), corpus.lengths.tolist()
    (2, [3, 2], [1, 2])
    """

    ids: NDArray[Any]
    offsets: NDArray[np.int64]
    vocab: Vocab

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[Any]:
        """Return the numbers of text `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"text {i} of {len(self)}")
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text."""
        return np.diff(self.offsets)


class TokenList(Sequence[str]):
    """The tokens behind numbers, as a list of texts that is never all in memory.

    Parameters
    ----------
    ids : array of int, shape (n,)
    vocab : Vocab

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.text import TokenList, Vocab
    >>> tokens = TokenList(np.array([2, 3, 0, 3]), Vocab(["<unk>", "<pad>", "to", "be"]))
    >>> len(tokens), tokens[1], tokens[:3]
    (4, 'be', ['to', 'be', '<unk>'])
    """

    def __init__(self, ids: NDArray[Any], vocab: Vocab) -> None:
        self.ids, self.vocab = ids, vocab

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a token, or a list of them for a slice."""
        if isinstance(index, slice):
            return self.vocab.tokens(self.ids[index].tolist())
        return self.vocab.itos[int(self.ids[index])]

    def __repr__(self) -> str:
        return f"{len(self):,} tokens: {' '.join(self[:12])} ..."


@dataclass(frozen=True)
class TextItem:
    """A text as its tokens.

    Attributes
    ----------
    text : TokenList
        The tokens; a slice of it is a list of str.
    ids : array of int, shape (n,)
        Their numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, LanguageModelData
    >>> frame = pd.DataFrame({"text": ["to be or not to be"] * 40})
    >>> md = LanguageModelData.from_dataframes(".", Field(tokenize=str.split), "text", frame, bs=4)
    >>> item = md.trn_ds[0]
    >>> item.text[:3], item.ids[:3].tolist()
    (['to', 'be', 'or'], [3, 2, 6])
    """

    text: TokenList
    ids: NDArray[Any]


def texts_of(values: Iterable[Any], what: str) -> list[str]:
    """Return a column as a list of texts; a missing value is an empty one, anything else an error that names the row."""
    import pandas as pd

    texts: list[str] = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            texts.append(value)
        elif pd.api.types.is_scalar(value) and pd.isna(value):
            texts.append("")
        else:
            raise DataError(f"{what}: row {row} holds {type(value).__name__} {value!r}, not a text.")
    return texts


def column_of(df: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    """Return a column of a frame, or say which it has."""
    if name not in df.columns:
        raise DataError(f"{what} has no column {name!r}; it has: {', '.join(map(str, df.columns[:12]))}.")
    return df[name]
