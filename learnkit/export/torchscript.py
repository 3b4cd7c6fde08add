"""A network as TorchScript, for programs that load it with `torch::jit::load` or LibTorch on a phone, compared before it is written.

PyTorch no longer develops the format. It is here for those whose programs read nothing else yet.
"""

from __future__ import annotations

import copy
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import ExportError, check_choice, warn_once
from learnkit.data.files import PathLike, as_path, atomic_path
from learnkit.export.checking import (
    Axes,
    Expected,
    check,
    constants_are_errors,
    first_cause,
    not_translated,
    of_any_length,
    quiet,
)

__all__ = ["DESCRIPTION", "write_torchscript"]

DESCRIPTION = "learnkit.json"
"""Name of the extra file in it, a JSON text: classes, preparation, names of the inputs."""

ENDED = (3, 14)
"""The version of Python on which PyTorch supports TorchScript no more."""


def write_torchscript(
    path: PathLike,
    model: nn.Module,
    xs: Sequence[Tensor],
    axes: Axes,
    meta: Mapping[str, Any],
    expected: Expected,
    *,
    method: str = "trace",
) -> Path:
    """Write a network that gives predictions as TorchScript, if the file gives the same ones.

    Parameters
    ----------
    path : path-like
        `.pt` is added if it is missing.
    model : nn.Module
        Called as `model(*xs)` (and so its `forward` is written), returns the predictions. It stays as it is.
    xs : sequence of Tensor
        Inputs of a few items; none of them is in the file.
    axes : mapping
        Names of the inputs, and their axes of any size.
    meta : mapping
        Written into the file, as JSON.
    expected : callable
        Inputs -> what the network shall give for them, items first.
    method : {"trace", "script"}
        Record the operations of a run, or compile the code of the network that `model` wraps, with its branches and loops.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If it cannot be translated, or gives something else there; what was at `path` is untouched. Also on Python 3.14 and newer,
        and for texts with
        `method="script"`.
    """
    check_choice("method", method, ("trace", "script"))
    if sys.version_info >= ENDED:
        raise ExportError(
            "PyTorch does not support TorchScript on Python 3.14 and newer. Use `learn.to_exported(path)`, or `learn.to_onnx(path)`."
        )
    if method == "script" and of_any_length(axes):
        raise ExportError(
            "a network over texts cannot be compiled by TorchScript: what its encoder hands on from step to step is of no type that "
            'TorchScript knows. `method="trace"` writes it, right at any length, and so does `learn.to_onnx(path)`.'
        )
    warn_once(
        "TorchScript is deprecated in PyTorch. For C++ and for PyTorch use `learn.to_exported(path)` instead, elsewhere "
        "`learn.to_onnx(path)`.",
        FutureWarning,
    )
    file = as_path("path", path)
    file = file if file.suffix == ".pt" else file.with_name(file.name + ".pt")
    xs = tuple(x.cpu() for x in xs)
    content = _translated(copy.deepcopy(model).cpu().float().eval(), xs, {**meta, "inputs": list(axes)}, method)
    with quiet():
        written = torch.jit.load(io.BytesIO(content))

    def run(xs: tuple[Tensor, ...]) -> NDArray[Any]:
        with quiet(), torch.no_grad():
            found: NDArray[Any] = written(*xs).numpy()
        return found

    check(run, "TorchScript", xs, axes, expected)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)
    return file


def _translated(model: nn.Module, xs: tuple[Tensor, ...], meta: Mapping[str, Any], method: str) -> bytes:
    content = io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            constants_are_errors()
            if method == "script":
                for name, part in model.named_children():
                    setattr(model, name, torch.jit.script(part))
            # What is around the network, an activation, is a few operations: traced it may be any function.
            traced = torch.jit.trace(model, xs, check_trace=False)
            torch.jit.save(traced, content, _extra_files={DESCRIPTION: json.dumps(meta)})
    except Exception as exc:  # of the translator any kind
        first = first_cause(exc)
        if not isinstance(first, torch.jit.TracerWarning):
            raise not_translated(exc, "TorchScript") from exc
        raise ExportError(
            f'a trace of this network would be wrong for other items: {str(first).partition(". ")[0]}. Pass method="script", which '
            "compiles the code itself."
        ) from exc
    return content.getvalue()
