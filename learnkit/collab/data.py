"""Ratings from a table to a `CollabFilterData`: ids become codes, rows become batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.columns import as_ratings, as_times, compact, titles_of
from learnkit.collab.ids import Vocabulary
from learnkit.collab.interactions import Interactions, count_codes, sorted_pairs
from learnkit.collab.learner import CollabLearner, ModelLike, build_model
from learnkit.collab.loaders import RankingLoader, RatingLoader
from learnkit.collab.models import EmbeddingDotBias
from learnkit.collab.ranking import Preference
from learnkit.collab.reading import read_columns, with_ids
from learnkit.core.errors import DataError, check_choice
from learnkit.core.listing import check_list, numbers
from learnkit.core.old_names import old_arguments, old_attributes
from learnkit.core.settable import Settable
from learnkit.data.files import PathLike
from learnkit.data.frames import check_columns
from learnkit.data.split import split_by_order, split_rows
from learnkit.data.targets import Real
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import LRs, OptFn
from learnkit.train.options import LearnerOptions, with_options

if TYPE_CHECKING:
    import pandas as pd

    from learnkit.collab.columns import Titles

__all__ = ["CollabFilterDataset"]

STEP = 1 << 18  # rows handled at a time where a long column must not be copied as a whole


@old_attributes
class CollabFilterDataset(Settable):
    """Ratings (or other interactions) of users and items; make one with `from_csv` or `from_data_frame`.

    Parameters
    ----------
    path : path-like
        Where `models/` is kept.
    users, items : Vocabulary
        Ids and their codes.
    user_codes, item_codes : array of int, shape (n,)
        In the smallest type that holds them.
    ratings : array of float16 or float32, shape (n,), or None
        In half precision where that holds them exactly, as it does stars and half stars. `None` where only the pairs
        are known.
    times : array of shape (n,), optional
        When each was given.
    titles : sequence of str, optional
        One per item, in the order of the codes 1, 2, ...
    test_codes : pair of arrays, optional
        Users and items to predict.
    rows : array of int, optional
        Which rows of the frame are left, where duplicates were dropped.
    n_rows : int, optional
        Rows the frame had.
    names : pair, default ("user", "item")
        Columns of users and items in the frame.

    Attributes
    ----------
    y_range : pair of float or None
        Lowest and highest rating.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.collab import CollabFilterDataset
    >>> ratings = pd.DataFrame({"user": ["ann", "ann", "bob"], "film": ["Alien", "Brazil", "Alien"], "stars": [5, 3, 4]})
    >>> cf = CollabFilterDataset.from_data_frame(".", ratings, "user", "film", "stars")
    >>> cf
    CollabFilterDataset: 3 ratings of 2 items by 2 users, 3.0 to 5.0
    """

    def __init__(
        self,
        path: PathLike,
        users: Vocabulary,
        items: Vocabulary,
        user_codes: NDArray[Any],
        item_codes: NDArray[Any],
        ratings: NDArray[Any] | None,
        *,
        times: NDArray[Any] | None = None,
        titles: Sequence[str] | None = None,
        test_codes: tuple[NDArray[Any], NDArray[Any]] | None = None,
        rows: NDArray[Any] | None = None,
        n_rows: int | None = None,
        names: tuple[Any, Any] = ("user", "item"),
    ) -> None:
        self.path = Path(path)
        self.users, self.items = users, items
        self.user_codes, self.item_codes, self.ratings = user_codes, item_codes, ratings
        self.times, self.test_codes = times, test_codes
        self.titles = None if titles is None else check_list("titles", titles, "titles, one per item")
        self.y_range = None if ratings is None else (float(ratings.min()), float(ratings.max()))
        self.names = names
        self._rows = rows  # of the frame, where duplicates were dropped
        self._n_rows = len(user_codes) if n_rows is None else n_rows

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        csv: PathLike,
        user_name: str,
        item_name: str,
        rating_name: str | None,
        *,
        time_name: str | None = None,
        titles: Titles | None = None,
        test: PathLike | None = None,
        duplicates: str = "last",
        sep: str = ",",
        encoding: str = "utf-8",
    ) -> CollabFilterDataset:
        """Read ratings from a file; for the columns and the other options see `from_data_frame`.

        Ids stay as they are written: `007`, `07` and `7` are three users, and so are `NA` and `null`. Only where every id
        of a column is a whole number as Python writes it are they numbers; what `recommend` takes is of that type.

        Parameters
        ----------
        path : path-like
            Where `models/` is kept, and `csv` lies.
        csv : path-like
            File, relative to `path`.
        test : path-like, optional
            File of pairs to predict, relative to `path`.
        sep : str, default ","
            What separates the columns.
        encoding : str, default "utf-8"
            Of the files.

        Raises
        ------
        DataError
            If a file or column is missing, or a file is in another encoding; and as `from_data_frame`.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from learnkit.collab import CollabFilterDataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "ratings.csv").write_text("userId,movieId,rating\\n1,10,4.0\\n1,20,3.5\\n2,10,5.0\\n")
        ...     CollabFilterDataset.from_csv(folder, "ratings.csv", "userId", "movieId", "rating")
        CollabFilterDataset: 3 ratings of 2 items by 2 users, 3.5 to 5.0
        """
        root, ids = Path(path), [user_name, item_name]
        others = [name for name in (rating_name, time_name) if name is not None]
        ratings = read_columns(root / csv, ids, others, sep=sep, encoding=encoding)
        pairs = None if test is None else read_columns(root / test, ids, [], sep=sep, encoding=encoding)
        for name in ids:
            ratings[name] = with_ids(ratings[name])
            if pairs is not None:
                pairs[name] = with_ids(pairs[name], like=ratings[name])
        return cls.from_data_frame(
            path,
            ratings,
            user_name,
            item_name,
            rating_name,
            time_name=time_name,
            titles=titles,
            test=pairs,
            duplicates=duplicates,
        )

    @classmethod
    def from_data_frame(
        cls,
        path: PathLike,
        df: pd.DataFrame,
        user_name: str,
        item_name: str,
        rating_name: str | None,
        *,
        time_name: str | None = None,
        titles: Titles | None = None,
        test: pd.DataFrame | None = None,
        duplicates: str = "last",
    ) -> CollabFilterDataset:
        """Take ratings from a frame, which is not changed.

        Parameters
        ----------
        path : path-like
            Where `models/` is kept.
        df : pandas.DataFrame
            One row per rating.
        user_name, item_name : str
            Columns of the ids: numbers, text, UUIDs, anything hashable.
        rating_name : str or None
            Column of the ratings; `None` where only the pairs are known (clicks, purchases: implicit feedback).
        time_name : str, optional
            Column of dates or timestamps, for `split_by_time`.
        titles : mapping or pandas.Series, optional
            Item id -> title, shown instead of the id. Items without one, or with a missing one, show their id.
        test : pandas.DataFrame, optional
            Pairs to predict with `learn.predict(is_test=True)`; unknown ids are allowed there.
        duplicates : {"last", "mean", "keep", "error"}, default "last"
            What to do where a user has rated an item more than once: keep the last rating (in time, if `time_name`
            is given, else in the order of the rows) or the mean, and say so in a warning; keep all; or raise.

        Returns
        -------
        CollabFilterDataset

        Raises
        ------
        DataError
            If a column or an id is missing, or a rating is missing, infinite or no number; the row is named.
        """
        check_choice("duplicates", duplicates, ("last", "mean", "keep", "error"))
        names = [name for name in (user_name, item_name, rating_name, time_name) if name is not None]
        check_columns(df.columns, names, "the frame")
        if not len(df):
            raise DataError("the frame has no rows, so there is nothing to learn from.")
        users = Vocabulary.from_column(df[user_name], "user")
        items = Vocabulary.from_column(df[item_name], "item")
        user_codes, item_codes = users.encode(df[user_name]), items.encode(df[item_name])
        ratings = None if rating_name is None else as_ratings(df[rating_name])
        times = None if time_name is None else as_times(df[time_name])
        rows = None
        if duplicates != "keep":
            size = (users.size, items.size)
            repeated = _find_repeated(user_codes, item_codes, size, times)
            if repeated is not None:
                dropped, groups = repeated
                user, item = users.decode([user_codes[dropped[0]]])[0], items.decode([item_codes[dropped[0]]])[0]
                found = f"{len(dropped):,} row(s) repeat a pair of user and item, e.g. user {user!r}, item {item!r}"
                if duplicates == "error":
                    raise DataError(f'{found}. Drop them, or pass duplicates="last", "mean" or "keep".')
                warnings.warn(f'{found}; duplicates="{duplicates}" keeps one row for each pair.', stacklevel=2)
                if ratings is not None and duplicates == "mean":
                    for group in groups:
                        ratings[group[-1]] = ratings[group].mean()
                rows = np.delete(np.arange(len(df)), dropped)
                user_codes, item_codes = user_codes[rows], item_codes[rows]
                ratings = None if ratings is None else ratings[rows]
                times = None if times is None else times[rows]
        return cls(
            path,
            users,
            items,
            user_codes,
            item_codes,
            None if ratings is None else compact(ratings),
            times=times,
            titles=None if titles is None else titles_of(items, titles),
            test_codes=None if test is None else _encode_test(test, user_name, item_name, users, items),
            rows=rows,
            n_rows=len(df),
            names=(user_name, item_name),
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
    def user2idx(self) -> dict[Any, int]:
        """The row of each user in the model's tables, `{id: row}`; row 0 is the unknown one's."""
        return self.users.as_dict()

    @property
    def item2idx(self) -> dict[Any, int]:
        """The row of each item in the model's tables, `{id: row}`: `model.ib(T([cf.item2idx[50]]))` is its bias."""
        return self.items.as_dict()

    def __len__(self) -> int:
        return len(self.user_codes)

    def __repr__(self) -> str:
        n = f"{len(self.items):,} items by {len(self.users):,} users"
        if self.y_range is None:
            return f"CollabFilterDataset: {len(self):,} interactions of {n}"
        return f"CollabFilterDataset: {len(self):,} ratings of {n}, {self.y_range[0]} to {self.y_range[1]}"

    def split_by_time(self, val_pct: float = 0.2) -> NDArray[np.int64]:
        """Return the rows of the latest ratings, to validate on the future.

        Parameters
        ----------
        val_pct : float, default 0.2
            Share of the ratings.

        Returns
        -------
        array of int64
            For `get_learner(val_idxs=)`.

        Examples
        --------
        >>> import pandas as pd
        >>> from learnkit.collab import CollabFilterDataset
        >>> frame = pd.DataFrame({"u": [1, 1, 2, 2], "i": [1, 2, 1, 2], "r": [3, 4, 5, 1], "t": [30, 10, 40, 20]})
        >>> CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r", time_name="t").split_by_time(0.25)
        array([2])
        """
        if self.times is None:
            raise DataError("no times are known: pass `time_name=` when you make the dataset.")
        idxs = split_by_order(self.times, val_pct)
        return idxs if self._rows is None else self._rows[idxs]

    def get_data(
        self,
        val_idxs: ArrayLike | bool | None = None,
        bs: int = 256,
        *,
        feedback: str | None = None,
        negatives: int = 4,
        y_range: tuple[float, float] | None = None,
    ) -> CollabFilterData:
        """Make the data bunch that `get_learner` trains on; see there."""
        feedback = feedback or ("implicit" if self.ratings is None else "explicit")
        check_choice("feedback", feedback, ("explicit", "implicit"))
        if feedback == "explicit" and self.ratings is None:
            raise DataError(
                'there are no ratings: pass `rating_name` when you make the dataset, or feedback="implicit".'
            )
        held_out, val_rows = self._split(val_idxs)
        users, items = torch.from_numpy(self.user_codes), torch.from_numpy(self.item_codes)
        ratings = torch.zeros(1).expand(len(self)) if self.ratings is None else torch.from_numpy(self.ratings)
        y_range = _check_y_range(y_range, self.y_range)
        mean = None

        def interactions(rows: Tensor | NDArray[Any] | None) -> Interactions:
            pairs = (self.user_codes, self.item_codes)
            if rows is not None:
                chosen = np.asarray(rows)
                pairs = (self.user_codes[chosen], self.item_codes[chosen])
            return Interactions.from_pairs(*pairs, self.n_users, self.n_items)

        def find_seen() -> Interactions:
            return interactions(None if held_out is None else np.flatnonzero(~held_out.numpy()))

        trn_dl: RatingLoader
        val_dl: RatingLoader | None = None
        if feedback == "implicit":
            seen = find_seen()
            trn_dl = RankingLoader(users, items, seen, None, bs, shuffle=True, negatives=negatives, leave_out=held_out)
            if val_rows is not None:
                val_dl = RankingLoader(users, items, seen, val_rows, bs, negatives=negatives)
        else:
            trn_dl = RatingLoader(users, items, ratings, None, bs, shuffle=True, leave_out=held_out)
            mean = _mean(ratings, held_out)
            if val_rows is not None:
                val_dl = RatingLoader(users, items, ratings, val_rows, bs)
        test_dl = None
        if self.test_codes is not None:
            test_users, test_items = map(torch.from_numpy, self.test_codes)
            test_dl = RatingLoader(test_users, test_items, torch.zeros(len(test_users)), bs=bs)
        leave_out = None if held_out is None else held_out.numpy()
        data = CollabFilterData(
            self.path,
            trn_dl,
            val_dl,
            test_dl,
            target=Preference() if feedback == "implicit" else Real(),
            users=self.users,
            items=self.items,
            titles=self.titles,
            user_counts=count_codes(self.user_codes, self.n_users, leave_out),
            item_counts=count_codes(self.item_codes, self.n_items, leave_out),
            y_range=y_range if feedback == "explicit" else None,
            mean=mean,
            find_seen=find_seen,
            find_held_out=None if val_rows is None else lambda: interactions(val_rows),
            names=self.names,
        )
        for remark in data.untrained("test_dl"):
            warnings.warn(remark, stacklevel=2)
        return data

    @old_arguments
    @with_options
    def get_learner(
        self,
        n_factors: int = 50,
        val_idxs: ArrayLike | bool | None = None,
        bs: int = 256,
        opt_fn: OptFn | None = None,
        *,
        model: ModelLike = EmbeddingDotBias,
        feedback: str | None = None,
        negatives: int = 4,
        y_range: tuple[float, float] | None = None,
        sparse: bool = False,
        wds: LRs | None = None,
        metrics: Sequence[MetricLike] | None = None,
        **options: Unpack[LearnerOptions],
    ) -> CollabLearner:
        """Make a learner for these ratings.

        Parameters
        ----------
        n_factors : int, default 50
            Length of the vectors of users and items.
        val_idxs : array of int or False, optional
            Rows of the frame to validate on, `False` for none. By default a random fifth (`get_cv_idxs`), or the latest where
            times are known (`time_name`).
        bs : int, default 256
            Batch size. For millions of ratings take thousands; the same learning rate does.
        opt_fn : callable, optional
            `opt_fn(params, lr=...)`; AdamW with betas (0.9, 0.98) by default, `SparseAdam` with `sparse`.
        model : callable, nn.Module, default EmbeddingDotBias
            `EmbeddingDot`, `EmbeddingDotBias`, `EmbeddingNet` or anything called as
            `model(n_users, n_items, n_factors, y_range, mean=..., sparse=...)`; or a model that is made already and
            called as `model(users, items)`.
        feedback : {"explicit", "implicit"}, optional
            Learn the ratings (mean squared error), or only that a pair is there (pairwise ranking, Rendle et al.
            2009: an item taken should score above one drawn from the others). By default explicit where there are
            ratings.
        negatives : int, default 4
            Items drawn per pair, with implicit feedback.
        y_range : pair of float, optional
            Range of the predictions; from the lowest to the highest rating by default.
        sparse : bool, default False
            Sparse gradients: a step costs in proportion to the batch and not to the tables.
        wds : float, sequence or slice, optional
            Weight decay of a fit that names none. By default strong for the factors, weak for the biases
            (see `CollabLearner`).
        metrics, **options
            As for `Learner`.

        Returns
        -------
        CollabLearner

        Raises
        ------
        DataError
            If `val_idxs` do not fit, or ratings lie outside `y_range`.
        """
        data = self.get_data(val_idxs, bs, feedback=feedback, negatives=negatives, y_range=y_range)
        made = build_model(model, data, n_factors, sparse=sparse)
        return CollabLearner(data, made, opt_fn, metrics=metrics, wds=wds, **options)

    def _split(self, val_idxs: ArrayLike | bool | None) -> tuple[Tensor | None, Tensor | None]:
        """Return a mark for each row that is held out, and the rows of the validation set; `None` without one."""
        n = len(self)
        dtype = np.int32 if n < 2**31 else np.int64
        dropped = self._rows is not None and val_idxs is not None  # some rows of the frame, which `val_idxs` count
        before = None if self.times is None else "a random fifth"
        trains, rows = split_rows(val_idxs, self._n_rows if dropped else n, times=self.times, before=before)
        if dropped:
            position = np.full(self._n_rows, -1)
            position[self._rows] = np.arange(n)
            trains, rows = trains[self._rows], position[rows]
            rows = rows[rows >= 0]
        if not len(rows):
            return None, None
        if not trains.any():
            raise DataError("after dropping repeated pairs, `val_idxs` hold every row, so nothing is left to train on.")
        return torch.from_numpy(~trains), torch.from_numpy(rows.astype(dtype))


def _mean(ratings: Tensor, leave_out: Tensor | None) -> float:
    total, n = 0.0, 0
    for start in range(0, len(ratings), STEP):
        part = ratings[start : start + STEP]
        if leave_out is not None:
            part = part[~leave_out[start : start + STEP]]
        total += float(part.double().sum())
        n += len(part)
    return total / n


def _find_repeated(
    users: NDArray[Any], items: NDArray[Any], size: tuple[int, int], times: NDArray[Any] | None
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]] | None:
    """Return the rows to drop, all but the last of each repeated pair, and the rows of each such pair."""
    dropped: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.int64]] = []
    for keys, rows in sorted_pairs(users, items, *size):
        same = np.diff(keys) == 0
        if not same.any():
            continue
        repeated = np.zeros(len(keys), dtype=bool)
        repeated[:-1] |= same
        repeated[1:] |= same
        keys, rows = keys[repeated], rows[repeated]
        if times is not None:
            order = np.lexsort((rows, times[rows], keys))
            keys, rows = keys[order], rows[order]
        cuts = np.flatnonzero(np.diff(keys)) + 1
        groups += np.split(rows, cuts)
        last = np.append(cuts, len(keys)) - 1
        dropped.append(np.delete(rows, last))
    if not dropped:
        return None
    return np.sort(np.concatenate(dropped)), groups


def _encode_test(
    test: pd.DataFrame, user_name: str, item_name: str, users: Vocabulary, items: Vocabulary
) -> tuple[NDArray[Any], NDArray[Any]]:
    check_columns(test.columns, [user_name, item_name], "the test frame")
    if not len(test):
        raise DataError("the test frame has no rows.")
    codes = users.encode(test[user_name]), items.encode(test[item_name])
    for vocabulary, code in zip((users, items), codes, strict=True):
        if n := int((code == 0).sum()):
            warnings.warn(
                f"{n} of {len(test)} test rows have a {vocabulary.what} that is not in the ratings; they are predicted "
                "with the mean embedding.",
                stacklevel=3,
            )
    return codes


def _check_y_range(
    y_range: tuple[float, float] | None, found: tuple[float, float] | None
) -> tuple[float, float] | None:
    if y_range is None or found is None:
        return found
    bounds = numbers("y_range", y_range)
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ValueError(f"`y_range` must be (lowest, highest); got {y_range!r}.")
    low, high = bounds
    if found[0] < low or found[1] > high:
        raise DataError(
            f"the ratings go from {found[0]:g} to {found[1]:g}, outside `y_range` {low:g} to {high:g}, which a model "
            "could never predict. Widen it, or leave it out to take it from the data."
        )
    return low, high
