"""`join_df`: what matches, what does not, and keys that cannot."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import join_df


def test_join_df_reports_unmatched_and_repeated_keys():
    left = pd.DataFrame({"k": [1, 2, 3], "v": [1, 2, 3]})
    right = pd.DataFrame({"k": [1, 2], "v": [7, 8]})
    with pytest.warns(UserWarning, match="1 of 3 rows found no match"):
        joined = join_df(left, right, "k")
    assert list(joined) == ["k", "v", "v_y"]
    assert joined["v_y"].isna().tolist() == [False, False, True]
    with pytest.warns(UserWarning, match="more than once"):
        join_df(left[:2], pd.concat([right, right]), "k")
    with pytest.raises(DataError, match="`right` has no column"):
        join_df(left, right, "k", "key")


def test_a_missing_key_matches_nothing():
    left = pd.DataFrame({"k": ["a", None, "b", None]})
    right = pd.DataFrame({"k": ["a", None], "v": [1.0, 9.0]})
    with pytest.warns(UserWarning, match=r"3 of 4 rows found no match on k \(2 have no key\)"):
        joined = join_df(left, right, "k")
    assert joined["v"].isna().tolist() == [False, True, True, True]
    numbers: Any = [[1.0, np.nan], pd.array([1, None], dtype="Int64"), np.array([1, None], dtype=object)]
    for keys in numbers:
        frame = pd.DataFrame({"k": keys, "w": 1})
        with pytest.warns(UserWarning, match="1 have no key"):
            assert join_df(frame, frame.assign(v=2.0).drop(columns="w"), "k")["v"].isna().tolist() == [False, True]
    two = pd.DataFrame({"k": ["a", "a"], "l": [None, 1.0]})
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        assert join_df(two, two.assign(v=[5, 6]), ["k", "l"])["v"].tolist()[1] == 6


def test_keys_beyond_floats_are_refused():
    big = 2**53
    whole, floats = pd.DataFrame({"k": [big, big + 1]}), pd.DataFrame({"k": [float(big)], "v": [1]})
    for left, right in ((whole, floats), (floats, whole.assign(w=1))):
        with pytest.raises(DataError, match="floats cannot tell apart whole numbers above 9,007,199,254,740,992"):
            join_df(left, right, "k")
    with pytest.raises(DataError, match="floats cannot tell apart"):
        join_df(pd.DataFrame({"k": pd.array([big + 1, None], dtype="Int64")}), floats, "k")
    joined = join_df(whole, pd.DataFrame({"k": [big + 1, big], "v": [1, 0]}), "k")
    assert joined["v"].tolist() == [0, 1]
    assert join_df(pd.DataFrame({"k": [1, 2]}), pd.DataFrame({"k": [2.0, 1.0], "v": [20, 10]}), "k")["v"].tolist() == [
        10,
        20,
    ]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ([1, 2], ["1", "2"], r"'k' of `left` is int64 \(number\), 'k' of `right` is .* \(text\). Make both numbers"),
        (["2015-01-01"], pd.to_datetime(["2015-01-01"]), r"\(text\), .* \(date\). Make both dates: pd.to_datetime"),
        ([True, False], [0, 1], r"\(bool\), .*\(number\). Make both numbers: .astype"),
        (pd.Categorical(["1"]), [1], r"category \(text\)"),
        (pd.to_datetime(["2015-01-01"]), [1], "Make them one type"),
        (pd.to_datetime(["2015-01-01"]), pd.to_datetime(["2015-01-01"], utc=True), "cannot be joined"),
        (pd.to_datetime(["2015-01-01"]), [datetime.date(2015, 1, 1)], "cannot be joined"),
        (np.array(["0", 0], dtype=object), ["0"], "'k' mixes types"),
    ],
)
def test_keys_of_two_types_are_named_with_the_way_out(left, right, message):
    with pytest.raises(DataError, match=message):
        join_df(pd.DataFrame({"k": left}), pd.DataFrame({"k": right, "v": 1}), "k")


def test_categories_match_what_they_hold():
    left = pd.DataFrame({"k": pd.Categorical(["a", "b"])})
    assert join_df(left, pd.DataFrame({"k": ["b", "a"], "v": [2, 1]}), "k")["v"].tolist() == [1, 2]
    pa = pytest.importorskip("pyarrow")
    kind = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    coded = pd.DataFrame({"k": pd.array(pa.array(["a", "b"]).dictionary_encode(), dtype=kind)})
    assert join_df(coded, pd.DataFrame({"k": ["b", "a"], "v": [2, 1]}), "k")["v"].tolist() == [1, 2]


def test_two_columns_never_get_one_name():
    left = pd.DataFrame({"k": [1, 2], "v": [0, 0]})
    right = pd.DataFrame({"k": [1, 2], "v": [5, 6]})
    once = join_df(left, right, "k")
    assert list(once) == ["k", "v", "v_y"]
    with pytest.raises(
        DataError, match="column 'v_y' of `left` and column 'v' of `right` would both be called 'v_y'.*`suffix`"
    ):
        join_df(once, right, "k")
    assert list(join_df(once, right, "k", suffix="_third")) == ["k", "v", "v_y", "v_third"]
    with pytest.raises(DataError, match="both be called 'v'"):
        join_df(left, right, "k", suffix="")
    with pytest.raises(DataError, match="both be called 'v_y'"):
        join_df(left, right.assign(v_y=1), "k")
    other = join_df(left, right.rename(columns={"k": "key"}), "k", "key")
    assert list(other) == ["k", "v", "key", "v_y"]


def test_as_many_keys_on_both_sides():
    frame = pd.DataFrame({"a": [1], "b": [2]})
    for left_on, right_on in ((["a", "b"], ["a"]), ([], None)):
        with pytest.raises(DataError, match="as many columns"):
            join_df(frame, frame, left_on, right_on)
    with pytest.raises(DataError, match="no column 'c'"):
        join_df(frame, frame, "a", "c")
