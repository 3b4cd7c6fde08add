"""Hostile requests and files by the hundred, made by rule: one value in each place, one body cut off at each byte."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from learnkit.serve.v2 import DATATYPES
from tests.serve.fakes import b64
from tests.serve.small import file_of, meta_of, network_of

ROW = '{"State": "HE", "Age": 30, "Late": true}'

# As JSON, so that it can be what Python's own writer would refuse.
NO_SCALARS = ["[]", "{}", "[[1]]", '{"$gt": 0}', "[null]", '{"b64": ""}', '["HE", "BY"]']
NO_JSON = [
    "NaN",
    "Infinity",
    "-Infinity",
    "0x1F",
    "1_000",
    "+1",
    ".5",
    "1.",
    "01",
    "'a'",
    "undefined",
    "True",
    '"a',
    "1e",
    "1e999",
]
NO_JSON += [
    "-1e999",
    "9" * 400,
    "-" + "9" * 20,
    "9223372036854775808",
    r'"\ud800"',
    r'"\x41"',
    '"\x01"',
    "[" * 3000,
    '{"a":' * 3000,
]
NO_NUMBERS = [
    '""',
    '"NaN"',
    '"1e5"',
    '"30"',
    '"0x1F"',
    '" "',
    '"null"',
    '"true"',
    '"🙂"',
    '"\\u0000"',
    '"; DROP TABLE a"',
]
HUGE = ["1e308", "-1e308", "3.5e38", "1.7976931348623157e308"]

PATHS = [
    "/etc/passwd", "../../../../etc/passwd", "..\\..\\windows\\win.ini", "file:///etc/passwd", "/proc/self/environ", "/dev/zero",
    "http://169.254.169.254/latest/meta-data/", "\\\\host\\share", "C:\\", "~/.ssh/id_rsa", "%2e%2e%2fetc%2fpasswd", "a\x00b",
    "${jndi:ldap://a/b}", "{{7*7}}", "$(cat /etc/passwd)", "`id`", "| cat /etc/passwd", "<script>alert(1)</script>", "%s%n%x", "-rf",
]  # fmt: skip


def bodies() -> Iterator[tuple[str, str, bytes, tuple[int, ...]]]:
    """Give what, model, body and the statuses that are right, for `POST /predict`."""
    columns = json.loads(ROW)
    for column in columns:
        for value in [*NO_SCALARS, *NO_JSON, *NO_NUMBERS, *HUGE]:
            is_text = column == "State" and value in NO_NUMBERS  # a text like any other, never seen
            status = 200 if is_text or (column, value) == ("Age", "3.5e38") else 422  # scaled it is a float32
            yield f"{column} = {value[:24]}", "real-table", _row(column, value), (status,)
    for key, value in (
        ("user", "[]"),
        ("user", "{}"),
        ("item", "[1]"),
        ("user", "NaN"),
        ("item", "9" * 30),
        ("user", '"7"'),
    ):
        body = '{"instances": [' + json.dumps({"user": 7, "item": "a"} | {key: "?"}).replace('"?"', value) + "]}"
        yield f"{key} = {value[:24]}", "real-ratings", body.encode(), (200,) if value == '"7"' else (422,)
    for value in ["null", "1", "true", "[]", '{"text": "a"}', '["a"]', "NaN", *NO_JSON[-6:]]:
        yield f"text = {value[:24]}", "real-texts", f'{{"instances": [{value}]}}'.encode(), (422,)
    for path in PATHS:
        text = json.dumps(path)
        yield f"State = {path}", "real-table", _row("State", text), (200,)
        yield f"Age = {path}", "real-table", _row("Age", text), (422,)
        yield f"text = {path}", "real-texts", f'{{"instances": [{text}]}}'.encode(), (200,)
        yield f"b64 = {path}", "real-pictures", f'{{"instances": [{{"b64": {text}}}]}}'.encode(), (422,)
        picture = f'{{"instances": [{{"b64": "{b64(path.encode())}"}}]}}'
        yield f"picture = {path}", "real-pictures", picture.encode(), (422,)
    whole = f'{{"instances": [{ROW}]}}'.encode()
    for n in range(len(whole)):
        yield f"cut off at {n}", "real-table", whole[:n], (422,)
    for name, content, statuses in pictures():
        yield name, "real-pictures", f'{{"instances": [{{"b64": "{b64(content)}"}}]}}'.encode(), statuses


def _row(column: str, value: str) -> bytes:
    row = json.dumps(json.loads(ROW) | {column: "?"}).replace('"?"', value)
    return f'{{"instances": [{row}]}}'.encode("utf-8", "surrogatepass")


def pictures() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Give pictures that are cut off, damaged, larger than they look, or something else."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        whole = file.getvalue()
        for share in (0.02, 0.3, 0.6, 0.9):
            yield (
                f"{kind}, {share:.0%} of it",
                whole[: int(share * len(whole))],
                (200, 422),
            )  # Pillow may fill up the rest
        for i in range(3):
            damaged = bytearray(whole)
            for place in rng.integers(4, len(whole), 8):
                damaged[place] ^= int(rng.integers(1, 256))
            yield f"{kind}, damaged, {i}", bytes(damaged), (200, 422)
    many = struct.pack("<II", 60_000, 60_000)
    yield (
        "a BMP of many pixels",
        b"BM" + bytes(8) + struct.pack("<II", 54, 40) + many + struct.pack("<HH", 1, 24) + bytes(24),
        (422,),
    )
    yield "a GIF of many pixels", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf0\0\0" + bytes(6) + b",", (422,)
    yield "a PPM of many pixels", b"P6 99999 99999 255\n" + bytes(100), (422,)
    yield "a PPM of negative ones", b"P6 -5 -5 255\n" + bytes(100), (422,)
    zeros = bytes(10**7)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../a.png", zeros)
    yield "a zip bomb", packed.getvalue(), (422,)
    yield "a gzip bomb", gzip.compress(zeros), (422,)
    yield "a bzip2 bomb", bz2.compress(zeros), (422,)
    yield "an xz bomb", lzma.compress(zeros), (422,)
    yield "a zlib bomb", zlib.compress(zeros), (422,)
    note, file = PngInfo(), io.BytesIO()
    note.add_text("a", "0" * 10**7, zip=True)
    Image.fromarray(pixels).save(file, "png", pnginfo=note)
    yield "a PNG with a bomb of text", file.getvalue(), (200, 422)
    frames = io.BytesIO()
    Image.new("RGB", (4, 4)).save(
        frames, "gif", save_all=True, append_images=[Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(200)]
    )
    yield "a GIF of many frames", frames.getvalue(), (200,)
    for text in (
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"%PDF-1.7",
        b"MZ",
        b"#!/bin/sh\nid",
        b"<?xml version='1.0'?><svg/>",
        bytes(99),
    ):
        yield f"{text[:8]!r} for a picture", text, (422,)


def forms() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Give forms with a picture: cut off everywhere, and with something twice."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(file, "png")
    head, end = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n', b"\r\n--x--\r\n"
    whole = head + file.getvalue() + end
    for n in range(0, len(whole) - 6, 5):
        yield f"cut off at {n}", whole[:n], (422,)
    for name, body, status in (
        ("the form twice", whole + whole, 200),
        ("the head twice", head + whole, 422),
        ("the end twice", whole + end, 200),
        ("the end first", end.lstrip() + whole, 422),
        ("the name twice", whole.replace(b'name="files"', b'name="files"; name="b"'), 422),
        (
            "the disposition twice",
            whole.replace(b"\r\n\r\n", b'\r\nContent-Disposition: form-data; name="b"\r\n\r\n', 1),
            422,
        ),
        ("a path for a file's name", whole.replace(b'"a"', b'"../../etc/passwd"'), 200),
        ("a zero in a file's name", whole.replace(b'"a"', b'"a\0b"'), 200),
        ("lines without a return", whole.replace(b"\r\n", b"\n"), 422),
        (
            "a part that says it is packed",
            whole.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1),
            200,
        ),
        ("a form in a form", head + whole + end, 422),
    ):
        yield name, body, (status, 422)


def tensors() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Give every type with data of every other, and shapes that are none."""
    good = {"State": ["BYTES", '["HE"]'], "Age": ["FP64", "[30]"], "Late": ["BOOL", "[true]"]}
    data = ['["a"]', "[1.5]", "[{}]", "[[[1]]]", "[1e999]", "[NaN]", "[9223372036854775808]", "1", "[1, 2]", '"AAAA"']

    def body(shape: str = "[1]", **changed: list[str]) -> bytes:
        inputs = [
            f'{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}", "data": {values}}}'
            for name, (datatype, values) in (good | changed).items()
        ]
        return f'{{"inputs": [{", ".join(inputs)}]}}'.encode()

    for datatype in DATATYPES:
        for values in data:
            fits = values == "[1.5]" and datatype.startswith("FP")
            yield f"{datatype} {values}", body(Age=[datatype, values]), (200,) if fits else (422,)
    for shape in (
        "[]",
        "[0]",
        "[-1]",
        "[1, 1, 2]",
        "[1e3]",
        "[null]",
        "1",
        '["1"]',
        "[1, 0]",
        "[9223372036854775807, 1]",
        "[[1]]",
        "{}",
    ):
        yield f"the shape {shape}", body(shape), (422,)
    yield "a column twice", body().replace(b'"Late"', b'"Age"'), (422,)
    yield "a column that is a path", body().replace(b'"Late"', b'"../../etc/passwd"'), (422,)


def shares() -> Iterator[tuple[str, bytes]]:
    """Give bodies that neither `PUT /variants` nor `POST /feedback` can take."""
    for value in [
        "",
        "null",
        "[]",
        "1",
        '"a"',
        "{}",
        '{"shares": ',
        "NaN",
        "[" * 3000,
        '{"a":' * 3000,
        '{"id": 1, "correct": true}',
    ]:
        yield f"the body {value[:20]}", value.encode()
    for share in ["null", "[]", "1", '"a"', "{}"] + [
        f'{{"table": {x}}}' for x in ("-1", "0", '"1"', "true", "null", "[1]", "1e300", "NaN", "9" * 30)
    ]:
        yield f"the shares {share[:30]}", f'{{"shares": {share}}}'.encode()
    for name in PATHS[:6]:
        yield f"a share of {name}", json.dumps({"shares": {name: 1}}).encode()
    for number in (*PATHS[6:12], "table:1:0:0", ":::", "🙂", "a" * 10**5):
        yield f"the number {number[:30]}", json.dumps({"id": number, "correct": True}).encode()


def files() -> Iterator[tuple[str, bytes]]:
    """Give files that are no model: cut off, damaged, of others, or that want what they must not have."""
    whole = file_of("table")
    for share in np.linspace(0, 0.98, 25):
        yield f"{share:.0%} of it", whole[: int(share * len(whole))]
    yield from (
        ("text", b"a model"), ("zeros", bytes(1000)), ("gzip", gzip.compress(whole)), ("a pickle", b"\x80\x04\x95cos\nsystem\n."),
        ("no metadata", network_of("table").SerializeToString()), ("empty metadata", file_of("table", "")),
        ("metadata that is no JSON", file_of("table", "{'a': 1}")), ("a list", file_of("table", "[]")), ("null", file_of("table", "null")),
        ("deep metadata", file_of("table", "[" * 10**5)), ("a huge number", file_of("table", '{"format": ' + "9" * 5000 + "}")),
    )  # fmt: skip
    wrong: dict[str, list[Any]] = {
        "format": [99, None, "1", [], {}],
        "kind": [None, "pickle", ["table"], {}, 1],
        "task": [None, "exec", [], 1],
        "classes": ["ab", 7, {"a": 1}],
        "created": [None, 1, []],
        "prep": [None, [], {}, "a", 7],
        "training": [7, "a", [1], {"histograms": 1}, {"histograms": {"Age": {"edges": ["a"], "counts": [1, 1]}}}],
    }
    for key, values in wrong.items():
        for value in values:
            yield f"{key} = {value!r}", file_of("table", meta_of("table") | {key: value})
    for key in meta_of("table")["prep"]:
        for value in (None, 7, [7], [[]], [None], [{}]):
            if not (key == "other" and value in ([7], [None])):  # names of any kind
                meta = copy.deepcopy(meta_of("table"))
                meta["prep"][key] = value
                yield f"{key} of the preparation = {value!r}", file_of("table", meta)
    for location in ("/etc/passwd", "../../etc/passwd", "weights.bin", "a/../../b", "file:///etc/passwd", ""):
        for swapped in (False, True):
            yield f"weights in {location!r}{', written the other way round' * swapped}", _elsewhere(location, swapped)


def _elsewhere(location: str, swapped: bool) -> bytes:
    """Return a model whose weights are said to be in another file, perhaps with the value written before its key."""
    network = onnx.load_from_string(file_of("table"))
    weights = network.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "24")):
        weights.external_data.add(key=key, value=value)
    content: bytes = network.SerializeToString()
    named, said = b"\n\x08location", b"\x12" + bytes([len(location)]) + location.encode()
    return content.replace(named + said, said + named) if swapped else content
