"""Penalties on the weights themselves, for `learn.reg_fn`: L1 and L2, by layer group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.core.listing import numbers
from learnkit.train.optim import LayerGroup, as_groups, group_params

__all__ = ["l1_penalty", "l2_penalty"]

RegFn = Callable[[Any, tuple[Any, ...], Tensor], Tensor]


def l1_penalty(groups: nn.Module | Sequence[LayerGroup], weights: float | Sequence[float]) -> RegFn:
    """Return a `reg_fn` that adds the sum of the absolute weights, times a factor, to the training loss (Tibshirani 1996).

    Parameters
    ----------
    groups : nn.Module or sequence of layer groups
        A model, or `learn.get_layer_groups()` for a factor of each group.
    weights : float or sequence of float
        The factor: one for all, or one per layer group; 0 leaves a group out. Biases and norms count like any parameter,
        frozen ones do not.

    Returns
    -------
    callable
        `reg_fn(pred, extra, loss)` -> loss with the penalty.

    Raises
    ------
    ValueError
        If there is not one factor per layer group, or one is negative.

    Examples
    --------
    >>> import torch
    >>> from learnkit import l1_penalty
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, -3.0)
    >>> l1_penalty(model, 0.5)(None, (), torch.tensor(1.0)).item()
    4.0
    """
    return _penalty(groups, weights, lambda p: p.abs().sum())


def l2_penalty(groups: nn.Module | Sequence[LayerGroup], weights: float | Sequence[float]) -> RegFn:
    """Return a `reg_fn` that adds the sum of the squared weights, times a factor, to the loss; see `l1_penalty`.

    It is part of the gradient, which adaptive optimizers rescale; `wds` of `fit` is decay apart from it.

    Examples
    --------
    >>> import torch
    >>> from learnkit import l2_penalty
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 3.0)
    >>> l2_penalty(model, 0.5)(None, (), torch.tensor(1.0)).item()
    10.0
    """
    return _penalty(groups, weights, lambda p: p.square().sum())


def _penalty(
    groups: nn.Module | Sequence[LayerGroup], weights: float | Sequence[float], size: Callable[[Tensor], Tensor]
) -> RegFn:
    params = group_params(as_groups(groups, "groups"))
    one = isinstance(weights, int | float)
    factors = numbers("weights", weights) * (len(params) if one else 1)
    if len(factors) != len(params):
        raise ValueError(
            f"`weights` must be one number, or one per layer group: there are {len(params)} group(s) and {len(factors)} "
            "numbers. `learn.get_layer_groups()` gives the groups."
        )
    if not all(math.isfinite(factor) and factor >= 0 for factor in factors):
        raise ValueError(f"`weights` must not be negative; got {factors}.")

    def reg_fn(pred: Any, extra: tuple[Any, ...], loss: Tensor) -> Tensor:
        for factor, group in zip(factors, params, strict=True):
            trained = [size(p) for p in group if p.requires_grad]
            if factor and trained:
                loss = loss + factor * torch.stack(trained).sum()
        return loss

    return reg_fn
