"""How many pictures per second the training and validation pipelines give, beside torchvision and fastai v2.

    python -m benchmarks.images

1,000 JPEGs of 400 x 400 are decoded, augmented (side on: rotation, zoom, light, flip), cut to 224 and normalised, with
two workers each, and the same pictures without augmentation; then one picture through `predict_array` against a bare
forward pass, and a frozen-backbone epoch with and without `precompute`. "bare" is torchvision's own pipeline. fastai v2 (the extra `bench`) is left out with a note if it is not installed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.timing import Case, Contestants, have_fastai, interleave, machine, table
from learnkit.datasets import efficientnet_lite0_weights, imagenet_photos
from learnkit.vision import ConvLearner, ImageClassifierData, imagenet_stats, tfms_from_stats, transforms_side_on

SZ, BS, WORKERS, N = 224, 64, 2, 1000


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
    if not have_fastai():
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


@cache
def loaders() -> dict[str, tuple[Any, Any]]:
    """Return training and validation loader of each contestant over the same thousand JPEGs; written once."""
    folder = Path(tempfile.mkdtemp())
    write_jpegs(folder, N)
    tfms = tfms_from_stats(imagenet_stats, SZ, transforms_side_on, max_zoom=1.1)
    data = ImageClassifierData.from_paths(folder, BS, tfms, num_workers=WORKERS)
    found = {"learnkit": (data.trn_dl, data.val_dl), "bare": torchvision_loaders(folder)}
    if (rival := fastai_loaders(folder)) is not None:
        found["fastai v2"] = rival
    return found


def pipeline(part: int) -> Contestants:
    """Milliseconds per picture of the training (0) or the validation (1) pipeline; torchvision's is the bare one."""
    return {name: drain(pair[part]) for name, pair in loaders().items()}


@cache
def network() -> tuple[ConvLearner, torch.Tensor]:
    """Return EfficientNet-lite0 on two hundred of the pictures, and one of them."""
    folder = Path(tempfile.mkdtemp())
    write_jpegs(folder, N // 5)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), SZ)
    data = ImageClassifierData.from_paths(folder, BS, tfms)
    learn = ConvLearner.pretrained("timm/tf_efficientnet_lite0", data, weights=efficientnet_lite0_weights())
    learn.no_progress()
    return learn, data.val_ds[0][0][None]


def prediction() -> Contestants:
    """Milliseconds for one picture."""
    learn, picture = network()
    array = picture.numpy()

    def bare() -> float:
        learn.model.eval()
        started = time.perf_counter()
        with torch.no_grad():
            for _ in range(10):
                learn.model(picture).log_softmax(1).numpy()
        return (time.perf_counter() - started) * 100

    def ours() -> float:
        learn.model.eval()
        started = time.perf_counter()
        for _ in range(10):
            learn.predict_array(array)
        return (time.perf_counter() - started) * 100

    return {"learnkit": ours, "bare": bare}


def precompute() -> Contestants:
    """Seconds of an epoch of the head; the bare one computes the frozen layers again each time."""
    learn, _ = network()

    def epoch(kept: bool) -> Callable[[], float]:
        def run() -> float:
            learn.precompute = kept
            started = time.perf_counter()
            learn.fit(1e-3, 1)
            return time.perf_counter() - started

        return run

    return {"learnkit": epoch(True), "bare": epoch(False)}


CASES = [
    Case(
        "images training", "read, augment and batch JPEGs of 400 px to 224", "ms", partial(pipeline, 0), 5,
        {"bare": 1.0, "fastai v2": 1 / 3},
    ),
    Case("images validation", "the same without augmentation", "ms", partial(pipeline, 1), 5, {"fastai v2": 1 / 2}),
    Case("images predict", "one picture of 224 px through EfficientNet-lite0", "ms", prediction, 7, {"bare": 1.2}),
    Case("images precompute", "an epoch of the head, with and without precompute", "s", precompute, 2, {"bare": 1 / 20}),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    torch.set_num_threads(2)
    print(machine())
    for case in CASES:
        print(f"\n{case.name}: {case.work}\n")
        contestants = {name: run for name, run in case.make().items() if run is not None}
        print(table(interleave(contestants, args.rounds or case.rounds), "bare", case.unit), flush=True)


if __name__ == "__main__":
    main()
