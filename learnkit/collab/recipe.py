"""A `CollabLearner` as data: ids, titles, what each user has seen, and the arguments of its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.ids import encode_ids
from learnkit.collab.models import MODELS, EmbeddingModel
from learnkit.collab.ranking import Preference

__all__ = ["data_to_recipe", "make_model", "model_to_recipe"]


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
