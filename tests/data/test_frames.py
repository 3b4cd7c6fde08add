"""Rows in the shapes people have them in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from learnkit import DataError
from learnkit.data.frames import as_frame, check_columns, check_frame


def test_rows_of_any_shape_become_a_frame() -> None:
    row = {"State": "HE", "Km": 1.5, "Open": True, "Gone": None}
    wanted = pd.DataFrame([row])
    rows: Any = [row, [row], pd.Series(row), {name: [value] for name, value in row.items()}]
    for item in rows:
        pd.testing.assert_frame_equal(as_frame(item), wanted, check_index_type=False)
    assert as_frame(wanted) is wanted
    assert as_frame({"a": 1, "b": [1, 2]})["a"].tolist() == [1, 1]
    for bad in ("text", [1, 2], [], 3):
        with pytest.raises(TypeError, match="rows must be a DataFrame, a Series, a dict or a list of dicts"):
            as_frame(bad)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="columns of the dict do not make rows"):
        as_frame({"a": [1], "b": [1, 2]})


def test_columns_that_are_missing_are_named_beside_those_that_are_there() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["u", "u", 5])
    check_columns(frame.columns, [5], "the frame")
    with pytest.raises(DataError, match=r"`df` has no column 'v', \['w'\]; it has: 'u', 'u', 5\."):
        check_columns(frame.columns, ["v", 5, ["w"]], "`df`")
    with pytest.raises(DataError, match="several columns called 'u'; rename or drop"):
        check_columns(frame.columns, [5, "u"], "`df`")
    levels = pd.MultiIndex.from_tuples([("a", "b")])
    with pytest.raises(DataError, match="the columns of x.csv have several levels"):
        check_columns(levels, [], "x.csv")
    for wrong, message in (
        (frame, r"share the name\(s\) u"),
        (frame[[5]][:0], "no rows"),
        (pd.DataFrame([[1]], columns=levels), "several levels"),
    ):
        with pytest.raises(DataError, match=message):
            check_frame(wrong)
    with pytest.raises(TypeError, match="`df` must be a pandas DataFrame; got list"):
        check_frame([1])
