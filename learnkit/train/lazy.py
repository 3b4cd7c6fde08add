"""Lazy layers (`nn.LazyLinear`): their sizes are those of the first batch, so a batch runs through them before anything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from learnkit.core.device import to_device
from learnkit.core.errors import TrainingError
from learnkit.core.layers import is_incomplete, model_device
from learnkit.core.preserve import evaluating
from learnkit.data.batches import bind_inputs
from learnkit.data.check import peek

__all__ = ["complete"]


def complete(model: nn.Module, dl: Iterable[Any], *, must: bool = True) -> None:
    """Give lazy layers their sizes, by running the first batch of a loader through the model; others are left alone.

    Their weights are drawn from the global random generator, as those of any layer are when it is made. Nothing else is
    drawn, loader and statistics stay as they were, and an optimizer over the parameters keeps them.

    Parameters
    ----------
    model : nn.Module
        Where it shall be trained.
    dl : iterable of batches
    must : bool, default True
        `False` leaves a model as it is that cannot be completed.

    Raises
    ------
    TrainingError
        If there is no batch to run, the model fails on it, or it does not reach every layer.
    """
    if not is_incomplete(model):
        return
    try:
        _run_first_batch(model, dl)
    except (RuntimeError, TypeError, ValueError, IndexError) as exc:
        if must:
            raise TrainingError(
                f"the model has lazy layers, and the first batch could not tell their sizes: {exc} Run a batch through the "
                "model by hand, `model(*xs)`, or give them their sizes."
            ) from exc
        return
    missed = [name for name, p in model.named_parameters() if is_lazy(p)]
    if missed and must:
        raise TrainingError(
            f"the first batch did not reach the lazy layer(s) with {', '.join(missed[:5])}, whose sizes are not known "
            "therefore. Give them their sizes, or leave them out."
        )


@torch.no_grad()
def _run_first_batch(model: nn.Module, dl: Iterable[Any]) -> None:
    xs, _ = peek(dl, "the loader")
    xs = to_device(bind_inputs(model, xs), model_device(model))
    with evaluating(model):
        model(*xs)
