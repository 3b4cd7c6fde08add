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
    with pytest.raises(DataError, match="`cat_flds` names 1"):
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
