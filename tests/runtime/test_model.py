"""Models of real data, exported, give the same answers where there is no torch and no pandas, and over HTTP."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from learnkit import Learner
from learnkit.collab import CollabFilterDataset
from learnkit.datasets import adult_frames, mnist_folders, movielens_frames
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats
from tests.text.helpers import sentences

N = 500


def pictures(folder: Path) -> tuple[Learner, Any, Any]:
    path = mnist_folders(folder, n=1500, val_pct=0.4)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32)
    data = ImageClassifierData.from_paths(path, 64, tfms)
    learn = ConvLearner.pretrained("resnet18", data, weights=False)
    learn.unfreeze()
    files = [str(file) for file in sorted((path / "valid").rglob("*.png"))[:N]]
    return learn, files, files


def table(folder: Path) -> tuple[Learner, Any, Any]:
    train, test = adult_frames()
    train = train[:3000]
    cats = [str(name) for name in train if train[name].dtype.kind not in "if" and name != "income"]
    df, y, _, mapper = proc_df(train_cats(train.copy(), cats), "income")
    data = ColumnarModelData.from_data_frame(
        folder, range(2500, 3000), df, np.asarray(y), cat_flds=cats, is_reg=False, bs=64, mapper=mapper
    )
    rows = test.head(N)
    return data.get_learner(), rows, json.loads(rows.to_json(orient="records"))


def ratings(folder: Path) -> tuple[Learner, Any, Any]:
    frame, _ = movielens_frames()
    frame = frame[:5000]
    cf = CollabFilterDataset.from_data_frame(folder, frame, "userId", "movieId", "rating")
    pairs = frame.iloc[-N:][["userId", "movieId"]].to_numpy().tolist()
    return cf.get_learner(10, list(range(4500, 5000)), 64), [tuple(pair) for pair in pairs], pairs


def texts(folder: Path) -> tuple[Learner, Any, Any]:
    frame = sentences(2 * N)
    frame = pd.DataFrame({"text": frame["text"], "label": np.where(frame["valence"] > 0, "good", "bad")})
    data = TextData.from_dataframes(folder, Field(min_freq=2), "text", "label", frame[N:], frame[:N], bs=32)
    items = frame["text"][:N].tolist()
    return data.get_model(None, 40, 20, 20, 30, 1), items, items


KINDS: list[Callable[[Path], tuple[Learner, Any, Any]]] = [pictures, table, ratings, texts]

ELSEWHERE = """
import json, sys, warnings
for name in ("torch", "pandas", "torchvision", "sklearn"):
    sys.modules[name] = None  # not installed
warnings.simplefilter("ignore")
from learnkit.runtime import load
folder = sys.argv[1]
model = load(f"{folder}/m.onnx")
items = json.load(open(f"{folder}/items.json"))
instances = [model.preparation.instance(item) if model.kind != "pictures" else item for item in items]
print(json.dumps(model.answers(instances)))
"""


def over_http(model: Path, items: list[Any]) -> list[dict[str, Any]]:
    """Ask a server, a process of its own, for a hundred items at a time."""
    command = [sys.executable, "-m", "learnkit", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = next(port for line in process.stderr for port in re.findall(r"127\.0\.0\.1:(\d+)", line))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            asked = [client.post("/predict", json={"instances": items[i : i + 100]}) for i in range(0, len(items), 100)]
        process.terminate()
    return [answer for response in asked for answer in response.json()["predictions"]]


@pytest.mark.filterwarnings(
    "ignore:.*(unknown|never seen in training|without a rating|new for tables|a fifth validates)"
)
@pytest.mark.parametrize("make", KINDS)
def test_five_hundred_items_have_the_same_answers_without_torch_and_over_http(
    make: Callable[[Path], tuple[Learner, Any, Any]], tmp_path: Path
) -> None:
    learn, raw, items = make(tmp_path)
    learn.no_progress()
    learn.fit(1e-3, 1)
    learn.to_onnx(tmp_path / "m")
    if make is ratings:
        items = [{"user": user, "item": item} for user, item in items]
    (tmp_path / "items.json").write_text(json.dumps(items))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if make is pictures:
        items = [{"b64": base64.b64encode(Path(file).read_bytes()).decode()} for file in items]
    preds = learn.predict_raw(raw)
    for answers in (json.loads(done.stdout), over_http(tmp_path / "m.onnx", items)):
        assert len(answers) == N
        if make is ratings:
            np.testing.assert_allclose([answer["value"] for answer in answers], preds, atol=1e-4)
            continue
        assert [answer["label"] for answer in answers] == learn.predict_raw(raw, decode=True)
        found = [[*answer["probabilities"].values()] for answer in answers]
        np.testing.assert_allclose(found, np.exp(preds), atol=1e-4)
