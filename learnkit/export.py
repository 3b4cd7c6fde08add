"""`load_learner`: open what `learn.export` wrote.

Each application describes itself as data (`recipe.py`) and is made of that description again by two functions (`opening.py`):

- `make_model(recipe) -> nn.Module | None`: the model, untrained; `None` for a model of the user's own;
- `make_learner(recipe, model, target, folder, options) -> Learner`: a learner without items, around that model.

`recipe` is what `Learner._recipe` returned, `target` what is predicted, `folder` where the learner keeps its files, and
`options` arguments of the learner's class. Which functions are called is decided by the table below and never by a
name in the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.core.errors import CheckpointError, LearnkitError, TrainingError
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.targets import Target, target_from_data
from learnkit.train.archive import read_archive
from learnkit.train.checkpoint import check_same_layers
from learnkit.train.learner import Learner
from learnkit.train.losses import Activation, Loss, check_activation, is_own
from learnkit.train.optim import OptFn
from learnkit.train.resume import load_model_state

__all__ = ["load_learner"]

APPLICATIONS = {
    "any": "learnkit.export",
    "vision": "learnkit.vision.opening",
    "tabular": "learnkit.tabular.opening",
    "collab": "learnkit.collab.opening",
    "text": "learnkit.text.opening",
}
"""Where each application's two functions are; imported when a file of it is opened."""


def load_learner(
    path: PathLike,
    *,
    model: nn.Module | None = None,
    target: Target | None = None,
    crit: Loss | None = None,
    activation: Activation | str | None = None,
    opt_fn: OptFn | None = None,
    device: torch.device | str | None = None,
) -> Any:
    """Open a learner that `learn.export` wrote: to predict at once, and to train on after `set_data`.

    Nothing in the file is run: it is read as numbers and text, within bounds, each part checked against its SHA-256.

    Parameters
    ----------
    path : path-like
        The file.
    model : nn.Module, optional
        Of the same layers, where the model was one of your own; what learnkit makes itself is made again.
    target : Target, optional
        Where what is predicted was a class of your own.
    crit, activation, opt_fn, device
        As for `Learner`, where they are not the defaults: functions are not in the file.

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
    ...     learn = ColumnarModelData.from_data_frame(folder, None, df, y, bs=16).get_learner()
    ...     again = load_learner(learn.export(f"{folder}/sales"))
    >>> bool((learn.predict_df(trn) == again.predict_df(trn)).all())
    True
    """
    archive = read_archive(path, "learner")
    try:
        state = archive.state
        if state["application"] not in APPLICATIONS:
            raise CheckpointError(f"{path} is of the application {state['application']!r}; update learnkit.")
        room = importlib.import_module(APPLICATIONS[state["application"]])
        model = _model(room.make_model, state, archive.weights, path) if model is None else model
        target = target_from_data(state["target"]) if target is None else target
        options: dict[str, Any] = {"device": device}
        if crit is not None or state["loss"] is not None:
            options["crit"] = crit or _Forgotten(str(state["loss"]))
        if opt_fn is not None:
            options["opt_fn"] = opt_fn
        if state["metrics"] is not None:
            options["metrics"] = state["metrics"]
        learn: Learner = room.make_learner(state["recipe"], model, target, Path(path).parent, options)
        for name in Learner._settings:
            setattr(learn, name, state["settings"][name])
        learn.activation = _activation(activation, state.get("activation"), learn, path)
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


def make_model(recipe: dict[str, Any]) -> None:
    """Say that the model of a plain `Learner` is always the user's own."""


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> Learner:
    """Make a plain `Learner` without items."""
    if target is None and "crit" not in options:
        options = {**options, "crit": _Forgotten("(none)")}
    return Learner(DataBunch(folder, [], target=target), model, **options)


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


class _Forgotten:
    """Stands for a loss that was a function of the user's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, pred: Any, y: Any) -> Tensor:
        raise TrainingError(f"this learner was trained with the loss {self.name}: pass it to load_learner as `crit=`.")


def _model(
    make: Callable[[dict[str, Any]], nn.Module | None],
    state: dict[str, Any],
    weights: dict[str, Tensor],
    path: PathLike,
) -> nn.Module:
    """Make the model, after a look at its layers on a device without memory: a file can claim any size."""
    longest = max(len(weights), 100)
    if any(isinstance(x, list | tuple) and len(x) > longest for x in _values(state["recipe"].get("model"))):
        raise CheckpointError(f"the description in {path} is damaged: its model has more layers than weights.")
    with torch.device("meta"):
        draft = make(state["recipe"])
    if draft is None:
        raise CheckpointError(
            f"{path} holds the weights of a {state['model']}, which is not one of learnkit's models: pass "
            f"`model={state['model']}(...)`, made as it was for the training."
        )
    check_same_layers({**dict(draft.named_parameters()), **dict(draft.named_buffers())}, weights, str(path))
    made = make(state["recipe"])
    if made is None:
        raise CheckpointError(f"the description in {path} is damaged.")
    return made


def _values(recipe: Any) -> list[Any]:
    """Return everything nested in a description."""
    inner = recipe.values() if isinstance(recipe, dict) else recipe if isinstance(recipe, list | tuple) else ()
    return [recipe, *(x for value in inner for x in _values(value))]
