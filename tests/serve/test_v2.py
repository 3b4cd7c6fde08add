"""The Open Inference Protocol: what a standard client asks and reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from learnkit import __version__
from learnkit.serve import app
from tests.serve.fakes import FakePictures, FakeRatings, FakeTable, FakeTexts, b64, png

MODELS = {"table": FakeTable, "pictures": FakePictures, "texts": FakeTexts, "ratings": FakeRatings}
Tensors = dict[str, tuple[str, list[Any]]]
INPUTS: dict[str, Tensors] = {
    "table": {"Age": ("FP64", [20, None]), "State": ("BYTES", ["HE", "BY"])},
    "pictures": {"b64": ("BYTES", [b64(png()), b64(png((0, 0, 255)))])},
    "texts": {"text": ("BYTES", ["worth the wait", ""])},
    "ratings": {"user": ("INT64", [1, 2]), "item": ("BYTES", ["a", "b"])},
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app({name: model() for name, model in MODELS.items()})) as client:
        yield client


def asked(tensors: Tensors, **more: Any) -> dict[str, Any]:
    inputs = [{"name": name, "datatype": kind, "shape": [2], "data": data} for name, (kind, data) in tensors.items()]
    return {"inputs": inputs, **more}


def instances(name: str) -> list[Any]:
    columns = INPUTS[name]
    if name == "texts":
        return columns["text"][1]
    return [
        dict(zip(columns, cells, strict=True)) for cells in zip(*(data for _, data in columns.values()), strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_tensors_give_what_instances_give(client: TestClient, name: str) -> None:
    response = client.post(f"/v2/models/{name}/infer", json=asked(INPUTS[name], id="42"))
    assert response.status_code == 200
    body = response.json()
    about = client.get(f"/v2/models/{name}").json()
    assert {"model_name": name, "model_version": about["versions"][0], "id": "42"}.items() <= body.items()
    outputs = {tensor["name"]: tensor for tensor in body["outputs"]}
    for tensor in about["outputs"]:  # as the metadata say
        given = outputs[tensor["name"]]
        assert (given["datatype"], given["shape"]) == (tensor["datatype"], [2, *tensor["shape"][1:]])
    answers = client.post(f"/predict?model={name}", json={"instances": instances(name)}).json()["predictions"]
    if name == "ratings":
        assert outputs["value"]["data"] == [answer["value"] for answer in answers]
        return
    assert outputs["probabilities"]["data"] == [p for answer in answers for p in answer["probabilities"].values()]
    if name == "texts":
        assert outputs["labels"]["data"] == [c in answer["labels"] for answer in answers for c in ("no", "yes")]
    else:
        assert outputs["label"]["data"] == [answer["label"] for answer in answers]


def test_the_metadata_say_what_to_send(client: TestClient) -> None:
    body = client.get("/v2/models/table").json()
    assert body["inputs"] == [
        {"name": "Age", "datatype": "FP64", "shape": [-1]},
        {"name": "State", "datatype": "BYTES", "shape": [-1]},
    ]
    assert body["parameters"]["classes"] == ["no", "yes"]
    assert body["parameters"]["columns"][1] == {
        "name": "State", "number": False, "choices": ["BY", "HE"], "example": "BY"
    }  # fmt: skip
    assert client.get(f"/v2/models/table/versions/{body['versions'][0]}").json() == body


def test_a_column_of_rows_may_be_nested(client: TestClient) -> None:
    flat = asked(INPUTS["texts"])
    nested = {"inputs": [flat["inputs"][0] | {"shape": [2, 1], "data": [["worth the wait"], [""]]}]}
    outputs = [client.post("/v2/models/texts/infer", json=body).json()["outputs"] for body in (flat, nested)]
    assert outputs[0] == outputs[1]


def test_only_the_outputs_asked_for_are_sent(client: TestClient) -> None:
    body = asked(INPUTS["table"], outputs=[{"name": "label"}])
    outputs = client.post("/v2/models/table/infer", json=body).json()["outputs"]
    assert [tensor["name"] for tensor in outputs] == ["label"]


def test_inputs_have_as_many_rows(client: TestClient) -> None:
    body = asked(INPUTS["table"])
    body["inputs"][0] |= {"shape": [1], "data": [1]}
    response = client.post("/v2/models/table/infer", json=body)
    assert response.status_code == 422
    assert "1 in `Age`, 2 in `State`" in response.json()["error"]


def test_health_and_server(client: TestClient) -> None:
    assert client.get("/v2").json() == {"name": "learnkit", "version": __version__, "extensions": []}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/texts/ready").json() == {"name": "texts", "ready": True}
    missing = client.get("/v2/models/cats/ready")
    assert missing.status_code == 404
    assert "there is: table, pictures" in missing.json()["error"]
