"""What a learner knows of texts: their loaders, field and vocabulary, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.targets import Target
from learnkit.text.corpus import line_ends
from learnkit.text.field import Field
from learnkit.text.items import TextItems
from learnkit.text.loaders import BPTTLoader, TextLoader
from learnkit.text.next_token import NextToken
from learnkit.text.texts import Corpus, TextItem, TokenList, texts_of, warn_of_unknown

__all__ = ["StreamBunch", "TextBunch"]


class StreamBunch(DataBunch):
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
        self.field, self.bptt, self.backwards = field, bptt, backwards
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
        self._bs = bs

    @property
    def bs(self) -> int:
        """Columns of the loaders; setting it changes them, and nothing else about them."""
        return self._bs

    @bs.setter
    def bs(self, bs: int) -> None:
        self._bs = int(check_positive("bs", bs, integer=True))
        for dl in (self.trn_dl, self.val_dl, self.test_dl):
            if isinstance(dl, BPTTLoader):
                dl.bs = min(self._bs, max(len(dl.ids) - 1, 1))

    @property
    def nt(self) -> int:
        """Tokens in the vocabulary."""
        return len(self.field.vocab)

    @property
    def trn_ds(self) -> list[TextItem]:
        """The training stream, a list of one."""
        return self._stream("trn_dl")

    @property
    def val_ds(self) -> list[TextItem]:
        """The validation stream, a list of one."""
        return self._stream("val_dl")

    @property
    def test_ds(self) -> list[TextItem]:
        """The test stream, a list of one."""
        return self._stream("test_dl")

    def _stream(self, name: str) -> list[TextItem]:
        ids = self.streams[name]
        if ids is None:
            raise DataError(f"this data bunch has no `{name}`.")
        return [TextItem(TokenList(ids, self.field.vocab), ids)]


class TextBunch(DataBunch):
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

    @property
    def bs(self) -> int:
        """Batch size of all loaders; setting it changes them, and nothing else about them."""
        return self._bs

    @bs.setter
    def bs(self, bs: int) -> None:
        self._bs = int(check_positive("bs", bs, integer=True))
        for dl in (self.trn_dl, self.val_dl, self.test_dl):
            if isinstance(dl, TextLoader):
                dl.bs = self._bs

    @property
    def nt(self) -> int:
        """Tokens in the vocabulary."""
        return len(self.field.vocab)

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

    @property
    def trn_ds(self) -> TextItems:
        """The training texts."""
        return self._items("trn_dl")

    @property
    def val_ds(self) -> TextItems:
        """The validation texts."""
        return self._items("val_dl")

    @property
    def test_ds(self) -> TextItems:
        """The test texts."""
        return self._items("test_dl")

    def _items(self, name: str) -> TextItems:
        dl = getattr(self, name)
        if not isinstance(dl, TextLoader):
            raise DataError(f"this data bunch has no `{name}` of texts.")
        return TextItems(dl, _no_labels if name == "test_dl" else partial(_decoded, self.target))

    def texts_dl(self, texts: Sequence[str], bs: int | None = None) -> TextLoader:
        """Return a loader of raw texts, prepared as the training texts were.

        Parameters
        ----------
        texts : sequence of str
        bs : int, optional
            That of the data bunch by default.

        Returns
        -------
        TextLoader
        """
        field = self.field
        numbers = [field.vocab.numbers(field.tokens(line_ends(text))) for text in texts_of(texts, "texts")]
        if not numbers:
            raise DataError("there are no texts.")
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in numbers])])
        corpus = Corpus(np.concatenate(numbers), offsets, field.vocab)
        warn_of_unknown(corpus, "these texts", stacklevel=3)
        no_labels = np.zeros(len(numbers), dtype=np.int64)
        return TextLoader(corpus, no_labels, None, bs or self.bs, backwards=self.backwards, max_len=self.max_len)


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
