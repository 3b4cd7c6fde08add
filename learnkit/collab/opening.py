"""An exported `CollabLearner`, opened; see `learnkit.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.ids import Vocabulary, decode_ids
from learnkit.collab.interactions import Interactions
from learnkit.collab.learner import CollabLearner
from learnkit.collab.ranking import Preference
from learnkit.collab.recipe import make_model
from learnkit.data.targets import Real, Target

__all__ = ["make_learner", "make_model"]


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> CollabLearner:
    """Make a learner without ratings: to answer, and to train on with `set_data`."""
    saved = recipe["data"]
    users, items = Vocabulary(decode_ids(saved["users"]), "user"), Vocabulary(decode_ids(saved["items"]), "item")
    seen = None
    if saved["seen"] is not None:
        starts, taken = np.asarray(saved["seen"]["starts"]), np.asarray(saved["seen"]["items"])
        if len(starts) != users.size + 1 or starts[-1] != len(taken) or (np.diff(starts) < 0).any():
            raise ValueError("what the users have seen does not fit the users")
        if len(taken) and not 0 < taken.min() <= taken.max() < items.size:
            raise ValueError("what the users have seen does not fit the items")
        seen = Interactions(starts, taken, items.size)
    data = CollabFilterData(
        folder,
        [],
        target=target or (Preference() if saved["feedback"] == "implicit" else Real()),
        users=users,
        items=items,
        titles=saved["titles"],
        user_counts=saved["user_counts"],
        item_counts=saved["item_counts"],
        y_range=saved["y_range"],
        mean=saved["mean"],
        find_seen=None if seen is None else lambda: seen,
    )
    return CollabLearner(data, model, **options)
