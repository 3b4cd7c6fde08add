"""`CollabFilterData`: loaders of ratings, with the ids behind the codes and what each user has met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.collab.ids import Vocabulary
from learnkit.collab.interactions import Interactions
from learnkit.collab.loaders import RatingLoader
from learnkit.collab.models import EmbeddingModel
from learnkit.collab.prep import RatingPrep
from learnkit.collab.ranking import Preference
from learnkit.core.errors import DataError
from learnkit.core.layers import model_device
from learnkit.core.listing import check_list
from learnkit.core.preserve import evaluating
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.prep import Prep
from learnkit.data.targets import Real, Target

__all__ = ["CollabFilterData"]


class CollabFilterData(DataBunch):
    """Loaders of ratings, with the ids behind the codes; `CollabFilterDataset.get_data` makes one.

    Parameters
    ----------
    path : path-like
        Where `models/` is kept.
    trn_dl, val_dl, test_dl : RatingLoader or RankingLoader
        Batches `(users, items, y)`.
    target : Target
        What is predicted.
    users, items : Vocabulary
        Ids and their codes.
    titles : sequence of str or None
        One per item, in the order of the codes 1, 2, ...
    user_counts, item_counts : array of int64
        Training ratings of each code.
    y_range : pair of float or None
        Lowest and highest rating.
    mean : float or None
        Mean training rating.
    find_seen, find_held_out : callable or None
        Find what each user took in training, and in validation, when it is first asked for.
    names : pair, default ("user", "item")
        Columns of users and items in the frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.collab import CollabFilterDataset
    >>> ratings = pd.DataFrame({"user": ["ann", "ann", "bob"], "film": ["Alien", "Brazil", "Alien"], "stars": [5, 3, 4]})
    >>> cf = CollabFilterDataset.from_data_frame(".", ratings, "user", "film", "stars")
    >>> data = cf.get_data([], bs=2)
    >>> data.mean, data.y_range, data.item_counts.tolist()
    (4.0, (3.0, 5.0), [0, 2, 1])
    """

    def __init__(
        self,
        path: PathLike,
        trn_dl: Any,
        val_dl: Any = None,
        test_dl: Any = None,
        *,
        target: Target,
        users: Vocabulary,
        items: Vocabulary,
        titles: Sequence[str] | None,
        user_counts: NDArray[Any],
        item_counts: NDArray[Any],
        y_range: tuple[float, float] | None,
        mean: float | None,
        find_seen: Callable[[], Interactions | None] | None,
        find_held_out: Callable[[], Interactions] | None = None,
        names: tuple[Any, Any] = ("user", "item"),
    ) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)
        self.users, self.items = users, items
        self.titles = None if titles is None else check_list("titles", titles, "titles, one per item")
        self.user_counts, self.item_counts = user_counts, item_counts
        self.y_range, self.mean, self.names = y_range, mean, names
        self._find_seen, self._find_held_out = find_seen, find_held_out
        self._seen: Interactions | None = None
        self._held_out: Interactions | None = None

    def labels(self, xs: tuple[Any, ...], y: Any) -> list[Any]:
        """Return the ratings; where there are none, that the item was taken."""
        return ["taken"] * len(y) if isinstance(self.target, Preference) else super().labels(xs, y)

    def answers(self, xs: tuple[Any, ...], preds: NDArray[Any]) -> list[Any]:
        """Return the ratings that are predicted; where there are none, the scores, of which only the order says anything."""
        if not isinstance(self.target, Preference):
            return super().answers(xs, preds)
        return [f"{score:.3g}" for score in preds.reshape(len(preds), -1)[:, 0]]  # beside those drawn from the others

    @property
    def prep(self) -> RatingPrep:
        """How users and items become codes."""
        return RatingPrep(
            self.users,
            self.items,
            self.user_counts,
            self.item_counts,
            self.titles,
            self.y_range,
            self.mean,
            isinstance(self.target, Preference),
            self.names,
            lambda: self.seen,
        )

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no ratings, with its users and items."""
        if not isinstance(prep, RatingPrep):
            raise DataError("it is not known which users and items the model knows; pass `prep=`.")
        return cls(
            path,
            [],
            target=target or prep.target or Real(),
            users=prep.users,
            items=prep.items,
            titles=prep.titles,
            user_counts=prep.user_counts,
            item_counts=prep.item_counts,
            y_range=prep.y_range,
            mean=prep.mean,
            find_seen=prep.find_seen,
            names=prep.names,
        )

    @property
    def n_users(self) -> int:
        """Rows of the user table: one per user, and row 0 for the unknown one."""
        return self.users.size

    @property
    def n_items(self) -> int:
        """Rows of the item table: one per item, and row 0 for the unknown one."""
        return self.items.size

    @property
    def seen(self) -> Interactions | None:
        """Items of each user in the training set; found when first asked for."""
        if self._seen is None and self._find_seen is not None:
            self._seen = self._find_seen()
        return self._seen

    @property
    def held_out(self) -> Interactions | None:
        """Items of each user in the validation set, `None` without one."""
        if self._held_out is None and self._find_held_out is not None:
            self._held_out = self._find_held_out()
        return self._held_out

    def check(self, *, strict: bool = True) -> list[str]:
        """Look at the data as `DataBunch.check` does, and at rows whose user or item has no training rating."""
        return [*super().check(strict=strict), *self.untrained("val_dl"), *self.untrained("test_dl")]

    def untrained(self, name: str) -> list[str]:
        """Say how many rows of `val_dl` or `test_dl` have a user or item that is known, but has no training rating."""
        dl = getattr(self, name)
        if not isinstance(dl, RatingLoader):
            return []
        found = []
        for vocabulary, counts, codes in (
            (self.users, self.user_counts, dl.users),
            (self.items, self.item_counts, dl.items),
        ):
            chosen = (codes if dl.rows is None else codes[dl.rows.long()]).long().numpy()
            n = int(((chosen > 0) & (counts[chosen] == 0)).sum())
            if n:
                found.append(
                    f"`{name}`: {n:,} of {len(chosen):,} rows have {'an' if vocabulary.what == 'item' else 'a'} {vocabulary.what} without a training rating; they are "
                    "predicted with the mean embedding."
                )
        return found

    def scorer(self, model: nn.Module) -> Callable[[NDArray[np.int64]], Tensor]:
        """Return a function from user codes to the scores of every item, on the CPU."""
        device = model_device(model)

        @torch.no_grad()
        def score(users: NDArray[np.int64]) -> Tensor:
            codes = torch.from_numpy(users).to(device)
            with evaluating(model):
                if isinstance(model, EmbeddingModel):
                    return model.score_all(codes).cpu()
                every = torch.arange(self.n_items, device=device)
                return torch.stack([model(code.expand(self.n_items), every) for code in codes]).cpu()

        return score
