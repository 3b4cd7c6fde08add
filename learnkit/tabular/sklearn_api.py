"""scikit-learn estimators: the same networks for pipelines, cross-validation and grid search."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from learnkit.core.device import seed_everything
from learnkit.core.errors import DataError, MissingExtraError
from learnkit.core.layers import model_device
from learnkit.core.preserve import preserve_rng
from learnkit.tabular.columns import train_cats
from learnkit.tabular.data import ColumnarModelData
from learnkit.tabular.learner import TabularLearner
from learnkit.tabular.preprocess import proc_df
from learnkit.train.predictions import predict

__all__ = ["TabularClassifier", "TabularRegressor"]


class _TabularEstimator(BaseEstimator):
    """What classifier and regressor share: from `X` to a fitted learner, and from new rows to predictions."""

    def __init__(
        self,
        *,
        arch: str = "mlp",
        szs: Sequence[int] | None = None,
        drops: float | None = None,
        emb_drop: float | None = None,
        epochs: int = 10,
        lr: float | None = None,
        wd: float = 0.1,
        bs: int | None = None,
        cat_flds: Sequence[str] | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.arch = arch
        self.szs = szs
        self.drops = drops
        self.emb_drop = emb_drop
        self.epochs = epochs
        self.lr = lr
        self.wd = wd
        self.bs = bs
        self.cat_flds = cat_flds
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        return tags

    def _check_X(self, X: Any, y: Any = "no_validation", *, reset: bool) -> pd.DataFrame:
        """Return `X` as a frame with the names of training, after scikit-learn's own checks of names, numbers and sizes.

        An array for a frame, or the reverse, is taken by position, with scikit-learn's warning.
        """
        try:
            from sklearn.utils.validation import validate_data
        except ImportError as exc:
            raise MissingExtraError('the estimators need scikit-learn 1.6: pip install "scikit-learn>=1.6"') from exc
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, y, reset=reset, skip_check_array=True)
            if not len(X):
                raise DataError("Found array with 0 sample(s): the frame has no rows, and at least 1 is required.")
            if not X.shape[1]:
                raise DataError(
                    f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required: the frame has no columns."
                )
            frame = X
        elif not reset and self._takes_text() and np.ndim(X) == 2:
            array = np.asarray(X, dtype=object)  # explainers make arrays of frames, text and numbers side by side
            validate_data(self, array, reset=False, skip_check_array=True)
            frame = pd.DataFrame(array).infer_objects()
        else:
            if not (isinstance(y, str) and y == "no_validation"):
                validate_data(self, X, y, reset=reset, skip_check_array=True)  # asks for a target, and says so
            array = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan")
            frame = pd.DataFrame(array, columns=pd.Index([f"x{j}" for j in range(array.shape[1])]))
        if reset:
            self._columns = list(frame.columns)
        elif set(frame.columns) != set(self._columns):
            frame = frame.set_axis(self._columns, axis=1)
        return frame

    def _takes_text(self) -> bool:
        mapper = self.learner_.data.mapper
        return mapper is not None and any(getattr(column, "values", None) == "text" for column in mapper.columns)

    def _fit(self, frame: pd.DataFrame, y: NDArray[Any], *, is_reg: bool) -> None:
        check_consistent_length(frame, y)
        if len(frame) < 2:
            raise DataError(f"at least two rows are needed to learn from; got 1 sample (n_samples={len(frame)}).")
        bs = self.bs if self.bs is not None else int(np.clip(len(frame) // 32, 16, 256))
        lr = self.lr if self.lr is not None else 3e-3 if self.arch == "ple" else 1e-2
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        prepared, _, _, mapper = proc_df(train_cats(frame.copy(deep=False), self.cat_flds))
        with preserve_rng():  # the caller's random numbers are not touched, and ours come from random_state alone
            seed_everything(seed)
            data = ColumnarModelData.from_data_frame(
                Path.cwd(), False, prepared, y, None, bs, is_reg=is_reg, mapper=mapper
            )
            learn = data.get_learner(
                emb_drop=self.emb_drop, szs=self.szs, drops=self.drops, arch=self.arch, metrics=[], device=self.device
            )
            learn.show_progress = self.verbose
            learn.fit_one_cycle(self.epochs, lr, wds=self.wd)
        # The rows are no longer needed, and a pickle of the estimator should not carry them.
        learn.data = ColumnarModelData(
            data.path, [], target=data.target, cat_sz=data.cat_sz, cont_flds=data.cont_flds, mapper=data.mapper,
            coverage=data.coverage,
        )  # fmt: skip
        self.learner_: TabularLearner = learn

    def _scores(self, X: Any) -> NDArray[np.float64]:
        """Return the network's raw scores `(n, c)`, the same for a row whichever rows are beside it."""
        check_is_fitted(self)
        frame = self._check_X(X, reset=False)
        return predict(_InDouble(self.learner_.model), self.learner_.dl_from_df(frame)).preds


class _InDouble(nn.Module):
    """A trained network that computes in float64.

    The order in which a matrix product adds up depends on the size of the batch. In float32 that shows in the seventh
    digit of a prediction, so that a row alone differs from the same row among others; in float64 in the sixteenth.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        if model_device(model).type == "mps":  # which has no float64
            self.model.cpu()
        self.model.double()

    def forward(self, cats: Tensor, conts: Tensor) -> Tensor:
        return self.model(cats, conts.double())


def _unmixed(y: Any) -> Any:
    """Return labels that are of one type; numpy would make text of a list that mixes 1 and "a"."""
    listed = isinstance(y, list | tuple) or np.dtype(object) == getattr(y, "dtype", None)
    kinds = {isinstance(label, str) for label in y} if listed else set()
    if len(kinds) > 1:
        raise DataError("`y` mixes text and other types; make all labels text, str(label) for each.")
    return y


class TabularClassifier(ClassifierMixin, _TabularEstimator):
    """A network for tables as a scikit-learn classifier.

    Text, categories and the columns in `cat_flds` get embeddings; other columns are numbers, and may have gaps.

    Parameters
    ----------
    arch : {"mlp", "ple"}, default "mlp"
        See `ColumnarModelData.get_learner`, also for `szs`, `drops` and `emb_drop`.
    szs : sequence of int, optional
        Widths of the hidden layers.
    drops, emb_drop : float, optional
        Dropout after the hidden layers and on the embeddings.
    epochs : int, default 10
        Passes over the rows, in one cycle.
    lr : float, optional
        Highest learning rate; 0.01, for `"ple"` 0.003.
    wd : float, default 0.1
        Decoupled weight decay.
    bs : int, optional
        Batch size; a 32nd of the rows, between 16 and 256.
    cat_flds : sequence of str, optional
        Columns of numbers that are names.
    device : str, optional
        CUDA, then MPS, then CPU by default.
    random_state : int, RandomState or None
        Of starting weights and order of the rows.
    verbose : bool, default False
        Show the epochs.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    learner_ : TabularLearner
        The learner behind it, with `embeddings`, `save` and so on; it holds no rows.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where `X` had names.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import TabularClassifier
    >>> X = pd.DataFrame({"State": ["HE", "BY"] * 100, "Km": range(200)})
    >>> model = TabularClassifier(random_state=0).fit(X, X["State"])
    >>> model.predict(X[:3]), model.predict_proba(X[:3]).shape
    (array(['HE', 'BY', 'HE'], dtype=object), (3, 2))
    """

    def fit(self, X: Any, y: ArrayLike) -> TabularClassifier:
        """Train on rows and their classes.

        Parameters
        ----------
        X : DataFrame or array of shape (n, n_features)
        y : array of shape (n,)

        Returns
        -------
        TabularClassifier

        Raises
        ------
        ValueError
            If `X` or `y` is not fit to learn from: shapes, infinite values, a single class.
        """
        frame = self._check_X(X, y, reset=True)
        labels = column_or_1d(check_array(_unmixed(y), ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"a classifier needs at least two classes; got 1 class, {self.classes_[0]!r}.")
        self._fit(frame, codes, is_reg=False)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : DataFrame or array of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_classes)
            In the order of `classes_`; rows sum to 1.
        """
        scores = self._scores(X)
        probs = np.exp(scores - scores.max(1, keepdims=True))
        return probs / probs.sum(1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : DataFrame or array of shape (n, n_features)

        Returns
        -------
        array of shape (n,)
        """
        best = self._scores(X).argmax(1)
        return self.classes_[best]


class TabularRegressor(RegressorMixin, _TabularEstimator):
    """A network for tables as a scikit-learn regressor; parameters as `TabularClassifier`.

    The target is scaled to mean 0 and standard deviation 1 for the training, and predictions are scaled back.

    Attributes
    ----------
    learner_ : TabularLearner
        The learner behind it; its own predictions are of the scaled target.
    y_mean_, y_std_ : float or array of shape (n_targets,)

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import TabularRegressor
    >>> X = pd.DataFrame({"State": ["HE", "BY"] * 100, "Km": range(200)})
    >>> model = TabularRegressor(random_state=0).fit(X, X["Km"] * 2)
    >>> model.score(X, X["Km"] * 2) > 0.9
    True
    """

    def fit(self, X: Any, y: ArrayLike) -> TabularRegressor:
        """Train on rows and their values.

        Parameters
        ----------
        X : DataFrame or array of shape (n, n_features)
        y : array of shape (n,) or (n, n_targets)

        Returns
        -------
        TabularRegressor

        Raises
        ------
        ValueError
            If `X` or `y` is not fit to learn from: shapes, missing or infinite values.
        """
        frame = self._check_X(X, y, reset=True)
        values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        self.y_mean_ = values.mean(0)
        spread = values.std(0)
        self.y_std_ = np.where(spread > 0, spread, 1.0)
        self._fit(frame, (values - self.y_mean_) / self.y_std_, is_reg=True)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the value of each row.

        Parameters
        ----------
        X : DataFrame or array of shape (n, n_features)

        Returns
        -------
        array of shape (n,) or (n, n_targets)
        """
        preds = self._scores(X)
        return (preds[:, 0] if np.ndim(self.y_mean_) == 0 else preds) * self.y_std_ + self.y_mean_
