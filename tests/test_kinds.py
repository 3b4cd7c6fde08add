"""What every kind of data can do: shown, predicted raw, exported, and never given weights that mean something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from learnkit import CheckpointError, DataBunch, DataError, Learner, ModelSpec, Prep, load_learner
from learnkit.collab import CollabFilterDataset
from learnkit.runtime import load
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.text import Field, LanguageModelData, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 12, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Wave(Prep):
    """A row of numbers."""

    length: int = 6

    def item(self, raw: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(raw, dtype=np.float32)[: self.length])

    def to_data(self) -> dict[str, Any]:
        return {"length": self.length}

    @classmethod
    def from_data(cls, data: Any) -> Wave:
        return cls(**data)


@dataclass(frozen=True)
class Line(ModelSpec):
    """A line."""

    n: int

    def build(self) -> nn.Module:
        return nn.Linear(self.n, 2)


class Net(nn.Sequential):
    """For pictures of 8 by 8."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 2))


def pictures(folder: Path, *, other: bool = False) -> Learner:
    y = np.array(["cat", "cow" if other else "dog"])[np.arange(12) % 2]
    tfms = tfms_from_stats(([0.4] * 3, [0.3] * 3), 8)
    data = ImageClassifierData.from_arrays(folder, (PIXELS, y), (PIXELS, y), 4, tfms, num_workers=0)
    return ConvLearner.from_model_data(Net(), data)


def table(folder: Path, *, other: bool = False) -> Learner:
    states = ["HE", "BY", "XX" if other else "SH", "NI"] * 10
    df = pd.DataFrame({"State": states, "Km": np.arange(40) * 1.5, "Sales": np.arange(40.0)})
    x, y, _, _ = proc_df(df, "Sales", do_scale=True)
    assert y is not None
    return ColumnarModelData.from_data_frame(folder, range(30, 40), x, y, bs=8).get_learner(szs=[6])


def ratings(folder: Path, *, other: bool = False, feedback: str = "explicit") -> Learner:
    users, items = list("aabbccdd"), list("xyxyxqyq" if other else "xyxyxzyz")
    frame = pd.DataFrame({"user": users, "item": items, "rating": [5, 4, 5, 4, 5, 1, 4, 1]})
    cf = CollabFilterDataset.from_data_frame(folder, frame, "user", "item", "rating")
    return cf.get_learner(3, val_idxs=[0, 7], bs=4, feedback=feedback)


def ranking(folder: Path, *, other: bool = False) -> Learner:
    return ratings(folder, other=other, feedback="implicit")


def frame_of(other: bool) -> pd.DataFrame:
    lines = ["to be or not to be", f"that is the {'answer' if other else 'question'}"] * 20
    return pd.DataFrame({"text": lines, "label": ["p", "n"] * 20})


def stream(folder: Path, *, other: bool = False) -> Learner:
    frame = frame_of(other)
    md = LanguageModelData.from_dataframes(folder, Field(), "text", frame, frame[:10], bs=4, bptt=6)
    return md.get_model(None, 4, 6, 1, tie_weights=False)


def texts(folder: Path, *, other: bool = False) -> Learner:
    frame, field = frame_of(other), Field()
    field.build_vocab(list(frame.text))
    md = TextData.from_dataframes(folder, field, "text", "label", frame, frame[:8], bs=4)
    return md.get_model(None, 10, 6, 4, 6, 1)


def own(folder: Path, *, other: bool = False) -> Learner:
    waves, labels = [np.sin(np.arange(9) * (1 + i % 2)) for i in range(20)], ["low", "top" if other else "high"] * 10
    return Learner(DataBunch.from_items(folder, Wave(), waves, labels, range(12, 20), bs=4, num_workers=0), Line(6))


@dataclass(frozen=True)
class Kind:
    """How a learner of a kind of data is made, raw items for it, and what opens its file."""

    make: Callable[..., Learner]
    items: Any
    empty: Any
    opened_with: dict[str, Any]
    shown: type


ROWS = pd.DataFrame({"State": ["HE", "BY", "SH"], "Km": [0.0, 9.0, 3.0]})
PAIRS = pd.DataFrame({"user": ["a", "b", "d"], "item": ["z", "x", "y"]})
KINDS = {
    "pictures": Kind(pictures, list(PIXELS[:3]), [], {"model": Net()}, Figure),
    "table": Kind(table, ROWS, ROWS[:0], {}, pd.DataFrame),
    "ratings": Kind(ratings, PAIRS, PAIRS[:0], {}, pd.DataFrame),
    "ranking": Kind(ranking, PAIRS, PAIRS[:0], {}, pd.DataFrame),
    "stream": Kind(stream, ["to be", "that is the question", "not"], [], {}, pd.DataFrame),
    "texts": Kind(texts, ["to be", "that is the question", "not"], [], {}, pd.DataFrame),
    "own": Kind(own, [np.arange(7), np.zeros(8), -np.arange(9)], [], {"model": Line, "prep": Wave}, Figure),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def learn(kind: Kind, tmp_path: Path) -> Learner:
    torch.manual_seed(0)
    learn = kind.make(tmp_path)
    learn.no_progress()
    learn.fit(1e-2, 1)
    return learn


def one_of(items: Any, i: int) -> Any:
    return items.iloc[[i]] if isinstance(items, pd.DataFrame) else [items[i]]


def test_batches_and_results_are_shown(kind: Kind, learn: Learner) -> None:
    everything: list[Any] = [learn.data.show_batch(), learn.data.show_batch(is_val=True), learn.show_results()]
    for shown in everything:
        assert shown.axes if isinstance(shown, Figure) else len(shown)
        assert isinstance(shown, kind.shown)
    results = learn.show_results(2)
    if isinstance(results, pd.DataFrame):
        assert list(results.columns[-2:]) == ["label", "predicted"]
        assert len(results) == 2
    else:
        titles = [ax.get_title() for ax in results.axes]
        assert len(titles) == 2
        assert all(title.startswith("label: ") and "predicted: " in title for title in titles)
    plt.close("all")


def test_looking_changes_nothing(kind: Kind, learn: Learner) -> None:
    before = torch.get_rng_state()
    learn.data.show_batch()
    learn.show_results()
    assert torch.equal(before, torch.get_rng_state())
    plt.close("all")


def test_raw_items_are_predicted_in_their_order_however_many_at_a_time(kind: Kind, learn: Learner) -> None:
    together = learn.predict_raw(kind.items)
    assert len(together) == 3
    np.testing.assert_allclose(together, learn.predict_raw(kind.items, bs=2), atol=1e-5)
    alone = np.concatenate([learn.predict_raw(one_of(kind.items, i)) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    decoded = learn.predict_raw(kind.items, decode=True)
    assert isinstance(decoded, list)
    assert len(decoded) == 3


def test_no_item_is_refused_in_words(kind: Kind, learn: Learner) -> None:
    with pytest.raises(DataError, match="empty|there are no|no row"):
        learn.predict_raw(kind.empty)


def test_exported_and_opened_it_predicts_the_same(kind: Kind, learn: Learner, tmp_path: Path) -> None:
    again = load_learner(learn.export(tmp_path / "learner"), **kind.opened_with)
    assert type(again) is type(learn)
    np.testing.assert_allclose(again.predict_raw(kind.items), learn.predict_raw(kind.items), atol=1e-5)
    assert again.predict_raw(kind.items, decode=True) == learn.predict_raw(kind.items, decode=True)
    assert again.spec == learn.spec
    again.set_data(learn.data)
    with again.no_progress():
        again.fit(1e-3, 1)


def test_opened_it_has_no_items_to_look_at_and_is_exported_with_raw_ones(
    kind: Kind, learn: Learner, tmp_path: Path
) -> None:
    again = load_learner(learn.export(tmp_path / "learner"), **kind.opened_with)
    with pytest.raises(DataError, match="has no items to look at.*opened from a file has none"):
        again.data.show_batch()
    if kind.make is not stream:
        with pytest.raises(DataError, match=r"`predict_raw` and `to_onnx\(items=\)` take raw items"):
            again.to_onnx(tmp_path / "m")
        assert load(again.to_onnx(tmp_path / "m", items=kind.items)).task == load(learn.to_onnx(tmp_path / "n")).task


def test_as_onnx_it_predicts_raw_items_the_same(kind: Kind, learn: Learner, tmp_path: Path) -> None:
    if kind.make is stream:
        with pytest.raises(DataError, match="is a NextToken, which cannot be exported to other programs"):
            learn.to_onnx(tmp_path / "m")
        return
    model = load(learn.to_onnx(tmp_path / "m"))
    items = np.stack([np.float32(item[:6]) for item in kind.items]) if kind.make is own else kind.items
    preds = learn.predict_raw(kind.items)
    found = model.run(model.prepare(items))
    np.testing.assert_allclose(found, np.exp(preds) if model.task == "category" else preds, atol=1e-5)
    if model.task == "category":
        assert model.predict(items) == learn.predict_raw(kind.items, decode=True)
    assert (model.kind == "arrays") is (kind.make is own)


def test_weights_of_equal_shape_that_mean_something_else_are_refused(
    kind: Kind, learn: Learner, tmp_path: Path
) -> None:
    file = learn.save(tmp_path / "weights")
    other = kind.make(tmp_path / "other", other=True)
    assert {n: x.shape for n, x in other.model.named_parameters()} == {
        n: x.shape for n, x in learn.model.named_parameters()
    }
    before = {name: x.clone() for name, x in other.model.state_dict().items()}
    with pytest.raises(CheckpointError, match="would be read as those of other classes|mean something else here"):
        other.load(file)
    assert all(torch.equal(x, before[name]) for name, x in other.model.state_dict().items())
    same = kind.make(tmp_path / "same")
    same.load(file)
    assert all(torch.equal(x, same.model.state_dict()[name]) for name, x in learn.model.state_dict().items())
