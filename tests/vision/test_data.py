"""Pictures from files and arrays: every mode reads as RGB, every mistake is named, every item is where it belongs."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from learnkit.core.errors import DataError
from learnkit.vision import (
    ImageClassifierData,
    ImageDataset,
    ImageTransforms,
    imagenet_stats,
    open_image,
    tfms_from_stats,
    transforms_top_down,
)

rng = np.random.default_rng(0)
rgb = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
grey = rgb[..., 0]


def save(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> list[Path]:
    """Write small pictures, each of its own colour."""
    paths = [root / name for name in names]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i * 20 % 256, 100, 200)).save(path)
    return paths


def cats_and_dogs(root: Path) -> Path:
    save(root, *(f"{part}/{name}/{i}.png" for part in ("train", "valid") for name in ("cat", "dog") for i in range(3)))
    return root


# ---------------------------------------------------------------- open_image


def written(path: Path, image: Image.Image, **options: Any) -> NDArray[np.float32]:
    image.save(path, **options)
    return open_image(path)


def over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    a = alpha[..., None] / 255
    return pixels / 255 * a + (1 - a)


def test_colour_and_grey_pictures_read_exactly(tmp_path: Path) -> None:
    x = written(tmp_path / "a.png", Image.fromarray(rgb))
    assert (x.dtype.name, x.shape) == ("float32", (5, 7, 3))
    np.testing.assert_array_equal(np.round(x * 255), rgb)
    three = np.dstack([grey] * 3)
    np.testing.assert_array_equal(np.round(written(tmp_path / "l.png", Image.fromarray(grey)) * 255), three)
    bits = Image.fromarray(grey > 127)
    np.testing.assert_array_equal(written(tmp_path / "1.png", bits), np.dstack([grey > 127] * 3))
    np.testing.assert_array_equal(written(tmp_path / "1.bmp", bits), np.dstack([grey > 127] * 3))


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    alpha = rng.integers(0, 256, grey.shape, dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    la = written(tmp_path / "la.png", Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]))
    np.testing.assert_allclose(la, over_white(np.dstack([grey] * 3), alpha), atol=1.01 / 255)
    for name in ("rgba.png", "rgba.webp"):
        options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
        x = written(tmp_path / name, Image.fromarray(np.dstack([rgb, alpha])), **options)
        np.testing.assert_allclose(x, over_white(rgb, alpha), atol=1.01 / 255)


def test_palettes_with_and_without_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    red, blue, white = [1, 0, 0], [0, 0, 1], [1, 1, 1]
    assert written(tmp_path / "p.png", image).tolist() == [[red, blue]]
    assert written(tmp_path / "t.png", image, transparency=1).tolist() == [[red, white]]
    assert written(tmp_path / "t.gif", image, transparency=0).tolist() == [[white, blue]]


def test_cmyk_reads_as_colours(tmp_path: Path) -> None:
    cmyk = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    x = written(tmp_path / "c.tif", Image.fromarray(cmyk, "CMYK"))
    ink = cmyk / 255
    np.testing.assert_allclose(x, (1 - ink[..., :3]) * (1 - ink[..., 3:]), atol=1.51 / 255)


@pytest.mark.parametrize("darkest", [False, True], ids=["whole range", "a dark picture"])
def test_16_bit_pictures_keep_their_brightness(tmp_path: Path, darkest: bool) -> None:
    values = grey.astype(np.uint16) if darkest else grey.astype(np.uint16) * 257
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    x = written(tmp_path / "16.png", image)
    np.testing.assert_allclose(x, np.dstack([values / 65535] * 3), atol=1.01 / 255)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
        x = written(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
        assert x.shape == (3, 4, 3)
        assert (x == [1, 0, 0]).all()


@pytest.mark.parametrize(
    ("orientation", "upright"), [(1, lambda x: x), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, -1))]
)
def test_photos_are_turned_the_way_the_camera_says(
    tmp_path: Path, orientation: int, upright: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = np.zeros((16, 32, 3), np.uint8)
    smooth[:, 16:] = 250
    x = written(tmp_path / "photo.jpg", Image.fromarray(smooth), exif=exif, quality=95)
    assert x.shape == upright(smooth).shape
    np.testing.assert_allclose(x, upright(smooth) / 255, atol=0.1)


def read_or_refused(file: Path) -> NDArray[np.float32] | str:
    try:
        return open_image(file)
    except DataError as exc:
        return str(exc)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tif"])
@pytest.mark.filterwarnings("ignore")  # Pillow's own, about the damage
def test_a_picture_cut_off_anywhere_is_named_or_still_read(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut_{name}"
    refused = 0
    for share in np.linspace(0, 0.95, 20):
        cut.write_bytes(content[: int(len(content) * share)])
        answer = read_or_refused(cut)
        if isinstance(answer, str):
            refused += 1
            assert f"cut_{name} cannot be read" in answer
            assert "Replace or remove" in answer
        else:
            assert answer.shape == (40, 40, 3)
    assert refused >= 10


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is a text")
    (tmp_path / "folder.png").mkdir()
    for name in ("text.png", "folder.png", "missing.png"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            open_image(tmp_path / name)


# ---------------------------------------------------------------- ImageDataset


@pytest.mark.parametrize(
    "arrange",
    [lambda x: x, lambda x: x.transpose(0, 3, 1, 2), lambda x: (x / 255).astype(np.float32)],
    ids=["HWC", "CHW", "floats"],
)
def test_pictures_from_files_and_from_arrays_are_the_same(tmp_path: Path, arrange: Callable[..., Any]) -> None:
    pictures = rng.integers(0, 256, (3, 6, 9, 3), dtype=np.uint8)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)
    tfm = ImageTransforms(6, imagenet_stats)
    y = np.array([2, 0, 1])
    from_files, from_array = ImageDataset(files, y, tfm), ImageDataset(arrange(pictures), y, tfm)
    for (a, ya), (b, yb) in zip((from_files[i] for i in range(3)), (from_array[i] for i in range(3)), strict=True):
        assert torch.equal(a, b)
        assert ya == yb
    assert from_files.paths == files
    assert from_files.sz == from_array.sz == 6
    with pytest.raises(DataError, match="come from an array, so they have no file names"):
        _ = from_array.paths


def test_without_transforms_pictures_become_tensors_in_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.png")
    ds = ImageDataset([str(tmp_path / "a.png")], None)
    np.testing.assert_allclose(ds[0][0], rgb.transpose(2, 0, 1) / 255, atol=1e-6)
    assert ds.sz is None


@pytest.mark.parametrize("source", ["files", "array", "grey array"])
def test_a_callable_takes_what_open_image_gives(tmp_path: Path, source: str) -> None:
    seen: list[Any] = []

    def transform(picture: Any) -> Tensor:
        seen.append((picture.dtype.name, picture.shape, float(picture.max())))
        return torch.from_numpy(np.ascontiguousarray(picture))

    Image.new("RGB", (7, 5), "white").save(tmp_path / "a.png")
    white = np.full((1, 5, 7) if "grey" in source else (1, 5, 7, 3), 255, np.uint8)
    ds = ImageDataset([tmp_path / "a.png"] if source == "files" else white, None, transform)
    ds[0]
    assert seen == [("float32", (5, 7, 3), 1.0)]


def test_torchvision_transforms_take_the_place_of_ours(tmp_path: Path) -> None:
    save(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "valid") for name in "ab"), size=(12, 9))
    compose = v2.Compose([v2.ToImage(), v2.RandomCrop(8), v2.ToDtype(torch.float32, scale=True)])
    data = ImageClassifierData.from_paths(tmp_path, bs=2, tfms=(compose, compose))
    x, _ = next(iter(data.trn_dl))
    assert (x.shape, x.dtype) == ((2, 3, 8, 8), torch.float32)
    assert data.trn_ds.denorm(x).shape == (2, 8, 8, 3)


# ---------------------------------------------------------------- from_paths


def test_real_digits_come_with_the_class_of_their_folder(digits: Path) -> None:
    data = ImageClassifierData.from_paths(digits, bs=64, tfms=tfms_from_stats(imagenet_stats, 28))
    assert data.classes == [str(i) for i in range(10)]
    assert (data.c, data.sz, data.is_multi, data.path) == (10, 28, False, digits)
    assert (len(data.trn_ds), len(data.val_ds), data.test_dl) == (400, 100, None)
    for ds in (data.trn_ds, data.val_ds):
        assert [data.classes[y] for y in ds.y] == [file.parent.name for file in ds.paths]
    assert data.val_y.tolist() == [int(y) for _, batch in data.val_dl or () for y in batch]
    x, y = next(iter(data.trn_dl))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((64, 3, 28, 28), torch.float32, (64,), torch.int64)
    np.testing.assert_allclose(data.val_ds.denorm(data.val_ds[3][0])[0], open_image(data.val_ds.paths[3]), atol=1e-5)


def test_aug_dl_is_the_validation_set_in_order_with_the_training_transforms(digits: Path) -> None:
    def brighter(x: Tensor) -> Tensor:
        return x // 2 + 127

    trn, val = ImageTransforms(28, aug_tfms=[brighter]), ImageTransforms(28)
    data = ImageClassifierData.from_paths(digits, bs=30, tfms=(trn, val))
    plain, changed = (torch.cat([x for x, _ in dl]) for dl in (data.val_dl or (), data.aug_dl))
    np.testing.assert_allclose(brighter((plain * 255).round().to(torch.uint8)), (changed * 255).round())
    assert np.concatenate([y for _, y in data.aug_dl]).tolist() == data.val_y.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_gives_the_same_augmented_batches_with_any_number_of_workers(digits: Path, workers: int) -> None:
    aug = [*transforms_top_down, v2.ColorJitter(0.5)]

    def loaded(num_workers: int) -> list[Tensor]:
        torch.manual_seed(3)
        tfms = tfms_from_stats(imagenet_stats, 16, aug, max_zoom=1.2)
        data = ImageClassifierData.from_paths(digits, 30, tfms, "valid", num_workers=num_workers)
        training = [part for _ in range(2) for batch in data.trn_dl for part in batch]
        return [next(iter(data.aug_dl))[0] for _ in range(2)] + training

    a, b, *rest = loaded(workers)
    for x, other in zip((a, b, *rest), loaded(0), strict=True):
        assert torch.equal(x, other)
    assert (a != b).flatten(1).any(1).float().mean() > 0.95  # the same items in the next epoch


def test_batches_are_handed_over_in_bytes_and_finished_as_single_pictures_are(digits: Path) -> None:
    data = ImageClassifierData.from_paths(digits, bs=16, tfms=tfms_from_stats(imagenet_stats, 24))
    handed_over, y = data.val_ds.batch(range(16), 0)
    assert (handed_over.dtype, handed_over.shape) == (torch.uint8, (16, 3, 24, 24))
    finished, same_y = next(iter(data.val_dl or ()))
    assert torch.equal(finished, torch.stack([data.val_ds[i][0] for i in range(16)]))
    assert torch.equal(y, same_y)
    np.testing.assert_allclose(data.val_ds.denorm(finished) * 255, handed_over.permute(0, 2, 3, 1), atol=1e-3)


def test_a_test_folder_is_predicted_in_order_and_has_no_classes(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path)
    files = save(tmp_path, "test/b.png", "test/deep/a.png", "test/z.jpg")
    data = ImageClassifierData.from_paths(tmp_path, bs=2, test_name="test")
    assert sorted(data.test_ds.paths) == sorted(files)
    assert [len(y) for _, y in data.test_dl or ()] == [2, 1]
    assert not data.test_ds[0][1]


def no_pictures(root: Path) -> None:
    for name in ("cat", "dog"):
        (root / "train" / name / "notes.txt").parent.mkdir(parents=True)
        (root / "train" / name / "notes.txt").write_text("x")


def loose_pictures(root: Path) -> None:
    save(root, "train/1.png", "train/2.png", "valid/cat/1.png")


def one_class(root: Path) -> None:
    save(root, "train/cat/1.png", "train/cat/2.png", "valid/cat/1.png")


def unseen_class(root: Path) -> None:
    save(cats_and_dogs(root), "valid/yak/1.png")


def misspelt_folder(root: Path) -> None:
    (cats_and_dogs(root) / "valid").rename(root / "validation")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_pictures, r"no picture in a class folder of .*train.*<class>/<picture>; found only .txt.*\.jpeg"),
        (lambda root: (root / "train").mkdir(), r"no picture in a class folder of .*train.*; it is empty"),
        (loose_pictures, r"no picture in a class folder of .*train.*2 picture\(s\) lie in .*train itself"),
        (one_class, "at least two classes; .*train has only 'cat'"),
        (unseen_class, r"in .*valid: label\(s\) yak are not among the 2 training classes \(cat, dog\)"),
        (misspelt_folder, r"expected a folder at .*valid; it does not exist.* holds the folders: train, validation"),
    ],
)
def test_folders_that_cannot_be_learnt_from_are_explained(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        ImageClassifierData.from_paths(tmp_path)


def test_an_empty_test_folder_is_explained(tmp_path: Path) -> None:
    (cats_and_dogs(tmp_path) / "test").mkdir()
    with pytest.raises(DataError, match=r"no picture in .*test. Expected files ending in .*; it is empty"):
        ImageClassifierData.from_paths(tmp_path, test_name="test")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["cut", "text"])
def test_an_unreadable_picture_is_named_also_by_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, workers: int
) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)  # how long torch waits for workers
    bad = cats_and_dogs(tmp_path) / "valid" / "dog" / "bad.jpg"
    Image.fromarray(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(bad)
    bad.write_bytes(bad.read_bytes()[:-500]) if damage == "cut" else bad.write_text("not a picture")
    data = ImageClassifierData.from_paths(tmp_path, bs=2, num_workers=workers)
    with pytest.raises(DataError, match=r"valid/dog/bad.jpg cannot be read: .*Replace or remove") as caught:
        list(data.val_dl or ())
    del caught
    gc.collect()


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_of_several_sizes_without_a_size_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    save(cats_and_dogs(tmp_path), "valid/dog/wide.png", size=(10, 8))
    data = ImageClassifierData.from_paths(tmp_path, bs=8, num_workers=workers)
    with pytest.raises(DataError, match=r"one shape; .*\(3, 8, 10\) .*wide.png\).*`tfms` with a size") as caught:
        list(data.val_dl or ())
    del caught
    gc.collect()


@pytest.mark.parametrize("tfms", [None, ImageTransforms(8), (None, None, None)])
@pytest.mark.parametrize("source", ["paths", "arrays"])
def test_transforms_must_be_a_pair(tmp_path: Path, tfms: Any, source: str) -> None:
    arrays = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2
    make = {
        "paths": lambda: ImageClassifierData.from_paths(cats_and_dogs(tmp_path), tfms=tfms),
        "arrays": lambda: ImageClassifierData.from_arrays(tmp_path, arrays, arrays, tfms=tfms),
    }[source]
    with pytest.raises(TypeError, match=r"`tfms` must be a pair \(training, validation\)"):
        make()


# ---------------------------------------------------------------- from_arrays


def test_arrays_without_transforms_go_to_the_model_as_they_are() -> None:
    x, y = rng.random((10, 7)), np.array(list("ab" * 5))
    data = ImageClassifierData.from_arrays(".", (x, y), (x[:5], y[:5]), bs=4, test=x[::-1])
    assert data.classes == ["a", "b"]
    np.testing.assert_allclose(torch.cat([b for b, _ in data.val_dl or ()]), x[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(torch.cat([b for b, _ in data.test_dl or ()]), x[::-1], rtol=1e-5, atol=1e-6)
    assert data.val_y.tolist() == [0, 1, 0, 1, 0]
    xs = torch.cat([b for b, _ in data.trn_dl])
    assert sorted(xs[:, 0].tolist()) == pytest.approx(sorted(x[:, 0]))


def test_grey_arrays_with_transforms_become_pictures() -> None:
    x, y = rng.integers(0, 256, (6, 10, 10), dtype=np.uint8), np.arange(6)[:, None] % 3
    data = ImageClassifierData.from_arrays(
        ".", (x, y), (x, y), bs=4, tfms=tfms_from_stats(imagenet_stats, 8), classes=["x", "y", "z"], test=x
    )
    shapes = [b.shape for dl in (data.trn_dl, data.val_dl, data.test_dl, data.aug_dl) for b, _ in dl or ()]
    assert set(shapes) == {(4, 3, 8, 8), (2, 3, 8, 8)}
    assert data.classes == ["x", "y", "z"]
    assert data.val_y.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.sz == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"trn": (np.zeros((4, 3)), np.arange(5))},
            "`trn` must hold one target per picture: got 4 pictures, 5 targets",
        ),
        (
            {"val": (np.zeros((4, 3)), np.arange(3))},
            "`val` must hold one target per picture: got 4 pictures, 3 targets",
        ),
        ({"val": (np.zeros((0, 3)), np.zeros(0))}, "`val` is empty"),
        ({"trn": (np.zeros((4, 3)), np.ones(4, int))}, "at least two classes; trn has only 1"),
        ({"val": (np.zeros((1, 3)), np.array([7]))}, r"label\(s\) 7 are not among the 2 training classes \(0, 1\)"),
        ({"classes": ["a"]}, "at least 2 classes"),
        (
            {"classes": ["a", "b"], "val": (np.zeros((1, 3)), np.array([2]))},
            r"class numbers must be in 0..1.*got \[2\]",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_explained(change: dict[str, Any], message: str) -> None:
    arguments = {"trn": (np.zeros((4, 3)), np.arange(4) % 2), "val": (np.zeros((2, 3)), np.arange(2))} | change
    with pytest.raises(DataError, match=message):
        ImageClassifierData.from_arrays(".", **arguments)


# ---------------------------------------------------------------- validation indices


@pytest.mark.parametrize(
    ("val_idxs", "message"),
    [
        ([6], r"`val_idxs` must be in 0..5 for 6 items; got 6..6"),
        ([1, 4, 1], "`val_idxs` holds the same index more than once"),
        (range(6), "all 6 items"),
    ],
)
def test_wrong_validation_indices_are_refused_before_anything_is_read(
    tmp_path: Path, val_idxs: Any, message: str
) -> None:
    save(tmp_path, *(f"{i}.png" for i in range(6)))
    with pytest.raises(DataError, match=message):
        ImageClassifierData.from_names_and_array(
            tmp_path, [f"{i}.png" for i in range(6)], np.arange(6) % 2, ["a", "b"], val_idxs=val_idxs
        )


def test_validation_indices_choose_the_pictures(tmp_path: Path) -> None:
    save(tmp_path, *(f"{i}.png" for i in range(6)))
    data = ImageClassifierData.from_names_and_array(
        tmp_path, [str(i) for i in range(6)], [0, 1, 0, 1, 0, 1], ["a", "b"], val_idxs=[5, 0], suffix=".png"
    )
    assert [file.name for file in data.val_ds.paths] == ["0.png", "5.png"]
    assert data.val_y.tolist() == [0, 1]
    assert [file.name for file in data.trn_ds.paths] == ["1.png", "2.png", "3.png", "4.png"]
