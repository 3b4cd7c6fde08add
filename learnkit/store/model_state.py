"""Everything a model is made of, as tensors by name and other data, and back.

More than its `state_dict`: what modules keep beside it (a hidden state), and which parameters and batch norms are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.core.errors import CheckpointError
from learnkit.core.layers import batch_norms, note_trainable
from learnkit.core.preserve import module_tensors
from learnkit.store.weights import check_complete, check_same_layers

__all__ = ["load_model_state", "model_state"]


def model_state(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return everything a model is made of, as tensors by name and other data.

    Parameters, buffers, tensors that modules keep as plain attributes (the hidden state of a recurrent network), what
    modules give with `get_extra_state`, and which parameters and batch norms are frozen.
    """
    check_complete(model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    modules = list(model.named_modules())
    with_extra = [(name, m) for name, m in modules if type(m).get_extra_state is not nn.Module.get_extra_state]
    norms = {id(norm) for norm in batch_norms(model)}
    return tensors, {
        "attributes": {name: own for name, module in modules if (own := module_tensors(module))},
        "extra": {name: module.get_extra_state() for name, module in with_extra},
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
        "norms": {
            name: {flag: bool(getattr(m, flag)) for flag in ("frozen", "keep_stats") if hasattr(m, flag)}
            for name, m in modules
            if id(m) in norms
        },
    }


@torch.no_grad()
def load_model_state(model: nn.Module, tensors: Mapping[str, Tensor], state: Mapping[str, Any], source: str) -> None:
    """Give a model back what `model_state` returned; nothing changes unless all of it fits.

    Raises
    ------
    CheckpointError
        If it belongs to another architecture; the layers that differ are named.
    """
    modules = dict(model.named_modules())
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    sized = {name: x for name, x in tensors.items() if _resizes(modules, name, x, own.get(name))}
    check_same_layers({**own, **sized}, tensors, source)
    strange = [name for part in ("attributes", "extra", "norms") for name in state[part] if name not in modules]
    if strange:
        raise CheckpointError(f"{source} was saved from another architecture: there is no module {strange[0]!r} here.")
    device = next(iter(own.values())).device if own else torch.device("cpu")
    for name, value in tensors.items():
        if name in sized:
            _buffers_of(modules, name)[name.rpartition(".")[2]] = value.to(device)
        else:
            if is_lazy(own[name]):
                own[name].materialize(value.shape)  # type: ignore[attr-defined]
            own[name].copy_(value)
    for name, p in model.named_parameters():
        p.requires_grad_(name not in set(state["frozen"]))
    for module in modules.values():
        if hasattr(module, "trainable") and (params := list(module.parameters())):
            note_trainable(module, any(p.requires_grad for p in params))
    for name, flags in state["norms"].items():
        for flag in ("frozen", "keep_stats"):
            if flag in flags:
                setattr(modules[name], flag, bool(flags[flag]))
    for name, attributes in state["attributes"].items():
        present = module_tensors(modules[name])
        for attribute, value in attributes.items():
            if attribute in present or not hasattr(modules[name], attribute):
                setattr(modules[name], attribute, _moved(value, device))
    for name, extra in state["extra"].items():
        modules[name].set_extra_state(extra)


def _buffers_of(modules: Mapping[str, nn.Module], name: str) -> dict[str, Any]:
    module = modules.get(name.rpartition(".")[0])
    return {} if module is None else module._buffers


def _resizes(modules: Mapping[str, nn.Module], name: str, value: Tensor, own: Tensor | None) -> bool:
    """Whether this is a buffer that had no value, or another shape, when the model was made (a hidden state)."""
    module, leaf = modules.get(name.rpartition(".")[0]), name.rpartition(".")[2]
    if module is None or type(module).__module__.startswith("torch.nn.") or leaf not in module._buffers:
        return False
    return own is None or own.shape != value.shape


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(_moved(x, device) for x in value) if isinstance(value, tuple | list) else value
