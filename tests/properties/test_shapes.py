"""Shapes drawn at random: predictions and targets meet element for element, in one shape everywhere, or are refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from learnkit import (
    Category,
    DataBunch,
    Learner,
    MultiCategory,
    Real,
    TensorLoader,
    TrainingError,
    load_learner,
    validate,
)
from learnkit.collab import CollabFilterDataset
from learnkit.data.loaders import ItemLoader
from learnkit.tabular import ColumnarModelData, TabularRegressor, proc_df
from learnkit.text import Field, TextData
from learnkit.train.metrics import METRICS
from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, tfms_from_stats
from learnkit.vision.data import ImageDataset

few = settings(max_examples=40)


@st.composite
def with_ones(draw: st.DrawFn, core: tuple[int, ...]) -> tuple[int, ...]:
    """The same sizes with ones put in anywhere but before the items."""
    shape = list(core)
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(1, len(shape))), 1)
    return tuple(shape)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    core = (draw(st.integers(2, 5)), *draw(st.lists(st.integers(1, 4), max_size=2)))
    g = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.int32, torch.bool]))
    y = (torch.rand(core, generator=g) > 0.5).to(dtype)
    return torch.rand(draw(with_ones(core)), generator=g), y.reshape(draw(with_ones(core)))


@few
@given(pairs())
def test_losses_and_metrics_compare_element_for_element(pair):
    preds, y = pair
    flat, values = preds.reshape(-1), y.reshape(-1).float()
    found = validate(nn.Identity(), [(preds, y)], Real().loss, ["mse", "mae", "accuracy"])
    assert found["val_loss"] == pytest.approx(F.mse_loss(flat, values).item(), rel=1e-5)
    assert found["mse"] == pytest.approx(float((flat - values).square().mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(float((flat - values).abs().mean()), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float(((flat >= 0.5) == (values >= 0.5)).float().mean()))
    found = validate(nn.Identity(), [(preds - 0.5, y)], MultiCategory(list("a")).loss, ["accuracy"])
    assert found["val_loss"] == pytest.approx(F.binary_cross_entropy_with_logits(flat - 0.5, values).item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float(((flat >= 0.5) == (values >= 0.5)).float().mean()))


@few
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    st.sampled_from(
        [
            Real().loss,
            MultiCategory(list("a")).loss,
            Category(list("ab")).loss,
            F.mse_loss,
            F.cross_entropy,
            nn.L1Loss(),
        ]
    ),
)
def test_any_two_shapes_are_compared_rightly_or_refused_in_words(a, b, crit):
    preds, y = torch.rand(a), torch.rand(b)
    try:
        found = validate(nn.Identity(), [(preds, y)], crit)["val_loss"]
    except TrainingError:
        return
    assert preds.numel() == y.numel()
    try:
        right = crit(preds, y.reshape(preds.shape))
    except RuntimeError:
        right = crit(preds.reshape(len(y), -1), y.reshape(len(y), -1))
    assert found == pytest.approx(float(right), rel=1e-5)


@few
@given(n=st.integers(2, 12), trail=st.sampled_from([(), (1,)]), squeezes=st.booleans(), seed=st.integers(0, 5))
def test_a_loss_of_ones_own_is_fed_the_data_or_refused_never_trained_on_pairs(n, trail, squeezes, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=g)
    y = (x[:, 0] + torch.randn(n, generator=g)).reshape(n, *trail)
    model = nn.Linear(2, 1)

    def crit(out: Tensor, t: Tensor) -> Tensor:
        return (((out.squeeze(1) - t.flatten()) if squeezes else (out - t)) ** 2).mean()

    with torch.no_grad():
        right = ((model(x)[:, 0] - y.flatten()) ** 2).mean().item()
    if squeezes or trail:
        assert validate(model, [(x, y)], crit)["val_loss"] == pytest.approx(right, rel=1e-5)
    else:
        with pytest.raises(TrainingError, match="compares every prediction with every target"):
            validate(model, [(x, y)], crit)


# ---------------------------------------------------------------- one rule in every application


def check_one_shape(learn: Learner, more: dict[str, Any], trail: tuple[int, ...], tmp_path: Any) -> None:
    """Whatever predicts gives the shape of the targets, and the error is that of the element for element."""
    learn.no_progress()
    y = np.asarray(learn.data.val_y)
    preds, targs = learn.predict_with_targs()
    assert preds.shape == targs.shape == y.shape == (len(y), *trail)
    assert Learner.predict(learn).shape == learn.predict_proba().shape == y.shape
    assert learn.predict_dl(learn.data.val_dl).shape == y.shape  # type: ignore[arg-type]
    assert learn.validate(metrics=["mse"])["mse"] == pytest.approx(float(((preds - targs) ** 2).mean()), rel=1e-4)
    for name, (found, n) in more.items():
        assert found.shape == (n, *trail), name
    options: dict[str, Any] = {"model": learn.model} if type(learn) is Learner else {}
    again = load_learner(learn.export(tmp_path / "one"), **options)
    xs = next(iter(learn.data.val_dl))[:-1]  # type: ignore[arg-type]
    xs = tuple(xs[0]) if isinstance(xs[0], tuple | list) else tuple(xs)
    assert again.predict_array(xs).shape == (len(xs[0]), *trail)


@pytest.mark.parametrize("trail", [(), (1,), (3,)])
def test_plain_learners(trail, tmp_path):
    x = torch.randn(11, 2)
    y = torch.randn(11, *trail)
    dl: Any = TensorLoader(x, y, 4)
    for loader in (dl, list(dl), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 4)):
        for target in (Real(3 if trail == (3,) else 1), None):
            data = DataBunch(tmp_path, loader, loader, [(x[:5], torch.zeros(5))], target=target)
            learn = Learner(data, nn.Linear(2, 3 if trail == (3,) else 1), crit=F.mse_loss if target is None else None)
            more = {"array": (learn.predict_array(x[:2]), 2), "test": (learn.predict(is_test=True), 5)}
            if target is not None:
                check_one_shape(learn, more, trail, tmp_path)
            else:
                assert learn.predict().shape == y.shape
                assert all(found.shape == (n, *trail) for found, n in more.values())


@pytest.mark.parametrize("trail", [(), (1,), (2,)])
def test_tables(trail, tmp_path):
    frame = pd.DataFrame({"a": np.arange(30.0), "b": list("xyz") * 10, "y": np.arange(30.0)})
    df, _, _, mapper = proc_df(frame, "y")
    y = np.random.default_rng(0).normal(size=(30, *trail))
    data = ColumnarModelData.from_data_frame(tmp_path, range(20, 30), df, y, bs=8, test_df=df[:4], mapper=mapper)
    learn = data.get_learner(szs=[4])
    raw = frame[["a", "b"]]
    more = {"frame": (learn.predict_df(raw), 30), "test": (learn.predict(is_test=True), 4)}
    check_one_shape(learn, more, trail, tmp_path)
    if trail != (1,):  # scikit-learn takes a column for a vector, with a warning
        estimator = TabularRegressor(epochs=1, szs=(4,)).fit(raw, y)
        assert estimator.predict(raw).shape == y.shape


@pytest.mark.parametrize("trail", [(), (2,)])
def test_texts(trail, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": ["a b c", "b", "c a"] * 8, "u": rng.normal(size=24), "v": rng.normal(size=24)})
    label: Any = ["u", "v"] if trail else "u"
    data = TextData.from_dataframes(
        tmp_path, Field(tokenize=str.split), "text", label, frame, frame[:7], bs=4, continuous=True
    )
    learn = data.get_model(None, 70, 70, emb_sz=4, n_hid=6, n_layers=1)
    check_one_shape(learn, {"texts": (learn.predict_texts(["a", "b c"]), 2)}, trail, tmp_path)


def test_ratings(tmp_path):
    frame = pd.DataFrame({"user": list("aabbccdd"), "item": list("xyxyxzyz"), "rating": [5.0, 4, 5, 4, 5, 1, 4, 1]})
    learn = CollabFilterDataset.from_data_frame(tmp_path, frame, "user", "item", "rating").get_learner(
        2, [1, 4, 6], bs=2
    )
    check_one_shape(learn, {"pairs": (learn.predict(["a", "b"], ["x", "y"]), 2)}, (), tmp_path)


@pytest.mark.parametrize("trail", [(), (1,), (2,)])
def test_pictures(trail, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 3, 8, 8)).astype(np.float32), rng.normal(size=(8, *trail)).astype(np.float32)
    c = trail[0] if trail else 1
    tfm = tfms_from_stats(([0.5] * 3, [0.5] * 3), 8, aug_tfms=[RandomFlip()])[0]
    loaders = [ItemLoader(ImageDataset(x, y, tfm), 4) for _ in range(2)]
    real = ImageClassifierData(tmp_path, *loaders, target=Real(c))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, c))
    learn = ConvLearner.from_model_data(model, real)
    preds, targs = learn.TTA(n_aug=2)
    assert preds.shape == (3, *targs.shape) == (3, 8, *trail)
    np.testing.assert_allclose(preds[0], learn.predict(), rtol=1e-5, atol=1e-6)
    assert learn.predict_array(x[:3]).shape == (3, *trail)
    assert learn.predict_with_targs()[0].shape == real.val_y.shape == (8, *trail)


def test_every_metric_of_values_takes_what_predict_gives():
    x = torch.randn(20, 2)
    data = DataBunch(".", [(x, x.sum(1))], [(x, x.sum(1))], target=Real())
    preds, targs = Learner(data, nn.Linear(2, 1)).predict_with_targs()
    for name in ("mse", "mae", "rmse", "r2"):
        assert np.isfinite(METRICS[name](preds, targs))
    assert float(((preds - targs) ** 2).mean()) == pytest.approx(METRICS["mse"](preds, targs), rel=1e-5)
