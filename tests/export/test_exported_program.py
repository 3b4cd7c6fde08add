"""What is written as a program of `torch.export` predicts as the learner does, at any batch size and length."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import Category, DataBunch, ExportError, Learner, TensorLoader
from learnkit.export.exported_program import write_exported
from learnkit.text import TextClassifier, TransformerEncoder
from tests.export.kinds import FIXED, texts
from tests.export.test_onnx import TASKS, Branches, Draws, Memory, X, learner


def opened(file: Path) -> tuple[Any, dict[str, Any]]:
    """Return a file's network and description, as a program without learnkit opens it."""
    extra = {"learnkit.json": ""}
    return torch.export.load(file, extra_files=extra).module(), json.loads(extra["learnkit.json"])


@pytest.mark.parametrize("kind", FIXED)
def test_it_predicts_what_the_learner_predicts(tmp_path: Path, kind: str) -> None:
    learn = FIXED[kind](tmp_path)
    learn.no_progress()
    learn.fit(1e-3, 1)
    before = {name: x.clone() for name, x in learn.model.state_dict().items()}
    network, meta = opened(learn.to_exported(tmp_path / "m"))
    _, xs, axes, _, as_predict = learn._as_program(None)
    for some in (xs, tuple(x[1:2] for x in xs), tuple(torch.cat([x] * 5) for x in xs)):
        np.testing.assert_allclose(network(*some).detach().numpy(), as_predict(some), atol=1e-5)
    assert meta["classes"] == learn.data.classes
    assert meta["inputs"] == list(axes)
    assert all(torch.equal(x, before[name]) for name, x in learn.model.state_dict().items())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_activation_in_the_network(tmp_path: Path, task: str) -> None:
    learn = learner(tmp_path, task)
    learn.fit(0.01, 1)
    network, meta = opened(learn.to_exported(tmp_path / "m"))
    preds = learn.predict()
    expected = np.exp(preds) if task == "category" else preds
    np.testing.assert_allclose(network(X).detach().numpy(), expected, atol=1e-5)
    assert meta.get("threshold") == (0.4 if task == "multi" else None)


def test_opened_without_learnkit_it_predicts_the_same(tmp_path: Path) -> None:
    learn = learner(tmp_path, "category")
    file = learn.to_exported(tmp_path / "m")
    code = f"""
import sys, torch
print(torch.export.load({str(file)!r}).module()(torch.zeros(3, 6)).tolist())
assert "learnkit" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = learn.model(torch.zeros(3, 6)).softmax(1).tolist()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


def test_neither_items_nor_paths_are_in_the_file(tmp_path: Path) -> None:
    learn = learner(tmp_path, "category")
    file = learn.to_exported(tmp_path / "m")
    with zipfile.ZipFile(file) as archive:
        content = b"".join(map(archive.read, archive.namelist()))
    assert not any(row.tobytes() in content for row in X.numpy())
    assert str(Path(__file__).parents[2]).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content
    assert next(learn.model.parameters()).detach().numpy().tobytes() in content
    assert torch.export.load(file).example_inputs is None


class MeanOfWords(nn.Module):
    """Scores `(B, 2)` of texts `(T, B)`."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(20, 4), nn.Linear(4, 2)

    def forward(self, *xs: Tensor) -> Tensor:
        y: Tensor = self.out(self.table(xs[0]).mean(0)).softmax(1)
        return y


def test_a_network_over_texts_without_a_state_is_right_at_any_length(tmp_path: Path) -> None:
    model = MeanOfWords()

    def as_model(xs: tuple[Tensor, ...]) -> Any:
        return model(*xs).detach().numpy()

    tokens = torch.randint(0, 20, (9, 4))
    axes = {"tokens": {0: "length", 1: "batch"}}
    network, meta = opened(write_exported(tmp_path / "m", model, [tokens], axes, {"classes": ["n", "p"]}, as_model))
    assert meta == {"classes": ["n", "p"], "inputs": ["tokens"]}
    for shape in ((1, 1), (3, 5), (300, 2)):
        x = torch.randint(0, 20, shape)
        np.testing.assert_allclose(network(x).detach().numpy(), as_model((x,)), atol=1e-6)


def test_a_transformer_which_sees_a_part_of_what_was_before_says_why_not(tmp_path: Path) -> None:
    learn = Learner(texts(tmp_path).data, TextClassifier(TransformerEncoder(60, 8, 16, 2), 2))
    for write in (learn.to_exported, learn.to_onnx, learn.to_torchscript):
        with pytest.raises(ExportError, match="TransformerEncoder cannot be exported.*in windows of 70 tokens"):
            write(tmp_path / "m")
    assert not [*tmp_path.glob("m.*")]


@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_recurrent_networks_over_texts_say_why_not(tmp_path: Path, arch: str) -> None:
    with pytest.raises(ExportError, match=r"an LSTM or GRU .* one length only. Use `learn.to_onnx\(path\)`"):
        texts(tmp_path, arch).to_exported(tmp_path / "m")
    assert not [*tmp_path.glob("*.pt2")]


def test_a_recurrent_network_over_rows_of_one_length_is_written(tmp_path: Path) -> None:
    x = torch.randn(20, 7, 6)
    loader = TensorLoader(x, torch.arange(20) % 3, 8)
    learn = Learner(DataBunch(tmp_path, loader, loader, target=Category(list("abc"))), Memory(nn.LSTM))
    network, _ = opened(learn.to_exported(tmp_path / "m"))
    np.testing.assert_allclose(network(x).detach().numpy(), np.exp(learn.predict()), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "words"),
    [(Branches, "cannot be translated to a program of torch.export"), (Draws, "where `predict` gives")],
)
def test_what_would_predict_otherwise_is_refused_and_the_file_is_left(tmp_path: Path, model: Any, words: str) -> None:
    file = learner(tmp_path, "category").to_exported(tmp_path / "m")
    before = file.read_bytes()
    with pytest.raises(ExportError, match=words):
        learner(tmp_path, "category", model()).to_exported(file)
    assert file.read_bytes() == before
    assert [x.name for x in tmp_path.glob("*.pt2*")] == ["m.pt2"]


def test_without_a_compiler_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ExportError, match=r"no compiler 'no-such-compiler' here.*apt-get install g\+\+.*CXX"):
        learner(tmp_path, "category").to_exported(tmp_path / "m", aot=True)
    assert not [*tmp_path.glob("*.pt2")]
