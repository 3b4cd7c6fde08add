"""A fit that was interrupted and resumed ends exactly where one ends that was not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable as Function
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import (
    Callback,
    Category,
    CheckpointError,
    CSVLog,
    CutMix,
    DataBunch,
    EarlyStopping,
    Learner,
    MixUp,
    ReduceOnPlateau,
    SaveBest,
    TensorLoader,
    WeightAverage,
    seed_everything,
)
from learnkit.core.preserve import random_state
from learnkit.store.archive import pack
from learnkit.train.resume import Checkpoints, _beside, _put_beside, latest_checkpoint
from tests.train.helpers import N_CLASSES, N_IN, assert_same, items, net, snapshot


class Killed(BaseException):
    """Stands for the end of the process: nothing of the library catches it."""


class KillAt(Callback):
    """Ends the fit in the given training batch, in the middle of it."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def before_step(self, run: Any) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def state_dict(self) -> dict[str, Any]:
        return {}


class Counting(Callback):
    """A user's callback with a state of its own, which decides what is trained."""

    def __init__(self) -> None:
        self.seen, self.sums = 0, [0.0, 0.0]
        self.by_epoch: dict[int, int] = {}

    def before_batch(self, run: Any) -> None:
        if run.training:
            self.seen += 1
            self.sums[self.seen % 2] += float(run.xs[0].sum())
            self.by_epoch[run.epoch] = self.seen
            run.xs = (run.xs[0] + 1e-3 * self.seen + random.random() * 1e-3 + np.random.rand() * 1e-3, *run.xs[1:])  # noqa: NPY002


def resumed_like(
    make: Function[[Path], Learner],
    fit: Function[..., Any],
    tmp_path: Path,
    kill: int,
    every: int | timedelta = 3,
    callbacks: Function[[], list[Callback]] = list,
    **given: Any,
) -> tuple[Learner, Learner]:
    """Train without a break and with one, in learners of their own, and hold the two against each other."""
    seed_everything(3)
    whole = make(tmp_path / "whole")
    own = callbacks()
    kept: dict[str, Any] = {"callbacks": own} if own else {}
    results = fit(whole, **kept)
    after = random_state()

    seed_everything(3)
    killed, own = make(tmp_path / "killed"), callbacks()
    killed.callbacks = [*killed.callbacks, KillAt(kill)]
    where = tmp_path / "checkpoints"
    with pytest.raises(Killed):
        fit(killed, checkpoint=where, every=every, **({"callbacks": own} if own else {}))

    seed_everything(99)  # nothing may depend on how the new process begins
    again, own = make(tmp_path / "killed"), callbacks()
    seed_everything(98)
    again.callbacks = [*again.callbacks, KillAt(10**6)]
    found = again.resume(where, **({"callbacks": own} if own else {}), **given)

    assert_same(whole.model, again.model)
    assert {k: v for k, v in found.items() if k != "time"} == {k: v for k, v in results.items() if k != "time"}
    for name in ("losses", "lrs", "moms"):
        assert getattr(again.sched, name) == getattr(whole.sched, name), name
    rows = [[{k: v for k, v in row.items() if k != "time"} for row in learn.sched.epochs] for learn in (whole, again)]
    assert rows[0] == rows[1]
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    assert pack(after, a) == pack(random_state(), b)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [p.requires_grad for p in whole.model.parameters()] == [p.requires_grad for p in again.model.parameters()]
    return whole, again


# ---------------------------------------------------------------- every option with every other


class Drawing:
    """Batches drawn one by one from the global generators, without a length: the least a loader can offer."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(6):
            rows = torch.randint(len(self.x), (5,))
            yield self.x[rows] + float(np.random.rand()), self.y[rows]  # noqa: NPY002


class Cursor:
    """A loader that goes on, in each epoch, where the last one ended."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.at = x, y, 0

    def __len__(self) -> int:
        return 5

    def state(self) -> dict[str, Any]:
        return {"at": self.at}

    def set_state(self, state: dict[str, Any]) -> None:
        self.at = state["at"]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(5):
            rows = (self.at + torch.arange(4)) % len(self.x)
            self.at = (self.at + 4) % len(self.x)
            yield self.x[rows], self.y[rows]


class Noisy(TensorDataset):
    """Items with noise from the global generators, as users' transforms have it."""

    def __getitem__(self, i: int) -> Any:
        x, y = super().__getitem__(i)
        return x + 0.1 * torch.randn(N_IN) + float(np.random.rand()), y  # noqa: NPY002


X, Y = items(26)
LOADERS: dict[str, Function[[], Any]] = {
    "tensors": lambda: TensorLoader(X, Y, 4, shuffle=True),
    "own generator": lambda: TensorLoader(X, Y, 4, shuffle=True, generator=torch.Generator().manual_seed(5)),
    "list": lambda: list(zip(X.split(4), Y.split(4), strict=True)),
    "torch": lambda: DataLoader(Noisy(X, Y), 4, shuffle=True),
    "torch, own generator": lambda: DataLoader(
        Noisy(X, Y), 4, shuffle=True, generator=torch.Generator().manual_seed(7)
    ),
    "drawing": lambda: Drawing(X, Y),
    "cursor": lambda: Cursor(X, Y),
}
FITS: dict[str, Function[..., Any]] = {
    "constant": lambda learn, lrs, wds, mult, save, best, **kw: learn.fit(lrs, 3, wds, best_save_name=best, **kw),
    "cycles": lambda learn, lrs, wds, mult, save, best, **kw: learn.fit(
        lrs, 2, wds, cycle_len=1, cycle_mult=mult, cycle_save_name=save, best_save_name=best, **kw
    ),
    "clr_beta": lambda learn, lrs, wds, mult, save, best, **kw: learn.fit(
        lrs, 1, wds, cycle_len=3, cycle_save_name=save, best_save_name=best, use_clr_beta=(10, 10, 0.95, 0.85), **kw
    ),
    "one_cycle": lambda learn, lrs, wds, mult, save, best, **kw: learn.fit_one_cycle(
        3, lrs, wds, best_save_name=best, **kw
    ),
    "fine_tune": lambda learn, lrs, wds, mult, save, best, metrics=None, **kw: learn.fine_tune(2, 1e-2, 1, **kw),
}


def half_off(pred: Tensor, extra: Any, loss: Tensor) -> Tensor:
    return loss + 0.01 * pred.square().mean()


OPTIONS: dict[str, list[Any]] = {
    "fit": list(FITS),
    "loader": list(LOADERS),
    "lrs": [1e-2, [1e-3] * 6 + [1e-2], slice(1e-4, 1e-2), np.full(7, 2e-3)],
    "wds": [None, 1e-2, [0.0] * 6 + [0.1]],
    "cycle_mult": [1, 2],
    "metrics": [None, ["accuracy"], []],
    "accumulate": [1, 3],
    "clip": [None, 0.2],
    "reg_fn": [None, half_off],
    "precision": ["fp32", "bf16"],
    "opt_fn": [
        None,
        partial(torch.optim.SGD, momentum=0.9),
        torch.optim.RMSprop,
        partial(torch.optim.AdamW, fused=True),
    ],
    "callbacks": ["none", "ema", "swa", "mixup", "stop", "plateau", "user", "log", "restore"],
    "cycle_save_name": [None, "cycle"],
    "best_save_name": [None, "best"],
    "frozen": ["no", "head", "bn"],
    "compile": [False, "eager"],
    "channels_last": [False, True],
    "kill": [0, 4, 11],
    "every": [1, 3, timedelta(microseconds=1), timedelta(hours=1)],
    "validation": [True, False],
}


def pairwise(options: Mapping[str, list[Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Return rows in which every value of every option meets every value of every other (greedy, seeded)."""
    rng = random.Random(seed)
    names = list(options)
    left = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in range(len(options[a]))
        for j in range(len(options[b]))
    }
    rows: list[dict[str, int]] = []
    while left:
        best: dict[str, int] = {}
        most = -1
        first = min(left)  # so that every row covers something new
        for _ in range(30):
            row = {name: rng.randrange(len(options[name])) for name in names} | dict(first)
            for name in rng.sample(names, len(names)):
                if name in dict(first):
                    continue
                gains = [
                    sum(_pair(names, name, i, other, row[other]) in left for other in names if other != name)
                    for i in range(len(options[name]))
                ]
                row[name] = max(range(len(gains)), key=gains.__getitem__)
            pairs = {_pair(names, a, row[a], b, row[b]) for a, b in itertools.combinations(names, 2)}
            if len(pairs & left) > most:
                best, most = row, len(pairs & left)
        rows.append(best)
        left -= {_pair(names, a, best[a], b, best[b]) for a, b in itertools.combinations(names, 2)}
    return [{name: options[name][i] for name, i in row.items()} for row in rows]


def _pair(names: list[str], a: str, i: int, b: str, j: int) -> Any:
    return ((a, i), (b, j)) if names.index(a) < names.index(b) else ((b, j), (a, i))


def own_callbacks(kind: str, path: Path) -> list[Callback]:
    made: dict[str, Function[[], list[Callback]]] = {
        "none": list,
        "ema": lambda: [WeightAverage(0.9)],
        "swa": lambda: [WeightAverage(start=1)],
        "mixup": lambda: [MixUp(0.3)],
        "stop": lambda: [EarlyStopping("trn_loss", patience=1, min_delta=0.5)],
        "plateau": lambda: [ReduceOnPlateau("trn_loss", patience=1, min_delta=9.0)],
        "user": lambda: [Counting()],
        "log": lambda: [CSVLog(path / "log.csv")],
        "restore": lambda: [SaveBest(path / "restore", "trn_loss", restore=True)],
    }
    return made[kind]()


ROWS = pairwise(OPTIONS)


def test_the_rows_cover_every_pair() -> None:
    for a, b in itertools.combinations(OPTIONS, 2):
        for x, y in itertools.product(OPTIONS[a], OPTIONS[b]):
            assert any(row[a] is x and row[b] is y for row in ROWS), (a, x, b, y)


@pytest.mark.parametrize("i", range(len(ROWS)))
def test_every_option_with_every_other_ends_in_the_same_weights(i: int, tmp_path: Path) -> None:
    row = ROWS[i]
    fit = partial(
        FITS[row["fit"]],
        lrs=row["lrs"],
        wds=row["wds"],
        mult=row["cycle_mult"],
        save=row["cycle_save_name"],
        best=row["best_save_name"],
        metrics=row["metrics"],
    )

    def make(path: Path) -> Learner:
        val = [(X[:9], Y[:9])] if row["validation"] else None
        data = DataBunch(path, LOADERS[row["loader"]](), val, target=Category(list("abc")))
        learn = Learner(
            data,
            net(),
            row["opt_fn"],
            precision=row["precision"],
            accumulate=row["accumulate"],
            channels_last=row["channels_last"],
            compile=row["compile"],
        )
        learn.no_progress()
        learn.clip, learn.reg_fn = row["clip"], row["reg_fn"]
        if row["frozen"] == "head":
            learn.freeze_to(-3)
        elif row["frozen"] == "bn":
            learn.bn_freeze()
        return learn

    # With a window of three batches there are a third of the steps; and early stopping ends the fit soon.
    kill = row["kill"] // row["accumulate"] if row["callbacks"] != "stop" else min(row["kill"] // row["accumulate"], 2)
    own = partial(own_callbacks, row["callbacks"], tmp_path / "logs")
    if row["fit"] != "fine_tune":
        resumed_like(make, fit, tmp_path, kill, row["every"], callbacks=own)
        return

    def with_callbacks(path: Path) -> Learner:
        learn = make(path)
        learn.callbacks = own()
        return learn

    resumed_like(with_callbacks, fit, tmp_path, kill, row["every"])


# ---------------------------------------------------------------- every moment


@pytest.mark.parametrize("kill", range(0, 21, 2))
def test_any_batch_is_a_good_moment(kill: int, tmp_path: Path) -> None:
    def make(path: Path) -> Learner:
        learn = Learner(DataBunch(path, TensorLoader(X, Y, 4, shuffle=True), target=Category(list("abc"))), net())
        learn.no_progress()
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit_one_cycle(3, 1e-2, **kw), tmp_path, kill, every=2)


def test_several_interruptions_in_one_fit(tmp_path: Path) -> None:
    def make() -> Learner:
        learn = Learner(
            DataBunch(tmp_path, DataLoader(Noisy(X, Y), 4, shuffle=True), target=Category(list("abc"))), net()
        )
        learn.no_progress()
        learn.callbacks = [Counting(), KillAt(10**6)]
        return learn

    whole = make()
    seed_everything(1)
    whole.fit(1e-2, 4)
    learn = make()
    learn.callbacks[1].left = 3  # type: ignore[attr-defined]
    seed_everything(1)
    with pytest.raises(Killed):
        learn.fit(1e-2, 4, checkpoint=tmp_path / "c", every=1)
    for steps in (0, 1, 6, 9):
        learn = make()
        learn.callbacks[1].left = steps  # type: ignore[attr-defined]
        with pytest.raises(Killed):
            learn.resume(tmp_path / "c")
    learn = make()
    learn.resume(tmp_path / "c")
    assert_same(whole.model, learn.model)
    assert whole.callbacks[0].state_dict() == learn.callbacks[0].state_dict()
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_taking_checkpoints_changes_nothing(tmp_path: Path) -> None:
    ends = []
    for checkpoint in (None, tmp_path / "c"):
        seed_everything(2)
        learn = Learner(
            DataBunch(tmp_path, DataLoader(Noisy(X, Y), 4, shuffle=True), target=Category(list("abc"))), net()
        )
        learn.no_progress()
        learn.fit(1e-2, 3, cycle_len=1, checkpoint=checkpoint, every=1)
        ends.append((snapshot(learn.model), learn.sched.losses, torch.get_rng_state()))
    assert_same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert torch.equal(ends[0][2], ends[1][2])


# ---------------------------------------------------------------- what is kept besides


class Stateful(nn.Module):
    """Carries a hidden state from batch to batch in a plain attribute, and counts in a buffer that is not saved."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out, self.noise = nn.GRUCell(N_IN, 5), nn.Linear(5, N_CLASSES), nn.Dropout(0.2)
        self.hidden: Any = None
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        before = None if self.hidden is None or len(self.hidden[0]) < len(x) else self.hidden[0][: len(x)]
        now = self.cell(x, before)
        self.hidden = (now.detach(), [now.detach() * 2])
        self.calls += 1
        return self.out(self.noise(now)) + 0.01 * self.calls


def test_what_a_model_carries_from_batch_to_batch(tmp_path: Path) -> None:
    def make(path: Path) -> Learner:
        torch.manual_seed(1)
        learn = Learner(
            DataBunch(path, TensorLoader(X, Y, 4, drop_last=True), target=Category(list("abc"))), Stateful()
        )
        learn.no_progress()
        return learn

    whole, again = resumed_like(make, lambda learn, **kw: learn.fit(1e-2, 3, **kw), tmp_path, 8, every=1)
    assert torch.equal(whole.model.hidden[1][0], again.model.hidden[1][0])  # type: ignore[index]
    assert torch.equal(whole.model.calls, again.model.calls)  # type: ignore[arg-type]


def test_which_layers_are_frozen_and_the_settings_are_known_without_being_told(tmp_path: Path) -> None:
    """They were chosen between two fits, by code that is not run again before `resume`."""

    def make(path: Path) -> Learner:
        data = DataBunch(path, TensorLoader(X, Y, 4, shuffle=True), [(X, Y)], target=Category(list("abc")))
        learn = Learner(data, nn.Sequential(net(), nn.BatchNorm1d(N_CLASSES), nn.Linear(N_CLASSES, N_CLASSES)))
        learn.no_progress()
        return learn

    def fit(learn: Learner, **kw: Any) -> Any:
        learn.freeze()
        learn.bn_freeze()
        learn.clip, learn.accumulate, learn.precision = 0.3, 2, "bf16"
        return learn.fit(1e-2, 3, **kw)

    whole, again = resumed_like(make, fit, tmp_path, 5, every=2)
    assert [p.requires_grad for p in again.model.parameters()].count(True) == 2
    assert (again.clip, again.accumulate, again.precision) == (0.3, 2, "bf16")
    for learn in (whole, again):
        learn.callbacks = []
        torch.manual_seed(0)
        learn.unfreeze()
        learn.fit(1e-2, 1)
    assert_same(whole.model, again.model)


def test_lstm_trains_on_after_a_checkpoint_was_loaded(tmp_path: Path) -> None:
    """Its flat list of weights is another name for the parameters and must stay so."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.LSTM(N_IN, 5, dropout=0.1, num_layers=2), nn.Linear(5, N_CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x[None])[0][0])

    def make(path: Path) -> Learner:
        torch.manual_seed(1)
        learn = Learner(DataBunch(path, TensorLoader(X, Y, 4, shuffle=True), target=Category(list("abc"))), Reader())
        learn.no_progress()
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit(1e-2, 3, **kw), tmp_path, 8, every=2)


def test_pictures_with_cutmix_and_workers(tmp_path: Path) -> None:
    from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, RandomRotate, tfms_from_stats

    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    y = np.arange(40) % 2
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 10, aug_tfms=[RandomFlip(), RandomRotate(10)], pad=1)

    def make(path: Path, num_workers: int = 2) -> Learner:
        torch.manual_seed(1)
        data = ImageClassifierData.from_arrays(path, (pixels, y), (pixels, y), 8, tfms, num_workers=num_workers)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        )
        learn = ConvLearner.from_model_data(model, data, callbacks=[CutMix()])
        learn.no_progress()
        return learn

    fit = lambda learn, **kw: learn.fit_one_cycle(3, 1e-2, **kw)  # noqa: E731
    whole, _ = resumed_like(make, fit, tmp_path, 7, every=2)
    seed_everything(3)
    without = make(tmp_path, num_workers=0)
    fit(without)
    assert_same(whole.model, without.model)  # with two workers or none


def test_precomputed_activations(tmp_path: Path) -> None:
    from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    y = np.arange(20) % 2

    def make(path: Path) -> Learner:
        torch.manual_seed(1)
        tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32)
        data = ImageClassifierData.from_arrays(path, (pixels, y), (pixels, y), 4, tfms, num_workers=0)
        learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False, xtra_fc=[8])
        learn.no_progress()
        return learn

    def fit(learn: Any, **kw: Any) -> Any:
        learn.unfreeze()
        next(learn.model[0].parameters()).data += 0.01  # an earlier fit changed the body
        learn.precompute = True
        return learn.fit(1e-2, 3, **kw)

    resumed_like(make, fit, tmp_path, 7, every=2)


@pytest.mark.parametrize("ratings", ["rating", None])
def test_ratings_and_rankings(ratings: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from learnkit.collab import CollabFilterDataset, loaders

    monkeypatch.setattr(loaders, "BLOCK", 32)  # several blocks an epoch
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"u": rng.integers(0, 12, 200), "i": rng.integers(0, 15, 200), "rating": rng.integers(1, 6, 200)}
    )
    frame = frame.drop_duplicates(["u", "i"])

    def make(path: Path) -> Learner:
        torch.manual_seed(1)
        cf = CollabFilterDataset.from_data_frame(path, frame, "u", "i", ratings)
        learn = cf.get_learner(4, val_idxs=range(20), bs=8)
        learn.no_progress()
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit_one_cycle(2, 1e-2, **kw), tmp_path, 21, every=5)


def test_log_files_hold_every_row_once(tmp_path: Path) -> None:
    def make(path: Path) -> Learner:
        learn = Learner(
            DataBunch(path, TensorLoader(X, Y, 4, shuffle=True), [(X, Y)], target=Category(list("abc"))), net()
        )
        learn.no_progress()
        learn.callbacks = [CSVLog(path / "log.csv")]
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit(1e-2, 4, **kw), tmp_path, 20, every=10)
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "killed" / "log.csv").read_text()


# ---------------------------------------------------------------- what is refused, and what is passed over


def interrupted(tmp_path: Path, kill: int = 9, every: int = 2, keep: int = 2) -> Path:
    learn = simple(tmp_path)
    learn.callbacks = [KillAt(kill)]
    with pytest.raises(Killed):
        learn.fit(1e-2, 3, metrics=["accuracy"], checkpoint=tmp_path / "c", every=every, keep=keep)
    return tmp_path / "c"


def simple(
    tmp_path: Path, model: nn.Module | None = None, bs: int = 4, classes: Sequence[str] = ("a", "b", "c")
) -> Learner:
    data = DataBunch(tmp_path, TensorLoader(X, Y, bs, shuffle=True), [(X, Y)], target=Category(classes))
    learn = Learner(data, model or net(), callbacks=[KillAt(10**6)])
    learn.no_progress()
    return learn


def test_as_many_are_kept_as_asked_for(tmp_path: Path) -> None:
    folder = interrupted(tmp_path, keep=3)
    assert [file.name for file in sorted(folder.iterdir())] == [
        "000003.checkpoint",
        "000004.checkpoint",
        "000005.checkpoint",
    ]
    assert latest_checkpoint(folder) == folder / "000005.checkpoint"


def test_a_new_fit_replaces_the_checkpoints_of_an_earlier_one(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    (folder / ".000007.checkpoint.x.tmp").write_bytes(b"left by a writer that was killed")
    interrupted(tmp_path, kill=0)
    assert [file.name for file in folder.iterdir()] == ["000006.checkpoint"]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = simple(tmp_path)
    whole.fit(1e-2, 3, metrics=["accuracy"])
    folder = interrupted(tmp_path)
    newest = latest_checkpoint(folder)
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:-100])
    learn = simple(tmp_path)
    with pytest.warns(UserWarning, match="damaged.*Going on from 000004.checkpoint, the one before"):
        learn.resume(folder)
    assert_same(whole.model, learn.model)


def test_without_a_checkpoint_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        simple(tmp_path).resume(tmp_path)
    folder = interrupted(tmp_path)
    for file in folder.iterdir():
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        simple(tmp_path).resume(folder)


def test_another_fit_is_refused(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    with pytest.raises(CheckpointError, match="another architecture"):
        simple(tmp_path, nn.Linear(N_IN, 3)).resume(folder)
    with pytest.raises(CheckpointError, match="n_batches: 7 then, 3 now. Make the data in the same way"):
        simple(tmp_path, bs=10).resume(folder)
    with pytest.raises(CheckpointError, match="learned Category .*'c'"):
        simple(tmp_path, classes=list("abd")).resume(folder)
    with pytest.raises(CheckpointError, match="Pass the same `callbacks`"):
        simple(tmp_path).resume(folder, callbacks=[MixUp()])
    with pytest.raises(CheckpointError, match="Pass the same `metrics`"):
        simple(tmp_path).resume(folder, metrics=["error_rate"])
    simple(tmp_path).resume(folder)  # metrics given by name need not be given again


def test_a_state_that_is_no_data_is_refused_before_training(tmp_path: Path) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"file": object()}

    learn = simple(tmp_path)
    before = snapshot(learn.model)
    with pytest.raises(CheckpointError, match="state.callbacks.*file is object, which is not data"):
        learn.fit(1e-2, 1, callbacks=[Odd()], checkpoint=tmp_path / "c")
    assert_same(before, learn.model)


def test_every_must_be_a_number_of_batches_or_a_time(tmp_path: Path) -> None:
    for every in (0, -1, 2.5, timedelta(0), "often"):
        with pytest.raises((ValueError, TypeError), match="every"):
            Checkpoints(tmp_path, every)  # type: ignore[arg-type]


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    learn = simple(tmp_path)
    written = zipfile.ZipFile.writestr
    count = iter(range(100))

    def full(self: Any, *args: Any, **kwargs: Any) -> None:
        if next(count) >= 7:  # three parts in each checkpoint: the third cannot be finished
            raise OSError(28, "No space left on device")
        written(self, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.warns(UserWarning, match="could not be written.*No space left.*the one before is still there"):
        learn.fit(1e-2, 3, checkpoint=tmp_path / "c", every=5)
    assert [file.name for file in (tmp_path / "c").iterdir()]
    monkeypatch.undo()
    again = simple(tmp_path)
    again.resume(tmp_path / "c")
    assert_same(learn.model, again.model)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(CheckpointError, match="no checkpoint can be written into"):
        simple(tmp_path).fit(1e-2, 1, checkpoint=tmp_path / "d")


# ---------------------------------------------------------------- what callbacks and losses own


class Critic(Callback):
    """Trains networks of its own beside the model, and lets them change what the model learns."""

    def __init__(self) -> None:
        torch.manual_seed(8)
        self.nets: Any = {"a": [nn.Linear(N_IN, 1)], "b": nn.Sequential(nn.Linear(N_IN, 1), nn.BatchNorm1d(1))}
        self.params = [*self.nets["a"][0].parameters(), *self.nets["b"].parameters()]
        self.opt = torch.optim.Adam(self.params, 0.05)
        self.rates = torch.optim.lr_scheduler.ExponentialLR(self.opt, 0.9)
        self.offset = torch.zeros(1, requires_grad=True)
        self.draws = torch.Generator().manual_seed(2), np.random.default_rng(2), random.Random(2)

    def before_fit(self, run: Any) -> None:
        self.model, self.run_opt = run.model, run.opt  # no part of it

    def before_batch(self, run: Any) -> None:
        if not run.training:
            return
        said: Any = self.nets["a"][0](run.xs[0]) + self.nets["b"](run.xs[0])
        self.opt.zero_grad()
        (said - 1).square().mean().backward()
        self.opt.step()
        self.rates.step()
        with torch.no_grad():
            self.offset += 0.01
        noise = float(torch.rand(1, generator=self.draws[0])) + self.draws[1].random() + self.draws[2].random()
        run.xs = (run.xs[0] + 0.1 * said.detach() + self.offset.detach() + 0.1 * noise,)


class Learned(nn.Module):
    """A loss with a state."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, pred: Tensor, y: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * pred.detach().mean()
        return nn.functional.cross_entropy(pred, y) + self.mean * pred.mean()


@pytest.mark.parametrize("kill", [2, 9])
def test_what_callbacks_and_losses_own_goes_on_too(kill, tmp_path):
    made: list[Any] = []

    def make(path: Path) -> Learner:
        learn = Learner(DataBunch(path, LOADERS["tensors"](), target=Category([*"abc"])), net(), crit=Learned())
        learn.no_progress()
        return learn

    def callbacks() -> list[Callback]:
        made.append(Critic())
        return [made[-1]]

    whole, again = resumed_like(make, lambda learn, **kw: learn.fit(0.01, 3, **kw), tmp_path, kill, callbacks=callbacks)
    assert_same(made[0].nets["b"], made[2].nets["b"])
    assert torch.equal(whole.crit.mean, again.crit.mean)  # type: ignore[attr-defined]


@pytest.mark.parametrize("opt_fn", ["lbfgs", "rprop", "adafactor"])
def test_other_optimizers_go_on_too(opt_fn, tmp_path):
    def make(path: Path) -> Learner:
        learn = Learner(DataBunch(path, LOADERS["tensors"](), target=Category([*"abc"])), net(), opt_fn)
        learn.no_progress()
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit(0.01, 3, **kw), tmp_path, 7)


def test_what_a_checkpoint_cannot_hold_of_a_callback_is_said_once(tmp_path):
    class Holder:
        def __init__(self) -> None:
            self.net = nn.Linear(2, 1)

    class Hides(Callback):
        def __init__(self) -> None:
            self.holder, self.seen, self.path, self.fn = Holder(), {1}, tmp_path, len

    class Says(Hides):
        def state_dict(self) -> dict[str, Any]:
            return {}

    def fit(*callbacks: Callback) -> None:
        data = DataBunch(tmp_path, LOADERS["tensors"](), target=Category([*"abc"]))
        learn = Learner(data, net(), callbacks=callbacks)
        learn.no_progress()
        learn.fit(0.01, 1, checkpoint=tmp_path / "kept", every=2)

    with pytest.warns(UserWarning, match=r"do not hold holder \(Holder\), seen \(set\) of the callback Hides") as said:
        fit(Hides(), Says())
    assert len(said) == 1
    fit(Hides())  # once
    fit(Critic(), Says())


class MistakenLoader:
    """Gives more, or fewer, batches than it says."""

    def __init__(self, said: int) -> None:
        self.dl, self.said = TensorLoader(X, Y, 4, shuffle=True), said

    def __len__(self) -> int:
        return self.said

    def __iter__(self) -> Iterator[Any]:
        return iter(self.dl)


@pytest.mark.filterwarnings("ignore:the training loader says")
@pytest.mark.parametrize("said", [4, 9])
@pytest.mark.parametrize("kill", [5, 12])
def test_a_loader_that_is_mistaken_about_its_length(said, kill, tmp_path):
    def make(path: Path) -> Learner:
        learn = Learner(DataBunch(path, MistakenLoader(said), target=Category([*"abc"])), net())
        learn.no_progress()
        return learn

    resumed_like(make, lambda learn, **kw: learn.fit_one_cycle(3, 0.01, **kw), tmp_path, kill, every=2)


def test_what_lay_beside_the_model_lies_there_again():
    model = nn.Linear(2, 2, device="meta")  # stands for a GPU: a file knows only the CPU
    states = [{"average": [torch.empty(3, device="meta")], "n": 2}, {"history": (torch.ones(2), None)}]
    from_file = [{"average": [torch.ones(3)], "n": 2}, {"history": (torch.ones(2), None)}]
    placed = _put_beside(model, from_file, _beside(model, states))
    assert placed[0]["average"][0].device.type == "meta"
    assert placed[1]["history"][0].device.type == "cpu"
    before = _put_beside(model, from_file, ())  # of a file that does not say it
    assert before[0]["average"][0].device.type == "cpu"
