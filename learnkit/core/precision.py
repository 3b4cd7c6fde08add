"""The arithmetic of the forward pass, and what of it a device can do: tried out, not assumed.

Whether a processor multiplies in bfloat16, does so ten times slower than in float32, or lacks a kernel altogether, depends
on its instructions, on the libraries under PyTorch and on settings of theirs. No table of names says it, so the kernels
are run once, on a few numbers.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from learnkit.core.errors import check_choice, warn_once

__all__ = ["Autocast", "BFloat16", "autocast_for", "bfloat16_on"]

SLOW = 1.5
"""From this share of float32's time on, bfloat16 is called slow: its gain elsewhere does not make that up."""


class Autocast:
    """`with autocast():` once per batch; does nothing, at no cost, for fp32."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self.device, self.dtype = device, dtype
        self.fp16 = dtype == torch.float16

    def __call__(self) -> AbstractContextManager[Any]:
        """Return the context of one batch."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def autocast_for(precision: str, device: torch.device) -> Autocast:
    """Return the context of the forward pass; float32, with a warning, where the device cannot do what was asked.

    Parameters
    ----------
    precision : {"fp32", "bf16", "fp16"}
    device : torch.device

    Raises
    ------
    ValueError
        If there is no such precision.
    """
    check_choice("precision", precision, ("fp32", "bf16", "fp16"))
    if precision == "fp32":
        return Autocast(device, None)
    if precision == "fp16":
        if device.type != "cpu":
            return Autocast(device, torch.float16)
        bf16 = bfloat16_on(device)
        advice = ' precision="bf16" works on it.' if bf16.works and bf16.slowdown < SLOW else ""
        warn_once(f"this device ({device}) does not do fp16 arithmetic well, so fp32 is used.{advice}")
        return Autocast(device, None)
    bf16 = bfloat16_on(device)
    if not bf16.works:
        advice = ' precision="fp16" may work on it.' if device.type == "cuda" else ""
        warn_once(f"this device ({device}) cannot do bf16 arithmetic ({bf16.lacks}), so fp32 is used.{advice}")
        return Autocast(device, None)
    if bf16.slowdown >= SLOW:
        warn_once(
            f"this device ({device}) has no bf16 instructions of its own: a matrix product takes {bf16.slowdown:.1f} times as "
            'long as in fp32. It is used, as asked; precision="fp32" is faster here.'
        )
    return Autocast(device, torch.bfloat16)


@dataclass(frozen=True)
class BFloat16:
    """How a device does bfloat16.

    Attributes
    ----------
    works : bool
        Whether layers of every kind run in it.
    lacks : str
        What does not, in words; empty where it works.
    slowdown : float
        Time of a matrix product as a multiple of float32's; 1 where that was not measured.
    """

    works: bool
    lacks: str = ""
    slowdown: float = 1.0


@cache
def bfloat16_on(device: torch.device) -> BFloat16:
    """Find out how a device does bfloat16, by doing it; takes milliseconds, once per process.

    No random number is drawn.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return BFloat16(False, "it has no instructions for it")
    for name, kernel in _KERNELS.items():
        try:
            with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
                kernel(device).sum().backward()
        except torch.OutOfMemoryError:  # says nothing about the kernel
            raise
        except RuntimeError as exc:  # NotImplementedError among them
            return BFloat16(False, f"{name} fails: {str(exc).splitlines()[0].split('. ')[0]}")
    return BFloat16(True, slowdown=_slowdown() if device.type == "cpu" else 1.0)


def _lstm(device: torch.device) -> torch.Tensor:
    shapes = (32, 8), (32, 8), (32,), (32,)
    weights = [torch.zeros(shape, device=device, requires_grad=True) for shape in shapes]
    state = torch.zeros(1, 2, 8, device=device), torch.zeros(1, 2, 8, device=device)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    return torch.lstm(torch.zeros(3, 2, 8, device=device), state, weights, True, 1, 0.0, True, False, False)[0]


def _conv(device: torch.device) -> torch.Tensor:
    kernel = torch.zeros(4, 3, 3, 3, device=device, requires_grad=True)
    return F.conv2d(torch.zeros(2, 3, 8, 8, device=device), kernel)


def _linear(device: torch.device) -> torch.Tensor:
    return F.linear(torch.zeros(2, 8, device=device), torch.zeros(4, 8, device=device, requires_grad=True))


_KERNELS = {"a matrix product": _linear, "a convolution": _conv, "an LSTM": _lstm}


def _slowdown(n: int = 256, rounds: int = 5) -> float:
    """Time a matrix product in bfloat16 and in float32; the shortest of a few rounds each, as others use the machine."""
    with torch.inference_mode():
        full = torch.ones(n, n)
        half = full.bfloat16()
        best = {}
        for name, x in (("full", full), ("half", half)):
            x @ x
            seconds = []
            for _ in range(rounds):
                started = time.perf_counter()
                x @ x
                seconds.append(time.perf_counter() - started)
            best[name] = min(seconds)
    return best["half"] / best["full"]
