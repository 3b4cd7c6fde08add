"""Texts and labels of any kind: the right answer, or an error in words."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from learnkit import DataError
from learnkit.text import Field, LanguageModelData, TextData, TextLearner
from learnkit.text.texts import MARK

pytestmark = pytest.mark.filterwarnings("ignore:.*are not in the vocabulary")
MANY = settings(max_examples=40, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from(
    ["sea", "SKY", "<pad>", "<eos>", "<unk>", "<cap>", "007", "é", "\ud83d", "nan", "", "\ufeffx", "a\u00a0b"]
)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join) | st.text(alphabet="ab \n\r<>", max_size=12)
GAPS = st.sampled_from([None, np.nan, pd.NA, pd.NaT])
NAMES = st.sampled_from(["x", "y", "NA", "nan", "None", "007", "7", " x"])
NUMBERS = st.integers(-1, 2) | st.booleans() | st.sampled_from([0.5, 1.5, -1.0])
LABELS = NAMES | NUMBERS


def by_hand(text: str, known: list[str]) -> list[str]:
    """The tokens of a text, split at blanks: an independent account of what a field does."""
    text = text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n").lower()
    *lines, rest = text.split("\n")
    tokens = [token for line in lines if line.split() for token in [*line.split(), None]]
    tokens += rest.split()
    if not tokens or tokens[-1] is not None:
        tokens.append(None)
    return ["<eos>" if token is None else token if token in known else "<unk>" for token in tokens]


def column(labels: list[Any], kind: str) -> Any:
    boxed = np.empty(len(labels), dtype=object)
    boxed[:] = labels
    return {"list": labels, "array": boxed, "series": pd.Series(boxed, index=range(5, 5 + len(labels)))}[kind]


class Counts(nn.Module):
    """Scores that are read off the tokens: how many come, how often each of two does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(x == 2).sum(0), (x == 3).sum(0)], dim=1).float()


@pytest.mark.filterwarnings("ignore:the classes .* differ only in capitals or blanks")  # they may, and are two classes
@MANY
@given(
    texts=st.lists(TEXTS, min_size=2, max_size=9),
    labels=st.lists(NAMES, min_size=9, max_size=9) | st.lists(NUMBERS, min_size=9, max_size=9),
    kind=st.sampled_from(["list", "array", "series"]),
    bs=st.integers(1, 4),
)
def test_labels_and_texts_keep_their_order_and_values(texts: list[str], labels: list[Any], kind: str, bs: int) -> None:
    labels = labels[: len(texts)]
    counts = Counter(
        token
        for text in texts
        for token in text.removeprefix(MARK).lower().split()
        if token not in ("<pad>", "<unk>", "<eos>")
    )
    with tempfile.TemporaryDirectory() as folder:
        split = (texts, column(labels, kind))
        field = Field(tokenize=str.split)
        if len(set(labels)) < 2 or not counts:
            with pytest.raises(DataError, match="at least 2 classes|are empty|no word is left"):
                TextData.from_splits(folder, [split, split], bs, field=field)
            return
        data = TextData.from_splits(folder, [split, split], bs, field=field)
        assert set(data.field.vocab.itos[2:]) == {*counts, "<eos>"}
        known = [token for token in data.field.vocab.itos if token not in ("<pad>", "<eos>")]
        for ds in (data.trn_ds, data.val_ds):
            assert [item.label for item in ds] == labels
            assert [item.text[:] for item in ds] == [by_hand(text, known) for text in texts]
        learn = TextLearner(data, Counts())
        expected = np.array([[(item.ids == code).sum() for code in (2, 3)] for item in data.val_ds], dtype=np.float32)
        found = np.exp(learn.predict())
        np.testing.assert_allclose(
            found, np.exp(expected) / np.exp(expected).sum(1, keepdims=True), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(np.exp(learn.predict_texts(texts)), found, rtol=1e-4, atol=1e-6)
        del data, learn


@MANY
@given(
    labels=st.lists(LABELS | GAPS, min_size=2, max_size=6),
    kind=st.sampled_from(["list", "array", "series"]),
    which=st.integers(0, 1),
)
def test_a_gap_among_the_labels_is_named(labels: list[Any], kind: str, which: int) -> None:
    gaps = [row for row, label in enumerate(labels) if pd.isna(label)]
    good = (["a", "b"], [0, 1])
    bad = ([f"a{i}" for i in range(len(labels))], column(labels, kind))
    frame = pd.DataFrame({"t": bad[0], "y": column(labels, "array")})
    good_frame = pd.DataFrame({"t": good[0], "y": good[1]})
    with tempfile.TemporaryDirectory() as folder:
        if not gaps:
            return
        with pytest.raises(DataError, match=rf"split {which} is missing in row {gaps[0]} \({len(gaps)} in all\)"):
            TextData.from_splits(folder, [good, bad] if which else [bad], field=Field(tokenize=str.split))
        frames = (good_frame, frame) if which else (frame,)
        with pytest.raises(DataError, match=rf"the label 'y' is missing in row {gaps[0]}"):
            TextData.from_dataframes(folder, Field(tokenize=str.split), "t", "y", *frames)


@MANY
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    tokenize=st.sampled_from(["chars", "words", "generator"]),
    bs=st.integers(1, 4),
    backwards=st.booleans(),
)
def test_a_stream_is_the_texts_one_after_another(texts: list[str], tokenize: str, bs: int, backwards: bool) -> None:
    split: Any = {"chars": list, "words": str.split, "generator": lambda line: (word for word in line.split())}[
        tokenize
    ]
    field = Field(tokenize=split)
    with tempfile.TemporaryDirectory() as folder:
        try:
            frame = pd.DataFrame({"text": pd.Series(texts, dtype=object)})
            md = LanguageModelData.from_dataframes(
                folder, field, "text", frame, frame, bs=bs, bptt=5, backwards=backwards
            )
        except DataError as exc:
            assert any(words in str(exc) for words in ("are empty", "no word is left", "too few")), exc  # noqa: PT017
            return
        raw = [text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n") for text in texts]
        expected = [token for text in raw for token in field.tokens(text)]
        assert md.trn_ds[0].ids.tolist() == field.vocab.numbers(expected).tolist()
        assert 1 not in md.trn_ds[0].ids  # padding is no token
        x = torch.cat([x for x, _ in md.val_dl])  # type: ignore[union-attr]
        stream = md.val_ds[0].ids.tolist()
        stream = stream[::-1] if backwards else stream
        assert x.T.reshape(-1).tolist() == stream[: x.numel()]
        del md
