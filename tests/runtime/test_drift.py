"""What is counted, and that a difference shows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learnkit.runtime.drift import PREDICTIONS, Histogram, Measures, expected_noise, read_training, stability_index

RNG = np.random.default_rng(0)


def draws(name: str, n: int, *, shifted: bool = False) -> NDArray[Any]:
    if name == "numbers":
        return RNG.normal(float(shifted), 1, n).astype(np.float32)
    if name == "mostly nothing":
        return np.where(RNG.random(n) < (0.5 if shifted else 0.9), 0, RNG.exponential(1, n)).astype(np.float32)
    if name == "always the same":
        return np.full(n, 3 + 0.1 * shifted, np.float32)
    if name == "truth":
        return (RNG.random(n) < (0.6 if shifted else 0.2)).astype(np.float32)
    if name == "never":
        return RNG.random(n) < 0.3 * shifted
    p = 1 / np.arange(1, 201)
    return RNG.choice(200, n, p=(p[::-1] if shifted else p) / p.sum())  # many codes, few of them often


@pytest.mark.parametrize("name", ["numbers", "mostly nothing", "always the same", "truth", "never", "codes"])
def test_the_same_distribution_is_stable_and_a_shifted_one_is_not(name: str) -> None:
    training = Histogram.of(draws(name, 3000))
    training = Histogram.from_data(json.loads(json.dumps(training.to_data())))
    assert len(training.counts) <= 21
    assert training.counts.sum() == 3000
    for n in (500, 5000):
        assert stability_index(training.counts, training.count(draws(name, n))) < 0.1
        assert stability_index(training.counts, training.count(draws(name, n, shifted=True))) > 0.25


def test_the_index_is_none_for_equal_shares_and_the_same_both_ways() -> None:
    a, b = np.array([10.0, 30, 0, 60]), np.array([40.0, 0, 20, 40])
    assert stability_index(a * 1000, a * 1000) == 0
    assert stability_index(a, b) == pytest.approx(stability_index(b, a))
    assert stability_index(a, b) > 0
    large = np.array([0.2, 0.8]) * 1e9, np.array([0.5, 0.5]) * 1e9
    assert stability_index(*large) == pytest.approx(0.3 * np.log(0.5 / 0.2) - 0.3 * np.log(0.5 / 0.8))


def test_chance_gives_as_much_as_is_expected() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    pairs = [(RNG.multinomial(900, p), RNG.multinomial(600, p)) for _ in range(2000)]
    found = np.mean([stability_index(a, b) for a, b in pairs])
    assert found == pytest.approx(expected_noise(*pairs[0]), rel=0.15)


@pytest.mark.parametrize(
    "data",
    [
        [], "a", {}, {"histograms": []}, {"histograms": {"a": None}}, {"histograms": {"a": {}}},
        {"histograms": {"a": {"edges": [1.0], "counts": [1]}}},
        {"histograms": {"a": {"edges": [], "counts": [1]}}},
        {"histograms": {"a": {"edges": [2.0, 1.0], "counts": [1, 1, 1]}}},
        {"histograms": {"a": {"edges": ["x"], "counts": [1, 1]}}},
        {"histograms": {"a": {"codes": [10**30], "counts": [1, 1]}}},
        {"histograms": {"a": {"codes": [1], "counts": [0, 0]}}},
        {"histograms": {"a": {"codes": [1], "counts": [-1, 2]}}},
        {"histograms": {"a": {"codes": [1], "counts": [float("nan"), 2]}}},
        {"histograms": {"a": {"codes": [*range(2000)], "counts": [1] * 2001}}},
    ],
)  # fmt: skip
def test_what_is_no_histogram_is_refused(data: Any) -> None:
    with pytest.raises((AttributeError, KeyError, OverflowError, TypeError, ValueError)):
        read_training(data)


def test_several_labels_count_each_and_none_as_one() -> None:
    meta = {"kind": "arrays", "task": "multi", "prep": {}, "classes": ["a", "b"], "threshold": 0.4}
    measures = Measures(meta)
    predictions = np.array([[0.4, 0.9], [0.1, 0.1], [0.0, 0.5]], np.float32)
    (name, labels), *none = measures.named(measures.reduced({}, predictions)).items()
    assert (name, sorted(labels.tolist()), none) == (PREDICTIONS, [0, 1, 1, 2], [])
    several = Measures(meta | {"task": "value", "classes": None})
    assert [*several.named(several.reduced({}, predictions))] == [f"{PREDICTIONS} 0", f"{PREDICTIONS} 1"]
