"""Data bunch of texts with labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from learnkit.core.errors import DataError, check_choice
from learnkit.core.listing import check_list
from learnkit.core.old_names import old_arguments
from learnkit.data.files import PathLike
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.text.bunch import TextBunch
from learnkit.text.corpus import build_corpus, text_files
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.folders import label_folders, warn_of_unlabelled
from learnkit.text.learner import TextLearner
from learnkit.text.loaders import TextLoader
from learnkit.text.spec import ClassifierSpec
from learnkit.text.texts import column_of, labels_of, texts_of, warn_of_unknown
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TextData"]


class TextData(TextBunch):
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
            A text may have several labels, written with this between them. Blanks around a label are no part of it, and
            an empty cell is a text without labels.
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
        kind = _kind(continuous, cat_separator)
        frames = (("train_df", train_df), ("val_df", val_df), ("test_df", test_df))
        texts = [None if df is None else texts_of(column_of(df, col, what), what) for what, df in frames]
        labels = [None if df is None else _labels(df, label, what, cat_separator) for what, df in frames[:2]]
        return cls._from_sources(path, field, texts, labels, bs, kind, "utf-8", backwards, max_len, n_workers)

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
        classes: Sequence[str] | None = None,
        encoding: str = "utf-8",
        backwards: bool = False,
        max_len: int | None = None,
        n_workers: int | None = None,
    ) -> TextData:
        """Read a folder per label: `path/train/pos/1.txt`. For the other options see `from_dataframes`.

        Parameters
        ----------
        trn_name, val_name, test_name : str
            Folders below `path`. The test folder holds its files without folders of labels.
        classes : sequence of str, optional
            Which folders are labels; all by default. A folder of texts without labels beside them (`unsup`) is so left
            out; without `classes` a warning names what looks like one.
        encoding : str, default "utf-8"

        Raises
        ------
        DataError
            If a folder is missing or empty; what is there instead is named.
        """
        files: list[list[Path] | None] = []
        labels: list[list[str] | None] = []
        kinds = [None if name is None else label_folders(Path(path) / name, classes) for name in (trn_name, val_name)]
        for name, folders in zip((trn_name, val_name), kinds, strict=True):
            if name is None or folders is None:
                files.append(None)
                labels.append(None)
                continue
            found = [(file, kind) for kind in folders for file in text_files(path, Path(name) / kind, name)]
            files.append([file for file, _ in found])
            labels.append([kind for _, kind in found])
        if classes is None:
            warn_of_unlabelled(Path(path) / trn_name, *kinds, stacklevel=2)
        files.append(None if test_name is None else text_files(path, test_name, "test_name"))
        return cls._from_sources(path, field, files, labels, bs, Category, encoding, backwards, max_len, n_workers)

    @classmethod
    def from_splits(
        cls,
        path: PathLike,
        splits: Sequence[tuple[Iterable[str], Any] | None],
        bs: int = 64,
        *,
        field: Field | None = None,
        backwards: bool = False,
        max_len: int | None = None,
        n_workers: int | None = None,
    ) -> TextData:
        """Take texts and labels as they are; for the other options see `from_dataframes`.

        Parameters
        ----------
        splits : sequence of (texts, labels)
            Training, validation and, if there is one, test; of the last the labels may be `None`.
        field : Field, optional
            Give the language model's, whose words its encoder knows. By default a new one, with a vocabulary of these
            texts; a warning says so.

        Raises
        ------
        DataError
            If texts and labels differ in number, a label is missing, or one of the validation set is unknown.
        """
        given = check_list("splits", splits, "pairs (texts, labels)", error=DataError)
        if len(given) > 3 or not all(
            part is None or (isinstance(part, tuple | list) and len(part) == 2) for part in given
        ):
            raise DataError(
                "`splits` must be two or three pairs (texts, labels), or None for one that is not there: training, "
                "validation, test."
            )
        parts = [*given, None, None, None][:3]
        texts = [None if part is None else texts_of(part[0], f"split {i}") for i, part in enumerate(parts)]
        labels = [
            None if part is None else labels_of(part[1], f"the label of split {i}") for i, part in enumerate(parts[:2])
        ]
        if parts[0] is None:
            raise DataError("there are no training texts.")
        if field is None:
            field = Field()
            warnings.warn(
                "`from_splits` makes a new vocabulary of these texts. For the encoder of a language model give its field, "
                "`field=TEXT`; if a new one is meant, `field=Field()`.",
                stacklevel=2,
            )
        return cls._from_sources(path, field, texts, labels, bs, Category, "utf-8", backwards, max_len, n_workers)

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
            warn_of_unknown(corpus, ("the training texts", "the validation texts", "the test texts")[i])
            y = target.encode(labels[i]) if i < 2 else np.zeros(len(corpus), dtype=np.int64)
            loaders.append(TextLoader(corpus, y, None, bs, shuffle=i == 0, backwards=backwards, max_len=max_len))
        trn, val, test = loaders
        return cls(path, field, trn, val, test, target, bs, backwards=backwards, max_len=max_len)

    @old_arguments
    @with_options
    def get_model(
        self,
        opt_fn: OptFn | None,
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
        metrics: Sequence[MetricLike] | None = None,
        **options: Unpack[LearnerOptions],
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
        metrics, **options
            As for `Learner`.

        Returns
        -------
        TextLearner
        """
        check_choice("arch", arch, ("lstm", "gru"))
        encoder = EncoderSettings(arch, emb_sz, n_hid, n_layers, dropouti, 0.0, wdrop, dropoute, dropouth)
        return TextLearner(
            self,
            ClassifierSpec(self.nt, encoder, self.c, max_sl, bptt, head_sz, (dropout, 0.1)),
            opt_fn,
            metrics=metrics,
            **options,
        )


def _labels(df: pd.DataFrame, label: str | Sequence[str], what: str, separator: str | None) -> Any:
    names = [label] if isinstance(label, str) else list(label)
    columns = [column_of(df, name, what) for name in names]
    if separator is not None:
        return [_several(value, separator) for value in columns[0]]
    labels = [labels_of(column, f"{what}: the label {name!r}") for name, column in zip(names, columns, strict=True)]
    if len(labels) == 1:
        return labels[0]
    try:
        return np.stack([np.asarray(values, dtype=np.float32) for values in labels], axis=1)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{what}: the columns {', '.join(map(repr, names))} must hold numbers: {exc}.") from exc


def _several(cell: Any, separator: str) -> list[str]:
    """Return the labels in a cell; none where it is empty."""
    import pandas as pd

    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return []
    return [name.strip() for name in str(cell).split(separator) if name.strip()]


def _kind(continuous: bool, separator: str | None) -> type[Target]:
    if separator == "":
        raise ValueError("`cat_separator` must be what stands between labels; got an empty text.")
    if continuous and separator is not None:
        raise ValueError("`continuous` labels are numbers; `cat_separator` is for names. Pass one of them.")
    return Real if continuous else MultiCategory if separator is not None else Category
