"""Users and items without torch: their ids become the rows of the embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, user_stacklevel

__all__ = ["RatingPreparation"]


class RatingPreparation:
    """From ids to codes; 0, the mean of all, for those without a rating in training.

    Parameters
    ----------
    prep : mapping
        `users` and `items` (ids in the order of their codes, from 1), `users_untrained` and `items_untrained` (codes without a
        rating in training) and `names` (the columns of both in the training frame), as `RatingPrep.portable` writes them.
    """

    def __init__(self, prep: Mapping[str, Any]) -> None:
        self.names: tuple[Any, Any] = tuple(prep["names"])
        self.codes = {
            what: {value: code for code, value in enumerate(prep[f"{what}s"], start=1)} for what in ("user", "item")
        }
        self.untrained = {what: set(prep[f"{what}s_untrained"]) for what in ("user", "item")}

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return `users` and `items`, each of shape `(B,)`.

        Parameters
        ----------
        items : list of (user, item), list of dict, dict of lists, or frame
            Columns are called as those of the training frame, or `user` and `item`. Unknown ids count as the mean of all, and
            a warning says so.
        """
        users, chosen = self._columns(items)
        if not len(users):
            raise DataError("there are no users and items to predict.")
        return {"users": self._encoded("user", users), "items": self._encoded("item", chosen)}

    def instance(self, value: Any) -> tuple[Any, Any]:
        """Return user and item of a JSON object."""
        if isinstance(value, Mapping):
            for names in (self.names, ("user", "item")):
                if all(name in value for name in names):
                    return value[names[0]], value[names[1]]
        raise DataError('an instance must be {"user": id, "item": id}.')

    def from_text(self, row: Mapping[str, str]) -> tuple[Any, Any]:
        """Return user and item of the cells of a CSV file: as numbers where the ids of training are numbers."""
        user, item = self.instance(row)
        return self._id("user", user), self._id("item", item)

    def _id(self, what: str, cell: str) -> Any:
        codes = self.codes[what]
        if cell in codes:
            return cell
        with suppress(ValueError):
            number = float(cell) if "." in cell else int(cell)
            if number in codes:
                return number
        return cell

    def _columns(self, items: Any) -> tuple[Any, Any]:
        if hasattr(items, "columns") and hasattr(items, "iloc"):
            items = {name: items[name].tolist() for name in items.columns}
        if isinstance(items, Mapping):
            for names in (self.names, ("user", "item")):
                if all(name in items for name in names):
                    users, chosen = items[names[0]], items[names[1]]
                    if isinstance(users, list | tuple | np.ndarray):
                        if len(users) != len(chosen):
                            raise DataError(f"there are {len(users)} users and {len(chosen)} items.")
                        return users, chosen
                    return [users], [chosen]
            wanted = " and ".join(map(repr, self.names))
            raise DataError(
                f"users and items must be in the columns {wanted}, or 'user' and 'item'; there are: {', '.join(map(str, items))}."
            )
        if not isinstance(items, Sequence) or isinstance(items, str | bytes):
            raise DataError(f"users and items must be a list of pairs or of dicts; got {type(items).__name__}.")
        pairs = []
        for row, item in enumerate(items):
            if isinstance(item, Mapping):
                pairs.append(self.instance(item))
            elif isinstance(item, tuple | list) and len(item) == 2:
                pairs.append((item[0], item[1]))
            else:
                raise DataError(f"row {row} is {item!r:.60}, no pair (user, item).")
        return [user for user, _ in pairs], [item for _, item in pairs]

    def _encoded(self, what: str, ids: Sequence[Any]) -> NDArray[np.int64]:
        code_of, untrained = self.codes[what], self.untrained[what]
        codes, unknown, unrated = [], [], []
        for row, value in enumerate(ids):
            value = value.item() if isinstance(value, np.generic) else value
            try:
                code = code_of.get(value, 0)
            except TypeError as exc:
                raise DataError(f"{what} ids must be numbers or text; got {value!r:.60} in row {row}.") from exc
            if not code:
                unknown.append(value)
            elif code in untrained:
                unrated.append(value)
                code = 0
            codes.append(code)
        for found, are in ((unknown, "unknown"), (unrated, "without a rating in the training set")):
            if found:
                distinct = list(dict.fromkeys(map(repr, found)))
                more = ", ..." if len(distinct) > 5 else ""
                warnings.warn(
                    f"{len(distinct)} {what}(s) {are}, {', '.join(distinct[:5])}{more}: the mean embedding is used.",
                    stacklevel=user_stacklevel(),
                )
        return np.array(codes, np.int64)
