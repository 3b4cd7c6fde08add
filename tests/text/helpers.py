"""Small real texts, and small models on them, that the tests of text share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from learnkit.datasets import movie_sentences, shakespeare_files
from learnkit.text import AWDLSTM, Field, LanguageLearner, LanguageModelData, TextData, TextLearner

NO_DROPOUT: dict[str, Any] = dict.fromkeys(("dropouti", "dropout", "wdrop", "dropoute", "dropouth"), 0.0)


@cache
def hamlet() -> str:
    file = next(file for file in shakespeare_files() if file.name.startswith("hamlet"))
    return file.read_text("latin-1")


def scenes(n: int = 40, length: int = 800) -> pd.DataFrame:
    """The beginning of Hamlet in pieces."""
    return pd.DataFrame({"text": [hamlet()[i * length : (i + 1) * length] for i in range(n)]})


@cache
def _sentences() -> pd.DataFrame:
    frame = movie_sentences().sample(frac=1, random_state=0).reset_index(drop=True)
    return frame.assign(label=np.where(frame["valence"] > 0, "positive", "negative"))


def sentences(n: int = 300, start: int = 0) -> pd.DataFrame:
    """Sentences of film reviews: `text`, `valence` and `label`."""
    return _sentences()[start : start + n].reset_index(drop=True)


def words(**kwargs: Any) -> Field:
    """A field that splits at spaces."""
    return Field(tokenize=str.split, **kwargs)


def language_data(path: Path, field: Field | None = None, **kwargs: Any) -> LanguageModelData:
    frame = scenes()
    kwargs = {"bs": 8, "bptt": 20, **kwargs}
    return LanguageModelData.from_dataframes(path, field or words(min_freq=2), "text", frame[:32], frame[32:], **kwargs)


def language_learner(path: Path, data: LanguageModelData | None = None, **kwargs: Any) -> LanguageLearner:
    learn = (data or language_data(path)).get_model(None, 12, 24, 2, **kwargs)
    learn.no_progress()
    return learn


def review_data(path: Path, field: Field | None = None, n: int = 240, **kwargs: Any) -> TextData:
    trn, val = sentences(n), sentences(60, start=5000)
    kwargs = {"bs": 16, **kwargs}
    return TextData.from_dataframes(path, field or words(min_freq=2), "text", "label", trn, val, **kwargs)


def text_learner(path: Path, data: TextData | None = None, n_layers: int = 2, **kwargs: Any) -> TextLearner:
    learn = (data or review_data(path)).get_model(None, 70, 20, 12, 24, n_layers, **kwargs)
    learn.no_progress()
    return learn


def encoder(n_tokens: int = 50, n_layers: int = 2, **kwargs: Any) -> AWDLSTM:
    return AWDLSTM(n_tokens, 8, 16, n_layers, **kwargs)
