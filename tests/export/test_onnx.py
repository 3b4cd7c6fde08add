"""What is written as ONNX predicts as the learner does; what would not is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from learnkit import (
    Category,
    CheckpointError,
    DataBunch,
    DataError,
    ExportError,
    Learner,
    MultiCategory,
    Real,
    TensorLoader,
)
from learnkit.export.onnx import write_onnx
from learnkit.runtime import load

X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
TASKS: dict[str, tuple[Any, Tensor, int]] = {
    "category": (Category(["a", "b", "c"]), torch.arange(20) % 3, 3),
    "multi": (MultiCategory(["a", "b"], threshold=0.4), (X[:, :2] > 0).float(), 2),
    "value": (Real(), X.sum(1), 1),
    "values": (Real(2), X[:, :2], 2),
}


def learner(path: Path, task: str, model: nn.Module | None = None, **options: Any) -> Learner:
    target, y, c = TASKS[task]
    data = DataBunch(path, TensorLoader(X, y, 8), TensorLoader(X, y, 8), target=target)
    learn = Learner(data, model or nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, c)), **options)
    learn.no_progress()
    return learn


@pytest.mark.parametrize("task", TASKS)
def test_it_predicts_what_the_learner_predicts(tmp_path, task):
    learn = learner(tmp_path, task)
    learn.fit(0.01, 1)
    model = load(learn.to_onnx(tmp_path / "m"))
    preds = learn.predict()
    found = model.run(model.prepare(X.numpy()))
    np.testing.assert_allclose(found, np.exp(preds) if task == "category" else preds, atol=1e-5)
    if task in ("category", "multi"):
        assert model.predict(X.numpy()) == TASKS[task][0].decode(preds)
        np.testing.assert_allclose(model.predict_proba(X.numpy()), learn.predict_proba(), atol=1e-5)
    answer = model.answers(X[:1].numpy())[0]
    assert (
        set(answer)
        == {
            "category": {"label", "probability", "probabilities"},
            "multi": {"labels", "probabilities"},
            "value": {"value"},
            "values": {"values"},
        }[task]
    )
    json.dumps(answer)


class Memory(nn.Module):
    """A recurrent network over rows of any length, the items first."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(6, 5, batch_first=True, **options)
        self.out = nn.Linear(5 * (1 + self.rnn.bidirectional), 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.rnn(x)[0].amax(1))
        return y


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_network_is_right_at_any_length(tmp_path, kind, options):
    model, x = Memory(kind, **options).eval(), torch.randn(3, 7, 6)

    def expected(xs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            return model(*xs).numpy()

    meta = {"format": 1, "learnkit": "", "created": "", "kind": "arrays", "task": "value", "classes": None}
    meta["prep"] = {"names": ["x"], "dtypes": ["float32"]}
    file = write_onnx(tmp_path / "m", model, [x], {"x": {0: "batch", 1: "length"}}, meta, expected)
    for shape in ((1, 1, 6), (5, 40, 6), (2, 3, 6)):
        rows = torch.randn(shape)
        np.testing.assert_allclose(load(file).predict(rows.numpy()), expected((rows,)), atol=1e-5)


class ByBatch(nn.Module):
    """Depends on how many items there are, as a network must not."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin(x - x.mean(0))
        return y


class Branches(nn.Module):
    """Looks at a value, which no translator can."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin(x) if float(x.sum()) > 0 else self.lin(-x)
        return y


class Draws(nn.Module):
    """Draws numbers when it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin(x + torch.rand_like(x))
        return y


@pytest.mark.parametrize(
    ("model", "words"),
    [(Branches, "cannot be translated to ONNX"), (Draws, "where `predict` gives .*random draws outside of dropout")],
)
def test_what_would_predict_otherwise_is_refused_and_the_file_is_left(tmp_path, model, words):
    file = learner(tmp_path, "category").to_onnx(tmp_path / "m")
    before = file.read_bytes()
    with pytest.raises(ExportError, match=words):
        learner(tmp_path, "category", model()).to_onnx(file)
    assert file.read_bytes() == before
    assert [x.name for x in tmp_path.glob("*.onnx*")] == ["m.onnx"]


def test_the_learner_stays_as_it_was(tmp_path):
    learn = learner(
        tmp_path, "category", nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    )
    learn.model.train()
    before, state = {k: v.clone() for k, v in learn.model.state_dict().items()}, torch.get_rng_state()
    learn.to_onnx(tmp_path / "m")
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert learn.model.training
    assert type(learn.model).__module__ == "torch.nn.modules.container"


def test_what_is_not_known_is_said(tmp_path):
    own = learner(tmp_path, "category", crit=lambda pred, y: (pred - nn.functional.one_hot(y, 3)).square().mean())
    with pytest.raises(DataError, match="pass `activation=`"):
        own.to_onnx(tmp_path / "m")
    bare = Learner(DataBunch(tmp_path, [(X, X)]), nn.Linear(6, 6), crit=nn.MSELoss())
    with pytest.raises(DataError, match="it is not known what is predicted"):
        bare.to_onnx(tmp_path / "m")
    places = DataBunch(
        tmp_path, [(torch.randn(2, 5, 6), torch.zeros(2, 5).long())], target=Category(list("abc"), class_axis=-1)
    )
    with pytest.raises(DataError, match="Category per place"):
        Learner(places, nn.Linear(6, 3)).to_onnx(tmp_path / "m")


def changed(file: Path, change: Any) -> Path:
    model = onnx.load(file)
    change(model)
    onnx.save(model, file)
    return file


def meta_with(**values: Any) -> Any:
    def change(model: Any) -> None:
        entry = model.metadata_props[0]
        entry.value = json.dumps(json.loads(entry.value) | values)

    return change


def outside(model: Any) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../etc/passwd")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.metadata_props.pop(), "none that learnkit wrote"),
        (meta_with(format=2, learnkit="9.0"), r"written by learnkit 9.0 \(format 2\).*Update learnkit"),
        (meta_with(kind="sounds"), "cannot be read"),
        (meta_with(task="poem"), "cannot be read"),
        (meta_with(prep=[]), "cannot be read"),
        (meta_with(prep={}), "preparation in it cannot be read"),
        (meta_with(classes="abc"), "cannot be read"),
        (outside, "refers to another file"),
    ],
)
def test_a_file_that_is_another_is_refused_in_words(tmp_path, change, words):
    file = learner(tmp_path, "category").to_onnx(tmp_path / "m")
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=words):
        load(file)


def test_a_damaged_file_is_refused_in_words(tmp_path):
    content = learner(tmp_path, "category").to_onnx(tmp_path / "m").read_bytes()
    rng = np.random.default_rng(0)
    for end in [0, 1, 50, *rng.integers(0, len(content), 40)]:
        (tmp_path / "cut.onnx").write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="cut.onnx"):
            load(tmp_path / "cut.onnx")
    with pytest.raises(CheckpointError, match=r"none.onnx cannot be read"):
        load(tmp_path / "none.onnx")
