"""A digest of what an object does: of its state, and of the code it would run.

What was computed with an object may be kept and used again only as long as this digest is the same. Where that cannot be
told (a global that may be anything, an object whose state is hidden in C), there is no digest, and nothing may be kept.
"""

from __future__ import annotations

import enum
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["fingerprint"]

_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    np.generic,
    torch.dtype,
    torch.device,
    torch.Size,
    slice,
    range,
)
_BUILT_IN = (
    BuiltinFunctionType,
    np.ufunc,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_PATHS = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"])
_OURS = str(Path(__file__).parents[1])
# What PyTorch keeps in every module besides what its class does: hooks look, and weights are the caller's to hash.
_OF_MODULES = frozenset(vars(nn.Module())) - {"training", "_modules", "_buffers"}


class _Unknown(Exception):
    """There is a part whose effect cannot be told."""


def fingerprint(value: Any) -> str | None:
    """Return a digest of an object's state and code, `None` where it cannot be told.

    Parameters
    ----------
    value : object
        A transform, a function, a module: whatever is called. The parameters of an `nn.Module` do not count.

    Examples
    --------
    >>> from learnkit.core.fingerprint import fingerprint
    >>> class Brighter:
    ...     def __init__(self, by):
    ...         self.by = by
    ...     def __call__(self, x):
    ...         return x + self.by
    >>> fingerprint(Brighter(1)) == fingerprint(Brighter(1)), fingerprint(Brighter(1)) == fingerprint(Brighter(2))
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for part in _parts(value, {}):
            digest.update(part.encode() if isinstance(part, str) else part)
            digest.update(b"\0")
    except (_Unknown, RecursionError):
        return None
    return digest.hexdigest()


def _parts(value: Any, seen: dict[int, int]) -> Iterator[str | bytes]:
    """Give what decides what a value does, piece by piece; what was given before, by its number."""
    if isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
        return
    if id(value) in seen:
        yield f"again {seen[id(value)]}"
        return
    seen[id(value)] = len(seen)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise _Unknown
        yield f"array {value.shape} {value.dtype}"
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, torch.Tensor):
        yield f"tensor {tuple(value.shape)} {value.dtype}"
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, enum.Enum):
        yield f"enum {type(value).__qualname__} {value.name}"
    elif isinstance(value, Mapping):
        yield f"mapping {type(value).__qualname__} {len(value)}"
        for key, item in value.items():
            yield from _parts(key, seen)
            yield from _parts(item, seen)
    elif isinstance(value, Set):
        yield f"set {sorted(map(repr, value))}"
        for item in value:
            if not isinstance(item, _PLAIN):
                raise _Unknown
    elif isinstance(value, list | tuple):
        yield f"{type(value).__qualname__} {len(value)}"
        for item in value:
            yield from _parts(item, seen)
    elif isinstance(value, partial):
        yield "partial"
        yield from _parts((value.func, value.args, value.keywords), seen)
    elif isinstance(value, MethodType):
        yield f"method {value.__func__.__qualname__}"
        yield from _parts(value.__self__, seen)
        yield from _parts(value.__func__, seen)
    elif isinstance(value, FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, ModuleType):
        yield from _module(value)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, _BUILT_IN):
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType):
            raise _Unknown
        yield f"builtin {getattr(value, '__module__', '')} {getattr(value, '__qualname__', repr(value))}"
    else:
        yield from _object(value, seen)


def _object(value: Any, seen: dict[int, int]) -> Iterator[str | bytes]:
    state = getattr(value, "__dict__", None)
    slots = [name for cls in type(value).__mro__ for name in _as_names(getattr(cls, "__slots__", ()))]
    if state is None and not slots:
        raise _Unknown  # state that Python does not see
    yield "object"
    yield from _class(type(value), seen)
    skipped = _OF_MODULES if isinstance(value, nn.Module) else frozenset()
    for name, item in sorted((state or {}).items()):
        if name not in skipped:
            yield name
            yield from _parts(item, seen)
    for name in slots:
        if hasattr(value, name) and name not in ("__dict__", "__weakref__"):
            yield name
            yield from _parts(getattr(value, name), seen)


def _as_names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _class(cls: type, seen: dict[int, int]) -> Iterator[str | bytes]:
    """A class of an installed package by name, whose version stands for its code; of the user's, all it defines."""
    for base in cls.__mro__:
        yield f"class {base.__module__}.{base.__qualname__}"
        if _is_installed(base.__module__):
            yield from _module(sys.modules[base.__module__])
        elif id(base) not in seen:
            seen[id(base)] = len(seen)
            for name, item in sorted(vars(base).items()):
                if name in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__"):
                    continue
                if name.startswith(("_abc_", "__static_attributes__", "__annotate", "__abstractmethods__")):
                    continue
                yield name
                if isinstance(item, staticmethod | classmethod):
                    item = item.__func__
                if isinstance(item, property):
                    item = (item.fget, item.fset)
                yield from _parts(item, seen)


def _function(fn: FunctionType, seen: dict[int, int]) -> Iterator[str | bytes]:
    yield f"function {fn.__module__}.{fn.__qualname__}"
    if _is_installed(fn.__module__) and fn.__closure__ is None:
        yield from _module(sys.modules[fn.__module__])
        return
    yield from _code(fn.__code__)
    yield from _parts((fn.__defaults__, fn.__kwdefaults__), seen)
    for cell in fn.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:
            content = None  # not filled yet
        yield from _parts(content, seen)
    for name in sorted(_names(fn.__code__)):
        if name in fn.__globals__:
            yield name
            yield from _parts(fn.__globals__[name], seen)


def _code(code: CodeType) -> Iterator[str | bytes]:
    yield f"code {sys.version_info[:2]} {code.co_names} {code.co_varnames} {code.co_freevars}"
    yield code.co_code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _code(const)
        else:
            yield repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))


def _module(module: ModuleType) -> Iterator[str]:
    """A module of Python or of an installed package, by name and version; one of the user's may hold anything."""
    name = module.__name__
    if not _is_installed(name):
        raise _Unknown
    top = sys.modules.get(name.partition(".")[0])
    yield f"module {name} {getattr(top, '__version__', sys.version_info[:3])}"


def _is_installed(name: str | None) -> bool:
    if name is None or name == "__main__" or name not in sys.modules:
        return False
    file = getattr(sys.modules[name], "__file__", None)
    return file is None or file.startswith((*_PATHS, _OURS))
