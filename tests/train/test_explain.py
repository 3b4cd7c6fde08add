"""What goes wrong outside the model is said in words, and the learner can be used on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, Category, DataBunch, DataError, Learner, NonFiniteError, OutOfMemoryError, TrainingError
from learnkit.data.dataset import ItemDataset
from learnkit.data.loaders import ItemLoader
from tests.train.helpers import N_CLASSES, N_IN, assert_same, batches, learner, net, snapshot

# ---------------------------------------------------------------- memory


class Hungry(nn.Module):
    """Asks for more memory than there is, in the pass it is told to."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.layer, self.error, self.hungry = nn.Linear(N_IN, N_CLASSES), error, True
        self.kept: Any = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        activations = x @ torch.ones(N_IN, 1000)
        self.kept = weakref.ref(activations)
        if self.hungry and self.error == "cpu":
            torch.empty(2**60)  # what the allocator itself says
        if self.hungry and self.error == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        if self.hungry and self.error == "python":
            raise MemoryError
        return self.layer(x) + 0 * activations.sum()


@pytest.mark.parametrize("error", ["cpu", "cuda", "python"])
def test_out_of_memory_names_the_batch_size_and_leaves_the_learner_usable(error: str) -> None:
    model = Hungry(error)
    learn = learner(model=model)
    before = snapshot(model)
    words = (
        r"a batch of 8 items \(inputs \[float32 \(8, 6\)\]\).*do not fit into the memory of cpu.*bs=4 with accumulate=2"
    )
    with pytest.raises(OutOfMemoryError, match=words) as caught:
        learn.fit(0.1, 1)
    assert isinstance(caught.value, MemoryError | TrainingError)
    gc.collect()
    assert model.kept() is None  # what was computed is not kept alive by the error
    assert_same(before, model)
    with pytest.raises(OutOfMemoryError, match="a batch of 5 items"):
        learn.predict()
    model.hungry = False
    assert learn.fit(0.1, 1)["accuracy"] >= 0
    assert learn.predict().shape == (12, N_CLASSES)


def test_out_of_memory_in_the_backward_pass() -> None:
    class Greedy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return torch.empty(2**60)

    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Greedy.apply(super().forward(x))

    with pytest.raises(OutOfMemoryError, match="a batch of 8 items"):
        learner(model=Model(N_IN, N_CLASSES)).fit(0.1, 1)


# ---------------------------------------------------------------- loading processes


class Deadly(ItemDataset):
    """One of its items kills whoever loads it."""

    def __init__(self, deadly: int) -> None:
        super().__init__([f"picture-{i}" for i in range(40)], np.arange(40) % 2, self.open, None)
        self.deadly = deadly

    def open(self, item: str) -> Tensor:
        if item == f"picture-{self.deadly}":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((4,), float(item[8:]))


# What the dead process had sent and nobody received is Python's to clear away, and it says so if it is late.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_loading_process_that_dies_names_the_item(workers: int) -> None:
    dl = ItemLoader(Deadly(27), 5, num_workers=workers)
    learn = Learner(DataBunch(".", dl, target=Category(list("ab"))), nn.Linear(4, 2))
    learn.no_progress()
    with pytest.raises(DataError, match="a loading process died while it loaded item 27, picture-27.*num_workers"):
        learn.fit(1e-3, 1)
    with pytest.raises(DataError, match="item 27, picture-27"):
        learn.predict_dl(dl)
    dl.dataset.deadly = -1  # type: ignore[attr-defined]
    learn.fit(1e-3, 1)


# ---------------------------------------------------------------- not a number


class Exploding(nn.Module):
    """Nested, so that the layer has a name to be found by."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.body = nn.Sequential(nn.Linear(N_IN, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 8))
        self.head = nn.Linear(8, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("weights", r"the weights `body\.4\.weight` \(Linear\) were not finite any more"),
        ("outputs", r"it began in the layer `body\.1` \(BatchNorm1d\)"),
        ("loss", "every layer's output is finite in full precision, so it began in the loss"),
    ],
)
def test_not_a_number_names_the_layer_where_it_began(where: str, words: str) -> None:
    class Break(Callback):
        def before_batch(self, run: Any) -> None:
            if run.batch == 2 and where == "weights":
                run.model.body[4].weight.data[0, 0] = torch.inf
            if run.batch == 2 and where == "outputs":
                run.model.body[1].weight.data.fill_(1e38)
                run.model.body[1].bias.data.fill_(3e38)

        def after_loss(self, run: Any) -> None:
            if run.batch == 2 and where == "loss":
                run.loss = run.loss * torch.nan

    learn = learner(model=Exploding(where))
    before = snapshot(learn.model)
    state = torch.get_rng_state
    with pytest.raises(
        NonFiniteError, match=f"the loss of batch 2 in epoch 0 is not finite, though its inputs are: {words}"
    ):
        learn.fit(1e-3, 1, callbacks=[Break()])
    assert_same(before, learn.model)
    assert not [m for m in learn.model.modules() if m._forward_hooks]
    assert state is torch.get_rng_state


# ---------------------------------------------------------------- Ctrl-C

INTERRUPTED = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with Ctrl-C ignored
import numpy as np, torch
from torch import nn
from learnkit import Callback, DataBunch, Learner
from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, tfms_from_stats
torch.set_num_threads(1)
class Tell(Callback):
    def after_batch(self, run):
        print("batch", run.batch, flush=True)
        time.sleep(0.02)
x, y = np.zeros((400, 16, 16, 3), np.uint8), np.arange(400) % 2
data = ImageClassifierData.from_arrays(sys.argv[1], (x, y), (x, y), 4, tfms_from_stats(([.5]*3, [.5]*3), 16), num_workers=2)
learn = ConvLearner.from_model_data(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), data)
learn.no_progress()
try:
    learn.fit(1e-3, 50, callbacks=[Tell()])
except KeyboardInterrupt:
    s = learn.sched
    learn.save("after")
    print("recorded", len(s.losses), len(s.lrs), len(s.epochs), np.isfinite(s.losses).all(), learn.predict().shape, flush=True)
"""


def test_ctrl_c_ends_cleanly_with_the_record_intact(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for _ in range(10):
        assert process.stdout.readline().startswith("batch")
    try:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the loading processes too
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            # Python drops an interrupt that comes while it runs a finalizer; a person presses the keys again.
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=300)
    finally:
        process.kill()  # nothing of it may go on beside the tests that follow
    last = out.strip().splitlines()[-1].split()
    assert last[0] == "recorded"
    assert int(last[1]) == int(last[2]) >= 9
    assert last[3:] == ["0", "True", "(400,", "2)"]
    assert process.returncode == 0, err
    assert (tmp_path / "models" / "after.safetensors").exists()


# ---------------------------------------------------------------- errors from every event


def test_an_error_in_any_event_leaves_the_learner_usable(tmp_path: Path) -> None:
    from learnkit.train.events import EVENTS

    def raising(event: str) -> Any:
        def broken(self: Any, run: Any) -> None:
            raise ZeroDivisionError(event)

        return broken

    for event in EVENTS:
        cls = type("Broken", (Callback,), {event: raising(event)})
        learn = learner(tmp_path)
        with pytest.raises(ZeroDivisionError, match=event):
            learn.fit(1e-2, 1, callbacks=[cls()], checkpoint=tmp_path / "c", every=1)
        assert all(p.grad is None for p in learn.model.parameters()), event
        assert len(learn.sched.losses) == len(learn.sched.lrs), event
        assert not list((tmp_path / "c").glob(".*")) if (tmp_path / "c").exists() else True, event
        whole = learner(tmp_path, net(seed=1))
        learn.model.load_state_dict(net(seed=1).state_dict())
        for each in (whole, learn):
            torch.manual_seed(0)
            each.fit(1e-2, 1)
        assert_same(whole.model, learn.model)
    assert len(batches()) == 4
