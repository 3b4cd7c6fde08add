"""What the picture tests share: real digits in folders, and no progress bars."""

from pathlib import Path

import pytest

from learnkit.datasets import mnist_folders


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "0")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 real digits as `train/<digit>/*.png` (400) and `valid/<digit>/*.png` (100)."""
    return mnist_folders(tmp_path_factory.mktemp("digits"), n=500)
