"""The shared blocks, and the questions asked of any module."""

import pytest
import torch
from torch import nn

from learnkit.core.layers import (
    AdaptiveConcatPool2d,
    Flatten,
    batch_norms,
    bn_drop_lin,
    children,
    init_linear,
    model_device,
    set_train_mode,
)


def test_flatten_keeps_the_batch() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(Flatten()(x), x.reshape(2, 12))


@pytest.mark.parametrize("sz", [1, 2])
def test_concat_pool_is_maxima_then_averages(sz: int) -> None:
    x = torch.randn(2, 3, 4, 6)
    blocks = x.view(2, 3, sz, 4 // sz, sz, 6 // sz)
    expected = torch.cat([blocks.amax((3, 5)), blocks.mean((3, 5))], dim=1)
    torch.testing.assert_close(AdaptiveConcatPool2d(sz)(x), expected)


@pytest.mark.parametrize(
    ("p", "relu", "kinds"),
    [
        (0.0, False, [nn.BatchNorm1d, nn.Linear]),
        (0.5, False, [nn.BatchNorm1d, nn.Dropout, nn.Linear]),
        (0.5, True, [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU]),
    ],
)
def test_block_is_batch_norm_dropout_linear_relu(p: float, relu: bool, kinds: list[type]) -> None:
    layers = bn_drop_lin(4, 3, p=p, relu=relu)
    assert [type(layer) for layer in layers] == kinds
    assert nn.Sequential(*layers)(torch.randn(5, 4)).shape == (5, 3)


def test_linear_layers_keep_the_variance_of_what_passes_a_relu() -> None:
    torch.manual_seed(0)
    layer = init_linear(nn.Linear(400, 300))
    assert layer.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)  # He et al. 2015
    assert not layer.bias.any()
    assert init_linear(nn.Linear(2, 2, bias=False)).bias is None


def test_children_are_direct_and_batch_norms_are_found_at_any_depth() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model = nn.Sequential(inner, nn.Flatten(), nn.BatchNorm1d(3))
    assert children(model) == [inner, model[1], model[2]]
    assert list(batch_norms(model)) == [inner[1], model[2]]
    assert list(batch_norms([inner, inner[1]])) == [inner[1], inner[1]]


def moved(norm: nn.BatchNorm1d) -> bool:
    return bool(norm.running_mean.any())  # type: ignore[union-attr]


def test_train_mode_leaves_alone_the_batch_norms_that_must_not_move() -> None:
    free, frozen, kept, bare, bare_frozen, half = (nn.BatchNorm1d(2, affine=i not in (3, 4)) for i in range(6))
    frozen.requires_grad_(False)
    half.bias.requires_grad_(False)
    kept.keep_stats = True  # type: ignore[assignment]
    bare_frozen.frozen = True  # type: ignore[assignment]
    model = nn.Sequential(free, frozen, kept, bare, bare_frozen, half, nn.Dropout(0.5))
    model.eval()
    set_train_mode(model)
    for norm in (free, frozen, kept, bare, bare_frozen, half):
        norm(torch.randn(4, 2) + 3)
    assert [moved(norm) for norm in (free, frozen, kept, bare, bare_frozen, half)] == [1, 0, 0, 1, 0, 1]
    assert model[-1].training
    frozen.requires_grad_(True)
    set_train_mode(model)
    assert frozen.training  # thawed with its parameters


def test_model_device_looks_at_parameters_then_buffers() -> None:
    assert model_device(nn.Linear(1, 1, device="meta")).type == "meta"
    buffers_only = nn.BatchNorm1d(2, affine=False, device="meta")
    assert model_device(buffers_only).type == "meta"
    assert model_device(nn.ReLU()) == torch.device("cpu")
