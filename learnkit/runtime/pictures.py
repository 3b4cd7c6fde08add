"""Pictures without torch: read any file as RGB, cut it to size, and turn it into what a network takes.

Validation and prediction in learnkit prepare pictures by the same functions, so that every machine sees the same pixels.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from learnkit.core.errors import DataError

__all__ = ["Picture", "PicturePreparation", "fit_picture", "normalised", "picture_name", "read_rgb"]

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PicturePreparation:
    """From pictures to the tensor a network takes.

    Parameters
    ----------
    prep : mapping
        `sz` (int or None), `mean` and `std` (three numbers each, of pixels in 0..1, or None), `crop` ("center" or "squish")
        and `max_value` (float or None), as `ImagePrep.portable` writes them.
    """

    def __init__(self, prep: Mapping[str, Any]) -> None:
        self.sz: int | None = prep["sz"]
        self.stats = None if prep["mean"] is None else (prep["mean"], prep["std"])
        self.crop: str = prep["crop"]
        self.max_value: float | None = prep["max_value"]

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return `pixels` of shape `(B, 3, H, W)`.

        Parameters
        ----------
        items : path-like, bytes or binary file, or a list of them; array of shape (H, W), (H, W, 3) or (n, H, W, 3), or a list
            Files, what is in them, or pixels: `uint8`. A single one counts as a list of one.

        Raises
        ------
        DataError
            If one cannot be read (it is named), there is none, or they differ in size where none is fixed.
        """
        pictures = [self._fitted(i, item) for i, item in enumerate(_listed(items))]
        if not pictures:
            raise DataError("there is no picture: the list is empty.")
        if len({picture.shape for picture in pictures}) > 1:
            sizes = sorted({f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures})
            raise DataError(
                f"pictures of one batch must have one size, and this model has none of its own; got {', '.join(sizes)}."
            )
        return {"pixels": normalised(np.stack(pictures).transpose(0, 3, 1, 2), self.stats)}

    def instance(self, value: Any) -> bytes:
        """Return the picture of a JSON instance, `{"b64": "..."}`, as the bytes of its file."""
        if not isinstance(value, Mapping) or not isinstance(value.get("b64"), str):
            raise DataError('a picture must be {"b64": "<the file in base64>"}.')
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise DataError(f"`b64` is no base64: {exc}.") from exc

    def _fitted(self, i: int, item: Any) -> NDArray[np.uint8]:
        if isinstance(item, np.ndarray):
            if item.dtype != np.uint8 or item.ndim not in (2, 3) or (item.ndim == 3 and item.shape[2] not in (1, 3)):
                raise DataError(
                    f"picture {i}: pixels must be uint8 of shape (H, W) or (H, W, 3); got {item.dtype} {item.shape}."
                )
            grey = item if item.ndim == 2 else item[..., 0]
            pixels = item if item.ndim == 3 and item.shape[2] == 3 else np.repeat(grey[..., None], 3, axis=2)
        else:
            pixels = np.asarray(read_rgb(item, self.max_value))
        return fit_picture(pixels, self.sz, self.crop)


def _listed(items: Any) -> Sequence[Any]:
    if isinstance(items, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(items, "read"):
        return [items]
    if isinstance(items, np.ndarray):
        if items.ndim == 3 and items.shape[0] == 3 and items.shape[-1] != 3:
            raise DataError(
                f"pixels are (H, W, 3), and (n, H, W, 3) for several pictures; got {items.shape}. If the colours come first, give "
                "`x.transpose(1, 2, 0)`."
            )
        return [items] if items.ndim == 2 or (items.ndim == 3 and items.shape[-1] == 3) else [*items]
    if isinstance(items, Iterable) and not isinstance(items, Mapping):
        return list(items)
    raise DataError(
        f"pictures must be a file's path, bytes, a binary file, pixels, or a list of them; got {type(items).__name__}."
    )


def fit_picture(pixels: NDArray[np.uint8], sz: int | None, crop: str) -> NDArray[np.uint8]:
    """Cut and resize a picture `(H, W, c)` or `(H, W)` to `(sz, sz, ...)`.

    Parameters
    ----------
    pixels : array of uint8
    sz : int or None
        `None` leaves it as it is.
    crop : {"center", "squish"}
        Cut out the largest square in the middle, or distort.
    """
    if sz is None:
        return pixels
    if crop == "center":
        side = min(pixels.shape[:2])
        top, left = (min(round((n - side) / 2), n - side) for n in pixels.shape[:2])
        pixels = pixels[top : top + side, left : left + side]
    if pixels.shape[:2] == (sz, sz):
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return fit_picture(pixels[..., 0], sz, "squish")[..., None]
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((sz, sz), Image.Resampling.BILINEAR))


def normalised(
    x: NDArray[Any], stats: tuple[Sequence[float], Sequence[float]] | None, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return a batch `(B, 3, H, W)` of `uint8`, or of floats in 0..1, as float32 less the mean, over the deviation.

    Parameters
    ----------
    x : array
    stats : pair of three numbers each, or None
        Mean and standard deviation per channel, of pixels in 0..1.
    out : array, optional
        Where to write.
    """
    scale = np.float32(255 if x.dtype == np.uint8 else 1)
    pixels = np.empty(x.shape, np.float32) if out is None else out
    if stats is None:
        return np.divide(x, scale, out=pixels)
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in stats)
    np.subtract(x, mean * scale, out=pixels)  # one pass less than bringing them to 0..1 first
    pixels /= std * scale
    return pixels


def read_rgb(fn: Picture, max_value: float | None = None) -> Image.Image:
    """Read a picture as an 8-bit RGB PIL image, turned the way its EXIF data says.

    Parameters
    ----------
    fn : path-like, bytes or binary file
        Any format Pillow reads. Transparent parts become white; of an animation the first frame is taken.
    max_value : float, optional
        The value that is white in pictures of more than 8 bits per channel; 65,535 for whole numbers and 1 for floats by
        default.

    Raises
    ------
    DataError
        If it is missing, cut off or no picture, or has values outside 0..`max_value`; it is named.
    """
    try:
        with Image.open(io.BytesIO(fn) if isinstance(fn, bytes | bytearray | memoryview) else fn) as file:
            file.load()  # first of all, and before the file is closed: what is read of it later is read of a whole picture
            image = _in_8_bits(file, max_value)
            turn = _TURNS.get(_orientation(file))
            if turn is not None:
                image = image.transpose(turn)
            if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as exc:  # a decoder may fail in any way on a damaged file
        raise DataError(
            f"the picture {picture_name(fn)} cannot be read: {_reason(exc)}. Replace or remove the file."
        ) from exc


def picture_name(fn: Picture) -> str:
    """Name a picture for messages."""
    if isinstance(fn, str | os.PathLike):
        return str(fn)
    return (
        f"(of {len(fn):,} bytes)"
        if isinstance(fn, bytes | bytearray | memoryview)
        else str(getattr(fn, "name", type(fn).__name__))
    )


def _reason(exc: Exception) -> str:
    return str(exc) if isinstance(exc, OSError | ValueError | SyntaxError) else f"{type(exc).__name__}: {exc}"


def _orientation(file: Image.Image) -> int:
    """Return what EXIF says of the way up, 1 where it says nothing that can be read: the pixels are whole then, too."""
    try:
        value = file.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _in_8_bits(image: Image.Image, max_value: float | None) -> Image.Image:
    """Bring whole numbers of 16 and 32 bits, and floats, to 0..255, by one scale for all pictures of that kind."""
    if not image.mode.startswith("I") and image.mode != "F":
        return image
    is_float = image.mode == "F"
    white = max_value or (1.0 if is_float else 65535.0)
    values = np.asarray(image, dtype=np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds NaN or infinite values, which are no brightness")
    room = 1e-3 * white if is_float else 0  # sums of floats miss their end by a little
    if not (low >= -room and high <= white + room):
        kind = "floats" if is_float else "whole numbers"
        held = f"it holds {kind} from {low:.6g} to {high:.6g}, where 0 is black and {white:g} white"
        if low < -room:
            raise ValueError(f"{held}. Nothing is darker than black: shift the values of the whole data set")
        raise ValueError(
            f"{held}. If the pictures of this data set reach further, say how far in the transforms, "
            f"`tfms_from_model(..., max_value={high:g})`"
        )
    return Image.fromarray((values * (255 / white)).round().clip(0, 255).astype(np.uint8))
