"""Learners of text: `LanguageLearner` for a stream, `TextLearner` for whole texts.

Both have an encoder, which the first learns and the second borrows: `save_encoder`, `load_encoder`. Two vocabularies
are matched word by word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import CheckpointError, DataError, say
from learnkit.core.listing import one_or_list
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.joining import take
from learnkit.runtime.tokens import SPECIAL
from learnkit.store.weights import check_same_layers, found_weights, read_meta, read_weights, save_model
from learnkit.text.awd_lstm import Encoder
from learnkit.text.bunch import StreamBunch, TextBunch
from learnkit.text.callbacks import ScaleRateByLength, SkipScores
from learnkit.text.field import Field
from learnkit.text.prep import StreamPrep, TextPrep
from learnkit.text.spec import ClassifierSpec, LanguageModelSpec
from learnkit.text.vocab import Vocab
from learnkit.train.events import Callback
from learnkit.train.learner import Learner
from learnkit.train.optim import OptFn, adamw
from learnkit.train.predictions import Predictions

__all__ = ["EncoderLearner", "LanguageLearner", "TextEnsemble", "TextLearner"]

TABLE = "embedding.weight"


class EncoderLearner(Learner):
    """What both learners of text share: a field, an encoder to hand on, weights of a vocabulary; see `Learner`."""

    data: Any

    @classmethod
    def usual_opt(cls, model: nn.Module) -> OptFn:
        """AdamW with betas (0.8, 0.99)."""
        return text_opt

    @property
    def field(self) -> Field:
        """How texts become numbers."""
        field: Field = self.data.field
        return field

    @property
    def encoder(self) -> Encoder:
        """The part of the model that reads.

        Raises
        ------
        DataError
            If a model of the user's own has no such `encoder`.
        """
        encoder = getattr(self.model, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise DataError(
                f"{type(self.model).__name__} has no `encoder` that is an Encoder; models of `get_model` have."
            )
        return encoder

    def save_encoder(self, name: PathLike) -> Path:
        """Save the part that reads, with its vocabulary, as `path/models/{name}.safetensors`, and return the file."""
        meta = {"itos": self.field.vocab.itos, "backwards": self.data.backwards}
        return save_model(self.encoder, self._weights_file(name), meta=meta)

    def load_encoder(self, name: PathLike) -> None:
        """Load what `save_encoder` wrote, of this or another learner of text.

        If it speaks another vocabulary, its embeddings are matched by word; words it does not know get the mean of all
        its embeddings. How many matched is said.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, no encoder's, of other sizes or the other direction, or not one word matches.
        """
        file = found_weights(self.models_path / Path(name))
        try:
            meta = read_meta(file)
            saved, backwards = Vocab(meta["itos"]), bool(meta["backwards"])
        except (KeyError, TypeError, DataError) as exc:
            raise CheckpointError(f"{file} is no encoder with its vocabulary; write one with `save_encoder`.") from exc
        if backwards != self.data.backwards:
            read = "backwards" if backwards else "forwards"
            raise CheckpointError(f"{file} reads {read}: make the data bunch with backwards={backwards}.")
        state = read_weights(file)
        vocab = self.field.vocab
        if saved != vocab and TABLE in state:
            state[TABLE] = _matched(state[TABLE], saved, vocab, file)
        own = self.encoder.state_dict()
        check_same_layers(own, state, str(file))
        self.encoder.load_state_dict(state)

    def set_data(self, data: DataBunch) -> None:
        """Go on with other texts that were made with the same field.

        Raises
        ------
        DataError
            If the vocabulary is another one, or the labels differ.
        """
        if not isinstance(data, type(self.data)) or data.field.vocab != self.field.vocab:
            raise DataError(
                "the new data has another vocabulary than the model; make it with the same field, or start another model "
                "and hand on the encoder with save_encoder and load_encoder."
            )
        super().set_data(data)


class LanguageLearner(EncoderLearner):
    """A learner of the next token; make one with `LanguageModelData.get_model`.

    While training the model's state is carried from batch to batch and forgotten at the start of each pass, and the
    rate of a step is scaled with the length of its window. The loss is computed without the table of scores (tokens x
    words) where PyTorch knows how, so `run.pred` is `Undecoded` then. The recipe of the course::

        learn.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
        learn.clip = 0.3
        learn.fit(3e-3, 4, wds=1e-6, cycle_len=1, cycle_mult=2)

    Parameters
    ----------
    data : LanguageModelData
    model : nn.Module
        `model(x)` -> scores `(T * B, nt)`, alone or with `(raw, dropped)` outputs.
    opt_fn, crit, metrics, callbacks, splitter, **options
        As for `Learner`.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, LanguageModelData
    >>> frame = pd.DataFrame({"text": ["to be or not to be"] * 100})
    >>> md = LanguageModelData.from_dataframes(".", Field(tokenize=str.split), "text", frame, frame[:20], bs=4, bptt=10)
    >>> learn = md.get_model(None, em_sz=32, nh=64, nl=2, tie_weights=False)
    >>> with learn.no_progress():
    ...     results = learn.fit_one_cycle(5, 0.02)
    >>> results["perplexity"] < 4
    True
    """

    application = "language model"
    bunch_type, prep_type, spec_type = StreamBunch, StreamPrep, LanguageModelSpec
    data: StreamBunch

    def usual_callbacks(self) -> list[Callback]:
        """Return what scales the rate with a window's length, and spares the table of scores (not under `compile`)."""
        return [ScaleRateByLength(self.data.bptt), *([] if self.compile else [SkipScores()])]

    def set_data(self, data: DataBunch) -> None:
        """Go on with another text of the same vocabulary.

        Raises
        ------
        DataError
            If the vocabulary is another one.
        """
        super().set_data(data)
        for callback in self.callbacks:
            if isinstance(callback, ScaleRateByLength):
                callback.bptt = self.data.bptt

    def predict_raw(self, items: Any, decode: bool = False, *, bs: int | None = None) -> Any:
        """Predict the token after each text; each is read by itself, whatever `bs`. See `Learner.predict_raw`.

        Returns
        -------
        array of shape (n, nt), or list of str with `decode`
        """
        preds = np.stack([self._predict([batch]).preds[-1] for batch in self.data.prep.loader(items)])
        return self._decode(preds) if decode else preds


class TextLearner(EncoderLearner):
    """A learner of labels of texts; make one with `TextData.get_model`.

    Parameters
    ----------
    data : TextData
    model : nn.Module
        `model(x)` -> scores `(B, c)`, alone or with `(raw, dropped)` outputs.
    opt_fn, crit, metrics, callbacks, splitter, **options
        As for `Learner`.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.text import Field, TextData
    >>> frame = pd.DataFrame({"text": ["good", "bad"] * 40, "label": ["pos", "neg"] * 40})
    >>> data = TextData.from_dataframes(".", Field(tokenize=str.split), "text", "label", frame, frame[:8], bs=16)
    >>> learn = data.get_model(None, 70, 70, emb_sz=32, n_hid=16, n_layers=1)
    >>> with learn.no_progress():
    ...     results = learn.fit_one_cycle(6, 0.05)
    >>> [data.classes[i] for i in learn.predict_texts(["good", "bad"]).argmax(1)]
    ['pos', 'neg']
    """

    application = "text"
    bunch_type, prep_type, spec_type = TextBunch, TextPrep, ClassifierSpec
    data: TextBunch

    def predict_texts(self, texts: Sequence[str], bs: int | None = None) -> NDArray[Any]:
        """Predict raw texts; see `predict_raw`."""
        return self.predict_raw(texts, bs=bs)

    def _predict(self, dl: Iterable[Any], model: nn.Module | None = None) -> Predictions:
        result = super()._predict(dl, model)
        order = getattr(dl, "order", None)
        if order is None:
            return result
        back = np.argsort(order)
        return Predictions(take(result.preds, back, len(back)), take(result.targs, back, len(back)))


class TextEnsemble:
    """Several learners of the same labels, one forwards and one backwards, say, that predict together.

    Parameters
    ----------
    learners : sequence of TextLearner
        With the same classes.

    Raises
    ------
    DataError
        If they differ in their classes, or there is none.
    """

    def __init__(self, learners: Sequence[TextLearner]) -> None:
        self.learners = one_or_list("learners", learners, "learners", lambda value: isinstance(value, TextLearner))
        if not self.learners:
            raise DataError("an ensemble needs at least one learner.")
        first = self.learners[0].data
        for learner in self.learners[1:]:
            if learner.data.classes != first.classes or type(learner.data.target) is not type(first.target):
                raise DataError(f"the learners predict different things: {first.classes} and {learner.data.classes}.")

    def predict(self, is_test: bool = False) -> NDArray[Any]:
        """Predict the validation (or test) set: the mean of the probabilities, as `TextLearner.predict` returns them."""
        return self._mean([learner.predict(is_test) for learner in self.learners])

    def predict_texts(self, texts: Sequence[str], bs: int | None = None) -> NDArray[Any]:
        """Predict raw texts together; see `TextLearner.predict_texts`."""
        return self._mean([learner.predict_texts(texts, bs) for learner in self.learners])

    def _mean(self, preds: Sequence[NDArray[Any]]) -> NDArray[Any]:
        target = self.learners[0].data.target
        if target is None:
            raise DataError("it is not known what is predicted.")
        proba = np.mean([target.to_proba(p) for p in preds], axis=0)
        logs = target.to_proba(preds[0]) is not preds[0]  # log-probabilities go back to logarithms
        return np.log(np.maximum(proba, np.finfo(np.float32).tiny)) if logs else proba


text_opt = partial(adamw, betas=(0.8, 0.99))
"""Recurrent gradients want less momentum (Howard 2018)."""


def _matched(table: Tensor, saved: Vocab, vocab: Vocab, file: Path) -> Tensor:
    """Return the rows of an embedding in the order of another vocabulary; unknown words get the mean row."""
    if len(table) != len(saved):
        raise CheckpointError(f"{file} is damaged: {len(table)} embeddings for {len(saved)} tokens.")
    rows = torch.from_numpy(vocab.matches(saved))
    known = rows >= 0
    words = {token: bool(found) for token, found in zip(vocab.itos, known, strict=True) if token not in SPECIAL}
    if not any(words.values()):
        raise CheckpointError(f"not one word of {file} is in the vocabulary of this data; was it another language?")
    say(
        f"vocabularies differ: {sum(words.values()):,} of {len(words):,} words matched, the others start from the mean "
        "embedding."
    )
    matched = table.mean(0, keepdim=True).repeat(len(vocab), 1)
    matched[known] = table[rows[known]]
    return matched
