"""Ids of a file stay as they are written, whatever else the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from learnkit import DataError
from learnkit.collab import CollabFilterDataset
from learnkit.collab.reading import read_columns, with_ids


def read(folder: Path, content: str | bytes, **kwargs: Any) -> CollabFilterDataset:
    (folder / "r.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return CollabFilterDataset.from_csv(folder, "r.csv", "u", "i", kwargs.pop("rating", "r"), **kwargs)


def csv(ids: list[str], sep: str = ",") -> str:
    rows = [
        f"{name if name.isalnum() else chr(34) + name + chr(34)}{sep}b{k}{sep}{k % 5}" for k, name in enumerate(ids)
    ]
    return "\n".join([f"u{sep}i{sep}r", *rows]) + "\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["007", "07", "7"], ["007", "07", "7"]),
        (["1", "2", "10"], [1, 2, 10]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["0", "-3", "5"], [0, -3, 5]),
        (["1.0", "2.0", "3.50"], ["1.0", "2.0", "3.50"]),
        (["1e5", "2", "3"], ["1e5", "2", "3"]),
        (["NA", "null", "nan"], ["NA", "null", "nan"]),
        (["None", "True", "-0"], ["None", "True", "-0"]),
        (["123456789012345678901", "1"], ["123456789012345678901", "1"]),
        (["+1", "1"], ["+1", "1"]),
        (["a,b", "é"], ["a,b", "é"]),
    ],
)
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_ids_are_as_written_or_numbers_for_a_whole_column(
    written: list[str], expected: list[Any], sep: str, tmp_path: Path
) -> None:
    cf = read(tmp_path, csv(written, sep), sep=sep)
    assert cf.users.decode(range(1, len(cf.users) + 1)) == expected
    assert cf.user2idx == {name: code for code, name in enumerate(expected, 1)}
    assert cf.user_codes.tolist() == list(range(1, len(expected) + 1))


def test_one_rule_holds_for_a_column_of_many_chunks(tmp_path: Path) -> None:
    """Books whose number ends in X only far down: none is a number in one place and text in another."""
    isbn = [f"{k:09d}{k % 10}" for k in range(1000)] + [f"{k:09d}X" for k in range(100)]
    rows = isbn[:1000] * 300 + isbn[1000:] * 3
    lines = "".join(f"{k},{name},3\n" for k, name in enumerate(rows))
    cf = read(tmp_path, "u,i,r\n" + lines)
    assert (len(cf), len(cf.users), len(cf.items)) == (300_300, 300_300, 1_100)
    assert cf.items.decode(range(1, 1101)) == isbn
    assert cf.items.decode(cf.item_codes[-100:]) == isbn[1000:]
    assert cf.users.decode([1, 300_300]) == [0, 300_299]


def test_pairs_to_predict_follow_the_rule_of_the_ratings(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("u,i\n7,b0\n07,b1\n9,b0\n")
    with pytest.warns(UserWarning, match="1 of 3 test rows have a user that is not in the ratings"):
        cf = read(tmp_path, csv(["007", "07", "7"]), test="t.csv")
    assert cf.test_codes is not None
    assert cf.test_codes[0].tolist() == [3, 2, 0]
    (tmp_path / "t.csv").write_text("u,i\n2,b0\nx,b1\n02,b1\n")
    with pytest.warns(UserWarning, match="2 of 3 test rows have a user that is not in the ratings"):
        cf = read(tmp_path, csv(["1", "2", "3"]), test="t.csv")
    assert cf.test_codes is not None
    assert cf.test_codes[0].tolist() == [2, 0, 0]


def test_a_missing_id_and_a_missing_rating_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 row\(s\) have no user id in column 'u', the first is row 1"):
        read(tmp_path, "u,i,r\nNA,1,2\n,1,3\n")
    for cell in ("", "NA", "null", "nan", "x", "1e200", "inf"):
        with pytest.raises(DataError, match=r"1 rating\(s\) in column 'r' .* in row 1"):
            read(tmp_path, f"u,i,r\n1,1,2\n2,1,{cell}\n")


def test_other_encodings_and_marks(tmp_path: Path) -> None:
    text = "u,i,r\né,ü,3\nb,ü,4\n"
    for encoding in ("latin-1", "utf-16", "cp1252"):
        assert read(tmp_path, text.encode(encoding), encoding=encoding).users.decode([1, 2]) == ["é", "b"]
    assert read(tmp_path, b"\xef\xbb\xbf" + text.encode()).users.decode([1, 2]) == ["é", "b"]
    with pytest.raises(DataError, match='r.csv is not utf-8: .*Pass the right `encoding=`, such as "latin-1"'):
        read(tmp_path, text.encode("latin-1"))
    late = "u,i,r\n" + "".join(f"{k},1,2\n" for k in range(300_000)) + "é,1,2\n"
    with pytest.raises(DataError, match="r.csv is not utf-8"):
        read(tmp_path, late.encode("latin-1"))
    with pytest.raises(ValueError, match="`encoding` must be the name of one"):
        read(tmp_path, text, encoding="latin-99")


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.csv").touch()
    with pytest.raises(DataError, match="there is no file .*none.csv. Its folder holds: r.csv"):
        CollabFilterDataset.from_csv(tmp_path, "none.csv", "u", "i", "r")
    with pytest.raises(DataError, match="has no column 'i'; it has: 'u', 'j', 'r'"):
        read(tmp_path, "u,j,r\n1,2,3\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read(tmp_path, "")
    with pytest.raises(DataError, match="the frame has no rows"):
        read(tmp_path, "u,i,r\n")
    assert read(tmp_path, "u,i,r\n1,10,5,\n2,20,4,\n").item2idx == {10: 1, 20: 2}  # a separator at each line's end


def test_texts_are_kept_once_however_long_the_column(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("u,i,r\n" + "ann,x,3\nbob,y,4\n" * 1000)
    frame = read_columns(tmp_path / "r.csv", ["u", "i"], ["r"], sep=",", encoding="utf-8")
    assert isinstance(frame.u.dtype, pd.CategoricalDtype)
    assert frame.u.cat.categories.tolist() == ["ann", "bob"]
    assert with_ids(frame.u).tolist() == ["ann", "bob"] * 1000
    assert frame.r.dtype.kind == "i"
