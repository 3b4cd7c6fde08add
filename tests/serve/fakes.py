"""Small models with the names that the server needs: linear classifiers in numpy, and what they were asked."""

from __future__ import annotations

import base64
import binascii
import io
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from learnkit.core.errors import DataError


class Fake:
    """Remembers the sizes of what was run; waits for `gate` if one is set, as a slow model would."""

    kind = "table"
    task = "category"
    version = "0123456789ab"
    created = "2026-11-27T08:10:00+00:00"

    def __init__(self) -> None:
        self.classes: list[Any] | None = None if self.task == "value" else ["no", "yes"]
        self.preparation = self
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()

    def score(self, item: Any) -> float:
        raise NotImplementedError

    def instance(self, value: Any) -> Any:
        return value

    def answers(self, items: Any) -> list[dict[str, Any]]:
        self.runs.append(len(items))
        self.running.set()
        self.gate.wait(30)
        return [self.answer(self.score(item)) for item in items]  # one by one, so that a batch changes no bit

    def answer(self, score: float) -> dict[str, Any]:
        p = float(1 / (1 + np.exp(-np.clip(score, -50, 50))))
        if self.task == "value":
            return {"value": score}
        probabilities = {"no": 1 - p, "yes": p}
        if self.task == "multi":
            return {"labels": [name for name, x in probabilities.items() if x > 0.5], "probabilities": probabilities}
        label = max(probabilities, key=probabilities.__getitem__)
        return {"label": label, "probability": probabilities[label], "probabilities": probabilities}


class FakeTable(Fake):
    states = ("BY", "HE")
    columns: tuple[dict[str, Any], ...] = ({"name": "Age", "fill": 40}, {"name": "State"})
    other = ("Target",)

    def fields(self) -> list[dict[str, Any]]:
        return [{"name": "Age", "kind": "number"}, {"name": "State", "kind": "category", "levels": [*self.states]}]

    def instance(self, value: Any) -> tuple[float, int]:
        for column in self.columns:
            if column["name"] not in value:
                raise DataError(f"the column `{column['name']}` is missing.")
        age = value["Age"]
        if age is not None and (isinstance(age, bool) or not isinstance(age, int | float)):
            raise DataError(f"`Age` must be a number; got {age!r}.")
        state = value["State"]
        return np.nan if age is None else age, self.states.index(state) + 1 if state in self.states else 0

    def score(self, item: tuple[float, int]) -> float:
        age, state = item
        return 0.0 if np.isnan(age) else (age - 40) / 10 + state


class FakeRatings(Fake):
    kind, task = "ratings", "value"
    codes: ClassVar = {"user": {7: 1}, "item": {"a": 1}}

    def instance(self, value: Any) -> tuple[Any, Any]:
        try:
            return value["user"], value["item"]
        except KeyError as exc:
            raise DataError(f"`{exc.args[0]}` is missing.") from exc

    def score(self, item: tuple[Any, Any]) -> float:
        return float(zlib.crc32(repr(item).encode()) % 50) / 10


class FakeTexts(Fake):
    kind, task = "texts", "multi"

    def instance(self, value: Any) -> str:
        if not isinstance(value, str):
            raise DataError("a text must be a text.")
        return value

    def score(self, item: str) -> float:
        return float(sum(zlib.crc32(word.encode()) % 11 - 5 for word in item.split()))


class FakePictures(Fake):
    kind = "pictures"

    def instance(self, value: Any) -> bytes:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise DataError(f"`b64` is no base64: {exc}.") from exc

    def score(self, item: bytes) -> float:
        try:
            with Image.open(io.BytesIO(item)) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=float)
        except Exception as exc:
            raise DataError(f"the picture cannot be read: {exc}.") from exc
        return float(pixels[..., 0].mean() - pixels[..., 2].mean())


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread will bring about."""
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it did not come about within a minute")


def png(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "png")
    return file.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
