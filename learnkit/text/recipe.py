"""A learner of text as data: its field with the vocabulary, and the settings of its model, described and made again."""

from __future__ import annotations

from typing import Any

from torch import nn

from learnkit.text.bunch import StreamBunch, TextBunch
from learnkit.text.classifier import TextClassifier
from learnkit.text.encoders import EncoderSettings
from learnkit.text.language_model import LanguageModel

__all__ = ["data_to_recipe", "make_model"]


def data_to_recipe(data: StreamBunch | TextBunch) -> dict[str, Any]:
    """Describe the field, and how its texts are read."""
    saved = {"field": data.field.to_dict(), "bs": data.bs, "backwards": data.backwards}
    if isinstance(data, StreamBunch):
        return {"kind": "stream", **saved, "bptt": data.bptt}
    return {"kind": "texts", **saved, "max_len": data.max_len}


def make_model(recipe: dict[str, Any]) -> nn.Module | None:
    """Make the model, untrained; `None` for one of the user's own."""
    saved = recipe["model"]
    if saved is None:
        return None
    n_tokens = len(recipe["data"]["field"]["itos"])
    encoder = EncoderSettings.from_dict(saved["encoder"]).build(n_tokens)
    rest = {name: value for name, value in saved.items() if name != "encoder"}
    if recipe["data"]["kind"] == "stream":
        return LanguageModel(encoder, n_tokens, **rest)
    return TextClassifier(encoder, **rest)
