"""The AWD-LSTM is PyTorch's LSTM with dropout that does what it says, and only while training."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit import load_model, save_model
from learnkit.text import (
    AWDLSTM,
    LanguageModel,
    LockedDropout,
    TextClassifier,
    WeightDropRNN,
    WordDropout,
    repackage_var,
    seq2seq_reg,
)
from tests.marks import needs_bf16
from tests.text.helpers import NO_DROPOUT, encoder
from tests.train.helpers import assert_same

KINDS = pytest.mark.parametrize("kind", ["lstm", "gru"])


def make(kind: str, n_in: int, n_hid: int) -> nn.LSTM | nn.GRU:
    return nn.LSTM(n_in, n_hid) if kind == "lstm" else nn.GRU(n_in, n_hid)


def lstm_by_hand(x: Tensor, weights: list[Tensor]) -> Tensor:
    """An LSTM as its equations say, from zero."""
    w_ih, w_hh, b_ih, b_hh = weights
    h = c = x.new_zeros(x.shape[1], w_hh.shape[1])
    outputs = []
    for step in x:
        i, f, g, o = (step @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


def test_weight_drop_is_an_lstm_with_masked_recurrent_weights() -> None:
    """Output and every gradient, against the equations with the same mask."""
    layer, x = WeightDropRNN(5, 7, 0.4).double(), torch.randn(6, 3, 5, dtype=torch.double, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in layer.rnn.parameters()]
    by_hand = x.detach().clone().requires_grad_()
    torch.manual_seed(1)
    output, _ = layer(x)
    torch.manual_seed(1)
    masked = F.dropout(weights[1], 0.4)
    assert 0.2 < (masked == 0).double().mean() < 0.6
    expected = lstm_by_hand(by_hand, [weights[0], masked, *weights[2:]])
    torch.testing.assert_close(output, expected)
    for y in (output, expected):
        y.square().sum().backward()
    torch.testing.assert_close(x.grad, by_hand.grad)
    for p, q in zip(layer.rnn.parameters(), weights, strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    assert weights[1].grad is not None
    assert torch.equal(weights[1].grad == 0, masked == 0)  # a dropped weight learns nothing


@KINDS
def test_numerical_gradients_of_weight_drop(kind: str) -> None:
    layer = WeightDropRNN(3, 4, 0.5, kind).double()
    x = torch.randn(4, 2, 3, dtype=torch.double)

    def run(*weights: Tensor) -> Tensor:
        torch.manual_seed(3)  # the same mask in every call
        names = [f"rnn.{name}" for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(run, [p.detach().clone().requires_grad_() for p in layer.parameters()])


@KINDS
def test_weights_are_masked_anew_in_each_call_and_not_at_all_in_eval(kind: str) -> None:
    layer, plain = WeightDropRNN(5, 7, 0.5, kind), make(kind, 5, 7)
    plain.load_state_dict(layer.rnn.state_dict())
    x = torch.randn(6, 3, 5)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    before = {name: p.clone() for name, p in layer.named_parameters()}
    layer.eval()
    output, state = layer(x)
    expected, new = plain(x)
    assert torch.equal(output, expected)
    assert all(torch.equal(a, b) for a, b in zip(state, new if kind == "lstm" else (new,), strict=True))
    assert all(torch.equal(before[name], p) for name, p in layer.named_parameters())


@KINDS
def test_without_dropout_the_model_is_that_of_pytorch(kind: str) -> None:
    """Also while training: outputs, gradients and what is carried from window to window."""
    ours: Any = AWDLSTM(50, 8, 16, 3, rnn=kind, **NO_DROPOUT)
    table: Any = nn.Embedding(50, 8, padding_idx=1)
    layers: list[Any] = [make(kind, a, b) for a, b in ((8, 16), (16, 16), (16, 8))]
    with torch.no_grad():
        table.weight.copy_(ours.embedding.weight)
        for own, theirs in zip(ours.layers, layers, strict=True):
            theirs.load_state_dict(own.rnn.state_dict())
    tokens = torch.randint(0, 50, (20, 4))
    state, states = None, [None] * 3
    total = expected = torch.zeros(())
    for window in tokens.split(7):
        encoded = ours(window, state)
        state, h = encoded.state, table(window)
        for i, layer in enumerate(layers):
            h, states[i] = layer(h, states[i])
        assert torch.equal(encoded.raw, h)
        assert torch.equal(encoded.dropped, h)
        total, expected = total + encoded.raw.square().sum(), expected + h.square().sum()
    total.backward()
    expected.backward()
    assert torch.equal(ours.embedding.weight.grad, table.weight.grad)
    for own, theirs in zip(ours.layers, layers, strict=True):
        for p, q in zip(own.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)


def test_locked_dropout_drops_the_same_units_at_every_step() -> None:
    drop, x = LockedDropout(0.3), torch.randn(9, 40, 500)
    y = drop(x)
    kept = y != 0
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert not torch.equal(kept[0, 0], kept[0, 1])  # each text has a mask of its own
    assert kept[0].float().mean().item() == pytest.approx(0.7, abs=0.02)
    torch.testing.assert_close(y[kept], x[kept] / 0.7)
    x.requires_grad_()
    torch.manual_seed(0)
    drop(x).sum().backward()
    torch.manual_seed(0)
    torch.testing.assert_close(x.grad, drop(torch.ones_like(x)))
    assert drop.eval()(x) is x
    assert LockedDropout(0.0)(x) is x


def test_word_dropout_drops_whole_words_wherever_they_come() -> None:
    embedding = WordDropout(4000, 6, 0.25)
    assert (embedding.weight[1] == 0).all()
    x = torch.arange(2, 4000).repeat(2, 1)
    y = embedding(x)
    gone = (y == 0).all(-1)
    assert torch.equal(gone[0], gone[1])
    assert torch.equal(gone, (y == 0).any(-1))
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(y[~gone], embedding.weight[x][~gone] / 0.75)
    y.sum().backward()
    assert embedding.weight.grad is not None
    torch.testing.assert_close(embedding.weight.grad[2:, 0], torch.where(gone[0], 0.0, 2 / 0.75))
    embedding.eval()
    assert torch.equal(embedding(x), embedding.weight[x])
    assert (embedding(torch.ones(3, 1, dtype=torch.long)) == 0).all()


def test_every_dropout_is_off_in_eval_and_on_in_training() -> None:
    x = torch.randint(2, 50, (6, 3))
    for name in NO_DROPOUT:
        torch.manual_seed(0)
        ours = encoder(**{**NO_DROPOUT, name: 0.5})
        torch.manual_seed(0)
        plain = encoder(**NO_DROPOUT)
        assert not torch.allclose(ours(x).dropped, plain(x).dropped), name
        assert torch.equal(ours.eval()(x).dropped, plain.eval()(x).dropped), name


def test_raw_and_dropped_differ_by_the_output_dropout() -> None:
    encoded = encoder(**{**NO_DROPOUT, "dropout": 0.5})(torch.randint(2, 50, (6, 3)))
    kept = encoded.dropped != 0
    assert 0.2 < kept.float().mean() < 0.8
    torch.testing.assert_close(encoded.dropped[kept], encoded.raw[kept] * 2)


def test_windows_are_one_long_run_and_carry_no_gradient() -> None:
    model: Any = LanguageModel(encoder(**NO_DROPOUT), 50)
    x = torch.randint(0, 50, (20, 4))
    windows = torch.cat([model(window)[0] for window in x.split(7)])
    model.reset()
    assert not model.state
    torch.testing.assert_close(windows, model(x)[0])
    assert not any(part.requires_grad for layer in model.state for part in layer)
    model(x[:, :3])  # another batch size: a fresh state
    fresh: Any = LanguageModel(model.encoder, 50)
    fresh.decoder = model.decoder
    assert torch.equal(model.state[0][0], (fresh(x[:, :3]), fresh.state[0][0])[1])


def test_asking_for_the_next_token_leaves_the_state_alone() -> None:
    model = LanguageModel(encoder(), 50).eval()
    x = torch.randint(0, 50, (9, 2))
    scores = model(x)[0].view(9, 2, 50)
    kept = model.state
    first, state = model.next_scores(x[:4])
    torch.testing.assert_close(first, scores[3])
    last, _ = model.next_scores(x[4:], state)
    torch.testing.assert_close(last, scores[-1])
    assert model.state is kept


def test_tied_weights_are_one_table_that_learns_from_both_sides(tmp_path: Path) -> None:
    tied, untied = LanguageModel(encoder(), 50), LanguageModel(encoder(), 50, tie_weights=False)
    assert tied.decoder.weight is tied.encoder.embedding.weight
    assert untied.decoder.weight is not untied.encoder.embedding.weight
    n = [sum(p.numel() for p in model.parameters()) for model in (tied, untied)]
    assert n[1] - n[0] == 50 * 8
    x = torch.full((3, 2), 5)
    tied(x)[0].logsumexp(1).sum().backward()
    grad = tied.encoder.embedding.weight.grad
    assert grad is not None
    assert (grad[7] != 0).any()  # never read, but scored
    for model in (tied, untied):
        file = save_model(model, tmp_path / "m")
        again = LanguageModel(encoder(), 50, tie_weights=model is tied)
        load_model(again, file)
        assert_same(model, again)
        assert (again.decoder.weight is again.encoder.embedding.weight) == (model is tied)
    assert list(tied.state_dict()) == list(untied.state_dict())


def test_the_parameters_have_the_names_of_pytorch() -> None:
    assert list(WeightDropRNN(5, 7, 0.5).state_dict()) == [f"rnn.{name}" for name in nn.LSTM(5, 7).state_dict()]


def test_activation_penalties_are_those_of_the_paper() -> None:
    raw, dropped = torch.randn(5, 3, 4, requires_grad=True), torch.randn(5, 3, 4, requires_grad=True)
    loss = torch.tensor(1.5)
    ar = sum(float(v) ** 2 for v in dropped.detach().flatten()) / 60
    steps = (raw[1:] - raw[:-1]).detach()
    tar = sum(float(v) ** 2 for v in steps.flatten()) / 48
    penalised = seq2seq_reg(None, (raw, dropped), loss, alpha=2, beta=1)
    assert penalised.item() == pytest.approx(1.5 + 2 * ar + tar, rel=1e-5)
    penalised.backward()
    torch.testing.assert_close(dropped.grad, 2 * 2 * dropped.detach() / 60)
    assert seq2seq_reg(None, (raw, dropped), loss) is loss
    assert partial(seq2seq_reg, beta=1)(None, (raw[:1], dropped[:1]), loss) is loss  # a single step does not jump


@KINDS
def test_the_compiled_model_is_the_same(kind: str) -> None:
    model = LanguageModel(encoder(rnn=kind), 50)
    x = torch.randint(0, 50, (7, 4))
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler warns of things of its own
        for run in (model, torch.compile(model, backend="eager")):
            model.reset()
            model.zero_grad()
            torch.manual_seed(1)
            scores = [run(x)[0], run(x)[0]]
            scores[1].logsumexp(1).sum().backward()
            runs.append((*scores, *(p.grad.clone() for p in model.parameters() if p.grad is not None)))
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
        assert len(runs[0]) == 2 + len(list(model.parameters()))


@needs_bf16
def test_half_precision_runs_and_learns() -> None:
    model = LanguageModel(encoder(), 50)
    for _ in range(2):  # the second time with the state of the first
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(torch.randint(0, 50, (7, 4)))[0]
        assert scores.dtype == torch.bfloat16
        scores.float().logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_layer_groups_hold_every_parameter_once() -> None:
    model = encoder(n_layers=3)
    groups = model.layer_groups()
    assert len(groups) == 4
    held = [id(p) for group in groups for module in group for p in module.parameters()]
    assert held == [id(p) for p in model.parameters()]


def test_an_unknown_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="`rnn` must be one of 'lstm', 'gru'; got 'rnn'"):
        WeightDropRNN(3, 4, 0.1, "rnn")


def leaves_of(state: Any) -> list[Tensor]:
    if isinstance(state, tuple | list):
        return [leaf for part in state for leaf in leaves_of(part)]
    return [] if state is None else [state]


def test_repackage_var_ends_the_history_of_any_state() -> None:
    h = torch.ones(2, requires_grad=True) * 2
    for state in (h, (h, h), [h, (h, None)], None):
        again = repackage_var(state)
        assert type(again) is type(state)
        leaves = leaves_of(again)
        assert all(not part.requires_grad and torch.equal(part, h) for part in leaves)
        assert len(leaves) == len(leaves_of(state))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.uint8])
def test_tokens_may_be_whole_numbers_of_any_type(dtype: torch.dtype) -> None:
    x = torch.randint(2, 50, (7, 3))
    model = LanguageModel(encoder().eval(), 50).eval()
    classifier = TextClassifier(encoder().eval(), 2).eval()
    for module in (model, classifier):
        expected = module(x)[0]
        if module is model:
            model.reset()
        torch.testing.assert_close(module(x.to(dtype))[0], expected)


def test_parts_are_found_as_in_the_course() -> None:
    model, classifier = LanguageModel(encoder(), 50), TextClassifier(encoder(), 2)
    assert (model[0], model[1]) == (model.encoder, model.decoder)
    assert (classifier[0], classifier[1]) == (classifier.encoder, classifier.head)
    bs = model[0].bs
    model[0].bs = 1  # type: ignore[assignment]
    model.eval()
    model.reset()
    scores, *_ = model(torch.zeros(4, 1, dtype=torch.long))
    model[0].bs = bs
    assert scores[-1].topk(10)[1].shape == (10,)
    with pytest.raises(IndexError):
        model[2]
