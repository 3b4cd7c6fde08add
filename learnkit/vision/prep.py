"""`ImagePrep`: how pictures are prepared for training and for prediction, as data."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from learnkit.core.errors import CheckpointError, DataError
from learnkit.core.plots import plots
from learnkit.data.loaders import ItemLoader
from learnkit.data.prep import NotInFile, Prep, title_of
from learnkit.vision import augment as augments
from learnkit.vision.augment import Augment
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.images import one_array
from learnkit.vision.transforms import ImageTransforms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImagePrep"]

OWN_TRANSFORM = "the transform {name} was your own and is not in the file: use it in data for `set_data`."


class ImagePrep(Prep):
    """Transforms for training and for validation; raw pictures are prepared as those of the validation set.

    Parameters
    ----------
    trn_tfm, val_tfm : ImageTransforms or callable or None
        `None` only turns pictures into tensors.
    bs : int, default 64
        Batch size of the training.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImagePrep, tfms_from_stats
    >>> prep = ImagePrep(*tfms_from_stats(([0.5] * 3, [0.5] * 3), 8))
    >>> next(iter(prep.loader(np.zeros((2, 16, 16, 3), dtype=np.uint8))))[0].shape
    torch.Size([2, 3, 8, 8])
    """

    portable_kind = "pictures"
    portable_axes: ClassVar[Mapping[str, Mapping[int, str]]] = {"pixels": {0: "batch"}}

    def __init__(self, trn_tfm: Any = None, val_tfm: Any = None, bs: int = 64) -> None:
        self.trn_tfm, self.val_tfm, self.bs = trn_tfm, val_tfm, bs

    def loader(self, items: Any, bs: int | None = None) -> ItemLoader:
        """Return batches of pictures.

        Parameters
        ----------
        items : path-like, bytes or binary file, or an iterable of them; array of shape (H, W, 3) or (n, H, W, 3), or a list of arrays
            Files, or what is in them; a single one counts as a list of one.
        bs : int, optional
            64 by default.

        Raises
        ------
        DataError
            If there is none. One that cannot be read is named when its turn comes.
        """
        if isinstance(items, list | tuple) and len(items) and isinstance(items[0], np.ndarray):
            items = one_array(items, "items")
        if isinstance(items, np.ndarray) and (items.ndim == 2 or (items.ndim == 3 and items.shape[-1] == 3)):
            items = items[None]  # one picture is no list of its rows
        if not isinstance(items, Iterable | os.PathLike) and not hasattr(items, "read"):
            raise TypeError(
                f"pictures must be a file's path, bytes or a binary file, or a list of them; got {type(items).__name__}. Of a "
                "picture that is open already pass `np.asarray(picture)`."
            )
        pictures = ImageDataset(items, None, self.val_tfm)
        if not len(pictures):
            raise DataError("there is no picture to predict: the list of files is empty.")
        return ItemLoader(pictures, bs or 64)

    def empty(self, tfm: Any) -> ItemLoader:
        """Return a loader of no pictures, which holds a transform."""
        return ItemLoader(ImageDataset([], None, tfm), self.bs, num_workers=0)

    def to_data(self) -> dict[str, Any]:
        """Return both transforms, described, and the batch size."""
        return {"tfms": [_tfm_to_data(tfm) for tfm in (self.trn_tfm, self.val_tfm)], "bs": self.bs}

    def in_words(self) -> str:
        """Return size and cropping."""
        tfm = self.val_tfm
        if type(tfm) is not ImageTransforms:
            return "pictures as they are" if tfm is None else f"pictures, by {_name(tfm)}"
        size = "their own size" if tfm.sz is None else f"{tfm.sz} x {tfm.sz} pixels"
        cut = (
            ""
            if tfm.sz is None
            else ", the largest square in the middle"
            if tfm.crop == "center"
            else ", distorted to it"
        )
        return f"pictures of {size}{cut}{'' if tfm.stats is None else ', normalised'}"

    def portable(self) -> dict[str, Any]:
        """Return size, statistics and cropping of the validation transform.

        Raises
        ------
        DataError
            If it is one of the user's own, or augments.
        """
        tfm = ImageTransforms(None) if self.val_tfm is None else self.val_tfm
        if type(tfm) is not ImageTransforms or tfm.aug_tfms or tfm.pad:
            raise DataError(
                f"pictures are prepared for validation by {_name(tfm)}, which only Python with torch can do: make the data with "
                "transforms of learnkit's that augment nothing in validation (`tfms_from_model`)."
            )
        mean, std = (None, None) if tfm.stats is None else (list(tfm.stats.mean), list(tfm.stats.std))
        return {"sz": tfm.sz, "mean": mean, "std": std, "crop": tfm.crop, "max_value": tfm.max_value}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; a transform of the user's own says, when it is needed, that it is not in the file."""
        trn_tfm, val_tfm = (None if tfm is None else _tfm_from_data(tfm) for tfm in data["tfms"])
        return cls(trn_tfm, val_tfm, int(data["bs"]))

    def show(
        self, xs: tuple[Any, ...], n: int, notes: Mapping[str, Sequence[Any]], *, rows: int | None = None
    ) -> Figure:
        """Draw the first pictures of a batch, without their normalisation, five in a row unless told otherwise."""
        n = min(n, len(xs[0]))
        rows = -(-n // 5) if rows is None else rows
        columns = -(-n // rows)
        pictures = ImageDataset([], None, self.val_tfm).denorm(xs[0][:n])
        return plots(pictures, rows, [title_of(notes, i, 22) for i in range(n)], (2.2 * columns, 2.5 * rows))


def _tfm_to_data(tfm: Any) -> dict[str, Any]:
    if type(tfm) is not ImageTransforms:
        return {"own": _name(tfm)}
    return {
        "sz": tfm.sz,
        "stats": None if tfm.stats is None else [tfm.stats.mean, tfm.stats.std],
        "crop": tfm.crop,
        "pad": tfm.pad,
        "max_value": tfm.max_value,
        "aug_tfms": [_augment_to_data(aug) for aug in tfm.aug_tfms],
    }


def _tfm_from_data(saved: dict[str, Any]) -> Any:
    """Make a transform again; one of the user's own says, when it is needed, that it is not in the file."""
    if "own" in saved:
        return NotInFile(str(saved["own"]), OWN_TRANSFORM)
    augments = [_augment_from_data(aug) for aug in saved["aug_tfms"]]
    return ImageTransforms(
        saved["sz"],
        saved["stats"],
        augments,
        crop=saved["crop"],
        pad=saved["pad"],
        max_value=saved.get("max_value"),  # files of 0.1 have none
    )


def _augments() -> dict[str, type[Augment]]:
    """Return the augmentations of this package by name."""
    kinds = {name: getattr(augments, name) for name in augments.__all__}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Augment)}


def _augment_to_data(augment: Any) -> dict[str, Any]:
    if _augments().get(type(augment).__name__) is not type(augment):
        return {"own": _name(augment)}
    arguments = {name: getattr(augment, name) for name in inspect.signature(type(augment)).parameters}
    return {"kind": type(augment).__name__, "arguments": arguments}


def _augment_from_data(saved: dict[str, Any]) -> Any:
    if "own" in saved:
        return NotInFile(str(saved["own"]), OWN_TRANSFORM)
    known = _augments()
    if saved["kind"] not in known:
        raise CheckpointError(f"the file has the augmentation {saved['kind']!r}, which this learnkit does not know.")
    return known[saved["kind"]](**saved["arguments"])


def _name(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", type(fn).__qualname__))
