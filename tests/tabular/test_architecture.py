"""Where training starts: the description of a model is plain data, and its first predictions are the average."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit import Category
from learnkit.tabular import ColumnarModelData, MixedInputModel
from learnkit.tabular.architecture import build_model


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
    data = ColumnarModelData.from_data_frame(tmp_path, None, df, y, ["Store"], **options)
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
    data = ColumnarModelData.from_data_frame(tmp_path, None, df, df["Km"], ["Store"])
    learn = data.get_learner(arch=arch, szs=[8, 4], drops=[0.1, 0.2], use_bn=True, y_range=(0, 1))
    config = json.loads(json.dumps(learn.config))
    edges = torch.zeros(config["n_cont"], config["n_edges"]) if arch == "ple" else None
    assert repr(build_model(config, edges)) == repr(learn.model)
