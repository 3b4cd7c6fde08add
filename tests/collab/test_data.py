import re
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit import DataError, get_cv_idxs
from learnkit.collab import CollabFilterDataset, RankingLoader

pa: Any = pytest.importorskip("pyarrow")


def make(frame, path=".", **options):
    return CollabFilterDataset.from_data_frame(path, frame, "user", "item", options.pop("rating", "rating"), **options)


def small(**columns):
    frame = pd.DataFrame({"user": [1, 1, 2, 2], "item": [10, 20, 10, 30], "rating": [5.0, 3.0, 4.0, 1.0]})
    return frame.assign(**columns)


def rows_of(dl, cf):
    """Every (user, item, rating) a loader gives, in the user's own ids."""
    return [
        (cf.users.decode([u])[0], cf.items.decode([i])[0], r)
        for users, items, y in dl
        for u, i, r in zip(users.tolist(), items.tolist(), y.tolist(), strict=True)
    ]


def test_batches_hold_the_rows_of_the_frame_split_as_asked(ratings):
    cf = make(ratings)
    val_idxs = np.random.default_rng(1).permutation(len(ratings))[:50]
    data = cf.get_data(val_idxs, bs=32)
    triples = list(ratings[["user", "item", "rating"]].itertuples(index=False, name=None))
    assert rows_of(data.val_dl, cf) == [triples[i] for i in val_idxs]
    left = set(range(len(ratings))) - set(val_idxs.tolist())
    assert sorted(rows_of(data.trn_dl, cf)) == sorted(triples[i] for i in left)
    assert data.val_y.tolist() == ratings.rating[val_idxs].tolist()


def test_default_split_is_the_usual_fifth(ratings):
    cf = make(ratings)
    expected = ratings.rating[get_cv_idxs(len(ratings))].tolist()
    assert cf.get_data().val_y.tolist() == expected


def test_the_frame_is_not_changed(ratings):
    before = ratings.copy()
    make(ratings).get_data()
    pd.testing.assert_frame_equal(ratings, before)


def test_later_changes_of_the_frame_do_not_reach_the_dataset():
    frame = small(rating=np.array([5, 3, 4, 1], dtype=np.float32))
    cf = make(frame)
    frame.loc[:, "rating"] = 0.0
    assert cf.ratings is not None
    assert cf.ratings.tolist() == [5, 3, 4, 1]


def test_csv_and_frame_give_the_same(tmp_path, ratings):
    ratings.to_csv(tmp_path / "r.csv", index=False)
    ratings.head(3).to_csv(tmp_path / "test.csv", index=False)
    cf = CollabFilterDataset.from_csv(tmp_path, "r.csv", "user", "item", "rating", test="test.csv")
    assert rows_of(cf.get_data([0]).val_dl, cf) == rows_of(make(ratings).get_data([0]).val_dl, cf)
    assert len(rows_of(cf.get_data([0]).test_dl, cf)) == 3


@pytest.mark.parametrize(
    "ids",
    [[uuid.UUID(int=k) for k in (1, 1, 2, 2)], [(1, "a"), (1, "a"), (2, "b"), (2, "b")], ["x", "x", 3, 3]],
    ids=["uuid", "tuple", "mixed"],
)
def test_any_hashable_ids(ids):
    cf = make(small(user=pd.Series(ids, dtype=object)))
    assert [user for user, _, _ in rows_of(cf.get_data([1, 2]).val_dl, cf)] == [ids[1], ids[2]]


def test_ratings_are_kept_in_half_precision_only_where_that_is_exact():
    assert make(small()).ratings.dtype == np.float16
    assert make(small(rating=[0.1, 2, 3, 4])).ratings.dtype == np.float32
    assert make(small(rating=[1e5, 2, 3, 4])).ratings.dtype == np.float32


def test_split_by_time_validates_on_the_future(ratings):
    cf = make(ratings, time_name="time")
    idxs = cf.split_by_time(0.25)
    assert ratings.time[idxs].min() > ratings.time.drop(idxs).max()
    with pytest.raises(DataError, match="pass `time_name=`"):
        make(ratings).split_by_time()


def test_dates_as_times():
    cf = make(small(when=pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-02", "2024-01-04"])), time_name="when")
    assert cf.split_by_time(0.5).tolist() == [0, 3]


def test_mean_and_counts_are_those_of_the_training_set():
    data = make(small()).get_data([1])
    assert data.mean == pytest.approx(10 / 3)
    assert data.y_range == (1.0, 5.0)
    assert data.item_counts.tolist() == [0, 2, 0, 1]
    assert data.seen is not None
    assert data.seen.of(1).tolist() == [1]


def test_implicit_data_needs_no_ratings():
    data = make(small(), rating=None).get_data([1])
    assert isinstance(data.trn_dl, RankingLoader)
    assert data.y_range is None
    assert [items.shape for _, items, _ in data.trn_dl] == [torch.Size([3, 5])]


# ---------------------------------------------------------------- bad input


REPEATED = pd.DataFrame(
    {"user": [1, 1, 2, 1], "item": [10, 10, 10, 10], "rating": [1.0, 2.0, 5.0, 3.0], "time": [3, 9, 1, 4]}
)


@pytest.mark.parametrize(
    ("policy", "time_name", "expected"),
    [("last", None, [5, 3]), ("last", "time", [2, 5]), ("mean", None, [5, 2]), ("keep", None, [1, 2, 5, 3])],
)
def test_repeated_pairs_follow_the_policy(policy, time_name, expected):
    if policy == "keep":
        cf = make(REPEATED, duplicates=policy)
    else:
        with pytest.warns(UserWarning, match=r"2 row\(s\) repeat a pair of user and item, e.g. user 1, item 10"):
            cf = make(REPEATED, duplicates=policy, time_name=time_name)
    assert cf.ratings is not None
    assert cf.ratings.tolist() == expected


def test_repeated_pairs_can_be_an_error():
    with pytest.raises(DataError, match='duplicates="last"'):
        make(REPEATED, duplicates="error")


def test_val_idxs_mean_rows_of_the_frame_also_when_some_were_dropped():
    with pytest.warns(UserWarning, match="repeat"):
        cf = make(REPEATED)
    data = cf.get_data([0, 2])  # row 0 was dropped
    assert rows_of(data.val_dl, cf) == [(2, 10, 5.0)]
    assert rows_of(data.trn_dl, cf) == [(1, 10, 3.0)]
    with pytest.raises(DataError, match="nothing is left to train on"):
        cf.get_data([2, 3])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (small(rating=["5", "three", "4", "1"]), r"1 rating\(s\) in column 'rating' .* the first is 'three' in row 1"),
        (small(rating=[5.0, None, 4.0, 1.0]), "the first is .*nan.* in row 1"),
        (small(rating=[5.0, np.inf, 4.0, 1.0]), "the first is .*inf.* in row 1"),
        (small(user=[1.0, None, 2, 2]), r"1 row\(s\) have no user id in column 'user', the first is row 1"),
        (small(item=["a", None, "b", "c"]), r"1 row\(s\) have no item id in column 'item', the first is row 1"),
        (small().drop(columns="rating"), "has no column 'rating'; it has: 'user', 'item'"),
        (small().head(0), "has no rows"),
    ],
    ids=["text", "nan", "inf", "no user", "no item", "no column", "empty"],
)
def test_bad_frames_are_named(frame, message):
    with pytest.raises(DataError, match=message):
        make(frame)


def test_numbers_written_as_text_are_read():
    cf = make(small(rating=["5", "3", "4", "1"]))
    assert cf.y_range == (1.0, 5.0)


def test_ratings_outside_the_range_are_refused():
    with pytest.raises(DataError, match="go from 1 to 5, outside `y_range` 1 to 4"):
        make(small()).get_learner(y_range=(1, 4))
    with pytest.raises(ValueError, match=r"must be \(lowest, highest\)"):
        make(small()).get_learner(y_range=(5, 1))


def test_wrong_val_idxs_are_refused():
    with pytest.raises(DataError, match=r"must be in 0\.\.3 for 4 items"):
        make(small()).get_learner(val_idxs=[4])


def test_wrong_choices_are_refused():
    with pytest.raises(ValueError, match="`duplicates` must be one of"):
        make(small(), duplicates="first")
    with pytest.raises(ValueError, match="`feedback` must be one of"):
        make(small()).get_learner(feedback="both")
    with pytest.raises(DataError, match="there are no ratings"):
        make(small(), rating=None).get_learner(feedback="explicit")


def test_titles_for_other_ids_are_refused():
    with pytest.raises(DataError, match="Its keys look like '10', the ids like 10"):
        make(small(), titles={"10": "Ten"})


def test_missing_file_says_what_is_there(tmp_path):
    (tmp_path / "ratings.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"there is no file .*Its folder holds: ratings\.csv"):
        CollabFilterDataset.from_csv(tmp_path, "rating.csv", "user", "item", "rating")


def test_times_must_be_times():
    with pytest.raises(DataError, match="must hold numbers, dates or text .*; got 'soon'"):
        make(small(time="soon"), time_name="time")
    with pytest.raises(DataError, match="has no time in row 1"):
        make(small(time=[1.0, None, 2, 3]), time_name="time")


def test_unknown_ids_in_the_test_frame_are_reported(tmp_path):
    test = pd.DataFrame({"user": [1, 99], "item": [10, 10]})
    with pytest.warns(UserWarning, match="1 of 2 test rows have a user that is not in the ratings"):
        cf = make(small(), tmp_path, test=test)
    learn = cf.get_learner(4, val_idxs=[])
    assert learn.predict(is_test=True).shape == (2,)


# ---------------------------------------------------------------- columns of any type


@pytest.mark.parametrize("name", ["user", "item"])
def test_dictionary_encoded_arrow_ids(name):
    ids = ["b", "a", "b", "c"]
    column = pd.Series(ids, dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())))
    cf = make(small(**{name: column, "rating": [1.0, 2.0, 3.0, 4.0]}), duplicates="keep")
    vocabulary = cf.users if name == "user" else cf.items
    assert vocabulary.decode([1, 2, 3]) == ["b", "a", "c"]
    assert (cf.user_codes if name == "user" else cf.item_codes).tolist() == [1, 2, 1, 3]
    assert vocabulary.encode(column).tolist() == [1, 2, 1, 3]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([5, 3, 4, 1], dtype="Int16"),
        pd.Series(["5", "3.0", "4", "1"]),
        pd.Series([5, 3, 4, 1], dtype="category"),
        pd.Series([5, 3, 4, 1], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.int64()))),
        pd.Series([Decimal(5), Decimal(3), Decimal(4), Decimal(1)]),
        pd.Series([Decimal(5), Decimal(3), Decimal(4), Decimal(1)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
    ],
    ids=lambda column: str(column.dtype),
)
def test_ratings_of_any_type_of_number(column):
    cf = make(small(rating=column))
    assert cf.ratings is not None
    assert cf.ratings.tolist() == [5, 3, 4, 1]


@pytest.mark.parametrize("value", [1e200, -1e39, float("inf"), float("nan"), None, "many", "1e400"])
@pytest.mark.parametrize("as_object", [False, True])
def test_a_rating_that_cannot_be_held_is_named_with_its_value(value, as_object):
    column = pd.Series([1, 2, value, 3], dtype=object) if as_object or isinstance(value, str) else [1, 2, value, 3]
    shown = "nan" if value is None and not as_object else re.escape(repr(value))
    with pytest.raises(DataError, match=rf"1 rating\(s\) in column 'rating' .* the first is .*{shown}.* in row 2"):
        make(small(rating=column))


def test_dates_are_no_ratings():
    with pytest.raises(DataError, match="column 'rating' must hold ratings; got the date or span Timestamp"):
        make(small(rating=pd.date_range("2024", periods=4)))


@pytest.mark.parametrize("ids", [[123, "123", 5, "x"], ["ann", "ann ", "bob", "eve"], [1.5, "1.5", 3, 4]], ids=str)
def test_ids_that_most_likely_are_one_are_named(ids):
    shown = f"such as {ids[0]!r} and {ids[1]!r}; they count as different"
    with pytest.warns(UserWarning, match=rf"1 user id\(s\) in column 'user' differ .*{re.escape(shown)}") as caught:
        cf = make(small(user=pd.Series(ids, dtype=object)))
    assert len(cf.users) == 4
    assert caught[0].filename == __file__


def test_pairs_to_predict_of_someone_whose_ratings_are_held_out_are_said():
    cf = make(small(), test=pd.DataFrame({"user": [1, 2, 2], "item": [10, 10, 30]}))
    with pytest.warns(UserWarning, match=r"`test_dl`: 1 of 3 rows have an item without a training rating"):
        data = cf.get_data([3])
    assert [remark for remark in data.check() if "`val_dl`" in remark] == [
        "`val_dl`: 1 of 1 rows have an item without a training rating; they are predicted with the mean embedding."
    ]


def test_columns_that_are_no_ratings_or_not_one_are_refused(tmp_path):
    frame = pd.DataFrame({"u": [1, 1, 2], "i": [1, 2, 1], "r": [1.0, 2, 3]})
    make = CollabFilterDataset.from_data_frame
    with pytest.raises(DataError, match="column 'r' must hold ratings; got the complex number"):
        make(tmp_path, frame.assign(r=frame.r * 1j), "u", "i", "r")
    with pytest.raises(DataError, match="several columns called 'u'"):
        make(tmp_path, pd.concat([frame, frame[["u"]]], axis=1), "u", "i", "r")
    with pytest.raises(DataError, match="the columns of the frame have several levels"):
        make(tmp_path, frame.set_axis(pd.MultiIndex.from_product([["a"], list("uir")]), axis=1), "u", "i", "r")


def test_ids_that_unicode_spells_in_two_ways_are_named(tmp_path):
    frame = pd.DataFrame({"u": ["\u00e9", "e\u0301", "a"], "i": [1, 2, 1], "r": [1.0, 2, 3]})
    with pytest.warns(UserWarning, match="in how Unicode spells them"):
        CollabFilterDataset.from_data_frame(tmp_path, frame, "u", "i", "r")
