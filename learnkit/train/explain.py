"""What went wrong, in words: model, loss or metric that do not fit the data, no memory left, a loading process that died."""

from __future__ import annotations

import multiprocessing
import re
import time
import traceback
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from learnkit.core.device import is_out_of_memory
from learnkit.core.errors import DataError, LearnkitError, OutOfMemoryError, TrainingError
from learnkit.data.shapes import differ_by_ones
from learnkit.train.bounds import outside
from learnkit.train.events import Run
from learnkit.train.losses import is_own, loss_name

__all__ = [
    "MISFIT",
    "describe",
    "explain",
    "from_outside",
    "loss_misfit",
    "metric_misfit",
    "model_misfit",
    "no_gradient",
    "no_number",
]

MISFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a model or loss raises that is given something else than it expects."""

_ASSERT = "device-side assert"  # in what CUDA says of such an index

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?([\d, ]+)\)")


def from_outside(exc: BaseException) -> bool:
    """Whether an error that came up in model or loss is not theirs."""
    return is_out_of_memory(exc) or _DEAD_WORKER.search(str(exc)) is not None or _ASSERT in str(exc)


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
    if _ASSERT in str(exc):
        return TrainingError(
            f"the GPU stopped at an index beyond its table: a class, word or code that a loss or an embedding has no place for, "
            f"in a batch with inputs {shapes} or one just before it. This process cannot use the GPU any more: start a new one. "
            'The same fit with device="cpu" names the batch and what is wrong with it; `learn.resume` goes on from a checkpoint.'
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


def model_misfit(run: Run, exc: Exception) -> TrainingError:
    """Say on which inputs the model failed."""
    where = f"batch {run.batch} of epoch {run.epoch}"
    return TrainingError(f"the model failed on {where}: inputs {describe(run.xs)}.{_model_hint(run, exc)} {exc}")


def loss_misfit(run: Run, exc: Exception) -> TrainingError:
    """Say what the loss was given."""
    return TrainingError(
        f"the loss {loss_name(run.crit)} does not fit: the model gave {describe(run.pred)}, the target is "
        f"{describe(run.y)}.{_loss_hint(run, exc)} {exc}"
    )


def no_number(run: Run) -> TrainingError:
    """Say what the loss returned in place of one number."""
    return TrainingError(
        f"the loss {loss_name(run.crit)} must return one number as a tensor, the mean over the batch; it returned "
        f"{describe(run.loss)}."
    )


def no_gradient(run: Run) -> TrainingError:
    """Say what may have cut the way from the loss to the weights."""
    return TrainingError(
        f"the loss {loss_name(run.crit)} does not depend on anything that is trained, so it has no gradient: somewhere between "
        "the model's weights and the loss is a `detach()`, `.data`, `torch.no_grad()`, an `argmax`, or a way over NumPy; "
        "or the layers that are not frozen have no part in it."
    )


def metric_misfit(name: str, preds: Any, y: Any, exc: Exception) -> TrainingError:
    """Say what the metric was given."""
    return TrainingError(
        f"the metric {name!r} does not fit predictions {describe(preds)} and targets {describe(y)}: {exc}"
    )


def describe(value: Any) -> str:
    """Describe a batch, or a part of one, for a message: dtypes and shapes."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, PackedSequence):
        return f"packed {describe(value.data)} of {int(value.batch_sizes[0])} sequences"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    return type(value).__name__


def _model_hint(run: Run, exc: Exception) -> str:
    if "more than 1 value per channel" in str(exc):
        return " Batch norm cannot train on a single item: use a larger batch size, or `drop_last=True` in the loader."
    if any(hasattr(x, "__array__") and not isinstance(x, Tensor) for x in run.xs):
        return " The inputs of a batch must be tensors: `torch.as_tensor(x)` in the loader."
    p = next((p for p in run.model.parameters() if p.is_floating_point()), None)
    other = [x for x in run.xs if isinstance(x, Tensor) and p is not None and x.dtype not in (p.dtype, torch.int64)]
    return " The model's weights are float32: give it `x.float()`." if other else ""


def _loss_hint(run: Run, exc: Exception) -> str:
    pred, y = run.pred, run.y
    if is_own(run.crit) and not (isinstance(pred, Tensor) and isinstance(y, Tensor)):
        return ""  # only whoever wrote it knows what it takes
    if not isinstance(y, Tensor):
        return (
            " The target of a batch must be a tensor: `torch.as_tensor(y)` in the loader, class names as their numbers."
        )
    if not isinstance(pred, Tensor):
        return (
            " The losses of the library and of PyTorch take a tensor: return that, or pass a `crit=` that takes it out."
        )
    several = pred.ndim == 2 and pred.shape[1] > 1
    if y.is_floating_point() and several and y.ndim == 1:
        return " Class targets must be whole numbers: use `y.long()`, or give the model one output for a regression."
    if y.dtype in (torch.bool, torch.int8, torch.int16, torch.int32) and several and y.ndim == 1:
        return " Class targets must be 64-bit whole numbers: use `y.long()`."
    if "out of bounds" in str(exc) and pred.ndim >= 2 and y.numel():
        return outside(int(y.min()), int(y.max()), pred.shape[1])
    if "same device" in str(exc) or "two devices" in str(exc):
        return (
            f" The loss holds tensors elsewhere than the model: move them to {pred.device} (`weight.to(learn.device)`)."
        )
    if not y.is_floating_point() and (pred.shape == y.shape or differ_by_ones(pred.shape, y.shape)):
        return " This loss needs decimal targets: use `y.float()`."
    return ""
