"""The routes, as a client sees them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from learnkit.serve import Limits, app
from tests.serve.fakes import Fake, FakePictures, FakeRatings, FakeTable, FakeTexts, b64, png, until

MODELS = {"table": FakeTable, "pictures": FakePictures, "texts": FakeTexts, "ratings": FakeRatings}
INSTANCES: dict[str, list[Any]] = {
    "table": [{"Age": 20, "State": "HE"}, {"Age": 70.5, "State": "BY"}, {"Age": None, "State": "unheard of"}],
    "pictures": [{"b64": b64(png())}, {"b64": b64(png((0, 0, 255)))}],
    "texts": ["worth the wait", "", "ümläut 😀"],
    "ratings": [{"user": 7, "item": 31}, {"user": "a", "item": "b"}],
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app({name: model() for name, model in MODELS.items()})) as client:
        yield client


@pytest.mark.parametrize("name", MODELS)
def test_predict_answers_for_each_instance_in_order(client: TestClient, name: str) -> None:
    model = MODELS[name]()
    response = client.post(f"/predict?model={name}", json={"instances": INSTANCES[name]})
    assert response.status_code == 200
    assert response.json() == {
        "model": {"name": name, "version": model.version, "created": model.created},
        "predictions": model.answers([model.instance(value) for value in INSTANCES[name]]),
    }


def test_the_first_model_is_asked_where_none_is_named(client: TestClient) -> None:
    assert client.post("/predict", json={"instances": []}).json()["model"]["name"] == "table"
    response = client.post("/predict?model=../etc/passwd", json={"instances": []})
    assert response.status_code == 404
    assert "there is: table, pictures, texts, ratings" in response.text


def test_pictures_come_as_a_form_too(client: TestClient) -> None:
    files = [("files", ("../../a.png", png())), ("files", ("b", png((0, 0, 255))))]
    form = client.post("/predict?model=pictures", files=files).json()["predictions"]
    assert (
        form == client.post("/predict?model=pictures", json={"instances": INSTANCES["pictures"]}).json()["predictions"]
    )
    assert [answer["label"] for answer in form] == ["yes", "no"]


def test_a_column_that_training_did_not_have_is_ignored_and_named(client: TestClient) -> None:
    row = {"Age": 20, "State": "HE"}
    plain = client.post("/predict", json={"instances": [row]})
    more = client.post("/predict", json={"instances": [row | {"Näme\r\nX: 1": "x", "b": 1, "Target": 3}]})
    assert more.json()["predictions"] == plain.json()["predictions"]
    assert more.headers["x-learnkit-warning"] == (r'ignored, as training did not have them: "N\u00e4me\r\nX: 1", "b"')
    assert "x-learnkit-warning" not in plain.headers


@pytest.mark.parametrize(
    ("name", "instances", "loc", "says"),
    [
        ("table", [{"Age": 1, "State": "HE"}, {"Age": 2}], ["instances", 1], "the column `State` is missing"),
        ("table", [{"Age": "old", "State": "HE"}], ["instances", 0], "`Age` must be a number; got 'old'"),
        (
            "table",
            [{"Age": [1], "State": "HE"}],
            ["instances", 0, "Age"],
            "`Age` must be a text, a number or null; got a list",
        ),
        ("table", ["Age"], ["instances", 0], 'a row as an object, e.g. {"Age": 39, "State": "HE"}; got a text'),
        ("texts", ["a", {"text": "b"}], ["instances", 1], "got an object with 'text'"),
        ("texts", ["a" * 100_001], ["instances", 0], "100,000 characters; got 100,001"),
        ("ratings", [{"user": 1}], ["instances", 0], "`item` is missing"),
        ("pictures", ["/etc/passwd"], ["instances", 0], '{"b64": "..."}'),
        ("pictures", [{"b64": b64(png())}, {"b64": "/etc/passwd"}], ["instances", 1], "no base64"),
        ("pictures", [{"b64": b64(b"nothing")}], ["instances", 0], "no picture that can be read"),
        ("pictures", [{"b64": b64(png())}, {"b64": b64(png(size=(90, 90))[:80])}], ["instances", 1], "cannot be read"),
        ("texts", {"a": 1}, ["instances"], "`instances` must be a list; got an object"),
        ("texts", ["a"] * 1001, ["instances"], "1,000 instances; got 1,001"),
    ],
)
def test_bad_input_is_named_with_its_place(
    client: TestClient, name: str, instances: Any, loc: list[Any], says: str
) -> None:
    response = client.post(f"/predict?model={name}", json={"instances": instances})
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert {*detail} == {"loc", "msg", "type"}
    assert detail["loc"] == ["body", *loc]
    assert says in detail["msg"]


def test_a_number_that_the_model_makes_infinite_is_no_answer() -> None:
    class Overflowing(FakeRatings):
        def score(self, item: Any) -> float:
            return float("inf") if item[0] == 1 else 1.0

    with TestClient(app({"a": Overflowing()})) as client:
        response = client.post("/predict", json={"instances": [{"user": 0, "item": 0}, {"user": 1, "item": 0}]})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "instances", 1]


def test_what_a_model_says_by_accident_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeTexts):
        def score(self, item: str) -> float:
            raise RuntimeError("/home/secret/model.onnx")

    with TestClient(app({"a": Broken()})) as client:
        response = client.post("/predict", json={"instances": ["a"]})
    assert response.status_code == 422
    assert "secret" not in response.text
    assert "secret" in caplog.text


def held_back(model: Fake, **limits: Any) -> TestClient:
    model.gate.clear()
    return TestClient(app({"a": model}, limits=Limits(**limits)))


def ask(client: TestClient, i: int, n: int = 1) -> Any:
    return client.post("/predict", json={"instances": [{"user": i, "item": j} for j in range(n)]})


def test_requests_that_come_together_are_run_together_and_get_their_own() -> None:
    model, alone = FakeRatings(), FakeRatings()
    with held_back(model, max_batch=8) as client, ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(ask, client, i, i % 3 + 1) for i in range(24)]
        assert model.running.wait(10)
        queue = client.app.state.service.variants.choose(None).served.batcher  # type: ignore[attr-defined]
        until(lambda: len(queue) + model.runs[0] == 48)
        model.gate.set()
        found = [job.result().json()["predictions"] for job in waiting]
    assert found == [alone.answers([(i, j) for j in range(i % 3 + 1)]) for i in range(24)]
    assert len(model.runs) <= 1 + 6  # 48 instances, 8 at once, the first by itself
    assert max(model.runs) == 8


def test_a_bad_picture_fails_its_own_request_only() -> None:
    model = FakePictures()
    cut_off = png(size=(90, 90))[:80]
    with held_back(model) as client, ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.post, "/predict", json={"instances": INSTANCES["pictures"]})
        assert model.running.wait(10)
        bad = pool.submit(client.post, "/predict", files=[("files", png()), ("files", cut_off)])
        good = pool.submit(client.post, "/predict", files=[("files", png((0, 0, 9)))])
        queue = client.app.state.service.variants.choose(None).served.batcher  # type: ignore[attr-defined]
        until(lambda: len(queue) >= 3)
        model.gate.set()
        assert [first.result().status_code, good.result().status_code, bad.result().status_code] == [200, 200, 422]
        assert bad.result().json()["detail"][0]["loc"] == ["body", "instances", 1]
    assert model.runs[:2] == [2, 3]


def test_a_full_queue_says_when_to_come_back() -> None:
    model = FakeRatings()
    with held_back(model, queue=2, rows=2) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, client, 0)
        assert model.running.wait(10)
        second = pool.submit(ask, client, 1, 2)
        queue = client.app.state.service.variants.choose(None).served.batcher  # type: ignore[attr-defined]
        until(lambda: len(queue) >= 2)
        response = ask(client, 2)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        model.gate.set()
        assert first.result().status_code == second.result().status_code == 200


def test_what_is_late_says_whether_it_waited_or_ran() -> None:
    model = FakeRatings()
    with held_back(model, seconds=0.2) as client:
        assert ask(client, 0).status_code == 504  # the model has it, and does not come back
        assert ask(client, 1).status_code == 503  # nobody came to it
        model.gate.set()
    assert model.runs == [1]


def test_stopping_finishes_what_was_accepted_and_takes_nothing_more() -> None:
    model = FakeRatings()
    with ThreadPoolExecutor(2) as pool, held_back(model, max_batch=1) as client:
        accepted = pool.submit(ask, client, 0, 3)
        assert model.running.wait(10)
        service = client.app.state.service  # type: ignore[attr-defined]
        stopping = pool.submit(service.stop)
        until(lambda: not service.ready)
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        assert ask(client, 1).status_code == 503
        assert not stopping.done()
        model.gate.set()
        assert len(accepted.result().json()["predictions"]) == 3
        stopping.result(10)
    assert model.runs == [1, 1, 1]


def test_a_key_is_asked_for_where_one_is_set() -> None:
    with TestClient(app({"a": FakeTexts()}, api_key="sesam-öffne")) as client:
        key = "sesam-öffne".encode()
        wrong: list[dict[str, str]] = [
            {},
            {"X-API-Key": "wrong"},
            {"Authorization": "Basic c2VzYW0="},
            {"Authorization": "Bearer"},
        ]
        for path in ("/", "/docs", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        for headers in wrong:
            response = client.post("/predict", json={"instances": []}, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == client.get("/v2/models/a").status_code == 401
        for sent in ({b"X-API-Key": key}, {b"Authorization": b"Bearer " + key}):
            assert client.post("/predict", json={"instances": []}, headers=sent).status_code == 200
    with pytest.raises(ValueError, match="must not be empty"):
        app({"a": FakeTexts()}, api_key=" ")


def test_another_page_may_ask_only_where_it_is_named() -> None:
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with TestClient(app({"a": FakeTexts()})) as client:
        assert "access-control-allow-origin" not in client.options("/predict", headers=asking).headers
    with TestClient(app({"a": FakeTexts()}, cors_origin="https://a.example", api_key="k")) as client:
        assert client.options("/predict", headers=asking).headers["access-control-allow-origin"] == "https://a.example"
        other = client.options("/predict", headers=asking | {"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_metrics_count_what_happened(client: TestClient) -> None:
    client.post("/predict", json={"instances": INSTANCES["table"]})
    client.post("/predict", json={"instances": [1]})
    client.get("/nothing/here")
    client.request("BREW", "/predict")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'learnkit_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'learnkit_requests_total{method="POST",route="/predict",status="422"} 1.0',
        'learnkit_requests_total{method="GET",route="other",status="404"} 1.0',
        'learnkit_requests_total{method="other",route="/predict",status="405"} 1.0',
        'learnkit_batch_instances_sum{model="table"} 3.0',
        'learnkit_queue_instances{model="table"} 0.0',
        'learnkit_run_seconds_count{model="table"} 1.0',
    ):
        assert line in lines
    assert any(line.startswith('learnkit_request_seconds_bucket{le="0.05",route="/predict"}') for line in lines)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "http" not in page.text.replace("http-equiv", "").split("<script>")[0]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert 'const models = ["table", "pictures", "texts", "ratings"];' in page.text


def test_docs_describe_the_routes(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/metrics", "/v2/models/{name}/infer"} <= {*paths}
    assert {"application/json", "multipart/form-data"} == {*paths["/predict"]["post"]["requestBody"]["content"]}


@pytest.mark.parametrize("name", ["", "a b", "..", "a/b", "ä"])
def test_names_of_models_fit_into_urls(name: str) -> None:
    with pytest.raises(ValueError, match="stands in URLs"):
        app({name: FakeTexts()})


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="`rows` must be a positive whole number"):
        Limits(rows=0)
    with pytest.raises(ValueError, match="`queue` must hold the rows of one request, 1000; got 10"):
        Limits(queue=10)
    assert Limits(max_wait_ms=0).max_wait_ms == 0
    with pytest.raises(ValueError, match="at least one model"):
        app({})
