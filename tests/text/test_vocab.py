"""A vocabulary: unknown and padding, then the most frequent first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.text import Vocab
from tests.text.helpers import hamlet


def test_frequent_tokens_come_first_and_equal_ones_in_order() -> None:
    counts = Counter(hamlet().split())
    vocab = Vocab.from_counts(counts, min_freq=3, max_size=500)
    assert vocab.itos[:2] == ["<unk>", "<pad>"]
    assert len(vocab) == 502
    ranks = [(-counts[token], token) for token in vocab.itos[2:]]
    assert ranks == sorted(ranks)
    left_out = max(n for token, n in counts.items() if token not in vocab)
    assert left_out <= counts[vocab.itos[-1]]
    assert min(counts[token] for token in vocab.itos[2:]) >= 3


@settings(max_examples=50)
@given(st.lists(st.text(max_size=5)), st.integers(1, 3))
def test_numbers_and_tokens_are_inverse(tokens: list[str], min_freq: int) -> None:
    vocab = Vocab.from_counts(Counter(tokens), min_freq=min_freq)
    kept = [token for token in tokens if tokens.count(token) >= min_freq and token not in vocab.itos[:2]]
    assert vocab.tokens(vocab.numbers(kept)) == kept
    rest = [token for token in tokens if token not in vocab]
    assert vocab.numbers(rest).tolist() == [0] * len(rest)


def test_an_unknown_token_is_zero_and_asking_adds_nothing() -> None:
    vocab = Vocab(["<unk>", "<pad>", "sea"])
    assert (vocab.stoi["zebra"], vocab.stoi["sea"], "zebra" in vocab, len(vocab.stoi)) == (0, 2, False, 3)


def test_matching_by_word() -> None:
    a, b = Vocab(["<unk>", "<pad>", "sea", "sky", "sun"]), Vocab(["<unk>", "<pad>", "sun", "sea"])
    assert a.matches(b).tolist() == [0, 1, 3, -1, 2]
    assert np.array_equal(a.matches(a), np.arange(5))
    assert (a == Vocab(list(a.itos)), a == b, hash(a) == hash(Vocab(list(a.itos)))) == (True, False, True)


@pytest.mark.parametrize("itos", [[], ["<pad>", "<unk>"], ["a", "b"], ["<unk>", "<pad>", 3]])
def test_no_vocabulary(itos: list[str]) -> None:
    with pytest.raises(DataError, match="begins with '<unk>', '<pad>'"):
        Vocab(itos)


def test_a_token_that_comes_twice_is_named() -> None:
    with pytest.raises(DataError, match="'sea' more than once"):
        Vocab(["<unk>", "<pad>", "sea", "sky", "sea"])
