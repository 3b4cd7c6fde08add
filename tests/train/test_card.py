"""The card says what is known, and leaves alone what its author wrote."""

from __future__ import annotations

import torch

from learnkit import Category, DataBunch, Learner, load_learner
from learnkit.train.card import BEGIN, END, card_path, write_card
from tests.train.helpers import bunch, learner, net


def test_it_says_what_is_predicted_on_what_and_how_well(tmp_path):
    learn = learner(data=bunch(tmp_path), metrics=["accuracy"])
    assert "are not known: the model was not trained here" in learn.card()
    results = learn.fit(0.01, 2)
    text = card_path(learn.export(tmp_path / "m")).read_text()
    for words in (
        "# m\n",
        "one of 3 classes: a, b, c",
        f"{sum(p.numel() for p in learn.model.parameters()):,} parameters",
        f"torch {torch.__version__}",
        "(of 2)",
        f"| {results['val_loss']:.4g} | {results['accuracy']:.4g} |",
        "## What it is for",
    ):
        assert words in text, words


def test_what_the_author_wrote_stays(tmp_path):
    file = tmp_path / "cats.onnx"
    card = write_card(file, "first")
    card.write_text(
        card.read_text().replace("Say what the model is for", "For cats.\nSay what").replace("# cats", "# My cats")
    )
    write_card(file, "second")
    text = card.read_text()
    assert ("first" in text, "second" in text) == (False, True)
    assert text.startswith("# My cats\n")
    assert "For cats." in text
    assert text.count(BEGIN) == text.count(END) == 1
    card.write_text("only mine\n")
    write_card(file, "third")
    assert card.read_text().startswith("only mine\n\n" + BEGIN)


def test_none_is_written_where_none_is_wanted(tmp_path):
    learn = learner(data=bunch(tmp_path))
    learn.export(tmp_path / "m", card=False)
    learn.to_onnx(tmp_path / "n", card=False)
    assert not list(tmp_path.glob("*.md"))


def test_of_a_learner_that_was_opened_no_data_is_known(tmp_path):
    learn = learner(data=bunch(tmp_path))
    again = load_learner(learn.export(tmp_path / "m"), model=net())
    assert "training data" not in again.card()


def test_cells_of_the_table_hold_any_names():
    data = DataBunch(".", [(torch.zeros(2, 6), torch.tensor([0, 1]))], target=Category(["a|b", "c\nd"]))
    row = next(line for line in Learner(data, net()).card().splitlines() if "classes" in line)
    assert row.endswith("a\\|b, c d |")
