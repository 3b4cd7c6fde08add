"""Names of fastai 0.7: what works does, what does not says what replaced it, and the page says the same."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn, optim

import learnkit
from learnkit import DataBunch, Learner, Recorder, TensorLoader, course, fit
from learnkit.collab import CollabFilterDataset
from learnkit.core.errors import DataError
from learnkit.core.old_names import OLD_NAMES, OldName, old_arguments
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.text import LanguageModelData, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, ImageDataset, tfms_from_model, tfms_from_stats

PAGE = Path(__file__).parents[1] / "docs" / "course.md"
PACKAGES = ("learnkit", "learnkit.collab", "learnkit.course", "learnkit.tabular", "learnkit.text", "learnkit.vision")
CALLS: dict[str, Any] = {
    "CollabFilterDataset.get_learner": CollabFilterDataset.get_learner,
    "ColumnarModelData.get_learner": ColumnarModelData.get_learner,
    "ConvLearner.from_model_data": ConvLearner.from_model_data,
    "ConvLearner.pretrained": ConvLearner.pretrained,
    "ImageClassifierData.from_paths": ImageClassifierData.from_paths,
    "LanguageModelData.get_model": LanguageModelData.get_model,
    "Learner": Learner,
    "ConvLearner.set_data": ConvLearner.set_data,
    "Learner.fit": Learner.fit,
    "Learner.lr_find": Learner.lr_find,
    "Learner.predict": Learner.predict,
    "Learner.predict_with_targs": Learner.predict_with_targs,
    "Recorder.plot": Recorder.plot,
    "Recorder.plot_loss": Recorder.plot_loss,
    "TextData.get_model": TextData.get_model,
    "fit": fit,
    "proc_df": proc_df,
    "tfms_from_model": tfms_from_model,
    "tfms_from_stats": tfms_from_stats,
}
CLASSES: dict[str, type] = {
    "CollabFilterDataset": CollabFilterDataset,
    "Recorder": Recorder,
    "DataBunch": DataBunch,
    "ImageClassifierData": ImageClassifierData,
    "ImageDataset": ImageDataset,
    "Learner": Learner,
}


def rows(kind: str, *, works: bool) -> list[OldName]:
    return [row for row in OLD_NAMES if row.kind == kind and row.works is works]


def name_of(row: OldName) -> str:
    return f"{row.where}-{row.name}"


def learner(folder: Path) -> Learner:
    torch.manual_seed(0)
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    data = DataBunch(folder, TensorLoader(x, y, 5, shuffle=True), TensorLoader(x, y, 5))
    return Learner(data, nn.Linear(3, 2), crit=F.cross_entropy)


@pytest.fixture
def pictures(tmp_path: Path) -> ImageClassifierData:
    for part in ("train", "valid", "test"):
        for i in range(4):
            file = tmp_path / part / ("" if part == "test" else "ab"[i % 2]) / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(file)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 8)
    return ImageClassifierData.from_paths(tmp_path, 2, tfms, test_name="test", num_workers=0)


def test_no_row_comes_twice() -> None:
    keys = [(row.where, row.kind, row.name) for row in OLD_NAMES]
    assert len(set(keys)) == len(keys)
    assert {row.where for row in OLD_NAMES if row.kind == "argument"} == set(CALLS)
    assert {row.where for row in OLD_NAMES if row.kind == "attribute"} == set(CLASSES)


@pytest.mark.parametrize("row", rows("argument", works=False), ids=name_of)
def test_an_argument_that_is_gone_says_what_replaced_it(row: OldName) -> None:
    call = CALLS[row.where]
    with pytest.raises(TypeError, match=re.escape(row.instead)) as caught:
        call(**{row.name: 1})
    assert f"`{row.name}`" in str(caught.value)
    assert row.name not in inspect.signature(call).parameters


@pytest.mark.parametrize("row", rows("argument", works=True), ids=name_of)
def test_an_argument_that_works_is_one(row: OldName) -> None:
    assert row.name in inspect.signature(CALLS[row.where]).parameters


def test_a_misspelt_argument_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="has no option `cycle_length`; did you mean `cycle_len`"):
        learner(tmp_path).fit(0.1, 1, cycle_length=2)  # type: ignore[call-arg]


def test_calls_keep_their_signature_and_their_examples() -> None:
    assert list(inspect.signature(Learner.fit).parameters)[:4] == ["self", "lrs", "n_cycle", "wds"]
    assert fit.__doc__
    assert fit.__globals__ is vars(importlib.import_module("learnkit.train.loop"))  # so doctest finds its example
    with pytest.raises(ValueError, match="do not go together"):
        old_arguments(np.argmax)


@pytest.mark.parametrize("row", rows("attribute", works=False), ids=name_of)
def test_an_attribute_that_is_gone_says_what_replaced_it(row: OldName, pictures: ImageClassifierData) -> None:
    learn = learner(pictures.path)
    ratings = pd.DataFrame({"user": [1, 1], "item": [1, 2], "stars": [3.0, 4.0]})
    thing: Any = {
        "CollabFilterDataset": CollabFilterDataset.from_data_frame(".", ratings, "user", "item", "stars"),
        "Recorder": learn.sched,
        "DataBunch": learn.data,
        "ImageClassifierData": pictures,
        "ImageDataset": pictures.trn_ds,
        "Learner": learn,
    }[row.where]
    assert not hasattr(thing, row.name)
    with pytest.raises(AttributeError, match=re.escape(row.instead)):
        getattr(thing, row.name)


@pytest.mark.parametrize("row", rows("attribute", works=True), ids=name_of)
def test_an_attribute_that_works_is_there(row: OldName) -> None:
    assert isinstance(getattr(CLASSES[row.where], row.name), property)


def test_the_attributes_that_work_are_right(tmp_path: Path, pictures: ImageClassifierData) -> None:
    learn = learner(tmp_path)
    assert learn.save("a").parent == learn.models_path
    assert (learn.models_path, learn.tmp_path) == (tmp_path / "models", tmp_path / "tmp")
    assert learn.data.trn_y.tolist() == [0, 1] * 10  # though its batches are shuffled
    assert pictures.trn_y.tolist() == [0, 0, 1, 1]
    assert [len(x) for x, _ in pictures.test_aug_dl] == [2, 2]
    with pytest.raises(DataError, match="keeps no array"):
        _ = DataBunch(".", [(torch.zeros(2, 1), torch.zeros(2))]).trn_y


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_gone_says_what_replaced_it(package: str) -> None:
    module = importlib.import_module(package)
    for row in rows("name", works=False):
        assert row.name not in module.__all__
        with pytest.raises(ImportError, match=re.escape(row.instead)):
            exec(f"from {package} import {row.name}")  # as a notebook does
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        _ = module.nonsense
    assert not hasattr(module, "nonsense")


def test_what_is_named_instead_is_there() -> None:
    """Dotted names of learnkit that the table sends people to can be imported."""
    for row in OLD_NAMES:
        for dotted in re.findall(r"learnkit(?:\.\w+)+", row.instead):
            package, _, name = dotted.rpartition(".")
            assert hasattr(importlib.import_module(package), name), dotted
    assert learnkit.WeightAverage(start=1)


# ---------------------------------------------------------------- the page


def table_of(row: OldName) -> str:
    place = {
        "argument": f"`{row.where}({row.name}=)`",
        "attribute": f"`{row.where}.{row.name}`",
        "name": f"`{row.name}`",
    }
    return f"| {place[row.kind]} | {'works: ' if row.works else ''}{row.instead} |"


def test_the_page_has_the_table_and_nothing_else() -> None:
    lines = PAGE.read_text().split("## Names that moved")[1].splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]  # without its heading
    assert table == [table_of(row) for row in OLD_NAMES]


def test_the_page_explains_every_call_in_a_line() -> None:
    lines = PAGE.read_text().split("## Calls in `learnkit.course`")[1].split("## ")[0].splitlines()
    named = [name for line in lines if line.startswith("| ") for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(course.__all__)


def test_the_schedule_that_the_table_names_trains(tmp_path: Path) -> None:
    learn = learner(tmp_path)
    learn.opt_fn = optim.Adam
    with learn.no_progress():
        learn.fit(0.01, 1, wds=1e-4, cycle_len=1, use_clr=(4, 8), use_wd_sched=True, norm_wds=True)
    assert len(learn.sched.lrs) == 4


def test_a_warning_points_at_the_users_line(pictures: ImageClassifierData) -> None:
    """However many calls of learnkit lie between, the one that looks at old arguments among them."""
    with pytest.warns(FutureWarning, match="dropout") as caught:
        ConvLearner.pretrained("squeezenet1_1", pictures, weights=False, ps=0.5)
    assert caught[0].filename == __file__
    (pictures.path / "train" / "empty").mkdir()
    with pytest.warns(UserWarning, match="hold no picture") as caught:
        ImageClassifierData.from_paths(pictures.path)
    assert caught[0].filename == __file__
