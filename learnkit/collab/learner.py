"""`CollabLearner`: a learner for ratings, and the questions people ask of it.

What should this user see next, which items are alike, which are the best, what does the model see in them, and what
would this user think of that item. Every answer is in the user's own ids and titles.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.coldstart import ColdStart
from learnkit.collab.columns import check_titles, title_of
from learnkit.collab.ids import Vocabulary
from learnkit.collab.metrics import RankingMetrics, rank_held_out, top_items
from learnkit.collab.models import EmbeddingModel
from learnkit.collab.plots import scatter_titles
from learnkit.collab.prep import MEAN, RatingPrep
from learnkit.collab.ranking import Preference
from learnkit.collab.spec import EmbeddingSpec
from learnkit.core.components import principal_components
from learnkit.core.errors import DataError, check_positive
from learnkit.core.listing import some
from learnkit.core.plots import get_ax
from learnkit.data.bunch import DataBunch
from learnkit.train.events import Callback
from learnkit.train.learner import Learner
from learnkit.train.losses import Loss
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import LayerGroup, LayerOptimizer, LRs, OptFn, adamw
from learnkit.train.options import RunOptions, with_options

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


__all__ = ["CollabLearner", "ModelLike", "build_model"]

ModelLike = nn.Module | Callable[..., nn.Module]

EXPLICIT_WDS = (0.4, 0.01)
"""Default weight decay of factors and of the rest, to learn ratings; see `CollabLearner`."""
IMPLICIT_WDS = (0.3, 0.01)
"""The same, to learn a ranking."""


class CollabLearner(Learner):
    """A learner for ratings; make one with `CollabFilterDataset.get_learner`, or `load_learner` from an exported one.

    For the other options see `Learner`.

    The default recipe is `learn.fit_one_cycle(8, 6e-3)` with 50 factors, batches of 256, AdamW with betas (0.9, 0.98)
    and a decoupled weight decay of 0.4 for the factors and 0.01 for the biases. The factors of a user with few ratings
    must be held close to zero, while a bias is one well-determined number per row, so one decay for both is too
    strong for the one or too weak for the other. Measured on MovieLens 100k; `benchmarks/collab.py` prints it.

    Parameters
    ----------
    data : CollabFilterData
    model : nn.Module
        Called as `model(users, items)`.
    wds : float, sequence or slice, optional
        Weight decay of a fit that names none.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.collab import CollabFilterDataset
    >>> frame = pd.DataFrame({"user": list("aabbccdd"), "item": list("xyxyxzyz"), "rating": [5, 4, 5, 4, 5, 1, 4, 1]})
    >>> cf = CollabFilterDataset.from_data_frame(".", frame, "user", "item", "rating")
    >>> learn = cf.get_learner(4, val_idxs=False, bs=4)
    >>> with learn.no_progress():
    ...     results = learn.fit_one_cycle(40, 0.05)
    >>> learn.item_bias().item.tolist()
    ['x', 'y', 'z']
    >>> learn.recommend("a", n=1).item.tolist()
    ['z']
    """

    application = "collab"
    bunch_type, prep_type, spec_type = CollabFilterData, RatingPrep, EmbeddingSpec
    data: CollabFilterData

    @with_options
    def __init__(
        self,
        data: CollabFilterData,
        model: nn.Module,
        opt_fn: OptFn | None = None,
        crit: Loss | None = None,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        splitter: Callable[[nn.Module], Sequence[LayerGroup]] | None = None,
        *,
        wds: LRs | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        super().__init__(data, model, opt_fn, crit, metrics, callbacks, splitter, **options)
        self.spec = EmbeddingSpec.of(self.model)
        self.wds = wds

    def usual_callbacks(self) -> list[Callback]:
        """Return what tells of users and items that nothing is known of, and ranks where there are no ratings."""
        own: list[Callback] = [ColdStart(self.data.user_counts, self.data.item_counts)]
        return [*own, RankingMetrics(self.data)] if isinstance(self.data.target, Preference) else own

    @classmethod
    def usual_opt(cls, model: nn.Module) -> OptFn:
        """AdamW with a slower second beta; of sparse gradients, SparseAdam."""
        return sparse_opt if getattr(model, "sparse", False) else dense_opt

    # ---------------------------------------------------------------- answers

    def predict(self, user: Any = False, item: Any = None, *, is_test: bool = False) -> Any:  # type: ignore[override]
        """Predict the rating of an item by a user, or the validation (or test) set.

        Parameters
        ----------
        user, item : hashable, or two lists, arrays or columns of one length
            Ids. An unknown one gets the mean embedding, and a warning says so. Without them, the whole validation
            set is predicted, or the test set with `is_test`, as by any learner.
        is_test : bool, default False

        Returns
        -------
        float, or array of float32, shape (n,)
            Ratings; with implicit feedback, scores that only mean an order.

        Examples
        --------
        >>> import pandas as pd
        >>> from learnkit.collab import CollabFilterDataset
        >>> frame = pd.DataFrame({"user": list("aabb"), "item": list("xyxy"), "rating": [5, 1, 5, 1]})
        >>> learn = CollabFilterDataset.from_data_frame(".", frame, "user", "item", "rating").get_learner(4, val_idxs=False)
        >>> round(learn.predict("a", "x"))
        3
        >>> learn.predict(["a", "b"], ["x", "y"]).shape
        (2,)
        """
        if item is None:
            if not isinstance(user, bool):
                raise TypeError("`predict` takes a user and an item, or neither to predict the validation set.")
            return super().predict(is_test or user)
        user, item = _plain(user), _plain(item)
        many = [_is_many(user), _is_many(item)]
        if isinstance(user, set | frozenset) and isinstance(item, set | frozenset):
            raise TypeError("`user` and `item` are sets, which have no order: which belongs to which? Pass two lists.")
        if any(many) and not (all(many) and len(user) == len(item)):
            raise ValueError("`user` and `item` must be two single ids, or two lists of one length.")
        users = self._codes(self.data.users, user if all(many) else [user])
        items = self._codes(self.data.items, item if all(many) else [item])
        if not len(users):
            return np.zeros(0, dtype=np.float32)
        preds = self.predict_array((users, items)).reshape(-1)
        return preds if all(many) else float(preds[0])

    def recommend(
        self, user: Any, n: int = 10, exclude_seen: bool = True, *, among: Iterable[Any] | None = None
    ) -> pd.DataFrame:
        """Return the items with the highest scores for a user.

        Parameters
        ----------
        user : hashable
            Id. An unknown user gets what the average user would, and a warning says so.
        n : int, default 10
        exclude_seen : bool, default True
            Leave out what the user has in the training set.
        among : iterable, optional
            Item ids to choose from; all by default.

        Returns
        -------
        pandas.DataFrame
            `item`, `title`, `score`; best first, and fewer rows where fewer items are left.
        """
        user = _plain(user)
        if _is_many(user):
            raise TypeError(f"`recommend` takes one user; for {len(user)} of them call `recommend_many`.")
        frame = self.recommend_many([user], n, exclude_seen, among=among)
        return frame.drop(columns=["user", "rank"])

    def recommend_many(
        self,
        users: Iterable[Any] | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        *,
        among: Iterable[Any] | None = None,
    ) -> pd.DataFrame:
        """Recommend to many users, some at a time; see `recommend`.

        Parameters
        ----------
        users : iterable, optional
            Ids; everybody by default.

        Returns
        -------
        pandas.DataFrame
            `user`, `rank` (from 1), `item`, `title`, `score`.
        """
        import pandas as pd

        n = int(check_positive("n", n, integer=True))
        ids = self.data.users.decode(np.arange(1, self.data.n_users)) if users is None else _several(users)
        if not ids:
            raise DataError("there are no users to recommend to.")
        codes = self._codes(self.data.users, ids)
        if exclude_seen and self.data.seen is None:
            raise DataError(
                "it is not known what the users have seen: this data does not say. Pass `exclude_seen=False`."
            )
        scorer = self.data.scorer(self.model)
        if among is not None:
            scorer = _only(
                scorer, self.data.items.encode(self._known(self.data.items, _several(among))).astype(np.int64)
            )
        best, scores = top_items(scorer, codes, n, self.data.seen if exclude_seen else None)
        kept = best > 0
        where, ranks = np.nonzero(kept)
        items = best[kept]
        return pd.DataFrame(
            {
                "user": [ids[i] for i in where],
                "rank": ranks + 1,
                "item": self.data.items.decode(items),
                "title": self.data.prep.titles_of(items),
                "score": scores[kept],
            }
        )

    def similar_items(self, item: Any, n: int = 10, *, min_ratings: int = 1) -> pd.DataFrame:
        """Return the items whose factors point the same way.

        Parameters
        ----------
        item : hashable
            Id.
        n : int, default 10
        min_ratings : int, default 1
            Leave out items with fewer training ratings, whose factors say little.

        Returns
        -------
        pandas.DataFrame
            `item`, `title`, `similarity` (cosine, -1 to 1), `ratings`; most alike first.

        Raises
        ------
        DataError
            If the item is unknown or has no training rating: the mean embedding is like nothing in particular.
        """
        import pandas as pd

        n = int(check_positive("n", n, integer=True))
        code = self._known_item(item)
        if not self.data.item_counts[code]:
            raise DataError(f"item {item!r} has no rating in the training set, so nothing is known of what is like it.")
        factors = self._item_table("item_factors")
        unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-12)
        similarity = unit @ unit[code]
        usable = self.data.item_counts >= max(min_ratings, 0)
        usable[[0, code]] = False
        order = np.flatnonzero(usable)
        order = order[np.argsort(-similarity[order], kind="stable")][:n]
        return pd.DataFrame(
            {
                "item": self.data.items.decode(order),
                "title": self.data.prep.titles_of(order),
                "similarity": similarity[order],
                "ratings": self.data.item_counts[order],
            }
        )

    def item_bias(self, names: Mapping[Any, str] | None = None, *, min_ratings: int = 1) -> pd.DataFrame:
        """Return the items with their bias: how good each is, whoever watches.

        Parameters
        ----------
        names : mapping, optional
            Item id -> title; the titles of the data by default.
        min_ratings : int, default 1
            Leave out items with fewer training ratings.

        Returns
        -------
        pandas.DataFrame
            `item`, `title`, `bias`, `ratings`; best first.

        Raises
        ------
        DataError
            If the model has no item bias.
        """
        bias = self._item_table("item_bias")[:, 0]
        codes = self._usable_items(min_ratings)
        codes = codes[np.argsort(-bias[codes], kind="stable")]
        frame = self._item_frame(codes, names)
        frame.insert(2, "bias", bias[codes])
        return frame

    def item_factors(
        self, pca: int | None = None, names: Mapping[Any, str] | None = None, *, min_ratings: int = 1
    ) -> pd.DataFrame:
        """Return the factors of the items, or their first principal components.

        Parameters
        ----------
        pca : int, optional
            Number of components; the factors themselves by default.
        names : mapping, optional
            Item id -> title.
        min_ratings : int, default 1
            Leave out items with fewer training ratings.

        Returns
        -------
        pandas.DataFrame
            `item`, `title`, `ratings`, then one column per factor (`0`, `1`, ...); most rated first. With `pca` the
            frame's `attrs["explained"]` holds the share of the variance in each component.
        """
        import pandas as pd

        codes = self._usable_items(min_ratings)
        codes = codes[np.argsort(-self.data.item_counts[codes], kind="stable")]
        factors = self._item_table("item_factors")[codes]
        explained: list[float] | None = None
        if pca is not None:
            factors, explained = principal_components(factors, int(check_positive("pca", pca, integer=True)))
        columns = [str(i) for i in range(factors.shape[1])]
        frame = self._item_frame(codes, names).join(pd.DataFrame(factors, columns=columns))
        if explained is not None:
            frame.attrs["explained"] = explained
        return frame

    def plot_item_factors(
        self,
        n: int = 50,
        components: tuple[int, int] = (0, 1),
        names: Mapping[Any, str] | None = None,
        *,
        items: Sequence[Any] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw two principal components of the item factors, with titles: items near each other are liked alike.

        Parameters
        ----------
        n : int, default 50
            The most rated items.
        components : pair of int, default (0, 1)
            Which components.
        names : mapping, optional
            Item id -> title.
        items : sequence, optional
            Draw these ids instead.
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        frame = self.item_factors(max(components) + 1, names)
        if items is not None:
            wanted = {self._known_item(item) for item in _several(items)}
            codes = self.data.items.encode(frame.item)
            frame = frame[[int(code) in wanted for code in codes]]
        else:
            frame = frame.head(int(check_positive("n", n, integer=True)))
        across, up = (frame[str(component)].to_numpy() for component in components)
        ax = scatter_titles(get_ax(ax, (11, 9)), across, up, frame.title.tolist())
        ax.set_xlabel(f"component {components[0]}")
        ax.set_ylabel(f"component {components[1]}")
        return ax

    def ranking_metrics(self, k: int = 10, *, max_users: int | None = None) -> dict[str, float]:
        """Recommend to the users of the validation set and compare with what they took there.

        Parameters
        ----------
        k : int, default 10
            Length of the lists.
        max_users : int, optional
            Of more users a fixed sample is measured.

        Returns
        -------
        dict of str to float
            `recall`, `ndcg`, `map` and `hit_rate` at `k`; see `learnkit.collab.ranking_metrics`. Items of the training
            set are not recommended. With explicit feedback every held-out item counts, whatever its rating.

        Raises
        ------
        DataError
            If there is no validation set.
        """
        if self.data.held_out is None:
            raise DataError("this data bunch has no validation set (`val_idxs`), so nothing to compare with.")
        return rank_held_out(self.data.scorer(self.model), self.data.seen, self.data.held_out, k=k, max_users=max_users)

    def set_data(self, data: DataBunch) -> None:
        """Go on with other ratings of the same users and items.

        Raises
        ------
        DataError
            If the ids are others, or ratings lie outside the model's range.
        """
        if not isinstance(data, CollabFilterData) or not all(
            len(new) == len(old) and new.decode(range(1, new.size)) == old.decode(range(1, old.size))
            for new, old in ((data.users, self.data.users), (data.items, self.data.items))
        ):
            raise DataError(
                "the new data has other users or items than the model, or another order of them; make it from a frame that "
                "holds the old ratings first."
            )
        low, high = getattr(self.model, "y_range", None) or (-np.inf, np.inf)
        if data.y_range is not None and not low <= data.y_range[0] <= data.y_range[1] <= high:
            raise DataError(
                f"the new ratings go from {data.y_range[0]:g} to {data.y_range[1]:g}, the model {low:g} to {high:g}."
            )
        super().set_data(data)
        for callback in self.callbacks:
            if isinstance(callback, ColdStart):
                callback.set_counts(data.user_counts, data.item_counts)
            elif isinstance(callback, RankingMetrics):
                callback.data = data

    # ---------------------------------------------------------------- private

    def _optimizer(self, lrs: LRs, wds: LRs | None) -> LayerOptimizer:
        if wds is None:
            wds = default_wds(self.model, self.data) if self.wds is None else self.wds
        return super()._optimizer(lrs, wds)

    def _codes(self, vocabulary: Vocabulary, ids: Any) -> NDArray[np.int64]:
        own = isinstance(self.model, EmbeddingModel)
        instead = MEAN if own else f"{type(self.model).__name__} scores code 0, which no rating has trained"
        return self.data.prep.codes(vocabulary, ids, instead)

    def _known(self, vocabulary: Vocabulary, ids: list[Any]) -> list[Any]:
        """Return the ids that are known, and warn of the others: what is not there cannot be chosen."""
        unknown = vocabulary.unknown(ids)
        if unknown:
            warnings.warn(
                f"{len(unknown)} unknown {vocabulary.what}(s), {some([*map(repr, unknown)])}, are left out of the choice.",
                stacklevel=3,
            )
        left_out = set(unknown)
        return [value for value in ids if value not in left_out]

    def _known_item(self, item: Any) -> int:
        code = self.data.items.encode_one(item)
        if not code:
            known = ", ".join(map(repr, self.data.items.decode(range(1, min(4, self.data.n_items)))))
            raise DataError(f"unknown item {item!r}; the ids are like {known}.")
        return code

    def _usable_items(self, min_ratings: int) -> NDArray[np.int64]:
        usable = self.data.item_counts >= max(min_ratings, 0)
        usable[0] = False
        return np.flatnonzero(usable)

    def _item_frame(self, codes: NDArray[np.int64], names: Mapping[Any, str] | None) -> pd.DataFrame:
        import pandas as pd

        items, titles = self.data.items.decode(codes), self.data.prep.titles_of(codes)
        if names is not None:
            known = check_titles(names, "names")
            titles = [title_of(known, item, title) for item, title in zip(items, titles, strict=True)]
        return pd.DataFrame({"item": items, "title": titles, "ratings": self.data.item_counts[codes]})

    def _item_table(self, name: str) -> NDArray[np.float32]:
        table = getattr(self.model, name, None)
        if not isinstance(table, nn.Embedding):
            kind = type(self.model).__name__
            raise DataError(f"the model {kind} has no table `{name}`; EmbeddingDotBias, the default model, has.")
        return table.weight.detach().cpu().numpy()


def build_model(model: ModelLike, data: CollabFilterData, n_factors: int, *, sparse: bool) -> nn.Module:
    """Return `model` if it is made already, else make it for the data."""
    if isinstance(model, nn.Module):
        return model
    made = model(data.n_users, data.n_items, n_factors, data.y_range, mean=data.mean, sparse=sparse)
    if sparse and not all(isinstance(module, nn.Embedding) for module in made.children()):
        raise ValueError(
            f"`sparse` needs a model of tables only, and {type(made).__name__} has layers that are no tables. Use "
            "EmbeddingDotBias, or leave `sparse` out."
        )
    return made


def default_wds(model: nn.Module, data: CollabFilterData) -> list[float] | None:
    """Return the weight decay of each layer group; none for a model of the user's own."""
    if not isinstance(model, EmbeddingModel):
        return None
    wds = IMPLICIT_WDS if isinstance(data.target, Preference) else EXPLICIT_WDS
    return list(wds[: len(model.get_layer_groups())])


dense_opt = partial(adamw, betas=(0.9, 0.98))
"""In one kernel per step: tables are large and batches small."""


def sparse_opt(params: Any, lr: float) -> Optimizer:
    """Adam that touches only the rows of the batch."""
    return torch.optim.SparseAdam(params, lr=lr, betas=(0.9, 0.98))


def _only(
    scorer: Callable[[NDArray[np.int64]], Tensor], codes: NDArray[np.int64]
) -> Callable[[NDArray[np.int64]], Tensor]:
    """Return a scorer that gives every item but `codes` no chance."""
    allowed = torch.from_numpy(codes)

    def score(users: NDArray[np.int64]) -> Tensor:
        scores = scorer(users)
        chosen = torch.full_like(scores, -torch.inf)
        chosen[:, allowed] = scores[:, allowed]
        return chosen

    return score


def _plain(ids: Any) -> Any:
    """Return ids as plain values where they are in a tensor, an array without axes, or a range."""
    if isinstance(ids, Tensor) or (isinstance(ids, np.ndarray) and not ids.ndim):
        return ids.tolist()
    return list(ids) if isinstance(ids, range) else ids


def _is_many(value: Any) -> bool:
    # A date of pandas' is one id, though it has `to_numpy` as columns do.
    return isinstance(value, list | set | np.ndarray) or (hasattr(value, "to_numpy") and hasattr(value, "__len__"))


def _several(ids: Iterable[Any]) -> list[Any]:
    """Return ids as a list; a text is one of them, not its letters."""
    if isinstance(ids, str | bytes):
        return [ids]
    if not isinstance(ids, Iterable):
        raise TypeError(f"expected a list of ids; got {ids!r}. For one write [{ids!r}].")
    return list(ids.tolist()) if isinstance(ids, np.ndarray | Tensor) else list(ids)
