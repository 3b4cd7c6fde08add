"""Model + loader -> predictions, in the order of the data set and full length, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.device import map_tensors, to_cpu
from learnkit.core.errors import DataError
from learnkit.core.layers import model_device
from learnkit.core.precision import autocast_for
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.loaders import DeviceLoader, generators
from learnkit.data.targets import Target
from learnkit.train.failures import explain
from learnkit.train.loop import batch_len, describe, split_output

__all__ = ["Predictions", "predict"]


@dataclass(frozen=True)
class Predictions:
    """What a model says about a data set.

    Attributes
    ----------
    preds : array of shape (n, c)
        Log-probabilities for one class per item, probabilities for several, values for a regression; what the
        model returns when the target is not known.
    targs : array of shape (n, ...)
        Encoded targets (zeros for a test set).
    """

    preds: Any
    targs: NDArray[Any]


@torch.no_grad()
def predict(
    model: nn.Module,
    dl: Iterable[Any],
    target: Target | None = None,
    *,
    precision: str = "fp32",
    channels_last: bool = False,
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

    Returns
    -------
    Predictions
    """
    device = model_device(model)
    autocast = autocast_for(precision, device)
    preds: list[Any] = []
    targs: list[Any] = []
    xs: tuple[Any, ...] = ()
    y: Any = None
    try:
        with evaluating(model), preserve_rng(*generators(dl)):
            for xs, y in DeviceLoader(dl, device, channels_last=channels_last):
                with autocast():
                    output = model(*xs)
                output, _ = split_output(output)
                if target is not None and isinstance(output, Tensor):
                    output = target.activation(output)
                preds.append(to_cpu(output))
                targs.append(to_cpu(y))
    except Exception as exc:
        reason = explain(exc, (dl,), batch_len(xs, y), describe(xs), device)
        if reason is None:
            raise
        raise reason from exc
    if not preds:
        raise DataError("the loader gave no batch to predict.")
    return Predictions(_concatenate(preds), _concatenate(targs))


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}
    arrays = map_tensors(lambda x: (x.float() if x.dtype == torch.bfloat16 else x).numpy(), parts)
    return np.concatenate(arrays)
