"""What may be set on a learner, at any time: each setting is checked when it is assigned, not in the middle of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from learnkit.core.errors import check_positive
from learnkit.train.events import check_callbacks
from learnkit.train.losses import check_activation
from learnkit.train.metrics import as_metrics, metric_list
from learnkit.train.optim import as_opt_fn

__all__ = ["SETTINGS"]


def _function(name: str, form: str, *, optional: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not callable(value) and not (optional and value is None):
            raise TypeError(f"`{name}` must be a function, {form}{' or None' if optional else ''}; got {value!r}.")
        return value

    return check


def _data(value: Any) -> Any:
    if not hasattr(value, "trn_dl"):
        raise TypeError(f"`data` must be a DataBunch, DataBunch(path, trn_dl, val_dl); got {type(value).__name__}.")
    return value


def _model(value: Any) -> Any:
    if not isinstance(value, nn.Module):
        raise TypeError(f"`model` must be an nn.Module; got {type(value).__name__}.")
    return value


def _metrics(value: Any) -> Any:
    as_metrics(value)  # say now, not after the first epoch, that one is unknown
    return metric_list(value)


def _activation(value: Any) -> Any:
    check_activation(value)
    return value


def _clip(value: Any) -> Any:
    return None if value is None else check_positive("clip", value)


SETTINGS: dict[str, Callable[[Any], Any]] = {
    "data": _data,
    "model": _model,
    "opt_fn": as_opt_fn,
    "crit": _function("crit", "crit(pred, y) -> loss, such as F.cross_entropy"),
    "metrics": _metrics,
    "callbacks": check_callbacks,
    "activation": _activation,
    "splitter": _function("splitter", "splitter(model) -> layer groups"),
    "accumulate": lambda value: check_positive("accumulate", value, integer=True),
    "clip": _clip,
    "reg_fn": _function("reg_fn", "reg_fn(pred, extra, loss) -> loss with a penalty,", optional=True),
}
"""By name, what returns the value that is kept, or says what is wrong with it."""
