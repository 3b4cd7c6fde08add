"""`Prep`: how raw items become batches and how they are shown, as an object that can be written down.

It is what stays of a data bunch when its items are gone: a learner predicts raw items with it, shows what it sees, and
writes it into every export. Each application has its own; a kind of data of your own needs one of some thirty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnkit.core.device import to_np
from learnkit.core.errors import DataError, LearnkitError
from learnkit.core.listing import check_list
from learnkit.core.plots import as_text
from learnkit.data.dataset import ItemDataset
from learnkit.data.loaders import ItemLoader
from learnkit.data.targets import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NotInFile", "Prep"]


class Prep(ABC):
    """How raw items become batches.

    To write one, say what one item becomes (`item`) and how the preparation itself is written down and read again
    (`to_data`, `from_data`). `DataBunch.from_items` makes loaders with it; then `learn.predict_raw`, `show_batch`,
    `show_results` and `export` work as for the kinds of data that come with learnkit. Where whole batches are prepared at
    once, define `loader` instead of `item`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from learnkit import DataBunch, Learner, Prep
    >>> class Wave(Prep):
    ...     "Samples of a sound, cut to one length."
    ...     def __init__(self, length):
    ...         self.length = length
    ...     def item(self, raw):
    ...         return torch.tensor(np.asarray(raw, dtype=np.float32)[: self.length])
    ...     def to_data(self):
    ...         return {"length": self.length}
    ...     @classmethod
    ...     def from_data(cls, data):
    ...         return cls(data["length"])
    >>> waves = [np.sin(np.arange(20) * (1 + i % 2)) for i in range(40)]
    >>> data = DataBunch.from_items(".", Wave(16), waves, ["low", "high"] * 20, val_idxs=range(30, 40), bs=8)
    >>> learn = Learner(data, torch.nn.Linear(16, 2))
    >>> with learn.no_progress():
    ...     results = learn.fit(0.1, 5)
    >>> learn.predict_raw([waves[0], waves[1]], decode=True)
    ['low', 'high']
    """

    target: Target | None = None
    """What is predicted, where the preparation alone says it (the next token of a text)."""

    portable_kind: ClassVar[str | None] = None
    """The kind of items, in `learnkit.runtime`'s words; with it `portable` says how they are prepared."""
    portable_axes: ClassVar[Mapping[str, Mapping[int, str]] | None] = None
    """Names of a batch's inputs, in order, and of their axes of any size."""

    def item(self, raw: Any) -> Any:
        """Turn one raw item into what the model takes: a tensor, or an array; of one shape for all items of a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define `item`, or `loader` for whole batches.")

    def dataset(self, items: Sequence[Any], y: NDArray[Any] | None = None) -> ItemDataset:
        """Return items, with their encoded targets if there are any, as a data set that opens them one by one."""
        return ItemDataset(items, y, self.item)

    def loader(self, items: Any, bs: int | None = None) -> Iterable[Any]:
        """Return batches `(x, y)` of raw items, in their order, their `y` zeros.

        Parameters
        ----------
        items : sequence
            Of whatever `item` takes.
        bs : int, optional
            64 by default.
        """
        items = items if isinstance(items, np.ndarray) else check_list("items", items, "items", error=DataError)
        if not len(items):
            raise DataError("`items` is empty: there is nothing to predict.")
        return ItemLoader(self.dataset(items), bs or 64, num_workers=0)

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Return the preparation as data: numbers, texts, tensors, and lists and dicts of these."""

    @classmethod
    @abstractmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again of what `to_data` returned."""

    def identity(self) -> dict[str, Any]:
        """Return, by name, what the numbers in a batch mean (a vocabulary, say).

        Weights that were saved with another are refused by `load`; by default nothing is compared.
        """
        return {}

    def in_words(self) -> str:
        """Return how items are prepared, for people."""
        return type(self).__name__

    def as_raw(self, xs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the inputs of a batch as those of raw items, where they differ: of a ranking the item that was taken."""
        return xs

    def portable(self) -> dict[str, Any] | None:
        """Return what is needed to prepare raw items without torch, as JSON; `None` where that is not known.

        `learn.to_onnx` writes it beside the network, and `learnkit.runtime` reads it.
        """
        return None

    def show(self, xs: tuple[Any, ...], n: int, notes: Mapping[str, Sequence[Any]]) -> Any:
        """Show the first items of a batch.

        Parameters
        ----------
        xs : tuple of Tensor
            The inputs of the batch.
        n : int
            How many items.
        notes : mapping of str to sequence
            What is to be written to each item: its label, its prediction.

        Returns
        -------
        matplotlib.figure.Figure or pandas.DataFrame
            By default a grid that `draw` fills.
        """
        import matplotlib.pyplot as plt

        n = min(n, len(xs[0]))
        columns = min(n, 4)
        rows = -(-n // columns)
        fig, grid = plt.subplots(
            rows, columns, figsize=(3.2 * columns, 2.4 * rows), squeeze=False, layout="constrained"
        )
        for i, ax in enumerate(grid.flat):
            if i >= n:
                ax.remove()
                continue
            self.draw(xs[0][i], ax)
            as_text(ax.set_title(title_of(notes, i, 36), fontsize=10))
        return fig

    def draw(self, x: Tensor, ax: Axes) -> None:
        """Draw one prepared item: a line for each row of numbers, a picture where there are more than ten."""
        values = np.squeeze(to_np(x))
        if values.ndim == 1 or (values.ndim == 2 and len(values) <= 10):
            ax.plot(values.T, linewidth=1)
        elif values.ndim == 2:
            ax.imshow(values, aspect="auto", cmap="viridis")
        else:
            ax.axis("off")
            ax.text(0.5, 0.5, f"shape {tuple(np.shape(x))}", ha="center", va="center")


def title_of(notes: Mapping[str, Sequence[Any]], i: int, width: int) -> str:
    """Return what is written to item `i`, its only note or each with its name, in lines of at most `width` letters."""
    named = [str(values[i]) if len(notes) == 1 else f"{name}: {values[i]}" for name, values in notes.items()]
    return "\n".join(fill(note, width) for note in named)


def no_targets(n: int) -> Tensor:
    """Return what stands for the targets of `n` raw items."""
    return torch.zeros(n, dtype=torch.int64)


class NotInFile:
    """Stands for code of the user's own that a file does not hold, and says so when it is called.

    Parameters
    ----------
    name : str
        Of what is missing.
    advice : str
        How to give it back; `{name}` is filled in.
    error : type of exception, default DataError
    """

    def __init__(self, name: str, advice: str, error: type[LearnkitError] = DataError) -> None:
        self.__qualname__, self.advice, self.error = name, advice, error

    def __call__(self, *args: Any) -> NoReturn:  # noqa: D102 - says nothing but the error
        raise self.error(self.advice.format(name=self.__qualname__))

    def __repr__(self) -> str:
        return f"(not in the file: {self.__qualname__})"
