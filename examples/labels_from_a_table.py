"""Several labels per picture, and numbers per picture, from CSV files: `python examples/labels_from_a_table.py`.

From handwritten digits the script makes two folders of pictures with a table each: squares that hold two or three digits
at random places, labelled with all of them ("1 4 9"), and digits that were turned, labelled with the angle. A residual
network learns both from scratch. Each result stands beside the best that can be said without looking at the picture.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import learnkit
from examples.ladder import STATS, ConvBnNet, ResnetLayer
from learnkit import f2
from learnkit.datasets import mnist_arrays
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats


def write_several(root: Path, n: int) -> None:
    """Write `root/several/*.png`, squares of 56 px with two or three digits each, and `root/several.csv`."""
    digits, labels = mnist_arrays()
    rng = np.random.default_rng(0)
    trn_digits, val_digits = np.split(rng.permutation(len(digits)), [len(digits) * 4 // 5])
    held_out = set(validation_rows(n))
    (root / "several").mkdir(parents=True)
    rows = []
    for i in range(n):
        chosen = rng.choice(val_digits if i in held_out else trn_digits, rng.integers(2, 4))
        square = np.zeros((56, 56), np.uint8)
        for cell, j in zip(rng.permutation(4), chosen, strict=False):
            y, x = 28 * (cell // 2), 28 * (cell % 2)
            square[y : y + 28, x : x + 28] = digits[j]
        Image.fromarray(square).save(root / "several" / f"{i:05d}.png")
        rows.append((f"{i:05d}", " ".join(sorted({str(label) for label in labels[chosen]}))))
    pd.DataFrame(rows, columns=["name", "digits"]).to_csv(root / "several.csv", index=False)


def write_turned(root: Path, n: int) -> None:
    """Write `root/turned/*.png`, up to 2,500 digits turned by up to 45 degrees, and `root/turned.csv`."""
    digits, labels = mnist_arrays()
    rng = np.random.default_rng(0)
    (root / "turned").mkdir(parents=True)
    rows = []
    for i in rng.permutation(np.flatnonzero(np.isin(labels, (2, 3, 4, 5, 7))))[:n]:
        angle = rng.uniform(-45, 45)
        picture = Image.fromarray(digits[i]).rotate(angle, Image.Resampling.BICUBIC)
        picture.save(root / "turned" / f"{i:05d}.png")
        rows.append((f"{i:05d}", angle))
    pd.DataFrame(rows, columns=["name", "angle"]).to_csv(root / "turned.csv", index=False)


def validation_rows(n: int) -> range:
    """Return the last fifth of the rows, whose digits occur in no other row."""
    return range(n * 4 // 5, n)


def several_labels(root: Path, n: int, epochs: int) -> tuple[float, float]:
    """Return the network's F2 score, and that of the best set of digits to name for every picture alike."""
    write_several(root, n)
    data = ImageClassifierData.from_csv(
        root, "several", "several.csv", tfms=tfms_from_stats(STATS, 28), suffix=".png", val_idxs=validation_rows(n)
    )
    learn = ConvLearner.from_model_data(ConvBnNet([16, 32, 64, 128, 256], data.c, [ResnetLayer]), data, metrics=["f2"])
    score = learn.fit_one_cycle(epochs, 1e-2)["f2"]
    y = data.val_y
    most_common = np.argsort(-y.mean(0))
    always = [np.isin(np.arange(data.c), most_common[:k]).astype(float) for k in range(1, data.c + 1)]
    return score, max(float(f2(np.tile(answer, (len(y), 1)), y)) for answer in always)


def numbers(root: Path, n: int, epochs: int) -> tuple[float, float]:
    """Return the network's root mean squared error in degrees, and that of always saying the mean."""
    write_turned(root, n)
    data = ImageClassifierData.from_csv(
        root, "turned", "turned.csv", tfms=tfms_from_stats(STATS, 28), suffix=".png", val_idxs=validation_rows(n),
        continuous=True,
    )  # fmt: skip
    learn = ConvLearner.from_model_data(ConvBnNet([16, 32, 64, 128], data.c, [ResnetLayer]), data, metrics=["rmse"])
    error = learn.fit_one_cycle(epochs, 1e-2)["rmse"]
    return error, float(np.sqrt(np.mean((data.val_y - data.trn_ds.y.mean()) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2500, help="pictures in each table, at most 2,500")
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        learnkit.seed_everything(0)
        score, constant = several_labels(Path(folder), args.n, args.epochs)
        learnkit.seed_everything(0)
        error, mean = numbers(Path(folder), args.n, args.epochs)
    print(f"\nseveral digits: F2 {score:.3f}; the same digits for every picture {constant:.3f}")
    print(f"angle of a digit: off by {error:.1f} degrees (RMSE); the mean for every picture {mean:.1f}")


if __name__ == "__main__":
    main()
