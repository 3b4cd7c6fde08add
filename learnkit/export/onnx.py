"""A network as an ONNX file, run by ONNX Runtime and compared before it is written.

Networks without a state over time go through `torch.export`. It fixes the number of steps of an LSTM or GRU where it unrolls
them, so recurrent ones are traced, which keeps them as one operation of any length.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import ExportError, optional_import
from learnkit.data.files import PathLike, as_path, atomic_path
from learnkit.runtime.model import METADATA

__all__ = ["TOLERANCE", "Axes", "write_onnx"]

TOLERANCE = 1e-4
"""Largest difference of a probability, or of a value as a share of it where it is above 1."""

Axes = Mapping[str, Mapping[int, str]]
"""Name of each input -> its axes of any size, by name: `{"tokens": {0: "length", 1: "batch"}}`."""

OUTPUT = "predictions"


def write_onnx(
    path: PathLike,
    model: nn.Module,
    xs: Sequence[Tensor],
    axes: Axes,
    meta: Mapping[str, Any],
    expected: Callable[[tuple[Tensor, ...]], NDArray[Any]],
) -> Path:
    """Write a network that gives predictions, if ONNX Runtime gives the same ones.

    Parameters
    ----------
    path : path-like
        `.onnx` is added if it is missing.
    model : nn.Module
        Called as `model(*xs)`, returns the predictions. It stays as it is.
    xs : sequence of Tensor
        Inputs of a few items.
    axes : mapping
        Names of the inputs, and their axes of any size.
    meta : mapping
        Written beside the network, as JSON.
    expected : callable
        Inputs -> what the network shall give for them, items first. Asked for all of `xs`, for a single item, and for half and
        twice the length where there is one.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If the network cannot be translated, or gives something else there; what was at `path` is untouched.
    MissingExtraError
        If onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, ort = optional_import("onnx", extra="serve"), optional_import("onnxruntime", extra="serve")
    file = as_path("path", path)
    file = file if file.suffix == ".onnx" else file.with_name(file.name + ".onnx")
    own = copy.deepcopy(model).cpu().float().eval()
    xs = tuple(x.cpu() for x in xs)
    content = _translated(own, xs, axes)
    written = onnx.load_from_string(content)
    written.metadata_props.add(key=METADATA, value=json.dumps(meta))
    content = written.SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    for what, case in _cases(xs, axes):
        _compare(session, case, axes, expected(case), what)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)
    return file


_EXPORTS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 9)
"""Whether `torch.export` is what networks are translated by; before, it missed much and tracing was the way."""


def _translated(model: nn.Module, xs: tuple[Tensor, ...], axes: Axes) -> bytes:
    optional_import("onnxscript", extra="serve")
    traced = not _EXPORTS or any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        with _quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            if traced:
                # A value that was taken for a constant is an error, but for those that PyTorch's own layers only check.
                warnings.simplefilter("error", torch.jit.TracerWarning)
                warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.")
                file = Path(folder, "traced.onnx")
                torch.onnx.export(
                    model,
                    xs,
                    file,
                    input_names=list(axes),
                    output_names=[OUTPUT],
                    dynamic_axes={name: dict(named) for name, named in axes.items()},
                    dynamo=False,
                )
                return file.read_bytes()
            program = torch.onnx.export(
                model,
                xs,
                input_names=list(axes),
                output_names=[OUTPUT],
                dynamic_shapes=(tuple({axis: _dimension(name) for axis, name in axes[x].items()} for x in axes),),
                dynamo=True,
                verbose=False,
            )
            return bytes(program.model_proto.SerializeToString())  # type: ignore[union-attr]
    except Exception as exc:  # of the translators any kind
        first = _first_cause(exc)
        said = str(first).strip().splitlines() or [""]
        raise ExportError(
            f"this network cannot be translated to ONNX: {type(first).__name__}: {said[0]} A network of your own must consist of "
            "PyTorch's operations on tensors of any batch size, without `if` and `for` over their values."
        ) from exc


def _first_cause(exc: BaseException) -> BaseException:
    """Return the error at the bottom: those above it only say that there was one."""
    while (deeper := exc.__cause__ or exc.__context__) is not None:
        exc = deeper
    return exc


def _dimension(name: str) -> Any:
    return torch.export.Dim(name)


def _cases(xs: tuple[Tensor, ...], axes: Axes) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Give inputs of other sizes than the network was translated with, and say how they differ."""
    yield "the batch it was translated with", xs

    def along(name: str, change: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, ...]:
        changed = []
        for x, named in zip(xs, axes.values(), strict=True):
            found = [axis for axis, own in named.items() if own == name]
            changed.append(change(x, found[0]).contiguous() if found else x)
        return tuple(changed)

    names = {name for named in axes.values() for name in named.values()}
    yield "a single item", along("batch", lambda x, axis: x.narrow(axis, 0, 1))
    yield "twice the batch", along("batch", lambda x, axis: torch.cat([x, x], axis))
    if "length" in names:
        yield "half the length", along("length", lambda x, axis: x.narrow(axis, 0, max(1, x.shape[axis] // 2)))
        # Each step twice, not all of them again: padding stays at the end.
        yield "twice the length", along("length", lambda x, axis: x.repeat_interleave(2, axis))


def _compare(session: Any, xs: tuple[Tensor, ...], axes: Axes, expected: NDArray[Any], what: str) -> None:
    used = {one.name for one in session.get_inputs()}
    inputs = {name: x.numpy() for name, x in zip(axes, xs, strict=True) if name in used}
    try:
        found = session.run(None, inputs)[0]
    except Exception as exc:  # the errors of onnxruntime have no base of their own
        raise ExportError(
            f"ONNX Runtime cannot run the translated network on {what}: {exc}. Nothing is written."
        ) from exc
    if found.shape != expected.shape:
        raise ExportError(
            f"on {what} ONNX Runtime gives {found.shape}, and `predict` {expected.shape}. Nothing is written."
        )
    difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    difference = np.where(np.isfinite(found) | np.isfinite(expected), difference, 0)  # both NaN or infinite
    if difference.size and not difference.max() <= TOLERANCE:
        place = np.unravel_index(np.nanargmax(np.nan_to_num(difference, nan=np.inf)), difference.shape)
        raise ExportError(
            f"on {what} the translated network gives {found[place]:.6g} where `predict` gives {expected[place]:.6g} (item {place[0]}"
            f"{''.join(f', column {column}' for column in place[1:])}): more than {TOLERANCE:g} apart. Nothing is written. In a network "
            "of your own look for numbers that depend on the size of the batch, or for random draws outside of dropout."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the translators' own progress and warnings about PyTorch's code to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what went wrong is said by the error
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
