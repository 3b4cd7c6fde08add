"""Pictures with labels of any kind: the right answer, or an error in words."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from learnkit import DataError
from learnkit.data.targets import Category, MultiCategory
from learnkit.vision import ImageClassifierData, tfms_from_stats

pytestmark = pytest.mark.filterwarnings("ignore:.*differ only in capitals", "ignore:.*takes? to have no header")
MANY = settings(max_examples=60, suppress_health_check=list(HealthCheck))

HALF = ([0.5] * 3, [0.5] * 3)
NAMES = [
    "cat",
    " cat",
    "dog ",
    "007",
    "7",
    "7.0",
    "1e5",
    "None",
    "NA",
    "nan",
    "null",
    "é",
    "e\u0301",
    "$a_b$",
    "-1",
    "True",
    "_x",
    "#1",
]
LABELS = st.lists(st.sampled_from(NAMES), min_size=4, max_size=10)
TAGS = st.lists(st.lists(st.sampled_from(["a", "b", "NA", "07"]), max_size=3), min_size=4, max_size=10)


def spelt(name: str) -> str:
    return "é" if name == "e\u0301" else name


def picture(i: int) -> np.ndarray:
    return np.full((4, 4, 3), 20 * i, np.uint8)


def written(root: Path, n: int, ending: str = "png") -> list[str]:
    for i in range(n):
        Image.fromarray(picture(i)).save(root / f"{i:02d}.{ending}")
    return [f"{i:02d}" for i in range(n)]


def check_pictures(data: ImageClassifierData, known: dict[str, Any]) -> None:
    """Every picture is there once, in order, with the label that was given with it, whoever loads it."""
    seen = {}
    for ds in (data.trn_ds, data.val_ds):
        for i, name in enumerate(ds.fnames):
            y = ds.y[i]
            seen[name[:2]] = [data.classes[j] for j in np.flatnonzero(y)] if y.ndim else data.classes[y]  # type: ignore[index]
            np.testing.assert_allclose(ds.denorm(ds[i][0]) * 255, picture(int(name[:2]))[None], atol=0.51)
    assert seen == known
    for (a, ya), (b, yb) in zip(data.val_dl or (), DataLoader(data.val_ds, 3), strict=True):
        assert a.equal(b)
        assert ya.equal(yb)


@MANY
@given(LABELS, st.booleans(), st.integers(0, 3))
def test_labels_in_a_table_stay_as_they_are_written(labels: list[str], header: bool, held_out: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = written(root, len(labels))
        lines = [*(["name,label"] if header else []), *(f"{n},{label}" for n, label in zip(names, labels, strict=True))]
        (root / "t.csv").write_text("\n".join(lines), encoding="utf-8")
        tfms = (None, tfms_from_stats(HALF, 4)[1])
        known = {name: spelt(label.strip()) for name, label in zip(names, labels, strict=True)}
        said = ""
        try:
            data = ImageClassifierData.from_csv(
                root, "", "t.csv", 3, tfms, [held_out], ".png", skip_header=header, num_workers=0
            )
        except DataError as exc:
            said = str(exc)
        if said:
            classes = set(known.values())
            alone = list(known.values()).count(known[names[held_out]]) == 1
            assert len(classes) < 2 or alone
            assert "at least two classes" in said or "have only validation pictures" in said
            return
        assert isinstance(data.target, Category)
        assert data.classes == sorted(set(known.values()))
        check_pictures(data, known)


@MANY
@given(TAGS, st.sampled_from([" ", "  ", "|", ";"]))
def test_lists_of_labels_keep_every_label_once(tags: list[list[str]], separator: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = written(root, len(tags))
        cells = [separator.join(item) for item in tags]
        (root / "t.csv").write_text("name,label\n" + "\n".join(f"{n},{c}" for n, c in zip(names, cells, strict=True)))
        said = ""
        options: Any = {"cat_separator": separator[:1], "is_multi": True, "suffix": ".png", "val_idxs": [1]}
        try:
            data = ImageClassifierData.from_csv(root, "", "t.csv", 3, (None, tfms_from_stats(HALF, 4)[1]), **options)
        except DataError as exc:
            said = str(exc)
        if said:
            assert not any(tags)
            assert "at least 1 class" in said
            return
        assert isinstance(data.target, MultiCategory)
        check_pictures(data, {name: sorted(set(item)) for name, item in zip(names, tags, strict=True)})


@MANY
@given(
    st.lists(st.sampled_from([0, 1, 2, -1, 3, 0.5, np.nan]), min_size=4, max_size=8),
    st.sampled_from(["int64", "uint8", "float32", "float64", "int8"]),
    st.booleans(),
)
def test_class_numbers_of_any_dtype_are_right_or_refused(values: list[float], dtype: str, column: bool) -> None:
    whole = all(np.isfinite(v) and v == int(v) for v in values)
    if np.dtype(dtype).kind in "iu" and not (whole and (dtype != "uint8" or min(values) >= 0)):
        return  # numpy itself would make other numbers of these
    y = np.array(values, dtype=dtype)
    y = y[:, None] if column else y
    x = np.stack([picture(i) for i in range(len(values))])
    good = whole and min(values) >= 0 and max(values) <= 2
    tfms = (None, tfms_from_stats(HALF, 4)[1])

    def check(make: Any) -> None:
        if not good:
            with pytest.raises(DataError, match="class numbers"):
                make()
            return
        data = make()
        assert data.classes == ["a", "b", "c"]
        assert data.trn_ds.y.tolist() == [int(v) for v in values]
        assert data.trn_ds.y.dtype == np.int64

    check(lambda: ImageClassifierData.from_arrays(".", (x, y), (x, y), 3, tfms, list("abc")))
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{name}.png" for name in written(Path(folder), len(values))]
        check(lambda: ImageClassifierData.from_names_and_array(folder, names, y, list("abc"), [], tfms=tfms))


@MANY
@given(
    st.sampled_from(["uint8", "uint16", "int32", "float32", "float64"]),
    st.sampled_from([(4, 4), (4, 4, 1), (4, 4, 3), (3, 4, 4)]),
    st.floats(0, 1),
)
def test_arrays_of_any_dtype_and_shape_are_pictures_or_refused(
    dtype: str, shape: tuple[int, ...], share: float
) -> None:
    white = {"uint8": 255, "uint16": 65535, "int32": 65535}.get(dtype, 1)
    x = np.full((4, *shape), share * white).astype(dtype)
    tfms = tfms_from_stats(HALF, 4)
    arrays = (x, np.arange(4) % 2)
    if dtype == "int32":
        with pytest.raises(DataError, match="max_value"):
            next(iter(ImageClassifierData.from_arrays(".", arrays, arrays, tfms=tfms).val_dl or ()))
        return
    data = ImageClassifierData.from_arrays(".", arrays, arrays, tfms=tfms)
    got = data.val_ds.denorm(next(iter(data.val_dl or ()))[0])
    assert got.shape == (4, 4, 4, 3)
    np.testing.assert_allclose(got, share, atol=1.01 / 255)
