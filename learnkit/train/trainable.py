"""Does this fit train anything? Asked before the first batch: what an optimizer holds, against what there is to train."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.core.errors import TrainingError
from learnkit.core.listing import some

__all__ = ["check_trains", "owned_parameters", "parameters"]


def check_trains(model: nn.Module, opt: Optimizer, others: Iterable[Any] = ()) -> str | None:
    """Raise unless a step of the optimizer can change the model, or the loss.

    Parameters
    ----------
    model : nn.Module
    opt : torch.optim.Optimizer
    others : iterable
        The loss and the callbacks: those that are modules, or keep some, may have parameters in the optimizer too.

    Returns
    -------
    str or None
        What may be meant but usually is not: parameters left in the optimizer that nothing computes with any more.

    Raises
    ------
    TypeError
        If `opt` is no optimizer.
    TrainingError
        If nothing requires gradients, or the optimizer holds the parameters of another model.
    """
    if not isinstance(opt, Optimizer):
        hint = " Pass its `.opt`." if isinstance(getattr(opt, "opt", None), Optimizer) else ""
        raise TypeError(f"`opt` must be a torch optimizer over the model's parameters; got {type(opt).__name__}.{hint}")
    held = list(parameters(opt))
    own = {id(p): p for p in model.parameters()}
    known = {**own, **{id(p): p for other in others for p in owned_parameters(other)}}
    name = type(model).__name__
    if not any(id(p) in known for p in held):
        raise TrainingError(
            f"the optimizer holds {len(held)} parameter(s), and none is one of {name}'s {len(own)}: it would train another "
            "model, and this one not at all. Make it over the model that is trained, `opt = optim.AdamW(model.parameters())`, "
            "after the last layer was put in and the model copied."
        )
    if not any(p.requires_grad for p in held if id(p) in known):
        frozen = (
            "every parameter of the model" if not any(p.requires_grad for p in own.values()) else "all that it holds"
        )
        raise TrainingError(
            f"nothing is trainable: {frozen} is frozen (`requires_grad` is False), so a step of the optimizer changes nothing. "
            "Unfreeze layers (`p.requires_grad_(True)`), or make the optimizer over those that are trained."
        )
    strange = [p for p in held if id(p) not in known]
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in {id(x) for x in held}]
    if not (strange and left_out):
        return None
    return (
        f"{len(strange)} parameter(s) in the optimizer are not the model's, and {len(left_out)} of the model's are not in the "
        f"optimizer and will not be trained: {some(left_out, 3)}. If a layer was replaced, make the optimizer after that."
    )


def parameters(opt: Optimizer) -> Iterable[Any]:
    """Return the parameters of all groups."""
    return (p for group in opt.param_groups for p in group["params"])


def owned_parameters(owner: Any) -> Iterable[Tensor]:
    """Return the parameters of a module, or of the modules and tensors that an object keeps as attributes."""
    owner = getattr(owner, "__self__", owner)  # a loss may be a method
    if isinstance(owner, nn.Module):
        yield from owner.parameters()
        return
    for value in vars(owner).values() if hasattr(owner, "__dict__") else ():
        for part in (
            value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
        ):
            if isinstance(part, nn.Module):
                yield from part.parameters()
            elif isinstance(part, Tensor) and part.requires_grad:
                yield part
