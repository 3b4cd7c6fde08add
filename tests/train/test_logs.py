"""What the logs hold, read back."""

from __future__ import annotations

import csv
from typing import Any

import pytest
import torch

from learnkit import (
    Callback,
    CancelEpoch,
    CSVLog,
    TensorBoardLog,
)
from tests.train.helpers import (
    Trace,
    assert_same,
    batches,
    net,
    run_fit,
    snapshot,
)


def rows(path: Any) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_csv_log_holds_the_epoch_table(tmp_path):
    figures = []

    class Figures(Callback):
        def after_epoch(self, run):
            figures.append([str(run.epoch), *(str(value) for value in run.results.values())])

    path = tmp_path / "logs" / "history.csv"
    run_fit([CSVLog(path), Figures()], 2)
    assert rows(path) == [["epoch", "trn_loss", "val_loss", "accuracy"], *figures]
    run_fit([CSVLog(path)], 1)
    assert len(rows(path)) == 2  # started anew
    run_fit([CSVLog(path, append=True)], 2, metrics=[])
    assert len(rows(path)) == 4
    assert [row[-1] for row in rows(path)[2:]] == ["", ""]  # accuracy was not measured
    assert {len(row) for row in rows(path)} == {4}


def test_csv_log_does_not_leave_a_figure_out(tmp_path):
    path = tmp_path / "history.csv"
    run_fit([CSVLog(path)], 1)
    before = path.read_text()
    model = net()
    weights = snapshot(model)
    with pytest.raises(ValueError, match="has no column for f1: its columns are epoch, trn_loss, val_loss, accuracy"):
        run_fit([CSVLog(path, append=True)], 2, model, metrics=["accuracy", "f1"])
    assert path.read_text() == before
    assert_same(weights, model)


def test_csv_log_is_readable_after_each_epoch_and_leaves_out_what_a_cancel_skipped(tmp_path):
    class Peek(Callback):
        def before_train(self, run):
            assert len(rows(tmp_path / "log.csv")) == run.epoch + 1
            if run.epoch == 1:
                raise CancelEpoch

    run_fit([Peek(), CSVLog(tmp_path / "log.csv")])
    assert [len(list(filter(None, row))) for row in rows(tmp_path / "log.csv")[1:]] == [4, 1, 4]


def test_tensorboard_log_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trace = Trace()
    state = torch.get_rng_state()
    log = TensorBoardLog(tmp_path, every=2)
    assert torch.equal(state, torch.get_rng_state())
    model = run_fit([log, trace], 2)
    assert_same(model, run_fit([], 2))
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        "batch/trn_loss",
        "batch/lr_0",
        "epoch/trn_loss",
        "epoch/val_loss",
        "epoch/accuracy",
    }
    assert [(event.step, event.value) for event in board.Scalars("batch/lr_0")] == [
        (i, pytest.approx(0.1)) for i in range(0, 2 * len(batches()), 2)
    ]
    assert [event.step for event in board.Scalars("epoch/val_loss")] == [0, 1]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: TensorBoardLog("runs", every=0), ValueError, "`every` must be a positive whole number"),
    ],
)
def test_bad_argument(make, error, words):
    with pytest.raises(error, match=words):
        make()
