"""kill -9 at random moments of three trainings: each is resumed to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("LEARNKIT_FAULTS", "1"))
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", ["picture", "table", "language"])
def test_killed_trainings_resume_to_the_same_bits(scenario: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.killing", scenario, str(2 * KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.stdout, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    print(outcome)
    assert outcome["identical"] == outcome["kills"] == 2 * KILLS, done.stderr
