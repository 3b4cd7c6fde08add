"""A server under load: requests a second and how long they take, with and without running them together, beside a naive one.

    python -m benchmarks.serving                    table and pictures, 10 s each; needs `wrk` (Debian's package)
    python -m benchmarks.serving --seconds 60       long enough to see whether memory grows

The naive server is what one writes in five minutes: a FastAPI route that calls `learn.predict_raw`, with PyTorch. Each server is
a process of its own; the load comes from `wrk` on the same machine, one instance a request.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.timing import machine

NAIVE = """
import io, base64, sys
import numpy as np, pandas as pd, uvicorn
from fastapi import FastAPI
from learnkit import load_learner

learn = load_learner(sys.argv[1])
learn.no_progress()
app = FastAPI()

@app.post("/predict")
def predict(body: dict):
    rows = body["instances"]
    items = [base64.b64decode(row["b64"]) for row in rows] if "b64" in rows[0] else pd.DataFrame(rows)
    return {"predictions": np.asarray(learn.predict_raw(items)).tolist()}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


def table(folder: Path) -> dict[str, Any]:
    """Train on rows of Adult, export, and return an instance."""
    from learnkit.datasets import adult_frames
    from learnkit.tabular import ColumnarModelData, proc_df, train_cats

    train, test = adult_frames()
    train = train[:5000]
    cats = [str(name) for name in train if train[name].dtype.kind not in "if" and name != "income"]
    df, y, _, mapper = proc_df(train_cats(train.copy(), cats), "income")
    data = ColumnarModelData.from_data_frame(
        folder, range(4000, 5000), df, np.asarray(y), cat_flds=cats, is_reg=False, mapper=mapper
    )
    learn = data.get_learner()
    learn.no_progress()
    learn.fit(1e-3, 1)
    learn.export(folder / "table")
    learn.to_onnx(folder / "table")
    row: dict[str, Any] = json.loads(test.drop(columns="income").head(1).to_json(orient="records"))[0]
    return row


def pictures(folder: Path) -> dict[str, Any]:
    """Train a small network on digits, export, and return an instance."""
    from learnkit.datasets import mnist_folders
    from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

    path = mnist_folders(folder / "digits", n=500)
    data = ImageClassifierData.from_paths(path, 64, tfms_from_stats(([0.5] * 3, [0.5] * 3), 32))
    learn = ConvLearner.pretrained("resnet18", data, weights=False)
    learn.no_progress()
    learn.fit(1e-3, 1)
    learn.export(folder / "pictures")
    learn.to_onnx(folder / "pictures")
    return {"b64": base64.b64encode(next((path / "valid").rglob("*.png")).read_bytes()).decode()}


@contextmanager
def server(command: list[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it answers, and end it."""
    process = subprocess.Popen(command)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=1).read()
                break
            except OSError as exc:
                if getattr(exc, "code", 0):  # it answers, if only that it knows no such page
                    break
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def load(url: str, body: bytes, seconds: int, connections: int, folder: Path) -> dict[str, float]:
    """Send one request after the other over some connections, and return what `wrk` measured."""
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
        'done = function(s, l, r)\n io.write(string.format("RESULT %f %f %f %d %d\\n", s.requests / s.duration * 1e6, '
        "l:percentile(50) / 1e3, l:percentile(99) / 1e3, s.requests, "
        "s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout))\nend\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+) (\d+)", printed)
    if found is None:
        raise RuntimeError(f"wrk did not say what it measured:\n{printed}")
    return dict(zip(("rate", "p50", "p99", "requests", "errors"), map(float, found.groups()), strict=True))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("the load comes from `wrk`: apt-get install wrk")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "naive.py").write_text(NAIVE)
        for make in (table, pictures):
            body = json.dumps({"instances": [make(folder)]}).encode()
            model = str(folder / make.__name__)
            serve = [sys.executable, "-m", "learnkit", "serve", f"{model}.onnx", "--log-level", "warning", "--port"]
            contestants = {
                "naive": [sys.executable, str(folder / "naive.py"), f"{model}.learnkit"],
                "one by one": [*serve[:-1], "--max-batch", "1", "--port"],
                "learnkit serve": serve,
            }
            for title, command in contestants.items():
                port = free_port()
                with server([*command, str(port)], f"http://127.0.0.1:{port}/docs") as process:
                    url = f"http://127.0.0.1:{port}/predict"
                    load(url, body, 2, args.connections, folder)
                    before = megabytes(process.pid)
                    found = load(url, body, args.seconds, args.connections, folder)
                    grown = megabytes(process.pid) - before
                    rows.append({"model": make.__name__, "server": title, **found, "MB": before, "grown": grown})
    frame = pd.DataFrame(rows)
    naive = frame[frame.server == "naive"].set_index("model")["rate"]
    frame["of naive"] = frame["rate"] / frame["model"].map(naive)
    print(f"{machine()}; {args.connections} connections, {args.seconds} s each\n")
    print(
        "| model | server | requests/s | of naive | p50 | p99 | errors | memory | grown by |\n|---|---|---|---|---|---|---|---|---|"
    )
    for row in frame.to_dict("records"):
        print(
            f"| {row['model']} | {row['server']} | {row['rate']:,.0f} | {row['of naive']:.1f} | {row['p50']:.1f} ms | {row['p99']:.1f} ms | "
            f"{row['errors']:.0f} of {row['requests']:,.0f} | {row['MB']:.0f} MB | {row['grown']:.1f} MB |"
        )


if __name__ == "__main__":
    main()
