"""The benchmarks run, at sizes that say nothing of speed, and report what they say they do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import growth, run
from benchmarks.timing import Case, interleave, machine
from learnkit.core.precision import BFloat16

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A case sets the threads that it is measured with; the tests after it want their own."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def script(*args: str) -> str:
    done = subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, cwd=ROOT, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


def toy(**targets: float) -> Case:
    """Learnkit costs 2, 3, 4, bare twice that, fastai is not installed."""
    costs = {"learnkit": iter([9, 2, 3, 4]), "bare": iter([9, 4, 6, 8])}
    contestants = {name: lambda values=values: float(next(values)) for name, values in costs.items()}
    return Case("toy", "work", "ms", lambda: {**contestants, "fastai v2": None}, 3, targets)


def test_contestants_take_turns_in_alternating_order_after_a_warm_up() -> None:
    calls: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        def figure() -> float:
            calls.append(name)
            return float(len(calls))

        return figure

    figures = interleave({"a": contestant("a"), "b": contestant("b")}, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert figures == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


@pytest.mark.parametrize(("target", "met"), [(0.6, True), (0.4, False)])
def test_a_case_gives_medians_ratios_and_whether_its_target_is_met(target: float, met: bool) -> None:
    result = run.measure(toy(bare=target), None)
    assert (result["medians"], result["ratios"]) == ({"learnkit": 3, "bare": 6}, {"bare": 0.5})
    assert result["met"] == {"bare": met}
    lines = run.table([json.loads(json.dumps(result))]).splitlines()
    row = next(line for line in lines if line.startswith("| toy"))
    assert row.endswith("| a |")
    assert lines[-1] == f"- a: {machine()}"
    assert row.startswith("| toy | work | 3 ms | 6 ms |  | 0.50 (")
    assert ("met: at most" in row) is met


def test_every_case_has_a_name_of_its_own_and_learnkit_among_its_targets_never() -> None:
    cases = run.cases()
    assert len({case.name for case in cases}) == len(cases) >= 17
    assert all(set(case.targets) <= {"bare", "fastai v2"} for case in cases)


def test_a_case_runs_and_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    (case,) = (case for case in run.cases() if case.name == "loop perceptron")
    (tmp_path / "growth.json").write_text("{}")  # other scripts write there, too
    run.run_case(case, 1)
    (saved,) = run.saved()
    assert saved["case"] == "loop perceptron"
    assert saved["ratios"]["bare"] > 0


def test_figures_of_two_machines_do_not_stand_under_one_name() -> None:
    results = [run.measure(toy(), None), run.measure(toy(), None) | {"machine": "another"}]
    lines = run.table(results).splitlines()
    assert [line[-3] for line in lines if line.startswith("| toy")] == ["a", "b"]
    assert lines[-2:] == [f"- a: {machine()}", "- b: another"]


def test_a_case_that_fails_is_a_row_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'RuntimeError: no | primitive' >&2; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    (case,) = (case for case in run.cases() if case.name == "loop perceptron")
    run.run_in_a_process(case, 1)
    (saved,) = run.saved()
    assert saved["failed"] == "RuntimeError: no / primitive"
    assert "| loop perceptron | " in run.table([saved])
    assert "not measured: RuntimeError: no / primitive" in run.table([saved])


def test_a_case_about_bf16_is_not_measured_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "bfloat16_on", lambda device: BFloat16(False, "an LSTM fails"))
    about = [case for case in run.cases() if case.bf16]
    assert [case.name for case in about] == [case.name for case in run.cases() if "bf16" in case.name]
    for case in about:
        run.run_in_a_process(case, 1)
    assert [result["failed"] for result in run.saved()] == ["this machine cannot do bf16 (an LSTM fails)"] * len(about)


def test_what_grows_is_measured_in_a_process_of_its_own() -> None:
    seconds, megabytes = growth.point("rows", 2000)
    assert seconds > 0
    assert megabytes >= 0


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_a_cpu_at_small_sizes() -> None:
    printed = script("benchmarks.gpu", "--small", "--rounds", "1", "--device", "cpu")
    for part in ("ResNet", "bare", "learnkit"):
        assert part.lower() in printed.lower(), printed
