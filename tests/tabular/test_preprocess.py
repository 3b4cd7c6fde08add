"""`proc_df`: the lesson's results, every kind of column, and errors that name the column."""

import decimal

import numpy as np
import pandas as pd
import pytest

from learnkit import DataError
from learnkit.tabular import Mapper, proc_df


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
    with pytest.raises(DataError, match="no column 'Profit' to predict"):
        proc_df(trn, "Profit")
    with pytest.raises(DataError, match=r"`skip_flds` names 1 column\(s\) that are not in the frame: Nope"):
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
