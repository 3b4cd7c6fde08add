"""Texts become the numbers that learnkit gives them."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnkit import DataError, MissingExtraError
from learnkit.runtime.texts import TextPreparation
from learnkit.text import Field, TextPrep
from tests.text.helpers import sentences

TEXTS = sentences(200)["text"].tolist()
FIELDS = {
    "words": {"min_freq": 2},
    "markers": {"markers": True},
    "case": {"lower": False},
    "characters": {"tokenize": list},
}


def made(field: Field) -> Field:
    field.build_vocab(TEXTS[:150])
    return field


PREPS = {
    **{name: TextPrep(made(Field(**options))) for name, options in FIELDS.items()},  # type: ignore[arg-type]
    "short": TextPrep(made(Field()), max_len=5),
    "backwards": TextPrep(made(Field()), backwards=True, max_len=9),
}

RUNTIME = {name: TextPreparation(json.loads(json.dumps(prep.portable()))) for name, prep in PREPS.items()}


def both(name: str, texts: list[Any]) -> tuple[Any, Any]:
    """Return the numbers of texts, in their order, as learnkit makes them, and as the runtime does."""
    loader = PREPS[name].loader(texts, len(texts))
    (x, _), order = next(iter(loader)), loader.order
    ours = np.empty_like(x.numpy())
    ours[:, order] = x.numpy()
    return ours, RUNTIME[name].prepare(texts)["tokens"]


@pytest.mark.filterwarnings("ignore:.*not in the vocabulary")
@pytest.mark.parametrize("name", PREPS)
def test_real_texts_give_the_same_numbers(name):
    odd = [
        "",
        " ",
        "\ufeffA mark",
        "two\r\nlines\n",
        "<pad> <eos> <up>",
        "SOOOO good!!! !!! !!!",
        "naïve café 😀",
        "İstanbul ẞß \x85 \u2028 \x00 \ud83d",
        "a film " * 4_000,
        np.str_("a film"),
        pd.NA,
        None,
        float("nan"),
    ]
    ours, theirs = both(name, [*TEXTS[100:], *odd])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:.*not in the vocabulary")
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4), name=st.sampled_from([*PREPS]))
def test_any_texts_give_the_same_numbers(texts, name):
    ours, theirs = both(name, texts)
    np.testing.assert_array_equal(ours, theirs)


def test_one_text_is_a_list_of_it_and_what_is_none_is_said():
    runtime = RUNTIME["words"]
    np.testing.assert_array_equal(runtime.prepare("a film")["tokens"], runtime.prepare(["a film"])["tokens"])
    assert runtime.instance("a film") == "a film"
    for items, words in (
        ([], "there are no texts"),
        ([3], "text 0 is int 3, not a text"),
        (b"x", "got bytes"),
        ({}, "got dict"),
        (pd.DataFrame({"text": ["a film"]}), "got DataFrame"),
    ):
        with pytest.raises(DataError, match=words):
            runtime.prepare(items)
    with pytest.raises(DataError, match="must be a text; got list"):
        runtime.instance([])


def test_spacy_is_asked_for_by_who_splits_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    words, characters = (TextPreparation(PREPS[name].portable()) for name in ("words", "characters"))
    assert characters.prepare(["a film"])["tokens"].shape == (7, 1)
    with pytest.raises(MissingExtraError, match="splits texts by the rules of spaCy.*pip install spacy"):
        words.prepare(["a film"])


def test_a_tokenizer_of_ones_own_is_refused():
    prep = TextPrep(made(Field(tokenize=str.split)))
    with pytest.raises(DataError, match="split by str.split, code of your own"):
        prep.portable()
