"""Shared building blocks, and the few questions learnkit asks of any `nn.Module`.

Blocks: `Flatten`, `AdaptiveConcatPool2d`, `bn_drop_lin`. Questions: its children, its batch norms, which
of them keep their statistics while training, and where its parameters live.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.core.errors import TrainingError

__all__ = [
    "AdaptiveConcatPool2d",
    "Flatten",
    "batch_norms",
    "bn_drop_lin",
    "children",
    "forget_state",
    "init_linear",
    "is_incomplete",
    "model_device",
    "note_trainable",
    "set_train_mode",
    "set_trainable",
]


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Flatten(nn.Module):
    """Flatten everything but the batch dimension: `(B, ...)` becomes `(B, features)`.

    Examples
    --------
    >>> import torch
    >>> from learnkit import Flatten
    >>> Flatten()(torch.zeros(2, 3, 4)).shape
    torch.Size([2, 12])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as `(B, features)`."""
        return x.flatten(1)


class AdaptiveConcatPool2d(nn.Module):
    """Max pooling and average pooling to one size, concatenated: `(B, C, H, W)` becomes `(B, 2C, sz, sz)`.

    Parameters
    ----------
    sz : int, default 1
        Height and width of the result.

    Examples
    --------
    >>> import torch
    >>> from learnkit import AdaptiveConcatPool2d
    >>> AdaptiveConcatPool2d()(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 16, 1, 1])
    """

    def __init__(self, sz: int = 1) -> None:
        super().__init__()
        self.max = nn.AdaptiveMaxPool2d(sz)
        self.avg = nn.AdaptiveAvgPool2d(sz)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima followed by the averages along the channels."""
        if self.max.output_size == 1 and x.device.type == "cuda":
            # The pooling there adds up its gradients in any order, so that no two trainings would be the same.
            largest = x.flatten(2).max(2).values[..., None, None]
        else:
            largest = self.max(x)
        return torch.cat([largest, self.avg(x)], dim=1)


def bn_drop_lin(n_in: int, n_out: int, *, p: float = 0.0, relu: bool = False) -> list[nn.Module]:
    """Return batch norm, dropout (if `p`), linear and (if `relu`) ReLU, the block heads are made of."""
    layers: list[nn.Module] = [nn.BatchNorm1d(n_in)]
    if p > 0:
        layers.append(nn.Dropout(p))
    layers.append(init_linear(nn.Linear(n_in, n_out)))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return layers


def init_linear(layer: nn.Linear) -> nn.Linear:
    """Start a linear layer with Kaiming-normal weights and zero bias (He et al. 2015)."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def children(model: nn.Module) -> list[nn.Module]:
    """Return the direct children of a module as a list.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    list of nn.Module

    Examples
    --------
    >>> from torch import nn
    >>> from learnkit import children
    >>> children(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    [Linear(in_features=2, out_features=3, bias=True), ReLU()]
    """
    return list(model.children())


def batch_norms(modules: nn.Module | Sequence[nn.Module]) -> Iterator[Any]:
    """Yield every batch-norm layer inside `modules`."""
    for top in [modules] if isinstance(modules, nn.Module) else modules:
        for module in top.modules():
            if isinstance(module, BATCH_NORMS):
                yield module


def set_trainable(layer: nn.Module, trainable: bool) -> None:
    """Train a layer, or freeze it: its parameters keep still, and so do the statistics of its batch norms.

    Every module in it says so afterwards, as in the course: `layer.trainable`.

    Parameters
    ----------
    layer : nn.Module
    trainable : bool

    Examples
    --------
    >>> from torch import nn
    >>> from learnkit.course import set_trainable
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> set_trainable(model[0], False)
    >>> model[0].trainable, [p.requires_grad for p in model.parameters()]
    (False, [False, False, True, True])
    """
    for p in layer.parameters():
        p.requires_grad_(trainable)
    for module in layer.modules():
        note_trainable(module, trainable)
    for norm in batch_norms(layer):
        norm.frozen = not trainable


def note_trainable(module: nn.Module, trainable: bool) -> None:
    """Set `module.trainable`, unless the module has something of its own under that name."""
    own = type(getattr(module, "trainable", False)) is not bool or hasattr(type(module), "trainable")
    if not own:
        module.trainable = trainable  # type: ignore[assignment]


def set_train_mode(model: nn.Module) -> None:
    """Put `model` in training mode, except the batch norms whose statistics must not move.

    Those are the ones whose parameters are all frozen (`requires_grad=False`) and the ones marked with
    `keep_stats = True`, as `Learner.bn_freeze` does, or, without parameters, with `frozen = True`, as
    `Learner.freeze_to` does. A batch norm in `eval` mode uses its running mean and variance and leaves them alone.
    """
    model.train()
    for norm in batch_norms(model):
        own = list(norm.parameters())
        frozen = not any(p.requires_grad for p in own) if own else getattr(norm, "frozen", False)
        if frozen or getattr(norm, "keep_stats", False):
            norm.eval()


def forget_state(model: nn.Module) -> None:
    """Call `model.reset()`, if the model has one: what is carried from batch to batch ends with a pass over the data.

    A `reset` that wants arguments is another one, and is not called.

    Raises
    ------
    TrainingError
        If it changes the weights; they are put back.
    """
    reset = getattr(model, "reset", None)
    if not callable(reset) or not _takes_nothing(reset):
        return
    if model in _keep_weights:
        reset()
        return
    weights = [(p, p.detach().clone()) for p in model.parameters()]
    places = [(module, dict(module._parameters)) for module in model.modules()]
    reset()
    moved = [(p, value) for p, value in weights if not torch.equal(p, value) and not bool(value.isnan().any())]
    replaced = any(module._parameters.get(name) is not p for module, own in places for name, p in own.items())
    if not moved and not replaced:
        _keep_weights.add(model)
        return
    with torch.no_grad():
        for p, value in moved:
            p.copy_(value)
    for module, own in places:
        module._parameters.update(own)
    raise TrainingError(
        f"`{type(model).__name__}.reset()` changes the weights, and it is called before each pass over the data, as in the "
        "course, so that a model forgets what it carries from batch to batch: nothing would be learned. Give the method "
        "another name, such as `reset_parameters`. The weights are as they were."
    )


_keep_weights: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _takes_nothing(method: Any) -> bool:
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):
        return False
    return True


def model_device(model: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer (the CPU for a model that has neither)."""
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def is_incomplete(model: nn.Module) -> bool:
    """Whether a model has layers whose sizes are not known yet."""
    return any(is_lazy(x) for x in (*model.parameters(), *model.buffers()))
