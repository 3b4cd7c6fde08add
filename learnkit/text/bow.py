"""Bags of words, or of n-grams, with labels: which are in a text, whatever their order.

The classifier is a logistic regression whose features are weighted by naive Bayes: fast, without a vocabulary to learn first,
and on short texts hard to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from learnkit.core.errors import DataError, check_positive
from learnkit.core.settable import Settable
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.rows import RowDataset
from learnkit.data.targets import Category
from learnkit.text.texts import labels_of
from learnkit.train.learner import Learner
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options

__all__ = ["BowLoader", "DotProdNB", "TextClassifierData", "log_count_ratios"]


class BowLoader(Settable):
    """Batches `(x, y)` of bags: `x` of shape `(B, L)` has the numbers of each text's features from 1, then zeros.

    Parameters
    ----------
    bow : sparse matrix of shape (n, n_features)
        What is not zero is in the bag.
    y : array of int64, shape (n,)
    bs : int, default 64
        Batch size.
    shuffle : bool, default False
        New order each epoch.
    generator : torch.Generator, optional
        Of the order; torch's global one by default.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from learnkit.text import BowLoader
    >>> bow = csr_array(np.array([[0, 2, 1], [1, 0, 0]]))
    >>> x, y = next(iter(BowLoader(bow, np.array([1, 0]))))
    >>> x.tolist(), y.tolist()
    ([[2, 3], [1, 0]], [1, 0])
    """

    def __init__(
        self,
        bow: Any,
        y: NDArray[np.int64],
        bs: int = 64,
        shuffle: bool = False,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        self.starts, self.features = np.asarray(bow.indptr, dtype=np.int64), np.asarray(bow.indices)
        self.y = torch.from_numpy(np.asarray(y, dtype=np.int64))
        if len(self.y) != len(self.starts) - 1:
            raise DataError(f"there are {len(self.starts) - 1} bags and {len(self.y)} labels.")
        if not len(self.y):
            raise DataError("there are no texts here to make batches of.")
        self.bs = int(check_positive("bs", bs, integer=True))
        self.shuffle, self.generator = shuffle, generator

    @cached_property
    def dataset(self) -> RowDataset:
        """The bags, in order, for PyTorch's own loader."""
        return RowDataset(self)

    @property
    def n_rows(self) -> int:
        """How many bags there are."""
        return len(self.y)

    @property
    def targets(self) -> Tensor:
        """The class of each bag."""
        return self.y

    def take(self, idxs: Tensor) -> tuple[Tensor, ...]:
        """Return some bags as a batch."""
        return self._batch(idxs)

    def __len__(self) -> int:
        return -(-len(self.y) // self.bs)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches from number `batch` on."""
        n = len(self.y)
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        return (self._batch(order[i : i + self.bs]) for i in range(batch * self.bs, n, self.bs))

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        starts = self.starts[rows.numpy()]
        counts = self.starts[rows.numpy() + 1] - starts
        place = np.arange(max(int(counts.max()), 1))
        there = place < counts[:, None]
        x = np.zeros(there.shape, dtype=np.int64)
        x[there] = self.features[(starts[:, None] + place)[there]] + 1
        return torch.from_numpy(x), self.y[rows]


class DotProdNB(nn.Module):
    """Logistic regression on features that are weighted by their log-count ratios (Wang & Manning 2012).

    The score of a class is the sum, over the features of a text, of `(w + w_adj) * r / r_adj`: `r` are the ratios of naive
    Bayes, which stay, and `w`, which is learnt, begins at zero. So the model begins as naive Bayes, and weight decay pulls
    it back there and not to knowing nothing.

    Parameters
    ----------
    ratios : array of shape (n_features, c)
        See `log_count_ratios`.
    prior : array of shape (c,)
        Score of each class for an empty text; learnt on.
    w_adj, r_adj : float, default 0.4 and 10
        How much naive Bayes counts from the start, and by what ratios are divided.

    References
    ----------
    Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification".

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit.text import DotProdNB
    >>> model = DotProdNB(np.array([[1.0, -1.0], [-2.0, 2.0]]), np.zeros(2))
    >>> [round(score, 3) for score in model(torch.tensor([[1, 0], [1, 2]]))[1].tolist()]
    [-0.04, 0.04]
    """

    r: Tensor

    def __init__(
        self, ratios: NDArray[np.floating], prior: NDArray[np.floating], *, w_adj: float = 0.4, r_adj: float = 10.0
    ) -> None:
        super().__init__()
        n_features, c = ratios.shape
        self.w_adj, self.r_adj = w_adj, float(check_positive("r_adj", r_adj))
        # Of two classes one is the other's opposite, and so are their ratios: one weight serves both.
        self.w = nn.Embedding(n_features + 1, 1 if c == 2 else c, padding_idx=0)
        nn.init.zeros_(self.w.weight)
        padded = np.concatenate([np.zeros((1, c)), ratios])
        self.register_buffer("r", torch.from_numpy(padded.astype(np.float32)))
        self.prior = nn.Parameter(torch.from_numpy(prior.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores `(B, c)` of bags `(B, L)`."""
        return ((self.w(x) + self.w_adj) * self.r[x] / self.r_adj).sum(1) + self.prior


class TextClassifierData(DataBunch):
    """Bags of words with labels; make one with `from_bow`.

    Parameters
    ----------
    path : path-like
        Where `models/` is kept.
    trn_dl, val_dl, test_dl : BowLoader
    target : Category
    ratios : array of shape (n_features, c)
        Log-count ratios of the training set.
    prior : array of shape (c,)
        Half the log-odds of each class.
    sl : int or None
        At most so many features of a text are looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from learnkit.text import TextClassifierData
    >>> texts, labels = ["good", "not bad", "bad", "no good"] * 20, ["pos", "pos", "neg", "neg"] * 20
    >>> veczr = CountVectorizer(ngram_range=(1, 2))
    >>> bow = veczr.fit_transform(texts)
    >>> md = TextClassifierData.from_bow(bow, labels, bow, labels, sl=2000)
    >>> learner = md.dotprod_nb_learner()
    >>> with learner.no_progress():
    ...     results = learner.fit(0.02, 2, wds=1e-6, cycle_len=1)
    >>> int(learner.predict_dl(md.bow_dl(veczr.transform(["not bad"]))).argmax())
    1
    """

    def __init__(
        self,
        path: PathLike,
        trn_dl: BowLoader,
        val_dl: BowLoader | None = None,
        test_dl: BowLoader | None = None,
        *,
        target: Category,
        ratios: NDArray[np.floating],
        prior: NDArray[np.floating],
        sl: int | None = None,
    ) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)
        self.ratios, self.prior, self.sl, self.bs = ratios, prior, sl, trn_dl.bs

    @classmethod
    def from_bow(
        cls,
        trn_bow: Any,
        trn_y: Any,
        val_bow: Any = None,
        val_y: Any = None,
        sl: int | None = None,
        *,
        test_bow: Any = None,
        path: PathLike = ".",
        bs: int = 64,
    ) -> TextClassifierData:
        """Take bags as scikit-learn's `CountVectorizer` makes them, of words or of n-grams.

        Parameters
        ----------
        trn_bow : sparse matrix or array of shape (n, n_features)
            A feature whose number is not zero is in the text; how often does not count.
        trn_y : sequence of shape (n,)
            A label per text.
        val_bow, val_y
            The same of the validation set.
        sl : int, optional
            Look at no more than so many features of a text, those whose ratios say most; all by default.
        test_bow : sparse matrix or array, optional
            Texts to predict.
        path : path-like, default "."
        bs : int, default 64

        Returns
        -------
        TextClassifierData

        Raises
        ------
        DataError
            If texts and labels differ in number, a label is missing, a bag holds a negative or missing number, or the
            matrices have other columns.
        """
        sl = None if sl is None else int(check_positive("sl", sl, integer=True))
        trn = _bags(trn_bow, "trn_bow")
        labels = labels_of(trn_y, "the label of trn_y")
        target = Category.from_labels(labels)
        y = target.encode(labels)
        if len(y) != trn.shape[0]:
            raise DataError(f"`trn_bow` has {trn.shape[0]} texts and `trn_y` {len(y)} labels.")
        ratios, prior = log_count_ratios(trn, y, target.c)

        def loader(bow: Any, what: str, codes: NDArray[np.int64] | None, shuffle: bool = False) -> BowLoader:
            bags = _of_features(_bags(bow, what), len(ratios), what)
            codes = np.zeros(bags.shape[0], dtype=np.int64) if codes is None else codes
            return BowLoader(_strongest(bags, ratios, sl), codes, bs, shuffle)

        val_codes = None if val_bow is None else target.encode(labels_of(val_y, "the label of val_y"))
        return cls(
            path,
            loader(trn, "trn_bow", y, shuffle=True),
            None if val_bow is None else loader(val_bow, "val_bow", val_codes),
            None if test_bow is None else loader(test_bow, "test_bow", None),
            target=target,
            ratios=ratios,
            prior=prior,
            sl=sl,
        )

    def bow_dl(self, bow: Any) -> BowLoader:
        """Return a `BowLoader` of other bags with the same columns, for `learn.predict_dl`."""
        bags = _strongest(_of_features(_bags(bow, "bow"), len(self.ratios), "bow"), self.ratios, self.sl)
        return BowLoader(bags, np.zeros(bags.shape[0], dtype=np.int64), self.bs)

    @with_options
    def dotprod_nb_learner(
        self,
        w_adj: float = 0.4,
        r_adj: float = 10.0,
        *,
        opt_fn: OptFn | None = None,
        metrics: Sequence[MetricLike] | None = None,
        **options: Unpack[LearnerOptions],
    ) -> Learner:
        """Make a logistic regression weighted by naive Bayes, and its learner; see `DotProdNB` and `Learner`.

        Returns
        -------
        Learner
            `learner.fit(0.02, 2, wds=1e-6, cycle_len=1)` is the course's recipe.
        """
        model = DotProdNB(self.ratios, self.prior, w_adj=w_adj, r_adj=r_adj)
        return Learner(self, model, opt_fn, metrics=metrics, **options)


def log_count_ratios(
    bow: Any, y: NDArray[np.int64], c: int, *, alpha: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how much more often each feature comes in a class than outside it, as naive Bayes counts.

    Parameters
    ----------
    bow : sparse matrix of shape (n, n_features)
        Ones where a feature is in a text.
    y : array of int64, shape (n,)
        Class numbers.
    c : int
        How many classes.
    alpha : float, default 1.0
        Added to each count.

    Returns
    -------
    ratios : array of float32, shape (n_features, c)
        `log(p / q)`: shares of the feature among all features in texts of the class, and of the others.
    prior : array of float32, shape (c,)
        Half the log-odds of the class, so that the scores of two classes differ by the log-odds.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from learnkit.text import log_count_ratios
    >>> ratios, prior = log_count_ratios(csr_array(np.array([[1, 0], [1, 1], [0, 1], [0, 1]])), np.array([0, 0, 1, 1]), 2)
    >>> ratios.astype(float).round(3).tolist(), prior.tolist()
    ([[0.875, -0.875], [-0.629, 0.629]], [0.0, 0.0])
    """
    n = np.bincount(y, minlength=c)
    chosen = sparse.csr_array((np.ones(len(y)), (y, np.arange(len(y)))), shape=(c, len(y)))
    inside = np.asarray((chosen @ sparse.csr_array(bow)).todense(), dtype=np.float64)
    outside = inside.sum(0) - inside
    p, q = inside + alpha, outside + alpha
    ratios = np.log(p / p.sum(1, keepdims=True)) - np.log(q / q.sum(1, keepdims=True))
    prior = np.log((n + alpha) / (n.sum() - n + alpha)) / 2
    return ratios.T.astype(np.float32), prior.astype(np.float32)


def _bags(bow: Any, what: str) -> Any:
    """Return a matrix of ones where a feature is in a text, in compressed rows."""
    try:
        bags = sparse.csr_array(bow, copy=True)
    except (TypeError, ValueError) as exc:
        raise DataError(
            f"`{what}` must be a matrix of numbers, texts by features, as CountVectorizer gives it; got "
            f"{type(bow).__name__}: {exc}."
        ) from exc
    if bags.ndim != 2 or bags.dtype.kind not in "biuf":
        raise DataError(f"`{what}` must be a matrix of numbers; got shape {bags.shape} of {bags.dtype}.")
    bags.sum_duplicates()
    bags.eliminate_zeros()
    if bags.nnz and not bags.data.min() > 0:  # NaN, too
        raise DataError(f"`{what}` holds a negative or missing number; a bag counts what is in a text.")
    bags.data = np.ones(bags.nnz, dtype=np.float32)
    return bags


def _of_features(bags: Any, n_features: int, what: str) -> Any:
    if bags.shape[1] != n_features:
        raise DataError(
            f"`{what}` has {bags.shape[1]:,} columns and the training bags {n_features:,}: transform all texts with the "
            "vectorizer that was fitted on the training texts."
        )
    return bags


def _strongest(bags: Any, ratios: NDArray[np.floating], sl: int | None) -> Any:
    """Keep at most `sl` features of each text, those whose ratios are furthest from zero."""
    counts = np.diff(bags.indptr)
    if sl is None or not len(counts) or counts.max() <= sl:
        return bags
    strength = np.abs(ratios).max(1)
    kept = np.ones(bags.nnz, dtype=bool)
    for row in np.flatnonzero(counts > sl):
        at = np.arange(bags.indptr[row], bags.indptr[row + 1])
        kept[at[np.argsort(-strength[bags.indices[at]], kind="stable")[sl:]]] = False
    starts = np.concatenate([[0], np.cumsum(np.minimum(counts, sl))])
    return sparse.csr_array((bags.data[kept], bags.indices[kept], starts), shape=bags.shape)
