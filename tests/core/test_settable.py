"""Setting an attribute that nobody reads is refused, with the name that was meant."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnkit import Callback, CosAnneal, DataBunch, EarlyStopping, LayerOptimizer, Learner, MixUp, TensorLoader
from learnkit.collab import CollabFilterDataset
from learnkit.core.settable import Settable
from learnkit.tabular import ColumnarModelData
from learnkit.text import Field, LanguageModelData, TextData
from learnkit.vision import ImageClassifierData, tfms_from_stats


def learner() -> Learner:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2))
    x, y = torch.randn(16, 4), torch.arange(16) % 2
    return Learner(DataBunch(".", TensorLoader(x, y, 4), TensorLoader(x, y, 4)), model, crit=F.cross_entropy)


def pictures() -> ImageClassifierData:
    x, y = np.zeros((4, 8, 8, 3), dtype=np.float32), np.arange(4) % 2
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 8)
    return ImageClassifierData.from_arrays(".", (x, y), (x, y), 2, tfms=tfms, num_workers=0)


def table() -> ColumnarModelData:
    return ColumnarModelData.from_arrays(".", [0], np.arange(8).reshape(4, 2), np.arange(4.0), bs=2)


def ratings() -> CollabFilterDataset:
    df = pd.DataFrame({"u": [1, 1, 2, 2], "i": [1, 2, 1, 2], "r": [1.0, 2, 3, 4]})
    return CollabFilterDataset.from_data_frame(".", df, "u", "i", "r")


def texts() -> TextData:
    df = pd.DataFrame({"t": ["good film", "bad film"] * 4, "y": ["a", "b"] * 4})
    return TextData.from_dataframes(".", Field(tokenize=str.split, min_freq=1), "t", "y", df, df, bs=2)


def stream() -> LanguageModelData:
    df = pd.DataFrame({"t": ["one two three four five"] * 40})
    return LanguageModelData.from_dataframes(".", Field(tokenize=str.split, min_freq=1), "t", df, df, bs=2, bptt=4)


THINGS: dict[str, tuple[Callable[[], Any], str, str]] = {  # what, a misspelt name, and what is meant
    "learner": (learner, "metrcs", "metrics"),
    "its record": (lambda: learner().sched, "losess", "losses"),
    "a bunch": (lambda: learner().data, "vall_dl", "val_dl"),
    "its loader": (lambda: learner().data.trn_dl, "shufle", "shuffle"),
    "pictures": (pictures, "tst_dl", "test_dl"),
    "a picture data set": (lambda: pictures().trn_ds, "tmf", "tfm"),
    "transforms": (lambda: pictures().trn_ds.tfm, "denrm", "denorm"),
    "a picture loader": (lambda: pictures().trn_dl, "batchsize", "batch_size"),
    "a table": (table, "targett", "target"),
    "ratings": (ratings, "titels", "titles"),
    "texts": (texts, "trndl", "trn_dl"),
    "a stream of text": (stream, "btpt", "bptt"),
    "a field": (lambda: Field(), "tokenizer", "tokenize"),
    "layer groups": (lambda: LayerOptimizer(torch.optim.SGD, nn.Linear(2, 2), 0.1), "opti", "opt"),
    "a callback of ours": (lambda: EarlyStopping(), "pateince", "patience"),
    "another": (lambda: MixUp(), "alfa", "alpha"),
}


@pytest.mark.parametrize("kind", THINGS)
def test_a_misspelt_attribute_is_refused_with_the_nearest_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, name, meant = THINGS[kind]
    thing = make()
    with pytest.raises(AttributeError, match=f"has no `{name}` to set; did you mean `{meant}`"):
        setattr(thing, name, 1)
    assert not hasattr(thing, name)
    setattr(thing, f"_{name}", 1)  # for one's own notes
    again = copy.copy(thing)
    assert vars(again).keys() == vars(thing).keys()


def test_a_name_like_no_other_lists_what_can_be_set() -> None:
    with pytest.raises(AttributeError, match=r"has no `zzz` to set; there are .*clip.*metrics"):
        learner().zzz = 1  # type: ignore[attr-defined]


def test_every_documented_attribute_can_be_set() -> None:
    learn = learner()
    for name in (
        "data",
        "model",
        "crit",
        "metrics",
        "callbacks",
        "activation",
        "sched",
        "clip",
        "reg_fn",
        "opt_fn",
        "precision",
    ):
        setattr(learn, name, getattr(learn, name))
    learn.data.test_dl = learn.data.val_dl
    assert learn.predict(is_test=True).shape == (16, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data", "pictures", "`data` must be a DataBunch"),
        ("model", lambda x: x, r"`model` must be an nn\.Module"),
        ("crit", "mse", r"`crit` must be a function, crit\(pred, y\)"),
        ("reg_fn", 0.1, r"`reg_fn` must be a function, reg_fn\(pred, extra, loss\)"),
        ("splitter", [1], "`splitter` must be a function"),
        ("clip", 0, "`clip` must be a positive number; got 0"),
        ("clip", "0.3", "`clip` must be a positive number"),
        ("accumulate", 0, "`accumulate` must be a positive whole number"),
        ("activation", "softmax", "`activation` must be one of"),
        ("opt_fn", "sdg", "there is no optimizer 'sdg'"),
        ("metrics", ["acuracy"], "accuracy"),
        ("callbacks", [EarlyStopping], "Pass an instance, not the class"),
    ],
)
def test_a_setting_is_checked_when_it_is_set(name: str, value: Any, message: str) -> None:
    learn = learner()
    before = getattr(learn, name)
    with pytest.raises((TypeError, ValueError), match=message):
        setattr(learn, name, value)
    assert getattr(learn, name) is before


def test_settings_are_kept_as_they_are_used() -> None:
    learn: Any = learner()
    learn.metrics, learn.opt_fn, learn.callbacks = "accuracy", "sgd", (EarlyStopping(),)
    assert (learn.metrics, learn.opt_fn) == (["accuracy"], torch.optim.SGD)
    assert isinstance(learn.callbacks, list)
    learn.clip, learn.reg_fn, learn.activation = None, None, None
    assert "accuracy" in learn.fit(0.01, 1)


def test_assigning_bn_freeze_is_calling_it() -> None:
    learn = learner()
    model: Any = learn.model
    norm = model[0][1]
    learn.bn_freeze = True  # type: ignore[assignment, method-assign]
    assert norm.keep_stats
    learn.bn_freeze = False  # type: ignore[assignment, method-assign]
    assert not norm.keep_stats
    learn.bn_freeze(True)
    assert norm.keep_stats


def test_a_call_is_replaced_by_another_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = learner()
    with pytest.raises(AttributeError, match=r"`freeze` of Learner is called, not set: write `.freeze\(\)`"):
        learn.freeze = True  # type: ignore[assignment, method-assign]
    with pytest.raises(AttributeError, match=r"write `.freeze_to\(-1\)`"):
        learn.freeze_to = -1  # type: ignore[assignment, method-assign]
    for name in ("freeze", "bn_freeze"):
        monkeypatch.setattr(learn, name, lambda *args: "mine")
        assert getattr(learn, name)() == "mine"


def test_an_attribute_of_the_course_that_is_gone_says_what_replaced_it() -> None:
    learn: Any = learner()
    with pytest.raises(AttributeError, match="make the data with another `path`"):
        learn.models_name = "other"
    with pytest.raises(AttributeError, match=r"learn\.precision"):
        learn.half = True
    with pytest.raises(AttributeError, match="num_workers"):
        learn.data.num_workers = 2


class Mine(Learner):
    temperature: float
    patience = 3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[str] = []

    @classmethod
    def quick(cls, data: DataBunch) -> "Mine":
        learn: Any = cls(data, nn.Linear(4, 2), crit=F.cross_entropy)
        learn.made = "quickly"
        made: Mine = learn
        return made

    def remember(self, what: str) -> None:
        self.latest = what
        setattr(self, f"said_{what}", True)


class Other(DataBunch):
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


def test_subclasses_have_attributes_of_their_own() -> None:
    learn: Any = Mine.quick(learner().data)
    learn.temperature, learn.patience, learn.notes = 2.0, 4, ["a"]
    learn.remember("once")
    learn.latest, learn.made = "twice", "slowly"
    assert learn.said_once
    with pytest.raises(AttributeError, match="did you mean `temperature`"):
        learn.temperatur = 1
    with pytest.raises(AttributeError, match="did you mean `notes`"):
        learn.note = []
    assert Other(".", []).trn_dl == []


class Counting(Callback):
    """What users write is theirs, wherever it is set."""


class Patient(EarlyStopping):
    """Also where it begins with one of ours."""


@pytest.mark.parametrize("callback", [Counting(), Patient()])
def test_callbacks_of_the_user_s_keep_what_they_like(callback: Any) -> None:
    callback.anything = 1
    callback.pateince = 2
    assert callback.anything + callback.pateince == 3
    learn = learner()
    learn.fit(0.01, 1, callbacks=[callback])


def test_what_is_known_can_be_set_on_our_callbacks() -> None:
    stop = EarlyStopping()
    stop.patience = 7
    lo = LayerOptimizer(torch.optim.SGD, nn.Linear(2, 2), 0.1)
    anneal = CosAnneal(lo, 4)
    with pytest.raises(AttributeError, match="has no `n_b` to set"):
        anneal.n_b = 8  # type: ignore[attr-defined]


def test_objects_that_are_copied_or_pickled_are_whole() -> None:
    data = DataBunch(".", [], [])
    assert vars(pickle.loads(pickle.dumps(data))) == vars(data)
    loader = copy.deepcopy(TensorLoader(torch.zeros(4, 2), torch.zeros(4)))
    assert len(loader) == 1


def test_a_base_with_rules_of_its_own_keeps_them() -> None:
    class Even:
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, 2 * value)

    class Both(Settable, Even):
        size = 0

    both = Both()
    both.size = 3
    assert both.size == 6
