"""`load_learner`: open what `learn.export` wrote.

A file says which application it is of, and holds its preparation and its model as data (`Prep.to_data`, `ModelSpec.to_data`).
Which classes read them is decided by the table below, or by the caller where they are the user's own, and never by a name
in the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from learnkit.core.errors import CheckpointError, LearnkitError, TrainingError
from learnkit.data.files import PathLike
from learnkit.data.prep import NotInFile, Prep
from learnkit.data.targets import Target
from learnkit.store.archive import read_archive
from learnkit.store.model_state import load_model_state
from learnkit.store.spec import ModelSpec
from learnkit.store.weights import check_same_layers
from learnkit.train.learner import Learner
from learnkit.train.losses import Activation, check_activation, is_own
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options

__all__ = ["load_learner"]

APPLICATIONS = {
    "any": ("learnkit.train.learner", "Learner"),
    "vision": ("learnkit.vision.learner", "ConvLearner"),
    "tabular": ("learnkit.tabular.learner", "TabularLearner"),
    "collab": ("learnkit.collab.learner", "CollabLearner"),
    "text": ("learnkit.text.learner", "TextLearner"),
    "language model": ("learnkit.text.learner", "LanguageLearner"),
}
"""Where each application's learner is; imported when a file of it is opened."""

OWN_LOSS = "this learner was trained with the loss {name}: pass it to load_learner as `crit=`."


@with_options
def load_learner(
    path: PathLike,
    *,
    model: nn.Module | type[ModelSpec] | None = None,
    prep: Prep | type[Prep] | None = None,
    target: Target | None = None,
    opt_fn: OptFn | None = None,
    metrics: Sequence[MetricLike] | None = None,
    **options: Unpack[LearnerOptions],
) -> Any:
    """Open a learner that `learn.export` wrote: to predict at once, and to train on after `set_data`.

    Nothing in the file is run: it is read as numbers and text, within bounds, each part checked against its SHA-256.

    Parameters
    ----------
    path : path-like
        The file.
    model : nn.Module or class of ModelSpec, optional
        Where the model was one of your own: one of the same layers, or the class of the `ModelSpec` it was built of. What
        learnkit makes itself is made again.
    prep : class of Prep, or Prep, optional
        Where the preparation was one of your own: its class, which is given what the file holds, or one that is made.
    target : Target, optional
        Where what is predicted was a class of your own.
    opt_fn, metrics, **options
        As for `Learner`: what is passed counts, then what the file says. Functions and objects are not in the file.

    Returns
    -------
    Learner
        Of the class that was exported: `ConvLearner`, `TabularLearner`, ...

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or not one that `export` writes, or if `model` is needed or does not fit.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from learnkit import load_learner
    >>> from learnkit.tabular import ColumnarModelData, proc_df
    >>> trn = pd.DataFrame({"State": ["HE", "BY"] * 50, "Km": range(100), "Sales": range(100)})
    >>> df, y, nas, mapper = proc_df(trn, "Sales")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learn = ColumnarModelData.from_data_frame(folder, False, df, y, bs=16).get_learner()
    ...     again = load_learner(learn.export(f"{folder}/sales"))
    >>> bool((learn.predict_df(trn) == again.predict_df(trn)).all())
    True
    """
    archive = read_archive(path, "learner")
    try:
        state = _as_written_today(archive.state)
        if state["application"] not in APPLICATIONS:
            raise CheckpointError(f"{path} is of the application {state['application']!r}; update learnkit.")
        module, name = APPLICATIONS[state["application"]]
        kind: type[Learner] = getattr(importlib.import_module(module), name)
        recipe = state["recipe"]
        spec = _spec(model, kind, recipe["model"])
        if isinstance(model, nn.Module):
            made = kind.adopted(model, state["model"])
        else:
            made = _build(spec, recipe["model"], state["model"], archive.weights, path)
        if target is None and state["target"] is not None:
            target = Target.from_data(state["target"])
        data = kind.bunch_type.without_items(Path(path).parent, _prep(prep, kind, recipe["data"]), target)
        if options.get("crit") is None and (state["loss"] is not None or data.target is None):
            options["crit"] = NotInFile(str(state["loss"] or "(none)"), OWN_LOSS, TrainingError)
        given: dict[str, Any] = {**{name: state["settings"][name] for name in Learner._settings}, **options}
        learn = kind(data, made, opt_fn, metrics=state["metrics"] if metrics is None else metrics, **given)
        learn.spec = learn.spec or spec
        learn.activation = _activation(learn.activation, state.get("activation"), learn, path)
        load_model_state(learn.model, archive.weights, state["model_state"], str(path))
        learn.sched.untrained = False
        learn.model.eval()
        return learn
    except LearnkitError as exc:
        if isinstance(exc, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be opened: {exc}") from exc
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError) as exc:
        written = ", ".join(f"{name} {version}" for name, version in archive.versions.items())
        raise CheckpointError(f"the description in {path} (written with {written}) is damaged: {exc!r}.") from exc


def _as_written_today(state: dict[str, Any]) -> dict[str, Any]:
    """Bring the description in a file of an earlier version to the form of today."""
    recipe = {"data": None, "model": None, **state["recipe"]}
    data, model = recipe["data"], recipe["model"]
    if state["application"] == "vision":
        if data is not None and data["tfms"] == [None, None]:  # arrays, of which nothing was known
            recipe["data"] = None
        if recipe.pop("groups", None) == "body and head":
            state = {**state, "model": "BodyAndHead"}
    if state["application"] == "text" and data["kind"] == "stream":
        state = {**state, "application": "language model"}
    if state["application"] in ("text", "language model") and model is not None:
        n_tokens = len(data["field"]["itos"])
        recipe["model"] = model = {"n_tokens": n_tokens, **model}
        if model["n_tokens"] != n_tokens:
            raise CheckpointError(f"its model reads {model['n_tokens']} tokens, its vocabulary has {n_tokens}.")
    return {**state, "recipe": recipe}


def _prep(prep: Prep | type[Prep] | None, kind: type[Learner], data: dict[str, Any] | None) -> Prep | None:
    """Return how raw items are prepared: as the caller says, else as the application reads what the file holds."""
    if isinstance(prep, Prep) or data is None:
        return prep if isinstance(prep, Prep) else None
    reader = prep or kind.prep_type
    return None if reader is None else reader.from_data(data)


def _spec(
    model: nn.Module | type[ModelSpec] | None, kind: type[Learner], data: dict[str, Any] | None
) -> ModelSpec | None:
    """Return what the model is made of, as far as the file says it and somebody can read it."""
    if data is None or isinstance(model, nn.Module):
        return None
    reader = model or kind.spec_type
    return None if reader is None else reader.from_data(data)


def _build(
    spec: ModelSpec | None, data: dict[str, Any] | None, name: str, weights: dict[str, Tensor], path: PathLike
) -> nn.Module:
    """Make the model, after a look at its layers on a device without memory: a file can claim any size."""
    if spec is None:
        raise CheckpointError(
            f"{path} holds the weights of a {name}, which is not one of learnkit's models: pass `model={name}(...)`, made as "
            "it was for the training."
        )
    longest = max(len(weights), 100)
    if any(isinstance(x, list | tuple) and len(x) > longest for x in _values(data)):
        raise CheckpointError(f"the description in {path} is damaged: its model has more layers than weights.")
    with torch.device("meta"):
        draft = spec.build()
    check_same_layers({**dict(draft.named_parameters()), **dict(draft.named_buffers())}, weights, str(path))
    return spec.build()


def _activation(given: Activation | str | None, saved: Any, learn: Learner, path: PathLike) -> Activation | str | None:
    """Return how the scores are read: as they were when the learner was exported, unless told otherwise."""
    check_activation(given)
    if given is not None:
        return given
    if saved == "own":
        raise CheckpointError(
            f"the predictions of the learner in {path} were made by an activation of your own: pass it as `activation=`."
        )
    if saved is not None:
        check_activation(str(saved))
        return str(saved)
    target = learn.data.target  # it was the target's, as files of before, which do not say, have it; whatever the loss
    return target.activation if target is not None and is_own(learn.crit) else None


def _values(recipe: Any) -> list[Any]:
    """Return everything nested in a description."""
    inner = recipe.values() if isinstance(recipe, dict) else recipe if isinstance(recipe, list | tuple) else ()
    return [recipe, *(x for value in inner for x in _values(value))]
