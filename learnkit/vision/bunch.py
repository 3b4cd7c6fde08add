"""`ImageBunch`: pictures in batches, with what a learner of pictures asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch.utils.data import DataLoader

from learnkit.core.errors import DataError
from learnkit.data.bunch import DataBunch, known_prep
from learnkit.data.files import PathLike
from learnkit.data.loaders import with_dataset
from learnkit.data.prep import Prep
from learnkit.data.targets import Target
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.images import resized_copies
from learnkit.vision.prep import ImagePrep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageBunch"]


class ImageBunch(DataBunch):
    """Pictures and what is to be predicted of them; see `ImageClassifierData`, which makes them of files and arrays."""

    def __init__(
        self,
        path: PathLike,
        trn_dl: Any,
        val_dl: Any,
        test_dl: Any = None,
        *,
        target: Target,
        val_tfm: Any = None,
        cache: PathLike | None = None,
    ) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)
        self._val_tfm = val_tfm
        self.cache = self.path / "tmp" if cache is None else Path(cache)

    @property
    def val_tfm(self) -> Any:
        """How pictures are prepared for validation and prediction."""
        ds = getattr(self.val_dl, "dataset", None)
        return ds.tfm if isinstance(ds, ImageDataset) else self._val_tfm

    @property
    def prep(self) -> ImagePrep | None:
        """How raw pictures become batches; `None` for arrays that go to the model as they are."""
        ds = getattr(self.trn_dl, "dataset", None)
        return ImagePrep(ds.tfm, self.val_tfm, self.bs) if isinstance(ds, ImageDataset) else None

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no pictures, with their transforms where these are known."""
        if target is None:
            raise DataError("it is not known what is predicted; pass `target=`.")
        if not isinstance(prep, ImagePrep):
            return cls(path, [], [], target=target)
        return cls(path, prep.empty(prep.trn_tfm), prep.empty(prep.val_tfm), target=target)

    @property
    def aug_dl(self) -> DataLoader[Any]:
        """The validation pictures, in order, with the training transforms."""
        return self.augmented(False)

    @property
    def test_aug_dl(self) -> DataLoader[Any]:
        """The test pictures, in order, with the training transforms."""
        return self.augmented(True)

    @property
    def fix_dl(self) -> DataLoader[Any]:
        """The training pictures, in order, with the validation transforms."""
        return self._with_tfm(self.trn_dl, self.val_tfm)

    @property
    def bs(self) -> int:
        """Batch size of the training."""
        dl: Any = self.trn_dl
        return int(getattr(dl, "batch_size", None) or getattr(dl, "bs", None) or dl.batch_sampler.batch_size)

    def augmented(self, is_test: bool = False) -> DataLoader[Any]:
        """Return the validation (or test) pictures, in order, with the training transforms."""
        dl = self.test_dl if is_test else self.val_dl
        if dl is None:
            raise DataError(f"this data bunch has no {'test' if is_test else 'validation'} set.")
        return self._with_tfm(dl, self.trn_ds.tfm)

    def _with_tfm(self, dl: Any, tfm: Any) -> DataLoader[Any]:
        ds = _pictures_of(dl)
        return with_dataset(dl, ds.with_tfm(tfm), in_order=True)

    @property
    def sz(self) -> int | None:
        """Height and width of a transformed picture."""
        return getattr(getattr(self.trn_dl, "dataset", None), "sz", None)

    def resize(self, sz: int, new_path: str = "tmp") -> Self:
        """Write smaller copies of the pictures once, and return the same data reading those.

        Reading large photographs is most of the work of an epoch; copies a little larger than what the model gets save
        it. They are kept under `path/new_path/sz`, made by all cores, and made anew where an original was replaced.

        Parameters
        ----------
        sz : int
            Shorter side of the copies in pixels; smaller pictures keep their size.
        new_path : str, default "tmp"
            Folder inside `path`; what it is by default is the bunch's `cache`.

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

        place = self.cache if new_path == "tmp" else self.path / new_path

        def smaller(dl: Any) -> Any:
            if dl is None:
                return None
            ds = _pictures_of(dl)
            files = resized_copies(ds.paths, self.path, place, sz, max_value=ds.max_value)
            return with_dataset(dl, ds.with_files(files))

        trn_dl, val_dl, test_dl = (smaller(dl) for dl in (self.trn_dl, self.val_dl, self.test_dl))
        target: Any = self.target
        return type(self)(self.path, trn_dl, val_dl, test_dl, target=target, val_tfm=self.val_tfm, cache=self.cache)

    def show_batch(self, rows: int = 2, columns: int = 5, is_val: bool = False) -> Figure:  # type: ignore[override]
        """Draw `rows` times `columns` pictures as the model sees them, with their labels; see `DataBunch.show_batch`."""
        xs, y = self.some_items(rows * columns, is_val)
        prep = known_prep(self.prep, "pictures cannot be shown")
        return prep.show(xs, rows * columns, {"label": self.labels(xs, y)}, rows=rows)


def _pictures_of(dl: Any) -> ImageDataset:
    ds = getattr(dl, "dataset", None)
    if not isinstance(ds, ImageDataset) or not isinstance(dl, DataLoader):
        raise DataError(
            "these are plain arrays, or a data set of your own, which no transform can be applied to; pass `tfms` when "
            "you make them."
        )
    return ds
