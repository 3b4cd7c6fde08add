"""Fashion-MNIST from scratch on a few cores: lesson 7's residual network, and the whole ladder.

    python -m benchmarks.fashion                        # the residual network, with test-time augmentation
    python -m benchmarks.fashion --ladder --epochs 3    # every network of `examples/ladder.py`

All 60,000 pictures train and all 10,000 validate; mirroring and shifts by up to two pixels augment them. One cycle each.
The defaults are the network of the lesson in bfloat16, which halves the time of a step on CPUs that have instructions for
it; elsewhere pass `--precision fp32`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from torch import nn

import learnkit
from benchmarks.timing import machine
from examples.ladder import ConvBnNet, ResnetLayer, ladder
from learnkit.datasets import FASHION_CLASSES, fashion_mnist_arrays
from learnkit.vision import ConvLearner, Cutout, ImageClassifierData, RandomFlip, tfms_from_stats

STATS = ([0.2860] * 3, [0.3530] * 3)  # of Fashion-MNIST's training pixels


def load(args: argparse.Namespace) -> ImageClassifierData:
    trn_x, trn_y, val_x, val_y = fashion_mnist_arrays(args.data)
    holes = [Cutout(1, args.cutout)] if args.cutout else []
    tfms = tfms_from_stats(STATS, 28, [RandomFlip(), *holes], pad=2)
    trn, val = (trn_x, trn_y), (val_x, val_y)
    return ImageClassifierData.from_arrays(".", trn, val, args.bs, tfms, FASHION_CLASSES, num_workers=args.workers)


def train(model: nn.Module, data: ImageClassifierData, args: argparse.Namespace) -> tuple[ConvLearner, str]:
    """Train one cycle; returns the learner, and its accuracy and seconds (validation included) as columns of a table.

    The seconds of the processor are those of all its cores together: they tell what a busy machine took away.
    """
    learn = ConvLearner.from_model_data(
        model, data, crit=nn.CrossEntropyLoss(label_smoothing=args.smoothing), precision=args.precision,
        channels_last=not args.channels_first, device=args.device,
    )  # fmt: skip
    started, busy = time.perf_counter(), time.process_time()
    results = learn.fit_one_cycle(args.epochs, args.lr, wds=args.wd)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return learn, f"{args.epochs} | {seconds:.0f} | {busy:.0f} | {results['accuracy']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--ladder", action="store_true", help="every network, not only the residual one")
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128, 256], help="of each stage")
    parser.add_argument("--lr", type=float, default=8e-3)
    parser.add_argument("--wd", type=float, default=5e-2)
    parser.add_argument("--cutout", type=int, default=0, help="side of a blank square, in pixels")
    parser.add_argument("--smoothing", type=float, default=0.1, help="of the labels")
    parser.add_argument("--bs", type=int, default=256)
    parser.add_argument("--n-aug", type=int, default=10, help="augmented versions for test-time augmentation")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--channels-first", action="store_true")
    parser.add_argument("--device")
    args = parser.parse_args()
    print(machine())
    data = load(args)
    names = list(ladder(28, data.c)) if args.ladder else ["residual, dropout"]
    lines = ["| network | parameters | epochs | seconds | of the processor | accuracy | with TTA |", "|" + "---|" * 7]
    for name in names:
        learnkit.seed_everything(0)
        if args.ladder:
            model = ladder(28, data.c)[name]
        else:
            model = ConvBnNet(args.channels, data.c, [ResnetLayer, ResnetLayer], p=0.2)
        learn, figures = train(model, data, args)
        log_preds, y = learn.TTA(args.n_aug)
        averaged = float((np.exp(log_preds).mean(0).argmax(1) == y).mean())
        n = sum(p.numel() for p in model.parameters())
        lines.append(f"| {name} | {n:,} | {figures} | {averaged:.4f} |")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
