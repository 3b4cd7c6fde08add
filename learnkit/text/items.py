"""The texts behind a loader, one by one: with their tokens and labels to read, and for PyTorch's own loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map  # where PyTorch says own types are entered

from learnkit.text.loaders import TextLoader, stack_texts
from learnkit.text.texts import TextItem, TokenList

__all__ = ["TextItems", "collate_texts"]


class TextItems(Dataset[TextItem], Sequence[TextItem]):
    """The texts of a loader in the order of the data, made when they are asked for.

    PyTorch's own loader makes batches of them like ours: `(length, batch)`, padded, and the encoded targets.

    Parameters
    ----------
    loader : TextLoader
    decode : callable
        Encoded targets, shape `(n, ...)` -> their labels.
    """

    def __init__(self, loader: TextLoader, decode: Callable[[NDArray[Any]], list[Any]]) -> None:
        self.loader, self.decode = loader, decode

    @property
    def y(self) -> NDArray[Any]:
        """Encoded targets, one per text."""
        return self.loader.y.numpy()

    def __len__(self) -> int:
        return len(self.loader.rows)

    @overload
    def __getitem__(self, index: int) -> TextItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[TextItem]: ...

    def __getitem__(self, index: int | slice) -> TextItem | list[TextItem]:
        """Return a text, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        i = int(index) % len(self)
        corpus, y = self.loader.corpus, self.loader.y[i : i + 1]
        ids = corpus[int(self.loader.rows[i])]
        return TextItem(TokenList(ids, corpus.vocab), ids, self.decode(y.numpy())[0], self.loader.numbers(i), y[0])

    def __iter__(self) -> Iterator[TextItem]:
        return (self[i] for i in range(len(self)))


def collate_texts(items: Sequence[TextItem], *, collate_fn_map: Any = None) -> tuple[Tensor, Tensor]:
    """Make a batch of texts: `x` of shape `(longest, batch)`, padded at the end, and the encoded targets."""
    if any(item.x is None for item in items):
        raise TypeError(
            "a stream of text is one item, and is cut into windows by `BPTTLoader`: train on the data bunch's own loaders."
        )
    return stack_texts([item.x for item in items if item.x is not None]), torch.stack([item.y for item in items])


default_collate_fn_map[TextItem] = collate_texts
