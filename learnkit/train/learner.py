"""`Learner`: a `DataBunch`, a model, and the calls to train, tune, save and use it.

It prepares an optimizer and callbacks and hands them to `loop.fit`; nothing is trained anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from learnkit.core.device import T, default_device, to_np
from learnkit.core.errors import CheckpointError, DataError, TrainingError, check_positive, say
from learnkit.core.hooks import ModelSummary, summarize
from learnkit.core.old_names import old_arguments, old_attributes
from learnkit.core.precision import autocast_for
from learnkit.core.preserve import model_lock, preserve_rng
from learnkit.core.settable import Settable
from learnkit.data.batches import bind_inputs
from learnkit.data.bunch import DataBunch, known_prep
from learnkit.data.check import first_batch
from learnkit.data.files import PathLike, as_path
from learnkit.data.joining import batch_len
from learnkit.data.loaders import generators, n_batches, split_batch
from learnkit.data.prep import Prep
from learnkit.data.targets import Real
from learnkit.export.checking import Axes, Expected
from learnkit.export.exported_program import write_exported
from learnkit.export.onnx import write_onnx
from learnkit.export.torchscript import write_torchscript
from learnkit.store.archive import write_archive
from learnkit.store.model_state import model_state
from learnkit.store.spec import ModelSpec
from learnkit.store.weights import found_weights, load_model, save_model, weights_path
from learnkit.train import loop
from learnkit.train.callbacks import LossRegulariser, StopOnNaN
from learnkit.train.card import card_text, write_card
from learnkit.train.check import Probe
from learnkit.train.decay import WeightDecaySchedule
from learnkit.train.events import Callback, check_callbacks
from learnkit.train.explain import describe, from_outside
from learnkit.train.exported import (
    check_same_meaning,
    described_loss,
    described_target,
    meaning,
    names_of,
    target_in_words,
)
from learnkit.train.freezing import is_trained, keep_statistics, last_with_parameters, split_layers, train_from
from learnkit.train.interpret import Interpretation, ValueInterpretation, by_place
from learnkit.train.lazy import complete
from learnkit.train.losses import Loss, gets_whole, read, target_of
from learnkit.train.lr_find import LRFindResult, RangeTest
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import (
    LayerGroup,
    LayerOptimizer,
    LRs,
    OptFn,
    as_opt_fn,
    default_opt,
    default_splitter,
)
from learnkit.train.options import (
    CHECKPOINT_DEFAULTS,
    RUN_DEFAULTS,
    CheckpointOptions,
    FitOptions,
    RunOptions,
    with_options,
)
from learnkit.train.plans import Cycles, FineTune, OneCycle, Plan, as_plans, call_from_data, plans_from_data, stretches
from learnkit.train.portable import Predicts, axes_of, described, few, n_items, probabilities, task_of
from learnkit.train.predictions import Predictions, predict
from learnkit.train.recorder import Recorder
from learnkit.train.rehearsal import preserve_callbacks, rehearsal
from learnkit.train.resume import Checkpoints
from learnkit.train.schedules import ScheduleRates
from learnkit.train.seen import what_training_saw
from learnkit.train.settings import SETTINGS
from learnkit.train.watch import SaveBest, Watch

__all__ = ["Learner"]


@old_attributes
class Learner(Settable):
    """A data bunch and a model, ready to train.

    Parameters
    ----------
    data : DataBunch
        What to learn from.
    model : nn.Module or ModelSpec
        Called as `model(*xs)`; gives raw scores. It is moved to `device`. Lazy layers get their sizes from the first batch.
        What is built of a `ModelSpec` need not be passed to `load_learner`.
    opt_fn : callable or str, optional
        `opt_fn(params, lr=...)` -> optimizer, or a name: `"adamw"` (the default, with betas (0.9, 0.99)), `"adam"`, `"sgd"`,
        `"sgd_momentum"`, `"rmsprop"`, ...; an unknown one lists them all. Each fit makes a new one.
    crit : callable, optional
        `crit(pred, y)` -> scalar tensor; the loss of `data.target` by default.
    metrics : sequence, optional
        Names, functions or objects, see `fit`; those of `data.target` by default. `[]` for none.
    callbacks : sequence of Callback, optional
        Used in every fit.
    splitter : callable, optional
        `splitter(model)` -> layer groups, a list of lists of modules. By default the children of an
        `nn.Sequential`, else one group.
    **options
        `device`, `precision`, `accumulate`, `channels_last`, `compile`, `activation`, `clip`, `reg_fn`: see `RunOptions`.

    Attributes
    ----------
    data, model, crit, metrics, callbacks, splitter, precision, accumulate, channels_last, activation, clip, reg_fn
        As given; may be replaced between fits.
    sched : Recorder
        What the latest fit recorded: `plot`, `plot_lr`, `plot_loss`, `to_frame`.
    spec : ModelSpec or None
        What the model was made of, exported with it; `None` for a model of your own.
    prep : Prep or None
        How raw items are prepared, that of the data.

    Raises
    ------
    DataError
        If neither `crit` nor `data.target` says what the loss is.

    Examples
    --------
    >>> import torch
    >>> from learnkit import Category, DataBunch, Learner
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(256, 4)
    >>> y = (x[:, 0] > x[:, 1]).long()
    >>> batches = list(zip(x.split(32), y.split(32)))
    >>> data = DataBunch(".", batches[:6], batches[6:], target=Category(["no", "yes"]))
    >>> learn = Learner(data, torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)))
    >>> with learn.no_progress():
    ...     results = learn.fit(0.02, 3, cycle_len=1, cycle_mult=2)
    >>> results["accuracy"] > 0.9
    True
    """

    application: ClassVar[str] = "any"
    """By which name `load_learner` finds the class."""
    bunch_type: ClassVar[type[DataBunch]] = DataBunch
    prep_type: ClassVar[type[Prep] | None] = None
    spec_type: ClassVar[type[ModelSpec] | None] = None
    """The kinds of data bunch, preparation and model that belong to the application; `None` where they are the user's own."""
    _set_by_call = ("bn_freeze",)
    _checks = SETTINGS
    _settings: ClassVar[tuple[str, ...]] = ("precision", "accumulate", "clip", "channels_last")

    @old_arguments
    @with_options
    def __init__(
        self,
        data: DataBunch,
        model: nn.Module | ModelSpec,
        opt_fn: OptFn | None = None,
        crit: Loss | None = None,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        splitter: Callable[[nn.Module], Sequence[LayerGroup]] | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        built = model.build() if isinstance(model, ModelSpec) else model
        self.data, self.model = data, built
        self.spec = model if isinstance(model, ModelSpec) else None
        if crit is None and data.target is None:
            raise DataError(
                "there is no loss: pass `crit=` (F.cross_entropy for class numbers, F.mse_loss for values), or tell "
                "the data bunch what is predicted, DataBunch(..., target=Category(classes))."
            )
        settings: RunOptions = {**RUN_DEFAULTS, **options}
        device = settings.get("device")
        self.device = torch.device(device) if device is not None else default_device()
        self.model = built.to(self.device)
        complete(self.model, data.trn_dl, must=False)
        self.opt_fn = as_opt_fn(self.usual_opt(built) if opt_fn is None else opt_fn)
        self.crit: Loss = crit if crit is not None else data.target.loss  # type: ignore[union-attr]
        default_metrics = () if data.target is None else data.target.metrics
        self.metrics: Sequence[MetricLike] = default_metrics if metrics is None else metrics
        self.activation = settings.get("activation")
        self.splitter = splitter or default_splitter
        self.precision = settings["precision"]
        self.accumulate = settings["accumulate"]
        self.channels_last = settings["channels_last"]
        self.compile = settings["compile"]
        self.clip = settings.get("clip")
        self.reg_fn = settings.get("reg_fn")
        self.callbacks = [*self.usual_callbacks(), *check_callbacks(callbacks)]
        self.sched = Recorder()
        self.sched.untrained = True
        self.show_progress = True
        autocast_for(self.precision, self.device)  # say now, not at the first fit, what the device cannot do

    # ---------------------------------------------------------------- training

    @old_arguments
    @with_options
    def fit(
        self,
        lrs: LRs,
        n_cycle: int,
        wds: LRs | None = None,
        cycle_len: int | None = None,
        cycle_mult: int = 1,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        cycle_save_name: str | None = None,
        best_save_name: str | None = None,
        use_clr_beta: tuple[float, ...] | None = None,
        *,
        use_clr: tuple[float, float] | None = None,
        use_wd_sched: bool = False,
        norm_wds: bool = False,
        wds_sched_mult: Callable[[WeightDecaySchedule], LRs] | None = None,
        **options: Unpack[CheckpointOptions],
    ) -> dict[str, float]:
        """Train at a constant rate, or in cosine cycles with warm restarts (SGDR, Loshchilov & Hutter 2017).

        Parameters
        ----------
        lrs : float, sequence of float or slice
            Learning rate: one for all layer groups, one for each, or `slice(lo, hi)` spread geometrically. It is a rate of
            the optimizer: the default, AdamW, wants 1e-4 to 5e-3 as a rule. The course's 0.01 and 0.2 are for gradient
            descent (`opt_fn="sgd_momentum"`); `lr_find` measures what suits. A first epoch that does not lower the loss is
            remarked under the table of epochs.
        n_cycle : int
            Epochs if `cycle_len` is `None`, else cycles.
        wds : float, sequence of float or slice, optional
            Decoupled weight decay, likewise.
        cycle_len : int, optional
            Epochs of the first cycle. Within a cycle the rate falls from `lrs` to zero along a cosine.
        cycle_mult : int, default 1
            How many times longer each cycle is than the one before: `fit(lr, 3, cycle_len=1, cycle_mult=2)`
            trains for 1 + 2 + 4 epochs.
        metrics : sequence, optional
            Instead of the learner's, for this fit.
        callbacks : sequence of Callback, optional
            Besides the learner's, for this fit.
        cycle_save_name : str, optional
            Save at the end of each cycle, as `{name}_cyc_0`, `_cyc_1`, ...
        best_save_name : str, optional
            Save the weights of the epoch with the lowest validation loss (training loss without validation).
        use_clr_beta : tuple, optional
            `(div, pct)` or `(div, pct, max_mom, min_mom)`: instead of a cosine, rise from `lrs / div` and fall
            again in a straight line, the last `pct` percent of the cycle further down (Smith 2018).
        use_clr : tuple, optional
            `(div, cut_div)`: instead of a cosine, rise from `lrs / div` in a straight line for the first `1 / cut_div` of
            the cycle, then fall back (slanted triangles, Howard & Ruder 2018).
        use_wd_sched : bool, default False
            Shrink the weights by `wds` in each step, not by `lrs * wds`; see `WeightDecaySchedule`.
        norm_wds : bool, default False
            With `use_wd_sched`, divide `wds` by the square root of the number of steps in the current cycle.
        wds_sched_mult : callable, optional
            With `use_wd_sched`, `wds_sched_mult(schedule)` -> what `wds` are multiplied by in this step. For decay that
            follows the rate: `lambda s: np.array(s.layer_opt.lrs) / s.init_lrs`.
        **options
            `checkpoint`, `every`, `keep`: see `CheckpointOptions`.

        Returns
        -------
        dict of str to float
            Figures of the last epoch: `trn_loss`, `val_loss`, the metrics.

        Raises
        ------
        ValueError
            If `lrs` or `wds` do not match the layer groups, which are then printed.
        NonFiniteError
            If the loss becomes NaN; the weights are put back to the start of that epoch.
        CheckpointError
            If no checkpoint can be written into the folder.
        """
        plan = Cycles(
            lrs,
            n_cycle,
            wds,
            cycle_len,
            cycle_mult,
            use_clr_beta,
            use_clr,
            use_wd_sched=use_wd_sched,
            norm_wds=norm_wds,
        )
        return self.follow(
            plan, metrics=metrics, callbacks=callbacks, cycle_save_name=cycle_save_name, best_save_name=best_save_name,
            wds_sched_mult=wds_sched_mult, **options,
        )  # fmt: skip

    @with_options
    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: LRs,
        wds: LRs | None = None,
        *,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        **options: Unpack[FitOptions],
    ) -> dict[str, float]:
        """Train one cycle: rate up to `lr_max` and down to almost nothing, momentum down and up (Smith 2018).

        Parameters
        ----------
        n_epoch : int
            Length of the cycle.
        lr_max : float, sequence of float or slice
            Highest rate, see `fit`.
        wds : float, sequence of float or slice, optional
            Decoupled weight decay.
        div, div_final : float
            The rate starts at `lr_max / div` and ends at `lr_max / div_final`.
        pct_start : float, default 0.25
            Share of the cycle in which the rate rises.
        moms : tuple of float, default (0.95, 0.85, 0.95)
            Momentum (Adam's first beta) at start, peak and end; unused by an optimizer without momentum.
        **options
            `metrics`, `callbacks`, `best_save_name`, `checkpoint`, `every`, `keep`: see `FitOptions`.

        Returns
        -------
        dict of str to float
            Figures of the last epoch.

        Examples
        --------
        >>> import torch
        >>> from learnkit import DataBunch, Learner, Real
        >>> x = torch.randn(64, 2)
        >>> data = DataBunch(".", [(x, x.sum(1))] * 8, [(x, x.sum(1))], target=Real())
        >>> learn = Learner(data, torch.nn.Linear(2, 1))
        >>> with learn.no_progress():
        ...     results = learn.fit_one_cycle(10, 0.2)
        >>> results["rmse"] < 0.5
        True
        """
        plan = OneCycle(n_epoch, lr_max, wds, div, div_final, pct_start, moms)
        return self.follow(plan, **options)

    @with_options
    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        **options: Unpack[FitOptions],
    ) -> dict[str, float]:
        """Train the head with the rest frozen, then everything, lower layers at lower rates.

        Parameters
        ----------
        epochs : int
            With everything unfrozen, at rates `slice(base_lr / 200, base_lr / 2)`.
        base_lr : float, default 2e-3
            Highest rate of the first part.
        freeze_epochs : int, default 1
            With only the last layer group unfrozen.
        **options
            See `FitOptions`; `resume` finishes both parts.

        Returns
        -------
        dict of str to float
            Figures of the last epoch.
        """
        return self.follow(FineTune(epochs, base_lr, freeze_epochs), **options)

    @with_options
    def follow(
        self,
        plans: Plan | Sequence[Plan],
        *,
        cycle_save_name: str | None = None,
        wds_sched_mult: Callable[[WeightDecaySchedule], LRs] | None = None,
        **options: Unpack[FitOptions],
    ) -> dict[str, float]:
        """Train by a plan, or by several one after the other; `fit`, `fit_one_cycle` and `fine_tune` make one and call this.

        For the other options see `fit`.

        Parameters
        ----------
        plans : Plan or sequence of Plan
            `Cycles`, `OneCycle`, `FineTune`: a fit as data, which can be kept, compared and used again.
        **options
            See `FitOptions`. With `best_save_name` each stretch of a plan starts anew with its best weights.

        Returns
        -------
        dict of str to float
            Figures of the last epoch.

        Examples
        --------
        >>> import torch
        >>> from learnkit import Cycles, DataBunch, Learner, OneCycle, Real
        >>> x = torch.randn(64, 2)
        >>> learn = Learner(DataBunch(".", [(x, x.sum(1))] * 8, target=Real()), torch.nn.Linear(2, 1))
        >>> with learn.no_progress():
        ...     results = learn.follow([OneCycle(2, 0.1), Cycles(0.01, 2, cycle_len=1)])
        >>> len(learn.sched.epochs)  # of the last fit
        2
        """
        plans = as_plans(plans)
        parts = stretches(plans)
        metrics, best_save_name, checkpoint = (
            options.get("metrics"),
            options.get("best_save_name"),
            options.get("checkpoint"),
        )
        if wds_sched_mult is not None and checkpoint is not None:
            raise ValueError("a checkpoint cannot keep the function `wds_sched_mult`; leave out one of the two.")
        if wds_sched_mult is not None and not any(getattr(part, "use_wd_sched", False) for part in parts):
            raise ValueError("`wds_sched_mult` changes the schedule of weight decay: pass `use_wd_sched=True` too.")
        if cycle_save_name is not None and any(isinstance(part, Cycles) and part.cycle_len is None for part in parts):
            raise ValueError("`cycle_save_name` needs cycles: pass `cycle_len` too.")
        kept: FitOptions = {**CHECKPOINT_DEFAULTS, **options}
        every, keep = kept["every"], kept["keep"]
        saved = checkpoint if isinstance(checkpoint, Checkpoints) else None
        folder = checkpoint.folder if isinstance(checkpoint, Checkpoints) else checkpoint
        if saved is not None:
            every, keep = saved.every, saved.keep
        call = {
            "plans": [plan.to_data() for plan in plans],
            "metrics": names_of(metrics),
            "cycle_save_name": cycle_save_name,
            "best_save_name": best_save_name,
            "settings": {name: getattr(self, name) for name in self._settings},
            "target": target_in_words(self.data),
        }
        extra = check_callbacks(options.get("callbacks"))
        done = 0 if saved is None else saved.call["part"]
        results: dict[str, float] = {}
        for number, part in enumerate(parts[done:], done):
            checkpoints = saved
            if folder is not None and (saved is None or number > done):
                checkpoints = Checkpoints(folder, every, keep, {**call, "part": number})
            if part.layers is not None:
                self.freeze() if part.layers == "head" else self.unfreeze()
            lo = self._optimizer(*part.rates)
            heard = [*extra, *self._best_saver(best_save_name)]
            heard += part.schedules(lo, self._batches_per_epoch, self._cycle_saver(cycle_save_name), wds_sched_mult)
            results = self._train(lo, part.n_epochs, metrics, heard, checkpoints)
        return results

    def resume(
        self,
        folder: PathLike,
        *,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> dict[str, float]:
        """Finish a fit that was interrupted, as if it had not been: the same weights bit for bit, the same record.

        Make data and learner by the same code as for the fit, then call this instead of it. Everything else is in the
        checkpoint: weights, optimizer, schedule, random generators, the place in the epoch, the record, which layers
        are frozen, and how `fit`, `fit_one_cycle` or `fine_tune` was called.

        Parameters
        ----------
        folder : path-like
            What was passed as `checkpoint`. The newest checkpoint that is whole is used.
        metrics, callbacks : sequence, optional
            Those passed to the fit: functions and objects cannot be kept, only what they held. Metrics that were
            passed by name are known.

        Returns
        -------
        dict of str to float
            Figures of the last epoch.

        Raises
        ------
        CheckpointError
            If there is no checkpoint that can be read, or model, data, metrics or callbacks are not those of the fit.

        Examples
        --------
        >>> import tempfile, torch
        >>> from learnkit import DataBunch, Learner, Real, TensorLoader
        >>> x = torch.randn(64, 2)
        >>> data = DataBunch(".", TensorLoader(x, x.sum(1), 8, shuffle=True), target=Real())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learn = Learner(data, torch.nn.Linear(2, 1))
        ...     with learn.no_progress():
        ...         first = learn.fit(0.1, 3, checkpoint=folder, every=10)
        ...     again = Learner(data, torch.nn.Linear(2, 1))
        ...     with again.no_progress():
        ...         second = again.resume(folder)
        >>> first == second, bool((learn.model.weight == again.model.weight).all())
        (True, True)
        """
        checkpoints = Checkpoints.resume(folder)
        call = call_from_data(checkpoints.call, folder)
        plans, settings = plans_from_data(call["plans"]), call["settings"]
        if {*self._settings} != {*settings} or not 0 <= call["part"] < len(stretches(plans)):
            raise CheckpointError(f"the fit in {folder} is not one of a {type(self).__name__}.")
        if call.get("target") != target_in_words(self.data):
            raise CheckpointError(
                f"the fit learned {call.get('target')}; this data is of {target_in_words(self.data)}."
            )
        self.sched.untrained = False
        checkpoints.load_model(self.model)  # before anything is computed with it, precomputed activations for one
        for name in self._settings:
            setattr(self, name, settings[name])
        if self.show_progress:
            say(f"going on from {checkpoints.describe()}")
        return self.follow(
            plans,
            metrics=call["metrics"] if metrics is None else metrics,
            callbacks=callbacks,
            cycle_save_name=call["cycle_save_name"],
            best_save_name=call["best_save_name"],
            checkpoint=checkpoints,
        )

    @old_arguments
    def lr_find(
        self, start_lr: float = 1e-5, end_lr: float = 10, n_iter: int = 100, *, wds: LRs | None = None
    ) -> LRFindResult:
        """Try learning rates from `start_lr` to `end_lr`, batch by batch, and suggest three.

        It trains as `fit` does, with the learner's callbacks (but for those that only watch, save or write). Model, gradients,
        modes, random generators, callbacks and the record of the latest fit are left exactly as they were. Draw the curve with `learn.sched.plot()`.

        Parameters
        ----------
        start_lr, end_lr : float
            First and last rate; the same for all layer groups.
        n_iter : int, default 100
            Batches. It stops before when the loss has blown up.
        wds : float, sequence of float or slice, optional
            Decoupled weight decay.

        Returns
        -------
        LRFindResult
            `steepest`, `valley` and `minimum` (a tenth of the rate with the lowest loss).

        References
        ----------
        Smith 2017, "Cyclical Learning Rates for Training Neural Networks"; the valley rule is the "longest
        valley" of the fastai community.

        Examples
        --------
        >>> import torch
        >>> from learnkit import DataBunch, Learner, Real
        >>> x = torch.randn(64, 2)
        >>> learn = Learner(DataBunch(".", [(x, x.sum(1))] * 8, target=Real()), torch.nn.Linear(2, 1))
        >>> found = learn.lr_find()
        >>> 1e-5 < found.valley < 10
        True
        """
        check_positive("start_lr", start_lr)
        check_positive("n_iter", n_iter, integer=True)
        if n_iter < 3:
            raise ValueError(f"`n_iter` must be at least 3 batches to see a curve; got {n_iter}. 100 is usual.")
        self._check_trainable()
        if not end_lr > start_lr:
            raise ValueError(f"`end_lr` must be above `start_lr`; got {end_lr} and {start_lr}.")
        test = RangeTest(start_lr, end_lr, int(n_iter))
        heard = self._rehearsing()
        with rehearsal(self.model, self.crit, heard, generators(self.data.trn_dl)):
            lo = self._optimizer(start_lr, wds)
            model, data = self._task()
            train_only = DataBunch(data.path, data.trn_dl)
            epochs = test.n_iter  # more than enough: the test ends itself after so many batches
            try:
                self._run(model, train_only, epochs, lo, None, [*heard, test], progress=False)
            except DataError:
                if not test.lrs:  # else a loader that can be used only once ran dry: keep what was measured
                    raise
        self.sched.lr_finding = test.result()
        return self.sched.lr_finding

    def check(self) -> list[str]:
        """Run one batch through everything before hours are spent; data, model, random generators stay as they were.

        The first batches of every loader, and all targets (`data.check`); then model, loss, gradients, step, validation
        and metrics, as `fit` runs them.

        Returns
        -------
        list of str
            What may be meant but usually is not: what `data.check` noticed, and parameters that the loss does not depend
            on. Empty if nothing was noticed.

        Raises
        ------
        DataError, TrainingError
            If it cannot be trained; what is wrong is said in words, with shapes and the item.

        Examples
        --------
        >>> import torch
        >>> from learnkit import Category, DataBunch, Learner, TensorLoader
        >>> data = DataBunch(".", TensorLoader(torch.randn(20, 3), torch.arange(20) % 2), target=Category(["a", "b"]))
        >>> Learner(data, torch.nn.Linear(3, 2)).check()
        []
        >>> Learner(data, torch.nn.Linear(3, 1)).check()
        Traceback (most recent call last):
        ...
        learnkit.core.errors.TrainingError: the model gives 1 score(s) per item; the data has 2 (Category ['a', 'b']).
        """
        by_target = target_of(self.crit) is not None  # another loss has its own way with classes
        notes = self.data.check(strict=by_target)
        self._check_trainable()
        model, data = self._task()
        if isinstance(data.trn_dl, Iterator):
            return notes  # its one reading is the training's
        xs, y = first_batch(data.trn_dl, "trn_dl")
        val = None if data.val_dl is None or isinstance(data.val_dl, Iterator) else [first_batch(data.val_dl, "val_dl")]
        watchers = [callback for callback in self.callbacks if isinstance(callback, Watch)]
        probe, heard = Probe(self.data.target if by_target else None, watchers), self._rehearsing()
        with model_lock(self.model), rehearsal(self.model, self.crit, heard):
            lo = self._optimizer(0.0, None)
            one = DataBunch(data.path, [(xs, y)], val, target=data.target)
            self._run(model, one, 1, lo, self.metrics, [*heard, probe], progress=False)
        return notes + probe.notes

    def validate(
        self, dl: Iterable[Any] | None = None, metrics: Sequence[MetricLike] | None = None
    ) -> dict[str, float]:
        """Measure the model on the validation set, or on another loader, as `fit` does: with the learner's callbacks.

        Parameters
        ----------
        dl : iterable of batches, optional
        metrics : sequence, optional
            Instead of the learner's.

        Returns
        -------
        dict of str to float
            `val_loss` and the metrics.
        """
        model, chosen = self._held_out(False) if dl is None else (self.model, dl)
        heard = self._rehearsing()
        with model_lock(self.model), preserve_callbacks(heard):
            return loop.validate(
                model,
                chosen,
                self.crit,
                self.metrics if metrics is None else metrics,
                heard,
                target=self.data.target,
                precision=self.precision,
                channels_last=self.channels_last,
                activation=self.activation,
            )

    @property
    def models_path(self) -> Path:
        """Where `save` writes."""
        return self.data.path / "models"

    @property
    def tmp_path(self) -> Path:
        """Where smaller copies of pictures, and activations, are kept."""
        return self.data.path / "tmp"

    # ---------------------------------------------------------------- which layers train

    def get_layer_groups(self) -> Sequence[LayerGroup]:
        """Return the layer groups, first to last: lists of modules that share a learning rate.

        Raises
        ------
        ValueError
            If a parameter belongs to no group.
        """
        return split_layers(self.model, self.splitter)

    def freeze_to(self, n: int) -> None:
        """Train only the layer groups from `n` on (negative counts from the end); freeze those before.

        Frozen layers keep their weights, and their batch norms keep their statistics. Each layer says what it does:
        `learn.model[0].trainable`.

        Parameters
        ----------
        n : int
            0 trains everything, -1 the last group only.

        Examples
        --------
        >>> import torch
        >>> from learnkit import DataBunch, Learner, Real
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> learn = Learner(DataBunch(".", []), model, crit=torch.nn.MSELoss())
        >>> learn.freeze_to(-1)
        >>> [p.requires_grad for p in model.parameters()]
        [False, False, True, True]
        """
        train_from(self.get_layer_groups(), n)

    def freeze(self) -> None:
        """Train the last layer group only (of those that have parameters)."""
        self.freeze_to(last_with_parameters(self.get_layer_groups()))

    def unfreeze(self) -> None:
        """Train every layer group."""
        self.freeze_to(0)

    def trainable(self, layer: nn.Module) -> bool:
        """Whether a layer is trained: any of its parameters, or, if it has none, whether it was left unfrozen.

        Parameters
        ----------
        layer : nn.Module
            Of the model: `learn.model[-1]`, say.

        Returns
        -------
        bool

        Examples
        --------
        >>> import torch
        >>> from learnkit import DataBunch, Learner
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> learn = Learner(DataBunch(".", []), model, crit=torch.nn.MSELoss())
        >>> learn.freeze_to(-1)
        >>> learn.trainable(model[0]), learn.trainable(model[1])
        (False, True)
        """
        return is_trained(self.model, layer)

    def bn_freeze(self, do_freeze: bool = True) -> None:
        """Keep the statistics of all pretrained batch norms as they are, also in layers that are trained.

        Pretrained are the layer groups before the last one; of a model with one group, all of it.

        Parameters
        ----------
        do_freeze : bool, default True
            `False` lets them move again.
        """
        keep_statistics(self.get_layer_groups(), do_freeze)

    # ---------------------------------------------------------------- predictions

    @old_arguments
    def predict(self, is_test: bool = False) -> NDArray[Any]:
        """Predict the validation set (or the test set), in its order and full length.

        Parameters
        ----------
        is_test : bool, default False

        Returns
        -------
        array of shape (n, c)
            Log-probabilities for single-label classification (`np.exp` gives probabilities), probabilities for
            several labels, values for a regression; what the model returns if `data.target` is not known. Values have the
            shape of the targets, `(n,)` or `(n, k)` as the data holds them, in every call that predicts. With a loss of
            your own scores of classes are as the model returns them, unless `activation` says more. A model that returns
            a tuple, list or dict gives that, each part joined over the items.
        """
        model, dl = self._held_out(is_test)
        return self._predict(dl, model).preds

    @old_arguments
    def predict_with_targs(self, is_test: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return `predict(is_test)` and the encoded targets."""
        model, dl = self._held_out(is_test)
        result = self._predict(dl, model)
        return result.preds, result.targs

    def predict_proba(self, is_test: bool = False) -> NDArray[Any]:
        """Return the probabilities of the validation (or test) set, values for a regression; see `predict`."""
        return self._to_proba(self.predict(is_test))

    def interpret(self) -> Any:
        """Predict the validation set, to ask where the model is right, wrong and unsure.

        Returns
        -------
        Interpretation or ValueInterpretation
            Of classes, or of numbers. Item numbers are positions in the validation set; where each item has a class per
            place, as masks have, an item is a place, counted through all of them.

        Raises
        ------
        DataError
            If the data bunch does not say what is predicted.
        """
        target = self.data.target
        if target is None:
            raise DataError(
                "to interpret predictions it must be known what they are: make the data with "
                "DataBunch(..., target=Category(classes)), or `MultiCategory(classes)` or `Real()`."
            )
        preds, targs = self.predict_with_targs()
        if target.classes is not None:
            return Interpretation(*by_place(self._to_proba(preds), targs, target.class_axis), target.classes)
        if isinstance(target, Real):
            return ValueInterpretation(preds, targs)
        raise DataError(
            f"there are no classes or values to be right or wrong about: {type(target).__name__} is predicted."
        )

    def predict_dl(self, dl: Iterable[Any]) -> NDArray[Any]:
        """Predict any loader of batches `(x, y)`; see `predict` for what is returned."""
        return self._predict(dl).preds

    def predict_array(self, arr: Any) -> NDArray[Any]:
        """Predict items that are transformed already.

        Parameters
        ----------
        arr : array or Tensor of shape (n, ...), or a tuple of them
            As the model takes them; one picture is `im[None]`. Packed sequences are taken as they are.

        Returns
        -------
        array of shape (n, c)
            As `predict`.
        """
        packed = isinstance(arr, PackedSequence)  # a tuple of another kind
        xs = (arr,) if packed else T(arr) if isinstance(arr, tuple) else (T(arr),)
        return self.predict_dl([(xs, torch.zeros(batch_len(xs, None)))])

    def predict_raw(self, items: Any, decode: bool = False, *, bs: int | None = None) -> Any:
        """Predict items as they come, prepared as those of the validation set were.

        Parameters
        ----------
        items : Any
            Pictures: files, their bytes, or arrays. Tables: a frame, a dict, or dicts. Ratings: a frame of users and items.
            Texts. Of a kind of data of your own what its `Prep` takes.
        decode : bool, default False
            Return labels (values, for a regression) instead of what `predict` returns.
        bs : int, optional
            How many at a time.

        Returns
        -------
        array of shape (n, c), or list with `decode`
            In the order of the items, as `predict`: log-probabilities of classes, probabilities for several labels, values.

        Raises
        ------
        DataError
            If an item cannot be read (it is named), or it is not known how items are prepared.
        """
        dl = known_prep(self.prep, "raw items cannot be predicted").loader(items, bs)
        preds = self._predict(dl).preds
        return self._decode(preds) if decode else preds

    def show_results(self, n: int = 8) -> Any:
        """Show items of the validation set, always the same, with their labels and what is predicted for them.

        Parameters
        ----------
        n : int, default 8
            At most so many.

        Returns
        -------
        matplotlib.figure.Figure or pandas.DataFrame
            As `data.show_batch`.
        """
        prep = known_prep(self.prep, "results cannot be shown")
        xs, y = self.data.some_items(n, is_val=True)
        said = self.data.answers(xs, self._predict([(xs, y)]).preds)
        return prep.show(xs, n, {"label": self.data.labels(xs, y), "predicted": said})

    def _decode(self, preds: NDArray[Any]) -> list[Any]:
        if self.data.target is None:
            raise DataError("it is not known what is predicted, so there is nothing to decode.")
        return self.data.target.decode(preds)

    # ---------------------------------------------------------------- saving, looking

    def save(self, name: PathLike) -> Path:
        """Save the weights as `path/models/{name}.safetensors` (an absolute `name` is used as it is).

        Returns
        -------
        Path
            The file written.
        """
        return save_model(self.model, self._weights_file(name), meta=self._meta())

    def load(self, name: PathLike) -> None:
        """Load weights saved with `save`; nothing changes unless all of them fit.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, a pickle, from another architecture (the layers are named), or of a learner
            whose data was prepared differently or has as many classes of other names or in another order.
        """
        file = found_weights(self.models_path / as_path("name", name))
        check_same_meaning(file, self._meta())
        load_model(self.model, file)
        self.sched.untrained = False

    def load_cycle(self, name: PathLike, cycle: int) -> None:
        """Take the weights that `fit(..., cycle_save_name=name)` saved at the end of a cycle; see `load`.

        Parameters
        ----------
        name : path-like
            What was passed as `cycle_save_name`.
        cycle : int
            Counted from 0.

        Raises
        ------
        CheckpointError
            If there are none; the message lists the cycles there are.
        """
        file = self._weights_file(f"{name}_cyc_{cycle}")
        if not file.exists():
            start, end = Path(f"{name}_cyc_").name, file.suffix
            cycles = [x.name[len(start) : -len(end)] for x in file.parent.glob(f"*{end}") if x.name.startswith(start)]
            numbers = sorted(int(number) for number in cycles if number.isdecimal())
            there = (
                f"there are {', '.join(map(str, numbers))}"
                if numbers
                else f"there is no cycle of that name in {file.parent}"
            )
            raise CheckpointError(
                f"no weights were saved at the end of cycle {cycle} as {str(name)!r}; {there}. "
                "`fit(..., cycle_len=1, cycle_save_name=name)` saves them, counted from 0."
            )
        self.load(f"{name}_cyc_{cycle}")

    def export(self, file: PathLike, *, card: bool = True) -> Path:
        """Write all it takes to predict elsewhere, and to train on, into one file; open it with `load_learner`.

        Weights, preparation (transforms, vocabularies, categories, ids), classes, how the model is made, and versions of
        the libraries. All of it is data: nothing in the file is run when it is opened.

        Parameters
        ----------
        file : path-like
            `.learnkit` is added if it is missing.
        card : bool, default True
            Write what is known of the model beside it, as `NAME.card.md`; what you write into that file stays.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        CheckpointError
            If it cannot be written, or the preparation holds something that is not data (classes or ids of a type of
            your own, say).

        Examples
        --------
        >>> import tempfile, torch
        >>> from learnkit import Category, DataBunch, Learner, load_learner
        >>> batches = [(torch.randn(8, 4), torch.randint(2, (8,)))]
        >>> learn = Learner(DataBunch(".", batches, target=Category(["no", "yes"])), torch.nn.Linear(4, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = load_learner(learn.export(f"{folder}/yes"), model=torch.nn.Linear(4, 2))
        >>> again.data.classes, bool((again.model.weight == learn.model.weight).all())
        (['no', 'yes'], True)
        """
        target = as_path("file", file)
        target = target if target.suffix == ".learnkit" else target.with_name(target.name + ".learnkit")
        weights, rest = model_state(self.model)
        state = {
            "application": self.application,
            "model": type(self.model).__name__,
            "model_state": rest,
            "target": described_target(self.prep, self.data),
            **described_loss(self.crit, self.activation, self.data.target),
            "metrics": names_of(self.metrics),
            "settings": {name: getattr(self, name) for name in Learner._settings},
            "recipe": {
                "data": None if self.prep is None else self.prep.to_data(),
                "model": None if self.spec is None else self.spec.to_data(),
            },
        }
        try:
            written = write_archive(target, "learner", weights, state)
            if card:
                write_card(written, self.card())
            return written
        except OSError as exc:
            raise CheckpointError(
                f"{target} could not be written ({exc}); what was there before is untouched."
            ) from exc

    def card(self) -> str:
        """Return what is known of the model, in Markdown: what it predicts, on what it was trained, how good it is."""
        return card_text(type(self).__name__, self.model, self.data, self.prep, self.sched.epochs)

    def to_onnx(self, path: PathLike, *, items: Any = None, card: bool = True) -> Path:
        """Write the network, with its activation and the preparation, for ONNX Runtime; open it with `learnkit.runtime.load`.

        Before it is written, ONNX Runtime runs it on a few items, on one, on twice as many, and on texts of other lengths, and
        what it gives is compared with `predict`. The file also says, in small, what training saw: histograms of the columns of a
        table, of brightness, length and unknown ones, and of predictions, for `learnkit serve` to notice when that changes.

        Parameters
        ----------
        path : path-like
            `.onnx` is added if it is missing.
        items : Any, optional
            Raw items to compare with, as `predict_raw` takes them; of the validation set by default.
        card : bool, default True
            Write what is known of the model beside it, see `export`.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        ExportError
            If the network cannot be translated, or gives anything that differs from `predict` by more than 1e-4 (for values
            above 1 as a share of them).
        DataError
            If it is not known what is predicted, or the preparation is code of your own.
        MissingExtraError
            If onnx, onnxscript or onnxruntime is not installed.
        """
        network, xs, axes, meta, expected = self._as_program(items)
        saw = what_training_saw(self.data, self.prep, meta, axes, expected)
        file = write_onnx(path, network, xs, axes, meta | ({} if saw is None else {"training": saw}), expected)
        if card:
            write_card(file, self.card())
        return file

    def to_torchscript(self, path: PathLike, *, items: Any = None, method: str = "trace", card: bool = True) -> Path:
        """Write the network, with its activation, as TorchScript, which PyTorch has deprecated: for programs that read nothing else.

        It is compared with `predict` as `to_onnx` does it. Classes, preparation and names of the inputs lie in it as a JSON text,
        `learnkit.json`. Who opens such a file trusts its author; learnkit opens none.

        Parameters
        ----------
        path : path-like
            `.pt` is added if it is missing.
        items : Any, optional
            Raw items to compare with, as `predict_raw` takes them; of the validation set by default.
        method : {"trace", "script"}, default "trace"
            Record the operations of a run, or compile the network's code with its branches and loops.
        card : bool, default True
            Write what is known of the model beside it, see `export`.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        ExportError
            If the network cannot be translated (those for texts cannot be compiled, only traced), or predicts something else there
            by more than 1e-4. On Python 3.14 and newer, where PyTorch does not support TorchScript.
        DataError
            If it is not known what is predicted.
        """
        file = write_torchscript(path, *self._as_program(items), method=method)
        if card:
            write_card(file, self.card())
        return file

    def to_exported(self, path: PathLike, aot: bool = False, *, items: Any = None, card: bool = True) -> Path:
        """Write the network, with its activation, as a program of `torch.export`: for PyTorch without learnkit, and for C++.

        What is in the file is run on a few items, on one, on twice as many, and on texts of other lengths, and compared with
        `predict`. Classes, preparation and names of the inputs lie in it as a JSON text, `learnkit.json`; no item does. Who opens
        such a file trusts its author; learnkit opens none.

        Parameters
        ----------
        path : path-like
            `.pt2` is added if it is missing.
        aot : bool, default False
            Compile it with AOTInductor, for programs in C++ and for speed. The package runs on CPUs like the one of this machine,
            with the same version of PyTorch; the JSON text is metadata in it, under `learnkit`.
        items : Any, optional
            Raw items to compare with, as `predict_raw` takes them; of the validation set by default.
        card : bool, default True
            Write what is known of the model beside it, see `export`.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        ExportError
            If the network cannot be translated (an LSTM or GRU over texts cannot), or predicts something else there by more than
            1e-4; with `aot` if there is no C++ compiler.
        DataError
            If it is not known what is predicted.
        """
        file = write_exported(path, *self._as_program(items), aot=aot)
        if card:
            write_card(file, self.card())
        return file

    def summary(self, xs: Any = None) -> ModelSummary:
        """Report shape, parameters and trainability for each call of a layer; everything stays as it was.

        Parameters
        ----------
        xs : sequence, Tensor or array, optional
            Inputs of the model, e.g. `[torch.zeros(1, 3, 64, 64)]`, or its only one; those of the first batch by default.

        Returns
        -------
        ModelSummary
            Print it, or read its `layers`.

        Raises
        ------
        TrainingError
            If the model does not run on them; the message gives their shapes.
        """
        if xs is None:
            dl = self.data.trn_dl if self.data.val_dl is None else self.data.val_dl
            with preserve_rng(*generators(dl)):
                batch = next(iter(dl), None)
            if batch is None:
                raise DataError("there is no batch to run the model on; pass its inputs as `xs`.")
            xs = bind_inputs(self.model, split_batch(batch)[0])
        elif isinstance(xs, Tensor | np.ndarray | Mapping):
            xs = [xs]
        inputs = [T(x) if isinstance(x, np.ndarray) else x for x in xs]
        try:
            return summarize(self.model, inputs)
        except Exception as exc:
            if from_outside(exc):
                raise
            raise TrainingError(f"the model failed on inputs {describe(inputs)}: {exc}") from exc

    def set_data(self, data: DataBunch) -> None:
        """Go on with other data: bigger pictures, more rows. The model stays.

        Raises
        ------
        DataError
            If the classes differ from the present ones.
        """
        if data.classes != self.data.classes or type(data.target) is not type(self.data.target):
            new, old = target_in_words(data), target_in_words(self.data)
            raise DataError(f"the new data predicts {new}; the model was made for {old}.")
        self.data = data

    def no_progress(self) -> Quiet:
        """Show no progress bar and no epoch table from now on; used as `with learn.no_progress():`, only inside."""
        return Quiet(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__} on {self.device}\n{self.model!r}"

    # ---------------------------------------------------------------- private

    def _as_program(self, items: Any) -> tuple[nn.Module, tuple[Tensor, ...], Axes, dict[str, Any], Expected]:
        """Return what other programs are given: network, a few inputs, their axes, a description, and what is to come out."""
        target, prep = self.data.target, self.prep
        whole = gets_whole(self.crit, self.model, regularised=bool(self._regularisers()))
        reading = read(self.crit, target, self.activation)
        task = task_of(target, reading)
        if items is None:
            xs, _ = self.data.some_items(8, is_val=self.data.val_dl is not None)
            xs = xs if prep is None else prep.as_raw(xs)
        else:
            xs, _ = split_batch(next(iter(known_prep(prep, "raw items cannot be predicted").loader(items, 8))))
        axes = axes_of(prep, xs)
        xs = few(xs, axes, 8)

        def expected(xs: tuple[Tensor, ...]) -> NDArray[Any]:
            return probabilities(self._predict([(xs, torch.zeros(n_items(xs, axes)))]).preds, task)

        in_one_piece: Any = getattr(self.model, "in_one_piece", None)
        model = self.model if in_one_piece is None else in_one_piece()
        network = Predicts(model, reading, task, flat=self.data.item_shape == (), whole=whole)
        return network, xs, axes, described(prep, xs, target, task), expected  # type: ignore[arg-type]

    def _optimizer(self, lrs: LRs, wds: LRs | None) -> LayerOptimizer:
        # One rate for all layers needs no groups, and an optimizer with one group is faster.
        number = int | float | np.number
        uniform = isinstance(lrs, number) and (wds is None or isinstance(wds, number))
        return LayerOptimizer(self.opt_fn, self.model if uniform else self.get_layer_groups(), lrs, wds)

    @property
    def prep(self) -> Prep | None:
        """How raw items are prepared, `None` where it is not known."""
        return self.data.prep

    @property
    def spec(self) -> ModelSpec | None:
        """What the model was made of; `None` for one of your own, or one that was put in its place."""
        spec, model = self._spec
        return spec if model is self.model else None

    @spec.setter
    def spec(self, spec: ModelSpec | None) -> None:
        self._spec = spec, self.model

    def usual_callbacks(self) -> list[Callback]:
        """Return what this kind of learner has in every fit, before the user's own callbacks."""
        return []

    @classmethod
    def usual_opt(cls, model: nn.Module) -> OptFn:
        """Return what makes the optimizer of such a model where the user says nothing."""
        return default_opt

    @classmethod
    def adopted(cls, model: nn.Module, kind: str) -> nn.Module:
        """Return a model of the user's as the learner needs it, where one of class `kind` was exported."""
        return model

    def _meta(self) -> dict[str, Any]:
        return meaning(self.model, self.prep, self.data)

    def _best_saver(self, name: str | None) -> list[Callback]:
        if name is None:
            return []
        monitor = "trn_loss" if self.data.val_dl is None else "val_loss"
        return [SaveBest(self._weights_file(name), monitor, meta=self._meta())]

    def _loss_callbacks(self) -> list[Callback]:
        return [] if self.reg_fn is None else [LossRegulariser(self.reg_fn)]

    def _rehearsing(self) -> list[Callback]:
        """Return the callbacks that take part in a training that is taken back."""
        return [*self._loss_callbacks(), *(callback for callback in self.callbacks if callback.rehearses)]

    def _cycle_saver(self, name: str | None) -> Callable[[ScheduleRates, int], object]:
        def on_cycle_end(sched: ScheduleRates, cycle: int) -> None:
            if name is not None:
                self.save(f"{name}_cyc_{cycle}")

        return on_cycle_end

    def _train(
        self,
        lo: LayerOptimizer,
        n_epochs: int,
        metrics: Sequence[MetricLike] | None,
        callbacks: Sequence[Callback],
        checkpoints: Checkpoints | None = None,
    ) -> dict[str, float]:
        self._check_trainable()
        everything = [self.sched, StopOnNaN(), *self._loss_callbacks(), *check_callbacks(self.callbacks), *callbacks]
        chosen = self.metrics if metrics is None else metrics
        return self._run(
            *self._task(), n_epochs, lo, chosen, everything, progress=self.show_progress, checkpoints=checkpoints
        )

    def _run(
        self,
        model: nn.Module,
        data: DataBunch,
        n_epochs: int,
        lo: LayerOptimizer,
        metrics: Sequence[MetricLike] | None,
        callbacks: Sequence[Callback],
        *,
        progress: bool,
        checkpoints: Checkpoints | None = None,
    ) -> dict[str, float]:
        return loop.fit(
            model,
            data,
            n_epochs,
            lo.opt,
            self.crit,
            metrics,
            callbacks,
            precision=self.precision,
            accumulate=self.accumulate,
            clip=self.clip,
            channels_last=self.channels_last,
            compile=self.compile,
            progress=progress,
            checkpoints=checkpoints,
            activation=self.activation,
        )

    def _check_trainable(self) -> None:
        if not any(p.requires_grad for p in self.model.parameters()):
            raise TrainingError("no layer is trainable: everything is frozen. Call `learn.unfreeze()` or `freeze_to`.")

    def _task(self) -> tuple[nn.Module, DataBunch]:
        """Return what is trained and measured, on what; a subclass may prepare both: its model must hold this one's weights."""
        return self.model, self.data

    def _batches_per_epoch(self) -> int:
        n = n_batches(self._task()[1].trn_dl)
        if n is None:
            raise DataError(
                "a schedule must know how many batches an epoch has, and this training loader has no length. Give it "
                "a `__len__`, or train at a constant rate (`cycle_len=None`)."
            )
        if n == 0:
            raise DataError("the training loader is empty: it has no batch.")
        return n

    def _held_out(self, is_test: bool) -> tuple[nn.Module, Iterable[Any]]:
        """Return validation or test set, and the model that takes its batches."""
        model, data = self._task()
        dl = data.test_dl if is_test else data.val_dl
        if dl is None:
            kind, argument = ("test", "test_name") if is_test else ("validation", "val_dl")
            raise DataError(f"this data bunch has no {kind} set (`{argument}` when it is made).")
        return model, dl

    def _predict(self, dl: Iterable[Any], model: nn.Module | None = None) -> Predictions:
        with model_lock(self.model):  # its mode is its state: one thread at a time
            return predict(
                self.model if model is None else model,
                dl,
                self.data.target,
                precision=self.precision,
                channels_last=self.channels_last,
                crit=self.crit,
                activation=self.activation,
                whole=gets_whole(self.crit, self.model, regularised=bool(self._regularisers())),
                item_shape=self.data.item_shape,
            )

    def _regularisers(self) -> list[Callback]:
        return [*self._loss_callbacks(), *(x for x in self.callbacks if isinstance(x, LossRegulariser))]

    def _to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        if self.data.target is None:
            raise DataError("this data bunch does not know what is predicted; pass `target=` when you make it.")
        return self.data.target.to_proba(to_np(preds))

    def _weights_file(self, name: PathLike) -> Path:
        return weights_path(self.models_path / as_path("name", name))


class Quiet:
    """What `learn.no_progress()` returns: quiet from the call on, until the `with` block (if any) ends."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.before = learner, learner.show_progress
        learner.show_progress = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.learner.show_progress = self.before
