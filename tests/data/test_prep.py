"""A preparation turns raw items into batches, in their order, and comes back from a file as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

import learnkit
from learnkit import (
    Category,
    DataBunch,
    DataError,
    Learner,
    MultiCategory,
    Prep,
    Real,
    TensorLoader,
    TrainingError,
    load_learner,
)
from learnkit.collab import RatingPrep, Vocabulary
from learnkit.data.joining import join
from learnkit.data.prep import NotInFile, title_of
from learnkit.store.archive import digest, read_archive, write_archive
from learnkit.tabular import TablePrep, proc_df
from learnkit.text import Field, StreamPrep, TextPrep
from learnkit.vision import Cutout, ImagePrep, tfms_from_stats, transforms_side_on


@dataclass(frozen=True)
class Row(Prep):
    """The first numbers of a list."""

    length: int = 3

    def item(self, raw: Any) -> Tensor:
        return torch.tensor(np.asarray(raw, dtype=np.float32)[: self.length])

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


class Whole(Prep):
    """Batches that are made at once."""

    def loader(self, items: Any, bs: int | None = None) -> TensorLoader:
        return TensorLoader(torch.tensor(np.asarray(items, dtype=np.float32)), torch.zeros(len(items)).long(), bs or 4)

    def to_data(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls()


ROWS = [[float(i), i + 0.5, -1.0, 9.0] for i in range(20)]
NAMES = ["low"] * 10 + ["high"] * 10


def bunch(path: Path, labels: Any = NAMES, val_idxs: Any = range(5, 15), **kwargs: Any) -> DataBunch:
    return DataBunch.from_items(path, Row(), ROWS, labels, val_idxs, bs=4, num_workers=0, **kwargs)


def first_numbers(dl: Any) -> list[float]:
    return [float(x) for xs, _ in dl for x in xs[:, 0]]


# ---------------------------------------------------------------- loaders of items


def test_items_validate_in_their_order_and_train_once_each(tmp_path: Path) -> None:
    data = bunch(tmp_path, test=ROWS[3:9])
    assert [tuple(x.shape) for x, _ in data.val_dl or ()] == [(4, 3), (4, 3), (2, 3)]
    assert first_numbers(data.val_dl) == list(range(5, 15))
    assert first_numbers(data.test_dl) == list(range(3, 9))
    epochs = [first_numbers(data.trn_dl) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == 2 * [[*range(5), *range(15, 20)]]
    assert epochs[0] != epochs[1]


def test_every_item_keeps_its_label(tmp_path: Path) -> None:
    data = bunch(tmp_path)
    assert data.classes == ["high", "low"]
    for dl in (data.trn_dl, data.val_dl):
        for x, y in dl or ():
            assert data.labels((x,), y) == [NAMES[int(i)] for i in x[:, 0]]


def test_what_is_predicted_is_what_the_labels_are_said_to_be(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32) / 2
    data = bunch(tmp_path, values, target=Real)
    assert isinstance(data.target, Real)
    np.testing.assert_array_equal(data.val_y, values[5:15])
    data = bunch(tmp_path, [["a", "b"], ["b"], [], ["c"]] * 5, target=MultiCategory)
    assert data.labels((), data.val_y[:4]) == ["b", "(none)", "c", "a b"]
    assert (data.classes, data.val_y.shape) == (["a", "b", "c"], (10, 3))
    data = bunch(tmp_path, target=Category(["high", "middle", "low"]))
    assert data.val_y.tolist() == [2] * 5 + [0] * 5


def test_who_validates(tmp_path: Path) -> None:
    assert len(bunch(tmp_path, val_idxs=None).val_ds) == 4
    everything = bunch(tmp_path, val_idxs=False)
    assert everything.val_dl is None
    assert sorted(first_numbers(everything.trn_dl)) == list(range(20))


def test_arrays_are_items_row_by_row(tmp_path: Path) -> None:
    data = DataBunch.from_items(tmp_path, Row(), np.array(ROWS), NAMES, range(5, 15), bs=4, num_workers=0)
    assert first_numbers(data.val_dl) == list(range(5, 15))


def test_loading_processes_give_the_same_batches(tmp_path: Path) -> None:
    one = bunch(tmp_path)
    two = DataBunch.from_items(tmp_path, Row(), ROWS, NAMES, range(5, 15), bs=4, num_workers=2)
    assert first_numbers(one.val_dl) == first_numbers(two.val_dl)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every item needs a label: got 20 items and 19 labels"):
        bunch(tmp_path, NAMES[1:])
    with pytest.raises(DataError, match=r"(?s)missing.*3|3.*missing"):
        bunch(tmp_path, [*NAMES[:3], None, *NAMES[4:]])
    with pytest.raises(DataError, match="medium"):
        bunch(tmp_path, ["medium", *NAMES[1:]], target=Category(["high", "low"]))


# ---------------------------------------------------------------- raw items


def test_raw_items_come_in_their_order_with_zeros_for_targets() -> None:
    batches = list(Row().loader(ROWS, 8))
    assert [tuple(x.shape) for x, _ in batches] == [(8, 3), (8, 3), (4, 3)]
    assert first_numbers(batches) == list(range(20))
    assert not join([y for _, y in batches], [8, 8, 4]).any()
    assert len(list(Row().loader(ROWS))) == 1


@pytest.mark.parametrize("items", [[], np.zeros((0, 3))])
def test_nothing_to_predict_is_said(items: Any) -> None:
    with pytest.raises(DataError, match="`items` is empty: there is nothing to predict"):
        Row().loader(items)


@pytest.mark.parametrize("one", ["a.npy", Path("a.npy"), 3.5])
def test_one_item_is_no_list(one: Any) -> None:
    with pytest.raises(DataError, match="`items`.*list"):
        Row().loader(one)


def test_an_item_that_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="item 1, many could not be loaded: ValueError: could not convert"):
        list(Row().loader([ROWS[0], "many"]))
    with pytest.raises(DataError, match=r"one shape; got \(3,\) \(item 0.*\); \(2,\) \(item 1"):
        list(Row().loader([ROWS[0], [1, 2]]))
    data = DataBunch.from_items(tmp_path, Row(), [*ROWS[:5], None], list("ababab"), [5], num_workers=0)
    with pytest.raises(DataError, match="item 0, None"):
        data.show_batch(is_val=True)


def test_a_preparation_says_what_it_lacks(tmp_path: Path) -> None:
    class Nothing(Row):
        item = Prep.item

    with pytest.raises(DataError, match="Nothing must define `item`, or `loader` for whole batches"):
        list(Nothing().loader(ROWS))
    with pytest.raises(TypeError, match="to_data"):
        type("Silent", (Prep,), {})()
    plain = DataBunch(tmp_path, list(Row().loader(ROWS)), target=Category(["low", "high"]))
    assert plain.prep is None
    with pytest.raises(
        DataError, match="not known how raw items are prepared, so items cannot be shown. Give .* a `prep`"
    ):
        plain.show_batch()
    learn = Learner(plain, nn.Linear(3, 2))
    for call in (learn.show_results, lambda: learn.predict_raw(ROWS)):
        with pytest.raises(DataError, match=r"not known how raw items are prepared.*predict_array"):
            call()


def test_whole_batches_train_and_are_predicted_raw(tmp_path: Path) -> None:
    """Where a batch is made at once the loaders of the training are made by whoever has the data."""
    x, y = torch.tensor(ROWS), torch.arange(20) // 10
    data = DataBunch(
        tmp_path, TensorLoader(x, y, 4, True), TensorLoader(x, y, 4), target=Category(NAMES[::10]), prep=Whole()
    )
    learn = Learner(data, nn.Linear(4, 2))
    with learn.no_progress():
        learn.fit(1e-2, 1)
    np.testing.assert_allclose(learn.predict_raw(ROWS), learn.predict(), atol=1e-5)
    assert len(learn.show_results(3).axes) == 3
    again = load_learner(learn.export(tmp_path / "whole"), prep=Whole, model=nn.Linear(4, 2))
    np.testing.assert_allclose(again.predict_raw(ROWS), learn.predict(), atol=1e-5)


# ---------------------------------------------------------------- as data


def text_field(*texts: str) -> Field:
    field = Field()
    field.build_vocab(list(texts))
    return field


def table(*states: str) -> TablePrep:
    df = pd.DataFrame({"State": states, "Km": np.linspace(0, 9, len(states))})
    _, _, _, mapper = proc_df(df, do_scale=True)
    return TablePrep(mapper.cat_sz, ["Km"], mapper)


def ratings(*films: str) -> RatingPrep:
    n = len(films) + 1
    return RatingPrep(
        Vocabulary(["ann", "bob"], "user"), Vocabulary(list(films), "item"), np.ones(3, int), np.ones(n, int),
        titles=[film.upper() for film in films], y_range=(1.0, 5.0), mean=3.5, names=("user", "film"),
    )  # fmt: skip


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)
STATS = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
PREPS: dict[str, tuple[Prep, Any]] = {
    "pictures": (ImagePrep(*tfms_from_stats(STATS, 8, [*transforms_side_on, Cutout(1, 4)], pad=1), bs=7), PIXELS),
    "table": (table("HE", "BY", "SH"), pd.DataFrame({"State": ["BY", None], "Km": [1.0, 5.0]})),
    "ratings": (ratings("Alien", "Brazil"), [("ann", "Brazil"), ("bob", "Alien")]),
    "texts": (TextPrep(text_field("to be or", "not to be"), 5, backwards=True, max_len=2), ["not to be", "or"]),
    "stream": (StreamPrep(text_field("to be or", "not to be"), 5, 6), ["not to be", "or"]),
    "own": (Row(2), ROWS[:3]),
}
OTHERS: dict[str, Prep] = {
    "table": table("HE", "BY", "NI"),
    "ratings": ratings("Alien", "Casablanca"),
    "texts": TextPrep(text_field("to be or", "nor to be")),
    "stream": StreamPrep(text_field("to be or", "nor to be")),
}
"""Of the same shape, with another meaning."""


def test_every_exported_preparation_is_looked_at() -> None:
    packages: list[Any] = [learnkit, learnkit.vision, learnkit.tabular, learnkit.collab, learnkit.text]
    exported = [getattr(package, name) for package in packages for name in package.__all__]
    ours = {x for x in exported if isinstance(x, type) and issubclass(x, Prep)} - {Prep}
    assert ours == {type(prep) for prep, _ in PREPS.values()} - {Row}


def tensors(batch: Any) -> list[Tensor]:
    return [batch] if isinstance(batch, Tensor) else [x for part in batch for x in tensors(part)]


@pytest.mark.parametrize("name", PREPS)
def test_what_a_file_holds_of_it_prepares_the_same(name: str, tmp_path: Path) -> None:
    prep, raw = PREPS[name]
    file = write_archive(tmp_path / "prep", "prep", {}, prep.to_data())
    again = type(prep).from_data(read_archive(file, "prep").state)
    assert digest(again.to_data()) == digest(prep.to_data())
    assert digest(again.identity()) == digest(prep.identity())
    assert type(again.target) is type(prep.target)
    one, other = (list(each.loader(raw, 2)) for each in (prep, again))
    assert len(one) == len(other) > 0
    for a, b in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", OTHERS)
def test_it_says_what_its_numbers_mean(name: str) -> None:
    prep, _ = PREPS[name]
    mine, theirs = prep.identity(), OTHERS[name].identity()
    assert list(mine) == list(theirs)
    assert digest(mine) != digest(theirs)
    assert Row().identity() == {}


# ---------------------------------------------------------------- what is not in a file


def test_code_of_ones_own_says_that_it_is_not_in_the_file() -> None:
    missing = NotInFile("cut", "the cutter {name} was your own: pass it again.")
    assert repr(missing) == "(not in the file: cut)"
    with pytest.raises(DataError, match="the cutter cut was your own: pass it again"):
        missing("to be")
    with pytest.raises(TrainingError, match="the cutter cut"):
        NotInFile("cut", missing.advice, TrainingError)(1, 2)


def test_a_tokenizer_or_a_transform_of_ones_own_is_missed_when_it_is_needed() -> None:
    field = Field(tokenize=str.split)
    field.build_vocab(["to be"])
    texts = TextPrep.from_data(TextPrep(field).to_data())
    assert texts.field.vocab.itos == field.vocab.itos
    with pytest.raises(DataError, match=r"split by .*split, code of your own.*Give it back"):
        texts.loader(["to be"])
    pictures = ImagePrep.from_data(ImagePrep(None, halved).to_data())
    with pytest.raises(DataError, match="the transform halved was your own and is not in the file"):
        list(pictures.loader(PIXELS))


def halved(picture: Any) -> Tensor:
    return torch.tensor(np.asarray(picture)[::2, ::2] / 255.0).permute(2, 0, 1)


# ---------------------------------------------------------------- how items look


@pytest.mark.parametrize(
    ("shape", "drawn", "n"),
    [((5,), "lines", 1), ((1, 5), "lines", 1), ((2, 50), "lines", 2), ((30, 40), "images", 1), ((3, 4, 5), "texts", 1)],
)
def test_an_item_is_drawn_by_its_shape(shape: tuple[int, ...], drawn: str, n: int) -> None:
    ax = plt.figure().add_subplot()
    Row().draw(torch.rand(shape), ax)
    assert len(getattr(ax, drawn)) == n


def test_notes_stand_above_the_items() -> None:
    assert title_of({"label": ["a", "b"]}, 1, 20) == "b"
    assert title_of({"label": ["a", "b"], "predicted": ["c", "d"]}, 1, 20) == "label: b\npredicted: d"
    assert title_of({"label": ["a name of many words", "b"]}, 0, 12) == "a name of\nmany words"
    fig = Row().show((torch.rand(3, 4),), 9, {"label": ["x_$1$", "y", "z"]})
    assert [ax.get_title() for ax in fig.axes] == ["x_$1$", "y", "z"]
    fig.canvas.draw()
    assert not fig.axes[0].title.get_parse_math()


def test_no_more_is_shown_than_asked_for_or_there(tmp_path: Path) -> None:
    data = bunch(tmp_path)
    assert [len(data.show_batch(n).axes) for n in (1, 3, 99)] == [1, 3, 4]
    with pytest.raises(ValueError, match="`n` must be a positive whole number; got 0"):
        data.show_batch(0)


def test_items_of_every_class_are_shown_though_files_are_in_order(tmp_path: Path) -> None:
    data = bunch(tmp_path, val_idxs=range(1, 19))
    learn = Learner(data, nn.Linear(3, 2))
    shown = [
        [ax.get_title() for ax in fig.axes]
        for fig in (data.show_batch(4, is_val=True), data.show_batch(4, is_val=True))
    ]
    assert shown[0] == shown[1]
    assert set(shown[0]) == {"low", "high"}
    results = [ax.get_title() for ax in learn.show_results(4).axes]
    assert [title.splitlines()[0] for title in results] == [f"label: {name}" for name in shown[0]]
    xs, y = data.some_items(99, is_val=True)
    assert xs[0][:, 0].tolist() == list(range(1, 19))
    assert data.labels(xs, y) == NAMES[1:19]


def test_looking_at_a_generator_is_refused_before_it_loses_a_batch(tmp_path: Path) -> None:
    batches = iter(list(Row().loader(ROWS)))
    with pytest.raises(DataError, match="a generator, which can be read only once"):
        DataBunch(tmp_path, batches, target=Category(["low", "high"]), prep=Row()).show_batch()
    assert len(list(batches)) == 1


@pytest.mark.parametrize("do_scale", [True, False])
def test_rows_are_shown_as_they_were_before_they_were_prepared(do_scale: bool) -> None:
    df = pd.DataFrame(
        {
            "State": ["HE", None, "SH"],
            "Km": [0.1, np.nan, 7.25],
            "Tiny": [3e-8, 1e-8, 0.0],
            "Year": [2013, 2014, 1999.0],
        }
    )
    prepared, _, _, mapper = proc_df(df, do_scale=do_scale)
    names = [name for name in prepared.columns if name != "State"]
    prep = TablePrep(mapper.cat_sz, names, mapper)
    cats, conts, _ = next(iter(prep.loader(df)))
    shown = prep.show((cats, conts), 3, {"label": ["a", "b", "c"]})
    assert list(shown.columns) == ["State", "Km", "Tiny", "Year", "label"]
    assert shown.State.tolist() == ["HE", "(missing)", "SH"]
    assert np.isnan(shown.Km[1])
    if do_scale:
        assert shown.Km[[0, 2]].tolist() == [0.1, 7.25]
        assert shown.Year.tolist() == [2013, 2014, 1999]
    np.testing.assert_allclose(
        shown[["Km", "Tiny", "Year"]].astype(float), df[["Km", "Tiny", "Year"]], rtol=1e-4, atol=1e-12
    )
