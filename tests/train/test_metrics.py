"""Each metric equals scikit-learn's, or the formula, over a validation set in uneven batches."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from learnkit import (
    R2,
    Accuracy,
    AveragePrecision,
    Collected,
    DataError,
    FBeta,
    Mean,
    Perplexity,
    RocAuc,
    Rooted,
    TopKAccuracy,
    accuracy,
    accuracy_np,
    average_precision,
    error_rate,
    exp_rmspe,
    f1,
    f2,
    fbeta,
    mae,
    mse,
    perplexity,
    r2,
    rmse,
    roc_auc,
    top_k_accuracy,
    validate,
)
from learnkit.train.metrics import METRICS, Foreign, as_metrics

SIZES = [1, 17, 4, 9, 2]
N = sum(SIZES)


def over_batches(metric: Any, preds: Any, targs: Any) -> float:
    """The value that a validation pass over uneven batches reports."""
    preds, targs = torch.as_tensor(preds), torch.as_tensor(targs)
    loader = list(zip(preds.split(SIZES), targs.split(SIZES), strict=True))
    results = validate(nn.Identity(), loader, lambda pred, y: pred.sum() * 0, [metric])
    return list(results.values())[1]


@pytest.fixture(params=range(3))
def rng(request) -> np.random.Generator:
    return np.random.default_rng(request.param)


def logits(rng: np.random.Generator, c: int) -> np.ndarray:
    return rng.normal(size=(N, c)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(scores).softmax(1).numpy()


def every_class(rng: np.random.Generator, c: int) -> np.ndarray:
    return rng.permutation(np.arange(N) % c)


def one_hot(y: np.ndarray, c: int) -> np.ndarray:
    return np.eye(c)[y]


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("c", [2, 7])
def test_class_metrics_equal_scikit_learns(rng, c):
    scores, y = logits(rng, c), every_class(rng, c)
    said, probs = scores.argmax(1), softmax(scores)
    rest = one_hot(y, c)
    expected = {
        "accuracy": sk.accuracy_score(y, said),
        "error_rate": sk.zero_one_loss(y, said),
        "f1": sk.f1_score(y, said, average="macro"),
        "f2": sk.fbeta_score(y, said, beta=2, average="macro"),
        "roc_auc": sk.roc_auc_score(y, probs[:, 1]) if c == 2 else sk.roc_auc_score(y, probs, multi_class="ovr"),
        "average_precision": sk.average_precision_score(y, probs[:, 1])
        if c == 2
        else sk.average_precision_score(rest, probs, average="macro"),
        "perplexity": math.exp(sk.log_loss(y, probs.astype(float) / probs.sum(1, keepdims=True, dtype=float))),
    }
    if c > 5:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(y, scores, k=5)
    for name, value in expected.items():
        assert over_batches(name, scores, y) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("k", [1, 3, 6, 7, 50])
def test_top_k(rng, k):
    scores, y = logits(rng, 7), rng.integers(7, size=N)
    expected = 1.0 if k >= 7 else sk.top_k_accuracy_score(y, scores, k=k, labels=range(7))
    assert over_batches(TopKAccuracy(k), scores, y) == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.5, 1, 2])
def test_f_beta_counts_the_classes_that_occur(rng, beta):
    scores, y = logits(rng, 7), rng.integers(3, size=N)
    scores[:, 5:] = -9  # never said, never true
    expected = sk.fbeta_score(y, scores.argmax(1), beta=beta, average="macro", zero_division=0)
    assert over_batches(fbeta(beta), scores, y) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_one_probability_per_item(rng, shape, threshold):
    probs, y = rng.random(N).astype(np.float32), rng.integers(2, size=N)
    said = probs >= threshold
    expected = {
        Accuracy(threshold): sk.accuracy_score(y, said),
        FBeta(2, threshold=threshold): sk.fbeta_score(y, said, beta=2),
        FBeta(1, threshold=threshold): sk.f1_score(y, said),
        RocAuc(): sk.roc_auc_score(y, probs),
        AveragePrecision(): sk.average_precision_score(y, probs),
    }
    for metric, value in expected.items():
        assert over_batches(metric, probs.reshape(shape), y) == pytest.approx(value), metric.name


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_several_labels_per_item(rng, threshold):
    probs, y = rng.random((N, 5)).astype(np.float32), (rng.random((N, 5)) < 0.4).astype(np.float32)
    y[[3, 20]] = 0  # no label at all
    probs[3] = 0.1
    said = probs >= threshold
    expected = {
        Accuracy(threshold): (said == y).mean(),
        FBeta(2, threshold=threshold): sk.fbeta_score(y, said, beta=2, average="samples", zero_division=0),
        FBeta(1, threshold=threshold): sk.f1_score(y, said, average="samples", zero_division=0),
        RocAuc(): sk.roc_auc_score(y, probs),
        AveragePrecision(): sk.average_precision_score(y, probs),
    }
    for metric, value in expected.items():
        assert over_batches(metric, probs, y) == pytest.approx(value), metric.name


def test_sequences_count_every_position():
    preds, y = torch.randn(N, 4, 6), torch.randint(6, (N, 4))
    flat = preds.reshape(-1, 6), y.reshape(-1)
    for name in ("accuracy", "error_rate", "top5_accuracy", "f1", "perplexity"):
        assert over_batches(name, preds, y) == pytest.approx(METRICS[name](*flat), rel=1e-6), name


def test_classes_that_cannot_be_ranked_are_left_out():
    """The area of a class of which the set has all or none is not defined."""
    scores, y = torch.randn(N, 4).softmax(1), torch.arange(N) % 2
    expected = np.mean([sk.roc_auc_score(y == c, scores[:, c]) for c in (0, 1)])
    assert over_batches("roc_auc", scores, y) == pytest.approx(expected)
    assert math.isnan(roc_auc(scores, torch.zeros(N)))
    assert math.isnan(roc_auc(scores[:, :2], torch.ones(N, dtype=torch.long)))


def test_perplexity_of_a_sure_and_of_an_unknowing_model():
    y = torch.arange(N) % 4
    assert perplexity(torch.zeros(N, 4), y) == pytest.approx(4)
    assert perplexity(100 * F.one_hot(y, 4).float(), y) == pytest.approx(1)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("shapes", [((N,), (N,)), ((N, 1), (N,)), ((N, 1), (N, 1)), ((N, 3), (N, 3))])
def test_value_metrics_equal_scikit_learns(rng, shapes):
    preds = rng.normal(size=shapes[0]).astype(np.float32)
    y = (rng.normal(size=shapes[1]) + 3).astype(np.float32)
    p, t = preds.reshape(N, -1).astype(float), y.reshape(N, -1).astype(float)
    expected = {
        "mse": sk.mean_squared_error(t, p),
        "rmse": math.sqrt(sk.mean_squared_error(t, p)),
        "mae": sk.mean_absolute_error(t, p),
        "r2": sk.r2_score(t, p),
        "exp_rmspe": math.sqrt((((np.exp(t) - np.exp(p)) / np.exp(t)) ** 2).mean()),
    }
    for name, value in expected.items():
        assert over_batches(name, preds, y) == pytest.approx(value, rel=1e-6), name


@given(st.lists(st.tuples(st.integers(-100, 100), st.integers(-100, 100)), min_size=3, max_size=20))
@settings(max_examples=50)
def test_r2_of_any_values(pairs):
    preds, targs = np.array(pairs, dtype=np.float32).T
    if len(set(targs)) == 1:
        assert math.isnan(r2(preds, targs))
    else:
        assert r2(preds, targs) == pytest.approx(sk.r2_score(targs.astype(float), preds.astype(float)))


def test_large_offset_does_not_spoil_the_variance():
    targs = torch.randn(N) + 1e5
    preds = targs + 0.1 * torch.randn(N)
    assert over_batches("r2", preds, targs) == pytest.approx(
        sk.r2_score(targs.double().numpy(), preds.double().numpy()), abs=1e-4
    )


def test_long_sums_do_not_lose_items():
    """Twenty million and one items do not fit the whole numbers of a 32-bit float."""
    metric = Accuracy()
    metric.reset()
    metric.totals = torch.tensor([2.0e7, 2.0e7], dtype=torch.float64)
    metric.update(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert metric.totals.tolist() == [2.0e7, 2.0e7 + 1]


# ---------------------------------------------------------------- how they may be asked for


def test_the_courses_functions():
    probs, y = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]), np.array([0, 0, 1])
    assert accuracy_np(probs, y) == accuracy(torch.tensor(probs).log(), torch.tensor(y)) == pytest.approx(2 / 3)
    assert accuracy([[0.1, 0.9]], [1]) == 1.0
    assert [error_rate(probs, y), top_k_accuracy(probs, y)] == pytest.approx([1 / 3, 1.0])
    assert f1(probs, y) == sk.f1_score(y, probs.argmax(1), average="macro")
    assert f2(probs, y) == fbeta(2)(probs, y)
    assert average_precision(probs, y) == 1.0
    assert (rmse([0.0, 0.0], [1.0, 7.0]), mse([0.0, 0.0], [1.0, 7.0]), mae([0.0, 0.0], [1.0, 7.0])) == (5.0, 25.0, 4.0)
    assert exp_rmspe([0.0], [math.log(2)]) == pytest.approx(0.5)


def test_names_functions_classes_and_objects():
    def own(preds: Tensor, targs: Tensor) -> float:
        return 1.0

    class Sweep:
        def __call__(self, preds, targs):
            return 2.0

    given_ = ["f1", accuracy, Perplexity, own, partial(partial(own)), Sweep(), lambda p, t: 0.0, FBeta(0.5), R2]
    resolved = as_metrics(given_)
    names = ["f1", "accuracy", "perplexity", "own_1", "own_2", "Sweep", "<lambda>", "f0.5", "r2"]
    assert [metric.name for metric in resolved] == names
    assert [type(metric) for metric in resolved[3:7]] == [Collected] * 4
    assert (as_metrics(None), as_metrics(())) == ([], [])
    assert [metric.name for metric in as_metrics("f1")] == ["f1"]


def test_two_of_one_name_get_columns_of_their_own():
    a, b, c = as_metrics([FBeta(1, threshold=0.2), "accuracy", FBeta(1, threshold=0.8)])
    assert (a.name, b.name, c.name) == ("f1_1", "accuracy", "f1_2")
    assert METRICS["f1"].name == "f1"


@pytest.mark.parametrize(
    ("metric", "error", "words"),
    [
        ("acuracy", ValueError, r"unknown metric 'acuracy'. Did you mean 'accuracy'\? Known are: accuracy, "),
        ("rsme", ValueError, "Did you mean 'rmse'"),
        ("xyz", ValueError, r"unknown metric 'xyz'. Known are"),
        (3, TypeError, "must be a name, a function or an object with update, compute and reset; got 3"),
    ],
)
def test_unknown_metric(metric, error, words):
    with pytest.raises(error, match=words):
        as_metrics([metric])


@pytest.mark.parametrize(
    ("metric", "preds", "targs", "words"),
    [
        (
            accuracy,
            (4, 3),
            (4, 2),
            r"\(4, 3\) need one class number per item, shape \(4,\); got targets of shape \(4, 2\)",
        ),
        (top_k_accuracy, (4, 3), (3,), r"one class number per item"),
        (f1, (4, 3), (3,), r"one class number per item"),
        (rmse, (4, 3), (4,), r"predictions \(4, 3\) and targets \(4,\) differ in number"),
        (mae, (4,), (3,), "differ in number"),
        (r2, (4, 2), (4, 1), "differ in number"),
    ],
)
def test_shapes_that_would_only_broadcast_are_refused(metric, preds, targs, words):
    with pytest.raises(DataError, match=words):
        metric(torch.zeros(preds), torch.zeros(targs).long())


def test_metric_of_ones_own_is_weighted_right():
    x, y = torch.randn(N), torch.randn(N)
    per_item = Mean(lambda p, t: (p - t) ** 2, name="a")
    per_batch = Mean(lambda p, t: F.mse_loss(p, t), name="b")
    rooted = Rooted(lambda p, t: (p - t) ** 2, name="c")
    assert over_batches(per_item, x, y) == pytest.approx(F.mse_loss(x, y).item())
    assert over_batches(per_batch, x, y) == pytest.approx(F.mse_loss(x, y).item())
    assert over_batches(rooted, x, y) == pytest.approx(F.mse_loss(x, y).sqrt().item())


def test_functions_of_the_whole_set_are_not_averages_of_batches():
    def spread(preds: Tensor, targs: Tensor) -> Tensor:
        return preds.max() - preds.min()

    x = torch.randn(N)
    assert over_batches(spread, x, x) == pytest.approx((x.max() - x.min()).item())


@pytest.mark.parametrize("c", [2, 7])
def test_torchmetrics_objects_are_wrapped_and_reset(c):
    torchmetrics = pytest.importorskip("torchmetrics")
    preds, y = torch.randn(N, c), torch.arange(N) % c
    for theirs, ours in [
        (torchmetrics.Accuracy(task="multiclass", num_classes=c, average="micro"), "accuracy"),
        (torchmetrics.F1Score(task="multiclass", num_classes=c, average="macro"), "f1"),
        (torchmetrics.AUROC(task="multiclass", num_classes=c), "roc_auc" if c > 2 else None),
    ]:
        for _ in range(2):
            value = over_batches(theirs, preds, y)
            assert ours is None or value == pytest.approx(over_batches(ours, preds, y), rel=1e-4)
    assert isinstance(as_metrics([theirs])[0], Foreign)


def test_half_precision_predictions_are_summed_in_full():
    preds, y = torch.randn(N).bfloat16(), torch.randn(N)
    assert over_batches("mse", preds, y) == pytest.approx(F.mse_loss(preds.double(), y.double()).item())


def test_a_class_of_metrics_that_wants_arguments_is_named():
    class Share:
        def __init__(self, task):
            pass

    with pytest.raises(TypeError, match=r"the metric Share is a class .*; pass an instance, Share\(...\)"):
        as_metrics([Share])
