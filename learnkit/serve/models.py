"""What the server needs of a model: the runtime's, or any other that has the same few names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from learnkit.serve.batching import Batcher

__all__ = ["Column", "Servable", "Served", "columns_of"]


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
    preparation
        What turns rows into numbers. Of a table it has `fields()`, `columns` and `other`, of ratings `codes`, as the runtime's.
    """

    kind: str
    task: str
    classes: list[Any] | None
    version: str
    created: str
    preparation: Any

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
    number : bool
        Whether it is a number.
    choices : tuple or None
        What there is to choose from, if it is known.
    example : Any
        Something usual, to begin with; `None` where nothing is known.
    """

    name: str
    number: bool = False
    choices: tuple[Any, ...] | None = None
    example: Any = None

    @property
    def datatype(self) -> str:
        """Its type in the Open Inference Protocol."""
        if self.number:
            return "FP64"
        types = {type(choice) for choice in self.choices or ()}
        return {frozenset({int}): "INT64", frozenset({float}): "FP64", frozenset({bool}): "BOOL"}.get(
            frozenset(types), "BYTES"
        )


def columns_of(model: Servable) -> tuple[Column, ...]:
    """Return what an instance of a model consists of; nothing for a kind that is the user's own."""
    if model.kind == "pictures":
        return (Column("b64"),)
    if model.kind == "texts":
        return (Column("text"),)
    if model.kind == "ratings":
        return tuple(Column(what, number=_are_numbers(model.preparation.codes[what])) for what in ("user", "item"))
    if model.kind == "table":
        usual = {column["name"]: column.get("fill") for column in model.preparation.columns}
        return tuple(_column(field, usual[field["name"]]) for field in model.preparation.fields())
    return ()


def _column(field: dict[str, Any], usual: Any) -> Column:
    if field["kind"] == "category":
        levels = tuple(field["levels"])
        return Column(field["name"], choices=levels, example=levels[0] if levels else None)
    if field["kind"] == "bool":
        return Column(field["name"], number=True, choices=(0, 1), example=None if usual is None else int(usual))
    return Column(field["name"], number=True, example=usual)


def _are_numbers(ids: Iterable[Any]) -> bool:
    return all(isinstance(one, int | float) for one in ids)


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
