"""Metrics of decisions between classes: right or wrong, and well ranked; `counts` has those of found and missed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from learnkit.core.device import to_np
from learnkit.core.errors import DataError
from learnkit.data.shapes import differ_by_ones
from learnkit.train.metric import Collected, Mean

__all__ = [
    "Accuracy",
    "AveragePrecision",
    "ErrorRate",
    "Perplexity",
    "RocAuc",
    "TopKAccuracy",
    "accuracy",
    "accuracy_np",
    "average_precision",
    "error_rate",
    "perplexity",
    "roc_auc",
    "top_k_accuracy",
]


class Accuracy(Mean):
    """Share of the items whose highest score is the right class.

    With a single score per item, or with targets of the same shape as the predictions (several labels per item),
    it is the share of decisions that are right, deciding at `threshold`. Of masks every place counts.

    Parameters
    ----------
    threshold : float, optional
        Used only in the second case; predictions must then be probabilities. By default that of the data's target
        (`MultiCategory(threshold=)`), else 0.5.

    Raises
    ------
    DataError
        If it has to decide at a threshold and the predictions are no probabilities.

    Examples
    --------
    >>> from learnkit import Accuracy
    >>> Accuracy()([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """

    aligns = True
    higher_is_better = True

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold
        super().__init__(self._hits, name="accuracy")

    def reset(self) -> None:
        """Forget every batch."""
        super().reset()
        self.strange: Any = False

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Add the sums of a batch, and note whether what is decided at a threshold are probabilities."""
        super().update(preds, targs)
        if decides_by_threshold(preds, targs):
            self.strange = no_probabilities(preds) | self.strange

    def merge(self, other: Self) -> None:
        """Add the sums of other batches."""
        super().merge(other)
        self.strange = self.strange | other.strange

    def compute(self) -> float:
        """Return the share."""
        refuse_if(self.strange, self.name, threshold_of(self))
        return super().compute()

    def _hits(self, preds: Tensor, targs: Tensor) -> Tensor:
        if decides_by_threshold(preds, targs):
            return (preds >= threshold_of(self)) == (targs.reshape(preds.shape) >= 0.5)
        preds, true = class_numbers(preds, targs)
        return (preds.argmax(-1) == true)[true >= 0]  # negative targets are to be ignored, as in the loss


class ErrorRate(Accuracy):
    """Share of wrong answers: one minus `Accuracy`.

    Examples
    --------
    >>> from learnkit import error_rate
    >>> error_rate([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """

    higher_is_better = False

    def __init__(self, threshold: float | None = None) -> None:
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

    aligns = True
    higher_is_better = True

    def __init__(self, k: int = 5) -> None:
        self.k = k
        super().__init__(self._hits, name=f"top{k}_accuracy")

    def _hits(self, preds: Tensor, targs: Tensor) -> Tensor:
        preds, true = class_numbers(preds, targs)
        best = preds.topk(min(self.k, preds.shape[-1]), dim=-1).indices
        return (best == true[..., None]).any(-1)[true >= 0]  # negative targets are to be ignored, as in the loss


class Perplexity(Mean):
    """Exponential of the mean cross-entropy per target (per token, for a language model).

    Predictions must be scores or log-probabilities.

    Examples
    --------
    >>> from learnkit import Perplexity
    >>> round(Perplexity()([[0.0, 0.0], [0.0, 0.0]], [0, 1]), 4)
    2.0
    """

    aligns = True
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(self._losses, name="perplexity")

    @staticmethod
    def _losses(preds: Tensor, targs: Tensor) -> Tensor:
        preds, true = class_numbers(preds, targs)
        losses = F.cross_entropy(preds.float().reshape(-1, preds.shape[-1]), true.reshape(-1), reduction="none")
        return losses[true.reshape(-1) >= 0]  # negative targets are to be ignored, as in the loss

    def value(self, totals: Tensor) -> Tensor:
        """Exponential of sum over number."""
        return (totals[0] / totals[1]).exp()


class RocAuc(Collected):
    """Area under the ROC curve: one against the other, or the mean of each class against the rest.

    Examples
    --------
    >>> from learnkit import RocAuc
    >>> RocAuc()([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]], [0, 1, 0])
    1.0
    """

    aligns = True
    higher_is_better = True

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

    aligns = True
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(_average_precision, name="average_precision")


def decides_by_threshold(preds: Tensor, targs: Tensor) -> bool:
    """Whether each score is a decision by itself: there are as many as targets."""
    return preds.shape == targs.shape or differ_by_ones(preds.shape, targs.shape)


def threshold_of(metric: Any) -> float:
    """Return the threshold a metric was given, else a half."""
    return 0.5 if metric.threshold is None else float(metric.threshold)


def no_probabilities(preds: Tensor) -> Tensor:
    """Return, on the device, whether any prediction lies outside 0 to 1."""
    return ((preds < -0.001) | (preds > 1.001)).any()


def refuse_if(strange: Any, name: str, threshold: Any) -> None:
    """Raise if predictions that are no probabilities were decided at a threshold."""
    if bool(strange):
        raise DataError(
            f"{name} decides at the threshold {threshold}, and these predictions are no probabilities: some lie outside 0 "
            "to 1. Give the learner (or `fit`) what turns scores into probabilities, `activation=torch.sigmoid`, or a "
            "threshold is not what these predictions need (values, several classes with other targets)."
        )


def class_numbers(preds: Tensor, targs: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores with the classes last, and class numbers of their shape without them.

    Classes are the last axis of up to three (sequences), axis 1 of more (masks), where the targets fit both.
    """
    axes = (-1, 1) if preds.ndim < 4 else (1, -1)
    shapes = {axis: tuple(preds.movedim(axis, -1).shape[:-1]) for axis in axes if preds.ndim > 1}
    for fits in (_same, differ_by_ones):
        for axis, shape in shapes.items():
            if fits(tuple(targs.shape), shape):
                return preds.movedim(axis, -1), targs.reshape(shape).long()
    raise DataError(
        f"predictions of shape {tuple(preds.shape)} need one class number per item, shape {tuple(preds.shape[:-1])}; "
        f"got targets of shape {tuple(targs.shape)}."
    )


def _same(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a == b


def _scores(preds: Tensor, targs: Tensor) -> tuple[Any, Any]:
    """Return arrays for scikit-learn: the second column's lead of two, else all columns as they are."""
    targs = targs.reshape(preds.shape) if differ_by_ones(preds.shape, targs.shape) else targs
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
roc_auc = RocAuc()
"""Area under the ROC curve; see `RocAuc`."""
average_precision = AveragePrecision()
"""Area under the precision-recall curve; see `AveragePrecision`."""
perplexity = Perplexity()
"""Exponential of the mean cross-entropy; see `Perplexity`."""
