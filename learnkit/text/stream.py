"""Data bunch of a stream of text, whose next token is to be learnt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive
from learnkit.core.old_names import old_arguments
from learnkit.data.files import PathLike
from learnkit.text.bunch import StreamBunch
from learnkit.text.corpus import build_corpus, text_files
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.learner import LanguageLearner
from learnkit.text.spec import LanguageModelSpec
from learnkit.text.texts import column_of, texts_of, warn_of_unknown
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LanguageModelData"]


class LanguageModelData(StreamBunch):
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
        """Read text files; for the other options see `LanguageModelData`.

        They are tokenized once; the numbers are kept under `path/tmp`.

        Parameters
        ----------
        field : Field
            It gets the vocabulary of the training texts, unless it has one.
        train, validation, test : path-like or sequence of path-like
            Below `path`: a file, a folder that is searched with its subfolders, or several.
        min_freq : int, optional
            Instead of the field's. A field that has its vocabulary keeps it, and a warning says so.
        encoding : str, default "utf-8"
            Of the files.
        n_workers : int, optional
            Processes to tokenize in; all cores for much text by default.

        Raises
        ------
        DataError
            If there is no file, a file is in another encoding, or there is too little text.
        """
        if min_freq is not None:
            check_positive("min_freq", min_freq, integer=True)
            if field.has_vocab:
                warnings.warn(
                    f"min_freq={min_freq} changes nothing: this field has its vocabulary of {len(field.vocab):,} tokens "
                    "already. Start a new Field for another one.",
                    stacklevel=2,
                )
            else:
                field.min_freq = int(min_freq)
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
        """Read a column of texts; for the other options see `from_text_files` and `LanguageModelData`.

        Parameters
        ----------
        col : str
            Column of the texts.
        train_df, val_df, test_df : DataFrame
            A missing text counts as an empty one.

        Raises
        ------
        DataError
            If the column is missing or holds something other than texts, or there is too little text.
        """
        frames = (("train_df", train_df), ("val_df", val_df), ("test_df", test_df))
        sources = [None if df is None else texts_of(column_of(df, col, what), what) for what, df in frames]
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
        streams: list[NDArray[Any] | None] = []
        for source, what in zip(sources, ("train", "validation", "test"), strict=True):
            if source is None:
                streams.append(None)
                continue
            corpus = build_corpus(field, source, folder, encoding=encoding, n_workers=n_workers)
            warn_of_unknown(corpus, f"the {what} texts")
            streams.append(corpus.ids)
        trn, val, test = streams
        if trn is None:
            raise DataError("there are no training texts.")
        return cls(path, field, trn, val, test, bs, bptt, backwards=backwards)

    @old_arguments
    @with_options
    def get_model(
        self,
        opt_fn: OptFn | None,
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
        metrics: Sequence[MetricLike] | None = None,
        **options: Unpack[LearnerOptions],
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
        metrics, **options
            As for `Learner`.

        Returns
        -------
        LanguageLearner
        """
        encoder = EncoderSettings(arch, em_sz, nh, nl, dropouti, dropout, wdrop, dropoute, dropouth)
        return LanguageLearner(
            self,
            LanguageModelSpec(self.nt, encoder, tie_weights),
            opt_fn,
            metrics=metrics,
            **options,
        )
