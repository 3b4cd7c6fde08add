"""A disk that fills up in the middle of a write: what was there before is still there, whole, and the training goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 6 * int(os.environ.get("LEARNKIT_FAULTS", "1"))
ROOT = Path(__file__).parents[2]

# In a process of its own, as a limit on the size of files holds for all of a process. SIGXFSZ is ignored, so that the
# write itself fails after as many bytes as still fit, with an error of the operating system.
LIMITED = """
import json, random, resource, signal, sys, warnings
from pathlib import Path
import torch
from learnkit import CheckpointError, Learner, load_learner, load_model
from learnkit.store.archive import digest
from tests.train.helpers import N_IN, learner, net
torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, n, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
old, new = learner(folder, net(seed=1)), learner(folder, net(seed=2))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
def full_after(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
def of(model):
    return digest(dict(model.state_dict()))
outcomes = []
for i in range(n):
    weights, exported = old.save("w"), old.export(folder / "e")
    size = exported.stat().st_size
    full_after(rng.randrange(min(size, weights.stat().st_size)))
    failed = 0
    for write in (lambda: new.save("w"), lambda: new.export(folder / "e")):
        try:
            write()
        except CheckpointError as exc:
            assert "untouched" in str(exc), exc
            failed += 1
    full_after(soft)
    again = net(seed=3)
    load_model(again, weights)
    kept = load_learner(exported, model=net(seed=4))
    left = [p.name for p in folder.rglob(".*")]
    outcomes.append([failed, of(again) == of(old.model), of(kept.model) == of(old.model), left])
print(json.dumps(outcomes))
"""

SMALL = """
import json, os, sys, warnings
from pathlib import Path
import torch
from learnkit import seed_everything
from learnkit.train.resume import latest_checkpoint
from tests.train.helpers import learner, net
from learnkit.store.archive import digest
torch.set_num_threads(1)
small, folder = Path(sys.argv[1]), Path(sys.argv[2])
seed_everything(1)
whole = learner(folder, net(seed=1)); seed_everything(2); whole.fit(1e-2, 6)
learn = learner(folder, net(seed=1)); seed_everything(2)
filler = small / "filler"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from learnkit import Callback
    class Fill(Callback):
        def before_batch(self, run):
            if run.training and run.epoch == 2 and run.batch == 1:
                file = os.open(filler, os.O_CREAT | os.O_WRONLY)
                try:
                    while True:
                        os.write(file, bytes(512))
                except OSError as exc:
                    assert exc.errno == 28, exc
                os.close(file)
        def after_batch(self, run):
            if run.epoch == 5 and run.batch == 0 and run.training:
                raise KeyboardInterrupt
        def state_dict(self):
            return {}
    try:
        learn.fit(1e-2, 6, callbacks=[Fill()], checkpoint=small / "c", every=2)
    except KeyboardInterrupt:
        pass
said = [str(w.message) for w in caught]
filler.unlink()
class Same(Callback):
    pass
Same.__name__ = "Fill"
again = learner(folder, net(seed=5)); again.resume(small / "c", callbacks=[Same()])
print(json.dumps([len(said), said[0], digest(dict(again.model.state_dict())) == digest(dict(whole.model.state_dict()))]))
"""


def run(code: str, *arguments: object) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "LEARNKIT_PROGRESS": "0", "LEARNKIT_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_saving_and_exporting_onto_a_full_disk_leave_the_file_before(tmp_path: Path) -> None:
    import json

    outcomes = json.loads(run(LIMITED, tmp_path, ROUNDS, random.Random(0).randrange(10**6)))
    assert len(outcomes) == ROUNDS
    assert outcomes == [[2, True, True, []]] * ROUNDS


def test_training_goes_on_when_the_disk_of_its_checkpoints_is_full(tmp_path: Path) -> None:
    """On a real small file system, where the machine allows one."""
    import json

    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        n, said, same = json.loads(run(SMALL, small, tmp_path))
    finally:
        subprocess.run(["umount", small], check=True)
    assert n > 2
    assert "could not be written ([Errno 28] No space left on device); the one before is still there" in said.replace(
        "'", ""
    )
    assert same
