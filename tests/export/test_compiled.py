"""A package that AOTInductor compiled, opened by PyTorch and by the program of `examples/cpp`, predicts as the learner does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples.cpp import compiled
from learnkit import Learner
from learnkit.vision import ConvLearner
from tests.export.kinds import pictures, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs Linux and g++"),
]


def small_pictures(folder: Path) -> Learner:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return ConvLearner.from_model_data(model, pictures(folder).data)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled.build(tmp_path_factory.mktemp("cpp") / "scores")


@pytest.mark.parametrize("make", [table, small_pictures])
def test_in_c_plus_plus_and_in_pytorch_it_predicts_the_same(
    tmp_path: Path, program: Path, make: Callable[[Path], Learner]
) -> None:
    learn = make(tmp_path)
    learn.no_progress()
    learn.fit(1e-2, 1)
    file = learn.to_exported(tmp_path / "m", aot=True)
    _, xs, axes, _, as_predict = learn._as_program(None)
    package = torch._inductor.aoti_load_package(str(file))
    for some in (tuple(x[:1] for x in xs), xs):
        expected = as_predict(some)
        np.testing.assert_allclose(package(*some).numpy(), expected, rtol=1e-5, atol=1e-5)
        found = np.array(compiled.scores(program, file, some)).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    described = json.loads(subprocess.run([program, file], check=True, capture_output=True, text=True).stdout)
    assert described["classes"] == learn.data.classes
    assert described["inputs"] == list(axes)
    assert described == json.loads(package.get_metadata()["learnkit"])


def test_the_program_says_what_it_expected(tmp_path: Path, program: Path) -> None:
    row = tmp_path / "row.txt"
    row.write_text("1 2 3")
    for argument, words in {
        f"float32:1x2:{row}": "holds 3 numbers; the shape needs 2",
        f"int8:1x3:{row}": "TYPE is float32 or int64; got int8",
        "row.txt": "an input is TYPE:SHAPE:FILE",
        f"float32:1x3:{tmp_path / 'none'}": "cannot be opened",
    }.items():
        done = subprocess.run([program, tmp_path / "m.pt2", argument], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert words in done.stderr
