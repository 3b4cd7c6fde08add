"""The whole course recipe on real pictures, every stage in a table: `python -m benchmarks.recipe mnist` or `fashion`.

EfficientNet-lite0 with its ImageNet weights, on PNG folders: MNIST (4,000 digits to train on, 1,000 to validate), or a part
of Fashion-MNIST (5,000 and 1,000). The head on activations computed once; with augmentation; all layers at differential
rates with the pretrained statistics kept; larger pictures; test-time augmentation; then what went wrong and where the
network looked. The sizes are small so that a run takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import learnkit
from benchmarks.timing import machine
from learnkit.datasets import FASHION_CLASSES, efficientnet_lite0_weights, fashion_mnist_arrays, mnist_folders
from learnkit.vision import (
    ConvLearner,
    ImageClassifierData,
    tfms_from_model,
    transforms_basic,
    transforms_side_on,
)

ARCH = "timm/tf_efficientnet_lite0"


def fashion_folders(root: Path, data: Path, n: int) -> Path:
    """Write `n` pictures of Fashion-MNIST, a sixth for validation, as `train/<class>/*.png` and `valid/<class>/*.png`."""
    trn_x, trn_y, val_x, val_y = fashion_mnist_arrays(data)
    rng = np.random.default_rng(42)
    for part, wanted, pictures, labels in (("train", n - n // 6, trn_x, trn_y), ("valid", n // 6, val_x, val_y)):
        for i in rng.permutation(len(pictures))[:wanted]:
            file = root / part / FASHION_CLASSES[labels[i]] / f"{i:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[i]).save(file)
    return root


class Stages:
    """The table: what each stage reached, and in what time."""

    def __init__(self) -> None:
        self.lines = ["| stage | pixels | epochs | seconds | val_loss | accuracy |", "|---|---|---|---|---|---|"]

    def fit(self, name: str, sz: int, learn: ConvLearner, run: Callable[[], dict[str, float]]) -> None:
        """Run a stage and note its last epoch."""
        print(f"\n{name}, {sz} px")
        started = time.perf_counter()
        results = run()
        seconds = time.perf_counter() - started
        self.add(name, sz, len(learn.sched.epochs), seconds, results["val_loss"], results["accuracy"])

    def add(self, name: str, sz: int, epochs: int | str, seconds: float, loss: float, accuracy: float) -> None:
        """Write a line."""
        self.lines.append(f"| {name} | {sz} | {epochs} | {seconds:.0f} | {loss:.4f} | {accuracy:.4f} |")


def recipe(path: Path, out: Path, augment: Sequence[object], args: argparse.Namespace) -> Stages:
    """Run it; plots and the report go to `out`."""

    def load(sz: int) -> ImageClassifierData:
        tfms = tfms_from_model(ARCH, sz, aug_tfms=augment, max_zoom=1.1)
        return ImageClassifierData.from_paths(path, bs=args.bs, tfms=tfms)

    small, large = args.sizes
    learn = ConvLearner.pretrained(
        ARCH, load(small), precompute=True, weights=efficientnet_lite0_weights(),
        device=args.device, precision=args.precision, channels_last=args.channels_last,
    )  # fmt: skip
    stages = Stages()
    lr = learn.lr_find().valley
    print(f"lr_find on the head: {lr:.1e}")
    stages.fit("head, precompute", small, learn, lambda: learn.fit(lr, 3, cycle_len=1))
    learn.precompute = False
    stages.fit("head, augmentation, `cycle_len=1`", small, learn, lambda: learn.fit(lr, 2, cycle_len=1))

    learn.unfreeze()
    learn.bn_freeze(True)
    lr = lr / 10  # AdamW's steps are larger than those the course's rates were meant for, and nothing renormalises now
    lrs = np.array([lr / 100, lr / 10, lr])
    stages.fit(
        "all layers, `bn_freeze`, `cycle_mult=2`", small, learn, lambda: learn.fit(lrs, 2, cycle_len=1, cycle_mult=2)
    )
    learn.set_data(load(large))
    stages.fit("larger, `set_data`", large, learn, lambda: learn.fit(lrs, 1, cycle_len=args.large_epochs))

    started = time.perf_counter()
    log_preds, y = learn.TTA()
    probs = np.exp(log_preds).mean(0)
    loss = -np.log(probs[np.arange(len(y)), y].clip(1e-9)).mean()
    stages.add("TTA", large, "", time.perf_counter() - started, float(loss), float((probs.argmax(1) == y).mean()))

    said = learn.interpret()
    print("\nmost confused (is, said, how often):", said.most_confused()[:3])
    said.plot_confusion_matrix().figure.savefig(out / "confusion_matrix.png")
    said.plot_most_incorrect(n=6).savefig(out / "most_incorrect.png")
    learn.cam(said.top_losses(6)[1]).plot().savefig(out / "cam.png")
    learn.report(out / "report.html")
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", choices=["mnist", "fashion"])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, help="folder for plots and the report; `recipe-<pictures>` by default")
    parser.add_argument("--n", type=int, help="how many pictures; 5,000 digits or 6,000 clothes by default")
    parser.add_argument("--sizes", type=int, nargs=2, default=[48, 64], metavar=("SMALL", "LARGE"))
    parser.add_argument("--large-epochs", type=int, default=2)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--device")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    print(machine())
    learnkit.seed_everything(42)
    out = args.out or Path(f"recipe-{args.pictures}")
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if args.pictures == "mnist":
            path, augment = mnist_folders(folder, args.n), list(transforms_basic)
        else:
            path, augment = fashion_folders(Path(folder), args.data, args.n or 6000), list(transforms_side_on)
        stages = recipe(path, out, augment, args)
    print("\n" + "\n".join(stages.lines))
    print(f"\n{time.perf_counter() - started:.0f} seconds; plots and the report in {out}")


if __name__ == "__main__":
    main()
