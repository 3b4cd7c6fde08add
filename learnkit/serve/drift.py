"""Whether a model is asked about something else than it was trained on: its inputs and predictions beside those of training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.runtime.drift import Measures, expected_noise, stability_index
from learnkit.runtime.model import RuntimeModel
from learnkit.serve.refusals import shortened

__all__ = ["FEWEST", "SHIFT", "Drift"]

FEWEST = 500
"""Instances before anything is said: of fewer chance says most."""
SHIFT = 0.25
"""The index above which a warning is logged; what chance alone makes comes on top."""
MANY = 20_000
"""Instances at which all counts are halved, so that what is new weighs more than what was long ago."""
AT_ONCE = 256
"""Instances that are counted together: a count of many costs hardly more than one of few."""

log = logging.getLogger(__name__)


class Drift:
    """Answers as its model does, and counts what went by.

    Parameters
    ----------
    name : str
        Of the model.
    model : RuntimeModel
        With histograms of its training.
    tell : callable
        Told the population stability index of an input.
    """

    def __init__(self, name: str, model: RuntimeModel, tell: Callable[[str, float], None]) -> None:
        self.name, self.model, self._tell = name, model, tell
        self._measures = Measures(model.meta)
        self._counts = {what: np.zeros(len(one.counts)) for what, one in model.training.items()}
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        self._n_waiting = self._n = 0
        self._warned: set[str] = set()
        self._lock = Lock()  # the model's thread counts, and that of the server shows

    def answers(self, items: Any) -> list[dict[str, Any]]:
        """Return the model's answers."""
        inputs = self.model.prepare(items)
        predictions = self.model.run(inputs)
        answers = self.model.answers_of(predictions)
        reduced = self._measures.reduced(inputs, predictions)
        with self._lock:
            self._waiting.append(reduced)
            self._n_waiting += len(answers)
            if self._n_waiting >= AT_ONCE:
                self._count()
        return answers

    def show(self) -> None:
        """Tell how far each input is from training, with everything that was seen until now."""
        with self._lock:
            self._count()

    def _count(self) -> None:
        if not self._waiting:
            return
        values = self._measures.named(tuple(map(np.concatenate, zip(*self._waiting, strict=True))))
        self._n += self._n_waiting
        self._waiting, self._n_waiting = [], 0
        for what, counts in self._counts.items():
            if what in values:
                counts += self.model.training[what].count(values[what])
        if self._n >= FEWEST:
            for what, counts in self._counts.items():
                self._compare(what, counts)
        if self._n >= MANY:
            self._n //= 2
            for counts in self._counts.values():
                counts /= 2

    def _compare(self, what: str, counts: NDArray[Any]) -> None:
        training = self.model.training[what].counts
        if not counts.any():  # not among what this model takes
            return
        index = stability_index(training, counts)
        self._tell(shortened(what, 100), index)
        if index - expected_noise(training, counts) > SHIFT and what not in self._warned:
            self._warned.add(what)
            log.warning(
                "model %s: %s is not as in training (population stability index %.2f, over %d instances): its predictions may be "
                "worse than they were measured to be",
                self.name,
                shortened(repr(what), 100),
                index,
                self._n,
            )
