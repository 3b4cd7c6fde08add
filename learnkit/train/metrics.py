"""Metrics that are right over an epoch, whatever the batch sizes.

A `Metric` keeps what it needs from each batch (counts, sums, or the predictions themselves) and computes once,
at the end. Each is also a function of two arrays or tensors: `accuracy(preds, y)`. Predictions may be scores,
log-probabilities or probabilities, as long as their order is the same; the metrics that need probabilities say
so. In a fit, metrics see what `learn.predict()` would return.
"""

from __future__ import annotations

import copy
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from learnkit.core.device import T, to_np
from learnkit.core.errors import DataError

__all__ = [
    "METRICS",
    "R2",
    "Accuracy",
    "AveragePrecision",
    "Collected",
    "ErrorRate",
    "FBeta",
    "Mean",
    "Metric",
    "Perplexity",
    "RocAuc",
    "Rooted",
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
    "mae",
    "mse",
    "perplexity",
    "r2",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]


class Metric(ABC):
    """Base of the metrics: `reset`, `update` with each batch, `compute` at the end.

    Attributes
    ----------
    name : str
        Heading in the epoch table.

    Examples
    --------
    >>> from learnkit import Metric
    >>> class MaxError(Metric):
    ...     name = "max_error"
    ...     def reset(self):
    ...         self.worst = 0.0
    ...     def update(self, preds, targs):
    ...         self.worst = max(self.worst, float((preds - targs).abs().max()))
    ...     def compute(self):
    ...         return self.worst
    >>> MaxError()([1.0, 2.0], [1.0, 2.5])
    0.5
    """

    name: str

    @abstractmethod
    def reset(self) -> None:
        """Forget every batch."""

    @abstractmethod
    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Take note of a batch: tensors on any device, without gradient."""

    @abstractmethod
    def compute(self) -> float:
        """Return the value over every batch since `reset`."""

    def __call__(self, preds: Any, targs: Any) -> float:
        """Return the value for these arrays or tensors alone."""
        fresh = copy.deepcopy(self)
        fresh.reset()
        fresh.update(T(preds), T(targs))
        return fresh.compute()


MetricLike = str | Callable[..., Any] | Metric | Any


class Sums(Metric):
    """A metric computed from sums over the items, which stay on the device until the end."""

    def reset(self) -> None:
        """Forget every batch."""
        self.totals: Any = None

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Add the sums of a batch."""
        sums = self.sums(preds, targs)
        self.totals = sums if self.totals is None else self.totals + sums

    def compute(self) -> float:
        """Return the value of the sums."""
        if self.totals is None:
            return math.nan
        return float(self.value(self.totals.cpu().double()))

    @abstractmethod
    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Return the sums of one batch, one tensor of any shape."""

    @abstractmethod
    def value(self, totals: Tensor) -> Tensor | float:
        """Return the metric, given the sums of all batches."""


class Mean(Sums):
    """The mean of a per-item value, weighted right over batches of any size.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` -> tensor with one value per item (of any shape; all are averaged), or with the mean over
        the batch.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Mean
    >>> absolute = Mean(lambda preds, targs: (preds - targs).abs(), name="absolute")
    >>> absolute([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
    1.0
    """

    def __init__(self, fn: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or _metric_name(fn)

    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Sum and number of the values."""
        values = self.fn(preds, targs)
        total, n = values.sum(dtype=_wide(values)), values.numel()
        if values.ndim == 0:  # already a mean over the batch
            total, n = total * len(targs), len(targs)
        return torch.stack([total, torch.full_like(total, n)])

    def value(self, totals: Tensor) -> Tensor:
        """Sum over number."""
        return totals[0] / totals[1]


class Accuracy(Mean):
    """Share of the items whose highest score is the right class.

    With a single score per item, or with targets of the same shape as the predictions (several labels per item),
    it is the share of decisions that are right, deciding at `threshold`.

    Parameters
    ----------
    threshold : float, default 0.5
        Used only in the second case; predictions must then be probabilities.

    Examples
    --------
    >>> from learnkit import Accuracy
    >>> Accuracy()([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        super().__init__(self._hits, name="accuracy")

    def _hits(self, preds: Tensor, targs: Tensor) -> Tensor:
        if _decides_by_threshold(preds, targs):
            return (preds >= self.threshold) == (targs.view_as(preds) >= 0.5)
        true = _class_targets(preds, targs)
        return (preds.argmax(-1) == true)[true >= 0]  # negative targets are to be ignored, as in the loss


class ErrorRate(Accuracy):
    """Share of wrong answers: one minus `Accuracy`.

    Examples
    --------
    >>> from learnkit import error_rate
    >>> error_rate([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__(threshold)
        self.name = "error_rate"

    def value(self, totals: Tensor) -> Tensor:
        """One minus the share of hits."""
        return 1 - super().value(totals)


class TopKAccuracy(Mean):
    """Share of the items whose right class is among the `k` highest scores.

    Parameters
    ----------
    k : int, default 5

    Examples
    --------
    >>> from learnkit import TopKAccuracy
    >>> TopKAccuracy(2)([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [1, 0])
    0.5
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k
        super().__init__(self._hits, name=f"top{k}_accuracy")

    def _hits(self, preds: Tensor, targs: Tensor) -> Tensor:
        best = preds.topk(min(self.k, preds.shape[-1]), dim=-1).indices
        true = _class_targets(preds, targs)
        return (best == true[..., None]).any(-1)[true >= 0]  # negative targets are to be ignored, as in the loss


class FBeta(Metric):
    """F-beta score: precision and recall weighed against each other, recall `beta` times as important.

    With several labels per item (targets of the same shape as predictions) it is the mean over the items, the
    planet competition's score, deciding at `threshold`. With a single score per item it is the score of the positive
    class. With one label of many per item it is the mean over the classes that occur (macro average), deciding by
    the highest score.

    Parameters
    ----------
    beta : float, default 2
    threshold : float, default 0.5
        For several labels per item; predictions must then be probabilities.

    Examples
    --------
    >>> from learnkit import FBeta
    >>> round(FBeta(1)([[0.9, 0.8, 0.1]], [[1, 0, 0]]), 4)
    0.6667
    """

    def __init__(self, beta: float = 2, *, threshold: float = 0.5) -> None:
        self.beta, self.threshold = beta, threshold
        self.name = f"f{beta:g}"

    def reset(self) -> None:
        """Forget every batch."""
        self.per_item: Any = 0.0
        self.n_items = 0
        self.counts: Any = None  # hits, said, true: one row each, one column per class

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Add the scores of a batch's items, or its counts per pair of classes."""
        if _decides_by_threshold(preds, targs):
            said, true = preds >= self.threshold, targs.view_as(preds) >= 0.5
            counts = torch.stack([(said & true).sum(-1), said.sum(-1), true.sum(-1)])
            if preds.ndim > 1 and preds.shape[-1] > 1:
                self.per_item = self.per_item + self._score(counts).sum()
                self.n_items += counts.shape[1]
                return
            counts = counts.reshape(3, -1).sum(1, keepdim=True)
        else:
            c = preds.shape[-1]
            true, said = _class_targets(preds, targs).reshape(-1), preds.argmax(-1).reshape(-1)
            true, said = true[true >= 0], said[true >= 0]  # negative ones are to be ignored, as in the loss
            counts = torch.stack([torch.bincount(x, minlength=c) for x in (true[true == said], said, true)])
        self.counts = counts if self.counts is None else self.counts + counts

    def compute(self) -> float:
        """Mean over items, or over the classes that occur."""
        if self.counts is None:
            return float(self.per_item) / self.n_items if self.n_items else math.nan
        _, said, true = self.counts
        return float(self._score(self.counts)[said + true > 0].mean())

    def _score(self, counts: Tensor) -> Tensor:
        hits, said, true = counts.to(_wide(counts))
        b2 = self.beta**2
        return (1 + b2) * hits / (said + b2 * true).clamp(min=1e-12)


class Rooted(Mean):
    """Square root of a mean: `rmse` and its relatives, rooted once, after the last batch.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` -> tensor with one (squared) value per item.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Rooted
    >>> Rooted(lambda preds, targs: (preds - targs) ** 2, name="rmse")([0.0, 0.0], [1.0, 7.0])
    5.0
    """

    def value(self, totals: Tensor) -> Tensor:
        """Root of sum over number."""
        return (totals[0] / totals[1]).sqrt()


class R2(Sums):
    """Coefficient of determination: the share of the targets' variance that is explained, mean over the outputs.

    Examples
    --------
    >>> from learnkit import R2
    >>> R2()([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    """

    name = "r2"

    def sums(self, preds: Tensor, targs: Tensor) -> Tensor:
        """Number, sum and sum of squares of the targets, sum of squared errors; per output."""
        preds, targs = _columns(preds, targs)
        n = torch.full_like(targs[0], len(targs))
        return torch.stack([n, targs.sum(0), (targs**2).sum(0), ((preds - targs) ** 2).sum(0)])

    def value(self, totals: Tensor) -> float:
        """One minus unexplained over total variance."""
        n, total, squares, errors = totals
        spread = squares - total**2 / n
        return float((1 - errors / spread).mean()) if bool((spread > 0).all()) else math.nan


class Perplexity(Mean):
    """Exponential of the mean cross-entropy per target (per token, for a language model).

    Predictions must be scores or log-probabilities.

    Examples
    --------
    >>> from learnkit import Perplexity
    >>> round(Perplexity()([[0.0, 0.0], [0.0, 0.0]], [0, 1]), 4)
    2.0
    """

    def __init__(self) -> None:
        super().__init__(self._losses, name="perplexity")

    @staticmethod
    def _losses(preds: Tensor, targs: Tensor) -> Tensor:
        losses = F.cross_entropy(preds.float().reshape(-1, preds.shape[-1]), targs.reshape(-1), reduction="none")
        return losses[targs.reshape(-1) >= 0]  # negative targets are to be ignored, as in the loss

    def value(self, totals: Tensor) -> Tensor:
        """Exponential of sum over number."""
        return (totals[0] / totals[1]).exp()


class Collected(Metric):
    """Any function of all predictions and all targets, called once per epoch.

    What a plain function given as a metric is turned into. It keeps every prediction of the epoch, so for a
    language model with its huge outputs use `Mean` or a `Metric` of your own.

    Parameters
    ----------
    fn : callable
        `fn(preds, targs)` of two tensors -> number.
    name : str, optional
        The function's name by default.

    Examples
    --------
    >>> from learnkit import Collected
    >>> Collected(lambda preds, targs: (preds - targs).abs().median(), name="median_error")([1.0, 2.0, 9.0], [1.0, 1.0, 1.0])
    1.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or _metric_name(fn)

    def reset(self) -> None:
        """Forget every batch."""
        self.preds: list[Any] = []
        self.targs: list[Any] = []

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Keep a batch."""
        self.preds.append(preds)
        self.targs.append(targs)

    def compute(self) -> float:
        """Call the function on everything."""
        if not self.preds:
            return math.nan
        return float(self.fn(torch.cat(self.preds), torch.cat(self.targs)))


class RocAuc(Collected):
    """Area under the ROC curve: one against the other, or the mean of each class against the rest.

    Examples
    --------
    >>> from learnkit import RocAuc
    >>> RocAuc()([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]], [0, 1, 0])
    1.0
    """

    def __init__(self) -> None:
        super().__init__(_roc_auc, name="roc_auc")


class AveragePrecision(Collected):
    """Area under the precision-recall curve: of the second of two classes, else the mean over the classes.

    Examples
    --------
    >>> from learnkit import AveragePrecision
    >>> AveragePrecision()([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]], [0, 1, 0])
    1.0
    """

    def __init__(self) -> None:
        super().__init__(_average_precision, name="average_precision")


class Foreign(Metric):
    """An object with `update`, `compute` and `reset` from another library, torchmetrics' for example."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.name = type(metric).__name__.lower()

    def reset(self) -> None:
        """Pass on."""
        self.metric.reset()

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Pass on, on the device of the predictions."""
        if isinstance(preds, Tensor) and hasattr(self.metric, "to"):
            self.metric.to(preds.device)
        self.metric.update(preds, targs)

    def compute(self) -> float:
        """Pass on."""
        return float(self.metric.compute())


def _exp_rmspe(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (1 - preds.exp() / targs.exp()) ** 2


def _squared_error(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (preds - targs) ** 2


def _absolute_error(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _columns(preds, targs)
    return (preds - targs).abs()


def _metric_name(fn: Any) -> str:
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__)).lstrip("_")


def _decides_by_threshold(preds: Tensor, targs: Tensor) -> bool:
    return preds.shape == targs.shape or (preds.numel() == targs.numel() and preds.shape[-1] == 1)


def _class_targets(preds: Tensor, targs: Tensor) -> Tensor:
    if targs.ndim == preds.ndim and targs.shape[-1] == 1:
        targs = targs.squeeze(-1)
    if targs.shape != preds.shape[:-1]:
        raise DataError(
            f"predictions of shape {tuple(preds.shape)} need one class number per item, shape {tuple(preds.shape[:-1])}; "
            f"got targets of shape {tuple(targs.shape)}."
        )
    return targs.long()


def _columns(preds: Tensor, targs: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as `(n, outputs)` in the widest float there is, refusing shapes that would only broadcast."""
    preds, targs = preds.to(_wide(preds)), targs.to(_wide(targs))
    if preds.numel() != targs.numel():
        raise DataError(f"predictions {tuple(preds.shape)} and targets {tuple(targs.shape)} differ in number.")
    return preds.reshape(len(preds), -1), targs.reshape(len(preds), -1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64  # MPS has no double


def _scores(preds: Tensor, targs: Tensor) -> tuple[Any, Any]:
    """Return arrays for scikit-learn: the second column's lead of two, else all columns as they are."""
    if preds.ndim == 2 and preds.shape[1] == 2 and targs.ndim == 1:
        return to_np(preds[:, 1] - preds[:, 0]), to_np(targs)
    if preds.ndim == 2 and preds.shape[1] == 1:
        preds, targs = preds[:, 0], targs.reshape(-1)
    if preds.ndim == 2 and targs.ndim == 1 and not bool(((preds >= 0) & (preds <= 1)).all()):
        preds = preds.float().log_softmax(-1)  # scores of different items become comparable; log-probabilities stay
    return to_np(preds), to_np(targs)


def _roc_auc(preds: Tensor, targs: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    return _mean_over_classes(roc_auc_score, preds, targs)


def _average_precision(preds: Tensor, targs: Tensor) -> float:
    from sklearn.metrics import average_precision_score

    return _mean_over_classes(average_precision_score, preds, targs)


def _mean_over_classes(score: Callable[..., float], preds: Tensor, targs: Tensor) -> float:
    """Score each class against the rest, leaving out those of which the set has all or none."""
    scores, labels = _scores(preds, targs)
    if scores.ndim == 1:
        scores, truth = scores[:, None], labels[:, None] >= 0.5
    elif scores.shape == labels.shape:
        truth = labels >= 0.5
    else:
        truth = labels[:, None] == range(scores.shape[1])
    usable = [c for c in range(scores.shape[1]) if truth[:, c].min() < truth[:, c].max()]
    return sum(float(score(truth[:, c], scores[:, c])) for c in usable) / len(usable) if usable else math.nan


accuracy = Accuracy()
"""Share of right answers; see `Accuracy`."""
accuracy_np = accuracy
"""The course's name for `accuracy` on arrays."""
error_rate = ErrorRate()
"""Share of wrong answers."""
top_k_accuracy = TopKAccuracy(5)
"""Share of answers among the five highest scores; see `TopKAccuracy`."""
f1 = FBeta(1)
"""F1 score; see `FBeta`."""
f2 = FBeta(2)
"""F2 score; see `FBeta`."""
fbeta = FBeta
"""The course's name for `FBeta`."""
roc_auc = RocAuc()
"""Area under the ROC curve; see `RocAuc`."""
average_precision = AveragePrecision()
"""Area under the precision-recall curve; see `AveragePrecision`."""
mse = Mean(_squared_error, name="mse")
"""Mean squared error."""
rmse = Rooted(_squared_error, name="rmse")
"""Root of the mean squared error over the whole set (not the mean of the batches' roots)."""
mae = Mean(_absolute_error, name="mae")
"""Mean absolute error."""
r2 = R2()
"""Coefficient of determination; see `R2`."""
exp_rmspe = Rooted(_exp_rmspe, name="exp_rmspe")
"""Root mean square percentage error of predictions and targets that are logarithms."""
perplexity = Perplexity()
"""Exponential of the mean cross-entropy; see `Perplexity`."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        accuracy, error_rate, top_k_accuracy, f1, f2, roc_auc, average_precision,
        mse, rmse, mae, r2, exp_rmspe, perplexity,
    )
}  # fmt: skip
"""Every metric that can be asked for by its name."""


def as_metrics(metrics: Sequence[MetricLike] | MetricLike | None) -> list[Metric]:
    """Turn names, functions, classes and foreign objects into metrics with a state of their own."""
    if metrics is None:
        return []
    if not isinstance(metrics, list | tuple):
        metrics = [metrics]
    resolved = [_as_metric(metric) for metric in metrics]
    names = [metric.name for metric in resolved]
    seen: dict[str, int] = {}
    for metric, name in zip(resolved, names, strict=True):
        if names.count(name) > 1:  # two thresholds of one metric, say, must not share a column
            seen[name] = seen.get(name, 0) + 1
            metric.name = f"{name}_{seen[name]}"
    return resolved


def _as_metric(metric: MetricLike) -> Metric:
    if isinstance(metric, str):
        if metric not in METRICS:
            near = difflib.get_close_matches(metric, METRICS, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown metric {metric!r}. {hint}Known are: {', '.join(METRICS)}. A function works too.")
        return copy.deepcopy(METRICS[metric])
    if isinstance(metric, type):
        return _as_metric(metric())
    if isinstance(metric, Metric):
        return copy.deepcopy(metric)
    if all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset")):
        return Foreign(metric)
    if callable(metric):
        return Collected(metric)
    raise TypeError(f"a metric must be a name, a function or an object with update, compute and reset; got {metric!r}.")
