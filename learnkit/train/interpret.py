"""What the predictions say: where the model is right, wrong and unsure, about classes and about numbers.

Made from predictions and targets alone, so it serves every application; `learn.interpret()` adds pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError, check_fraction
from learnkit.core.listing import check_list, number_array, numbers
from learnkit.core.plots import as_text, get_ax, plot_confusion_matrix
from learnkit.data.labels import one_spelling
from learnkit.train.counts import FBeta

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Interpretation", "ValueInterpretation", "by_place"]


class Interpretation:
    """Probabilities and targets of a classification, and the questions asked of them.

    Parameters
    ----------
    probs : array of shape (n, n_classes)
        Probabilities: each row adds up to 1 (one class per item) or not (several).
    targs : array of shape (n,) or (n, n_classes)
        Class numbers, or zeros and ones per class for several labels per item.
    classes : sequence
        Names, in the order of the columns.

    Raises
    ------
    DataError
        If the shapes do not fit together.

    Examples
    --------
    >>> from learnkit import Interpretation
    >>> said = Interpretation([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1], ["cat", "dog"])
    >>> said.confusion_matrix()
    array([[1, 0],
           [1, 1]])
    >>> said.most_incorrect()
    array([2])
    """

    def __init__(self, probs: ArrayLike, targs: ArrayLike, classes: Sequence[Any]) -> None:
        self.probs: NDArray[Any] = number_array("probs", probs, error=DataError).astype(float)
        self.targs: NDArray[Any] = number_array("targs", targs, error=DataError)
        self.classes = check_list("classes", classes, "names", error=DataError)
        n, c = len(self.targs), len(self.classes)
        if self.probs.shape != (n, c) or self.targs.shape not in ((n,), (n, c)):
            raise DataError(
                f"expected probabilities of shape ({n}, {c}) for {n} targets and {c} classes, targets of shape ({n},) or "
                f"({n}, {c}); got {self.probs.shape} and {self.targs.shape}."
            )

    @property
    def is_multi(self) -> bool:
        """Whether an item can have several labels."""
        return self.targs.ndim == 2

    @property
    def guesses(self) -> NDArray[np.int64]:
        """The most probable class of each item."""
        return self.probs.argmax(1)

    @property
    def losses(self) -> NDArray[Any]:
        """Cross-entropy of each item (binary, mean over the classes, for several labels per item)."""
        p = self.probs.clip(1e-12, 1)
        if not self.is_multi:
            return -np.log(p[np.arange(len(p)), self.targs])
        q = (1 - self.probs).clip(1e-12, 1)
        return -np.where(self.targs >= 0.5, np.log(p), np.log(q)).mean(1)

    def confusion_matrix(self, threshold: float | None = None) -> NDArray[np.int64]:
        """Count the items of class `i` predicted as `j`.

        Parameters
        ----------
        threshold : float, optional
            Of two classes, the probability from which the second is said; the more probable one by default. See
            `best_threshold`.

        Returns
        -------
        array of int64, shape (n_classes, n_classes)
        """
        self._single("a confusion matrix")
        matrix = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        guesses = self.guesses
        if threshold is not None:
            if len(self.classes) != 2:
                raise DataError(
                    f"`threshold` decides between two classes; here are {len(self.classes)}, of which the most probable is said."
                )
            guesses = (self.probs[:, 1] >= check_fraction("threshold", threshold)).astype(np.int64)
        np.add.at(matrix, (self.targs, guesses), 1)
        return matrix

    def plot_confusion_matrix(
        self, normalize: bool = False, *, threshold: float | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw the confusion matrix, at a threshold if there are two classes; see `learnkit.plot_confusion_matrix`."""
        return plot_confusion_matrix(self.confusion_matrix(threshold), self.classes, normalize, ax=ax)

    def most_confused(self, min_count: int = 1) -> list[tuple[Any, Any, int]]:
        """List pairs of classes that are mixed up, most often first.

        Parameters
        ----------
        min_count : int, default 1
            Leave out rarer ones.

        Returns
        -------
        list of (actual, predicted, count)
        """
        self._single("which classes are mixed up")
        targs, guesses = self.targs, self.guesses
        wrong = targs != guesses  # counted as pairs: of the words of a language the whole matrix would be gigabytes
        pairs, counts = np.unique(np.stack([targs[wrong], guesses[wrong]], axis=1), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [
            (self.classes[int(pairs[i, 0])], self.classes[int(pairs[i, 1])], int(counts[i]))
            for i in order
            if counts[i] >= min_count
        ]

    def most_correct(self, target: Any = None, n: int = 4) -> NDArray[np.int64]:
        """Return the items that are right with the highest probability, of one class or of all.

        Parameters
        ----------
        target : class name, optional
            Only items of that class.
        n : int, default 4

        Returns
        -------
        array of int64
            Indices, at most `n`.
        """
        right = self._of_class(target) & (self.guesses == self._single_targs())
        return self._first(right, -self.probs.max(1), n)

    def most_incorrect(self, target: Any = None, n: int = 4) -> NDArray[np.int64]:
        """Return the items that are wrong with the highest probability; see `most_correct`."""
        wrong = self._of_class(target) & (self.guesses != self._single_targs())
        return self._first(wrong, -self.probs.max(1), n)

    def most_uncertain(self, n: int = 4) -> NDArray[np.int64]:
        """Return the items whose highest probability is lowest (nearest to 0.5, for several labels per item)."""
        sure = np.abs(self.probs - 0.5).min(1) if self.is_multi else self.probs.max(1)
        return np.argsort(sure, kind="stable")[:n]

    def top_losses(self, n: int = 9) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the highest losses and the items they belong to.

        Returns
        -------
        losses : array of shape (n,)
        idxs : array of int64, shape (n,)
        """
        order = np.argsort(-self.losses, kind="stable")[:n]
        return self.losses[order], order

    def plot_roc(self, *, ax: Axes | None = None) -> Axes:
        """Draw the ROC curve of each class against the rest (of the second class, if there are two)."""
        from sklearn.metrics import auc, roc_curve

        def curve(truth: Any, scores: Any) -> tuple[Any, Any, float]:
            fpr, tpr, _ = roc_curve(truth, scores)
            return fpr, tpr, float(auc(fpr, tpr))

        return self._plot_curves(curve, "false positive rate", "true positive rate", "area", ax)

    def plot_precision_recall(self, *, ax: Axes | None = None) -> Axes:
        """Draw precision against recall of each class (of the second class, if there are two)."""
        from sklearn.metrics import average_precision_score, precision_recall_curve

        def curve(truth: Any, scores: Any) -> tuple[Any, Any, float]:
            precision, recall, _ = precision_recall_curve(truth, scores)
            return recall, precision, float(average_precision_score(truth, scores))

        return self._plot_curves(curve, "recall", "precision", "average", ax)

    def report(self) -> str:
        """Return precision, recall and F1 per class, as scikit-learn's `classification_report` prints them."""
        from sklearn.metrics import classification_report

        guesses = (self.probs >= 0.5).astype(int) if self.is_multi else self.guesses
        names = [str(name) for name in self.classes]
        text: str = classification_report(
            self.targs, guesses, labels=range(len(names)), target_names=names, digits=3, zero_division=0
        )
        return text

    def best_threshold(self, beta: float = 2, thresholds: ArrayLike | None = None) -> tuple[float, float]:
        """Choose the threshold that gives the best F-beta score: for several labels per item, or the second of two classes.

        Parameters
        ----------
        beta : float, default 2
            How much more recall counts than precision.
        thresholds : array, optional
            Those to try; 0.05 to 0.95 by default.

        Returns
        -------
        threshold, score : float
        """
        if not self.is_multi and len(self.classes) != 2:
            raise DataError(
                f"a threshold is for several labels per item, or for two classes; here each item has one of {len(self.classes)}."
            )
        probs = self.probs if self.is_multi else self.probs[:, 1]
        tried = np.arange(0.05, 0.96, 0.01) if thresholds is None else np.asarray(numbers("thresholds", thresholds))
        scores = [FBeta(beta, threshold=float(t))(probs, self.targs.astype(float)) for t in tried]
        best = int(np.argmax(scores))
        return float(tried[best]), float(scores[best])

    def _plot_curves(self, curve: Any, xlabel: str, ylabel: str, figure: str, ax: Axes | None) -> Axes:
        ax = get_ax(ax, (6, 5))
        lines: list[Any] = []
        labels: list[str] = []
        columns = [1] if len(self.classes) == 2 and not self.is_multi else range(len(self.classes))
        for column in columns:
            truth = self.targs[:, column] >= 0.5 if self.is_multi else self.targs == column
            if truth.all() or not truth.any():
                continue  # there is no curve without both kinds
            x, y, value = curve(truth, self.probs[:, column])
            labels.append(f"{self.classes[column]} ({figure} {value:.3f})")
            lines += ax.plot(x, y, lw=1.2)
        ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.grid(alpha=0.25)
        if len(self.classes) <= 20 and lines:
            # Labels of lines would not do: one that begins with "_" is no label to matplotlib.
            as_text(
                *ax.legend(lines, [" " * label.startswith("_") + label for label in labels], fontsize=8).get_texts()
            )
        return ax

    def _single(self, what: str) -> None:
        if self.is_multi:
            raise DataError(f"{what} needs one class per item; these items can have several labels.")

    def _single_targs(self) -> NDArray[Any]:
        self._single("right or wrong")
        return self.targs

    def _of_class(self, target: Any) -> NDArray[np.bool_]:
        if target is None:
            return np.ones(len(self.targs), dtype=bool)
        spelt = [one_spelling(name) for name in self.classes]
        if one_spelling(target) not in spelt:
            raise DataError(f"there is no class {target!r}; classes are {', '.join(map(str, self.classes[:10]))}.")
        matches: NDArray[np.bool_] = self._single_targs() == spelt.index(one_spelling(target))
        return matches

    def _first(self, mask: NDArray[np.bool_], key: NDArray[Any], n: int) -> NDArray[np.int64]:
        idxs = np.flatnonzero(mask)
        return idxs[np.argsort(key[idxs], kind="stable")][:n]


class ValueInterpretation:
    """Predicted and true values of a regression: how far off, where, and in which direction.

    Parameters
    ----------
    preds, targs : array of shape (n,) or (n, k)

    Raises
    ------
    DataError
        If they are not of one shape.

    Examples
    --------
    >>> from learnkit import ValueInterpretation
    >>> said = ValueInterpretation([1.0, 2.0, 6.0], [1.0, 3.0, 3.0])
    >>> said.top_losses(2)
    (array([9., 1.]), array([2, 1]))
    >>> said.report()
       mean_error  mae  rmse    r2
    0       0.667 1.33  1.83 -2.75
    """

    def __init__(self, preds: ArrayLike, targs: ArrayLike) -> None:
        self.preds: NDArray[Any] = number_array("preds", preds, error=DataError).astype(float)
        self.targs: NDArray[Any] = number_array("targs", targs, error=DataError).astype(float)
        if self.preds.shape != self.targs.shape or not self.preds.ndim:
            raise DataError(f"expected values of one shape; got {self.preds.shape} and {self.targs.shape}.")

    @property
    def errors(self) -> NDArray[Any]:
        """Predicted minus true values, in their shape."""
        return self.preds - self.targs

    @property
    def losses(self) -> NDArray[Any]:
        """Squared error of each item (mean over its values)."""
        return self._columns(self.errors**2).mean(1)

    def top_losses(self, n: int = 9) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the highest losses and the items they belong to; see `Interpretation.top_losses`."""
        order = np.argsort(-self.losses, kind="stable")[:n]
        return self.losses[order], order

    def report(self) -> Any:
        """Return figures of each value to three digits: mean error, mean absolute error, root mean squared error, R2.

        Returns
        -------
        pandas.DataFrame
            A row per value of an item. R2 is NaN where the true values are all the same.
        """
        import pandas as pd

        errors, targs = self._columns(self.errors), self._columns(self.targs)
        squares = (errors**2).mean(0)
        variance = targs.var(0)
        r2 = np.where(variance > 0, 1 - squares / np.where(variance > 0, variance, 1), np.nan)
        figures = {"mean_error": errors.mean(0), "mae": np.abs(errors).mean(0), "rmse": np.sqrt(squares), "r2": r2}
        return pd.DataFrame({name: [float(f"{x:.3g}") for x in column] for name, column in figures.items()})

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw predicted against true values, a colour for each value of an item, and the line where they agree."""
        ax = get_ax(ax, (5, 5))
        preds, targs = self._columns(self.preds), self._columns(self.targs)
        for column in range(targs.shape[1]):
            ax.plot(targs[:, column], preds[:, column], ".", alpha=0.5)
        ends = [min(preds.min(), targs.min()), max(preds.max(), targs.max())]
        ax.plot(ends, ends, color="0.5", lw=1)
        ax.set(xlabel="actual", ylabel="predicted")
        return ax

    @staticmethod
    def _columns(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(len(values), -1)


def by_place(probs: Any, targs: Any, class_axis: int | None) -> tuple[Any, Any]:
    """Return probabilities `(n, c, ...)` and classes `(n, ...)`, as of masks, as `(n * places, c)` and `(n * places,)`.

    Anything else is returned as it is.
    """
    if class_axis is None or np.ndim(probs) < 3:
        return probs, targs
    rows = np.moveaxis(probs, class_axis, -1)
    return (
        (rows.reshape(-1, rows.shape[-1]), np.reshape(targs, -1))
        if rows.shape[:-1] == np.shape(targs)
        else (probs, targs)
    )
