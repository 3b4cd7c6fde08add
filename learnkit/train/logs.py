"""The callbacks that write down what happens: a CSV file, TensorBoard."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learnkit.core.errors import check_positive, optional_import
from learnkit.core.preserve import preserve_rng
from learnkit.data.files import PathLike, atomic_path, writing
from learnkit.train.events import Callback, Run

__all__ = ["CSVLog", "TensorBoardLog"]


class CSVLog(Callback):
    """Append the figures of each epoch to a CSV file, readable at any time.

    Parameters
    ----------
    path : path-like
        The file; its folder is made. Column names are written first.
    append : bool, default False
        Go on with a file that exists instead of starting it anew.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from learnkit import CSVLog, DataBunch, Learner, Real
    >>> x = torch.ones(4, 2)
    >>> learn = Learner(DataBunch(".", [(x, x.sum(1))], target=Real()), torch.nn.Linear(2, 1))
    >>> with tempfile.TemporaryDirectory() as folder, learn.no_progress():
    ...     _ = learn.fit(0.1, 1, callbacks=[CSVLog(f"{folder}/log.csv")])
    ...     print(Path(folder, "log.csv").read_text())
    epoch,trn_loss
    0,...
    """

    rehearses = False

    def __init__(self, path: PathLike, *, append: bool = False) -> None:
        self.path, self.append = Path(path), append

    def before_fit(self, run: Run) -> None:
        """Start the file with the names of the columns, or read them from the one to go on with."""
        if run.resumed:
            return  # the file goes on too, see `load_state_dict`
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        self._columns: list[str] = []
        self._empty = False
        if self.append and self.path.exists():
            with open(self.path, newline="") as file:
                self._columns = next(csv.reader(file), [])
        if self._columns:
            self._check(run.headings)
        else:
            self._begin(run)

    def after_epoch(self, run: Run) -> None:
        """Write a row."""
        row = {"epoch": run.epoch, **run.results}
        if self._empty and self._columns != ["epoch", *run.headings]:
            self._begin(run)  # a metric turned out to have several columns
        self._empty = False
        self._check(run.results)
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow([row.get(name, "") for name in self._columns])

    def _begin(self, run: Run) -> None:
        self._columns, self._empty = ["epoch", *run.headings], True
        with open(self.path, "w", newline="") as file:
            csv.writer(file).writerow(self._columns)

    def _check(self, figures: Iterable[str]) -> None:
        """Raise rather than leave a figure out."""
        missing = [name for name in figures if name not in self._columns]
        if missing:
            raise ValueError(
                f"{self.path} has no column for {', '.join(missing)}: its columns are {', '.join(self._columns)}. Go on with "
                "the same metrics, or write to another file."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the columns, and what was written."""
        return {"columns": self._columns, "text": self.path.read_text()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Leave out of the file what was written after the checkpoint; it is going to be written again."""
        self._columns, self._empty = state["columns"], False
        with atomic_path(self.path) as temporary:
            temporary.write_text(state["text"])


class TensorBoardLog(Callback):
    """Log losses and rates per batch and the other figures per epoch to TensorBoard (extra `tensorboard`).

    Parameters
    ----------
    log_dir : path-like
        Where TensorBoard shall look.
    every : int, default 10
        Batches between two points of the per-batch curves; only then is the loss read from the device.

    Raises
    ------
    MissingExtraError
        If TensorBoard is not installed.
    """

    rehearses = False

    def __init__(self, log_dir: PathLike, *, every: int = 10) -> None:
        optional_import("tensorboard", extra="tensorboard")
        self.log_dir, self.every = Path(log_dir), int(check_positive("every", every, integer=True))
        self._writer: Any = None
        self._step = 0

    def before_fit(self, run: Run) -> None:
        """Open the log."""
        self._open(first_step=None)
        self._step = 0

    def after_batch(self, run: Run) -> None:
        """Log loss and rates of a training batch."""
        if run.training:
            if self._step % self.every == 0:
                self._writer.add_scalar("batch/trn_loss", run.running_loss.smooth(), self._step)
                for i, group in enumerate(run.opt.param_groups):
                    self._writer.add_scalar(f"batch/lr_{i}", group["lr"], self._step)
            self._step += 1

    def after_epoch(self, run: Run) -> None:
        """Log the figures of the epoch."""
        for name, value in run.results.items():
            self._writer.add_scalar(f"epoch/{name}", value, run.epoch)

    def cleanup_fit(self, run: Run) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in a new file, and let what was logged after the checkpoint be forgotten."""
        super().load_state_dict(state)
        self._writer.close()
        self._open(first_step=self._step)

    def _open(self, *, first_step: int | None) -> None:
        # Imported here: it takes a while, and random draws made by its imports must not change the training.
        with preserve_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.log_dir), purge_step=first_step)
