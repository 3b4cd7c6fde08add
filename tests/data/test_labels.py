"""Labels: one spelling, none missing, none read letter by letter."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import Category, DataError, MultiCategory
from learnkit.data.labels import classes_of, is_missing


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), np.datetime64("NaT", "s"), pd.NA, pd.NaT])
def test_a_missing_label_is_refused_by_its_item_in_every_target(missing: Any) -> None:
    assert is_missing(missing)
    for make in (Category.from_labels, Category(["a", "b"]).encode):
        with pytest.raises(DataError, match="1 of 3 labels are missing .*, the first is that of item 2"):
            make(["a", "b", missing])
    for several in (MultiCategory.from_labels, MultiCategory(["a"]).encode):
        with pytest.raises(DataError, match="a label of item 1 is missing"):
            several([["a"], [missing]])


@pytest.mark.parametrize("text", ["", "nan", "None", "NA"])
def test_a_text_is_never_missing(text: str) -> None:
    assert not is_missing(text)
    assert Category.from_labels([text, "x"]).classes == sorted([text, "x"])


def test_a_text_is_no_list_of_labels() -> None:
    for make in (Category.from_labels, Category(["cat", "dog"]).encode, MultiCategory.from_labels):
        with pytest.raises(DataError, match="got the text 'cat dog'"):
            make("cat dog")
    for several in (MultiCategory.from_labels, MultiCategory(["cat", "dog"]).encode):
        with pytest.raises(DataError, match=r"item 0 has 'cat dog'. Write \['cat', 'dog'\]"):
            several(["cat dog"])
        with pytest.raises(DataError, match="item 1 has 3"):
            several([["cat"], 3])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"that of item 1 is the list \['b'\].*`MultiCategory`"):
        Category.from_labels(["a", ["b"]])


def test_labels_of_several_types_are_sorted_by_type() -> None:
    target = Category.from_labels(["a", 1, 2.5, "b", 1])
    assert len(target.classes) == 4
    assert target.decode(np.eye(4)[target.encode([1, "b"])]) == [1, "b"]


def test_spellings_of_one_name_are_one_class() -> None:
    composed, apart = "\u00e9", "e\u0301"
    assert classes_of([composed, apart, "a"]) == ["a", composed]
    assert Category(["a", apart]).encode([composed, "a"]).tolist() == [1, 0]
    assert MultiCategory([apart]).encode([[composed], []]).tolist() == [[1], [0]]
    with pytest.raises(DataError, match="more than once"):
        Category([composed, apart])
    with pytest.warns(UserWarning, match="'A' and 'a' differ only in capitals or blanks"):
        assert classes_of(["a", "A"]) == ["A", "a"]
