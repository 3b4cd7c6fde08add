"""Arguments that are lists: one item is a list of one or refused in words, and a text is never read letter by letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["check_list", "number_array", "numbers", "one_or_list", "some"]


def check_list(name: str, value: Any, of: str, *, error: type[Exception] = TypeError) -> list[Any]:
    """Return an argument as a list, or say what it should have been.

    Parameters
    ----------
    name : str
        Of the argument.
    value : iterable
        Anything but a text, bytes or a mapping, which would be read letter by letter or lose its values.
    of : str
        What it is a list of, for the message.
    error : type, default TypeError
        What is raised.
    """
    letters = isinstance(value, str | bytes | bytearray)
    if not letters and isinstance(value, Iterable) and not isinstance(value, Mapping):
        try:
            return list(value)
        except TypeError:  # an array without an axis, or a class
            pass
    got = f"the text {value!r:.60}" if letters else f"{type(value).__name__} {value!r:.60}"
    hint = "" if isinstance(value, Mapping) else f" For one write [{value!r:.60}]."
    raise error(f"`{name}` must be a list of {of}; got {got}.{hint}")


def one_or_list(
    name: str, value: Any, of: str, is_one: Callable[[Any], bool], *, error: type[Exception] = TypeError
) -> list[Any]:
    """Return an argument as a list, in which one item stands for a list of it alone; see `check_list`."""
    return [value] if is_one(value) else check_list(name, value, of, error=error)


def numbers(name: str, value: Any, of: str = "numbers", *, error: type[Exception] = TypeError) -> list[float]:
    """Return a number, or a list of numbers, as a list of floats; what is no number is refused."""
    given = one_or_list(name, value, of, _is_number, error=error)
    for item in given:
        if not _is_number(item):
            raise error(f"`{name}` must be a list of {of}; it holds {item!r:.60}.")
    return [float(item) for item in given]


def number_array(name: str, value: Any, *, error: type[Exception] = TypeError) -> NDArray[Any]:
    """Return an argument that is an array of numbers as one; a text or a single number is refused."""
    try:
        array = np.asarray(value)
    except ValueError as exc:
        raise error(f"`{name}` must be an array of numbers: {exc}.") from exc
    if array.ndim and array.dtype.kind in "biuf":
        return array
    got = f"the text {value!r:.60}" if isinstance(value, str | bytes) else f"{type(value).__name__} {value!r:.60}"
    raise error(f"`{name}` must be an array of numbers; got {got}.")


def some(values: Sequence[Any], n: int = 5) -> str:
    """Return the first `n` values as text, for a message."""
    return ", ".join(map(str, values[:n])) + (", ..." if len(values) > n else "")


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim == 0
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
