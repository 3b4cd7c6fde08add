"""Pictures named in tables, resized copies, checks of whole folders, balanced classes."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import learnkit
from examples import labels_from_a_table
from learnkit import DataError
from learnkit.data.targets import Category, MultiCategory, Real
from learnkit.vision import ImageClassifierData, imagenet_stats, open_image, tfms_from_stats, verify_images
from learnkit.vision.images import resized_copies

N = 20


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(N):
        Image.new("RGB", (40 + i, 30), (i * 10, 0, 0)).save(tmp_path / "pictures" / f"p{i}.jpg")
    return tmp_path


def write_table(folder, labels, **columns):
    frame = pd.DataFrame({"name": [f"p{i}" for i in range(N)], "label": labels, **columns})
    frame.to_csv(folder / "labels.csv", index=False)
    return "labels.csv"


def load(folder, labels, **options):
    table = write_table(folder, labels)
    options = {"tfms": tfms_from_stats(imagenet_stats, 24), "suffix": ".jpg", "bs": 4, **options}
    return ImageClassifierData.from_csv(folder, "pictures", table, **options)


def test_one_label_per_picture(folder):
    data = load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0, 1, 4])
    assert isinstance(data.target, Category)
    assert (len(data.trn_ds), len(data.val_ds)) == (N - 3, 3)
    assert [file.name for file in data.val_ds.paths] == ["p0.jpg", "p1.jpg", "p4.jpg"]
    np.testing.assert_array_equal(data.val_y, [0, 1, 0])


def test_several_labels_per_picture(folder):
    data = load(folder, ["clear", "clear water"] * (N // 2), val_idxs=[0, 1])
    assert isinstance(data.target, MultiCategory)
    assert data.is_multi
    assert data.classes == ["clear", "water"]
    np.testing.assert_array_equal(data.val_y, [[1, 0], [1, 1]])
    assert data.show_batch(1, 2).axes[0].get_title() in ("clear", "clear water")


@pytest.mark.parametrize("header", [True, False])
def test_names_that_look_like_numbers_keep_their_zeros(folder, header):
    for i in range(N):
        (folder / "pictures" / f"p{i}.jpg").rename(folder / "pictures" / f"{i:04d}.jpg")
    frame = pd.DataFrame({"name": [f"{i:04d}" for i in range(N)], "label": ["cat", "dog"] * (N // 2)})
    frame.to_csv(folder / "labels.csv", index=False, header=header)
    data = ImageClassifierData.from_csv(
        folder, "pictures", "labels.csv", suffix=".jpg", skip_header=header, val_idxs=[0, 1]
    )
    assert [file.name for file in data.val_ds.paths] == ["0000.jpg", "0001.jpg"]


def test_numbers(folder):
    data = load(folder, np.arange(N) / 2, continuous=True, val_idxs=[3])
    assert isinstance(data.target, Real)
    np.testing.assert_array_equal(data.val_y, [1.5])


def test_names_and_array(folder):
    names = [f"pictures/p{i}.jpg" for i in range(N)]
    data = ImageClassifierData.from_names_and_array(folder, names, np.arange(N) % 2, ["even", "odd"], val_idxs=[0, 1])
    assert data.classes == ["even", "odd"]
    several = ImageClassifierData.from_names_and_array(folder, names, np.eye(N)[:, :3], list("abc"), val_idxs=[0, 1])
    np.testing.assert_array_equal(several.val_y, [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(DataError, match="20 names and 3 targets"):
        ImageClassifierData.from_names_and_array(folder, names, [0, 1, 0], ["even", "odd"])
    with pytest.raises(DataError, match=r"class numbers must be in 0\.\.1"):
        ImageClassifierData.from_names_and_array(folder, names, np.arange(N), ["even", "odd"])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["cat"] * N, {}, "at least two classes"),
        (["cat", None] * (N // 2), {}, r"10 row\(s\).*no label, the first is row 1 \(p1\)"),
        (["cat", "dog"] * (N // 2), {"suffix": ".png"}, r"20 of 20 pictures do not exist.*suffix"),
        (["cat", "dog"] * (N // 2), {"val_idxs": [N]}, r"in 0\.\.19"),
        (["rare"] + ["cat", "dog"] * 9 + ["cat"], {"val_idxs": [0]}, "rare have only validation pictures"),
        (["cat", "dog"] * (N // 2), {"continuous": True}, "numbers"),
    ],
)
def test_bad_tables_are_explained(folder, labels, options, message):
    with pytest.raises(DataError, match=message):
        load(folder, labels, **options)


def test_missing_table_single_column_and_double_names(folder):
    with pytest.raises(DataError, match="there is no table"):
        ImageClassifierData.from_csv(folder, "pictures", "nowhere.csv")
    (folder / "one.csv").write_text("name\np0\n")
    with pytest.raises(DataError, match="labels in its second"):
        ImageClassifierData.from_csv(folder, "pictures", "one.csv")
    (folder / "twice.csv").write_text("name,label\np0,a\np0,b\n")
    with pytest.raises(DataError, match="in several rows.*p0"):
        ImageClassifierData.from_csv(folder, "pictures", "twice.csv")


def test_unreadable_pictures_can_be_left_out(folder, capsys):
    (folder / "pictures" / "p3.jpg").write_bytes((folder / "pictures" / "p2.jpg").read_bytes()[:200])
    assert [file.name for file in verify_images(folder / "pictures")] == ["p3.jpg"]
    data = load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0, 1], on_error="skip")
    assert len(data.trn_ds) == N - 3
    assert "left out 1 of 18" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"p3\.jpg"):
        list(load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0, 1]).trn_dl)


class TestResize:
    def test_copies_are_small_kept_and_used(self, folder):
        data = load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0, 1]).resize(25, "tmp")
        files = data.trn_ds.paths
        assert {min(open_image(file).shape[:2]) for file in files} == {25}
        assert all(file.is_relative_to(folder / "tmp" / "25") for file in files)
        written = [file.stat().st_ino for file in files]
        again = load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0, 1]).resize(25, "tmp")
        assert [file.stat().st_ino for file in again.trn_ds.paths] == written
        assert next(iter(data.val_dl))[0].shape == (2, 3, 24, 24)

    def test_a_replaced_original_is_copied_anew(self, folder):
        file = folder / "pictures" / "p0.jpg"
        (copy,) = resized_copies([file], folder, folder / "tmp", 10)
        Image.new("RGB", (50, 50), "white").save(file)
        os.utime(file, ns=(1, 1))
        resized_copies([file], folder, folder / "tmp", 10)
        assert open_image(copy).mean() > 0.9

    def test_a_full_disk_leaves_the_copies_there_are(self, folder, monkeypatch):
        files = sorted((folder / "pictures").glob("*.jpg"))
        kept = resized_copies(files[:5], folder, folder / "tmp", 10)

        def full(self, *args, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space left"):
            resized_copies(files, folder, folder / "tmp", 10)
        monkeypatch.undo()
        assert verify_images(folder / "tmp") == {}
        assert sorted((folder / "tmp" / "10" / "pictures").iterdir()) == sorted(kept)

    def test_smaller_than_the_crop_is_refused(self, folder):
        with pytest.raises(DataError, match="at least what the transforms cut out, 24"):
            load(folder, ["cat", "dog"] * (N // 2), val_idxs=[0]).resize(20)


def test_balanced_draws_each_class_equally_often(folder):
    labels = ["rare", "rare"] + ["common"] * (N - 2)
    data = load(folder, labels, val_idxs=[19], balanced=True)
    drawn = np.concatenate([y.numpy() for _ in range(20) for _, y in data.trn_dl])
    assert 0.35 < (drawn == data.classes.index("rare")).mean() < 0.65


def test_tables_of_labels_and_of_numbers_teach_more_than_can_be_said_without_looking(tmp_path):
    learnkit.seed_everything(0)
    score, constant = labels_from_a_table.several_labels(tmp_path, 800, 6)
    assert score > constant + 0.1
    error, mean = labels_from_a_table.numbers(tmp_path, 800, 5)
    assert error < 0.75 * mean
