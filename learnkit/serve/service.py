"""The way of one request: read its body, let its instances wait for the model, and say what became of them in time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from learnkit.runtime.model import RuntimeModel
from learnkit.serve.batching import Batcher, Job, QueueFullError, StoppedError
from learnkit.serve.drift import Drift
from learnkit.serve.limits import Limits, read_body
from learnkit.serve.metrics import Metrics
from learnkit.serve.models import Servable, Served, columns_of
from learnkit.serve.reading import Reading
from learnkit.serve.refusals import Refusal, refusal_of
from learnkit.serve.variants import Variants
from learnkit.serve.web import Request, run_in_threadpool

__all__ = ["Service"]

R = TypeVar("R", bound=Reading)

LONG = 2**16
"""Bytes of a body from which it is read in another thread, for others not to wait."""


class Service:
    """The models, each with its thread, and what they are asked.

    Parameters
    ----------
    models : mapping of str to Servable
        By name.
    limits : Limits
    shares : mapping of str to float, optional
        Of the requests that name no model; the first gets all by default.
    """

    def __init__(
        self, models: Mapping[str, Servable], limits: Limits, shares: Mapping[str, float] | None = None
    ) -> None:
        self.limits, self.metrics = limits, Metrics()
        self._drifts: list[Drift] = []
        self.models = {name: self._served(name, model) for name, model in models.items()}
        self.metrics.watch([*self.models.values()])
        self.variants = Variants(self.models, self.metrics, shares)

    def _served(self, name: str, model: Servable) -> Served:
        answers = model.answers
        if isinstance(model, RuntimeModel) and model.training:
            self._drifts.append(drift := Drift(name, model, self.metrics.drifts(name)))
            answers = drift.answers
        batcher = Batcher(
            answers,
            max_batch=self.limits.max_batch,
            max_wait_ms=self.limits.max_wait_ms,
            queue=self.limits.queue,
            ran=self.metrics.ran(name),
        )
        return Served(name, model, columns_of(model), batcher)

    def metrics_text(self) -> bytes:
        """Return what Prometheus asks for."""
        for drift in self._drifts:
            drift.show()
        return self.metrics.text()

    @property
    def ready(self) -> bool:
        """Whether instances are accepted."""
        return not any(served.batcher.stopped for served in self.models.values())

    def stop(self) -> None:
        """Accept nothing more, and finish what was accepted."""
        for served in self.models.values():
            served.batcher.stop()

    def named(self, name: str) -> Served:
        """Return the model of a name."""
        if name not in self.models:
            known = ", ".join(self.models)
            raise Refusal(404, f"there is no model {name!r} here; there is: {known}.", loc=("model",), kind="unknown")
        return self.models[name]

    async def answers(
        self, request: Request, served: Served, read: Callable[[bytes], R]
    ) -> tuple[list[dict[str, Any]], R]:
        """Return the answers for the instances in a request, in order.

        Parameters
        ----------
        request : Request
        served : Served
            The model asked.
        read : callable
            Turns the body into instances.

        Raises
        ------
        Refusal
            If it cannot be read, an instance cannot be answered, there is no room, or it takes too long.
        """
        _check_encoding(request)
        loop = asyncio.get_running_loop()
        job: Job | None = None
        try:
            async with asyncio.timeout(self.limits.seconds):
                served.batcher.expect()
                try:
                    body = await read_body(request.stream(), self.limits.body_bytes)
                    reading = read(body) if len(body) < LONG else await run_in_threadpool(read, body)
                    job = served.batcher.submit(reading.items, loop)
                finally:
                    loop.call_soon(served.batcher.arrived)  # after those that this turn of the loop reads, too
                found = await job.outcomes
        except TimeoutError:
            raise self._late(job) from None
        except asyncio.CancelledError:
            if job is not None:
                job.give_up()
            raise
        except QueueFullError:
            raise Refusal(
                429,
                f"{len(served.batcher):,} instances wait already. Send these again in a second.",
                kind="queue_full",
                headers={"Retry-After": "1"},
            ) from None
        except StoppedError:
            raise Refusal(503, "the server is being stopped.", kind="stopping", headers={"Retry-After": "5"}) from None
        for i, outcome in enumerate(found):
            if isinstance(outcome, Exception):
                raise refusal_of(outcome, ("body", "instances", i))
            if not _finite(outcome):
                raise Refusal(
                    422,
                    "the model gives no finite number for this instance. Look for a number in it that is far too large.",
                    loc=("body", "instances", i),
                    kind="not_finite",
                )
        return found, reading

    async def body(self, request: Request) -> bytes:
        """Return the body of a request that is not for a model."""
        _check_encoding(request)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await read_body(request.stream(), self.limits.body_bytes)
        except TimeoutError:
            raise self._late(None) from None

    def _late(self, job: Job | None) -> Refusal:
        seconds = f"within {self.limits.seconds:g} seconds"
        if job is None:
            return Refusal(408, f"the request did not arrive {seconds}.", kind="late")
        if job.give_up():
            return Refusal(504, f"the model did not answer {seconds}. Send fewer instances at a time.", kind="late")
        return Refusal(
            503,
            f"the model did not come to these instances {seconds}: too many waited.",
            kind="late",
            headers={"Retry-After": str(math.ceil(self.limits.seconds))},
        )


def _check_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(
            415,
            "the body must not be compressed: a few bytes may unfold to gigabytes.",
            loc=("header", "content-encoding"),
            kind="unsupported",
        )


def _finite(answer: Any) -> bool:
    """Say whether JSON can hold an answer."""
    if isinstance(answer, dict):
        return all(_finite(value) for value in answer.values())
    return not isinstance(answer, float) or math.isfinite(answer)
