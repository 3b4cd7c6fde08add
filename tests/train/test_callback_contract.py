"""What every exported callback promises: it works with any other, in any order, is heard, and lets go."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

import learnkit
from learnkit import (
    Callback,
    CosAnneal,
    CSVLog,
    CutMix,
    DataBunch,
    EarlyStopping,
    GradientClip,
    LayerOptimizer,
    LossRegulariser,
    MixUp,
    ProgressTable,
    Recorder,
    ReduceOnPlateau,
    SaveBest,
    ScheduleRates,
    StopOnNaN,
    TensorBoardLog,
    WeightAverage,
    WeightDecaySchedule,
    fit,
    linear,
)
from learnkit.train.events import EVENTS
from tests.train.helpers import Events, assert_same, differs, items, learner, n_hooks, snapshot


def decaying(lo: LayerOptimizer) -> LayerOptimizer:
    lo.set_wds(1e-3)
    return lo


MAKE: dict[type[Callback], Any] = {
    CSVLog: lambda lo, folder: CSVLog(folder / "log.csv"),
    CosAnneal: lambda lo, folder: CosAnneal(lo, 3, cycle_mult=2),
    CutMix: lambda lo, folder: CutMix(),
    EarlyStopping: lambda lo, folder: EarlyStopping("trn_loss", "max", patience=1),
    GradientClip: lambda lo, folder: GradientClip(0.5),
    LossRegulariser: lambda lo, folder: LossRegulariser(lambda pred, extra, loss: loss + pred.square().mean()),
    MixUp: lambda lo, folder: MixUp(),
    ProgressTable: lambda lo, folder: ProgressTable(),
    Recorder: lambda lo, folder: Recorder(),
    ReduceOnPlateau: lambda lo, folder: ReduceOnPlateau("trn_loss", "max", patience=1),
    SaveBest: lambda lo, folder: SaveBest(folder / "best", "trn_loss", "max", restore=True),
    ScheduleRates: lambda lo, folder: ScheduleRates(lo, 3, linear(1.0, 0.5)),
    StopOnNaN: lambda lo, folder: StopOnNaN(),
    TensorBoardLog: lambda lo, folder: TensorBoardLog(folder / "board"),
    WeightAverage: lambda lo, folder: WeightAverage(0.9),
    WeightDecaySchedule: lambda lo, folder: WeightDecaySchedule(decaying(lo), 3, 1, 1, 12, norm_wds=True),
}
OBSERVERS = [CSVLog, ProgressTable, Recorder, StopOnNaN, TensorBoardLog]
ORDER_MATTERS = [{CosAnneal, ScheduleRates}, {MixUp, CutMix}]  # two schedules of one optimizer, two draws of partners


def pictures(n: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    x, y = items(n, n_in=36, seed=seed)
    return list(zip(x.view(n, 1, 6, 6).split(8), y.split(8), strict=True))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


DATA = DataBunch(".", pictures(22, 0), pictures(8, 1))
PAIRS = list(itertools.combinations(MAKE, 2))


def names(kinds: Any) -> str:
    return "-".join(kind.__name__ for kind in kinds)


def listened_to(callback: Callback) -> list[str]:
    return [event for event in EVENTS if getattr(type(callback), event) is not getattr(Callback, event)]


def spy(callback: Callback) -> list[str]:
    """Note the events that reach `callback`, which goes on as before."""
    heard: list[str] = []

    def wrap(event: str, method: Any) -> Any:
        def listen(run: Any) -> None:
            heard.append(event)
            method(run)

        return listen

    for event in listened_to(callback):
        setattr(callback, event, wrap(event, getattr(callback, event)))
    return heard


def train(kinds: Any, folder: Path, *, n_epochs: int = 3, again: bool = False) -> tuple[nn.Module, dict[str, float]]:
    """Fit with fresh callbacks and check that each hears all that happens."""
    model = net()
    lo = LayerOptimizer(optim.Adam, model, 0.01)
    callbacks = [MAKE[kind](lo, folder) for kind in kinds]
    if again:
        torch.manual_seed(7)
        fit(model, DATA, 2, lo.opt, F.cross_entropy, None, callbacks, progress=False)
        model.load_state_dict(net().state_dict())
        lo.opt.state.clear()
        lo.set_lrs(0.01)
    heard, events = [spy(callback) for callback in callbacks], Events()
    torch.manual_seed(1)
    results = fit(model, DATA, n_epochs, lo.opt, F.cross_entropy, None, [*callbacks, events], progress=False)
    for callback, log in zip(callbacks, heard, strict=True):
        mine = listened_to(callback)
        assert log == [event for event in events.log if event in mine], type(callback)
    assert n_hooks(model) == 0
    return model, results


def test_the_table_above_is_complete():
    exported = [getattr(learnkit, name) for name in learnkit.__all__]
    callbacks = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Callback)} - {Callback}
    assert callbacks == set(MAKE)


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_every_callback_listens_to_something(kind, tmp_path):
    lo = LayerOptimizer(optim.Adam, nn.Linear(1, 1), 0.01)
    assert listened_to(MAKE[kind](lo, tmp_path))


@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_any_two_work_together_in_both_orders_with_one_result(pair, tmp_path):
    (one, figures), (other, other_figures) = (train(order, tmp_path) for order in (pair, pair[::-1]))
    if set(pair) not in ORDER_MATTERS:
        assert_same(one, other)
        assert figures == other_figures


@pytest.mark.parametrize("seed", range(4))
def test_all_together_in_any_order(seed, tmp_path):
    """But for one each of those pairs whose order matters."""
    kinds = [kind for kind in MAKE if kind not in (ScheduleRates, CutMix)]
    reference, figures = train(kinds, tmp_path / "reference")
    random.Random(seed).shuffle(kinds)
    model, other_figures = train(kinds, tmp_path / "shuffled")
    assert_same(reference, model)
    assert figures == other_figures


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_can_be_used_for_one_fit_after_another(kind, tmp_path):
    fresh, figures = train([kind], tmp_path / "fresh")
    used, other_figures = train([kind], tmp_path / "used", again=True)
    assert_same(fresh, used)
    assert figures == other_figures


@pytest.mark.parametrize("kind", OBSERVERS, ids=lambda kind: kind.__name__)
def test_observers_leave_the_training_as_it_is(kind, tmp_path):
    assert_same(train([], tmp_path)[0], train([kind], tmp_path)[0])


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind not in OBSERVERS], ids=lambda kind: kind.__name__)
def test_the_others_do_something(kind, tmp_path):
    alone = train([], tmp_path, n_epochs=12)[0]
    assert differs(snapshot(alone), snapshot(train([kind], tmp_path, n_epochs=12)[0]))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_lets_go_after_an_error(kind, error, tmp_path):
    """The next fit, without the callback, is what it would have been without the first."""

    class Faulty(Callback):
        def after_backward(self, run):
            if run.epoch == 1 and run.batch == 1:
                raise error

    learn = learner(tmp_path, net(), data=DATA, crit=F.cross_entropy)
    lo = LayerOptimizer(optim.Adam, learn.model, 0.01)
    callback = MAKE[kind](lo, tmp_path)
    crit, reg_fn, clip, others = learn.crit, learn.reg_fn, learn.clip, list(learn.callbacks)
    with pytest.raises(error):
        fit(learn.model, DATA, 3, lo.opt, learn.crit, None, [callback, Faulty()], progress=False)
    assert n_hooks(learn.model) == 0
    assert (learn.crit, learn.reg_fn, learn.clip, learn.callbacks) == (crit, reg_fn, clip, others)
    assert all(p.grad is None for p in learn.model.parameters())
    learn.model.load_state_dict(net().state_dict())
    torch.manual_seed(1)
    learn.fit(0.01, 2)
    undisturbed = learner(tmp_path, net(), data=DATA, crit=F.cross_entropy)
    torch.manual_seed(1)
    undisturbed.fit(0.01, 2)
    assert_same(learn.model, undisturbed.model)
    assert learn.sched.losses == undisturbed.sched.losses


def test_early_stopping_ends_the_fit_and_everybody_else_still_finishes(tmp_path):
    model = net()
    lo = LayerOptimizer(optim.Adam, model, 0.01)
    recorder, log, save = Recorder(), MAKE[CSVLog](lo, tmp_path), SaveBest(tmp_path / "best", "trn_loss")
    stop = EarlyStopping("trn_loss", "max", patience=2)
    fit(model, DATA, 9, lo.opt, F.cross_entropy, None, [stop, recorder, log, save], progress=False)
    assert len(recorder.epochs) == stop.best_epoch + 1 + 2 < 9
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(recorder.epochs) + 1
    assert save.best_epoch == min(range(len(recorder.epochs)), key=lambda i: recorder.epochs[i]["trn_loss"])
