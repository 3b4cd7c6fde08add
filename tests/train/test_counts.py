"""Found and missed: the figures of scikit-learn, at any threshold, and what counts where nothing is to be found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torch import nn

import learnkit
from learnkit import (
    F2,
    DataBunch,
    DataError,
    FBeta,
    Interpretation,
    Learner,
    Metric,
    MultiCategory,
    Precision,
    Recall,
    Specificity,
    TrainingError,
    accuracy,
    f2,
    precision,
    recall,
    sensitivity,
    specificity,
)
from learnkit.train.metrics import METRICS, as_metrics
from tests.train.helpers import assert_same, items, learner, plain_net, run_fit, snapshot

N = 40


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_of_the_positive_class(rng, threshold):
    probs, y = rng.random(N).astype(np.float32), rng.integers(2, size=N)
    said = probs >= (threshold or 0.5)
    for shape in ((N,), (N, 1)):
        scores = probs.reshape(shape)
        assert Precision(threshold=threshold)(scores, y) == pytest.approx(sk.precision_score(y, said))
        assert Recall(threshold=threshold)(scores, y) == pytest.approx(sk.recall_score(y, said))
        assert Specificity(threshold=threshold)(scores, y) == pytest.approx(sk.recall_score(y, said, pos_label=0))


def test_of_the_second_of_two_classes_and_the_mean_over_more(rng):
    for c in (2, 4):
        scores, y = rng.normal(size=(N, c)).astype(np.float32), rng.integers(c, size=N)
        said = scores.argmax(1)
        average: Any = "binary" if c == 2 else "macro"
        assert precision(scores, y) == pytest.approx(sk.precision_score(y, said, average=average))
        assert recall(scores, y) == sensitivity(scores, y) == pytest.approx(sk.recall_score(y, said, average=average))
        matrices = sk.multilabel_confusion_matrix(y, said)
        each = matrices[:, 0, 0] / (matrices[:, 0, 0] + matrices[:, 0, 1])
        assert specificity(scores, y) == pytest.approx(each[1] if c == 2 else each.mean())


def test_of_several_labels_and_of_masks(rng):
    probs, y = rng.random((N, 5)).astype(np.float32), (rng.random((N, 5)) < 0.4).astype(int)
    said = probs >= 0.5
    assert precision(probs, y) == pytest.approx(sk.precision_score(y, said, average="samples", zero_division=0))
    assert recall(probs, y) == pytest.approx(sk.recall_score(y, said, average="samples", zero_division=0))
    scores, masks = torch.randn(3, 4, 5, 6), torch.randint(4, (3, 5, 6))
    flat = scores.movedim(1, -1).reshape(-1, 4), masks.reshape(-1)
    for name in ("accuracy", "error_rate", "f1", "f2", "precision", "recall", "specificity", "perplexity"):
        assert METRICS[name](scores, masks) == pytest.approx(METRICS[name](*flat), rel=1e-6), name
        assert METRICS[name](scores, masks[:, None]) == pytest.approx(METRICS[name](*flat), rel=1e-6), name


def test_accuracy_of_masks_in_a_fit_is_over_the_places_even_where_sizes_agree():
    """As many classes as rows and columns: axis 1 holds the classes, as the loss has it."""
    x, y = torch.randn(6, 2, 4, 4), torch.randint(4, (6, 4, 4))
    for target in (y, y[:, None]):
        data = DataBunch(".", [(x, target)], [(x, target)], target=learnkit.Category(list("abcd")))
        learn = Learner(data, nn.Conv2d(2, 4, 1), metrics=["accuracy", "f1"])
        with torch.no_grad():
            right = (learn.model(x).argmax(1) == y).float().mean().item()
        assert learn.validate()["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(("zero_division", "expected"), [(0, 0.5), (1, 1.0), (math.nan, 1.0)])
def test_items_without_labels_count_as_one_says(zero_division, expected):
    """A perfect prediction of an item with a label and of one without."""
    preds, y = [[0.9, 0.1], [0.1, 0.1]], [[1, 0], [0, 0]]
    assert FBeta(2, zero_division=zero_division)(preds, y) == expected
    assert F2(zero_division=zero_division)(preds, y) == expected
    if not math.isnan(zero_division):
        assert expected == sk.fbeta_score(
            y, np.array(preds) > 0.5, beta=2, average="samples", zero_division=zero_division
        )
    nothing = F2(zero_division=zero_division)([0.1, 0.2], [0, 0])
    assert nothing == zero_division or (math.isnan(nothing) and math.isnan(zero_division))
    with pytest.raises(ValueError, match="`zero_division` must be one of 0, 1"):
        FBeta(2, zero_division=0.5)


def test_the_best_threshold_and_the_courses(rng):
    probs, y = (rng.random((N, 6)) * 0.5).astype(np.float32), (rng.random((N, 6)) < 0.4).astype(int)

    def best(thresholds: Any) -> float:
        return max(
            sk.fbeta_score(y, probs >= np.float32(t), beta=2, average="samples", zero_division=0) for t in thresholds
        )

    assert F2(threshold="course")(probs, y) == pytest.approx(best(np.arange(17, 24) / 100))
    assert F2(threshold="best")(probs, y) == pytest.approx(best(np.arange(5, 96) / 100))
    assert FBeta(2, threshold=[0.1, 0.4])(probs, y) == pytest.approx(best([0.1, 0.4]))
    assert f2(probs, y) < F2(threshold="course")(probs, y) <= F2(threshold="best")(probs, y)
    with pytest.raises(ValueError, match="`threshold` must be one of 'best', 'course'"):
        F2(threshold="worst")


def test_the_threshold_of_the_target_is_that_of_the_metrics_that_have_none():
    x, y = items(N)
    rows = torch.nn.functional.one_hot(y, 3).float()
    data = DataBunch(".", [(x, rows)], [(x, rows)], target=MultiCategory(list("abc"), threshold=0.1))
    learn = Learner(data, plain_net(), metrics=["f2", "accuracy", F2(threshold=0.5)])
    probs = learn.predict()
    said = learn.validate()
    assert said["f2_1"] == pytest.approx(F2(threshold=0.1)(probs, rows))
    assert said["accuracy"] == pytest.approx(((probs >= 0.1) == rows.numpy()).mean())
    assert said["f2_2"] == pytest.approx(F2()(probs, rows))
    assert said["f2_1"] != pytest.approx(said["f2_2"])
    assert Learner(data, learn.model).validate()["f2"] == pytest.approx(said["f2_1"])


@pytest.mark.parametrize("metric", [accuracy, f2, precision])
def test_scores_are_not_decided_as_if_they_were_probabilities(metric):
    with pytest.raises(DataError, match="decides at the threshold 0.5, and these predictions are no probabilities"):
        metric([[3.0, -2.0], [0.1, 0.2]], [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("preds", "targs"), [((4, 1, 3, 3), (4, 3, 3)), ((4, 1, 5), (4, 5)), ((4,), (4, 1)), ((4, 5), (4, 5, 1))]
)
def test_sizes_of_one_do_not_matter(preds, targs):
    scores, y = torch.rand(preds), torch.randint(2, targs)
    for name in ("accuracy", "rmse", "mae", "mse"):
        expected = METRICS[name](scores.reshape(-1), y.reshape(-1))
        assert METRICS[name](scores, y) == pytest.approx(expected, rel=1e-6), name


# ---------------------------------------------------------------- names and columns


def test_every_exported_metric_is_known_by_the_name_of_its_function():
    for name in learnkit.__all__:
        value = getattr(learnkit, name)
        if isinstance(value, Metric) or name == "fbeta":
            (found,) = as_metrics([name])
            assert type(found) is type(value() if isinstance(value, type) else value), name


@pytest.mark.parametrize("name", ["val_loss", "trn_loss", "epoch", "time"])
def test_a_metric_cannot_take_another_column_of_the_table(name):
    def metric(preds, targs):
        return 0.0

    metric.__name__ = name
    with pytest.raises(ValueError, match=f"cannot be called '{name}', which is a column of the epoch table"):
        learner(metrics=[metric])


def test_a_dict_or_vector_of_numbers_has_a_column_each():
    def per_class(preds, targs):
        return [float((preds.argmax(1) == c).float().mean()) for c in range(3)]

    def named(preds, targs):
        return {"low": preds.min(), "high": preds.max()}

    learn = learner(metrics=[per_class, named])
    results = learn.validate()
    assert list(results) == ["val_loss", "per_class_0", "per_class_1", "per_class_2", "low", "high"]
    assert sum(list(results.values())[1:4]) == pytest.approx(1)
    assert list(learn.fit(0.01, 1)) == ["trn_loss", *results]
    with pytest.raises(
        TrainingError, match=r"metric 'matrix' gives an array of shape \(3, 3\), which the epoch table cannot"
    ):
        learn.validate(metrics=[_matrix])


def _matrix(preds, targs):
    return torch.zeros(3, 3)


_matrix.__name__ = "matrix"


def test_collections_and_figures_per_class_of_torchmetrics(tmp_path):
    tm = pytest.importorskip("torchmetrics")
    both = tm.MetricCollection(
        {"acc": tm.Accuracy(task="multiclass", num_classes=3, average="micro"),
         "each": tm.Recall(task="multiclass", num_classes=3, average=None)}
    )  # fmt: skip
    wrapped = tm.wrappers.ClasswiseWrapper(
        tm.Recall(task="multiclass", num_classes=3, average=None), labels=list("abc")
    )
    log = learnkit.CSVLog(tmp_path / "log.csv")
    learn = learner(metrics=["accuracy", both, wrapped], callbacks=[log])
    results = learn.fit(0.01, 2)
    names = [f"multiclassrecall_{c}" for c in "abc"]
    assert list(results) == ["trn_loss", "val_loss", "accuracy", "acc", "each_0", "each_1", "each_2", *names]
    assert results["acc"] == pytest.approx(results["accuracy"])
    assert [results[f"each_{i}"] for i in range(3)] == pytest.approx([results[name] for name in names])
    assert (tmp_path / "log.csv").read_text().splitlines()[0].split(",") == ["epoch", *results]
    assert list(learn.sched.to_frame().columns) == ["epoch", *results, "time"]
    with pytest.raises(ValueError, match="two metrics report a column 'accuracy'"):
        learner(metrics=["accuracy", tm.MetricCollection({"accuracy": tm.Accuracy(task="multiclass", num_classes=3)})])


def test_what_the_table_cannot_show_is_refused_before_training():
    tm = pytest.importorskip("torchmetrics")
    model = plain_net()
    before = snapshot(model)
    with pytest.raises(TrainingError, match=r"gives an array of shape \(3, 3\), which the epoch table cannot show"):
        run_fit([], 1, model, metrics=[tm.ConfusionMatrix(task="multiclass", num_classes=3)])
    assert_same(before, model)


# ---------------------------------------------------------------- interpretation


def test_a_threshold_between_two_classes():
    probs = np.array([0.1, 0.35, 0.4, 0.8, 0.2, 0.9])
    said = Interpretation(np.c_[1 - probs, probs], [0, 1, 1, 1, 0, 1], ["no", "yes"])
    assert said.confusion_matrix().tolist() == [[2, 0], [2, 2]]
    assert said.confusion_matrix(threshold=0.3).tolist() == [[2, 0], [0, 4]]
    threshold, score = said.best_threshold()
    assert 0.2 < threshold <= 0.35
    assert score == 1.0
    assert said.confusion_matrix(threshold).trace() == 6
    with pytest.raises(ValueError, match=r"`threshold` must be in \(0, 1\)"):
        said.confusion_matrix(30)
    three = Interpretation(np.eye(3), [0, 1, 2], list("abc"))
    with pytest.raises(DataError, match="decides between two classes; here are 3"):
        three.confusion_matrix(threshold=0.5)
    with pytest.raises(DataError, match="for two classes; here each item has one of 3"):
        three.best_threshold()
