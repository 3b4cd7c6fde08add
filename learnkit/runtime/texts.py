"""Texts without torch: split, numbered and padded as for the network that was trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, MissingExtraError
from learnkit.runtime.columns import is_missing
from learnkit.runtime.tokens import END, Markers, SpacyTokenizer, Tokenizer, ended, line_ends, line_tokens

__all__ = ["TextPreparation"]

PADDING = 1
"""The number of `<pad>`; that of an unknown token is 0."""
MARK = "\ufeff"


class TextPreparation:
    """From texts to numbers.

    Parameters
    ----------
    prep : mapping
        `tokenize` ("spacy" or "characters"), `lang`, `lower`, `markers`, `itos` (the tokens in the order of their numbers),
        `max_len` (tokens of a text that are kept, those at its end, or None) and `backwards`, as `TextPrep.portable` writes them.
    """

    def __init__(self, prep: Mapping[str, Any]) -> None:
        self.characters = prep["tokenize"] == "characters"
        self.lang, self.markers = str(prep["lang"]), bool(prep["markers"])
        self.lower = bool(prep["lower"]) and not self.markers
        self.eos = "\n" if self.characters else END
        self.number = {token: i for i, token in enumerate(prep["itos"])}
        self.max_len: int | None = prep["max_len"]
        self.backwards = bool(prep["backwards"])
        self._split: Tokenizer | None = list if self.characters else None

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return `tokens` of shape `(longest, B)`, shorter texts padded at the end.

        Parameters
        ----------
        items : str or list of str

        Raises
        ------
        DataError
            If an item is no text; it is named.
        MissingExtraError
            If spaCy is needed and not installed.
        """
        numbers = [self._numbers(text) for text in _texts(items)]
        batch = np.full((max(map(len, numbers)), len(numbers)), PADDING, dtype=np.int64)
        for column, ids in enumerate(numbers):
            batch[: len(ids), column] = ids
        return {"tokens": batch}

    def instance(self, value: Any) -> str:
        """Return the text of a JSON value."""
        if not isinstance(value, str):
            raise DataError(f"an instance must be a text; got {type(value).__name__}.")
        return value

    def _numbers(self, text: str) -> list[int]:
        if self._split is None:  # spaCy is only imported by who splits words
            try:
                words = SpacyTokenizer(self.lang)
            except MissingExtraError as exc:
                raise MissingExtraError(
                    "this model splits texts by the rules of spaCy, which is not installed. Install it with: pip install spacy"
                ) from exc
            self._split = Markers(words) if self.markers else words
        split = line_tokens(line_ends(text), self._split, lower=self.lower, characters=self.characters, eos=self.eos)
        ids = [self.number.get(token, 0) for token in ended(split, self.eos)]
        ids = ids if self.max_len is None else ids[-self.max_len :]
        return ids[::-1] if self.backwards else ids


def _texts(items: Any) -> list[str]:
    values = [items] if isinstance(items, str) else items
    # Of a frame the names of its columns would be read.
    if isinstance(values, bytes | Mapping) or hasattr(values, "columns") or not isinstance(values, Iterable):
        raise DataError(f"texts must be a list of texts; got {type(values).__name__}.")
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            texts.append(value.removeprefix(MARK))
        elif is_missing(value):
            texts.append("")
        else:
            raise DataError(f"text {row} is {type(value).__name__} {value!r:.60}, not a text.")
    if not texts:
        raise DataError("there are no texts.")
    return texts
