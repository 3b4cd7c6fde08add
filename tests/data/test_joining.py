"""What is joined over the batches: every structure part by part, and nothing mixed."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import DataBunch, DataError
from learnkit.data.joining import join, stack, take

SIZES = [3, 3, 1]
N = sum(SIZES)
Both = namedtuple("Both", "first second")


def parts(*shape: int) -> list[torch.Tensor]:
    return list(torch.arange(N * int(np.prod(shape, dtype=int))).float().reshape(N, *shape).split(SIZES))


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"a": a, "b": b},
        lambda a, b: Both(a, b),
        lambda a, b: {"a": [a, b], "b": (b, {"c": a})},
    ],
)
def test_structures_are_joined_part_by_part(build):
    a, b = parts(2), parts(1, 4)
    whole = join([build(*pair) for pair in zip(a, b, strict=True)], SIZES)
    expected = build(torch.cat(a).numpy(), torch.cat(b).numpy())

    def same(x: Any, y: Any) -> bool:
        if isinstance(y, np.ndarray):
            return bool((x == y).all()) and x.shape == y.shape
        keys = y.keys() if isinstance(y, dict) else range(len(y))
        return type(x) is type(y) and len(x) == len(y) and all(same(x[key], y[key]) for key in keys)

    assert same(whole, expected)


def test_lengths_that_differ_come_as_a_list_of_items():
    batches = [torch.ones(3, 5, 2), torch.ones(3, 4, 2), torch.ones(1, 6, 2)]
    for whole in (join(batches, SIZES), join([(x, x) for x in batches], SIZES)[0]):
        assert [item.shape for item in whole] == [(5, 2)] * 3 + [(4, 2)] * 3 + [(6, 2)]


def test_what_a_detector_gives_is_one_thing_per_item():
    batches = [[{"boxes": torch.full((i + j, 4), float(i))} for j in range(n)] for i, n in enumerate(SIZES)]
    whole = join(batches, SIZES)
    assert [item["boxes"].shape for item in whole] == [(i + j, 4) for i, n in enumerate(SIZES) for j in range(n)]


def test_a_list_as_long_as_its_batch_whose_entries_hold_the_batch_is_of_parts():
    whole = join([[torch.zeros(2), torch.ones(2)], [torch.zeros(2), torch.ones(2)]], [2, 2])
    assert [part.tolist() for part in whole] == [[0.0] * 4, [1.0] * 4]


def test_a_number_per_batch_and_a_state_are_not_taken_for_items():
    whole = join([{"scores": x, "kl": torch.tensor(float(i)), "name": "m"} for i, x in enumerate(parts(2))], SIZES)
    assert whole["scores"].shape == (N, 2)
    assert [float(x) for x in whole["kl"]] == [0.0, 1.0, 2.0]
    assert whole["name"] == ["m"] * 3
    hidden = join([(x, torch.zeros(2, len(x), 4)) for x in parts(2)], SIZES)
    assert [x.shape for x in hidden[1]] == [(2, n, 4) for n in SIZES]


def test_a_batch_of_one_that_was_squeezed_has_its_item_back():
    assert join([torch.zeros(3), torch.zeros(3), torch.tensor(1.0)], SIZES).tolist() == [0.0] * 6 + [1.0]
    assert join([torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(2)], SIZES).shape == (N, 2)


@pytest.mark.parametrize(
    "batches",
    [
        [{"a": torch.zeros(3)}, {"b": torch.zeros(3)}, {"a": torch.zeros(1)}],
        [(torch.zeros(3),), (torch.zeros(3), torch.zeros(3)), (torch.zeros(1),)],
        [(torch.zeros(3),), {"a": torch.zeros(3)}, (torch.zeros(1),)],
    ],
)
def test_structures_that_differ_are_refused(batches):
    with pytest.raises(DataError, match="their structure differs: a .* must give every batch in one structure"):
        join(batches, SIZES)


def test_taking_and_stacking_follow_the_structure():
    whole = join([(x, {"b": x, "c": torch.tensor(0.0)}) for x in parts(2)], SIZES)
    order = np.array([2, 0, 1, 3, 4, 5, 6])
    taken = take(whole, order, N)
    np.testing.assert_array_equal(taken[0], whole[0][order])
    np.testing.assert_array_equal(taken[1]["b"], whole[0][order])
    assert len(taken[1]["c"]) == 3
    stacked = stack([whole[0], whole[0] + 1])
    assert stacked.shape == (2, N, 2)
    assert stack([(whole[0],), (whole[0],)])[0].shape == (2, N, 2)


def test_targets_in_a_structure_and_their_shape():
    x = torch.zeros(5, 2)
    loader = [(x, (torch.arange(5), torch.zeros(5, 1))), (x[:2], (torch.arange(2), torch.ones(2, 1)))]
    data = DataBunch(".", loader, loader)
    values: Any = data.val_y
    assert values[0].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert values[1].shape == (7, 1)
    assert data.item_shape == [(), (1,)]
