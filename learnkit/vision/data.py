"""Pictures from folders, tables and arrays to an `ImageClassifierData`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from learnkit.core.device import T, to_np
from learnkit.core.errors import DataError, check_choice
from learnkit.core.old_names import old_arguments, old_attributes
from learnkit.core.plots import plots
from learnkit.core.preserve import preserve_rng
from learnkit.data.bunch import DataBunch
from learnkit.data.dataset import ItemDataset
from learnkit.data.files import PathLike, find_files, subfolders
from learnkit.data.loaders import ItemLoader, TensorLoader, generators, single_left
from learnkit.data.split import check_val_idxs, get_cv_idxs
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.vision.images import IMAGE_EXTENSIONS, open_image, read_rgb, readable, resized_copies
from learnkit.vision.transforms import ImageTransforms, as_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageClassifierData", "ImageDataset"]


@old_attributes
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
        ours = isinstance(tfm, ImageTransforms)
        if isinstance(items, np.ndarray):
            if items.ndim == 4 and items.shape[1] == 3 and items.shape[-1] != 3:
                items = items.transpose(0, 2, 3, 1)
            super().__init__(items, y, _as_it_is if ours else _as_opened, tfm)
        else:
            super().__init__([Path(item) for item in items], y, read_rgb if ours else open_image, tfm)

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

    Make one with `from_paths`, `from_csv`, `from_names_and_array` or `from_arrays`.

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

    Parameters
    ----------
    path, trn_dl, val_dl, test_dl, target
        As for `DataBunch`; the loaders hold an `ImageDataset`.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageClassifierData, tfms_from_stats
    >>> x, y = np.zeros((20, 28, 28), dtype=np.uint8), np.arange(20) % 2
    >>> tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32)
    >>> data = ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y), bs=10, tfms=tfms)
    >>> next(iter(data.val_dl))[0].shape
    torch.Size([10, 3, 32, 32])
    """

    def __init__(self, path: PathLike, trn_dl: Any, val_dl: Any, test_dl: Any = None, *, target: Target) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)

    @property
    def aug_dl(self) -> ItemLoader:
        """The validation pictures, in order, with the training transforms."""
        return self.augmented(False)

    @property
    def test_aug_dl(self) -> ItemLoader:
        """The test pictures, in order, with the training transforms."""
        return self.augmented(True)

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
    @old_arguments
    def from_paths(
        cls,
        path: PathLike,
        bs: int = 64,
        tfms: tuple[Any, Any] = (None, None),
        trn_name: str = "train",
        val_name: str = "valid",
        test_name: str | None = None,
        num_workers: int | None = None,
        *,
        on_error: str = "raise",
        balanced: bool = False,
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
        on_error : {"raise", "skip"}, default "raise"
            A picture that cannot be read stops the training with its name, or, after reading every file once at the
            start, is left out and reported.
        balanced : bool, default False
            Draw training pictures so that every class comes up equally often.

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
        check_choice("on_error", on_error, ("raise", "skip"))
        trn_files, trn_labels = _labelled_files(root / trn_name)
        val_files, val_labels = _labelled_files(root / val_name)
        if on_error == "skip":
            trn_files, trn_labels = readable(trn_files, trn_labels)
            val_files, val_labels = readable(val_files, val_labels)
        target = _categories(trn_labels, root / trn_name)
        try:
            val_y = target.encode(val_labels)
        except DataError as exc:
            raise DataError(f"in {root / val_name}: {exc}") from exc
        test_files = None if test_name is None else _files(root / test_name)
        trn = (trn_files, target.encode(trn_labels))
        return cls._from_items(root, trn, (val_files, val_y), test_files, target, bs, tfms, num_workers, balanced)

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        folder: str,
        csv_fname: PathLike,
        bs: int = 64,
        tfms: tuple[Any, Any] = (None, None),
        val_idxs: ArrayLike | None = None,
        suffix: str = "",
        test_name: str | None = None,
        cat_separator: str = " ",
        continuous: bool = False,
        skip_header: bool = True,
        num_workers: int | None = None,
        *,
        on_error: str = "raise",
        balanced: bool = False,
    ) -> ImageClassifierData:
        """Read file names and labels from a CSV file: names in the first column, labels in the second.

        Parameters
        ----------
        path : path-like
            Where `folder`, `models/` and `tmp/` are.
        folder : str
            Folder of the pictures, inside `path`.
        csv_fname : path-like
            The table; relative to `path` if there is no such file otherwise.
        bs : int, default 64
            Batch size.
        tfms : pair
            Transforms for training and validation.
        val_idxs : array of int, optional
            Rows that validate; a random fifth by default, see `get_cv_idxs`.
        suffix : str, default ""
            Added to every name, e.g. ".jpg".
        test_name : str, optional
            Folder of pictures to predict.
        cat_separator : str, default " "
            If any label contains it, every picture has several labels: a multi-label classification.
        continuous : bool, default False
            The other columns are numbers to be predicted: a regression.
        skip_header : bool, default True
            Whether the first line holds names of columns.
        num_workers : int, optional
            Loading processes; see `ItemLoader`.
        on_error : {"raise", "skip"}, default "raise"
            As for `from_paths`.
        balanced : bool, default False
            As for `from_paths`; for one label per picture.

        Returns
        -------
        ImageClassifierData

        Raises
        ------
        DataError
            If files are missing, a name stands in two rows, or a label is missing; rows and files are named.
        """
        import pandas as pd

        root = Path(path)
        table_file = Path(csv_fname) if Path(csv_fname).exists() else root / csv_fname
        if not table_file.is_file():
            raise DataError(f"there is no table {table_file}.")
        header = 0 if skip_header else None
        try:
            frame = pd.read_csv(table_file, header=header, converters={0: str})  # "007" is a name, not the number 7
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as exc:
            raise DataError(f"{table_file} cannot be read as a table of comma-separated text: {exc}") from exc
        if frame.shape[1] < 2:
            raise DataError(
                f"{table_file} must have names in its first column and labels in its second; it has {list(frame.columns)}."
            )
        names, labels = frame.iloc[:, 0].astype(str), frame.iloc[:, 1:]
        missing = labels.isna().any(axis=1).to_numpy() if continuous else labels.iloc[:, 0].isna().to_numpy()
        if missing.any():
            raise DataError(
                f"{missing.sum()} row(s) of {table_file} have no label, the first is row {missing.argmax()} ({names.iloc[missing.argmax()]})."
            )
        twice = names[names.duplicated()].unique()
        if len(twice):
            raise DataError(f"{len(twice)} name(s) stand in several rows of {table_file}: {', '.join(twice[:5])}.")
        files = [root / folder / f"{name}{suffix}" for name in names]
        if continuous:
            y: Any = labels.to_numpy()[:, 0] if labels.shape[1] == 1 else labels.to_numpy()
            return cls._from_files(
                root, files, y, Real(labels.shape[1]), val_idxs, bs, tfms, test_name, num_workers, on_error
            )
        texts = labels.iloc[:, 0].astype(str)
        if texts.str.contains(cat_separator, regex=False).any():
            several = [text.split(cat_separator) for text in texts]
            target: Target = MultiCategory.from_labels(several)
            return cls._from_files(root, files, several, target, val_idxs, bs, tfms, test_name, num_workers, on_error)
        target = _categories(list(texts), table_file)
        return cls._from_files(
            root, files, list(texts), target, val_idxs, bs, tfms, test_name, num_workers, on_error, balanced
        )

    @classmethod
    def from_names_and_array(
        cls,
        path: PathLike,
        fnames: Sequence[PathLike],
        y: ArrayLike,
        classes: Sequence[Any] | None,
        val_idxs: ArrayLike | None = None,
        test_name: str | None = None,
        num_workers: int | None = None,
        suffix: str = "",
        tfms: tuple[Any, Any] = (None, None),
        bs: int = 64,
        continuous: bool = False,
    ) -> ImageClassifierData:
        """Take file names and an array of targets.

        Parameters
        ----------
        path : path-like
            Folder the names are relative to.
        fnames : sequence of path-like
        y : array of shape (n,) or (n, n_classes)
            Class numbers, zeros and ones for several labels per picture, or numbers with `continuous`.
        classes : sequence or None
            Names of the classes; `None` for a regression.
        val_idxs : array of int, optional
            Which validate; a random fifth by default.
        test_name : str, optional
            Folder of pictures to predict.
        num_workers : int, optional
            Loading processes; see `ItemLoader`.
        suffix : str, default ""
            Added to every name.
        tfms : pair
            Transforms for training and validation.
        bs : int, default 64
            Batch size.
        continuous : bool, default False
            `y` are numbers to be predicted.

        Returns
        -------
        ImageClassifierData
        """
        root, values = Path(path), np.asarray(y)
        files = [root / f"{name}{suffix}" for name in fnames]
        if len(files) != len(values):
            raise DataError(f"every picture needs a target: got {len(files)} names and {len(values)} targets.")
        if continuous:
            target: Target = Real(1 if values.ndim == 1 else values.shape[1])
            return cls._from_files(root, files, values, target, val_idxs, bs, tfms, test_name, num_workers, "raise")
        if classes is None:
            raise DataError("`classes` must name the classes; for a regression pass `continuous=True`.")
        names = list(classes)
        if values.ndim == 2:
            labels: Any = [[names[i] for i in np.flatnonzero(row)] for row in values]
            target = MultiCategory(names)
        else:
            if values.dtype.kind not in "iu" or (len(values) and not (values.min() >= 0 and values.max() < len(names))):
                raise DataError(
                    f"`y` must be class numbers in 0..{len(names) - 1}, as there are {len(names)} `classes`."
                )
            labels, target = [names[i] for i in values], Category(names)
        return cls._from_files(root, files, labels, target, val_idxs, bs, tfms, test_name, num_workers, "raise")

    def resize(self, sz: int, new_path: str = "tmp") -> ImageClassifierData:
        """Write smaller copies of the pictures once, and return the same data reading those.

        Reading large photographs is most of the work of an epoch; copies a little larger than what the model gets save
        it. They are kept under `path/new_path/sz`, made by all cores, and made anew where an original was replaced.

        Parameters
        ----------
        sz : int
            Shorter side of the copies in pixels; smaller pictures keep their size.
        new_path : str, default "tmp"
            Folder inside `path`.

        Returns
        -------
        ImageClassifierData

        Raises
        ------
        DataError
            If a picture cannot be read, or `sz` is smaller than what the transforms cut out.
        """
        if self.sz is not None and sz < self.sz:
            raise DataError(f"`sz` must be at least what the transforms cut out, {self.sz} px; got {sz}.")

        def smaller(dl: Any) -> Any:
            if dl is None:
                return None
            files = resized_copies(dl.dataset.fnames, self.path, self.path / new_path, sz)
            return dl.with_dataset(ImageDataset(files, dl.dataset.y, dl.dataset.tfm))

        loaders = [smaller(dl) for dl in (self.trn_dl, self.val_dl, self.test_dl)]
        return type(self)(self.path, *loaders, target=self.target)  # type: ignore[arg-type]

    def show_batch(self, rows: int = 2, columns: int = 5, is_val: bool = False) -> Figure:
        """Draw some pictures as the model sees them, with their labels.

        Parameters
        ----------
        rows, columns : int
        is_val : bool, default False
            Validation instead of training pictures.

        Returns
        -------
        matplotlib.figure.Figure
        """
        dl: Any = self.val_dl if is_val else self.trn_dl
        with preserve_rng(*generators(dl)):
            x, y = next(iter(dl))
        n = min(rows * columns, len(x))
        pictures, labels = dl.dataset.denorm(x[:n]), to_np(y[:n])
        return plots(pictures, rows, [self._label(label) for label in labels], (2.2 * columns, 2.5 * rows))

    def _label(self, y: Any) -> str:
        if isinstance(self.target, Category):
            return str(self.target.classes[int(y)])
        if isinstance(self.target, MultiCategory):
            return " ".join(str(name) for name, flag in zip(self.target.classes, y, strict=True) if flag)
        return " ".join(f"{value:.3g}" for value in np.atleast_1d(y))

    @classmethod
    def _from_files(
        cls,
        root: Path,
        files: list[Path],
        labels: Any,
        target: Target,
        val_idxs: ArrayLike | None,
        bs: int,
        tfms: tuple[Any, Any],
        test_name: str | None,
        num_workers: int | None,
        on_error: str,
        balanced: bool = False,
    ) -> ImageClassifierData:
        """Check the files, split them and encode their labels."""
        check_choice("on_error", on_error, ("raise", "skip"))
        absent = [file for file in files if not file.is_file()]
        if absent:
            raise DataError(
                f"{len(absent)} of {len(files)} pictures do not exist, the first is {absent[0]}. Check folder and `suffix`."
            )
        idxs = get_cv_idxs(len(files)) if val_idxs is None else check_val_idxs(val_idxs, len(files))
        is_val = np.zeros(len(files), dtype=bool)
        is_val[idxs] = True
        parts = []
        for mask in (~is_val, is_val):
            chosen = np.flatnonzero(mask)
            part = [files[i] for i in chosen], [labels[i] for i in chosen]
            parts.append(readable(*part) if on_error == "skip" else part)
        (trn_files, trn_labels), (val_files, val_labels) = parts
        if isinstance(target, Category):
            unseen = sorted({str(label) for label in val_labels} - {str(label) for label in trn_labels})
            if unseen:
                raise DataError(
                    f"class(es) {', '.join(unseen[:5])} have only validation pictures. Choose `val_idxs` with "
                    "`split_by_stratum(labels)`, or leave out classes with a single picture."
                )
        trn, val = (trn_files, target.encode(trn_labels)), (val_files, target.encode(val_labels))
        test_files = None if test_name is None else _files(root / test_name)
        return cls._from_items(root, trn, val, test_files, target, bs, tfms, num_workers, balanced)

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
        _check_pair(tfms)
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
            drop = single_left(len(trn_x), bs)
            trn_dl = TensorLoader(_floats(trn_x), T(y_pair[0]), bs, shuffle=True, drop_last=drop)
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
        balanced: bool = False,
    ) -> ImageClassifierData:
        _check_pair(tfms)
        trn_tfm, val_tfm = tfms
        if balanced and not isinstance(target, Category):
            raise DataError("`balanced` needs one class per picture.")

        def loader(items: Any, y: Any, tfm: Any, *, train: bool = False) -> ItemLoader:
            weights = 1 / np.bincount(y)[y] if train and balanced else None
            drop = train and single_left(len(items), bs)
            dataset = ImageDataset(items, y, tfm)
            return ItemLoader(dataset, bs, train, num_workers=num_workers, weights=weights, drop_last=drop)

        return cls(
            path,
            loader(*trn, trn_tfm, train=True),
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
        only = f"only {names[0]!r}" if names else "no picture that can be read"
        raise DataError(f"a classifier needs pictures of at least two classes; {where} has {only}.")
    return Category(names)


def _floats(x: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _as_it_is(item: Any) -> Any:
    return item


def _as_opened(item: Any) -> NDArray[np.float32]:
    """Return a row of an array as `open_image` would give it."""
    return as_uint8(item).permute(1, 2, 0).numpy().astype(np.float32) / np.float32(255)


def _check_pair(tfms: Any) -> None:
    if not isinstance(tfms, tuple | list) or len(tfms) != 2:
        raise TypeError(f"`tfms` must be a pair (training, validation), as `tfms_from_model` gives; got {tfms!r}.")
