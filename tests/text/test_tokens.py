"""Tokens are spaCy's own, and what lower-casing throws away is kept in markers."""

from __future__ import annotations

import pickle
import sys

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import MissingExtraError
from learnkit.datasets import tweets_frame
from learnkit.text import Field, Markers, SpacyTokenizer, join_tokens
from learnkit.text import tokens as module
from tests.text.helpers import hamlet, sentences

ENGLISH, OURS = spacy.blank("en").tokenizer, SpacyTokenizer()


def test_every_token_of_real_texts_is_one_of_spacy() -> None:
    texts = [*hamlet()[:60_000].split("\n"), *sentences(400)["text"], *tweets_frame()["text"][:1500]]
    for text in texts:
        assert OURS(text) == [token.text for token in ENGLISH(text) if not token.is_space], text


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["<cap>", "<up>", "<rep>", "<wrep>", "<eos>", "<pad>", "3", "a", "(", ")", "²", ""])))
def test_any_tokens_a_model_makes_up_can_be_written(tokens: list[str]) -> None:
    text = join_tokens(tokens)
    assert text.count("\n") == tokens.count("<eos>")
    assert "<" not in text
