"""Bags of words with labels: naive Bayes to begin with, and better once it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from learnkit import DataError, seed_everything
from learnkit.text import BowLoader, TextClassifierData, log_count_ratios
from tests.text.helpers import sentences


def bags(seed: int = 0, n: int = 40, width: int = 12, c: int = 2) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return sparse.csr_matrix((rng.random((n, width)) < 0.3) * rng.integers(1, 4, (n, width))), y


@pytest.mark.parametrize("c", [2, 3])
def test_before_it_learns_the_model_is_naive_bayes(c: int) -> None:
    bow, y = bags(c=c)
    md = TextClassifierData.from_bow(bow, y, bow, y)
    there = np.asarray(bow.todense()) > 0
    expected = np.zeros((len(y), c))
    for k in range(c):
        p, q = there[y == k].sum(0) + 1, there[y != k].sum(0) + 1
        n = (y == k).sum() + 1, (y != k).sum() + 1
        ratios = np.log(p / p.sum()) - np.log(q / q.sum())
        expected[:, k] = 0.4 * there @ ratios / 10 + np.log(n[0] / n[1]) / 2
    expected -= np.log(np.exp(expected).sum(1, keepdims=True))
    learn = md.dotprod_nb_learner()
    np.testing.assert_allclose(learn.predict(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(learn.predict_dl(md.bow_dl(bow)), expected, rtol=1e-4, atol=1e-5)


def test_batches_hold_what_is_in_each_bag() -> None:
    bow, y = bags()
    for shuffle in (False, True):
        found: dict[int, list[int]] = {}
        for x, _ in BowLoader(bow, np.arange(len(y)), 7, shuffle):
            assert x.dtype == torch.int64
        for x, label in BowLoader(bow, np.arange(len(y)), 7, shuffle):
            found |= {int(k): sorted(v - 1 for v in row.tolist() if v) for row, k in zip(x, label, strict=True)}
        assert found == {k: np.flatnonzero(bow[k].toarray()[0]).tolist() for k in range(len(y))}


def test_it_is_at_least_as_good_as_a_logistic_regression_on_real_texts() -> None:
    trn, val = sentences(3000), sentences(1500, start=5000)
    veczr = CountVectorizer(ngram_range=(1, 2), binary=True)
    a, b = veczr.fit_transform(trn["text"]), veczr.transform(val["text"])
    usual = LogisticRegression(max_iter=200).fit(a, trn["label"]).score(b, val["label"])
    seed_everything(0)
    md = TextClassifierData.from_bow(a, trn["label"], b, val["label"], 2000)
    learn = md.dotprod_nb_learner()
    with learn.no_progress():
        results = learn.fit(0.02, 2, wds=1e-6, cycle_len=1)
    assert results["accuracy"] > usual - 0.02
    assert results["accuracy"] > 0.68


def test_only_the_features_that_say_most_are_looked_at() -> None:
    bow, y = bags()
    md = TextClassifierData.from_bow(bow, y, bow, y, sl=2)
    strength = np.abs(log_count_ratios(bow > 0, y, 2)[0]).max(1)
    assert md.val_dl is not None
    for k, row in enumerate(row for x, _ in md.val_dl for row in x):
        there = np.flatnonzero(bow[k].toarray()[0])
        best = sorted(strength[there])[-2:]
        np.testing.assert_allclose(sorted(strength[v - 1] for v in row.tolist() if v), best)


def test_saved_weights_come_back_and_bad_bags_are_refused(tmp_path: Path) -> None:
    bow, y = bags()
    learn = TextClassifierData.from_bow(bow, y, bow, y, path=tmp_path).dotprod_nb_learner()
    with learn.no_progress():
        learn.fit(0.1, 1)
    learn.save("nb")
    again = TextClassifierData.from_bow(bow, y, bow, y, path=tmp_path).dotprod_nb_learner()
    again.load("nb")
    np.testing.assert_array_equal(again.predict(), learn.predict())
    with pytest.raises(DataError, match="`trn_bow` has 40 texts and `trn_y` 39 labels"):
        TextClassifierData.from_bow(bow, y[1:])
    with pytest.raises(DataError, match="the label of trn_y is missing in row 0"):
        TextClassifierData.from_bow(bow, [None, *y[1:]])
    with pytest.raises(DataError, match="`val_bow` has 11 columns and the training bags 12"):
        TextClassifierData.from_bow(bow, y, bow[:, 1:], y)
    with pytest.raises(DataError, match="`trn_bow` holds a negative or missing number"):
        TextClassifierData.from_bow(-bow, y)
    with pytest.raises(DataError, match="`trn_bow` must be a matrix of numbers"):
        TextClassifierData.from_bow(["a text"], y)
