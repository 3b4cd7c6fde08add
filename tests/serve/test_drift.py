"""What training saw is in the file, the server counts the same things alike, and says when they change."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from torch import nn

from learnkit import Learner
from learnkit.collab import CollabFilterDataset
from learnkit.core.errors import CheckpointError
from learnkit.runtime import load
from learnkit.runtime.drift import Histogram, Measures
from learnkit.serve import app
from learnkit.serve.drift import Drift
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

N = 300
RNG = np.random.default_rng(0)
STATES = np.array(["BY", "HE", "NI", "SH"])


def rows(n: int, *, shifted: bool = False) -> pd.DataFrame:
    p = [0.1, 0.1, 0.1, 0.7] if shifted else [0.4, 0.3, 0.2, 0.1]
    km = RNG.normal(30 if shifted else 20, 5, n)
    return pd.DataFrame({"State": RNG.choice(STATES, n, p=p), "Km": km, "Late": RNG.random(n) < 0.3})


def table(folder: Path) -> tuple[Learner, Any, Any]:
    frame = rows(2000)
    x, y, _, _ = proc_df(frame.assign(Sales=frame.Km * 2), "Sales", do_scale=True)
    assert y is not None
    data = ColumnarModelData.from_data_frame(folder, range(1500, 2000), x, y, bs=64)
    return data.get_learner(szs=[6]), frame[:1500].to_dict("records"), frame[1500:].to_dict("records")


def pictures(folder: Path) -> tuple[Learner, Any, Any]:
    brightness = RNG.integers(0, 200, (2 * N, 1, 1, 1))
    pixels = (brightness + RNG.integers(0, 56, (2 * N, 10, 12, 3))).astype(np.uint8)
    y = np.array(["dark", "light"])[(brightness.ravel() > 100).astype(int)]
    tfms = tfms_from_stats(([0.4, 0.5, 0.3], [0.3] * 3), 8)  # with augmentation in training
    sets = (pixels[:N], y[:N]), (pixels[N:], y[N:])
    data = ImageClassifierData.from_arrays(folder, *sets, 64, tfms, num_workers=0)
    return (
        ConvLearner.from_model_data(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), data),
        [*pixels[:N]],
        [*pixels[N:]],
    )


def texts(folder: Path) -> tuple[Learner, Any, Any]:
    words = np.array(["to", "be", "or", "not", "that", "is"])
    made = [" ".join(RNG.choice(words, RNG.integers(1, 12))) for _ in range(2 * N)]
    frame = pd.DataFrame({"text": made, "label": ["not" in text for text in made]})
    field = Field(tokenize=list)
    field.build_vocab(made[:40])
    data = TextData.from_dataframes(folder, field, "text", "label", frame[:N], frame[N:], bs=32)
    return data.get_model(None, 10, 6, 4, 6, 1), made[:N], made[N:]


def ratings(folder: Path) -> tuple[Learner, Any, Any]:
    frame = pd.DataFrame({"user": RNG.integers(0, 30, 2 * N), "item": RNG.integers(0, 20, 2 * N)})
    frame["rating"] = RNG.integers(1, 6, 2 * N)
    cf = CollabFilterDataset.from_data_frame(folder, frame, "user", "item", "rating", duplicates="keep")
    pairs = list(zip(frame.user.tolist(), frame.item.tolist(), strict=True))
    return cf.get_learner(3, val_idxs=range(N, 2 * N), bs=64), pairs[:N], pairs[N:]


KINDS: dict[str, Callable[[Path], tuple[Learner, Any, Any]]] = {
    "table": table,
    "pictures": pictures,
    "texts": texts,
    "ratings": ratings,
}
INPUTS = {
    "table": {"State", "Km", "Late"},
    "pictures": {"brightness"},
    "texts": {"tokens", "unknown tokens"},
    "ratings": {"unknown users", "unknown items"},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any, Any]]:
    torch.manual_seed(0)
    found = {}
    for name, make in KINDS.items():
        learn, trained, validated = make(tmp_path_factory.mktemp(name))
        learn.no_progress()
        learn.fit(1e-2, 1)
        before = torch.get_rng_state()
        found[name] = learn.to_onnx(tmp_path_factory.mktemp(name) / "m"), trained, validated
        assert torch.equal(before, torch.get_rng_state())
    return found


@pytest.mark.parametrize("name", KINDS)
def test_the_file_counts_what_the_server_counts_for_the_same_items(
    name: str, exported: dict[str, tuple[Path, Any, Any]]
) -> None:
    file, trained, validated = exported[name]
    model, told = load(file), dict[str, float]()
    assert {*model.training} == INPUTS[name] | {"(predictions)"}
    measures = Measures(model.meta)
    for items, is_validation in ((trained, False), (validated, True)):
        inputs = model.prepare(items)
        for what, values in measures.named(measures.reduced(inputs, model.run(inputs))).items():
            histogram = model.training[what]
            if (what == "(predictions)") is is_validation:
                moved = np.abs(histogram.count(values) - histogram.counts).sum()
                assert moved <= (4 if is_validation else 0)  # a prediction may lie on an edge, to the last bit
    drift = Drift("a", model, told.__setitem__)
    for start in range(0, len(validated) * 2, 7):
        drift.answers((validated * 2)[start : start + 7])
    drift.show()
    assert {*told} == {*model.training}
    assert max(told.values()) < 0.1
    assert len(json.dumps(model.meta["training"])) < 2000


def drifts(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("learnkit_drift{")]
    return {line.split('input="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


def ask(client: TestClient, frame: pd.DataFrame) -> None:
    response = client.post("/predict", json={"instances": frame.to_dict("records")})
    assert response.status_code == 200, response.text


def test_the_server_shows_drift_and_warns_once(
    exported: dict[str, tuple[Path, Any, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "learnkit.serve"), TestClient(app({"a": exported["table"][0]})) as client:
        ask(client, rows(499))
        assert drifts(client) == {}
        ask(client, rows(501))
        found = drifts(client)
        assert {*found} == INPUTS["table"] | {"(predictions)"}
        assert max(found.values()) < 0.1
        assert not caplog.records
    with caplog.at_level(logging.WARNING, "learnkit.serve"), TestClient(app({"a": exported["table"][0]})) as client:
        for _ in range(3):
            ask(client, rows(500, shifted=True))
            found = drifts(client)
        assert found["Late"] < 0.1
        assert min(found["State"], found["Km"], found["(predictions)"]) > 0.25
        assert sorted(str(record.args[1]) for record in caplog.records if isinstance(record.args, tuple)) == [
            "'(predictions)'",
            "'Km'",
            "'State'",
        ]


def test_what_was_long_ago_counts_less(
    exported: dict[str, tuple[Path, Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.serve.drift.MANY", 2000)
    told = dict[str, float]()
    drift = Drift("a", load(exported["table"][0]), told.__setitem__)
    for shifted in (False, True, False):
        for _ in range(40):
            drift.answers(rows(300, shifted=shifted).to_dict("records"))
        drift.show()
        assert (told["Km"] > 0.25) is shifted
    assert drift._counts["Km"].sum() < 2300


def test_a_file_that_does_not_say_opens_and_a_damaged_one_is_refused(
    exported: dict[str, tuple[Path, Any, Any]], tmp_path: Path
) -> None:
    def rewritten(training: Any) -> Path:
        network = onnx.load(exported["table"][0])
        meta = json.loads(network.metadata_props[0].value)
        del meta["training"]
        network.metadata_props[0].value = json.dumps(meta if training is None else meta | {"training": training})
        onnx.save(network, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    with TestClient(app({"a": rewritten(None)})) as client:
        ask(client, rows(600))
        assert drifts(client) == {}
    for damaged in (7, {"histograms": {"Km": {"edges": [1], "counts": [1]}}}):
        with pytest.raises(CheckpointError, match="what it says of its training cannot be read"):
            load(rewritten(damaged))
    other = {"histograms": {"not a column": Histogram.of(np.arange(200)).to_data()}}
    with TestClient(app({"a": rewritten(other)})) as client:
        ask(client, rows(600))
        assert drifts(client) == {}
