"""scikit-learn's own checks, and the three ways its users put an estimator to work."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from learnkit import TensorLoader
from learnkit.tabular import TabularClassifier, TabularRegressor

SMALL: dict[str, Any] = {"szs": (32,), "epochs": 12, "bs": 16, "device": "cpu"}


def known_failures(estimator):
    """Documented in docs/tabular.md."""
    return {
        "check_methods_subset_invariance": "float32 sums depend on the batch in the seventh digit; the check wants 1e-7",
        "check_methods_sample_order_invariance": "as above",
    }


@parametrize_with_checks([TabularClassifier(**SMALL), TabularRegressor(**SMALL)], expected_failed_checks=known_failures)
@pytest.mark.filterwarnings("default")  # the checks feed odd data on purpose
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"State": rng.choice(["BY", "HE", "SH"], 300), "Km": rng.normal(size=300), "Code": rng.integers(0, 4, 300)}
    )
    X.loc[::17, "Km"] = np.nan
    return X, np.where((X["State"] == "BY") | (X["Code"] == 2), "yes", "no")


def test_frames_with_text_numbers_and_gaps(table):
    X, y = table
    model = TabularClassifier(cat_flds=["Code"], random_state=0, **SMALL).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.classes_.tolist() == ["no", "yes"]
    assert vars(model)["feature_names_in_"].tolist() == ["State", "Km", "Code"]
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert not isinstance(model.learner_.data.trn_dl, TensorLoader)  # rows are not carried along
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"Km": "Miles"}))


def test_same_random_state_same_model_and_global_state_untouched(table):
    X, y = table
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.RandomState(5).rand()
    first, second = (clone(TabularClassifier(random_state=3, **SMALL)).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.random.rand() == expected  # noqa: NPY002


def test_cross_validation_grid_search_and_pipeline():
    X, y = load_iris(return_X_y=True)
    assert cross_val_score(TabularClassifier(random_state=0, **SMALL), X, y, cv=3).mean() > 0.85
    search = GridSearchCV(TabularClassifier(random_state=0, **SMALL), {"lr": [1e-6, 1e-2]}, cv=2).fit(X, y)
    assert search.best_params_ == {"lr": 1e-2}
    frame = pd.DataFrame(X, columns=list("abcd"))
    scale = ColumnTransformer([("scale", StandardScaler(), ["a", "b"])], remainder="passthrough")
    assert make_pipeline(scale, TabularClassifier(random_state=0, **SMALL)).fit(frame, y).score(frame, y) > 0.85


def test_regression_with_several_targets():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    Y = np.c_[1000 + 100 * X[:, 0], X[:, 1] - X[:, 2]]
    model = TabularRegressor(random_state=0, **SMALL).fit(X, Y)
    assert model.predict(X).shape == (300, 2)
    assert model.score(X, Y) > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column vector of targets is flattened, with scikit-learn's warning
        assert TabularRegressor(**SMALL).fit(X, Y[:, :1]).predict(X).shape == (300,)


def test_bad_input():
    X = np.ones((10, 2))
    with pytest.raises(ValueError, match="1 class"):
        TabularClassifier(**SMALL).fit(X, np.zeros(10))
    with pytest.raises(ValueError, match="infinity"):
        TabularClassifier(**SMALL).fit(np.full((10, 2), np.inf), np.arange(10) % 2)
    with pytest.raises(ValueError, match="no rows"):
        TabularClassifier(**SMALL).fit(pd.DataFrame({"a": []}), [])
