"""Pictures are prepared without torch as learnkit prepares them, pixel by pixel."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from learnkit import DataError
from learnkit.runtime.pictures import PicturePreparation, fit_picture
from learnkit.vision import ImagePrep, ImageTransforms, RandomFlip, tfms_from_stats

STATS = ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25])


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    shape = (height, width) if mode in ("L", "I;16") else (height, width, len(mode))
    return Image.fromarray(
        rng.integers(0, 65536 if mode == "I;16" else 256, shape, dtype=np.uint16 if mode == "I;16" else np.uint8)
    )


def as_file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return as_file(picture(20, 30), "JPEG", exif=exif)


def both(tfm: ImageTransforms | None, items: Any) -> tuple[Any, Any]:
    """Return a batch as learnkit makes it, and as the runtime does of what is written in a file."""
    prep = ImagePrep(None, tfm)
    ours = [x.numpy() for x, _ in prep.loader(items)]
    theirs = PicturePreparation(json.loads(json.dumps(prep.portable()))).prepare(items)["pixels"]
    return np.concatenate(ours), theirs


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sz=st.integers(1, 33),
    crop=st.sampled_from(["center", "squish"]),
)
def test_pixels_are_the_same_for_any_size(height, width, sz, crop):
    pixels = np.asarray(picture(height, width))
    ours, theirs = both(ImageTransforms(sz, STATS, crop=crop), pixels[None])
    np.testing.assert_array_equal(ours, theirs)


def test_files_of_every_kind_give_the_same_pixels():
    files = [
        as_file(picture(20, 30)),
        as_file(picture(30, 20), "JPEG"),
        as_file(picture(9, 9, "L")),
        as_file(picture(16, 12, "RGBA")),
        as_file(picture(16, 12, "I;16"), "TIFF"),
        as_file(picture(16, 12), "WEBP"),
        turned(),
    ]
    ours, theirs = both(tfms_from_stats(STATS, 16)[1], files)
    np.testing.assert_array_equal(ours, theirs)


def test_without_a_size_pictures_stay_as_they_are_and_must_be_alike():
    ours, theirs = both(None, [as_file(picture(8, 9)), as_file(picture(8, 9, seed=1))])
    np.testing.assert_array_equal(ours, theirs)
    assert theirs.shape == (2, 3, 8, 9)
    prep = PicturePreparation(ImagePrep().portable())
    with pytest.raises(DataError, match="must have one size.*8 x 8, 9 x 8"):
        prep.prepare([as_file(picture(8, 8)), as_file(picture(8, 9))])


def test_resizing_is_as_smooth_as_torchvisions():
    from torchvision.transforms.v2 import functional as V2

    image = picture(300, 300)
    ours = fit_picture(np.asarray(image), 64, "center").astype(int)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    theirs = V2.resize(pixels, [64, 64], antialias=True).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([b"no picture"], r"the picture \(of 10 bytes\) cannot be read"),
        ([], "there is no picture"),
        ("nowhere.png", "nowhere.png cannot be read"),
        ({"a": 1}, "pictures must be a file's path, bytes.*got dict"),
        ([np.zeros((3, 4, 4), dtype=np.uint8)], r"picture 0: pixels must be uint8 of shape .*got uint8 \(3, 4, 4\)"),
        ([np.zeros((4, 4, 3))], "pixels must be uint8.*got float64"),
    ],
)
def test_what_is_no_picture_is_said(items, words):
    with pytest.raises(DataError, match=words):
        PicturePreparation(ImagePrep(None, ImageTransforms(8)).portable()).prepare(items)


def test_an_instance_is_a_file_in_base64():
    prep, file = PicturePreparation(ImagePrep(None, ImageTransforms(8)).portable()), as_file(picture(8, 8))
    assert prep.instance({"b64": base64.b64encode(file).decode()}) == file
    for value in ("x", {"b64": 3}, {"b64": "%%%"}, {"file": "/etc/passwd"}):
        with pytest.raises(DataError, match="b64"):
            prep.instance(value)


@pytest.mark.parametrize("tfm", [ImageTransforms(8, aug_tfms=[RandomFlip()]), ImageTransforms(8, pad=2), lambda x: x])
def test_what_only_torch_can_do_is_refused(tfm):
    with pytest.raises(DataError, match="which only Python with torch can do"):
        ImagePrep(None, tfm).portable()
