"""Metrics of found and missed: F-beta, precision, recall, specificity, all made of the same four counts.

With several labels per item they are the mean over the items, as in the planet competition. With a single score per item
they are about the positive class. With one label of many per item they are the mean over the classes that occur (macro
average), deciding by the highest score; only precision, recall and specificity of two classes are about the second one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from learnkit.core.errors import check_choice
from learnkit.core.listing import numbers
from learnkit.train.class_metrics import class_numbers, decides_by_threshold, no_probabilities, refuse_if
from learnkit.train.metric import Metric, added, wide

__all__ = [
    "F2",
    "Counts",
    "FBeta",
    "Precision",
    "Recall",
    "Specificity",
    "f1",
    "f2",
    "fbeta",
    "precision",
    "recall",
    "sensitivity",
    "specificity",
]

THRESHOLDS: dict[str, tuple[float, ...]] = {
    "best": tuple(round(0.01 * i, 2) for i in range(5, 96)),
    "course": tuple(round(0.01 * i, 2) for i in range(17, 24)),
}
"""Thresholds of which the one with the highest score is taken, by name."""


class Counts(Metric):
    """Base of the metrics made of hits, and of how many were said, true and there; see `FBeta`."""

    aligns = True
    higher_is_better = True
    two_classes = "second"

    def __init__(self, *, threshold: float | Sequence[float] | str | None = None, zero_division: float = 0.0) -> None:
        if isinstance(threshold, str):
            check_choice("threshold", threshold, tuple(THRESHOLDS))
        elif threshold is not None:
            numbers("threshold", threshold)
        if not math.isnan(zero_division):
            check_choice("zero_division", zero_division, (0, 1))
        self.threshold, self.zero_division = threshold, float(zero_division)

    @abstractmethod
    def fraction(self, hits: Tensor, said: Tensor, true: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is divided by what."""

    def reset(self) -> None:
        """Forget every batch."""
        self.items: Any = None  # sum of the scores of the items, and number of them: one column per threshold
        self.counts: Any = None  # hits, said, true, there: per threshold and class
        self.strange: Any = False

    def update(self, preds: Tensor, targs: Tensor) -> None:
        """Add the scores of a batch's items, or its counts per class."""
        if not decides_by_threshold(preds, targs):
            self.counts = added(self.counts, self._by_class(preds, targs))
            return
        self.strange = no_probabilities(preds) | self.strange
        true = targs.reshape(preds.shape) >= 0.5
        preds = preds if preds.is_floating_point() else preds.to(wide(preds))
        levels = torch.tensor(self.thresholds, dtype=preds.dtype, device=preds.device)
        said = preds >= levels.reshape(-1, *[1] * preds.ndim)
        several = preds.ndim > 1 and preds.shape[-1] > 1
        axes = (-1,) if several else tuple(range(1, said.ndim))
        both = true.expand_as(said)
        there = torch.ones_like(said)
        counts = torch.stack([x.sum(axes) for x in (said & both, said, both, there)])
        if not several:
            self.counts = added(self.counts, counts[..., None])
            return
        scores = self._score(counts).flatten(1)
        known = ~scores.isnan()
        self.items = added(self.items, torch.stack([scores.nansum(1), known.sum(1).to(scores.dtype)]))

    def merge(self, other: Self) -> None:
        """Add the counts of other batches."""
        self.items, self.counts = added(self.items, other.items), added(self.counts, other.counts)
        self.strange = self.strange | other.strange

    def compute(self) -> float:
        """Return the mean over the items, or over the classes, at the best of the thresholds."""
        refuse_if(self.strange, self.name, self.threshold if isinstance(self.threshold, str) else self.thresholds[0])
        if self.items is not None:
            values = self.items[0] / self.items[1]
        elif self.counts is None:
            return math.nan
        else:
            values = self._over_classes(self.counts)
        values = values[~values.isnan()]
        return float(values.max()) if len(values) else math.nan

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Those that are tried."""
        if isinstance(self.threshold, str):
            return THRESHOLDS[self.threshold]
        if self.threshold is None or not isinstance(self.threshold, Sequence):
            return (0.5 if self.threshold is None else float(self.threshold),)
        return tuple(map(float, self.threshold))

    def _by_class(self, preds: Tensor, targs: Tensor) -> Tensor:
        preds, true = class_numbers(preds, targs)
        c, true, said = preds.shape[-1], true.reshape(-1), preds.argmax(-1).reshape(-1)
        true, said = true[true >= 0], said[true >= 0]  # negative ones are to be ignored, as in the loss
        counts = [torch.bincount(x, minlength=c) for x in (true[true == said], said, true)]
        return torch.stack([*counts, torch.full_like(counts[0], len(true))])[:, None]

    def _over_classes(self, counts: Tensor) -> Tensor:
        scores = self._score(counts)
        c = counts.shape[-1]
        if c == 1:
            return scores[:, 0]
        if c == 2 and self.two_classes == "second":
            return scores[:, 1]
        occurs = counts[1, 0] + counts[2, 0] > 0
        return scores[:, occurs].nanmean(1)

    def _score(self, counts: Tensor) -> Tensor:
        top, bottom = self.fraction(*counts.to(wide(counts)))
        return torch.where(bottom > 0, top / bottom.clamp(min=1e-12), self.zero_division)


class FBeta(Counts):
    """F-beta score: precision and recall weighed against each other, recall `beta` times as important.

    With several labels per item (targets of the same shape as predictions) it is the mean over the items, the
    planet competition's score, deciding at `threshold`. With a single score per item it is the score of the positive
    class. With one label of many per item it is the mean over the classes that occur (macro average), deciding by
    the highest score.

    Parameters
    ----------
    beta : float, default 2
    threshold : float, sequence of float, "best", "course" or None
        For single scores and several labels per item; predictions must then be probabilities. By default that of the
        data's target (`MultiCategory(threshold=)`), else 0.5. Of several, the one with the highest score over the whole
        set counts: `"best"` tries 0.05, 0.06 to 0.95, `"course"` 0.17 to 0.23 as the course did. Chosen on the set it is
        measured on, such a score is a little too good.
    zero_division : {0, 1, nan}, default 0
        What an item (or a positive class) counts that has no label and is said to have none: 0 as scikit-learn has it,
        1 as a perfect prediction, `nan` to leave it out.

    Examples
    --------
    >>> from learnkit import FBeta
    >>> round(FBeta(1)([[0.9, 0.8, 0.1]], [[1, 0, 0]]), 4)
    0.6667
    >>> [FBeta(2, zero_division=value)([[0.9, 0.1], [0.1, 0.1]], [[1, 0], [0, 0]]) for value in (0, 1)]
    [0.5, 1.0]
    """

    two_classes = "mean"

    def __init__(
        self,
        beta: float = 2,
        *,
        threshold: float | Sequence[float] | str | None = None,
        zero_division: float = 0.0,
    ) -> None:
        super().__init__(threshold=threshold, zero_division=zero_division)
        self.beta = beta
        self.name = f"f{beta:g}"

    def fraction(self, hits: Tensor, said: Tensor, true: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is divided by what."""
        b2 = self.beta**2
        return (1 + b2) * hits, said + b2 * true


class F2(FBeta):
    """F2 score, recall twice as important as precision; see `FBeta`.

    `F2(threshold="course")` is the course's `f2`, `F2(threshold="best")` tries more thresholds.

    Examples
    --------
    >>> from learnkit import F2
    >>> probs, labels = [[0.2, 0.1], [0.4, 0.22]], [[1, 0], [1, 1]]
    >>> round(F2()(probs, labels), 4), F2(threshold="course")(probs, labels)
    (0.0, 1.0)
    """

    def __init__(self, *, threshold: float | Sequence[float] | str | None = None, zero_division: float = 0.0) -> None:
        super().__init__(2, threshold=threshold, zero_division=zero_division)


class Precision(Counts):
    """Share of what is said that is true: of the positive class, of the second of two classes, or a mean. See `FBeta`.

    Examples
    --------
    >>> from learnkit import Precision
    >>> Precision()([0.9, 0.8, 0.1, 0.7], [1, 0, 0, 1])
    0.6666666666666666
    """

    name = "precision"

    def fraction(self, hits: Tensor, said: Tensor, true: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is divided by what."""
        return hits, said


class Recall(Counts):
    """Share of what is true that is said, also called sensitivity; of which class, and how decided, see `Precision`.

    Examples
    --------
    >>> from learnkit import Recall
    >>> Recall()([0.9, 0.8, 0.1, 0.3], [1, 0, 0, 1])
    0.5
    """

    name = "recall"

    def fraction(self, hits: Tensor, said: Tensor, true: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is divided by what."""
        return hits, true


class Specificity(Counts):
    """Share of what is not true that is not said; of which class, and how decided, see `Precision`.

    Examples
    --------
    >>> from learnkit import Specificity
    >>> Specificity()([0.9, 0.8, 0.1, 0.3], [1, 0, 0, 1])
    0.5
    """

    name = "specificity"

    def fraction(self, hits: Tensor, said: Tensor, true: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is divided by what."""
        return there - said - true + hits, there - true


f1 = FBeta(1)
"""F1 score; see `FBeta`."""
f2 = F2()
"""F2 score; see `FBeta`."""
fbeta = FBeta
"""The course's name for `FBeta`."""
precision = Precision()
"""Share of what is said that is true; see `Precision`."""
recall = Recall()
"""Share of what is true that is said; see `Recall`."""
sensitivity = Recall()
"""Another name of `recall`."""
sensitivity.name = "sensitivity"
specificity = Specificity()
"""Share of what is not true that is not said; see `Specificity`."""
