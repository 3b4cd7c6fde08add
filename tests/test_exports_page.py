"""The page on the formats of other programs, run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import seed_everything

PAGE = Path(__file__).parents[1] / "docs/exports.md"


def test_what_the_page_opens_predicts_as_the_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seed_everything(0)
    names: dict[str, Any] = {"__name__": "exports"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    assert names["classes"] == ["less", "more"]
    rows = torch.tensor([[1.0, 2.0, 0.0, 1.0], [-1.0, -1.0, 0.0, 0.0]])
    expected = names["learn"].model.eval()(rows).softmax(1)
    np.testing.assert_allclose(names["probabilities"].detach(), expected.detach(), atol=1e-6)
    assert names["file"].name == "sums.pt2"


def test_the_c_plus_plus_on_the_page_is_what_the_example_calls() -> None:
    example = (PAGE.parents[1] / "examples/cpp/scores.cpp").read_text()
    for call in ("torch::inductor::AOTIModelPackageLoader model(", "model.run(", 'model.get_metadata()["learnkit"]'):
        assert call in PAGE.read_text()
        assert call in example
