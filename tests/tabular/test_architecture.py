"""Where training starts: the description of a model is plain data, and its first predictions are the average."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit import Category, DataError
from learnkit.tabular import ColumnarModelData, MixedInputModel, TableSpec


@pytest.mark.parametrize(
    ("y", "options", "y_range"),
    [
        (np.linspace(3, 9, 40), {}, None),
        (np.linspace(3, 9, 40), {}, (0, 20)),
        (np.stack([np.linspace(3, 9, 40), np.ones(40)], axis=1), {}, None),
        (np.arange(40) % 8 // 3, {"is_reg": False}, None),
        (np.eye(4)[np.arange(40) % 3], {"is_reg": False, "is_multi": True}, None),
    ],
)
def test_a_new_model_predicts_the_average(tmp_path, y, options, y_range):
    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    data = ColumnarModelData.from_data_frame(tmp_path, False, df, y, ["Store"], **options)
    learn = data.get_learner(y_range=y_range)
    assert isinstance(learn.model, MixedInputModel)
    torch.nn.init.zeros_(learn.model.outp.weight)  # what is left is the bias
    preds = learn.predict_dl(data.trn_dl)
    if isinstance(data.target, Category):
        np.testing.assert_allclose(np.exp(preds[0]), np.eye(3)[y].mean(0), atol=1e-6)
    else:
        np.testing.assert_allclose(preds[0], y.reshape(40, -1).mean(0), atol=2e-3)


@pytest.mark.parametrize("arch", ["mlp", "ple"])
def test_a_model_is_made_again_of_its_description(tmp_path, arch):
    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    data = ColumnarModelData.from_data_frame(tmp_path, False, df, df["Km"], ["Store"])
    learn = data.get_learner(arch=arch, szs=[8, 4], drops=[0.1, 0.2], use_bn=True, y_range=(0, 1))
    assert learn.spec is not None
    spec = TableSpec.from_data(json.loads(json.dumps(learn.spec.to_data())))
    assert repr(spec.build()) == repr(learn.model)


def test_y_range_must_hold_the_training_targets(tmp_path):
    df = pd.DataFrame({"Km": np.linspace(0, 1, 12)})
    y = np.linspace(10, 20, 12)
    md = ColumnarModelData.from_data_frame(tmp_path, [11], df, y, bs=4)
    with pytest.raises(DataError, match="the training targets go from 10 to 19.0909, outside `y_range` 0 to 1"):
        md.get_learner(y_range=(0, 1))
    md.get_learner(y_range=(10, 20))
    with pytest.warns(UserWarning, match="the validation targets go from 20 to 20, outside `y_range` 0 to 19.5"):
        md.get_learner(y_range=(0, 19.5))
    several = ColumnarModelData.from_data_frame(tmp_path, [11], df, np.stack([y, y * 9], axis=1), bs=4)
    with pytest.raises(DataError, match="go from 10 to 171.818, outside"):
        several.get_learner(y_range=(0, 25))
    with pytest.raises(ValueError, match="lowest < highest"):
        md.get_learner(y_range=(20, 0))


def test_y_range_may_give_up_on_a_few_outliers(tmp_path):
    df = pd.DataFrame({"Km": np.linspace(0, 1, 301)})
    y = np.r_[np.full(297, 10.0), 40, 500, 900, 10]
    md = ColumnarModelData.from_data_frame(tmp_path, [300], df, y, bs=64)
    with pytest.warns(UserWarning, match=r"outside `y_range` 0 to 50, .* \(2 of 300 targets\)"):
        md.get_learner(y_range=(0, 50))
    md = ColumnarModelData.from_data_frame(tmp_path, [300], df, np.where(df["Km"] < 0.01, 900, y), bs=64)
    with pytest.raises(DataError, match=r"\(5 of 300 targets\). Widen it"):
        md.get_learner(y_range=(0, 50))


@pytest.mark.parametrize(
    ("y", "options"), [(["a", "b"] * 6, {"is_reg": False}), (np.eye(2, dtype=int)[[0, 1] * 6], {"is_multi": True})]
)
def test_y_range_is_nothing_for_classes(tmp_path, y, options):
    md = ColumnarModelData.from_data_frame(tmp_path, [11], pd.DataFrame({"Km": np.arange(12.0)}), y, bs=4, **options)
    with pytest.raises(DataError, match="`y_range` squeezes the values of a regression; here 2 classes are predicted"):
        md.get_learner(y_range=(0, 1))
