"""What Prometheus asks for: requests by route and status, how long they took, what was run together, what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from learnkit.serve.models import Served
from learnkit.serve.web import (
    ASGIApp,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Message,
    Receive,
    Scope,
    Send,
    generate_latest,
)

__all__ = ["CountRequests", "Metrics", "VariantMetrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter("learnkit_requests", "Requests answered.", ["route", "method", "status"], registry=own)
        self.latency = Histogram(
            "learnkit_request_seconds", "From head to answer.", ["route"], buckets=SECONDS, registry=own
        )
        self.batches = Histogram(
            "learnkit_batch_instances", "Instances run at once.", ["model"], buckets=BATCHES, registry=own
        )
        self.runs = Histogram("learnkit_run_seconds", "One run of a model.", ["model"], buckets=SECONDS, registry=own)
        self.queue = Gauge("learnkit_queue_instances", "Instances that wait.", ["model"], registry=own)
        self.models = Gauge("learnkit_model", "Models served.", ["model", "version", "created"], registry=own)
        self.asked = Counter(
            "learnkit_variant_requests", "Requests by share, answered or refused.", ["model", "outcome"], registry=own
        )
        self.seconds = Histogram(
            "learnkit_variant_seconds", "Answers by share.", ["model"], buckets=SECONDS, registry=own
        )
        self.feedback = Counter("learnkit_feedback", "Answers judged.", ["model", "verdict"], registry=own)
        self.drift = Gauge(
            "learnkit_drift", "Population stability index against training.", ["model", "input"], registry=own
        )
        self.shares = Gauge("learnkit_variant_share", "Share of the requests.", ["model"], registry=own)

    def ran(self, name: str) -> Callable[[int, float], None]:
        """Return what is to be told of each run of a model."""
        batches, runs = self.batches.labels(name), self.runs.labels(name)

        def note(n: int, seconds: float) -> None:
            batches.observe(n)
            runs.observe(seconds)

        return note

    def drifts(self, name: str) -> Callable[[str, float], None]:
        """Return what is to be told how far an input of a model is from training."""
        return lambda what, index: self.drift.labels(name, what).set(index)

    def of_variant(self, name: str) -> VariantMetrics:
        """Return the counters of a variant."""
        return VariantMetrics(self, name)

    def watch(self, models: Sequence[Served]) -> None:
        """Show which models there are, and how long their queues are."""
        for served in models:
            self.queue.labels(served.name).set_function(partial(len, served.batcher))
            self.models.labels(served.name, served.model.version, served.model.created).set(1)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class VariantMetrics:
    """The counters of one variant; looked up once, for each look-up costs as much as the counting."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._outcomes = {what: metrics.asked.labels(name, what) for what in ("answered", "refused")}
        self._verdicts = {
            right: metrics.feedback.labels(name, "right" if right else "wrong") for right in (True, False)
        }
        self._seconds, self._share = metrics.seconds.labels(name), metrics.shares.labels(name)

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        self._outcomes["answered"].inc()
        self._seconds.observe(seconds)

    def refused(self) -> None:
        """Count a request without an answer."""
        self._outcomes["refused"].inc()

    def judged(self, correct: bool) -> None:
        """Count feedback."""
        self._verdicts[correct].inc()

    def share(self, share: float) -> None:
        """Show the share."""
        self._share.set(share)


class CountRequests:
    """Counts each request with its route and status. A path that is no route counts as `other`: a client can make up many."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - begun)
