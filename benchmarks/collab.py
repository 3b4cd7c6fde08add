"""Ratings: learnkit beside a bare loop and fastai v2, implicit feedback beside its baselines, and 20 million ratings.

    python -m benchmarks.collab explicit     MovieLens 100k: error and time, interleaved in one run
    python -m benchmarks.collab implicit     MovieLens 100k, ratings >= 4: ranking against popularity and item-kNN
    python -m benchmarks.collab scale        20 million synthetic ratings: memory and time, dense and sparse gradients

fastai is left out with a note where it is not installed. `--threads` defaults to 1 for MovieLens, for every
contestant: its batches are too small to be split, and waiting for a second thread on a busy machine costs more than
it brings.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.timing import Case, Contestants, have_fastai, memory
from learnkit import get_cv_idxs, seed_everything
from learnkit.collab import (
    CollabFilterData,
    CollabFilterDataset,
    EmbeddingDotBias,
    rank_held_out,
)
from learnkit.collab.learner import dense_opt, sparse_opt
from learnkit.datasets import movielens_frames

EPOCHS, LR, WDS, BETAS, FACTORS, BATCH = 8, 6e-3, (0.4, 0.01), (0.9, 0.98), 50, 256
MB = 1e6


# ---------------------------------------------------------------- explicit feedback


def explicit(repeats: int) -> None:
    ratings, _ = movielens_frames()
    val_idxs = get_cv_idxs(len(ratings))  # numpy.random.default_rng(42).permutation(n)[: n // 5]
    contestants: dict[str, Callable[[int], tuple[float, float]]] = {
        "learnkit": lambda seed: run_learnkit(ratings, val_idxs, seed),
        "bare loop": lambda seed: run_bare(ratings, val_idxs, seed),
    }
    if have_fastai():
        contestants["fastai wd 0.1"] = lambda seed: run_fastai(ratings, val_idxs, seed, 0.1)
        contestants["fastai wd 0.2"] = lambda seed: run_fastai(ratings, val_idxs, seed, 0.2)
    else:
        print("fastai is not installed here: left out. pip install fastai")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    run_bare(ratings, val_idxs, 0, n_epochs=1)  # torch imports half of itself when the first optimizer is made
    for seed in range(repeats):
        for name, run in contestants.items():  # interleaved, so that a busy minute hits all of them
            results[name].append(run(seed))
            print(
                f"  seed {seed}  {name:14s} MSE {results[name][-1][0]:.4f}  {results[name][-1][1]:6.2f} s", flush=True
            )
    print(
        f"\nMovieLens 100k, random 20% validation, {FACTORS} factors, medians of {repeats}, {torch.get_num_threads()} thread(s)"
    )
    medians = {name: [statistics.median(run[i] for run in runs) for i in (0, 1)] for name, runs in results.items()}
    for name, (mse, seconds) in medians.items():
        print(f"  {name:14s} MSE {mse:.4f}  RMSE {math.sqrt(mse):.4f}  {seconds:6.2f} s")
    ours = medians["learnkit"][1]
    print(f"  learnkit / bare loop: {ours / medians['bare loop'][1]:.2f} of the time (at most 1.15 wanted)")
    for name in results:
        if name.startswith("fastai"):
            print(f"  learnkit / {name}: {ours / medians[name][1]:.2f} of the time (at most 0.33 wanted)")


def run_learnkit(
    ratings: pd.DataFrame, val_idxs: NDArray[Any], seed: int, n_epochs: int = EPOCHS, bs: int = BATCH
) -> tuple[float, float]:
    seed_everything(seed)
    cf = CollabFilterDataset.from_data_frame(".", ratings, "userId", "movieId", "rating")
    learn = cf.get_learner(val_idxs=val_idxs, bs=bs)
    started = time.perf_counter()
    with learn.no_progress():
        results = learn.fit_one_cycle(n_epochs, LR)
    return results["val_loss"], time.perf_counter() - started


def run_bare(
    ratings: pd.DataFrame, val_idxs: NDArray[Any], seed: int, n_epochs: int = EPOCHS, bs: int = BATCH
) -> tuple[float, float]:
    """The same model, optimizer and schedule in the shortest loop there is: slices of whole tensors."""
    torch.manual_seed(seed)
    users, items = (torch.from_numpy(pd.factorize(ratings[name])[0] + 1) for name in ("userId", "movieId"))
    y = torch.tensor(ratings.rating.to_numpy(), dtype=torch.float32)
    is_val = torch.zeros(len(y), dtype=torch.bool)
    is_val[torch.from_numpy(val_idxs)] = True
    trn, val = [[x[rows] for x in (users, items, y)] for rows in (~is_val, is_val)]
    model = EmbeddingDotBias(int(users.max()) + 1, int(items.max()) + 1, FACTORS, (1.0, 5.0), mean=float(trn[2].mean()))
    factors = [model.user_factors.weight, model.item_factors.weight]
    biases = [model.user_bias.weight, model.item_bias.weight]
    groups = [{"params": p, "weight_decay": wd} for p, wd in zip((factors, biases), WDS, strict=True)]
    opt = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)
    n = len(trn[2])
    n_steps, step = n_epochs * -(-n // bs), 0
    started = time.perf_counter()
    for _ in range(n_epochs):
        model.train()
        order = torch.randperm(n)
        u, i, r = (x[order] for x in trn)
        for at in range(0, n, bs):
            rate, momentum = one_cycle(step / n_steps)
            for group in opt.param_groups:
                group["lr"], group["betas"] = LR * rate, (momentum, BETAS[1])
            loss = F.mse_loss(model(u[at : at + bs], i[at : at + bs]), r[at : at + bs])
            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
        model.eval()
        with torch.no_grad():
            total = sum(
                float(F.mse_loss(model(a, b), c, reduction="sum"))
                for a, b, c in zip(*(x.split(bs) for x in val), strict=True)
            )
    return total / len(val[2]), time.perf_counter() - started


def one_cycle(progress: float, start: float = 0.04, pct: float = 0.25) -> tuple[float, float]:
    share = progress / pct if progress < pct else (progress - pct) / (1 - pct)
    half = (1 - math.cos(math.pi * share)) / 2
    return (start + (1 - start) * half, 0.95 - 0.1 * half) if progress < pct else (1 - half, 0.85 + 0.1 * half)


def run_fastai(
    ratings: pd.DataFrame, val_idxs: NDArray[Any], seed: int, wd: float, n_epochs: int = 5
) -> tuple[float, float]:
    """As fastai's own tutorial does it: 5 one-cycle epochs at 5e-3, batches of 64, range 0.5 to 5.5."""
    warnings.filterwarnings("ignore")
    from fastai.collab import TabularCollab, collab_learner
    from fastai.data.block import RegressionBlock
    from fastai.tabular.core import Categorify
    from fastai.torch_core import set_seed

    set_seed(seed)
    frame = ratings[["userId", "movieId", "rating"]].copy()
    trn_idxs = np.setdiff1d(np.arange(len(frame)), val_idxs)
    table = TabularCollab(
        frame, [Categorify], ["userId", "movieId"], y_names=["rating"], y_block=RegressionBlock(),
        splits=(trn_idxs.tolist(), val_idxs.tolist()),
    )  # fmt: skip
    learn = collab_learner(table.dataloaders(bs=64), n_factors=FACTORS, y_range=(0.5, 5.5))
    started = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(n_epochs, 5e-3, wd=wd)
    seconds = time.perf_counter() - started
    return float(learn.recorder.values[-1][1]), seconds


def epoch_contestants() -> Contestants:
    """An epoch of MovieLens and its validation, batches of 64 for everybody."""
    ratings, _ = movielens_frames()
    val_idxs = get_cv_idxs(len(ratings))
    return {
        "learnkit": lambda: run_learnkit(ratings, val_idxs, 0, 1, 64)[1],
        "bare": lambda: run_bare(ratings, val_idxs, 0, 1, 64)[1],
        "fastai v2": (lambda: run_fastai(ratings, val_idxs, 0, 0.1, 1)[1]) if have_fastai() else None,
    }


CASES = [
    Case(
        "collab epoch", "an epoch of MovieLens 100k, batch 64", "s", epoch_contestants, 3,
        {"bare": 1.15, "fastai v2": 1 / 3}, threads=1,
    ),
]  # fmt: skip


# ---------------------------------------------------------------- implicit feedback


def implicit(repeats: int) -> None:
    ratings, _ = movielens_frames()
    liked = ratings[ratings.rating >= 4].reset_index(drop=True)
    cf = CollabFilterDataset.from_data_frame(".", liked, "userId", "movieId", None)
    val_idxs = get_cv_idxs(len(liked))
    rows: list[tuple[str, dict[str, float], float]] = []
    for seed in range(repeats):
        seed_everything(seed)
        learn = cf.get_learner(val_idxs=val_idxs)
        started = time.perf_counter()
        with learn.no_progress():
            learn.fit_one_cycle(*IMPLICIT)
        rows.append((f"learnkit BPR, seed {seed}", learn.ranking_metrics(), time.perf_counter() - started))
    data, held_out = learn.data, learn.data.held_out
    assert held_out is not None
    for name, scorer in (
        ("popularity", popularity(data)),
        *((f"item-kNN, k = {k}", item_knn(data, k)) for k in (20, 50, 100, 200)),
    ):
        started = time.perf_counter()
        found = rank_held_out(scorer, data.seen, held_out)
        rows.append((name, found, time.perf_counter() - started))
    print(f"\nMovieLens 100k, ratings >= 4 ({len(cf):,}), random 20% held out, lists of 10 without what was seen")
    for name, found, seconds in rows:
        figures = "  ".join(f"{key}@10 {value:.4f}" for key, value in found.items())
        print(f"  {name:22s} {figures}  {seconds:6.2f} s")


IMPLICIT = (20, 1e-2)


def popularity(data: CollabFilterData) -> Callable[[NDArray[np.int64]], torch.Tensor]:
    counts = torch.from_numpy(data.item_counts).float()
    return lambda users: counts.expand(len(users), -1)


def item_knn(data: CollabFilterData, k: int) -> Callable[[NDArray[np.int64]], torch.Tensor]:
    """Sum of the cosine similarities to the user's items, each item counting its `k` nearest (Sarwar et al. 2001)."""
    assert data.seen is not None
    matrix = torch.zeros(data.n_users, data.n_items)
    where, items = data.seen.rows(np.arange(data.n_users))
    matrix[torch.from_numpy(where), torch.from_numpy(items)] = 1
    unit = matrix / matrix.norm(dim=0).clamp(min=1e-9)
    similarity = unit.T @ unit
    similarity.fill_diagonal_(0)
    nearest = similarity.topk(k, dim=1)
    kept = torch.zeros_like(similarity).scatter_(1, nearest.indices, nearest.values)
    return lambda users: matrix[torch.from_numpy(users)] @ kept


# ---------------------------------------------------------------- scale


def scale(n: int, n_users: int, n_items: int, bs: int, lr: float, threads: int) -> None:
    compare_steps(n_users, n_items)
    print(
        f"{n:,} synthetic ratings, {n_users:,} users, {n_items:,} items, batches of {bs:,}, one epoch each", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for name, column in synthetic_ratings(n, n_users, n_items).items():
            np.save(Path(folder, f"{name}.npy"), column)
        print(f"made in {time.perf_counter() - started:.0f} s", flush=True)
        for kind in ("dense", "sparse"):  # in processes of their own, for a clean count of the memory
            command = [
                sys.executable,
                __file__,
                "scale-worker",
                "--kind",
                kind,
                "--folder",
                folder,
                "--bs",
                str(bs),
                "--lr",
                str(lr),
            ]
            subprocess.run([*command, "--threads", str(threads)], check=True)


def compare_steps(n_users: int, n_items: int, n_steps: int = 30) -> None:
    """Time a training step with dense and with sparse gradients: which is quicker depends on the batch."""
    print(
        f"milliseconds per step, {n_users:,} users, {n_items:,} items, 50 factors, {torch.get_num_threads()} thread(s)"
    )
    for bs in (64, 256, 1024, 8192, 32768):
        line = f"  batch {bs:6,}"
        for sparse in (False, True):
            model = EmbeddingDotBias(n_users, n_items, FACTORS, (0.5, 5.0), mean=3.5, sparse=sparse)
            opt = sparse_opt(model.parameters(), 1e-3) if sparse else dense_opt(model.parameters(), 1e-3)
            times = []
            for _ in range(n_steps):
                users = torch.randint(n_users, (bs,))
                items = (torch.rand(bs) ** 3 * n_items).long()
                y = torch.rand(bs) * 4 + 1
                started = time.perf_counter()
                opt.zero_grad()
                F.mse_loss(model(users, items), y).backward()
                opt.step()
                times.append(time.perf_counter() - started)
            line += f"   {'sparse' if sparse else 'dense'} {1000 * statistics.median(times):7.2f}"
        print(line, flush=True)


def scale_worker(kind: str, folder: str, bs: int, lr: float) -> None:
    tiny = pd.DataFrame({"user": [1] * 4 + [2] * 4, "item": [1, 2, 3, 4] * 2, "rating": np.arange(8, dtype=np.float32)})
    warnings.filterwarnings("ignore")
    small = CollabFilterDataset.from_data_frame(".", tiny, "user", "item", "rating").get_learner(
        4, sparse=kind == "sparse"
    )
    with small.no_progress():
        small.fit_one_cycle(1, 1e-3)  # everything that is imported late is imported
    before = memory("VmRSS")
    columns = {name: np.load(Path(folder, f"{name}.npy")) for name in ("user", "item", "rating")}
    ratings = pd.DataFrame(columns, copy=False)
    arrays = sum(column.nbytes for column in columns.values())
    own = before + arrays
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    seed_everything(0)
    started = time.perf_counter()
    cf = CollabFilterDataset.from_data_frame(".", ratings, "user", "item", "rating")
    learn = cf.get_learner(bs=bs, sparse=kind == "sparse")
    encoded = time.perf_counter() - started
    peak_encoding = memory("VmHWM")
    started = time.perf_counter()
    with learn.no_progress():
        results = learn.fit_one_cycle(1, lr, wds=0.01)
    trained = time.perf_counter() - started
    peak = memory("VmHWM")
    print(
        f"{kind:6s}  encoded in {encoded:.1f} s, trained in {trained:.1f} s "
        f"({0.8 * len(ratings) / trained / 1e6:.2f} M ratings/s), validation MSE {results['val_loss']:.4f} "
        f"(noise {NOISE**2:.2f} + rounding {1 / 48:.2f})\n"
        f"        ratings' own arrays {arrays / MB:.0f} MB (int32, int32, float32); on top of them and of the imports at most "
        f"{(peak_encoding - own) / MB:.0f} MB while encoding, {(peak - own) / MB:.0f} MB in all = {(peak - own) / arrays:.2f}x "
        f"({(peak - own) / (2 * arrays):.2f}x of the 64-bit columns that read_csv gives)",
        flush=True,
    )


NOISE = 0.8


def synthetic_ratings(n: int, n_users: int, n_items: int) -> dict[str, NDArray[Any]]:
    """Half-star ratings from 5 true factors and biases; popular items and busy users as in real data; no pair twice."""
    rng = np.random.default_rng(0)
    rank = 5
    p, q = rng.normal(0, 0.5, (n_users, rank)), rng.normal(0, 0.5, (n_items, rank))
    user_bias, item_bias = rng.normal(0, 0.4, n_users), rng.normal(0, 0.5, n_items)
    popular = 1 / (np.arange(n_items) + 30.0)
    edges = np.cumsum(popular / popular.sum())
    busy = rng.lognormal(0, 1, n_users)
    per_user = np.minimum(busy / busy.sum() * n * 1.12, n_items / 20) + 20  # some draws repeat and are dropped
    out = {"user": np.empty(n, np.int32), "item": np.empty(n, np.int32), "rating": np.empty(n, np.float32)}
    filled = 0
    while filled < n:
        for low in range(0, n_users, 4000):
            users = np.arange(low, min(low + 4000, n_users))
            owner = np.repeat(users, per_user[users].astype(int))
            drawn = np.searchsorted(edges, rng.random(len(owner))).clip(max=n_items - 1)
            u, i = np.divmod(np.unique(owner * n_items + drawn), n_items)
            truth = 3.5 + user_bias[u] + item_bias[i] + (p[u] * q[i]).sum(1) + rng.normal(0, NOISE, len(u))
            take = min(len(u), n - filled)
            at = slice(filled, filled + take)
            out["user"][at], out["item"][at] = u[:take] + 1, i[:take] + 1
            out["rating"][at] = (np.round(truth * 2) / 2).clip(0.5, 5.0)[:take]
            filled += take
        if filled < n:
            raise SystemExit(
                f"only {filled:,} distinct pairs were drawn; ask for fewer ratings or more users and items."
            )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["explicit", "implicit", "scale", "scale-worker"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=140_000)
    parser.add_argument("--items", type=int, default=27_000)
    parser.add_argument("--bs", type=int, default=8192)
    parser.add_argument("--lr", type=float, default=6e-3)
    parser.add_argument("--kind", default="dense", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.part == "explicit":
        explicit(args.repeats)
    elif args.part == "implicit":
        implicit(args.repeats)
    elif args.part == "scale":
        scale(args.n, args.users, args.items, args.bs, args.lr, args.threads)
    else:
        scale_worker(args.kind, args.folder, args.bs, args.lr)


if __name__ == "__main__":
    main()
