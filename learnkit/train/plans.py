"""A fit as data: for how many epochs, at which rates, with which layers.

`fit`, `fit_one_cycle` and `fine_tune` each make a plan and hand it to `Learner.follow`, which trains by it. A checkpoint keeps
it, so that `resume` follows the rest of it.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from learnkit.core.errors import CheckpointError, check_choice, check_positive
from learnkit.core.listing import check_list
from learnkit.data.files import PathLike
from learnkit.train.decay import WeightDecaySchedule
from learnkit.train.events import Callback
from learnkit.train.optim import LayerOptimizer, LRs
from learnkit.train.schedules import (
    Schedule,
    ScheduleRates,
    cosine,
    one_cycle,
    one_cycle_momentum,
    slanted_triangle,
    triangle,
)

__all__ = ["Cycles", "FineTune", "OneCycle", "Plan", "Stretch", "call_from_data", "plans_from_data", "stretches"]

Layers = Literal["all", "head"]
OnCycleEnd = Callable[[ScheduleRates, int], object]
DecayFactor = Callable[[WeightDecaySchedule], LRs]


class Plan(ABC):
    """What a fit is to do, as data: frozen, compared by value, kept by checkpoints.

    Examples
    --------
    >>> from learnkit import Cycles, FineTune, OneCycle
    >>> Cycles(1e-3, 3, cycle_len=1, cycle_mult=2).n_epochs
    7
    >>> [(stretch.layers, stretch.n_epochs) for stretch in FineTune(4).stretches()]
    [('head', 1), ('all', 4)]
    """

    @abstractmethod
    def stretches(self) -> list[Stretch]:
        """Return the fits it consists of, one after the other, each with an optimizer of its own."""

    @property
    @abstractmethod
    def n_epochs(self) -> int:
        """Passes over the training data, all together."""

    def to_data(self) -> dict[str, Any]:
        """Return the plan as numbers and text; `plans_from_data` undoes it."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"kind": type(self).__name__, **{field.name: getattr(self, field.name) for field in fields}}


class Stretch(Plan):
    """A plan that is one fit.

    Attributes
    ----------
    lrs, wds : float, sequence of float, slice; wds optional
        Rates and decays of the optimizer, see `Learner.fit`.
    layers : {"all", "head"}, optional
        What is unfrozen before it begins; `None` leaves that as it is.
    """

    layers: Layers | None

    @property
    @abstractmethod
    def rates(self) -> tuple[LRs, LRs | None]:
        """Learning rates and weight decays, for one layer group or each."""

    @abstractmethod
    def schedules(
        self, lo: LayerOptimizer, count: Callable[[], int], on_cycle_end: OnCycleEnd, decay: DecayFactor | None = None
    ) -> list[Callback]:
        """Return the callbacks that set the rates.

        Parameters
        ----------
        lo : LayerOptimizer
            Made with `rates`.
        count : callable
            `count()` -> batches of an epoch; called only where a schedule must know.
        on_cycle_end : callable
            See `ScheduleRates`.
        decay : callable, optional
            What the weight decay is multiplied by in each step, see `WeightDecaySchedule`.
        """

    def stretches(self) -> list[Stretch]:
        """Return itself."""
        return [self]


@dataclass(frozen=True)
class Cycles(Stretch):
    """A constant rate, or cosine cycles with warm restarts (SGDR, Loshchilov & Hutter 2017); see `Learner.fit`.

    Parameters
    ----------
    layers : {"all", "head"}, optional
        What is unfrozen before it begins.

    Raises
    ------
    ValueError
        If arguments contradict each other.

    Examples
    --------
    >>> from learnkit import Cycles
    >>> Cycles(1e-3, 2, cycle_mult=2)
    Traceback (most recent call last):
    ...
    ValueError: `cycle_mult` needs cycles: pass `cycle_len` too.
    """

    lrs: LRs
    n_cycle: int
    wds: LRs | None = None
    cycle_len: int | None = None
    cycle_mult: int = 1
    use_clr_beta: tuple[float, ...] | None = None
    use_clr: tuple[float, float] | None = None
    use_wd_sched: bool = False
    norm_wds: bool = False
    layers: Layers | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        _whole(self, "n_cycle")
        if self.norm_wds and not self.use_wd_sched:
            raise ValueError("`norm_wds` changes the schedule of weight decay: pass `use_wd_sched=True` too.")
        if self.cycle_len is None:
            mult = None if self.cycle_mult == 1 else self.cycle_mult
            for name, value in (("use_clr_beta", self.use_clr_beta), ("use_clr", self.use_clr), ("cycle_mult", mult)):
                if value is not None:
                    raise ValueError(f"`{name}` needs cycles: pass `cycle_len` too.")
            return
        _whole(self, "cycle_len")
        _whole(self, "cycle_mult")
        if self.use_clr is not None and self.use_clr_beta is not None:
            raise ValueError("`use_clr` and `use_clr_beta` are two shapes of one cycle; pass one of them.")
        self._shape()

    @property
    def n_epochs(self) -> int:
        """Epochs of all cycles."""
        return sum(self._lengths())

    @property
    def rates(self) -> tuple[LRs, LRs | None]:
        """`lrs` and `wds`."""
        return self.lrs, self.wds

    def schedules(
        self, lo: LayerOptimizer, count: Callable[[], int], on_cycle_end: OnCycleEnd, decay: DecayFactor | None = None
    ) -> list[Callback]:
        """Return the schedule of the cycles, and that of the weight decay."""
        made: list[Callback] = []
        if self.use_wd_sched:
            cycles = (1 if self.cycle_len is None else self.cycle_len, self.cycle_mult, self.n_cycle)
            made.append(WeightDecaySchedule(lo, count(), *cycles, self.norm_wds, decay))
        if self.cycle_len is not None:
            lr, mom = self._shape()
            nb = count() * self.cycle_len
            made.append(ScheduleRates(lo, nb, lr, mom, cycle_mult=self.cycle_mult, on_cycle_end=on_cycle_end))
        return made

    def _lengths(self) -> list[int]:
        return [(self.cycle_len or 1) * self.cycle_mult**i for i in range(self.n_cycle)]

    def _shape(self) -> tuple[Schedule, Schedule | None]:
        """Return rate and momentum of a cycle, relative to `lrs`."""
        if self.use_clr is not None:
            if not isinstance(self.use_clr, tuple | list) or len(self.use_clr) != 2:
                raise ValueError(f"`use_clr` must be (div, cut_div); got {self.use_clr!r}.")
            return slanted_triangle(*self.use_clr), None
        return (cosine(1.0, 0.0), None) if self.use_clr_beta is None else _clr_beta(self.use_clr_beta)


@dataclass(frozen=True)
class OneCycle(Stretch):
    """One cycle: rate up and down, momentum down and up (Smith 2018); see `Learner.fit_one_cycle`.

    Parameters
    ----------
    layers : {"all", "head"}, optional
        What is unfrozen before it begins.

    Examples
    --------
    >>> from learnkit import OneCycle
    >>> plan = OneCycle(5, 1e-3)
    >>> plan == OneCycle(5, 1e-3), plan == OneCycle(5, 1e-3, div=10), plan.to_data()["kind"]
    (True, False, 'OneCycle')
    """

    n_epoch: int
    lr_max: LRs
    wds: LRs | None = None
    div: float = 25.0
    div_final: float = 1e5
    pct_start: float = 0.25
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95)
    layers: Layers | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        _whole(self, "n_epoch")

    @property
    def n_epochs(self) -> int:
        """Length of the cycle."""
        return self.n_epoch

    @property
    def rates(self) -> tuple[LRs, LRs | None]:
        """`lr_max` and `wds`."""
        return self.lr_max, self.wds

    def schedules(
        self, lo: LayerOptimizer, count: Callable[[], int], on_cycle_end: OnCycleEnd, decay: DecayFactor | None = None
    ) -> list[Callback]:
        """Return the schedule of the cycle."""
        lr = one_cycle(1 / self.div, 1.0, 1 / self.div_final, pct_start=self.pct_start)
        mom = one_cycle_momentum(lo.opt, self.moms, self.pct_start)
        return [ScheduleRates(lo, count() * self.n_epoch, lr, mom, on_cycle_end=on_cycle_end)]


@dataclass(frozen=True)
class FineTune(Plan):
    """The head with the rest frozen, then everything, lower layers at lower rates; see `Learner.fine_tune`.

    Examples
    --------
    >>> from learnkit import FineTune
    >>> head, everything = FineTune(4, 1e-2).stretches()
    >>> head.rates[0], everything.rates[0]
    (0.01, slice(5e-05, 0.005, None))
    """

    epochs: int
    base_lr: float = 2e-3
    freeze_epochs: int = 1

    def __post_init__(self) -> None:
        self.stretches()

    @property
    def n_epochs(self) -> int:
        """Epochs of both parts."""
        return self.freeze_epochs + self.epochs

    def stretches(self) -> list[Stretch]:
        """Return the part of the head, and that of all layers."""
        spread = slice(self.base_lr / 200, self.base_lr / 2)
        return [
            OneCycle(self.freeze_epochs, self.base_lr, layers="head"),
            OneCycle(self.epochs, spread, layers="all"),
        ]


KINDS: Mapping[str, type[Plan]] = {plan.__name__: plan for plan in (Cycles, OneCycle, FineTune)}


def as_plans(plans: Plan | Sequence[Plan]) -> list[Plan]:
    """Return one plan or several as a list, or say what is wrong with them."""
    if isinstance(plans, Plan):
        return [plans]
    checked = check_list("plans", plans, "plans")
    for plan in checked:
        if not isinstance(plan, Plan):
            raise TypeError(f"`plans` must hold plans, such as OneCycle(5, 1e-3); got {plan!r}.")
    if not checked:
        raise ValueError("`plans` is empty: there is nothing to train.")
    return checked


def stretches(plans: Sequence[Plan]) -> list[Stretch]:
    """Return the fits that plans consist of, in their order."""
    return [stretch for plan in plans for stretch in plan.stretches()]


def plans_from_data(saved: Sequence[Mapping[str, Any]]) -> list[Plan]:
    """Make plans again of what `Plan.to_data` returned.

    Raises
    ------
    CheckpointError
        If this learnkit does not know them.
    """
    try:
        return [_plan_from_data(data) for data in saved]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise CheckpointError(f"how the fit was called cannot be read: {exc}") from exc


def _plan_from_data(data: Mapping[str, Any]) -> Plan:
    kind, arguments = KINDS.get(data["kind"]), {name: data[name] for name in data if name != "kind"}
    if kind is None:
        raise CheckpointError(f"a fit of the kind {data['kind']!r} is not known to this learnkit; update it.")
    known: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    if strange := {*arguments} - {field.name for field in known}:
        raise CheckpointError(f"the fit was called with {strange.pop()!r}, which this learnkit does not know.")
    return kind(**arguments)


def _check_common(plan: Any) -> None:
    check_choice("layers", plan.layers, ("all", "head", None))
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if isinstance(value, np.ndarray) and value.ndim == 1:  # so that plans can be compared
            object.__setattr__(plan, field.name, tuple(value.tolist()))


def _whole(plan: Any, name: str) -> None:
    object.__setattr__(plan, name, int(check_positive(name, getattr(plan, name), integer=True)))


def _clr_beta(values: tuple[float, ...]) -> tuple[Schedule, Schedule | None]:
    if len(values) not in (2, 4):
        raise ValueError(f"`use_clr_beta` must be (div, pct) or (div, pct, max_mom, min_mom); got {values!r}.")
    div, pct = values[:2]
    if len(values) == 2:
        return triangle(div, pct), None
    high, low = values[2:]
    slope = (1 - pct / 100) / 2

    def momentum(progress: float) -> float:
        rising = np.interp(progress, [0, slope, 2 * slope, 1], [high, low, high, high])
        return float(rising)

    return triangle(div, pct), momentum


def call_from_data(call: Mapping[str, Any], folder: PathLike) -> dict[str, Any]:
    """Return how a fit was called; of one that an earlier version began, its method and arguments as a plan."""
    if "method" in call and "arguments" in call:
        kinds = {"fit": "Cycles", "fit_one_cycle": "OneCycle", "fine_tune": "FineTune"}
        names = {"metrics": None, "cycle_save_name": None, "best_save_name": None}
        arguments = {"kind": kinds.get(call["method"], call["method"]), **call["arguments"]}
        call = {**call, **{name: arguments.pop(name, None) for name in names}, "plans": [arguments]}
    parts = {"plans": list, "part": int, "settings": dict}
    if not all(isinstance(call.get(name), kind) for name, kind in parts.items()):
        raise CheckpointError(f"the fit in {folder} was not begun by a Learner: pass `checkpoints` to `fit` again.")
    return {"metrics": None, "cycle_save_name": None, "best_save_name": None, **call}
