"""The main job, on real pictures with real pretrained weights: `python -m learnkit.demo`.

Five thousand handwritten digits, written as PNG folders; EfficientNet-lite0 with its ImageNet weights; the three
lines, the learning-rate finder, one fit of the head with restarts on activations that are computed once, all layers with
differential rates. It ends with a table of what was measured and a folder of plots.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

import learnkit
from learnkit.core.errors import LearnkitError
from learnkit.core.plots import plot_confusion_matrix, plots
from learnkit.datasets import efficientnet_lite0_weights, mnist_folders
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["main", "run"]

ARCH = "timm/tf_efficientnet_lite0"


def run(out: Path, *, n: int | None = None, sz: int = 48, n_cycle: int = 2, cycle_len: int = 2) -> dict[str, float]:
    """Run the main job and write its plots to `out`.

    Parameters
    ----------
    out : Path
        Folder for pictures, weights and plots; made if it is missing.
    n : int, optional
        How many digits to use; all by default.
    sz : int, default 48
        Height and width of the pictures the network gets.
    n_cycle : int, default 2
        Cycles with only the head unfrozen: of 1, 2, 4, ... epochs.
    cycle_len : int, default 2
        Epochs with all layers unfrozen.

    Returns
    -------
    dict of str to float
        Figures of the last epoch.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    learnkit.seed_everything(42)
    path = mnist_folders(out / "digits", n)
    stages: list[tuple[str, dict[str, float], float]] = []

    tfms = tfms_from_model(ARCH, sz)
    data = ImageClassifierData.from_paths(path, tfms=tfms)
    learn = ConvLearner.pretrained(
        ARCH, data, precompute=True, weights=efficientnet_lite0_weights(), channels_last=True
    )
    print(
        f"{len(data.trn_ds):,} training and {len(data.val_ds):,} validation pictures of {data.c} digits at {sz} px, ",
        end="",
    )
    print(f"{sum(p.numel() for p in learn.model.parameters()):,} parameters, on {learn.device}\n")

    found = learn.lr_find()
    _save(learn.sched.plot(), out / "lr_find.png")
    lr = found.valley
    print(
        f"lr_find suggests {found.valley:.1e} (valley), {found.steepest:.1e} (steepest), {found.minimum:.1e} (minimum/10)\n"
    )

    print(f"the head alone, on activations computed once: fit({lr:.1e}, {n_cycle}, cycle_len=1, cycle_mult=2)")
    stages.append(_timed("head, SGDR", learn.fit, lr, n_cycle, cycle_len=1, cycle_mult=2))
    _save(learn.sched.plot_lr(), out / "rates.png")

    learn.unfreeze()
    lrs = np.array([lr / 9, lr / 3, lr])
    print(f"\nall layers: unfreeze(), fit({lrs.round(5).tolist()}, 1, cycle_len={cycle_len})")
    stages.append(_timed("all layers, differential rates", learn.fit, lrs, 1, cycle_len=cycle_len))
    _save(learn.sched.plot_loss(), out / "losses.png")

    log_preds, y = learn.predict_with_targs()
    guesses = log_preds.argmax(1)
    confusion = np.zeros((data.c, data.c), dtype=int)
    np.add.at(confusion, (y, guesses), 1)
    _save(plot_confusion_matrix(confusion, data.classes or []), out / "confusion_matrix.png")
    _plot_predictions(data, np.exp(log_preds), out / "predictions.png")
    weights = learn.save("demo")

    print("\nstage                            val_loss   accuracy    seconds")
    for name, results, seconds in stages:
        print(f"{name:<30} {results['val_loss']:>10.4f} {results['accuracy']:>10.4f} {seconds:>10.1f}")
    print(f"\nplots: {', '.join(sorted(file.name for file in out.glob('*.png')))}, in {out}")
    print(f"weights: {weights}")
    return stages[-1][1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m learnkit.demo", description="Train on real digits, show plots.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for plots (default: demo-output)")
    args = parser.parse_args(argv)
    started = time.perf_counter()
    print(f"learnkit {learnkit.__version__}, torch {torch.__version__}")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        run(args.out)
    except (LearnkitError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(f"done in {time.perf_counter() - started:.0f} seconds")
    return 0


def _timed(name: str, fit, *args, **options) -> tuple[str, dict[str, float], float]:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    results = fit(*args, **options)
    return name, results, time.perf_counter() - started


def _save(ax: Axes, file: Path) -> None:
    cast("Figure", ax.figure).savefig(file)


def _plot_predictions(data: ImageClassifierData, probs: np.ndarray, file: Path) -> None:
    """Draw the twelve validation pictures the model is least sure of."""
    classes = data.classes or []
    unsure = np.argsort(probs.max(1))[:12]
    pictures = [data.val_ds.denorm(data.val_ds[i][0])[0] for i in unsure]
    titles = [f"{classes[probs[i].argmax()]} ({probs[i].max():.0%}), is {classes[data.val_y[i]]}" for i in unsure]
    plots(pictures, rows=2, titles=titles, figsize=(13, 5)).savefig(file)


if __name__ == "__main__":
    sys.exit(main())
