"""An exported `TabularLearner`, opened; see `learnkit.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from learnkit.data.targets import Target
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.data import ColumnarModelData
from learnkit.tabular.learner import TabularLearner
from learnkit.tabular.mapper import Mapper
from learnkit.tabular.recipe import make_model
from learnkit.train.optim import adamw

__all__ = ["make_learner", "make_model"]


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> TabularLearner:
    """Make a learner without rows: to predict raw rows, and to train on with `set_data`."""
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
