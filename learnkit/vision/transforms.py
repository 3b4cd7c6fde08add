"""From a picture to the tensor a model takes: resize, crop, augment, normalise.

Every augmentation first only notes what it wants in a `Draw`; the picture is then cropped, zoomed, rotated and
flipped in one interpolation. Pixels stay `uint8` until whole batches are normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as V2

from learnkit.core.errors import DataError, check_choice, check_positive
from learnkit.core.old_names import old_arguments
from learnkit.core.settable import Settable
from learnkit.data.dataset import seeded_globals
from learnkit.runtime.pictures import fit_picture, normalised
from learnkit.vision.augment import Augment, Draw, RandomCrop, RandomZoom
from learnkit.vision.models import Stats, arch_stats

__all__ = [
    "CropType",
    "ImageTransforms",
    "tfms_from_model",
    "tfms_from_stats",
]

AugTfms = Augment | Callable[..., Any] | Sequence[Any] | None


class CropType(StrEnum):
    """How the square is cut out of a picture, by the course's names: `RANDOM`, `CENTER`, or `NO` for distorting it.

    Each equals the word that `crop` takes: "random", "center", "squish".

    Examples
    --------
    >>> from learnkit.vision import CropType, tfms_from_stats
    >>> trn_tfms, val_tfms = tfms_from_stats(([0.5] * 3, [0.25] * 3), 32, crop_type=CropType.NO)
    >>> val_tfms.crop
    'squish'
    """

    RANDOM = "random"
    CENTER = "center"
    NO = "squish"


class ImageTransforms(Settable):
    """Turn pictures into the normalised tensors a model takes.

    Parameters
    ----------
    sz : int or None
        Height and width of the result; `None` leaves pictures at their own size (which must then be one).
    stats : Stats or pair of sequences of float, optional
        Mean and standard deviation per channel, of pixels in 0..1; `None` for no normalisation.
    aug_tfms : sequence, optional
        `Augment` objects, and anything callable that takes and returns a `uint8` tensor `(3, sz, sz)`, such as a
        torchvision v2 transform; those run last, in order.
    crop : {"center", "squish"}, default "center"
        What to do with a picture that is not square: cut out the largest square, or distort it.
    pad : int, default 0
        Mirror so many pixels (of the result) outwards on each side, to crop from.
    max_value : float, optional
        The value that is white in files of more than 8 bits per channel, and in arrays of whole numbers other than
        `uint8`, of the whole data set: 4095 for 12 bits, say. By default 65,535 for whole numbers and 1 for floats; float
        arrays are always in 0..1, as `open_image` gives them.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageTransforms
    >>> x = ImageTransforms(32, ([0.5] * 3, [0.5] * 3))(np.zeros((48, 64, 3), dtype=np.float32))
    >>> x.shape, x.min().item()
    ((3, 32, 32), -1.0)
    """

    def __init__(
        self,
        sz: int | None,
        stats: Any = None,
        aug_tfms: AugTfms = None,
        *,
        crop: str = "center",
        pad: int = 0,
        max_value: float | None = None,
    ) -> None:
        if sz is not None:
            check_positive("sz", sz, integer=True)
        if max_value is not None:
            check_positive("max_value", max_value)
        check_choice("crop", crop, ("center", "squish"))
        aug_tfms = as_list(aug_tfms)
        for tfm in aug_tfms:
            if not isinstance(tfm, Augment) and not callable(tfm):
                raise TypeError(f"`aug_tfms` must hold augmentations or callables; got {tfm!r}.")
        self.sz = sz
        self.stats = None if stats is None else Stats.of(stats)
        self.aug_tfms = aug_tfms
        self.crop, self.pad, self.max_value = CropType(crop).value, pad, max_value
        self._augments = [tfm for tfm in self.aug_tfms if isinstance(tfm, Augment)]
        self._others = [tfm for tfm in self.aug_tfms if not isinstance(tfm, Augment)]

    def __call__(self, picture: Any) -> NDArray[np.float32]:
        """Transform one picture.

        Parameters
        ----------
        picture : array of shape (H, W, 3) or (H, W)
            Floats in 0..1, as `open_image` gives them, `uint8`, or whole numbers in 0..`max_value`; a PIL image; or a `uint8` tensor
            `(3, H, W)`.

        Returns
        -------
        array of float32, shape (3, sz, sz)
        """
        rng = np.random.default_rng(int(torch.randint(2**62, ()))) if self.aug_tfms else np.random.default_rng(0)
        return self.batch(self.item(picture, rng)[None])[0].numpy()

    def item(self, x: Any, rng: np.random.Generator) -> Tensor:
        """Return the `uint8` tensor `(3, sz, sz)` of a picture, augmented with draws from `rng`."""
        picture = as_uint8(x, self.max_value)
        if (
            not self.aug_tfms and not self.pad
        ):  # as it is predicted, also where there is no torch: pixel by pixel the same
            pixels = fit_picture(picture.permute(1, 2, 0).numpy(), self.sz, self.crop)
            return torch.from_numpy(
                np.array(pixels.transpose(2, 0, 1), order="C")
            )  # a copy: Pillow's memory is read-only
        draw = Draw(sz=self.sz)
        for augment in self._augments:
            augment.draw(rng, draw)
        own_size = int(picture.shape[1]), int(picture.shape[2])
        squish = self.sz is None or self.crop == "squish" or draw.squish
        picture = _place(
            picture, own_size if self.sz is None else (self.sz, self.sz), draw, squish, self.pad + draw.pad
        )
        if draw.quarter_turns % 4:
            picture = picture.rot90(draw.quarter_turns, (1, 2))
        if draw.flip:
            picture = picture.flip(2)
        if draw.blur:
            picture = _blur(picture, draw.blur)
        picture = _light(picture, draw.brightness, draw.contrast)
        for y, x_, size in draw.holes:
            picture = picture.clone()
            top, left = round(y * picture.shape[1] - size / 2), round(x_ * picture.shape[2] - size / 2)
            picture[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 127
        if self._others:
            with seeded_globals(int(rng.integers(2**32))):
                for tfm in self._others:
                    picture = tfm(picture)
        return picture.contiguous()

    def batch(self, x: Tensor) -> Tensor:
        """Turn a stacked batch into normalised `float32`."""
        # numpy's one thread: torch's would wait for their next work on the cores that the loading processes need.
        result = torch.empty(x.shape)
        normalised(x.numpy(), None if self.stats is None else (self.stats.mean, self.stats.std), result.numpy())
        return result

    def denorm(self, x: Any) -> NDArray[np.float32]:
        """Undo the normalisation, for drawing.

        Parameters
        ----------
        x : Tensor or array of shape (B, 3, H, W) or (3, H, W)

        Returns
        -------
        array of shape (B, H, W, 3), in 0..1
            One picture becomes a batch of one.
        """
        pixels = torch.as_tensor(x).detach().cpu().float()
        pixels = pixels[None] if pixels.ndim == 3 else pixels
        if self.stats is not None:
            pixels = pixels * torch.tensor(self.stats.std)[:, None, None] + torch.tensor(self.stats.mean)[:, None, None]
        result: NDArray[np.float32] = pixels.clamp(0, 1).permute(0, 2, 3, 1).numpy()
        return result

    def __repr__(self) -> str:
        return (
            f"ImageTransforms(sz={self.sz}, stats={self.stats}, aug_tfms={self.aug_tfms}, crop={self.crop!r}, "
            f"pad={self.pad}, max_value={self.max_value})"
        )


@old_arguments
def tfms_from_stats(
    stats: Any,
    sz: int,
    aug_tfms: AugTfms = None,
    max_zoom: float | None = None,
    pad: int = 0,
    crop_type: str | None = None,
    *,
    crop: str = "random",
    max_value: float | None = None,
) -> tuple[ImageTransforms, ImageTransforms]:
    """Return the transforms for training and for validation.

    Parameters
    ----------
    stats : Stats or pair of sequences of float
        Mean and standard deviation per channel, of pixels in 0..1; `image_stats` measures them.
    sz : int
        Height and width the model gets.
    aug_tfms : sequence, optional
        Augmentations for training, e.g. `transforms_side_on` or `[RandomFlip()]`.
    max_zoom : float, optional
        Zoom in by up to this factor when training.
    pad : int, default 0
        Mirror so many pixels outwards on each side when training, to crop from.
    crop_type : CropType, optional
        The course's name of `crop`.
    crop : {"random", "center", "squish"}, default "random"
        Where the square for training is cut from; validation uses the centre. "squish" distorts in both.
    max_value : float, optional
        The value that is white in pictures of more than 8 bits per channel; see `ImageTransforms`.

    Returns
    -------
    trn_tfms, val_tfms : ImageTransforms

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import RandomFlip, tfms_from_stats
    >>> trn_tfms, val_tfms = tfms_from_stats(([0.5] * 3, [0.25] * 3), 32, aug_tfms=[RandomFlip()])
    >>> trn_tfms.aug_tfms, val_tfms.aug_tfms
    ([RandomCrop(sz=None), RandomFlip(p=0.5)], [])
    """
    if crop_type is not None and crop not in ("random", crop_type):
        raise ValueError(f"`crop_type` and `crop` are one setting; got {crop_type!r} and {crop!r}. Pass one of them.")
    crop = crop if crop_type is None else crop_type
    check_choice("crop", crop, [kind.value for kind in CropType])
    augments: list[Any] = [RandomCrop()] if crop == "random" else []
    if max_zoom is not None:
        augments.append(RandomZoom(max_zoom))
    fit_by = "squish" if crop == "squish" else "center"
    trn = ImageTransforms(sz, stats, [*augments, *as_list(aug_tfms)], crop=fit_by, pad=pad, max_value=max_value)
    return trn, ImageTransforms(sz, stats, crop=fit_by, max_value=max_value)


@old_arguments
def tfms_from_model(
    arch: Any,
    sz: int,
    aug_tfms: AugTfms = None,
    max_zoom: float | None = None,
    pad: int = 0,
    crop_type: str | None = None,
    *,
    crop: str = "random",
    max_value: float | None = None,
) -> tuple[ImageTransforms, ImageTransforms]:
    """Return the transforms, normalised as the architecture was trained; see `tfms_from_stats`.

    Parameters
    ----------
    arch : callable, str or nn.Module
        As for `ConvLearner.pretrained`.
    """
    return tfms_from_stats(arch_stats(arch), sz, aug_tfms, max_zoom, pad, crop_type, crop=crop, max_value=max_value)


def as_list(aug_tfms: Any) -> list[Any]:
    """Return augmentations as a list; a single one counts as a list of it."""
    if aug_tfms is None:
        return []
    return [aug_tfms] if isinstance(aug_tfms, Augment) or callable(aug_tfms) else list(aug_tfms)


def as_uint8(x: Any, max_value: float | None = None) -> Tensor:
    """Return a picture of any kind as a `uint8` tensor `(3, H, W)`; `max_value` as for `ImageTransforms`."""
    if isinstance(x, Tensor):
        picture = x
    else:
        array = np.array(x)  # a copy: torch wants writable memory, and views of files or PIL images are not
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
            raise DataError(f"a picture must be an array (H, W), (H, W, 1) or (H, W, 3); got shape {array.shape}.")
        if array.dtype.kind in "ui" and array.dtype != np.uint8:
            white = max_value or (65535 if array.dtype == np.uint16 else None)
            if white is None:
                raise DataError(
                    f"pixels must be uint8, or floats in 0..1; got {torch.as_tensor(array).dtype}. Convert them with `.astype('uint8')`, "
                    "or say what is white with `max_value=` of the transforms."
                )
            if array.size and not (array.min() >= 0 and array.max() <= white):
                raise DataError(f"pixels must be in 0..{white:g}; got {array.min()} to {array.max()}.")
            array = array / white
        picture = torch.from_numpy(array[..., :3]).permute(2, 0, 1)
    if picture.is_floating_point():
        if not bool(((picture >= -1e-3) & (picture <= 1 + 1e-3)).all()):
            low, high = float(picture.min()), float(picture.max())
            raise DataError(
                f"pixels must be uint8, or floats in 0..1; got {low:.3g} to {high:.3g}. Divide by 255, or look for NaN."
            )
        picture = (picture * 255).round().clamp(0, 255).to(torch.uint8)
    elif picture.dtype != torch.uint8:
        raise DataError(f"pixels must be uint8, or floats in 0..1; got {picture.dtype}.")
    return picture.expand(3, -1, -1) if picture.shape[0] == 1 else picture


def _place(picture: Tensor, size: tuple[int, int], draw: Draw, squish: bool, pad: int) -> Tensor:
    """Cut, zoom, rotate and resize to `(3, *size)` in one interpolation: `uint8`, or floats in 0..255 not rounded yet."""
    _, h, w = picture.shape
    side_h, side_w = (float(h), float(w)) if squish else (float(min(h, w)),) * 2
    # How far the crop may move, padding included; the zoom makes the crop smaller and so leaves more room.
    room_h, room_w = h + 2 * pad * side_h / size[0], w + 2 * pad * side_w / size[1]
    side_h, side_w = side_h / draw.zoom / draw.stretch[0], side_w / draw.zoom / draw.stretch[1]
    top = draw.place[0] * (room_h - side_h) - (room_h - h) / 2
    left = draw.place[1] * (room_w - side_w) - (room_w - w) / 2
    if draw.angle:
        return _sample(picture, size, (top + side_h / 2, left + side_w / 2), (side_h, side_w), draw.angle)
    # Without a rotation the box is one of whole pixels, which need no interpolation where the size is right.
    height, width = max(round(side_h), 1), max(round(side_w), 1)
    if not pad:
        height, width = min(height, h), min(width, w)
        top, left = min(round(top), h - height), min(round(left), w - width)
    window = _window(picture, round(top), round(left), height, width)
    if (height, width) == size:
        return window
    resized: Tensor = V2.resize(window, list(size), antialias=True)
    return resized


def _window(picture: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Cut a box out of a picture that is mirrored at its borders."""
    _, h, w = picture.shape
    if top >= 0 and left >= 0 and top + height <= h and left + width <= w:
        return picture[:, top : top + height, left : left + width]
    return picture[:, _mirrored(top, height, h)][:, :, _mirrored(left, width, w)]


def _mirrored(start: int, n: int, size: int) -> NDArray[np.int64]:
    """Return places `start` to `start + n` of a line of `size` that goes on mirrored at both ends."""
    places = np.arange(start, start + n) % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)


def _sample(
    picture: Tensor, size: tuple[int, int], centre: tuple[float, float], side: tuple[float, float], angle: float
) -> Tensor:
    """Sample a rotated box of a picture, mirrored at its borders: floats in 0..255."""
    _, h, w = picture.shape
    # Planes, not interleaved colours: sampling them is twice as fast.
    pixels = picture[None].to(torch.float32, memory_format=torch.contiguous_format)
    shrink = max(int(min(side[0] / size[0], side[1] / size[1])), 1)
    if shrink > 1:  # averaging whole blocks first keeps fine patterns from turning into noise
        pixels = F.avg_pool2d(pixels, shrink, ceil_mode=True)
        h, w = pixels.shape[2] * shrink, pixels.shape[3] * shrink  # the last blocks may reach over the border
    sin, cos = -math.sin(math.radians(angle)), math.cos(math.radians(angle))  # counterclockwise, as quarter turns
    # Where each pixel of the result comes from, in -1..1 of the picture: x and y are sums of a part per column and one
    # per row. Pixels are square, so rotate in pixels.
    down, across = ((torch.arange(n, dtype=torch.float32) * 2 + 1) / n - 1 for n in size)
    columns, rows = across * side[1], down[:, None] * side[0]
    grid = torch.empty(1, *size, 2)
    torch.add(columns * (cos / w) + (2 * centre[1] / w - 1), rows * (sin / w), out=grid[0, ..., 0])
    torch.add(columns * (-sin / h) + (2 * centre[0] / h - 1), rows * (cos / h), out=grid[0, ..., 1])
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]


def _blur(picture: Tensor, side: int) -> Tensor:
    if side // 2 >= min(picture.shape[1:]):
        shape = f"{picture.shape[1]} x {picture.shape[2]}"
        raise DataError(
            f"a blur of {side} pixels is too wide for a picture of {shape}; give `RandomBlur` a smaller one."
        )
    blurred: Tensor = V2.gaussian_blur(picture, [side, side])
    return blurred


def _light(picture: Tensor, brightness: float, contrast: float) -> Tensor:
    """Change the light of a picture, `uint8` or floats in 0..255, and return it as `uint8`."""
    shift = 127.5 * (1 - contrast) + 255 * brightness
    if picture.is_floating_point():
        if brightness or contrast != 1:
            picture = picture.mul_(contrast).add_(shift)
        return picture.round_().clamp_(0, 255).to(torch.uint8)
    if not brightness and contrast == 1:
        return picture
    levels = (np.arange(256) * contrast + shift).round().clip(0, 255).astype(np.uint8)
    return torch.from_numpy(np.take(levels, picture.numpy()))
