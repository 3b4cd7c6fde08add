"""The page on putting a model to work, run from top to bottom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnkit import seed_everything

PAGE = Path(__file__).parents[1] / "docs/serving.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the code of the page in a folder of its own, and return what it defined."""
    names: dict[str, Any] = {"__name__": "serving"}
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("serving"))
    try:
        seed_everything(0)
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    finally:
        patch.undo()
    return names


def test_the_runtime_answers_as_the_learner(page: dict[str, Any]) -> None:
    learn, rows = page["learn"], page["rows"]
    np.testing.assert_allclose(page["probabilities"], np.exp(learn.predict_raw(rows)), atol=1e-5)
    assert page["labels"] == learn.predict_raw(rows, decode=True)
    assert [answer["label"] for answer in page["answers"]] == page["labels"]
    assert page["probabilities"].shape == (2, 2)


def test_the_request_on_the_page_holds_rows_of_the_model(page: dict[str, Any]) -> None:
    found = re.search(r"-d '(.*)'", PAGE.read_text())
    assert found is not None
    for instance in json.loads(found[1])["instances"]:
        assert page["model"].instance(instance) == instance
