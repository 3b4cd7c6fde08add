import datetime
import uuid
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from learnkit import CheckpointError, DataError
from learnkit.collab.ids import Vocabulary, code_dtype, decode_ids, encode_ids

IDS = [
    [3, 1, 2],
    ["b", "a", "c"],
    [uuid.UUID(int=1), uuid.UUID(int=7)],
    [(1, "a"), (2, "b")],
    [1, "1", 2.5],
    [datetime.date(2020, 1, 2), datetime.date(2021, 1, 2)],
    [b"x", b"y"],
]


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: type(ids[0]).__name__)
def test_any_hashable_id_goes_to_a_code_and_back(ids):
    column = pd.Series(Vocabulary(ids, "user").ids, name="u")
    alike = pytest.warns(UserWarning, match="such as 1 and '1'") if ids == [1, "1", 2.5] else nullcontext()
    with alike:
        vocabulary = Vocabulary.from_column(column, "user")
    assert vocabulary.encode(ids).tolist() == list(range(1, len(ids) + 1))
    assert vocabulary.decode([2, 0, 1]) == [ids[1], None, ids[0]]


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: type(ids[0]).__name__)
def test_ids_survive_json(ids):
    import json

    assert decode_ids(json.loads(json.dumps(encode_ids(ids, "user")))) == ids


def test_numpy_ids_come_back_as_python_numbers():
    assert encode_ids(np.array([1, 2]), "user") == [1, 2]
    assert type(Vocabulary(np.array([1, 2]), "user").decode([1])[0]) is int


def test_an_id_that_is_no_data_cannot_be_saved():
    with pytest.raises(CheckpointError, match="user ids of type object cannot be saved"):
        encode_ids([object()], "user")


def test_unknown_ids_are_code_zero():
    vocabulary = Vocabulary([10, 20], "item")
    assert vocabulary.encode([20, 30, "20"]).tolist() == [2, 0, 0]
    assert vocabulary.unknown([20, 30, "20", 30]) == [30, "20"]


def test_missing_id_names_the_row():
    with pytest.raises(DataError, match=r"1 row\(s\) have no user id in column 'u', the first is row 2"):
        Vocabulary.from_column(pd.Series([1.0, 2.0, None], name="u"), "user")


def test_unhashable_id_is_refused():
    with pytest.raises(DataError, match="must be hashable"):
        Vocabulary.from_column(pd.Series([[1], [2]], name="u"), "user")


def test_repeated_ids_are_refused():
    with pytest.raises(DataError, match="not distinct: 'a'"):
        Vocabulary(["a", "b", "a"], "user")


def test_categorical_and_nullable_columns():
    for column in (pd.Series(["x", "y", "x"], dtype="category"), pd.Series([5, 6, 5], dtype="Int64")):
        vocabulary = Vocabulary.from_column(column.rename("u"), "user")
        assert vocabulary.encode(column).tolist() == [1, 2, 1]


@pytest.mark.parametrize(("size", "dtype"), [(2**15, np.int16), (2**15 + 1, np.int32), (2**31 + 1, np.int64)])
def test_codes_take_the_smallest_type(size, dtype):
    assert code_dtype(size) is dtype
