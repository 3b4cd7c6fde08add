"""What every test starts from: one thread, the CPU, no window to draw in, the same random numbers."""

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("LEARNKIT_DEVICE", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

from learnkit import seed_everything
from learnkit.core.errors import warn_once

torch.set_num_threads(1)  # the tests are tiny: a second thread only adds switching


@pytest.fixture(autouse=True)
def _clean_start() -> Iterator[None]:
    """Seed every random generator before a test, and close its figures after it; nothing was said before."""
    seed_everything(0)
    warn_once.cache_clear()
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
