"""A text's scores are its own: whatever shares its batch, however long it is, however it is cut into windows."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learnkit.text import PoolingHead, TextClassifier, TextData, Vocab
from learnkit.text.classifier import Pooled
from tests.text.helpers import NO_DROPOUT, encoder, text_learner, words


def classifier(max_sl: int = 1400, bptt: int = 7, n_layers: int = 2, **kwargs: Any) -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(encoder(n_layers=n_layers, **kwargs), 3, max_sl, bptt)


def batch(lengths: list[int]) -> Tensor:
    g = torch.Generator().manual_seed(sum(lengths))
    x = torch.full((max(lengths), len(lengths)), Vocab.pad)
    for column, n in enumerate(lengths):
        x[:n, column] = torch.randint(2, 50, (n,), generator=g)
    return x


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), max_sl=st.integers(1, 70), bptt=st.integers(1, 20))
def test_padding_changes_no_score(lengths: list[int], max_sl: int, bptt: int) -> None:
    model = classifier(max_sl, bptt).eval()
    x = batch(lengths)
    with torch.no_grad():
        together = model(x)[0]
        alone = torch.cat([model(x[:n, i : i + 1])[0] for i, n in enumerate(lengths)])
        padded = model(torch.cat([x, torch.full((13, len(lengths)), Vocab.pad)]))[0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, padded, atol=1e-5, rtol=1e-5)


@settings(max_examples=40)
@given(n=st.integers(1, 60), max_sl=st.integers(1, 70), bptt=st.integers(1, 20))
def test_windows_are_one_long_run_of_the_encoder(n: int, max_sl: int, bptt: int) -> None:
    model = classifier(max_sl, bptt).eval()
    x = batch([n, n])
    with torch.no_grad():
        scores, _, _ = model(x)
        h = model.encoder(x).raw
        whole = model.head(torch.cat([h[-1], h.amax(0), h.mean(0)], dim=1))
    torch.testing.assert_close(scores, whole, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_one_long_run_when_all_is_learnt_from() -> None:
    model = classifier(bptt=5, **NO_DROPOUT).eval()
    x = batch([23, 23])
    grads = []
    for scores in (model(x)[0], None):
        if scores is None:
            h = model.encoder(x).raw
            scores = model.head(torch.cat([h[-1], h.amax(0), h.mean(0)], dim=1))
        model.zero_grad()
        scores.square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("max_sl", "bptt"), [(20, 7), (7, 7), (1, 7), (30, 10)])
def test_gradients_reach_the_end_of_each_text_and_no_further(max_sl: int, bptt: int) -> None:
    """Every token has an embedding of its own, so that its gradient says whether it was learnt from."""
    lengths = [90, 71, 41]
    model = TextClassifier(encoder(300, **NO_DROPOUT), 3, max_sl, bptt)
    x = torch.full((90, 3), Vocab.pad)
    first = 2
    for column, n in enumerate(lengths):
        x[:n, column] = torch.arange(first, first + n)
        first += n
    model(x)[0].square().sum().backward()
    grad = model.encoder.embedding.weight.grad
    assert grad is not None
    learnt = (grad != 0).any(1)
    for column, n in enumerate(lengths):
        from_end = learnt[x[:n, column]].flip(0)
        assert from_end[:max_sl].all()
        assert not from_end[max_sl + 2 * bptt :].any()
        assert int(from_end.sum()) == int(from_end.int().cumprod(0).sum())  # without a hole


def test_scores_of_the_whole_text_count_also_what_is_not_learnt_from() -> None:
    model = classifier(7, 7, **NO_DROPOUT).eval()
    x = batch([60])
    other = x.clone()
    other[3] = 2 + (x[3] + 5) % 48
    assert not torch.allclose(model(x)[0], model(other)[0], atol=1e-7)


def test_a_text_of_50_000_tokens_takes_bounded_memory() -> None:
    """Peak memory of a training step hardly grows with the text, in a process that does nothing else."""
    code = """
import resource, sys, torch
from learnkit.text import AWDLSTM, TextClassifier
model = TextClassifier(AWDLSTM(1000, 64, 128, 2), 2, 280, 70)
def step(n):
    model(torch.randint(2, 1000, (n, 2)))[0].square().sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(600)
before = step(600)
print(step(int(sys.argv[1])) - before)
"""
    out = subprocess.run([sys.executable, "-c", code, "50000"], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 30_000  # kilobytes; all activations would be 50,000 * 2 * 192 * 8 numbers, 600 MB


def test_pooling_takes_real_tokens_only() -> None:
    h = torch.tensor([[1.0, 9.0], [5.0, 2.0], [3.0, 7.0]]).unsqueeze(-1)  # (T, B, 1)
    real = torch.tensor([[True, True], [True, False], [False, False]])
    pooled = Pooled()
    with pytest.raises(ValueError, match="nothing to pool"):
        pooled.vector()
    pooled.add(h, real)
    assert pooled.vector().tolist() == [[5, 5, 3], [9, 9, 9]]
    pooled.add(h + 10, torch.tensor([[True, False], [False, False], [False, False]]))
    assert pooled.vector()[0].tolist() == pytest.approx([11, 11, 17 / 3])
    assert pooled.vector()[1].tolist() == [9, 9, 9]
    nothing = Pooled()
    nothing.add(h, torch.zeros_like(real))
    assert nothing.vector().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_layer_groups_are_the_five_of_the_lesson() -> None:
    model = classifier(n_layers=3)
    groups = model.get_layer_groups()
    assert len(groups) == 5
    held = [id(p) for group in groups for module in group for p in module.parameters()]
    assert held == [id(p) for p in model.parameters()]
    assert groups[-1] == [model.head]


def test_the_compiled_classifier_is_the_same() -> None:
    model, x = classifier(14, 7), batch([30, 9, 22])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler warns of things of its own
        scores = []
        for run in (model, torch.compile(model, backend="eager")):
            torch.manual_seed(1)
            scores.append(run(x)[0])
    assert torch.equal(*scores)


def test_the_head_has_two_layers_with_batch_norm() -> None:
    kinds = [type(layer).__name__ for layer in PoolingHead(8, 2, 50, (0.4, 0.1))]
    assert kinds == ["BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"]
    for name in ("bptt", "max_sl"):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive whole number"):
            TextClassifier(encoder(), 2, **{name: 0})  # type: ignore[arg-type]


def test_padding_that_an_author_wrote_is_read_like_any_unknown_word(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"text": ["good <pad> bad", "bad <pad> good", "good zebra bad", "good"], "label": list("abab")}
    )
    field = words()
    field.build_vocab(["good bad"])
    data = TextData.from_dataframes(tmp_path, field, "text", "label", frame, frame)
    learn = text_learner(tmp_path, data)
    found = learn.predict_texts(frame["text"].tolist())
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[1])
    np.testing.assert_allclose(found, learn.predict(), rtol=1e-5, atol=1e-6)
