"""`Mapper`: the same columns for any later rows, what was done said aloud, and text that holds all of it."""

import datetime
import json

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
    with pytest.raises(DataError, match="the frame, unlike that of the training, has no column 'Km'; it has: "):
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
    with pytest.warns(UserWarning, match="preparing") as caught:
        new = mapper.transform(pd.DataFrame({"x": [0.1, 99], "b": [False, True], "z": [0, 1]}))
    assert "1 value(s) of 'x', which was always 0.1 in training, became that" in str(caught[0].message)
    assert "1 value(s) of 'b', which was always True in training, became that" in str(caught[0].message)
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


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (pd.to_datetime(["2015-01-01", "2016-01-01"]), r"here it is datetime64\[.*\] \(date\)"),
        (pd.Series(pd.to_datetime(["2015-01-01"] * 2)).dt.tz_localize("Europe/Paris"), r"\(date\)"),
        (pd.to_timedelta([1, 2], unit="D"), r"\(span\)"),
        (pd.Series(pd.period_range("2015", periods=2, freq="D")), r"\(date\)"),
        (np.array([datetime.date(2015, 1, 1)] * 2, dtype=object), r"\(date\)"),
        (["1", "2"], r"\(text\), with values like 1, 2. Convert it with pd.to_numeric"),
        (np.array(["1", "2"], dtype=object), r"\(text\)"),
        (pd.Categorical(["1", "2"]), r"\(text\)"),
        ([1.0, 1e200], r"'Km' holds 1e\+200 in row 1, too large a number"),
    ],
)
def test_a_column_of_numbers_stays_one(later, message):
    _, _, _, mapper = proc_df(pd.DataFrame({"Km": [1.0, 2.0, 4.0]}))
    with pytest.raises(DataError, match=message):
        mapper.transform(pd.DataFrame({"Km": later}))


def test_numbers_of_other_types_and_gaps_are_numbers():
    _, _, _, mapper = proc_df(pd.DataFrame({"Km": [1.0, 2.0, None, 4.0]}), do_scale=False)
    for later in ([2, 1], pd.array([2, 1], dtype="Int64"), np.array([2, 1], dtype=object), pd.Categorical([2, 1])):
        assert mapper.transform(pd.DataFrame({"Km": later}))["Km"].tolist() == [2, 1]
    assert mapper.transform(pd.DataFrame({"Km": [None, None]}))["Km"].tolist() == [2, 2]
    assert mapper.transform(pd.DataFrame({"Km": pd.Series([None, None], dtype="datetime64[ns]")}))["Km"].tolist() == [
        2,
        2,
    ]
    with pytest.warns(UserWarning, match="'Km' was made of numbers in training and is true or false here"):
        assert mapper.transform(pd.DataFrame({"Km": [True, False]}))["Km"].tolist() == [1, 0]


@pytest.mark.parametrize("values", [[True, False, True], pd.array([True, False, None], dtype="boolean")])
def test_booleans_stay_booleans(values):
    _, _, _, mapper = proc_df(pd.DataFrame({"Open": values}))
    again = Mapper.from_json(mapper.to_json())
    assert again == mapper
    assert again.transform(pd.DataFrame({"Open": [1, 0]}))["Open"].tolist() == [True, False]
    for odd in ([0.0, 2.0], [1.0, 0.5]):
        with pytest.raises(DataError, match="'Open' was true or false in training; here it holds"):
            again.transform(pd.DataFrame({"Open": odd}))


@pytest.mark.parametrize(
    ("values", "used"), [([True, False, True], True), ([False, False, True], False), ([True, False], True)]
)
def test_a_gap_in_a_boolean_column_gets_what_the_warning_says(values, used):
    _, _, _, mapper = proc_df(pd.DataFrame({"Open": values}))
    with pytest.warns(UserWarning, match=f"1 missing value.s. in 'Open', which had none in training, became {used}"):
        out = mapper.transform(pd.DataFrame({"Open": [None, False]}))
    assert out["Open"].tolist() == [used, False]


def test_whole_numbers_beyond_floats_are_not_taken_for_each_other():
    big = 2**53
    _, _, _, mapper = proc_df(train_cats(pd.DataFrame({"Id": [big, big + 1]}), ["Id"]))
    assert mapper.transform(pd.DataFrame({"Id": [big + 1]}))["Id"].tolist() == [2]
    with pytest.raises(DataError, match="'Id' held whole numbers in training; here they are float64"):
        mapper.transform(pd.DataFrame({"Id": [float(big)]}))


def test_a_preparation_of_an_earlier_version_opens():
    """What versions before wrote, letter by letter: a boolean column had only its `dtype` to say so."""
    text = (
        '{"format": 1, "y_fld": "Sales", "skip_flds": [], "ignore_flds": [], "columns": ['
        '{"kind": "category", "name": "State", "values": "text", "levels": ["BY", "HE"], "one_hot": false},'
        '{"kind": "number", "name": "Open", "fill": 0.5, "flag": false, "mean": 0.0, "std": 1.0, "dtype": "bool", '
        '"constant": false},'
        '{"kind": "number", "name": "Km", "fill": 2.0, "flag": true, "mean": 2.0, "std": 2.0, "dtype": "float32", '
        '"constant": false}]}'
    )
    mapper = Mapper.from_json(text)
    assert json.loads(mapper.to_json()) == json.loads(text)  # so weights saved beside it still fit
    with pytest.warns(UserWarning, match="in 'Open', which had none in training, became True"):
        out = mapper.transform(pd.DataFrame({"State": ["HE", None], "Open": [None, False], "Km": [None, 4.0]}))
    assert out.to_dict("list") == {"State": [2, 0], "Open": [True, False], "Km": [0.0, 1.0], "Km_na": [True, False]}


def test_skip_flds_of_later_rows_are_not_spoken_of(trn):
    _, _, _, mapper = proc_df(trn, "Sales")
    new = trn.drop(columns="Sales").assign(Id=range(5))
    proc_df(new, "Sales", skip_flds=["Id"], mapper=mapper)
    proc_df(new.assign(Empty=None), "Sales", skip_flds=["Id", "Customers"], mapper=mapper)
    with pytest.warns(UserWarning, match="are ignored: Id"):
        proc_df(new, "Sales", mapper=mapper)
    with pytest.raises(TypeError, match=r"write \['Id'\]"):
        proc_df(new, "Sales", skip_flds="Id", mapper=mapper)


def test_a_number_is_no_date():
    dates = pd.Series(pd.to_datetime(["1970-01-01", "2015-01-02"])).astype("category")
    _, _, _, mapper = proc_df(pd.DataFrame({"Day": dates}))
    assert mapper.transform(pd.DataFrame({"Day": dates[::-1]}))["Day"].tolist() == [2, 1]
    for odd in ([0, 0], [1e200, 0.0], ["1970", "x"]):
        with pytest.warns(UserWarning, match="2 value.s. of 'Day' were never seen in training.*compare types"):
            assert mapper.transform(pd.DataFrame({"Day": odd}))["Day"].tolist() == [0, 0]
