"""What every metric promises: the value of a set does not depend on how it was cut into batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import learnkit
from learnkit import Collected, FBeta, Mean, Metric, Rooted, to_np
from learnkit.train.metrics import METRICS, as_metrics

N = 23
Pair = tuple[Tensor, Tensor]


def scores(*shape: int) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(sum(shape) + 7)) * 2


def classes(c: int, *shape: int) -> Tensor:
    return torch.randint(c, (N, *shape), generator=torch.Generator().manual_seed(c))


def informed(c: int, *shape: int) -> Tensor:
    """Scores that are right more often than chance."""
    return scores(*shape, c) + F.one_hot(classes(c, *shape), c)


def labels(c: int) -> Tensor:
    return (scores(c, 1)[..., 0] + 0.5 * scores(c) > 0.3).float()


KINDS: dict[str, Callable[[], Pair]] = {
    "one of seven": lambda: (informed(7).log_softmax(1), classes(7)),
    "one of two": lambda: (informed(2).log_softmax(1), classes(2)),
    "column of classes": lambda: (informed(7).log_softmax(1), classes(7)[:, None]),
    "sequence": lambda: (informed(7, 4).log_softmax(-1), classes(7, 4)),
    "yes or no": lambda: (scores().sigmoid(), classes(2)),
    "yes or no, one column": lambda: (scores(1).sigmoid(), classes(2)),
    "several labels": lambda: (scores(5).sigmoid(), labels(5)),
    "several whole-number labels": lambda: (scores(5).sigmoid(), labels(5).long()),
    "value": lambda: (scores(), scores() + 0.3 * scores(1)[:, 0]),
    "value, one column": lambda: (scores(1), scores() + 1),
    "values": lambda: (scores(3), scores(3) + 0.5 * scores(1, 3)[:, 0]),
}
CLASS = ["one of seven", "one of two", "column of classes"]
DECISIONS = [*CLASS, "sequence", "yes or no", "yes or no, one column", "several labels", "several whole-number labels"]
RANKED = ["one of seven", "one of two", "yes or no", "yes or no, one column", "several labels"]
VALUES = ["value", "value, one column", "values"]
WORKS_ON: dict[str, list[str]] = {
    "accuracy": DECISIONS,
    "error_rate": DECISIONS,
    "top5_accuracy": ["one of seven", "column of classes", "sequence"],
    "f1": DECISIONS,
    "f2": DECISIONS,
    "precision": DECISIONS,
    "recall": DECISIONS,
    "sensitivity": DECISIONS,
    "specificity": DECISIONS,
    "roc_auc": RANKED,
    "average_precision": RANKED,
    "mse": VALUES,
    "rmse": VALUES,
    "mae": VALUES,
    "r2": VALUES,
    "exp_rmspe": VALUES,
    "perplexity": [*CLASS, "sequence"],
}
CASES = [(name, kind) for name, kinds in WORKS_ON.items() for kind in kinds]
OWN: dict[str, Callable[[], Metric]] = {
    "fbeta": lambda: FBeta(0.5, threshold=0.3),
    "mean per item": lambda: Mean(lambda p, t: (p - t).abs().amax(1), name="worst"),
    "mean per batch": lambda: Mean(lambda p, t: (p - t).abs().mean(), name="of_means"),
    "rooted": lambda: Rooted(lambda p, t: (p - t) ** 4, name="quartic"),
    "function": lambda: Collected(lambda p, t: (p - t).abs().median(), name="median"),
}


def cut(pair: Pair, sizes: list[int]) -> list[Pair]:
    """In batches of these sizes, the last one of what is left."""
    out, start = [], 0
    for size in [*sizes, N]:
        part = (pair[0][start : start + size], pair[1][start : start + size])
        if len(part[0]):
            out.append(part)
        start += size
    return out


def value(metric: Metric, parts: list[Pair]) -> float:
    metric.reset()
    for preds, targs in parts:
        metric.update(preds, targs)
    return metric.compute()


SIZES = st.lists(st.integers(1, 9), max_size=10)


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(sizes=SIZES)
@settings(max_examples=8)
def test_any_split_into_batches_gives_the_value_of_the_whole(name, kind, sizes):
    pair = KINDS[kind]()
    whole = METRICS[name](*pair)
    assert math.isfinite(whole)
    assert whole not in (0, 1)
    assert value(METRICS[name], cut(pair, sizes)) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("make", OWN.values(), ids=list(OWN))
@given(sizes=SIZES)
@settings(max_examples=8)
def test_any_split_for_metrics_one_makes_oneself(make, sizes):
    pair = KINDS["several labels"]()
    assert value(make(), cut(pair, sizes)) == pytest.approx(make()(*pair), rel=1e-6)


def halves(make: Callable[[], Metric], pair: Pair) -> tuple[Metric, Metric]:
    """Two of one metric, each of which saw half of the items."""
    first, second = make(), make()
    for metric, part in zip((first, second), cut(pair, [N // 2]), strict=True):
        metric.reset()
        metric.update(*part)
    return first, second


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_two_that_saw_half_each_come_to_the_value_of_the_whole(name: str, kind: str) -> None:
    pair = KINDS[kind]()
    first, second = halves(lambda: as_metrics([name])[0], pair)
    nothing = as_metrics([name])[0]
    nothing.reset()
    for other in (second, nothing):
        first.merge(other)
    nothing.merge(first)
    whole = METRICS[name](*pair)
    assert [first.compute(), nothing.compute()] == pytest.approx([whole] * 2, rel=1e-6)


@pytest.mark.parametrize("make", OWN.values(), ids=list(OWN))
def test_two_halves_of_a_metric_one_makes_oneself(make: Callable[[], Metric]) -> None:
    pair = KINDS["several labels"]()
    first, second = halves(make, pair)
    first.merge(second)
    assert first.compute() == pytest.approx(make()(*pair), rel=1e-6)


def test_two_halves_remember_what_was_no_probability_and_say_where_it_is_not_known_how() -> None:
    preds, targs = scores(5), labels(5)
    for name in ("accuracy", "f2"):
        first, second = halves(METRICS[name].__class__, (preds.sigmoid(), targs))
        second.update(preds * 9, targs)
        first.merge(second)
        with pytest.raises(learnkit.DataError, match="are no probabilities"):
            first.compute()

    class Last(Metric):
        name = "last"

        def reset(self) -> None: ...

        def update(self, preds: Tensor, targs: Tensor) -> None: ...

        def compute(self) -> float:
            return 0.0

    with pytest.raises(
        NotImplementedError, match=r"two of the metric 'last' become one: Last must define `merge\(other\)`"
    ):
        Last().merge(Last())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_order_of_the_items_does_not_matter(name, kind):
    preds, targs = KINDS[kind]()
    order = torch.randperm(N)
    assert METRICS[name](preds[order], targs[order]) == pytest.approx(METRICS[name](preds, targs), rel=1e-6)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_arrays_lists_and_tensors_alike(name, kind):
    preds, targs = KINDS[kind]()
    expected = METRICS[name](preds, targs)
    assert isinstance(expected, float)
    for convert in (to_np, Tensor.tolist, Tensor.double):
        assert METRICS[name](
            convert(preds), convert(targs) if convert is not Tensor.double else targs
        ) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_reset_forgets_and_a_call_remembers_nothing(name):
    pair = KINDS[WORKS_ON[name][0]]()
    metric = as_metrics([name])[0]
    part = (pair[0][:9], pair[1][:9])
    expected = value(metric, [part])
    metric(*pair)  # of these alone
    assert metric.compute() == pytest.approx(expected)
    assert value(metric, [pair]) == pytest.approx(METRICS[name](*pair))
    metric.reset()
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("name", METRICS)
def test_every_fit_has_a_metric_of_its_own(name):
    pair = KINDS[WORKS_ON[name][0]]()
    one, other = as_metrics([name, METRICS[name]])
    expected = value(one, [pair])
    other.reset()
    other.update(pair[0][:9], pair[1][:9])
    assert one.compute() == pytest.approx(expected)


SAME_ORDER = ["accuracy", "error_rate", "top5_accuracy", "f1", "f2", "roc_auc", "average_precision"]


@pytest.mark.parametrize("kind", ["one of seven", "one of two"])
@pytest.mark.parametrize("name", SAME_ORDER)
def test_scores_log_probabilities_and_probabilities_alike(name, kind):
    targs = KINDS[kind]()[1]
    raw = informed(7 if kind == "one of seven" else 2)
    values = [METRICS[name](preds, targs) for preds in (raw, raw.log_softmax(1), raw.softmax(1))]
    assert values[1:] == pytest.approx([values[0]] * 2)


@pytest.mark.parametrize("kind", ["yes or no", "yes or no, one column", "several labels"])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_metrics_of_scores_and_probabilities_alike(name, kind):
    preds, targs = KINDS[kind]()
    assert METRICS[name](preds.logit(), targs) == pytest.approx(METRICS[name](preds, targs))


def test_perplexity_of_scores_and_log_probabilities_alike():
    raw, targs = informed(7), classes(7)
    assert METRICS["perplexity"](raw, targs) == pytest.approx(METRICS["perplexity"](raw.log_softmax(1), targs))


@pytest.mark.parametrize("name", ["accuracy", "error_rate", "top5_accuracy", "f1", "f2", "perplexity"])
@pytest.mark.parametrize("ignored", [-100, -1])
def test_negative_targets_are_left_out_as_in_the_loss(name, ignored):
    """`F.cross_entropy` passes over them (padding of a sequence), so the figures beside it should."""
    if name == "perplexity" and ignored == -1:
        pytest.skip("F.cross_entropy refuses any other than -100")
    preds, targs = KINDS["one of seven"]()
    keep = torch.arange(N) % 3 > 0
    padded = torch.where(keep, targs, ignored)
    assert METRICS[name](preds, padded) == pytest.approx(METRICS[name](preds[keep], targs[keep]))


def test_the_tables_above_are_complete():
    assert set(WORKS_ON) == set(METRICS)
    exported = [getattr(learnkit, name) for name in learnkit.__all__]
    assert {id(METRICS[metric.name]) for metric in exported if isinstance(metric, Metric)} == set(
        map(id, METRICS.values())
    )
    kinds: Any = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Metric)}
    assert kinds - {type(metric) for metric in METRICS.values()} == {Metric, Collected}


@pytest.mark.parametrize("name", METRICS)
def test_name_is_the_heading(name):
    assert METRICS[name].name == name


@pytest.mark.parametrize("name", METRICS)
def test_its_direction_is_that_of_perfect_predictions(name):
    """Right answers are better than guesses, in the direction the metric says."""
    pred, y = KINDS[WORKS_ON[name][0]]()
    perfect = (20.0 * F.one_hot(y, pred.shape[-1])).log_softmax(-1) if pred.ndim > y.ndim else y.float()
    metric = as_metrics([name])[0]
    assert metric.higher_is_better is (float(metric(perfect, y)) > float(metric(pred, y)))
