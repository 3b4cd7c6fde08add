"""What a learner gives to other programs: its network with the activation, and in words what goes in and comes out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import DataError
from learnkit.core.version import __version__
from learnkit.data.prep import Prep
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.export.checking import Axes
from learnkit.runtime.model import FORMAT
from learnkit.train.losses import Reading, as_they_are, split_output

__all__ = ["Predicts", "axes_of", "described", "few", "n_items", "probabilities", "task_of"]


class Predicts(nn.Module):
    """A network whose output is what is predicted: probabilities of classes, or values.

    Parameters
    ----------
    model : nn.Module
    reading : Reading
        How the learner reads its scores.
    task : str
    flat : bool
        Whether a single value is `(n,)`.
    whole : bool
        Whether a tuple that the model returns is its prediction.
    """

    def __init__(self, model: nn.Module, reading: Reading, task: str, *, flat: bool, whole: bool) -> None:
        super().__init__()
        self.model = model
        self._shown, self._logs = reading.for_user, task == "category"
        self._flat, self._whole = flat, whole

    def forward(self, *xs: Tensor) -> Tensor:
        """Return predictions, the items first."""
        output, _ = split_output(self.model(*xs), whole=self._whole)
        preds: Tensor = self._shown(output).float()
        if self._logs:
            return preds.exp()
        return preds.flatten() if self._flat and preds.ndim == 2 else preds


def probabilities(preds: NDArray[Any], task: str) -> NDArray[Any]:
    """Return what `predict` gives as another program shall give it."""
    return np.exp(preds) if task == "category" else preds


def task_of(target: Target | None, reading: Reading) -> str:
    """Return the task in `learnkit.runtime`'s words, or say why there is none.

    Raises
    ------
    DataError
        If it is not known what is predicted, or it is a kind that other programs cannot be told of.
    """
    if target is None:
        raise DataError(
            "it is not known what is predicted: make the data with DataBunch(..., target=Category(classes)), or "
            "`MultiCategory(classes)` or `Real()`."
        )
    if target.classes is not None and reading.shown is as_they_are:
        raise DataError(
            "it is not known what turns the scores of a loss of your own into probabilities: pass `activation=` to the learner."
        )
    if type(target) is Category and target.class_axis == 1:
        return "category"
    if type(target) is MultiCategory:
        return "multi"
    if type(target) is Real:
        return "value"
    if type(target).__name__ == "Preference":
        return "order"
    raise DataError(
        f"what is predicted is a {type(target).__name__}{' per place' if isinstance(target, Category) else ''}, which cannot be "
        "exported to other programs: they are told of one class, several classes or values per item. `learn.export` writes a "
        "file for learnkit."
    )


def described(prep: Prep | None, xs: tuple[Any, ...], target: Target, task: str) -> dict[str, Any]:
    """Return what is written beside a network, as JSON."""
    known = None if prep is None else prep.portable()
    kind = "arrays" if known is None or prep is None else str(prep.portable_kind)
    if known is None:
        known = {"names": list(axes_of(None, xs)), "dtypes": [str(x.dtype).removeprefix("torch.") for x in xs]}
    meta: dict[str, Any] = {
        "format": FORMAT,
        "learnkit": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kind": kind,
        "task": task,
        "classes": None if target.classes is None else [_plain(name) for name in target.classes],
        "prep": known,
    }
    if isinstance(target, MultiCategory):
        meta["threshold"] = target.threshold
    return meta


def axes_of(prep: Prep | None, xs: tuple[Any, ...]) -> Axes:
    """Return names and axes of the inputs."""
    if prep is not None and prep.portable_axes is not None and prep.portable() is not None:
        return prep.portable_axes
    if not all(isinstance(x, Tensor) for x in xs):
        raise DataError("a network whose inputs are no tensors cannot be exported to other programs.")
    names = ["x"] if len(xs) == 1 else [f"x{i}" for i in range(len(xs))]
    return {name: {0: "batch"} for name in names}


def n_items(xs: tuple[Any, ...], axes: Axes) -> int:
    """Return how many items a batch has."""
    return int(xs[0].shape[_batch_axes(axes)[0]])


def few(xs: tuple[Any, ...], axes: Axes, n: int) -> tuple[Tensor, ...]:
    """Return at most `n` items of a batch, but two at least: a size of one is taken for a constant by translators."""
    size = min(n, n_items(xs, axes))
    chosen = [x.narrow(axis, 0, size) for x, axis in zip(xs, _batch_axes(axes), strict=True)]
    if size == 1:
        chosen = [torch.cat([x, x], axis) for x, axis in zip(chosen, _batch_axes(axes), strict=True)]
    return tuple(chosen)


def _batch_axes(axes: Axes) -> list[int]:
    return [next(axis for axis, name in named.items() if name == "batch") for named in axes.values()]


def _plain(name: Any) -> Any:
    return name if isinstance(name, str | int | float | bool) else str(name)
