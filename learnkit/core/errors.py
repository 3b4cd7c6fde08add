"""The package's exceptions, the checks that guard its public boundary, and how it remarks on something.

Every message says what was expected, what arrived and what to do about it. The exceptions also derive from
the built-in one a Python user would catch (`ValueError`, `ImportError`), so plain `except ValueError` works.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
from collections.abc import Collection
from functools import cache
from types import ModuleType

__all__ = [
    "CheckpointError",
    "DataError",
    "ExportError",
    "LearnkitError",
    "MissingExtraError",
    "NonFiniteError",
    "OutOfMemoryError",
    "TrainingError",
    "UnwritableError",
    "check_choice",
    "check_fraction",
    "check_positive",
    "optional_import",
    "say",
    "say_once",
    "user_stacklevel",
    "warn_once",
]


class LearnkitError(Exception):
    """Base class of every error learnkit raises on purpose."""


class DataError(LearnkitError, ValueError):
    """The data is not what a model can be trained on; the message names the item."""


class TrainingError(LearnkitError, RuntimeError):
    """Model, loss and batch do not fit together; the message gives the shapes and dtypes."""


class NonFiniteError(TrainingError):
    """The loss became NaN or infinite; the message names the batch."""


class OutOfMemoryError(TrainingError, MemoryError):
    """A batch and what is computed from it did not fit; the message says what to try. The model can be used on."""


class CheckpointError(LearnkitError, ValueError):
    """A weights file is missing, damaged, unsafe or belongs to another model."""


class ExportError(LearnkitError, RuntimeError):
    """A model cannot be translated to another format, or would predict something else there; nothing was written."""


class UnwritableError(LearnkitError, PermissionError):
    """A folder cannot be written to; the message says what was to be written and how to choose another."""


class MissingExtraError(LearnkitError, ImportError):
    """An optional dependency is not installed; the message gives the pip command."""


def check_fraction(name: str, value: float) -> float:
    """Return `value` if it lies strictly between 0 and 1, else raise `ValueError`."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or hasattr(value, "__float__")):
        raise TypeError(f"`{name}` must be a share in (0, 1), a number such as 0.2; got {value!r}.")
    if not 0 < value < 1:
        hint = f" For {value:g}% pass {value / 100:g}." if 1 <= value < 100 else ""
        hint = " It is a share: for k of n pass k / n." if value >= 100 else hint
        raise ValueError(f"`{name}` must be in (0, 1); got {value!r}.{hint}")
    return value


def check_positive(name: str, value: float, *, integer: bool = False) -> float:
    """Return `value` if it is positive and finite (and whole, with `integer`), else raise `ValueError`."""
    if isinstance(value, bool) or (not isinstance(value, int | float) and not hasattr(value, "__float__")):
        raise TypeError(f"`{name}` must be a positive number; got {value!r}.")
    if not math.isfinite(value) or value <= 0 or (integer and value != int(value)):
        kind = "a positive whole number" if integer else "a positive number"
        raise ValueError(f"`{name}` must be {kind}; got {value!r}.")
    return value


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {allowed}; got {value!r}.")


def optional_import(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra installs it.

    Parameters
    ----------
    module : str
        Dotted module name, e.g. `"timm"`.
    extra : str
        The learnkit extra that brings it, e.g. `"timm"` for `pip install learnkit[timm]`.

    Raises
    ------
    MissingExtraError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise MissingExtraError(
            f"this needs the package `{module.split('.')[0]}`, which is not installed. "
            f'Install it with: pip install "learnkit[{extra}]"'
        ) from exc


def user_stacklevel() -> int:
    """Return the `stacklevel` at which a warning of the function that asks points at the user's own line, however deep it is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "learnkit":
        frame, level = frame.f_back, level + 1
    return level


@cache
def warn_once(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with a text that is true of this process, whoever comes across it; the same text is not said again.

    Python's own "once per place" forgets what it said whenever any library sets the filters aside for a moment.
    """
    warnings.warn(message, category, stacklevel=user_stacklevel())


def say(message: str) -> None:
    """Tell the user something once, where the progress table goes; silent with `LEARNKIT_PROGRESS=0`."""
    if os.environ.get("LEARNKIT_PROGRESS", "1") != "0":
        print(message, flush=True)


@cache
def say_once(message: str) -> None:
    """Say a text that is true of this process; the same text is not said again."""
    say(message)
