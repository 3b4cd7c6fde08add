"""An exported learner of text, opened; see `learnkit.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from learnkit.core.errors import DataError
from learnkit.data.targets import Target
from learnkit.text.data import TextData
from learnkit.text.field import Field
from learnkit.text.learner import EncoderLearner, LanguageLearner, TextLearner
from learnkit.text.recipe import make_model
from learnkit.text.stream import LanguageModelData

__all__ = ["make_learner", "make_model"]


def make_learner(
    recipe: dict[str, Any], model: nn.Module, target: Target | None, folder: Path, options: dict[str, Any]
) -> EncoderLearner:
    """Make a learner without texts: to predict or go on from raw ones, and to train on with `set_data`."""
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
