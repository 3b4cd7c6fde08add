"""Rows are prepared without pandas as learnkit prepares frames: the same codes and numbers, the same refusals."""

from __future__ import annotations

import datetime
import json
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.datasets import adult_frames
from learnkit.runtime.columns import is_missing
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
ONE_HOT = prep_of(max_n_cat=3, do_scale=False)


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


@settings(max_examples=50)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_one_hot_columns_and_unscaled_numbers_too(rows):
    check_same(ONE_HOT, rows)


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


# What a column can hold, one kind of each; what no frame can keep (half a letter, a number of 400 digits) is left out.
MOMENT = datetime.datetime(2015, 7, 31, 12, 0, 0, 500)
NASTY: list[Any] = [
    None, float("nan"), pd.NA, np.datetime64("NaT"),
    "a", "", "3", "True", "2015-07-31T00:00:00", "é", "(0.995, 2.667]", "1 days 00:00:00", np.str_("a"), b"a",
    3, 3.0, -0.0, np.int8(3), np.float32(0.1), np.uint64(2**63 + 1), 2**53, 2**53 + 1, float(2**53), 1e39, 1e300, 1e-320,
    float("inf"), True, np.bool_(False), 1 + 2j, np.complex64(1), Decimal("3"), Decimal("NaN"),
    DAY, MOMENT, MOMENT.replace(tzinfo=datetime.UTC), pd.Timestamp(MOMENT), np.datetime64("2015-07-31"), np.datetime64("2015-07"),
    np.datetime64("2015-07-31T00:00:00.123456789"), pd.Timedelta(days=1),
    datetime.time(3), pd.Interval(0.995, 2.667), pd.Period("2015-02", "M"), {"x": 1}, [1],
]  # fmt: skip
COUNTS = [np.datetime64(3, "ns"), np.timedelta64(3, "ns")]
"""To numpy they are 3, and beside a 3 to pandas now and then, too."""
MANY = pd.DataFrame(
    {
        "text": ["a", "b", None, "a", "3", "True"],
        "whole": [3, 9, 2**53 + 1, 3, 9, 0],
        "part": [0.5, 3.0, None, 0.5, 3.0, 2.0],
        "truth": [True, False, True, True, False, False],
        "date": pd.Series([DAY, MOMENT, None, DAY, DAY, DAY], dtype="datetime64[us]"),
        "range": pd.cut([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
        "month": pd.period_range("2015-01", periods=6, freq="M"),
        "span": pd.to_timedelta([1, 2, 3, 1, 2, 3], unit="D"),
        "exact": [Decimal("3"), Decimal("1.5")] * 3,
        "number": [1.0, 2.5, None, 4.0, 1e6, -3.0],
        "gate": [True, False, True, True, False, True],
        "same": [3.0] * 6,
        "late": [1.0, 1.0, 1.0, 1.0, 1.0, 2.0],
        "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)


def many(**options: Any) -> TablePrep:
    """Of a table with a column of each kind; the last two rows are for validation."""
    df, y, _, mapper = proc_df(train_cats(MANY.copy(), [*MANY.columns[:9]]), "y", **options)
    data = ColumnarModelData.from_data_frame(
        ".", [4, 5], df, np.float32(y), cat_flds=mapper.cat_flds, bs=4, mapper=mapper
    )
    assert data.prep is not None
    return data.prep


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # levels that only the validation rows have
    MANY_PREPS = {"scaled": many(), "raw": many(do_scale=False), "one-hot": many(max_n_cat=3)}
ROW = {name: value for name, value in MANY.head(1).to_dict("records")[0].items() if name != "y"}


TEXT_ONLY = ("range", "month", "span", "exact")
"""Columns whose levels are kept as text, to which a span of time that pandas did not make is refused."""


@pytest.mark.parametrize("name", ROW)
def test_whatever_a_column_holds_has_the_same_outcome(name):
    """In a row by itself, and beside a usual and a missing value: then a frame may hold it as something else."""
    prep = MANY_PREPS["scaled"]
    for value in COUNTS[: 1 if name in TEXT_ONLY else 2]:
        check_same(prep, [{**ROW, name: value}])
    for value in NASTY:
        check_same(prep, [{**ROW, name: value}])
        # Of a decimal and its equal pandas keeps the first; and beside a number, only some kinds of nothing can be.
        if name != "exact" and not is_missing(value):
            check_same(prep, [ROW, {**ROW, name: value}, {**ROW, name: None}])


@pytest.mark.parametrize("kind", ["raw", "one-hot"])
@settings(max_examples=30)
@given(cells=st.dictionaries(st.sampled_from([*ROW]), st.sampled_from(NASTY), max_size=3), alone=st.booleans())
def test_nasty_rows_have_the_same_outcome(kind, cells, alone):
    check_same(MANY_PREPS[kind], [{**ROW, **cells}] if alone else {n: [v, v] for n, v in ({**ROW, **cells}).items()})


@pytest.mark.parametrize("value", [datetime.timedelta(days=1), np.timedelta64(1, "D")])
def test_a_span_of_time_that_pandas_would_write_otherwise_is_refused(value):
    runtime = TablePreparation(json.loads(json.dumps(MANY_PREPS["scaled"].portable())))
    with pytest.raises(DataError, match="column 'span' holds .* in row 0: a span of time is to be given as its text"):
        runtime.prepare({**ROW, "span": value})


def test_the_forms_that_rows_have():
    prep = MANY_PREPS["scaled"]
    frame = pd.DataFrame([ROW, ROW])
    forms: tuple[Any, ...] = (
        pd.Series(ROW),
        (ROW, ROW),
        {**ROW, "number": [1.0, 2.0]},
        {**ROW, "whole": range(2, 4)},
        {**ROW, "whole": pd.Index([3, 9])},
        {**ROW, "number": np.array([1.0, np.nan])},
        {**ROW, "number": np.array(1.0)},
        {**ROW, "number": [1.0, 2.0], "same": [3.0]},
        {**ROW, "number": []},
        [ROW, {name: value for name, value in ROW.items() if name != "number"}],
        [{name: value for name, value in ROW.items() if name != "number"}],
        {},
        [{}],
        frame,
        frame[:0],
        frame.astype("category"),
        frame.convert_dtypes(),
        frame.assign(whole=pd.array([2**53 + 1, pd.NA], dtype="Int64")),
        frame.assign(whole=[float(2**53), float("nan")]),
        pd.concat([frame, frame["text"]], axis=1),
        frame.set_axis(pd.MultiIndex.from_product([["a"], frame.columns]), axis=1),
        frame.assign(y=1.0, more="x"),
        5,
        None,
        b"",
        [[ROW]],
    )
    for rows in forms:
        check_same(prep, rows)
    with pytest.raises(DataError, match="make a frame of it"):  # pandas would align them by the names of their rows
        TablePreparation(json.loads(json.dumps(prep.portable()))).prepare({**ROW, "number": pd.Series([1.0])})


@pytest.mark.parametrize(
    "changed", [{"late": 9.0}, {"same": 4.0}, {"number": True}, {"gate": None}, {"text": "3"}], ids=str
)
def test_what_learnkit_warns_of_is_said_here_too(changed):
    prep = MANY_PREPS["scaled"]
    runtime = TablePreparation(json.loads(json.dumps(prep.portable())))
    with pytest.warns(UserWarning, match="preparing the rows") as ours:
        prep.loader({**ROW, **changed})
    with pytest.warns(UserWarning, match="preparing the rows") as theirs:
        runtime.prepare({**ROW, **changed})
    assert [str(warning.message) for warning in theirs] == [str(warning.message) for warning in ours]


def test_columns_that_are_called_by_numbers():
    frame = TRAIN[["State", "Km", "Sales"]].set_axis([0, 1, 2], axis=1)
    target: Any = 2
    df, y, _, mapper = proc_df(frame, target)
    data = ColumnarModelData.from_data_frame(
        ".", False, df, np.float32(y), cat_flds=mapper.cat_flds, bs=4, mapper=mapper
    )
    assert data.prep is not None
    check_same(data.prep, [{0: "HE", 1: 2.0}, {0: None, 1: None}])
    runtime = TablePreparation(json.loads(json.dumps(data.prep.portable())))
    row: dict[Any, Any] = {0: "HE", 1: 2.0}
    assert runtime.instance({"0": "HE", "1": 2.0}) == runtime.from_text({"0": "HE", "1": "2.0"}) == row


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
