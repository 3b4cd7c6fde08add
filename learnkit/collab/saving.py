"""What an exported `CollabLearner` is made of: ids, titles, what each user has seen, and the arguments of its model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.ids import Vocabulary, decode_ids, encode_ids
from learnkit.collab.interactions import Interactions
from learnkit.collab.models import MODELS, EmbeddingModel
from learnkit.collab.ranking import Preference
from learnkit.data.targets import Real, Target

if TYPE_CHECKING:
    from learnkit.collab.learner import CollabLearner

__all__ = ["data_to_recipe", "make_learner", "make_model", "model_to_recipe"]


def data_to_recipe(data: CollabFilterData) -> dict[str, Any]:
    """Describe users and items, and who has seen what, so that it is not recommended again."""
    seen = data.seen
    return {
        "users": encode_ids(data.users.ids, "user"),
        "items": encode_ids(data.items.ids, "item"),
        "titles": data.titles,
        "y_range": data.y_range,
        "mean": data.mean,
        "feedback": "implicit" if isinstance(data.target, Preference) else "explicit",
        "user_counts": data.user_counts,
        "item_counts": data.item_counts,
        "seen": None if seen is None else {"starts": seen.starts, "items": seen.items},
    }


def model_to_recipe(model: nn.Module) -> dict[str, Any] | None:
    """Describe a model of ours; `None` for one of the user's own."""
    if not isinstance(model, EmbeddingModel) or MODELS.get(type(model).__name__) is not type(model):
        return None
    return {"kind": type(model).__name__, "arguments": model.config()}


def make_model(recipe: dict[str, Any]) -> nn.Module | None:
    """Make the model, untrained; `None` for one of the user's own."""
    saved = recipe["model"]
    if saved is None:
        return None
    make: Callable[..., nn.Module] = MODELS[saved["kind"]]
    return make(**{key: tuple(x) if isinstance(x, list) else x for key, x in saved["arguments"].items()})


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> CollabLearner:
    """Make a learner without ratings: to answer, and to train on with `set_data`."""
    from learnkit.collab.learner import CollabLearner  # it needs this file to describe itself

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
