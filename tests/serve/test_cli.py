"""The command, up to where it would listen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import learnkit.serve
from learnkit.serve import cli
from learnkit.tabular import ColumnarModelData, proc_df


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the application and the port are made with, instead of them."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(learnkit.serve, "app", lambda models, **options: found.update(models=models, **options))
    monkeypatch.setattr(cli, "listen", lambda application, limits, **where: found.update(where))
    monkeypatch.delenv(cli.KEY, raising=False)
    return found


def test_models_are_served_under_their_names_on_this_machine_alone(heard: dict[str, Any]) -> None:
    assert cli.main(["serve", "a/cats.onnx", "dogs.onnx"]) == 0
    assert heard["models"] == {"cats": Path("a/cats.onnx"), "dogs": Path("dogs.onnx")}
    assert (heard["host"], heard["port"], heard["api_key"], heard["cors_origin"]) == ("127.0.0.1", 8000, None, None)
    assert heard["shares"] is None
    assert heard["limits"] == learnkit.serve.Limits()


def test_options_reach_the_application(heard: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.KEY, "from the environment")
    assert (
        cli.main(["serve", "a.onnx", "--cors-origin", "https://a.example", "--timeout", "3", "--max-batch", "9"]) == 0
    )
    assert heard["api_key"] == "from the environment"
    assert heard["cors_origin"] == ["https://a.example"]
    assert (heard["limits"].seconds, heard["limits"].max_batch) == (3, 9)
    cli.main(["serve", "a.onnx", "b-2.onnx", "--shares", "a=0.9, b-2=0.1"])
    assert heard["shares"] == {"a": 0.9, "b-2": 0.1}
    key = tmp_path / "key"
    key.write_text("from a file\n")
    cli.main(["serve", "a.onnx", "--api-key-file", str(key), "--host", "0.0.0.0", "--port", "80"])
    assert (heard["api_key"], heard["host"], heard["port"]) == ("from a file", "0.0.0.0", 80)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a/m.onnx", "b/m.onnx"], "two models have one name"),
        (["m.onnx", "--api-key-file", "EMPTY"], "is empty"),
        (["m.onnx", "--api-key-file", "missing"], "missing"),
        (["m.onnx", "--shares", "m"], "must be like a=0.9,b=0.1"),
        (["m.onnx", "--shares", "m=1,m=2"], "each name once"),
        (["m.onnx", "--max-batch", "0"], "`max_batch` must be a positive whole number"),
    ],
)
def test_what_can_be_put_right_is_said(
    heard: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    (tmp_path / "EMPTY").touch()
    arguments = [str(tmp_path / x) if x == "EMPTY" else x for x in arguments]
    assert cli.main(["serve", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_module_is_the_command_and_needs_no_torch() -> None:
    code = "import sys; sys.modules.update(torch=None, pandas=None); sys.argv = ['learnkit', 'serve', '--help']; import learnkit.serve.server, runpy; runpy.run_module('learnkit')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "model.onnx" in done.stdout


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import sys; sys.modules['fastapi'] = None\nfrom learnkit.serve import Limits\nLimits()\nfrom learnkit.serve import app"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "learnkit[serve]"' in done.stderr


def test_predict_goes_through_a_file_and_says_what_it_did(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"km": [1.0, 2.0, 3.0, 4.0] * 5, "sales": [2.0, 4.0, 6.0, 8.0] * 5})
    df, y, _, mapper = proc_df(frame, "sales")
    data = ColumnarModelData.from_data_frame(tmp_path, range(16, 20), df, np.asarray(y), bs=8, mapper=mapper)
    data.get_learner().to_onnx(tmp_path / "m")
    (tmp_path / "in.csv").write_text("km\n1\nmuch\n2\n")
    assert cli.main(["predict", str(tmp_path / "m.onnx"), str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]) == 0
    out, err = capfd.readouterr()
    assert out == f"2 rows in {tmp_path / 'out.csv'}\n"
    assert f"1 row(s) could not be read; see {tmp_path / 'out.unread.csv'}" in err
    assert (tmp_path / "out.csv").read_text().startswith("km,prediction\n1,")
    assert cli.main(["predict", str(tmp_path / "no.onnx"), str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]) == 2
    assert "no.onnx cannot be read" in capfd.readouterr().err
