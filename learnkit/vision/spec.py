"""`ConvSpec`: an architecture with its head, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from learnkit.data.files import PathLike
from learnkit.store.spec import ModelSpec
from learnkit.vision.models import conv_body, conv_head, head_widths, n_channels, whole_model
from learnkit.vision.precompute import BodyAndHead

__all__ = ["ConvSpec"]


@dataclass(frozen=True)
class ConvSpec(ModelSpec):
    """A network for pictures that `ConvLearner.pretrained` makes.

    Attributes
    ----------
    arch : str
        A name of torchvision's or timm's.
    c : int or None
        Number of scores.
    ps : sequence of float or None
        Dropout before each linear layer of the head.
    xtra_fc : sequence of int or None
        Widths of the head's hidden layers.
    head : bool, default True
        `False` for the architecture with its own classifier; then the three above say nothing.
    """

    arch: str
    c: int | None = None
    ps: list[float] | None = None
    xtra_fc: list[int] | None = None
    head: bool = True

    def build(self, weights: PathLike | bool | None = False) -> nn.Module:
        """Make body and head; `weights` of the body as for `ConvLearner.pretrained`, random by default."""
        if not self.head:
            return whole_model(self.arch, weights)
        if self.c is None:
            raise ValueError("a new head needs the number of scores, `c`")
        body = conv_body(self.arch, weights)
        return BodyAndHead(body, conv_head(n_channels(body), self.c, self.ps, self.xtra_fc))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again; files of 0.1 hold one dropout, which was halved before all layers but the last."""
        spec = super().from_data({**data, "arch": str(data["arch"])})
        if not isinstance(spec.ps, int | float):
            return spec
        return cls(spec.arch, spec.c, [spec.ps / 2] * len(head_widths(spec.xtra_fc)) + [spec.ps], spec.xtra_fc)
