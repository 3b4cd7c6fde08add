"""Tables of any names, types, gaps and labels: the right numbers, worked out another way, or an error in words."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learnkit.core.errors import LearnkitError
from learnkit.data.split import split_by_order
from learnkit.tabular import ColumnarModelData, Mapper, df_shrink, get_elapsed, join_df, proc_df, rolling_sums

DRAWN = settings(max_examples=60, suppress_health_check=list(HealthCheck))

NAMES = st.sampled_from(["a", "b", "a_b", "Km", "Km_na", "nan", "", "ü", 3])
TEXTS = st.sampled_from(["007", "7", "1.50", "1e5", "nan", "None", "NA", " a", "a", "ü", "b_c"])
KINDS: list[st.SearchStrategy[Any]] = [
    TEXTS,
    st.integers(-3, 3),
    st.integers(-(2**60), 2**60),
    st.floats(-1e6, 1e6),
    st.sampled_from([1e200, -1e38, 0.0, 1e-300]),
    st.booleans(),
    st.sampled_from([pd.Timestamp("2015-01-02"), pd.Timestamp("2015-01-01 12:00")]),
    st.sampled_from([pd.Timedelta("1D"), pd.Timedelta("7h")]),
]


def missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


@st.composite
def columns(draw: Callable[..., Any], n: int) -> Any:
    values = draw(st.lists(draw(st.sampled_from(KINDS)), min_size=n, max_size=n))
    if draw(st.booleans()):
        values = [None if draw(st.integers(0, 3)) == 0 else value for value in values]
    series: Any = pd.Series(values, dtype=object) if draw(st.booleans()) else pd.Series(values)
    return series.astype("category") if draw(st.integers(0, 4)) == 0 else series


@st.composite
def frames(draw: Callable[..., Any]) -> pd.DataFrame:
    n = draw(st.integers(1, 8))
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return pd.DataFrame({name: draw(columns(n)) for name in names})


def quietly(call: Callable[[], Any]) -> Any:
    """Return what the call gives, or `None` where it says in its own words what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)  # an overflow is no answer
        try:
            return call()
        except LearnkitError:
            return None


@DRAWN
@given(frames(), st.booleans())
def test_prepared_columns_are_what_they_were(df: pd.DataFrame, one_hot: bool) -> None:
    found = quietly(lambda: proc_df(df, do_scale=False, max_n_cat=3 if one_hot else None))
    if found is None:
        return
    out, _, _, mapper = found
    assert len(set(out.columns)) == out.shape[1]
    for column in mapper.columns:
        raw = df[column.name].tolist()
        if not hasattr(column, "levels"):
            wanted = [float(column.fill) if missing(value) else float(value) for value in raw]
            assert out[column.name].astype(float).tolist() == wanted
            continue
        codes = out[column.name].tolist() if not column.one_hot else []
        if column.one_hot:
            hot = out[column.outputs].to_numpy()
            assert (hot.sum(1) == 1).all()
            codes = [(place + 1) % hot.shape[1] for place in hot.argmax(1).tolist()]
        for value, code in zip(raw, codes, strict=True):
            level = None if code == 0 else column.levels[code - 1]
            assert missing(value) if level is None else level in (value, str(value), getattr(value, "isoformat", str)())
    again = quietly(lambda: Mapper.from_json(mapper.to_json()).transform(df))
    pd.testing.assert_frame_equal(again, out)


@DRAWN
@given(frames(), frames())
def test_later_rows_keep_the_kinds_of_training(trn: pd.DataFrame, later: pd.DataFrame) -> None:
    """A number comes out as that number, a category as its code or 0; nothing else passes for a number."""
    later = later.reindex(columns=[*{*later.columns, *trn.columns}])
    for name in trn.columns:
        if not later[name].notna().any():
            later[name] = [*trn[name], *[None] * len(later)][: len(later)]
    found = quietly(lambda: proc_df(trn, do_scale=False))
    out = None if found is None else quietly(lambda: found[3].transform(later))
    if out is None:
        return
    for column in found[3].columns:
        for value, made in zip(later[column.name].tolist(), out[column.name].tolist(), strict=True):
            if hasattr(column, "levels"):
                assert 0 <= made <= len(column.levels)
                if made and column.values in ("text", "int", "float", "bool"):
                    assert column.levels[made - 1] == value
            elif missing(value) or column.constant:
                assert made == column.fill
            else:
                assert isinstance(value, int | float)
                assert float(made) == float(value)


LABELS = st.one_of(
    st.lists(TEXTS, min_size=12, max_size=12),
    st.lists(st.integers(-1, 3), min_size=12, max_size=12),
    st.lists(st.sampled_from([0.0, 1.0, 0.5, float("nan"), 1e200]), min_size=12, max_size=12),
    st.lists(st.sampled_from([0.0, 1.0]), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(st.sampled_from([1, "a", None]), min_size=12, max_size=12),
)


@DRAWN
@given(
    st.integers(2, 12),
    LABELS,
    st.sampled_from(["list", "objects", "(n, 1)"]),
    st.booleans(),
    st.lists(st.integers(0, 11), max_size=4, unique=True),
)
def test_labels_of_any_type_are_met_as_they_are(n: int, y: list[Any], form: str, is_reg: bool, val: list[int]) -> None:
    y, val = y[:n], [i for i in val if i < n - 1]
    objects = np.array(y, dtype=object)
    labels: Any = {"list": y, "objects": objects, "(n, 1)": objects[:, None]}[form]
    df = pd.DataFrame({"x": np.arange(float(n))})
    md = quietly(lambda: ColumnarModelData.from_data_frame(".", val, df, labels, bs=4, is_reg=is_reg))
    if md is None:
        text = {isinstance(label, str) for label in y}
        odd = any(missing(v) or (isinstance(v, float) and (v > 1e38 or (v % 1 > 0 and not is_reg))) for v in y)
        assert odd or len(text) > 1 or (is_reg and True in text) or (not is_reg and len(set(y)) < 2)
        return
    for dl, rows in ((md.trn_dl, [i for i in range(n) if i not in val]), (md.val_dl, val)):
        codes = [] if dl is None else dl.tensors[-1].reshape(-1).tolist()
        assert ([md.classes[code] for code in codes] if md.classes else codes) == [y[i] for i in rows]


@DRAWN
@given(st.integers(2, 9), st.data())
def test_what_is_predicted_depends_on_training_rows_alone(n: int, data: st.DataObject) -> None:
    """A category without a training row is the missing one, wherever it stands."""
    states = data.draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=n + 3, max_size=n + 3))
    df = pd.DataFrame({"s": states, "x": np.arange(n + 3.0)})
    found = quietly(lambda: proc_df(df, "x"))
    if found is None:
        return
    out, y, _, mapper = found
    md = quietly(lambda: ColumnarModelData.from_data_frame(".", range(n, n + 3), out, y, bs=4))
    levels = mapper.column("s").levels
    trained = set(states[:n])
    wanted = [levels.index(s) + 1 if s is not None and s in trained else 0 for s in states[n:]]
    assert md.val_dl.tensors[0][:, 0].tolist() == wanted


@DRAWN
@given(columns(5), columns(4))
def test_joins_match_equal_keys_and_nothing_else(ours: Any, theirs: Any) -> None:
    right = pd.DataFrame({"k": theirs, "v": range(4)})
    joined = quietly(lambda: join_df(pd.DataFrame({"k": ours}), right, "k"))
    if joined is None:
        return
    wanted: list[Any] = []
    for value in ours.tolist():
        hits = [i for i, key in enumerate(theirs.tolist()) if not missing(value) and not missing(key) and key == value]
        wanted += hits or [None]
    assert [None if missing(v) else int(v) for v in joined["v"].tolist()] == wanted


@DRAWN
@given(columns(6), st.booleans())
def test_events_and_sums_are_of_numbers(values: Any, repeated: bool) -> None:
    df = pd.DataFrame({"g": 1, "d": pd.date_range("2015-01-01", periods=6), "x": values})
    if repeated:
        df.index = pd.Index([0] * 6)
    sums = quietly(lambda: rolling_sums(df, "x", "g", "d", 2))
    elapsed = quietly(lambda: get_elapsed(df.copy(), "x", "After", "g", "d"))
    assert (sums is None) == (elapsed is None)
    if sums is None:
        return
    numbers = [None if missing(v) else float(v) for v in values.tolist()]
    latest = None
    for i, value in enumerate(numbers):
        window = [v for v in numbers[max(0, i - 1) : i + 1] if v is not None]
        got = sums["x_bw"].iloc[i]
        assert got == sum(window) if window else math.isnan(got)
        latest = i if value else latest
        days = elapsed["Afterx"].iloc[i]
        assert math.isnan(days) if latest is None else days == i - latest


@DRAWN
@given(frames())
def test_smaller_types_hold_the_same_values(df: pd.DataFrame) -> None:
    out = quietly(lambda: df_shrink(df))
    if out is None:
        return
    for name in df.columns:
        for before, after in zip(df[name].tolist(), out[name].tolist(), strict=True):
            if isinstance(before, float) and not missing(before):
                assert after == before or (abs(before) < 2**24 and abs(after - before) <= 1e-7 * abs(before))
            else:
                assert missing(after) if missing(before) else after == before


@DRAWN
@given(columns(7), st.floats(0.01, 0.9))
def test_validation_comes_after_training(values: Any, val_pct: float) -> None:
    idxs = quietly(lambda: split_by_order(np.asarray(values), val_pct))
    if idxs is None:
        return
    items = np.asarray(values).tolist()
    chosen = set(idxs.tolist())
    assert not any(map(missing, items))
    assert min(items[i] for i in chosen) > max(item for i, item in enumerate(items) if i not in chosen)
