"""`TablePrep`: how raw rows become codes and numbers, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from learnkit.core.device import to_np
from learnkit.core.errors import DataError
from learnkit.core.listing import some
from learnkit.data.frames import Rows, as_frame
from learnkit.data.loaders import TensorLoader
from learnkit.data.prep import Prep
from learnkit.tabular.columns import names_of
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.mapper import CategoryColumn, Mapper, NumberColumn
from learnkit.tabular.tensors import frame_tensors

__all__ = ["TablePrep"]


@dataclass(frozen=True)
class TablePrep(Prep):
    """The columns of a table, how they were made, and what no training row held.

    Attributes
    ----------
    cat_sz : list of (name, int)
        Columns of codes, and how many codes each has.
    cont_flds : list
        Columns of numbers.
    mapper : Mapper or None
        What `proc_df` learned; without it raw rows cannot be prepared.
    coverage : Coverage

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import TablePrep, proc_df
    >>> _, _, _, mapper = proc_df(pd.DataFrame({"State": ["HE", "BY"], "Km": [1.0, 3.0]}))
    >>> prep = TablePrep(mapper.cat_sz, ["Km"], mapper)
    >>> cats, conts, _ = next(iter(prep.loader({"State": "HE", "Km": 3})))
    >>> cats.tolist(), conts.tolist()
    ([[2]], [[1.0]])
    """

    portable_kind: ClassVar[str] = "table"
    portable_axes: ClassVar[Mapping[str, Mapping[int, str]]] = {"cats": {0: "batch"}, "conts": {0: "batch"}}

    cat_sz: list[tuple[Any, int]]
    cont_flds: list[Any]
    mapper: Mapper | None = None
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def cat_flds(self) -> list[Any]:
        """Names of the columns of codes."""
        return [name for name, _ in self.cat_sz]

    def loader(self, items: Rows, bs: int | None = None) -> TensorLoader:
        """Return batches of raw rows.

        Parameters
        ----------
        items : DataFrame, Series, dict or list of dict
            The columns `proc_df` was given in training, in any order, the target's not needed; a series or a dict of
            single values is one row. Categories that no training row had count as missing and columns that were not there
            in training are ignored, with a warning.
        bs : int, optional
            4096 by default.

        Raises
        ------
        DataError
            If columns are missing, or it is not known how the training rows were prepared.
        """
        mapper = self.known_mapper("raw rows cannot be prepared")
        prepared = mapper.transform(as_frame(items))
        cats, conts = frame_tensors(prepared, self.cat_sz, self.cont_flds)
        self.coverage.apply(cats, conts, self.cat_flds, self.cont_flds, mapper, "preparing the rows")
        return TensorLoader((cats, conts), torch.zeros(len(prepared)), bs or 4096, widen=True)

    def known_mapper(self, consequence: str) -> Mapper:
        """Return how the training frame was prepared, or say what cannot be done without."""
        if self.mapper is None:
            raise DataError(
                f"it is not known how the training frame was prepared, so {consequence}. Use `proc_df`, and if its frame "
                "lost the note of it on the way, pass mapper= to from_data_frame."
            )
        made = set(self.mapper.outputs)
        added = [name for name in (*self.cat_flds, *self.cont_flds) if name not in made]
        if added:
            raise DataError(
                f"the columns {', '.join(map(str, added[:5]))} were added after `proc_df`, so {consequence}. Add them before."
            )
        return self.mapper

    def raw_names(self) -> list[Any]:
        """Return the names of the columns that `proc_df` was given, none where it is not known."""
        return [] if self.mapper is None else [column.name for column in self.mapper.columns]

    def categories(self, var: Any) -> list[Any]:
        """Return what each code of a column stands for, first `"(missing)"`; the codes, if it is not known."""
        if self.mapper is not None and var in self.raw_names():
            column = self.mapper.column(var)
            if isinstance(column, CategoryColumn):
                return ["(missing)", *column.levels]
        return list(range(dict(self.cat_sz)[var]))

    def number(self, var: Any) -> NumberColumn | None:
        """Return what was learned of a column of numbers, `None` if it is not known."""
        column = self.mapper.column(var) if self.mapper is not None and var in self.raw_names() else None
        return column if isinstance(column, NumberColumn) else None

    def to_data(self) -> dict[str, Any]:
        """Return all of it."""
        return self._columns() | {
            "mapper": None if self.mapper is None else self.mapper.to_dict(),
            "coverage": self.coverage.to_data(),
        }

    def in_words(self) -> str:
        """Return the columns."""
        parts = [
            f"{len(names):,} {what} ({some([*map(str, names)], 20)})"
            for what, names in (("categories", self.cat_flds), ("numbers", self.cont_flds))
            if names
        ]
        return f"a table of {' and '.join(parts)}"

    def portable(self) -> dict[str, Any] | None:
        """Return the columns, how they were made, and what no training row held; `None` where raw rows are not known.

        Raises
        ------
        DataError
            If the model takes columns that `proc_df` passed through as they are.
        """
        if self.mapper is None:
            return None
        mapper = self.known_mapper("raw rows cannot be prepared elsewhere")
        passed = [name for name in (*self.cat_flds, *self.cont_flds) if name in mapper.ignore_flds]
        if passed:
            raise DataError(
                f"the model takes {some([*map(repr, passed)])} as they are (`ignore_flds`), which cannot be said to other programs. Let "
                "`proc_df` prepare them."
            )
        described = mapper.to_dict()
        others = [*described["skip_flds"], *described["ignore_flds"], *names_of(mapper.y_fld)]
        return {
            "columns": described["columns"],
            "other": others,
            "cats": self.cat_flds,
            "conts": list(self.cont_flds),
            **self.coverage.to_data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; files of earlier versions do not say what no training row held."""
        return cls(
            [(name, size) for name, size in data["cat_sz"]],
            data["cont_flds"],
            None if data["mapper"] is None else Mapper.from_dict(data["mapper"]),
            Coverage.from_data(data.get("coverage")),
        )

    def identity(self) -> dict[str, Any]:
        """Return the columns and how they were made.

        Which rows were for training is no part of it, nor what only guards against mistakes: neither changes what a code
        or a number means.
        """
        mapper = None if self.mapper is None else self.mapper.to_dict()
        for column in () if mapper is None else mapper["columns"]:
            column.pop("boolean", None)
        return {"preparation": {"mapper": mapper} | self._columns()}

    def _columns(self) -> dict[str, Any]:
        return {"cat_sz": [[name, size] for name, size in self.cat_sz], "cont_flds": self.cont_flds}

    def show(self, xs: tuple[Any, ...], n: int, notes: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
        """Return the first rows of a batch as they were before they were prepared, with what is noted of them."""
        cats, conts = (to_np(x[:n]) for x in xs)
        frame: dict[Any, Any] = {}
        for j, name in enumerate(self.cat_flds):
            levels = self.categories(name)
            frame[name] = [levels[code] for code in cats[:, j]]
        for j, name in enumerate(self.cont_flds):
            column = self.number(name)
            frame[name] = conts[:, j] if column is None else _unscaled(conts[:, j], column)
            if column is not None and column.flag and f"{name}_na" in self.cont_flds:
                frame[name] = np.where(conts[:, self.cont_flds.index(f"{name}_na")] > 0, np.nan, frame[name])
        made = [f"{name}_na" for name in self.cont_flds if self.number(name) is not None]
        shown = {name: values for name, values in frame.items() if name not in made}
        return pd.DataFrame(shown | {name: list(values[:n]) for name, values in notes.items()})


def _unscaled(values: NDArray[Any], column: NumberColumn) -> NDArray[Any]:
    """Return scaled numbers as they were, with no more digits than single precision holds."""
    if (column.mean, column.std) == (0.0, 1.0):  # it was not scaled
        return values
    digits = 5 - int(np.floor(np.log10(abs(column.mean) + column.std)))
    return np.round(values.astype(np.float64) * column.std + column.mean, max(digits, 0))
