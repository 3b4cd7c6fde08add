"""The items behind a loader that cuts its batches from columns, for whoever wants them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from learnkit.core.device import to_np

__all__ = ["RowDataset", "RowLoader"]


class RowLoader(Protocol):
    """What a loader offers of its items, whatever its order and batch size."""

    @property
    def n_rows(self) -> int:
        """How many there are."""

    @property
    def targets(self) -> Tensor:
        """The target of each."""

    def take(self, idxs: Tensor) -> tuple[Tensor, ...]:
        """Return some of them as a batch on the CPU."""


class RowDataset(Dataset[tuple[Tensor, ...]]):
    """The items of a loader in the order of the data: `(x1, ..., y)` each, as its batches have them.

    PyTorch's own loader, a `Subset`, a weighted sampler or a loop of your own give the values that ours gives.

    Parameters
    ----------
    loader : TensorLoader, RatingLoader, ...
    """

    def __init__(self, loader: RowLoader) -> None:
        self.loader = loader

    @property
    def y(self) -> NDArray[Any]:
        """Encoded targets, one per item."""
        return np.asarray(to_np(self.loader.targets))

    def __len__(self) -> int:
        return self.loader.n_rows

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        return self.__getitems__([i])[0]

    def __getitems__(self, idxs: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """Return several items, gathered at once."""
        n = len(self)
        chosen = torch.as_tensor([int(i) for i in idxs])
        if len(chosen) and not (-n <= int(chosen.min()) and int(chosen.max()) < n):
            raise IndexError(f"items {int(chosen.min())}..{int(chosen.max())} of a dataset of {n} items")
        return list(zip(*self.loader.take(chosen % n), strict=True)) if len(chosen) else []
