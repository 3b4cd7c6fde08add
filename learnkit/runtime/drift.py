"""What a model saw in training, in small, and how far what it sees now is from that.

An exported file holds a histogram of each column of a table, of the brightness of pictures, the length of texts, the share of
what is unknown, and of the predictions. `learn.to_onnx` and the server count with the same few functions, on what the preparation
makes: whole arrays, never a value by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "PREDICTIONS", "Histogram", "Measures", "expected_noise", "read_training", "stability_index"]

FEWEST = 100
"""Values that make a histogram; of fewer its parts are chance."""
COLUMNS = 100
"""Columns of a table, the first, that are watched."""
VALUES = 20
"""Values of a prediction, the first, that are watched, and parts of the histogram of a category beside the rest."""
PREDICTIONS = "(predictions)"
"""What the predictions are called among the inputs."""

Arrays = tuple[NDArray[Any], ...]


class Histogram:
    """How many values of training lie in which part.

    Parameters
    ----------
    edges : array
        Of numbers: where the parts meet, so there is one more of them. Of codes: those that are a part of their own.
    counts : array
        Of each part; of codes the last is that of all others.
    of_codes : bool
    """

    def __init__(self, edges: NDArray[Any], counts: NDArray[Any], *, of_codes: bool) -> None:
        self.edges, self.counts, self.of_codes = edges, counts, of_codes

    @classmethod
    def of(cls, values: NDArray[Any]) -> Self:
        """Divide values into tenths, codes (whole numbers) by the most frequent ones.

        A number that is a tenth of the values or more by itself, as 0 often is, becomes a part of its own.
        """
        if values.dtype.kind in "iub":
            codes, counts = np.unique(values, return_counts=True)
            edges: NDArray[Any] = np.sort(codes[np.argsort(-counts, kind="stable")[:VALUES]]).astype(np.int64)
            empty = cls(edges, np.zeros(0), of_codes=True)
        else:
            edges = _tenths(values.astype(np.float32))
            empty = cls(edges, np.zeros(0), of_codes=False)
        return cls(empty.edges, empty.count(values), of_codes=empty.of_codes)

    def count(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many values lie in each part."""
        n = len(self.edges)
        if not self.of_codes:
            return np.bincount(np.searchsorted(self.edges, values.astype(np.float32), side="right"), minlength=n + 1)
        place = np.searchsorted(self.edges, values)
        known = self.edges[np.minimum(place, n - 1)] == values
        return np.bincount(np.where(known, place, n), minlength=n + 1)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"codes" if self.of_codes else "edges": self.edges.tolist(), "counts": self.counts.tolist()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; a ValueError, TypeError or KeyError says that it is none."""
        of_codes = "codes" in data
        edges = np.array(data["codes" if of_codes else "edges"], np.int64 if of_codes else np.float32)
        counts = np.array(data["counts"], np.float64)
        if edges.ndim != 1 or not 0 < len(edges) <= 1000 or counts.shape != (len(edges) + 1,):
            raise ValueError(f"a histogram of {edges.shape} edges and {counts.shape} counts")
        if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() > 0 and (np.diff(edges) > 0).all()):
            raise ValueError("a histogram that counts nothing, or whose parts are in no order")
        return cls(edges, counts, of_codes=of_codes)


def _tenths(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where to divide numbers into tenths: midway between two of them, so that the last bit of a prediction moves none."""
    distinct = np.unique(values).astype(np.float64)
    tenths = np.quantile(values, np.arange(1, 10) / 10, method="nearest")
    places, times = np.unique(np.searchsorted(distinct, tenths), return_counts=True)
    margin = 1e-3 * np.maximum(1, np.abs(distinct[[0, -1]]))
    around = np.concatenate([distinct[:1] - margin[0], distinct, distinct[-1:] + margin[1]])
    between = ((around[1:] + around[:-1]) / 2).astype(np.float32)  # [i] is below the i-th
    edges: NDArray[np.float32] = np.unique(np.concatenate([between[places], between[places[times > 1] + 1]]))
    return edges


def read_training(data: Any) -> dict[str, Histogram]:
    """Return the histograms in a file by the name of the input; none of a file without them."""
    if data is None:
        return {}
    return {str(name): Histogram.from_data(one) for name, one in data["histograms"].items()}


def stability_index(training: NDArray[Any], seen: NDArray[Any]) -> float:
    """Return the population stability index of two histograms: 0 where they are alike, above 0.25 where they differ much.

    Half a value is added to each part, so that an empty one makes no infinity.

    Parameters
    ----------
    training, seen : array
        Counts of the same parts.

    References
    ----------
    N. Siddiqi, "Credit risk scorecards", Wiley 2006: the sum over the parts of `(p - q) * log(p / q)`, which is the symmetric
    divergence of H. Jeffreys (1946); below 0.1 is called stable, above 0.25 a shift.
    """
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (training, seen))
    return float(((p - q) * np.log(p / q)).sum())


def expected_noise(training: NDArray[Any], seen: NDArray[Any]) -> float:
    """Return the index that chance alone gives on average: a part less, times `1 / n + 1 / m`.

    References
    ----------
    B. Yurdakul, "Statistical properties of population stability index", Western Michigan University 2018.
    """
    return (len(training) - 1) * float(1 / training.sum() + 1 / seen.sum())


class Measures:
    """What is counted of the inputs and predictions of a model.

    Parameters
    ----------
    meta : mapping
        What is written beside the network: `kind`, `prep`, `task`, `classes`, `threshold`.
    """

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.kind, self.task, self.prep = meta["kind"], meta["task"], meta["prep"]
        self.classes: Sequence[Any] = meta["classes"] or ()
        self.threshold = meta.get("threshold", 0.5)

    def reduced(self, inputs: Mapping[str, NDArray[Any]], predictions: NDArray[Any]) -> Arrays:
        """Return what is kept of a batch: a few small arrays, the items first."""
        return *self._inputs(inputs), self._predictions(predictions)

    def named(self, reduced: Arrays) -> dict[str, NDArray[Any]]:
        """Return the values of each input, and of the predictions, of reduced batches joined."""
        *inputs, predictions = reduced
        return self._named_inputs(inputs) | self._named_predictions(predictions)

    def _inputs(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if self.kind == "table":
            return [inputs["cats"], inputs["conts"]]
        if self.kind == "ratings":
            return [inputs["users"] == 0, inputs["items"] == 0]
        if self.kind == "texts":
            tokens = inputs["tokens"]
            n = (tokens != 1).sum(0)
            return [n.astype(np.float32), np.round((tokens == 0).sum(0) / np.maximum(n, 1), 3).astype(np.float32)]
        if self.kind == "pictures":
            pixels = inputs["pixels"]
            channels = pixels.reshape(*pixels.shape[:2], -1).mean(2)
            if self.prep["mean"] is not None:
                channels = channels * np.asarray(self.prep["std"], np.float32) + np.asarray(
                    self.prep["mean"], np.float32
                )
            return [np.round(channels.mean(1) * 255).astype(np.float32)]  # whole levels, so that no last bit counts
        return []

    def _named_inputs(self, inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self.kind == "table":
            names = [*self.prep["cats"], *self.prep["conts"]][:COLUMNS]
            columns = [*inputs[0].T, *inputs[1].T]
            return {str(name): column for name, column in zip(names, columns, strict=False)}
        names = {
            "ratings": ["unknown users", "unknown items"],
            "texts": ["tokens", "unknown tokens"],
            "pictures": ["brightness"],
        }.get(self.kind, [])
        return dict(zip(names, inputs, strict=True))

    def _predictions(self, predictions: NDArray[Any]) -> NDArray[Any]:
        if self.task == "category":
            return predictions.argmax(1)
        if self.task == "multi":
            return predictions >= self.threshold
        return predictions

    def _named_predictions(self, predictions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if self.task == "multi":  # the labels given, and how often none was
            none = np.full(int((~predictions.any(1)).sum()), predictions.shape[1])
            return {PREDICTIONS: np.concatenate([predictions.nonzero()[1], none])}
        if predictions.ndim == 1:
            return {PREDICTIONS: predictions}
        columns = predictions.reshape(len(predictions), -1).T[:VALUES]
        names = self.classes if len(self.classes) >= len(columns) else range(len(columns))
        return {f"{PREDICTIONS} {name}": column for name, column in zip(names, columns, strict=False)}
