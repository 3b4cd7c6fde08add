"""`load`: opens an exported model, and answers for raw items with labels and probabilities.

An `.onnx` file that `learn.to_onnx` wrote holds the network with its activation, and beside it, as JSON, the preparation and
the classes. Nothing in it is run but the network itself, by onnxruntime; it may refer to no other file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import CheckpointError, DataError, optional_import
from learnkit.runtime.drift import Histogram, read_training
from learnkit.runtime.pictures import PicturePreparation
from learnkit.runtime.ratings import RatingPreparation
from learnkit.runtime.tables import TablePreparation
from learnkit.runtime.texts import TextPreparation

__all__ = ["FORMAT", "METADATA", "Preparation", "RuntimeModel", "load"]

FORMAT = 1
"""Of the metadata that this version writes and reads."""
METADATA = "learnkit"
"""The key under which they stand."""

TASKS = ("category", "multi", "value", "order")
# The key of a reference to another file in an ONNX file: a text after its length, which may be written with a zero behind it.
_EXTERNAL = (b"\x08location", b"\x00location")


class Preparation(Protocol):
    """What turns raw items of one kind into the inputs of a network."""

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return the inputs by name."""

    def instance(self, value: Any) -> Any:
        """Return the item of a JSON value."""


class Arrays:
    """Of a kind of data that is the user's own: items are what the network takes, as arrays."""

    def __init__(self, prep: Mapping[str, Any]) -> None:
        self.names: list[str] = prep["names"]
        self.dtypes: list[str] = prep["dtypes"]

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return an array, or a tuple of them, by name."""
        arrays = items if isinstance(items, tuple) else (items,)
        if len(arrays) != len(self.names):
            raise DataError(f"this model takes {len(self.names)} arrays, {', '.join(self.names)}; got {len(arrays)}.")
        return {
            name: np.asarray(x, dtype=dtype) for name, x, dtype in zip(self.names, arrays, self.dtypes, strict=True)
        }

    def instance(self, value: Any) -> Any:
        """Return the numbers of a JSON list as they are."""
        return value


PREPARATIONS: dict[str, Callable[[Mapping[str, Any]], Preparation]] = {
    "arrays": Arrays,
    "pictures": PicturePreparation,
    "ratings": RatingPreparation,
    "table": TablePreparation,
    "texts": TextPreparation,
}


class RuntimeModel:
    """An exported model, to predict with; see `load`. Threads may share one.

    Parameters
    ----------
    content : bytes
        Of the file.
    name : str
        What it is called in messages.
    threads : int, optional
        That onnxruntime computes with.

    Attributes
    ----------
    kind : str
        "pictures", "table", "ratings", "texts", or "arrays" for a kind of data of one's own.
    task : {"category", "multi", "value", "order"}
        One of the classes, several of them, numbers, or numbers that only mean an order.
    classes : list or None
        Names of the classes in the order of the probabilities; of several values their names.
    version : str
        First twelve digits of the file's SHA-256.
    created : str
        When it was exported, ISO 8601.
    meta : dict
        All that is written beside the network.
    training : dict of str to Histogram
        What training saw of each input, and what was predicted for the validation set; empty in a file that does not say.
    """

    def __init__(self, content: bytes, name: str, *, threads: int | None = None) -> None:
        ort = optional_import("onnxruntime", extra="serve")
        if any(key in content for key in _EXTERNAL):
            raise CheckpointError(f"{name} refers to another file for its weights; a model must be one file.")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            found = self.session.get_modelmeta().custom_metadata_map
        except Exception as exc:  # the errors of onnxruntime have no base of their own
            raise CheckpointError(
                f"{name} is no model that can be opened; a file that `learn.to_onnx` wrote is expected. {exc}"
            ) from exc
        self.meta = _read_meta(found.get(METADATA), name)
        self.name, self.version = name, hashlib.sha256(content).hexdigest()[:12]
        self.kind, self.task, self.created = str(self.meta["kind"]), str(self.meta["task"]), str(self.meta["created"])
        self.classes: list[Any] | None = self.meta["classes"]
        self.threshold = self.meta.get("threshold", 0.5)
        try:
            self.preparation = PREPARATIONS[self.kind](self.meta["prep"])
        except (KeyError, TypeError, ValueError) as exc:
            raise CheckpointError(f"{name}: the preparation in it cannot be read: {exc!r}.") from exc
        try:
            self.training: dict[str, Histogram] = read_training(self.meta.get("training"))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
            raise CheckpointError(f"{name}: what it says of its training cannot be read: {exc!r}.") from exc
        self._inputs = [one.name for one in self.session.get_inputs()]

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return what the network takes, by name.

        Parameters
        ----------
        items : Any
            Pictures: a file, bytes, `uint8` pixels, or a list of them. A table: a row as a dict, or a list of rows. Ratings:
            `(user, item)` or dicts of both. Texts: a list.

        Raises
        ------
        DataError
            If an item cannot be used; it is named.
        """
        return self.preparation.prepare(items)

    def instance(self, value: Any) -> Any:
        """Return the item of a JSON value, or raise a `DataError` that says what is wrong with it."""
        return self.preparation.instance(value)

    def unseen(self, item: Any) -> list[str]:
        """Return the columns of a row whose category training did not have; of other kinds nothing."""
        find: Callable[[Any], list[str]] | None = getattr(self.preparation, "unseen", None)
        return [] if find is None else find(item)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return what the network gives for prepared inputs: probabilities or values, the items first."""
        wanted = {name: inputs[name] for name in self._inputs}  # what the network does not use is not in the file
        result: NDArray[np.float32] = self.session.run(None, wanted)[0]
        return result

    def predict_proba(self, items: Any) -> NDArray[np.float32]:
        """Return probabilities of shape `(N, C)`, a column for each of `classes`.

        Raises
        ------
        DataError
            If the model predicts no classes.
        """
        if self.task not in ("category", "multi"):
            raise DataError(f"{self.name} predicts a {self.task}, no classes; use `predict`.")
        return self.run(self.prepare(items))

    def predict(self, items: Any) -> Any:
        """Return labels: one for each item, or a list of those above the threshold; of values an array `(N,)` or `(N, k)`."""
        return self.decode(self.run(self.prepare(items)))

    def answers(self, items: Any) -> list[dict[str, Any]]:
        """Return for each item what the server answers.

        Returns
        -------
        list of dict
            `label`, `probability` and `probabilities` by class; or `labels` and `probabilities`; or `value` (`values` by name
            where there are several).
        """
        return self.answers_of(self.run(self.prepare(items)))

    def decode(self, predictions: NDArray[np.float32]) -> Any:
        """Return the labels of probabilities; values stay as they are."""
        classes: Sequence[Any] = self.classes or ()
        if self.task == "category":
            return [classes[i] for i in predictions.argmax(1)]
        if self.task == "multi":
            return [[name for name, p in zip(classes, row, strict=True) if p >= self.threshold] for row in predictions]
        return predictions

    def answers_of(self, predictions: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return what the server answers for what the network gave."""
        if self.task in ("value", "order"):
            return [self._value(row) for row in predictions]
        labels, named = self.decode(predictions), [str(name) for name in self.classes or ()]
        answers = []
        for label, row in zip(labels, predictions.tolist(), strict=True):
            probabilities = dict(zip(named, row, strict=True))
            if self.task == "multi":
                answers.append({"labels": label, "probabilities": probabilities})
            else:
                answers.append({"label": label, "probability": max(row), "probabilities": probabilities})
        return answers

    def _value(self, row: NDArray[np.float32]) -> dict[str, Any]:
        if row.ndim == 0:
            return {"value": float(row)}
        names = self.classes or range(len(row))
        return {"values": {str(name): float(x) for name, x in zip(names, row, strict=True)}}

    def __repr__(self) -> str:
        return f"RuntimeModel({self.name!r}, {self.kind}, {self.task}, version {self.version})"


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> RuntimeModel:
    """Open a model that `learn.to_onnx` wrote.

    Parameters
    ----------
    path : path-like
    threads : int, optional
        That onnxruntime computes with; as many as there are cores by default.

    Returns
    -------
    RuntimeModel

    Raises
    ------
    CheckpointError
        If there is no such file, it is damaged, no model of learnkit's, of a later version, or refers to another file.
    MissingExtraError
        If onnxruntime is not installed.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise CheckpointError(f"{file} cannot be read: {exc}.") from exc
    return RuntimeModel(content, file.name, threads=threads)


def _read_meta(text: str | None, name: str) -> dict[str, Any]:
    if text is None:
        raise CheckpointError(
            f"{name} is an ONNX model, but none that learnkit wrote: it does not say how items are prepared."
        )
    try:
        meta = json.loads(text)
        if meta["format"] > FORMAT:
            raise CheckpointError(
                f"{name} was written by learnkit {meta['learnkit']} (format {meta['format']}); this one reads format {FORMAT}. "
                "Update learnkit here, or export it with this version."
            )
        if meta["kind"] not in PREPARATIONS or meta["task"] not in TASKS or not isinstance(meta["prep"], dict):
            raise ValueError(f"kind {meta['kind']!r}, task {meta['task']!r}")
        classes, created = meta["classes"], meta["created"]
        if not (classes is None or isinstance(classes, list)) or not isinstance(created, str):
            raise ValueError("classes")
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{name}: what is written beside the network cannot be read: {exc!r}.") from exc
    return dict(meta)
