"""The course's schedules of weight decay, as in the AdamW paper: a decay of its own, not multiplied by the rate.

`fit(wds=...)` alone shrinks weights by `lr * wd` in each step, so decay follows the learning rate. Here a step shrinks
them by `eta * wd`, and the multiplier `eta` and the normalisation by the length of the cycle are the user's to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from learnkit.core.errors import check_positive
from learnkit.train.events import Callback, Run
from learnkit.train.optim import LayerOptimizer, LRs, shrink, spread

__all__ = ["WeightDecaySchedule"]


class WeightDecaySchedule(Callback):
    """Shrink the weights by `eta * wd` in each step (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization").

    `fit(lrs, n, wds=wd, use_wd_sched=True)` makes one.

    Parameters
    ----------
    layer_opt : LayerOptimizer
        Train with its `.opt`. Its `wds` are the decays `wd`; it does not apply them itself meanwhile.
    batch_per_epoch : int
    cycle_len, cycle_mult, n_cycles : int
        As for `fit`.
    norm_wds : bool, default False
        Divide the decays by the square root of the number of steps in the current cycle.
    wds_sched_mult : callable, optional
        `wds_sched_mult(schedule)` -> `eta`, one number or one per layer group, asked for in each step; 1 by default. The
        rate's own schedule is `lambda s: np.array(s.layer_opt.lrs) / s.init_lrs`.

    Attributes
    ----------
    layer_opt : RatesNow
        `lrs` and `wds` of this step, one per layer group.
    init_lrs, init_wds : array of float
        The base values.
    """

    def __init__(
        self,
        layer_opt: LayerOptimizer,
        batch_per_epoch: int,
        cycle_len: int,
        cycle_mult: int,
        n_cycles: int,
        norm_wds: bool = False,
        wds_sched_mult: Callable[[WeightDecaySchedule], LRs] | None = None,
    ) -> None:
        for name, value in (("batch_per_epoch", batch_per_epoch), ("cycle_len", cycle_len), ("n_cycles", n_cycles)):
            check_positive(name, value, integer=True)
        if not any(layer_opt.wds):
            raise ValueError("a schedule of weight decay needs a decay: pass `wds` too.")
        self.lo = layer_opt
        self.init_lrs, self.init_wds = np.array(layer_opt.lrs), np.array(layer_opt.wds)
        self.layer_opt = RatesNow(layer_opt.opt, self.init_wds)
        self.norm_wds, self.wds_sched_mult = norm_wds, wds_sched_mult
        lengths = [cycle_len * cycle_mult**i for i in range(n_cycles)]
        self._steps = np.repeat(lengths, lengths) * batch_per_epoch  # of the cycle each epoch belongs to

    def before_fit(self, run: Run) -> None:
        """Take the decay over from the optimizer."""
        if all(player.opt is not self.lo.opt for player in run.players):
            raise ValueError("the schedule belongs to another optimizer: call `fit` with `layer_opt.opt`.")
        if run.n_epochs > len(self._steps):
            raise ValueError(
                f"the decay's cycles have {len(self._steps)} epochs, and {run.n_epochs} are to be trained."
            )
        self.lo.set_wds(0.0)

    @torch.no_grad()
    def before_step(self, run: Run) -> None:
        """Shrink the weights that are about to be changed."""
        if run.opt is not self.lo.opt:  # another player's turn
            return
        wds = self.init_wds / np.sqrt(self._steps[run.epoch]) if self.norm_wds else self.init_wds
        if self.wds_sched_mult is not None:
            wds = wds * spread("wds_sched_mult", self.wds_sched_mult(self), len(wds), self.lo.layer_groups)
        self.layer_opt.wds = wds
        for group, wd in zip(run.opt.param_groups, wds, strict=True):
            if wd:
                shrink((p for p in group["params"] if p.grad is not None), 1 - float(wd))

    def cleanup_fit(self, run: Run) -> None:
        """Give the decay back."""
        self.lo.set_wds(self.init_wds)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: all of it follows from the arguments and the epoch."""
        return {}


class RatesNow:
    """Rates and decays of the current step, one per layer group."""

    def __init__(self, opt: Optimizer, wds: np.ndarray) -> None:
        self._opt, self.wds = opt, wds

    @property
    def lrs(self) -> list[float]:
        """The learning rates, as a schedule has just set them."""
        return [float(group["lr"]) for group in self._opt.param_groups]
