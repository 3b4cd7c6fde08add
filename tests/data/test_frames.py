"""Rows in the shapes people have them in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from learnkit import DataError
from learnkit.data.frames import as_frame


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
