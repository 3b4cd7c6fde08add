"""Files of pictures: which are found, how decoders fail, what is white, where copies lie."""

from __future__ import annotations

import io
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from learnkit import DataError
from learnkit.core.errors import UnwritableError
from learnkit.vision import ImageClassifierData, ImageTransforms, open_image, tfms_from_stats, verify_images
from learnkit.vision.images import resized_copies

HALF = ([0.5] * 3, [0.5] * 3)


def save(path: Path, value: int = 100, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, format="JPEG" if path.suffix == ".jfif" else None)
    return path


def folders(root: Path) -> Path:
    for part in ("train", "valid"):
        for name in ("cat", "dog"):
            save(root / part / name / "1.png")
    return root


# ---------------------------------------------------------------- found


def test_jfif_and_folders_behind_links_are_read(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    save(root / "train" / "cat" / "2.jfif")
    save(tmp_path / "elsewhere" / "3.png")
    (root / "train" / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "dog" / "around").symlink_to(root / "train" / "dog")  # a link around in a circle
    data = ImageClassifierData.from_paths(root, bs=1)
    assert sorted(Path(name).name for name in data.trn_ds.fnames) == ["1.png", "1.png", "2.jfif", "3.png"]
    assert data.trn_ds.y.tolist() == [0, 0, 1, 1]


def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    root = folders(tmp_path)
    (root / "train" / "cat" / "photo.heic").write_bytes(b"no decoder for this")
    (root / "train" / "cat" / "photo.jpg_large").write_bytes((root / "train" / "cat" / "1.png").read_bytes())
    (root / "train" / "cat" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match=r"2 picture\(s\) in .*train are passed over \(1 .heic, 1 .jpg_large\)"):
        data = ImageClassifierData.from_paths(root, bs=1)
    assert len(data.trn_ds) == 2
    assert [file.name for file in verify_images(root)] == ["photo.heic"]


def test_pictures_in_no_class_and_classes_without_pictures_are_said(tmp_path: Path) -> None:
    root = folders(tmp_path)
    save(root / "train" / "loose.png")
    with pytest.warns(UserWarning, match=r"1 picture\(s\) lie in .*train itself.*loose.png"):
        ImageClassifierData.from_paths(root, bs=1)
    (root / "train" / "loose.png").unlink()
    (root / "train" / "yak").mkdir()
    with pytest.warns(UserWarning, match="hold no picture and are no classes: yak"):
        assert ImageClassifierData.from_paths(root, bs=1).classes == ["cat", "dog"]


def test_unreadable_test_pictures_are_left_out_where_asked(tmp_path: Path) -> None:
    root = folders(tmp_path)
    save(root / "test" / "a.png")
    (root / "test" / "b.png").write_text("no picture")
    data = ImageClassifierData.from_paths(root, bs=1, test_name="test", on_error="skip")
    assert data.test_ds.fnames == [os.path.join("test", "a.png")]


# ---------------------------------------------------------------- decoders


def jpeg_with_exif(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """Return a JPEG with these raw EXIF entries (tag, kind, count, four bytes), as a camera with odd software writes."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    tail = struct.pack("<ii", -1, 0)  # a fraction of which signed numbers are made
    ifd = struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd + tail
    file = io.BytesIO()
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 250
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    "odd",
    [
        (0x011A, 5, 1, struct.pack("<I", 8 + 2 + 2 * 12 + 4)),  # XResolution, an unsigned fraction: (-1, 0)
        (0x0128, 2, 4, b"cm\0\0"),  # ResolutionUnit as text
    ],
    ids=["XResolution (-1, 0)", "text in ResolutionUnit"],
)
def test_an_intact_photo_with_an_odd_tag_is_opened_and_turned(tmp_path: Path, odd: Any) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(jpeg_with_exif([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), odd]))
    x = open_image(file)
    assert x.shape == (32, 16, 3)
    assert x[:10].mean() < 0.1 < 0.9 < x[-10:].mean()
    assert verify_images(tmp_path) == {}


@pytest.mark.parametrize("value", [b"\x09\x00\x00\x00", b"ab\0\0"])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path, value: bytes) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(jpeg_with_exif([(0x0112, 2 if value[:1] == b"a" else 3, 1, value)]))
    assert open_image(file).shape == (16, 32, 3)


@pytest.mark.parametrize(
    "error", [struct.error, ZeroDivisionError, KeyError, AttributeError, MemoryError, RecursionError]
)
def test_whatever_a_decoder_raises_is_named_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    root = folders(tmp_path)

    def broken(*args: Any, **options: Any) -> Any:
        raise error("odd")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(DataError, match=f"1.png cannot be read: {error.__name__}: .?odd") as caught:
        open_image(root / "train" / "cat" / "1.png")
    assert isinstance(caught.value.__cause__, error)
    assert len(verify_images(root)) == 4


MUTATIONS = 400 * int(os.environ.get("LEARNKIT_FAULTS", "1"))


@pytest.mark.filterwarnings("ignore")  # Pillow's own, about the damage
def test_mutated_headers_are_read_or_refused_in_words() -> None:
    rng = random.Random(0)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    wholes = [jpeg_with_exif([(0x0112, 3, 1, struct.pack("<HH", 6, 0))])]
    for kind in ("PNG", "GIF", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        wholes.append(file.getvalue())
    refused = 0
    for _ in range(MUTATIONS):
        damaged = bytearray(rng.choice(wholes))
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(20, min(len(damaged), 150))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        try:
            assert open_image(bytes(damaged)).shape[2] == 3
        except DataError:
            refused += 1
    assert 0 < refused < MUTATIONS


# ---------------------------------------------------------------- what is white


def tiff(path: Path, values: NDArray[Any]) -> Path:
    Image.fromarray(values).save(path)
    return path


def test_the_scale_belongs_to_the_kind_of_number(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    for name, values in (
        ("f.tif", ramp.astype(np.float32)),
        ("16.tif", (ramp * 65535).round().astype(np.uint16)),
        ("32.tif", (ramp * 65535).round().astype(np.int32)),
        ("16.png", (ramp * 65535).round().astype(np.uint16)),
    ):
        x = open_image(tiff(tmp_path / name, values))
        np.testing.assert_allclose(x, np.dstack([ramp] * 3), atol=0.51 / 255)
        half = open_image(tiff(tmp_path / f"half_{name}", (values / 2).astype(values.dtype)))
        np.testing.assert_allclose(
            half, np.dstack([ramp / 2] * 3), atol=0.6 / 255
        )  # not each by its own brightest pixel


def test_values_beyond_white_are_refused_and_the_data_set_can_say_what_is_white(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    for name, values, top in (
        ("f.tif", (ramp * 255).astype(np.float32), 255),
        ("12.png", (ramp * 4095).astype(np.uint16), 4095),
        ("32.tif", (ramp * 1e6).astype(np.int32), 1e6),
    ):
        file = tiff(tmp_path / name, values)
        if name != "12.png":
            with pytest.raises(DataError, match=r"where 0 is black and .* white.*max_value="):
                open_image(file)
        np.testing.assert_allclose(open_image(file, max_value=top), np.dstack([ramp] * 3), atol=0.6 / 255)
        by_file = ImageTransforms(8, max_value=top)(open_image(file, max_value=top))
        np.testing.assert_allclose(by_file, np.stack([ramp] * 3), atol=0.6 / 255)
        if values.dtype.kind != "f":
            np.testing.assert_array_equal(ImageTransforms(8, max_value=top)(values), by_file)
    for bad, words in (
        (np.full((4, 4), np.nan, np.float32), "NaN or infinite values, which are no brightness"),
        (np.full((4, 4), -5, np.int32), "from -5 to -5, .*darker than black"),
    ):
        with pytest.raises(DataError, match=words):
            open_image(tiff(tmp_path / "bad.tif", bad))


def test_training_and_prediction_share_the_scale_also_through_copies(tmp_path: Path) -> None:
    from torch import nn

    from learnkit import load_learner
    from learnkit.vision import ConvLearner

    ramp = np.linspace(0, 4095, 400).reshape(20, 20).astype(np.uint16)
    for i in range(4):
        tiff(tmp_path / f"{i}.png", ramp // (i + 1))
    tfms = tfms_from_stats(HALF, 8, max_value=4095)
    data = ImageClassifierData.from_names_and_array(
        tmp_path, [f"{i}.png" for i in range(4)], [0, 1, 0, 1], ["a", "b"], val_idxs=[0, 1], tfms=tfms, bs=2
    )
    x = next(iter(data.val_dl or ()))[0]
    assert x[0].max() > 0.8  # white is white
    small = next(iter(data.resize(10).val_dl or ()))[0]
    assert float((small - x).abs().mean()) < 0.1
    learn = ConvLearner.from_model_data(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), data)
    again = load_learner(learn.export(tmp_path / "m"), model=nn.Sequential(nn.Flatten(), nn.Linear(192, 2)))
    np.testing.assert_allclose(
        again.predict_files([tmp_path / "0.png", tmp_path / "1.png"]), learn.predict(), atol=1e-5
    )


def test_arrays_of_16_bits_are_pictures() -> None:
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    np.testing.assert_allclose(ImageTransforms(8)(ramp)[0], ramp / 65535, atol=0.51 / 255)


# ---------------------------------------------------------------- copies


def test_copies_of_pictures_with_one_stem_are_each_their_own(tmp_path: Path) -> None:
    names = ["a.png", "a.bmp", "a.gif", "a.jpg", "a.jpeg", "a.tif"]
    for i, name in enumerate(names):
        save(tmp_path / name, 40 * i, (60, 50))
    data = ImageClassifierData.from_names_and_array(
        tmp_path, names, np.arange(6) % 2, ["x", "y"], val_idxs=[0, 1], bs=1
    ).resize(20)
    shown = {
        Path(p).name.removesuffix(".png"): float(open_image(p).mean()) for p in data.trn_ds.paths + data.val_ds.paths
    }
    assert shown == pytest.approx({name.removesuffix(".png"): 40 * i / 255 for i, name in enumerate(names)}, abs=0.01)


def test_copies_of_two_sizes_never_mix(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outside = [save(tmp_path / f"{i}.png", 100, (60, 50)) for i in range(4)]
    data = ImageClassifierData.from_names_and_array(
        tmp_path / "in", [f"../{file.name}" for file in outside], [0, 1, 0, 1], ["x", "y"], val_idxs=[0, 1], bs=1
    )
    small, large = data.resize(20), data.resize(32)
    for made, sz in ((small, 20), (large, 32), (data.resize(20), 20)):
        for path in made.trn_ds.paths + made.val_ds.paths:
            assert path.is_relative_to(tmp_path / "in" / "tmp" / str(sz))
            assert ".." not in path.parts
            assert min(open_image(path).shape[:2]) == sz


def test_two_pictures_are_never_copied_to_one_place(tmp_path: Path) -> None:
    files = [save(tmp_path / "a.bmp"), save(tmp_path / "a.bmp.png")]
    with pytest.raises(DataError, match=r"a\.bmp and .*a\.bmp\.png would both be copied"):
        resized_copies(files, tmp_path, tmp_path / "tmp", 4)


def test_a_folder_that_cannot_be_written_to_is_explained_and_another_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    root = folders(tmp_path / "data")
    made = tempfile.mkstemp

    def refused(*args: Any, **options: Any) -> Any:
        if Path(options["dir"]).is_relative_to(root):
            raise PermissionError(13, "Permission denied")
        return made(*args, **options)

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    with pytest.raises(UnwritableError, match=r"1\.png was to be written.*cannot be written to.*`path=`.*`cache=`"):
        ImageClassifierData.from_paths(root, bs=1).resize(8)
    elsewhere = ImageClassifierData.from_paths(root, bs=1, cache=tmp_path / "work").resize(8)
    assert all(path.is_relative_to(tmp_path / "work") for path in elsewhere.trn_ds.paths)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnwritableError, match="was to be written"):
        resized_copies([root / "train" / "cat" / "1.png"], root, tmp_path / "file" / "below", 4)
