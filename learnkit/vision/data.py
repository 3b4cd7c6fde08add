"""Pictures from folders and arrays to an `ImageClassifierData`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

from learnkit.core.device import T
from learnkit.core.errors import DataError
from learnkit.data.bunch import DataBunch
from learnkit.data.dataset import ItemDataset
from learnkit.data.files import PathLike, find_files, subfolders
from learnkit.data.loaders import ItemLoader, TensorLoader
from learnkit.data.targets import Category, Target
from learnkit.vision.transforms import ImageTransforms

__all__ = ["IMAGE_EXTENSIONS", "ImageClassifierData", "ImageDataset", "open_image"]

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})


def open_image(fn: PathLike) -> NDArray[np.float32]:
    """Read a picture as RGB, turned the way its EXIF data says.

    Parameters
    ----------
    fn : path-like
        Any format Pillow reads. Transparent parts become white; of an animation the first frame is taken.

    Returns
    -------
    array of float32, shape (H, W, 3), in 0..1

    Raises
    ------
    DataError
        If the file is missing, cut off or no picture; it is named.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from learnkit.vision import open_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 255).save(f"{folder}/white.png")
    ...     open_image(f"{folder}/white.png").shape
    (3, 4, 3)
    """
    return np.asarray(read_rgb(fn), dtype=np.float32) / np.float32(255)


def read_rgb(fn: PathLike) -> Image.Image:
    """Read a picture as an 8-bit RGB PIL image."""
    try:
        with Image.open(fn) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: bring the range to 0..255
                values = np.asarray(image, dtype=np.float32)
                scale = 255 / 65535 if values.max(initial=0) > 255 else 1
                image = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise DataError(f"the picture {fn} cannot be read: {exc}. Replace or remove the file.") from exc


class ImageDataset(ItemDataset):
    """Pictures, files or rows of an array, with their encoded targets.

    Parameters
    ----------
    items : sequence of path-like, or array of shape (n, H, W), (n, H, W, 3) or (n, 3, H, W)
        The pictures.
    y : array or None
        Encoded targets.
    tfm : ImageTransforms, callable or None
        `None` only turns the pictures into tensors. A callable takes what `open_image` gives.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageDataset, ImageTransforms
    >>> ds = ImageDataset(np.zeros((5, 28, 28), dtype=np.uint8), np.zeros(5, dtype=np.int64), ImageTransforms(32))
    >>> x, y = ds[0]
    >>> x.shape
    torch.Size([3, 32, 32])
    """

    def __init__(self, items: Any, y: NDArray[Any] | None, tfm: Any = None) -> None:
        tfm = ImageTransforms(None) if tfm is None else tfm
        opener = read_rgb if isinstance(tfm, ImageTransforms) else open_image
        if isinstance(items, np.ndarray):
            if items.ndim == 4 and items.shape[1] == 3 and items.shape[-1] != 3:
                items = items.transpose(0, 2, 3, 1)
            super().__init__(items, y, _as_it_is, tfm)
        else:
            super().__init__([Path(item) for item in items], y, opener, tfm)

    @property
    def fnames(self) -> list[Path]:
        """The files; pictures from arrays have none."""
        if isinstance(self.items, np.ndarray):
            raise DataError("these pictures come from an array, so they have no file names.")
        return list(self.items)

    @property
    def sz(self) -> int | None:
        """Height and width of a transformed picture."""
        return getattr(self.tfm, "sz", None)

    def denorm(self, x: Any) -> NDArray[np.float32]:
        """Undo the normalisation of pictures, for drawing; see `ImageTransforms.denorm`."""
        tfm = self.tfm if isinstance(self.tfm, ImageTransforms) else ImageTransforms(None)
        return tfm.denorm(x)


class ImageClassifierData(DataBunch):
    """Pictures and their classes, ready to train on.

    Make one with `from_paths` or `from_arrays`.

    Attributes
    ----------
    trn_ds, val_ds, test_ds : ImageDataset
    trn_dl, val_dl, test_dl : loaders
        Batches `(x, y)`: `x` float of shape `(bs, 3, sz, sz)`, `y` int64 of shape `(bs,)`.
    aug_dl : loader
        The validation pictures, in order, with the training transforms.
    fix_dl : loader
        The training pictures, in order, with the validation transforms.
    classes : list
    c : int
    sz : int or None
    """

    def __init__(self, path: PathLike, trn_dl: Any, val_dl: Any, test_dl: Any = None, *, target: Target) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)

    @property
    def aug_dl(self) -> ItemLoader:
        """The validation pictures, in order, with the training transforms."""
        return self.augmented(False)

    @property
    def fix_dl(self) -> ItemLoader:
        """The training pictures, in order, with the validation transforms."""
        return self._with_tfm(self.trn_dl, self.val_ds.tfm)

    @property
    def bs(self) -> int:
        """Batch size of the training."""
        return int(getattr(self.trn_dl, "batch_size", None) or self.trn_dl.bs)  # type: ignore[attr-defined]

    def augmented(self, is_test: bool = False) -> ItemLoader:
        """Return the validation (or test) pictures, in order, with the training transforms."""
        dl = self.test_dl if is_test else self.val_dl
        if dl is None:
            raise DataError(f"this data bunch has no {'test' if is_test else 'validation'} set.")
        return self._with_tfm(dl, self.trn_ds.tfm)

    def _with_tfm(self, dl: Any, tfm: Any) -> ItemLoader:
        ds = getattr(dl, "dataset", None)
        if not isinstance(ds, ImageDataset):
            raise DataError(
                "these are plain arrays, which no transform can be applied to; pass `tfms` when you make them."
            )
        return ItemLoader(ImageDataset(ds.items, ds.y, tfm), self.bs, num_workers=dl.num_workers)

    @property
    def sz(self) -> int | None:
        """Height and width of a transformed picture."""
        return getattr(getattr(self.trn_dl, "dataset", None), "sz", None)

    @classmethod
    def from_paths(
        cls,
        path: PathLike,
        bs: int = 64,
        tfms: tuple[Any, Any] = (None, None),
        trn_name: str = "train",
        val_name: str = "valid",
        test_name: str | None = None,
        num_workers: int | None = None,
    ) -> ImageClassifierData:
        """Read `path/train/<class>/*` and `path/valid/<class>/*`.

        Parameters
        ----------
        path : path-like
            Folder that holds them.
        bs : int, default 64
            Batch size.
        tfms : pair
            Transforms for training and validation, from `tfms_from_model` or `tfms_from_stats`.
        trn_name, val_name : str
            Names of the two folders.
        test_name : str, optional
            Folder of pictures to predict, without classes.
        num_workers : int, optional
            Loading processes; see `ItemLoader`.

        Returns
        -------
        ImageClassifierData

        Raises
        ------
        DataError
            If a folder is missing or holds no picture, there is only one class, or the validation set has a class
            the training set has not.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from learnkit.vision import ImageClassifierData
        >>> folder = tempfile.TemporaryDirectory()
        >>> for part in ("train", "valid"):
        ...     for name in ("black", "white"):
        ...         Path(folder.name, part, name).mkdir(parents=True)
        ...         Image.new("L", (8, 8), name).save(Path(folder.name, part, name, "1.png"))
        >>> data = ImageClassifierData.from_paths(folder.name, bs=2)
        >>> data.classes
        ['black', 'white']
        >>> folder.cleanup()
        """
        root = Path(path)
        trn_files, trn_labels = _labelled_files(root / trn_name)
        val_files, val_labels = _labelled_files(root / val_name)
        target = _categories(trn_labels, root / trn_name)
        try:
            val_y = target.encode(val_labels)
        except DataError as exc:
            raise DataError(f"in {root / val_name}: {exc}") from exc
        test_files = None if test_name is None else _files(root / test_name)
        return cls._from_items(
            root, (trn_files, target.encode(trn_labels)), (val_files, val_y), test_files, target, bs, tfms, num_workers
        )

    @classmethod
    def from_arrays(
        cls,
        path: PathLike,
        trn: tuple[ArrayLike, ArrayLike],
        val: tuple[ArrayLike, ArrayLike],
        bs: int = 64,
        tfms: tuple[Any, Any] = (None, None),
        classes: Sequence[Any] | None = None,
        test: ArrayLike | None = None,
        num_workers: int | None = None,
    ) -> ImageClassifierData:
        """Take pictures from arrays that fit in memory.

        Parameters
        ----------
        path : path-like
            Where `models/` and `tmp/` are kept.
        trn, val : pair of arrays
            Pictures and class numbers (or names). With `tfms`, pictures are `(n, H, W)`, `(n, H, W, 3)` or
            `(n, 3, H, W)`, `uint8` or floats in 0..1. Without, arrays of any shape go to the model as they are,
            as `float32`.
        bs : int, default 64
            Batch size.
        tfms : pair
            Transforms for training and validation.
        classes : sequence, optional
            Names of the class numbers 0, 1, ...; by default the distinct values found.
        test : array, optional
            Pictures to predict.
        num_workers : int, optional
            Loading processes; see `ItemLoader`.

        Returns
        -------
        ImageClassifierData

        Raises
        ------
        DataError
            If pictures and targets differ in number, or a class is not among the training ones.

        Examples
        --------
        >>> import numpy as np
        >>> from learnkit.vision import ImageClassifierData
        >>> x, y = np.random.rand(20, 28 * 28), np.arange(20) % 2
        >>> data = ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y), bs=10)
        >>> next(iter(data.val_dl))[0].shape
        torch.Size([10, 784])
        """
        (trn_x, trn_y), (val_x, val_y) = ((np.asarray(x), np.asarray(y)) for x, y in (trn, val))
        for name, x, y in (("trn", trn_x, trn_y), ("val", val_x, val_y)):
            if len(x) != len(y):
                raise DataError(f"`{name}` must hold one target per picture: got {len(x)} pictures, {len(y)} targets.")
            if not len(x):
                raise DataError(f"`{name}` is empty.")
        labels, val_labels = trn_y.reshape(len(trn_y)).tolist(), val_y.reshape(len(val_y)).tolist()
        if classes is None:
            target = _categories(labels, "trn")
        else:
            target = Category(classes)
            if all(isinstance(label, int) for label in labels + val_labels):
                bad = sorted({i for i in labels + val_labels if not 0 <= i < len(classes)})
                if bad:
                    raise DataError(
                        f"class numbers must be in 0..{len(classes) - 1}, as there are {len(classes)} `classes`; got {bad[:5]}."
                    )
                labels, val_labels = [target.classes[i] for i in labels], [target.classes[i] for i in val_labels]
        y_pair = target.encode(labels), target.encode(val_labels)
        test_x = None if test is None else np.asarray(test)
        if tuple(tfms) == (None, None):
            trn_dl = TensorLoader(_floats(trn_x), T(y_pair[0]), bs, shuffle=True)
            val_dl = TensorLoader(_floats(val_x), T(y_pair[1]), bs)
            no_y = torch.zeros(0 if test_x is None else len(test_x), dtype=torch.long)
            test_dl = None if test_x is None else TensorLoader(_floats(test_x), no_y, bs)
            return cls(path, trn_dl, val_dl, test_dl, target=target)
        return cls._from_items(path, (trn_x, y_pair[0]), (val_x, y_pair[1]), test_x, target, bs, tfms, num_workers)

    @classmethod
    def _from_items(
        cls,
        path: PathLike,
        trn: tuple[Any, NDArray[Any]],
        val: tuple[Any, NDArray[Any]],
        test: Any,
        target: Target,
        bs: int,
        tfms: tuple[Any, Any],
        num_workers: int | None,
    ) -> ImageClassifierData:
        try:
            trn_tfm, val_tfm = tfms
        except (TypeError, ValueError) as exc:
            raise TypeError(
                f"`tfms` must be a pair (training, validation), as `tfms_from_model` gives; got {tfms!r}."
            ) from exc

        def loader(items: Any, y: Any, tfm: Any, shuffle: bool = False) -> ItemLoader:
            return ItemLoader(ImageDataset(items, y, tfm), bs, shuffle, num_workers=num_workers)

        return cls(
            path,
            loader(*trn, trn_tfm, shuffle=True),
            loader(*val, val_tfm),
            None if test is None else loader(test, None, val_tfm),
            target=target,
        )


def _files(folder: Path) -> list[Path]:
    files = find_files(folder, IMAGE_EXTENSIONS)
    if not files:
        raise DataError(
            f"there is no picture in {folder}. Expected files ending in {', '.join(sorted(IMAGE_EXTENSIONS))}"
            f"{_other_files(folder)}."
        )
    return files


def _labelled_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the pictures in the class folders of `folder`, and the class of each."""
    files: list[Path] = []
    labels: list[str] = []
    for name in subfolders(folder):
        found = find_files(folder / name, IMAGE_EXTENSIONS)
        files += found
        labels += [name] * len(found)
    if not files:
        loose = len(find_files(folder, IMAGE_EXTENSIONS))
        hint = f"; {loose} picture(s) lie in {folder} itself" if loose else _other_files(folder)
        raise DataError(
            f"there is no picture in a class folder of {folder}. Expected {folder}/<class>/<picture>{hint}. "
            f"Known endings: {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return files, labels


def _other_files(folder: Path) -> str:
    endings = {path.suffix.lower() or "(no ending)" for path in folder.rglob("*") if path.is_file()}
    return f"; found only {', '.join(sorted(endings)[:8])}" if endings else "; it is empty"


def _categories(labels: Sequence[Any], where: object) -> Category:
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(f"a classifier needs pictures of at least two classes; {where} has only {names[0]!r}.")
    return Category(names)


def _floats(x: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _as_it_is(item: Any) -> Any:
    return item
