"""Files that an earlier version exported open today and predict what they predicted then.

Those in `tests/earlier` were written before preparation and model became objects, one of every kind, with what their learners
predicted (`expected.json`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from learnkit import Learner, load_learner
from learnkit.text import Field

FILES = Path(__file__).parent / "earlier"
EXPECTED = json.loads((FILES / "expected.json").read_text())
ROWS = pd.DataFrame({"State": ["HE", "BY", None], "Km": [0.0, 1.5, 3.0]})


def open_earlier(name: str) -> Any:
    models = {"pictures": nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "plain": nn.Linear(3, 2)}
    options: dict[str, Any] = {"model": models[name]} if name in models else {}
    learn = load_learner(FILES / f"{name}.learnkit", **options)
    if name in ("texts", "stream"):  # how texts were split is code, which is given back
        learn.data.field = Field.from_dict(learn.field.to_dict(), str.split)
    return learn


def predict(name: str, learn: Any) -> Any:
    if name == "pictures":
        pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 12, 3), dtype=np.uint8)
        return learn.predict_files(pixels[:3])
    if name.startswith("table"):
        return learn.predict_df(ROWS)
    if name == "texts":
        return learn.predict_texts(["to be", "the question"])
    return learn.predict_array(torch.eye(3))


@pytest.mark.parametrize("name", ["pictures", "plain", "table_mlp", "table_ple", "texts"])
def test_what_it_predicted_then_it_predicts_today(name: str) -> None:
    learn = open_earlier(name)
    # Pictures are resized by Pillow since, which rounds some pixels to the next level.
    rtol, atol = (1e-2, 5e-3) if name == "pictures" else (1e-4, 1e-5)
    np.testing.assert_allclose(predict(name, learn), EXPECTED[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["ratings_explicit", "ratings_implicit"])
def test_ratings_are_answered_as_then(name: str) -> None:
    learn = open_earlier(name)
    score, items = EXPECTED[name]
    assert learn.predict("a", "z") == pytest.approx(score, rel=1e-4)
    assert learn.recommend("a", n=2).item.tolist() == items


def test_a_language_model_reads_on() -> None:
    learn = open_earlier("stream")
    assert type(learn).__name__ == "LanguageLearner"
    assert {"to", "be", "or", "not", "that", "is", "the", "question"} <= set(learn.field.vocab.itos)
    np.testing.assert_allclose(np.exp(learn.predict_raw(["to be"])).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("file", sorted(FILES.glob("*.learnkit")), ids=lambda file: file.stem)
def test_written_again_it_says_the_same(file: Path, tmp_path: Path) -> None:
    """What is exported today of a learner that was opened opens too, with the same preparation, model and weights."""
    first: Learner = open_earlier(file.stem)
    again = first.export(tmp_path / file.name)
    options: dict[str, Any] = {} if first.spec else {"model": open_earlier(file.stem).model}
    second = load_learner(again, **options)
    assert all(torch.equal(x, second.model.state_dict()[name]) for name, x in first.model.state_dict().items())
    assert first.spec == second.spec
    assert (first.prep is None) == (second.prep is None)
    assert first.prep is None or json.dumps(first.prep.to_data(), default=str) == json.dumps(
        second.prep.to_data(), default=str
    )
