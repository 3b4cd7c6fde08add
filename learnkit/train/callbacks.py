"""The callbacks that come with learnkit: each is small, works with any other, and in any order."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from learnkit.core.errors import NonFiniteError, check_choice, check_fraction, check_positive, optional_import
from learnkit.core.preserve import preserve_rng
from learnkit.data.files import PathLike
from learnkit.train.checkpoint import load_model, save_model
from learnkit.train.events import Callback, CancelFit

if TYPE_CHECKING:
    from learnkit.train.loop import Run

__all__ = [
    "CSVLog",
    "EarlyStopping",
    "GradientClip",
    "LossRegulariser",
    "MixUp",
    "ReduceOnPlateau",
    "SaveBest",
    "StopOnNaN",
    "TensorBoardLog",
    "WeightAverage",
]


class GradientClip(Callback):
    """Scale the gradients down to a norm, as `fit(..., clip=)` and `learn.clip` do.

    Parameters
    ----------
    max_norm : float
        Largest norm over all parameters together (Pascanu et al. 2013).

    Examples
    --------
    >>> from learnkit import GradientClip
    >>> GradientClip(0.3).max_norm
    0.3
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = check_positive("max_norm", max_norm)

    def before_fit(self, run: Run) -> None:
        """Ask the loop to clip."""
        run.clip = self.max_norm


class LossRegulariser(Callback):
    """Add a penalty to the training loss, as `learn.reg_fn` does.

    Parameters
    ----------
    reg_fn : callable
        `reg_fn(pred, extra, loss)` -> the loss to minimise; `extra` are the model's outputs after the first.
        The reported training loss is the regularised one.

    Examples
    --------
    >>> from learnkit import LossRegulariser
    >>> penalty = LossRegulariser(lambda pred, extra, loss: loss + 1e-3 * pred.square().mean())
    """

    def __init__(self, reg_fn: Callable[[Any, tuple[Any, ...], Tensor], Tensor]) -> None:
        self.reg_fn = reg_fn

    def after_loss(self, run: Run) -> None:
        """Replace the training loss."""
        if run.training:
            run.loss = self.reg_fn(run.pred, run.extra, run.loss)


class Watch(Callback):
    """Base of the callbacks that follow one figure of the epoch table.

    Parameters
    ----------
    monitor : str
        `val_loss`, `trn_loss` or the name of a metric.
    mode : {"min", "max"}, optional
        Which direction is better. Needed for a metric; a loss is better lower.
    min_delta : float, default 0
        Smallest change that counts as better.
    """

    def __init__(self, monitor: str = "val_loss", mode: str | None = None, *, min_delta: float = 0.0) -> None:
        if mode is None:
            if not monitor.endswith("loss"):
                raise ValueError(f'say which direction of {monitor!r} is better: mode="max" or mode="min".')
            mode = "min"
        check_choice("mode", mode, ("min", "max"))
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best = math.inf if mode == "min" else -math.inf
        self.best_epoch = -1

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = -1

    def improved(self, run: Run) -> bool | None:
        """Compare this epoch with the best so far; `None` if the epoch has no such figure."""
        value = run.results.get(self.monitor)
        if value is None:
            if run.results and "trn_loss" in run.results and (self.monitor != "val_loss" or "val_loss" in run.results):
                raise ValueError(f"there is no {self.monitor!r} to watch; this fit has {', '.join(run.results)}.")
            return None
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch = value, run.epoch
            return True
        return False


class EarlyStopping(Watch):
    """End the fit when a figure has not become better for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        What to watch: `val_loss`, `trn_loss` or the name of a metric.
    mode : {"min", "max"}, optional
        Which direction is better. Needed for a metric; a loss is better lower.
    patience : int, default 3
        Epochs without improvement after which to stop.
    min_delta : float, default 0
        Smallest change that counts.

    Examples
    --------
    >>> from learnkit import EarlyStopping
    >>> EarlyStopping("accuracy", mode="max", patience=2).patience
    2
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str | None = None, patience: int = 3, *, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = int(check_positive("patience", patience, integer=True))
        self.waited = 0

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        super().before_fit(run)
        self.waited = 0

    def after_epoch(self, run: Run) -> None:
        """Count, and stop when patience is over."""
        better = self.improved(run)
        if better is not None:
            self.waited = 0 if better else self.waited + 1
        if self.waited >= self.patience:
            raise CancelFit


class SaveBest(Watch):
    """Save the weights of the best epoch so far.

    Parameters
    ----------
    path : path-like
        File to write, `.safetensors` added if it is missing. It always holds a complete set of weights.
    monitor : str, default "val_loss"
        What to watch: `val_loss`, `trn_loss` or the name of a metric.
    mode : {"min", "max"}, optional
        Which direction is better. Needed for a metric; a loss is better lower.
    restore : bool, default False
        Give the model its best weights back at the end of the fit.
    min_delta : float, default 0
        Smallest change that counts.

    Examples
    --------
    >>> from learnkit import SaveBest
    >>> SaveBest("models/best", monitor="accuracy", mode="max").monitor
    'accuracy'
    """

    def __init__(
        self,
        path: PathLike,
        monitor: str = "val_loss",
        mode: str | None = None,
        *,
        restore: bool = False,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.path, self.restore = Path(path), restore

    def after_epoch(self, run: Run) -> None:
        """Save, if this epoch is the best."""
        if self.improved(run):
            save_model(run.model, self.path)

    def after_fit(self, run: Run) -> None:
        """Load the best weights, if asked to."""
        if self.restore and self.best_epoch >= 0:
            load_model(run.model, self.path)


class StopOnNaN(Callback):
    """Stop with an error that names the batch when the loss is NaN or infinite, and put good weights back.

    The model gets the weights it had at the start of the epoch, so it stays usable. Every `Learner` has this
    callback. On a GPU the losses are read every half second rather than every step.

    Raises
    ------
    NonFiniteError
        Naming epoch and batch, and whether the inputs or the target already held the bad value.

    Examples
    --------
    >>> from learnkit import StopOnNaN
    >>> guard = StopOnNaN()
    """

    def __init__(self) -> None:
        self._good: list[tuple[Tensor, Tensor]] = []
        self._checked = 0
        self._inputs: dict[int, tuple[int, Tensor]] = {}  # number of the loss -> (batch, are its inputs finite?)

    def before_train(self, run: Run) -> None:
        """Remember the weights."""
        with torch.no_grad():
            self._good = [(x, x.detach().clone()) for x in (*run.model.parameters(), *run.model.buffers())]
        self._checked = run.running_loss.count
        self._inputs = {}

    def after_loss(self, run: Run) -> None:
        """Check the loss: at once where that is free, later where it would wait for the device."""
        if not run.training:
            return
        if run.loss.device.type == "cpu":
            if not math.isfinite(run.loss.item()):
                self._stop(run, run.batch, _bad_values(run.xs, run.y))
        else:
            self._inputs[run.running_loss.count] = (run.batch, _all_finite(run.xs, run.y, run.loss.device))

    def after_batch(self, run: Run) -> None:
        """Check the losses that somebody has read meanwhile (the progress bar does so several times a second)."""
        if run.training and self._inputs and run.running_loss.n_read > self._checked:
            self._check(run)

    def after_train(self, run: Run) -> None:
        """Check what is left."""
        if self._inputs:
            self._check(run)

    def cleanup_fit(self, run: Run) -> None:
        """Let the copies go."""
        self._good, self._inputs = [], {}

    def _check(self, run: Run) -> None:
        losses = run.running_loss.values
        for i in range(self._checked, len(losses)):
            if not math.isfinite(losses[i]):
                batch, finite = self._inputs[i]
                self._stop(run, batch, "" if finite else "the batch itself holds NaN or infinite values")
        self._checked = len(losses)

    def _stop(self, run: Run, batch: int, bad: str) -> None:
        with torch.no_grad():
            for tensor, value in self._good:
                tensor.copy_(value)
        loss = f"the loss of batch {batch} in epoch {run.epoch} is not finite"
        if bad:
            cause = f": {bad}. Mend or leave out these items."
        else:
            rate = run.opt.param_groups[-1]["lr"]
            cause = (
                f", though its inputs are: the training diverged at learning rate {rate:.3g}. Try a tenth of it"
                " (`learn.lr_find()` suggests one), or `learn.clip = 1.0`."
            )
        raise NonFiniteError(f"{loss}{cause} The weights are those from the start of this epoch.")


class ReduceOnPlateau(Watch):
    """Multiply the learning rates by a factor when a figure has not become better for some epochs.

    For a constant rate (`cycle_len=None`); a schedule would set its own rate again.

    Parameters
    ----------
    monitor : str, default "val_loss"
        What to watch: `val_loss`, `trn_loss` or the name of a metric.
    mode : {"min", "max"}, optional
        Which direction is better. Needed for a metric; a loss is better lower.
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 2
        Epochs without improvement after which to reduce.
    min_lr : float, default 0
        Rates do not fall below it.
    min_delta : float, default 0
        Smallest change that counts.

    Examples
    --------
    >>> from learnkit import ReduceOnPlateau
    >>> ReduceOnPlateau(factor=0.5).factor
    0.5
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
        self.waited = 0

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        super().before_fit(run)
        self.waited = 0

    def after_epoch(self, run: Run) -> None:
        """Count, and reduce when patience is over."""
        better = self.improved(run)
        if better is None:
            return
        self.waited = 0 if better else self.waited + 1
        if self.waited >= self.patience:
            self.waited = 0
            for group in run.opt.param_groups:
                group["lr"] = max(group["lr"] * self.factor, self.min_lr)


class MixUp(Callback):
    """Train on blends of two items and of their losses (Zhang et al. 2018, "mixup").

    Parameters
    ----------
    alpha : float, default 0.4
        Of the Beta(alpha, alpha) distribution the blend is drawn from, per batch. Larger blends more.

    Examples
    --------
    >>> from learnkit import MixUp
    >>> MixUp(0.2).alpha
    0.2
    """

    def __init__(self, alpha: float = 0.4) -> None:
        self.alpha = check_positive("alpha", alpha)
        self._beta = torch.distributions.Beta(alpha, alpha)
        self._share = 1.0
        self._other_y: Any = None

    def before_batch(self, run: Run) -> None:
        """Blend each item with another one of the batch."""
        if not run.training:
            return
        self._share = float(self._beta.sample())
        order = torch.randperm(len(run.y), device=run.y.device)
        self._other_y = run.y[order]
        run.xs = tuple(torch.lerp(x[order], x, self._share) if x.is_floating_point() else x for x in run.xs)

    def after_loss(self, run: Run) -> None:
        """Blend the losses towards both targets."""
        if run.training:
            other = run.crit(run.pred, self._other_y.view_as(run.y))
            run.loss = self._share * run.loss + (1 - self._share) * other


class WeightAverage(Callback):
    """Validate and end with an average of the weights along the way instead of the last ones.

    With `decay` an exponential moving average over steps (Polyak & Juditsky 1992); without, the plain mean of
    the weights at the end of each epoch from `start` on (SWA, Izmailov et al. 2018). Buffers, such as
    batch-norm statistics, are averaged too. From the validation to the end of the epoch everybody sees the average,
    `SaveBest` too, and so the fit ends; training itself goes on from its own weights.

    Parameters
    ----------
    decay : float, optional
        Share of the old average kept at each step, e.g. 0.999. `None` for SWA.
    start : int, default 0
        First epoch that counts.

    Examples
    --------
    >>> from learnkit import WeightAverage
    >>> ema, swa = WeightAverage(decay=0.999), WeightAverage(start=5)
    """

    def __init__(self, decay: float | None = None, start: int = 0) -> None:
        self.decay = None if decay is None else check_fraction("decay", decay)
        self.start = start
        self._average: list[Tensor] = []
        self._own: list[Tensor] | None = None
        self._n = 0

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        self._average, self._own, self._n = [], None, 0

    def before_train(self, run: Run) -> None:
        """Go on training from the model's own weights."""
        self._swap_back(run.model)

    def after_step(self, run: Run) -> None:
        """Move the average a little."""
        if self.decay is not None and run.epoch >= self.start:
            # Early on a plain mean, so that the random start does not weigh for thousands of steps.
            self._update(run.model, max(1 - self.decay, 1 / (self._n + 1)))

    def after_train(self, run: Run) -> None:
        """Take in the epoch (SWA)."""
        if self.decay is None and run.epoch >= self.start:
            self._update(run.model, 1 / (self._n + 1))

    def before_valid(self, run: Run) -> None:
        """Let everybody see the average from here to the end of the epoch."""
        self._swap_in(run.model)

    def after_fit(self, run: Run) -> None:
        """Keep the average."""
        self._swap_in(run.model)
        self._own = None

    def cleanup_fit(self, run: Run) -> None:
        """After an error, give the model its own weights back."""
        self._swap_back(run.model)
        self._average = []

    @torch.no_grad()
    def _update(self, model: nn.Module, share: float) -> None:
        values = [x.detach() for x in _floats(model)]
        if not self._average:
            self._average = [x.clone() for x in values]
        else:
            torch._foreach_lerp_(self._average, values, share)
        self._n += 1

    def _swap_in(self, model: nn.Module) -> None:
        if self._n and self._own is None:
            self._own = [x.detach().clone() for x in _floats(model)]
            self._put(model, self._average)

    def _swap_back(self, model: nn.Module) -> None:
        if self._own is not None:
            self._put(model, self._own)
            self._own = None

    @torch.no_grad()
    def _put(self, model: nn.Module, values: list[Tensor]) -> None:
        for x, value in zip(_floats(model), values, strict=True):
            x.copy_(value)


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
    >>> from learnkit import CSVLog
    >>> log = CSVLog("logs/history.csv")
    """

    def __init__(self, path: PathLike, *, append: bool = False) -> None:
        self.path, self.append = Path(path), append

    def before_fit(self, run: Run) -> None:
        """Start the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._columns: list[str] = []
        if self.append and self.path.exists():
            with open(self.path, newline="") as file:
                self._columns = next(csv.reader(file), [])
        else:
            self.path.write_text("")

    def after_epoch(self, run: Run) -> None:
        """Write a row."""
        with open(self.path, "a", newline="") as file:
            if not self._columns:
                self._columns = ["epoch", *run.results]
                csv.writer(file).writerow(self._columns)
            row = {"epoch": run.epoch, **run.results}
            csv.writer(file).writerow([row.get(name, "") for name in self._columns])


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

    Examples
    --------
    >>> from learnkit import TensorBoardLog
    >>> log = TensorBoardLog("runs/first", every=50)
    """

    def __init__(self, log_dir: PathLike, *, every: int = 10) -> None:
        optional_import("tensorboard", extra="tensorboard")
        self.log_dir, self.every = Path(log_dir), int(check_positive("every", every, integer=True))
        self._writer: Any = None
        self._step = 0

    def before_fit(self, run: Run) -> None:
        """Open the log."""
        # Imported here: it takes a while, and random draws made by its imports must not change the training.
        with preserve_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.log_dir))
        self._step = 0

    def after_batch(self, run: Run) -> None:
        """Log loss and rates of a training batch."""
        if run.training:
            if self._step % self.every == 0:
                self._writer.add_scalar("batch/trn_loss", run.running_loss.value(), self._step)
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


def _floats(model: nn.Module) -> list[Tensor]:
    return [x for x in (*model.parameters(), *model.buffers()) if x.is_floating_point()]


def _all_finite(xs: tuple[Any, ...], y: Any, device: torch.device) -> Tensor:
    """Return a flag that stays on the device."""
    total = torch.zeros((), device=device)
    for x in (*xs, y):
        if isinstance(x, Tensor) and x.is_floating_point():
            total = total + x.sum(dtype=torch.float32)
    return total.isfinite()


def _bad_values(xs: tuple[Any, ...], y: Any) -> str:
    """Say which input holds NaN or infinite values, and in which items."""
    for name, x in [
        *((f"input {i}" if len(xs) > 1 else "its input", x) for i, x in enumerate(xs)),
        ("its target", y),
    ]:
        if isinstance(x, Tensor) and x.is_floating_point() and x.ndim:
            bad = (~x.reshape(len(x), -1).isfinite().all(1)).nonzero().flatten().tolist()
            if bad:
                shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                return f"{name} holds NaN or infinite values in {len(bad)} of {len(x)} items (numbers {shown} of the batch)"
    return ""
