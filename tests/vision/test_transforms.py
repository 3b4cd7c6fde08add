"""Pictures to tensors: geometry that can be checked pixel by pixel, bounds of what is random, and its seeds."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import models as tv_models
from torchvision.transforms import v2

from learnkit.core.errors import DataError
from learnkit.vision import (
    Augment,
    Cutout,
    Draw,
    ImageTransforms,
    RandomCrop,
    RandomDihedral,
    RandomFlip,
    RandomLighting,
    RandomRotate,
    RandomZoom,
    Stats,
    imagenet_stats,
    tfms_from_model,
    tfms_from_stats,
    transforms_basic,
    transforms_side_on,
    transforms_top_down,
)


class Fixed(Augment):
    """Always the same draw."""

    def __init__(self, **wanted: Any) -> None:
        self.wanted = wanted

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        for name, value in self.wanted.items():
            setattr(draw, name, value)


def noise(h: int, w: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def first(picture: NDArray[np.uint8]) -> Tensor:
    """Channels first."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def apply(picture: NDArray[Any], sz: int | None, *, crop: str = "center", pad: int = 0, **wanted: Any) -> Tensor:
    tfm = ImageTransforms(sz, aug_tfms=[Fixed(**wanted)], crop=crop, pad=pad)
    return tfm.item(picture, np.random.default_rng(0))


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("crop", ["center", "squish"])
def test_a_square_picture_at_its_own_size_is_left_alone(crop: str) -> None:
    picture = noise(9, 9)
    assert torch.equal(apply(picture, 9, crop=crop), first(picture))
    assert torch.equal(apply(noise(5, 7), None), first(noise(5, 7)))  # no size: any shape stays


def test_the_crop_is_the_largest_square_at_the_place_drawn() -> None:
    wide, tall = noise(6, 10), noise(10, 6)
    assert torch.equal(apply(wide, 6), first(wide[:, 2:8]))
    assert torch.equal(apply(tall, 6), first(tall[2:8]))
    assert torch.equal(apply(wide, 6, place=(0, 0)), first(wide[:, :6]))
    assert torch.equal(apply(tall, 6, place=(1, 1)), first(tall[4:]))


def test_squish_shows_everything_and_center_does_not() -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :10], picture[:, 30:] = 255, 255
    squished = apply(picture, 20, crop="squish")
    assert squished[:, :, :4].min() > 200
    assert squished[:, :, -4:].min() > 200
    assert not apply(picture, 20).any()


def test_zoom_enlarges_the_middle() -> None:
    picture = noise(8, 8)
    assert torch.equal(apply(picture, 4, zoom=2), first(picture[2:6, 2:6]))
    assert torch.equal(apply(picture, 4, zoom=2, place=(0, 1)), first(picture[:4, 4:]))


def test_flip_and_quarter_turns_are_those_of_numpy() -> None:
    picture = noise(8, 8)
    assert torch.equal(apply(picture, 8, flip=True), first(np.fliplr(picture)))
    for k in range(5):
        assert torch.equal(apply(picture, 8, quarter_turns=k), first(np.rot90(picture, k)))


def test_the_eight_ways_to_lay_down_a_square_are_a_group() -> None:
    def ways(picture: NDArray[np.uint8]) -> dict[bytes, NDArray[np.uint8]]:
        results = [apply(picture, 5, flip=f, quarter_turns=k) for f in (False, True) for k in range(4)]
        arrays = [x.numpy().transpose(1, 2, 0) for x in results]
        return {x.tobytes(): x for x in arrays}

    orbit = ways(noise(5, 5))
    assert len(orbit) == 8
    assert all(set(ways(x)) == set(orbit) for x in orbit.values())


def test_random_dihedral_reaches_all_eight_equally_often() -> None:
    tfm, rng, picture = ImageTransforms(3, aug_tfms=[RandomDihedral()]), np.random.default_rng(0), noise(3, 3)
    counts: dict[bytes, int] = {}
    for _ in range(800):
        key = tfm.item(picture, rng).numpy().tobytes()
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 8
    assert 60 < min(counts.values()) <= max(counts.values()) < 140


@pytest.mark.parametrize("n", [8, 9])
def test_turning_by_multiples_of_90_degrees_moves_pixels_exactly(n: int) -> None:
    picture = noise(n, n)
    turned = [apply(picture, n, angle=90.0 * k) for k in range(4)]
    quarter = [first(np.rot90(picture, k)) for k in range(4)]
    assert torch.equal(turned[0], quarter[0])
    assert torch.equal(turned[2], quarter[2])
    assert {x.numpy().tobytes() for x in turned} == {x.numpy().tobytes() for x in quarter}


def test_degrees_turn_the_same_way_as_quarter_turns() -> None:
    picture = noise(8, 8)
    assert torch.equal(apply(picture, 8, angle=90), apply(picture, 8, quarter_turns=1))


def test_turning_there_and_back_is_nearly_nothing() -> None:
    y, x = np.mgrid[:64, :64]
    smooth = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), 127 + 100 * np.sin((x + y) / 11)], -1)
    picture = smooth.astype(np.uint8)
    there = apply(picture, 64, angle=20)
    assert (there.int() - first(picture).int()).abs().float().mean() > 10
    back = apply(there.numpy().transpose(1, 2, 0), 64, angle=-20)
    middle = slice(16, 48)
    assert (back.int() - first(picture).int())[:, middle, middle].abs().max() <= 4


@pytest.mark.parametrize(("n", "sz"), [(64, 64), (64, 32), (65, 32), (101, 32), (300, 224), (599, 64), (50, 64)])
def test_a_tiny_turn_is_a_tiny_change_whatever_the_size(n: int, sz: int) -> None:
    ramp = np.linspace(0, 255, n).round().astype(np.uint8)
    picture = np.stack([np.tile(ramp, (n, 1)), np.tile(ramp[:, None], (1, n)), np.tile(ramp[::-1], (n, 1))], -1)
    moved = (apply(picture, sz, angle=1e-6).int() - apply(picture, sz).int()).abs()
    assert moved.max() <= 2


def test_padding_mirrors_the_picture_outwards() -> None:
    picture = noise(8, 8)
    mirrored = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    assert torch.equal(apply(picture, 8, pad=2), first(picture))
    assert torch.equal(apply(picture, 8, pad=2, place=(0, 0)), first(mirrored[:8, :8]))
    assert torch.equal(apply(picture, 8, pad=2, place=(1, 0.75)), first(mirrored[4:, 3:11]))


@example(size=(7, 7), sz=4, zoom=2.0, angle=0.0, place=(1.0, 1.0), pad=0, crop="center")
@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    sz=st.integers(1, 24),
    zoom=st.floats(1, 3),
    angle=st.just(0.0) | st.floats(-180, 180),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    pad=st.integers(0, 8),
    crop=st.sampled_from(["center", "squish"]),
)
def test_an_even_picture_stays_even_whatever_is_drawn(
    size: tuple[int, int], sz: int, zoom: float, angle: float, place: tuple[float, float], pad: int, crop: str
) -> None:
    picture = np.full((*size, 3), (250, 130, 7), np.uint8)
    out = apply(picture, sz, crop=crop, pad=pad, zoom=zoom, angle=angle, place=place)
    assert out.shape == (3, sz, sz)
    assert [sorted(set(channel.flatten().tolist())) for channel in out] == [[250], [130], [7]]  # no black border


# ---------------------------------------------------------------- light and holes


def test_brightness_adds_contrast_multiplies_around_mid_grey_and_both_stay_in_range() -> None:
    picture = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    values = picture.astype(np.float64)
    for brightness, contrast in ((0.1, 1.0), (-0.4, 1.0), (0.0, 1.5), (0.0, 0.5), (0.2, 2.0)):
        out = apply(picture, 16, brightness=brightness, contrast=contrast).numpy().transpose(1, 2, 0)
        expected = ((values - 127.5) * contrast + 127.5 + 255 * brightness).clip(0, 255)
        assert np.abs(out - expected).max() <= 0.5001


def test_a_hole_is_as_large_as_it_says_and_cut_off_at_the_border() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    for size in (1, 4, 5):
        out = apply(picture, 16, holes=[(0.5, 0.5, size)])
        assert (out == 127).sum() == 3 * size * size
        assert (out == 0).sum() == out.numel() - 3 * size * size
    assert (apply(picture, 16, holes=[(0.0, 0.0, 4)]) == 127).sum() == 3 * 2 * 2
    assert (apply(picture, 16, holes=[(0.25, 0.5, 4), (0.75, 0.5, 4)]) == 127).sum() == 2 * 3 * 4 * 4


def test_cutout_never_blanks_more_than_its_squares_nor_changes_its_input() -> None:
    tfm, picture = ImageTransforms(16, aug_tfms=[Cutout(2, 6)]), torch.zeros(3, 16, 16, dtype=torch.uint8)
    areas = [int((tfm.item(picture, np.random.default_rng(i))[0] == 127).sum()) for i in range(50)]
    assert 0 < min(areas) < max(areas) <= 2 * 36
    assert not picture.any()


# ---------------------------------------------------------------- what is drawn


def draws(augment: Augment, n: int = 400) -> list[Draw]:
    rng, found = np.random.default_rng(0), []
    for _ in range(n):
        draw = Draw()
        augment.draw(rng, draw)
        found.append(draw)
    return found


def test_random_numbers_fill_their_bounds_and_no_more() -> None:
    angles = [d.angle for d in draws(RandomRotate(10))]
    assert -10 <= min(angles) < -9
    assert 9 < max(angles) <= 10
    assert 0.2 < np.mean([angle == 0 for angle in angles]) < 0.3  # p=0.75 leaves a quarter alone
    assert all(d.angle for d in draws(RandomRotate(10, p=1.0)))

    zooms = [d.zoom for d in draws(RandomZoom(1.5))]
    assert 1 <= min(zooms) < 1.05
    assert 1.45 < max(zooms) <= 1.5

    light = draws(RandomLighting(0.2, 0.25))
    assert 0.19 < max(abs(d.brightness) for d in light) <= 0.2
    assert 0.8 <= min(d.contrast for d in light) < 0.81
    assert 1.24 < max(d.contrast for d in light) <= 1.25

    places = np.array([d.place for d in draws(RandomCrop())])
    assert 0 <= places.min() < 0.02
    assert 0.98 < places.max() <= 1

    assert [sum(d.flip for d in draws(RandomFlip(p))) for p in (0, 1)] == [0, 400]
    assert 150 < sum(d.flip for d in draws(RandomFlip())) < 250


def test_augmentations_add_up() -> None:
    class Twice(Augment):
        def draw(self, rng: np.random.Generator, draw: Draw) -> None:
            for _ in range(2):
                RandomFlip(1).draw(rng, draw)

    picture = noise(6, 6)
    assert torch.equal(ImageTransforms(6, aug_tfms=[Twice()]).item(picture, np.random.default_rng(0)), first(picture))


def test_impossible_augmentations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`zoom_max` must be at least 1; got 0.9. 1.1 zooms in"):
        RandomZoom(0.9)
    with pytest.raises(ValueError, match="`n_holes` must be a positive whole number; got 0"):
        Cutout(0, 4)
    with pytest.raises(TypeError, match="abstract"):
        type("Lazy", (Augment,), {})()


def test_ready_made_lists_hold_what_they_say() -> None:
    kinds = [[type(t) for t in tfms] for tfms in (transforms_basic, transforms_side_on, transforms_top_down)]
    assert kinds[0] == [RandomRotate, RandomLighting]
    assert kinds[1] == [*kinds[0], RandomFlip]
    assert kinds[2] == [*kinds[0], RandomDihedral]
    assert repr(transforms_side_on[-1]) == "RandomFlip(p=0.5)"


# ---------------------------------------------------------------- input, normalisation, pairs


def test_the_same_picture_in_any_form_gives_the_same_tensor() -> None:
    tfm, picture = ImageTransforms(6, imagenet_stats), noise(8, 9)
    expected = tfm(picture)
    assert expected.shape == (3, 6, 6)
    assert expected.dtype == np.float32
    forms = [picture.astype(np.float32) / 255, picture.astype(np.float64) / 255, Image.fromarray(picture)]
    forms += [first(picture), np.dstack([picture, picture[..., 0]]), picture[:, ::-1][:, ::-1]]
    for form in forms:
        np.testing.assert_array_equal(tfm(form), expected)
    grey = picture[..., 0]
    for form in (grey, grey[..., None], Image.fromarray(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(tfm(form), tfm(np.dstack([grey] * 3)))


def test_a_picture_keeps_its_pixels_while_it_is_transformed() -> None:
    picture = noise(8, 8)
    before = picture.copy()
    tfms_from_stats(imagenet_stats, 8, [*transforms_top_down, Cutout(2, 4)], max_zoom=1.2, pad=2)[0](picture)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), r"got shape \(2, 4, 4, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"must be an array \(H, W\).*got shape \(3, 4, 5\)"),
        (np.zeros((4, 4, 3), np.int64), "must be uint8, or floats in 0..1; got torch.int64"),
        (np.full((4, 4, 3), 200.0, np.float32), "floats in 0..1"),  # else every pixel would silently be white
        (np.full((4, 4, 3), np.nan, np.float32), "floats in 0..1|NaN"),
    ],
)
def test_what_is_no_picture_is_refused(picture: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageTransforms(4)(picture)


@given(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0.05, 2), st.floats(0.05, 2), st.floats(0.05, 2)),
)
def test_denorm_inverts_the_normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    tfm, picture = ImageTransforms(None, (mean, std)), noise(4, 5)
    x = tfm(picture)
    np.testing.assert_allclose(x, ((picture / 255 - mean) / std).transpose(2, 0, 1), atol=1e-4)
    for form in (x, x[None], torch.from_numpy(x).requires_grad_()):
        np.testing.assert_allclose(tfm.denorm(form), picture[None] / 255, atol=1e-5)


def test_denorm_stays_drawable() -> None:
    assert ImageTransforms(None, imagenet_stats).denorm(torch.full((2, 3, 4, 4), 9.0)).max() == 1
    assert ImageTransforms(None).denorm(torch.full((3, 4, 4), -1.0)).min() == 0


@pytest.mark.parametrize(
    "stats", [([0.5] * 3, [0.5, 0.5, 0]), ([0.5], [0.5]), ([0.5] * 3, [0.5] * 4), ([0.5] * 3, [-1] * 3)]
)
def test_stats_must_be_three_means_and_three_positive_deviations(stats: Any) -> None:
    with pytest.raises(ValueError, match="three means and three positive deviations"):
        tfms_from_stats(stats, 8)


def test_stats_of_stats_are_themselves() -> None:
    assert Stats.of(imagenet_stats) is imagenet_stats
    assert Stats.of(np.array([imagenet_stats.mean, imagenet_stats.std])) == imagenet_stats


def test_validation_transforms_are_deterministic_and_central() -> None:
    picture = noise(20, 30)
    trn, val = tfms_from_stats(imagenet_stats, 10, transforms_side_on, max_zoom=1.3, pad=1)
    assert val.aug_tfms == []
    np.testing.assert_array_equal(val(picture), ImageTransforms(10, imagenet_stats)(picture))
    torch.manual_seed(0)
    assert len({trn(picture).tobytes() for _ in range(5)}) == 5
    assert (trn.sz, trn.pad, trn.stats) == (10, 1, imagenet_stats)


@pytest.mark.parametrize(
    ("crop", "fit_by", "n_augments"), [("random", "center", 1), ("center", "center", 0), ("squish", "squish", 0)]
)
def test_crop_decides_what_happens_to_oblong_pictures(crop: str, fit_by: str, n_augments: int) -> None:
    trn, val = tfms_from_stats(imagenet_stats, 10, crop=crop)
    assert (trn.crop, val.crop, len(trn.aug_tfms)) == (fit_by, fit_by, n_augments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sz": 0}, ValueError, "`sz` must be a positive whole number; got 0"),
        ({"sz": 8, "crop": "centre"}, ValueError, "`crop` must be one of 'random', 'center', 'squish'; got 'centre'"),
        ({"sz": 8, "aug_tfms": ["flip"]}, TypeError, "augmentations or callables; got 'flip'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tfms_from_stats(imagenet_stats, **arguments)


@pytest.mark.parametrize(
    ("arch", "mean"),
    [
        (tv_models.resnet34, imagenet_stats.mean),
        ("resnet34", imagenet_stats.mean),
        ("timm/tf_efficientnet_lite0", (0.5, 0.5, 0.5)),
        (torch.nn.Conv2d(3, 3, 1), imagenet_stats.mean),
    ],
)
def test_pictures_are_normalised_as_the_architecture_was_trained(arch: Any, mean: tuple[float, ...]) -> None:
    for tfm in tfms_from_model(arch, 16):
        assert tfm.stats is not None
        assert tfm.stats.mean == mean


# ---------------------------------------------------------------- anybody's transforms


def test_any_callable_stands_in_and_runs_last_in_order() -> None:
    seen: list[Any] = []

    def look(x: Tensor) -> Tensor:
        seen.append((x.dtype, tuple(x.shape)))
        return x // 2

    picture = noise(8, 8)
    out = ImageTransforms(6, aug_tfms=[look, RandomFlip(1.0), lambda x: x + 1])(picture)
    assert seen == [(torch.uint8, (3, 6, 6))]
    plain = apply(picture, 6, flip=True)
    np.testing.assert_allclose(out * 255, plain.numpy() // 2 + 1, atol=1e-4)


def test_torchvision_transforms_stand_in_and_may_change_to_float() -> None:
    picture = noise(8, 8)
    flipped = ImageTransforms(8, imagenet_stats, [v2.RandomHorizontalFlip(1.0)])
    np.testing.assert_array_equal(flipped(picture), ImageTransforms(8, imagenet_stats)(picture[:, ::-1]))
    as_float = ImageTransforms(8, imagenet_stats, [v2.ToDtype(torch.float32, scale=True)])
    np.testing.assert_allclose(as_float(picture), ImageTransforms(8, imagenet_stats)(picture), atol=1e-6)


def test_random_callables_follow_the_generator_and_leave_the_global_ones_alone() -> None:
    def jitter(x: Tensor) -> Tensor:
        shift = random.random() + np.random.rand() + float(torch.rand(()))  # noqa: NPY002
        return (x * (shift / 3)).to(torch.uint8)

    tfm, picture = ImageTransforms(6, aug_tfms=[jitter, v2.ColorJitter(0.5, 0.5)]), noise(6, 6)
    states = random.getstate(), torch.get_rng_state()
    a, b, c = (tfm.item(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
