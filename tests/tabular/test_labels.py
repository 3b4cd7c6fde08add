"""Labels of every kind: the right target, or words."""

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import ColumnarModelData
from learnkit.tabular.labels import as_labels, make_target

CLASSES = {"is_reg": False, "is_multi": False}
NUMBERS = {"is_reg": True, "is_multi": False}


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["007", "7", "007"], ["007", "7"]),
        (["1.50", "1e5", "1.50"], ["1.50", "1e5"]),
        (np.array([["b"], ["a"]]), ["a", "b"]),
        (np.array([[3], [1]]), [1, 3]),
        ([-1, 1, -1], [-1, 1]),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (pd.Series([1, 2], dtype="Int64"), [1, 2]),
        (pd.Series(pd.Categorical(["b", "a"], categories=["b", "a", "c"])), ["a", "b"]),
        ([True, False], [False, True]),
    ],
)
def test_classes_are_the_labels_as_written(y, classes):
    target, codes = make_target(y, **CLASSES)
    assert target.classes is not None
    assert target.classes == classes
    assert [target.classes[code] for code in codes] == np.asarray(y, dtype=object).ravel().tolist()


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([1, "a"], CLASSES, r"mixes types \(int, str\); make all labels text"),
        ([0.2, 0.7], CLASSES, r"`y` holds 0.2 in row 0. To predict numbers pass is_reg=True"),
        ([0.0, np.nan], CLASSES, "1 missing value.*row 1"),
        (np.array(["a", None], dtype=object), CLASSES, "1 missing value"),
        (pd.to_datetime(["2015-01-01", "2016-01-01"]), CLASSES, "datetime64"),
        ([b"a", b"b"], CLASSES, "targets are numbers, or text"),
        ([[1], [2, 3]], NUMBERS, "same number of targets in every row"),
        (["a", "b"], NUMBERS, "needs numbers"),
        ([1.0, 1e200], NUMBERS, r"`y` holds 1e\+200 in row 1"),
        ([1.0, np.inf], NUMBERS, "inf in row 1"),
        (3, NUMBERS, "shape"),
    ],
)
def test_what_is_no_label_is_named(y, options, message):
    with pytest.raises(DataError, match=message):
        make_target(y, **options)


def test_numbers_of_any_type_are_numbers():
    kinds: list[Any] = [
        [decimal.Decimal("1.5"), decimal.Decimal(2)],
        pd.Series([1.5, 2], dtype="Float64"),
        np.array([1.5, 2], dtype=object),
    ]
    for y in kinds:
        assert make_target(y, **NUMBERS)[1].tolist() == [1.5, 2.0]
    assert as_labels(np.array([1, 2], dtype=object)).dtype.kind == "i"


def test_shapes_and_several_classes_at_once(tmp_path):
    x = np.arange(6.0)[:, None]
    for y in (np.array([[0], [1], [2], [0], [1], [2]]), np.array([0, 1, 2, 0, 1, 2])):
        assert ColumnarModelData.from_arrays(tmp_path, [0], x, y).classes == [0, 1, 2]
    with pytest.raises(DataError, match=r"must be 0, 1, ...; `y` holds -1"):
        ColumnarModelData.from_arrays(tmp_path, [0], x, np.array([0, 1, -1, 0, 1, 2]))
    with pytest.raises(DataError, match="`y` holds 99999999"):
        ColumnarModelData.from_arrays(tmp_path, [0], x, np.array([0, 1, 99_999_999, 0, 1, 2]))
    several = np.array([[0, 1], [1, 1], [0, 0]] * 2)
    md = ColumnarModelData.from_data_frame(tmp_path, [0], pd.DataFrame({"x": x[:, 0]}), several, is_multi=True)
    assert md.classes == [0, 1]  # `is_reg` is True by default, and has no say
    with pytest.raises(DataError, match="zeros and ones"):
        ColumnarModelData.from_data_frame(tmp_path, [0], pd.DataFrame({"x": x[:, 0]}), several * 0.5, is_multi=True)


def test_a_class_without_a_training_row_is_said(tmp_path):
    df = pd.DataFrame({"x": np.arange(5.0)})
    with pytest.warns(UserWarning, match=r"1 class\(es\) have no training row and cannot be learned: c"):
        ColumnarModelData.from_data_frame(tmp_path, [4], df, ["a", "b", "a", "b", "c"], is_reg=False)
