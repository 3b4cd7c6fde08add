"""The callbacks that watch a figure of the epoch table: stop, save, slow down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learnkit.core.errors import check_choice, check_fraction, check_positive
from learnkit.data.files import PathLike
from learnkit.store.weights import load_model, save_model
from learnkit.train.events import Callback, CancelFit, Run

__all__ = ["EarlyStopping", "ReduceOnPlateau", "SaveBest"]


class Watch(Callback):
    """Base of the callbacks that follow one figure of the epoch table; see `EarlyStopping`."""

    rehearses = False

    best: float
    best_epoch: int
    waited: int

    def __init__(self, monitor: str = "val_loss", mode: str | None = None, *, min_delta: float = 0.0) -> None:
        if mode is not None:
            check_choice("mode", mode, ("min", "max"))
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self._higher = mode == "max"
        self._forget()

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit, and check that this one has the figure."""
        self.check_figure(run)
        self._higher = self.mode == "max" if self.mode is not None else run.higher_is_better[self.monitor]
        self._forget()

    def check_figure(self, run: Run) -> None:
        """Raise a ValueError unless the fit reports the figure and its direction is known."""
        if self.monitor not in run.figures:
            hint = " There is no validation set." if "val_loss" not in run.figures else ""
            raise ValueError(
                f"{type(self).__name__} watches {self.monitor!r}, but this fit reports {', '.join(run.figures)}.{hint}"
            )
        if self.mode is None and self.monitor not in run.higher_is_better:
            raise ValueError(f'say which direction of {self.monitor!r} is better: mode="max" or mode="min".')

    def improved(self, run: Run) -> bool:
        """Compare this epoch with the best so far; a cancelled epoch without the figure counts for nothing."""
        value = run.results.get(self.monitor)
        if value is None:
            return False
        gain = value - self.best if self._higher else self.best - value
        better = gain > self.min_delta
        if better:
            self.best, self.best_epoch = value, run.epoch
        self.waited = 0 if better else self.waited + 1
        return better

    def _forget(self) -> None:
        self.best = -math.inf if self._higher else math.inf
        self.best_epoch = -1
        self.waited = 0


class EarlyStopping(Watch):
    """End the fit when a figure has not become better for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        What to watch: `val_loss`, `trn_loss` or the name of a metric.
    mode : {"min", "max"}, optional
        Which direction is better. Needed only for a metric that does not say so itself (`Metric.higher_is_better`).
    patience : int, default 3
        Epochs without improvement after which to stop.
    min_delta : float, default 0
        Smallest change that counts.

    Examples
    --------
    >>> import torch
    >>> from learnkit import DataBunch, EarlyStopping, Learner, Real
    >>> x = torch.ones(4, 1)
    >>> learn = Learner(DataBunch(".", [(x, x)], [(x, x)], target=Real()), torch.nn.Linear(1, 1))
    >>> with learn.no_progress():
    ...     _ = learn.fit(1e-9, 9, callbacks=[EarlyStopping(patience=2, min_delta=0.01)])
    >>> [row["epoch"] for row in learn.sched.epochs]
    [0, 1, 2]
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str | None = None, patience: int = 3, *, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = int(check_positive("patience", patience, integer=True))

    def after_epoch(self, run: Run) -> None:
        """Stop when patience is over."""
        self.improved(run)
        if self.waited >= self.patience:
            raise CancelFit


class SaveBest(Watch):
    """Save the weights of the best epoch so far; what it watches: see `EarlyStopping`.

    Parameters
    ----------
    path : path-like
        File to write, `.safetensors` added if it is missing. It always holds a complete set of weights.
    restore : bool, default False
        Give the model its best weights back at the end of the fit.
    meta : mapping, optional
        Kept in the file's header, see `save_model`.
    """

    def __init__(
        self,
        path: PathLike,
        monitor: str = "val_loss",
        mode: str | None = None,
        *,
        restore: bool = False,
        min_delta: float = 0.0,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.path, self.restore, self.meta = Path(path), restore, meta
        self._finished = False

    def before_epoch(self, run: Run) -> None:
        """Note that the fit is under way."""
        self._finished = False

    def after_epoch(self, run: Run) -> None:
        """Save, if this epoch is the best."""
        if self.improved(run):
            save_model(run.model, self.path, meta=self.meta)

    def after_fit(self, run: Run) -> None:
        """Note that the fit has come to its end, by itself or cancelled."""
        self._finished = True

    def cleanup_fit(self, run: Run) -> None:
        """Load the best weights, if asked to; last of all, so that no other callback's weights replace them."""
        if self.restore and self._finished and self.best_epoch >= 0:
            load_model(run.model, self.path)


class ReduceOnPlateau(Watch):
    """Multiply the learning rates by a factor when a figure has not become better for some epochs.

    For a constant rate (`cycle_len=None`); a schedule would set its own rate again. What it watches: see
    `EarlyStopping`.

    Parameters
    ----------
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 2
        Epochs without improvement after which to reduce.
    min_lr : float, default 0
        Rates do not fall below it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str | None = None,
        factor: float = 0.1,
        patience: int = 2,
        *,
        min_lr: float = 0.0,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = check_fraction("factor", factor)
        self.patience = int(check_positive("patience", patience, integer=True))
        self.min_lr = min_lr

    def after_epoch(self, run: Run) -> None:
        """Reduce when patience is over."""
        self.improved(run)
        if self.waited >= self.patience:
            self.waited = 0
            for player in run.players:
                for group in player.opt.param_groups:
                    group["lr"] = max(group["lr"] * self.factor, min(self.min_lr, group["lr"]))
