"""What no client of good will sends: each is answered with a 4xx that says why, and the server goes on."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from learnkit.core.errors import CheckpointError
from learnkit.runtime.model import RuntimeModel
from learnkit.serve import Limits, app
from tests.serve import families, small
from tests.serve.fakes import FakePictures, FakeTable, FakeTexts, b64, png

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}


def part(content: bytes, name: str = "files", header: str = "") -> bytes:
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n{header}\r\n'.encode()
        + content
        + b"\r\n"
    )


def bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header promises many pixels; the rest need not be there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def eps() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "eps")
    return file.getvalue()


def row(text: str) -> bytes:
    return b'{"instances": [{"State": "HE", "Age": ' + text.encode() + b"}]}"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]} | changes]}


# what, model, headers, body, status, what the answer says
BODIES: list[tuple[str, str, dict[str, str], Any, int, str]] = [
    ("nothing", "table", JSON, b"", 422, "no JSON"),
    ("a space", "table", JSON, b" ", 422, "no JSON"),
    ("half a body", "table", JSON, b'{"instances": [{"Age": 1', 422, "no JSON"),
    ("two values", "table", JSON, b'{"instances": []} {}', 422, "Extra data"),
    ("single quotes", "table", JSON, b"{'instances': []}", 422, "no JSON"),
    ("no UTF-8", "table", JSON, b'{"instances": ["\xff"]}', 422, "not UTF-8"),
    ("UTF-16", "table", JSON, '{"instances": []}'.encode("utf-16"), 422, "not UTF-8"),
    ("zeros", "table", JSON, bytes(1000), 422, "no JSON"),
    ("null", "table", JSON, b"null", 422, "got null"),
    ("a number", "table", JSON, b"1", 422, "got a number"),
    ("a list", "table", JSON, b"[]", 422, "got a list"),
    ("another key", "table", JSON, b'{"data": []}', 422, "got an object with 'data'"),
    ("instances null", "table", JSON, b'{"instances": null}', 422, "must be a list; got null"),
    ("instances a text", "table", JSON, b'{"instances": "/etc/passwd"}', 422, "must be a list; got a text"),
    ("rows of null", "table", JSON, b'{"instances": [null]}', 422, "got null"),
    ("rows as lists", "table", JSON, b'{"instances": [[1, "HE"]]}', 422, "got a list"),
    ("rows of nothing", "table", JSON, b'{"instances": [{}]}', 422, "`Age` is missing"),
    ("a true age", "table", JSON, row("true"), 422, "must be a number"),
    ("an age in words", "table", JSON, row('"1; DROP TABLE"'), 422, "must be a number"),
    ("an age of things", "table", JSON, row('{"$gt": 0}'), 422, "got an object"),
    ("NaN", "table", JSON, row("NaN"), 422, "Send null"),
    ("infinity", "table", JSON, row("Infinity"), 422, "Send null"),
    ("minus infinity", "table", JSON, row("-Infinity"), 422, "Send null"),
    ("a float too large", "table", JSON, row("1e999"), 422, "float64"),
    ("an integer too large", "table", JSON, row("9" * 30), 422, "64 bits"),
    ("an integer of a million digits", "table", JSON, row("9" * 10**6), 422, "64 bits"),
    ("a float of a million digits", "table", JSON, row("9" * 10**6 + ".5"), 422, "float64"),
    ("an exponent of a million digits", "table", JSON, row("1e" + "9" * 10**6), 422, "float64"),
    ("hexadecimal", "table", JSON, row("0x10"), 422, "no JSON"),
    ("deep lists", "table", JSON, row("[" * 10**5 + "]" * 10**5), 422, "levels deep"),
    ("deep objects", "table", JSON, row('{"a":' * 10**5 + "1" + "}" * 10**5), 422, "levels deep"),
    ("a little too deep", "table", JSON, row("[" * 9 + "]" * 9), 422, "levels deep"),
    ("deep and open", "table", JSON, b'{"instances":' + b"[" * 10**6, 422, "levels deep"),
    ("half a character", "texts", JSON, rb'{"instances": ["\ud800"]}', 422, "half a character"),
    ("half a character in a name", "table", JSON, rb'{"instances": [{"\uDFFF": 1, "Age": 1}]}', 422, "half a character"),
    ("half a character as a key", "table", JSON, rb'{"\ud800": 1}', 422, "half a character"),
    ("a long name", "table", JSON, b'{"instances": [{"' + b"a" * 10**6 + b'": [1]}]}', 422, "got a list"),
    ("a long text", "texts", JSON, b'{"instances": ["' + b"a" * 10**6 + b'"]}', 422, "100,000 characters"),
    ("a long cell", "table", JSON, row('"' + "a" * 10**6 + '"'), 422, "100,000 characters"),
    ("many rows", "table", JSON, b'{"instances": [' + b"{}," * 10**5 + b"{}]}", 422, "1,000 instances"),
    ("a body too long", "table", JSON, b" " * (2**21 + 1), 413, "2,097,152 bytes"),
    ("compressed", "table", JSON | {"content-encoding": "gzip"}, gzip.compress(bytes(10**7)), 415, "not be compressed"),
    ("no type", "table", {}, b'{"instances": []}', 415, "application/json"),
    ("plain text", "table", {"content-type": "text/plain"}, b'{"instances": []}', 415, "application/json"),
    ("a form of letters", "table", {"content-type": "application/x-www-form-urlencoded"}, b"a=b", 415, "application/json"),
    ("XML", "table", {"content-type": "text/xml"}, b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', 415, "json"),
    ("a pickle", "table", {"content-type": "application/python-pickle"}, b"cos\nsystem\n(S'ls'\ntR.", 415, "json"),
    ("a strange type", "table", {"content-type": "\xff\xfe;;;=\x01"}, b"{}", 415, "json"),
    ("a file for a table", "table", FORM, part(b"a") + b"--x--\r\n", 415, "takes no files"),
    ("a form without a boundary", "pictures", {"content-type": "multipart/form-data"}, part(b"a"), 422, "form"),
    ("a form with another boundary", "pictures", FORM | {"content-type": "multipart/form-data; boundary=y"}, part(b"a"), 422, "form"),
    ("an empty form", "pictures", FORM, b"", 422, "breaks off"),
    ("a form of nothing", "pictures", FORM, b"--x--\r\n", 422, "form"),
    ("a form that breaks off in a file", "pictures", FORM, part(png())[:-20], 422, "breaks off"),
    ("a form that breaks off after a file", "pictures", FORM, part(png()), 422, "breaks off"),
    ("a form that breaks off in a header", "pictures", FORM, b"--x\r\nContent-Dis", 422, "breaks off"),
    ("a form with an endless header", "pictures", FORM, b"--x\r\nA: " + b"a" * 10**6, 422, "form"),
    ("a form without names", "pictures", FORM, b"--x\r\nA: b\r\n\r\nc\r\n--x--\r\n", 422, "must be named `files`"),
    ("a form with another name", "pictures", FORM, part(png(), "../../x") + b"--x--\r\n", 422, "must be named `files`"),
    ("a form with many parts", "pictures", FORM, part(b"") * 1001 + b"--x--\r\n", 422, "1,000 instances"),
    ("a form of text", "pictures", FORM, part(b"/etc/passwd") + b"--x--\r\n", 422, "no picture"),
    ("a form with an empty file", "pictures", FORM, part(b"") + b"--x--\r\n", 422, "no picture"),
    ("a picture cut off", "pictures", FORM, part(png(size=(99, 99))[:70]) + b"--x--\r\n", 422, "cannot be read"),
    ("a picture of many pixels", "pictures", FORM, part(bomb(8000, 8000)) + b"--x--\r\n", 422, "1,000,000 pixels"),
    ("a picture of too many for Pillow", "pictures", FORM, part(bomb(60000, 60000)) + b"--x--\r\n", 422, "1,000,000 pixels"),
    ("a picture of nothing", "pictures", FORM, part(bomb(0, 0)) + b"--x--\r\n", 422, "picture"),
    ("many pictures of some pixels", "pictures", FORM, part(bomb(900, 900)) * 4 + b"--x--\r\n", 422, "3,000,000 pixels together"),
    ("a program", "pictures", FORM, part(eps()) + b"--x--\r\n", 422, "Send one of BMP, GIF, JPEG"),
    ("SVG", "pictures", FORM, part(b'<svg><image href="file:///etc/passwd"/></svg>') + b"--x--\r\n", 422, "no picture"),
    ("a path for a picture", "pictures", JSON, b'{"instances": ["../../etc/passwd"]}', 422, "b64"),
    ("a path in base64", "pictures", JSON, f'{{"instances": [{{"b64": "{b64(b"/etc/passwd")}"}}]}}'.encode(), 422, "no picture"),
    ("a path beside", "pictures", JSON, b'{"instances": [{"path": "/etc/passwd"}]}', 422, "b64"),
    ("a URL", "pictures", JSON, b'{"instances": [{"b64": "http://169.254.169.254/"}]}', 422, "base64"),
    ("base64 of numbers", "pictures", JSON, b'{"instances": [{"b64": [1, 2]}]}', 422, "b64"),
]  # fmt: skip

TENSORS: list[tuple[str, Any, str]] = [
    ("nothing", {}, "`inputs` must be a list"),
    ("no list", {"inputs": {}}, "`inputs` must be a list"),
    ("no tensors", {"inputs": []}, "`inputs` must be a list"),
    ("no objects", {"inputs": [1]}, "an input must be an object"),
    ("no name", tensor(name=None), "must have `name`"),
    ("another name", tensor(name="b"), "must be an input `text`"),
    ("another type", tensor(datatype="PICKLE"), "`datatype` must be one of BYTES"),
    ("numbers for texts", tensor(data=[1]), "its value 0 is not"),
    ("null for a text", tensor(data=[None]), "must be a text"),
    ("no shape", tensor(shape=[]), "the shape [rows]"),
    ("a negative shape", tensor(shape=[-1]), "the shape [rows]"),
    ("a shape of fractions", tensor(shape=[1.0]), "the shape [rows]"),
    ("a shape of truths", tensor(shape=[True]), "the shape [rows]"),
    ("a shape that multiplies", tensor(shape=[1, 2**40, 2**40]), "the shape [rows]"),
    ("another length", tensor(shape=[2]), "has 1 values, and by its shape 2"),
    ("a huge length", tensor(shape=[2**62]), "has 1 values"),
    ("nested data", tensor(data=[["a"]]), "its value 0 is not"),
    ("many rows", tensor(shape=[1001], data=["a"] * 1001), "1,000 instances"),
    ("an unknown output", tensor() | {"outputs": [{"name": "x"}]}, "no output 'x'; there is: labels, probabilities"),
    ("outputs that are none", tensor() | {"outputs": 7}, "`outputs` must be a list"),
    ("an output that is none", tensor() | {"outputs": [7]}, "no output None"),
    ("a number that is none", tensor() | {"id": {}}, "`id` must be a text"),
]


OPENED: list[str] | None = None


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and OPENED is not None and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(note)  # cannot be taken off again, so it only notes while there is a list
INSTALLED = tuple(
    {*map(str, (Path(__file__).parents[2], sys.prefix, sys.base_prefix)), *sysconfig.get_paths().values()}
)


@contextmanager
def reading_nothing_else() -> Iterator[None]:
    """Hold that nothing is opened inside but what is installed: Python's own files, and ours."""
    global OPENED
    before, opened = OPENED, list[str]()
    OPENED = opened
    try:
        yield
    finally:
        OPENED = before
    assert [name for name in opened if not str(Path(name).resolve()).startswith(INSTALLED)] == []


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    models: dict[str, Any] = {"table": FakeTable(), "texts": FakeTexts(), "pictures": FakePictures()}
    models |= {f"real-{kind}": RuntimeModel(small.file_of(kind), kind) for kind in small.PREP}
    limits = Limits(body_bytes=2**21, pixels=10**6, all_pixels=3 * 10**6, seconds=20)
    with TestClient(app(models, limits=limits, admin_token="t")) as client, reading_nothing_else():
        yield client
        # After all of it the server answers as it did.
        assert client.post("/predict", json={"instances": [{"Age": 20, "State": "HE"}]}).status_code == 200


@pytest.mark.parametrize(
    ("model", "headers", "body", "status", "says"), [x[1:] for x in BODIES], ids=[x[0] for x in BODIES]
)
def test_a_hostile_body_is_refused_in_words(
    client: TestClient, model: str, headers: dict[str, str], body: bytes, status: int, says: str
) -> None:
    bare = {name: value.encode("latin-1") for name, value in headers.items()}
    response = client.post(f"/predict?model={model}", content=body, headers=bare)  # type: ignore[arg-type]
    assert (response.status_code, says in response.text.replace('\\"', '"')) == (status, True), response.text[:500]
    assert len(response.content) < 3000
    assert "root:" not in response.text


@pytest.mark.parametrize(("body", "says"), [x[1:] for x in TENSORS], ids=[x[0] for x in TENSORS])
def test_hostile_tensors_are_refused_in_words(client: TestClient, body: Any, says: str) -> None:
    response = client.post("/v2/models/texts/infer", json=body)
    assert (response.status_code, says in response.json()["error"]) == (422, True), response.text[:500]


PATHS = [
    ("another method", "GET", "/predict", {}, 405),
    ("deleting", "DELETE", "/v2/models/table", {}, 405),
    ("a path", "GET", "/../../etc/passwd", {}, 404),
    ("an escaped path", "GET", "/%2e%2e/%2e%2e/etc/passwd", {}, 404),
    ("a path for a model", "GET", "/v2/models/..%2f..%2fetc%2fpasswd", {}, 404),
    ("a zero for a model", "GET", "/v2/models/%00", {}, 404),
    ("a path for a version", "GET", "/v2/models/table/versions/..%2f/ready", {}, 404),
    ("a file of the package", "GET", "/page.html", {}, 404),
    ("no UTF-8 for a model", "POST", "/predict?model=%ff%fe", {}, 404),
    ("half a character for a model", "POST", "/predict?model=%ed%a0%80", {}, 404),
    ("a long query", "POST", "/predict?model=" + "a" * 40_000, {}, 431),
    ("a long path", "GET", "/" + "a" * 40_000, {}, 431),
    ("a long header", "POST", "/predict", {"X": "a" * 2**20}, 431),
    ("many headers", "POST", "/predict", {f"X-{i}": "a" for i in range(10_000)}, 431),
    ("binary tensors", "POST", "/v2/models/table/infer", {"Content-Type": "application/octet-stream"}, 415),
    ("an unknown version", "POST", "/v2/models/table/versions/7/infer", JSON, 404),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), [x[1:] for x in PATHS], ids=[x[0] for x in PATHS])
def test_hostile_paths_and_headers_are_refused(
    client: TestClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert client.request(method, path, headers=headers).status_code == status


def test_a_body_without_a_length_is_stopped_as_it_comes(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield bytes(2**16)

    response = client.post("/predict", content=endless(), headers=JSON)
    assert response.status_code == 413


def of_good_will(response: Any, statuses: tuple[int, ...]) -> None:
    """Hold that an answer is one of those expected, short, and tells nothing of the machine."""
    assert response.status_code in statuses, response.text[:500]
    assert len(response.content) < 3000
    assert "root:" not in response.text
    assert "Traceback" not in response.text
    if response.status_code != 200:
        assert {"loc", "msg", "type"} == {*response.json()["detail"][0]}


def cases(made: Any) -> Any:
    """Return each case with its name."""
    return [pytest.param(*rest, id=name.encode("ascii", "backslashreplace").decode()) for name, *rest in made]


# What is new counts as missing, with a warning, which the running server passes over; here each test has its own filters.
@pytest.mark.filterwarnings("ignore:preparing the rows", "ignore:1 user")
@pytest.mark.parametrize(("model", "body", "statuses"), cases(families.bodies()))
def test_no_value_anywhere_is_an_accident(
    client: TestClient, model: str, body: bytes, statuses: tuple[int, ...]
) -> None:
    of_good_will(client.post(f"/predict?model={model}", content=body, headers=JSON), statuses)


@pytest.mark.parametrize(("body", "statuses"), cases(families.forms()))
def test_no_form_is_an_accident(client: TestClient, body: bytes, statuses: tuple[int, ...]) -> None:
    of_good_will(client.post("/predict?model=real-pictures", content=body, headers=FORM), statuses)


@pytest.mark.parametrize(("body", "statuses"), cases(families.tensors()))
def test_no_tensor_is_an_accident(client: TestClient, body: bytes, statuses: tuple[int, ...]) -> None:
    of_good_will(client.post("/v2/models/real-table/infer", content=body, headers=JSON), statuses)


@pytest.mark.parametrize("body", cases(families.shares()))
def test_no_share_and_no_feedback_is_an_accident(client: TestClient, body: bytes) -> None:
    headers = JSON | {"Authorization": "Bearer t"}
    of_good_will(client.put("/variants", content=body, headers=headers), (422,))
    of_good_will(client.post("/feedback", content=body, headers=JSON), (404, 422))
    for headers in ({}, FORM, JSON | {"content-encoding": "gzip"}):
        of_good_will(client.post("/feedback", content=body, headers=headers), (415,))
    assert client.get("/variants").json()["variants"]["table"]["share"] == 1


@pytest.mark.parametrize("content", cases(families.files()))
def test_no_file_is_an_accident(content: bytes) -> None:
    with reading_nothing_else(), pytest.raises(CheckpointError, match=r"^m\.onnx"):
        RuntimeModel(content, "m.onnx", threads=1)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_damaged_bytes_is_refused_or_fails_as_a_model(seed: int) -> None:
    """What is damaged may be a weight or a name, which nobody notices; all else is said."""
    rng, content = np.random.default_rng(seed), bytearray(small.file_of("table"))
    for place in rng.integers(0, len(content), 3):
        content[place] ^= 1 << int(rng.integers(8))
    try:
        model = RuntimeModel(bytes(content), "m.onnx", threads=1)
    except CheckpointError:
        return
    with TestClient(app({"a": model})) as client:
        body = f'{{"instances": [{families.ROW}]}}'.encode()
        of_good_will(client.post("/predict?model=a", content=body, headers=JSON), (200, 422))
