"""A server in a process of its own on a free port, and clients that are not made for testing."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.fakes import FakePictures, FakeTable, png

CODE = """
import sys, time
from learnkit.serve import Limits, app
from learnkit.serve.cli import listen
from tests.serve.fakes import FakePictures, FakeTable

class Slow(FakeTable):
    def answers(self, items):
        print("running", flush=True)
        time.sleep(float(sys.argv[1]))
        return super().answers(items)

limits = Limits(seconds=float(sys.argv[2]))
listen(app({"table": Slow(), "pictures": FakePictures()}, limits=limits), limits, host="127.0.0.1", port=0)
"""


@contextmanager
def server(*, slow: float, seconds: float = 30) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server whose table model takes `slow` seconds, and yield it with its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(slow), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stderr is not None
        port = next(int(found[1]) for line in process.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
        yield process, port
    finally:
        process.terminate()
        process.communicate(timeout=60)


def table(i: int) -> list[dict[str, Any]]:
    return [{"Age": i + j, "State": "HE"} for j in range(i % 4 + 1)]


def test_many_clients_get_what_each_would_get_alone_in_fewer_runs() -> None:
    alone = FakeTable()
    with server(slow=0.02) as (_, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        with ThreadPoolExecutor(16) as pool:
            found = [*pool.map(lambda i: client.post("/predict", json={"instances": table(i)}), range(96))]
            pictures = client.post("/predict?model=pictures", files=[("files", png()), ("files", png((0, 0, 255)))])
        metrics = client.get("/metrics").text
    assert [response.json()["predictions"] for response in found] == [
        alone.answers([alone.instance(row) for row in table(i)]) for i in range(96)
    ]
    assert pictures.json()["predictions"] == FakePictures().answers([png(), png((0, 0, 255))])
    runs = re.search(r'learnkit_run_seconds_count{model="table"} (\S+)', metrics)
    assert runs is not None
    assert float(runs[1]) < 96


def test_ending_the_process_finishes_what_was_accepted() -> None:
    with server(slow=1) as (process, port), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"http://127.0.0.1:{port}/predict", json={"instances": table(3)}, timeout=60)
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        response = asked.result()
        assert len(response.json()["predictions"]) == 4
        process.wait(60)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")


HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
RAW = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n", b"400"),
    "a header of a megabyte": (HEAD + b"X: " + b"a" * 2**20 + b"\r\n\r\n", b"400"),
    "a header without an end": (HEAD + b"X: " + b"a" * 2**20, b"400"),
    "a million headers": (HEAD + b"X: a\r\n" * 10**6 + b"\r\n", b"400"),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", b"400"),
    "a length of words": (HEAD + b"Content-Length: many\r\n\r\n", b"400"),
    "no chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n", b"400"),
    "an unknown encoding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", b"400"),
    "a length of petabytes": (HEAD + b"Content-Length: 1000000000000000\r\n\r\n" + b" " * 2**25, b"413"),
    "chunks without an end": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 2**20 + b"\r\n",
        b"408",
    ),
    "a body that does not come": (HEAD + b"Content-Length: 10\r\n\r\n{", b"408"),
}


def test_what_is_no_request_is_refused_and_the_server_goes_on() -> None:
    with server(slow=0, seconds=0.5) as (process, port):
        for name, (content, status) in RAW.items():
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                with suppress(OSError):  # it need not hear everything before it answers
                    connection.sendall(content)
                try:
                    answer = connection.recv(100)
                except ConnectionResetError:
                    answer = b"reset"
            assert answer.split(b" ")[1:2] == [status] or answer == b"reset", (name, answer)
        for _ in range(50):  # gone before the answer
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
        assert (
            httpx.post(f"http://127.0.0.1:{port}/predict", json={"instances": table(0)}, timeout=60).status_code == 200
        )
        assert process.poll() is None
