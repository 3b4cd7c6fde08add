"""From the body of a request to the instances in it: each is checked, and what is wrong is said with its number and field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learnkit.serve.limits import Limits, check_pixels, read_json
from learnkit.serve.models import Served
from learnkit.serve.refusals import Refusal, refusal_of, shortened
from learnkit.serve.web import FormParserError, MultipartParser, parse_options_header

__all__ = ["Reading", "read_instances", "read_request", "shaped"]

FILES = "files"
"""The name of the multipart fields that hold pictures."""

SHAPES = {
    "table": 'a row as an object, e.g. {"Age": 39, "State": "HE"}',
    "ratings": 'an object of a user and an item, e.g. {"user": 7, "item": 31}',
    "texts": 'a text, e.g. "It was worth the wait."',
    "pictures": 'an object with the file in base64, {"b64": "..."}',
}
"""What an instance of each kind is."""

_TYPES = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}


@dataclass(frozen=True)
class Reading:
    """The instances of a request as a model takes them, the columns it does not know, and those with a category it does not know."""

    items: list[Any]
    unknown: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def read_request(body: bytes, content_type: str, served: Served, limits: Limits) -> Reading:
    """Read the body of `POST /predict`.

    Parameters
    ----------
    body : bytes
    content_type : str
        JSON, or multipart for pictures.
    served : Served
        Whose instances they are.
    limits : Limits

    Raises
    ------
    Refusal
        With the number of the instance and the field.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        if served.model.kind != "pictures":
            raise Refusal(
                415,
                f'the model {served.name} takes no files. Send JSON, {{"instances": [...]}}, each {_shape(served)}.',
                loc=("header", "content-type"),
                kind="unsupported",
            )
        return _pictures(_parts(body, options.get(b"boundary", b""), limits), limits)
    check_is_json(kind)
    return read_instances(_instances(read_json(body, limits.depth)), served, limits)


def check_is_json(kind: bytes) -> None:
    """Refuse another kind of content: what a page of someone else may send without asking is never JSON."""
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise Refusal(
            415,
            f"the body must be JSON, said by the header `Content-Type: application/json`; got {kind.decode('latin-1')!r}.",
            loc=("header", "content-type"),
            kind="unsupported",
        )


def read_instances(values: Sequence[Any], served: Served, limits: Limits) -> Reading:
    """Turn JSON values into what the model takes.

    Raises
    ------
    Refusal
        For the first that it cannot take.
    """
    if len(values) > limits.rows:
        raise _too_many(len(values), limits, ("body", "instances"))
    known = {column.name for column in served.columns}
    table = served.model.kind == "table"
    trained = {*known, *served.model.preparation.other} if table else known  # the target, say, is nothing to remark on
    unknown: dict[str, None] = {}
    items: list[Any] = []
    pixels = 0
    unseen: dict[str, None] = {}
    spot = getattr(served.model, "unseen", None)
    for i, value in enumerate(values):
        loc = ("body", "instances", i)
        value = shaped(value, served, limits, loc)
        if table:
            unknown |= dict.fromkeys(name for name in value if name not in trained)
            value = {name: cell for name, cell in value.items() if name in known}
        try:
            item = served.model.instance(value)
        except Exception as exc:  # what came is anybody's, so any error is about it
            raise refusal_of(exc, loc) from exc
        if served.model.kind == "pictures":
            pixels = _add_pixels(item, pixels, limits, loc)
        items.append(item)
        if spot is not None:
            unseen |= dict.fromkeys(spot(item))
    return Reading(items, tuple(unknown), tuple(unseen))


def shaped(value: Any, served: Served, limits: Limits, loc: tuple[str | int, ...]) -> Any:
    """Return an instance that has the shape of its kind: a flat object, or a text, of bearable length."""
    kind = served.model.kind
    if kind not in SHAPES:
        return value
    wanted: Any = str if kind == "texts" else dict
    if not isinstance(value, wanted):
        raise Refusal(
            422, f"an instance must be {_shape(served)}; got {_type_name(value)}.", loc=loc, kind="wrong_type"
        )
    if kind == "pictures":
        if not isinstance(value.get("b64"), str):
            raise Refusal(422, f"a picture must be {SHAPES[kind]}.", loc=(*loc, "b64"), kind="missing")
        return {"b64": value["b64"]}
    for name, cell in value.items() if isinstance(value, dict) else [("", value)]:
        place = (*loc, name) if name else loc
        if isinstance(cell, dict | list):
            raise Refusal(
                422,
                f"`{shortened(name, 80)}` must be a text, a number or null; got {_type_name(cell)}.",
                loc=place,
                kind="wrong_type",
            )
        if isinstance(cell, str) and len(cell) > limits.text:
            raise Refusal(
                422,
                f"a text may have {limits.text:,} characters; got {len(cell):,}. Shorten or split it.",
                loc=place,
                kind="too_long",
            )
    return value


def _instances(value: Any) -> list[Any]:
    if not isinstance(value, dict) or "instances" not in value:
        raise Refusal(
            422,
            f'the body must be {{"instances": [...]}}; got {_type_name(value)}.',
            loc=("body", "instances"),
            kind="missing",
        )
    instances = value["instances"]
    if not isinstance(instances, list):
        raise Refusal(
            422,
            f"`instances` must be a list; got {_type_name(instances)}. For a single one send a list of one.",
            loc=("body", "instances"),
            kind="wrong_type",
        )
    return instances


def _pictures(parts: Iterable[tuple[str, bytes]], limits: Limits) -> Reading:
    items, pixels = [], 0
    for i, (name, content) in enumerate(parts):
        if name != FILES:
            raise Refusal(
                422,
                f"the fields of the form must be named `{FILES}`; got {name!r}.",
                loc=("body", name),
                kind="unknown",
            )
        pixels = _add_pixels(content, pixels, limits, ("body", FILES, i))
        items.append(content)
    if not items:
        raise Refusal(
            422, f"there is no file in the form. Name its field `{FILES}`.", loc=("body", FILES), kind="missing"
        )
    return Reading(items)


def _add_pixels(picture: Any, before: int, limits: Limits, loc: tuple[str | int, ...]) -> int:
    if not isinstance(picture, bytes):  # a text would be a path
        raise Refusal(422, f"a picture must be {SHAPES['pictures']}.", loc=loc, kind="wrong_type")
    try:
        pixels = before + check_pixels(picture, limits)
    except Refusal as exc:
        exc.loc = loc
        raise
    if pixels > limits.all_pixels:
        raise Refusal(
            422,
            f"the pictures of a request may have {limits.all_pixels:,} pixels together. Send fewer at a time.",
            loc=loc,
            kind="too_many_pixels",
        )
    return pixels


def _parts(body: bytes, boundary: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    """Return name and content of the fields of a form; the names of files are not looked at."""
    parts: list[tuple[bytearray, list[bytes]]] = []  # the Content-Disposition, and what follows
    header = [bytearray(), bytearray()]
    complete = False

    def begin() -> None:
        if len(parts) == limits.rows:
            raise _too_many(len(parts) + 1, limits, ("body", FILES))
        parts.append((bytearray(), []))

    def end_of_header() -> None:
        if header[0].lower() == b"content-disposition":
            parts[-1][0].extend(header[1])
        header[0], header[1] = bytearray(), bytearray()

    def end() -> None:
        nonlocal complete
        complete = True

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_header_field": lambda data, start, stop: header[0].extend(data[start:stop]),
                "on_header_value": lambda data, start, stop: header[1].extend(data[start:stop]),
                "on_header_end": end_of_header,
                "on_part_data": lambda data, start, stop: parts[-1][1].append(data[start:stop]),
                "on_end": end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise Refusal(422, f"the form cannot be read: {exc}", kind="form_invalid") from exc
    if not complete:
        raise Refusal(422, "the form breaks off before its last boundary. Send it again.", kind="form_invalid")
    return [(_field_name(bytes(disposition)), b"".join(content)) for disposition, content in parts]


def _field_name(disposition: bytes) -> str:
    return parse_options_header(disposition)[1].get(b"name", b"").decode("latin-1")


def _too_many(n: int, limits: Limits, loc: tuple[str | int, ...]) -> Refusal:
    return Refusal(
        422,
        f"a request may have {limits.rows:,} instances; got {n:,}{' or more' * (loc[-1] == FILES)}. Send them in parts.",
        loc=loc,
        kind="too_many",
    )


def _shape(served: Served) -> str:
    return SHAPES.get(served.model.kind, "what the model was trained on")


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping) and value:
        return f"an object with {', '.join(repr(shortened(name, 80)) for name in list(value)[:5])}"
    return _TYPES.get(type(value), type(value).__name__)
