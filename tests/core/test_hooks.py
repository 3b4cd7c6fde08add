"""Hooks that remove themselves, output shapes, and the model summary."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

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

    counts = [(row.name, row.nb_params) for row in summary.layers]
    assert counts[:4] == [("emb", 30), ("block.0", 24), ("block.1.0", 8), ("block.1.1", 0)]
    assert counts[4:] == [("shared", 16), ("shared", 0), ("(model)", 1), ("unused", 10_100)]  # a row for each call
    assert sum(row.nb_params for row in summary.layers) == summary.nb_params
    rows = {row.name: row for row in summary.layers}
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


def test_layers_built_at_their_first_input_are_counted_and_not_built() -> None:
    model = small_net()
    summary = summarize(model, [torch.zeros(2, 3, 5, 5)])
    assert summary.layers[-1].nb_params == 4 * 3 * 3 * 2 + 2
    last: Any = model[-1]
    assert is_lazy(last.weight)
    model(torch.zeros(2, 3, 5, 5))
    assert summary.nb_params == sum(p.numel() for p in model.parameters())


class Makes(nn.Module):
    """Keeps things while it runs, in every way."""

    sized: Tensor
    count: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(3, 3)
        self.register_buffer("later", None)
        self.register_buffer("sized", torch.zeros(0, 3))
        self.register_buffer("count", torch.zeros(()))
        self.n_calls, self.kept, self.by_name = 0, [torch.ones(2)], dict[str, Any]()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "buffer" and not hasattr(self, "mask"):
            self.register_buffer("mask", torch.ones(len(x), 1))
        elif self.how == "temporary buffer" and not hasattr(self, "mask"):
            self.register_buffer("mask", torch.ones(len(x), 1), persistent=False)
        elif self.how == "none":
            self.later = torch.ones(len(x), 3)
        elif self.how == "resized":
            self.sized.resize_(len(x), 3).fill_(1)
        elif self.how == "in place":
            self.count.add_(1)
        elif self.how == "attributes":
            self.n_calls += 1
            self.kept.append(x)
            self.by_name["x"] = x
            self.seen = {"x": x}
        elif self.how == "training":  # there is none to predict with before it has been trained
            if self.training:
                self.register_buffer("mean", x.mean(0))
            x = x - self.get_buffer("mean")
        return self.layer(x)


@pytest.mark.parametrize("how", ["buffer", "temporary buffer", "none", "resized", "in place", "attributes", "training"])
@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_keeps_things_while_it_runs_is_left_as_it_was(how: str, training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), Makes(how)).train(training)
    x = torch.randn(4, 3)
    before, rng = copy.deepcopy(model), torch.get_rng_state()
    summary = summarize(model, [x])
    assert [row.name for row in summary.layers] == ["0", "1", "2.layer"]
    assert summary.nb_params == 18
    for module, was in zip(model.modules(), before.modules(), strict=True):
        assert vars(module).keys() == vars(was).keys()
        assert module._buffers.keys() == was._buffers.keys()
        assert module.training == was.training
    made: Any = model[2]
    assert (made.n_calls, len(made.kept), made.by_name, made.later) == (0, 1, {}, None)
    assert model.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(x, before.state_dict()[name]) for name, x in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert n_hooks(model) == 0


class Tied(nn.Module):
    """One table to read words and to write them; called by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.out.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.out(input=self.table(words))
        return out


def test_weights_that_layers_share_are_counted_once_and_calls_by_name_are_seen() -> None:
    table, out = summarize(Tied(), [torch.zeros(4, 2, dtype=torch.long)]).layers
    assert (table.nb_params, out.nb_params) == (15, 0)
    assert (out.input_shape, out.output_shape) == ((-1, 2, 3), (-1, 2, 5))


def test_parameters_that_are_used_without_a_call_have_a_row() -> None:
    summary = summarize(nn.MultiheadAttention(4, 2), [torch.zeros(3, 2, 4)] * 3)
    assert sum(row.nb_params for row in summary.layers) == summary.nb_params == 4 * 4 * 4 + 4 * 4
