"""Lesson 7's ladder of networks from scratch, each a little better than the one before: `python examples/ladder.py`.

Fully connected, convolutional, with batch norm, deeper, residual, residual with dropout. All are plain `nn.Module`s,
trained the same way through `ConvLearner.from_model_data`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

import learnkit
from learnkit.datasets import mnist_arrays
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

STATS = ([0.1307] * 3, [0.3081] * 3)  # of MNIST's pixels


class SimpleNet(nn.Module):
    """Linear layers on flattened pixels."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class ConvNet(nn.Module):
    """Convolutions of stride 2, the mean over the places, one linear layer."""

    def __init__(self, layers: Sequence[int], c: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(layers)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in pairs)
        self.out = nn.Linear(layers[-1], c)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


class BnLayer(nn.Module):
    """Convolution, batch norm, ReLU; halves height and width with stride 2."""

    def __init__(self, ni: int, nf: int, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ni, nf, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(nf)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class ResnetLayer(BnLayer):
    """What the layer adds to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class ConvBnNet(nn.Module):
    """A wide first convolution, then stages: each halves the picture and has `extra` layers more.

    Parameters
    ----------
    layers : sequence of int
        Channels of each stage.
    c : int
        Number of classes.
    extra : sequence of type
        Layers of stride 1 after the first of each stage: none, `BnLayer` (deeper) or `ResnetLayer` (residual).
    p : float
        Dropout before the last layer.
    """

    def __init__(self, layers: Sequence[int], c: int, extra: Sequence[type[BnLayer]] = (), p: float = 0.0) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, layers[0], kernel_size=5, stride=1, padding=2)
        stages = []
        for ni, nf in itertools.pairwise(layers):
            stages.append(nn.Sequential(BnLayer(ni, nf), *(kind(nf, nf, stride=1) for kind in extra)))
        self.stages = nn.Sequential(*stages)
        self.drop = nn.Dropout(p)
        self.out = nn.Linear(layers[-1], c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.start(x))
        return self.out(self.drop(F.adaptive_max_pool2d(x, 1).flatten(1)))


def ladder(sz: int, c: int) -> dict[str, nn.Module]:
    """Return the networks, simplest first."""
    return {
        "fully connected": SimpleNet([3 * sz * sz, 40, c]),
        "convolutional": ConvNet([3, 20, 40, 80], c),
        "batch norm": ConvBnNet([10, 20, 40, 80, 160], c),
        "deeper": ConvBnNet([10, 20, 40, 80, 160], c, [BnLayer]),
        "residual": ConvBnNet([10, 20, 40, 80, 160], c, [ResnetLayer, ResnetLayer]),
        "residual, dropout": ConvBnNet([16, 32, 64, 128, 256], c, [ResnetLayer, ResnetLayer], p=0.2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--n", type=int, default=5000, help="how many digits to use")
    args = parser.parse_args()
    pictures, labels = mnist_arrays()
    order = np.random.default_rng(0).permutation(len(pictures))[: args.n]
    val, trn = np.split(order, [len(order) // 5])
    data = ImageClassifierData.from_arrays(
        ".",
        trn=(pictures[trn], labels[trn]),
        val=(pictures[val], labels[val]),
        tfms=tfms_from_stats(STATS, 28),
    )
    print("network               parameters   val_loss   accuracy")
    for name, model in ladder(28, data.c).items():
        learnkit.seed_everything(0)
        learn = ConvLearner.from_model_data(model, data)
        with learn.no_progress():
            results = learn.fit_one_cycle(args.epochs, 1e-2)
        n = sum(p.numel() for p in model.parameters())
        print(f"{name:<20} {n:>11,} {results['val_loss']:>10.4f} {results['accuracy']:>10.4f}", flush=True)


if __name__ == "__main__":
    main()
