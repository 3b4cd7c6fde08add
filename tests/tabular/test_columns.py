"""Columns of a frame: which are categories, categories of later rows, smaller types."""

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import apply_cats, cont_cat_split, df_shrink, train_cats


@pytest.fixture
def trn():
    return pd.DataFrame(
        {
            "State": ["HE", "BY", None, "HE", "SH"],
            "Km": [1.0, None, 3.0, 5.0, 9.0],
            "Age": [10, 20, 30, 40, 50],
            "Open": [True, False, True, True, False],
            "Sales": [5, 6, 7, 8, 9],
        }
    )


def test_cont_cat_split(trn):
    assert cont_cat_split(trn, dep_var="Sales") == (["Km"], ["State", "Age", "Open"])
    assert cont_cat_split(trn, 3, dep_var=["Sales", "State"]) == (["Km", "Age"], ["Open"])


def test_train_cats_and_apply_cats(trn):
    train_cats(trn, ["Age"])
    assert trn["State"].cat.ordered
    assert trn["Age"].cat.categories.tolist() == [10, 20, 30, 40, 50]
    new = pd.DataFrame({"State": ["SH", "XX"], "Other": [1, 2]}, index=[7, 9])
    with pytest.warns(UserWarning, match=r"1 value\(s\) of 'State'"):
        apply_cats(new, trn)
    assert new["State"].cat.codes.tolist() == [2, -1]
    with pytest.raises(DataError, match="`cat_flds`: the frame has no column"):
        train_cats(trn, ["Nope"])


def test_df_shrink_keeps_the_values():
    df = pd.DataFrame(
        {
            "n": [-1, 200],
            "x": [0.5, np.nan],
            "s": ["a", None],
            "b": [True, False],
            "i": pd.array([1, None], dtype="Int64"),
        }
    )
    small = df_shrink(df)
    assert [str(t) for t in small.dtypes] == ["int16", "float32", "category", "bool", "Int8"]
    assert small["n"].tolist() == [-1, 200]
    assert df_shrink(df, skip=["n"], obj2cat=False).dtypes["n"] == "int64"
    assert df.dtypes["n"] == "int64"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2.0**24, 2.0**24 + 1], "float64"),  # one whole number in float32
        ([1_438_300_800.25, 1_438_300_801.5], "float64"),
        ([2.0**24 + 2, np.nan], "float32"),  # exact all the same
        ([1.0, 2.5], "float32"),
        ([0.1, 0.2], "float32"),  # seven digits, as documented
        ([1e300, 1.0], "float64"),
        ([1e-300, 2e-300], "float64"),
        ([np.inf, 1.0], "float32"),
        (pd.array([2.0**24 + 1, None], dtype="Float64"), "Float64"),
        (pd.array([1.5, None], dtype="Float64"), "Float32"),
    ],
)
def test_df_shrink_merges_no_numbers(values, dtype):
    df = pd.DataFrame({"x": values})
    out = df_shrink(df)["x"]
    assert str(out.dtype) == dtype
    assert out.nunique() == df["x"].nunique()


def test_cont_cat_split_takes_one_target_or_several_and_names_a_missing_one():
    df = pd.DataFrame({"a": [0.5, 1.5], 3: [0.5, 2.5], "c": ["x", "y"]})
    assert cont_cat_split(df, dep_var=3) == (["a"], ["c"])  # type: ignore[arg-type]
    assert cont_cat_split(df, dep_var=["a", 3]) == ([], ["c"])  # type: ignore[list-item]
    with pytest.raises(DataError, match="`dep_var`: the frame has no column"):
        cont_cat_split(df, dep_var="b")
