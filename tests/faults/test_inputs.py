"""Data of any kind, given to each application: it works, or an error of ours says what is wrong, never anything else."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import string
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import learnkit
from learnkit import LearnkitError
from learnkit.collab import CollabFilterDataset
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, LanguageModelData, TextData
from learnkit.vision import ImageClassifierData, tfms_from_stats

MANY = int(os.environ.get("LEARNKIT_FAULTS", "1")) * 25
FAULTS = settings(
    max_examples=MANY,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.filterwarnings("ignore")

PACKAGE = Path(learnkit.__file__).parent  # not a word in the path: a checkout may have the same name


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Allow errors that say what is wrong with the call or the data, and no others."""
    try:
        yield
    except (LearnkitError, ValueError, TypeError) as raised:
        exc: Exception = raised
    else:
        return
    frame = exc.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    assert len(str(exc)) > 10, repr(exc)
    # Raised by learnkit itself, and not somewhere below it by chance.
    assert frame is not None
    assert PACKAGE in Path(frame.tb_frame.f_code.co_filename).parents, repr(exc)


def use(data: Any) -> None:
    """Look at all of it once, as a fit would."""
    with said():
        data.check()
    with said():
        for dl in (data.trn_dl, data.val_dl, data.test_dl):
            for batch in dl or ():
                assert len(batch) >= 2


TFMS = tfms_from_stats(([0.5] * 3, [0.5] * 3), 6)
LABELS = st.one_of(
    st.lists(st.integers(-3, 5), max_size=9),
    st.lists(st.one_of(st.text(max_size=3), st.integers(), st.none(), st.floats()), max_size=9),
    hnp.arrays(st.sampled_from([np.int8, np.uint8, np.float32, bool, object]), st.integers(0, 9)),
)
PIXELS = hnp.arrays(
    st.sampled_from([np.uint8, np.int16, np.float32, np.float64, bool]),
    st.one_of(
        st.tuples(st.integers(0, 9), st.integers(0, 8), st.integers(0, 8)),
        st.tuples(st.integers(0, 9), st.integers(0, 8), st.integers(0, 8), st.integers(1, 5)),
        st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(0, 8), st.integers(0, 8)),
        st.tuples(st.integers(0, 9)),
    ),
)


@FAULTS
@given(PIXELS, LABELS, PIXELS, LABELS, st.integers(-1, 5), st.sampled_from([(None, None), TFMS]))
def test_arrays_of_pictures(x: Any, y: Any, vx: Any, vy: Any, bs: int, tfms: Any) -> None:
    with said():
        use(ImageClassifierData.from_arrays(".", (x, y), (vx, vy), bs, tfms, num_workers=0))


@FAULTS
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "valid", "test", ".hidden", "train/a/b"]),
            st.sampled_from(["a", "b", "ü", " "]),
            st.sampled_from(["1.png", "2.jpg", "3.PNG", ".4.png", "5.txt", "6.gif", "7.png.exe"]),
            st.sampled_from(["whole", "cut", "empty", "text", "one pixel", "wide", "grey", "alpha", "folder"]),
        ),
        max_size=12,
    ),
    st.sampled_from(["raise", "skip"]),
)
def test_folders_of_pictures(files: list[tuple[str, str, str, str]], on_error: str) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        for part, name, file, kind in files:
            place = root / part / name / file
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                continue
            mode = {"grey": "L", "alpha": "RGBA"}.get(kind, "RGB")
            size = {"one pixel": (1, 1), "wide": (900, 2)}.get(kind, (9, 7))
            if kind == "folder":
                place.mkdir()
                continue
            with contextlib.suppress(ValueError, OSError):  # an ending that Pillow cannot write
                Image.new(mode, size, 7).convert("RGB" if file.lower().endswith("jpg") else mode).save(place, "PNG")
            if kind in ("cut", "empty", "text"):
                data = place.read_bytes() if place.exists() else b""
                place.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"no picture"}[kind])
        with said():
            use(ImageClassifierData.from_paths(root, 2, TFMS, num_workers=0, on_error=on_error))
    finally:
        shutil.rmtree(root)


@FAULTS
@given(st.text(alphabet=string.printable + "äß\u2028", max_size=120), st.booleans(), st.booleans())
def test_tables_of_picture_names(text: str, continuous: bool, skip_header: bool) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        (root / "pictures").mkdir()
        for name in "ab1":
            Image.new("RGB", (8, 8)).save(root / "pictures" / f"{name}.png")
        (root / "t.csv").write_text("name,label\na,x\n" + text, encoding="utf-8")
        with said():
            use(
                ImageClassifierData.from_csv(
                    root,
                    "pictures",
                    "t.csv",
                    2,
                    TFMS,
                    [0],
                    ".png",
                    continuous=continuous,
                    skip_header=skip_header,
                    num_workers=0,
                )
            )
    finally:
        shutil.rmtree(root)


def columns(n: int) -> st.SearchStrategy[Any]:
    """Columns of a frame: of one kind, of mixed kinds, of things nobody expects in a frame."""
    cells = st.one_of(
        st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.booleans(), st.binary(max_size=2), st.dates(), st.just(pd.NaT),
        st.lists(st.integers(), max_size=2), st.complex_numbers(), st.decimals(allow_nan=False),
    )  # fmt: skip
    kinds: list[st.SearchStrategy[Any]] = [
        st.lists(st.floats(), min_size=n, max_size=n),
        st.lists(st.integers(-5, 5), min_size=n, max_size=n),
        st.lists(st.sampled_from(["a", "b", "", None]), min_size=n, max_size=n),
        st.lists(cells, min_size=n, max_size=n),
        st.lists(st.sampled_from([0.0, math.inf, -math.inf, math.nan]), min_size=n, max_size=n),
        st.just(pd.date_range("2020-01-01", periods=n)),
        st.just(pd.Categorical(["x"] * n)),
        st.just(pd.array([None] * n, dtype="Int64")),
        st.just(pd.timedelta_range("1D", periods=n)),
    ]
    return st.one_of(kinds)


@st.composite
def frames(draw: Callable[..., Any]) -> pd.DataFrame:
    n = draw(st.integers(0, 8))
    names = draw(st.lists(st.sampled_from(["y", "a", "b", "", "a_na", 3, None, "ü"]), max_size=5, unique=True))
    return pd.DataFrame({name: draw(columns(n)) for name in names}, index=range(n))


@FAULTS
@given(frames(), st.sampled_from(["y", "a", None]), st.booleans(), st.integers(0, 4), st.booleans())
def test_tables(df: pd.DataFrame, y_fld: Any, is_reg: bool, bs: int, cats: bool) -> None:
    with said():
        if cats:
            train_cats(df)
        x, y, _, mapper = proc_df(df, y_fld)
        data = ColumnarModelData.from_data_frame(
            ".", [0], x, np.zeros(len(x)) if y is None else y, bs=bs, is_reg=is_reg
        )
        use(data)
        mapper.transform(df.head(2))


@FAULTS
@given(frames(), frames(), st.sampled_from(["a", "b", "nothing"]), st.integers(0, 4))
def test_frames_that_were_not_prepared(df: pd.DataFrame, other: pd.DataFrame, cat: str, bs: int) -> None:
    with said():
        y = df["y"] if "y" in df else np.zeros(len(df))
        use(ColumnarModelData.from_data_frame(".", False, df, y, [cat], bs=bs, test_df=other))


@FAULTS
@given(frames(), st.sampled_from(["y", None, "b"]), st.integers(0, 4), st.lists(st.integers(-9, 9), max_size=4))
def test_ratings(df: pd.DataFrame, rating: Any, bs: int, val: list[int]) -> None:
    with said():
        item: Any = "b" if rating != "b" else 3
        cf = CollabFilterDataset.from_data_frame(".", df, "a", item, rating)
        use(cf.get_data(val, bs=bs))


@FAULTS
@given(frames(), st.sampled_from(["a", "y"]), st.integers(-1, 4), st.integers(-1, 9))
def test_texts(df: pd.DataFrame, col: str, bs: int, bptt: int) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        with said():
            field = Field(tokenize=str.split)
            use(LanguageModelData.from_dataframes(root, field, col, df, df, bs=bs, bptt=bptt, n_workers=1))
        with said():
            use(TextData.from_dataframes(root, Field(tokenize=str.split), col, "b", df, df, bs=bs, n_workers=1))
    finally:
        shutil.rmtree(root)


def test_errors_from_below_would_be_noticed() -> None:
    """Else the tests above could not fail."""
    with pytest.raises(AssertionError), said():
        np.zeros(3).reshape(2, 2)
    with pytest.raises(KeyError), said():
        dict[str, int]()["x"]
    with pytest.raises(RuntimeError), said():
        torch.ones(2) @ torch.ones(3)
