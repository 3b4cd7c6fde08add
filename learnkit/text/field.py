"""`Field`: how texts become numbers (tokenizer, case, vocabulary), kept with the model as data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.core.errors import DataError, check_positive
from learnkit.core.listing import check_list
from learnkit.core.settable import Settable
from learnkit.data.files import PathLike, atomic_path
from learnkit.runtime.tokens import (
    END,
    PAD,
    SPECIAL,
    UNKNOWN,
    Markers,
    OwnTokenizer,
    SpacyTokenizer,
    Tokenizer,
    ended,
    join_tokens,
    line_tokens,
    name_of,
)
from learnkit.text.vocab import Vocab

__all__ = ["Field"]


class Field(Settable):
    """How texts become numbers: tokenize, count, number.

    The vocabulary is made from the first training texts the field is used with (`LanguageModelData`, `TextData`) and
    stays from then on, so a classifier that is given the field of a language model speaks its words. Each line end,
    and each end of a text, becomes the token `eos`. What an author wrote like one of these tokens (`<pad>`, `<eos>`) is an
    unknown word.

    Parameters
    ----------
    lower : bool, default True
        Lower-case everything.
    tokenize : {"spacy"} or list or callable, default "spacy"
        spaCy's rules for `lang`, single characters (`list`), or a function `line -> list of str` (or a tuple, a generator,
        a spaCy `Doc`).
    min_freq : int, default 1
        Tokens that come less often in the training texts are unknown.
    max_size : int, optional
        Keep at most so many of the most frequent tokens.
    markers : bool, default False
        Say capitals and repetition in tokens of their own instead of throwing them away; see `Markers`.
    lang : str, default "en"
        For spaCy.
    vocab : Vocab, optional
        One that is made already.

    Attributes
    ----------
    vocab : Vocab
        Its `itos` and `stoi`.
    eos : str
        What ends a line: `"<eos>"`, for characters the line end itself.

    Raises
    ------
    MissingExtraError
        If `tokenize` is "spacy" and spaCy is not installed.

    Examples
    --------
    >>> from learnkit.text import Field
    >>> TEXT = Field(tokenize=str.split)
    >>> TEXT.build_vocab(["To be or not to be"])
    >>> TEXT.vocab.itos
    ['<unk>', '<pad>', 'be', 'to', '<eos>', 'not', 'or']
    >>> TEXT.numericalize([["to", "be"], ["to", "sleep", "or"]])
    tensor([[3, 3],
            [2, 0],
            [1, 6]])
    """

    def __init__(
        self,
        lower: bool = True,
        tokenize: Tokenizer | str | type = "spacy",
        min_freq: int = 1,
        *,
        max_size: int | None = None,
        markers: bool = False,
        lang: str = "en",
        vocab: Vocab | None = None,
    ) -> None:
        if isinstance(tokenize, str) and tokenize != "spacy":
            raise ValueError(f'`tokenize` must be "spacy", list or a function `line -> list of str`; got {tokenize!r}.')
        if not callable(tokenize) and tokenize != "spacy":
            raise TypeError(f'`tokenize` must be "spacy", list or a function; got {tokenize!r}.')
        self.lower, self.markers, self.lang = lower, markers, lang
        self.min_freq = int(check_positive("min_freq", min_freq, integer=True))
        self.max_size = None if max_size is None else int(check_positive("max_size", max_size, integer=True))
        self.characters = tokenize is list
        self.tokenize = tokenize
        split: Tokenizer = SpacyTokenizer(lang) if tokenize == "spacy" else OwnTokenizer(tokenize)  # type: ignore[arg-type]
        if markers and self.characters:
            raise ValueError("`markers` are for words; characters have their case themselves (`lower=False`).")
        self.split: Tokenizer = Markers(split) if markers else split
        self.eos = "\n" if self.characters else END
        if vocab is not None and (self.min_freq > 1 or self.max_size is not None):
            warnings.warn("`min_freq` and `max_size` change nothing: this field is given its vocabulary.", stacklevel=2)
        self._vocab = vocab

    @property
    def vocab(self) -> Vocab:
        """Which number stands for which token."""
        if self._vocab is None:
            raise DataError(
                "this field has no vocabulary yet: make a data bunch with it, or call `build_vocab(texts)`."
            )
        return self._vocab

    @vocab.setter
    def vocab(self, vocab: Vocab) -> None:
        self._vocab = vocab

    @property
    def has_vocab(self) -> bool:
        """Whether the vocabulary is made."""
        return self._vocab is not None

    def build_vocab(self, texts: Iterable[str]) -> None:
        """Make the vocabulary from these texts, instead of any there is.

        Parameters
        ----------
        texts : iterable of str

        Raises
        ------
        DataError
            If there is no token in them, or none comes `min_freq` times.
        TypeError
            If it is a single text.
        """
        if isinstance(texts, str | bytes):
            raise TypeError('expected a list of texts, got one text; write ["..."].')
        counts: dict[str, int] = {}
        for text in texts:
            for token in self.tokens(text):
                counts[token] = counts.get(token, 0) + 1
        self._vocab = self.vocab_from_counts(counts)

    def vocab_from_counts(self, counts: dict[str, int]) -> Vocab:
        """Return the vocabulary of tokens that came so often, by `min_freq` and `max_size`."""
        special = (SPECIAL if self.markers else {UNKNOWN, PAD}) | {self.eos}
        if not any(token != self.eos for token in counts):
            raise DataError("there is no token in the training texts: they are empty.")
        vocab = Vocab.from_counts(counts, min_freq=self.min_freq, max_size=self.max_size)
        if special.issuperset(vocab.itos):
            most = max((n for token, n in counts.items() if token not in special), default=0)
            raise DataError(
                f"no word is left for the vocabulary, only {', '.join(map(repr, vocab.itos))}: no token comes {self.min_freq} times "
                f"(`min_freq`), or `max_size` ({self.max_size}) is too small; the most frequent comes {most} times."
            )
        return vocab

    def preprocess(self, text: str) -> list[str]:
        """Return the tokens of a piece of text, for `numericalize`; its end adds none.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of str

        Examples
        --------
        >>> from learnkit.text import Field
        >>> Field(tokenize=str.split).preprocess("To be, or not")
        ['to', 'be,', 'or', 'not']
        """
        return self.line_tokens(text)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, the end of the text included.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of str
        """
        return ended(self.line_tokens(text), self.eos)

    def line_tokens(self, text: str) -> list[str]:
        """Return the tokens of a piece of text, an `eos` for each line end in it."""
        lower = self.lower and not self.markers
        return line_tokens(text, self.split, lower=lower, characters=self.characters, eos=self.eos)

    def numericalize(self, examples: Sequence[Sequence[str]]) -> Tensor:
        """Turn tokenized texts into a batch of numbers, padded at the end.

        Parameters
        ----------
        examples : sequence of sequences of str
            The tokens of each text.

        Returns
        -------
        Tensor of int64, shape (longest, n)
            One column per text.

        Raises
        ------
        TypeError
            If an example is a text that is not split yet.
        """
        if not self.characters and (isinstance(examples, str) or any(isinstance(ex, str) for ex in examples)):
            raise TypeError(
                "`numericalize` takes lists of tokens, one per text: numericalize([field.tokens(text), ...])."
            )
        numbers = [self.vocab.numbers(list(example)) for example in examples]
        batch = np.full((max(map(len, numbers), default=0), len(numbers)), Vocab.pad, dtype=np.int64)
        for column, ids in enumerate(numbers):
            batch[: len(ids), column] = ids
        return torch.from_numpy(batch)

    def textify(self, ids: Any) -> str:
        """Write numbers as text.

        Parameters
        ----------
        ids : sequence of int, array or Tensor of shape (n,)

        Returns
        -------
        str
        """
        return self.join(self.vocab.tokens(np.asarray(ids).reshape(-1).tolist()))

    def join(self, tokens: Iterable[str]) -> str:
        """Write tokens as text.

        Parameters
        ----------
        tokens : iterable of str

        Returns
        -------
        str
        """
        pieces = check_list("tokens", tokens, "tokens")
        return "".join(pieces) if self.characters else join_tokens(pieces)

    # ---------------------------------------------------------------- as data

    def settings(self) -> dict[str, Any]:
        """Return everything but the vocabulary, as JSON can hold it."""
        name = "spacy" if self.tokenize == "spacy" else "characters" if self.characters else None
        return {
            "tokenize": name or name_of(self.tokenize),
            "own": name is None,
            "lower": self.lower,
            "min_freq": self.min_freq,
            "max_size": self.max_size,
            "markers": self.markers,
            "lang": self.lang,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the field as JSON can hold it; a tokenizer of your own only by its name."""
        return {**self.settings(), "itos": self._vocab.itos if self._vocab is not None else None}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], tokenize: Callable[[str], list[str]] | None = None) -> Field:
        """Make the field again.

        Parameters
        ----------
        saved : dict
            Of `to_dict`.
        tokenize : callable, optional
            Your own tokenizer, if it had one; code is never taken from a file.

        Returns
        -------
        Field

        Raises
        ------
        DataError
            If a tokenizer of your own is needed, or the data is not a field's.
        """
        try:
            if saved["own"] and tokenize is None:
                raise DataError(
                    f"this field was made with a tokenizer of your own, {saved['tokenize']!r}; pass it as `tokenize=`."
                )
            known: Any = {"spacy": "spacy", "characters": list}.get(saved["tokenize"])
            itos = saved["itos"]
            field = cls(
                bool(saved["lower"]),
                tokenize if saved["own"] and tokenize is not None else known,
                saved["min_freq"],
                max_size=saved["max_size"],
                markers=bool(saved["markers"]),
                lang=str(saved["lang"]),
            )
            field._vocab = None if itos is None else Vocab(itos)
            return field
        except (KeyError, TypeError) as exc:
            raise DataError(f"this is not the description of a field: {exc!r}.") from exc

    def save(self, path: PathLike) -> Path:
        """Write settings and vocabulary as JSON.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        Path
            The file written.
        """
        with atomic_path(path) as temporary:
            # Escaped, so that a token with half a surrogate pair, which has no bytes in UTF-8, can be written.
            temporary.write_text(json.dumps(self.to_dict()), encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: PathLike, tokenize: Callable[[str], list[str]] | None = None) -> Field:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path-like
        tokenize : callable, optional
            Your own tokenizer, if it had one.

        Returns
        -------
        Field

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as exc:
            raise DataError(f"{path} is not the description of a field: {exc}.") from exc
        if not isinstance(saved, dict):
            raise DataError(f"{path} is not the description of a field: it holds {type(saved).__name__}.")
        return cls.from_dict(saved, tokenize)

    def __repr__(self) -> str:
        size = f"{len(self._vocab):,} tokens" if self._vocab is not None else "no vocabulary yet"
        return f"Field({self.settings()['tokenize']}, {size})"
