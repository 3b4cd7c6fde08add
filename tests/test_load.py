"""An exported learner predicts and trains elsewhere as it did here, without the data it was trained on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from learnkit import Category, CheckpointError, DataBunch, Learner, MultiCategory, Real, TrainingError, load_learner
from learnkit.store.archive import PARTS, read_archive
from learnkit.vision import (
    Augment,
    ConvLearner,
    Cutout,
    ImageClassifierData,
    tfms_from_model,
    transforms_side_on,
    transforms_top_down,
)
from tests.train.helpers import N_IN, assert_same, items, learner, net

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 40, 48, 3), dtype=np.uint8)


def pictures(path: Path, tfms: Any = None, **kwargs: Any) -> ImageClassifierData:
    y = np.array(["cat", "dog"])[np.arange(20) % 2]
    tfms = tfms or tfms_from_model(
        "squeezenet1_1", 32, aug_tfms=[*transforms_side_on, Cutout(1, 4)], max_zoom=1.1, pad=2
    )
    return ImageClassifierData.from_arrays(path, (PIXELS, y), (PIXELS, y), 8, tfms, num_workers=0, **kwargs)


def conv(path: Path, **kwargs: Any) -> ConvLearner:
    learn = ConvLearner.pretrained("squeezenet1_1", pictures(path), weights=False, xtra_fc=[8], **kwargs)
    learn.no_progress()
    return learn


def test_pictures_are_prepared_and_predicted_the_same_in_another_process(tmp_path: Path) -> None:
    learn = conv(tmp_path)
    learn.fit(1e-2, 1)
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(PIXELS[i]).save(files[-1])
    code = (
        "import json, sys; from learnkit import load_learner; learn = load_learner(sys.argv[1]); "
        "print(json.dumps([learn.predict_files(sys.argv[2:]).tolist(), learn.data.classes]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, learn.export(tmp_path / "m"), *files],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "LEARNKIT_DEVICE": "cpu", "PATH": ""},
    )
    preds, classes = json.loads(out.stdout)
    # The last bit may depend on where in memory a process puts a picture, or on the size of a batch.
    np.testing.assert_allclose(np.float32(preds), learn.predict_files(files), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(learn.predict_files(files), learn.predict()[:3], rtol=1e-5, atol=1e-5)
    assert classes == ["cat", "dog"]


@pytest.mark.parametrize("arch", ["squeezenet1_1", "timm/tf_efficientnet_lite0"])
def test_fine_tuning_goes_on_from_what_was_exported(arch: str, tmp_path: Path) -> None:
    """Which layers are frozen, transforms and settings come along: training on is training on."""
    data = pictures(tmp_path)
    learn = ConvLearner.pretrained(arch, data, weights=False, xtra_fc=[8], ps=[0.05, 0.1], precision="bf16")
    learn.no_progress()
    learn.freeze()
    learn.clip = 0.5
    learn.fit(1e-2, 1)
    again = load_learner(learn.export(tmp_path / "m.learnkit"))
    again.no_progress()
    assert isinstance(again, ConvLearner)
    assert repr(again.data.trn_ds.tfm) == repr(data.trn_ds.tfm)
    assert repr(again.data.val_ds.tfm) == repr(data.val_ds.tfm)
    assert (again.precision, again.clip, again.metrics) == ("bf16", 0.5, ["accuracy"])
    again.set_data(data)
    ends = []
    for each in (learn, again):
        torch.manual_seed(0)
        ends.append(each.fit_one_cycle(1, 1e-2))
    assert ends[0] == ends[1]
    assert_same(learn.model, again.model)


def test_the_loss_is_still_the_targets_own_after_other_data_was_set(tmp_path: Path) -> None:
    learn = learner(tmp_path)
    learn.set_data(learner(tmp_path).data)
    again = load_learner(learn.export(tmp_path / "m"), model=net(seed=9))
    again.set_data(learn.data)
    again.no_progress()
    again.fit(1e-2, 1)


def test_a_model_of_ones_own_is_passed_in(tmp_path: Path) -> None:
    learn = learner(tmp_path)
    learn.fit(1e-2, 1)
    file = learn.export(tmp_path / "mine")
    with pytest.raises(
        CheckpointError, match="holds the weights of a Sequential, which is not one of learnkit's models"
    ):
        load_learner(file)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_learner(file, model=nn.Linear(N_IN, 3))
    again = load_learner(file, model=net(seed=9))
    x = items(5)[0]
    assert np.array_equal(again.predict_array(x), learn.predict_array(x))
    assert again.data.classes == ["a", "b", "c"]


def test_a_head_of_ones_own(tmp_path: Path) -> None:
    def head() -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))

    learn = conv(tmp_path, custom_head=head())
    file = learn.export(tmp_path / "head")
    with pytest.raises(CheckpointError, match="pass `model="):
        load_learner(file)
    again = load_learner(file, model=nn.Sequential(conv(tmp_path).model[0], head()))  # type: ignore[index]
    assert np.array_equal(again.predict_array(torch.ones(2, 3, 32, 32)), learn.predict_array(torch.ones(2, 3, 32, 32)))
    assert len(again.get_layer_groups()) == 3


class Upside(Augment):
    def draw(self, rng: Any, draw: Any) -> None:
        draw.quarter_turns += 2


def test_transforms_of_ones_own_are_named_when_they_are_missed(tmp_path: Path) -> None:
    tfms = tfms_from_model("squeezenet1_1", 32, aug_tfms=[*transforms_top_down, Upside()])
    data = pictures(tmp_path, tfms)
    learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False)
    again = load_learner(learn.export(tmp_path / "m"))
    assert again.predict_array(torch.ones(1, 3, 32, 32)).shape == (1, 2)  # validation has no augmentation
    with pytest.raises(Exception, match="the transform Upside was your own"):
        again.data.trn_ds.tfm(PIXELS[0])


@pytest.mark.parametrize("target", [Category([3, 1, 2]), MultiCategory(["a", "b"], threshold=0.3), Real(2)])
def test_targets_come_back(target: Any, tmp_path: Path) -> None:
    x = torch.randn(8, N_IN)
    y = torch.zeros(8, dtype=torch.long) if isinstance(target, Category) else torch.zeros(8, target.c)
    model = nn.Linear(N_IN, target.c)
    learn = Learner(DataBunch(tmp_path, [(x, y)], target=target), model)
    again = load_learner(learn.export(tmp_path / "t"), model=nn.Linear(N_IN, target.c))
    assert type(again.data.target) is type(target)
    assert vars(again.data.target) == vars(target)
    assert np.array_equal(again.predict_array(x), learn.predict_array(x))


class Count(Real):
    def activation(self, pred: Tensor) -> Tensor:
        return pred.float().exp()


def test_what_is_not_data_has_to_be_passed_again(tmp_path: Path) -> None:
    x = torch.randn(8, N_IN)
    learn = Learner(DataBunch(tmp_path, [(x, torch.ones(8))], target=Count()), nn.Linear(N_IN, 1), crit=F.l1_loss)
    file, model = learn.export(tmp_path / "t"), nn.Linear(N_IN, 1)
    with pytest.raises(CheckpointError, match="a Count, which is not one of learnkit's targets; pass `target=`"):
        load_learner(file, model=model)
    again = load_learner(file, model=model, target=Count())
    assert np.array_equal(again.predict_array(x), learn.predict_array(x))
    again.set_data(learn.data)
    with again.no_progress(), pytest.raises(TrainingError, match="trained with the loss l1_loss: pass it"):
        again.fit(0.1, 1)
    again = load_learner(file, model=model, target=Count(), crit=F.l1_loss)
    again.set_data(learn.data)
    with again.no_progress():
        again.fit(0.1, 1)


def test_the_file_is_a_plain_zip_of_data(tmp_path: Path) -> None:
    file = conv(tmp_path).export(tmp_path / "m")
    assert file.name == "m.learnkit"
    with zipfile.ZipFile(file) as opened:
        assert sorted(opened.namelist()) == sorted(["manifest.json", *PARTS[:2]])
        manifest = json.loads(opened.read("manifest.json"))
    assert manifest["kind"] == "learner"
    assert manifest["versions"]["torch"] == torch.__version__
    assert read_archive(file, "learner").state["recipe"]["model"] == {
        "arch": "squeezenet1_1",
        "c": 2,
        "ps": [0.25, 0.5],
        "xtra_fc": [8],
        "head": True,
    }


def test_the_same_learner_gives_the_same_bytes(tmp_path: Path) -> None:
    learn = learner(tmp_path)
    assert learn.export(tmp_path / "a").read_bytes() == learn.export(tmp_path / "b").read_bytes()


def test_a_model_larger_than_its_weights_is_never_made(tmp_path: Path) -> None:
    """A description may claim a table of a trillion rows; memory is taken only when the weights agree."""
    from learnkit.store.archive import write_archive
    from learnkit.tabular import ColumnarModelData

    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    learn = ColumnarModelData.from_data_frame(tmp_path, False, df, df["Km"], ["Store"], bs=8).get_learner()
    archive = read_archive(learn.export(tmp_path / "t"), "learner")
    archive.state["recipe"]["model"]["emb_szs"] = [(10**12, 50)]
    file = write_archive(tmp_path / "huge.learnkit", "learner", archive.weights, archive.state)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_learner(file)
    archive.state["recipe"]["model"]["szs"] = [10] * 10**6
    file = write_archive(tmp_path / "deep.learnkit", "learner", archive.weights, archive.state)
    with pytest.raises(CheckpointError, match="more layers than weights"):
        load_learner(file)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    learn = learner(tmp_path)
    learn.fit(1e-2, 1, checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match="is a 'checkpoint' file; a 'learner' file is needed"):
        load_learner(next((tmp_path / "c").iterdir()))
    with pytest.raises(CheckpointError, match="holds weights alone: make the learner, then `learn.load` them"):
        load_learner(learn.save("weights"))
    with pytest.raises(CheckpointError, match="there is no file"):
        load_learner(tmp_path / "none")
