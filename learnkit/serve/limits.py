"""How much a request may ask for, and the reading of its body, of JSON and of a picture's header within that."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from learnkit.core.errors import check_positive
from learnkit.serve.refusals import Refusal

__all__ = ["Limits", "check_pixels", "read_body", "read_json"]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Kinds of pictures that are opened. Pillow knows more, some of which start other programs or are seldom tested."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the server takes on.

    Attributes
    ----------
    body_bytes : int
        Of one request; 413 above it.
    header_bytes : int
        Of one request; 431 above it.
    rows : int
        Instances in one request.
    pixels : int
        Width times height of one picture, read from its header before it is decoded.
    all_pixels : int
        Of all pictures of one request together.
    text : int
        Characters of a text, and of a cell of a table.
    depth : int
        Levels of JSON inside one another.
    queue : int
        Instances that wait; 429 above it.
    seconds : float
        From the head of a request to its answer; 408, 503 or 504 above it, as it was still arriving, waiting or being run.
    max_batch : int
        Instances that are run at once.
    max_wait_ms : float
        How long instances wait for those of a request that is just being read. Where there is none they do not wait.

    Examples
    --------
    >>> from learnkit.serve import Limits
    >>> Limits(rows=5000)
    Traceback (most recent call last):
    ValueError: `queue` must hold the rows of one request, 5000; got 4000.
    """

    body_bytes: int = 16 * 2**20
    header_bytes: int = 32 * 2**10
    rows: int = 1000
    pixels: int = 50_000_000
    all_pixels: int = 200_000_000
    text: int = 100_000
    depth: int = 8
    queue: int = 4000
    seconds: float = 30.0
    max_batch: int = 64
    max_wait_ms: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "max_wait_ms" or value != 0:
                check_positive(field.name, value, integer=field.type == "int")
        if self.rows > self.queue:
            raise ValueError(f"`queue` must hold the rows of one request, {self.rows}; got {self.queue}.")


async def read_body(stream: AsyncIterator[bytes], longest: int) -> bytes:
    """Read a body as it comes, and stop when it is too long, whatever its headers said."""
    chunks, n = [], 0
    async for chunk in stream:
        n += len(chunk)
        if n > longest:
            raise Refusal(
                413, f"the body is longer than {longest:,} bytes. Send fewer instances at a time.", kind="too_long"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def read_json(body: bytes, depth: int) -> Any:
    """Read JSON as the standard has it: no NaN, no infinity, and nothing that a number or a text could not hold.

    Parameters
    ----------
    body : bytes
        UTF-8.
    depth : int
        Levels inside one another.

    Raises
    ------
    Refusal
        422, with what is wrong.
    """
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_constant=_no_constant, parse_int=_whole_number, parse_float=_number
        )
    except UnicodeDecodeError as exc:
        raise Refusal(422, f"the body is not UTF-8: {exc.reason} at byte {exc.start}.", kind="json_invalid") from exc
    except json.JSONDecodeError as exc:
        raise Refusal(
            422, f"the body is no JSON: {exc.msg} at character {exc.pos}.", loc=("body", exc.pos), kind="json_invalid"
        ) from exc
    except RecursionError as exc:
        raise _too_deep(depth) from exc
    _check_depth(value, depth)
    if re.search(rb"\\u[dD][89a-fA-F]", body):
        _check_texts(value)
    return value


def check_pixels(picture: bytes, limits: Limits) -> int:
    """Return how many pixels a picture has, from its header: a few bytes can unfold to gigabytes.

    Raises
    ------
    Refusal
        422, if there are too many or it is no picture.
    """
    try:
        with Image.open(io.BytesIO(picture), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as exc:
        raise Refusal(422, _too_large(limits), kind="too_many_pixels") from exc
    except Exception as exc:  # a reader may fail in any way on a damaged header
        raise Refusal(
            422, f"this is no picture that can be read. Send one of {', '.join(FORMATS)}.", kind="not_a_picture"
        ) from exc
    if width * height > limits.pixels:
        raise Refusal(422, f"{_too_large(limits)} It has {width:,} x {height:,}.", kind="too_many_pixels")
    return width * height


def _too_large(limits: Limits) -> str:
    return f"a picture may have {limits.pixels:,} pixels. Send it smaller: the model looks at far fewer."


def _no_constant(name: str) -> Any:
    raise Refusal(422, f"{name} is no number in JSON. Send null for a value that is missing.", kind="not_finite")


def _whole_number(digits: str) -> int:
    if len(digits) <= 20 and -(2**63) <= (number := int(digits)) < 2**63:
        return number
    raise Refusal(422, f"the number {_start(digits)} does not fit into 64 bits.", kind="too_large")


def _number(digits: str) -> float:
    number = float(digits)
    if math.isfinite(number):
        return number
    raise Refusal(422, f"the number {_start(digits)} does not fit into a float64.", kind="too_large")


def _start(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:20]}... ({len(digits):,} characters)"


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        level = [child for parent in level for child in _inside(parent) if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep(depth)


def _inside(value: Any) -> Iterator[Any]:
    return iter(value.values()) if isinstance(value, dict) else iter(value if isinstance(value, list) else ())


def _too_deep(depth: int) -> Refusal:
    return Refusal(422, f"the JSON is more than {depth} levels deep; an instance is flat.", kind="too_deep")


def _check_texts(value: Any) -> None:
    """Refuse halves of characters (`\\ud800`), which no text can be written with."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise Refusal(
            422, "a text holds half a character, an escape between \\ud800 and \\udfff alone.", kind="json_invalid"
        ) from exc
