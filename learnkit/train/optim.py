"""Layer groups x learning rate x weight decay: one optimizer whose groups are the groups of the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.core.errors import LearnkitError, TrainingError, check_positive
from learnkit.core.listing import check_list, one_or_list
from learnkit.core.settable import Settable

__all__ = [
    "OPTIMIZERS",
    "LayerGroup",
    "LayerOptimizer",
    "OptFn",
    "as_groups",
    "as_opt_fn",
    "default_opt",
    "default_splitter",
    "get_momentum",
    "group_names",
    "group_params",
    "set_lrs",
    "set_momentum",
    "shrink",
    "spread",
]

LayerGroup = Sequence[nn.Module]
LRs = float | Sequence[float] | np.ndarray | slice
OptFn = Callable[..., Optimizer] | str
"""`opt_fn(params, lr=...)` -> optimizer, or one of the names in `OPTIMIZERS`."""


def default_opt(params: Any, lr: float) -> Optimizer:
    """AdamW with betas (0.9, 0.99), learnkit's default optimizer."""
    return torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.99), weight_decay=0)


def adamw(params: Any, lr: float, *, betas: tuple[float, float] = (0.9, 0.99)) -> Optimizer:
    """AdamW in one kernel where there is one: small models spend much of their time here."""
    params = list(params)  # it may be a generator, and is gone through twice
    tensors = [p for group in params for p in (group["params"] if isinstance(group, dict) else [group])]
    fused = all(p.device.type in ("cpu", "cuda") for p in tensors)
    return torch.optim.AdamW(params, lr=lr, betas=betas, weight_decay=0, fused=fused)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": default_opt,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "sgd_momentum": partial(torch.optim.SGD, momentum=0.9),
    "rmsprop": torch.optim.RMSprop,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adafactor": torch.optim.Adafactor,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
    "lbfgs": torch.optim.LBFGS,
    "sparse_adam": torch.optim.SparseAdam,
}
"""What `opt_fn=` knows by name: PyTorch's own settings but for the default's, and no weight decay, which is `wds`."""


def as_opt_fn(opt_fn: OptFn | None) -> Callable[..., Optimizer]:
    """Return what makes the optimizer: the function itself, the one of that name, or the default for `None`.

    Raises
    ------
    ValueError
        If there is no optimizer of that name; those that there are, are listed.
    TypeError
        If it is neither a name nor a function.

    Examples
    --------
    >>> from learnkit.train.optim import as_opt_fn
    >>> as_opt_fn("SGD")
    <class 'torch.optim.sgd.SGD'>
    """
    if opt_fn is None:
        return default_opt
    if isinstance(opt_fn, str):
        name = opt_fn.lower().replace("-", "_").replace(" ", "_")
        if name not in OPTIMIZERS:
            raise ValueError(
                f"there is no optimizer {opt_fn!r}. By name there are {', '.join(OPTIMIZERS)}; any other as a function, "
                "`opt_fn(params, lr=...)`."
            )
        return OPTIMIZERS[name]
    if isinstance(opt_fn, Optimizer) or not callable(opt_fn):
        raise TypeError(
            f"`opt_fn` must be a name ({', '.join(list(OPTIMIZERS)[:4])}, ...) or a function `opt_fn(params, lr=...)` that makes "
            f"an optimizer, such as `torch.optim.SGD`, since each fit makes a new one; got {type(opt_fn).__name__}."
        )
    return opt_fn


def default_splitter(model: nn.Module) -> list[LayerGroup]:
    """Ask the model, if it has the course's `get_layer_groups`; else take each child of an `nn.Sequential`, or all as one.

    Children without parameters are groups too.
    """
    own = getattr(model, "get_layer_groups", None)
    if callable(own):
        # The course's models took an argument, `precompute` or `do_fc`, that told whether the body is left out.
        groups = own(False) if inspect.signature(own).parameters else own()
        return as_groups(groups, "get_layer_groups()")
    if isinstance(model, nn.Sequential) and len(model) > 1:
        return [[child] for child in model]
    return [[model]]


def spread(name: str, value: LRs, n: int, groups: Sequence[LayerGroup] | None = None) -> list[float]:
    """Return one number per layer group.

    Parameters
    ----------
    name : str
        For messages.
    value : float, sequence of float or slice
        A number goes to every group; a sequence must have `n` entries; `slice(lo, hi)` is spread geometrically
        from the first group to the last; `slice(hi)` gives `hi` to the last group and `hi / 10` to the others.
    n : int
        Number of groups.
    groups : sequence of LayerGroup, optional
        Printed when the length does not match. A slice is spread over those that have parameters.
    """
    if isinstance(value, str):
        raise TypeError(f"`{name}` must be a number, a list of numbers or a slice; got the text {value!r}.")
    if isinstance(value, slice):
        if value.stop is None or value.step is not None:
            raise ValueError(f"`{name}` as a slice must be slice(lo, hi) or slice(hi); got {value!r}.")
        hi = check_positive(name, value.stop)
        full = [i for i, params in enumerate(group_params(groups)) if params] if groups else list(range(n))
        if value.start is None:
            steps = [hi / 10] * (len(full) - 1) + [hi]
        else:
            steps = list(np.geomspace(check_positive(name, value.start), hi, len(full))) if len(full) > 1 else [hi]
        rates = dict(zip(full, steps, strict=True))
        return [float(rates.get(i, hi)) for i in range(n)]
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        values = [float(value)] * n
    else:
        try:
            given = np.asarray(value)
            if given.dtype.kind not in "iuf":  # None would become NaN
                raise TypeError(f"not numbers: {given.dtype}")
            values = [float(v) for v in given.reshape(-1)]
        except (TypeError, ValueError) as exc:
            raise TypeError(f"`{name}` must be a number, a list of numbers or a slice; got {value!r:.60}.") from exc
    if len(values) != n:
        listing = "".join(f"\n  {i}: {name}" for i, name in enumerate(group_names(groups or [])))
        raise ValueError(f"`{name}` must be one number or {n}, one per layer group; got {len(values)}.{listing}")
    if not all(np.isfinite(values)) or min(values) < 0:
        raise ValueError(f"`{name}` must not be negative or infinite; got {value!r}.")
    return values


class LayerOptimizer(Settable):
    """An optimizer with one parameter group per layer group, each with its learning rate and weight decay.

    Weight decay is decoupled for every optimizer: each step first shrinks the weights by `1 - lr * wd`
    (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization").

    Parameters
    ----------
    opt_fn : callable or str
        `opt_fn(params, lr=...)` -> optimizer: `optim.Adam`, `partial(optim.SGD, momentum=0.9)`; or a name, `"sgd"`.
    layer_groups : nn.Module or sequence of sequences of nn.Module
        A model is one group.
    lrs : float, sequence or slice
        Learning rate, see `spread`.
    wds : float, sequence or slice, optional
        Weight decay; none by default.

    Attributes
    ----------
    opt : torch.optim.Optimizer
        The optimizer to train with.
    lrs, wds : list of float
        The base values, one per group; schedules are relative to these rates.

    Raises
    ------
    ValueError
        If `lrs` or `wds` do not match the groups, which are then printed, or there is no optimizer of that name.
    TrainingError
        If the optimizer cannot be made of such groups.

    Examples
    --------
    >>> from torch import nn, optim
    >>> from learnkit import LayerOptimizer
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> lo = LayerOptimizer(optim.Adam, [[model[0]], [model[2]]], [1e-3, 1e-2], 1e-5)
    >>> [group["lr"] for group in lo.opt.param_groups]
    [0.001, 0.01]
    """

    def __init__(
        self,
        opt_fn: OptFn,
        layer_groups: nn.Module | Sequence[LayerGroup],
        lrs: LRs,
        wds: LRs | None = None,
    ) -> None:
        self.layer_groups: Sequence[LayerGroup] = as_groups(layer_groups)
        n = len(self.layer_groups)
        self.lrs = spread("lrs", lrs, n, self.layer_groups)
        self.wds = spread("wds", 0.0 if wds is None else wds, n, self.layer_groups)
        param_groups = [
            {"params": params, "lr": lr, "learnkit_decay": wd}
            for params, lr, wd in zip(group_params(self.layer_groups), self.lrs, self.wds, strict=True)
        ]
        if not any(group["params"] for group in param_groups):
            raise ValueError("the model has no parameters to train.")
        self.opt = _made(as_opt_fn(opt_fn), param_groups, self.lrs[-1])
        self._hooked = False
        if wds is not None:
            self.set_wds(self.wds)

    def set_lrs(self, lrs: LRs) -> None:
        """Set new base rates, effective at once."""
        self.lrs = spread("lrs", lrs, len(self.layer_groups), self.layer_groups)
        self.scale_lrs(1.0)

    def set_wds(self, wds: LRs) -> None:
        """Set new weight decays, effective at once."""
        self.wds = spread("wds", wds, len(self.layer_groups), self.layer_groups)
        # AdamW's own kernel decays the same way, only faster; every other optimizer's decay is replaced by ours.
        by_itself = isinstance(self.opt, torch.optim.AdamW)
        for group, wd in zip(self.opt.param_groups, self.wds, strict=True):
            group["learnkit_decay"] = wd
            if "weight_decay" in group:
                group["weight_decay"] = wd if by_itself else 0.0
        if any(self.wds) and not by_itself and not self._hooked:
            self.opt.register_step_pre_hook(_decay)
            self._hooked = True

    def scale_lrs(self, factor: float) -> None:
        """Set every group's rate to `factor` times its base rate."""
        for group, lr in zip(self.opt.param_groups, self.lrs, strict=True):
            group["lr"] = lr * factor


def _made(opt_fn: Callable[..., Optimizer], param_groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """Make the optimizer, or say why that is not possible."""
    name = getattr(opt_fn, "__name__", None) or getattr(getattr(opt_fn, "func", opt_fn), "__name__", "opt_fn")
    try:
        opt = opt_fn(param_groups, lr=lr)
    except (TypeError, ValueError, RuntimeError) as exc:
        if isinstance(exc, LearnkitError):
            raise
        several = f", each layer group with a rate of its own ({len(param_groups)})" if len(param_groups) > 1 else ""
        one_rate = " Pass one number as the rate, for all layers together." if several else ""
        raise TrainingError(
            f"the optimizer {name} cannot be made as `{name}(params, lr={lr:g})`{several}: {exc}.{one_rate}"
        ) from exc
    if not isinstance(opt, Optimizer):
        raise TypeError(f"`opt_fn` must return a torch optimizer; {name} returned {type(opt).__name__}.")
    return opt


def set_lrs(opt: Optimizer | LayerOptimizer, lrs: LRs) -> None:
    """Set the learning rate of an optimizer, for all its groups or for each.

    Parameters
    ----------
    opt : torch.optim.Optimizer or LayerOptimizer
    lrs : float, sequence or slice
        One number, or one per parameter group.

    Examples
    --------
    >>> import torch
    >>> from learnkit import set_lrs
    >>> opt = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)
    >>> set_lrs(opt, 0.01)
    >>> opt.param_groups[0]["lr"]
    0.01
    """
    if isinstance(opt, LayerOptimizer):
        opt.set_lrs(lrs)
        return
    for group, lr in zip(opt.param_groups, spread("lrs", lrs, len(opt.param_groups)), strict=True):
        group["lr"] = lr


def as_groups(groups: nn.Module | Sequence[LayerGroup | nn.Module], name: str = "layer_groups") -> list[LayerGroup]:
    """Return layer groups as lists of modules: a model is one group, and so is a module among the groups."""
    if isinstance(groups, nn.Module):
        return [[groups]]
    found: list[LayerGroup] = []
    for i, group in enumerate(check_list(name, groups, "layer groups, each a list of modules")):
        modules = one_or_list(f"{name}[{i}]", group, "modules", lambda value: isinstance(value, nn.Module))
        for module in modules:
            if not isinstance(module, nn.Module):
                raise TypeError(f"`{name}[{i}]` must be a list of modules; it holds {module!r:.60}.")
        found.append(modules)
    return found


def group_names(groups: Sequence[LayerGroup]) -> list[str]:
    """Describe each layer group in a line: its modules and its number of parameters."""
    lines = []
    for group in groups:
        kinds = [type(module).__name__ for module in group]
        shown = ", ".join(kinds[:4]) + (f", ... {len(kinds)} modules" if len(kinds) > 4 else "")
        count = sum(p.numel() for module in group for p in module.parameters())
        lines.append(f"{shown} ({count:,} parameters)")
    return lines


def get_momentum(group: dict[str, Any]) -> float | None:
    """Return the momentum of an optimizer's parameter group: SGD's `momentum` or Adam's first beta."""
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def set_momentum(opt: Optimizer, momentum: float) -> None:
    """Set the momentum of every parameter group that has one."""
    for group in opt.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif "momentum" in group:
            group["momentum"] = momentum


def group_params(groups: Sequence[LayerGroup]) -> list[list[Tensor]]:
    """Return the parameters of each group; one that is shared between groups stays in the first."""
    seen: set[int] = set()
    lists: list[list[Tensor]] = []
    for group in groups:
        mine: list[Tensor] = []
        for p in (p for module in group for p in module.parameters()):
            if id(p) not in seen:
                seen.add(id(p))
                mine.append(p)
        lists.append(mine)
    return lists


@torch.no_grad()
def _decay(opt: Optimizer, args: Any, kwargs: Any) -> None:
    for group in opt.param_groups:
        if wd := group.get("learnkit_decay"):
            shrink((p for p in group["params"] if p.grad is not None), 1 - float(group["lr"]) * wd)


def shrink(params: Iterable[Tensor], factor: float) -> None:
    """Multiply parameters by a number."""
    tensors = list(params)
    if tensors:
        torch._foreach_mul_(tensors, factor)  # one kernel for all of them, as torch's own optimizers do
