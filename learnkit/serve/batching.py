"""Requests that arrive together are run together: a model takes sixty rows in little more time than one.

What waits is taken by one thread per model, up to `max_batch` instances at once, and each request gets the outcomes of its own.
While the model runs the next ones gather by themselves, so there is nothing to wait for; only when a request is known to be
on its way (it is being read) does the thread wait for it, `max_wait_ms` at most. A lone request is run at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Thread
from typing import Any

__all__ = ["Batcher", "Job", "QueueFullError", "StoppedError"]

Run = Callable[[list[Any]], Sequence[Any]]


class QueueFullError(Exception):
    """There is no room for these instances now."""


class StoppedError(Exception):
    """Nothing is accepted any more."""


class Job:
    """The instances of one request, and what became of each: an answer, or the exception it raised.

    Attributes
    ----------
    outcomes : Future of list
        Set when all instances have been run: one of asyncio for a job with a loop, to be awaited there.
    """

    def __init__(self, items: Sequence[Any], loop: asyncio.AbstractEventLoop | None) -> None:
        self.items, self.loop = items, loop
        self.outcomes: Any = Future() if loop is None else loop.create_future()
        self.begun = self.given_up = False
        self._found: list[Any] = [None] * len(items)
        self._left = len(items)

    def give_up(self) -> bool:
        """Leave out what has not been run yet; return whether some had been, or was being."""
        self.given_up = True
        return self.begun

    def put(self, i: int, outcome: Any) -> bool:
        """Note what became of an instance; return whether it was the last."""
        self._found[i] = outcome
        self._left -= 1
        return self._left == 0

    def settle(self) -> None:
        """Hand the outcomes to who waits for them, if somebody still does."""
        if not self.given_up and not self.outcomes.done():
            self.outcomes.set_result(self._found)


class Batcher:
    """Runs a model on whatever waits for it, in one thread.

    Parameters
    ----------
    run : callable
        Takes a list of instances, gives an answer for each.
    max_batch : int
        Instances at once.
    max_wait_ms : float
        How long to wait for a request that is being read.
    queue : int
        Instances that may wait.
    ran : callable, optional
        Told after each run how many instances it had and how many seconds it took.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int = 64,
        max_wait_ms: float = 2.0,
        queue: int = 4000,
        ran: Callable[[int, float], None] | None = None,
    ) -> None:
        self._run, self._ran = run, ran
        self._max_batch, self._max_wait, self._queue = max_batch, max_wait_ms / 1000, queue
        self._waiting: deque[tuple[Job, int]] = deque()
        self._expected = 0
        self._stopped = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def __len__(self) -> int:
        """Return how many instances wait."""
        return len(self._waiting)

    @property
    def stopped(self) -> bool:
        """Whether nothing is accepted any more."""
        return self._stopped

    def expect(self) -> None:
        """Say that a request is being read, which is worth waiting for a little."""
        with self._changed:
            self._expected += 1

    def arrived(self) -> None:
        """Say that it has been read, or will not come."""
        with self._changed:
            self._expected -= 1
            if not self._expected and self._waiting:
                self._changed.notify()

    def submit(self, items: Sequence[Any], loop: asyncio.AbstractEventLoop | None = None) -> Job:
        """Let instances wait for their turn.

        Parameters
        ----------
        items : sequence
        loop : event loop, optional
            The one that runs, for a job that is awaited in it.

        Raises
        ------
        QueueFullError
            If they are more than there is room for.
        StoppedError
            After `stop`.
        """
        job = Job(items, loop)
        with self._changed:
            if self._stopped:
                raise StoppedError
            if len(self._waiting) + len(items) > self._queue:
                raise QueueFullError
            if self._thread is None:  # not before: a process that only imports or forks has no thread of ours
                self._thread = Thread(target=self._work, name="learnkit-batches", daemon=True)
                self._thread.start()
            idle = not self._waiting
            self._waiting.extend((job, i) for i in range(len(items)))
            if idle or len(self._waiting) >= self._max_batch:
                self._changed.notify()
        if not items:
            job.settle()
        return job

    def stop(self) -> None:
        """Accept nothing more, and return when what was accepted is done."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            begun = time.perf_counter()
            found = outcomes(self._run, [job.items[i] for job, i in batch])
            if self._ran is not None:
                self._ran(len(batch), time.perf_counter() - begun)
            complete = [job for (job, i), outcome in zip(batch, found, strict=True) if job.put(i, outcome)]
            # A loop is woken once for all of them: at each waking the threads would fight for the interpreter.
            for loop in {job.loop for job in complete}:
                of_loop = [job for job in complete if job.loop is loop]
                if loop is None:
                    settle(of_loop)
                else:
                    with suppress(RuntimeError):  # it is closed, so nobody waits
                        loop.call_soon_threadsafe(settle, of_loop)

    def _next(self) -> list[tuple[Job, int]]:
        """Return what is to be run at once; nothing when all is done and nothing more will come."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._stopped:
                        return []
                    self._changed.wait()
                self._let_them_gather()
                batch: list[tuple[Job, int]] = []
                while self._waiting and len(batch) < self._max_batch:
                    job, i = self._waiting.popleft()
                    if not job.given_up:
                        job.begun = True
                        batch.append((job, i))
                if batch:
                    return batch

    def _let_them_gather(self) -> None:
        until = time.monotonic() + self._max_wait
        while len(self._waiting) < self._max_batch and self._expected and not self._stopped:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)


def settle(jobs: Sequence[Job]) -> None:
    """Hand over the outcomes of several jobs."""
    for job in jobs:
        job.settle()


def outcomes(run: Run, items: list[Any]) -> list[Any]:
    """Return an answer for each item, or the exception it raises.

    A batch that fails is halved until what fails is a single item: the others are answered all the same.
    """
    try:
        answers = list(run(items))
        if len(answers) != len(items):
            raise ValueError(f"the model gave {len(answers)} answers for {len(items)} instances.")
        return answers
    except Exception as exc:  # whatever a model raises belongs to the request, and must not end the thread
        if len(items) == 1:
            return [exc]
        half = len(items) // 2
        return [*outcomes(run, items[:half]), *outcomes(run, items[half:])]
