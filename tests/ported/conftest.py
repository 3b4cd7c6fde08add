"""Data that the moved scripts share, read once."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learnkit.datasets import mnist_arrays


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "0")


@pytest.fixture(scope="session")
def mnist() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """2,000 digits to train on and 500 to test, pixels in 0..1."""
    pictures, labels = mnist_arrays()
    order = np.random.default_rng(0).permutation(len(pictures))
    x, y = (pictures[order] / 255).astype(np.float32), labels[order]
    return x[:2000], y[:2000], x[2000:2500], y[2000:2500]
