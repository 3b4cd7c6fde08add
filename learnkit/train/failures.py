"""What stops a training from outside model and loss, said in words: no memory left, a loading process that died."""

from __future__ import annotations

import multiprocessing
import re
import time
import traceback
from collections.abc import Iterable
from typing import Any

import torch

from learnkit.core.device import is_out_of_memory
from learnkit.core.errors import DataError, LearnkitError, OutOfMemoryError

__all__ = ["explain", "from_outside"]

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?([\d, ]+)\)")


def from_outside(exc: BaseException) -> bool:
    """Whether an error that came up in model or loss is not theirs."""
    return is_out_of_memory(exc) or _DEAD_WORKER.search(str(exc)) is not None


def explain(
    exc: BaseException, loaders: Iterable[Any], n_items: int, shapes: str, device: torch.device
) -> LearnkitError | None:
    """Say what happened and what to try, and let go of the memory that the error holds; `None` for other errors.

    Parameters
    ----------
    exc : BaseException
        What was raised.
    loaders : iterable
        Those that were in use.
    n_items, shapes
        Of the batch at hand.
    device : torch.device
        Where the model is.
    """
    try:
        return _explain(exc, loaders, n_items, shapes, device)
    except RuntimeError as late:  # torch's word of a dead process may come at any time
        if not _DEAD_WORKER.search(str(late)):
            raise
        return _explain(late, loaders, n_items, shapes, device)


def _explain(
    exc: BaseException, loaders: Iterable[Any], n_items: int, shapes: str, device: torch.device
) -> LearnkitError | None:
    owners: list[Any] = [getattr(dl, "dataset", None) for dl in loaders]
    datasets = [ds for ds in owners if hasattr(ds, "in_hand")]
    dead = _dead_workers(exc, datasets)
    if dead or is_out_of_memory(exc):
        _let_go(exc)
    if is_out_of_memory(exc):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = f"bs={n_items // 2} with accumulate=2 trains alike" if n_items > 1 else "smaller items"
        return OutOfMemoryError(
            f"a batch of {n_items} items (inputs {shapes}) and what is computed from it do not fit into the memory of {device}. "
            f'Try a smaller batch size ({smaller}), precision="bf16", smaller pictures or shorter texts, or freezing more '
            "layers. The model has the weights of its last step and can be used on."
        )
    if not dead:
        return None
    items = [item for ds in datasets for item in ds.in_hand(dead)]
    what = f" while it loaded {' and '.join(items)}" if items else ""
    return DataError(
        f"a loading process died{what}. Load that item by itself to see whether it is the cause; where memory ran out, use "
        "fewer `num_workers`."
    )


def _let_go(exc: BaseException | None) -> None:
    """Clear the frames of an error and of those before it: they hold all that was computed, and the loading processes."""
    while exc is not None:
        traceback.clear_frames(exc.__traceback__)
        exc = exc.__cause__ or exc.__context__


def _dead_workers(exc: BaseException, datasets: list[Any]) -> set[int]:
    """Return the processes whose death an error speaks of, in words or by a connection that broke."""
    pids = {int(pid) for found in _DEAD_WORKER.findall(str(exc)) for pid in re.findall(r"\d+", found)}
    if pids or not isinstance(exc, ConnectionError | EOFError):
        return pids
    loading = {pid for ds in datasets for pid in ds.loading}
    for _ in range(100 if loading else 0):  # the end of a process is known a moment after its connections break
        time.sleep(0.01)
        if dead := loading - {process.pid for process in multiprocessing.active_children()}:
            return dead
    return set()
