"""What the server needs of a model: the runtime's, or any other that has the same few names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from learnkit.serve.batching import Batcher

__all__ = ["Column", "Servable", "Served"]


class Servable(Protocol):
    """A model that answers for raw instances.

    Attributes
    ----------
    kind : str
        "pictures", "table", "ratings", "texts", or another, whose instances are passed on as they come.
    task : str
        "category", "multi", "value" or "order".
    classes : list or None
        Names in the order of the probabilities, or of several values.
    version, created : str
        Which model it is: part of its digest, and when it was written.
    """

    kind: str
    task: str
    classes: list[Any] | None
    version: str
    created: str

    def instance(self, value: Any) -> Any:
        """Return the item of a JSON value, or raise `DataError` that says what is wrong with it."""

    def answers(self, items: Any) -> list[dict[str, Any]]:
        """Return an answer for each item of a list."""


@dataclass(frozen=True)
class Column:
    """What an instance has: a field of the form on the page, an input of the Open Inference Protocol.

    Attributes
    ----------
    name : str
        As training had it.
    choices : tuple of str or None
        Of a category; `None` for a number.
    number : bool
        Whether it is a number.
    example : Any
        Something usual, to begin with; `None` where nothing is known.
    """

    name: str
    number: bool = False
    choices: tuple[str, ...] | None = None
    example: Any = None


FIXED = {
    "pictures": [Column("b64")],
    "texts": [Column("text")],
    "ratings": [Column("user"), Column("item")],
}


@dataclass(frozen=True)
class Served:
    """A model under its name, and the thread that runs it."""

    name: str
    model: Servable
    columns: tuple[Column, ...]
    batcher: Batcher

    def stamp(self) -> dict[str, str]:
        """Return which model answered."""
        return {"name": self.name, "version": self.model.version, "created": self.model.created}
