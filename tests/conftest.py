"""What every test starts from: one thread, the CPU, no window to draw in, the same random numbers."""

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("LEARNKIT_DEVICE", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings

from learnkit import seed_everything
from learnkit.core.errors import say_once, warn_once

torch.set_num_threads(1)  # the tests are tiny: a second thread only adds switching

# Another seed for every test: what is said of a trained result must hold with any (`LEARNKIT_TEST_SEED=1 make test`).
SEED = int(os.environ.get("LEARNKIT_TEST_SEED", "0"))

# Without a seed the drawn examples are the same in every run, with one they are new.
settings.register_profile("learnkit", derandomize="LEARNKIT_TEST_SEED" not in os.environ, database=None, deadline=None)
settings.load_profile("learnkit")


@pytest.fixture(autouse=True)
def _clean_start() -> Iterator[None]:
    """Seed every random generator before a test, and close its figures after it; nothing was said before."""
    seed_everything(SEED)
    warn_once.cache_clear()
    say_once.cache_clear()
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
