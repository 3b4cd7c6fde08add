"""The options of learners: said once, shown in every signature, arriving from every factory."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import learnkit
import learnkit.collab
import learnkit.tabular
import learnkit.text
import learnkit.vision
from learnkit import (
    Callback,
    Category,
    CheckpointOptions,
    Cycles,
    DataBunch,
    FitOptions,
    Learner,
    LearnerOptions,
    RunOptions,
    load_learner,
)
from learnkit.collab import CollabFilterDataset, CollabLearner
from learnkit.tabular import ColumnarModelData, TabularLearner
from learnkit.text import Field, LanguageLearner, LanguageModelData, TextClassifierData, TextData, TextLearner
from learnkit.train.options import DEFAULTS
from learnkit.vision import ConvLearner, ImageClassifierData

PACKAGES = (learnkit, learnkit.vision, learnkit.tabular, learnkit.text, learnkit.collab)


def pictures(folder: Path) -> ImageClassifierData:
    x, y = np.random.default_rng(0).random((16, 8, 8, 3), dtype=np.float32), np.arange(16) % 2
    return ImageClassifierData.from_arrays(folder, (x, y), (x, y), bs=8)


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.Linear(4, 2))


def plain(folder: Path) -> DataBunch:
    batches = [(torch.zeros(4, 8), torch.zeros(4, dtype=torch.long))]
    return DataBunch(folder, batches, batches, target=Category(["a", "b"]))


def ratings(folder: Path) -> CollabFilterDataset:
    frame = pd.DataFrame({"user": list("aabbccdd"), "item": list("xyxyxzyz"), "rating": [5, 4, 5, 4, 5, 1, 4, 1]})
    return CollabFilterDataset.from_data_frame(folder, frame, "user", "item", "rating")


def table(folder: Path) -> ColumnarModelData:
    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    return ColumnarModelData.from_data_frame(folder, range(32, 40), df, df["Km"] * 3, ["Store"], bs=8)


def stream(folder: Path) -> LanguageModelData:
    frame = pd.DataFrame({"text": ["to be or not to be"] * 100})
    return LanguageModelData.from_dataframes(folder, Field(tokenize=str.split), "text", frame, frame[:20], bs=4, bptt=9)


def texts(folder: Path) -> TextData:
    frame = pd.DataFrame({"text": ["good film", "bad film"] * 20, "label": ["p", "n"] * 20})
    field = Field(tokenize=str.split)
    field.build_vocab(list(frame.text))
    return TextData.from_dataframes(folder, field, "text", "label", frame, frame[:8], bs=4)


def opened(folder: Path, **options: Any) -> Learner:
    learn = table(folder).get_learner()
    return load_learner(learn.export(folder / "table"), **options)


def bags(folder: Path) -> TextClassifierData:
    bow, labels = np.eye(8, dtype=np.int64)[np.arange(32) % 8], np.arange(32) % 2
    return TextClassifierData.from_bow(bow, labels, bow, labels, path=folder)


MAKERS: dict[str, Callable[..., Learner]] = {
    "Learner": lambda folder, **options: Learner(plain(folder), net(), **options),
    "ConvLearner": lambda folder, **options: ConvLearner(pictures(folder), net(), **options),
    "ConvLearner.pretrained": lambda folder, **options: ConvLearner.pretrained(
        "squeezenet1_1", pictures(folder), weights=False, **options
    ),
    "ConvLearner.from_model_data": lambda folder, **options: ConvLearner.from_model_data(
        net(), pictures(folder), **options
    ),
    "TabularLearner": lambda folder, **options: TabularLearner(
        table(folder), table(folder).get_learner().model, **options
    ),
    "ColumnarModelData.get_learner": lambda folder, **options: table(folder).get_learner(**options),
    "CollabLearner": lambda folder, **options: CollabLearner(
        (data := ratings(folder)).get_data([0], 4), data.get_learner(3, [0], 4).model, **options
    ),
    "CollabFilterDataset.get_learner": lambda folder, **options: ratings(folder).get_learner(3, [0], 4, **options),
    "LanguageLearner": lambda folder, **options: LanguageLearner(
        data := stream(folder), data.get_model(None, 4, 5, 1, tie_weights=False).model, **options
    ),
    "LanguageModelData.get_model": lambda folder, **options: stream(folder).get_model(
        options.pop("opt_fn", None), 4, 5, 1, tie_weights=False, **options
    ),
    "TextLearner": lambda folder, **options: TextLearner(
        data := texts(folder), data.get_model(None, 20, 10, 4, 5, 1).model, **options
    ),
    "TextData.get_model": lambda folder, **options: texts(folder).get_model(
        options.pop("opt_fn", None), 20, 10, 4, 5, 1, **options
    ),
    "TextClassifierData.dotprod_nb_learner": lambda folder, **options: bags(folder).dotprod_nb_learner(**options),
    "load_learner": opened,
}


def penalty(pred: Any, extra: Any, loss: Tensor) -> Tensor:
    """A penalty that adds nothing."""
    return loss


def one_group(model: nn.Module) -> list[list[nn.Module]]:
    """All layers as one group."""
    return [[model]]


def nothing(scores: Tensor) -> Tensor:
    """Scores as they are."""
    return scores


def crit(pred: Any, y: Tensor) -> Tensor:
    """A loss of one's own."""
    return pred.sum() * 0


class Silent(Callback):
    """Does nothing."""


SILENT = Silent()
VALUES: dict[str, Any] = {
    "device": "cpu",
    "precision": "bf16",
    "accumulate": 3,
    "channels_last": True,
    "compile": "eager",
    "activation": nothing,
    "clip": 0.25,
    "reg_fn": penalty,
    "crit": crit,
    "callbacks": [SILENT],
    "splitter": one_group,
    "opt_fn": torch.optim.SGD,
    "metrics": ["mae"],
}


def makers() -> dict[str, Any]:
    """Return every public call that makes a learner: by what it says it returns, or as a class."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        for name in package.__all__:
            obj = getattr(package, name)
            if inspect.isfunction(obj) and obj.__name__ == "load_learner":
                found[name] = obj
            if not inspect.isclass(obj) or not obj.__module__.startswith("learnkit"):
                continue
            if issubclass(obj, Learner) and name != "EncoderLearner":  # the parent of two
                found[name] = obj
            for method, own in vars(obj).items():
                fn = getattr(own, "__func__", own)
                makes = inspect.isfunction(fn) and str(inspect.signature(fn).return_annotation).endswith("Learner")
                if makes and not method.startswith("_"):
                    found[f"{name}.{method}"] = fn
    return found


def test_every_call_that_makes_a_learner_is_known_here() -> None:
    assert set(makers()) == set(MAKERS)
    assert set(VALUES) == {*LearnerOptions.__annotations__, "opt_fn", "metrics"}


@pytest.mark.parametrize("name", makers())
def test_signature_and_help_list_every_option(name: str) -> None:
    fn = makers()[name]
    parameters = inspect.signature(fn).parameters
    for option in VALUES:
        default = parameters[option].default
        assert default in (None, inspect.Parameter.empty) if option not in DEFAULTS else default == DEFAULTS[option]
        assert parameters[option].annotation not in (None, inspect.Parameter.empty)
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    shown = pydoc.plain(pydoc.render_doc(fn))
    assert "precision: " in shown
    assert "reg_fn: " in shown
    assert "Unpack" not in shown.split("Parameters")[0]


@pytest.mark.filterwarnings("ignore:.*bf16")  # said where a machine cannot, or only slowly
@pytest.mark.parametrize("name", MAKERS)
def test_every_option_arrives(name: str, tmp_path: Path) -> None:
    learn = MAKERS[name](tmp_path, **VALUES)
    got = {option: getattr(learn, option) for option in VALUES}
    assert str(got.pop("device")) == "cpu"
    assert got.pop("callbacks")[-1] is SILENT
    assert got == {option: VALUES[option] for option in got}


@pytest.mark.parametrize("name", MAKERS)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"has no option `precison`; did you mean `precision`\?"):
        MAKERS[name](tmp_path, precison="bf16")


def test_an_option_like_none_that_there_is_lists_them() -> None:
    with pytest.raises(TypeError, match="has no option `xyz`; there are device, precision, accumulate"):
        Learner(None, None, xyz=1)  # type: ignore[call-arg, arg-type]


def test_clip_and_reg_fn_given_are_as_if_they_were_set(tmp_path: Path) -> None:
    def weights(**options: Any) -> tuple[Learner, nn.Linear]:
        torch.manual_seed(0)
        x = torch.randn(32, 4)
        data = DataBunch(tmp_path, [(x, (x.sum(1) > 0).long())] * 4, target=Category(["a", "b"]))
        model = nn.Linear(4, 2)
        learn = Learner(data, model, **options)
        return learn, model

    def decay(pred: Any, extra: Any, loss: Tensor) -> Tensor:
        return loss * 3

    given, a = weights(clip=0.01, reg_fn=decay)
    later, b = weights()
    later.clip, later.reg_fn = 0.01, decay
    for learn in (given, later):
        with learn.no_progress():
            learn.fit(0.5, 1)
    assert torch.equal(a.weight, b.weight)
    other, c = weights()
    with other.no_progress():
        other.fit(0.5, 1)
    assert not torch.equal(a.weight, c.weight)


def test_options_are_checked_as_they_are_when_they_are_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`clip` must be"):
        Learner(plain(tmp_path), net(), clip=-1)
    with pytest.raises(TypeError, match="`reg_fn` must be a function"):
        Learner(plain(tmp_path), net(), reg_fn=3)  # type: ignore[arg-type]


def test_the_kinds_of_options_do_not_differ_in_what_they_share() -> None:
    for part, whole in ((RunOptions, LearnerOptions), (CheckpointOptions, FitOptions)):
        shared = part.__annotations__
        assert {name: whole.__annotations__[name] for name in shared} == shared
    assert set(DEFAULTS) <= {*RunOptions.__annotations__, *CheckpointOptions.__annotations__}


FITS: dict[str, Callable[..., Any]] = {
    "fit": lambda learn, **options: learn.fit(0.1, 1, **options),
    "fit_one_cycle": lambda learn, **options: learn.fit_one_cycle(1, 0.1, **options),
    "fine_tune": lambda learn, **options: learn.fine_tune(1, **options),
    "follow": lambda learn, **options: learn.follow(Cycles(0.1, 1), **options),
}


@pytest.mark.parametrize("name", FITS)
def test_every_fit_takes_every_option_of_a_fit(name: str, tmp_path: Path) -> None:
    class Heard(Callback):
        fits = 0

        def before_fit(self, run: Any) -> None:
            self.fits += 1

    learn, heard = Learner(plain(tmp_path), net()), Heard()
    learn.no_progress()
    assert set(FitOptions.__annotations__) <= set(inspect.signature(getattr(Learner, name)).parameters)
    results = FITS[name](
        learn,
        metrics=["error_rate"],
        callbacks=[heard],
        best_save_name="best",
        checkpoint=tmp_path / "c",
        every=1,
        keep=1,
    )
    assert "error_rate" in results
    assert heard.fits == (2 if name == "fine_tune" else 1)
    assert (tmp_path / "models/best.safetensors").exists()
    assert len(list((tmp_path / "c").glob("*.checkpoint"))) == 1
    with pytest.raises(TypeError, match=r"has no option `checkpiont`; did you mean `checkpoint`\?"):
        FITS[name](learn, checkpiont=tmp_path)
