"""The page on a kind of data of one's own, run from top to bottom, and what happens when it is used wrongly."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from learnkit import CheckpointError, DataError, Learner, load_learner, seed_everything

PAGE = Path(__file__).parents[1] / "docs/own_data.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the code of the page in a folder of its own, and return what it defined."""
    names: dict[str, Any] = {"__name__": "own_data"}
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("own_data")
    os.chdir(folder)
    try:
        seed_everything(0)
        text = PAGE.read_text().replace('Path("sounds")', f"Path({str(folder / 'sounds')!r})")  # for later tests
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    finally:
        os.chdir(before)
        plt.close("all")
    names["folder"] = folder
    return names


def test_it_learns_what_it_shall(page: dict[str, Any]) -> None:
    assert page["learn"].validate()["accuracy"] > 0.85
    assert (page["folder"] / "batch.png").stat().st_size > 10_000
    assert (page["folder"] / "results.png").stat().st_size > 10_000


def test_raw_sounds_are_predicted_as_those_of_the_validation_set(page: dict[str, Any]) -> None:
    learn, prep = page["learn"], page["SoundPrep"]()
    rng = np.random.default_rng(5)
    sounds = [page["sound"](kind, rng) for kind in ("noise", "tone", "buzz")]
    raw = learn.predict_raw(sounds)
    np.testing.assert_allclose(raw, learn.predict_array(torch.stack([prep.item(x) for x in sounds])), atol=1e-5)
    np.testing.assert_allclose(raw, learn.predict_raw(sounds, bs=1), atol=1e-5)
    assert learn.predict_raw(sounds, decode=True) == [learn.data.classes[i] for i in raw.argmax(1)]


def test_the_file_predicts_the_same_and_trains_on(page: dict[str, Any]) -> None:
    learn, file = page["learn"], page["folder"] / "sounds.learnkit"
    again = load_learner(file, prep=page["SoundPrep"], model=page["SoundNet"])
    assert again.prep == learn.prep
    assert again.spec == learn.spec
    sounds = [np.ones(30, dtype=np.float32), np.sin(np.arange(900, dtype=np.float32))]
    np.testing.assert_allclose(again.predict_raw(sounds), learn.predict_raw(sounds), atol=1e-5)
    again.set_data(learn.data)
    with again.no_progress():
        again.fit(1e-3, 1)


def test_what_the_file_does_not_hold_is_asked_for(page: dict[str, Any]) -> None:
    file = page["folder"] / "sounds.learnkit"
    with pytest.raises(CheckpointError, match=r"Sequential.*pass `model="):
        load_learner(file, prep=page["SoundPrep"])
    learn = load_learner(file, model=page["SoundNet"])
    with pytest.raises(DataError, match="raw items cannot be predicted"):
        learn.predict_raw([np.zeros(10)])
    assert learn.predict_array(np.zeros((2, 1, 2000), dtype=np.float32)).shape == (2, 3)


def test_what_is_wrong_with_an_item_is_said(page: dict[str, Any]) -> None:
    learn = page["learn"]
    with pytest.raises(DataError, match=r"item 1.*one row of samples; got an array of shape \(2, 5\)"):
        learn.predict_raw([np.zeros(5), np.zeros((2, 5))])
    with pytest.raises(DataError, match="missing.npy"):
        learn.predict_raw([page["folder"] / "missing.npy"])
    with pytest.raises(DataError, match="`items` is empty"):
        learn.predict_raw([])


def test_weights_of_other_classes_or_another_preparation_are_refused(page: dict[str, Any], tmp_path: Path) -> None:
    learn, prep = page["learn"], page["NotePrep"](100)
    sounds, labels = [np.ones(5)] * 12, ["a", "b", "c"] * 4
    make = page["DataBunch"].from_items
    file = learn.save(tmp_path / "sounds")
    other = Learner(make(tmp_path, page["SoundPrep"](), sounds, labels, val_idxs=[0]), page["SoundNet"](16, 3))
    before = {name: x.clone() for name, x in other.model.state_dict().items()}
    with pytest.raises(CheckpointError, match="trained for Category"):
        other.load(file)
    assert all(torch.equal(x, before[name]) for name, x in other.model.state_dict().items())

    def net() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool1d(5), torch.nn.Flatten(), torch.nn.Linear(5, 3))

    ours = Learner(make(tmp_path, prep, sounds, labels, val_idxs=[0]), net())
    theirs = Learner(make(tmp_path, page["NotePrep"](50), sounds, labels, val_idxs=[0]), net())
    with pytest.raises(CheckpointError, match="length of a sound differ"):
        theirs.load(ours.save(tmp_path / "notes"))


def test_batches_that_are_made_at_once_are_predicted_and_exported(page: dict[str, Any], tmp_path: Path) -> None:
    learn, rows = page["loudness"], page["rows"]
    with learn.no_progress():
        learn.fit(1e-2, 1)
    np.testing.assert_allclose(learn.predict_raw(rows[1::2]), learn.predict(), atol=1e-5)
    again = load_learner(learn.export(tmp_path / "loud"), prep=page["VolumePrep"], model=torch.nn.Linear(10, 3))
    np.testing.assert_allclose(again.predict_raw(rows[:5], bs=2), learn.predict_raw(rows[:5]), atol=1e-5)
