"""The small costs: imports, one prediction, a checkpoint, memory over many fits.

python -m benchmarks.run small
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import Case, Contestants
from learnkit import Category, DataBunch, Learner, load_model, save_model


def imports(ours: str, base: str) -> Callable[[], Contestants]:
    """Seconds in a fresh interpreter; the bare one imports what learnkit stands on."""

    def seconds(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(run.stdout)

    return lambda: {"learnkit": lambda: seconds(f"{base}; {ours}"), "bare": lambda: seconds(base)}


def _network() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(num_classes=10).eval()


def one_prediction() -> Contestants:
    """Milliseconds per picture of 128 px, one at a time."""
    batches = [(torch.randn(2, 3, 128, 128), torch.zeros(2, dtype=torch.long))]
    learn = Learner(DataBunch(".", batches, batches, target=Category(range(10))), _network(), device="cpu")
    learn.model.eval()
    picture = torch.randn(1, 3, 128, 128)
    array = picture.numpy()

    def ours() -> float:
        started = time.perf_counter()
        for _ in range(20):
            learn.predict_array(array)
        return (time.perf_counter() - started) * 50

    def bare() -> float:
        started = time.perf_counter()
        with torch.no_grad():
            for _ in range(20):
                learn.model(picture).log_softmax(1).numpy()
        return (time.perf_counter() - started) * 50

    return {"learnkit": ours, "bare": bare}


def checkpoint() -> Contestants:
    """Milliseconds to write and read the 45 MB of ResNet-18; the bare one writes a pickle, not flushed to disk."""
    model, folder = _network(), Path(tempfile.mkdtemp())

    def ours() -> float:
        started = time.perf_counter()
        load_model(model, save_model(model, folder / "ours"))
        return (time.perf_counter() - started) * 1000

    def bare() -> float:
        started = time.perf_counter()
        torch.save(model.state_dict(), folder / "bare.pth")
        model.load_state_dict(torch.load(folder / "bare.pth", weights_only=True))
        return (time.perf_counter() - started) * 1000

    return {"learnkit": ours, "bare": bare}


def memory_of_fits() -> Contestants:
    """Megabytes by which a process grows from its 20th to its 220th fit of a small model."""
    code = """
import torch
from benchmarks.timing import memory
from learnkit import Category, DataBunch, Learner
batches = [(torch.randn(64, 32), torch.randint(2, (64,))) for _ in range(20)]
learn = Learner(DataBunch(".", batches, batches[:2], target=Category([0, 1])), torch.nn.Linear(32, 2), device="cpu")
learn.no_progress()
for i in range(220):
    learn.fit(0.01, 1)
    if i == 19:
        before = memory("VmHWM")
print((memory("VmHWM") - before) / 1e6)
"""

    def ours() -> float:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(run.stdout)

    return {"learnkit": ours}


CASES = [
    Case("small import", "import learnkit beside import torch", "s", imports("import learnkit", "import torch"), 5),
    Case(
        "small import vision", "import learnkit.vision beside torchvision", "s",
        imports("import learnkit.vision", "import torchvision"), 5,
    ),
    Case("small predict", "one picture of 128 px through ResNet-18", "ms", one_prediction, 7, {"bare": 1.2}),
    Case("small checkpoint", "save and load ResNet-18, 45 MB", "ms", checkpoint, 5),
    Case("small memory", "growth over 200 fits of a small model", "MB", memory_of_fits, 1),
]  # fmt: skip
