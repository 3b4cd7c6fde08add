"""Batches of text: nothing is lost, nothing comes twice, and an epoch can begin anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import DataError, seed_everything
from learnkit.core.preserve import random_state
from learnkit.text import BPTTLoader, Corpus, TextLoader, Vocab

FEW = settings(max_examples=150)
SIZES: dict[str, Any] = {
    "n": st.integers(2, 700),
    "bs": st.integers(1, 20),
    "bptt": st.integers(1, 40),
    "vary": st.booleans(),
    "backwards": st.booleans(),
}


def stream(dl: BPTTLoader) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    batches = list(dl)
    return [x for x, _ in batches], [y for _, y in batches]


@FEW
@given(**SIZES)
def test_the_columns_one_after_another_are_the_corpus(n: int, bs: int, bptt: int, vary: bool, backwards: bool) -> None:
    if n <= bs:
        return
    ids = np.random.default_rng(n).integers(0, 60_000, n).astype(np.uint16)
    dl = BPTTLoader(ids, bs, bptt, vary=vary, backwards=backwards)
    xs, ys = stream(dl)
    assert len(xs) == len(dl)
    assert all(x.shape == (len(y) // bs, bs) and x.dtype == y.dtype == torch.int64 for x, y in zip(xs, ys, strict=True))
    text = ids[::-1] if backwards else ids
    rows = (n - 1) // bs
    inputs = torch.cat(xs)
    assert inputs.T.reshape(-1).tolist() == text[: rows * bs].tolist()
    targets = torch.cat([y.view(-1, bs) for y in ys])
    assert targets.T.reshape(-1).tolist() == text[1 : rows * bs + 1].tolist()  # shifted by one, across columns too
    assert torch.equal(targets[:-1], inputs[1:])
    assert n - 1 - rows * bs < bs  # fewer than a row are left over


@FEW
@given(**SIZES, skip=st.integers(0, 30))
def test_beginning_at_a_batch_is_skipping(n: int, bs: int, bptt: int, vary: bool, backwards: bool, skip: int) -> None:
    if n <= bs:
        return
    dl = BPTTLoader(np.arange(n), bs, bptt, vary=vary, backwards=backwards)
    skip = min(skip, len(dl))
    torch.manual_seed(n)
    whole, after = list(dl), torch.get_rng_state()
    torch.manual_seed(n)
    rest = list(dl.iter_from(skip))
    assert torch.equal(torch.get_rng_state(), after)
    assert len(rest) == len(whole) - skip
    for (x, y), (x2, y2) in zip(whole[skip:], rest, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_windows_vary_around_bptt_and_are_halved_now_and_then() -> None:
    dl = BPTTLoader(np.zeros(70 * 64 * 500, dtype=np.uint16), 64, 70, vary=True)
    lengths = np.concatenate([[len(x) for x, _ in dl] for _ in range(2)])
    assert 67 < lengths.mean() < 69.5
    usual = lengths[lengths > 52]
    assert abs(np.median(usual) - 70) < 3
    assert 3.5 < usual.std() < 6.5
    assert 0.03 < (lengths <= 52).mean() < 0.075
    assert len(np.unique(lengths)) > 20


def test_an_epoch_follows_from_the_seed_and_differs_from_the_next() -> None:
    def epochs(generator: torch.Generator | None) -> list[list[int]]:
        dl = BPTTLoader(np.arange(20_000), 4, 30, vary=True, generator=generator)
        return [[len(x) for x, _ in dl] for _ in range(2)]

    seed_everything(1)
    first = epochs(None)
    seed_everything(1)
    assert epochs(None) == first
    assert first[0] != first[1]
    own = torch.Generator().manual_seed(5)
    before = random_state()["torch"]
    mine = epochs(own)
    assert torch.equal(before, random_state()["torch"])  # a generator of its own leaves torch's alone
    assert epochs(torch.Generator().manual_seed(5)) == mine


def test_all_draws_are_made_before_the_first_batch() -> None:
    dl = BPTTLoader(np.arange(5_000), 4, 30, vary=True)
    torch.manual_seed(0)
    expected = [len(x) for x, _ in dl]
    torch.manual_seed(0)
    lengths = []
    for x, _ in dl:
        lengths.append(len(x))
        torch.rand(3)  # dropout draws too
    assert lengths == expected


def test_too_short_a_stream_says_what_it_needs() -> None:
    with pytest.raises(DataError, match=r"8 tokens are too few for 8 columns \(`bs`\), which need 9"):
        BPTTLoader(np.arange(8), 8)
    assert len(list(BPTTLoader(np.arange(9), 8, 70, vary=True))) == 1
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="`bs` must be a positive whole number"):
            BPTTLoader(np.arange(9), wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------- whole texts


def corpus_of(lengths: list[int]) -> Corpus:
    """Text `i` repeats the number `i + 2`."""
    ids = np.repeat(np.arange(2, len(lengths) + 2), lengths).astype(np.uint16)
    return Corpus(ids, np.concatenate([[0], np.cumsum(lengths)]), Vocab(["<unk>", "<pad>"]))


def text_loader(lengths: list[int], bs: int = 8, **kwargs: Any) -> TextLoader:
    return TextLoader(corpus_of(lengths), np.arange(len(lengths)), None, bs, **kwargs)


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60)


@FEW
@given(lengths=LENGTHS, bs=st.integers(1, 12), shuffle=st.booleans(), skip=st.integers(0, 8))
def test_each_text_comes_once_whole_and_with_its_target(lengths: list[int], bs: int, shuffle: bool, skip: int) -> None:
    dl = text_loader(lengths, bs, shuffle=shuffle)
    torch.manual_seed(len(lengths))
    batches = list(dl)
    assert len(batches) == len(dl)
    seen = []
    for x, y in batches:
        assert len(y) <= bs
        for column, i in zip(x.T.tolist(), y.tolist(), strict=True):
            assert column == [i + 2] * lengths[i] + [Vocab.pad] * (len(x) - lengths[i])
            seen.append(i)
        assert any(Vocab.pad not in column for column in x.T.tolist())  # no longer than its longest
    if shuffle:
        left_out = len(lengths) > bs > 1 and len(lengths) % bs == 1
        assert len(set(seen)) == len(seen) == len(lengths) - left_out
        assert dl.order is None
        if len(lengths) >= bs and not left_out:
            assert len(batches[0][0]) == max(lengths)  # whether memory is enough shows at once
    else:
        assert dl.order is not None
        assert seen == dl.order.tolist()
        assert sorted(seen) == list(range(len(lengths)))
        assert [lengths[i] for i in seen] == sorted(lengths, reverse=True)
    torch.manual_seed(len(lengths))
    skip = min(skip, len(dl))
    for (x, y), (x2, y2) in zip(batches[skip:], dl.iter_from(skip), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_texts_of_similar_length_share_a_batch_in_an_order_that_changes() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 2000).tolist()
    dl = text_loader(lengths, 16, shuffle=True)
    padding = [1 - sum(lengths[i] for i in y.tolist()) / x.numel() for x, y in dl]
    assert np.mean(padding) < 0.05
    assert np.mean([1 - np.mean(lengths[i : i + 16]) / max(lengths[i : i + 16]) for i in range(0, 2000, 16)]) > 0.4
    a, b = ([y.tolist() for _, y in dl] for _ in range(2))
    assert a != b
    assert len({tuple(sorted(y)) for y in a} & {tuple(sorted(y)) for y in b}) < 5


def test_a_text_that_would_be_left_alone_is_any_of_them() -> None:
    """Batch norm cannot train on one item, and the same one must not be missed in every epoch."""
    dl = text_loader(list(range(1, 18)), 8, shuffle=True)
    missed = {(set(range(17)) - {i for _, y in dl for i in y.tolist()}).pop() for _ in range(60)}
    assert len(missed) > 8


def test_backwards_and_cut_to_the_end() -> None:
    ids = np.arange(2, 12)
    corpus = Corpus(ids, np.array([0, 6, 10]), Vocab(["<unk>", "<pad>"]))
    y = np.zeros(2, dtype=np.int64)

    def columns(**kwargs: Any) -> list[list[int]]:
        x, _ = next(iter(TextLoader(corpus, y, **kwargs)))
        return x.T.tolist()

    assert columns() == [[2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 1, 1]]
    assert columns(backwards=True) == [[7, 6, 5, 4, 3, 2], [11, 10, 9, 8, 1, 1]]
    assert columns(max_len=3) == [[5, 6, 7], [9, 10, 11]]
    x, chosen = next(iter(TextLoader(corpus, np.array([7]), np.array([1]))))
    assert (x.T.tolist(), chosen.tolist()) == ([[8, 9, 10, 11]], [7])


def test_texts_and_targets_must_be_as_many() -> None:
    with pytest.raises(DataError, match="2 texts and 3 targets"):
        TextLoader(corpus_of([1, 2]), np.zeros(3))
    with pytest.raises(DataError, match="no texts here"):
        TextLoader(corpus_of([1, 2]), np.zeros(0), np.zeros(0, dtype=np.int64))


def test_a_text_read_backwards_keeps_its_end_too() -> None:
    corpus = Corpus(np.array([2, 3, 4, 5, 6, 7, 8]), np.array([0, 5, 7]), Vocab(["<unk>", "<pad>", *"abcdefg"]))
    for backwards, expected in ((False, [[4, 5, 6], [7, 8, 1]]), (True, [[6, 5, 4], [8, 7, 1]])):
        x, _ = next(iter(TextLoader(corpus, np.zeros(2), bs=2, max_len=3, backwards=backwards)))
        assert x.T.tolist() == expected
