"""What arrives together is run together, and nobody can tell from the answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit.serve.batching import Batcher, QueueFullError, StoppedError, outcomes


class Doubling:
    """Doubles numbers, refuses negative ones; held back while `gate` is closed."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate, self.running = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.runs.append(len(items))
        self.running.set()
        self.gate.wait(30)
        if bad := [item for item in items if item < 0]:
            raise ValueError(f"negative: {bad}")
        return [2 * item for item in items]


def told(outcome: Any) -> Any:
    return str(outcome) if isinstance(outcome, Exception) else outcome


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(-2, 20), max_size=9), max_size=20),
    st.integers(1, 16),
    st.sampled_from([0.0, 1.0]),
)
def test_each_gets_what_it_would_get_alone(requests: list[list[int]], max_batch: int, max_wait_ms: float) -> None:
    model = Doubling()
    batcher = Batcher(model, max_batch=max_batch, max_wait_ms=max_wait_ms)
    jobs = [batcher.submit(items) for items in requests]
    model.gate.set()
    batcher.stop()  # finishes what it accepted
    found = [[told(outcome) for outcome in job.outcomes.result(0)] for job in jobs]
    assert found == [[2 * x if x >= 0 else f"negative: [{x}]" for x in items] for items in requests]
    assert max(model.runs, default=0) <= max_batch


@pytest.fixture
def held() -> Iterator[tuple[Batcher, Doubling]]:
    """A model that is running one instance, and does not come back until its gate is opened."""
    model = Doubling()
    batcher = Batcher(model, max_batch=8, queue=20)
    batcher.submit([1])
    assert model.running.wait(10)
    yield batcher, model
    model.gate.set()
    batcher.stop()


def test_what_waits_while_the_model_runs_is_run_together(held: tuple[Batcher, Doubling]) -> None:
    batcher, model = held
    jobs = [batcher.submit([i, i + 1]) for i in range(8)]
    model.gate.set()
    assert [job.outcomes.result(10) for job in jobs] == [[2 * i, 2 * i + 2] for i in range(8)]
    assert model.runs == [1, 8, 8]


def test_there_is_room_for_so_many_and_no_more(held: tuple[Batcher, Doubling]) -> None:
    batcher, _ = held
    batcher.submit([0] * 19)
    with pytest.raises(QueueFullError):
        batcher.submit([0, 0])
    batcher.submit([0])
    assert len(batcher) == 20


def test_what_is_given_up_before_its_turn_is_not_run(held: tuple[Batcher, Doubling]) -> None:
    batcher, model = held
    job, other = batcher.submit([5, 6]), batcher.submit([7])
    assert not job.give_up()
    model.gate.set()
    assert other.outcomes.result(10) == [14]
    assert model.runs == [1, 1]
    assert not job.outcomes.done()


def test_what_is_given_up_while_it_runs_is_said_to_have_begun() -> None:
    model = Doubling()
    batcher = Batcher(model, max_batch=1)
    job = batcher.submit([1, 2, 3])
    assert model.running.wait(10)
    assert job.give_up()
    model.gate.set()
    batcher.stop()
    assert model.runs == [1]  # the rest was left out


def test_after_stop_nothing_is_accepted() -> None:
    batcher = Batcher(Doubling())
    batcher.stop()
    with pytest.raises(StoppedError):
        batcher.submit([1])


def test_a_request_that_is_being_read_is_waited_for() -> None:
    model = Doubling()
    model.gate.set()
    batcher = Batcher(model, max_wait_ms=30_000)  # longer than the test may take: it ends when the second is there
    batcher.expect()
    first = batcher.submit([1])
    second = batcher.submit([2])
    batcher.arrived()
    assert first.outcomes.result(10) + second.outcomes.result(10) == [2, 4]
    assert model.runs == [2]
    assert batcher.submit([3]).outcomes.result(10) == [6]  # alone: at once, though it might wait for 30 s
    batcher.stop()


def test_of_a_batch_that_fails_the_others_are_answered_in_few_runs() -> None:
    model = Doubling()
    model.gate.set()
    found = outcomes(model, [*range(40), -1, *range(23)])
    assert [told(outcome) for outcome in found] == [
        *(2 * i for i in range(40)),
        "negative: [-1]",
        *(2 * i for i in range(23)),
    ]
    assert len(model.runs) == 13  # two for each halving of 64


def test_a_model_that_loses_an_instance_is_no_answer_for_another() -> None:
    found = outcomes(lambda items: items[:-1], [1, 2])
    assert [told(outcome) for outcome in found] == ["the model gave 0 answers for 1 instances."] * 2
