"""What training saw, in small, for an exported file: so that who serves it notices when it is asked about something else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.device import to_np
from learnkit.core.errors import DataError, user_stacklevel
from learnkit.core.preserve import preserve_rng
from learnkit.data.bunch import DataBunch
from learnkit.data.loaders import ItemLoader, generators, split_batch
from learnkit.data.prep import Prep
from learnkit.export.onnx import Axes
from learnkit.runtime.drift import FEWEST, PREDICTIONS, Histogram, Measures
from learnkit.train.portable import n_items

__all__ = ["what_training_saw"]

ROWS = {"pictures": 300, "texts": 300}
"""Items that are looked at, drawn from all; of tables and ratings, which cost little, 10,000."""

Xs = tuple[Any, ...]


def what_training_saw(
    data: DataBunch,
    prep: Prep | None,
    meta: Mapping[str, Any],
    axes: Axes,
    predicted: Callable[[tuple[Tensor, ...]], NDArray[Any]],
) -> dict[str, Any] | None:
    """Return histograms of the inputs of the training set, and of the predictions for the validation set.

    Parameters
    ----------
    data : DataBunch
    prep : Prep or None
    meta : mapping
        What is written beside the network.
    axes : mapping
        Names of the network's inputs, and of their axes.
    predicted : callable
        Inputs -> what the network predicts for them.

    Returns
    -------
    dict or None
        As JSON; `None` where the data has too few items, or they cannot be drawn from a loader of your own.
    """
    measures = Measures(meta)
    found: dict[str, Histogram] = {}
    # Of the training set nothing is predicted: the network has learnt it. Nor of a ranking, whose validation set has only items
    # that were taken, while it is asked about all.
    parts = [(_plain(data), False)] + [(data.val_dl, True)] * (meta["task"] != "order")
    for dl, of_predictions in parts:
        batches = []
        try:
            for drawn in _drawn(dl, ROWS.get(meta["kind"], 10_000)):
                xs = drawn if prep is None else prep.as_raw(drawn)
                inputs = dict(zip(axes, map(to_np, xs), strict=True))
                predictions = predicted(xs) if of_predictions else _no_predictions(n_items(xs, axes), meta)
                batches.append(measures.reduced(inputs, predictions))
        except DataError as exc:
            warnings.warn(
                f"the file will not say what training saw, so that who serves it cannot compare: {exc}",
                stacklevel=user_stacklevel(),
            )
            return None
        if not batches:
            continue
        joined = measures.named(tuple(map(np.concatenate, zip(*batches, strict=True))))
        for name, values in joined.items():
            wanted = name.startswith(PREDICTIONS) is of_predictions and len(values) >= FEWEST
            if wanted and np.isfinite(values).all():
                found[name] = Histogram.of(values)
    return {"histograms": {name: histogram.to_data() for name, histogram in found.items()}} if found else None


def _plain(data: Any) -> Iterable[Any] | None:
    """Return the training set without augmentation."""
    dl: Any = data.trn_dl
    return data.fix_dl if isinstance(dl, ItemLoader) and hasattr(data, "fix_dl") else dl


def _drawn(dl: Any, n: int) -> Iterator[Xs]:
    """Give the inputs of at most `n` items from all over a loader, in batches; it and random generators stay as they were."""
    if isinstance(dl, ItemLoader):
        ds: Any = dl.dataset
        size, bs = len(ds), 64
    elif hasattr(dl, "take") and hasattr(dl, "n_rows"):
        size, bs = dl.n_rows, 64 if n < 1000 else 4096
    else:
        return
    if size < FEWEST:
        return
    rows = np.sort(np.random.default_rng(0).choice(size, min(n, size), replace=False))
    for part in np.array_split(rows, max(1, math.ceil(len(rows) / bs))):
        with preserve_rng(*generators(dl)):
            if isinstance(dl, ItemLoader):
                batch = ds.finish(ds.batch(part.tolist(), 0))
            else:
                batch = dl.take(torch.from_numpy(part))
        yield split_batch(batch)[0]


def _no_predictions(n: int, meta: Mapping[str, Any]) -> NDArray[np.float32]:
    shape = (n, len(meta["classes"])) if meta["task"] in ("category", "multi") else (n,)
    return np.zeros(shape, np.float32)
