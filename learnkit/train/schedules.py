"""How rates change while training: pure functions of progress, and the callback that applies them.

A schedule is a function from progress (0 at the start of a cycle, towards 1 at its end) to a number. For
learning rates the number multiplies each layer group's own rate, so differential rates keep their ratios; for
momentum it is the value itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from learnkit.core.errors import check_positive
from learnkit.train.events import Callback, Run
from learnkit.train.optim import LayerOptimizer, get_momentum, set_momentum

__all__ = [
    "CosAnneal",
    "Schedule",
    "ScheduleRates",
    "constant",
    "cosine",
    "exponential",
    "flat_cosine",
    "linear",
    "one_cycle",
    "phases",
    "slanted_triangle",
    "triangle",
]

Schedule = Callable[[float], float]


def constant(value: float) -> Schedule:
    """Stay at `value`.

    Parameters
    ----------
    value : float
        What to stay at.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import constant
    >>> constant(1.0)(0.3)
    1.0
    """
    return lambda progress: value


def linear(start: float, end: float) -> Schedule:
    """Go from `start` to `end` in a straight line.

    Parameters
    ----------
    start, end : float
        First and last value.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import linear
    >>> linear(1.0, 0.0)(0.25)
    0.75
    """
    return lambda progress: start + progress * (end - start)


def cosine(start: float, end: float) -> Schedule:
    """Go from `start` to `end` along half a cosine: slowly, fast, slowly (Loshchilov & Hutter 2017, SGDR).

    Parameters
    ----------
    start, end : float
        First and last value.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import cosine
    >>> cosine(1.0, 0.0)(0.5)
    0.5
    """
    return lambda progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def exponential(start: float, end: float) -> Schedule:
    """Go from `start` to `end` by a constant factor per step; both must be positive.

    Parameters
    ----------
    start, end : float
        First and last value, both positive.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import exponential
    >>> round(exponential(1.0, 0.01)(0.5), 6)
    0.1
    """
    check_positive("start", start)
    check_positive("end", end)
    return lambda progress: start * (end / start) ** progress


def phases(*parts: tuple[float, Schedule]) -> Schedule:
    """Run schedules one after the other.

    Parameters
    ----------
    *parts : tuple of (float, Schedule)
        Share of the whole and what to do in it. The shares must add up to 1.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If the shares do not add up to 1.

    Examples
    --------
    >>> from learnkit import cosine, linear, phases
    >>> warm_up_then_fall = phases((0.1, linear(0.0, 1.0)), (0.9, cosine(1.0, 0.0)))
    >>> round(warm_up_then_fall(0.05), 6), round(warm_up_then_fall(0.55), 6)
    (0.5, 0.5)
    """
    total = sum(share for share, _ in parts)
    if not parts or abs(total - 1) > 1e-9 or min(share for share, _ in parts) < 0:
        raise ValueError(f"the shares of the phases must be positive and add up to 1; got {[s for s, _ in parts]}.")

    def schedule(progress: float) -> float:
        start = 0.0
        for share, part in parts:
            if progress < start + share:
                return part((progress - start) / share)
            start += share
        return parts[-1][1](1.0)

    return schedule


def flat_cosine(pct_start: float = 0.75) -> Schedule:
    """Stay at full rate for `pct_start` of the way, then fall to zero along a cosine.

    Parameters
    ----------
    pct_start : float, default 0.75
        Share of the way at full rate.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import flat_cosine
    >>> flat_cosine(0.5)(0.4), flat_cosine(0.5)(0.75)
    (1.0, 0.5)
    """
    return phases((pct_start, constant(1.0)), (1 - pct_start, cosine(1.0, 0.0)))


def one_cycle(start: float, peak: float, end: float, *, pct_start: float = 0.25) -> Schedule:
    """Rise from `start` to `peak` along a cosine, then fall to `end` (Smith & Topin 2018, super-convergence).

    Parameters
    ----------
    start, peak, end : float
        First, highest and last value.
    pct_start : float, default 0.25
        Share of the way up.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import one_cycle
    >>> schedule = one_cycle(0.04, 1.0, 1e-5)
    >>> schedule(0.25), round(schedule(1.0), 5)
    (1.0, 1e-05)
    """
    return phases((pct_start, cosine(start, peak)), (1 - pct_start, cosine(peak, end)))


def triangle(div: float, pct: float) -> Schedule:
    """Follow the course's `use_clr_beta`: up from `1 / div` to 1 and down again, in a straight line each.

    The last `pct` percent of the way fall on to a hundredth of the starting rate (Smith 2018).

    Parameters
    ----------
    div : float
        The rate starts at `1 / div`.
    pct : float
        Percent of the way for the last fall.

    Returns
    -------
    Schedule

    Examples
    --------
    >>> from learnkit import triangle
    >>> schedule = triangle(10, 10)
    >>> round(schedule(0.0), 6), round(schedule(0.45), 6), round(schedule(0.9), 6)
    (0.1, 1.0, 0.1)
    """
    tail = pct / 100
    slope = (1 - tail) / 2
    return phases((slope, linear(1 / div, 1.0)), (slope, linear(1.0, 1 / div)), (tail, linear(1 / div, 0.01 / div)))


def slanted_triangle(div: float, cut_div: float) -> Schedule:
    """Follow the course's `use_clr`: up from `1 / div` to 1 in a straight line, then down again, usually for longer.

    Parameters
    ----------
    div : float
        The rate starts and ends at `1 / div`.
    cut_div : float
        It rises for the first `1 / cut_div` of the way.

    Returns
    -------
    Schedule

    References
    ----------
    Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification".

    Examples
    --------
    >>> from learnkit import slanted_triangle
    >>> schedule = slanted_triangle(20, 10)
    >>> round(schedule(0.0), 6), round(schedule(0.1), 6), round(schedule(1.0), 6)
    (0.05, 1.0, 0.05)
    """
    if not div >= 1 or not cut_div > 1:
        raise ValueError(f"`use_clr` must be (div, cut_div) with div >= 1 and cut_div > 1; got ({div!r}, {cut_div!r}).")
    return phases((1 / cut_div, linear(1 / div, 1.0)), (1 - 1 / cut_div, linear(1.0, 1 / div)))


class ScheduleRates(Callback):
    """Apply schedules to an optimizer, batch by batch, in one cycle or several.

    An epoch counts as the batches its loader says it has, also where it has more or fewer, so that a cycle ends with the
    epoch it is to end with.

    Parameters
    ----------
    lo : LayerOptimizer
        Its base rates are what `lr` multiplies.
    nb : int
        Batches of the first cycle.
    lr : Schedule
        Of the learning rate, relative to the base rates.
    mom : Schedule, optional
        Of the momentum (Adam's first beta), absolute.
    cycle_mult : float, default 1
        How many times longer each cycle is than the one before.
    on_cycle_end : callable, optional
        Called as `on_cycle_end(sched, cycle)` when a cycle is over; cycles count from 0.

    Attributes
    ----------
    cycle : int
        The current cycle.
    """

    def __init__(
        self,
        lo: LayerOptimizer,
        nb: int,
        lr: Schedule,
        mom: Schedule | None = None,
        *,
        cycle_mult: float = 1,
        on_cycle_end: Callable[[ScheduleRates, int], object] | None = None,
    ) -> None:
        if not isinstance(lo, LayerOptimizer):
            raise TypeError(
                f"`lo` must be a LayerOptimizer; got {type(lo).__name__}. Make one with "
                "`LayerOptimizer(optim.Adam, model, lr)` and train with its `.opt`."
            )
        check_positive("nb", nb, integer=True)
        if cycle_mult < 1:
            raise ValueError(f"`cycle_mult` must be at least 1; got {cycle_mult}.")
        self.lo, self.nb, self.lr, self.mom = lo, nb, lr, mom
        self.cycle_mult, self.on_cycle_end = cycle_mult, on_cycle_end
        self.cycle = 0
        self.cycle_batch: float = 0
        self.cycle_nb = nb
        self.epoch_batch: float = 0  # how far in the current epoch, in batches as its loader counts them
        self.epoch_nb: int | None = None  # batches that the last epoch really had

    def before_fit(self, run: Run) -> None:
        """Start with the first cycle, and check that the fit uses this optimizer."""
        if all(player.opt is not self.lo.opt for player in run.players):
            raise ValueError("the schedule belongs to another optimizer: call `fit` with `lo.opt`.")
        self.cycle, self.cycle_batch, self.cycle_nb = 0, 0, self.nb
        self.epoch_batch, self.epoch_nb = 0, None

    def before_batch(self, run: Run) -> None:
        """Set the rates of this batch."""
        if run.training:
            progress = self.cycle_batch / self.cycle_nb
            self.lo.scale_lrs(self.lr(progress))
            if self.mom is not None:
                set_momentum(self.lo.opt, self.mom(progress))

    def after_batch(self, run: Run) -> None:
        """Go on, at the pace of the last epoch; where a loader gives more batches than it says, the rates of its last stay."""
        if not run.training:
            return
        if run.n_batches is None:
            self._go_on(1)
            return
        gone = run.batch + 1
        due = gone if self.epoch_nb in (None, run.n_batches) else gone * run.n_batches / self.epoch_nb
        if due < run.n_batches - _ROUNDING:  # the end of an epoch is that of its pass
            self._go_on(due - self.epoch_batch)
            self.epoch_batch = due

    def after_train(self, run: Run) -> None:
        """Be where the end of the epoch is, however many batches there were."""
        if run.n_batches is not None:
            self._go_on(run.n_batches - self.epoch_batch)
            self.epoch_batch, self.epoch_nb = 0, max(run.batch + 1, 1)

    def _go_on(self, batches: float) -> None:
        """Move on within the cycle, and start the next one when it is over."""
        self.cycle_batch += batches
        while self.cycle_batch > self.cycle_nb - _ROUNDING:
            if self.on_cycle_end is not None:
                self.on_cycle_end(self, self.cycle)
            self.cycle += 1
            self.cycle_batch = max(self.cycle_batch - self.cycle_nb, 0)
            self.cycle_nb = round(self.cycle_nb * self.cycle_mult)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the cycles, and the base rates."""
        return {**super().state_dict(), "lrs": list(self.lo.lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from that place."""
        self.lo.lrs = state["lrs"]
        super().load_state_dict({name: value for name, value in state.items() if name != "lrs"})


_ROUNDING = 1e-6  # of fractions of a batch that were added up


class CosAnneal(ScheduleRates):
    """Cosine annealing with warm restarts: from the full rate to zero in each cycle (Loshchilov & Hutter 2017).

    For the other options see `ScheduleRates`.

    Parameters
    ----------
    layer_opt : LayerOptimizer
        Train with its `.opt`.
    nb : int
        Batches of the first cycle; `len(data.trn_dl)` for a cycle of one epoch.

    Examples
    --------
    >>> import torch.nn.functional as F
    >>> from torch import nn, optim, randn, zeros
    >>> from learnkit import CosAnneal, DataBunch, LayerOptimizer, fit
    >>> data = DataBunch(".", [(randn(8, 2), zeros(8).long())] * 3)
    >>> model = nn.Linear(2, 2)
    >>> lo = LayerOptimizer(optim.Adam, model, 1e-2, 1e-5)
    >>> done = []
    >>> cb = [CosAnneal(lo, len(data.trn_dl), cycle_mult=2, on_cycle_end=lambda sched, cycle: done.append(cycle))]
    >>> _ = fit(model, data, 2**3 - 1, lo.opt, F.cross_entropy, callbacks=cb, progress=False)
    >>> done
    [0, 1, 2]
    """

    def __init__(
        self,
        layer_opt: LayerOptimizer,
        nb: int,
        on_cycle_end: Callable[[ScheduleRates, int], object] | None = None,
        cycle_mult: float = 1,
    ) -> None:
        super().__init__(layer_opt, nb, cosine(1.0, 0.0), cycle_mult=cycle_mult, on_cycle_end=on_cycle_end)


def one_cycle_momentum(opt: Optimizer, moms: Sequence[float], pct_start: float) -> Schedule | None:
    """Return the momentum schedule that mirrors `one_cycle`, or `None` for an optimizer without momentum."""
    if all(get_momentum(group) in (None, 0.0) for group in opt.param_groups):
        return None
    high, low, end = moms
    return one_cycle(high, low, end, pct_start=pct_start)
