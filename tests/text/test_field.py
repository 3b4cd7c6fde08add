"""A field turns texts into numbers and back, and is kept as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import DataError
from learnkit.text import Field, Vocab
from tests.text.helpers import hamlet, sentences, words


def test_the_calls_of_the_course() -> None:
    TEXT = Field(lower=True, tokenize="spacy", min_freq=10)
    TEXT.build_vocab([hamlet()])
    assert TEXT.vocab.itos[:2] == ["<unk>", "<pad>"]
    assert TEXT.vocab.itos[TEXT.vocab.stoi["the"]] == "the"
    ids = TEXT.numericalize([["the", "king", "zebra"]])
    assert (ids.shape, ids.dtype, ids[2, 0].item()) == ((3, 1), torch.int64, 0)
    characters = Field(lower=True, tokenize=list)
    characters.build_vocab([hamlet()])
    assert characters.numericalize("for tho").shape == (1, 7)  # as the lesson's get_next takes it: a column per text
    assert characters.textify(characters.numericalize(["to be"])) == "to be"


def test_lines_and_the_end_of_a_text_end_with_eos() -> None:
    field = words()
    assert field.tokens("To be\n\n  \nor not") == ["to", "be", "<eos>", "or", "not", "<eos>"]
    assert field.tokens("to be\n") == ["to", "be", "<eos>"]
    assert field.tokens("") == ["<eos>"]
    characters = Field(lower=False, tokenize=list)
    assert characters.tokens("Ab\n") == ["A", "b", "\n"]
    assert characters.tokens("Ab") == ["A", "b", "\n"]


def test_case_is_kept_lowered_or_marked() -> None:
    assert words(lower=False).tokens("The SEA") == ["The", "SEA", "<eos>"]
    assert words().tokens("The SEA") == ["the", "sea", "<eos>"]
    assert words(markers=True).tokens("The SEA") == ["<cap>", "the", "<up>", "sea", "<eos>"]


def test_texts_survive_numbers() -> None:
    field = Field(lower=False)
    texts = sentences(50)["text"].tolist()
    field.build_vocab(texts)
    for text in texts:
        again = field.textify(field.vocab.numbers(field.tokens(text)))
        assert field.tokens(again) == field.tokens(text)


@pytest.mark.parametrize("kwargs", [{}, {"markers": True}, {"lower": False, "max_size": 50, "min_freq": 2}])
def test_saved_as_json_it_comes_back(kwargs: dict[str, Any], tmp_path: Path) -> None:
    field = Field(**kwargs)
    field.build_vocab(sentences(50)["text"])
    saved = json.loads(field.save(tmp_path / "field.json").read_text("utf-8"))
    assert saved["itos"] == field.vocab.itos
    again = Field.load(tmp_path / "field.json")
    assert again.to_dict() == field.to_dict()
    assert again.tokens("It isn't SOOO bad!") == field.tokens("It isn't SOOO bad!")
    assert Field.from_dict(Field(tokenize=list).to_dict()).characters


def test_a_tokenizer_of_ones_own_has_to_be_passed_again(tmp_path: Path) -> None:
    field = words()
    field.build_vocab(["a b"])
    field.save(tmp_path / "f.json")
    with pytest.raises(DataError, match="a tokenizer of your own, 'str.split'; pass it as `tokenize=`"):
        Field.load(tmp_path / "f.json")
    assert Field.load(tmp_path / "f.json", str.split).tokens("b a") == ["b", "a", "<eos>"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"own": false, "tokenize": "spacy", "itos": 3}', "[" * 10**5])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(DataError, match="not the description of a field"):
        Field.load(tmp_path / "f.json")
    with pytest.raises(DataError, match="not the description of a field"):
        Field.load(tmp_path / "none.json")


def test_padding_and_bad_examples() -> None:
    field = words()
    field.build_vocab(["a b c"])
    assert field.numericalize([["a"], ["b", "c", "?"]]).T.tolist() == [[3, 1, 1], [4, 5, 0]]
    assert field.numericalize([]).shape == (0, 0)
    for wrong in ("a b", ["a b"]):
        with pytest.raises(TypeError, match="lists of tokens, one per text"):
            field.numericalize(wrong)
    assert field.textify(np.array([[3], [4]])) == "a b"


def test_what_cannot_be_a_field_is_said() -> None:
    with pytest.raises(ValueError, match='"spacy", list or a function'):
        Field(tokenize="words")
    with pytest.raises(TypeError, match='"spacy", list or a function'):
        Field(tokenize=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`min_freq` must be a positive whole number"):
        words(min_freq=0)
    with pytest.raises(ValueError, match="`markers` are for words"):
        Field(tokenize=list, markers=True)
    with pytest.raises(DataError, match="no vocabulary yet"):
        words().vocab  # noqa: B018
    with pytest.raises(DataError, match="the training texts: they are empty"):
        words().build_vocab(["", " \n "])
    with pytest.raises(DataError, match="no token comes 9 times .*; the most frequent comes 2 times"):
        words(min_freq=9).build_vocab(["to be or not to be"])
    field = words()
    field.vocab = Vocab(["<unk>", "<pad>", "a"])
    assert repr(field) == "Field(str.split, 3 tokens)"


def test_preprocess_gives_the_tokens_that_numericalize_takes() -> None:
    field = words()
    field.build_vocab(["To be or not to be"])
    tokens = field.preprocess("To be\nor")
    assert tokens == ["to", "be", "<eos>", "or"]
    assert field.textify(field.numericalize([tokens])) == "to be\nor"


@pytest.mark.parametrize("tokenize", [str.split, list, "spacy"])
@pytest.mark.parametrize("kwargs", [{"min_freq": 50}, {"max_size": 1}])
def test_a_vocabulary_of_special_tokens_only_is_refused(tokenize: Any, kwargs: dict[str, Any]) -> None:
    field = Field(tokenize=tokenize, **kwargs)
    texts = (
        ["a b", "c", "b"] * 20 if tokenize is not list else ["ab", "c", "b"] * 20
    )  # the end of a text comes 60 times
    with pytest.raises(
        DataError, match=r"no word is left for the vocabulary, only .*; the most frequent comes 40 times"
    ):
        field.build_vocab(texts)


def test_settings_that_change_nothing_are_said(tmp_path: Path) -> None:
    vocab = Vocab(["<unk>", "<pad>", "a"])
    for kwargs in ({"min_freq": 3}, {"max_size": 9}):
        with pytest.warns(UserWarning, match="`min_freq` and `max_size` change nothing"):
            words(vocab=vocab, **kwargs)
    field = words(min_freq=2)
    field.build_vocab(["a a b"])
    field.save(tmp_path / "f.json")
    again = Field.load(tmp_path / "f.json", str.split)  # what is saved is no request
    assert (again.min_freq, again.vocab) == (2, field.vocab)
    with pytest.raises(TypeError, match="expected a list of texts, got one text"):
        words().build_vocab("to be")
