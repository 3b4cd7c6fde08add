"""Which model a table gets: described in numbers and text, which are saved with it, and made of that description."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learnkit.core.errors import DataError, check_choice
from learnkit.core.listing import numbers
from learnkit.data.targets import Category, MultiCategory, Target
from learnkit.store.spec import ModelSpec
from learnkit.tabular.bunch import TableBunch
from learnkit.tabular.model import MixedInputModel, check_y_range, embedding_sizes

__all__ = ["ARCHS", "TableSpec", "check_targets", "describe_model", "start_at_the_average", "start_unknown"]

ARCHS = ("mlp", "ple")
OUTLIERS = 0.01
"""Share of the training targets that may lie outside `y_range`."""


@dataclass(frozen=True)
class TableSpec(ModelSpec):
    """The model of a table, as `ColumnarModelData.get_learner` makes it.

    Attributes
    ----------
    arch, emb_szs, n_cont, emb_drop, out_sz, szs, drops, y_range, use_bn
        As for `get_learner`, with nothing left to defaults.
    n_edges : int or None
        Edges of the bins of each number, for `"ple"`.
    """

    arch: str
    emb_szs: list[tuple[int, int]]
    n_cont: int
    emb_drop: float
    out_sz: int
    szs: list[int]
    drops: list[float]
    y_range: list[float] | None
    use_bn: bool
    n_edges: int | None = None

    def __post_init__(self) -> None:
        check_choice("arch", self.arch, ARCHS)

    def build(self, edges: Tensor | None = None) -> MixedInputModel:
        """Make the model; `edges` are the bins of `"ple"`, shape (n_cont, n_edges), zeros by default."""
        if edges is None and self.n_edges is not None:
            edges = torch.zeros(self.n_cont, self.n_edges)
        y_range = None if self.y_range is None else (self.y_range[0], self.y_range[1])
        return MixedInputModel(
            self.emb_szs,
            self.n_cont,
            self.emb_drop,
            self.out_sz,
            self.szs,
            self.drops,
            y_range,
            self.use_bn,
            edges=edges,
        )


def describe_model(
    data: TableBunch,
    arch: str,
    emb_szs: Sequence[tuple[int, int]] | None,
    n_cont: int | None,
    emb_drop: float | None,
    out_sz: int | None,
    szs: Sequence[int] | None,
    drops: Sequence[float] | float | None,
    y_range: tuple[float, float] | None,
    use_bn: bool,
) -> TableSpec:
    """Check the arguments of `ColumnarModelData.get_learner`, and fill in what follows from the table."""
    check_choice("arch", arch, ARCHS)
    if not data.cat_flds and not data.cont_flds:
        raise DataError(
            "this data was not made by from_data_frame, so there is no standard model for it. Write one that is called as "
            "model(x1, x2, ...) and use Learner(data, model)."
        )
    sizes = data.emb_szs if emb_szs is None else embedding_sizes(emb_szs)
    if len(sizes) != len(data.cat_sz):
        raise DataError(
            f"`emb_szs` must have one (codes, width) per categorical column: got {len(sizes)} for the {len(data.cat_sz)} columns "
            f"{', '.join(map(str, data.cat_flds))}."
        )
    for (name, codes), (c, _) in zip(data.cat_sz, sizes, strict=True):
        if c < codes:
            raise DataError(f"the embedding of {name!r} has {c} codes; the column needs {codes} (0 is for missing).")
    if n_cont is not None and n_cont != len(data.cont_flds):
        raise DataError(f"`n_cont` is {n_cont}; the data has {len(data.cont_flds)} continuous columns.")
    plain = arch == "mlp"
    widths = [
        int(size) for size in numbers("szs", szs if szs is not None else [200, 100] if plain else [256, 128], "widths")
    ]
    if drops is None:
        drops = 0.0 if plain else 0.3
    return TableSpec(
        arch=arch,
        emb_szs=sizes,
        n_cont=len(data.cont_flds),
        emb_drop=float(emb_drop if emb_drop is not None else 0.0 if plain else 0.1),
        out_sz=int(out_sz if out_sz is not None else data.c),
        szs=widths,
        drops=numbers("drops", drops) * (len(widths) if isinstance(drops, int | float) else 1),
        y_range=None if y_range is None else [float(value) for value in y_range],
        use_bn=bool(use_bn),
    )


def check_targets(target: Target | None, y_range: tuple[float, float], y: Tensor | None, val_y: Tensor | None) -> None:
    """Refuse a `y_range` that the training targets (of any shape) do not lie in but for a few, or that there is no use for."""
    if isinstance(target, Category | MultiCategory):
        raise DataError(
            f"`y_range` squeezes the values of a regression; here {target.c} classes are predicted, whose scores need none. "
            "Leave it out."
        )
    low, high = check_y_range(y_range) or y_range
    for rows, name in ((y, "training"), (val_y, "validation")):
        n_outside = 0 if rows is None else int(((rows < low) | (rows > high)).sum())
        if rows is None or not n_outside:
            continue
        problem = (
            f"the {name} targets go from {float(rows.min()):g} to {float(rows.max()):g}, outside `y_range` {low:g} to {high:g}, "
            f"which a model squeezed into it never reaches ({n_outside:,} of {rows.numel():,} targets)"
        )
        # A few outliers may be given up on purpose; a range that most rows do not fit is a mistake.
        if name == "training" and n_outside > OUTLIERS * rows.numel():
            raise DataError(f"{problem}. Widen it.")
        warnings.warn(f"{problem}.", stacklevel=3)


@torch.no_grad()
def start_unknown(model: MixedInputModel, variable: int, codes: list[int]) -> None:
    """Put the vectors of codes that no training row has where that of the unknown code begins, amid all the others."""
    if model.embs is not None and codes:
        model.embs.get_parameter(f"embs.{variable}.weight")[codes] = 0.0


@torch.no_grad()
def start_at_the_average(model: MixedInputModel, y: Tensor, target: Target) -> None:
    """Let the first predictions be the average of the training rows, whatever the row.

    Otherwise the first steps push all scores the same way, and with a `y_range` they can end where the sigmoid is flat
    and stay there.
    """
    if isinstance(target, Category):
        bias = torch.bincount(y, minlength=target.c).clamp_min(1).double().div(len(y)).log()
    else:
        bias = y.double().reshape(len(y), -1).mean(0)
        if isinstance(target, MultiCategory):
            bias = torch.logit(bias, eps=1e-3)
        elif model.y_range is not None:
            low, high = model.y_range
            bias = torch.logit((bias - low) / (high - low), eps=1e-3)
    model.outp.weight.mul_(0.1)
    model.outp.bias.copy_(bias)
