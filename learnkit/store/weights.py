"""Weights on disk: safetensors with a JSON header, written whole or not at all, read without running code.

The header holds a SHA-256 of names, shapes and values, so that a damaged file is refused and never loaded as another model.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.core.errors import CheckpointError
from learnkit.core.layers import is_incomplete
from learnkit.data.files import PathLike, as_path, atomic_path

__all__ = ["FOREIGN", "found_weights", "load_model", "read_meta", "read_weights", "save_model", "weights_path"]

FORMAT = 2
_KEY = "learnkit"


def weights_path(path: PathLike) -> Path:
    """Return `path` with `.safetensors` added, unless it ends so."""
    target = as_path("path", path)
    return target if target.suffix == ".safetensors" else target.with_name(target.name + ".safetensors")


FOREIGN = (".pth", ".pt", ".bin")
"""Endings of PyTorch's own files, of which only those are read that hold nothing but tensors."""


def found_weights(path: PathLike) -> Path:
    """Return the file that `path` names: as `weights_path` has it, or one of PyTorch's own that is there."""
    target = as_path("path", path)
    ours = weights_path(target)
    return target if target.suffix in FOREIGN and target.is_file() and not ours.is_file() else ours


def save_model(model: nn.Module, path: PathLike, *, meta: Mapping[str, Any] | None = None) -> Path:
    """Save the weights of a model, and nothing else that could run, as safetensors.

    The file appears in one step: a crash or a full disk leaves what was there before. Tensors shared under
    several names (tied weights) are stored once.

    Parameters
    ----------
    model : nn.Module
    path : path-like
        `.safetensors` is added if it is missing; folders are made.
    meta : mapping, optional
        Anything JSON can hold, kept in the file's header; see `read_meta`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CheckpointError
        If the model's state holds something other than tensors, or the file cannot be written.

    Examples
    --------
    >>> import tempfile, torch
    >>> from learnkit import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(torch.nn.Linear(3, 2), f"{folder}/model")
    ...     load_model(torch.nn.Linear(3, 4), path)
    Traceback (most recent call last):
    ...
    learnkit.core.errors.CheckpointError: ...model.safetensors was saved from another architecture; nothing was loaded. ...
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    check_complete(model)
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first_name: dict[tuple[Any, ...], str] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"the state entry {name!r} is {type(value).__name__}; only tensors can be saved.")
        place = (value.device, value.data_ptr(), value.shape, value.stride())
        if value.numel() and place in first_name:
            aliases[name] = first_name[place]
        else:
            first_name[place] = name
            # Cloned where it is a view, so that two views of one storage do not clash in the file.
            tensors[name] = value.detach().cpu().contiguous().clone()
    header = {"format": FORMAT, "aliases": aliases, "meta": dict(meta or {})}
    header["sha256"] = _digest(tensors, header)
    target = weights_path(path)
    try:
        with atomic_path(target) as temporary:
            save_file(tensors, temporary, metadata={_KEY: json.dumps(header)})
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{target} could not be written ({exc}); what was there before is untouched.") from exc
    return target


def load_model(model: nn.Module, path: PathLike) -> None:
    """Load weights into a model of the same architecture: those of `save_model`, or of PyTorch's `torch.save(state_dict)`.

    Nothing is changed unless everything fits.

    Parameters
    ----------
    model : nn.Module
        Keeps its device.
    path : path-like
        `.safetensors` is added if it is missing, unless it is a `.pth` (`.pt`, `.bin`) that is there and holds tensors only.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, holds anything that would have to be executed, or belongs to another architecture
        (the layers that differ are named).
    """
    target = found_weights(path)
    state = read_weights(target)
    check_same_layers(model.state_dict(), state, str(target))
    model.load_state_dict(state)


def check_complete(model: nn.Module) -> None:
    """Raise unless every layer has its weights."""
    if is_incomplete(model):
        raise CheckpointError(
            "the model has lazy layers that have no weights yet, so there is nothing to save: run a batch through it first, "
            "`model(*xs)`, or train it."
        )


def read_meta(path: PathLike) -> dict[str, Any]:
    """Return the `meta` a weights file was saved with, which those of other programs do not have."""
    target = found_weights(path)
    if target.suffix in FOREIGN:
        read_weights(target)  # as any other file: refused, if there is something wrong with it
        return {}
    return dict(_read_header(target).get("meta", {}))


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """Read a file of weights: `.safetensors`, of ours or from elsewhere, or `.pth`/`.pt` with tensors only.

    Parameters
    ----------
    path : path-like
        Of a file that is not there the one with `.safetensors` added.

    Returns
    -------
    dict of str to Tensor
        In the order of the file.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or holds anything that would have to be executed.
    """
    target = as_path("path", path)
    target = target if target.is_file() or not weights_path(target).is_file() else weights_path(target)
    if target.suffix == ".safetensors":
        tensors, header = _read(target)
        for alias, name in header.get("aliases", {}).items():
            if name not in tensors:
                raise CheckpointError(f"{target} is damaged: {alias!r} refers to {name!r}, which is not in the file.")
            tensors[alias] = tensors[name]
        return tensors
    _check_is_file(target)
    try:
        if zipfile.is_zipfile(target):
            with zipfile.ZipFile(target) as file:
                damaged = file.testzip()  # PyTorch itself does not look at the checksums in its files
            if damaged is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged} does not agree with its bytes")
        state = torch.load(target, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"{target} holds objects that could run code when loaded, so it is refused. Ask its author for a "
            "state_dict of tensors, best as .safetensors."
        ) from exc
    except Exception as exc:  # the reader of a foreign format fails in many ways on damaged bytes
        raise CheckpointError(f"{target} cannot be read as PyTorch weights; it may be damaged: {exc}") from exc
    for key in ("state_dict", "model"):  # training scripts often wrap the weights
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{target} must hold a dict of tensors (a state_dict); it holds {type(state).__name__}.")
    return {str(name): value for name, value in state.items()}


def check_same_layers(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Raise unless both hold the same names with the same shapes; name what differs."""
    lines = [f"  {name}: only in the model, {_size(own[name])}" for name in own if name not in state]
    lines += [f"  {name}: only in the file, {tuple(state[name].shape)}" for name in state if name not in own]
    lines += [
        f"  {name}: {tuple(own[name].shape)} in the model, {tuple(state[name].shape)} in the file"
        for name in own
        if name in state and not is_lazy(own[name]) and own[name].shape != state[name].shape
    ]
    if lines:
        more = f"\n  ... and {len(lines) - 8} more" if len(lines) > 8 else ""
        raise CheckpointError(
            f"{source} was saved from another architecture; nothing was loaded. {len(lines)} of {len(own)} layers "
            "differ:\n" + "\n".join(lines[:8]) + more
        )


def _size(x: Tensor) -> str:
    return "of any size" if is_lazy(x) else str(tuple(x.shape))


def _read(target: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    header = _read_header(target)
    try:
        with safe_open(target, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as exc:
        raise _damaged(target, exc) from exc
    if header and header.get("sha256") != _digest(tensors, header):
        raise CheckpointError(f"{target} is damaged: its checksum does not agree with its contents. Use another copy.")
    return tensors, header


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 of tensors and header, whatever the order they are in."""
    digest = hashlib.sha256(json.dumps([header["aliases"], header["meta"]], sort_keys=True).encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"\n{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_header(target: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    _check_is_file(target)
    _refuse_pickle(target)
    try:
        with safe_open(target, framework="pt", device="cpu") as file:
            texts = file.metadata() or {}
        # Also under a name that is damaged: a checked file must not pass for one of another program, unchecked.
        ours = [text for name, text in texts.items() if name == _KEY or text.startswith('{"format": ')]
        header = json.loads(ours[0]) if ours else {}
    except (SafetensorError, OSError, ValueError, RecursionError) as exc:
        raise _damaged(target, exc) from exc
    aliases = header.get("aliases", {}) if isinstance(header, dict) else None
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise CheckpointError(f"{target} is damaged: its header is not one that `save_model` writes.")
    if not isinstance(header.get("meta", {}), dict):
        raise CheckpointError(f"{target} is damaged: `meta` in its header is no JSON object.")
    if header and (header.get("format") != FORMAT or not {"aliases", "meta", "sha256"} <= header.keys()):
        raise CheckpointError(
            f"{target} is damaged, or of another version: it has format {header.get('format')!r}; this learnkit reads "
            f"format {FORMAT}."
        )
    return header


def _check_is_file(target: Path) -> None:
    if target.suffix == ".safetensors" and target.with_suffix("").is_file():
        raise CheckpointError(
            f"{target.with_suffix('')} is no safetensors file, and nothing else is loaded: pickles can run code. Save the "
            "weights again with `save_model`, or as safetensors."
        )
    if not target.is_file():
        near = sorted(p.name for p in target.parent.glob("*") if p.is_file())[:8] if target.parent.is_dir() else []
        raise CheckpointError(f"there is no file {target}. Its folder holds: {', '.join(near) or '(nothing)'}.")


def _refuse_pickle(target: Path) -> None:
    with open(target, "rb") as file:
        start = file.read(9)
    # A safetensors file is eight bytes of length, which may be any, and then JSON.
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise CheckpointError(
            f"{target} is a pickle (a .pth or .pkl file under another name). Loading one can run any code in it, so it "
            "is refused. Save the weights again with `save_model`, or as safetensors."
        )


def _damaged(target: Path, exc: Exception) -> CheckpointError:
    return CheckpointError(
        f"{target} is not a complete safetensors file ({target.stat().st_size:,} bytes): {exc}. It may have been cut "
        "off; use another copy."
    )
