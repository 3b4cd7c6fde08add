"""Models of text as data: what an encoder is made of, and what stands on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from learnkit.store.spec import ModelSpec
from learnkit.text.classifier import TextClassifier
from learnkit.text.encoders import EncoderSettings
from learnkit.text.language_model import LanguageModel

__all__ = ["ClassifierSpec", "LanguageModelSpec"]


@dataclass(frozen=True)
class LanguageModelSpec(ModelSpec):
    """A `LanguageModel`.

    Attributes
    ----------
    n_tokens : int
    encoder : EncoderSettings
    tie_weights : bool
    """

    n_tokens: int
    encoder: EncoderSettings
    tie_weights: bool = True

    def build(self) -> LanguageModel:
        """Make encoder and decoder, untrained."""
        return LanguageModel(self.encoder.build(self.n_tokens), self.n_tokens, self.tie_weights)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again of what `to_data` returned."""
        return super().from_data({**data, "encoder": EncoderSettings.from_dict(data["encoder"])})


@dataclass(frozen=True)
class ClassifierSpec(ModelSpec):
    """A `TextClassifier`.

    Attributes
    ----------
    n_tokens : int
    encoder : EncoderSettings
    c : int
        Number of scores.
    max_sl, bptt : int
        Tokens at the end of a text that are learnt from, tokens in a window.
    head_sz : int
        Width of the head's hidden layer.
    ps : pair of float
        Dropout of the head.
    """

    n_tokens: int
    encoder: EncoderSettings
    c: int
    max_sl: int
    bptt: int
    head_sz: int
    ps: tuple[float, float]

    def build(self) -> TextClassifier:
        """Make encoder and head, untrained."""
        encoder = self.encoder.build(self.n_tokens)
        return TextClassifier(encoder, self.c, self.max_sl, self.bptt, head_sz=self.head_sz, ps=self.ps)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make it again of what `to_data` returned."""
        return super().from_data({**data, "encoder": EncoderSettings.from_dict(data["encoder"])})
