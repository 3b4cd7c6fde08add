"""Which requests go to which model, how each did, and changing that while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from learnkit.serve import app
from learnkit.serve.batching import Batcher
from learnkit.serve.intervals import newcombe, wilson
from learnkit.serve.metrics import Metrics
from learnkit.serve.models import Served
from learnkit.serve.variants import Variants
from tests.serve.fakes import FakeRatings, FakeTexts

TOKEN = "sésame"
ADMIN: Any = {"Authorization": f"Bearer {TOKEN}".encode()}
KEYS = [f"client {i}" for i in range(20_000)]


def variants(**shares: float) -> Variants:
    served = {name: Served(name, FakeTexts(), (), Batcher(FakeTexts().answers)) for name in shares}
    return Variants(served, Metrics(), shares)


def chosen(among: Variants) -> list[str]:
    return [among.choose(key).served.name for key in KEYS]


def near(found: float, share: float, n: int) -> bool:
    """Say whether a count out of `n` is within five deviations of its share."""
    return abs(found - share) <= 5 * np.sqrt(share * (1 - share) / n)


@pytest.fixture
def client() -> Iterator[TestClient]:
    models = {"a": FakeTexts(), "b": FakeTexts()}
    with TestClient(app(models, shares={"a": 0.7, "b": 0.3}, admin_token=TOKEN)) as client:
        yield client


def ask(client: TestClient, key: str | None = None, n: int = 1) -> Any:
    headers: Any = {} if key is None else {"X-Variant-Key": key.encode()}
    response = client.post("/predict", json={"instances": ["fine"] * n}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("shares", [{"a": 0.9, "b": 0.1}, {"a": 3, "b": 1, "c": 1}, {"a": 0, "b": 1}])
def test_keys_are_shared_out_as_the_shares_say_and_always_alike(shares: dict[str, float]) -> None:
    found = chosen(variants(**shares))
    counts, total = Counter(found), sum(shares.values())
    assert all(near(counts[name] / len(KEYS), share / total, len(KEYS)) for name, share in shares.items())
    assert chosen(variants(**shares)) == found


def test_a_key_goes_where_it_went_in_another_process() -> None:
    """The hash is part of what users rely on: these are not to change."""
    assert "".join(chosen(variants(a=0.5, b=0.5))[:20]) == "aabbaaabaabbababbaaa"


def test_only_as_many_keys_move_as_shares_change() -> None:
    two, three = variants(a=0.9, b=0.1), variants(a=0.5, b=0.3, c=0.2)
    before = chosen(two), chosen(three)
    two.put({"a": 0.7, "b": 0.3})
    three.put({"a": 0.6, "b": 0.2, "c": 0.2})
    moved = [pair for pair in zip(before[0], chosen(two), strict=True) if pair[0] != pair[1]]
    assert {*moved} == {("a", "b")}
    assert near(len(moved) / len(KEYS), 0.2, len(KEYS))
    assert np.mean(np.array(before[1]) != np.array(chosen(three))) < 2 * 0.1
    two.put({"a": 0.9, "b": 0.1})
    assert chosen(two) == before[0]


def test_requests_without_a_key_are_shared_out_by_chance() -> None:
    among = variants(a=0.8, b=0.2)
    found = Counter(among.choose(None).served.name for _ in KEYS)
    assert near(found["b"] / len(KEYS), 0.2, len(KEYS))


def test_an_answer_says_who_gave_it_and_a_key_stays_there(client: TestClient) -> None:
    names = {ask(client, "müller")["model"]["name"] for _ in range(5)}
    assert len(names) == 1
    asked = [ask(client, f"k{i}")["model"]["name"] for i in range(40)]
    assert {*asked} == {"a", "b"}
    client.post("/predict?model=b", json={"instances": ["fine"]})  # chosen by the client, so no part of it
    client.post("/predict", json={"instances": [1]}, headers={"X-Variant-Key": "k0"})
    found = client.get("/variants").json()["variants"]
    assert sum(found[name]["requests"] for name in "ab") == 45
    assert found["a"]["requests"] == asked.count("a") + 5 * (names == {"a"})
    assert sum(found[name]["refused"] for name in "ab") == 1
    latency = found["a"]["latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"]
    metrics = client.get("/metrics").text
    for name in "ab":
        assert (
            f'learnkit_variant_requests_total{{model="{name}",outcome="answered"}} {found[name]["requests"]}.0'
            in metrics
        )
        assert f'learnkit_variant_seconds_count{{model="{name}"}} {found[name]["requests"]}.0' in metrics
        assert f'learnkit_variant_share{{model="{name}"}} {found[name]["share"]}' in metrics


def test_shares_change_while_it_runs_and_back(client: TestClient) -> None:
    for shares, name in (({"b": 2}, "b"), ({"a": 1}, "a")):
        response = client.put("/variants", json={"shares": shares}, headers=ADMIN)
        assert response.status_code == 200
        assert response.json()["variants"][name]["share"] == 1
        assert {ask(client, f"k{i}")["model"]["name"] for i in range(10)} == {name}
    assert [client.get("/variants").json()["variants"][name]["requests"] for name in "ab"] == [10, 10]


@pytest.mark.parametrize(
    "shares",
    [
        None, [], "a", {}, {"a": 0}, {"c": 1}, {"a": -1}, {"a": True}, {"a": "1"}, {"a": None}, {"a": 1e7}, {"a": 1e-300},
        {"a": 1, "b": [1]}, {"a": 1, "../b": 1},
    ],
)  # fmt: skip
def test_shares_that_are_none_change_nothing(client: TestClient, shares: Any) -> None:
    response = client.put("/variants", json={"shares": shares}, headers=ADMIN)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "shares"])
    assert client.get("/variants").json()["variants"]["b"]["share"] == 0.3


def test_shares_are_changed_by_the_token_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN.encode()},
        {"X-API-Key": "key"},
    ]
    models = {"a": FakeTexts(), "b": FakeTexts()}
    monkeypatch.setenv("LEARNKIT_ADMIN_TOKEN", TOKEN)
    with TestClient(app(models, api_key="key")) as client:
        for headers in wrong:
            response = client.put("/variants", json={"shares": {"b": 1}}, headers=headers)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/variants").status_code == client.post("/feedback", json={}).status_code == 401
        assert client.get("/variants", headers=ADMIN).status_code == 401  # it opens nothing else
        assert client.get("/variants", headers={"X-API-Key": "key"}).json()["variants"]["a"]["share"] == 1
        assert client.put("/variants", json={"shares": {"b": 1}}, headers=ADMIN).status_code == 200
    for none in ("", None):
        monkeypatch.delenv("LEARNKIT_ADMIN_TOKEN")
        if none is not None:
            monkeypatch.setenv("LEARNKIT_ADMIN_TOKEN", none)
        with TestClient(app(models)) as client:
            for headers in (*wrong, ADMIN, {"Authorization": "Bearer "}):
                assert client.put("/variants", json={"shares": {"b": 1}}, headers=headers).status_code == 403
        monkeypatch.setenv("LEARNKIT_ADMIN_TOKEN", "")


def test_feedback_is_counted_once_for_who_answered(client: TestClient) -> None:
    given = {"a": [0, 0], "b": [0, 0]}
    for i in range(60):
        answer = ask(client, f"k{i}")
        name, correct = answer["model"]["name"], i % 3 > 0
        response = client.post("/feedback", json={"id": answer["id"], "correct": correct})
        given[name][correct] += 1
        assert response.json() == {"model": answer["model"], "right": given[name][1], "wrong": given[name][0]}
        assert client.post("/feedback", json={"id": answer["id"], "correct": not correct}).status_code == 409
    found = client.get("/variants").json()
    (wrong_a, right_a), (wrong_b, right_b) = given.values()
    a, b = right_a / (right_a + wrong_a), right_b / (right_b + wrong_b)
    assert found["variants"]["a"]["interval"] == pytest.approx(wilson(right_a, right_a + wrong_a))
    assert found["variants"]["b"]["accuracy"] == pytest.approx(b)
    (difference,) = found["differences"]
    assert (difference["of"], difference["less"], difference["accuracy"]) == ("b", "a", pytest.approx(b - a))
    low, high = difference["interval"]
    assert low < difference["accuracy"] < high
    assert f'learnkit_feedback_total{{model="b",verdict="right"}} {right_b}.0' in client.get("/metrics").text


def test_of_several_predictions_it_must_be_said_which(client: TestClient) -> None:
    number = ask(client, n=3)["id"]
    for instance, status in ((None, 422), (3, 422), (-1, 422), (2, 200), (2, 409), (0, 200)):
        body = {"id": number, "correct": True, "instance": instance}
        assert client.post("/feedback", json=body).status_code == status
    with TestClient(app({"a": FakeTexts()})) as other:  # a process of its own secret
        assert other.post("/feedback", json={"id": number, "correct": True, "instance": 1}).status_code == 404


@pytest.mark.parametrize("number", ["", "a", ":", "a:1:0:0", "../../etc/passwd", "ä:1:2:3", "a" * 1000])
def test_a_number_that_was_made_up_is_unknown(client: TestClient, number: str) -> None:
    assert client.post("/feedback", json={"id": number, "correct": True}).status_code == 404
    real = ask(client)["id"]
    assert client.post("/feedback", json={"id": real.replace(":1:", ":2:"), "correct": True}).status_code == 404


def test_what_is_remembered_of_feedback_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnkit.serve.variants.FEEDBACK", 10)
    among = variants(a=1)
    (variant,) = among.by_name.values()
    for _ in range(50):
        among.judge(among.number(variant, 1), correct=True)
    assert variant.right == 50
    assert len(among._judged) == 10


def test_a_single_model_is_judged_too() -> None:
    with TestClient(app({"a": FakeRatings()})) as client:
        answer = client.post("/predict", json={"instances": [{"user": 1, "item": 2}]}).json()
        assert client.post("/feedback", json={"id": answer["id"], "correct": True}).json()["right"] == 1
        assert client.get("/variants").json()["differences"] == []
    with pytest.raises(ValueError, match="there is no model 'b' to give a share; there is: a"):
        app({"a": FakeRatings()}, shares={"b": 1})


def test_intervals_hold_what_they_promise() -> None:
    """Within them lies the truth about 95 times in a hundred; at the ends they stay between 0 and 1."""
    rng = np.random.default_rng(0)
    for p, q, n, m in ((0.9, 0.8, 60, 200), (0.5, 0.5, 30, 30), (0.02, 0.05, 400, 90)):
        draws = list(zip(rng.binomial(n, p, 4000).tolist(), rng.binomial(m, q, 4000).tolist(), strict=True))
        one = [low <= p <= high for low, high in (wilson(x, n) for x, _ in draws)]
        two = [low <= p - q <= high for low, high in (newcombe(x, n, y, m) for x, y in draws)]
        assert 0.92 < np.mean(one) < 0.98
        assert 0.93 < np.mean(two) < 0.985
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert newcombe(10, 10, 0, 10)[1] == 1
    assert newcombe(0, 10, 10, 10)[0] == -1
