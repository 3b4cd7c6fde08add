"""An exported `ConvLearner`, opened; see `learnkit.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from learnkit.core.errors import DataError
from learnkit.data.loaders import ItemLoader
from learnkit.data.targets import Target
from learnkit.vision.data import ImageClassifierData
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.learner import ConvLearner
from learnkit.vision.models import body_and_head_groups
from learnkit.vision.precompute import BodyAndHead
from learnkit.vision.recipe import make_model, tfm_from_data

__all__ = ["make_learner", "make_model"]


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> ConvLearner:
    """Make a learner without pictures: to predict, and to train on with `set_data`."""
    saved = recipe["data"]
    if target is None:
        raise DataError("it is not known what is predicted; pass `target=`.")
    if recipe["groups"] == "body and head":
        if not isinstance(model, BodyAndHead):
            body, head = model.children()
            model = BodyAndHead(body, head)
        options = {**options, "splitter": body_and_head_groups}
    trn, val = (_empty(tfm, int(saved["bs"])) for tfm in saved["tfms"])
    learn = ConvLearner(ImageClassifierData(folder, trn, val, target=target), model, **options)
    learn.recipe = recipe["model"]
    return learn


def _empty(tfm: dict[str, Any] | None, bs: int) -> Any:
    return [] if tfm is None else ItemLoader(ImageDataset([], None, tfm_from_data(tfm)), bs, num_workers=0)
