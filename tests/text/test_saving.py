"""An exported learner of text answers in another process from raw texts, as it did here, and trains on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import CheckpointError, DataError, load_learner
from learnkit.store.archive import read_archive, write_archive
from learnkit.text import Field, LanguageLearner, TextData, TextLearner, generate
from tests.text.helpers import language_data, language_learner, review_data, sentences, text_learner, words
from tests.train.helpers import assert_same

# Vocabularies of a few hundred words, for tests to be quick, leave many words of other texts unknown.
pytestmark = pytest.mark.filterwarnings("ignore:.*are not in the vocabulary")


def elsewhere(code: str, *arguments: object) -> Any:
    """What a fresh process prints, as JSON."""
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "LEARNKIT_DEVICE": "cpu", "PATH": ""},
    )
    return json.loads(out.stdout)


def test_a_fresh_process_predicts_raw_texts_and_goes_on_from_a_prompt(tmp_path: Path) -> None:
    texts = ["A GREAT film!!!", "dull", "", "qwertz", *sentences(6, 300)["text"]]
    readers = []
    for i, kwargs in enumerate(({}, {"markers": True}, {"tokenize": list})):
        field = Field(min_freq=2, **kwargs)  # type: ignore[arg-type]
        readers.append(text_learner(tmp_path, review_data(tmp_path, field, n=100, backwards=i > 0, max_len=50)))
    stream = language_data(tmp_path, Field(min_freq=2))
    writers = [language_learner(tmp_path, stream, arch=arch) for arch in ("lstm", "gru", "transformer")]
    files = []
    for i, learn in enumerate([*readers, *writers]):
        learn.fit(1e-2, 1)
        files.append(learn.export(tmp_path / f"m{i}"))
    predicted, written = elsewhere(
        "import json, sys; from learnkit import load_learner; from learnkit.text import generate; "
        "texts, (*readers, a, b, c) = json.loads(sys.argv[1]), [load_learner(file) for file in sys.argv[2:]]; "
        "preds = [[learn.predict_texts(texts).tolist(), learn.data.classes] for learn in readers]; "
        "print(json.dumps([preds, [generate(x, 'The Queen is', 30, 0.9, top_p=0.9, seed=4) for x in (a, b, c)]]))",
        json.dumps(texts),
        *files,
    )
    for learn, (preds, classes) in zip(readers, predicted, strict=True):
        assert np.array_equal(np.float32(preds), learn.predict_texts(texts))
        assert classes == ["negative", "positive"]
    assert written == [generate(learn, "The Queen is", 30, 0.9, top_p=0.9, seed=4) for learn in writers]
    assert all(text.startswith("the queen is") for text in written)


@pytest.mark.parametrize("tie_weights", [True, False])
def test_training_goes_on_from_what_was_exported(tie_weights: bool, tmp_path: Path) -> None:
    data = language_data(tmp_path)
    reviews = review_data(tmp_path, data.field)
    for learn, more in (
        (language_learner(tmp_path, data, tie_weights=tie_weights), data),
        (text_learner(tmp_path, reviews), reviews),
    ):
        learn.clip = 0.5
        learn.fit(1e-2, 1)
        learn.freeze_to(-2)
        again = load_learner(learn.export(tmp_path / "m.learnkit"))
        # The vocabulary of a tokenizer of one's own is that of the file.
        again.no_progress()
        assert type(again) is type(learn)
        assert again.field.vocab == learn.field.vocab
        with pytest.raises(DataError, match="empty"):
            again.fit_one_cycle(1, 1e-2)
        again.set_data(more)
        ends = []
        for each in (learn, again):
            torch.manual_seed(0)
            ends.append(each.fit_one_cycle(1, 1e-2))
        assert ends[0] == ends[1]
        assert_same(learn.model, again.model)
        assert again.clip == 0.5
    assert isinstance(again, TextLearner)


def test_several_labels_and_numbers_come_back(tmp_path: Path) -> None:
    frame = sentences(60).assign(tags=["x,y", "y", ""] * 20)
    for label, kwargs in (("tags", {"cat_separator": ","}), ("valence", {"continuous": True})):
        data = TextData.from_dataframes(tmp_path, words(), "text", label, frame, frame, **kwargs)
        learn = text_learner(tmp_path, data)
        learn.fit(1e-2, 1)
        again = load_learner(learn.export(tmp_path / "m"))
        assert isinstance(again, TextLearner)
        again.data.field = learn.field
        assert np.array_equal(again.predict_texts(["a b"]), learn.predict_texts(["a b"]))


def test_a_tokenizer_of_ones_own_is_named_when_it_is_missed(tmp_path: Path) -> None:
    learn = text_learner(tmp_path)
    again = load_learner(learn.export(tmp_path / "m"))
    assert isinstance(again, TextLearner)
    with pytest.raises(
        DataError, match=r"split by str.split, code of your own .* Field.from_dict\(learn.field.to_dict\(\)"
    ):
        again.predict_texts(["a film"])
    again.data.field = Field.from_dict(again.field.to_dict(), str.split)
    assert np.array_equal(again.predict_texts(["a film"]), learn.predict_texts(["a film"]))


def test_a_model_of_ones_own_is_passed_in(tmp_path: Path) -> None:
    data = language_data(tmp_path, Field(tokenize=list))

    def model() -> nn.Module:
        return nn.Sequential(nn.Embedding(data.nt, 8), nn.Flatten(0, 1), nn.Linear(8, data.nt))

    learn = LanguageLearner(data, model())
    file = learn.export(tmp_path / "m")
    with pytest.raises(CheckpointError, match="holds the weights of a Sequential, .* pass `model="):
        load_learner(file)
    again = load_learner(file, model=model())
    x = torch.randint(2, data.nt, (5, 3))
    assert torch.equal(again.model(x), learn.model(x))


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    learn = text_learner(tmp_path, review_data(tmp_path, Field(min_freq=2), n=60))
    file = learn.export(tmp_path / "m")
    model = read_archive(file, "learner").state["recipe"]["model"]
    for damage in (
        {"model": {**model, "head_sz": 10**9}},
        {"model": {**model, "encoder": {"arch": "lstm"}}},
        {"model": {**model, "encoder": {**model["encoder"], "n_layers": 10**9}}},
        {"data": {"kind": "texts"}},
        {"data": {**read_archive(file, "learner").state["recipe"]["data"], "field": {"itos": ["a"]}}},
    ):
        archive = read_archive(file, "learner")
        archive.state["recipe"].update(damage)
        bad = write_archive(tmp_path / "bad.learnkit", "learner", archive.weights, archive.state)
        with pytest.raises(CheckpointError):
            load_learner(bad)
