"""Several models for one question: which requests go to which, how each did, and by how much one is better than another.

A request that names no model goes to one by its share: with a key always to the same, without one by chance. Its answer has a
signed number; who learns later whether the answer was right sends that number back. So nothing is remembered of answers, and
what is remembered of feedback is bounded.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import random
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from learnkit.serve.intervals import newcombe, wilson
from learnkit.serve.metrics import Metrics
from learnkit.serve.models import Served
from learnkit.serve.refusals import Refusal

__all__ = ["Variant", "Variants"]

LATENCIES = 2048
"""Requests, the last of a variant, that its latencies are told of."""
FEEDBACK = 100_000
"""Answers of which it is remembered that there was feedback, so that none counts twice."""
LARGEST = 1e6
"""Of a share: they are weights, and only their proportions count."""

log = logging.getLogger(__name__)


class Variant:
    """What became of the requests that went to a model by its share.

    Attributes
    ----------
    share : float
        Of the requests without `?model=`.
    requests, refused : int
        Answered, and not.
    right, wrong : int
        Answers of which somebody said so.
    """

    def __init__(self, served: Served, metrics: Metrics) -> None:
        self.served, self.share = served, 0.0
        self.requests = self.refused = self.right = self.wrong = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._metrics = metrics.of_variant(served.name)

    def answered(self, seconds: float) -> None:
        """Note an answer."""
        self.requests += 1
        self._latencies.append(seconds)
        self._metrics.answered(seconds)

    def refuse(self) -> None:
        """Note a request without an answer."""
        self.refused += 1
        self._metrics.refused()

    def judge(self, *, correct: bool) -> None:
        """Note that an answer was right, or wrong."""
        if correct:
            self.right += 1
        else:
            self.wrong += 1
        self._metrics.judged(correct)

    def give(self, share: float) -> None:
        """Set its share."""
        self.share = share
        self._metrics.share(share)

    def report(self) -> dict[str, Any]:
        """Return all of it, with the share of right answers and its 95% interval."""
        n = self.right + self.wrong
        return {
            "version": self.served.model.version,
            "share": self.share,
            "requests": self.requests,
            "refused": self.refused,
            "latency_ms": _latency([*self._latencies]),
            "right": self.right,
            "wrong": self.wrong,
            "accuracy": self.right / n if n else None,
            "interval": [*wilson(self.right, n)] if n else None,
        }


class Variants:
    """The models of an application, and their shares of the requests that name none.

    Parameters
    ----------
    models : mapping of str to Served
    metrics : Metrics
    shares : mapping of str to float, optional
        Weights; a model that is left out gets none. The first gets all by default.

    Raises
    ------
    ValueError
        If the shares are no weights of these models.
    """

    def __init__(self, models: Mapping[str, Served], metrics: Metrics, shares: Mapping[str, float] | None) -> None:
        self.by_name = {name: Variant(served, metrics) for name, served in models.items()}
        self._secret = secrets.token_bytes(32)
        self._judged: dict[tuple[str, int], None] = {}
        self.put(dict.fromkeys([*models][:1], 1.0) if shares is None else shares)

    def put(self, shares: Mapping[str, float]) -> None:
        """Change the shares; what was counted stays.

        Raises
        ------
        ValueError
            If they are no weights of these models; then nothing has changed.
        """
        if unknown := [name for name in shares if name not in self.by_name]:
            raise ValueError(f"there is no model {unknown[0]!r} to give a share; there is: {', '.join(self.by_name)}.")
        for name, share in shares.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= LARGEST:
                raise ValueError(
                    f"the share of {name!r} must be a number from 0 to 1 (or a weight up to {LARGEST:,.0f}); got {share!r:.60}."
                )
        total = math.fsum(shares.values())
        if not total > 1e-6:
            raise ValueError(
                f"the shares must not all be 0; name one that gets all, e.g. {{{next(iter(self.by_name))!r}: 1}}."
            )
        for name, variant in self.by_name.items():
            variant.give(shares.get(name, 0.0) / total)
        log.info("shares: %s", {name: round(variant.share, 6) for name, variant in self.by_name.items()})

    def choose(self, key: str | None) -> Variant:
        """Return the variant that answers.

        Parameters
        ----------
        key : str or None
            The same key gets the same variant, also after a restart. When shares change, with two variants just as many keys
            move as the shares say; with more, less than twice as many. `None` is answered by chance.

        References
        ----------
        C. Schindelhauer and G. Schomaker, "Weighted distributed hash tables", SPAA 2005 (the logarithmic method): each variant
        draws from the key a waiting time with its share as the rate, and the shortest wins. A change of shares stretches the
        waiting times, and leaves who wins as it was where it can.
        """
        variants = [variant for variant in self.by_name.values() if variant.share > 0]
        if len(variants) == 1:
            return variants[0]
        if key is None:
            return random.choices(variants, [variant.share for variant in variants])[0]
        return min(variants, key=lambda variant: _exponential(variant.served.name, key) / variant.share)

    @contextmanager
    def asked(self, variant: Variant) -> Iterator[None]:
        """Note how long what is done inside takes, and whether it is refused."""
        begun = time.perf_counter()
        try:
            yield
        except Exception:
            variant.refuse()
            raise
        variant.answered(time.perf_counter() - begun)

    def number(self, variant: Variant, n: int) -> str:
        """Return the number of an answer for `n` instances, which only this process can write."""
        text = f"{variant.served.name}:{n}:{secrets.token_hex(8)}"
        return f"{text}:{self._signature(text)}"

    def judge(self, number: str, *, correct: bool, instance: int | None = None) -> Variant:
        """Count an answer as right or wrong.

        Parameters
        ----------
        number : str
            That the answer came with.
        correct : bool
        instance : int, optional
            Which of several, from 0.

        Raises
        ------
        Refusal
            If this process wrote no such number, it must be said which instance is meant, or it has been judged already.
        """
        text, _, signature = number.rpartition(":")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            raise Refusal(
                404,
                "there is no answer of this `id`. It must be as the answer to a `POST /predict` without `?model=` gave it, and since "
                "the server was started.",
                loc=("body", "id"),
                kind="unknown",
            )
        name, n, _ = text.split(":")
        if instance is None and int(n) != 1:
            raise Refusal(
                422,
                f"the answer had {n} predictions: say with `instance` which is meant, from 0.",
                loc=("body", "instance"),
                kind="missing",
            )
        place = instance or 0
        if not 0 <= place < int(n):
            raise Refusal(422, f"`instance` must be below {n}; got {place}.", loc=("body", "instance"))
        if (text, place) in self._judged:
            raise Refusal(409, "there was feedback on this already; it counts once.", loc=("body", "id"), kind="known")
        self._judged[text, place] = None
        if len(self._judged) > FEEDBACK:
            del self._judged[next(iter(self._judged))]
        variant = self.by_name[name]
        variant.judge(correct=correct)
        return variant

    def report(self) -> dict[str, Any]:
        """Return what `GET /variants` answers: each variant, and how much better each is than those before it."""
        return {
            "variants": {name: variant.report() for name, variant in self.by_name.items()},
            "differences": [
                _difference(second, first)
                for first, second in combinations(self.by_name.values(), 2)
                if first.right + first.wrong and second.right + second.wrong
            ],
        }

    def _signature(self, text: str) -> str:
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12, key=self._secret).hexdigest()


def _exponential(name: str, key: str) -> float:
    """Return a waiting time of rate 1 that follows from a name and a key alone."""
    digest = hashlib.blake2b(f"{name}\n{key}".encode("utf-8", "replace"), digest_size=8).digest()
    return -math.log((int.from_bytes(digest) + 1) / 2.0**64)


def _latency(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(1000 * x for x in seconds)
    at = {name: ordered[math.ceil(share * len(ordered)) - 1] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"mean": math.fsum(ordered) / len(ordered), **at}


def _difference(one: Variant, other: Variant) -> dict[str, Any]:
    """Say how much larger the share of right answers of one is, with its interval."""
    n_1, n_2 = one.right + one.wrong, other.right + other.wrong
    return {
        "of": one.served.name,
        "less": other.served.name,
        "accuracy": one.right / n_1 - other.right / n_2,
        "interval": [*newcombe(one.right, n_1, other.right, n_2)],
    }
