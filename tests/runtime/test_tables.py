"""Rows are prepared without pandas as learnkit prepares frames: the same codes and numbers, the same refusals."""

from __future__ import annotations

import datetime
import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.datasets import adult_frames
from learnkit.runtime.tables import TablePreparation
from learnkit.tabular import ColumnarModelData, TablePrep, proc_df, train_cats

DAY = datetime.date(2015, 7, 31)
TRAIN = pd.DataFrame(
    {
        "State": ["HE", "BY", None, "HE", "NW", "BY"],
        "Store": [7, 9, 7, 9, 8, 8],
        "Day": [DAY, DAY, DAY, DAY.replace(day=1), DAY.replace(day=1), None],
        "Open": [True, False, True, True, True, False],
        "Promo": pd.array([True, None, False, True, True, False], dtype="boolean"),
        "Km": [1.0, 2.5, None, 3.0, 1e6, -4.0],
        "Rooms": [1, 2, 3, 4, 5, 6],
        "Always": [3.0] * 6,
        "Size": ["s", "m", "l", "s", "m", "l"],
        "Sales": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)


def prep_of(max_n_cat: int | None = None, **options: Any) -> TablePrep:
    frame = train_cats(TRAIN.copy(), ["State", "Store", "Day"])
    df, y, _, mapper = proc_df(frame, "Sales", max_n_cat=max_n_cat, **options)
    data = ColumnarModelData.from_data_frame(
        ".", False, df, np.float32(y), cat_flds=mapper.cat_flds, bs=4, mapper=mapper
    )
    prep = data.prep
    assert prep is not None
    return prep


PREP = prep_of()


def both(prep: TablePrep, rows: Any) -> tuple[Any, Any]:
    """Return codes and numbers as learnkit makes them, and as the runtime does of what is written in a file."""
    runtime = TablePreparation(json.loads(json.dumps(prep.portable())))
    made: list[Any] = []
    for prepare in (
        lambda: [x.numpy() for x in next(iter(prep.loader(rows, 10**6)))[:2]],
        lambda: [*runtime.prepare(rows).values()],
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made.append(prepare())
            except (DataError, TypeError) as exc:
                made.append(exc)
    return made[0], made[1]


def check_same(prep: TablePrep, rows: Any) -> None:
    ours, theirs = both(prep, rows)
    if isinstance(ours, Exception):
        assert isinstance(theirs, DataError), (ours, theirs)
        return
    assert not isinstance(theirs, Exception), theirs
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


TEXTS = st.sampled_from(["HE", "BY", "NW", "XX", "", None, float("nan")])
NUMBERS = st.one_of(st.none(), st.floats(-1e5, 1e5), st.integers(-5, 5))
ROWS = st.fixed_dictionaries(
    {
        "State": TEXTS,
        "Store": st.sampled_from([7, 8, 9, 10, 7.0]),
        "Day": st.sampled_from([DAY, DAY.replace(day=1), DAY.replace(year=2020), None]),
        "Open": st.booleans(),
        "Promo": st.sampled_from([True, False]),
        "Km": NUMBERS,
        "Rooms": st.integers(-3, 9),
        "Always": st.sampled_from([3.0, 4.0]),
        "Size": st.sampled_from(["s", "m", "l", "xl"]),
    }
)


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_rows_give_the_same_codes_and_numbers(rows):
    check_same(PREP, rows)


@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_one_hot_columns_and_unscaled_numbers_too(rows):
    check_same(prep_of(max_n_cat=3, do_scale=False), rows)


GOOD = {
    "State": "HE",
    "Store": 7,
    "Day": DAY,
    "Open": True,
    "Promo": False,
    "Km": 2.0,
    "Rooms": 2,
    "Always": 3.0,
    "Size": "m",
}


@pytest.mark.parametrize(
    "rows",
    [
        GOOD,
        [GOOD, {**GOOD, "Km": None}],
        {name: [value, value] for name, value in GOOD.items()},
        pd.DataFrame([GOOD, GOOD]),
        pd.DataFrame([GOOD, GOOD]).astype({"State": "category", "Km": "float32"}),
        {**GOOD, "Extra": 5},
        {name: value for name, value in GOOD.items() if name != "Km"},
        {**GOOD, "Km": "2.0"},
        {**GOOD, "Km": float("inf")},
        {**GOOD, "Km": 1e300},
        {**GOOD, "Open": 0.5},
        {**GOOD, "Store": "7"},
        {**GOOD, "State": 3},
        {**GOOD, "Day": "2015-07-31T00:00:00"},
        {**GOOD, "Day": pd.Timestamp("2015-07-31")},
        {**GOOD, "Day": np.datetime64("2015-07-31")},
        [],
        "HE",
        [3],
    ],
    ids=str,
)
def test_all_that_people_pass_has_the_same_outcome(rows):
    check_same(PREP, rows)


def test_adult_comes_out_the_same():
    train, test = adult_frames()
    cats = [str(name) for name in train if train[name].dtype.kind not in "if" and name != "income"]
    df, y, _, mapper = proc_df(train_cats(train.copy(), cats), "income")
    data = ColumnarModelData.from_data_frame(
        ".", False, df, (np.asarray(y) == ">50K").astype(int), cat_flds=cats, is_reg=False, mapper=mapper
    )
    prep = data.prep
    assert prep is not None
    check_same(prep, test)
    check_same(prep, test.head(50).to_dict("records"))


def test_what_is_unknown_is_said():
    runtime = TablePreparation(json.loads(json.dumps(PREP.portable())))
    with pytest.warns(
        UserWarning, match="1 column.s. were not there.*Extra; 1 value.s. of 'State' were never seen in training .XX"
    ):
        runtime.prepare({**GOOD, "State": "XX", "Extra": 1})
    with pytest.raises(DataError, match="no column 'Km'; it has: 'State'"):
        runtime.prepare({name: value for name, value in GOOD.items() if name != "Km"})
    with pytest.raises(
        DataError, match=r"column 'Km' was made of numbers.*'2.0' \(str\) in row 1. Give it without quotes"
    ):
        runtime.prepare([GOOD, {**GOOD, "Km": "2.0"}])
    with pytest.raises(DataError, match=r"column 'State' holds \['a'\] in row 0: unhashable type"):
        runtime.prepare([{**GOOD, "State": ["a"]}])


def test_an_instance_is_an_object_with_every_column():
    runtime = TablePreparation(json.loads(json.dumps(PREP.portable())))
    assert runtime.instance(GOOD) == GOOD
    with pytest.raises(DataError, match="must be an object"):
        runtime.instance([1])
    with pytest.raises(DataError, match="has no column 'Store'.*a value that is missing is null"):
        runtime.instance({name: value for name, value in GOOD.items() if name != "Store"})
    kinds = {field["name"]: field["kind"] for field in runtime.fields()}
    assert (kinds["State"], kinds["Km"], kinds["Open"], kinds["Promo"]) == ("category", "number", "bool", "bool")


def test_columns_that_pass_through_are_refused():
    frame = TRAIN[["State", "Km", "Rooms", "Sales"]]
    df, y, _, mapper = proc_df(frame, "Sales", ignore_flds=["Rooms"])
    data = ColumnarModelData.from_data_frame(".", False, df, np.float32(y), cat_flds=["State"], bs=4, mapper=mapper)
    assert data.prep is not None
    with pytest.raises(DataError, match="takes 'Rooms' as they are"):
        data.prep.portable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"State": 7}, "'State' held text in training; got 7. Give it in quotes"),
        ({"Store": "7"}, "'Store' held numbers in training; got '7'. Give it without quotes"),
        ({"Rooms": True}, "'Rooms' held numbers in training; got True"),
    ],
)
def test_a_json_value_of_another_type_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        RUNTIME.instance({**JSON_ROW, **change})


RUNTIME = TablePreparation(json.loads(json.dumps(PREP.portable())))
JSON_ROW = {**GOOD, "Day": "2015-07-31T00:00:00"}


def test_levels_that_were_never_seen_are_known_by_their_column():
    assert RUNTIME.unseen(RUNTIME.instance(JSON_ROW)) == []
    assert RUNTIME.unseen(RUNTIME.instance({**JSON_ROW, "State": "XX", "Store": 99, "Size": None})) == [
        "State",
        "Store",
    ]


def test_cells_of_a_csv_file_are_read_as_training_had_them():
    row = {
        **{name: str(value) for name, value in JSON_ROW.items()},
        "Store": "7.0",
        "Km": "",
        "Size": "NA",
        "Extra": "x",
    }
    read = RUNTIME.from_text(row)
    assert (read["Store"], read["Km"], read["Size"], read["Open"], read["Extra"]) == (7, None, None, True, "x")
