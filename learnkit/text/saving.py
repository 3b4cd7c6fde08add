"""What an exported learner of text is made of: its field with the vocabulary, and the settings of its model, as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from learnkit.core.errors import DataError
from learnkit.data.targets import Target
from learnkit.text.classifier import TextClassifier
from learnkit.text.data import TextData
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.language_model import LanguageModel
from learnkit.text.stream import LanguageModelData

if TYPE_CHECKING:
    from learnkit.text.learner import EncoderLearner

__all__ = ["data_to_recipe", "make_learner", "make_model"]


def data_to_recipe(data: LanguageModelData | TextData) -> dict[str, Any]:
    """Describe the field, and how its texts are read."""
    saved = {"field": data.field.to_dict(), "bs": data.bs, "backwards": data.backwards}
    if isinstance(data, LanguageModelData):
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


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> EncoderLearner:
    """Make a learner without texts: to predict or go on from raw ones, and to train on with `set_data`."""
    from learnkit.text.learner import LanguageLearner, TextLearner  # it needs this file to describe itself

    saved = recipe["data"]
    own = saved["field"]["own"]
    field = Field.from_dict(saved["field"], _Forgotten(str(saved["field"]["tokenize"])) if own else None)
    bs, backwards = int(saved["bs"]), bool(saved["backwards"])
    if saved["kind"] == "stream":
        stream = LanguageModelData(folder, field, None, bs=bs, bptt=int(saved["bptt"]), backwards=backwards)
        return LanguageLearner(stream, model, settings=recipe["model"], **options)
    if target is None:
        raise DataError("it is not known what is predicted; pass `target=`.")
    texts = TextData(folder, field, None, None, None, target, bs, backwards=backwards, max_len=saved["max_len"])
    return TextLearner(texts, model, settings=recipe["model"], **options)


class _Forgotten:
    """Stands for a tokenizer that was a function of the user's."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name

    def __call__(self, line: str) -> list[str]:
        raise DataError(
            f"texts were split by {self.__qualname__}, code of your own that is not in the file. Give it back: "
            f"learn.data.field = Field.from_dict(learn.field.to_dict(), {self.__qualname__})."
        )
