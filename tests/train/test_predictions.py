"""Predictions: in the order of the data, full length, as the target says, and without a trace."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import Category, DataBunch, DataError, Learner, MultiCategory, Real, TensorLoader, validate
from learnkit.train.predictions import Predictions, predict
from tests.train.helpers import N_CLASSES, N_IN, World, batches, bunch, items, learner, net, plain_net

N = 23


def loaders() -> dict[str, Any]:
    x, y = items(N)
    parts = list(zip(x.split([1, 7, 4, 9, 2]), y.split([1, 7, 4, 9, 2]), strict=True))

    class NoLength:
        def __iter__(self):
            return iter(parts)

    return {
        "list": parts,
        "DataLoader": DataLoader(TensorDataset(x, y), 5),
        "TensorLoader": TensorLoader(x, y, bs=8),
        "no length": NoLength(),
        "generator": (part for part in parts),
    }


@pytest.mark.parametrize("kind", loaders())
def test_order_and_length_are_those_of_the_data(kind):
    x, y = items(N)
    learn = learner(model=net(), data=DataBunch(".", batches(), loaders()[kind], target=Category(list("abc"))))
    with torch.no_grad():
        expected = learn.model.eval()(x).log_softmax(1).numpy()
    learn.model.train()
    preds, targs = learn.predict_with_targs()
    assert isinstance(preds, np.ndarray)
    np.testing.assert_allclose(preds, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targs, y.numpy())
    if kind != "generator":
        np.testing.assert_array_equal(learn.predict(), preds)
        np.testing.assert_array_equal(learn.predict_dl(learn.data.val_dl), preds)  # type: ignore[arg-type]


def test_test_set():
    x, _ = items(N, seed=5)
    data = bunch(test_dl=[(x[:9], torch.zeros(9)), (x[9:], torch.zeros(N - 9))])
    learn = learner(data=data)
    assert learn.predict(is_test=True).shape == (N, N_CLASSES)
    np.testing.assert_allclose(learn.predict(is_test=True), learn.predict_array(x), rtol=1e-5, atol=1e-6)
    assert learn.predict_with_targs(True)[1].shape == (N,)


def test_classifier_gives_log_probabilities():
    learn = learner()
    preds = learn.predict()
    np.testing.assert_allclose(np.exp(preds).sum(1), 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(learn.predict_proba(), np.exp(preds), rtol=1e-5, atol=1e-6)
    assert learn.data.target is not None
    assert learn.data.target.decode(preds) == ["abc"[i] for i in preds.argmax(1)]


def test_model_that_ends_in_log_softmax_gives_the_same():
    """Log-softmax is idempotent."""
    plain, log_softmax = learner(model=plain_net()), learner(model=nn.Sequential(plain_net(), nn.LogSoftmax(dim=1)))
    np.testing.assert_allclose(plain.predict(), log_softmax.predict(), rtol=1e-5, atol=1e-6)
    assert plain.validate()["val_loss"] == pytest.approx(log_softmax.validate()["val_loss"])


def test_several_labels_give_probabilities():
    x, y = items(N)
    data = DataBunch(".", [], [(x, F.one_hot(y, N_CLASSES).float())], target=MultiCategory(list("abc")))
    learn = learner(model=plain_net(), data=data)
    with torch.no_grad():
        expected = learn.model(x).sigmoid().numpy()
    np.testing.assert_allclose(learn.predict(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(learn.predict_proba(), learn.predict())
    assert data.target is not None
    assert data.target.decode(np.array([[0.9, 0.5, 0.1], [0.0, 0.0, 0.0]])) == [["a", "b"], []]


@pytest.mark.parametrize("target", [Real(), None])
def test_regression_gives_values_and_no_target_gives_what_the_model_returns(target):
    x, _ = items(N)
    data = DataBunch(".", [], [(x, x.sum(1))], target=target)
    learn = learner(model=nn.Linear(N_IN, 1), data=data, crit=F.mse_loss)
    with torch.no_grad():
        expected = learn.model(x).numpy()[:, 0]
    np.testing.assert_allclose(learn.predict(), expected, rtol=1e-5, atol=1e-6)
    assert learn.predict().shape == data.val_y.shape == (N,)
    if target is None:
        with pytest.raises(DataError, match="does not know what is predicted; pass `target=`"):
            learn.predict_proba()


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.lin = nn.Embedding(4, 3), nn.Linear(3 + N_IN, 2)

    def forward(self, cats: Tensor, conts: Tensor) -> Tensor:
        return self.lin(torch.cat([self.emb(cats), conts], 1))


def test_two_inputs_tuples_and_dicts():
    x, y = items(N)
    cats = torch.arange(N) % 4
    parts = [(cats[:9], x[:9], y[:9]), (cats[9:], x[9:], y[9:])]
    model = Two()
    with torch.no_grad():
        expected = model(cats, x).numpy()
    np.testing.assert_allclose(predict(model, parts).preds, expected, rtol=1e-5, atol=1e-6)
    learn = learner(model=model, data=DataBunch(".", [], parts), crit=F.cross_entropy)
    np.testing.assert_allclose(learn.predict_array((cats.numpy(), x.numpy())), expected, rtol=1e-5, atol=1e-6)

    class Extra(nn.Module):
        def __init__(self, as_dict: bool):
            super().__init__()
            self.body, self.as_dict = model, as_dict

        def forward(self, a, b):
            scores = self.body(a, b)
            return {"scores": scores, "double": 2 * scores} if self.as_dict else (scores, a)

    np.testing.assert_allclose(predict(Extra(False), parts).preds, expected, rtol=1e-5, atol=1e-6)
    preds = predict(Extra(True), parts).preds
    np.testing.assert_allclose(preds["double"], 2 * expected, rtol=1e-5, atol=1e-6)
    assert list(preds) == ["scores", "double"]


@pytest.mark.parametrize("convert", [lambda x: x, Tensor.numpy, lambda x: x.numpy().astype(np.float64), Tensor.tolist])
def test_predict_array_takes_what_the_model_takes(convert):
    x, _ = items(N)
    learn = learner(model=net())
    with torch.no_grad():
        expected = learn.model.eval()(x).log_softmax(1).numpy()
    np.testing.assert_allclose(learn.predict_array(convert(x)), expected, rtol=1e-5, atol=1e-6)
    assert learn.predict_array(x[0][None]).shape == (1, N_CLASSES)


def test_bf16_predictions_are_ordinary_floats():
    learn = learner(model=plain_net(), precision="bf16")
    reference = learner(model=plain_net())
    preds = learn.predict()
    assert preds.dtype == np.float32
    np.testing.assert_allclose(preds, reference.predict(), atol=0.05)
    np.testing.assert_allclose(np.exp(preds).sum(1), 1, rtol=1e-5, atol=1e-6)
    raw = Learner(DataBunch(".", [], bunch().val_dl), plain_net(), crit=F.cross_entropy, precision="bf16")
    assert raw.predict().dtype == np.float32


@pytest.mark.parametrize(
    ("data", "is_test", "words"),
    [
        (DataBunch(".", batches()), False, "has no validation set"),
        (DataBunch(".", batches()), True, "has no test set"),
        (DataBunch(".", batches(), []), False, "gave no batch to predict"),
        (DataBunch(".", batches(), [torch.zeros(2, N_IN)]), False, r"must be a tuple \(x, y\)"),
    ],
)
def test_nothing_to_predict(data, is_test, words):
    learn = learner(model=net(), data=data, crit=F.cross_entropy)
    world = World(learn)
    with pytest.raises(DataError, match=words):
        learn.predict(is_test)
    world.assert_unchanged(learn)


def test_order_survives_a_training_with_shuffling():
    x, y = items(N)
    train = DataLoader(TensorDataset(x, y), 5, shuffle=True)
    learn = learner(model=net(), data=DataBunch(".", train, TensorLoader(x, y, bs=4), target=Category(list("abc"))))
    learn.fit(0.05, 8)
    preds, targs = learn.predict_with_targs()
    np.testing.assert_array_equal(targs, y.numpy())
    assert (preds.argmax(1) == targs).mean() == pytest.approx(learn.validate()["accuracy"])
    assert validate(learn.model, learn.data.val_dl, F.cross_entropy)["val_loss"] == pytest.approx(  # type: ignore[arg-type]
        -preds[np.arange(N), targs].mean(), rel=1e-5
    )


def test_predictions_are_a_small_dataclass():
    result = predict(plain_net(), bunch().val_dl, Category(list("abc")))  # type: ignore[arg-type]
    assert isinstance(result, Predictions)
    assert (result.preds.shape, result.targs.shape) == ((12, N_CLASSES), (12,))


# ---------------------------------------------------------------- several at once


class Remembering(nn.Module):
    """Keeps a hidden state between calls: predictions that got into each other's way would differ."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(seed=3)
        self.hidden: Any = torch.zeros(N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x) + self.hidden
        self.hidden = out.detach().mean(0)
        return out


@pytest.mark.parametrize("make", [net, Remembering])
def test_eight_threads_predict_what_one_does(make, monkeypatch):
    learn = learner(model=make())
    learn.fit(1e-2, 1)
    learn.model.train()
    x = items(40)[0]
    expected, whole = [learn.predict_array(x[i : i + 5]) for i in range(8)], learn.predict()
    state = torch.get_rng_state()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[str] = []

    def work(i: int) -> None:
        for _ in range(60):
            if not np.array_equal(learn.predict_array(x[i : i + 5]), expected[i]):
                wrong.append(f"array {i}")
            if i % 4 == 0 and not np.array_equal(learn.predict(), whole):
                wrong.append(f"all {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert all(module.training for module in learn.model.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_a_forked_process_predicts_while_a_thread_of_its_parent_holds_the_model():
    code = (
        "import os, threading, time, torch\n"
        "from learnkit.core.preserve import evaluating\n"
        "from tests.train.helpers import items, learner\n"
        "torch.set_num_threads(1)\n"
        "learn = learner(); x = items(5)[0]; expected = learn.predict_array(x)\n"
        "def hold():\n"
        "    with evaluating(learn.model): time.sleep(60)\n"
        "threading.Thread(target=hold, daemon=True).start(); time.sleep(0.5)\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(0 if (learn.predict_array(x) == expected).all() else 1)\n"
        "print(os.waitpid(pid, 0)[1], flush=True); os._exit(0)"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, cwd=root, check=True
    )
    assert out.stdout.strip() == "0", out.stderr
