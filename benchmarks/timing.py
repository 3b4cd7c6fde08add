"""Interleaved timing: every contestant in turn, several rounds, medians and differences."""

from __future__ import annotations

import importlib.util
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from learnkit.core.precision import bfloat16_on

Contestants = Mapping[str, Callable[[], float] | None]
"""What is compared, each returning what its work cost; `None` where it is not installed."""


@dataclass(frozen=True)
class Case:
    """The same work by several contestants: "learnkit" and, where it makes sense, "bare" and "fastai v2".

    Attributes
    ----------
    name : str
    work : str
        What is done, in a few words.
    unit : str
        Of the figures; smaller is better.
    make : callable
        Prepares the contestants.
    rounds : int
    targets : dict of str to float
        Contestant -> what learnkit may cost at most, as a share of it.
    threads : int
        Of torch, for every contestant.
    bf16 : bool
        Whether it is about bfloat16, so that it says nothing where there is none.
    """

    name: str
    work: str
    unit: str
    make: Callable[[], Contestants]
    rounds: int = 5
    targets: Mapping[str, float] = field(default_factory=dict)
    threads: int = 2
    bf16: bool = False


def memory(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: this part needs Linux.")


def have_fastai() -> bool:
    """Whether fastai v2 is installed."""
    return importlib.util.find_spec("fastai") is not None


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each contestant once to warm up, then `rounds` times in turn, in alternating order.

    A contestant returns its own figure: what it times is its own business.
    """
    names = list(contestants)
    for name in names:
        contestants[name]()
    figures: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            figures[name].append(contestants[name]())
    return figures


def table(figures: dict[str, list[float]], baseline: str, unit: str) -> str:
    """Return a Markdown table: median, spread, ratio to the baseline and difference from it."""
    base = statistics.median(figures[baseline])
    lines = [f"| | median {unit} | min to max | ratio | over {baseline} |", "|---|---|---|---|---|"]
    for name, values in figures.items():
        median = statistics.median(values)
        spread = f"{min(values):.1f} to {max(values):.1f}"
        lines.append(f"| {name} | {median:.1f} | {spread} | {median / base:.3f} | {median - base:+.1f} |")
    return "\n".join(lines)


def machine() -> str:
    """Describe where this runs, in a line: the processor and what PyTorch makes of it, threads, versions."""
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    bf16 = "with" if bfloat16_on(torch.device("cpu")).works else "without"
    return (
        f"{_processor()} ({torch.backends.cpu.get_cpu_capability()}, {bf16} bf16){device}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
