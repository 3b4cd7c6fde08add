"""Tokens are spaCy's own, and what lower-casing throws away is kept in markers."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import DataError, MissingExtraError
from learnkit.datasets import tweets_frame
from learnkit.runtime import tokens as module
from learnkit.text import Field, Markers, SpacyTokenizer, join_tokens
from learnkit.text.corpus import build_corpus
from tests.text.helpers import hamlet, sentences, words

ENGLISH, OURS = spacy.blank("en").tokenizer, SpacyTokenizer()


def test_every_token_of_real_texts_is_one_of_spacy() -> None:
    texts = [*hamlet()[:60_000].split("\n"), *sentences(400)["text"], *tweets_frame()["text"][:1500]]
    for text in texts:
        assert OURS(text) == [token.text for token in ENGLISH(text) if not token.is_space], text


@settings(max_examples=100)
@given(st.text(alphabet="aB.'-@#:/)(\u2019\u201d $€5\t\u00a0😀", max_size=40))
def test_nor_does_an_odd_text_differ(text: str) -> None:
    assert OURS(text) == [token.text for token in ENGLISH(text) if not token.is_space]


def test_another_language_has_its_own_rules() -> None:
    assert SpacyTokenizer("de")("z.B. geht's gut.") == [t.text for t in spacy.blank("de").tokenizer("z.B. geht's gut.")]


def test_words_are_forgotten_before_memory_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_WORDS", 4)
    ours, marked = SpacyTokenizer(), Markers(str.split)
    for _ in range(3):
        assert ours("to be, or not to be: that is it.") == [
            "to",
            "be",
            ",",
            "or",
            "not",
            "to",
            "be",
            ":",
            "that",
            "is",
            "it",
            ".",
        ]
        assert marked("aa Bb cc Dd ee Ff") == ["aa", "<cap>", "bb", "cc", "<cap>", "dd", "ee", "<cap>", "ff"]
    assert len(ours._known) <= 4
    assert len(marked._known) <= 4


def test_a_tokenizer_can_be_sent_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(Markers(SpacyTokenizer("en"))))
    assert again("I DON'T!!!") == Markers(SpacyTokenizer())("I DON'T!!!")


def test_without_spacy_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtraError, match=r'pip install "learnkit\[text\]"'):
        Field()
    assert Field(tokenize=str.split).tokens("it works") == ["it", "works", "<eos>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "plain words"),
        ("Hamlet", "<cap> hamlet"),
        ("HELP", "<up> help"),
        ("I a", "i a"),
        ("soooo goooood", "<rep> 4 so <rep> 5 god"),
        ("NOOO", "<up> <rep> 3 no"),
        ("no no no never never", "<wrep> 3 no never never"),
        ("Word Word Word Word", "<wrep> 4 <cap> word"),
        ("... 5 55 555", "<rep> 3 . 5 55 <rep> 3 5"),
    ],
)
def test_markers(text: str, expected: str) -> None:
    assert Markers(str.split)(text) == expected.split()


def test_markers_share_the_words_of_loud_and_quiet_texts() -> None:
    field = Field(tokenize=str.split, markers=True)
    quiet, loud = field.tokens("so good !"), field.tokens("SOOO Good ! ! !")
    assert set(quiet) <= set(loud)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("<cap> ay , there 's the rub . <eos> to be", "Ay, there's the rub.\nto be"),
        ("<up> <rep> 4 so <wrep> 3 no !", "SO no no no!"),
        ("<wrep> many words", "many words"),
        ("( a ) [ b ] it 's n't $ 5", "(a) [b] it'sn't $5"),
        ("<pad> a <unk> <pad>", "a <unk>"),
        ("<wrep> 1000000 a", " ".join(["a"] * 20)),
        ("<rep> ² a", "² a"),
    ],
)
def test_tokens_become_a_text_again(tokens: str, text: str) -> None:
    assert join_tokens(tokens.split()) == text


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["<cap>", "<up>", "<rep>", "<wrep>", "<eos>", "<pad>", "3", "a", "(", ")", "²", ""])))
def test_any_tokens_a_model_makes_up_can_be_written(tokens: list[str]) -> None:
    text = join_tokens(tokens)
    assert text.count("\n") == tokens.count("<eos>")
    assert "<" not in text


# ---------------------------------------------------------------- tokenizers of one's own


class Doc(tuple[SimpleNamespace, ...]):
    """What a pipeline gives: tokens that have their text as an attribute."""


def doc(line: str) -> Doc:
    return Doc(SimpleNamespace(text=word) for word in line.split())


def blank(line: str) -> Any:
    return ENGLISH(line)


@pytest.mark.parametrize(
    "tokenize",
    [
        lambda line: (word for word in line.split()),
        lambda line: tuple(line.split()),
        lambda line: np.array(line.split()),
        lambda line: pd.Series(line.split(), dtype=object),
        doc,
        blank,
        lambda line: list(blank(line)),
    ],
    ids=["generator", "tuple", "array", "series", "doc", "spacy", "spacy tokens"],
)
@pytest.mark.parametrize("markers", [False, True])
def test_whatever_gives_texts_is_a_tokenizer(tokenize: Any, markers: bool, tmp_path: Path) -> None:
    texts = ["to be or not", "to be"]
    usual, own = words(markers=markers), Field(tokenize=tokenize, markers=markers)
    for field in (usual, own):
        field.build_vocab(texts)
    assert own.vocab.itos == usual.vocab.itos
    assert all(type(token) is str for token in own.tokens(texts[0]))
    read = build_corpus(Field(tokenize=tokenize, markers=markers), texts, tmp_path)
    assert read.vocab.itos == usual.vocab.itos
    assert read[1].tolist() == usual.vocab.numbers(usual.tokens(texts[1])).tolist()


def gives_nothing(line: str) -> None:
    """Forgets to return."""


@pytest.mark.parametrize(
    ("tokenize", "found"),
    [
        (gives_nothing, "the tokenizer gives_nothing .* for 'to be' it gave None"),
        (str.strip, "the tokenizer str.strip .* it gave 'to be'"),
        (lambda line: [1, 2], "<lambda> must give .* as a list of str; .* it gave int 1 among its tokens"),
        (lambda line: ["to", None], "it gave NoneType None among its tokens"),
        (lambda line: [b"to"], "it gave bytes b'to' among its tokens"),
        (len, "the tokenizer len .* it gave 5"),
    ],
    ids=["None", "str", "ints", "a None", "bytes", "a number"],
)
def test_a_tokenizer_that_gives_no_texts_is_named(tokenize: Any, found: str, tmp_path: Path) -> None:
    for markers in (False, True):
        field = Field(tokenize=tokenize, markers=markers)
        with pytest.raises(DataError, match=found):
            field.build_vocab(["to be"])
        with pytest.raises(DataError, match=found):
            build_corpus(field, ["to be"], tmp_path)


@pytest.mark.parametrize("typed", ["<unk>", "<pad>", "<eos>", "<PAD>"])
@pytest.mark.parametrize("markers", [False, True])
def test_what_an_author_wrote_like_a_special_token_is_an_unknown_word(typed: str, markers: bool) -> None:
    field = words(markers=markers)
    found = [token for token in field.tokens(f"a {typed} b\n{typed}") if token != "<up>"]
    assert found == ["a", "<unk>", "b", "<eos>", "<unk>", "<eos>"]


@pytest.mark.parametrize("typed", ["<up>", "<cap>", "<rep>", "<wrep>", "<Cap>"])
def test_a_marker_that_an_author_wrote_marks_nothing(typed: str) -> None:
    assert words(markers=True).tokens(f"Yes {typed} b") == ["<cap>", "yes", "<unk>", "b", "<eos>"]


def test_half_a_surrogate_pair_is_a_token_like_another(tmp_path: Path) -> None:
    for tokenize in ("spacy", str.split, list):
        field = Field(tokenize=tokenize)
        field.build_vocab(["a \ud83d b", "x\ude00"])
        assert field.vocab.numbers(field.tokens("a \ud83d b")).min() > 1
        file = field.save(tmp_path / "field.json")
        again = Field.load(file, str.split if tokenize is str.split else None)
        assert again.vocab == field.vocab
