"""What the files of a learner say of it: what its scores mean, and what must be known to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from learnkit.core.errors import CheckpointError
from learnkit.core.version import __version__
from learnkit.data.bunch import DataBunch
from learnkit.data.labels import one_spelling
from learnkit.data.prep import Prep
from learnkit.data.targets import Target
from learnkit.store.archive import digest
from learnkit.store.weights import read_meta
from learnkit.train.losses import ACTIVATIONS, Activation, Loss, read
from learnkit.train.metrics import MetricLike, metric_list

__all__ = ["check_same_meaning", "described_loss", "described_target", "meaning", "names_of", "target_in_words"]


def meaning(model: nn.Module, prep: Prep | None, data: DataBunch) -> dict[str, Any]:
    """Return what the numbers of a model stand for, to be written beside its weights: classes, and digests of words and ids."""
    # Of a preparation that says what is predicted the classes are its own, a vocabulary: no list for a header.
    classes = None if prep is not None and prep.target is not None else data.classes
    return {
        "learnkit": __version__,
        "model": type(model).__name__,
        "classes": None if classes is None else [str(name) for name in classes],
        "target": type(data.target).__name__,
        "identity": {} if prep is None else {name: digest(part) for name, part in prep.identity().items()},
    }


def check_same_meaning(file: Path, own: Mapping[str, Any]) -> None:
    """Refuse weights that would fit and mean something else: other classes, words, ids or categories.

    Of another number of classes the layers differ, which is said with their shapes when they are loaded.
    """
    saved = read_meta(file)
    were, are = saved.get("classes"), own["classes"]
    if were is not None and are is not None and len(were) == len(are):
        spelt = [[one_spelling(name) for name in names] for names in (were, are)]
        if spelt[0] != spelt[1] or saved.get("target", own["target"]) != own["target"]:
            raise CheckpointError(
                f"{file} was trained for {saved.get('target') or 'classes'} {were}, and this data is of {own['target']} {are}: "
                "its scores would be read as those of other classes. Make the data with the classes of the file, or read only "
                "the weights with `load_model(learn.model, file)`."
            )
    theirs, ours = saved.get("identity") or {}, own["identity"]
    differ = [part for part in ours if theirs.get(part, ours[part]) != ours[part]]
    if differ:
        raise CheckpointError(
            f"{file} was trained on data whose {' and '.join(differ)} differ, so its numbers mean something else here. "
            "Make the data as it was made for that training; or `export` the learner there, and use `load_learner`."
        )


def described_target(prep: Prep | None, data: DataBunch) -> dict[str, Any] | None:
    """Return what is predicted as data, `None` where the preparation says it."""
    if prep is not None and prep.target is not None:
        return None
    if data.target is None:
        return None
    described = data.target.to_data()
    if described["kind"] == "Real" and data.item_shape == (1,):
        described["shape"] = [1]  # a column is all that the number of values does not tell
    return described


def described_loss(crit: Loss, activation: Activation | str | None, target: Target | None) -> dict[str, Any]:
    """Return the name of a loss of the user's own, and of the activation where it is not the target's."""
    # An equal target, which the learner had before `set_data`, has the same loss.
    own = target is None or getattr(crit, "__func__", None) is not type(target).loss
    name = getattr(crit, "__qualname__", type(crit).__name__)
    shown = read(crit, target, activation).shown
    usual = shown is None or (target is not None and shown == target.activation)
    known = next((name for name, function in ACTIVATIONS.items() if function is shown), "own")
    return {"loss": name if own else None, "activation": None if usual else known}


def names_of(metrics: Sequence[MetricLike] | None) -> list[str] | None:
    """Return metrics that were all given by name; others have to be given again."""
    given = metric_list(metrics)
    return [str(m) for m in given] if metrics is not None and all(isinstance(m, str) for m in given) else None


def target_in_words(data: DataBunch) -> str:
    """Say what a data bunch predicts."""
    return f"{type(data.target).__name__} {'' if data.classes is None else data.classes}".strip()
