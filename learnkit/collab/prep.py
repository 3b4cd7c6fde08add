"""`RatingPrep`: users and items as codes, with what is known of each, as data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from learnkit.collab.ids import Vocabulary, decode_ids, encode_ids
from learnkit.collab.interactions import Interactions
from learnkit.collab.loaders import RatingLoader
from learnkit.collab.ranking import Preference
from learnkit.core.device import to_np
from learnkit.core.errors import DataError, user_stacklevel
from learnkit.core.listing import some
from learnkit.data.frames import Rows, as_frame
from learnkit.data.prep import Prep
from learnkit.data.targets import Target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RatingPrep"]

MEAN = "the mean embedding is used"


@dataclass(frozen=True)
class RatingPrep(Prep):
    """The ids behind the codes, and what training knew of users and items.

    Attributes
    ----------
    users, items : Vocabulary
    user_counts, item_counts : array of int64
        Training ratings of each code.
    titles : list of str or None
        One per item.
    y_range : pair of float or None
        Lowest and highest rating.
    mean : float or None
        Mean training rating.
    implicit : bool
        Whether scores only mean an order.
    names : pair
        Columns of users and items in the training frame.
    find_seen : callable or None
        Finds what each user took in training.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.collab import RatingPrep, Vocabulary
    >>> prep = RatingPrep(Vocabulary(["ann"], "user"), Vocabulary(["Alien", "Brazil"], "item"), np.ones(2), np.ones(3))
    >>> users, items, _ = next(iter(prep.loader([("ann", "Brazil")])))
    >>> users.tolist(), items.tolist()
    ([1], [2])
    """

    portable_kind: ClassVar[str] = "ratings"
    portable_axes: ClassVar[Mapping[str, Mapping[int, str]]] = {"users": {0: "batch"}, "items": {0: "batch"}}

    users: Vocabulary
    items: Vocabulary
    user_counts: NDArray[Any]
    item_counts: NDArray[Any]
    titles: list[str] | None = None
    y_range: tuple[float, float] | None = None
    mean: float | None = None
    implicit: bool = False
    names: tuple[Any, Any] = ("user", "item")
    find_seen: Callable[[], Interactions | None] | None = None

    @property
    def target(self) -> Target | None:  # type: ignore[override]
        """An order, of implicit feedback; else the target of the data says what is predicted."""
        return Preference() if self.implicit else None

    def loader(self, items: Rows | Iterable[tuple[Any, Any]], bs: int | None = None) -> RatingLoader:
        """Return batches of users and items, whose ratings are zeros.

        Parameters
        ----------
        items : DataFrame, dict, list of dict, or list of pairs
            A frame's columns are called as those of the training frame, or `user` and `item`; pairs are `(user, item)`.
            Unknown ids get the mean embedding, and a warning says so.
        bs : int, optional
            4096 by default.
        """
        users, chosen = self._columns(items)
        if not len(users):
            raise DataError("there are no users and items to predict.")
        user_codes, item_codes = self.codes(self.users, users, MEAN), self.codes(self.items, chosen, MEAN)
        codes = torch.from_numpy(user_codes), torch.from_numpy(item_codes)
        return RatingLoader(*codes, torch.zeros(len(users)), bs=bs or 4096)

    def _columns(self, rows: Any) -> tuple[Any, Any]:
        rows = rows if hasattr(rows, "columns") or isinstance(rows, Mapping) else list(rows)
        if isinstance(rows, list) and rows and all(isinstance(row, tuple | list) and len(row) == 2 for row in rows):
            return [user for user, _ in rows], [item for _, item in rows]
        frame = as_frame(rows)
        for names in (self.names, ("user", "item")):
            if all(name in frame.columns for name in names):
                return frame[names[0]], frame[names[1]]
        wanted = " and ".join(map(repr, self.names))
        raise DataError(
            f"users and items must be in the columns {wanted}, or 'user' and 'item'; the frame has: {', '.join(map(str, frame.columns))}."
        )

    def codes(self, vocabulary: Vocabulary, ids: Any, instead: str) -> NDArray[np.int64]:
        """Return the codes of ids, 0 where no rating was learnt from, and warn of these, saying what they get instead."""
        codes = vocabulary.encode(ids).astype(np.int64)
        if (codes == 0).any():
            unknown = vocabulary.unknown(list(ids))
            known = vocabulary.decode([1])[0]
            hint = ""
            if type(unknown[0]) is not type(known) and not isinstance(unknown[0], np.generic):
                hint = f" The known ids are like {known!r}, of type {type(known).__name__}."
            warnings.warn(
                f"{len(unknown)} unknown {vocabulary.what}(s), {some([*map(repr, unknown)])}: {instead}.{hint}",
                stacklevel=user_stacklevel(),
            )
        counts = self.user_counts if vocabulary is self.users else self.item_counts
        untrained = np.unique(codes[(codes > 0) & (counts[codes] == 0)])
        if len(untrained):
            warnings.warn(
                f"{len(untrained)} {vocabulary.what}(s) without a rating in the training set, "
                f"{some([*map(repr, vocabulary.decode(untrained))])}: {instead}.",
                stacklevel=user_stacklevel(),
            )
            codes = np.where(counts[codes] > 0, codes, 0)
        return codes

    def titles_of(self, codes: NDArray[Any]) -> list[str]:
        """Return the title of each item; its id, where there are no titles."""
        if self.titles is None:
            return [str(item) for item in self.items.decode(codes)]
        return [self.titles[code - 1] if code else "(unknown)" for code in codes]

    def in_words(self) -> str:
        """Return how many users and items there are."""
        return f"{len(self.users):,} users and {len(self.items):,} items"

    def as_raw(self, xs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return users and items one by one: of a ranking the item that was taken."""
        users, items = xs
        return users, items if items.ndim == 1 else items[:, 0]

    def portable(self) -> dict[str, Any]:
        """Return ids and names, and which ids training had no rating of.

        Raises
        ------
        DataError
            If ids are neither numbers nor text.
        """
        for vocabulary in (self.users, self.items):
            # A list of dates would be one of numbers: their nanoseconds.
            ids = list(vocabulary.ids) if vocabulary.ids.dtype.kind in "mM" else vocabulary.ids.tolist()
            odd = [value for value in ids if isinstance(value, bool) or not isinstance(value, str | int | float)]
            if odd:
                raise DataError(
                    f"{vocabulary.what} ids must be numbers or text to be known to other programs; {odd[0]!r} is {type(odd[0]).__name__}. "
                    "Make them text before training, df[column].map(str)."
                )
        return {
            "users": self.users.ids.tolist(),
            "items": self.items.ids.tolist(),
            "users_untrained": (1 + np.flatnonzero(self.user_counts[1:] == 0)).tolist(),
            "items_untrained": (1 + np.flatnonzero(self.item_counts[1:] == 0)).tolist(),
            "names": [str(name) for name in self.names],
        }

    def to_data(self) -> dict[str, Any]:
        """Return users and items, and who has seen what, so that it is not recommended again."""
        seen = None if self.find_seen is None else self.find_seen()
        return {
            "users": encode_ids(self.users.ids, "user"),
            "items": encode_ids(self.items.ids, "item"),
            "titles": self.titles,
            "y_range": self.y_range,
            "mean": self.mean,
            "feedback": "implicit" if self.implicit else "explicit",
            "user_counts": self.user_counts,
            "item_counts": self.item_counts,
            "names": encode_ids(self.names, "column"),
            "seen": None if seen is None else {"starts": seen.starts, "items": seen.items},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; files of earlier versions do not name the columns."""
        users, items = Vocabulary(decode_ids(data["users"]), "user"), Vocabulary(decode_ids(data["items"]), "item")
        seen = None if data["seen"] is None else _interactions(data["seen"], users.size, items.size)
        return cls(
            users,
            items,
            np.asarray(data["user_counts"]),
            np.asarray(data["item_counts"]),
            data["titles"],
            data["y_range"],
            data["mean"],
            data["feedback"] == "implicit",
            tuple(decode_ids(data.get("names", ("user", "item")))),
            None if seen is None else lambda: seen,
        )

    def identity(self) -> dict[str, Any]:
        """Return the ids in the order of their codes."""
        return {"users": encode_ids(self.users.ids, "user"), "items": encode_ids(self.items.ids, "item")}

    def show(self, xs: tuple[Any, ...], n: int, notes: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
        """Return the first users and items of a batch with what is noted of them."""
        import pandas as pd

        users, items = (to_np(x[:n]) for x in xs)
        items = items if items.ndim == 1 else items[:, 0]  # of a ranking the item that was taken
        frame: dict[Any, Any] = {self.names[0]: self.users.decode(users), self.names[1]: self.items.decode(items)}
        if self.titles is not None:
            frame["title"] = self.titles_of(items)
        return pd.DataFrame(frame | {name: list(values[:n]) for name, values in notes.items()})


def _interactions(saved: Mapping[str, Any], n_users: int, n_items: int) -> Interactions:
    starts, taken = np.asarray(saved["starts"]), np.asarray(saved["items"])
    if len(starts) != n_users + 1 or starts[-1] != len(taken) or (np.diff(starts) < 0).any():
        raise ValueError("what the users have seen does not fit the users")
    if len(taken) and not 0 < taken.min() <= taken.max() < n_items:
        raise ValueError("what the users have seen does not fit the items")
    return Interactions(starts, taken, n_items)
