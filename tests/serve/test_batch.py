"""A job over a file: nothing lost, nothing twice, in order, also when it is killed; what cannot be read is named."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learnkit import DataError
from learnkit.collab import CollabFilterDataset
from learnkit.runtime import RuntimeModel, load
from learnkit.serve.batch import predict_file
from learnkit.serve.rows import source_of
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "state": rng.choice(["HE", "BY", "NA", "NW"], 80),
            "store": rng.integers(1, 5, 80),
            "km": rng.normal(size=80),
            "open": rng.random(80) > 0.5,
            "y": rng.choice(["no", "yes"], 80),
        }
    )
    df, y, _, mapper = proc_df(train_cats(frame, ["state", "store"]), "y")
    data = ColumnarModelData.from_data_frame(
        folder, range(60, 80), df, np.asarray(y), cat_flds=["state", "store"], is_reg=False, bs=16, mapper=mapper
    )
    return data.get_learner().to_onnx(folder / "m")


@pytest.fixture(scope="module")
def table(table_file: Path) -> RuntimeModel:
    return load(table_file)


def rows_of(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "state": rng.choice(["HE", "BY", "NA", "XX"], n),
            "store": rng.integers(1, 6, n),
            "km": rng.normal(size=n).round(6),
            "open": rng.random(n) > 0.5,
        }
    )


def expected(model: RuntimeModel, frame: pd.DataFrame) -> list[dict[str, Any]]:
    with pytest.warns(UserWarning, match="never seen in training"):
        return model.answers(frame)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("size", [1000, 7])
def test_every_row_is_there_once_in_order_with_its_prediction(table, tmp_path, ending, size):
    frame, source, target = rows_of(100), tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    frame.to_csv(source, index=False) if ending == ".csv" else frame.to_parquet(source)
    seen: list[tuple[int, int | None]] = []
    report = predict_file(table, source, target, piece=size, probabilities=True, progress=lambda *x: seen.append(x))
    found = pd.read_csv(target, keep_default_na=False) if ending == ".csv" else pd.read_parquet(target)
    pd.testing.assert_frame_equal(found[frame.columns.tolist()], frame, check_dtype=False)
    answers = expected(table, frame)
    assert found["prediction"].tolist() == [answer["label"] for answer in answers]
    np.testing.assert_allclose(found["p_yes"], [answer["probabilities"]["yes"] for answer in answers], atol=1e-5)
    assert (report.n_rows, report.n_bad, seen[-1][0]) == (100, 0, 100)
    assert any("'state' were never seen in training (XX)" in note for note in report.notes)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted([source.name, target.name])


def test_rows_that_cannot_be_read_are_named_and_the_job_goes_on(table, tmp_path):
    good = "HE,1,0.5,True"
    lines = ["state,store,km,open", good, "HE,1,much,True", good, "HE,1", "HE,1,0.5,perhaps", good, "HE,1,1e999,True"]
    (tmp_path / "in.csv").write_bytes("\n".join(lines).encode() + b"\nH\xff,1,0.5,True\n" + good.encode())
    report = predict_file(table, tmp_path / "in.csv", tmp_path / "out.csv", piece=2)
    assert (report.n_rows, report.n_bad) == (4, 5)
    assert len(pd.read_csv(tmp_path / "out.csv")) == 4
    unread = pd.read_csv(tmp_path / "out.unread.csv")
    assert unread["row"].tolist() == [2, 4, 5, 7, 8]
    words = [
        "'km' holds 'much', which is no number",
        "2 cells, and the header 4",
        "'open' holds 'perhaps'",
        "infinite",
        "not UTF-8",
    ]
    assert all(word in reason for word, reason in zip(words, unread["reason"], strict=True))


def test_an_empty_source_gives_an_empty_output(table, tmp_path):
    (tmp_path / "in.csv").write_text("state,store,km,open\n")
    assert predict_file(table, tmp_path / "in.csv", tmp_path / "out.csv").n_rows == 0
    assert (tmp_path / "out.csv").read_text().strip() == "state,store,km,open,prediction,probability"


def test_pictures_of_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    pixels, y = rng.integers(0, 255, (12, 16, 16, 3), dtype=np.uint8), np.array(["cat", "dog"])[np.arange(12) % 2]
    data = ImageClassifierData.from_arrays(
        tmp_path, (pixels, y), (pixels, y), 4, tfms_from_stats(([0.5] * 3, [0.2] * 3), 32), num_workers=0
    )
    model = load(ConvLearner.pretrained("resnet18", data, weights=False).to_onnx(tmp_path / "m"))
    for i in range(5):
        (tmp_path / "in" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(tmp_path / "in" / str(i % 2) / f"{i}.png")
    (tmp_path / "in" / "1" / "broken.png").write_text("no picture")
    report = predict_file(model, tmp_path / "in", tmp_path / "out.csv", piece=2)
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["file"].tolist() == ["0/0.png", "0/2.png", "0/4.png", "1/1.png", "1/3.png"]
    assert found["prediction"].tolist() == model.predict([tmp_path / "in" / name for name in found["file"]])
    assert report.n_bad == 1
    assert "broken.png cannot be read" in (tmp_path / "out.unread.csv").read_text()


def test_ratings_and_texts(tmp_path):
    frame = pd.DataFrame({"user": [1, 1, 2, 3] * 5, "film": [*range(20)], "stars": [5.0, 3.0, 4.0, 1.0] * 5})
    cf = CollabFilterDataset.from_data_frame(tmp_path, frame, "user", "film", "stars")
    model = load(cf.get_learner(3, [0, 7], 4).to_onnx(tmp_path / "r"))
    frame.to_csv(tmp_path / "in.csv", index=False)
    predict_file(model, tmp_path / "in.csv", tmp_path / "out.csv")
    with pytest.warns(UserWarning, match="without a rating"):
        expected = model.predict(frame)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["prediction"], expected, atol=1e-5)

    texts = pd.DataFrame({"line": ["so good", "so bad"] * 10, "label": ["p", "n"] * 10})
    data = TextData.from_dataframes(tmp_path, Field(), "line", "label", texts, texts, bs=4)
    model = load(data.get_model(None, 10, 6, 4, 6, 1).to_onnx(tmp_path / "t"))
    texts.to_csv(tmp_path / "in.csv", index=False)
    predict_file(model, tmp_path / "in.csv", tmp_path / "out.csv", column="line")
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].tolist() == model.predict(texts["line"].tolist())


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("missing.csv", "out.csv", "there is no file .*missing.csv"),
        ("in.txt", "out.csv", "must be a .csv file, a .parquet file, or a folder"),
        ("in.csv", "out.txt", "must be a .csv or .parquet file"),
        ("less.csv", "out.csv", "has no column 'km', which the model takes; it has: 'state', 'store', 'open'"),
        ("taken.csv", "out.csv", "has a column 'prediction' already"),
        ("twice.csv", "out.csv", "distinct column names"),
        (".", "out.csv", "there is no picture below|takes table: give it a .csv"),
        ("no.parquet", "out.csv", "no.parquet cannot be read"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(table, tmp_path, source, target, words):
    frame = rows_of(3)
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.drop(columns=["km", "id"]).to_csv(tmp_path / "less.csv", index=False)
    frame.assign(prediction=1).to_csv(tmp_path / "taken.csv", index=False)
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "no.parquet").write_text("x")
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(DataError, match=words):
        predict_file(table, tmp_path / source, tmp_path / target)
    assert (tmp_path / "out.csv").read_text() == "before"
    assert not list(tmp_path.glob(".*"))


JOB = """
import sys, time, warnings
warnings.simplefilter("ignore")
from learnkit.runtime import load
from learnkit.serve.batch import predict_file
model = load(sys.argv[1])
print("begun", flush=True)
predict_file(model, sys.argv[2], sys.argv[3], piece=20, progress=lambda done, total: time.sleep(0.004))
"""


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_killed_again_and_again_it_ends_with_the_same_output(table, table_file, tmp_path, ending):
    rows_of(3000).to_csv(tmp_path / "in.csv", index=False)
    whole, killed = tmp_path / f"whole{ending}", tmp_path / f"killed{ending}"
    predict_file(table, tmp_path / "in.csv", whole, piece=20)
    rng, kills = np.random.default_rng(0), 0
    command = [sys.executable, "-c", JOB, str(table_file), str(tmp_path / "in.csv"), str(killed)]
    for _ in range(60):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            if kills < 20:
                time.sleep(float(rng.uniform(0, 0.1)))
                os.kill(process.pid, signal.SIGKILL)
            code = process.wait(120)
        if code == 0:
            break
        kills += 1
    assert kills >= 5
    if ending == ".csv":
        assert killed.read_bytes() == whole.read_bytes()
    else:
        pd.testing.assert_frame_equal(pd.read_parquet(killed), pd.read_parquet(whole))
    assert not [x for x in tmp_path.iterdir() if x.name.startswith(".")]


def test_a_job_of_another_model_or_source_begins_anew(table, tmp_path):
    source = tmp_path / "in.csv"
    rows_of(30).to_csv(source, index=False)

    class Killed(BaseException):
        pass

    def stop(done: int, total: int | None) -> None:
        if done >= 20:
            raise Killed

    with pytest.raises(Killed):
        predict_file(table, source, tmp_path / "out.csv", piece=10, progress=stop)
    assert predict_file(table, source, tmp_path / "out.csv", piece=10).resumed == 20
    with pytest.raises(Killed):
        predict_file(table, source, tmp_path / "out.csv", piece=10, progress=stop)
    rows_of(40).to_csv(source, index=False)
    report = predict_file(table, source, tmp_path / "out.csv", piece=10)
    assert (report.resumed, report.n_rows) == (0, 40)


def test_a_source_is_read_in_pieces_from_any_of_them(tmp_path):
    frame = rows_of(25)
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_parquet(tmp_path / "in.parquet")
    for name in ("in.csv", "in.parquet"):
        pieces = [*source_of(tmp_path / name).pieces(10, 0)]
        assert [(piece.first, len(piece.rows)) for piece in pieces] == [(1, 10), (11, 10), (21, 5)]
        assert [*source_of(tmp_path / name).pieces(10, 1)] == pieces[1:]
        assert [*source_of(tmp_path / name).pieces(10, 3)] == []
    with (tmp_path / "quoted.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], ["two\nlines", 'comma, quote " ']])
    (piece,) = source_of(tmp_path / "quoted.csv").pieces(10, 0)
    assert piece.rows == [{"a": "two\nlines", "b": 'comma, quote " '}]


def test_the_output_never_takes_the_place_of_the_source(table, tmp_path):
    source = tmp_path / "in.csv"
    rows_of(3).to_csv(source, index=False)
    before = source.read_bytes()
    with pytest.raises(DataError, match="would take the place of the source"):
        predict_file(table, source, tmp_path / "." / "in.csv")
    assert source.read_bytes() == before
