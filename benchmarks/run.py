"""Every benchmark of speed, one table: learnkit, a bare PyTorch loop, fastai v2.

    python -m benchmarks.run                all of them
    python -m benchmarks.run tabular text   those whose name begins so
    python -m benchmarks.run --list

Each case does the same work by all contestants, in turn, in one process of its own, after a warm-up; a figure is
what the work cost (time or memory), so smaller is better. A ratio is the median over the rounds. Medians, spread and ratios
go to `benchmarks/results/<case>.json` and the table to `benchmarks/results/README.md`, each row with its machine. A case
that fails, or that this machine cannot do, is a row that says so. fastai (the extra `bench`) is left out with a note where
it is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Case, have_fastai, interleave, machine
from learnkit.core.precision import bfloat16_on

RESULTS = Path(__file__).parent / "results"
MODULES = ("loop", "images", "tabular", "collab", "text", "small")


def cases() -> list[Case]:
    """Return the cases of every benchmark module."""
    return [case for name in MODULES for case in importlib.import_module(f"benchmarks.{name}").CASES]


def measure(case: Case, rounds: int | None) -> dict[str, Any]:
    """Run a case and return what there is to say of it, as JSON can hold it."""
    torch.set_num_threads(case.threads)
    contestants = {name: run for name, run in case.make().items() if run is not None}
    figures = interleave(contestants, rounds or case.rounds)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    # Of each round, then the median: what slows a machine for a while slows all contestants of a round.
    ratios = {
        name: statistics.median(ours / theirs for ours, theirs in zip(figures["learnkit"], values, strict=True))
        for name, values in figures.items()
        if name != "learnkit" and all(values)
    }
    return _head(case) | {
        "rounds": rounds or case.rounds,
        "figures": figures,
        "medians": medians,
        "ratios": ratios,
        "targets": case.targets,
        "met": {name: ratios[name] <= wanted for name, wanted in case.targets.items() if name in ratios},
    }


def failure(case: Case, why: str) -> dict[str, Any]:
    """Return what there is to say of a case that was not measured."""
    return _head(case) | {"failed": why}


def _head(case: Case) -> dict[str, Any]:
    return {
        "case": case.name,
        "work": case.work,
        "unit": case.unit,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return results as a Markdown table, each row with the letter of its machine, and the machines below it."""
    lines = [
        "| case | work | learnkit | bare PyTorch | fastai v2 | learnkit / bare | learnkit / fastai | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    letters: dict[str, str] = {}
    for result in results:
        letter = letters.setdefault(result["machine"], string.ascii_lowercase[len(letters)])
        cells = [result["case"], result["work"]]
        if "failed" in result:
            lines.append("| " + " | ".join([*cells, f"not measured: {result['failed']}", *[""] * 4, letter]) + " |")
            continue
        for name in ("learnkit", "bare", "fastai v2"):
            values = result["figures"].get(name)
            cells.append("" if values is None else f"{_short(statistics.median(values))} {result['unit']}")
        for name in ("bare", "fastai v2"):
            ratio, wanted = result["ratios"].get(name), result["targets"].get(name)
            if ratio is None:
                cells.append("")
            elif wanted is None:
                cells.append(f"{ratio:.2f}")
            else:
                cells.append(f"{ratio:.2f} ({'met' if ratio <= wanted else '**missed**'}: at most {wanted:.2f})")
        lines.append("| " + " | ".join([*cells, letter]) + " |")
    return "\n".join([*lines, "", *(f"- {letter}: {name}" for name, letter in letters.items())])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def saved() -> list[dict[str, Any]]:
    """Return the results on disk, in the order of the cases."""
    order = {case.name: i for i, case in enumerate(cases())}
    found = [json.loads(file.read_text()) for file in RESULTS.glob("*.json")]
    return sorted((r for r in found if r.get("case") in order), key=lambda result: order[result["case"]])


def write(result: dict[str, Any]) -> None:
    """Write a result to the file of its case."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result['case'].replace(' ', '_')}.json").write_text(json.dumps(result, indent=1) + "\n")


def run_in_a_process(case: Case, rounds: int | None) -> None:
    """Measure a case in a process of its own; what it cannot do, or fails at, is its result."""
    if case.bf16 and not (found := bfloat16_on(torch.device("cpu"))).works:
        write(failure(case, f"this machine cannot do bf16 ({found.lacks})"))
        print(f"{case.name}: this machine cannot do bf16", flush=True)
        return
    options = [] if rounds is None else ["--rounds", str(rounds)]
    command = [sys.executable, "-m", "benchmarks.run", "--case", case.name, *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        why = said[-1].strip() if said else f"the process ended with {done.returncode}"
        write(failure(case, why.replace("|", "/")))
        print(f"{case.name}: failed", flush=True)


def run_case(case: Case, rounds: int | None) -> None:
    """Measure one case, write down its result and print its medians."""
    started = time.perf_counter()
    result = measure(case, rounds)
    write(result)
    shown = ", ".join(f"{name} {_short(value)}" for name, value in result["medians"].items())
    print(f"{case.name}: {shown} {case.unit} ({time.perf_counter() - started:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--case", help="this one, in this process: what the runner starts for each")
    args = parser.parse_args()
    if args.case is not None:
        run_case(next(case for case in cases() if case.name == args.case), args.rounds)
        return
    chosen = [case for case in cases() if not args.names or case.name.startswith(tuple(args.names))]
    if args.list or not chosen:
        print("\n".join(f"{case.name:24s} {case.work}" for case in cases()))
        return
    if not have_fastai():
        print('fastai v2 is not installed (pip install "learnkit[bench]"), so it is left out.')
    for case in chosen:
        run_in_a_process(case, args.rounds)
    text = f"# What it costs\n\n`python -m benchmarks.run`\n\n{table(saved())}\n"
    (RESULTS / "README.md").write_text(text)
    print(f"\n{table(saved())}")


if __name__ == "__main__":
    main()
