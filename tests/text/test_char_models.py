"""The character models of the lessons: each does what it says, the cells are PyTorch's, and `fit` trains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples import char_models as lesson
from learnkit import seed_everything
from learnkit.text import Field, LanguageModelData
from tests.text.helpers import hamlet

NT = 30
FIXED = [lesson.Char3Model, lesson.CharLoopModel, lesson.CharLoopConcatModel, lesson.CharRNN]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_cell_written_out_is_that_of_pytorch(kind: Any) -> None:
    layer = kind(5, 7).double()
    x = torch.randn(9, 4, 5, dtype=torch.double, requires_grad=True)
    found = []
    for output in (layer(x)[0], lesson.by_hand(layer, x)):
        grads = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
        found.append((output, *grads))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", FIXED)
def test_the_last_of_three_characters_is_followed_by_log_probabilities(kind: Any) -> None:
    model = kind(NT)
    cs = torch.randint(0, NT, (3, 6))
    out = model(*cs)
    assert out.shape == (6, NT)
    torch.testing.assert_close(out.exp().sum(1), torch.ones(6))
    for i in range(3):  # every character matters, and its place
        other = cs.clone()
        other[i] = (cs[i] + 1) % NT
        assert not torch.allclose(model(*other), out)


def test_the_loop_over_three_is_the_model_of_three() -> None:
    three, loop = lesson.Char3Model(NT), lesson.CharLoopModel(NT)
    loop.load_state_dict(three.state_dict())
    cs = torch.randint(0, NT, (3, 6))
    torch.testing.assert_close(loop(*cs), three(*cs))
    assert loop(*torch.randint(0, NT, (8, 6))).shape == (6, NT)


def test_a_sequence_is_predicted_at_every_place() -> None:
    seq, last = lesson.CharSeqRNN(NT), lesson.CharRNN(NT)
    last.load_state_dict(seq.state_dict())
    cs = torch.randint(0, NT, (8, 6))
    out = seq(*cs)
    assert out.shape == (8, 6, NT)
    for i in range(8):
        torch.testing.assert_close(out[i], last(*cs[: i + 1]))
    targets = torch.randint(0, NT, (6, 8))
    by_hand = torch.stack([F.nll_loss(out[i], targets[:, i]) for i in range(8)]).mean()
    torch.testing.assert_close(lesson.nll_loss_seq(out, targets), by_hand)


def test_recurrent_weights_begin_as_the_identity() -> None:
    assert torch.equal(lesson.CharSeqRNN(NT).rnn.get_parameter("weight_hh_l0"), torch.eye(lesson.N_HIDDEN))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_state_is_carried_without_its_history(kind: Any) -> None:
    model = lesson.CharSeqStateful(NT, kind(lesson.N_FAC, 16))
    x = torch.randint(0, NT, (20, 4))
    windows = torch.cat([model(window) for window in x.split(7)])
    state: Any = model.h[0] if isinstance(model.h, tuple) else model.h
    assert not state.requires_grad
    model.h = None
    torch.testing.assert_close(model(x), windows)
    assert model(x[:, :3]).shape == (60, NT)  # a batch of another size begins anew
    fresh = lesson.CharSeqStateful(NT, kind(lesson.N_FAC, 16))
    fresh.load_state_dict(model.state_dict())
    model.h = None
    torch.testing.assert_close(model(x[:, :3]), fresh(x[:, :3]))


def test_windows_are_the_text_and_what_follows() -> None:
    x, y = lesson.windows(np.arange(20, dtype=np.uint16), 3, 1)
    assert x.tolist() == [[i, i + 1, i + 2] for i in range(17)]
    assert (y - x == 1).all()
    assert lesson.windows(np.arange(20), 8, 8)[0].tolist() == [list(range(8)), list(range(8, 16))]


@pytest.fixture
def plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hamlet.txt").write_text(hamlet()[:9000], "latin-1")
    (tmp_path / "macbeth.txt").write_text(hamlet()[20_000:23_000], "latin-1")
    monkeypatch.setattr(lesson, "PATH", str(tmp_path))
    monkeypatch.setattr(lesson, "play", lambda name: str(tmp_path / f"{name}.txt"))
    return tmp_path


def test_the_example_trains_every_model_and_writes_text(plays: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lesson.main(["--cycles", "1"])
    out = capsys.readouterr().out
    rows = [line.rsplit(maxsplit=3) for line in out.split("seconds\n")[1].split("\n\n")[0].splitlines()]
    assert [row[0].strip() for row in rows] == [
        "3 characters", "loop over 8", "concatenated", "nn.RNN", "sequence of 8", "stateful RNN", "stateful GRU",
        "stateful LSTM",
    ]  # fmt: skip
    assert all(float(row[2]) < 3.4 for row in rows[:4])  # guessing has 3.5; the others take few steps here
    assert len(out.split("goes on:\n\n")[1]) > 400


def test_a_stateful_model_learns_with_restarts_and_goes_on_from_a_prompt(plays: Path) -> None:
    TEXT = Field(lower=True, tokenize=list)
    md = LanguageModelData.from_text_files(plays, TEXT, "hamlet.txt", "macbeth.txt", bs=16, bptt=8, encoding="latin-1")

    def trained() -> tuple[Any, float]:
        seed_everything(0)
        model = lesson.CharSeqStateful(md.nt, nn.GRU(lesson.N_FAC, 32))
        return model, lesson.train(model, md, 1e-2, 2)

    model, loss = trained()
    assert loss < 2.7
    assert trained()[1] == loss
    texts = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        texts.append(lesson.sample(model, TEXT, "the ", 60))
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the ")
    assert len(texts[0]) == 64
    p: Tensor = model(TEXT.numericalize("for tho").transpose(0, 1))
    assert p.shape == (7, md.nt)
