"""A data set of pictures in any loader, by name and from memory, and what its pixels are on average."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler, Subset, WeightedRandomSampler, random_split
from torchvision import transforms as v1
from torchvision.transforms import v2

from learnkit import DataBunch, DataError, TensorLoader
from learnkit.core.errors import CheckpointError
from learnkit.data.loaders import ItemLoader, with_dataset
from learnkit.vision import (
    ConvLearner,
    ImageClassifierData,
    ImageDataset,
    RandomFlip,
    image_stats,
    imagenet_stats,
    open_image,
    tfms_from_stats,
    transforms_side_on,
)

rng = np.random.default_rng(0)
PICTURES = rng.integers(0, 256, (12, 10, 11, 3), dtype=np.uint8)
Y = np.arange(12) % 2
LARGE = tfms_from_stats(imagenet_stats, 32)  # what the smallest architecture takes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def load(folder: Path, tfms: Any = None, **options: Any) -> ImageClassifierData:
    options = {"val_idxs": [0, 1, 2, 3, 4], "bs": 3, **options}
    names = [f"{i:02d}.png" for i in range(12)]
    tfms = tfms or tfms_from_stats(imagenet_stats, 8)
    return ImageClassifierData.from_names_and_array(folder, names, Y, ["a", "b"], tfms=tfms, **options)


def pixels(dl: Any) -> torch.Tensor:
    return torch.cat([x for x, _ in dl])


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


# ---------------------------------------------------------------- PyTorch's own loader


@pytest.mark.parametrize("workers", [0, 2])
def test_pytorchs_loader_gives_the_same_pixels_as_ours(folder: Path, workers: int) -> None:
    data = load(folder)
    ds, ours = data.val_ds, pixels(data.val_dl)
    assert torch.equal(pixels(DataLoader(ds, batch_size=2, num_workers=workers)), ours)
    assert torch.equal(pixels(DataLoader(Subset(ds, [4, 0, 2]), batch_size=2)), ours[[4, 0, 2]])
    assert torch.equal(pixels(DataLoader(ds, batch_size=None)).reshape(5, 3, 8, 8), ours)
    assert torch.equal(torch.stack([x for x, _ in ds]), ours)
    both = pixels(DataLoader(ConcatDataset([ds, data.trn_ds]), batch_size=5))
    assert torch.equal(both[:5], ours)
    assert len(both) == 12
    y = torch.cat([y for _, y in DataLoader(ds, batch_size=2)])
    assert (y.tolist(), y.dtype) == (data.val_y.tolist(), torch.int64)


def test_samplers_folds_and_collate_functions_of_the_users(folder: Path) -> None:
    data = load(folder)
    weighted = DataLoader(data.trn_ds, 4, sampler=WeightedRandomSampler([1.0] * 6 + [0.0], 20))
    assert len(pixels(weighted)) == 20
    first, second = random_split(data.trn_ds, [4, 3])
    learn = ConvLearner.from_model_data(
        model(), DataBunch(folder, DataLoader(first, 2), DataLoader(second, 2), target=data.target)
    )
    learn.no_progress()
    learn.fit(0.01, 1)
    np.testing.assert_allclose(
        learn.predict_dl(DataLoader(data.val_ds, 2)), learn.predict_dl(data.val_dl or ()), atol=1e-5
    )
    sizes = [len(batch) for batch in DataLoader(data.val_ds, 2, collate_fn=list)]
    assert sizes == [2, 2, 1]


def test_augmentation_differs_from_epoch_to_epoch_in_any_loader(folder: Path) -> None:
    ds = load(folder, tfms_from_stats(imagenet_stats, 8, transforms_side_on)).trn_ds
    for loader in (DataLoader(ds, 4), DataLoader(ConcatDataset([ds]), 4), DataLoader(ds, 4, num_workers=1)):
        assert not torch.equal(pixels(loader), pixels(loader))
    ds.epoch_seed = 5
    before = torch.get_rng_state()
    assert torch.equal(ds[3][0], ds.finish(ds.batch([3], 5))[0][0])  # the first time as in our own epoch
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------- settings are kept


def settings(dl: Any) -> dict[str, Any]:
    sampler = getattr(dl.sampler, "sampler", dl.sampler)
    own = {
        name: getattr(dl, name)
        for name in ("batch_size", "num_workers", "pin_memory", "drop_last", "generator", "timeout")
    }
    return {**own, "sampler": type(sampler), "weights": getattr(sampler, "weights", None)}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    weights = a.pop("weights"), b.pop("weights")
    return a == b and (weights[0] is weights[1] or torch.equal(*weights))


def test_a_loader_built_anew_keeps_every_setting_of_the_old_one(folder: Path) -> None:
    data = load(folder, balanced=True, num_workers=0)
    generator = torch.Generator().manual_seed(3)
    data.trn_dl.pin_memory, data.trn_dl.generator, data.trn_dl.timeout = True, generator, 0  # type: ignore[attr-defined]
    small = data.resize(9)
    assert same(settings(small.trn_dl), settings(data.trn_dl))
    assert settings(small.trn_dl)["sampler"] is WeightedRandomSampler
    for own in (
        DataLoader(data.trn_ds, 5, shuffle=True, drop_last=True, generator=generator),
        ItemLoader(data.trn_ds, 4, True, drop_last=True, generator=generator),
        DataLoader(data.trn_ds, 2, sampler=WeightedRandomSampler([1.0] * 7, 9)),
    ):
        again = with_dataset(own, data.trn_ds)
        assert same(settings(again), settings(own))
        plain = data.trn_ds.with_tfm(data.val_tfm)
        in_order = with_dataset(own, plain, in_order=True)
        assert torch.equal(pixels(in_order), torch.stack([x for x, _ in plain]))
    mine = ImageClassifierData(folder, DataLoader(data.trn_ds, 5, shuffle=True), data.val_dl, target=data.target)  # type: ignore[arg-type]
    assert settings(mine.resize(9).trn_dl)["sampler"] is RandomSampler
    assert [len(y) for _, y in mine.fix_dl] == [5, 2]


def test_precomputed_batches_are_those_that_the_pictures_loader_draws(folder: Path) -> None:
    def drawn(dl: Any) -> list[list[int]]:
        return [y.tolist() for _, y in dl]

    weights = np.r_[np.full(6, 1.0), 50.0]
    for make in (
        lambda ds: ItemLoader(ds, 2, weights=weights, generator=torch.Generator().manual_seed(1)),
        lambda ds: ItemLoader(ds, 4, True, drop_last=True, generator=torch.Generator().manual_seed(1)),
        lambda ds: DataLoader(ds, 3, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(1)),
    ):
        data = load(folder, LARGE)
        data.trn_ds.y = np.arange(7)
        data.trn_dl = make(data.trn_ds)
        learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False, precompute=True, xtra_fc=[4])
        activations = learn._task()[1].trn_dl
        data.trn_dl = make(data.trn_ds)
        expected = [list(map(int, idxs)) for idxs in data.trn_dl.batch_sampler or ()]
        assert len(activations) == len(expected)  # type: ignore[arg-type]
        assert drawn(activations) == expected


# ---------------------------------------------------------------- names, everything trains


def test_names_are_texts_below_path_and_paths_are_whole(folder: Path) -> None:
    data = load(folder)
    assert data.val_ds.fnames == [f"{i:02d}.png" for i in range(5)]
    assert all(
        (str(folder) + os.sep + name) == str(path)
        for name, path in zip(data.val_ds.fnames, data.val_ds.paths, strict=True)
    )
    assert data.resize(9).val_ds.fnames[0] == os.path.join("tmp", "9", "00.png")
    assert os.path.exists(os.path.join(folder, data.resize(9).val_ds.fnames[0]))
    assert ImageDataset([folder / "00.png"], None).fnames == [str(folder / "00.png")]
    with pytest.raises(DataError, match="come from memory, so they have no file names"):
        _ = ImageDataset([(folder / "00.png").read_bytes()], None).fnames


def test_without_validation_everything_trains(folder: Path) -> None:
    data = load(folder, LARGE, val_idxs=[])
    assert (len(data.trn_ds), data.val_dl) == (12, None)
    with pytest.raises(DataError, match="no validation set"):
        _ = data.val_ds
    learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False, precompute=True, xtra_fc=[4])
    learn.no_progress()
    assert "val_loss" not in learn.fit(0.01, 1)
    learn.precompute = False
    learn.fit(0.01, 1)
    assert [len(y) for _, y in data.fix_dl] == [3, 3, 3, 3]
    assert len(data.resize(40).trn_ds) == 12
    assert learn.predict_files([folder / "00.png"]).shape == (1, 2)
    again = learn.export(folder / "m")
    from learnkit import load_learner

    np.testing.assert_allclose(
        load_learner(again).predict_files([folder / "00.png"]), learn.predict_files([folder / "00.png"]), atol=1e-5
    )
    x = PICTURES
    assert ImageClassifierData.from_arrays(folder, (x, Y), None, tfms=tfms_from_stats(imagenet_stats, 8)).val_dl is None
    assert ImageClassifierData.from_arrays(folder, (x, Y), None).val_dl is None


# ---------------------------------------------------------------- from memory


def test_one_file_bytes_and_open_files_are_predicted(folder: Path) -> None:
    data = load(folder)
    learn = ConvLearner.from_model_data(model(), data)
    file = folder / "00.png"
    expected = learn.predict()[:1]
    with open(file, "rb") as opened:
        for one in (
            str(file),
            file,
            file.read_bytes(),
            bytearray(file.read_bytes()),
            io.BytesIO(file.read_bytes()),
            opened,
        ):
            np.testing.assert_allclose(learn.predict_files(one), expected, atol=1e-5)
    pixels = np.rint(open_image(file) * 255).astype(np.uint8)
    for array in (pixels, pixels[None]):  # one picture is no list of its rows
        np.testing.assert_allclose(learn.predict_files(array), expected, atol=1e-5)
    with Image.open(file) as picture, pytest.raises(TypeError, match=r"got PngImageFile.*np\.asarray\(picture\)"):
        learn.predict_files(picture)  # type: ignore[arg-type]
    mixed = learn.predict_files([file, file.read_bytes(), io.BytesIO((folder / "01.png").read_bytes())])
    np.testing.assert_allclose(mixed, learn.predict()[[0, 0, 1]], atol=1e-5)
    for bad, message in (
        ([], "the list of files is empty"),
        (b"no picture", r"the picture \(of 10 bytes\) cannot be read"),
        ([io.StringIO("x")], "opened as bytes"),
        ([3], "must be a file's path, bytes or a binary file; got int"),
        (str(folder), "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            learn.predict_files(bad)  # type: ignore[arg-type]


# ---------------------------------------------------------------- torchvision


def test_transforms_of_torchvision_get_the_pictures_they_are_made_for(folder: Path) -> None:
    compose = v1.Compose([v1.Resize(8), v1.CenterCrop(8), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.25] * 3)])
    expected = torch.stack([compose(Image.fromarray(picture)) for picture in PICTURES[:5]])
    for tfms in (compose, (compose, compose)):
        data = load(folder, tfms)
        assert torch.equal(pixels(data.val_dl), expected)
        np.testing.assert_allclose(
            data.val_ds.denorm(expected), (expected * 0.25 + 0.5).permute(0, 2, 3, 1).clamp(0, 1), atol=1e-5
        )
    arrays = ImageClassifierData.from_arrays(folder, (PICTURES, Y), (PICTURES[:5], Y[:5]), tfms=compose)
    assert torch.equal(pixels(arrays.val_dl), expected)


@pytest.mark.parametrize("part", [v1.RandomHorizontalFlip(), v2.ColorJitter(0.5), v1.Compose([v1.RandomCrop(8)])])
def test_one_random_transform_is_not_for_validation_too(folder: Path, part: Any) -> None:
    with pytest.raises(TypeError, match="one transform and random.*pass a pair"):
        load(folder, v1.Compose([part, v1.ToTensor()]))


def test_a_single_augmentation_needs_no_list(folder: Path) -> None:
    assert repr(tfms_from_stats(imagenet_stats, 8, RandomFlip())) == repr(
        tfms_from_stats(imagenet_stats, 8, [RandomFlip()])
    )


# ---------------------------------------------------------------- statistics


def test_statistics_are_those_of_all_training_pixels_and_no_others(folder: Path) -> None:
    data = load(folder, (None, None))
    x = PICTURES[5:].reshape(-1, 3) / 255
    stats = image_stats(data)
    np.testing.assert_allclose(stats.mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(stats.std, x.std(0), rtol=1e-9)
    cut = image_stats(load(folder, tfms_from_stats(imagenet_stats, 10, transforms_side_on)))
    inside = PICTURES[5:, :, :10].reshape(-1, 3) / 255
    np.testing.assert_allclose(cut.mean, inside.mean(0), rtol=1e-6)
    for scale in (1, 255):
        plain = ImageClassifierData.from_arrays(folder, (PICTURES[5:] / 255 * scale, Y[5:]), (PICTURES[:5], Y[:5]))
        np.testing.assert_allclose(image_stats(plain).mean, x.mean(0), atol=1e-4)
    (folder / "00.png").write_text("a validation picture that cannot be read")
    assert image_stats(load(folder, (None, None))) == stats
    with pytest.raises(DataError, match="need pictures"):
        image_stats(DataBunch(folder, [(torch.zeros(2, 3), torch.zeros(2))]))
    grey = np.full((4, 6, 6), 128, np.uint8)
    flat = image_stats(
        ImageClassifierData.from_arrays(folder, (grey, Y[:4]), None, tfms=(None, tfms_from_stats(imagenet_stats, 6)[1]))
    )
    assert flat.std == (1 / 255,) * 3
    assert isinstance(TensorLoader(torch.zeros(1), torch.zeros(1)).bs, int)


# ---------------------------------------------------------------- weights of other classes


@pytest.mark.parametrize("names", [["dog", "cat"], ["cat", "cow"]])
def test_weights_of_other_classes_are_refused_with_both_lists(folder: Path, names: list[str]) -> None:
    def learner(classes: list[str]) -> ConvLearner:
        arrays = (PICTURES[:, :8, :8], Y)
        data = ImageClassifierData.from_arrays(
            folder, arrays, arrays, classes=classes, tfms=tfms_from_stats(imagenet_stats, 8)
        )
        return ConvLearner.from_model_data(model(), data)

    learner(["cat", "dog"]).save("w")
    learner(["cat", "dog"]).load("w")
    other = learner(names)
    before = other.predict()
    with pytest.raises(CheckpointError, match=rf"\['cat', 'dog'\].*\['{names[0]}', '{names[1]}'\].*load_model"):
        other.load("w")
    np.testing.assert_array_equal(other.predict(), before)
