"""Notebooks and examples of skorch, rewritten on other data: a net that is an estimator becomes a learner, or learnkit's own."""

# Scripts as people write them, who do not annotate.
# mypy: ignore-errors

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from learnkit import (
    Category,
    CosAnneal,
    DataBunch,
    EarlyStopping,
    LayerOptimizer,
    Learner,
    SaveBest,
    T,
    TensorLoader,
    fit,
    get_cv_idxs,
    load_learner,
)
from learnkit.course import set_trainable
from learnkit.datasets import adult_frames, digits_arrays
from learnkit.tabular import TabularClassifier, TabularRegressor

Mnist = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    pictures, labels = digits_arrays()
    return (pictures.reshape(len(pictures), 64) / 255).astype(np.float32), labels


class ClassifierModule(nn.Module):
    """The module of the notebooks: softmax at the end there, scores here."""

    def __init__(self, num_units: int = 32, nonlin: Any = F.relu, dropout: float = 0.3) -> None:
        super().__init__()
        self.dense0, self.dense1 = nn.Linear(64, num_units), nn.Linear(num_units, 32)
        self.nonlin, self.dropout = nonlin, nn.Dropout(dropout)
        self.output = nn.Linear(32, 10)

    def forward(self, X: Tensor) -> Tensor:
        X = self.dropout(self.nonlin(self.dense0(X)))
        X = F.relu(self.dense1(X))
        out: Tensor = self.output(X)
        return out


def test_basic_usage(tmp_path: Path) -> None:
    """Notebook "Basic Usage": train, `predict`, `predict_proba`, save and load; a fifth is held out."""
    X, y = digits()
    valid = get_cv_idxs(len(X), val_pct=0.2)
    train = np.setdiff1d(np.arange(len(X)), valid)
    data = DataBunch(
        tmp_path,
        TensorLoader(T(X[train]), T(y[train]), 128, shuffle=True),
        TensorLoader(T(X[valid]), T(y[valid]), 128),
        target=Category([str(i) for i in range(10)]),
    )
    net = Learner(data, ClassifierModule(), partial(optim.SGD, momentum=0.9))
    net.fit(0.1, 15)
    y_proba = net.predict_proba()
    assert y_proba.shape == (len(valid), 10)
    np.testing.assert_allclose(y_proba.sum(1), 1, rtol=1e-4)
    assert (y_proba.argmax(1) == y[valid]).mean() > 0.7
    assert list(net.sched.to_frame().columns[:3]) == ["epoch", "trn_loss", "val_loss"]

    new_net = load_learner(net.export(tmp_path / "net"), model=ClassifierModule())
    np.testing.assert_allclose(np.exp(new_net.predict_array(X[valid])), y_proba, atol=1e-5)


def test_regression(tmp_path: Path) -> None:
    """Notebook "Basic Usage", the part on regression: a target that is made of columns, of which some have gaps; fitted and scored."""
    frame = adult_frames()[0].sample(3000, random_state=0)
    X = frame[["age", "workclass", "education-num", "sex", "marital-status", "relationship"]]
    noise = np.random.default_rng(0).normal(size=len(X))
    y = X["age"].to_numpy() * 0.5 + X["education-num"].to_numpy() + 10 * (X["sex"] == "Male").to_numpy() + noise
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    net_regr = TabularRegressor(szs=[32], epochs=15, random_state=0).fit(X_train, y_train)
    y_pred = net_regr.predict(X_test)
    assert y_pred.shape == y_test.shape
    assert net_regr.score(X_test, y_test) > 0.8


def test_pipeline_and_grid_search() -> None:
    """Notebook "Basic Usage", the parts on pipelines and grid search, and "Advanced Usage" on prediction by folds."""
    frame = adult_frames()[0].sample(1500, random_state=0)
    y = frame.pop("income")
    X = frame[["age", "education-num", "hours-per-week", "sex", "marital-status"]]
    scaled = make_column_transformer(
        (StandardScaler(), ["age", "education-num", "hours-per-week"]), (OrdinalEncoder(), ["sex", "marital-status"])
    )
    net = TabularClassifier(szs=[16], epochs=5, random_state=0)
    pipe = Pipeline([("scale", scaled), ("net", net)])
    pipe.fit(X, y)
    assert pipe.predict_proba(X).shape == (1500, 2)
    assert roc_auc_score(y == ">50K", pipe.predict_proba(X)[:, 1]) > 0.75

    params = {"net__lr": [1e-7, 0.01], "net__szs": [[8], [16]]}
    gs = GridSearchCV(pipe, params, refit=False, cv=2, scoring="roc_auc")
    gs.fit(X, y)
    assert gs.best_params_["net__lr"] == 0.01
    assert gs.best_score_ > 0.7

    by_folds = cross_val_predict(make_pipeline(scaled, net), X, y, cv=2, method="predict_proba")
    assert roc_auc_score(y == ">50K", by_folds[:, 1]) > 0.7


def test_mnist_with_a_cosine_and_callbacks(tmp_path: Path, mnist: Mnist) -> None:
    """Notebook "MNIST" and "Advanced Usage": torch's own loaders, a schedule, early stopping, the best epoch kept as a checkpoint."""
    X_train, y_train, X_test, y_test = (torch.from_numpy(part) for part in mnist)
    train = DataLoader(TensorDataset(X_train.reshape(-1, 784), y_train), 64, shuffle=True)
    test = DataLoader(TensorDataset(X_test.reshape(-1, 784), y_test), 128)
    data = DataBunch(tmp_path, train, test, target=Category(range(10)))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 98), nn.ReLU(), nn.Dropout(0.5), nn.Linear(98, 10))
    lo = LayerOptimizer(optim.Adam, model, 0.005)
    ended = []
    schedule = CosAnneal(lo, 2 * len(train), on_cycle_end=lambda sched, cycle: ended.append(cycle))
    best = SaveBest(tmp_path / "params", "accuracy", "max", restore=True)
    watch = EarlyStopping("val_loss", patience=3)
    results = fit(model, data, 4, lo.opt, F.cross_entropy, ["accuracy"], [schedule, best, watch])
    assert results["accuracy"] > 0.75
    assert ended == [0, 1]
    assert (tmp_path / "params.safetensors").exists()
    model.eval()
    with torch.no_grad():
        assert (model(X_test.reshape(-1, 784)).argmax(1) == y_test).float().mean() > 0.75


def test_transfer_learning(tmp_path: Path) -> None:
    """Notebook "Transfer Learning": a body that was trained for another task is frozen, a new last layer learns."""
    X, y = digits()
    odd = (y % 2).astype(np.int64)
    order = get_cv_idxs(len(X), val_pct=0.5)
    few = np.setdiff1d(np.arange(len(X)), order)
    names = pd.Index(["even", "odd"])

    def bunch(targets: NDArray[np.int64], classes: Any) -> DataBunch:
        trn_dl = TensorLoader(T(X[few]), T(targets[few]), 64, shuffle=True)
        return DataBunch(tmp_path, trn_dl, TensorLoader(T(X[order]), T(targets[order]), 256), target=Category(classes))

    source = ClassifierModule(dropout=0.0)
    Learner(bunch(y, range(10)), source).fit(5e-3, 8)
    body = source.dense0.weight.detach().clone()

    source.output = nn.Linear(32, 2)
    for layer in (source.dense0, source.dense1):
        set_trainable(layer, False)
    net = Learner(bunch(odd, list(names)), source)
    results = net.fit(1e-2, 4)
    assert results["accuracy"] > 0.75
    assert torch.equal(source.dense0.weight, body)
    assert [layer.trainable for layer in (source.dense0, source.dense1)] == [False, False]
