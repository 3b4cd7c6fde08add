"""Layer groups, and which of them are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from learnkit.core.layers import batch_norms, set_trainable
from learnkit.train.optim import LayerGroup, as_groups, group_names, group_params

__all__ = ["is_trained", "keep_statistics", "last_with_parameters", "split_layers", "train_from"]


def split_layers(model: nn.Module, splitter: Callable[[nn.Module], Sequence[LayerGroup]]) -> Sequence[LayerGroup]:
    """Return the layer groups, first to last; raise a ValueError if a parameter belongs to none."""
    groups = as_groups(splitter(model), "splitter(model)")
    grouped = {id(p) for group in groups for module in group for p in module.parameters()}
    missing = [name for name, p in model.named_parameters() if id(p) not in grouped]
    if missing:
        raise ValueError(
            f"the splitter leaves out {len(missing)} parameter(s): {', '.join(missing[:5])}. Every one must be in "
            "a layer group, or it would never be trained."
        )
    return groups


def train_from(groups: Sequence[LayerGroup], n: int) -> None:
    """Train the groups from `n` on (negative counts from the end), freeze those before."""
    if not isinstance(n, int):
        raise TypeError(f"`n` must be a whole number, the first layer group to train; got {n!r}.")
    if not -len(groups) <= n < len(groups):
        listing = "".join(f"\n  {i}: {name}" for i, name in enumerate(group_names(groups)))
        raise ValueError(
            f"`n` must be in {-len(groups)}..{len(groups) - 1} for {len(groups)} groups; got {n}.{listing}"
        )
    first = n % len(groups)
    for i in reversed(range(len(groups))):  # what two groups share is the first one's, as in `group_params`
        for module in groups[i]:
            set_trainable(module, i >= first)


def last_with_parameters(groups: Sequence[LayerGroup]) -> int:
    """Return the number of the last group that has something to train."""
    return max(i for i, params in enumerate(group_params(groups)) if params)


def is_trained(model: nn.Module, layer: nn.Module) -> bool:
    """Whether a layer of `model` is trained: any of its parameters, or, if it has none, whether it was left unfrozen."""
    if not any(layer is module for module in model.modules()):
        what = type(layer).__name__ if isinstance(layer, nn.Module) else repr(layer)
        raise ValueError(f"`layer` must be a module of `learn.model`, such as `learn.model[0]`; got {what}.")
    params = list(layer.parameters())
    return any(p.requires_grad for p in params) if params else getattr(layer, "trainable", True) is not False


def keep_statistics(groups: Sequence[LayerGroup], keep: bool) -> None:
    """Keep the statistics of pretrained batch norms as they are: of all groups but the last, of a single group all."""
    for group in groups[:-1] if len(groups) > 1 else groups:
        for norm in batch_norms(list(group)):
            norm.keep_stats = keep
