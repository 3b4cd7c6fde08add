"""A network as a program of `torch.export`, or compiled with AOTInductor for C++ without Python, compared before it is written."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import ExportError
from learnkit.data.files import PathLike, as_path, atomic_path
from learnkit.export.checking import Axes, Expected, check, first_cause, not_translated, of_any_length, quiet

__all__ = ["DESCRIPTION", "write_exported"]

DESCRIPTION = "learnkit.json"
"""Name of the extra file in it, a JSON text: classes, preparation, names of the inputs. A compiled package has it as metadata,
under `learnkit`."""


def write_exported(
    path: PathLike,
    model: nn.Module,
    xs: Sequence[Tensor],
    axes: Axes,
    meta: Mapping[str, Any],
    expected: Expected,
    *,
    aot: bool = False,
) -> Path:
    """Write a network that gives predictions as a `.pt2` file, if what is in the file gives the same ones.

    Parameters
    ----------
    path : path-like
        `.pt2` is added if it is missing.
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
    aot : bool, default False
        Compile it for the CPU of this machine, which takes a C++ compiler and from half a minute to some minutes.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If it cannot be translated or compiled, or gives something else there; what was at `path` is untouched.
    """
    if aot:
        _check_compiler()
    if of_any_length(axes) and any(isinstance(module, nn.RNNBase) for module in model.modules()):
        raise ExportError(
            "`torch.export` writes an LSTM or GRU out step by step, so that it would be right for texts of one length only. Use "
            "`learn.to_onnx(path)`, which is right at any length, or, in C++ that has PyTorch, `learn.to_torchscript(path)`."
        )
    file = as_path("path", path)
    file = file if file.suffix == ".pt2" else file.with_name(file.name + ".pt2")
    xs = tuple(x.cpu() for x in xs)
    program = _translated(copy.deepcopy(model).cpu().float().eval(), xs, axes)
    description = json.dumps({**meta, "inputs": list(axes)})
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, file.name)  # the name is in the file, too
        load = _compile if aot else _save
        network = load(program, written, description)

        def run(xs: tuple[Tensor, ...]) -> NDArray[Any]:
            with quiet(), torch.no_grad():
                found: NDArray[Any] = network(*xs).numpy()
            return found

        check(run, "AOTInductor" if aot else "torch.export", xs, axes, expected)
        with atomic_path(file) as temporary:
            shutil.copyfile(written, temporary)
    return file


def _translated(model: nn.Module, xs: tuple[Tensor, ...], axes: Axes) -> torch.export.ExportedProgram:
    names = {name for named in axes.values() for name in named.values()}
    sizes = {name: torch.export.Dim(name) for name in names}
    shapes = (tuple({axis: sizes[name] for axis, name in named.items()} for named in axes.values()),)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(model, xs, dynamic_shapes=shapes)
    except Exception as exc:  # of the translator any kind
        raise not_translated(exc, "a program of torch.export") from exc
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the code lies on this machine is nobody's affair
    return program


def _save(program: torch.export.ExportedProgram, file: Path, description: str) -> Callable[..., Tensor]:
    program.example_inputs = None  # they are items of the user's
    try:
        with quiet():
            torch.export.save(program, file, extra_files={DESCRIPTION: description})
            return torch.export.load(file).module()
    except Exception as exc:  # an operation without a name in the format, say
        raise not_translated(exc, "a program of torch.export") from exc


def _compile(program: torch.export.ExportedProgram, file: Path, description: str) -> Callable[..., Tensor]:
    try:
        with quiet(), torch.no_grad():
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(file),
                inductor_configs={"aot_inductor.metadata": {DESCRIPTION.removesuffix(".json"): description}},
            )
            loaded: Callable[..., Tensor] = torch._inductor.aoti_load_package(str(file))
            return loaded
    except Exception as exc:  # of the compilers any kind
        first = first_cause(exc)
        raise ExportError(
            f"this network cannot be compiled: {type(first).__name__}: {first} Without `aot=True` it is written as a program that "
            "PyTorch runs."
        ) from exc


def _check_compiler() -> None:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    name = os.environ.get("CXX", usual)
    if shutil.which(name) is None:
        raise ExportError(
            f"`aot=True` compiles C++, and there is no compiler {name!r} here. Install one (on Debian and Ubuntu `apt-get install g++`) "
            "or name yours in the environment variable CXX. Without `aot=True` no compiler is needed."
        )
