"""The course's augmentations, each against NumPy's or Pillow's own computation of the same thing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from learnkit import load_learner
from learnkit.core.errors import DataError
from learnkit.vision import (
    AddPadding,
    Augment,
    CenterCrop,
    ConvLearner,
    CropType,
    Draw,
    ImageClassifierData,
    ImageTransforms,
    NoCrop,
    RandomBlur,
    RandomCrop,
    RandomFlipXY,
    RandomRotate,
    RandomRotateZoom,
    RandomScale,
    RandomStretch,
    RandomZoom,
    Scale,
    tfms_from_stats,
)

STATS = ([0.5] * 3, [0.25] * 3)


def noise(h: int, w: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def smooth(h: int, w: int) -> NDArray[np.uint8]:
    """A picture that every good interpolation gives nearly the same values of."""
    rows, columns = np.mgrid[:h, :w]
    waves = [127 + 100 * np.sin(rows / 9 + k) * np.cos(columns / 11 - k) for k in range(3)]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


def apply(picture: NDArray[np.uint8], sz: int | None, *augments: Augment, seed: int = 0) -> NDArray[np.uint8]:
    """Return the augmented picture, channels last."""
    item = ImageTransforms(sz, aug_tfms=augments).item(picture, np.random.default_rng(seed))
    return item.permute(1, 2, 0).numpy()


def versions(picture: NDArray[np.uint8], sz: int | None, *augments: Augment, n: int = 60) -> list[NDArray[np.uint8]]:
    return [apply(picture, sz, *augments, seed=seed) for seed in range(n)]


def closeness(a: NDArray[np.uint8], b: Any) -> float:
    """Mean distance of pixels, in levels of 255."""
    return float(np.abs(a.astype(float) - np.asarray(b, dtype=float)).mean())


def test_flip_xy_gives_the_four_mirrored_pictures_and_no_other() -> None:
    picture = noise(8, 8)
    wanted = {im.tobytes() for im in (picture, picture[:, ::-1], picture[::-1], picture[::-1, ::-1])}
    assert {im.tobytes() for im in versions(picture, 8, RandomFlipXY())} == wanted
    both = apply(picture, 8, RandomFlipXY(p=1))
    assert np.array_equal(both, picture[::-1, ::-1])


def test_flip_xy_after_another_turn_mirrors_what_that_turn_gave() -> None:
    class QuarterTurn(Augment):
        def draw(self, rng: np.random.Generator, draw: Draw) -> None:
            draw.quarter_turns += 1

    class UpsideDown(RandomFlipXY):
        def draw(self, rng: np.random.Generator, draw: Draw) -> None:
            draw.flip ^= True
            draw.quarter_turns += 2

    picture = noise(8, 8)
    assert np.array_equal(apply(picture, 8, QuarterTurn(), UpsideDown()), np.rot90(picture)[::-1])


def test_scale_brings_the_shorter_side_to_its_size_before_the_crop() -> None:
    picture = smooth(96, 144)
    by_hand = Image.fromarray(picture).resize((72, 48), Image.Resampling.BILINEAR).crop((20, 8, 52, 40))
    assert closeness(apply(picture, 32, Scale(48), CenterCrop(32)), by_hand) < 2
    assert closeness(apply(picture, 32, Scale(32)), by_hand) > 10  # without the zoom it is another picture


def test_random_scale_stays_between_its_sizes_and_does_not_always_scale() -> None:
    draws = []
    for seed in range(200):
        draw = Draw(sz=32)
        RandomScale(40, 1.5).draw(np.random.default_rng(seed), draw)
        draws.append(draw.zoom * 32)
    assert min(draws) == 40
    assert 40 < max(draws) <= 60
    assert 0.1 < np.mean(np.array(draws) == 40) < 0.45
    picture = smooth(80, 80)
    assert np.array_equal(apply(picture, 40, RandomScale(40, 1)), apply(picture, 40))


def test_padding_mirrors_the_picture_for_a_random_crop_to_reach_into() -> None:
    picture = noise(8, 8)
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    windows = {padded[i : i + 8, j : j + 8].tobytes() for i in range(5) for j in range(5)}
    seen = {im.tobytes() for im in versions(picture, 8, AddPadding(2), RandomCrop(8), n=100)}
    assert seen <= windows
    assert len(seen) > 10
    assert np.array_equal(apply(picture, 8, AddPadding(2)), picture)  # from the centre it changes nothing
    with pytest.raises(ValueError, match="'reflect'"):
        AddPadding(2, mode="constant")


def test_crops_are_the_centre_and_the_whole_picture() -> None:
    wide = noise(6, 12)
    assert np.array_equal(apply(wide, 6, RandomCrop(6), CenterCrop(6)), wide[:, 3:9])
    picture = smooth(60, 120)
    squished = Image.fromarray(picture).resize((30, 30), Image.Resampling.BILINEAR)
    assert closeness(apply(picture, 30, NoCrop(30)), squished) < 2


def test_stretch_zooms_one_side_alone() -> None:
    picture = smooth(64, 64)
    by_hand = [
        Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR, box=box)
        for box in ((0, 8, 64, 56), (8, 0, 56, 64))
    ]

    class Fixed(RandomStretch):
        def draw(self, rng: np.random.Generator, draw: Draw) -> None:
            draw.stretch = (64 / 48, 1.0) if rng.random() < 0.5 else (1.0, 64 / 48)

    for im in versions(picture, 64, Fixed(0.3), n=10):
        assert min(closeness(im, one) for one in by_hand) < 2
    stretches = []
    for seed in range(100):
        draw = Draw()
        RandomStretch(0.2).draw(np.random.default_rng(seed), draw)
        stretches.append(draw.stretch)
    assert all(min(pair) == 1 <= max(pair) <= 1.2 for pair in stretches)
    assert len({pair.index(1.0) for pair in stretches}) == 2


@pytest.mark.parametrize(("ps", "kind"), [([1, 0, 0, 0], "angle"), ([0, 1, 0, 0], "zoom"), ([0, 0, 1, 0], "stretch")])
def test_rotate_zoom_does_the_one_that_its_shares_leave(ps: list[float], kind: str) -> None:
    draws = []
    for seed in range(50):
        draw = Draw()
        RandomRotateZoom(10, 0.2, 0.1, ps=ps).draw(np.random.default_rng(seed), draw)
        draws.append(draw)
    changed = {
        name for draw in draws for name in ("angle", "zoom", "stretch") if getattr(draw, name) != getattr(Draw(), name)
    }
    assert changed == {kind}
    assert all(abs(d.angle) <= 10 and 1 <= d.zoom <= 1.2 and max(d.stretch) <= 1.1 for d in draws)


def test_rotate_zoom_by_default_does_each_a_quarter_of_the_time() -> None:
    counts = {"angle": 0, "zoom": 0, "stretch": 0, "nothing": 0}
    for seed in range(400):
        draw = Draw()
        RandomRotateZoom(10, 0.2, 0.1).draw(np.random.default_rng(seed), draw)
        changed = [name for name in ("angle", "zoom", "stretch") if getattr(draw, name) != getattr(Draw(), name)]
        assert len(changed) <= 1
        counts[changed[0] if changed else "nothing"] += 1
    assert all(60 < count < 140 for count in counts.values())
    with pytest.raises(ValueError, match="four shares"):
        RandomRotateZoom(10, 0.2, 0.1, ps=[0.5, 0.5])


@pytest.mark.parametrize(("side", "sigma"), [(3, 0.8), (5, 1.1), (9, 1.7)])
def test_blur_is_a_gaussian_window(side: int, sigma: float) -> None:
    picture = noise(24, 24)
    window = side // 2
    by_hand = ndimage.gaussian_filter(  # type: ignore[attr-defined, unused-ignore]
        picture.astype(float), (sigma, sigma, 0), mode="mirror", radius=(window, window, 0)
    )
    assert np.abs(apply(picture, 24, RandomBlur(side, probability=1)).astype(float) - by_hand).max() <= 1
    # Pillow's Gaussian blur is another implementation again, an approximation.
    pillow = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma))
    assert closeness(apply(picture, 24, RandomBlur(side, probability=1)), pillow) < 12


def test_blur_comes_as_often_as_asked_and_with_any_of_its_windows() -> None:
    seen = []
    for seed in range(300):
        draw = Draw()
        RandomBlur([3, 7], probability=0.4).draw(np.random.default_rng(seed), draw)
        seen.append(draw.blur)
    assert set(seen) == {0, 3, 7}
    assert 0.3 < np.mean(np.array(seen) > 0) < 0.5
    with pytest.raises(ValueError, match="odd"):
        RandomBlur(4)
    with pytest.raises(DataError, match="too wide"):
        apply(noise(4, 4), 4, RandomBlur(9, probability=1))


def test_sizes_that_disagree_with_the_transforms_are_said() -> None:
    picture = noise(40, 40)
    for crop in (RandomCrop(16), CenterCrop(16), NoCrop(16)):
        with pytest.raises(ValueError, match="sz=16"):
            apply(picture, 32, crop)
    with pytest.raises(ValueError, match="smaller `sz`"):
        apply(picture, 32, Scale(16))
    with pytest.raises(ValueError, match="keep their own size"):
        apply(picture, None, Scale(16))


@pytest.mark.parametrize("augment", [RandomRotate(20, p=1), RandomZoom(1.5), RandomStretch(0.5)])
def test_geometry_happens_to_pictures_of_their_own_size_too(augment: Augment) -> None:
    picture = smooth(30, 50)
    changed = apply(picture, None, augment)
    assert changed.shape == picture.shape
    assert closeness(changed, picture) > 1


def test_a_rotation_of_a_picture_that_is_not_square_keeps_pixels_square() -> None:
    class By(Augment):
        def draw(self, rng: np.random.Generator, draw: Draw) -> None:
            draw.angle = 30.0

    picture = smooth(61, 91)
    by_hand = Image.fromarray(picture).rotate(30, Image.Resampling.BILINEAR)
    inside = np.s_[22:39, 37:54]  # what lies in the picture on both
    assert closeness(apply(picture, None, By())[inside], np.asarray(by_hand)[inside]) < 2


@pytest.mark.parametrize(
    ("crop_type", "word"), [(CropType.RANDOM, "random"), (CropType.CENTER, "center"), (CropType.NO, "squish")]
)
def test_crop_types_are_the_words_of_crop(crop_type: CropType, word: str) -> None:
    for tfms in (
        tfms_from_stats(STATS, 16, None, None, 0, crop_type),  # the course's sixth argument
        tfms_from_stats(STATS, 16, crop_type=crop_type),
        tfms_from_stats(STATS, 16, crop=crop_type),
    ):
        assert repr(tfms) == repr(tfms_from_stats(STATS, 16, crop=word))
    with pytest.raises(ValueError, match="one setting"):
        tfms_from_stats(STATS, 16, crop_type=CropType.NO, crop="center")
    with pytest.raises(ValueError, match="'squish'"):
        tfms_from_stats(STATS, 16, crop_type="googlenet")


def test_the_planet_lessons_augmentations_train_and_are_exported(tmp_path: Path) -> None:
    augments = [
        RandomRotateZoom(9, 0.18, 0.1),
        RandomFlipXY(),
        RandomBlur(3),
        AddPadding(2),
        RandomScale(16, 1.2),
        RandomStretch(0.1),
    ]
    x, y = np.stack([noise(20, 20, seed) for seed in range(12)]), np.arange(12) % 2
    tfms = tfms_from_stats(STATS, 16, aug_tfms=augments, pad=2)
    data = ImageClassifierData.from_arrays(tmp_path, trn=(x, y), val=(x, y), bs=4, tfms=tfms, num_workers=0)
    assert next(iter(data.trn_dl))[0].shape == (4, 3, 16, 16)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2))
    learn = ConvLearner.from_model_data(model, data)
    again = load_learner(
        learn.export(tmp_path / "planet"), model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2))
    )
    assert repr(again.data.trn_ds.tfm) == repr(tfms[0])
