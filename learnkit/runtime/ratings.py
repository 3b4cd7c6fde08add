"""Users and items without torch: their ids become the rows of the embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, user_stacklevel
from learnkit.runtime.columns import as_python, columns_of, some

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
        items : iterable of (user, item), list of dict, dict of lists, or frame
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

    def _columns(self, items: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        if hasattr(items, "iloc") or isinstance(items, Mapping):
            return self._of_both(columns_of(items))
        if not isinstance(items, Iterable) or isinstance(items, str | bytes):
            raise DataError(f"users and items must be a list of pairs or of dicts; got {type(items).__name__}.")
        rows = list(items)
        if rows and all(isinstance(row, Mapping) for row in rows):
            return self._of_both(columns_of(rows))
        for i, row in enumerate(rows):
            if not isinstance(row, tuple | list) or len(row) != 2:
                raise DataError(f"row {i} is {row!r:.60}, no pair (user, item).")
        return [user for user, _ in rows], [item for _, item in rows]

    def _of_both(self, columns: Mapping[Any, Sequence[Any]]) -> tuple[Sequence[Any], Sequence[Any]]:
        named = {str(name): values for name, values in columns.items()}  # the file knows names as text
        for user, item in (self.names, ("user", "item")):
            if user in named and item in named:
                return named[user], named[item]
        wanted = " and ".join(map(repr, self.names))
        raise DataError(
            f"users and items must be in the columns {wanted}, or 'user' and 'item'; there are: {some([*columns], 20)}."
        )

    def _encoded(self, what: str, ids: Sequence[Any]) -> NDArray[np.int64]:
        code_of, untrained = self.codes[what], self.untrained[what]
        codes, unknown, unrated = [], [], []
        for row, value in enumerate(ids):
            value = as_python(value)
            try:
                # True is 1 to Python, but no id.
                code = 0 if isinstance(value, bool) else code_of.get(value, 0)
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
                warnings.warn(
                    f"{len(distinct)} {what}(s) {are}, {some(distinct)}: the mean embedding is used.",
                    stacklevel=user_stacklevel(),
                )
        return np.array(codes, np.int64)
