"""A `ConvLearner` as data: its transforms, and the architecture with its head, described and made again."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from learnkit.core.errors import CheckpointError, DataError
from learnkit.data.bunch import DataBunch
from learnkit.vision import augment as augments
from learnkit.vision.augment import Augment
from learnkit.vision.data import ImageClassifierData
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.models import conv_body, conv_head, n_channels, whole_model
from learnkit.vision.precompute import BodyAndHead
from learnkit.vision.transforms import ImageTransforms

__all__ = ["data_to_recipe", "make_model", "tfm_from_data"]


def data_to_recipe(data: DataBunch) -> dict[str, Any]:
    """Describe the transforms for training and for validation, and the batch size."""
    trn_ds = getattr(data.trn_dl, "dataset", None)
    pictures = isinstance(data, ImageClassifierData) and isinstance(trn_ds, ImageDataset)
    tfms = [_tfm_to_data(tfm) for tfm in (trn_ds.tfm, data.val_tfm)] if pictures else [None, None]  # type: ignore[attr-defined, union-attr]
    bs: Any = data.bs if isinstance(data, ImageClassifierData) else getattr(data.trn_dl, "batch_size", None)
    return {"tfms": tfms, "bs": int(bs or getattr(data.trn_dl, "bs", 64))}


def make_model(recipe: dict[str, Any]) -> nn.Module | None:
    """Make architecture and head, untrained; `None` for a model of the user's own."""
    saved = recipe["model"]
    if saved is None:
        return None
    if saved.get("head") is False:
        return whole_model(str(saved["arch"]), False)
    body, ps = conv_body(str(saved["arch"]), False), saved["ps"]
    if isinstance(ps, int | float):  # files of 0.1 hold one number, which was halved before all layers but the last
        n_hidden = 1 if saved["xtra_fc"] is None else len(saved["xtra_fc"])
        ps = [ps / 2] * n_hidden + [ps]
    return BodyAndHead(body, conv_head(n_channels(body), saved["c"], ps, saved["xtra_fc"]))


def _tfm_to_data(tfm: Any) -> dict[str, Any]:
    if type(tfm) is not ImageTransforms:
        return {"own": _name(tfm)}
    return {
        "sz": tfm.sz,
        "stats": None if tfm.stats is None else [tfm.stats.mean, tfm.stats.std],
        "crop": tfm.crop,
        "pad": tfm.pad,
        "max_value": tfm.max_value,
        "aug_tfms": [_augment_to_data(aug) for aug in tfm.aug_tfms],
    }


def tfm_from_data(saved: dict[str, Any]) -> Any:
    """Make a transform again; one of the user's own says, when it is needed, that it is not in the file."""
    if "own" in saved:
        return _Forgotten(str(saved["own"]))
    augments = [_augment_from_data(aug) for aug in saved["aug_tfms"]]
    return ImageTransforms(
        saved["sz"],
        saved["stats"],
        augments,
        crop=saved["crop"],
        pad=saved["pad"],
        max_value=saved.get("max_value"),  # files of 0.1 have none
    )


def _augments() -> dict[str, type[Augment]]:
    """Return the augmentations of this package by name."""
    kinds = {name: getattr(augments, name) for name in augments.__all__}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Augment)}


def _augment_to_data(augment: Any) -> dict[str, Any]:
    if _augments().get(type(augment).__name__) is not type(augment):
        return {"own": _name(augment)}
    arguments = {name: getattr(augment, name) for name in inspect.signature(type(augment)).parameters}
    return {"kind": type(augment).__name__, "arguments": arguments}


def _augment_from_data(saved: dict[str, Any]) -> Any:
    if "own" in saved:
        return _Forgotten(str(saved["own"]))
    known = _augments()
    if saved["kind"] not in known:
        raise CheckpointError(f"the file has the augmentation {saved['kind']!r}, which this learnkit does not know.")
    return known[saved["kind"]](**saved["arguments"])


class _Forgotten:
    """Stands for a transform that was a function or a class of the user's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, x: Any) -> Any:
        raise DataError(
            f"the transform {self.name} was your own and is not in the file: use it in data for `set_data`."
        )

    def __repr__(self) -> str:
        return f"(not in the file: {self.name})"


def _name(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", type(fn).__qualname__))
