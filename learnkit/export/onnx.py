"""A network as an ONNX file, run by ONNX Runtime and compared before it is written.

Networks without a state over time go through `torch.export`. It fixes the number of steps of an LSTM or GRU where it unrolls
them, so recurrent ones are traced, which keeps them as one operation of any length.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import optional_import
from learnkit.data.files import PathLike, as_path, atomic_path
from learnkit.export.checking import Axes, Expected, check, constants_are_errors, not_translated, quiet
from learnkit.runtime.model import METADATA

__all__ = ["write_onnx"]

OUTPUT = "predictions"


def write_onnx(
    path: PathLike,
    model: nn.Module,
    xs: Sequence[Tensor],
    axes: Axes,
    meta: Mapping[str, Any],
    expected: Expected,
) -> Path:
    """Write a network that gives predictions, if ONNX Runtime gives the same ones.

    Parameters
    ----------
    path : path-like
        `.onnx` is added if it is missing.
    model : nn.Module
        Called as `model(*xs)` (and so its `forward` is written), returns the predictions. It stays as it is.
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
    used = {one.name for one in session.get_inputs()}

    def run(xs: tuple[Tensor, ...]) -> NDArray[Any]:
        found: NDArray[Any] = session.run(
            None, {name: x.numpy() for name, x in zip(axes, xs, strict=True) if name in used}
        )[0]
        return found

    check(run, "ONNX Runtime", xs, axes, expected)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)
    return file


_EXPORTS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 9)
"""Whether `torch.export` is what networks are translated by; before, it missed much and tracing was the way."""


def _translated(model: nn.Module, xs: tuple[Tensor, ...], axes: Axes) -> bytes:
    optional_import("onnxscript", extra="serve")
    traced = not _EXPORTS or any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            if traced:
                constants_are_errors()
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
        raise not_translated(exc, "ONNX") from exc


def _dimension(name: str) -> Any:
    return torch.export.Dim(name)
