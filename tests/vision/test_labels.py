"""Tables and arrays of labels: as they are written, several only where they are, every mistake said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit import DataError
from learnkit.data.targets import Category, MultiCategory, Real
from learnkit.vision import ImageClassifierData

N = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(N):
        Image.new("RGB", (6, 6), (i * 20, 0, 0)).save(tmp_path / f"p{i}.png")
    return tmp_path


def table(folder: Path, lines: list[str]) -> Path:
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "t.csv"


def load(folder: Path, labels: list[str], *, header: str = "name,label", **options: Any) -> ImageClassifierData:
    labels = (labels * N)[:N]
    file = table(folder, [header, *(f"p{i},{label}" for i, label in enumerate(labels))])
    return ImageClassifierData.from_csv(folder, "", file, **{"suffix": ".png", "val_idxs": [0, 1], "bs": 2, **options})


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat ", "dog"], ["cat", "dog"]),
        ([" cat", "cat ", "dog"], ["cat", "dog"]),
        (["golden retriever", "labrador retriever", "tabby cat"], None),
        (["hot dog", "dog", "ice cream"], None),  # a word that only ever comes last names a kind
        (["black cat", "white cat", "black dog", "white dog"], None),
        (["New York", "Boston"], None),
        (["007", "010", "7"], None),
        (["1.50", "1e5", "1.5"], None),
        (["None", "NA", "nan", "null", "N/A"], None),
        (["True", "False"], None),
        (["1_000", "1000"], None),
        (["$a_b_c$", "b"], None),
    ],
)
def test_one_label_per_picture_stays_as_it_is_written(
    folder: Path, labels: list[str], classes: list[str] | None
) -> None:
    data = load(folder, labels)
    assert isinstance(data.target, Category)
    assert data.classes == (sorted(labels) if classes is None else classes)
    assert [data.classes[i] for i in data.val_y] == [label.strip() for label in (labels * N)[:2]]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["clear", "clear water"], ["clear", "water"]),
        (["clear primary water", "haze primary", "clear primary"], ["clear", "haze", "primary", "water"]),
        (["cat", "dog", "cat  dog"], ["cat", "dog"]),  # two blanks make no class ""
        (["a b", "b c", "a c"], ["a", "b", "c"]),
        (["a b ", "a", ""], ["a", "b"]),  # an empty cell: no label
    ],
)
def test_blanks_separate_labels_that_are_known_by_themselves(
    folder: Path, labels: list[str], classes: list[str]
) -> None:
    data = load(folder, labels)
    assert isinstance(data.target, MultiCategory)
    assert data.classes == classes
    said = [[name for name, yes in zip(classes, row, strict=True) if yes] for row in data.val_y]
    assert said == [sorted(label.split()) for label in labels[:2]]


def test_the_user_says_what_blanks_are(folder: Path) -> None:
    assert load(folder, ["clear", "clear water"], is_multi=False).classes == ["clear", "clear water"]
    assert load(folder, ["golden retriever", "tabby cat"], is_multi=True).classes == [
        "cat",
        "golden",
        "retriever",
        "tabby",
    ]
    several = load(folder, ["hot dog|cat", "cat||", "|hot dog"], cat_separator="|")
    assert several.classes == ["cat", "hot dog"]
    with pytest.raises(ValueError, match="`cat_separator` must be the text between two labels; got ''"):
        load(folder, ["a", "b"], cat_separator="")


def test_names_that_differ_in_capitals_are_remarked(folder: Path) -> None:
    with pytest.warns(UserWarning, match="'Zero' and 'zero' differ only in capitals"):
        assert load(folder, ["Zero", "zero"]).classes == ["Zero", "zero"]


def test_one_name_in_two_spellings_is_one_class_and_finds_its_file(folder: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    data = load(folder, [composed, apart, "bar"])
    assert data.classes == ["bar", composed]
    assert data.target is not None
    np.testing.assert_array_equal(data.target.encode([apart, composed]), [1, 1])
    Image.new("RGB", (6, 6)).save(folder / f"{apart}.png")
    file = table(folder, ["name,label", f"{composed},a", "p1,b", "p2,a", "p3,b"])
    found = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[1])
    assert found.trn_ds.paths[0].name == f"{apart}.png"


def test_a_table_without_a_header_loses_nothing(folder: Path) -> None:
    file = table(folder, [f"p{i},{'ab'[i % 2]}" for i in range(N)])
    with pytest.warns(UserWarning, match=r"names a picture, p0\.png, so the table is taken to have no header"):
        data = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[0])
    assert (data.val_ds.fnames, len(data.trn_ds)) == (["p0.png"], N - 1)
    said = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[0], skip_header=False)
    assert said.val_ds.fnames == ["p0.png"]


def test_columns_of_zeros_and_ones_are_labels(folder: Path) -> None:
    data = load(folder, ["1,0,0", "1,1,0", "0,0,0", "0,0,1.0"], header="name,cat,dog,yak")
    assert isinstance(data.target, MultiCategory)
    assert data.classes == ["cat", "dog", "yak"]
    np.testing.assert_array_equal(data.val_y, [[1, 0, 0], [1, 1, 0]])
    one = load(folder, ["1,0,0", "0,1,0", "0,0,1"], header="name,cat,dog,yak", is_multi=False)
    assert isinstance(one.target, Category)
    assert one.val_y.tolist() == [0, 1]
    with pytest.raises(DataError, match="row.s. have not exactly one label, the first is row 1"):
        load(folder, ["1,0,0", "1,1,0"], header="name,cat,dog,yak", is_multi=False)


def test_other_columns_are_refused_or_said_to_be_left_out(folder: Path) -> None:
    with pytest.raises(DataError, match=r"every cell must be 0 or 1.*continuous=True"):
        load(folder, ["0.3,0.7", "1,0"], header="name,cat,dog")
    with pytest.warns(UserWarning, match="second column.*'label'; width are not used"):
        assert load(folder, ["a,640", "b,480"], header="name,label,width").classes == ["a", "b"]
    assert load(folder, ["640,a", "480,b"], header="name,width,label", label_columns=["label"]).classes == ["a", "b"]
    with pytest.raises(DataError, match=r"has no column 'nix'; it has: 'label'"):
        load(folder, ["a", "b"], label_columns=["nix"])


def test_all_mistakes_of_a_table_are_said_at_once(folder: Path) -> None:
    rows = ["p0,a", "p1,", "p1,b", ",b", "nowhere,a", *(f"gone{i},a" for i in range(30))]
    file = table(folder, ["name,label", *rows])
    with pytest.raises(DataError) as caught:
        ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[0])
    text = str(caught.value)
    for part in (
        "1 row(s) have no name, the first is row 3",
        "2 name(s) stand in several rows, the first is row 1 (p1)",
        "1 row(s) have no label, the first is row 1 (p1)",
        "32 of 35 pictures do not exist",
        "row 4 (nowhere): its picture does not exist",
    ):
        assert part in text
    assert text.count("\n") == 21
    assert "and 16 more" in text


def test_missing_pictures_can_be_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(folder, ["name,label", "nowhere,a", *(f"p{i},{'ab'[i % 2]}" for i in range(N))])
    data = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[0, 1, 2], on_error="skip")
    assert (data.val_ds.fnames, data.val_y.tolist(), len(data.trn_ds)) == (["p0.png", "p1.png"], [0, 1], 6)
    assert "left out 1 of 9 pictures that do not exist" in capsys.readouterr().out


def test_encodings_and_byte_order_marks(folder: Path) -> None:
    file = folder / "t.csv"
    file.write_bytes("\ufeffp0,a\np1,b\np2,a\n".encode())
    data = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[], skip_header=False)
    assert data.trn_ds.fnames[0] == "p0.png"
    file.write_bytes("name,label\np0,caf\u00e9\np1,b\n".encode("latin-1"))
    with pytest.raises(DataError, match="not written in utf-8.*`encoding=`"):
        ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[])
    data = ImageClassifierData.from_csv(folder, "", file, suffix=".png", val_idxs=[], encoding="latin-1")
    assert data.classes == ["b", "caf\u00e9"]


def test_numbers_must_be_numbers(folder: Path) -> None:
    data = load(folder, ["1.5", "2e1"], continuous=True)
    assert isinstance(data.target, Real)
    np.testing.assert_array_equal(data.val_y, [1.5, 20])
    with pytest.raises(DataError, match=r"(?s)4 row.s. have no label.*2 row.s. hold labels that are no finite numbers"):
        load(folder, ["1", "", "nan", "inf"], continuous=True)


# ---------------------------------------------------------------- arrays


def from_array(folder: Path, y: Any, classes: Any = ("a", "b"), **options: Any) -> ImageClassifierData:
    names = [f"p{i}.png" for i in range(len(y))]
    return ImageClassifierData.from_names_and_array(folder, names, y, classes, val_idxs=[0, 1], bs=2, **options)


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 0, 1]),
        np.array([[0], [1], [0], [1]]),
        np.array([0.0, 1.0, 0.0, 1.0]),
        np.array([False, True, False, True]),
        ["a", "b", "a", "b"],
        np.array([0, 1, 0, 1], np.uint8),
    ],
    ids=["numbers", "a column", "floats", "booleans", "names", "bytes"],
)
def test_class_numbers_of_any_kind_are_one_class_each(folder: Path, y: Any) -> None:
    data = from_array(folder, y)
    assert isinstance(data.target, Category)
    assert (data.val_y.tolist(), data.trn_ds.y.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0, 1, np.nan, 1]), "1 are missing or fractions, the first is item 2 .nan."),
        (np.array([0, 1, -1, 1]), "1 of `y` are negative, the first is item 2"),
        (np.array([0.2, 0.8, 0.1, 0.9]), "missing or fractions, the first is item 0 .0.2."),
        (np.array([[0.2, 0.8], [1, 0]] * 2), r"must hold zeros and ones.*0\.2 .item 0, class 'a'"),
        (np.array([[1, 0], [np.nan, 1]]), r"must hold zeros and ones.*nan .item 1, class 'a'"),
        (np.array([[1, 0], [-1, 1]]), r"must hold zeros and ones.*-1 .item 1, class 'a'"),
        (np.array([[1, 0, 1]] * 4), "has 3 columns, and there are 2 `classes`"),
        (np.zeros((4, 2, 2)), r"must have the shape \(n,\) or \(n, n_classes\); got \(4, 2, 2\)"),
        ([["a"], ["a", "b"]], "one label, or one number per class"),
        (np.array(["a", None], dtype=object), "1 of 2 labels are missing .None., the first is that of item 1"),
        (["a", "c", "a", "c"], "c are not among the 2 training classes"),
    ],
)
def test_what_is_no_class_is_refused(folder: Path, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_array(folder, y)
    if isinstance(y, np.ndarray) and y.ndim < 3 and y.shape[-1] != 3 and y.dtype.kind in "if":
        x = np.zeros((len(y), 4, 4), np.uint8)
        with pytest.raises(DataError, match=message.replace("`y`", "the targets of `trn`")):
            ImageClassifierData.from_arrays(folder, (x, y), (x, y), classes=["a", "b"])


def test_texts_are_no_lists(folder: Path) -> None:
    with pytest.raises(DataError, match="`classes` must be a list of names; got the text 'ab'"):
        from_array(folder, [0, 1, 0, 1], "ab")
    with pytest.raises(DataError, match="`fnames` must be a list of names; got the text 'p0.png'"):
        ImageClassifierData.from_names_and_array(folder, "p0.png", [0, 1, 0, 1, 0, 1], ["a", "b"])


def test_arrays_of_zeros_and_ones_and_of_numbers(folder: Path) -> None:
    x = np.zeros((4, 4, 4), np.uint8)
    several = ImageClassifierData.from_arrays(folder, (x, np.eye(4)[:, :3]), (x, np.eye(4)[:, :3]), classes=list("abc"))
    assert isinstance(several.target, MultiCategory)
    np.testing.assert_array_equal(several.val_y, np.eye(4)[:, :3])
    numbers = ImageClassifierData.from_arrays(folder, (x, np.arange(4) / 2), (x, np.arange(4) / 2), continuous=True)
    assert isinstance(numbers.target, Real)


def test_nothing_is_remarked_where_nothing_is_odd(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, ["cat", "dog"])


def test_a_number_and_the_text_that_looks_like_it_are_two_classes(tmp_path):
    x = np.zeros((6, 4), dtype=np.float32)
    y: Any = [1, "1", "a"] * 2
    data = ImageClassifierData.from_arrays(tmp_path, (x, y), (x, y), bs=2)
    assert data.classes == [1, "1", "a"]


def test_pictures_of_several_sizes_are_no_array(tmp_path):
    pictures = [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]
    with pytest.raises(DataError, match=r"pictures of `trn` must have one shape .* \(8, 8, 3\), \(9, 8, 3\)"):
        ImageClassifierData.from_arrays(tmp_path, (pictures, [0, 1]), (pictures, [0, 1]))
