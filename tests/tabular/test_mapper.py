"""`Mapper`: the same columns for any later rows, what was done said aloud, and text that holds all of it."""

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import Mapper, proc_df, train_cats


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


def test_new_rows_get_the_same_columns(trn):
    df, _, nas, mapper = proc_df(trn, "Sales")
    new = pd.DataFrame(
        {
            "Weather": ["dry"] * 3,
            "Open": [True] * 3,
            "Age": [None, 30.0, 50.0],
            "Km": [None, 1.0, 3.0],
            "State": ["XX", None, "BY"],
        }
    )
    with pytest.warns(UserWarning, match="preparing the rows") as caught:
        again, y, nas2, _ = proc_df(new, "Sales", na_dict=nas, mapper=mapper)
    text = str(caught[0].message)
    assert "1 value(s) of 'State' were never seen in training (XX) and became 0" in text
    assert "1 missing value(s) in 'Age', which had none in training, became its median 30" in text
    assert "1 column(s) were not there in training and are ignored: Weather" in text
    assert y is None
    assert nas2 == nas
    assert list(again) == list(df)
    assert again.dtypes.tolist() == df.dtypes.tolist()
    assert again["State"].tolist() == [0, 0, 1]
    assert again["Km_na"].tolist() == [True, False, False]
    assert again["Age"].tolist() == [0.0, 0.0, df["Age"].iloc[4]]


def test_training_rows_come_out_the_same_when_prepared_again(trn):
    df, _, _, mapper = proc_df(trn, "Sales")
    shuffled = trn[["Sales", "Open", "State", "Age", "Km"]]
    pd.testing.assert_frame_equal(Mapper.from_json(mapper.to_json()).transform(shuffled), df)


def test_missing_column_is_an_error(trn):
    _, _, _, mapper = proc_df(trn, "Sales")
    with pytest.raises(DataError, match=r"1 column\(s\) the model was trained on are missing: Km"):
        mapper.transform(trn.drop(columns="Km"))


def test_categories_of_another_type_are_explained():
    _, _, _, mapper = proc_df(train_cats(pd.DataFrame({"Store": [1, 2]}), ["Store"]))
    assert mapper.transform(pd.DataFrame({"Store": [2.0, np.nan]}))["Store"].tolist() == [2, 0]
    with pytest.warns(UserWarning, match="compare types: training had 1, here is '1'"):
        mapper.transform(pd.DataFrame({"Store": ["1", "2"]}))
    _, _, _, numbers = proc_df(pd.DataFrame({"Km": [1, 2]}))
    with pytest.raises(DataError, match="'Km' was made of numbers in training"):
        numbers.transform(pd.DataFrame({"Km": ["far", "near"]}))


def test_a_constant_column_stays_constant():
    df, _, _, mapper = proc_df(pd.DataFrame({"x": [0.1] * 7, "b": [True] * 7, "z": range(7)}))
    assert df["x"].tolist() == [0] * 7
    new = mapper.transform(pd.DataFrame({"x": [0.1, 99], "b": [False, True], "z": [0, 1]}))
    assert new["x"].tolist() == [0, 0]  # no model has learned what 99 would mean
    assert new["b"].tolist() == [True, True]


def test_a_broken_description_is_refused():
    with pytest.raises(DataError, match="format"):
        Mapper.from_dict({"columns": []})
    with pytest.raises(DataError, match="not a preparation"):
        Mapper.from_dict(
            {
                "format": 1,
                "columns": [{"kind": "number", "surprise": 1}],
                "y_fld": None,
                "skip_flds": [],
                "ignore_flds": [],
            }
        )
