"""`proc_df`: the lesson's results, every kind of column, and errors that name the column."""

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import Mapper, cont_cat_split, df_shrink, proc_df, train_cats


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


def test_proc_df_follows_the_lesson(trn):
    before = trn.copy()
    df, y, nas, mapper = proc_df(trn, "Sales")
    pd.testing.assert_frame_equal(trn, before)
    assert list(df) == ["State", "Km", "Age", "Open", "Km_na"]
    assert df["State"].tolist() == [2, 1, 0, 2, 3]  # sorted, 0 for missing
    assert nas == {"Km": 4.0}  # the median
    assert df["Km_na"].tolist() == [False, True, False, False, False]
    assert abs(df["Km"].mean()) < 1e-6
    assert df["Km"].std(ddof=0) == pytest.approx(1)
    assert df["Open"].dtype == bool
    assert y is not None
    assert y.tolist() == [5, 6, 7, 8, 9]
    assert mapper.cat_sz == [("State", 4)]


def test_skip_ignore_max_n_cat_and_subset(trn):
    df, _, _, mapper = proc_df(trn, "Sales", skip_flds=["Age"], ignore_flds=["Open"], max_n_cat=3)
    assert list(df) == ["Open", "Km", "Km_na", "State_BY", "State_HE", "State_SH", "State_nan"]
    assert df[["State_BY", "State_HE", "State_SH", "State_nan"]].to_numpy().sum(1).tolist() == [1] * 5
    assert df["State_nan"].tolist() == [False, False, True, False, False]
    pd.testing.assert_frame_equal(mapper.transform(trn), df)
    sub, y, _, _ = proc_df(trn, "Sales", subset=3)
    assert len(sub) == 3
    assert y is not None
    assert np.array_equal(y, np.sort(y))  # in their order


def test_without_scaling_numbers_stay_exact():
    big = 1_438_300_801.0
    df, _, _, _ = proc_df(pd.DataFrame({"Elapsed": [big, big + 1]}), do_scale=False)
    assert df["Elapsed"].tolist() == [big, big + 1]


def test_na_dict_alone_decides_the_flags(trn):
    df, _, nas, _ = proc_df(trn.drop(columns="State"), "Sales", na_dict={"Age": 7.0}, do_scale=False)
    assert [c for c in df.columns if str(c).endswith("_na")] == ["Age_na"]
    assert nas == {"Age": 7.0}
    assert df["Km"].tolist() == [1, 4, 3, 5, 9]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.array([1, None, 3], dtype="Int64"), [1, 2, 3]),
        (pd.array([1.5, None, 2.5], dtype="Float64"), [1.5, 2, 2.5]),
        (pd.array([True, None, True], dtype="boolean"), [1, 1, 1]),
        ([decimal.Decimal("1.5"), decimal.Decimal("2.5"), None], [1.5, 2.5, 2]),
        (np.array([1, None, 3], dtype=object), [1, 2, 3]),
        (np.array([1, 2, 3], dtype=np.uint8), [1, 2, 3]),
        (pd.array(["b", None, "a"], dtype="string"), [2, 0, 1]),
        (np.array(["b", None, "a"], dtype=object), [2, 0, 1]),
        (pd.Categorical(["b", None, "a"], categories=["b", "a"]), [1, 0, 2]),
        (pd.Categorical([3.5, 1.5, None]), [2, 1, 0]),
        (pd.cut(pd.Series([1, 5, 9]), 3), [1, 2, 3]),
        (pd.Series(pd.to_datetime(pd.Series(["2015-01-02", "2015-01-01", None]))).astype("category"), [2, 1, 0]),
    ],
)
def test_every_kind_of_column(values, expected):
    frame = pd.DataFrame({"x": values})
    df, _, _, mapper = proc_df(frame, do_scale=False)
    assert df["x"].astype(float).tolist() == expected
    pd.testing.assert_frame_equal(Mapper.from_json(mapper.to_json()).transform(frame), df)


def test_arrow_columns_if_pyarrow_is_there():
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "s": pd.array(["b", None, "a"], dtype="string[pyarrow]"),
            "t": pd.Series(["b", None, "a"]).astype(pd.ArrowDtype(pa.string())),
            "n": pd.array([1, None, 3], dtype="int64[pyarrow]"),
            "d": pd.Series([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]).astype(
                pd.ArrowDtype(pa.decimal128(5, 2))
            ),
            "b": pd.array([True, None, True], dtype="bool[pyarrow]"),
        }
    )
    df, _, _, _ = proc_df(frame, do_scale=False)
    assert df.astype(float).to_numpy().T[:5].tolist() == [[2, 0, 1], [2, 0, 1], [1, 2, 3], [1.5, 2, 2.5], [1, 1, 1]]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"x": ["a", 1, "b"], "y": 1}), r"'x' mixes types: str \('a'\), int \(1\)"),
        (pd.DataFrame({"x": [None, None], "y": 1}), "'x' holds no value at all"),
        (pd.DataFrame({"x": [np.nan, np.nan], "y": 1}), "'x' holds no value at all"),
        (pd.DataFrame({"x": [1.0, np.inf], "y": 1}), r"'x' holds 1 infinite value"),
        (pd.DataFrame([[1, 2, 3]], columns=["x", "x", "y"]), r"share the name\(s\) x"),
        (pd.DataFrame({"x": [], "y": []}), "no rows"),
        (pd.DataFrame({"x": pd.to_datetime(["2015"]), "y": 1}), "add_datepart"),
        (pd.DataFrame({"x": [1 + 2j], "y": 1}), "complex"),
        (pd.DataFrame({"x": [1, 2], "y": [1.0, None]}), r"the target 'y' has 1 missing value\(s\), the first in row 1"),
        (pd.DataFrame({"x": [1, 2], "y": [1.0, -np.inf]}), "'y' holds 1 infinite"),
        (pd.DataFrame({"x": [1.0, None], "x_na": [1, 2], "y": 1}), "x_na"),
        (pd.DataFrame({"y": [1, 2]}), "no column is left"),
    ],
)
def test_bad_input_is_named(frame, message):
    with pytest.raises(DataError, match=message):
        proc_df(frame, "y")


def test_bad_arguments_are_named(trn):
    with pytest.raises(DataError, match="`y_fld`: the frame has no column 'Profit'"):
        proc_df(trn, "Profit")
    with pytest.raises(DataError, match="`skip_flds`: the frame has no column 'Nope'"):
        proc_df(trn, "Sales", skip_flds=["Nope"])
    with pytest.raises(TypeError, match=r"write \['Age'\]"):
        proc_df(trn, "Sales", skip_flds="Age")
    with pytest.raises(TypeError, match="`mapper` must be"):
        proc_df(trn, "Sales", mapper={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pandas DataFrame"):
        proc_df(trn.to_numpy(), "Sales")


def test_text_targets_stay_labels(trn):
    _, y, _, _ = proc_df(trn[trn["State"].notna()], "State")
    assert y is not None
    assert y.tolist() == ["HE", "BY", "HE", "SH"]


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (
            pd.DataFrame({"s": ["a", "nan", None]}),
            {"max_n_cat": 5},
            "the level 'nan' of 's' and the missing values of 's' would both be called 's_nan'",
        ),
        (
            pd.DataFrame({"a": ["b_c", "x", "x"], "a_b": ["c", "y", "y"]}),
            {"max_n_cat": 5},
            "the level 'b_c' of 'a' and the level 'c' of 'a_b' would both be called 'a_b_c'",
        ),
        (
            pd.DataFrame({"s": ["a", "b", "b"], "s_a": [1.0, 2.0, 3.0]}),
            {"max_n_cat": 5},
            "column 's_a' of the frame and the level 'a' of 's' would both be called 's_a'",
        ),
        (
            pd.DataFrame({"x": [1.0, None, 3.0], "x_na": [1.0, 2.0, 3.0]}),
            {},
            "column 'x_na' of the frame and the missing values of 'x' would both be called 'x_na'",
        ),
    ],
)
def test_a_new_name_never_hits_another(frame, options, message):
    with pytest.raises(DataError, match=message):
        proc_df(frame, **options)


def test_several_targets():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y1": [1, 2, 3], "y2": [0.5, 1.5, 2.5]})
    y: Any
    df, y, _, mapper = proc_df(frame, ["y1", "y2"])
    assert list(df) == ["x"]
    assert y.tolist() == [[1, 0.5], [2, 1.5], [3, 2.5]]
    again = Mapper.from_json(mapper.to_json())
    assert again == mapper
    again.transform(frame)  # the targets' columns are not spoken of
    assert proc_df(frame[["x"]], ["y1", "y2"], mapper=again)[1] is None
    _, y, _, _ = proc_df(frame, ["y1"])
    assert y.shape == (3, 1)
    _, y, _, _ = proc_df(frame.astype({"y2": int}), ["y1", "y2"])
    assert y.dtype == np.int64
    with pytest.raises(DataError, match="`y_fld`: the frame has no column 'y3'"):
        proc_df(frame, ["y1", "y3"])
    with pytest.raises(DataError, match="no column 'y2'"):
        proc_df(frame.drop(columns="y2"), ["y1", "y2"], mapper=again)
    with pytest.raises(DataError, match="several targets must be numbers, or zeros and ones; 'y2' holds a, b, c"):
        proc_df(frame.assign(y2=list("abc")), ["y1", "y2"])
    with pytest.raises(DataError, match="target 'y2' has 1 missing"):
        proc_df(frame.assign(y2=[1, np.nan, 2]), ["y1", "y2"])


def test_a_column_without_any_value_is_left_out():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "gone": [None] * 3, "nan": [np.nan] * 3})
    with pytest.warns(UserWarning, match=r"2 column\(s\) hold no value at all and are left out: gone, nan"):
        df, _, _, mapper = proc_df(frame)
    assert list(df) == ["x"]
    mapper.transform(frame)  # the rows that were learned from raise no question
    with pytest.warns(UserWarning, match="are ignored: gone"):
        mapper.transform(frame.assign(gone="there"))


@pytest.mark.filterwarnings("error")
def test_numbers_too_large_to_scale_are_named():
    with pytest.raises(DataError, match=r"'x' holds numbers too large to scale, such as 1e\+200"):
        proc_df(pd.DataFrame({"x": [1.0, 1e200, 2.0]}))


def test_a_filler_that_no_row_holds_is_not_learned_of():
    """All rows hold 5: that is what is known, whatever would have filled a gap."""
    df, _, nas, _ = proc_df(pd.DataFrame({"x": [5.0, 5.0]}), na_dict={"x": 0.0}, do_scale=False)
    assert df["x"].tolist() == [5, 5]
    assert nas == {"x": 5.0}
    df, _, _, _ = proc_df(pd.DataFrame({"x": [5.0, None]}), na_dict={"x": 0.0}, do_scale=False)
    assert df["x"].tolist() == [5, 0]
    with pytest.raises(DataError, match="`na_dict` must give a number for 'x'; got nan"):
        proc_df(pd.DataFrame({"x": [5.0, None]}), na_dict={"x": float("nan")})


def test_dictionary_encoded_arrow_text_is_categories():
    pa = pytest.importorskip("pyarrow")
    values: Any = pd.array(
        pa.array(["b", None, "a", "b"]).dictionary_encode(), dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    )
    frame = pd.DataFrame({"s": values, "x": [1.0, 2.0, 3.0, 4.0]})
    df, _, _, mapper = proc_df(frame, "x")
    assert df["s"].tolist() == [2, 0, 1, 2]
    assert mapper.transform(frame)["s"].tolist() == [2, 0, 1, 2]
    assert train_cats(frame.copy())["s"].cat.categories.tolist() == ["a", "b"]
    assert cont_cat_split(frame) == (["x"], ["s"])
    y: Any = proc_df(frame.dropna(), "s")[1]
    assert y.tolist() == ["b", "a", "b"]
    assert df_shrink(frame)["s"].dtype == "category"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.to_timedelta([1, 2], unit="h"), "holds spans of time. Make numbers of them"),
        ([datetime.time(1, 2), datetime.time(3)], "holds spans of time. Make numbers of them"),
        ([[1], [2]], r"holds list \(\[1\]\), which is neither a number nor a category"),
        ([b"a", b"b"], "holds bytes"),
    ],
)
def test_what_no_model_takes_is_named(values, message):
    with pytest.raises(DataError, match=message):
        proc_df(pd.DataFrame({"x": values}))


def test_names_that_no_file_keeps_are_refused():
    with pytest.raises(DataError, match="columns must be called by text or numbers; got"):
        proc_df(pd.DataFrame({pd.Timestamp("2015-01-01"): [1.0, 2.0]}))


def test_lists_of_names_may_be_an_index_or_an_array(trn):
    kinds: list[Any] = [pd.Index(["Age"]), np.array(["Age"]), ("Age",)]
    for names in kinds:
        assert "Age" not in proc_df(trn, "Sales", skip_flds=names)[0]


def test_targets_beyond_the_signed_integers_keep_their_sign():
    ids = np.array([2**63 + 5, 2**63 + 6], dtype=np.uint64)
    for column in (ids, pd.array(ids, "UInt64")):
        y = proc_df(pd.DataFrame({"x": [1.0, 2.0], "y": column}), "y")[1]
        assert y is not None
        assert y.tolist() == [2**63 + 5, 2**63 + 6]
