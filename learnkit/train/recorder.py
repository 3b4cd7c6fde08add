"""What a fit leaves behind: `Recorder` keeps the figures and draws them, `ProgressTable` shows them meanwhile."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from learnkit.core.errors import LearnkitError, say
from learnkit.core.old_names import old_arguments, old_attributes
from learnkit.core.plots import get_ax
from learnkit.train.events import Callback, Run
from learnkit.train.optim import get_momentum
from learnkit.train.running import RunningLoss

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from learnkit.train.lr_find import LRFindResult

__all__ = ["ProgressTable", "Recorder", "format_figure"]


FIRST_LOOK = 20
"""Batches that the first epoch must have for its end to tell whether the loss falls at all."""
FEWEST_ITEMS = 8
"""Items in the first batch from which on its loss says where the model began."""
ADAPTIVE_RATE = 0.005
"""Learning rates from here on are high for Adam and its kin."""


@old_attributes
class Recorder(Callback):
    """Losses, learning rates, momentums and the figures of every epoch of the latest fit (`learn.sched`).

    Attributes
    ----------
    losses : list of float
        Training loss of every batch.
    lrs : list of float
        Learning rate of the last layer group at every batch.
    moms : list of float
        Momentum (Adam's first beta) at every batch; empty for an optimizer without.
    epochs : list of dict
        `epoch`, `trn_loss`, `val_loss`, the metrics and `time` in seconds, per epoch.
    lr_finding : LRFindResult or None
        What the latest `lr_find` measured.
    untrained : bool
        Whether the model begins from its first weights, and it is to be said if the loss does not fall then. A learner sets
        it until it has trained or loaded weights.

    Examples
    --------
    >>> import torch, torch.nn.functional as F
    >>> from learnkit import DataBunch, Recorder, fit
    >>> batches = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))] * 4
    >>> model, recorder = torch.nn.Linear(3, 2), Recorder()
    >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> _ = fit(model, DataBunch(".", batches), 2, opt, F.cross_entropy, callbacks=[recorder], progress=False)
    >>> len(recorder.losses), recorder.lrs[0], list(recorder.to_frame().columns)
    (8, 0.1, ['epoch', 'trn_loss', 'time'])
    """

    rehearses = False

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.lrs: list[float] = []
        self.moms: list[float] = []
        self.epochs: list[dict[str, float]] = []
        self.lr_finding: LRFindResult | None = None
        self._found_before: LRFindResult | None = None  # what `lr_find` had measured when the latest fit began
        self.untrained = False
        self._started = 0.0

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        self.losses, self.lrs, self.moms, self.epochs = [], [], [], []
        self._found_before = self.lr_finding

    def before_epoch(self, run: Run) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def after_backward(self, run: Run) -> None:
        """Note the rate and momentum the optimizer is at."""
        group = run.opt.param_groups[-1]
        self.lrs.append(float(group["lr"]))
        momentum = get_momentum(group)
        if momentum is not None:
            self.moms.append(momentum)

    def after_epoch(self, run: Run) -> None:
        """Note the figures of the epoch."""
        self.losses = run.running_loss.read()
        self.epochs.append({"epoch": run.epoch, **run.results, "time": time.perf_counter() - self._started})
        if self.untrained and run.epoch == 0 and len(self.losses) >= FIRST_LOOK:
            self._remark_if_no_better(run)

    def _remark_if_no_better(self, run: Run) -> None:
        """Say so, where the table is shown, if the first epoch did not lower the loss."""
        start, last = self.losses[0], self.losses[-max(len(self.losses) // 4, 1) :]
        end = max(sum(last) / len(last), run.results.get("val_loss", -math.inf))
        if end < start or not self.lrs or run.running_loss.sizes[0] < FEWEST_ITEMS:
            return
        name, rate = type(run.opt).__name__, max(self.lrs)
        adaptive = "" if rate < ADAPTIVE_RATE or "adam" not in name.lower() else (
            f" For {name} this is a high rate: those of the course (0.01, 0.2) are for gradient descent, "
            '`opt_fn="sgd_momentum"`.'
        )  # fmt: skip
        text = (
            f"after epoch {run.epoch} the loss is no better than at the start: {format_figure(start)} in the first batch, now "
            f"{format_figure(end)}, with {name} at learning rate {rate:.3g}. `learn.lr_find()` suggests a rate.{adaptive}"
        )
        # No warning: it may be on its way, as embeddings that begin at the mean are, which take their time.
        if any(isinstance(callback, ProgressTable) for callback in run.callbacks):
            say(text)

    def cleanup_fit(self, run: Run) -> None:
        """Keep the losses of an epoch that was broken off, and as many rates."""
        self.losses = run.running_loss.read()[: len(self.lrs)]
        del self.lrs[len(self.losses) :], self.moms[len(self.losses) :]
        self.untrained = self.untrained and not self.losses

    def state_dict(self) -> dict[str, Any]:
        """Return the record, and how long the current epoch has taken so far."""
        return {**super().state_dict(), "_started": time.perf_counter() - self._started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the record back; the time between does not count."""
        super().load_state_dict({**state, "_started": time.perf_counter() - state["_started"]})

    def to_frame(self) -> pd.DataFrame:
        """Return the epoch table as a frame.

        Returns
        -------
        pandas.DataFrame
            One row per epoch: `epoch`, `trn_loss`, `val_loss`, the metrics, `time` in seconds.
        """
        import pandas as pd

        return pd.DataFrame(self.epochs)

    @old_arguments
    def plot(self, skip_start: int = 10, skip_end: int = 5, *, ax: Axes | None = None) -> Axes:
        """Draw the latest `lr_find`: loss against learning rate, with the three suggestions.

        Parameters
        ----------
        skip_start, skip_end : int, default 10 and 5
            Points left out at the ends, where the curve is noise or has blown up.
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Raises
        ------
        LearnkitError
            If `lr_find` has not run.
        """
        if self.lr_finding is None:
            raise LearnkitError("there is no learning-rate curve yet: call `learn.lr_find()` first.")
        return self.lr_finding.plot(skip_start, skip_end, ax=ax)

    def plot_lr(self, show_moms: bool = False, *, ax: Axes | None = None) -> Axes:
        """Draw the learning rate (and, if asked, the momentum) of every batch of the latest fit, or `lr_find`."""
        found = None if self.lr_finding is self._found_before else self.lr_finding
        if found is None:
            self._need_fit()
        ax = get_ax(ax)
        ax.plot(self.lrs if found is None else found.lrs)
        if found is not None:
            ax.set_yscale("log")
        ax.set_xlabel("batch")
        ax.set_ylabel("learning rate")
        if show_moms and self.moms and found is None:
            twin = ax.twinx()
            twin.plot(self.moms, color="tab:orange")
            twin.set_ylabel("momentum", color="tab:orange")
        return ax

    @old_arguments
    def plot_loss(self, skip_start: int = 0, *, ax: Axes | None = None) -> Axes:
        """Draw the training loss of every batch, its running average, and the validation loss per epoch."""
        self._need_fit()
        ax = get_ax(ax)
        batches = range(len(self.losses))
        smooth = RunningLoss(beta=0.98 if len(self.losses) > 1000 else 0.9)
        running = []
        for loss in self.losses:
            smooth.add(torch.tensor(loss))
            running.append(smooth.smooth())
        ax.plot(batches[skip_start:], self.losses[skip_start:], color="tab:blue", alpha=0.25, lw=0.8)
        ax.plot(batches[skip_start:], running[skip_start:], color="tab:blue", label="training")
        done = [row for row in self.epochs if "val_loss" in row]
        if done:
            per_epoch = len(self.losses) / len(self.epochs)
            at = [(row["epoch"] + 1) * per_epoch - 1 for row in done]
            ax.plot(at, [row["val_loss"] for row in done], "o-", color="tab:orange", label="validation")
        ax.set_xlabel("batch")
        ax.set_ylabel("loss")
        ax.legend()
        return ax

    def _need_fit(self) -> None:
        if not self.losses:
            hint = "" if self.lr_finding is None else " `plot()` draws what `lr_find` measured."
            raise LearnkitError(f"nothing has been trained yet: call `learn.fit(...)` first.{hint}")


class ProgressTable(Callback):
    """Print a row per epoch under one progress bar for the whole fit.

    The bar appears in terminals and notebooks only, so a log file holds just the table. With
    `LEARNKIT_PROGRESS=0` in the environment nothing is shown.

    Parameters
    ----------
    interval : float, default 0.25
        Seconds between two updates of the bar; only then is the loss read from the device.
    """

    rehearses = False

    def __init__(self, interval: float = 0.25) -> None:
        self.interval = interval
        self._bar: Any = None
        self._columns: tuple[str, ...] = ()
        self._epoch_started = self._due = 0.0

    def before_fit(self, run: Run) -> None:
        """Open the bar where there is somebody to see it."""
        self._columns = ()
        self._enabled = os.environ.get("LEARNKIT_PROGRESS", "1") != "0"
        if self._enabled and (sys.stderr.isatty() or _in_notebook()):
            from tqdm import tqdm

            self._bar = tqdm(
                total=None, leave=False, file=sys.stderr, bar_format="{desc}{bar:30} {elapsed}<{remaining}"
            )

    def before_epoch(self, run: Run) -> None:
        """Start the clock."""
        self._epoch_started = time.perf_counter()

    def after_batch(self, run: Run) -> None:
        """Move the bar, when it is due."""
        if self._bar is None or time.perf_counter() < self._due:
            return
        self._due = time.perf_counter() + self.interval
        what = f"epoch {run.epoch + 1}/{run.n_epochs}"
        if run.training:
            loss = f"loss {run.running_loss.smooth():.4f}"
            share = (run.batch + 1) / run.n_batches if run.n_batches else 0.0
            self._bar.total, self._bar.n = run.n_epochs, run.epoch + share
            self._bar.set_description_str(
                f"{what}  batch {run.batch + 1}/{run.n_batches or '?'}  {loss} ", refresh=False
            )
        else:
            self._bar.set_description_str(f"{what}  validating {run.batch + 1}/{run.n_batches or '?'} ", refresh=False)
        self._bar.refresh()

    def after_epoch(self, run: Run) -> None:
        """Print the row of the epoch."""
        if not self._enabled:
            return
        if not self._columns:
            self._columns = ("epoch", *run.headings, "time")
            self._write(self._columns)
        seconds = _format_time(time.perf_counter() - self._epoch_started)
        self._write((str(run.epoch), *(format_figure(run.results.get(name)) for name in run.headings), seconds))

    def cleanup_fit(self, run: Run) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: what is shown is no part of the training."""
        return {}

    def _write(self, cells: Sequence[str]) -> None:
        row = "  ".join(cell.rjust(max(len(name), 9)) for name, cell in zip(self._columns, cells, strict=True))
        if self._bar is None:
            print(row, flush=True)
        else:
            self._bar.write(row, file=sys.stdout)


def format_figure(value: float | None) -> str:
    """Format a figure for a table: four significant digits, or blank."""
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"


def _format_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"
