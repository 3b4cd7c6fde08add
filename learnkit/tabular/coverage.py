"""What the training rows hold, and what they do not: nothing was learned of a code or a value without a training row.

A level that stands only in the validation rows has a vector like any other, but it is still as random as it began; and
a column of one single value in training reaches the network with a weight that never learned. Rows that hold such
things get what stands for the unknown instead, and a warning says so.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.core.errors import user_stacklevel
from learnkit.core.listing import some
from learnkit.tabular.mapper import CategoryColumn, Mapper, NumberColumn

__all__ = ["Coverage"]


@dataclass(frozen=True)
class Coverage:
    """What training rows lack.

    Attributes
    ----------
    untrained : dict of column to list of int
        Codes that no training row has.
    constant : dict of column to float
        Numbers of which the training rows hold one value, and that value as the model sees it.
    """

    untrained: dict[Any, list[int]] = field(default_factory=dict)
    constant: dict[Any, float] = field(default_factory=dict)

    @classmethod
    def of(cls, cats: Tensor, conts: Tensor, cat_sz: list[tuple[Any, int]], cont_flds: list[Any]) -> Coverage:
        """Look at the training rows' codes `(n, n_cat)` and numbers `(n, n_cont)`."""
        untrained, constant = {}, {}
        for j, (name, size) in enumerate(cat_sz):
            missing = np.ones(size, dtype=bool)
            missing[cats[:, j].numpy()] = False
            if missing.any():
                untrained[name] = np.flatnonzero(missing).tolist()
        if len(conts):
            low, high = conts.amin(0).tolist(), conts.amax(0).tolist()
            constant = {name: a for name, a, b in zip(cont_flds, low, high, strict=True) if a == b}
        return cls(untrained, constant)

    @classmethod
    def from_data(cls, data: dict[str, Any] | None) -> Coverage:
        """Make it of what `to_data` returned; files of earlier versions have none, and nothing is known."""
        if data is None:
            return cls()
        return cls({name: list(codes) for name, codes in data["untrained"]}, dict(data["constant"]))

    def to_data(self) -> dict[str, Any]:
        """Return everything as lists, numbers and text, as JSON can hold it."""
        return {
            "untrained": [[name, codes] for name, codes in self.untrained.items()],
            "constant": [[name, value] for name, value in self.constant.items()],
        }

    def joined(self, other: Coverage) -> Coverage:
        """Return what neither of two sets of training rows holds."""
        both = {name: sorted({*codes} & {*other.untrained.get(name, ())}) for name, codes in self.untrained.items()}
        same = {name: value for name, value in self.constant.items() if other.constant.get(name) == value}
        return Coverage({name: codes for name, codes in both.items() if codes}, same)

    def apply(
        self,
        cats: Tensor,
        conts: Tensor,
        cat_flds: list[Any],
        cont_flds: list[Any],
        mapper: Mapper | None,
        what: str,
    ) -> None:
        """Put what is unknown in its place, in tensors of the rows to predict, and warn of it.

        Of codes that `proc_df` made, 0 is the unknown. Of others it is not known which one would be, so they stay, and
        only the warning is given.

        Parameters
        ----------
        cats, conts : Tensor
            Changed in place.
        cat_flds, cont_flds : list
            Names of their columns.
        mapper : Mapper or None
            Gives codes and numbers back their raw names.
        what : str
            Which rows these are, for the warning.
        """
        made = {column.name: column for column in mapper.columns} if mapper is not None else {}
        notes = []
        for j, name in enumerate(cat_flds):
            column = made.get(name)
            by_level = isinstance(column, CategoryColumn)
            codes = [code for code in self.untrained.get(name, ()) if code or not by_level]
            unknown = torch.isin(cats[:, j].long(), torch.tensor(codes, dtype=torch.long))
            if not (n := int(unknown.sum())):
                continue
            found = cats[unknown, j].unique().tolist()
            if isinstance(column, CategoryColumn):
                cats[unknown, j] = 0
                levels = some([column.levels[code - 1] for code in found])
                notes.append(
                    f"{n:,} value(s) of {name!r} were never seen in training ({levels}) and became 0, as if missing"
                )
            else:
                notes.append(
                    f"{n:,} code(s) of {name!r} were never seen in training ({some(found)}): nothing was learned of them"
                )
        for j, name in enumerate(cont_flds):
            if name not in self.constant:
                continue
            value = self.constant[name]
            other = ~torch.isclose(conts[:, j], torch.tensor(value), rtol=1e-5, atol=1e-6)
            conts[:, j] = value
            if n := int(other.sum()):
                column = made.get(name)
                raw = value * column.std + column.mean if isinstance(column, NumberColumn) else value
                notes.append(f"{n:,} value(s) of {name!r}, which was always {raw:g} in training, became that")
        if notes:
            warnings.warn(f"{what}: " + "; ".join(notes) + ".", stacklevel=user_stacklevel())
