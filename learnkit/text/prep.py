"""How raw texts become numbers, as data: `TextPrep` for whole texts, `StreamPrep` for what goes on without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.device import to_np
from learnkit.core.errors import DataError
from learnkit.data.prep import NotInFile, Prep, no_targets
from learnkit.runtime.tokens import line_ends
from learnkit.text.field import Field
from learnkit.text.loaders import TextLoader
from learnkit.text.next_token import NextToken
from learnkit.text.texts import Corpus, texts_of, warn_of_unknown
from learnkit.text.vocab import Vocab

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StreamPrep", "TextPrep"]

OWN_TOKENIZER = (
    "texts were split by {name}, code of your own that is not in the file. Give it back: "
    "learn.data.field = Field.from_dict(learn.field.to_dict(), {name})."
)


class FieldPrep(Prep):
    """What both have: a field with its vocabulary, and a direction of reading."""

    def __init__(self, field: Field, bs: int, backwards: bool) -> None:
        self.field, self.bs, self.backwards = field, bs, backwards

    def in_words(self) -> str:
        """Return how texts are split, and the size of the vocabulary."""
        backwards = ", read backwards" if self.backwards else ""
        return f"texts, split by {self.field.settings()['tokenize']}, of {len(self.field.vocab):,} tokens{backwards}"

    def to_data(self) -> dict[str, Any]:
        """Return the field with its vocabulary, and how texts are read."""
        return {"field": self.field.to_dict(), "bs": self.bs, "backwards": self.backwards}

    def identity(self) -> dict[str, Any]:
        """Return the vocabulary."""
        return {"vocabulary": self.field.vocab.itos}

    def readable(self, ids: Tensor) -> str:
        """Return numbers as text, without padding, in the order a person reads."""
        numbers = to_np(ids).reshape(-1)
        numbers = numbers[numbers != Vocab.pad]
        return self.field.textify(numbers[::-1] if self.backwards else numbers)

    def show(self, xs: tuple[Any, ...], n: int, notes: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
        """Return the first texts of a batch with what is noted of them."""
        import pandas as pd

        texts = [self.readable(xs[0][:, i]) for i in range(min(n, xs[0].shape[1]))]
        return pd.DataFrame({"text": texts} | {name: list(values[:n]) for name, values in notes.items()})


class TextPrep(FieldPrep):
    """Whole texts.

    Parameters
    ----------
    field : Field
        With its vocabulary.
    bs : int, default 64
    backwards : bool, default False
        Each text from its end to its beginning.
    max_len : int, optional
        Keep only so many tokens of a text, those at its end.

    Examples
    --------
    >>> from learnkit.text import Field, TextPrep
    >>> TEXT = Field(tokenize=str.split)
    >>> TEXT.build_vocab(["good", "not so good"])
    >>> x, _ = next(iter(TextPrep(TEXT).loader(["so good"])))
    >>> x.T.tolist(), TEXT.textify(x)
    ([[5, 3, 2]], 'so good\\n')
    """

    portable_kind = "texts"
    portable_axes: ClassVar[Mapping[str, Mapping[int, str]]] = {"tokens": {0: "length", 1: "batch"}}

    def __init__(self, field: Field, bs: int = 64, *, backwards: bool = False, max_len: int | None = None) -> None:
        super().__init__(field, bs, backwards)
        self.max_len = max_len

    def loader(self, items: Sequence[str], bs: int | None = None) -> TextLoader:
        """Return batches of raw texts, the longest first; `order` says which text each item is."""
        corpus = corpus_of(self.field, [self.field.tokens(line_ends(text)) for text in texts_of(items, "texts")])
        warn_of_unknown(corpus, "these texts")
        y = no_targets(len(corpus)).numpy()
        return TextLoader(corpus, y, None, bs or self.bs, backwards=self.backwards, max_len=self.max_len)

    def portable(self) -> dict[str, Any]:
        """Return the rules of splitting and the vocabulary.

        Raises
        ------
        DataError
            If texts are split by code of the user's own.
        """
        settings = self.field.settings()
        if settings["own"]:
            raise DataError(
                f"texts are split by {settings['tokenize']}, code of your own, which other programs do not have. Use "
                'Field(tokenize="spacy"), or characters, Field(tokenize=list).'
            )
        kept = {name: settings[name] for name in ("tokenize", "lang", "lower", "markers")}
        return {**kept, "itos": self.field.vocab.itos, "max_len": self.max_len, "backwards": self.backwards}

    def to_data(self) -> dict[str, Any]:
        """Return all of it."""
        return {"kind": "texts", **super().to_data(), "max_len": self.max_len}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; a tokenizer of the user's own says, when it is needed, that it is not in the file."""
        return cls(_field(data), int(data["bs"]), backwards=bool(data["backwards"]), max_len=data["max_len"])


class StreamPrep(FieldPrep):
    """A stream of text, of which the next token is predicted; raw texts are beginnings to be gone on with.

    Parameters
    ----------
    field : Field
        With its vocabulary.
    bs : int, default 64
        Columns of the stream.
    bptt : int, default 70
        Tokens in a window.
    backwards : bool, default False
        The token before is predicted.

    Examples
    --------
    >>> from learnkit.text import Field, StreamPrep
    >>> TEXT = Field(tokenize=str.split)
    >>> TEXT.build_vocab(["to be or not to be"])
    >>> [x.T.tolist() for x, _ in StreamPrep(TEXT).loader(["to be", "or not to"])]
    [[[3, 2]], [[6, 5, 3]]]
    """

    def __init__(self, field: Field, bs: int = 64, bptt: int = 70, *, backwards: bool = False) -> None:
        super().__init__(field, bs, backwards)
        self.bptt = bptt
        self.target = NextToken(field.vocab.itos)

    def loader(self, items: Sequence[str], bs: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return a batch `(length, 1)` for each text, whatever `bs`: a model reads it to its end.

        Raises
        ------
        DataError
            If a text has no token.
        """
        texts = texts_of(items, "texts")
        if not texts:
            raise DataError("there is no text to go on with: the list is empty.")
        return list(self._batches(texts))

    def _batches(self, texts: list[str]) -> Iterator[tuple[Tensor, Tensor]]:
        for i, text in enumerate(texts):
            ids = self.field.vocab.numbers(self.field.line_tokens(line_ends(text)))
            if not len(ids):
                raise DataError(f"text {i} has no token: there is nothing that the next one could follow.")
            x = torch.from_numpy(np.ascontiguousarray(ids[::-1] if self.backwards else ids))
            yield x[:, None], no_targets(len(x))

    def to_data(self) -> dict[str, Any]:
        """Return all of it."""
        return {"kind": "stream", **super().to_data(), "bptt": self.bptt}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; a tokenizer of the user's own says, when it is needed, that it is not in the file."""
        return cls(_field(data), int(data["bs"]), int(data["bptt"]), backwards=bool(data["backwards"]))


def corpus_of(field: Field, texts: Sequence[Sequence[str]]) -> Corpus:
    """Return texts, given as tokens, as a corpus of numbers."""
    if not texts:
        raise DataError("there are no texts.")
    numbers: list[NDArray[Any]] = [field.vocab.numbers(tokens) for tokens in texts]
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in numbers])])
    return Corpus(np.concatenate(numbers), offsets, field.vocab)


def _field(data: Mapping[str, Any]) -> Field:
    saved = data["field"]
    return Field.from_dict(saved, NotInFile(str(saved["tokenize"]), OWN_TOKENIZER) if saved["own"] else None)
