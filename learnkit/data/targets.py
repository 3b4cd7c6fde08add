"""What is predicted: each target knows how labels become tensors and how raw scores become answers.

Models return raw scores. The target owns the loss on them, the activation that turns them into what
`learn.predict()` returns, and the way back to labels, so nothing else needs to ask what kind of problem it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list, one_or_list, some
from learnkit.data.labels import as_labels, classes_of, is_missing, one_spelling, several_labels
from learnkit.data.shapes import align_classes, align_values

__all__ = ["Category", "MultiCategory", "OneOfClasses", "Real", "Target"]


class Target(ABC):
    """What every kind of target offers.

    Attributes
    ----------
    c : int
        Number of scores the model gives per item.
    classes : list or None
        Names in the order of the scores, `None` for a regression.
    class_axis : int or None
        Axis of a batch's scores that holds the classes of which one is right; `None` where each score is judged by itself.
    metrics : tuple of str
        Metrics shown when none are asked for.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit import Real
    >>> class Count(Real):
    ...     "Counts: the model gives the logarithm of the expected count."
    ...     def loss(self, pred, y):
    ...         return torch.nn.functional.poisson_nll_loss(pred, y.view_as(pred))
    ...     def activation(self, pred):
    ...         return pred.float().exp()
    >>> Count().activation(torch.zeros(2))
    tensor([1., 1.])
    """

    c: int
    classes: list[Any] | None = None
    class_axis: int | None = None
    metrics: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def encode(self, labels: Iterable[Any]) -> NDArray[Any]:
        """Turn labels into the array that batches are cut from."""

    @abstractmethod
    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of raw scores; `y` is what the data holds, in its own shape."""

    @abstractmethod
    def activation(self, pred: Tensor) -> Tensor:
        """Turn raw scores into what `predict` returns."""

    @abstractmethod
    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Turn what `predict` returns into probabilities (values for a regression)."""

    @abstractmethod
    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Turn what `predict` returns into labels."""

    def label(self, y: Any) -> str:
        """Return the encoded target of one item as a person reads it: names of classes, numbers with three digits."""
        if self.classes is None:
            return " ".join(f"{value:.3g}" for value in np.ravel(y))
        if np.ndim(y):
            return " ".join(str(name) for name, there in zip(self.classes, y, strict=True) if there) or "(none)"
        return str(self.classes[int(y)])

    def to_data(self) -> dict[str, Any]:
        """Return what it is made of, as JSON can hold it, for the files of a learner."""
        return {"kind": type(self).__name__, "c": self.c}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Target:
        """Make the target that `to_data` described; of your own it is not known how, so `load_learner` takes `target=`."""
        kinds: dict[str, type[Target]] = {kind.__name__: kind for kind in (Category, MultiCategory, Real)}
        if data["kind"] not in kinds:
            raise DataError(
                f"what is predicted is a {data['kind']}, which is not one of learnkit's targets; pass `target=`."
            )
        return kinds[data["kind"]].from_data(data)


class OneOfClasses(Target):
    """One class per item, or per place of an item: cross-entropy, log-probabilities."""

    classes: list[Any]
    class_axis: int = 1

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the scores, mean over the items (and over their places)."""
        pred = pred.movedim(self.class_axis, 1)
        if y.is_floating_point():  # shares of the classes, in the shape of the scores
            return F.cross_entropy(pred, y.movedim(self.class_axis, 1))
        return F.cross_entropy(pred, align_classes(pred, y).long())

    def activation(self, pred: Tensor) -> Tensor:
        """Log-probabilities."""
        return F.log_softmax(pred.float(), dim=self.class_axis)

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Exponential of the log-probabilities.

        Raises
        ------
        DataError
            If they are none: the loss was one of your own, and it is not known what turns its scores into probabilities.
        """
        with np.errstate(over="ignore"):
            probs: NDArray[Any] = np.exp(preds)
        totals = probs.sum(self.class_axis)
        if np.any(np.abs(totals - 1) > 0.01):
            raise DataError(
                f"these predictions are no log-probabilities: the first item's would add up to {totals.flat[0]:.4g}. "
                + NO_PROBABILITIES
            )
        return probs

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Name of the most probable class of each item; of items with places, an array of names each."""
        numbers = np.argmax(preds, axis=self.class_axis)
        if numbers.ndim < 2:
            return [self.classes[i] for i in numbers]
        names = np.empty(len(self.classes), dtype=object)
        names[:] = self.classes
        return list(names[numbers])


class Category(OneOfClasses):
    """One class per item, or per place of an item, as of masks: cross-entropy, log-probabilities.

    Parameters
    ----------
    classes : sequence
        The class names, in the order of the model's scores. At least two.
    class_axis : int, default 1
        Axis of a batch's scores that holds the classes: 1 for `(B, c)` and for masks, `(B, c, H, W)` with targets
        `(B, H, W)`; -1 for sequences `(B, T, c)` with targets `(B, T)`.

    Raises
    ------
    DataError
        With fewer than two classes, or one of them twice.

    Examples
    --------
    >>> from learnkit import Category
    >>> target = Category(["cat", "dog"])
    >>> target.encode(["dog", "cat"])
    array([1, 0])
    """

    metrics = ("accuracy",)

    def __init__(self, classes: Sequence[Any], *, class_axis: int = 1) -> None:
        self.classes = _check_classes(classes, at_least=2)
        self.c = len(self.classes)
        if isinstance(class_axis, bool) or not isinstance(class_axis, int) or class_axis == 0:
            raise DataError(
                f"`class_axis` must be a whole number and not 0, the axis of the items; got {class_axis!r}."
            )
        self.class_axis = class_axis

    @classmethod
    def from_labels(cls, labels: Iterable[Any]) -> Category:
        """Make a target whose classes are the distinct labels, sorted."""
        return cls(classes_of(as_labels(labels)))

    def encode(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """Return the class number of each label.

        Raises
        ------
        DataError
            Naming the labels that are no class, or are missing.
        """
        shape = np.shape(labels[0]) if isinstance(labels, list | np.ndarray) and len(labels) else ()
        if len(shape) > (self.class_axis == 1):  # masks; a row of labels is taken for several of an item
            places = np.asarray(labels)
            return self.encode(places.ravel()).reshape(places.shape)
        labels = as_labels(labels)
        codes = _codes(self.classes, labels, "Add training items of that class, or leave these items out.")
        return np.array([codes[label] for label in labels], dtype=np.int64)

    def label(self, y: Any) -> str:
        """Return the name of the class; of an item with places, the names of those that occur."""
        if np.ndim(y) and np.asarray(y).dtype.kind in "iu":
            return " ".join(str(self.classes[i]) for i in np.unique(y) if i >= 0)
        return super().label(y)

    def to_data(self) -> dict[str, Any]:
        """Return the classes, and where their scores are."""
        return {"kind": type(self).__name__, "classes": self.classes, "class_axis": self.class_axis}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Category:
        """Make it again; older files do not hold the axis."""
        return cls(data["classes"], class_axis=data.get("class_axis", 1))


class MultiCategory(Target):
    """Any number of classes per item: binary cross-entropy, a probability per class.

    Parameters
    ----------
    classes : sequence
        The class names, in the order of the model's scores.
    threshold : float, default 0.5
        Probability from which `decode` reports a class, and from which the metrics of a fit (`f2`, `accuracy`, ...) count
        it as said, unless they are given a threshold of their own.

    Examples
    --------
    >>> from learnkit import MultiCategory
    >>> MultiCategory(["clear", "cloudy", "water"]).encode([["clear", "water"], []])
    array([[1., 0., 1.],
           [0., 0., 0.]], dtype=float32)
    """

    metrics = ("f2",)

    def __init__(self, classes: Sequence[Any], *, threshold: float = 0.5) -> None:
        self.classes: list[Any] = _check_classes(classes, at_least=1)
        self.c = len(self.classes)
        self.threshold = threshold

    @classmethod
    def from_labels(cls, labels: Iterable[Iterable[Any]]) -> MultiCategory:
        """Make a target whose classes are the distinct labels of all items, sorted."""
        return cls(classes_of(label for item in several_labels(labels) for label in item))

    def encode(self, labels: Iterable[Iterable[Any]]) -> NDArray[np.float32]:
        """Return a row of zeros and ones per item.

        Raises
        ------
        DataError
            Naming the labels that are no class.
        """
        labels = several_labels(labels)
        codes = _codes(
            self.classes,
            [label for item in labels for label in item],
            "Add training items with that label, or leave it out.",
        )
        rows = np.zeros((len(labels), self.c), dtype=np.float32)
        for row, item in zip(rows, labels, strict=True):
            row[[codes[label] for label in item]] = 1
        return rows

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Binary cross-entropy of the scores, mean over items and classes."""
        return F.binary_cross_entropy_with_logits(pred, align_values(pred, y).to(pred.dtype))

    def activation(self, pred: Tensor) -> Tensor:
        """Probabilities, each class by itself."""
        return torch.sigmoid(pred.float())

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions, which are probabilities already, or refuse them as `Category.to_proba` does."""
        if np.any((preds < -0.001) | (preds > 1.001)):
            raise DataError(
                f"these predictions are no probabilities: they lie between {np.min(preds):.4g} and {np.max(preds):.4g}. "
                + NO_PROBABILITIES
            )
        return preds

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """List of the names of the classes at or above the threshold, per item."""
        preds = self.to_proba(preds)
        return [[name for name, p in zip(self.classes, row, strict=True) if p >= self.threshold] for row in preds]

    def to_data(self) -> dict[str, Any]:
        """Return the classes and the threshold."""
        return {"kind": type(self).__name__, "classes": self.classes, "threshold": self.threshold}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> MultiCategory:
        """Make it again."""
        return cls(data["classes"], threshold=float(data["threshold"]))


class Real(Target):
    """One or several numbers per item: mean squared error, values as they are.

    Parameters
    ----------
    c : int, default 1
        How many numbers.
    shape : tuple of int, optional
        Of one item's target, and so of one item's prediction: `()` for targets of shape `(n,)`, `(1,)` for `(n, 1)`. By
        default what the targets of the data bunch have.

    Examples
    --------
    >>> from learnkit import Real
    >>> Real().encode([1, 2.5])
    array([1. , 2.5], dtype=float32)
    """

    metrics = ("rmse",)

    def __init__(self, c: int = 1, *, shape: Sequence[int] | None = None) -> None:
        self.c = c
        self.shape: tuple[int, ...] | None = None
        if shape is not None:
            sizes = one_or_list("shape", shape, "sizes", lambda value: isinstance(value, int))
            self.shape = tuple(int(size) for size in sizes)

    def encode(self, labels: Iterable[Any]) -> NDArray[np.float32]:
        """Return the numbers as `float32`.

        Raises
        ------
        DataError
            If a label is no number, is missing or infinite; the item is named.
        """
        given = (
            labels
            if isinstance(labels, np.ndarray) and labels.ndim
            else check_list("labels", labels, "numbers", error=DataError)
        )
        if isinstance(given, list):  # pandas' NA is no number for NumPy
            given = [np.nan if is_missing(value) else value for value in given]
        try:
            with np.errstate(over="ignore"):  # what single precision cannot hold is named below
                values = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as exc:
            raise DataError(f"a regression needs numbers as targets: {exc}.") from exc
        bad = np.flatnonzero(~np.isfinite(values).all(tuple(range(1, values.ndim))))
        if len(bad):
            raise DataError(
                f"{len(bad)} target(s) are missing, infinite or beyond 3.4e38, the first is item {bad[0]}. Drop or fill "
                "them."
            )
        return values

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(pred, align_values(pred, y).to(pred.dtype))

    def activation(self, pred: Tensor) -> Tensor:
        """Return the values as they are."""
        return pred.float()

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Return the values as they are."""
        return preds

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Return the values as a list."""
        return list(preds.tolist())

    def to_data(self) -> dict[str, Any]:
        """Return how many numbers, and the shape of an item's where it is known."""
        return {**super().to_data(), **({} if self.shape is None else {"shape": list(self.shape)})}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Real:
        """Make it again; older files do not hold the shape."""
        return cls(int(data["c"]), shape=data.get("shape"))


def _codes(classes: Sequence[Any], labels: Iterable[Any], advice: str) -> dict[Any, int]:
    """Return the number of each distinct label, compared in one spelling, or name those that are no class."""
    numbers = {one_spelling(name): code for code, name in enumerate(classes)}
    distinct = set(labels)
    codes = {label: numbers[spelt] for label in distinct if (spelt := one_spelling(label)) in numbers}
    unknown = distinct - codes.keys()
    if not unknown:
        return codes
    if {str(label) for label in unknown} & {str(name) for name in classes}:  # the number 1 and the text "1"
        raise DataError(
            f"label(s) {some(sorted(map(repr, unknown)))} are not among the {len(classes)} training classes, which are of "
            f"another type: {some([repr(name) for name in classes], 8)}. Give both one type, `[str(label) for label in labels]`."
        )
    raise DataError(
        f"label(s) {', '.join(sorted(map(str, unknown))[:5])} are not among the {len(classes)} training classes "
        f"({some(classes, 8)}). {advice}"
    )


NO_PROBABILITIES = (
    "The scores of a loss of your own are left as they are: say what turns them into what `predict` returns, "
    "`learn.activation = data.target.activation` if it is as usual."
)


def _check_classes(classes: Sequence[Any], *, at_least: int) -> list[Any]:
    if isinstance(classes, set | frozenset):
        raise DataError("`classes` are in the order of the model's scores, and a set has none: write sorted(classes).")
    names = check_list("classes", classes, "names", error=DataError)
    if len(names) < at_least:
        raise DataError(f"a classifier needs at least {at_least} classes; got {len(names)} ({some(names, 8)}).")
    if any(map(is_missing, names)):
        raise DataError(
            f'`classes` must be names; one is missing: {some(names, 8)}. Leave it out, or call it "missing".'
        )
    spelt = [one_spelling(name) for name in names]
    if len(set(spelt)) != len(spelt):
        twice = sorted({str(name) for name in spelt if spelt.count(name) > 1})
        raise DataError(f"`classes` holds a name more than once: {', '.join(twice)}.")
    return names
