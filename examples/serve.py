"""From training to an answer over HTTP: train on a table, export, serve, ask.

    python examples/serve.py

Needs the extra `serve` and the data package that `learnkit.datasets.adult_frames` names.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from learnkit.datasets import adult_frames
from learnkit.tabular import ColumnarModelData, proc_df, train_cats


def train(folder: Path) -> Path:
    """Train a small model on rows of the Adult table, and export it."""
    table = adult_frames()[0].head(8000)
    cats = [str(name) for name in table if table[name].dtype.kind not in "if" and name != "income"]
    df, y, _, mapper = proc_df(train_cats(table, cats), "income")
    data = ColumnarModelData.from_data_frame(
        folder, range(7000, 8000), df, np.asarray(y), cat_flds=cats, is_reg=False, mapper=mapper
    )
    learn = data.get_learner(metrics="accuracy")
    learn.fit_one_cycle(3, 2e-3)
    return learn.to_onnx(folder / "income.onnx")


def ask(url: str, instances: list[dict[str, Any]]) -> Any:
    """Send instances, and return what the server answers."""
    body = json.dumps({"instances": instances}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    """Run all of it."""
    with tempfile.TemporaryDirectory() as name:
        model = train(Path(name))
        print(f"\n{model.name}: {model.stat().st_size / 1024:,.0f} KB")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        command = [sys.executable, "-m", "learnkit", "serve", str(model), "--port", str(port), "--log-level", "warning"]
        server = subprocess.Popen(command)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"{url}/v2/health/ready", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            rows = json.loads(adult_frames()[1].head(3).drop(columns="income").to_json(orient="records"))
            found = ask(url, rows)
            print(f"model {found['model']}")
            for row, answer in zip(rows, found["predictions"], strict=True):
                print(f"age {row['age']}, {row['occupation']}: {answer['label']} ({answer['probability']:.2f})")
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
