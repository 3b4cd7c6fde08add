"""Real models of each application, exported, behind the command in a process without torch, asked by a real client."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from learnkit import Learner
from learnkit.serve import app
from tests import test_kinds as kinds

CODE = "import sys; sys.modules.update(torch=None, pandas=None, torchvision=None); from learnkit.serve.cli import main; sys.exit(main())"


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


# How a learner is made, raw items, and each as an instance of the server.
KINDS: dict[str, tuple[Callable[..., Learner], Any, list[Any]]] = {
    "pictures": (
        kinds.pictures,
        list(kinds.PIXELS),
        [{"b64": base64.b64encode(png(pixels)).decode()} for pixels in kinds.PIXELS],
    ),
    "table": (
        kinds.table,
        pd.DataFrame({"State": ["HE", "BY", "SH"], "Km": [0.0, 9.0, 30.5]}),
        [{"State": "HE", "Km": 0, "Sales": 3}, {"Km": 9, "State": "BY"}, {"State": "SH", "Km": 30.5, "Noise": "x"}],
    ),
    "ratings": (
        kinds.ratings,
        pd.DataFrame({"user": ["a", "b", "d"], "item": ["z", "x", "y"]}),
        [{"user": "a", "item": "z"}, {"user": "b", "item": "x"}, {"user": "d", "item": "y"}],
    ),
    "texts": (kinds.texts, ["to be", "that is the question", "not"], ["to be", "that is the question", "not"]),
    "own": (
        kinds.own,
        [np.arange(6), np.zeros(6), -np.arange(6)],
        [[0, 1, 2, 3, 4, 5], [0.0] * 6, [0, -1, -2, -3, -4, -5]],
    ),
}


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learner]:
    torch.manual_seed(0)
    found = {}
    for name, (make, _, _) in KINDS.items():
        found[name] = make(tmp_path_factory.mktemp(name))
        found[name].no_progress()
        found[name].fit(1e-2, 2)
    return found


@pytest.fixture(scope="module")
def client(learners: dict[str, Learner], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("onnx")
    files = [str(learn.to_onnx(folder / f"{name}.onnx")) for name, learn in learners.items()]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", *files, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            break
    else:
        pytest.fail("".join(lines))
    with httpx.Client(base_url=f"http://127.0.0.1:{found[1]}", timeout=60) as client:
        yield client
    process.terminate()
    process.communicate(timeout=60)


def predicted(answers: list[dict[str, Any]]) -> Any:
    """Return the numbers of answers, as `predict_raw` gives them."""
    if "value" in answers[0]:
        return [answer["value"] for answer in answers]
    return np.log([[*answer["probabilities"].values()] for answer in answers])


@pytest.mark.parametrize("name", KINDS)
def test_it_answers_as_the_learner_predicts(name: str, learners: dict[str, Learner], client: httpx.Client) -> None:
    _, items, instances = KINDS[name]
    learn = learners[name]
    response = client.post(f"/predict?model={name}", json={"instances": instances})
    assert response.status_code == 200, response.text
    answers = response.json()["predictions"]
    np.testing.assert_allclose(predicted(answers), np.squeeze(learn.predict_raw(items)), atol=1e-4)
    if "label" in answers[0]:
        assert [answer["label"] for answer in answers] == learn.predict_raw(items, decode=True)
    with ThreadPoolExecutor(8) as pool:  # one by one at the same time, they are run together, and none gets another's
        alone = [*pool.map(lambda one: client.post(f"/predict?model={name}", json={"instances": [one]}), instances * 4)]
    each = [response.json()["predictions"][0] for response in alone]
    np.testing.assert_allclose(predicted(each), np.concatenate([predicted(answers)] * 4), atol=1e-4)


def test_pictures_as_files(learners: dict[str, Learner], client: httpx.Client) -> None:
    files = [("files", ("a.png", png(pixels), "image/png")) for pixels in kinds.PIXELS]
    answers = client.post("/predict?model=pictures", files=files).json()["predictions"]
    np.testing.assert_allclose(predicted(answers), learners["pictures"].predict_raw(list(kinds.PIXELS)), atol=1e-4)


def test_tensors(client: httpx.Client) -> None:
    about = client.get("/v2/models/table").json()
    columns = {"State": ["HE", "BY"], "Km": [0.0, 9.0]}
    inputs = [
        {"name": one["name"], "datatype": one["datatype"], "shape": [2], "data": columns[one["name"]]}
        for one in about["inputs"]
    ]
    outputs = client.post("/v2/models/table/infer", json={"inputs": inputs}).json()["outputs"]
    answers = client.post("/predict?model=table", json={"instances": KINDS["table"][2][:2]}).json()["predictions"]
    np.testing.assert_allclose(outputs[0]["data"], predicted(answers), rtol=1e-5)


def test_a_form_can_be_made_of_a_table(client: httpx.Client) -> None:
    state, km = client.get("/v2/models/table").json()["parameters"]["columns"]
    assert state == {"name": "State", "number": False, "choices": ["BY", "HE", "NI", "SH"], "example": "BY"}
    assert (km["name"], km["number"], km["choices"]) == ("Km", True, None)
    assert isinstance(km["example"], float)


@pytest.mark.parametrize(
    ("name", "instances", "i", "says"),
    [
        ("table", [{"State": "HE", "Km": 1}, {"State": "HE"}], 1, "'Km'"),
        (
            "table",
            [{"State": "HE", "Km": 1}, {"State": "HE", "Km": "far"}],
            1,
            "'far' (str) in instance 1. Give it without quotes",
        ),
        ("table", [{"State": "HE", "Km": 1e300}], 0, "too large a number"),
        ("ratings", [{"user": "a"}], 0, '{"user": id, "item": id}'),
        ("pictures", [{"b64": base64.b64encode(png(kinds.PIXELS[0])[:60]).decode()}], 0, "cannot be read"),
        ("own", [[1, 2]], 0, ""),
        ("own", ["a"], 0, ""),
    ],
)
def test_what_the_runtime_cannot_take_is_refused(
    client: httpx.Client, name: str, instances: list[Any], i: int, says: str
) -> None:
    response = client.post(f"/predict?model={name}", json={"instances": instances})
    (detail,) = response.json()["detail"]
    assert (response.status_code, detail["loc"][:3]) == (422, ["body", "instances", i])
    assert says in detail["msg"]


def test_a_category_that_is_new_and_a_missing_number_are_answered(client: httpx.Client) -> None:
    rows = [{"State": "XX", "Km": None}, {"State": None, "Km": 3}]
    assert client.post("/predict?model=table", json={"instances": rows}).status_code == 200
    assert client.post("/predict?model=ratings", json={"instances": [{"user": "new", "item": 3}]}).status_code == 200


def test_what_the_runtime_remarks_on_is_no_error_and_is_not_kept(
    learners: dict[str, Learner], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = learners["ratings"].to_onnx(tmp_path / "ratings")
    with TestClient(app({"ratings": file}, threads=1)) as client:  # warnings are errors here
        response = client.post("/predict", json={"instances": [{"user": "new", "item": "x"}]})
    assert response.status_code == 200
    assert not recwarn.list


def test_which_columns_were_ignored(client: httpx.Client) -> None:
    response = client.post("/predict?model=table", json={"instances": KINDS["table"][2]})
    assert response.headers["x-learnkit-warning"].endswith(': "Noise"')


def test_a_file_that_is_no_model_is_said_by_the_command(tmp_path: Path) -> None:
    for name, content in (("missing", None), ("damaged", b"\x08\x07" * 100)):
        file = tmp_path / f"{name}.onnx"
        if content is not None:
            file.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-c", CODE, "serve", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("learnkit: ")
        assert name in done.stderr
