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


@parametrize_with_checks([TabularClassifier(**SMALL), TabularRegressor(**SMALL)])
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
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1, rtol=1e-5, atol=1e-6)
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
    assert cross_val_score(TabularClassifier(random_state=0, **SMALL), X, y, cv=3).mean() > 0.7  # a third by chance
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


@pytest.mark.parametrize("arch", ["mlp", "ple"])
def test_a_row_alone_gets_what_it_gets_among_others(table, arch):
    X, y = table
    model = TabularClassifier(random_state=0, arch=arch, szs=(200, 100), epochs=2, device="cpu").fit(X, y)
    regressor = TabularRegressor(random_state=0, arch=arch, szs=(200, 100), epochs=2, device="cpu").fit(X, y == "yes")
    order = np.random.default_rng(0).permutation(len(X))
    for method in (model.predict_proba, regressor.predict):
        together = method(X)
        for size in (1, 7, 64):
            apart = np.concatenate([method(X[i : i + size]) for i in range(0, len(X), size)])
            np.testing.assert_allclose(apart, together, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(method(X.iloc[order]), together[order], rtol=1e-12, atol=1e-12)
    ours = np.exp(model.learner_.predict_df(X))
    np.testing.assert_allclose(model.predict_proba(X), ours, atol=1e-5)


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
def test_arrays_for_frames_and_frames_for_arrays_by_position(table):
    """Explainers and other tools make one of the other."""
    X, y = table
    model = TabularClassifier(cat_flds=["Code"], random_state=0, **SMALL).fit(X, y)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X.to_numpy()), expected)
    np.testing.assert_array_equal(model.predict_proba(X.to_numpy().tolist()), expected)
    np.testing.assert_array_equal(model.predict_proba(X.set_axis(range(3), axis=1)), expected)
    with pytest.raises(ValueError, match="features"):
        model.predict(X.to_numpy()[:, :2])
    numbers = X[["Km", "Code"]]
    on_frame = TabularClassifier(random_state=0, **SMALL).fit(numbers, y)
    on_array = TabularClassifier(random_state=0, **SMALL).fit(numbers.to_numpy(), y)
    for fitted in (on_frame, on_array):
        np.testing.assert_array_equal(fitted.predict_proba(numbers), fitted.predict_proba(numbers.to_numpy()))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        on_frame.predict(numbers.to_numpy())
    by_number = TabularClassifier(random_state=0, **SMALL).fit(numbers.set_axis([5, 3], axis=1), y)
    np.testing.assert_array_equal(
        by_number.predict(numbers.to_numpy()), by_number.predict(numbers.set_axis([5, 3], axis=1))
    )


def test_a_column_without_a_value_in_one_fold(table):
    X, y = table
    X.loc[X.index < 150, "Late"] = np.nan
    X.loc[X.index >= 150, "Late"] = 1.0
    with pytest.warns(UserWarning, match="hold no value at all and are left out: Late"):
        model = TabularClassifier(random_state=0, **SMALL).fit(X[:150], y[:150])
    with pytest.warns(UserWarning, match="are ignored: Late"):
        by_name = model.predict_proba(X[150:])
    with pytest.warns(UserWarning):  # noqa: PT030
        np.testing.assert_array_equal(model.predict_proba(X[150:].to_numpy()), by_name)


def test_labels_of_two_types_and_a_name_for_a_list(table):
    X, y = table
    mixed: list[Any] = [[1, "a"] * 150, np.array([1, "a"] * 150, dtype=object)]
    for labels in mixed:
        with pytest.raises(ValueError, match="mixes text and other types"):
            TabularClassifier(**SMALL).fit(X, labels)
    with pytest.raises(TypeError, match=r"`cat_flds` must be a list of column names; write \['Code'\]"):
        TabularClassifier(cat_flds="Code", **SMALL).fit(X, y)
