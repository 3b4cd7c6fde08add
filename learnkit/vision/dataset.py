"""Pictures, files or rows of an array, as a data set; and what their pixels are on average."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learnkit.core.errors import DataError
from learnkit.core.old_names import old_attributes
from learnkit.core.settable import Settable
from learnkit.data.bunch import DataBunch
from learnkit.data.dataset import ItemDataset
from learnkit.data.files import PathLike
from learnkit.data.loaders import TensorLoader
from learnkit.vision.images import Picture, open_image, picture_name, read_rgb
from learnkit.vision.models import Stats
from learnkit.vision.transforms import ImageTransforms, as_uint8

__all__ = ["ImageDataset", "image_stats"]


@old_attributes
class ImageDataset(Settable, ItemDataset):
    """Pictures, files or rows of an array, with their encoded targets.

    Parameters
    ----------
    items : sequence of path-like, bytes or binary files, or array of shape (n, H, W), (n, H, W, 3) or (n, 3, H, W)
        The pictures.
    y : array or None
        Encoded targets.
    tfm : ImageTransforms, callable or None
        `None` only turns the pictures into tensors. A callable takes what `open_image` gives; a torchvision transform
        takes a PIL image.
    path : path-like, optional
        Folder that `fnames` are relative to.

    Attributes
    ----------
    paths : list of Path
        The files.
    fnames : list of str
        Their names below `path`.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageDataset, ImageTransforms
    >>> ds = ImageDataset(np.zeros((5, 28, 28), dtype=np.uint8), np.zeros(5, dtype=np.int64), ImageTransforms(32))
    >>> x, y = ds[0]
    >>> x.shape
    torch.Size([3, 32, 32])
    """

    def __init__(self, items: Any, y: NDArray[Any] | None, tfm: Any = None, *, path: PathLike | None = None) -> None:
        tfm = ImageTransforms(None) if tfm is None else tfm
        self.path = None if path is None else Path(path)
        if isinstance(items, np.ndarray):
            if items.ndim == 4 and items.shape[1] == 3 and items.shape[-1] != 3:
                items = items.transpose(0, 2, 3, 1)
            super().__init__(items, y, _opener_of_rows(tfm), tfm)
        else:
            files = (
                [items]
                if isinstance(items, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(items, "read")
                else items
            )
            super().__init__([_as_item(item) for item in files], y, _opener_of_files(tfm), tfm)

    @property
    def paths(self) -> list[Path]:
        """The files; pictures from arrays and from memory have none."""
        if isinstance(self.items, np.ndarray) or not all(isinstance(item, Path) for item in self.items):
            where = "an array" if isinstance(self.items, np.ndarray) else "memory"
            raise DataError(f"these pictures come from {where}, so they have no file names.")
        return list(self.items)

    @property
    def fnames(self) -> list[str]:
        """The names of the files below `path`, so that `PATH + fname` is the file; of files elsewhere, all of the path."""
        root = self.path
        return [str(p.relative_to(root)) if root is not None and p.is_relative_to(root) else str(p) for p in self.paths]

    @property
    def sz(self) -> int | None:
        """Height and width of a transformed picture."""
        return getattr(self.tfm, "sz", None)

    @property
    def max_value(self) -> float | None:
        """The value that is white in pictures of more than 8 bits; see `ImageTransforms`."""
        return getattr(self.tfm, "max_value", None)

    def with_tfm(self, tfm: Any) -> ImageDataset:
        """Return the same pictures and targets with another transform."""
        return ImageDataset(self.items, self.y, tfm, path=self.path)

    def with_files(self, files: Sequence[Path]) -> ImageDataset:
        """Return the same targets and transform with other files, in the same order."""
        return ImageDataset(files, self.y, self.tfm, path=self.path)

    def name(self, i: int) -> str:
        """Name picture `i` for messages."""
        return super().name(i) if isinstance(self.items, np.ndarray) else f"item {i}, {picture_name(self.items[i])}"

    def denorm(self, x: Any) -> NDArray[np.float32]:
        """Undo the normalisation of pictures, for drawing; see `ImageTransforms.denorm`."""
        tfm = self.tfm if isinstance(self.tfm, ImageTransforms) else ImageTransforms(None, _stats_inside(self.tfm))
        return tfm.denorm(x)


def image_stats(data: DataBunch) -> Stats:
    """Measure mean and standard deviation of each colour channel over the training pictures, for `tfms_from_stats`.

    The pictures are read one after the other, as the validation transform cuts and scales them but not normalised or
    augmented; of other pictures than the training ones nothing is read.

    Parameters
    ----------
    data : ImageClassifierData
        Its transforms may be `(None, None)`: then every picture counts at its own size.

    Returns
    -------
    Stats
        Of pixels in 0..1. A channel that is the same everywhere gets the deviation 1/255, one step of 8 bits.

    Raises
    ------
    DataError
        If the data holds no pictures, or one cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageClassifierData, image_stats
    >>> x, y = np.zeros((4, 8, 8, 3), dtype=np.uint8), np.arange(4) % 2
    >>> x[::2] = 255
    >>> image_stats(ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y))).mean
    (0.5, 0.5, 0.5)
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for picture in _training_pictures(data):
        for channel, pixels in enumerate(picture):
            counts[channel] += np.bincount(pixels.reshape(-1), minlength=256)
    levels, n = np.arange(256) / 255, counts.sum(1)
    mean = counts @ levels / n
    std = np.sqrt(np.maximum((counts * (levels - mean[:, None]) ** 2).sum(1) / n, 0))
    return Stats(tuple(mean.tolist()), tuple(np.maximum(std, 1 / 255).tolist()))


def _training_pictures(data: DataBunch) -> Iterator[NDArray[np.uint8]]:
    """Give each training picture as bytes of shape (3, H, W)."""
    dl: Any = data.trn_dl
    ds = getattr(dl, "dataset", None)
    if isinstance(dl, TensorLoader):  # arrays without transforms
        x = dl.tensors[0].numpy()
        ds = ImageDataset(x / 255 if x.size and x.max() > 1 else x, None)  # floats that were bytes, or lie in 0..1
    if not isinstance(ds, ImageDataset):
        raise DataError("the statistics of pictures need pictures: make the data with `ImageClassifierData`.")
    own = getattr(data, "val_tfm", None)
    plain = ImageTransforms(own.sz, crop=own.crop) if isinstance(own, ImageTransforms) else ImageTransforms(None)
    plain.max_value = ds.max_value
    pictures = ds.with_tfm(plain)
    for i in range(len(pictures)):
        yield pictures.batch([i], 0)[0][0].numpy()


def _as_item(item: Picture) -> Path | bytes:
    """Return a file's path, or the bytes of one in memory: a file that is open could be read only once."""
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    read = getattr(item, "read", None)
    if read is not None:
        content = read()
        if not isinstance(content, bytes):
            raise DataError(f"a picture must be opened as bytes, open(file, 'rb'); got {type(content).__name__}.")
        return content
    if not isinstance(item, str | os.PathLike):
        raise DataError(f"a picture must be a file's path, bytes or a binary file; got {type(item).__name__}.")
    return Path(item)


def is_torchvision(tfm: Any) -> bool:
    """Whether a transform is torchvision's, which takes PIL images."""
    return type(tfm).__module__.startswith("torchvision.")


def _opener_of_files(tfm: Any) -> Any:
    if isinstance(tfm, ImageTransforms):
        return partial(read_rgb, max_value=tfm.max_value)
    return read_rgb if is_torchvision(tfm) else open_image


def _opener_of_rows(tfm: Any) -> Any:
    if isinstance(tfm, ImageTransforms):
        return _as_it_is
    return _as_pil if is_torchvision(tfm) else _as_opened


def _as_it_is(item: Any) -> Any:
    return item


def _as_pil(item: Any) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(as_uint8(item).permute(1, 2, 0).numpy()))


def _as_opened(item: Any) -> NDArray[np.float32]:
    """Return a row of an array as `open_image` would give it."""
    return as_uint8(item).permute(1, 2, 0).numpy().astype(np.float32) / np.float32(255)


def _stats_inside(tfm: Any) -> Any:
    """Return the statistics that a torchvision transform normalises with, `None` if it does not."""
    parts = [tfm, *getattr(tfm, "transforms", ())]
    return next(((p.mean, p.std) for p in parts if type(p).__name__ == "Normalize" and len(p.mean) == 3), None)
