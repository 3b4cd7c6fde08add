"""`ModelSpec`: a model as data, so that it can be made again where only a file is at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Self

from torch import nn

__all__ = ["ModelSpec"]


class ModelSpec(ABC):
    """What a model is made of: numbers and texts, which are saved with its weights.

    Subclasses are frozen dataclasses; a learner takes one in place of a model, and `load_learner` makes the model again.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from torch import nn
    >>> from learnkit import ModelSpec
    >>> @dataclass(frozen=True)
    ... class TwoLayers(ModelSpec):
    ...     width: int
    ...     def build(self):
    ...         return nn.Sequential(nn.Linear(4, self.width), nn.ReLU(), nn.Linear(self.width, 2))
    >>> TwoLayers.from_data(TwoLayers(16).to_data()).build()[0]
    Linear(in_features=4, out_features=16, bias=True)
    """

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the model, untrained."""

    def to_data(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self) if is_dataclass(self) else dict(vars(self))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again of what `to_data` returned."""
        known = {field.name for field in fields(cls)} if is_dataclass(cls) else set(data)
        if strange := set(data) - known:
            raise ValueError(f"{cls.__name__} has no {', '.join(sorted(strange))}")
        return cls(**data)
