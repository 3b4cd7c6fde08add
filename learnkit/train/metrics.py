"""Metrics that are right over an epoch, whatever the batch sizes, and how they may be asked for.

Each is also a function of two arrays or tensors: `accuracy(preds, y)`. Predictions may be scores, log-probabilities or
probabilities, as long as their order is the same; the metrics that need probabilities say so. In a fit the library's
metrics see what the loss makes of the scores (its activation) and compare shapes that differ by sizes of one; a metric of
yours sees what `predict` would return, in the shape the model gave it, and the target as the data holds it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from learnkit.core.listing import one_or_list
from learnkit.data.targets import MultiCategory, Target
from learnkit.train.class_metrics import (
    Accuracy,
    AveragePrecision,
    ErrorRate,
    Perplexity,
    RocAuc,
    TopKAccuracy,
    accuracy,
    accuracy_np,
    average_precision,
    error_rate,
    perplexity,
    roc_auc,
    top_k_accuracy,
)
from learnkit.train.counts import (
    F2,
    Counts,
    FBeta,
    Precision,
    Recall,
    Specificity,
    f1,
    f2,
    fbeta,
    precision,
    recall,
    sensitivity,
    specificity,
)
from learnkit.train.foreign import Foreign
from learnkit.train.metric import Collected, Mean, Metric, Rooted
from learnkit.train.value_metrics import R2, exp_rmspe, mae, mse, r2, rmse

__all__ = [
    "F2",
    "METRICS",
    "R2",
    "Accuracy",
    "AveragePrecision",
    "Collected",
    "ErrorRate",
    "FBeta",
    "Foreign",
    "Mean",
    "Metric",
    "MetricLike",
    "Perplexity",
    "Precision",
    "Recall",
    "RocAuc",
    "Rooted",
    "Specificity",
    "TopKAccuracy",
    "accuracy",
    "accuracy_np",
    "as_metrics",
    "average_precision",
    "error_rate",
    "exp_rmspe",
    "f1",
    "f2",
    "fbeta",
    "figures_of",
    "mae",
    "metric_list",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "sensitivity",
    "specificity",
    "top_k_accuracy",
]

MetricLike = str | Callable[..., Any] | Metric | Any

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        accuracy, error_rate, top_k_accuracy, f1, f2, precision, recall, sensitivity, specificity, roc_auc,
        average_precision, mse, rmse, mae, r2, exp_rmspe, perplexity,
    )
}  # fmt: skip
"""Every metric that can be asked for by its name, which is its heading."""

FUNCTIONS: dict[str, Any] = {"top_k_accuracy": top_k_accuracy, "accuracy_np": accuracy_np, "fbeta": fbeta}
"""Those whose function has another name than the heading; either will do."""

RESERVED = ("epoch", "trn_loss", "val_loss", "time")
"""Columns of the epoch table that no metric may take."""


def as_metrics(metrics: Sequence[MetricLike] | MetricLike | None, *, target: Target | None = None) -> list[Metric]:
    """Turn names, functions, classes and foreign objects into metrics with a state of their own.

    Parameters
    ----------
    metrics : sequence, or one of them
    target : Target, optional
        The threshold of a `MultiCategory` is that of the metrics that are given none.

    Raises
    ------
    ValueError
        If a name is not known, or is one of another column of the epoch table.
    TypeError
        If it is nothing that can measure.
    """
    resolved = [_as_metric(metric) for metric in metric_list(metrics)]
    names = [metric.name for metric in resolved]
    seen: dict[str, int] = {}
    for metric, name in zip(resolved, names, strict=True):
        if names.count(name) > 1:  # two thresholds of one metric, say, must not share a column
            seen[name] = seen.get(name, 0) + 1
            metric.name = f"{name}_{seen[name]}"
        if isinstance(target, MultiCategory) and isinstance(metric, Accuracy | Counts) and metric.threshold is None:
            metric.threshold = target.threshold
    columns = figures_of(resolved)
    for name in columns:
        if name in RESERVED:
            raise ValueError(f"a metric cannot be called {name!r}, which is a column of the epoch table: rename it.")
        if columns.count(name) > 1:
            raise ValueError(f"two metrics report a column {name!r}: give one of them another name, or a prefix.")
    return resolved


def metric_list(metrics: Sequence[MetricLike] | MetricLike | None) -> list[MetricLike]:
    """Return what was asked for as a list; one name, function or object is a list of it."""
    return [] if metrics is None else one_or_list("metrics", metrics, "metrics", _is_one)


def _is_one(metrics: Any) -> bool:
    # A collection of torchmetrics' is a dict of metrics, and one object.
    return isinstance(metrics, str | type) or callable(metrics) or not isinstance(metrics, Iterable)


def figures_of(metrics: Sequence[Metric]) -> list[str]:
    """Return the columns that metrics will have in the epoch table, as far as they are known before the first batch."""
    return [name for metric in metrics for name in _directions(metric)]


def directions_of(metrics: Sequence[Metric]) -> dict[str, bool]:
    """Return, for the columns of which it is known, whether more is better; of losses less is."""
    known = {name: better for metric in metrics for name, better in _directions(metric).items() if better is not None}
    return {"trn_loss": False, "val_loss": False, **known}


def _directions(metric: Metric) -> dict[str, bool | None]:
    return metric.directions if isinstance(metric, Foreign) else {metric.name: metric.higher_is_better}


def _as_metric(metric: MetricLike) -> Metric:
    if isinstance(metric, str):
        if metric in FUNCTIONS:
            return _as_metric(FUNCTIONS[metric])
        if metric not in METRICS:
            near = difflib.get_close_matches(metric, [*METRICS, *FUNCTIONS], n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown metric {metric!r}. {hint}Known are: {', '.join(METRICS)}. A function works too.")
        return copy.deepcopy(METRICS[metric])
    if isinstance(metric, type):
        try:
            made = metric()
        except TypeError as exc:
            raise TypeError(
                f"the metric {metric.__name__} is a class that cannot be made without arguments ({exc}); pass an instance, "
                f"{metric.__name__}(...)."
            ) from exc
        return _as_metric(made)
    if isinstance(metric, Metric):
        return copy.deepcopy(metric)
    if all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset")):
        return Foreign(metric)
    if callable(metric):
        return Collected(metric)
    raise TypeError(f"a metric must be a name, a function or an object with update, compute and reset; got {metric!r}.")
