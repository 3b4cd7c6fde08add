"""Hooks that remove themselves, output shapes, and the model summary."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.core.hooks import ActivationStats, SaveFeatures, output_shape, summarize


def n_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in model.modules())


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def test_save_features_keeps_the_latest_output_without_its_graph() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    sf = SaveFeatures(model[0])
    first: Any = sf.features
    assert first is None
    for _ in range(2):
        x = torch.randn(3, 4)
        model(x)
        assert torch.equal(sf.features, model[0](x))
    assert not sf.features.requires_grad
    sf.remove()
    before = sf.features
    model(torch.randn(3, 4))
    assert sf.features is before
    assert n_hooks(model) == 0


def test_save_features_can_be_differentiated_through() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with SaveFeatures(model[0], detach=False) as sf:
        out = model(torch.randn(3, 4))
        (grad,) = torch.autograd.grad(out[:, 1].sum(), sf.features)
    torch.testing.assert_close(grad, next(model[1].parameters())[1].expand(3, 8))


def test_save_features_detaches_every_output_of_a_layer_that_has_several() -> None:
    model = nn.LSTM(2, 3)
    with SaveFeatures(model) as sf:
        model(torch.randn(4, 5, 2))
    out, (h, c) = sf.features
    assert [x.requires_grad for x in (out, h, c)] == [False] * 3


@pytest.mark.parametrize("kind", [lambda m: SaveFeatures(m[0]), ActivationStats])
def test_hooks_are_removed_also_after_an_error(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    with kind(model):
        assert n_hooks(model) > 0
    with pytest.raises(RuntimeError, match="shapes"), kind(model):
        model(torch.zeros(1, 5))
    assert n_hooks(model) == 0


def test_activation_stats_are_those_of_each_run() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Flatten())
    xs = [torch.tensor([[-1.0, 0.04, 1.0, 4.0]]), torch.tensor([[2.0, 2.0, 2.0, 2.0]])]
    with ActivationStats([model[0], model[1]], near_zero=0.05) as watch:
        assert watch.stats == [[], []]
        for x in xs:
            model(x)
    model(xs[0])  # nobody listens any more
    expected = [
        [(y.mean(), y.std(unbiased=False), (y.abs() < 0.05).float().mean()) for y in (f(x) for x in xs)]
        for f in (lambda x: x, torch.relu)
    ]
    torch.testing.assert_close(torch.tensor(watch.stats), torch.tensor(expected))


def test_output_shape_leaves_the_model_and_the_random_state_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    state = torch.get_rng_state()
    assert output_shape(model, (2, 3, 8, 9)) == (2, 4, 6, 7)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


class TwoInputs(nn.Module):
    """Embedding and numbers, nested blocks, a parameter of its own, a shared layer and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, 3)
        self.block = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()))
        self.scale = nn.Parameter(torch.ones(1))
        self.shared = nn.Linear(4, 4, bias=False)
        self.again = self.shared
        self.unused = nn.Linear(100, 100)

    def forward(self, cats: Tensor, conts: Tensor) -> dict[str, Tensor]:
        x = self.block(torch.cat([self.emb(cats), conts], 1))
        return {"out": self.again(self.shared(x)) * self.scale}


def test_summary_of_a_nested_model_with_two_inputs_counts_every_parameter_once() -> None:
    model = TwoInputs()
    model.block.requires_grad_(False)
    model.train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    xs = [torch.tensor([1, 2]), torch.randn(2, 2)]
    state = torch.get_rng_state()
    summary = summarize(model, xs)

    rows = {row.name: row for row in summary.layers}
    assert list(rows) == ["emb", "block.0", "block.1.0", "block.1.1", "shared", "(model)"]
    counts = {name: row.nb_params for name, row in rows.items()}
    assert counts == {"emb": 30, "block.0": 24, "block.1.0": 8, "block.1.1": 0, "shared": 16, "(model)": 1}
    assert summary.nb_params == sum(p.numel() for p in model.parameters()) == 30 + 24 + 8 + 16 + 1 + 10_100
    assert summary.nb_trainable == summary.nb_params - 32
    assert (rows["block.0"].input_shape, rows["block.0"].output_shape) == ((-1, 5), (-1, 4))
    assert rows["(model)"].output_shape is None  # a dict has no shape
    assert [rows[name].trainable for name in ("emb", "block.0", "block.1.1")] == [True, False, None]

    assert n_hooks(model) == 0
    assert all(m.training for m in model.modules())
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_printed_summary_shows_layers_and_totals() -> None:
    model = nn.Sequential(nn.Linear(4, 1000), nn.ReLU(), nn.Linear(1000, 2))
    model[0].requires_grad_(False)
    text = str(summarize(model, [torch.zeros(3, 4)]))
    lines = text.splitlines()
    assert lines[2].split() == ["0", "Linear", "(-1,", "4)", "(-1,", "1000)", "5,000", "frozen"]
    assert lines[4].split()[-1] == "yes"
    assert lines[-1] == "7,002 parameters: 2,002 trainable, 5,000 frozen"


def test_summary_of_a_model_that_fails_leaves_no_hook() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with pytest.raises(RuntimeError, match="shapes"):
        summarize(model, [torch.zeros(3, 5)])
    assert n_hooks(model) == 0
    assert model[1].training


def test_layers_built_at_their_first_input_are_counted() -> None:
    model = small_net()
    summary = summarize(model, [torch.zeros(2, 3, 5, 5)])
    assert summary.layers[-1].nb_params == 4 * 3 * 3 * 2 + 2
    assert summary.nb_params == sum(p.numel() for p in model.parameters())
