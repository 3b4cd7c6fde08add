"""What an exported `TabularLearner` is made of: how its table was prepared, and the arguments of its model, as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from learnkit.data.targets import Target
from learnkit.tabular.architecture import build_model
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.data import ColumnarModelData
from learnkit.tabular.mapper import Mapper

if TYPE_CHECKING:
    from learnkit.tabular.learner import TabularLearner

__all__ = ["data_to_recipe", "make_learner", "make_model", "preparation"]


def preparation(data: ColumnarModelData) -> dict[str, Any]:
    """Describe the columns and how they were made, by which weights are known to fit them.

    Which rows were for training is no part of it, nor what only guards against mistakes: neither changes what a code or
    a number means.
    """
    mapper = None if data.mapper is None else data.mapper.to_dict()
    for column in () if mapper is None else mapper["columns"]:
        column.pop("boolean", None)
    return {"mapper": mapper, "cat_sz": [[name, size] for name, size in data.cat_sz], "cont_flds": data.cont_flds}


def data_to_recipe(data: ColumnarModelData, coverage: Coverage) -> dict[str, Any]:
    """Describe the columns, how they were made, and what the training rows lacked."""
    mapper = None if data.mapper is None else data.mapper.to_dict()
    return preparation(data) | {"mapper": mapper, "coverage": coverage.to_data()}


def make_model(recipe: dict[str, Any]) -> nn.Module | None:
    """Make the model, untrained; `None` for one of the user's own."""
    config = recipe["model"]
    if config is None:
        return None
    return build_model(config, torch.zeros(config["n_cont"], config["n_edges"]) if "n_edges" in config else None)


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> TabularLearner:
    """Make a learner without rows: to predict raw rows, and to train on with `set_data`."""
    from learnkit.tabular.learner import TabularLearner, adamw  # it needs this file to describe itself

    saved = recipe["data"]
    data = ColumnarModelData(
        folder,
        [],
        target=target,
        cat_sz=[(name, size) for name, size in saved["cat_sz"]],
        cont_flds=saved["cont_flds"],
        mapper=None if saved["mapper"] is None else Mapper.from_dict(saved["mapper"]),
        coverage=Coverage.from_data(saved.get("coverage")),
    )
    learn = TabularLearner(data, model, **{"opt_fn": adamw, **options})
    learn.config = recipe["model"]
    return learn
