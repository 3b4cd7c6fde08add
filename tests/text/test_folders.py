"""Folders that are labels, and texts beside them that have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnkit import DataError
from learnkit.text import TextData
from tests.text.helpers import words


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"a film of {Path(name).parent.name}")


def reviews(root: Path) -> None:
    write(root, *[f"{part}/{kind}/{i}.txt" for part in ("train", "valid") for kind in ("pos", "neg") for i in range(3)])


@pytest.mark.parametrize("name", ["unsup", "Unlabeled", "rest"])
@pytest.mark.parametrize("val_name", ["valid", None])
def test_a_folder_of_unlabelled_texts_is_noticed(name: str, val_name: str | None, tmp_path: Path) -> None:
    reviews(tmp_path)
    write(tmp_path, f"train/{name}/0.txt")
    if name != "rest" or val_name is not None:  # without a validation set only its name tells
        with pytest.warns(UserWarning, match=f"each folder is a label, {name!r} too.*Pass `classes=`") as caught:
            data = TextData.from_folders(tmp_path, words(), val_name=val_name)
        assert [Path(warning.filename).name for warning in caught] == ["test_folders.py"]
        assert data.classes == sorted(["neg", "pos", name])
    data = TextData.from_folders(tmp_path, words(), val_name=val_name, classes=["pos", "neg"])
    assert data.classes == ["neg", "pos"]
    assert len(data.trn_ds) == 6
    assert "film" in data.field.vocab
    assert name.lower() not in data.field.vocab


def test_texts_beside_the_folders_are_counted(tmp_path: Path) -> None:
    reviews(tmp_path)
    write(tmp_path, "train/a.txt", "train/b.TXT", "train/.hidden.md")
    with pytest.warns(UserWarning, match=r"2 text\(s\) lie beside the folders of labels, such as 'a.txt'"):
        assert len(TextData.from_folders(tmp_path, words()).trn_ds) == 6


def test_classes_that_are_not_there(tmp_path: Path) -> None:
    reviews(tmp_path)
    with pytest.raises(DataError, match="train has no folder 'neutral' of `classes`; it holds: neg, pos"):
        TextData.from_folders(tmp_path, words(), classes=["pos", "neutral"])
    with pytest.raises(TypeError, match="`classes` must be a list of folders; got the text 'pos'"):
        TextData.from_folders(tmp_path, words(), classes="pos")
