"""One file for everything that is more than weights: a zip of tensors and JSON, each part with its SHA-256.

Checkpoints and exported learners are such files. What is in them is data: nested dicts, lists, tuples, numbers, text,
tensors and arrays (`pack`, `unpack`). Reading one runs nothing, and everything that a stranger could have put into
it is bounded before it is used: names, kinds, number and sizes of the parts, length and depth of the JSON.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from learnkit.core.errors import CheckpointError
from learnkit.core.version import __version__
from learnkit.data.files import PathLike, as_path, atomic_path

__all__ = ["Archive", "digest", "pack", "read_archive", "unpack", "write_archive"]

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("weights.safetensors", "state.json", "state.safetensors")
MAX_JSON = 64 << 20  # bytes of a JSON part
MAX_HEADER = 16 << 20  # bytes of the table of contents of a safetensors part
MAX_DEPTH = 64  # of nested JSON
_TAG = "~"  # marks a JSON object that stands for something JSON has no word for
_LONG = 64  # numbers in a list from which it is kept as a tensor


@dataclass(frozen=True)
class Archive:
    """What a file held.

    Attributes
    ----------
    path : Path
        The file.
    weights : dict of str to Tensor
    state : Any
        The rest, as it was given to `write_archive`.
    versions : dict of str to str
        Of learnkit, torch, numpy and Python, when it was written.
    """

    path: Path
    weights: dict[str, Tensor]
    state: Any
    versions: dict[str, str]


def write_archive(path: PathLike, kind: str, weights: Mapping[str, Tensor], state: Any) -> Path:
    """Write weights and other data into one file, all of it or nothing.

    Parameters
    ----------
    path : path-like
        Its folder is made.
    kind : str
        What the file is for; `read_archive` asks for it.
    weights : mapping of str to Tensor
    state : Any
        Nested dicts, lists and tuples of numbers, text, `None`, tensors, arrays and slices.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CheckpointError
        If `state` holds anything else; what and where is named.
    OSError
        If it cannot be written; what was there before is untouched.

    Examples
    --------
    >>> import tempfile, torch
    >>> from learnkit.store.archive import read_archive, write_archive
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_archive(f"{folder}/a.zip", "example", {"w": torch.ones(2)}, {"lr": 0.1, "sizes": (2, 3)})
    ...     again = read_archive(file, "example")
    >>> again.weights["w"], again.state
    (tensor([1., 1.]), {'lr': 0.1, 'sizes': (2, 3)})
    """
    from safetensors.torch import save

    others: dict[str, Tensor] = {}
    parts = {"state.json": json.dumps(pack(state, others), allow_nan=False).encode()}
    if len(parts["state.json"]) > MAX_JSON:
        raise CheckpointError(
            f"the description is too long: {len(parts['state.json']):,} bytes of at most {MAX_JSON:,}."
        )
    parts["weights.safetensors"] = save({name: _plain(x) for name, x in weights.items()})
    if others:
        parts["state.safetensors"] = save(others)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "versions": {
            "learnkit": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "parts": {name: {"size": len(data), "sha256": _sha256(data)} for name, data in parts.items()},
    }
    target = as_path("path", path)
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for name, data in {MANIFEST: json.dumps(manifest, indent=1).encode(), **parts}.items():
            # With a date of its own, writing the same twice would not give the same bytes.
            file.writestr(zipfile.ZipInfo(name), data)
    return target


def read_archive(path: PathLike, kind: str) -> Archive:
    """Read a file of `write_archive`; nothing in it is run, and every part is checked before it is used.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of another kind or format, or not one that `write_archive` writes.
    """
    target = as_path("path", path)
    if target.is_dir():
        raise CheckpointError(f"{target} is a folder, and a file is expected: one that `learn.export` wrote.")
    if not target.is_file():
        near = sorted(p.name for p in target.parent.glob("*") if p.is_file())[:8] if target.parent.is_dir() else []
        raise CheckpointError(f"there is no file {target}. Its folder holds: {', '.join(near) or '(nothing)'}.")
    if target.suffix == ".safetensors":
        raise CheckpointError(f"{target} holds weights alone: make the learner, then `learn.load` them.")
    try:
        with open(target, "rb") as opened:
            manifest, parts = _read_parts(opened, target, kind)
            others = _tensors(parts.get("state.safetensors"))
            weights = _tensors(parts["weights.safetensors"])
            state = unpack(_json(parts["state.json"], MAX_JSON), others)
    except CheckpointError:
        raise
    except _UNREADABLE as exc:
        raise _refused(target, f"{type(exc).__name__}: {exc}") from exc
    return Archive(target, weights, state, {str(k): str(v) for k, v in manifest["versions"].items()})


def pack(value: Any, tensors: dict[str, Tensor], where: str = "state") -> Any:
    """Turn nested data into what JSON can hold; its tensors are added to `tensors` under the name of their place.

    Raises
    ------
    CheckpointError
        If there is something that is not data; where it is, is named.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_TAG: "float", "v": repr(float(value))}
    if isinstance(value, Tensor):
        tensors[where] = _plain(value)
        return {_TAG: "tensor", "v": where}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        # Through signed integers, as not every reader knows the wide unsigned ones.
        signed = value.view(f"i{value.itemsize}") if value.dtype.kind == "u" and value.itemsize > 1 else value
        tensors[where] = torch.from_numpy(np.array(signed, order="C"))
        return {_TAG: "array", "v": where, "dtype": value.dtype.str}
    if isinstance(value, slice):
        return {_TAG: "slice", "v": [pack(x, tensors, where) for x in (value.start, value.stop, value.step)]}
    if isinstance(value, tuple):
        return {_TAG: "tuple", "v": pack(list(value), tensors, where)}
    if isinstance(value, list):
        if len(value) > _LONG and (numbers := _long(value)) is not None:
            tensors[where] = numbers
            return {_TAG: "numbers", "v": where}
        return [pack(x, tensors, f"{where}.{i}") for i, x in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: pack(x, tensors, f"{where}.{key}") for key, x in value.items()}
        pairs = enumerate(value.items())
        return {
            _TAG: "dict",
            "v": [[pack(k, tensors, f"{where}.{i}"), pack(x, tensors, f"{where}.{i}.v")] for i, (k, x) in pairs],
        }
    raise CheckpointError(
        f"{where} is {type(value).__name__}, which is not data and so cannot be kept; numbers, text, None, tensors, arrays, "
        "and lists, tuples and dicts of them can."
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `pack`."""
    if isinstance(value, list):
        return [unpack(x, tensors) for x in value]
    if not isinstance(value, dict):
        return value
    if _TAG not in value:
        return {key: unpack(x, tensors) for key, x in value.items()}
    kind, inner = value[_TAG], value["v"]
    if kind == "float":
        return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[inner]
    if kind == "tensor":
        return tensors[inner]
    if kind == "array":
        dtype = np.dtype(str(value["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(f"an array of {dtype}")
        return tensors[inner].numpy().view(dtype)
    if kind == "numbers":
        return tensors[inner].tolist()
    if kind == "slice":
        return slice(*unpack(inner, tensors))
    if kind == "tuple":
        return tuple(unpack(inner, tensors))
    if kind == "dict":
        return {unpack(key, tensors): unpack(x, tensors) for key, x in inner}
    raise ValueError(f"an unknown kind of data {kind!r}")


def digest(value: Any) -> str:
    """Return the SHA-256 of nested data."""
    tensors: dict[str, Tensor] = {}
    found = hashlib.sha256(json.dumps(pack(value, tensors), sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """Read the tensors of a safetensors part, its table of contents bounded first."""
    from safetensors.torch import load

    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > min(MAX_HEADER, len(data) - 8):
        raise ValueError("the table of contents of its tensors is longer than it may be")
    return load(data)


_UNREADABLE = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    ValueError,  # of JSON and text that is none
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,  # of an encrypted zip
    RecursionError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


def _read_parts(opened: IO[bytes], target: Path, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    length = target.stat().st_size
    with zipfile.ZipFile(opened) as file:
        infos = file.infolist()
        names = [info.filename for info in infos]
        strange = [name for name in names if name not in (MANIFEST, *PARTS)]
        if strange or len(set(names)) != len(names):
            raise _refused(target, f"it holds {(strange or names)[0]!r}, which does not belong there or is there twice")
        for info in infos:
            # Stored as they are, parts cannot be larger than the file that holds them.
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1 or info.external_attr >> 28 == 0xA:
                raise _refused(target, f"{info.filename} is compressed, encrypted or a link")
            if info.file_size != info.compress_size or info.file_size > length:
                raise _refused(target, f"{info.filename} claims {info.file_size:,} bytes; the file has {length:,}")
        places = sorted((info.header_offset, info.file_size) for info in infos)
        if any(start + size > following for (start, size), (following, _) in itertools.pairwise(places)):
            raise _refused(target, "its parts overlap")
        if MANIFEST not in names or file.getinfo(MANIFEST).file_size > 1 << 20:
            raise _refused(target, "it has no list of its parts")
        manifest = _json(file.read(MANIFEST), 1 << 20)
        if manifest["kind"] != kind:
            raise CheckpointError(f"{target} is a {manifest['kind']!r} file; a {kind!r} file is needed here.")
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{target} has format {manifest['format']!r}; this learnkit ({__version__}) reads {FORMAT}."
            )
        if sorted(manifest["parts"]) != sorted(set(names) - {MANIFEST}) or not isinstance(manifest["versions"], dict):
            raise _refused(target, "its parts are not those of its list")
        parts = {name: file.read(name) for name in manifest["parts"]}
    for name, data in parts.items():
        if _sha256(data) != manifest["parts"][name]["sha256"]:
            raise _refused(target, f"the checksum of {name} does not agree with its bytes")
    return manifest, parts


def _json(data: bytes, most: int) -> Any:
    if len(data) > most:
        raise ValueError(f"{len(data):,} bytes of JSON; at most {most:,} are read")
    value = json.loads(data.decode("utf-8"))
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [x for v in level if isinstance(v, list | dict) for x in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return value
    raise ValueError(f"JSON nested deeper than {MAX_DEPTH}")


def _tensors(data: bytes | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError

    try:
        return {} if data is None else read_safetensors(data)
    except SafetensorError as exc:
        raise ValueError(str(exc)) from exc


def _long(values: list[Any]) -> Tensor | None:
    """Return a list of only floats, or only integers, as a tensor that holds them exactly."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return torch.tensor(values, dtype=torch.float64)
    if kinds == {int} and min(values) >= -(2**63) and max(values) < 2**63:
        return torch.tensor(values, dtype=torch.int64)
    return None


def _plain(x: Tensor) -> Tensor:
    # A copy of its own memory: the file can hold no views, and no two names for one memory.
    return x.detach().cpu().contiguous().clone()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refused(target: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{target} is damaged, or no file that learnkit wrote: {why}. Use another copy.")
