"""Data bunches of text: a stream for language models, texts with labels for classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from learnkit.core.errors import DataError, check_choice, check_positive
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike, subfolders
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.text.awd_lstm import LanguageModel
from learnkit.text.classifier import TextClassifier
from learnkit.text.corpus import Corpus, TokenList, build_corpus, line_ends, text_files, texts_of
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.loaders import BPTTLoader, TextLoader
from learnkit.train.events import Callback
from learnkit.train.loop import Loss
from learnkit.train.metrics import MetricLike

if TYPE_CHECKING:
    import pandas as pd

    from learnkit.text.learner import LanguageLearner, TextLearner

__all__ = ["LanguageModelData", "NextToken", "TextData", "TextItem"]


class NextToken(Target):
    """The token that comes next: cross-entropy, log-probabilities.

    Parameters
    ----------
    itos : sequence of str
        The vocabulary.

    Examples
    --------
    >>> from learnkit.text import NextToken
    >>> NextToken(["<unk>", "<pad>", "to", "be"]).encode(["be", "to", "zebra"])
    array([3, 2, 0])
    """

    metrics = ("perplexity",)

    def __init__(self, itos: Sequence[str]) -> None:
        self.classes: list[Any] = list(itos)
        self.c = len(self.classes)

    def encode(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """Return the number of each token; 0 for an unknown one."""
        numbers = {token: i for i, token in enumerate(self.classes)}
        return np.array([numbers.get(label, 0) for label in labels], dtype=np.int64)

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the scores, mean over the tokens."""
        return F.cross_entropy(pred, y)

    def activation(self, pred: Tensor) -> Tensor:
        """Log-probabilities."""
        return F.log_softmax(pred.float(), dim=1)

    def to_proba(self, preds: NDArray[Any]) -> NDArray[Any]:
        """Exponential of the log-probabilities."""
        return np.exp(preds)

    def decode(self, preds: NDArray[Any]) -> list[Any]:
        """Most probable token at each place."""
        return [self.classes[i] for i in np.argmax(preds, axis=1)]


@dataclass(frozen=True)
class TextItem:
    """A text as its tokens.

    Attributes
    ----------
    text : TokenList
        The tokens; a slice of it is a list of str.
    ids : array of int, shape (n,)
        Their numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, LanguageModelData
    >>> frame = pd.DataFrame({"text": ["to be or not to be"] * 40})
    >>> md = LanguageModelData.from_dataframes(".", Field(tokenize=str.split), "text", frame, bs=4)
    >>> item = md.trn_ds[0]
    >>> item.text[:3], item.ids[:3].tolist()
    (['to', 'be', 'or'], [3, 2, 6])
    """

    text: TokenList
    ids: NDArray[Any]


class LanguageModelData(DataBunch):
    """A stream of text to learn the next token of; make one with `from_text_files` or `from_dataframes`.

    Parameters
    ----------
    path : path-like
        Where `models/` and `tmp/` are kept.
    field : Field
        With its vocabulary.
    trn, val, test : array of int, shape (n,), optional
        The streams as numbers.
    bs : int, default 64
        Columns the stream is cut into, read side by side.
    bptt : int, default 70
        Tokens in a window, about: how far back in time gradients go.
    backwards : bool, default False
        Learn to predict the token before.

    Attributes
    ----------
    nt : int
        Tokens in the vocabulary.
    trn_ds, val_ds, test_ds : list of TextItem
        One item: the stream.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, LanguageModelData
    >>> frame = pd.DataFrame({"text": ["to be or not to be"] * 40})
    >>> TEXT = Field(tokenize=str.split)
    >>> md = LanguageModelData.from_dataframes(".", TEXT, "text", frame, frame[:8], bs=4, bptt=10)
    >>> md.nt, len(md.trn_dl), md.trn_ds[0].text[:4]
    (7, 8, ['to', 'be', 'or', 'not'])
    """

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
        self.field, self.bs, self.bptt, self.backwards = field, bs, bptt, backwards
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
    def from_text_files(
        cls,
        path: PathLike,
        field: Field,
        train: PathLike | Sequence[PathLike],
        validation: PathLike | Sequence[PathLike] | None = None,
        test: PathLike | Sequence[PathLike] | None = None,
        bs: int = 64,
        bptt: int = 70,
        min_freq: int | None = None,
        *,
        encoding: str = "utf-8",
        backwards: bool = False,
        n_workers: int | None = None,
    ) -> LanguageModelData:
        """Read text files.

        They are tokenized once; the numbers are kept under `path/tmp`.

        Parameters
        ----------
        path : path-like
        field : Field
            It gets the vocabulary of the training texts, unless it has one.
        train, validation, test : path-like or sequence of path-like
            Below `path`: a file, a folder that is searched with its subfolders, or several.
        bs, bptt
            As above.
        min_freq : int, optional
            Instead of the field's.
        encoding : str, default "utf-8"
            Of the files.
        backwards
            As above.
        n_workers : int, optional
            Processes to tokenize in; all cores for much text by default.

        Returns
        -------
        LanguageModelData

        Raises
        ------
        DataError
            If there is no file, a file is in another encoding, or there is too little text.
        """
        if min_freq is not None:
            field.min_freq = int(check_positive("min_freq", min_freq, integer=True))
        sources = [
            None if part is None else text_files(path, part, what)
            for part, what in ((train, "train"), (validation, "validation"), (test, "test"))
        ]
        return cls._from_sources(path, field, sources, bs, bptt, encoding, backwards, n_workers)

    @classmethod
    def from_dataframes(
        cls,
        path: PathLike,
        field: Field,
        col: str,
        train_df: pd.DataFrame,
        val_df: pd.DataFrame | None = None,
        test_df: pd.DataFrame | None = None,
        bs: int = 64,
        bptt: int = 70,
        *,
        backwards: bool = False,
        n_workers: int | None = None,
    ) -> LanguageModelData:
        """Read a column of texts.

        Parameters
        ----------
        path : path-like
        field : Field
            It gets the vocabulary of the training texts, unless it has one.
        col : str
            Column of the texts.
        train_df, val_df, test_df : DataFrame
            A missing text counts as an empty one.
        bs, bptt, backwards, n_workers
            As for `from_text_files`.

        Returns
        -------
        LanguageModelData

        Raises
        ------
        DataError
            If the column is missing or holds something other than texts, or there is too little text.
        """
        frames = (("train_df", train_df), ("val_df", val_df), ("test_df", test_df))
        sources = [None if df is None else texts_of(_column(df, col, what), what) for what, df in frames]
        return cls._from_sources(path, field, sources, bs, bptt, "utf-8", backwards, n_workers)

    @classmethod
    def _from_sources(
        cls,
        path: PathLike,
        field: Field,
        sources: Sequence[Sequence[Path] | Sequence[str] | None],
        bs: int,
        bptt: int,
        encoding: str,
        backwards: bool,
        n_workers: int | None,
    ) -> LanguageModelData:
        folder = Path(path) / "tmp" / "text"
        streams = [
            None if source is None else build_corpus(field, source, folder, encoding=encoding, n_workers=n_workers).ids
            for source in sources
        ]
        trn, val, test = streams
        if trn is None:
            raise DataError("there are no training texts.")
        return cls(path, field, trn, val, test, bs, bptt, backwards=backwards)

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

    def get_model(
        self,
        opt_fn: Callable[..., Optimizer] | None,
        em_sz: int,
        nh: int,
        nl: int,
        dropouti: float = 0.05,
        dropout: float = 0.05,
        wdrop: float = 0.1,
        dropoute: float = 0.02,
        dropouth: float = 0.05,
        tie_weights: bool = True,
        *,
        arch: str = "lstm",
        crit: Loss | None = None,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        compile: bool | str = False,
    ) -> LanguageLearner:
        """Make a language model and its learner.

        Parameters
        ----------
        opt_fn : callable or None
            `partial(optim.Adam, betas=(0.7, 0.99))`; `None` for learnkit's own.
        em_sz, nh, nl : int
            Width of the embedding and of the hidden layers, number of layers.
        dropouti, dropout, wdrop, dropoute, dropouth : float
            Dropout of input, output, recurrent weights, whole words, between layers. More of all against overfitting.
        tie_weights : bool, default True
            Let the decoder use the embedding's table.
        arch : {"lstm", "gru", "transformer"}
            The encoder: `AWDLSTM` or `TransformerEncoder`.
        crit, metrics, callbacks, device, precision, accumulate, compile
            As for `Learner`.

        Returns
        -------
        LanguageLearner
        """
        from learnkit.text.learner import LanguageLearner

        encoder = EncoderSettings(arch, em_sz, nh, nl, dropouti, dropout, wdrop, dropoute, dropouth)
        return LanguageLearner(
            self,
            LanguageModel(encoder.build(self.nt), self.nt, tie_weights),
            opt_fn,
            crit,
            metrics,
            callbacks,
            settings={"encoder": encoder.to_dict(), "tie_weights": tie_weights},
            device=device,
            precision=precision,
            accumulate=accumulate,
            compile=compile,
        )


class TextData(DataBunch):
    """Texts with labels; make one with `from_dataframes`, `from_folders` or `from_splits`.

    Parameters
    ----------
    path : path-like
        Where `models/` and `tmp/` are kept.
    field : Field
        With its vocabulary; that of the language model whose encoder will be used.
    trn, val, test : TextLoader, optional
    target : Target
    bs : int, default 64
        Batch size.
    backwards : bool, default False
        Read each text from its end.
    max_len : int, optional
        Keep only so many tokens of each text, those at its end.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, TextData
    >>> frame = pd.DataFrame({"text": ["good", "not bad", "bad", "no good"], "label": ["pos", "pos", "neg", "neg"]})
    >>> data = TextData.from_dataframes(".", Field(tokenize=str.split), "text", "label", frame, frame, bs=2)
    >>> data.classes, data.val_y.tolist()
    (['neg', 'pos'], [1, 1, 0, 0])
    """

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
    def trn_ds(self) -> list[TextItem]:
        """The training texts."""
        return self._items("trn_dl")

    @property
    def val_ds(self) -> list[TextItem]:
        """The validation texts."""
        return self._items("val_dl")

    @property
    def test_ds(self) -> list[TextItem]:
        """The test texts."""
        return self._items("test_dl")

    def _items(self, name: str) -> list[TextItem]:
        dl = getattr(self, name)
        if not isinstance(dl, TextLoader):
            raise DataError(f"this data bunch has no `{name}` of texts.")
        texts = [dl.corpus[int(row)] for row in dl.rows]
        return [TextItem(TokenList(ids, self.field.vocab), ids) for ids in texts]

    @classmethod
    def from_dataframes(
        cls,
        path: PathLike,
        field: Field,
        col: str,
        label: str | Sequence[str],
        train_df: pd.DataFrame,
        val_df: pd.DataFrame | None = None,
        test_df: pd.DataFrame | None = None,
        bs: int = 64,
        *,
        continuous: bool = False,
        cat_separator: str | None = None,
        backwards: bool = False,
        max_len: int | None = None,
        n_workers: int | None = None,
    ) -> TextData:
        """Read a column of texts and a column of labels.

        Parameters
        ----------
        path : path-like
        field : Field
            It gets the vocabulary of the training texts, unless it has one. Give it the language model's.
        col : str
            Column of the texts.
        label : str or sequence of str
            Column of the labels; several columns of numbers with `continuous`.
        train_df, val_df, test_df : DataFrame
            A missing text counts as an empty one. The test frame needs no labels.
        bs : int, default 64
        continuous : bool, default False
            The labels are numbers to predict.
        cat_separator : str, optional
            A text may have several labels, written with this between them.
        backwards : bool, default False
            Read each text from its end, for the encoder of a language model that was trained so.
        max_len : int, optional
            Keep only so many tokens of each text, those at its end.
        n_workers : int, optional
            Processes to tokenize in.

        Returns
        -------
        TextData

        Raises
        ------
        DataError
            If a column is missing, a text is no text, a label is missing or (in validation) unknown.
        """
        if not isinstance(label, str) and len(label) > 1 and not continuous:
            raise ValueError(
                f"{len(label)} columns of labels are numbers to predict: pass continuous=True. Several names in one column "
                "are told apart by `cat_separator`."
            )
        frames = (("train_df", train_df), ("val_df", val_df), ("test_df", test_df))
        texts = [None if df is None else texts_of(_column(df, col, what), what) for what, df in frames]
        labels = [None if df is None else _labels(df, label, what, cat_separator) for what, df in frames[:2]]
        return cls._from_sources(
            path, field, texts, labels, bs, _kind(continuous, cat_separator), "utf-8", backwards, max_len, n_workers
        )

    @classmethod
    def from_folders(
        cls,
        path: PathLike,
        field: Field,
        bs: int = 64,
        trn_name: str = "train",
        val_name: str | None = "valid",
        test_name: str | None = None,
        *,
        encoding: str = "utf-8",
        backwards: bool = False,
        max_len: int | None = None,
        n_workers: int | None = None,
    ) -> TextData:
        """Read a folder per label: `path/train/pos/1.txt`.

        Parameters
        ----------
        path : path-like
        field : Field
        bs : int, default 64
        trn_name, val_name, test_name : str
            Folders below `path`. The test folder holds its files without folders of labels.
        encoding : str, default "utf-8"
        backwards, max_len, n_workers
            As for `from_dataframes`.

        Returns
        -------
        TextData

        Raises
        ------
        DataError
            If a folder is missing or empty; what is there instead is named.
        """
        files: list[list[Path] | None] = []
        labels: list[list[str] | None] = []
        for name in (trn_name, val_name):
            if name is None:
                files.append(None)
                labels.append(None)
                continue
            found = [
                (file, kind)
                for kind in subfolders(Path(path) / name)
                for file in text_files(path, Path(name) / kind, name)
            ]
            if not found:
                raise DataError(f"{Path(path) / name} holds no folders of texts, one for each label.")
            files.append([file for file, _ in found])
            labels.append([kind for _, kind in found])
        files.append(None if test_name is None else text_files(path, test_name, "test_name"))
        return cls._from_sources(path, field, files, labels, bs, Category, encoding, backwards, max_len, n_workers)

    @classmethod
    def from_splits(
        cls,
        path: PathLike,
        splits: Sequence[tuple[Sequence[str], Sequence[Any]] | None],
        bs: int = 64,
        *,
        field: Field | None = None,
        backwards: bool = False,
        max_len: int | None = None,
        n_workers: int | None = None,
    ) -> TextData:
        """Take texts and labels as they are.

        Parameters
        ----------
        path : path-like
        splits : sequence of (texts, labels)
            Training, validation and, if there is one, test; of the last the labels may be `None`.
        bs : int, default 64
        field : Field, optional
            A new one by default.
        backwards, max_len, n_workers
            As for `from_dataframes`.

        Returns
        -------
        TextData

        Raises
        ------
        DataError
            If texts and labels differ in number, or a label of the validation set is unknown.
        """
        parts = [*splits, None, None][:3]
        texts = [None if part is None else texts_of(part[0], f"split {i}") for i, part in enumerate(parts)]
        labels = [None if part is None else part[1] for part in parts[:2]]
        return cls._from_sources(
            path, field or Field(), texts, labels, bs, Category, "utf-8", backwards, max_len, n_workers
        )

    @classmethod
    def _from_sources(
        cls,
        path: PathLike,
        field: Field,
        sources: Sequence[Sequence[Path] | Sequence[str] | None],
        labels: Sequence[Any],
        bs: int,
        kind: Any,
        encoding: str,
        backwards: bool,
        max_len: int | None,
        n_workers: int | None,
    ) -> TextData:
        if sources[0] is None or labels[0] is None:
            raise DataError("there are no training texts.")
        target: Target = (
            Real(np.shape(labels[0])[1] if np.ndim(labels[0]) > 1 else 1)
            if kind is Real
            else kind.from_labels(labels[0])
        )
        loaders: list[TextLoader | None] = []
        for i, source in enumerate(sources):
            if source is None:
                loaders.append(None)
                continue
            corpus = build_corpus(field, source, Path(path) / "tmp" / "text", encoding=encoding, n_workers=n_workers)
            y = target.encode(labels[i]) if i < 2 else np.zeros(len(corpus), dtype=np.int64)
            loaders.append(TextLoader(corpus, y, None, bs, shuffle=i == 0, backwards=backwards, max_len=max_len))
        trn, val, test = loaders
        return cls(path, field, trn, val, test, target, bs, backwards=backwards, max_len=max_len)

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
        if isinstance(texts, str):
            raise TypeError('expected a list of texts, got one text; write ["..."].')
        field = self.field
        numbers = [field.vocab.numbers(field.tokens(line_ends(text))) for text in texts_of(texts, "texts")]
        if not numbers:
            raise DataError("there are no texts.")
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in numbers])])
        corpus = Corpus(np.concatenate(numbers), offsets, field.vocab)
        no_labels = np.zeros(len(numbers), dtype=np.int64)
        return TextLoader(corpus, no_labels, None, bs or self.bs, backwards=self.backwards, max_len=self.max_len)

    def get_model(
        self,
        opt_fn: Callable[..., Optimizer] | None,
        max_sl: int,
        bptt: int,
        emb_sz: int,
        n_hid: int,
        n_layers: int,
        dropout: float = 0.4,
        dropouti: float = 0.4,
        wdrop: float = 0.2,
        dropoute: float = 0.05,
        dropouth: float = 0.2,
        *,
        arch: str = "lstm",
        head_sz: int = 50,
        crit: Loss | None = None,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        compile: bool | str = False,
    ) -> TextLearner:
        """Make a classifier (or regressor) of texts and its learner.

        Parameters
        ----------
        opt_fn : callable or None
            `None` for learnkit's own.
        max_sl : int
            Tokens at the end of a text that are learnt from.
        bptt : int
            Tokens in a window.
        emb_sz, n_hid, n_layers : int
            As the language model's, to load its encoder.
        dropout : float
            Of the head's input.
        dropouti, wdrop, dropoute, dropouth : float
            Of the encoder, as for `LanguageModelData.get_model`.
        arch : {"lstm", "gru"}
            A transformer's context cannot be told from padding, so it is for language models only.
        head_sz : int, default 50
            Width of the head's hidden layer.
        crit, metrics, callbacks, device, precision, accumulate, compile
            As for `Learner`.

        Returns
        -------
        TextLearner
        """
        from learnkit.text.learner import TextLearner

        check_choice("arch", arch, ("lstm", "gru"))
        encoder = EncoderSettings(arch, emb_sz, n_hid, n_layers, dropouti, 0.0, wdrop, dropoute, dropouth)
        rest: dict[str, Any] = {"c": self.c, "max_sl": max_sl, "bptt": bptt, "head_sz": head_sz, "ps": (dropout, 0.1)}
        return TextLearner(
            self,
            TextClassifier(encoder.build(self.nt), **rest),
            opt_fn,
            crit,
            metrics,
            callbacks,
            settings={"encoder": encoder.to_dict(), **rest},
            device=device,
            precision=precision,
            accumulate=accumulate,
            compile=compile,
        )


def _column(df: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    if name not in df.columns:
        raise DataError(f"{what} has no column {name!r}; it has: {', '.join(map(str, df.columns[:12]))}.")
    return df[name]


def _labels(df: pd.DataFrame, label: str | Sequence[str], what: str, separator: str | None) -> Any:
    names = [label] if isinstance(label, str) else list(label)
    columns = [_column(df, name, what) for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.isna().any():
            raise DataError(f"{what}: the label {name!r} is missing in row {int(np.flatnonzero(column.isna())[0])}.")
    if len(columns) > 1:
        return np.stack([column.to_numpy(dtype=np.float32) for column in columns], axis=1)
    if separator is not None:
        return [str(value).split(separator) if str(value) else [] for value in columns[0]]
    return columns[0].tolist()


def _kind(continuous: bool, separator: str | None) -> type[Target]:
    if continuous and separator is not None:
        raise ValueError("`continuous` labels are numbers; `cat_separator` is for names. Pass one of them.")
    return Real if continuous else MultiCategory if separator is not None else Category
