"""Ratings of any kind of id and number: the right answer, or an error in words."""

from __future__ import annotations

import csv
import tempfile
import uuid
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.collab import CollabFilterDataset

MANY = settings(max_examples=60, suppress_health_check=list(HealthCheck))

WRITTEN = st.sampled_from(
    ["007", "07", "7", "0", "-0", "1e5", "1.0", "NA", "null", "nan", "None", "True", "X1", "é", "a b", " 7"]
)
NUMERALS = st.integers(-5, 10**18 - 1).map(str)
IDS: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(0, 5),
    "str": WRITTEN,
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "tuple": st.tuples(st.integers(0, 3), WRITTEN),
    "uuid": st.integers(0, 5).map(lambda k: uuid.UUID(int=k)),
    "bool": st.booleans(),
}
DTYPES: list[Any] = ["int8", "int16", "uint8", "uint64", "float32", "Int64", "category", "object"]


def pairs(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, Any]]]:
    return st.lists(st.tuples(ids, st.integers(0, 4)), min_size=2, max_size=12, unique_by=lambda pair: repr(pair))


def check(cf: CollabFilterDataset, users: list[Any], items: list[Any], ratings: list[float]) -> None:
    """Every row comes back as it was, from the dataset and from its loader, and every id has one code."""
    assert cf.users.decode(cf.user_codes) == users
    assert cf.items.decode(cf.item_codes) == items
    assert cf.ratings is not None
    assert cf.ratings.tolist() == ratings
    assert cf.user2idx == {user: code for code, user in enumerate(dict.fromkeys(users), 1)}
    data = cf.get_data([], bs=5)
    found = [
        (cf.users.decode([u])[0], cf.items.decode([i])[0], y)
        for us, its, ys in data.trn_dl
        for u, i, y in zip(us.tolist(), its.tolist(), ys.tolist(), strict=True)
    ]
    assert Counter(found) == Counter(zip(users, items, ratings, strict=True))
    assert data.user_counts.tolist() == [0, *(users.count(user) for user in dict.fromkeys(users))]


@pytest.mark.parametrize("kind", list(IDS))
@MANY
@given(draw=st.data())
def test_any_ids_keep_their_rows(kind: str, draw: st.DataObject) -> None:
    chosen = draw.draw(pairs(IDS[kind]))
    users, items = [user for user, _ in chosen], [item for _, item in chosen]
    ratings = [float(k % 5) for k in range(len(chosen))]
    boxed = np.empty(len(users), dtype=object)
    boxed[:] = users
    frame = pd.DataFrame({"u": pd.Series(boxed), "i": items, "r": ratings})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*differ from another one only")
        cf = CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r", duplicates="keep")
        check(cf, users, items, ratings)
    order = list(range(len(users)))[::-1]
    np.testing.assert_array_equal(cf.users.encode([users[i] for i in order]), cf.user_codes[order])


@pytest.mark.parametrize("dtype", DTYPES)
@MANY
@given(chosen=pairs(st.integers(0, 100)))
def test_ids_in_columns_of_any_type(dtype: Any, chosen: list[tuple[int, int]]) -> None:
    users, items = [user for user, _ in chosen], [item for _, item in chosen]
    ratings = [float(k % 5) for k in range(len(chosen))]
    frame = pd.DataFrame({"u": pd.Series(users).astype(dtype), "i": pd.Series(items).astype(dtype), "r": ratings})
    cf = CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r")
    check(cf, users, items, ratings)
    for other in ("int16", "int64", "float64", "object"):  # equal numbers are one id, whatever type they come in
        np.testing.assert_array_equal(cf.users.encode(pd.Series(users).astype(other)), cf.user_codes)
        np.testing.assert_array_equal(cf.users.encode([np.int16(user) for user in users]), cf.user_codes)


@MANY
@given(
    users=st.lists(WRITTEN, min_size=2, max_size=12) | st.lists(NUMERALS, min_size=2, max_size=12),
    sep=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_ids_of_a_file_are_as_written(users: list[str], sep: str, encoding: str) -> None:
    rows = [(user, f"b{k}", k % 5) for k, user in enumerate(users)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*differ from another one only")
        with open(Path(folder, "r.csv"), "w", encoding=encoding, newline="") as file:
            csv.writer(file, delimiter=sep).writerows([("u", "i", "r"), *rows])
        cf = CollabFilterDataset.from_csv(folder, "r.csv", "u", "i", "r", sep=sep, encoding=encoding)
    numbers = all(user.lstrip("-").isdecimal() and str(int(user)) == user for user in users)
    expected: list[Any] = [int(user) for user in users] if numbers else users
    check(cf, expected, [item for _, item, _ in rows], [float(rating) for _, _, rating in rows])


@MANY
@given(
    ratings=st.lists(
        st.floats(width=32) | st.sampled_from([1e200, -1e39, None, "x", "4", "", True, np.nan, float("inf"), 10**400]),
        min_size=2,
        max_size=6,
    )
)
def test_ratings_are_numbers_or_the_first_that_is_none_is_named(ratings: list[Any]) -> None:
    def number(value: Any) -> float:
        try:
            return float(np.float32(float(value)))
        except (TypeError, ValueError, OverflowError):
            return float("nan")

    with np.errstate(over="ignore"):
        values = np.array([number(value) for value in ratings])
    boxed = np.empty(len(ratings), dtype=object)
    boxed[:] = ratings
    frame = pd.DataFrame({"u": range(len(ratings)), "i": range(len(ratings)), "r": pd.Series(boxed, dtype=object)})
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        with pytest.raises(DataError, match=rf"{len(wrong)} rating\(s\) in column 'r' .* in row {wrong[0]}\."):
            CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r")
        return
    cf = CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r")
    assert cf.ratings is not None
    assert cf.ratings.tolist() == values.tolist()
