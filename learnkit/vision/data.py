"""Pictures from folders, tables and arrays to an `ImageClassifierData`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from learnkit.core.device import T
from learnkit.core.errors import DataError, check_choice
from learnkit.core.listing import number_array
from learnkit.core.old_names import old_arguments
from learnkit.data.files import PathLike, find_spelling
from learnkit.data.labels import as_labels, classes_of
from learnkit.data.loaders import ItemLoader, TensorLoader, single_left
from learnkit.data.split import split_rows
from learnkit.data.targets import Category, Real, Target
from learnkit.vision.bunch import ImageBunch
from learnkit.vision.dataset import ImageDataset, is_torchvision
from learnkit.vision.folders import labelled_files, unlabelled_files
from learnkit.vision.images import one_array, readable
from learnkit.vision.labels import Labelled, Mistakes, labels_from_array, read_table

__all__ = ["ImageClassifierData"]

Tfms = tuple[Any, Any] | Callable[..., Any]


class ImageClassifierData(ImageBunch):
    """Pictures and their classes, read from folders, tables and arrays.

    Make one with `from_paths`, `from_csv`, `from_names_and_array` or `from_arrays`.

    Parameters
    ----------
    path, trn_dl, val_dl, test_dl, target
        As for `DataBunch`; the loaders hold an `ImageDataset`.
    val_tfm : ImageTransforms or callable, optional
        How pictures are prepared for prediction; that of the validation set by default.
    cache : path-like, optional
        Where activations and smaller copies are kept; `path/tmp` by default.

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

    @classmethod
    @old_arguments
    def from_paths(
        cls,
        path: PathLike,
        bs: int = 64,
        tfms: Tfms = (None, None),
        trn_name: str = "train",
        val_name: str = "valid",
        test_name: str | None = None,
        num_workers: int | None = None,
        *,
        on_error: str = "raise",
        balanced: bool = False,
        cache: PathLike | None = None,
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
        cache : path-like, optional
            Where activations and smaller copies are kept, for a `path` that cannot be written to; `path/tmp` by default.

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
        trn_files, trn_labels = labelled_files(root / trn_name)
        val_files, val_labels = labelled_files(root / val_name)
        if on_error == "skip":
            max_value = _max_value(tfms)
            trn_files, trn_labels = _only(readable(trn_files, max_value), trn_files, trn_labels)
            val_files, val_labels = _only(readable(val_files, max_value), val_files, val_labels)
        target = _categories(trn_labels, root / trn_name)
        try:
            val_y = target.encode(val_labels)
        except DataError as exc:
            raise DataError(f"in {root / val_name}: {exc}") from exc
        trn, val = (trn_files, target.encode(trn_labels)), (val_files, val_y)
        test_files = _test_files(root, test_name, on_error, tfms)
        return cls._from_items(root, trn, val, test_files, target, bs, tfms, num_workers, balanced, cache)

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        folder: str,
        csv_fname: PathLike,
        bs: int = 64,
        tfms: Tfms = (None, None),
        val_idxs: ArrayLike | bool | None = None,
        suffix: str = "",
        test_name: str | None = None,
        cat_separator: str = " ",
        continuous: bool = False,
        skip_header: bool = True,
        num_workers: int | None = None,
        *,
        is_multi: bool | None = None,
        label_columns: Sequence[str] | None = None,
        encoding: str = "utf-8",
        on_error: str = "raise",
        balanced: bool = False,
        cache: PathLike | None = None,
    ) -> ImageClassifierData:
        """Read file names and labels from a CSV file: names in the first column, labels in the second.

        Names and labels are taken as they are written, without the blanks around them: `007` stays `007`, and `None` or
        `NA` is a class; only an empty cell is a missing label (of several labels per picture: none). Columns of zeros
        and ones, one per class, are several labels per picture. For the other options see `from_paths`.

        Parameters
        ----------
        path : path-like
            Where `folder`, `models/` and `tmp/` are.
        folder : str
            Folder of the pictures, inside `path`.
        csv_fname : path-like
            The table; relative to `path` if there is no such file otherwise.
        val_idxs : array of int or False, optional
            Rows that validate, `False` for none; a random fifth by default, see `get_cv_idxs`.
        suffix : str, default ""
            Added to every name, e.g. ".jpg".
        cat_separator : str, default " "
            What stands between several labels of a picture. If any label contains it, every picture has several labels, a
            multi-label classification; blanks can be part of a name, so they separate only labels that are known by
            themselves, as "clear" and "water" are where both "clear water" and "water" or "clear" occur.
        continuous : bool, default False
            The other columns are numbers to be predicted: a regression.
        skip_header : bool, default True
            Whether the first line holds names of columns; one that names a picture does not, and a warning says so.
        is_multi : bool, optional
            Whether pictures have several labels, where the table does not make it plain.
        label_columns : sequence of str, optional
            Names of the columns that hold the labels, instead of all but the first.
        encoding : str, default "utf-8"
            Of the table.
        on_error : {"raise", "skip"}, default "raise"
            As for `from_paths`; pictures that are missing are left out too.
        balanced : bool, default False
            As for `from_paths`; for one label per picture.

        Raises
        ------
        DataError
            If files are missing, names stand in two rows, or labels are missing; all such rows are named at once.
        """
        root = Path(path)
        table_file = Path(csv_fname) if Path(csv_fname).exists() else root / csv_fname
        if not table_file.is_file():
            raise DataError(f"there is no table {table_file}.")
        files, labelled, mistakes = read_table(
            table_file,
            root / folder,
            suffix=suffix,
            cat_separator=cat_separator,
            continuous=continuous,
            skip_header=skip_header,
            label_columns=label_columns,
            is_multi=is_multi,
            encoding=encoding,
        )
        return cls._from_files(
            root, files, labelled, mistakes, val_idxs, bs, tfms, test_name, num_workers, on_error, balanced, cache
        )

    @classmethod
    def from_names_and_array(
        cls,
        path: PathLike,
        fnames: Sequence[PathLike],
        y: ArrayLike,
        classes: Sequence[Any] | None,
        val_idxs: ArrayLike | bool | None = None,
        test_name: str | None = None,
        num_workers: int | None = None,
        suffix: str = "",
        tfms: Tfms = (None, None),
        bs: int = 64,
        continuous: bool = False,
        *,
        on_error: str = "raise",
        balanced: bool = False,
        cache: PathLike | None = None,
    ) -> ImageClassifierData:
        """Take file names and an array of targets; for the other options see `from_csv` and `from_paths`.

        Parameters
        ----------
        path : path-like
            Folder the names are relative to.
        fnames : sequence of path-like
        y : array of shape (n,), (n, 1) or (n, n_classes)
            Class numbers or names, zeros and ones for several labels per picture, or numbers with `continuous`.
        classes : sequence or None
            Names of the classes; `None` for a regression.
        continuous : bool, default False
            `y` are numbers to be predicted.

        Raises
        ------
        DataError
            If pictures do not exist, or `y` holds anything else: missing or negative numbers, fractions.
        """
        root = Path(path)
        if isinstance(fnames, str):
            raise DataError(f"`fnames` must be a list of names; got the text {fnames!r}.")
        files = [find_spelling(root / f"{name}{suffix}") for name in fnames]
        if not continuous and classes is None:
            raise DataError("`classes` must name the classes; for a regression pass `continuous=True`.")
        labelled = _numbers(y) if continuous else labels_from_array(y, classes)
        if len(files) != len(labelled.labels):
            raise DataError(f"every picture needs a target: got {len(files)} names and {len(labelled.labels)} targets.")
        mistakes = Mistakes("`fnames`", [str(name) for name in fnames])
        return cls._from_files(
            root, files, labelled, mistakes, val_idxs, bs, tfms, test_name, num_workers, on_error, balanced, cache
        )

    @classmethod
    def _from_files(
        cls,
        root: Path,
        files: list[Path],
        labelled: Labelled,
        mistakes: Mistakes,
        val_idxs: ArrayLike | bool | None,
        bs: int,
        tfms: Tfms,
        test_name: str | None,
        num_workers: int | None,
        on_error: str,
        balanced: bool,
        cache: PathLike | None,
    ) -> ImageClassifierData:
        """Check the files, split them and encode their labels."""
        check_choice("on_error", on_error, ("raise", "skip"))
        there = np.array([file.is_file() for file in files], dtype=bool)
        absent = np.flatnonzero(~there)
        if len(absent) and on_error == "raise":
            what = f"of {len(files)} pictures do not exist, {files[absent[0]]} for one (check folder and `suffix`)"
            mistakes.add(absent, what, "its picture does not exist")
        elif len(absent):
            print(f"left out {len(absent)} of {len(files)} pictures that do not exist: {files[absent[0]]} for one")
        mistakes.check()
        trains, _ = split_rows(val_idxs, len(files))
        parts = []
        for mask in (there & trains, there & ~trains):
            chosen = np.flatnonzero(mask)
            if on_error == "skip" and len(chosen):
                chosen = chosen[readable([files[i] for i in chosen], _max_value(tfms))]
            parts.append(([files[i] for i in chosen], [labelled.labels[i] for i in chosen]))
        (trn_files, trn_labels), (val_files, val_labels) = parts
        target = labelled.target
        if target is None:
            target = _categories(trn_labels + val_labels, mistakes.where)
        elif not isinstance(target, Target):
            target = target.from_labels(trn_labels + val_labels)
        if isinstance(target, Category):
            unseen = sorted({str(label) for label in val_labels} - {str(label) for label in trn_labels})
            if unseen:
                raise DataError(
                    f"class(es) {', '.join(unseen[:5])} have only validation pictures. Choose `val_idxs` with "
                    "`split_by_stratum(labels)`, or leave out classes with a single picture."
                )
        trn, val = (trn_files, target.encode(trn_labels)), (val_files, target.encode(val_labels))
        test_files = _test_files(root, test_name, on_error, tfms)
        return cls._from_items(root, trn, val, test_files, target, bs, tfms, num_workers, balanced, cache)

    @classmethod
    def from_arrays(
        cls,
        path: PathLike,
        trn: tuple[ArrayLike, ArrayLike],
        val: tuple[ArrayLike, ArrayLike] | None,
        bs: int = 64,
        tfms: Tfms = (None, None),
        classes: Sequence[Any] | None = None,
        test: ArrayLike | None = None,
        num_workers: int | None = None,
        *,
        continuous: bool = False,
        balanced: bool = False,
        cache: PathLike | None = None,
    ) -> ImageClassifierData:
        """Take pictures from arrays that fit in memory; for the other options see `from_paths`.

        Parameters
        ----------
        path : path-like
            Where `models/` and `tmp/` are kept.
        trn, val : pair of arrays
            Pictures and class numbers (or names), or zeros and ones per class for several labels per picture. With
            `tfms`, pictures are `(n, H, W)`, `(n, H, W, 3)` or `(n, 3, H, W)`, `uint8`, `uint16` or floats in 0..1.
            Without, arrays of any shape go to the model as they are, as `float32`. `val=None` trains on everything.
        classes : sequence, optional
            Names of the class numbers 0, 1, ...; by default the distinct values found.
        test : array, optional
            Pictures to predict.
        continuous : bool, default False
            Targets are numbers to be predicted.
        balanced : bool, default False
            As for `from_paths`; needs `tfms`.

        Raises
        ------
        DataError
            If pictures and targets differ in number, a class is not among the training ones, or a target is missing,
            negative or a fraction.
        """
        trn_tfm, val_tfm = as_pair(tfms)
        parts = {name: part for name, part in (("trn", trn), ("val", val)) if part is not None}
        xs: list[NDArray[Any]] = []
        labels: list[Any] = []
        target: Any = None
        for name, (x, y) in parts.items():
            labelled = _numbers(y) if continuous else labels_from_array(y, classes, where=f"the targets of `{name}`")
            pictures = one_array(x, name)
            if len(pictures) != len(labelled.labels):
                raise DataError(
                    f"`{name}` must hold one target per picture: got {len(pictures)} pictures, "
                    f"{len(labelled.labels)} targets."
                )
            if not len(labelled.labels):
                raise DataError(f"`{name}` is empty.")
            xs.append(pictures)
            labels.append(labelled.labels)
            target = target or labelled.target or _categories(labelled.labels, name)
        encoded = [target.encode(part) for part in labels]
        test_x = None if test is None else number_array("test", test, error=DataError)
        trn_items, val_items = (xs[0], encoded[0]), (xs[-1], encoded[-1]) if val is not None else ([], encoded[0][:0])
        if trn_tfm is None and val_tfm is None:
            if balanced:
                raise DataError("`balanced` needs `tfms`: without them whole arrays are cut into batches.")
            trn_dl = TensorLoader(_floats(xs[0]), T(encoded[0]), bs, shuffle=True, drop_single=True)
            val_dl = None if val is None else TensorLoader(_floats(xs[1]), T(encoded[1]), bs)
            no_y = torch.zeros(0 if test_x is None else len(test_x), dtype=torch.long)
            test_dl = None if test_x is None else TensorLoader(_floats(test_x), no_y, bs)
            return cls(path, trn_dl, val_dl, test_dl, target=target, cache=cache)
        return cls._from_items(path, trn_items, val_items, test_x, target, bs, tfms, num_workers, balanced, cache)

    @classmethod
    def _from_items(
        cls,
        path: PathLike,
        trn: tuple[Any, NDArray[Any]],
        val: tuple[Any, NDArray[Any]],
        test: Any,
        target: Target,
        bs: int,
        tfms: Tfms,
        num_workers: int | None,
        balanced: bool = False,
        cache: PathLike | None = None,
    ) -> ImageClassifierData:
        trn_tfm, val_tfm = as_pair(tfms)
        if balanced and not isinstance(target, Category):
            raise DataError("`balanced` needs one class per picture.")

        def loader(items: Any, y: Any, tfm: Any, *, train: bool = False) -> ItemLoader:
            weights = 1 / np.bincount(y)[y] if train and balanced else None
            drop = train and single_left(len(items), bs)
            dataset = ImageDataset(items, y, tfm, path=path)
            return ItemLoader(dataset, bs, train, num_workers=num_workers, weights=weights, drop_last=drop)

        return cls(
            path,
            loader(*trn, trn_tfm, train=True),
            loader(*val, val_tfm) if len(val[0]) else None,
            None if test is None else loader(test, None, val_tfm),
            target=target,
            val_tfm=val_tfm,
            cache=cache,
        )


def _categories(labels: Sequence[Any], where: object) -> Category:
    names = classes_of(as_labels(labels))
    if len(names) < 2:
        only = f"only {names[0]!r}" if names else "no picture that can be read"
        raise DataError(f"a classifier needs pictures of at least two classes; {where} has {only}.")
    return Category(names)


def _floats(x: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _numbers(y: ArrayLike) -> Labelled:
    values = np.asarray(y)
    return Labelled(values, Real(1 if values.ndim == 1 else values.shape[1]))


def _test_files(root: Path, test_name: str | None, on_error: str, tfms: Any) -> list[Path] | None:
    if test_name is None:
        return None
    files = unlabelled_files(root / test_name)
    return _only(readable(files, _max_value(tfms)), files, files)[0] if on_error == "skip" else files


def _only(kept: NDArray[np.bool_], files: list[Path], labels: list[Any]) -> tuple[list[Path], list[Any]]:
    return [files[i] for i in np.flatnonzero(kept)], [labels[i] for i in np.flatnonzero(kept)]


def _max_value(tfms: Any) -> float | None:
    return getattr(as_pair(tfms)[1], "max_value", None)


def as_pair(tfms: Any) -> tuple[Any, Any]:
    """Return the transforms for training and validation; one of torchvision's serves both if nothing in it is random."""
    if is_torchvision(tfms):
        if _is_random(tfms):
            raise TypeError(
                "`tfms` is one transform and random, which validation must not be: pass a pair (training, validation)."
            )
        return tfms, tfms
    if not isinstance(tfms, tuple | list) or len(tfms) != 2:
        raise TypeError(f"`tfms` must be a pair (training, validation), as `tfms_from_model` gives; got {tfms!r}.")
    return tfms[0], tfms[1]


def _is_random(tfm: Any) -> bool:
    name = type(tfm).__name__
    own = name.startswith(
        ("Random", "Auto", "Rand", "Trivial", "AugMix", "Elastic", "Gaussian", "ColorJitter", "ScaleJitter")
    )
    return own or any(_is_random(part) for part in getattr(tfm, "transforms", ()))
