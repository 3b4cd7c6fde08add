"""Architectures: find one by constructor, name or module, load its weights, cut off its classifier, add a head."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision import models as tv_models

from learnkit.core.errors import CheckpointError, LearnkitError, optional_import
from learnkit.core.hooks import output_shape
from learnkit.core.layers import AdaptiveConcatPool2d, Flatten, batch_norms, bn_drop_lin
from learnkit.core.listing import numbers
from learnkit.data.files import PathLike
from learnkit.store.weights import read_weights
from learnkit.train.optim import LayerGroup

__all__ = [
    "Arch",
    "Stats",
    "arch_name",
    "arch_stats",
    "body_and_head_groups",
    "conv_body",
    "conv_head",
    "head_drops",
    "head_widths",
    "imagenet_stats",
    "n_channels",
    "own_classes",
    "whole_model",
]

Arch = str | Callable[..., nn.Module] | nn.Module


@dataclass(frozen=True)
class Stats:
    """Mean and standard deviation of each colour channel, of pixels in 0..1.

    Parameters
    ----------
    mean, std : tuple of float
        One number per channel: red, green, blue.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, value: Any) -> Stats:
        """Make one from a pair (mean, std)."""
        if isinstance(value, Stats):
            return value
        mean, std = (tuple(float(v) for v in part) for part in value)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"`stats` must be three means and three positive deviations; got {value!r}.")
        return cls(mean, std)


_TRANSFORM_INPUT = ("googlenet", "inception_v3")
_PROBE = (1, 3, 128, 128)
_COUNTER = "num_batches_tracked"

imagenet_stats = Stats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What most torchvision models were trained with."""


def arch_stats(arch: Arch) -> Stats:
    """Return the normalisation an architecture was trained with; ImageNet's where it does not say."""
    name = _torchvision_name(arch)
    if name in _TRANSFORM_INPUT:  # these bring ImageNet's statistics to theirs inside, in a part that is cut off
        return Stats((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    if name is not None:
        preset = next(iter(tv_models.get_model_weights(name)), None)
        transform = preset.transforms() if preset is not None else None
        mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
        return Stats.of((mean, std)) if mean is not None and std is not None else imagenet_stats
    if isinstance(arch, str):
        config: Any = _timm(arch).get_pretrained_cfg(_timm_name(arch))
        return imagenet_stats if config is None else Stats.of((config.mean, config.std))
    config = getattr(arch, "pretrained_cfg", None)
    known = isinstance(config, Mapping) and "mean" in config
    return Stats.of((config["mean"], config["std"])) if known else imagenet_stats


def conv_body(arch: Arch, weights: PathLike | bool | None = None) -> nn.Module:
    """Return an architecture without its classifier: pictures in, feature maps `(B, C, h, w)` out.

    Parameters
    ----------
    arch : callable, str or nn.Module
        A torchvision constructor (`resnet34`) or its name, a timm name (`"timm/tf_efficientnet_lite0"`), or a
        model: a classifier whose children run in order up to a pooling layer, or a body.
    weights : path-like, bool or None, default None
        `None` loads the architecture's default ImageNet weights (a model given as such keeps its own), `False`
        starts from random ones, a path reads a `.pth` or `.safetensors` file.
    """
    model = whole_model(arch, weights)
    try:
        body = _cut(model)
        shape = output_shape(body, _PROBE)
    except Exception as exc:
        raise LearnkitError(f"{_describe(arch)} could not be cut before its classifier. {_CUT_HINT} ({exc})") from exc
    for norm in batch_norms(body):
        # Some architectures come with a momentum of 0.01, meant for weeks of training: while fine-tuning, their
        # running statistics would lag hundreds of batches behind the weights.
        if norm.momentum is not None:
            norm.momentum = max(norm.momentum, 0.1)
    if len(shape) != 4:
        raise LearnkitError(
            f"{_describe(arch)} gives features of shape {tuple(shape)}, not maps (B, C, h, w). {_CUT_HINT}"
        )
    return body


def n_channels(body: nn.Module) -> int:
    """Return the number of channels of a body's feature maps."""
    return output_shape(body, _PROBE)[1]


def conv_head(
    n_features: int, c: int, ps: float | Sequence[float] | None = None, xtra_fc: Sequence[int] | None = None
) -> nn.Sequential:
    """Return the course's head: max and average pooling side by side, then batch norm, dropout, linear, ReLU blocks.

    Parameters
    ----------
    n_features : int
        Channels of the feature maps.
    c : int
        Number of scores.
    ps : float, sequence of float or None
        Dropout before each linear layer: one number for all, or one for each; `None` is 0.25 and, before the last, 0.5.
    xtra_fc : sequence of int, optional
        Widths of the hidden layers; `[512]` by default, `[]` for none.
    """
    widths = head_widths(xtra_fc)
    drops = head_drops(ps, len(widths))
    sizes = [2 * n_features, *widths]
    layers: list[nn.Module] = [AdaptiveConcatPool2d(), Flatten()]
    for n_in, n_out, p in zip(sizes[:-1], sizes[1:], drops[:-1], strict=True):
        layers += bn_drop_lin(n_in, n_out, p=p, relu=True)
    layers += bn_drop_lin(sizes[-1], c, p=drops[-1])
    return nn.Sequential(*layers)


def head_widths(xtra_fc: Sequence[int] | None) -> list[int]:
    """Return the widths of a head's hidden layers; see `conv_head`."""
    return [512] if xtra_fc is None else [int(width) for width in numbers("xtra_fc", xtra_fc, "widths")]


def head_drops(ps: float | Sequence[float] | None, n_hidden: int) -> list[float]:
    """Return the dropout before each linear layer of a head with so many hidden layers; see `conv_head`."""
    if ps is None:
        return [0.25] * n_hidden + [0.5]
    if isinstance(ps, str | bytes):
        raise TypeError(f"`ps` must be a number or a list of them; got {ps!r}.")
    drops = numbers("ps", ps) * (1 if isinstance(ps, Iterable) else n_hidden + 1)
    if len(drops) != n_hidden + 1:
        raise ValueError(
            f"`ps` must be one number, or {n_hidden + 1} for {n_hidden} hidden layers and the last one; got {ps!r}."
        )
    if not all(0 <= p < 1 for p in drops):
        raise ValueError(f"`ps` must be dropout shares in [0, 1); got {ps!r}.")
    return drops


def whole_model(arch: Arch, weights: PathLike | bool | None = None) -> nn.Module:
    """Return an architecture with its own classifier; the arguments as for `conv_body`."""
    model = _make_model(arch, weights)
    if weights not in (None, False, True):
        _load_pretrained(model, weights)  # type: ignore[arg-type]
    return model


def own_classes(arch: Arch, model: nn.Module) -> list[str]:
    """Return the names of the classes that an architecture's own classifier knows, numbers where it does not say.

    Names that stand for two classes are told apart by the number of the class.
    """
    shape = output_shape(model, _PROBE)
    if len(shape) != 2:
        raise LearnkitError(f"{_describe(arch)} gives {tuple(shape)}, not scores (B, n_classes): it has no classifier.")
    name = _torchvision_name(arch)
    preset: Any = None if name is None else next(iter(tv_models.get_model_weights(name)), None)
    names = [] if preset is None else list(preset.meta.get("categories", []))
    if len(names) != shape[1]:
        return [str(i) for i in range(shape[1])]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def body_and_head_groups(model: nn.Module) -> list[LayerGroup]:
    """Split `nn.Sequential(body, head)` into early body, late body (halves, counted in layers), head."""
    body, head = model.children()
    blocks = _blocks(body)
    with_params = [i for i, block in enumerate(blocks) if next(block.parameters(), None) is not None]
    if len(with_params) < 2:
        return [[body], [head]]
    cut = with_params[(len(with_params) + 1) // 2]
    return [blocks[:cut], blocks[cut:], [head]]


def _blocks(body: nn.Module) -> list[nn.Module]:
    """Return the body's layers in order, stages opened up, as evenly sized as the architecture has them."""
    blocks = list(body.children()) or [body]
    while len(blocks) == 1 and next(blocks[0].children(), None) is not None:
        blocks = list(blocks[0].children())
    opened: list[nn.Module] = []
    for block in blocks:
        opened += list(block.children()) if isinstance(block, nn.Sequential | nn.ModuleList) else [block]
    own = {id(p) for p in body.parameters()}
    covered = {id(p) for block in opened for p in block.parameters()}
    return opened if own == covered else [body]


def arch_name(arch: Arch) -> str | None:
    """Return the name an architecture can be made by again, `None` for a module or a function of the user's."""
    name = _torchvision_name(arch)
    if name is None and isinstance(arch, str):
        name = f"timm/{_timm_name(arch)}"
    return name


def _torchvision_name(arch: Arch) -> str | None:
    if isinstance(arch, str):
        return arch if arch in _classifiers() else None
    if isinstance(arch, nn.Module):
        return None
    name = getattr(arch, "__name__", "")
    from_torchvision = getattr(arch, "__module__", "").startswith("torchvision.")
    return name if from_torchvision and name in _classifiers() else None


def _classifiers() -> list[str]:
    return tv_models.list_models(module=tv_models)


def _timm_name(arch: str) -> str:
    return arch.removeprefix("timm/")


def _timm(arch: str) -> Any:
    """Return the module timm, if it knows this architecture."""
    timm = optional_import("timm", extra="timm")
    if not timm.is_model(_timm_name(arch)):
        near = difflib.get_close_matches(_timm_name(arch), [*_classifiers(), *timm.list_models()], n=5)
        hint = f" Similar: {', '.join(near)}." if near else ""
        raise ValueError(f"there is no architecture {arch!r}, neither in torchvision nor in timm.{hint}")
    return timm


def _make_model(arch: Arch, weights: PathLike | bool | None) -> nn.Module:
    if isinstance(arch, nn.Module):
        return arch
    name = _torchvision_name(arch)
    pretrained = weights is None or weights is True
    if name is not None:
        options = {"aux_logits": False, "init_weights": False} if name in _TRANSFORM_INPUT else {}
        if not pretrained:
            return tv_models.get_model(name, weights=None, **options)
        preset: Any = getattr(tv_models.get_model_weights(name), "DEFAULT")  # noqa: B009 - torchvision does not type it
        try:
            return tv_models.get_model(name, weights=preset)
        except Exception as exc:
            raise _no_download(name, exc, preset.url) from exc
    if isinstance(arch, str):
        timm = _timm(arch)
        try:
            return timm.create_model(_timm_name(arch), pretrained=pretrained)
        except Exception as exc:
            if not pretrained:
                raise
            raise _no_download(arch, exc, timm.get_pretrained_cfg(_timm_name(arch)).hf_hub_id or "") from exc
    if callable(arch):
        model = arch()
        if isinstance(model, nn.Module):
            return model
    raise TypeError(f"`arch` must be a torchvision constructor, a name or an nn.Module; got {arch!r}.")


def _no_download(name: str, exc: Exception, source: str) -> LearnkitError:
    return LearnkitError(
        f"the pretrained weights of {name} could not be downloaded ({type(exc).__name__}: {str(exc)[:200]}). Fetch the "
        f"file where there is a network ({source}) and pass weights='path/to/file.pth', or start from random weights "
        "with weights=False."
    )


def _load_pretrained(model: nn.Module, path: PathLike) -> None:
    """Load a weights file into a whole classifier: by name, else by position where every shape agrees.

    The last linear layer may differ, as it does for other classes, and then keeps its own weights; batch norm's
    counters of batches, which older files lack, do not matter.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.endswith(_COUNTER)}
    state = {name: value for name, value in read_weights(path).items() if not name.endswith(_COUNTER)}
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
    optional = {f"{name}.{part}" for name in last for part in ("weight", "bias")}
    fits = {name for name, value in own.items() if name in state and state[name].shape == value.shape}
    if fits | optional >= own.keys():
        model.load_state_dict({name: state[name] for name in own if name in fits}, strict=False)
        return
    if len(state) == len(own) and all(a.shape == b.shape for a, b in zip(state.values(), own.values(), strict=True)):
        model.load_state_dict(dict(zip(own, state.values(), strict=True)), strict=False)
        return
    missing = [name for name in own if name not in state]
    differing = [
        f"{name}: {tuple(own[name].shape)} in the model, {tuple(state[name].shape)} in the file"
        for name in own
        if name in state and name not in fits
    ]
    raise CheckpointError(
        f"{path} does not fit {type(model).__name__}: {len(missing)} of {len(own)} layers are missing "
        f"({', '.join(missing[:5])}), {len(differing)} differ in shape ({'; '.join(differing[:5])}). The file holds "
        f"{len(state)} tensors, the model {len(own)}. Is it the file of this architecture?"
    )


def _cut(model: nn.Module) -> nn.Module:
    if callable(getattr(model, "forward_features", None)) and hasattr(model, "reset_classifier"):  # timm's interface
        model.reset_classifier(0, "")  # type: ignore[operator]
        return model
    # Auxiliary classifiers hang off the middle of the chain; they are no part of it.
    parts = [part for name, part in model.named_children() if not name.lower().startswith("aux")]
    for i, part in enumerate(parts):
        if i and _is_tail(part):
            return nn.Sequential(*parts[:i])
    return model  # nothing that looks like a classifier: it is a body already


def _is_tail(module: nn.Module) -> bool:
    """Whether a child belongs to the classifier: it pools to one place or is linear, or holds such a layer itself.

    Only direct children count: squeeze-and-excitation blocks deep inside a body pool as well.
    """
    own = [module, *(module.children() if isinstance(module, nn.Sequential) else ())]
    return any(isinstance(m, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d | nn.Linear) for m in own)


def _describe(arch: Arch) -> str:
    return arch if isinstance(arch, str) else getattr(arch, "__name__", type(arch).__name__)


_CUT_HINT = (
    "Choose a convolutional architecture, or pass a body of your own, an nn.Module that turns pictures (B, 3, H, W) "
    "into feature maps, with `ConvLearner.pretrained(body, data)`."
)
