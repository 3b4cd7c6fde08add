"""Watching a figure of the epoch table."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import (
    Callback,
    CancelEpoch,
    DataBunch,
    EarlyStopping,
    ReduceOnPlateau,
    SaveBest,
    load_model,
)
from learnkit.store.weights import read_meta
from learnkit.train.metrics import as_metrics, directions_of
from tests.train.helpers import (
    Script,
    assert_same,
    batches,
    net,
    plain_net,
    run_fit,
    snapshot,
)

FIGURES = st.lists(st.sampled_from([0.1, 0.2, 0.21, 0.3, 0.5, 0.9, math.nan]), min_size=1, max_size=7)


MODES = st.sampled_from(["min", "max"])


TINY = DataBunch(".", batches(8), batches(8, seed=1))


def improvements(values: list[float], mode: str, min_delta: float) -> list[int]:
    """Epochs that were better than the best before them."""
    better, best = [], math.inf
    for epoch, value in enumerate(values):
        value = value if mode == "min" else -value
        if best - value > min_delta:
            best = value
            better.append(epoch)
    return better


@given(values=FIGURES, mode=MODES, patience=st.integers(1, 3), min_delta=st.sampled_from([0.0, 0.05]))
@settings(max_examples=40)
def test_early_stopping_stops_after_so_many_epochs_without_improvement(values, mode, patience, min_delta):
    script = Script(values)
    stop = EarlyStopping("val_loss", mode, patience, min_delta=min_delta)
    run_fit([script, stop], len(values), plain_net(), TINY)
    better = improvements(values, mode, min_delta)
    expected = len(values)
    for epoch in range(len(values)):
        if epoch - max([-1, *(b for b in better if b <= epoch)]) >= patience:
            expected = epoch + 1
            break
    assert len(script.weights) == expected
    assert stop.best_epoch == max([-1, *(b for b in better if b < expected)])


@given(values=FIGURES, mode=MODES)
@settings(max_examples=20)
def test_save_best_keeps_the_weights_of_the_best_epoch(tmp_path_factory, values, mode):
    path = tmp_path_factory.mktemp("best") / "deep" / "best"
    script = Script(values)
    model = run_fit([script, SaveBest(path, "val_loss", mode)], len(values), plain_net(), TINY)
    assert_same(model, script.weights[-1])
    better = improvements(values, mode, 0.0)
    assert path.with_name("best.safetensors").exists() == bool(better)
    if better:
        load_model(model, path)
        assert_same(model, script.weights[better[-1]])


def test_save_best_can_put_the_best_weights_back(tmp_path):
    script = Script([0.5, 0.2, 0.4])
    model = run_fit([script, SaveBest(tmp_path / "best", restore=True, meta={"by": "me"})])
    assert_same(model, script.weights[1])
    assert read_meta(tmp_path / "best") == {"by": "me"}


def test_save_best_does_not_put_weights_back_after_an_error(tmp_path):
    class Faulty(Callback):
        def before_epoch(self, run):
            if run.epoch == 2:
                raise ValueError("stop")

    script, model = Script([0.2, 0.4, 0.4]), net()
    with pytest.raises(ValueError, match="stop"):
        run_fit([script, SaveBest(tmp_path / "best", restore=True), Faulty()], model=model)
    assert_same(model, script.weights[1])


def test_early_stopping_still_saves_the_best_weights_in_either_order(tmp_path):
    """The epoch that ends the fit is the best by the figure that is saved on."""
    for name, reverse in (("one", False), ("other", True)):
        both = [EarlyStopping("val_loss", patience=2), SaveBest(tmp_path / name, "trn_loss")]
        worse, better = Script([0.5, 0.6, 0.7, 0.8]), Script([0.9, 0.8, 0.7, 0.6], "trn_loss")
        run_fit([worse, better, *(both[::-1] if reverse else both)], 4)
        assert len(worse.weights) == 3
        loaded = net(seed=5)
        load_model(loaded, tmp_path / name)
        assert_same(loaded, worse.weights[2])


@given(
    values=FIGURES,
    mode=MODES,
    patience=st.integers(1, 3),
    factor=st.sampled_from([0.1, 0.5]),
    min_lr=st.sampled_from([0.0, 0.03, 1.0]),
)
@settings(max_examples=40)
def test_reduce_on_plateau(values, mode, patience, factor, min_lr):
    script = Script([*values, 0.0])
    run_fit(
        [script, ReduceOnPlateau("val_loss", mode, factor, patience, min_lr=min_lr)],
        len(script.values),
        plain_net(),
        TINY,
    )
    expected, lr, waited = [], 0.1, 0
    better = improvements(values, mode, 0.0)
    for epoch in range(len(values) + 1):
        expected.append(lr)
        waited = 0 if epoch in better else waited + 1
        if waited == patience:
            waited, lr = 0, max(lr * factor, min(min_lr, lr))
    assert script.lrs == pytest.approx(expected)


@pytest.mark.parametrize("make", [EarlyStopping, lambda *args: SaveBest("best", *args), ReduceOnPlateau])
def test_watching_something_that_is_not_there(make):
    def mine(preds, targs):
        return preds.float().mean()

    with pytest.raises(ValueError, match='which direction of \'mine\' is better: mode="max" or mode="min"'):
        run_fit([make("mine")], metrics=[mine])
    with pytest.raises(ValueError, match="`mode` must be one of 'min', 'max'; got 'up'"):
        make("accuracy", "up")
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match="watches 'f1', but this fit reports trn_loss, val_loss, accuracy"):
        run_fit([make("f1", "max")], model=model)
    with pytest.raises(ValueError, match=r"watches 'val_loss', but this fit reports trn_loss.*no validation set"):
        run_fit([make()], model=model, data=DataBunch(".", batches()))
    assert_same(before, model)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [("accuracy", [0.2, 0.6, 0.4], 1), ("error_rate", [0.2, 0.6, 0.1], 2), ("val_loss", [3.0, 1.0, 2.0], 1)],
)
def test_a_metric_knows_which_direction_is_better(metric, values, best):
    class Figures(Callback):
        def after_valid(self, run):
            run.results = {**run.results, metric: values[run.epoch]}

    watch = EarlyStopping(metric, patience=5)
    run_fit([Figures(), watch], 3, metrics=["accuracy", "error_rate"])
    assert watch.best_epoch == best


def test_the_direction_of_metrics_of_other_libraries_is_theirs():
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

    both = MetricCollection({"acc": MulticlassAccuracy(3), "calibration": MulticlassCalibrationError(3)})
    assert directions_of(as_metrics([both, "rmse", lambda preds, targs: 0.0])) == {
        "trn_loss": False,
        "val_loss": False,
        "acc": True,
        "calibration": False,
        "rmse": False,
    }


def test_watching_starts_anew_in_each_fit():
    stop = EarlyStopping(patience=1)
    first, second = Script([0.1, 0.2, 0.3]), Script([0.9, 0.8, 0.7])
    run_fit([first, stop])
    run_fit([second, stop])
    assert (len(first.weights), len(second.weights)) == (2, 3)


def test_cancelled_epoch_without_the_figure_counts_for_nothing(tmp_path):
    class Skip(Callback):
        def before_valid(self, run):
            if run.epoch == 1:
                raise CancelEpoch

    stop, save = EarlyStopping(patience=1), SaveBest(tmp_path / "best")
    run_fit([Skip(), stop, save], 2)
    assert (stop.waited, stop.best_epoch, save.best_epoch) == (0, 0, 0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: EarlyStopping(patience=0), ValueError, "`patience` must be a positive whole number"),
        (lambda: ReduceOnPlateau(factor=2), ValueError, r"`factor` must be in \(0, 1\)"),
        (lambda: ReduceOnPlateau(patience=0), ValueError, "`patience` must be a positive whole number"),
    ],
)
def test_bad_argument(make, error, words):
    with pytest.raises(error, match=words):
        make()
