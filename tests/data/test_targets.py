"""Targets: labels to tensors, scores to answers, and the loss between them."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from learnkit.core.errors import DataError
from learnkit.data.targets import Category, MultiCategory, Real, Target


@given(st.lists(st.integers(-5, 5), min_size=2).filter(lambda labels: len(set(labels)) > 1))
def test_a_certain_model_decodes_to_the_labels_that_were_encoded(labels: list[int]) -> None:
    target = Category.from_labels(labels)
    assert target.classes == sorted(set(labels))
    codes = target.encode(labels)
    assert codes.dtype == np.int64
    scores = F.one_hot(torch.from_numpy(codes), target.c) * 10.0
    preds = target.activation(scores).numpy()
    assert target.decode(preds) == labels
    np.testing.assert_allclose(target.to_proba(preds).sum(1), 1, rtol=1e-5)
    assert float(target.loss(scores, torch.from_numpy(codes))) < 0.01


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1).filter(any))
def test_several_labels_per_item_survive_the_round_trip(labels: list[set[str]]) -> None:
    target = MultiCategory.from_labels(labels)
    rows = target.encode(labels)
    assert rows.dtype == np.float32
    assert rows.sum() == sum(map(len, labels))
    scores = (torch.from_numpy(rows) - 0.5) * 20
    preds = target.activation(scores).numpy()
    assert [set(names) for names in target.decode(preds)] == labels
    assert target.to_proba(preds) is preds
    assert float(target.loss(scores, torch.from_numpy(rows))) < 0.01


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_class_numbers_may_come_as_list_array_or_tensor(kind: Any) -> None:
    labels = kind([3, 1, 3])
    target = Category.from_labels(labels)
    assert target.classes == [1, 3]
    assert target.encode(labels).tolist() == [1, 0, 1]


def test_losses_are_those_of_torch_on_raw_scores() -> None:
    torch.manual_seed(0)
    scores = torch.randn(6, 3)
    classes, rows, values = torch.tensor([0, 1, 2, 0, 1, 2]), (torch.rand(6, 3) > 0.5).int(), torch.randn(6, 3).double()
    assert torch.equal(Category(list("abc")).loss(scores, classes), F.cross_entropy(scores, classes))
    assert torch.equal(
        MultiCategory(list("abc")).loss(scores, rows), F.binary_cross_entropy_with_logits(scores, rows.float())
    )
    assert torch.equal(Real(3).loss(scores, values), F.mse_loss(scores, values.float()))


def test_the_threshold_decides_what_several_labels_are_reported() -> None:
    preds = np.array([[0.2, 0.6, 0.9]])
    assert MultiCategory(list("abc")).decode(preds) == [["b", "c"]]
    assert MultiCategory(list("abc"), threshold=0.6).decode(preds) == [["b", "c"]]
    assert MultiCategory(list("abc"), threshold=0.7).decode(preds) == [["c"]]


def test_activations_answer_in_full_precision() -> None:
    for target in (Category(list("ab")), MultiCategory(list("ab")), Real(2)):
        assert target.activation(torch.zeros(1, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_unknown_labels_are_named() -> None:
    with pytest.raises(DataError, match=r"label\(s\) emu, yak are not among the 2 training classes \(cat, dog\).*Add"):
        Category(["cat", "dog"]).encode(["cat", "yak", "emu", "yak"])
    with pytest.raises(DataError, match=r"label\(s\) fog are not among the 2 training classes \(clear, water\)"):
        MultiCategory(["clear", "water"]).encode([["clear"], ["fog", "water"]])


@pytest.mark.parametrize("labels", [[], ["cat"], ["cat", "cat"]])
def test_one_class_is_not_enough(labels: list[str]) -> None:
    with pytest.raises(DataError, match=f"at least 2 classes; got {len(set(labels))}"):
        Category.from_labels(labels)


def test_repeated_class_names_are_refused() -> None:
    with pytest.raises(DataError, match="more than once: dog"):
        Category(["dog", "cat", "dog"])
    with pytest.raises(DataError, match="at least 1 classes"):
        MultiCategory([])


def test_regression_targets_keep_their_shape_and_come_back_as_they_are() -> None:
    for labels in ([1, 2.5], np.array([[1, 2], [3, 4]]), (x for x in (1.0, 2.0))):
        values = Real().encode(labels)
        assert values.dtype == np.float32
        preds = Real().activation(torch.from_numpy(values)).numpy()
        assert Real().decode(Real().to_proba(preds)) == values.tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cheap", 3.0], "needs numbers as targets: .*cheap"),
        (
            [1.0, float("nan"), float("inf")],
            r"2 target\(s\) are missing, infinite or beyond 3.4e38, the first is item 1",
        ),
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), r"1 target\(s\) .* item 1"),
        ([[1.0], [1.0, 2.0]], "needs numbers as targets"),
    ],
)
def test_regression_targets_must_be_numbers(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Real().encode(labels)


@pytest.mark.parametrize("target", [Category(list("ab")), MultiCategory(list("ab")), Real()])
def test_no_labels_encode_to_no_targets(target: Target) -> None:
    assert len(target.encode([])) == 0


def test_a_number_is_told_from_the_text_that_looks_like_it():
    with pytest.raises(DataError, match=r"label\(s\) 1, 2 are not .* of another type: '1', '2'. Give both one type"):
        Category(["1", "2"]).encode([1, 2])
    with pytest.raises(DataError, match=r"label\(s\) '1' are not .* of another type: 1, 2"):
        MultiCategory([1, 2]).encode([["1"]])


@pytest.mark.parametrize("classes", [[None, "a"], [float("nan"), 1], [pd.NA, "a"]])
def test_a_missing_class_is_refused(classes):
    for target in (Category, MultiCategory):
        with pytest.raises(DataError, match="`classes` must be names; one is missing"):
            target(classes)


@pytest.mark.parametrize("values", [pd.array([1, None], "Int64"), [1, pd.NA], [1, None], [1, 10**40]])
def test_a_number_that_is_missing_or_too_large_is_named_by_its_item(values):
    with pytest.raises(DataError, match=r"1 target\(s\) are missing, infinite or beyond 3.4e38, the first is item 1"):
        Real().encode(values)


@pytest.mark.parametrize(
    "target",
    [
        Category(["a", 2]),
        Category([0, 1], class_axis=-1),
        MultiCategory(["a"], threshold=0.3),
        Real(2),
        Real(1, shape=(1,)),
    ],
)
def test_a_target_is_written_as_data_and_made_again(target: Target) -> None:
    again = Target.from_data(json.loads(json.dumps(target.to_data())))
    assert type(again) is type(target)
    assert {**vars(again)} == {**vars(target)}


def test_targets_of_older_files_are_made_again_and_own_ones_asked_for() -> None:
    category = Target.from_data({"kind": "Category", "classes": ["a", "b"]})
    assert category.class_axis == 1
    assert Target.from_data({"kind": "Real", "c": 3}).c == 3

    class Own(Real):
        pass

    assert Own().to_data() == {"kind": "Own", "c": 1}
    with pytest.raises(DataError, match="is a Own, which is not one of learnkit's targets; pass `target=`"):
        Target.from_data(Own().to_data())


def test_masks_and_sequences_have_a_class_for_each_place() -> None:
    names = np.array([["back", "front", "back"], ["back", "back", "back"]], dtype=object)
    scores = torch.randn(2, 2, 2, 3)
    for target, x in (
        (Category(["back", "front"]), scores),
        (Category(["back", "front"], class_axis=-1), scores.movedim(1, -1)),
    ):
        y = target.encode(np.stack([names, names[::-1]]))
        assert y.shape == (2, 2, 3)
        assert [target.label(mask) for mask in (y[0], y[1, 1:], y[0, 1])] == ["back front", "back front", "back"]
        expected = F.cross_entropy(scores, torch.from_numpy(y))
        assert torch.equal(target.loss(x, torch.from_numpy(y)), expected)
        shares = F.one_hot(torch.from_numpy(y), 2).float().movedim(-1, target.class_axis)
        torch.testing.assert_close(target.loss(x, shares), expected)
        preds = target.activation(x).numpy()
        np.testing.assert_allclose(target.to_proba(preds).sum(target.class_axis), 1, rtol=1e-5)
        said = target.decode(preds)
        assert [mask.shape for mask in said] == [(2, 3), (2, 3)]
        assert (target.encode(said) == scores.argmax(1).numpy()).all()
    tags = Category(["noun", "verb"], class_axis=-1)
    assert tags.encode(np.array([["noun", "verb"], ["verb", "verb"]])).tolist() == [[0, 1], [1, 1]]
    wrong: tuple[Any, ...] = (0, 1.0, True)
    for axis in wrong:
        with pytest.raises(DataError, match="`class_axis` must be a whole number and not 0"):
            Category(["a", "b"], class_axis=axis)
