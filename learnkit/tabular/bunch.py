"""What a learner knows of a table: its loaders, columns, preparation, and what no training row held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch

from learnkit.core.listing import check_list
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.loaders import TensorLoader
from learnkit.data.prep import Prep
from learnkit.data.targets import Target
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.mapper import Mapper
from learnkit.tabular.model import emb_size
from learnkit.tabular.prep import TablePrep

__all__ = ["TableBunch"]


class TableBunch(DataBunch):
    """The loaders of a table with its columns; see `ColumnarModelData`, which makes them of frames and arrays."""

    def __init__(
        self,
        path: PathLike,
        trn_dl: Any,
        val_dl: Any = None,
        test_dl: Any = None,
        *,
        target: Target | None = None,
        cat_sz: Sequence[tuple[Any, int]] = (),
        cont_flds: Sequence[Any] = (),
        mapper: Mapper | None = None,
        coverage: Coverage | None = None,
    ) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)
        self.cat_sz = [(name, int(size)) for name, size in check_list("cat_sz", cat_sz, "pairs (name, codes)")]
        self.cat_flds = [name for name, _ in self.cat_sz]
        self.cont_flds = check_list("cont_flds", cont_flds, "column names")
        self.mapper = mapper
        self.coverage = Coverage() if coverage is None else coverage

    @property
    def prep(self) -> TablePrep | None:
        """How raw rows become codes and numbers; `None` for arrays whose columns go to the model as they are."""
        if not self.cat_sz and not self.cont_flds:
            return None
        return TablePrep(self.cat_sz, self.cont_flds, self.mapper, self.coverage)

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no rows, with its columns where these are known."""
        if not isinstance(prep, TablePrep):
            return cls(path, [], target=target)
        return cls(
            path,
            [],
            target=target,
            cat_sz=prep.cat_sz,
            cont_flds=prep.cont_flds,
            mapper=prep.mapper,
            coverage=prep.coverage,
        )

    @property
    def emb_szs(self) -> list[tuple[int, int]]:
        """Number of codes and default embedding width of each categorical column."""
        return [(size, emb_size(size)) for _, size in self.cat_sz]

    def to(self, device: torch.device) -> None:
        """Put the tensors on `device` for good, so that no batch has to be copied."""
        for dl in (self.trn_dl, self.val_dl, self.test_dl):
            if isinstance(dl, TensorLoader):
                dl.tensors = tuple(x.to(device) for x in dl.tensors)

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        loaders = [dl for dl in (self.trn_dl, self.val_dl, self.test_dl) if isinstance(dl, TensorLoader)]
        return sum(x.nbytes for dl in loaders for x in dl.tensors)
