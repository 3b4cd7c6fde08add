"""`EmbeddingSpec`: a model of ratings, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from learnkit.collab.models import MODELS, EmbeddingModel
from learnkit.core.errors import check_choice
from learnkit.store.spec import ModelSpec

__all__ = ["EmbeddingSpec"]


@dataclass(frozen=True)
class EmbeddingSpec(ModelSpec):
    """A model of learnkit's for ratings.

    Attributes
    ----------
    kind : str
        The name of its class.
    arguments : dict
        Of its class.
    """

    kind: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, tuple(MODELS))

    @classmethod
    def of(cls, model: nn.Module) -> EmbeddingSpec | None:
        """Describe a model of ours; `None` for one of the user's own."""
        if not isinstance(model, EmbeddingModel) or MODELS.get(type(model).__name__) is not type(model):
            return None
        return cls(type(model).__name__, model.config())

    def build(self) -> nn.Module:
        """Make the model, untrained."""
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.arguments.items()
        }
        model: nn.Module = MODELS[self.kind](**arguments)
        return model
