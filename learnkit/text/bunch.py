"""What a learner knows of texts: their loaders, field and vocabulary, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import torch
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.prep import Prep
from learnkit.data.targets import Target
from learnkit.text.field import Field
from learnkit.text.items import TextItems
from learnkit.text.loaders import BPTTLoader, TextLoader
from learnkit.text.next_token import NextToken
from learnkit.text.prep import StreamPrep, TextPrep
from learnkit.text.texts import TextItem, TokenList

__all__ = ["StreamBunch", "TextBunch"]


class FieldBunch(DataBunch):
    """What both have: a field, a direction of reading, and loaders whose batch size can be changed."""

    field: Field
    backwards: bool
    _bs: int

    @property
    def nt(self) -> int:
        """Tokens in the vocabulary."""
        return len(self.field.vocab)

    @property
    def bs(self) -> int:
        """Batch size of all loaders, columns of a stream; setting it changes them, and nothing else about them."""
        return self._bs

    @bs.setter
    def bs(self, bs: int) -> None:
        self._bs = int(check_positive("bs", bs, integer=True))
        for dl in (self.trn_dl, self.val_dl, self.test_dl):
            if isinstance(dl, TextLoader):
                dl.bs = self._bs
            elif isinstance(dl, BPTTLoader):
                dl.bs = min(self._bs, max(len(dl.ids) - 1, 1))

    @property
    def trn_ds(self) -> Any:
        """The training texts; of a stream a list of one."""
        return self._items("trn_dl")

    @property
    def val_ds(self) -> Any:
        """The validation texts; of a stream a list of one."""
        return self._items("val_dl")

    @property
    def test_ds(self) -> Any:
        """The test texts; of a stream a list of one."""
        return self._items("test_dl")

    def _items(self, name: str) -> Any:
        raise NotImplementedError


class StreamBunch(FieldBunch):
    """The loaders of a stream of text; see `LanguageModelData`, which makes them of files and frames."""

    def __init__(
        self,
        path: PathLike,
        field: Field,
        trn: NDArray[Any] | None,
        val: NDArray[Any] | None = None,
        test: NDArray[Any] | None = None,
        bs: int = 64,
        bptt: int = 70,
        *,
        backwards: bool = False,
    ) -> None:
        self.field, self.bptt, self.backwards, self._bs = field, bptt, backwards, bs
        self.streams = {"trn_dl": trn, "val_dl": val, "test_dl": test}
        super().__init__(
            path,
            [] if trn is None else BPTTLoader(trn, bs, bptt, vary=True, backwards=backwards),
            *(
                None if ids is None else BPTTLoader(ids, min(bs, max(len(ids) - 1, 1)), bptt, backwards=backwards)
                for ids in (val, test)
            ),
            target=NextToken(field.vocab.itos),
        )

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no text, with its vocabulary."""
        if not isinstance(prep, StreamPrep):
            raise DataError("it is not known which words the model knows; pass `prep=`.")
        return cls(path, prep.field, None, bs=prep.bs, bptt=prep.bptt, backwards=prep.backwards)

    @property
    def prep(self) -> StreamPrep:
        """How raw texts become numbers."""
        return StreamPrep(self.field, self.bs, self.bptt, backwards=self.backwards)

    def labels(self, xs: tuple[Any, ...], y: Any) -> list[Any]:
        """Return what is to be predicted in a window as text, column by column."""
        prep, columns = self.prep, torch.as_tensor(y).reshape(xs[0].shape)
        return [prep.readable(columns[:, i]) for i in range(columns.shape[1])]

    def _items(self, name: str) -> list[TextItem]:
        ids = self.streams[name]
        if ids is None:
            raise DataError(f"this data bunch has no `{name}`.")
        return [TextItem(TokenList(ids, self.field.vocab), ids)]


class TextBunch(FieldBunch):
    """The loaders of texts with labels; see `TextData`, which makes them of frames, folders and lists."""

    def __init__(
        self,
        path: PathLike,
        field: Field,
        trn: TextLoader | None,
        val: TextLoader | None,
        test: TextLoader | None,
        target: Target,
        bs: int = 64,
        *,
        backwards: bool = False,
        max_len: int | None = None,
    ) -> None:
        super().__init__(path, [] if trn is None else trn, val, test, target=target)
        self.field, self.bs, self.backwards, self.max_len = field, bs, backwards, max_len

    @classmethod
    def without_items(cls, path: PathLike, prep: Prep | None, target: Target | None) -> Self:
        """Make a bunch that has no text, with its vocabulary."""
        if target is None:
            raise DataError("it is not known what is predicted; pass `target=`.")
        if not isinstance(prep, TextPrep):
            raise DataError("it is not known which words the model knows; pass `prep=`.")
        return cls(path, prep.field, None, None, None, target, prep.bs, backwards=prep.backwards, max_len=prep.max_len)

    @property
    def prep(self) -> TextPrep:
        """How raw texts become numbers."""
        return TextPrep(self.field, self.bs, backwards=self.backwards, max_len=self.max_len)

    @property
    def val_y(self) -> NDArray[Any]:
        """Encoded targets of the validation set, in its order."""
        if not isinstance(self.val_dl, TextLoader):
            return super().val_y
        return self.val_dl.y.numpy()

    @property
    def trn_y(self) -> NDArray[Any]:
        """Encoded targets of the training set, in its order."""
        return super().trn_y if not isinstance(self.trn_dl, TextLoader) else self.trn_dl.y.numpy()

    def texts_dl(self, texts: Sequence[str], bs: int | None = None) -> TextLoader:
        """Return a loader of raw texts, prepared as the training texts were; see `TextPrep.loader`."""
        return self.prep.loader(texts, bs)

    def _items(self, name: str) -> TextItems:
        dl = getattr(self, name)
        if not isinstance(dl, TextLoader):
            raise DataError(f"this data bunch has no `{name}` of texts.")
        return TextItems(dl, _no_labels if name == "test_dl" else partial(_decoded, self.target))


def _no_labels(y: NDArray[Any]) -> list[Any]:
    return [None] * len(y)


def _decoded(target: Target | None, y: NDArray[Any]) -> list[Any]:
    """Return encoded targets as the labels they were."""
    classes = None if target is None else target.classes
    if classes is None:
        return list(y.tolist())
    if y.ndim > 1:
        return [[name for name, there in zip(classes, row, strict=True) if there] for row in y]
    return [classes[code] for code in y]
