"""A translated network beside `predict`: run on batches of several sizes and lengths, and refused where it differs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.errors import ExportError

__all__ = [
    "TOLERANCE",
    "Axes",
    "Expected",
    "check",
    "constants_are_errors",
    "first_cause",
    "not_translated",
    "of_any_length",
    "quiet",
]

TOLERANCE = 1e-4
"""Largest difference of a probability, or of a value as a share of it where it is above 1."""

Axes = Mapping[str, Mapping[int, str]]
"""Name of each input -> its axes of any size, by name: `{"tokens": {0: "length", 1: "batch"}}`."""

Expected = Callable[[tuple[Tensor, ...]], NDArray[Any]]
"""Inputs -> what a network shall give for them, items first."""


def check(
    run: Callable[[tuple[Tensor, ...]], NDArray[Any]], who: str, xs: tuple[Tensor, ...], axes: Axes, expected: Expected
) -> None:
    """Raise unless a translated network gives what it shall: for all of `xs`, a single item, other sizes and lengths.

    Parameters
    ----------
    run : callable
        Inputs -> what the translated network gives.
    who : str
        What runs it, as a message names it.
    xs : tuple of Tensor
        Inputs of a few items.
    axes : mapping
        Names of the inputs, and their axes of any size.
    expected : callable
        Inputs -> what it shall give.

    Raises
    ------
    ExportError
        If it cannot be run, or differs by more than `TOLERANCE`.
    """
    for what, case in _cases(xs, axes):
        try:
            found = run(case)
        except Exception as exc:  # of other programs any kind
            raise ExportError(f"{who} cannot run the translated network on {what}: {exc}. Nothing is written.") from exc
        _compare(found, expected(case), who, what)


def of_any_length(axes: Axes) -> bool:
    """Whether an input has a length besides the number of items."""
    return any(name != "batch" for named in axes.values() for name in named.values())


def not_translated(exc: BaseException, format: str) -> ExportError:
    """Return the error that says why a network cannot be translated, of what the translator said."""
    first = first_cause(exc)
    said = str(first).strip().splitlines() or [""]
    return ExportError(
        f"this network cannot be translated to {format}: {type(first).__name__}: {said[0]} A network of your own must consist of "
        "PyTorch's operations on tensors of any batch size, without `if` and `for` over their values."
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the translators' own progress and warnings about PyTorch's code to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what went wrong is said by the error
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def constants_are_errors() -> None:
    """Make it an error, inside of `quiet`, that a trace takes a value for a constant: it would be that of these items for ever.

    The libraries of layers only ask whether shapes fit.
    """
    warnings.simplefilter("error", torch.jit.TracerWarning)
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"(torch|torchvision|timm)\.")


def first_cause(exc: BaseException) -> BaseException:
    """Return the error at the bottom: those above it only say that there was one."""
    while (deeper := exc.__cause__ or exc.__context__) is not None:
        exc = deeper
    return exc


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


def _compare(found: NDArray[Any], expected: NDArray[Any], who: str, what: str) -> None:
    if found.shape != expected.shape:
        raise ExportError(f"on {what} {who} gives {found.shape}, and `predict` {expected.shape}. Nothing is written.")
    difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    difference = np.where(np.isfinite(found) | np.isfinite(expected), difference, 0)  # both NaN or infinite
    if difference.size and not difference.max() <= TOLERANCE:
        place = np.unravel_index(np.nanargmax(np.nan_to_num(difference, nan=np.inf)), difference.shape)
        raise ExportError(
            f"on {what} the translated network gives {found[place]:.6g} where `predict` gives {expected[place]:.6g} (item {place[0]}"
            f"{''.join(f', column {column}' for column in place[1:])}): more than {TOLERANCE:g} apart. Nothing is written. In a network "
            "of your own look for numbers that depend on the size of the batch, or for random draws outside of dropout."
        )
