"""What is written as TorchScript predicts as the learner does, at any batch size; what would not is refused."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import ExportError, Learner
from learnkit.export import torchscript
from tests.export.kinds import FIXED, texts
from tests.export.test_onnx import TASKS, Branches, Draws, X, learner

pytestmark = pytest.mark.filterwarnings("ignore:TorchScript is deprecated in PyTorch:FutureWarning")


def opened(file: Path) -> tuple[Any, dict[str, Any]]:
    """Return a file's network and description, as a program without learnkit opens it."""
    extra = {"learnkit.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that it is deprecated
        return torch.jit.load(file, _extra_files=extra), json.loads(extra["learnkit.json"])


def inputs(learn: Learner) -> tuple[Tensor, ...]:
    return tuple(learn._as_program(None)[1])


@pytest.mark.parametrize("method", ["trace", "script"])
@pytest.mark.parametrize("kind", FIXED)
def test_it_predicts_what_the_learner_predicts(tmp_path: Path, kind: str, method: str) -> None:
    learn = FIXED[kind](tmp_path)
    learn.no_progress()
    learn.fit(1e-3, 1)
    before = {name: x.clone() for name, x in learn.model.state_dict().items()}
    network, meta = opened(learn.to_torchscript(tmp_path / "m", method=method))
    _, xs, _, _, as_predict = learn._as_program(None)
    found = network(*xs).detach().numpy()
    np.testing.assert_allclose(found, as_predict(xs), atol=1e-5)
    np.testing.assert_allclose(network(*[x[1:2] for x in xs]).detach().numpy(), found[1:2], atol=1e-5)
    assert meta["classes"] == learn.data.classes
    assert len(meta["inputs"]) == len(xs)
    assert type(learn.model) is type(FIXED[kind](tmp_path).model)
    assert all(torch.equal(x, before[name]) for name, x in learn.model.state_dict().items())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_activation_in_the_network(tmp_path: Path, task: str) -> None:
    learn = learner(tmp_path, task)
    learn.fit(0.01, 1)
    network, meta = opened(learn.to_torchscript(tmp_path / "m"))
    preds = learn.predict()
    expected = np.exp(preds) if task == "category" else preds
    np.testing.assert_allclose(network(X).detach().numpy(), expected, atol=1e-5)
    assert meta.get("threshold") == (0.4 if task == "multi" else None)


@pytest.mark.parametrize("kind", FIXED)
def test_the_networks_themselves_are_scripted_and_give_the_same_bits(tmp_path: Path, kind: str) -> None:
    learn = FIXED[kind](tmp_path)
    model, xs = learn.model.cpu(), inputs(learn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that it is deprecated
        scripted = torch.jit.script(model)
    for mode in (model.eval(), model.train()):
        scripted.train(mode.training)
        torch.manual_seed(0)
        expected = model(*xs)
        torch.manual_seed(0)
        assert torch.equal(scripted(*xs), expected)


def test_no_input_is_in_the_file(tmp_path: Path) -> None:
    learn = learner(tmp_path, "category")
    content = learn.to_torchscript(tmp_path / "m").read_bytes()
    row = inputs(learn)[0][0].numpy().tobytes()
    assert row not in content
    assert next(learn.model.parameters()).detach().numpy().tobytes() in content


def test_it_is_said_that_it_is_deprecated_and_what_to_use(tmp_path: Path) -> None:
    with pytest.warns(FutureWarning, match=r"deprecated in PyTorch.*learn.to_exported.*learn.to_onnx") as said:
        learner(tmp_path, "category").to_torchscript(tmp_path / "m")
    assert len(said) == 1
    assert said[0].filename == __file__


def test_branches_over_values_are_refused_in_a_trace_and_compiled_by_script(tmp_path: Path) -> None:
    learn = learner(tmp_path, "category", Branches())
    file = learner(tmp_path, "category").to_torchscript(tmp_path / "m")
    before = file.read_bytes()
    with pytest.raises(ExportError, match=r'a trace of this network would be wrong.*method="script"'):
        learn.to_torchscript(file)
    assert file.read_bytes() == before
    network, _ = opened(learn.to_torchscript(file, method="script"))
    for x in inputs(learn)[0].split(1):
        np.testing.assert_allclose(network(x).detach().numpy(), learn.model(x).softmax(1).detach().numpy(), atol=1e-6)


class Foreign(nn.Module):
    """Calls NumPy, which no translator can."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin(torch.from_numpy(np.sin(x.detach().numpy())))
        return y


@pytest.mark.parametrize(
    ("model", "method", "words"),
    [
        (Foreign, "script", "cannot be translated to TorchScript"),
        (Foreign, "trace", "a trace of this network would be wrong"),
        (Draws, "trace", "where `predict` gives"),
        (Draws, "script", "where `predict` gives"),
    ],
)
def test_what_would_predict_otherwise_is_refused(tmp_path: Path, model: Any, method: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        learner(tmp_path, "category", model()).to_torchscript(tmp_path / "m", method=method)
    assert not [*tmp_path.glob("*.pt")]


@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_texts_are_traced_right_at_any_length_and_script_says_why_not(tmp_path: Path, arch: str) -> None:
    learn = texts(tmp_path, arch)
    with pytest.raises(ExportError, match=r"of no type that TorchScript knows. `method=\"trace\"` writes it"):
        learn.to_torchscript(tmp_path / "m", method="script")
    network, _ = opened(learn.to_torchscript(tmp_path / "m"))
    as_predict = learn._as_program(None)[4]
    for shape in ((1, 1), (3, 5), (200, 2)):  # the last in three windows
        xs = (torch.randint(2, 9, shape),)
        np.testing.assert_allclose(network(*xs).detach().numpy(), as_predict(xs), atol=1e-5)


def test_newer_pythons_and_other_methods_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="`method` must be one of 'trace', 'script'; got 'both'"):
        learner(tmp_path, "category").to_torchscript(tmp_path / "m", method="both")
    monkeypatch.setattr(torchscript, "ENDED", (3, 0))
    with pytest.raises(ExportError, match=r"Python 3.14 and newer. Use `learn.to_exported\(path\)`"):
        learner(tmp_path, "category").to_torchscript(tmp_path / "m")
    assert not [*tmp_path.glob("*.pt")]


def test_a_file_is_a_whole_one(tmp_path: Path) -> None:
    """Opened from memory it needs nothing beside it."""
    content = io.BytesIO(learner(tmp_path, "values").to_torchscript(tmp_path / "m.pt").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that it is deprecated
        assert torch.jit.load(content)(torch.zeros(2, 6)).shape == (2, 2)
