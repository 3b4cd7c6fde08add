"""Training on blends of items, compared with the same thing done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnkit import (
    Callback,
    CutMix,
    DataBunch,
    MixUp,
)
from tests.train.helpers import (
    N_CLASSES,
    assert_same,
    net,
    run_fit,
    snapshot,
)


class Blends(Callback):
    """Reads off what was blended: item i is a picture whose channel i is one, so that every blend shows its parts."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.partners: list[int] = []
        self.valid: list[float] = []

    def after_loss(self, run: Any) -> None:
        parts = run.xs[0].mean((2, 3))  # (items, parts), the share of each item in each blend
        if not run.training:
            self.valid.append((parts - torch.eye(len(parts))).abs().max().item())
            return
        torch.testing.assert_close(parts.sum(1), torch.ones(len(parts)))
        per_target = -run.pred.log_softmax(1)[:, run.y]  # of each blend towards the target of each item
        torch.testing.assert_close(run.loss, (parts * per_target).sum(1).mean())
        own = parts.diagonal()
        self.shares.append(own.min().item())
        self.partners.append(int((parts > 0).sum(1).max()))


def blend(callbacks: list[Callback], n_batches: int, size: int) -> Blends:
    n = 12
    x, y = torch.eye(n)[:, :, None, None].expand(n, n, size, size).contiguous(), torch.arange(n) % N_CLASSES
    blends = Blends()
    data = DataBunch(".", [(x, y)] * n_batches, [(x, y)])
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, N_CLASSES))
    run_fit([*callbacks, blends], 1, model, data, lr=0.01)
    assert len(blends.shares) == n_batches
    assert blends.valid == [0.0]  # what is validated is not blended
    return blends


def test_mixup_blends_pairs_of_items_and_their_losses():
    alpha = 0.4
    blends = blend([MixUp(alpha)], 150, 1)
    shares = torch.tensor(blends.shares)
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert max(blends.partners) == 2
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 150))
    assert shares.var().item() == pytest.approx(variance, rel=0.25)


def test_cutmix_counts_the_losses_by_the_area_that_was_cut():
    blends = blend([CutMix()], 60, 8)
    assert max(blends.partners) == 2
    areas = [(1 - share) * 64 for share in blends.shares]
    assert areas == pytest.approx([round(area) for area in areas], abs=1e-3)  # whole pixels
    assert len({round(area) for area in areas}) > 10


@pytest.mark.parametrize("kinds", [(MixUp, CutMix), (CutMix, MixUp)])
def test_blends_of_blends_count_every_item_by_its_share(kinds):
    blends = blend([kind() for kind in kinds], 20, 8)
    assert max(blends.partners) == 4


def test_cutmix_needs_pictures():
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"CutMix needs pictures of shape \(B, C, H, W\); got \(8, 6\)"):
        run_fit([CutMix()], model=model)
    assert_same(before, model)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_mixup_of_a_regression_blends_targets_too(shape):
    """For a linear loss in the target: the same as training on blended targets."""
    x = torch.eye(8)
    y = torch.arange(8.0)

    class Check(Callback):
        def after_loss(self, run):
            if run.training:
                per_item = (run.pred.view(-1, 1) - y.view(1, -1)) ** 2  # towards each target
                torch.testing.assert_close(run.loss, (run.xs[0] * per_item).sum(1).mean())

    data = DataBunch(".", [(x, y.view(shape))] * 3, [(x, y.view(shape))])
    run_fit([MixUp(), Check()], 2, nn.Linear(8, 1), data, 0.01, crit=F.mse_loss, metrics=None)


def test_mixup_needs_inputs_that_can_be_blended():
    codes = torch.arange(8)
    with pytest.raises(TypeError, match="blends decimal inputs"):
        run_fit([MixUp()], 1, nn.Embedding(8, 3), DataBunch(".", [(codes, codes % 3)] * 2))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: MixUp(0), ValueError, "`alpha` must be a positive number"),
    ],
)
def test_bad_argument(make, error, words):
    with pytest.raises(error, match=words):
        make()
