"""Model + loader -> predictions, in the order of the data set and full length, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from learnkit.core.device import to_cpu
from learnkit.core.errors import DataError
from learnkit.core.layers import forget_state, model_device
from learnkit.core.precision import autocast_for
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.joining import batch_len, join
from learnkit.data.loaders import DeviceLoader, generators
from learnkit.data.shapes import like_targets
from learnkit.data.targets import Target
from learnkit.train.explain import describe, explain
from learnkit.train.lazy import complete
from learnkit.train.losses import Activation, read, split_output

__all__ = ["Predictions", "predict"]


@dataclass(frozen=True)
class Predictions:
    """What a model says about a data set.

    Attributes
    ----------
    preds : array of shape (n, c)
        Log-probabilities for one class per item, probabilities for several, values for a regression, in the shape of
        the targets; what the model returns when the target is not known. Of a model that returns a tuple, list or dict
        the same structure, each part joined over the items; parts whose size differs between batches as a list of items.
    targs : array of shape (n, ...)
        Encoded targets (zeros for a test set), or the structure the data has them in.
    """

    preds: Any
    targs: Any


@torch.no_grad()
def predict(
    model: nn.Module,
    dl: Iterable[Any],
    target: Target | None = None,
    *,
    precision: str = "fp32",
    channels_last: bool = False,
    crit: Any = None,
    activation: Activation | str | None = None,
    whole: bool = False,
    item_shape: Any = None,
) -> Predictions:
    """Run `model` over a loader in evaluation mode.

    Parameters
    ----------
    model : nn.Module
    dl : iterable of batches
        In a fixed order.
    target : Target, optional
        Gives the activation.
    precision, channels_last
        As for `fit`.
    crit, activation : optional
        With the target they say how scores are read, see `fit`. Without a loss the target decides.
    whole : bool, default False
        Return a model's tuple whole, not its first element.
    item_shape : tuple of int, optional
        Shape of one item's target, see `DataBunch.item_shape`: predictions that differ from it by sizes of one only take
        it, so that both can be compared.

    Returns
    -------
    Predictions
    """
    device = model_device(model)
    complete(model, dl)
    autocast = autocast_for(precision, device)
    reading = read(crit, target, activation)
    sizes: list[int] = []
    preds: list[Any] = []
    targs: list[Any] = []
    xs: tuple[Any, ...] = ()
    y: Any = None
    try:
        with evaluating(model), preserve_rng(*generators(dl)):
            forget_state(model)
            for xs, y in DeviceLoader(dl, device, channels_last=channels_last, model=model):
                with autocast():
                    output = model(*xs)
                output, _ = split_output(output, whole=whole)
                preds.append(to_cpu(reading.for_user(output)))
                targs.append(to_cpu(y))
                sizes.append(batch_len(xs, y))
    except Exception as exc:
        reason = explain(exc, (dl,), batch_len(xs, y), describe(xs), device)
        if reason is None:
            raise
        raise reason from exc
    if not preds:
        raise DataError("the loader gave no batch to predict.")
    return Predictions(like_targets(join(preds, sizes), item_shape), join(targs, sizes))
