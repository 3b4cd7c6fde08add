"""Checkpoints of a running fit, and how a fit goes on from one as if it had never been interrupted.

A checkpoint is taken between two batches, never within an accumulation window. To go on, the loader is started with the
random generators as they were when the epoch began, so that it draws the same order again; then they are put to where
they were at the checkpoint. So the rest of the training sees the same batches and draws the same numbers.
"""

from __future__ import annotations

import re
import secrets
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learnkit.core.device import map_tensors
from learnkit.core.errors import CheckpointError, check_positive, warn_once
from learnkit.core.layers import model_device
from learnkit.core.preserve import random_state, set_random_state
from learnkit.data.files import PathLike, as_path
from learnkit.data.loaders import DeviceLoader, fast_forward, generators
from learnkit.store.archive import Archive, read_archive, write_archive
from learnkit.store.model_state import load_model_state, model_state
from learnkit.train.events import Callback, Run
from learnkit.train.owned import load_state, owned, state_of, unkept
from learnkit.train.players import Player
from learnkit.train.recorder import ProgressTable
from learnkit.train.turns import Turns

__all__ = ["Checkpoints", "latest_checkpoint"]

KIND = "checkpoint"
_NAME = re.compile(r"(\d{6,})\.checkpoint")


class Checkpoints:
    """Takes checkpoints of a fit, and brings a resumed one to where its checkpoint was taken.

    Parameters
    ----------
    folder : path-like
        Where they are kept, as `000001.checkpoint`, `000002.checkpoint`, ...; the first one of a new fit replaces those
        of an earlier fit.
    every : int or timedelta, default 10 minutes
        Batches, or time, from one to the next.
    keep : int, default 2
        How many are kept. An older one goes only when a newer one is complete.
    call : mapping, optional
        How the fit was called, so that it can be called again; data only.

    Attributes
    ----------
    resuming : bool
        Whether the fit goes on from a checkpoint.
    first_epoch : int
        Where it begins.

    Examples
    --------
    >>> import tempfile, torch, torch.nn.functional as F
    >>> from learnkit import DataBunch, TensorLoader, fit
    >>> from learnkit.train.resume import Checkpoints
    >>> data = DataBunch(".", TensorLoader(torch.randn(40, 3), torch.zeros(40, dtype=torch.long), 4, shuffle=True))
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = fit(model, data, 2, opt, F.cross_entropy, progress=False, checkpoints=Checkpoints(folder, every=8))
    ...     after_batch_16 = Checkpoints.resume(folder)
    ...     print(after_batch_16.describe().partition(": ")[2])
    ...     _ = fit(model, data, 2, opt, F.cross_entropy, progress=False, checkpoints=after_batch_16)
    epoch 1, batch 6 of 10
    """

    def __init__(
        self,
        folder: PathLike,
        every: int | timedelta = timedelta(minutes=10),
        keep: int = 2,
        call: Mapping[str, Any] | None = None,
    ) -> None:
        seconds = every.total_seconds() if isinstance(every, timedelta) else None
        check_positive("every", every if seconds is None else seconds, integer=seconds is None)  # type: ignore[arg-type]
        self.folder, self.every, self.keep = (
            as_path("checkpoint", folder),
            every,
            int(check_positive("keep", keep, integer=True)),
        )
        self.call = dict(call or {})
        self.saved: Archive | None = None
        self._kept: list[Path] = []  # those of this fit, in the order in which they go
        self._fit = secrets.token_hex(8)
        self._epoch_start: dict[str, Any] = {}
        self._due_batch, self._due_time = 0, 0.0

    @classmethod
    def resume(cls, folder: PathLike) -> Checkpoints:
        """Go on from the newest checkpoint that is whole; those that are not are reported and passed over.

        Raises
        ------
        CheckpointError
            If there is none.
        """
        files = _files(as_path("folder", folder))
        if not files:
            raise CheckpointError(
                f"there is no checkpoint in {folder}: the fit was not begun with `checkpoint={str(folder)!r}`, or was "
                "interrupted before its first batch. Start it again."
            )
        reasons = []
        for file in reversed(files):
            try:
                saved = read_archive(file, KIND)
                _check(saved.state)
                every = timedelta(seconds=saved.state["seconds"]) if saved.state["seconds"] else saved.state["every"]
                self = cls(folder, every, saved.state["keep"], saved.state["call"])
                self._fit, self.saved = saved.state["fit"], saved
                damaged = files[files.index(file) + 1 :]  # first to go, when newer ones are complete
                self._kept = [*damaged, *files[: files.index(file) + 1]]
            except (CheckpointError, KeyError, TypeError, ValueError) as exc:
                reasons.append(str(exc) if isinstance(exc, CheckpointError) else f"{file} is no checkpoint: {exc!r}.")
                continue
            for reason in reasons:
                warnings.warn(f"{reason} Going on from {file.name}, the one before.", stacklevel=3)
            return self
        raise CheckpointError("no checkpoint can be read. " + " ".join(reasons))

    @property
    def resuming(self) -> bool:
        """Whether the fit goes on from a checkpoint."""
        return self.saved is not None

    @property
    def first_epoch(self) -> int:
        """The epoch the fit begins with."""
        return 0 if self.saved is None else int(self.saved.state["epoch"])

    def describe(self) -> str:
        """Say which file the fit goes on from, and where in the fit that is."""
        if self.saved is None:
            return "the start"
        state = self.saved.state
        return f"{self.saved.path}: epoch {state['epoch']}, batch {state['batch']} of {state['setting']['n_batches']}"

    def load_model(self, model: nn.Module) -> None:
        """Give a model the weights of the checkpoint, and what else belongs to it, before the fit goes on."""
        if self.saved is not None:
            load_model_state(model, self.saved.weights, self.saved.state["model"], str(self.saved.path))

    def begin_epoch(self, run: Run, dl: DeviceLoader, turns: Turns) -> Iterator[tuple[int, Any]]:
        """Return the batches of an epoch, after a note of where the random generators are before it draws its order.

        The first checkpoint of a fit is taken here.
        """
        sources = generators(dl.dl)
        self._epoch_start = {"random": random_state(*sources), "loader": _loader_state(dl.dl)}
        if not self._kept:
            self._begin(run, turns, sources)
        return enumerate(dl)

    def restore(self, run: Run, dl: DeviceLoader, turns: Turns) -> Iterator[tuple[int, Any]]:
        """Put everything back to where the checkpoint was taken, and return the batches that are left of its epoch."""
        saved = self.saved
        if saved is None:
            raise CheckpointError("this fit does not go on from a checkpoint, so there is nothing to put back.")
        self.saved = None  # the epochs that follow are begun as usual
        state, first, sources = saved.state, int(saved.state["batch"]), generators(dl.dl)
        self._restore(run, saved, turns)
        self._epoch_start = state["epoch_start"]
        if self._epoch_start["loader"] is not None:
            dl.dl.set_state(self._epoch_start["loader"])  # type: ignore[attr-defined]
        self._set_random(self._epoch_start["random"], sources, saved.path)
        batches: Iterable[Any] = dl.dl
        if first:  # the order of the epoch is drawn again, and the batches that were seen are passed over
            batches = fast_forward(dl.dl, first)
            self._set_random(state["random"], sources, saved.path)
        run.batch = first - 1
        self._plan(run)
        return enumerate(dl.move(batches), first)

    def _set_random(self, state: Any, sources: list[torch.Generator], file: Path) -> None:
        try:
            set_random_state(state, *sources)
        except (KeyError, TypeError, ValueError, RuntimeError) as exc:
            raise CheckpointError(f"the random generators in {file} are not those of this fit: {exc!r}.") from exc

    def save_if_due(self, run: Run, dl: DeviceLoader, turns: Turns) -> None:
        """Take a checkpoint, if enough batches or time have passed since the last one.

        One that cannot be written (a full disk) is reported and left; those before stay, and the training goes on.
        """
        by_time = isinstance(self.every, timedelta)
        if time.monotonic() < self._due_time if by_time else len(run.running_loss) < self._due_batch:
            return
        try:
            self._save(run, turns, generators(dl.dl))
        except OSError as exc:
            warnings.warn(f"the checkpoint could not be written ({exc}); the one before is still there.", stacklevel=3)
        self._plan(run)

    def _begin(self, run: Run, turns: Turns, sources: list[torch.Generator]) -> None:
        """Take the first checkpoint of a fit, before its first batch: what cannot work shows now, not after hours."""
        earlier = _files(self.folder)
        try:
            self._save(run, turns, sources)
        except OSError as exc:
            raise CheckpointError(f"no checkpoint can be written into {self.folder}: {exc}.") from exc
        for file in [*earlier, *_unfinished(self.folder)]:
            file.unlink(missing_ok=True)
        for callback in _callbacks(run):
            if _keeps_by_itself(callback) and (missing := unkept(callback, _of_the_fit(run))):
                warn_once(
                    f"checkpoints do not hold {', '.join(missing)} of the callback {type(callback).__name__}: a fit that is "
                    "resumed begins with it as it is made. Keep modules, optimizers and data as attributes of the callback "
                    "itself, or give what holds them `state_dict` and `load_state_dict`."
                )
        self._plan(run)

    def _plan(self, run: Run) -> None:
        if isinstance(self.every, timedelta):
            self._due_time = time.monotonic() + self.every.total_seconds()
        else:
            self._due_batch = (len(run.running_loss) // self.every + 1) * self.every

    def _save(self, run: Run, turns: Turns, sources: list[torch.Generator]) -> None:
        tensors, model = model_state(run.model)
        callbacks = [callback.state_dict() for callback in _callbacks(run)]
        state = {
            "fit": self._fit,
            "call": self.call,
            "every": None if isinstance(self.every, timedelta) else self.every,
            "seconds": self.every.total_seconds() if isinstance(self.every, timedelta) else None,
            "keep": self.keep,
            "epoch": run.epoch,
            "batch": run.batch + 1,
            "setting": _setting(run),
            "model": model,
            **turns.state_dict(),
            "run": {"clip": run.clip, "results": run.results, "running_loss": run.running_loss.state_dict()},
            "callbacks": callbacks,
            "beside_model": _beside(run.model, callbacks),
            "owned": [{name: state_of(part) for name, part in parts.items()} for parts in _owned(run)],
            "epoch_start": self._epoch_start,
            "random": random_state(*sources),
        }
        number = max([_number(file) for file in _files(self.folder)], default=0) + 1
        file = write_archive(self.folder / f"{number:06}.checkpoint", KIND, tensors, state)
        self._kept.append(file)
        for old in self._kept[: -self.keep]:
            old.unlink(missing_ok=True)
        del self._kept[: -self.keep]

    def _restore(self, run: Run, saved: Archive, turns: Turns) -> None:
        state = saved.state
        check_same_setting(state["setting"], _setting(run), saved.path)
        load_model_state(run.model, saved.weights, state["model"], str(saved.path))
        try:
            turns.load_state_dict(state)
            run.clip, run.results = state["run"]["clip"], state["run"]["results"]
            run.running_loss.load_state_dict(state["run"]["running_loss"])
            states = _put_beside(run.model, state["callbacks"], state.get("beside_model", ()))
            for callback, own in zip(_callbacks(run), states, strict=True):
                callback.load_state_dict(own)
            for parts, own in zip(_owned(run), state.get("owned", ()), strict=False):
                for name, part in parts.items() if own else ():
                    load_state(part, own[name])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as exc:
            raise CheckpointError(f"{saved.path} does not belong to this fit: {exc!r}.") from exc
        # What a newer, damaged one leaves behind goes when the next one is complete.
        for file in _unfinished(self.folder):
            file.unlink(missing_ok=True)


def _beside(model: nn.Module, states: list[Any]) -> list[bool]:
    """Return, for each tensor in the states of callbacks, whether it is where the model is."""
    device, found = model_device(model), list[bool]()
    map_tensors(lambda x: found.append(x.device == device), states)
    return found


def _put_beside(model: nn.Module, states: list[Any], beside: Sequence[bool]) -> list[Any]:
    """Put the tensors that were beside the model there again: those of a file are all on the CPU."""
    device, left = model_device(model), iter(beside)
    placed: list[Any] = map_tensors(lambda x: x.to(device) if next(left, False) else x, states)
    return placed


def latest_checkpoint(folder: PathLike) -> Path | None:
    """Return the newest checkpoint in a folder, `None` if there is none."""
    return next(reversed(_files(as_path("folder", folder))), None)


def check_same_setting(saved: Mapping[str, Any], own: Mapping[str, Any], file: Path) -> None:
    """Raise if a fit is not set up as the one that was interrupted; say in which respects."""
    hints = {
        "callbacks": "Pass the same `callbacks` in the same order (`learn.clip` and `learn.reg_fn` count too).",
        "figures": "Pass the same `metrics`, and data with the same validation set.",
        "n_batches": "Make the data in the same way.",
    }
    differ = [name for name in saved if name not in own or saved[name] != own[name]]
    if differ:
        lines = [f"\n  {name}: {saved[name]} then, {own.get(name)} now. {hints.get(name, '')}" for name in differ]
        raise CheckpointError(f"this fit is not the one that {file} was taken of:" + "".join(lines))


def _check(state: Any) -> None:
    """Raise a KeyError, TypeError or ValueError unless this is what `Checkpoints` writes."""
    for name, kind in _KEYS.items():
        if not isinstance(state[name], kind):
            raise TypeError(f"{name} is {type(state[name]).__name__}")
    # A batch beyond the number of batches is one of a loader that gives more than it says.
    if not (0 <= state["epoch"] < state["setting"]["n_epochs"] and state["batch"] >= 0):
        raise ValueError(f"epoch {state['epoch']}, batch {state['batch']}")
    for part in (state, state["epoch_start"]):
        if not isinstance(part["random"], dict) or set(part["random"]) != {
            "python",
            "numpy",
            "torch",
            "cuda",
            "mps",
            "own",
        }:
            raise ValueError("the random generators")


_KEYS: dict[str, type] = {
    "fit": str,
    "call": dict,
    "keep": int,
    "epoch": int,
    "batch": int,
    "setting": dict,
    "model": dict,
    "optimizer": dict,
    "scaler": dict,
    "run": dict,
    "callbacks": list,
    "epoch_start": dict,
    "random": dict,
}


def _setting(run: Run) -> dict[str, Any]:
    return {
        "n_epochs": run.n_epochs,
        "n_batches": run.n_batches,
        "figures": list(run.figures),
        "optimizer": _optimizers(run.players),
        "callbacks": [type(callback).__name__ for callback in _callbacks(run)],
    }


def _optimizers(players: Sequence[Player]) -> str:
    names = [type(player.opt).__name__ for player in players]
    pairs = zip(players, names, strict=True)
    return (
        names[0] if len(names) == 1 else ", ".join(f"{name} of {one.name}, {one.steps} a turn" for one, name in pairs)
    )


def _callbacks(run: Run) -> list[Any]:
    return [callback for callback in run.callbacks if not isinstance(callback, ProgressTable)]


def _owned(run: Run) -> list[dict[str, Any]]:
    """Return what has a state of its own: of each loss, then of each callback that does not say itself what is kept."""
    foreign = _of_the_fit(run)
    return [
        *(owned(run.crit if player is run.player else player.crit, foreign) for player in run.players),
        *(owned(callback, foreign) if _keeps_by_itself(callback) else {} for callback in _callbacks(run)),
    ]


def _keeps_by_itself(callback: Any) -> bool:
    """Whether a callback leaves it to the library what a checkpoint keeps of it."""
    return type(callback).state_dict is Callback.state_dict


def _of_the_fit(run: Run) -> set[int]:
    """Return the `id` of what a checkpoint holds in another place: the model with its layers, the optimizers."""
    own = [*run.model.modules(), *run.model.parameters(), *(player.opt for player in run.players), *run.callbacks]
    return {id(x) for x in own}


def _loader_state(dl: Any) -> Any:
    return dl.state() if hasattr(dl, "state") and hasattr(dl, "set_state") else None


def _number(file: Path) -> int:
    found = _NAME.fullmatch(file.name)
    return int(found[1]) if found else 0


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((file for file in folder.iterdir() if _NAME.fullmatch(file.name)), key=_number)


def _unfinished(folder: Path) -> list[Path]:
    """Return what writers that were killed have left."""
    return [file for file in folder.iterdir() if re.fullmatch(r"\.\d{6,}\.checkpoint\..*\.tmp", file.name)]
