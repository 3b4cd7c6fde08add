"""The Transformer sees what came before and nothing else."""

from __future__ import annotations

import pytest
import torch

from learnkit.text import LanguageModel, TransformerEncoder


def transformer(**kwargs: float) -> TransformerEncoder:
    return TransformerEncoder(50, 16, 32, 2, context=10, **kwargs).eval()  # type: ignore[arg-type]


def test_a_later_token_changes_no_earlier_score() -> None:
    model = LanguageModel(transformer(), 50).eval()
    x = torch.randint(2, 50, (12, 3))
    scores = model(x)[0].view(12, 3, 50)
    changed = x.clone()
    changed[7, 1] = (changed[7, 1] + 1) % 48 + 2
    model.reset()
    again = model(changed)[0].view(12, 3, 50)
    assert torch.equal(again[:7], scores[:7])
    assert torch.equal(again[:, [0, 2]], scores[:, [0, 2]])
    assert ((again - scores)[7:, 1].abs().amax(1) > 1e-5).all()  # and reaches every later one


def test_the_last_tokens_are_carried_along() -> None:
    encoder = transformer()
    x = torch.randint(2, 50, (30, 3))
    encoded = encoder(x[:20])
    assert torch.equal(encoded.state, x[10:20])
    assert torch.equal(encoder(x[20:22], encoded.state).state, x[12:22])
    alone, carried = encoder(x[20:]).raw, encoder(x[20:], encoded.state).raw
    assert not torch.allclose(alone, carried, atol=1e-3)
    together = encoder(x[10:]).raw  # the same tokens in one window stand ten places further on
    assert together[10:].shape == carried.shape
    forgotten = x.clone()
    forgotten[:10] = 3
    assert torch.equal(encoder(x[20:], encoder(forgotten[:20]).state).raw, carried)


def test_a_window_stands_at_the_same_place_however_much_is_carried() -> None:
    """What training teaches of a window after a full context holds for one after a short prompt."""
    encoder, seen = transformer(), []
    encoder.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    window = torch.full((4, 1), 7)
    for n in (1, 5, 10):
        encoder(window, torch.full((n, 1), 9))
    encoder(window)
    assert all(torch.equal(h[-4:], seen[0][-4:]) for h in seen)
    assert [len(h) for h in seen] == [5, 9, 14, 4]


def test_dropout_is_off_in_eval_and_gradients_reach_everything() -> None:
    encoder = TransformerEncoder(50, 16, 32, 2)
    x = torch.randint(2, 50, (12, 3))
    assert not torch.equal(encoder(x).dropped, encoder(x).dropped)
    encoder(x).dropped.square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in encoder.parameters())
    encoder.eval()
    assert torch.equal(encoder(x).dropped, encoder(x).raw)
    held = {id(p) for group in encoder.layer_groups() for module in group for p in module.parameters()}
    assert held == {id(p) for p in encoder.parameters()}
    assert len(encoder.layer_groups()) == 3


def test_widths_that_heads_cannot_share() -> None:
    with pytest.raises(ValueError, match="even and a multiple of `n_heads`; got 10 and 4"):
        TransformerEncoder(50, 10, 32, 2)
