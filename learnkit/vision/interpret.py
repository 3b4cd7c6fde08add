"""Interpretation with pictures: what the best, worst and most doubtful items look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError
from learnkit.core.plots import plots
from learnkit.train.interpret import Interpretation
from learnkit.vision.dataset import ImageDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageInterpretation"]


class ImageInterpretation(Interpretation):
    """What `ConvLearner.interpret()` returns: it can show the pictures; see `Interpretation`.

    Parameters
    ----------
    dataset : ImageDataset or None
        The pictures, in the order of the predictions.
    """

    def __init__(
        self, probs: ArrayLike, targs: ArrayLike, classes: Sequence[Any], dataset: ImageDataset | None
    ) -> None:
        super().__init__(probs, targs, classes)
        self.dataset = dataset

    def plot(self, idxs: ArrayLike, rows: int = 1, figsize: tuple[float, float] = (12, 4)) -> Figure:
        """Draw items with what was predicted, how surely, and what is right.

        Parameters
        ----------
        idxs : array of int
            Items of the validation set.
        rows : int, default 1
        figsize : tuple of float

        Returns
        -------
        matplotlib.figure.Figure
        """
        if not isinstance(self.dataset, ImageDataset):
            raise DataError("the pictures are not at hand: the validation loader has no picture dataset.")
        chosen: NDArray[Any] = np.atleast_1d(np.asarray(idxs))
        if not len(chosen):
            raise DataError("there is no such item to draw.")
        ds = self.dataset
        pictures = [ds.denorm(ds.finish(ds.batch([int(i)], ds.epoch_seed))[0])[0] for i in chosen]
        return plots(pictures, rows, [self._title(int(i)) for i in chosen], figsize)

    def plot_most_correct(self, target: Any = None, n: int = 4) -> Figure:
        """Draw `most_correct`."""
        return self.plot(self.most_correct(target, n))

    def plot_most_incorrect(self, target: Any = None, n: int = 4) -> Figure:
        """Draw `most_incorrect`."""
        return self.plot(self.most_incorrect(target, n))

    def plot_most_uncertain(self, n: int = 4) -> Figure:
        """Draw `most_uncertain`."""
        return self.plot(self.most_uncertain(n))

    def plot_top_losses(self, n: int = 9, rows: int = 3) -> Figure:
        """Draw the items with the highest losses."""
        return self.plot(self.top_losses(n)[1], rows, (12, 3 * rows))

    def _title(self, i: int) -> str:
        if self.is_multi:
            said = ", ".join(str(name) for name, p in zip(self.classes, self.probs[i], strict=True) if p >= 0.5)
            true = ", ".join(str(name) for name, t in zip(self.classes, self.targs[i], strict=True) if t >= 0.5)
            return f"{said or '(none)'}\nis {true or '(none)'}"
        guess = self.guesses[i]
        return f"{self.classes[guess]} ({self.probs[i, guess]:.0%}), is {self.classes[self.targs[i]]}"
