"""Tables: learnkit beside a bare loop over tensor slices, fastai v2 and scikit-learn's boosted trees.

    python -m benchmarks.tabular adult      Adult, official split: accuracy of 3 seeds, all contestants in one run
    python -m benchmarks.tabular speed      Adult: seconds per epoch at batch 64 and 512, interleaved
    python -m benchmarks.tabular flights    arrival delay, three time-ordered splits: RMSE beside boosted trees
    python -m benchmarks.tabular prepare    1 million rows through proc_df, beside pandas' own operations
    python -m benchmarks.tabular memory     5 million rows: peak memory of preparing and training

fastai is left out with a note where it is not installed. `--threads` (default 1) goes for every contestant.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.timing import Case, Contestants, have_fastai, interleave, machine, table
from learnkit import seed_everything
from learnkit.datasets import adult_frames
from learnkit.tabular import (
    ColumnarModelData,
    TabularLearner,
    cont_cat_split,
    proc_df,
    split_by_order,
    train_cats,
)
from learnkit.train.optim import adamw

FOLDER = tempfile.mkdtemp()


# ---------------------------------------------------------------- Adult


def adult_data(bs: int) -> ColumnarModelData:
    """Prepare with what the training rows say; the official test rows are the validation set."""
    train, test = adult_frames()
    _, cat_names = cont_cat_split(train, dep_var="income")
    train_cats(train, cat_names)
    df, y, nas, mapper = proc_df(train, "income")
    test_df, test_y, _, _ = proc_df(test, "income", na_dict=nas, mapper=mapper)
    both = pd.concat([df, test_df], ignore_index=True)
    labels = np.concatenate([np.asarray(y), np.asarray(test_y)])
    val_idxs = np.arange(len(df), len(both))
    return ColumnarModelData.from_data_frame(FOLDER, val_idxs, both, labels, bs=bs, is_reg=False, mapper=mapper)


def adult_learner(bs: int = 512, arch: str = "mlp", precision: str = "fp32") -> TabularLearner:
    learn = adult_data(bs).get_learner(arch=arch, precision=precision)
    learn.no_progress()
    return learn


def adult_mlp(seed: int, precision: str = "fp32") -> float:
    seed_everything(seed)
    return adult_learner(precision=precision).fit_one_cycle(5, 5e-3, wds=0.3)["accuracy"]


def adult_ple(seed: int) -> float:
    seed_everything(seed)
    return adult_learner(256, "ple").fit_one_cycle(20, 3e-3, wds=0.3)["accuracy"]


def adult_trees(seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, test = adult_frames()
    text = train.select_dtypes(exclude="number").columns.drop("income")
    for name in text:
        train[name] = train[name].astype("category")
        test[name] = test[name].astype(train[name].dtype)
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
    model.fit(train.drop(columns="income"), train["income"])
    return float(model.score(test.drop(columns="income"), test["income"]))


def fastai_learner(bs: int, seed: int, n_valid: int | None = None) -> Any:
    """Make fastai v2's default: its own split of columns, its own processing, its own model and rates."""
    from fastai.tabular.all import (
        Categorify,
        CategoryBlock,
        FillMissing,
        Normalize,
        TabularPandas,
        accuracy,
        cont_cat_split,
        set_seed,
        tabular_learner,
    )

    set_seed(seed)
    train, test = adult_frames()
    both = pd.concat([train, test if n_valid is None else test[:n_valid]], ignore_index=True)
    cont_names, cat_names = cont_cat_split(train, dep_var="income")
    splits = (list(range(len(train))), list(range(len(train), len(both))))
    to = TabularPandas(
        both, [Categorify, FillMissing, Normalize], cat_names, cont_names, "income", CategoryBlock(), splits=splits
    )
    learn = tabular_learner(to.dataloaders(bs=bs, path=FOLDER), metrics=accuracy)
    learn.remove_cbs([cb for cb in learn.cbs if cb.name == "progress"])
    learn.logger = lambda *args, **kwargs: None
    return learn


def adult_fastai(bs: int) -> Callable[[int], float]:
    def run(seed: int) -> float:
        learn = fastai_learner(bs, seed)
        learn.fit_one_cycle(5)
        return float(learn.validate()[1])

    return run


def adult(seeds: int) -> None:
    contestants: dict[str, Callable[[int], float]] = {
        "learnkit mlp, 5 epochs (bs 512)": adult_mlp,
        "the same in bf16": partial(adult_mlp, precision="bf16"),
        "learnkit ple, 20 epochs (bs 256)": adult_ple,
        "HistGradientBoosting": adult_trees,
    }
    if have_fastai():
        contestants |= {
            "fastai v2, 5 epochs (bs 64)": adult_fastai(64),
            "fastai v2, 5 epochs (bs 512)": adult_fastai(512),
        }
    print(f"Adult, official split, accuracy on the 16,281 test rows, {seeds} seeds ({machine()})\n")
    print("| | mean | each | s per run |\n|---|---|---|---|")
    for name, run in contestants.items():
        started = time.perf_counter()
        figures = [run(seed) for seed in range(seeds)]
        seconds = (time.perf_counter() - started) / seeds
        each = ", ".join(f"{value:.4f}" for value in figures)
        print(f"| {name} | {statistics.mean(figures):.4f} | {each} | {seconds:.1f} |", flush=True)


def epoch_contestants(bs: int, precision: str = "fp32") -> Contestants:
    """Milliseconds of an epoch of Adult's 32,561 rows, without validation. fastai has no bfloat16 on a CPU."""
    learn, bare = adult_learner(bs, precision=precision), adult_learner(bs)
    learn.data.val_dl = None
    rival: Any = fastai_learner(bs, 0, n_valid=64) if have_fastai() else None

    def ours() -> float:
        started = time.perf_counter()
        learn.fit(1e-3, 1, metrics=[])
        return 1000 * (time.perf_counter() - started)

    def loop() -> float:
        cats, conts, y = bare.data.trn_dl.tensors  # type: ignore[attr-defined]
        return 1000 * bare_epoch(bare.model, cats.long(), conts, y, bs, precision)

    def theirs() -> float:
        started = time.perf_counter()
        rival.fit(1, 1e-3)
        return 1000 * (time.perf_counter() - started)

    return {"learnkit": ours, "bare": loop, "fastai v2": theirs if rival is not None else None}


CASES = [
    Case(
        name, work, "ms", partial(epoch_contestants, bs, precision), 7, {"bare": 1.15, "fastai v2": 1 / 3},
        threads=1, bf16=precision == "bf16",
    )
    for name, work, bs, precision in (
        ("tabular epoch 64", "an epoch of Adult, batch 64", 64, "fp32"),
        ("tabular epoch 512", "an epoch of Adult, batch 512", 512, "fp32"),
        ("tabular epoch 512 bf16", 'the same, `precision="bf16"`', 512, "bf16"),
    )
]  # fmt: skip


def speed(rounds: int) -> None:
    for bs in (64, 512):
        contestants = {name: run for name, run in epoch_contestants(bs).items() if run is not None}
        print(f"\nAdult, one epoch of 32,561 rows without validation, batch {bs} ({machine()})\n")
        print(table(interleave(contestants, rounds), "bare", "ms"), flush=True)


def bare_epoch(
    model: torch.nn.Module, cats: torch.Tensor, conts: torch.Tensor, y: torch.Tensor, bs: int, precision: str = "fp32"
) -> float:
    """Train one epoch in the shortest loop there is over slices of whole tensors, and time it."""
    started = time.perf_counter()
    opt = adamw([{"params": list(model.parameters())}], lr=1e-3)
    model.train()
    order = torch.randperm(len(y))
    for i in range(0, len(y), bs):
        rows = order[i : i + bs]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(model(cats[rows], conts[rows]), y[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
    return time.perf_counter() - started


# ---------------------------------------------------------------- flights


def flights(seeds: int) -> None:
    """Print errors on three stretches of days, each after training on all days before: the network and the trees.

    The network's settings were chosen on the two earlier stretches, the tuned trees' each time on the last fifth of the
    days before; on the last stretch nothing was chosen.
    """
    from examples.flights_delay import flight_table

    df = flight_table()
    print(f"arrival delay of {len(df):,} flights, RMSE in minutes ({machine()})\n")
    print("| held out | spread | HistGradientBoosting | tuned | learnkit, each seed | mean |\n|" + "---|" * 6)
    rows: list[list[float]] = []
    for _ in range(3):
        held_out = split_by_order(df["Date"], 0.2)
        days = df["Date"].iloc[held_out]
        spread, default, tuned, ours = flights_errors(df, seeds)
        rows.insert(0, [default, tuned, statistics.mean(ours)])
        each = ", ".join(f"{error:.2f}" for error in ours)
        print(
            f"| {days.min():%B %d} to {days.max():%B %d} | {spread:.2f} | {default:.2f} | {tuned:.2f} | {each} | "
            f"{statistics.mean(ours):.2f} |",
            flush=True,
        )
        df = df.drop(index=df.index[held_out])
    default, tuned, mean = (statistics.mean(column) for column in zip(*rows, strict=True))
    print(f"| mean | | {default:.2f} | {tuned:.2f} | | {mean:.2f} |")


def flights_errors(df: pd.DataFrame, seeds: int) -> tuple[float, float, float, list[float]]:
    """Hold the last fifth of the days out; return their spread, the errors of two forests and of each seed."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    from examples.flights_delay import flight_data, flight_learner, train_flights

    md, prepared, y, val_idxs = flight_data(df)
    trn_idxs = np.setdiff1d(np.arange(len(prepared)), val_idxs)
    X = prepared.to_numpy(np.float32)
    coded = [name in md.cat_flds for name in prepared.columns]
    tuned = tuned_trees(X[trn_idxs], y[trn_idxs], split_by_order(df["Date"].iloc[trn_idxs], 0.2), coded)
    errors = []
    for options in ({}, tuned):
        trees = HistGradientBoostingRegressor(categorical_features=coded, random_state=0, **options)
        trees.fit(X[trn_idxs], y[trn_idxs])
        errors.append(rmse_of(trees.predict(X[val_idxs]), y[val_idxs]))
    ours = []
    for seed in range(seeds):
        seed_everything(seed)
        learn = flight_learner(flight_data(df)[0])
        learn.no_progress()
        ours.append(train_flights(learn)["rmse"])
    return float(y[val_idxs].std()), errors[0], errors[1], ours


def tuned_trees(X: np.ndarray, y: np.ndarray, val_idxs: np.ndarray, coded: list[bool]) -> dict[str, Any]:
    """Choose rate, size and number of trees on the rows `val_idxs`, having trained on the others."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    trn_idxs = np.setdiff1d(np.arange(len(y)), val_idxs)
    found: list[tuple[float, dict[str, Any]]] = []
    for options in (
        {"learning_rate": 0.1},
        {"learning_rate": 0.05, "max_leaf_nodes": 15},
        {"learning_rate": 0.05, "max_features": 0.3, "l2_regularization": 10.0},
    ):
        trees = HistGradientBoostingRegressor(
            categorical_features=coded, random_state=0, max_iter=400, early_stopping=False, **options
        ).fit(X[trn_idxs], y[trn_idxs])
        errors = [rmse_of(preds, y[val_idxs]) for preds in trees.staged_predict(X[val_idxs])]
        best = int(np.argmin(errors))
        found.append((errors[best], {**options, "max_iter": best + 1, "early_stopping": False}))
    return min(found, key=lambda pair: pair[0])[1]


def rmse_of(preds: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((preds - y) ** 2)))


# ---------------------------------------------------------------- preparing, memory


def made_up(n: int) -> pd.DataFrame:
    """Make ten columns of text categories, 5 to 5,000 of them, ten of numbers, and a target."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for j in range(10):
        names = np.array([f"level {i}" for i in range(int(5 * 10 ** (j / 3)))], dtype=object)
        columns[f"cat{j}"] = pd.Series(names[rng.integers(0, len(names), n)], dtype="str")
    for j in range(10):
        columns[f"num{j}"] = rng.normal(size=n)
    columns["y"] = rng.normal(size=n)
    return pd.DataFrame(columns)


def prepare(rounds: int) -> None:
    df = made_up(1_000_000)

    def pandas_alone() -> float:
        started = time.perf_counter()
        for j in range(10):
            df[f"cat{j}"].astype("category")
        numbers = df[[f"num{j}" for j in range(10)]]
        (numbers - numbers.mean()) / numbers.std()
        return time.perf_counter() - started

    def ours() -> float:
        started = time.perf_counter()
        proc_df(df, "y")
        return time.perf_counter() - started

    print(f"1 million rows, 10 text and 10 number columns ({machine()}, pandas {pd.__version__})\n")
    print(table(interleave({"pandas": pandas_alone, "proc_df": ours}, rounds), "pandas", "s"))


def memory() -> None:
    """Prepare and train on 5 million rows in a process of its own, and watch its resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.pkl"
        frame = made_up(5_000_000)
        for j in range(10):
            frame[f"cat{j}"] = frame[f"cat{j}"].astype("category")
        frame.to_pickle(file)
        del frame
        gc.collect()
        subprocess.run([sys.executable, "-m", "benchmarks.tabular", "memory-child", str(file)], check=True)


def memory_child(file: str) -> None:
    def resident() -> int:
        fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024

    # torch imports half of itself with the first optimizer; that is not the frame's size.
    small, labels, _, _ = proc_df(made_up(100), "y")
    learn = ColumnarModelData.from_data_frame(FOLDER, [0], small, np.asarray(labels)).get_learner(szs=[32])
    learn.no_progress()
    learn.fit(1e-3, 1)
    before = resident()
    df = pd.read_pickle(file)
    size = int(df.memory_usage(deep=True).sum())
    peak, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    prepared, y, _, _ = proc_df(df, "y")
    print(
        f"frame {size / 1e6:.0f} MB, prepared in {time.perf_counter() - started:.1f} s, now {(resident() - before) / 1e6:.0f} MB"
    )
    md = ColumnarModelData.from_data_frame(FOLDER, range(1000), prepared, np.asarray(y), bs=8192)
    learn = md.get_learner(szs=[32])
    learn.no_progress()
    started = time.perf_counter()
    learn.fit(1e-3, 1)
    done.set()
    watcher.join()
    print(f"one epoch in {time.perf_counter() - started:.0f} s; tensors {md.nbytes / 1e6:.0f} MB")
    print(
        f"peak above the start {(peak[0] - before) / 1e6:.0f} MB = {(peak[0] - before) / size:.2f} x the frame (at most 2.5 wanted)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["adult", "speed", "flights", "prepare", "memory", "memory-child"])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")  # fastai's and pandas' deprecations are not the point here
    if options.what == "adult":
        adult(options.seeds)
    elif options.what == "speed":
        speed(options.rounds)
    elif options.what == "flights":
        flights(options.seeds)
    elif options.what == "prepare":
        prepare(options.rounds)
    elif options.what == "memory":
        memory()
    else:
        memory_child(options.file)
