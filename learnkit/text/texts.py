"""Texts as numbers, as tokens, and as they come in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, user_stacklevel
from learnkit.data.frames import check_columns
from learnkit.runtime.tokens import SPECIAL, UNKNOWN
from learnkit.text.vocab import Vocab

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Corpus", "TextItem", "TokenList", "column_of", "labels_of", "texts_of", "warn_of_unknown", "without_mark"]

BLOCK = 1 << 20  # numbers counted at a time
MANY_UNKNOWN = 0.5  # share of unknown words from which something is wrong; small texts of one kind reach 0.4

MARK = "\ufeff"  # the byte-order mark some editors put before a text


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

    def unknown_share(self) -> float:
        """Return which share of the words is not in the vocabulary; line ends and markers are no words."""
        counts = np.zeros(len(self.vocab), dtype=np.int64)
        for start in range(0, len(self.ids), BLOCK):
            counts += np.bincount(self.ids[start : start + BLOCK], minlength=len(self.vocab))
        placed = [self.vocab.stoi[token] for token in (*SPECIAL, "\n") if token in self.vocab and token != UNKNOWN]
        n_words = int(counts.sum() - counts[placed].sum())
        return int(counts[Vocab.unk]) / n_words if n_words else 0.0


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
    label : object
        Its class, list of classes or number; `None` where there is none, as in a stream or a test set.
    x : array of int, optional
        What of the numbers goes into a batch, cut and turned round as the loader does.
    y : Tensor, optional
        The encoded target.

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
    label: Any = None
    x: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    y: Any = field(default=None, repr=False, compare=False)


def texts_of(values: Iterable[Any], what: str) -> list[str]:
    """Return a column as a list of texts; a missing value is an empty one, anything else an error that names the row."""
    import pandas as pd

    if isinstance(values, str | bytes):
        raise TypeError(f'{what}: expected a list of texts, got one text; write ["..."].')
    if isinstance(values, pd.DataFrame | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{what}: expected a list or column of texts, got {type(values).__name__}.")
    texts: list[str] = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            texts.append(without_mark(value))
        elif pd.api.types.is_scalar(value) and pd.isna(value):
            texts.append("")
        else:
            raise DataError(f"{what}: row {row} holds {type(value).__name__} {value!r}, not a text.")
    return texts


def warn_of_unknown(corpus: Corpus, what: str) -> None:
    """Say so if a good part of the words of a corpus is unknown: another language, another tokenizer, a high `min_freq`."""
    share = corpus.unknown_share()
    if share > MANY_UNKNOWN:
        warnings.warn(
            f"{share:.0%} of the words of {what} are not in the vocabulary of {len(corpus.vocab):,} tokens and all look alike "
            "to the model. Is it another language or way of splitting than the vocabulary was made from, or `min_freq` too "
            "high?",
            stacklevel=user_stacklevel(),
        )


def without_mark(text: str) -> str:
    """Return a text without the byte-order mark before it, which would make its first word another one."""
    return text.removeprefix(MARK)


def labels_of(labels: Any, what: str) -> list[Any]:
    """Return one label per text as a list, or name the first row without one.

    A column of shape `(n, 1)` is taken as one of `(n,)`.
    """
    import pandas as pd

    if isinstance(labels, str | bytes):
        raise TypeError(f"{what}: expected a list of labels, got the text {labels[:40]!r}.")
    if isinstance(labels, pd.DataFrame | Mapping) or not isinstance(labels, Iterable):
        raise TypeError(f"{what}: expected a list or column of labels, one per text; got {type(labels).__name__}.")
    shape = tuple(getattr(labels, "shape", ()))
    if len(shape) > 1 and shape[1:] != (1,):
        raise DataError(f"{what}: expected one label per text, shape (n,); got an array of shape {shape}.")
    column: Any = labels
    if len(shape) == 2:
        column = column.reshape(-1)
    found = column.tolist() if hasattr(column, "tolist") else list(column)
    several = {type(label) for label in found} & {list, set, dict, np.ndarray}
    if several:
        raise DataError(
            f"{what} must be one name or number per text; got a {several.pop().__name__} among them. Several labels of a text "
            "are written in one cell of a frame: `from_dataframes(..., cat_separator=)`."
        )
    missing = pd.Series(found, dtype=object).isna().to_numpy()
    if missing.any():
        raise DataError(
            f"{what} is missing in row {int(missing.argmax())} ({int(missing.sum())} in all). Leave such rows out, or name "
            "what they are."
        )
    return found


def column_of(df: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    """Return a column of a frame, or say which it has."""
    check_columns(df.columns, [name], what)
    return df[name]
