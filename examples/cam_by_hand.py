"""Class activation maps by hand: `python examples/cam_by_hand.py`.

The head of a pretrained network is cut off and replaced by a convolution to one map per class and the mean over its
places, so that the maps are the answer: where a class's map is high, there the network saw it. Each picture holds four
digits in a square; its class is whether a three or a seven is among them. Nobody tells the network where: the maps do, and
as the script put the digits there itself, it can count how often they are right.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import learnkit
from learnkit.datasets import efficientnet_lite0_weights, mnist_arrays
from learnkit.vision import ConvLearner, ImageClassifierData, SaveFeatures, plots, tfms_from_model
from learnkit.vision.models import conv_body

ARCH = "timm/tf_efficientnet_lite0"
CLASSES = ["three", "seven"]


def squares(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return `n` pictures of 56 px with four digits each, their classes, and the cell, 0 to 3, that decides."""
    digits, labels = mnist_arrays()
    rng = np.random.default_rng(seed)
    # Pictures of the validation set are made of other digits than those of the training set.
    of = {digit: np.flatnonzero(labels == digit)[seed::2] for digit in (0, 1, 3, 4, 7)}
    classes, cells = rng.integers(2, size=n), rng.integers(4, size=n)
    pictures = np.zeros((n, 56, 56), np.uint8)
    for picture, cls, chosen in zip(pictures, classes, cells, strict=True):
        for cell in range(4):
            digit = (3, 7)[cls] if cell == chosen else rng.choice([0, 1, 4])
            y, x = 28 * (cell // 2), 28 * (cell % 2)
            picture[y : y + 28, x : x + 28] = digits[rng.choice(of[digit])]
    return pictures, classes, cells


def cam_model(c: int) -> nn.Sequential:
    """Return the pretrained network without its end, then a map per class, the mean over the places, log-probabilities.

    The last two of its seven stages are left out too: their maps are too coarse to point at one of four digits.
    """
    stem, norm, stages, *_ = conv_body(ARCH, efficientnet_lite0_weights()).children()
    layers = [stem, norm, *list(stages.children())[:-2]]
    n_maps = 112
    conv = nn.Conv2d(n_maps, c, kernel_size=3, padding=1)
    return nn.Sequential(*layers, conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(dim=1))


@torch.no_grad()
def maps_by_hand(model: nn.Sequential, x: Tensor) -> NDArray[np.float32]:
    """Return the map of the predicted class of each picture, as large as the picture, in 0..1."""
    with SaveFeatures(model[-4]) as saved:
        log_preds = model.eval()(x)
    features: Tensor = saved.features
    chosen = features[range(len(x)), log_preds.argmax(1)][:, None].clamp(min=0)
    large = F.interpolate(chosen, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    large = large - large.amin((1, 2), keepdim=True)
    return (large / large.amax((1, 2), keepdim=True).clamp(min=1e-12)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1500, help="training pictures")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "cam_by_hand.png")
    args = parser.parse_args()
    learnkit.seed_everything(0)
    trn_x, trn_y, _ = squares(args.n, seed=0)
    val_x, val_y, cells = squares(300, seed=1)
    tfms = tfms_from_model(ARCH, 112)
    data = ImageClassifierData.from_arrays(".", (trn_x, trn_y), (val_x, val_y), tfms=tfms, classes=CLASSES)

    model = cam_model(data.c)
    learn = ConvLearner.from_model_data(model, data)
    learn.freeze_to(-4)  # the convolution, the pooling and two layers without parameters
    learn.fit(3e-3, args.epochs, cycle_len=1)

    x = torch.stack([picture for picture, _ in data.val_ds])
    maps = maps_by_hand(model, x)
    half = x.shape[-1] // 2
    brightest = maps.reshape(len(maps), 2, half, 2, half).mean((2, 4)).reshape(len(maps), 4).argmax(1)
    found = float((brightest == cells).mean())
    print(f"\nthe map is brightest over the digit that decides in {found:.0%} of {len(x)} pictures; by chance in 25%")
    print(f"largest difference from learn.cam: {np.abs(maps - learn.cam(x).maps).max():.1e}")

    pictures = data.val_ds.denorm(x[:8])
    figure = plots(pictures, 2, [CLASSES[y] for y in val_y[:8]], (9, 5))
    for ax, heat in zip(figure.axes, maps, strict=False):
        ax.imshow(heat, cmap="inferno", alpha=0.5)
    figure.savefig(args.out, dpi=100)
    print(f"drawn into {args.out}")


if __name__ == "__main__":
    main()
