"""A model as a function of events: those of a queue, and those of a gateway."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import CheckpointError, DataError
from learnkit.runtime import handler, load
from learnkit.tabular import ColumnarModelData, proc_df


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("function")
    frame = pd.DataFrame({"km": [1.0, 2.0, 3.0, 4.0] * 5, "sales": [2.0, 4.0, 6.0, 8.0] * 5})
    df, y, _, mapper = proc_df(frame, "sales")
    data = ColumnarModelData.from_data_frame(folder, range(16, 20), df, np.asarray(y), bs=8, mapper=mapper)
    return data.get_learner().to_onnx(folder / "m")


ROWS = [{"km": 1.5}, {"km": 3}]


def test_an_event_of_instances_is_answered_with_predictions(file):
    found = handler(file)({"instances": ROWS}, None)
    model = load(file)
    assert found["predictions"] == model.answers(ROWS)
    assert found["model"] == {"name": "m.onnx", "version": model.version, "created": model.created}


@pytest.mark.parametrize("packed", [False, True])
def test_a_request_of_a_gateway_is_answered_with_a_response(file, packed):
    body = json.dumps({"instances": ROWS})
    event = {"body": base64.b64encode(body.encode()).decode() if packed else body, "isBase64Encoded": packed}
    found = handler(file)(event, None)
    assert found["statusCode"] == 200
    assert json.loads(found["body"])["predictions"] == load(file).answers(ROWS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "the body is no JSON"),
        ("[" * 100_000, "the body is no JSON"),
        (None, "the body is no JSON"),
        ('{"instances": [{"km": NaN}]}', "NaN is no number in JSON"),
        ("[]", "must be {"),
        ('{"instances": []}', "a list of 1 to 1,000"),
        ('{"instances": 3}', "a list of 1 to 1,000"),
        ('{"instances": [{"km": 1}, {"kilometres": 1}]}', "instance 1: the row has no column 'km'"),
        ('{"instances": [{"km": "far"}]}', "holds 'far'"),
        (json.dumps({"instances": [{"km": 1}] * 1001}), "a list of 1 to 1,000"),
    ],
)
def test_what_cannot_be_answered_is_said(file: Path, body: Any, words: str) -> None:
    found = handler(file)({"body": body}, None)
    assert found["statusCode"] == 422
    assert words in json.loads(found["body"])["detail"][0]["msg"]


def test_what_comes_without_a_gateway_raises(file):
    with pytest.raises(DataError, match="instance 0: a row must be an object"):
        handler(file)({"instances": [3]}, None)
    with pytest.raises(CheckpointError, match="cannot be read"):
        handler("nowhere.onnx")
