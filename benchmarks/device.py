"""What must hold on any device, seen on this one: the same bits after a break, no waiting in a step, files for any other.

    python -m benchmarks.device                  on the device learners take by default
    python -m benchmarks.device --device cpu

Everything is generated; half a minute. It ends with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.timing import machine
from learnkit import (
    Callback,
    Category,
    DataBunch,
    Learner,
    NonFiniteError,
    OutOfMemoryError,
    Run,
    TensorLoader,
    TrainingError,
    WeightAverage,
    default_device,
    load_learner,
    seed_everything,
)
from learnkit.collab import CollabFilterDataset
from learnkit.core.preserve import random_state
from learnkit.store.archive import pack
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats, transforms_side_on

N, N_IN, N_CLASSES = 400, 12, 3


class DoesNotHold(Exception):
    """What was promised and seen to be otherwise."""


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAt(Callback):
    """Ends the fit in the middle of a training batch."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def before_step(self, run: Run) -> None:
        """Count down."""
        if self.left == 0:
            raise Killed
        self.left -= 1

    def state_dict(self) -> dict[str, Any]:
        """Leave the count out of the checkpoint."""
        return {}


class NoWaiting(Callback):
    """Makes anything that waits for the device an error, from the second epoch's third batch to its last."""

    def before_batch(self, run: Run) -> None:
        """Begin where the first look at the data is over."""
        if run.training and run.epoch == 1 and run.batch == 2:
            torch.cuda.set_sync_debug_mode("error")

    def after_batch(self, run: Run) -> None:
        """End before what is shown of the epoch is read."""
        if run.training and run.batch + 1 == run.n_batches:
            torch.cuda.set_sync_debug_mode("default")

    def cleanup_fit(self, run: Run) -> None:
        """End after an error, too."""
        torch.cuda.set_sync_debug_mode("default")


def items() -> tuple[Tensor, Tensor]:
    """Rows of numbers and classes that a linear model can tell apart."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, N_IN, generator=g)
    return x, (x @ torch.randn(N_IN, N_CLASSES, generator=g)).argmax(1)


def learner(folder: Path, device: torch.device, **options: Any) -> Learner:
    """Make a small network with dropout and batch norm, which draws random numbers on the device."""
    x, y = items()
    data = DataBunch(
        folder,
        TensorLoader((x[:320],), y[:320], 32, shuffle=True),
        TensorLoader((x[320:],), y[320:], 80),
        target=Category(list("abc")),
    )
    model = nn.Sequential(nn.Linear(N_IN, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, N_CLASSES))
    learn = Learner(data, model, device=device, metrics="accuracy", **options)
    learn.no_progress()
    return learn


def same(a: nn.Module, b: nn.Module, what: str) -> None:
    """Compare two models bit for bit."""
    theirs = b.state_dict()
    differ = [name for name, value in a.state_dict().items() if not torch.equal(value, theirs[name])]
    if differ:
        raise DoesNotHold(f"{what}: {', '.join(differ)} differ")


def resumed(device: torch.device, folder: Path, callbacks: Callable[[], list[Callback]] = list, **options: Any) -> str:
    """A fit that was interrupted in a batch and resumed ends as one that was not."""

    def fit(learn: Learner, **more: Any) -> dict[str, float]:
        learn.callbacks = callbacks()
        return learn.fit(0.01, 2, cycle_len=2, **more)

    seed_everything(3)
    whole = learner(folder / "whole", device, **options)
    results, after = fit(whole), random_state()
    seed_everything(3)
    killed = learner(folder / "killed", device, **options)
    try:
        fit(killed, checkpoint=folder / "checkpoints", every=4, callbacks=[KillAt(15)])
        raise DoesNotHold("the fit was not interrupted")
    except Killed:
        seed_everything(99)  # nothing may depend on how the new process begins
    again = learner(folder / "killed", device, **options)
    again.callbacks = callbacks()
    found = again.resume(folder / "checkpoints", callbacks=[KillAt(10**6)])
    same(whole.model, again.model, "weights after resuming")
    tensors: list[dict[str, Tensor]] = [{}, {}]
    if pack(after, tensors[0]) != pack(random_state(), tensors[1]):
        raise DoesNotHold("random generators after resuming")
    if any(not torch.equal(value, tensors[1][name]) for name, value in tensors[0].items()):
        raise DoesNotHold("random generators after resuming")
    if {k: v for k, v in found.items() if k != "time"} != {k: v for k, v in results.items() if k != "time"}:
        raise DoesNotHold(f"figures after resuming: {found}, {results}")
    return f"accuracy {results['accuracy']:.3f}"


def repeated(device: torch.device, folder: Path) -> str:
    """The same seed gives the same weights."""
    models = []
    for _ in range(2):
        seed_everything(5)
        learn = learner(folder, device)
        learn.fit_one_cycle(2, 0.02)
        models.append(learn.model)
    same(models[0], models[1], "weights of the same seed")
    return ""


def no_trace(device: torch.device, folder: Path) -> str:
    """`lr_find`, `validate` and `predict` leave weights and random generators as they were."""
    models = []
    for looks in (False, True):
        seed_everything(5)
        learn = learner(folder, device)
        learn.fit(0.01, 1)
        if looks:
            learn.lr_find()
            learn.validate()
            learn.predict()
            learn.summary()
        learn.fit(0.01, 1)
        models.append(learn.model)
    same(models[0], models[1], "weights after a look")
    return ""


def no_waiting(device: torch.device, folder: Path, **options: Any) -> str:
    """No step waits for the device."""
    if device.type != "cuda":
        return "only CUDA can tell"
    learn = learner(folder, device, **options)
    learn.fit(0.01, 2, callbacks=[NoWaiting()])
    return ""


def weighted_classes(device: torch.device, folder: Path) -> str:
    """A loss made on the CPU, with a weight for each class, is used wherever the model is."""
    learn = learner(folder, device, crit=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])))
    learn.fit(0.01, 1)
    learn.validate()
    return ""


def bad_items(device: torch.device, folder: Path) -> str:
    """A class that there is none of, and an input that is no number, are said, and the learner can be used on."""
    x, y = items()
    nan, beyond = x.clone(), y.clone()
    nan[70, 3], beyond[70] = float("nan"), 7
    learn = learner(folder, device)
    good, before = learn.data, {name: value.clone() for name, value in learn.model.state_dict().items()}
    for inputs, targets, error, words in (
        (x, beyond, TrainingError, "holds class 7"),
        (nan, y, NonFiniteError, "loss of batch 2 in epoch 0"),
    ):
        learn.data = DataBunch(folder, TensorLoader(inputs, targets, 32), target=good.target)
        try:
            learn.fit(0.01, 1)
            raise DoesNotHold("it was trained on")
        except error as exc:
            if words not in str(exc):
                raise DoesNotHold(f"the message does not say {words!r}: {exc}") from exc
        if error is NonFiniteError and any(not torch.equal(v, learn.model.state_dict()[k]) for k, v in before.items()):
            raise DoesNotHold("the weights were not put back")
        learn.data = good
        learn.fit(0.01, 1)
        before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    return ""


def out_of_memory(device: torch.device, folder: Path) -> str:
    """A batch that does not fit is said, and the learner can be used on."""
    if device.type != "cuda":
        return "only where the device has a memory of its own"
    learn = learner(folder, device)
    learn.fit(0.01, 1)
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    width = torch.cuda.mem_get_info(device)[1] // 4 // 64  # 64 rows of this are all of the memory
    model, good = learn.model, learn.data

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 32:
                x = x + x.new_zeros(len(x), width).sum(1, keepdim=True)
            y: Tensor = self.inner(x)
            return y

    x, y = items()
    wide = Learner(DataBunch(folder, TensorLoader((x,), y, 128), target=good.target), Wide(), device=device)
    wide.no_progress()
    try:
        wide.fit(0.01, 1)
        raise DoesNotHold("a batch larger than the memory went through")
    except OutOfMemoryError as exc:
        said = str(exc)
    if "bs=64" not in said:
        raise DoesNotHold(f"the message gives no smaller batch: {said}")
    if torch.cuda.memory_allocated(device) > torch.cuda.mem_get_info(device)[1] // 4:
        raise DoesNotHold("the memory was not given back")
    if any(not torch.equal(value.to(device), model.state_dict()[name]) for name, value in before.items()):
        raise DoesNotHold("the weights changed")
    learn.fit(0.01, 1)
    return "said, and trained on"


def pictures(folder: Path) -> Learner:
    """Train a network of pictures, grey squares on noise."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 90, (120, 32, 32, 3), dtype=np.uint8)
    y = np.arange(120) % 2
    x[y == 1, 8:24, 8:24] += 120
    tfms = tfms_from_stats((np.full(3, 0.5), np.full(3, 0.5)), 32, transforms_side_on)
    data = ImageClassifierData.from_arrays(folder, (x[:80], y[:80]), (x[80:], y[80:]), 16, tfms, classes=["no", "yes"])
    learn = ConvLearner.pretrained("resnet18", data, weights=False)
    learn.unfreeze()
    return learn


def table(folder: Path) -> Learner:
    """Train a network of a table of one category and two numbers."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"shop": rng.choice(list("abcd"), 300), "size": rng.random(300), "age": rng.random(300)})
    frame["sales"] = frame["size"] * 3 + frame["shop"].map({"a": 0, "b": 1, "c": 2, "d": 3})
    train_cats(frame, ["shop"])
    df, y, _, mapper = proc_df(frame, "sales")
    data = ColumnarModelData.from_data_frame(
        folder, range(200, 300), df, np.float32(y), cat_flds=["shop"], bs=32, mapper=mapper
    )
    return data.get_learner()


def ratings(folder: Path) -> Learner:
    """Train a factorisation."""
    rng = np.random.default_rng(0)
    users, films = np.divmod(rng.permutation(20 * 30)[:500], 30)
    frame = pd.DataFrame({"user": users, "film": films, "stars": ((users + films) % 5 + 1).astype(np.float32)})
    data = CollabFilterDataset.from_data_frame(folder, frame, "user", "film", "stars")
    return data.get_learner(10, list(range(400, 500)), 64)


def texts(folder: Path) -> Learner:
    """Train a classifier of texts."""
    rng = np.random.default_rng(0)
    words = np.array(["a", "the", "film", "was", "very", "good", "bad", "and", "or", "not", "so"])
    lines = [" ".join(rng.choice(words, rng.integers(4, 12))) for _ in range(300)]
    frame = pd.DataFrame({"text": lines, "label": ["yes" if "good" in line.split() else "no" for line in lines]})
    field = Field(tokenize=list)
    data = TextData.from_dataframes(folder, field, "text", "label", frame[:200], frame[200:], bs=16)
    return data.get_model(None, 40, 20, emb_sz=16, n_hid=24, n_layers=1)


RAW: dict[Callable[[Path], Learner], Callable[[], Any]] = {
    pictures: lambda: [np.full((40, 50, 3), shade, dtype=np.uint8) for shade in (10, 100, 200)],
    table: lambda: pd.DataFrame({"shop": ["a", "d", "b"], "size": [0.1, 0.5, 0.9], "age": [0.5, 0.5, 0.5]}),
    ratings: lambda: pd.DataFrame({"user": [1, 2, 3], "film": [3, 4, 5]}),
    texts: lambda: ["very good", "bad and so", "the film was not good"],
}


def elsewhere(device: torch.device, folder: Path, make: Callable[[Path], Learner]) -> str:
    """What was trained and exported here opens on the CPU, and predicts the same there."""
    seed_everything(1)
    learn = make(folder)
    learn.no_progress()
    if learn.device.type != device.type:
        raise DoesNotHold(f"the learner is on {learn.device}")
    learn.fit(0.01, 2)
    here = learn.predict_raw(RAW[make]())
    learn.export(folder / "there")
    there = load_learner(folder / "there.learnkit", device="cpu")
    again = load_learner(folder / "there.learnkit")
    scale = max(1.0, float(np.abs(here).max()))
    back, difference = (float(np.abs(here - x.predict_raw(RAW[make]())).max()) / scale for x in (again, there))
    if back > 1e-6 or difference > 1e-3:
        raise DoesNotHold(f"predictions differ by {back:.1e} of the largest here, {difference:.1e} on the CPU")
    return f"on the CPU within {difference:.0e}"


@contextmanager
def deterministic() -> Iterator[None]:
    """Ask PyTorch for kernels that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS wants it too, before its first product
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def checks() -> dict[str, Callable[[torch.device, Path], str]]:
    """Return what is looked at, by name."""
    found: dict[str, Callable[[torch.device, Path], str]] = {
        f"a resumed fit, {precision}": lambda device, folder, p=precision: resumed(device, folder, precision=p)  # type: ignore[misc]
        for precision in ("fp32", "bf16", "fp16")
    }
    found["a resumed fit, accumulated and clipped"] = lambda device, folder: resumed(
        device, folder, accumulate=2, clip=0.5
    )
    found["a resumed fit, with averaged weights"] = lambda device, folder: resumed(
        device, folder, lambda: [WeightAverage(0.9)]
    )
    found["a loss with weights of classes"] = weighted_classes
    found["bad items"] = bad_items
    found["the same seed"] = repeated
    found["a look leaves no trace"] = no_trace
    found["no step waits"] = no_waiting
    found["no step waits, bf16 and clipped"] = lambda device, folder: no_waiting(
        device, folder, precision="bf16", clip=0.5
    )
    for make in RAW:
        found[f"files for any machine: {make.__name__}"] = lambda device, folder, make=make: elsewhere(  # type: ignore[misc]
            device, folder, make
        )
    found["a batch too large"] = out_of_memory
    return found


def main() -> int:
    """Print a table of what holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=default_device())
    args = parser.parse_args()
    print(f"{machine()}, {args.device}\n\n| | holds | |\n|---|---|---|")
    failed = []
    for name, check in checks().items():
        with tempfile.TemporaryDirectory() as folder, deterministic():
            try:
                print(f"| {name} | yes | {check(args.device, Path(folder))} |", flush=True)
            except Exception as exc:
                failed.append((name, exc))
                print(f"| {name} | **no** | {type(exc).__name__} |", flush=True)
    for name, reason in failed:
        print(f"\n{name}:\n{''.join(traceback.format_exception(reason))}")
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
