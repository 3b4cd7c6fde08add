"""Tokenizers: from a line of text to a list of tokens.

Any callable `line -> list of str` will do. The ones here are spaCy's English rules, with the answer for each
distinct word kept, and characters. `Markers` takes what lower-casing would throw away (capitals, repetition) and
says it in tokens of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from learnkit.core.errors import DataError, optional_import

__all__ = [
    "CAPITALISED",
    "END",
    "PAD",
    "REPEATED_LETTER",
    "REPEATED_WORD",
    "SPECIAL",
    "UNKNOWN",
    "UPPER",
    "Markers",
    "OwnTokenizer",
    "SpacyTokenizer",
    "ended",
    "join_tokens",
    "line_ends",
    "line_tokens",
    "name_of",
    "without",
]

UNKNOWN, PAD, END = "<unk>", "<pad>", "<eos>"
PLACED = frozenset({PAD, END})
"""Tokens that only a field itself places; an author's `<pad>` is an unknown word."""
UPPER, CAPITALISED, REPEATED_LETTER, REPEATED_WORD = "<up>", "<cap>", "<rep>", "<wrep>"

MARKERS = frozenset({UPPER, CAPITALISED, REPEATED_LETTER, REPEATED_WORD})
SPECIAL = MARKERS | {UNKNOWN, PAD, END}

KEPT_WORDS = 1 << 19  # distinct words whose tokens are remembered: some 100 MB at the most

Tokenizer = Callable[[str], list[str]]


def line_ends(text: str) -> str:
    """Return the text with `\\n` at the end of its lines, whoever wrote them."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def line_tokens(text: str, split: Tokenizer, *, lower: bool, characters: bool, eos: str) -> list[str]:
    """Return the tokens of a piece of text, an `eos` for each line end in it."""
    if lower:
        text = text.lower()
    if characters:
        return list(text)
    tokens: list[str] = []
    *lines, rest = text.split("\n")
    for line in lines:
        found = without(PLACED, split(line))
        if found:  # an empty line says nothing
            tokens += found
            tokens.append(eos)
    return tokens + without(PLACED, split(rest)) if rest else tokens


def ended(tokens: list[str], eos: str) -> list[str]:
    """Return the tokens of a whole text, its end included."""
    return tokens if tokens and tokens[-1] == eos else [*tokens, eos]


class SpacyTokenizer:
    """spaCy's rules for a language, many times faster: the tokens of each distinct word are computed once.

    spaCy splits at white space first and then looks at each piece by itself, so remembering the pieces changes nothing.
    Only its rules are used; no model is downloaded. White space gives no tokens.

    Parameters
    ----------
    lang : str, default "en"
        spaCy's code of the language.

    Raises
    ------
    MissingExtraError
        If spaCy is not installed.

    Examples
    --------
    >>> from learnkit.text import SpacyTokenizer
    >>> SpacyTokenizer()("Don't panic, it's 5pm.")
    ['Do', "n't", 'panic', ',', 'it', "'s", '5', 'pm', '.']
    """

    def __init__(self, lang: str = "en") -> None:
        self.lang = lang
        self._rules = optional_import("spacy", extra="text").blank(lang).tokenizer
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        tokens: list[str] = []
        known = self._known
        for word in text.split():
            pieces = known.get(word)
            if pieces is None:
                if len(known) >= KEPT_WORDS:
                    known.clear()
                pieces = known[word] = self._pieces(word)
            tokens += pieces
        return tokens

    def _pieces(self, word: str) -> list[str]:
        try:
            return [token.text for token in self._rules(word)]
        except UnicodeEncodeError:  # half a surrogate pair, which spaCy does not take
            return [word]

    def __reduce__(self) -> tuple[Any, ...]:
        return SpacyTokenizer, (self.lang,)


class OwnTokenizer:
    """A tokenizer of the user's, whose answer is made a list of str, or refused with its name.

    A list, tuple, generator or array of texts is taken, and whatever gives objects with a `text`, as a spaCy `Doc` does.

    Parameters
    ----------
    tokenize : callable
        Line of text -> tokens.

    Raises
    ------
    DataError
        When it is called and the answer is a single text, `None`, or holds something else than texts.
    """

    def __init__(self, tokenize: Callable[[str], Iterable[Any]]) -> None:
        self.tokenize = tokenize

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        found = self.tokenize(text)
        if isinstance(found, str | bytes) or not isinstance(found, Iterable):
            raise self._refused(text, repr(found)[:60])
        tokens = list(found)
        if set(map(type, tokens)) <= {str}:
            return tokens
        tokens = [token if isinstance(token, str) else getattr(token, "text", token) for token in tokens]
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            raise self._refused(text, f"{type(wrong[0]).__name__} {wrong[0]!r} among its tokens")
        return [str(token) for token in tokens]

    def _refused(self, text: str, found: str) -> DataError:
        return DataError(
            f"the tokenizer {name_of(self.tokenize)} must give the tokens of a line as a list of str; for {text[:40]!r} it "
            f"gave {found}."
        )


class Markers:
    """Lower-case tokens, saying in marker tokens what is lost.

    `<cap>` stands before a word that began with a capital, `<up>` before one in capitals; `<rep> n` before a word in
    which a letter came n times in a row (three or more; one is kept); `<wrep> n` before a word that came n times in a
    row (three or more). So "SOOOO good!!!" and "so good !" share their words.

    Parameters
    ----------
    tokenize : callable
        Line of text -> list of tokens.

    References
    ----------
    Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", which prepared its text in
    this manner.

    Examples
    --------
    >>> from learnkit.text import Markers
    >>> Markers(str.split)("Yes I am SOOOO happy ! ! !")
    ['<cap>', 'yes', 'i', 'am', '<up>', '<rep>', '4', 'so', 'happy', '<wrep>', '3', '!']
    """

    def __init__(self, tokenize: Tokenizer) -> None:
        self.tokenize = tokenize
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        """Return the marked tokens of a text."""
        marked: list[str] = []
        known = self._known
        for token, run in groupby(self.tokenize(text)):
            pieces = known.get(token)
            if pieces is None:
                if len(known) >= KEPT_WORDS:
                    known.clear()
                pieces = known[token] = _marked(token)
            times = sum(1 for _ in run)
            if times >= 3:
                marked += [REPEATED_WORD, str(times), *pieces]
            else:
                marked += pieces * times
        return marked

    def __reduce__(self) -> tuple[Any, ...]:
        return Markers, (self.tokenize,)


def name_of(tokenize: Any) -> str:
    """Return what to call a tokenizer."""
    return getattr(tokenize, "__qualname__", type(tokenize).__name__)


def without(taken: frozenset[str], tokens: list[str]) -> list[str]:
    """Return the tokens, those that an author happened to write like one of `taken` as unknown words."""
    if taken.isdisjoint(tokens):
        return tokens
    return [UNKNOWN if token in taken else token for token in tokens]


def _marked(token: str) -> list[str]:
    if token.lower() in MARKERS:  # written by the author: no marker of ours
        return [UNKNOWN]
    marks: list[str] = []
    if token.isupper() and len(token) > 1:
        marks.append(UPPER)
    elif token[:1].isupper() and len(token) > 1:
        marks.append(CAPITALISED)
    runs = [(letter, sum(1 for _ in run)) for letter, run in groupby(token.lower())]
    longest = max((times for _, times in runs), default=0)
    if longest >= 3:
        marks += [REPEATED_LETTER, str(longest)]
        return [*marks, "".join(letter * (1 if times >= 3 else times) for letter, times in runs)]
    return [*marks, token.lower()]


NO_SPACE_BEFORE = frozenset(".,;:!?)]}%\u2026\u2019\u201d") | {
    "n't",
    "'s",
    "'re",
    "'ve",
    "'ll",
    "'d",
    "'m",
    "''",
    "...",
    "'",
}
NO_SPACE_AFTER = frozenset("([{$#\u201c\u2018`")


def join_tokens(tokens: Iterable[str]) -> str:
    """Write word tokens as text a person would: markers undone, no space before a full stop, lines ended.

    Parameters
    ----------
    tokens : iterable of str

    Returns
    -------
    str

    Examples
    --------
    >>> from learnkit.text import join_tokens
    >>> join_tokens(["<cap>", "ay", ",", "there", "'s", "the", "rub", ".", "<eos>"])
    "Ay, there's the rub.\\n"
    """
    text: list[str] = []
    glue, case, times = True, "", 1
    if isinstance(tokens, str | bytes):
        raise TypeError(f"`tokens` must be a list of tokens; got the text {tokens!r:.60}.")
    marker = ""  # the repetition whose count comes next
    for token in tokens:
        if marker and token.isdecimal():
            times = min(int(token), 20) if marker == REPEATED_WORD else 1  # which letter it was is not known any more
            marker = ""
            continue
        marker = ""
        if token == END:
            text.append("\n")
            glue = True
        elif token in (UPPER, CAPITALISED):
            case = token
        elif token in (REPEATED_WORD, REPEATED_LETTER):
            marker = token
        elif token != PAD:
            word = token.upper() if case == UPPER else token[:1].upper() + token[1:] if case == CAPITALISED else token
            space = "" if glue or token in NO_SPACE_BEFORE else " "
            text.append(space + " ".join([word] * times))
            glue, case, times = token in NO_SPACE_AFTER, "", 1
    return "".join(text)
