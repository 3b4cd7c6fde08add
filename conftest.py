"""The examples of docstrings run in a folder of their own, quietly and from one seed."""

from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem


@pytest.fixture(autouse=True)
def _examples_leave_nothing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    if isinstance(request.node, DoctestItem):
        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        folder: Path = tmp_path_factory.mktemp("example")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("LEARNKIT_PROGRESS", "0")
        import torch

        torch.manual_seed(0)
