"""Train, be killed with SIGKILL at a random moment, resume, compare: `python -m tests.faults.killing picture 50`.

One process imports everything and forks the trainings, so that a process that is killed costs no start of Python. What
is killed is a real process with a real `kill -9`: in the middle of a step, of a loading process, of writing a checkpoint.
Prints what happened as JSON, and ends with 1 unless every resumed training ended in the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["LEARNKIT_PROGRESS"] = "0"
os.environ["LEARNKIT_DEVICE"] = "cpu"

import numpy as np
import pandas as pd
import torch
from torch import nn

from learnkit import CheckpointError, CutMix, Learner, MixUp, SaveBest, WeightAverage, seed_everything
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, LanguageModelData, seq2seq_reg
from learnkit.train.resume import latest_checkpoint
from learnkit.vision import ConvLearner, Cutout, ImageClassifierData, RandomFlip, RandomRotate, tfms_from_stats

LICENSE = Path(__file__).parents[2] / "LICENSE"


def picture(path: Path) -> Learner:
    """Real digits, augmented in two loading processes, blended in two ways, averaged weights, the best ones saved."""
    from sklearn.datasets import load_digits

    pixels, y = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8)[:240]
    y = y[:240]
    tfms = tfms_from_stats(([0.3] * 3, [0.4] * 3), 10, aug_tfms=[RandomFlip(), RandomRotate(10), Cutout(1, 2)], pad=1)
    data = ImageClassifierData.from_arrays(
        path, (pixels[:200], y[:200]), (pixels[200:], y[200:]), 10, tfms, num_workers=2
    )
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    learn = ConvLearner.from_model_data(nn.Sequential(*body, nn.Dropout(0.2), nn.Linear(32, 10)), data)
    learn.callbacks = [MixUp(0.2), CutMix(), WeightAverage(0.95), SaveBest(path / "best")]
    return learn


def table(path: Path) -> Learner:
    """Real measurements of wines with two columns made categories; embeddings, dropout, batch norm."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    for name in ("alcohol", "hue"):
        frame[name] = pd.qcut(frame[name], 6).astype(str)
    train_cats(frame, ["alcohol", "hue"])
    df, y, _, _ = proc_df(frame, "target")
    assert y is not None
    data = ColumnarModelData.from_data_frame(path, range(0, len(df), 5), df, y, bs=8, is_reg=False)
    learn = data.get_learner(szs=[30, 20], drops=0.2, emb_drop=0.1, use_bn=True)
    learn.clip = 0.5
    return learn


def language(path: Path) -> Learner:
    """The text of the licence as one stream, in windows of varying length: a state is carried from batch to batch."""
    frame = pd.DataFrame({"text": LICENSE.read_text().splitlines()})
    field = Field(tokenize=str.split)
    data = LanguageModelData.from_dataframes(path, field, "text", frame, frame[:40], bs=4, bptt=9, n_workers=1)
    learn = data.get_model(None, 12, 16, 2)
    learn.reg_fn = lambda pred, extra, loss: seq2seq_reg(pred, extra, loss, alpha=2, beta=1)
    learn.clip = 0.3
    return learn


Fit = Callable[..., Any]
SCENARIOS: dict[str, tuple[Callable[[Path], Learner], Fit]] = {
    "picture": (picture, lambda learn, **kw: learn.fit_one_cycle(3, 1e-2, **kw)),
    "table": (table, lambda learn, **kw: learn.fit(1e-2, 3, cycle_len=1, cycle_mult=2, wds=0.1, **kw)),
    "language": (language, lambda learn, **kw: learn.fit(5e-3, 2, wds=1e-6, cycle_len=1, cycle_mult=2, **kw)),
}


def digest_of(learn: Learner) -> str:
    """Return a digest of weights, record and the state of the random generators."""
    found = hashlib.sha256()
    for name, tensor in learn.model.state_dict().items():
        found.update(name.encode() + tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    rows = [{k: v for k, v in row.items() if k != "time"} for row in learn.sched.epochs]
    found.update(json.dumps([rows, learn.sched.losses, learn.sched.lrs]).encode())
    found.update(torch.get_rng_state().numpy().tobytes())
    return found.hexdigest()


def train(name: str, folder: Path, every: int, *, resume: bool) -> str:
    """Train in this process, with or without a checkpoint to go on from."""
    make, fit = SCENARIOS[name]
    seed_everything(7)
    learn = make(folder)
    learn.no_progress()
    where = folder / "checkpoints"
    if resume and latest_checkpoint(where) is not None:
        seed_everything(int.from_bytes(os.urandom(4), "big"))  # nothing may depend on how the process began
        learn.resume(where)
    else:
        seed_everything(8)
        fit(learn, checkpoint=where, every=every)
    return digest_of(learn)


def forked(name: str, folder: Path, every: int, *, resume: bool, kill_after: float | None = None) -> str | None:
    """Train in a process of its own, which is killed after some seconds; `None` if it was."""
    result = folder / "result"
    pid = os.fork()
    if not pid:
        os.setsid()
        code = 1
        try:
            warnings.simplefilter("ignore" if resume else "error")
            result.write_text(train(name, folder, every, resume=resume))
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # its loading processes, which would end by themselves a little later
    if os.WIFSIGNALED(status):
        return None
    if status:
        raise RuntimeError(f"the training {name} failed")
    return result.read_text()


def run(name: str, n: int, seed: int = 0) -> dict[str, Any]:
    """Kill `n` trainings, resume each and compare."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    report: dict[str, Any] = {
        "scenario": name,
        "kills": 0,
        "identical": 0,
        "before_first_checkpoint": 0,
        "twice": 0,
        "at": [],
    }
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base, "whole")
        whole.mkdir()
        started = time.monotonic()
        expected = forked(name, whole, 5, resume=False)
        seconds = time.monotonic() - started
        i = 0
        while report["kills"] < n:
            i += 1
            folder = Path(base, str(i))
            folder.mkdir()
            every = rng.choice([1, 2, 7, 40])
            if forked(name, folder, every, resume=False, kill_after=rng.uniform(0.02, seconds)) is not None:
                continue  # it was faster this time, and ended before it was killed
            report["kills"] += 1
            newest = latest_checkpoint(folder / "checkpoints")
            if newest is None:
                report["before_first_checkpoint"] += 1
            else:
                report["at"].append(_position(newest))
            if rng.random() < 0.3:  # the process that goes on is killed too
                killed = forked(name, folder, every, resume=True, kill_after=rng.uniform(0.02, seconds / 2)) is None
                report["twice"] += killed
            found = forked(name, folder, every, resume=True)
            report["identical"] += found == expected
    return report


def _position(file: Path) -> str:
    from learnkit.store.archive import read_archive

    try:
        state = read_archive(file, "checkpoint").state
    except CheckpointError:
        return "damaged"
    return f"{state['epoch']}:{state['batch']}"


if __name__ == "__main__":
    outcome = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    print(json.dumps(outcome))
    sys.exit(outcome["identical"] != outcome["kills"])
