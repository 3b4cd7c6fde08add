"""Ids become the codes that learnkit gives them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.collab import CollabFilterDataset, RatingPrep, Vocabulary
from learnkit.runtime.ratings import RatingPreparation

FRAME = pd.DataFrame({"reader": ["ann", "ann", "bob", "eve"], "book": [1, 2, 1, 30], "stars": [5.0, 3.0, 4.0, 1.0]})


def prep_of(frame: pd.DataFrame = FRAME, held_out: Any = (3,)) -> RatingPrep:
    """Of readers and books; eve and book 30 are in the validation set only."""
    data = CollabFilterDataset.from_data_frame(".", frame, *frame.columns[:3])
    prep = data.get_data(list(held_out), 2).prep
    assert isinstance(prep, RatingPrep)
    return prep


PREP = prep_of()


def both(rows: Any) -> tuple[Any, Any]:
    runtime = RatingPreparation(json.loads(json.dumps(PREP.portable())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = [[x.numpy() for x in batch[:2]] for batch in PREP.loader(rows)]
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)], [*runtime.prepare(rows).values()]


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(["ann", "bob", "eve", "zoe", 1]), st.sampled_from([1, 2, 30, 4, 1.0, "1"])),
        min_size=1,
        max_size=5,
    )
)
def test_codes_are_the_same(pairs):
    ours, theirs = both(pairs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "rows",
    [
        [("ann", 2)],
        {"reader": "ann", "book": 2},
        {"reader": ["ann", "bob"], "book": [2, 1]},
        [{"user": "ann", "item": 2}, {"user": "bob", "item": 30}],
        pd.DataFrame({"reader": ["ann", "bob"], "book": [2, 1]}),
        pd.DataFrame({"user": ["ann"], "item": [2], "more": [0]}),
        pd.DataFrame({"reader": pd.Categorical(["ann", "bob"]), "book": [2, 1]}),
        pd.Series({"reader": "ann", "book": 2}).to_frame().T,
        {"reader": np.array(["ann", "bob"]), "book": range(1, 3)},
        {"reader": "ann", "book": [1, 2]},
        {"reader": ["ann", "bob"], "book": 2},
        {"reader": ["ann", "bob"], "book": "ab"},
        [{"reader": "ann", "book": 1}, {"reader": "bob"}],
        [{"reader": "ann", "book": 1}, {"user": "bob", "item": 2}],
        [("ann", np.int8(2)), ("ann", 2.0), ("ann", 2.5), ("ann", None), ("ann", float("nan")), ("ann", "2")],
        [("ann", np.datetime64(2, "ns")), (pd.NA, 1)],
        [("ann", True)],
    ],
    ids=str,
)
def test_every_form_of_rows(rows):
    ours, theirs = both(rows)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_unknown_is_said():
    runtime = RatingPreparation(json.loads(json.dumps(PREP.portable())))
    with pytest.warns(UserWarning, match=r"1 user\(s\) unknown, 'zoe': the mean embedding is used"):
        assert runtime.prepare([("zoe", 1)])["users"].tolist() == [0]
    with pytest.warns(UserWarning, match=r"1 item\(s\) without a rating in the training set, 30"):
        assert runtime.prepare([("ann", 30)])["items"].tolist() == [0]
    for rows, words in (
        ([], "there are no users and items"),
        ("ann", "must be a list of pairs.*got str"),
        ([("ann",)], r"row 0 is \('ann',\), no pair"),
        ({"reader": ["ann"]}, "in the columns 'reader' and 'book', or 'user' and 'item'; there are: reader"),
        ({"user": ["ann"], "item": [1, 2]}, "do not make rows: they have 1, 2 values"),
        (pd.DataFrame([["ann", "bob", 1]], columns=["user", "user", "item"]), "names of their own"),
        ({"user": pd.Series(["ann"]), "item": pd.Series([1])}, "make a frame of it"),
        ([("ann", 1), {"user": "ann", "item": 1}], "row 1 is .*, no pair"),
        ([(["ann"], 1)], r"user ids must be numbers or text; got \['ann'\] in row 0"),
        ([{"user": "ann"}], "or 'user' and 'item'; there are: user"),
    ):
        with pytest.raises(DataError, match=words):
            runtime.prepare(rows)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([("a", 1), ("b", 2)], r"\('a', 1\) is tuple"),
        (np.array(["2015-07-31", "2015-08-01"], "datetime64[ns]"), "is datetime64"),
        ([True, False], "True is bool"),
    ],
    ids=["tuples", "dates", "booleans"],
)
def test_ids_that_only_python_knows_are_refused(ids, words):
    prep = RatingPrep(Vocabulary(ids, "user"), Vocabulary(["x"], "item"), np.ones(3), np.ones(2))
    with pytest.raises(DataError, match=f"user ids must be numbers or text.*{words}"):
        prep.portable()


def test_columns_that_are_called_by_numbers():
    prep = prep_of(FRAME.set_axis([0, 1, 2], axis=1))
    runtime = RatingPreparation(json.loads(json.dumps(prep.portable())))
    frame = pd.DataFrame({0: ["ann", "bob"], 1: [2, 1]})
    ours = next(iter(prep.loader(frame)))
    assert [x.tolist() for x in runtime.prepare(frame).values()] == [ours[0].tolist(), ours[1].tolist()]
    assert runtime.instance({"0": "ann", "1": 2}) == ("ann", 2)
