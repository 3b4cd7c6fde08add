"""`DataBunch`: the loaders of one problem, where its files are kept, and what is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.device import to_np
from learnkit.core.errors import DataError, check_positive
from learnkit.core.old_names import old_attributes
from learnkit.core.preserve import preserve_rng
from learnkit.core.settable import Settable
from learnkit.data.check import check_data, peek
from learnkit.data.files import OWN_FOLDERS, PathLike, make_folders
from learnkit.data.joining import batch_len, join
from learnkit.data.loaders import ItemLoader, TensorLoader, begin, generators, n_batches, single_left, split_batch
from learnkit.data.prep import Prep
from learnkit.data.shapes import shape_of_items
from learnkit.data.split import split_rows
from learnkit.data.targets import Category, MultiCategory, Real, Target

__all__ = ["DataBunch"]


@old_attributes
class DataBunch(Settable):
    """Training, validation and test loaders with what the rest of the library needs to know of them.

    Parameters
    ----------
    path : path-like
        Where `models/` and `tmp/` are kept. Both are made with the data bunch, if there is something to train on and the
        folder may be written to; else when they are first needed.
    trn_dl : iterable of batches
        Any iterable of `(x, y)`: a PyTorch `DataLoader`, a list of batches, a loader of ours.
    val_dl : iterable of batches, optional
        Must give its items in one fixed order.
    test_dl : iterable of batches, optional
        Items to predict, in one fixed order; their `y` is not looked at.
    target : Target, optional
        What is predicted: `Category(classes)`, `MultiCategory(classes)` or `Real()`. It brings the loss and the
        activation. Without one give the learner `crit=`, and `predict` returns what the model returns.
    prep : Prep, optional
        How the items were prepared. With it a learner predicts raw items, shows them, and exports the preparation.

    Examples
    --------
    >>> import torch
    >>> from learnkit import Category, DataBunch
    >>> batches = [(torch.randn(8, 4), torch.randint(2, (8,))) for _ in range(5)]
    >>> data = DataBunch(".", batches, batches[:1], target=Category(["no", "yes"]))
    >>> data.c, data.classes, data.val_y.shape
    (2, ['no', 'yes'], (8,))
    """

    def __init__(
        self,
        path: PathLike,
        trn_dl: Iterable[Any],
        val_dl: Iterable[Any] | None = None,
        test_dl: Iterable[Any] | None = None,
        *,
        target: Target | None = None,
        prep: Prep | None = None,
    ) -> None:
        for name, dl in (("trn_dl", trn_dl), ("val_dl", val_dl), ("test_dl", test_dl)):
            if isinstance(dl, str | bytes) or (dl is not None and not isinstance(dl, Iterable)):
                raise DataError(f"`{name}` must be an iterable of batches (x, y); got {type(dl).__name__}.")
        self.path = Path(path)
        self.trn_dl, self.val_dl, self.test_dl = trn_dl, val_dl, test_dl
        self.target = target
        self._prep = prep
        if not isinstance(trn_dl, list | tuple) or trn_dl:
            make_folders(*(self.path / name for name in OWN_FOLDERS))
        self._looked_at: tuple[Any, Any] = (None, None)  # a loader, and the shape of its items' targets

    @classmethod
    def from_items(
        cls,
        path: PathLike,
        prep: Prep,
        items: Sequence[Any] | NDArray[Any],
        labels: Sequence[Any] | NDArray[Any],
        val_idxs: ArrayLike | bool | None = None,
        bs: int = 64,
        *,
        test: Sequence[Any] | None = None,
        target: Target | type[Target] | None = None,
        num_workers: int | None = None,
    ) -> Self:
        """Make loaders of items of any kind, each prepared when it is needed.

        Parameters
        ----------
        path : path-like
        prep : Prep
            How an item becomes what the model takes.
        items : sequence
            Files, arrays, records: whatever `prep.item` takes.
        labels : sequence
            One per item.
        val_idxs : array of int or False, optional
            Which items validate, `False` for none; a random fifth by default, see `get_cv_idxs`.
        bs : int, default 64
        test : sequence, optional
            Items to predict.
        target : Target or its class, optional
            What is predicted; `Category` of the distinct labels by default, `Real` for values.
        num_workers : int, optional
            Loading processes; see `ItemLoader`.

        Returns
        -------
        DataBunch

        Raises
        ------
        DataError
            If items and labels differ in number, or a label is missing.
        """
        if len(items) != len(labels):
            raise DataError(f"every item needs a label: got {len(items)} items and {len(labels)} labels.")
        trains, _ = split_rows(val_idxs, len(items))
        kind: Any = Category if target is None else target
        predicted: Target = target if isinstance(target, Target) else _target_of(kind, labels)
        y = predicted.encode(labels)

        def loader(chosen: NDArray[Any], *, train: bool = False) -> ItemLoader:
            part = items[chosen] if isinstance(items, np.ndarray) else [items[i] for i in chosen]
            drop = train and single_left(len(part), bs)
            return ItemLoader(prep.dataset(part, y[chosen]), bs, train, num_workers=num_workers, drop_last=drop)

        trn, val = np.flatnonzero(trains), np.flatnonzero(~trains)
        test_dl = None if test is None else prep.loader(test, bs)
        return cls(
            path, loader(trn, train=True), loader(val) if len(val) else None, test_dl, target=predicted, prep=prep
        )

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no items: for a learner that is opened, to predict raw ones."""
        return cls(path, [], target=target, prep=prep)

    @property
    def prep(self) -> Prep | None:
        """How raw items become batches; `None` where it is not known."""
        return self._prep

    def show_batch(self, n: int = 8, is_val: bool = False) -> Any:
        """Show some items as the model sees them, with their labels.

        Parameters
        ----------
        n : int, default 8
            At most so many.
        is_val : bool, default False
            Of the validation instead of the training set.

        Returns
        -------
        matplotlib.figure.Figure or pandas.DataFrame
            A picture of things that can be drawn, a table of texts and rows.

        Raises
        ------
        DataError
            If it is not known how items were prepared (`prep`).
        """
        xs, y = self.some_items(n, is_val)
        return known_prep(self.prep, "items cannot be shown").show(xs, n, {"label": self.labels(xs, y)})

    def labels(self, xs: tuple[Any, ...], y: Any) -> list[Any]:
        """Return the encoded targets of a batch as a person reads them, one per item."""
        return [y_i if self.target is None else self.target.label(y_i) for y_i in to_np(y)]

    def answers(self, xs: tuple[Any, ...], preds: NDArray[Any]) -> list[Any]:
        """Return the predictions for a batch as a person reads them, one per item."""
        target = self.target
        return list(preds) if target is None else self.labels(xs, target.encode(target.decode(preds)))

    def some_items(self, n: int, is_val: bool = False) -> tuple[tuple[Any, ...], Any]:
        """Return some items to be looked at as a batch `(xs, y)`; loaders and random generators stay as they were.

        Of the validation set always the same ones. Where items are opened one by one they are from all over it: files come
        in the order of their folders, so that the first are of one class.
        """
        check_positive("n", n, integer=True)
        dl = self.val_dl if is_val else self.trn_dl
        if dl is None:
            raise DataError("this data bunch has no validation set.")
        if n_batches(dl) == 0:
            raise DataError(
                "this data bunch has no items to look at. That of a learner which was opened from a file has none: give it data with "
                "`learn.set_data(data)`; `predict_raw` and `to_onnx(items=)` take raw items."
            )
        if is_val and isinstance(dl, ItemLoader):
            ds: Any = dl.dataset
            rng, stretches = np.random.default_rng(0), np.array_split(np.arange(len(ds)), min(n, len(ds)))
            return split_batch(ds.finish(ds.batch([rng.choice(stretch) for stretch in stretches], 0)))
        return peek(dl, "val_dl" if is_val else "trn_dl")

    @property
    def trn_ds(self) -> Any:
        """The dataset behind `trn_dl`."""
        return _dataset(self.trn_dl, "trn_dl")

    @property
    def val_ds(self) -> Any:
        """The dataset behind `val_dl`."""
        return _dataset(self.val_dl, "val_dl")

    @property
    def test_ds(self) -> Any:
        """The dataset behind `test_dl`."""
        return _dataset(self.test_dl, "test_dl")

    @property
    def trn_y(self) -> NDArray[Any]:
        """Encoded targets of the training set, in its order (a loader may shuffle them)."""
        if isinstance(self.trn_dl, TensorLoader):
            return np.asarray(to_np(self.trn_dl.tensors[-1]))
        y = getattr(getattr(self.trn_dl, "dataset", None), "y", None)
        if y is None:
            raise DataError("the training data keeps no array of targets; read them from the batches of `trn_dl`.")
        return np.asarray(y)

    @property
    def val_y(self) -> NDArray[Any]:
        """Encoded targets of the validation set, in its order; of a nest of targets, the nest of all of them."""
        y = getattr(getattr(self.val_dl, "dataset", None), "y", None)
        if y is not None:
            return np.asarray(y)
        if self.val_dl is None:
            raise DataError("this data bunch has no validation set.")
        with preserve_rng(*generators(self.val_dl)):
            batches = [split_batch(batch) for batch in begin(self.val_dl)]
        joined: NDArray[Any] = join([y for _, y in batches], [batch_len(xs, y) for xs, y in batches])
        return joined

    @property
    def item_shape(self) -> Any:
        """Shape of one item's target as the data holds it: `()` for targets of shape `(n,)`, `(1,)` for `(n, 1)`.

        Predictions of values take this shape, in every call, so that they can be compared. `None` for classes, whose
        predictions have an axis of their own, and where it is not known.
        """
        target = self.target
        if isinstance(target, Real) and target.shape is not None:
            return target.shape
        if target is not None and not isinstance(target, Real | MultiCategory):
            return None
        dl = self.trn_dl if self.val_dl is None else self.val_dl
        if self._looked_at[0] is not dl:
            self._looked_at = (dl, _target_shape(dl))
        shape = self._looked_at[1]
        if shape is None and target is not None:  # a bunch without rows, of a learner that was opened
            return () if isinstance(target, Real) and target.c == 1 else (target.c,)
        return shape

    def check(self, *, strict: bool = True) -> list[str]:
        """Look at the first batch of every loader, and at all targets, before hours are spent; nothing is changed.

        Parameters
        ----------
        strict : bool, default True
            Whether class numbers that do not exist are an error; without, they are noted: a loss of yours may leave them out.

        Returns
        -------
        list of str
            What may be meant but usually is not: inputs that are not normalised, classes without items, items that both
            train and validate, a generator, which cannot be looked at. Empty if nothing was noticed.

        Raises
        ------
        DataError
            If it cannot be trained on: no batch, a picture that cannot be read, NaN, a class that does not exist. The item
            is named.

        Examples
        --------
        >>> import torch
        >>> from learnkit import Category, DataBunch, TensorLoader
        >>> x, y = 255 * torch.rand(20, 3), torch.arange(20) % 2
        >>> DataBunch(".", TensorLoader(x, y), target=Category(["no", "yes"])).check()  # doctest: +ELLIPSIS
        ['`trn_dl`: input 0 is not normalised: mean ..., standard deviation .... Bring both near 0 and 1.']
        """
        loaders = {"trn_dl": self.trn_dl, "val_dl": self.val_dl, "test_dl": self.test_dl}
        return check_data(loaders, self.target, strict=strict)

    @property
    def classes(self) -> list[Any] | None:
        """Class names in the order of the model's scores, `None` for a regression or without a target."""
        return None if self.target is None else self.target.classes

    @property
    def c(self) -> int:
        """Number of scores the model gives per item."""
        if self.target is None:
            raise DataError("this data bunch does not know what is predicted; pass `target=` when you make it.")
        return self.target.c

    @property
    def is_multi(self) -> bool:
        """Whether an item can have several labels."""
        return isinstance(self.target, MultiCategory)


def _target_of(kind: Any, labels: Any) -> Target:
    """Make a target of its class, for the labels at hand."""
    made: Target = kind.from_labels(labels) if hasattr(kind, "from_labels") else kind()
    return made


PrepKind = TypeVar("PrepKind", bound=Prep)


def known_prep(prep: PrepKind | None, consequence: str) -> PrepKind:
    """Return how items are prepared, or say what cannot be done without knowing it."""
    if prep is None:
        raise DataError(
            f"it is not known how raw items are prepared, so {consequence}. Give the data bunch a `prep`, or use batches: "
            "`predict_array`, `predict_dl`."
        )
    return prep


def _target_shape(dl: Any) -> Any:
    """Return the shape of one item's target: of all the targets where they are at hand, else of the first batch."""
    dataset = getattr(dl, "dataset", None)
    for owner in (dl, dataset):
        tensors = getattr(owner, "tensors", None)
        y = tensors[-1] if isinstance(tensors, tuple) and tensors else getattr(owner, "y", None)
        if hasattr(y, "shape"):
            return shape_of_items(y)
    try:
        return shape_of_items(peek(dl, "val_dl")[1])
    except DataError:  # no batch, or a generator that must not be touched
        return None


def _dataset(dl: Any, name: str) -> Any:
    if dl is None:
        raise DataError(f"this data bunch has no {'validation' if name == 'val_dl' else 'test'} set (`{name}`).")
    if not hasattr(dl, "dataset"):
        raise DataError(f"`{name}` is {type(dl).__name__}, which has no dataset behind it.")
    return dl.dataset
