"""How many pictures per second the training and validation pipelines give, beside torchvision and fastai v2.

    python -m benchmarks.images

1,000 JPEGs of 400 x 400 are decoded, augmented (side on: rotation, zoom, light, flip), cut to 224 and normalised, with
two workers each, and the same pictures without augmentation; then one picture through `predict_array` against a bare forward pass, and a frozen-backbone epoch with
and without `precompute`. fastai v2 (the extra `bench`) is left out with a note if it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.timing import interleave, machine, table
from learnkit.datasets import efficientnet_lite0_weights, imagenet_photos
from learnkit.vision import ConvLearner, ImageClassifierData, imagenet_stats, tfms_from_stats, transforms_side_on

SZ, BS, WORKERS = 224, 64, 2


def write_jpegs(folder: Path, n: int) -> None:
    """Cut `n` squares of 400 px out of real photographs, in ten classes, for training and again for validation."""
    photos = [Image.open(file).convert("RGB") for file in imagenet_photos()[0]]
    rng = np.random.default_rng(0)
    for i in range(n):
        photo = photos[i % len(photos)]
        side = int(min(photo.size) * rng.uniform(0.7, 1))
        left, top = (int(rng.integers(size - side + 1)) for size in photo.size)
        square = photo.crop((left, top, left + side, top + side)).resize((400, 400))
        for part in ("train", "valid"):  # the same pictures, so that both pipelines run long enough to be timed
            target = folder / part / f"class{i // 10 % 10}"
            target.mkdir(parents=True, exist_ok=True)
            square.save(target / f"{i}.jpg", quality=90)


def drain(dl: Any) -> Callable[[], float]:
    """Return a function that reads a loader to its end and gives its milliseconds per picture."""

    def run() -> float:
        started = time.perf_counter()
        n = sum(len(y) for _, y in dl)  # counted, as fastai leaves out a last batch that is not full
        return (time.perf_counter() - started) / n * 1000

    return run


def torchvision_loaders(folder: Path) -> tuple[DataLoader[Any], DataLoader[Any]]:
    finish = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(imagenet_stats.mean, imagenet_stats.std),
    ]
    augment = [
        v2.RandomResizedCrop(SZ, scale=(1 / 1.1**2, 1.0), ratio=(1.0, 1.0)),
        v2.RandomApply([v2.RandomRotation([-10, 10], v2.InterpolationMode.BILINEAR)], p=0.75),
        v2.ColorJitter((0.95, 1.05), (0.95, 1.05)),
        v2.RandomHorizontalFlip(),
    ]
    trn = ImageFolder(str(folder / "train"), v2.Compose([*augment, *finish]))
    val = ImageFolder(str(folder / "valid"), v2.Compose([v2.Resize(SZ), v2.CenterCrop(SZ), *finish]))
    return DataLoader(trn, BS, True, num_workers=WORKERS), DataLoader(val, BS, num_workers=WORKERS)


def fastai_loaders(folder: Path) -> tuple[Any, Any] | None:
    if importlib.util.find_spec("fastai") is None:
        print('fastai v2 is not installed (pip install "learnkit[bench]"), so it is left out.')
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.vision.all import ImageDataLoaders, Normalize, Resize, aug_transforms

    augment = aug_transforms(size=SZ, max_rotate=10, max_zoom=1.1, max_lighting=0.05, max_warp=0)
    normalise = Normalize.from_stats(imagenet_stats.mean, imagenet_stats.std)
    dls = ImageDataLoaders.from_folder(
        folder, valid="valid", bs=BS, num_workers=WORKERS, device=torch.device("cpu"),
        item_tfms=Resize(int(SZ * 1.1)), batch_tfms=[*augment, normalise],
    )  # fmt: skip
    return dls.train, dls.valid


def pipelines(folder: Path, n: int, rounds: int) -> None:
    tfms = tfms_from_stats(imagenet_stats, SZ, transforms_side_on, max_zoom=1.1)
    data = ImageClassifierData.from_paths(folder, BS, tfms, num_workers=WORKERS)
    pairs = {"torchvision": torchvision_loaders(folder), "learnkit": (data.trn_dl, data.val_dl)}
    if (rival := fastai_loaders(folder)) is not None:
        pairs["fastai v2"] = rival
    for i, title in enumerate(("Training", "Validation")):
        print(f"\n{title} pipeline, {n:,} JPEGs of 400 px to {SZ} px, {WORKERS} workers\n")
        runs = {name: drain(pair[i]) for name, pair in pairs.items()}
        figures = interleave(runs, rounds)
        print(table(figures, "torchvision", "ms/picture"))
        print("\npictures per second:", ", ".join(f"{k} {1000 / statistics.median(v):.0f}" for k, v in figures.items()))


def prediction(folder: Path, rounds: int) -> None:
    arch = "timm/tf_efficientnet_lite0"
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), SZ)
    data = ImageClassifierData.from_paths(folder, BS, tfms)
    learn = ConvLearner.pretrained(arch, data, weights=efficientnet_lite0_weights())
    learn.no_progress()
    picture = data.val_ds[0][0][None]
    array = picture.numpy()

    def bare() -> float:
        started = time.perf_counter()
        with torch.no_grad():
            for _ in range(10):
                learn.model(picture).log_softmax(1).numpy()
        return (time.perf_counter() - started) * 100

    def ours() -> float:
        started = time.perf_counter()
        for _ in range(10):
            learn.predict_array(array)
        return (time.perf_counter() - started) * 100

    learn.model.eval()
    print(f"\nOne picture of {SZ} px through EfficientNet-lite0\n")
    print(table(interleave({"bare forward": bare, "predict_array": ours}, rounds), "bare forward", "ms"))

    def epoch() -> float:
        started = time.perf_counter()
        learn.fit(1e-3, 1)
        return time.perf_counter() - started

    plain = epoch()
    learn.precompute = True
    first = epoch()
    cached = statistics.median(epoch() for _ in range(3))
    print(
        f"\nAn epoch of the head: {plain:.2f} s without precompute; with it {first:.2f} s the first time, then {cached:.3f} s"
    )
    print(f"({plain / cached:.0f} times faster)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(2)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder, args.n)
        pipelines(folder, args.n, args.rounds)
        prediction(folder, args.rounds)


if __name__ == "__main__":
    main()
