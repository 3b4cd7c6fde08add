"""A pass over validation data: the mean loss and the metrics over the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from learnkit.core.errors import DataError, TrainingError
from learnkit.core.layers import forget_state
from learnkit.data.joining import batch_len
from learnkit.train.events import Run
from learnkit.train.explain import MISFIT, metric_misfit
from learnkit.train.firstlook import FirstLook
from learnkit.train.foreign import columns_of
from learnkit.train.losses import Reading
from learnkit.train.metric import Metric
from learnkit.train.metrics import figures_of
from learnkit.train.step import Forward

__all__ = ["NO_BATCHES", "Measure"]

NO_BATCHES = (
    "the {} loader is empty: it gave no batch. Check that the data set is not empty, and with `drop_last=True` that it "
    "holds at least one full batch. A generator can be used only once: give a list or a loader. Without validation, "
    "`val_dl` is None."
)


class Measure:
    """Measures a model on a loader.

    Parameters
    ----------
    forward : Forward
    scorers : sequence of Metric
    reading : Reading
        How metrics see the scores of the model.
    """

    def __init__(self, forward: Forward, scorers: Sequence[Metric], reading: Reading) -> None:
        self.forward, self.scorers, self.reading = forward, scorers, reading

    @torch.no_grad()
    def __call__(self, run: Run, dl: Iterable[Any], look: FirstLook | None = None) -> dict[str, float]:
        """Return `val_loss` and the metrics; the run hears of each batch."""
        run.model.eval()
        forget_state(run.model)
        for scorer in self.scorers:
            scorer.reset()
        total: Any = 0.0  # on the device until the end
        count = 0
        for run.batch, (run.xs, run.y) in enumerate(dl):
            with run.phase("batch"):
                run.emit("before_batch")
                self.forward(run, look)
                n = batch_len(run.xs, run.y)
                total = total + run.loss.detach().float() * n
                count += n
                self._score(run)
        if not count:
            raise DataError(NO_BATCHES.format("validation"))
        figures = {"val_loss": float(total) / count}
        for scorer in self.scorers:
            found = _compute(scorer)
            run.note_columns(figures_of([scorer]), found)
            figures |= found
        return figures

    def _score(self, run: Run) -> None:
        if not self.scorers:
            return
        ours, theirs = self.reading.for_library(run.pred, run.y), (self.reading.for_user(run.pred), run.y)
        for scorer in self.scorers:
            preds, y = ours if scorer.aligns else theirs
            try:
                scorer.update(preds, y)
            except MISFIT as exc:
                raise metric_misfit(scorer.name, preds, y, exc) from exc


def _compute(scorer: Metric) -> dict[str, float]:
    try:
        return columns_of(scorer.name, scorer.compute())
    except TrainingError:
        raise
    except MISFIT as exc:
        raise TrainingError(
            f"the metric {scorer.name!r} cannot be computed from what the model predicts: {exc}"
        ) from exc
