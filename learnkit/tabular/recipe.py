"""A `TabularLearner` as data: how its table was prepared, and the arguments of its model, described and made again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from learnkit.tabular.architecture import build_model
from learnkit.tabular.bunch import TableBunch
from learnkit.tabular.coverage import Coverage

__all__ = ["data_to_recipe", "make_model", "preparation"]


def preparation(data: TableBunch) -> dict[str, Any]:
    """Describe the columns and how they were made, by which weights are known to fit them.

    Which rows were for training is no part of it, nor what only guards against mistakes: neither changes what a code or
    a number means.
    """
    mapper = None if data.mapper is None else data.mapper.to_dict()
    for column in () if mapper is None else mapper["columns"]:
        column.pop("boolean", None)
    return {"mapper": mapper, "cat_sz": [[name, size] for name, size in data.cat_sz], "cont_flds": data.cont_flds}


def data_to_recipe(data: TableBunch, coverage: Coverage) -> dict[str, Any]:
    """Describe the columns, how they were made, and what the training rows lacked."""
    mapper = None if data.mapper is None else data.mapper.to_dict()
    return preparation(data) | {"mapper": mapper, "coverage": coverage.to_data()}


def make_model(recipe: dict[str, Any]) -> nn.Module | None:
    """Make the model, untrained; `None` for one of the user's own."""
    config = recipe["model"]
    if config is None:
        return None
    return build_model(config, torch.zeros(config["n_cont"], config["n_edges"]) if "n_edges" in config else None)
