"""The callbacks that come with learnkit: each is small, works with any other, and in any order."""

from __future__ import annotations

import csv
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from learnkit.core.device import map_tensors
from learnkit.core.errors import NonFiniteError, check_choice, check_fraction, check_positive, optional_import
from learnkit.core.preserve import preserve_rng, preserve_states
from learnkit.data.check import bad_values
from learnkit.data.files import PathLike, atomic_path
from learnkit.train.checkpoint import load_model, save_model
from learnkit.train.events import Callback, CancelFit

if TYPE_CHECKING:
    from learnkit.train.loop import Run

__all__ = [
    "CSVLog",
    "CutMix",
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

    best: float
    best_epoch: int
    waited: int

    def __init__(self, monitor: str = "val_loss", mode: str | None = None, *, min_delta: float = 0.0) -> None:
        if mode is None:
            if not monitor.endswith("loss"):
                raise ValueError(f'say which direction of {monitor!r} is better: mode="max" or mode="min".')
            mode = "min"
        check_choice("mode", mode, ("min", "max"))
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self._forget()

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit, and check that this one has the figure."""
        self._forget()
        if self.monitor not in run.figures:
            hint = " There is no validation set." if "val_loss" not in run.figures else ""
            raise ValueError(
                f"{type(self).__name__} watches {self.monitor!r}, but this fit reports {', '.join(run.figures)}.{hint}"
            )

    def improved(self, run: Run) -> bool:
        """Compare this epoch with the best so far; a cancelled epoch without the figure counts for nothing."""
        value = run.results.get(self.monitor)
        if value is None:
            return False
        gain = self.best - value if self.mode == "min" else value - self.best
        better = gain > self.min_delta
        if better:
            self.best, self.best_epoch = value, run.epoch
        self.waited = 0 if better else self.waited + 1
        return better

    def _forget(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = -1
        self.waited = 0


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

    def after_epoch(self, run: Run) -> None:
        """Stop when patience is over."""
        self.improved(run)
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
    meta : mapping, optional
        Kept in the file's header, see `save_model`.

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


class StopOnNaN(Callback):
    """Stop with an error that names the batch when the loss is NaN or infinite, and put good weights back.

    The model gets the weights it had at the start of the epoch, so it stays usable. Every `Learner` has this
    callback. On a GPU the losses are read every half second rather than every step.

    Raises
    ------
    NonFiniteError
        Naming epoch and batch, and where it began: in the inputs or the target, or in which layer.

    Examples
    --------
    >>> from learnkit import StopOnNaN
    >>> guard = StopOnNaN()
    """

    def __init__(self) -> None:
        self._good: list[tuple[Tensor, Tensor]] = []
        self._resumed = False  # in this epoch
        self._batches: list[int] = []  # of the losses not checked yet
        self._due = 0.0

    def before_train(self, run: Run) -> None:
        """Remember the weights."""
        with torch.no_grad():
            self._good = [(x, x.detach().clone()) for x in (*run.model.parameters(), *run.model.buffers())]
        self._batches, self._resumed = [], False

    def after_backward(self, run: Run) -> None:
        """Check the loss: at once where that is free, every half second where it would wait for the device."""
        if run.loss.device.type == "cpu":
            if not math.isfinite(run.loss.item()):
                self._stop(run, run.batch)
            return
        self._batches.append(run.batch)
        if time.perf_counter() > self._due:
            self._check(run)

    def after_train(self, run: Run) -> None:
        """Check what is left."""
        self._check(run)

    def cleanup_fit(self, run: Run) -> None:
        """Let the copies go."""
        self._good, self._batches = [], []

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a checkpoint holds good weights itself."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the weights as they are now for the good ones."""
        self._good, self._resumed = [(x, x.detach().clone()) for x, _ in self._good], True

    def _check(self, run: Run) -> None:
        losses = run.running_loss.read()
        unchecked = losses[len(losses) - len(self._batches) :]
        for batch, loss in zip(self._batches, unchecked, strict=True):
            if not math.isfinite(loss):
                self._stop(run, batch)
        self._batches = []
        self._due = time.perf_counter() + 0.5

    def _stop(self, run: Run, batch: int) -> None:
        at_hand = batch == run.batch  # on a GPU the batch may be gone
        layer = _first_bad_layer(run.model, run.xs if at_hand else None)
        with torch.no_grad():
            for tensor, value in self._good:
                tensor.copy_(value)
        loss = f"the loss of batch {batch} in epoch {run.epoch} is not finite"
        bad = bad_values(run.xs, run.y) if at_hand else ""
        if bad:
            cause = f": {bad}. Mend or leave out these items."
        else:
            rate = run.opt.param_groups[-1]["lr"]
            inputs = ", though its inputs are" if at_hand else ""
            cause = (
                f"{inputs}: {layer}. The training diverged at learning rate {rate:.3g}: try a tenth of it "
                "(`learn.lr_find()` suggests one), or `learn.clip = 1.0`."
            )
        since = "where the fit was resumed" if self._resumed else "the start of this epoch"
        raise NonFiniteError(f"{loss}{cause} The weights are those from {since}.")


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

    def after_epoch(self, run: Run) -> None:
        """Reduce when patience is over."""
        self.improved(run)
        if self.waited >= self.patience:
            self.waited = 0
            for group in run.opt.param_groups:
                group["lr"] = max(group["lr"] * self.factor, min(self.min_lr, group["lr"]))


class Blend(Callback, ABC):
    """Base of the callbacks that train on two items at once, and on a blend of their losses.

    Parameters
    ----------
    alpha : float
        Of the Beta(alpha, alpha) distribution the share of the first item is drawn from, per batch.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = check_positive("alpha", alpha)
        self._beta = torch.distributions.Beta(alpha, alpha)
        self.share = 1.0
        self.order: Any = None

    def before_fit(self, run: Run) -> None:
        """Put a loss in place that blends, when training, the losses towards both targets."""
        if not isinstance(run.crit, BlendedLoss):
            run.crit = BlendedLoss(run)
        run.crit.blends.append(self)

    def before_batch(self, run: Run) -> None:
        """Pair each item with another one of the batch."""
        if not run.training:
            return
        if not any(x.is_floating_point() for x in run.xs):
            raise TypeError(f"{type(self).__name__} blends decimal inputs (pictures, say); this model has none.")
        self.share = float(self._beta.sample())
        self.order = torch.randperm(len(run.y), device=run.y.device)
        run.xs = tuple(self.blend(x, x[self.order]) if x.is_floating_point() else x for x in run.xs)

    @abstractmethod
    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the blended inputs."""


class BlendedLoss:
    """The loss of items that were blended, by one callback or by several in turn."""

    def __init__(self, run: Run) -> None:
        self.run, self.crit = run, run.crit
        self.blends: list[Blend] = []

    def __call__(self, pred: Any, y: Any) -> Tensor:
        return self._loss(pred, y, self.blends) if self.run.training else self.crit(pred, y)

    def _loss(self, pred: Any, y: Any, blends: list[Blend]) -> Tensor:
        if not blends:
            return self.crit(pred, y)
        first, rest = blends[0], blends[1:]
        return first.share * self._loss(pred, y, rest) + (1 - first.share) * self._loss(pred, y[first.order], rest)


class MixUp(Blend):
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
        super().__init__(alpha)

    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Average the pixels, or whatever the numbers are."""
        return torch.lerp(other, x, self.share)


class CutMix(Blend):
    """Train on pictures with a rectangle cut from another one, and on a blend of their losses (Yun et al. 2019).

    Parameters
    ----------
    alpha : float, default 1.0
        Of the Beta(alpha, alpha) distribution the size of the rectangle is drawn from, per batch.

    Examples
    --------
    >>> from learnkit import CutMix
    >>> CutMix().alpha
    1.0
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """Put a rectangle of `other` into `x`; the losses count by the area that was really cut."""
        if x.ndim != 4:
            raise ValueError(f"CutMix needs pictures of shape (B, C, H, W); got {tuple(x.shape)}.")
        h, w = x.shape[2:]
        side = math.sqrt(1 - self.share)
        centre_y, centre_x = (int(n * u) for n, u in zip((h, w), torch.rand(2).tolist(), strict=True))
        top, bottom = max(centre_y - int(h * side / 2), 0), min(centre_y + int(h * side / 2), h)
        left, right = max(centre_x - int(w * side / 2), 0), min(centre_x + int(w * side / 2), w)
        x = x.clone()
        x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        self.share = 1 - (bottom - top) * (right - left) / (h * w)
        return x


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

    def before_epoch(self, run: Run) -> None:
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
        """Start the file with the names of the columns, or read them from the one to go on with."""
        if run.resumed:
            return  # the file goes on too, see `load_state_dict`
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._columns: list[str] = []
        if self.append and self.path.exists():
            with open(self.path, newline="") as file:
                self._columns = next(csv.reader(file), [])
        if not self._columns:
            self._columns = ["epoch", *run.figures]
            with open(self.path, "w", newline="") as file:
                csv.writer(file).writerow(self._columns)

    def after_epoch(self, run: Run) -> None:
        """Write a row."""
        row = {"epoch": run.epoch, **run.results}
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow([row.get(name, "") for name in self._columns])

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the columns, and what was written."""
        return {"columns": self._columns, "text": self.path.read_text()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Leave out of the file what was written after the checkpoint; it is going to be written again."""
        self._columns = state["columns"]
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


def _floats(model: nn.Module) -> list[Tensor]:
    return [x for x in (*model.parameters(), *model.buffers()) if x.is_floating_point()]


@torch.no_grad()
def _first_bad_layer(model: nn.Module, xs: tuple[Any, ...] | None) -> str:
    """Say in which layer NaN or infinity began: in its weights, or in what it makes of good inputs."""
    named = dict(model.named_modules())
    for name, p in model.named_parameters():
        if not bool(p.isfinite().all()):
            owner = named[name.rpartition(".")[0]]
            return f"the weights `{name}` ({type(owner).__name__}) were not finite any more"
    if xs is None:
        return "the weights are finite still"
    found: list[str] = []

    def look(name: str, module: nn.Module, output: Any) -> None:
        tensors: list[Tensor] = []
        map_tensors(tensors.append, output)
        if not found and any(x.is_floating_point() and not bool(x.isfinite().all()) for x in tensors):
            found.append(f"it began in the layer `{name or '(the model)'}` ({type(module).__name__})")

    leaves = [(name, module) for name, module in named.items() if next(module.children(), None) is None]
    handles = [
        module.register_forward_hook(lambda m, args, output, name=name: look(name, m, output))
        for name, module in [*leaves, ("", model)]
    ]
    try:
        with preserve_rng(), preserve_states(model):
            model(*xs)
    finally:
        for handle in handles:
            handle.remove()
    return (
        found[0]
        if found
        else "every layer's output is finite in full precision, so it began in the loss or its arithmetic"
    )
