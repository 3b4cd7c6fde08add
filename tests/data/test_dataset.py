"""Items to batches: order, names in errors, randomness that belongs to the item and the epoch."""

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.data.dataset import BatchTransform, ItemDataset, seeded_globals


class AddNoise:
    """A transform in two steps whose first draws from the generator it is given."""

    def item(self, x: float, rng: np.random.Generator) -> Tensor:
        return torch.tensor([x + rng.random()])

    def batch(self, x: Tensor) -> Tensor:
        return x * 2


def global_noise(x: float) -> Tensor:
    return torch.tensor([x + random.random(), np.random.rand(), float(torch.rand(()))])  # noqa: NPY002


def identity(x: Any) -> Any:
    return x


def test_one_item_is_a_batch_of_one() -> None:
    ds = ItemDataset([1.0, 2.0, 3.0], np.array([5, 6, 7]), identity, AddNoise())
    assert isinstance(ds.tfm, BatchTransform)
    xs, ys = ds.finish(ds.batch([2, 0], 0))
    assert ys.tolist() == [7, 5]
    assert xs.shape == (2, 1)
    x, y = ds[-1]
    assert torch.equal(x, xs[0])
    assert y == 7
    assert len(ds) == 3


def test_a_dataset_can_be_looped_over_and_ends() -> None:
    ds = ItemDataset([1.0, 2.0], np.array([0, 1]), torch.tensor)
    assert [(float(x), int(y)) for x, y in ds] == [(1, 0), (2, 1)]  # type: ignore[attr-defined]
    for i in (2, -3):
        with pytest.raises(IndexError, match=f"item {i} of a dataset of 2"):
            ds[i]


def test_items_of_several_inputs_stay_tuples() -> None:
    ds = ItemDataset([(1, 2.0), (3, 4.0)], np.zeros(2), lambda item: tuple(map(torch.tensor, item)))
    (cats, conts), _ = ds.batch([0, 1], 0)
    assert (cats.tolist(), conts.tolist()) == ([1, 3], [2, 4])
    assert ds[1][0] == (3, 4)


@pytest.mark.parametrize("tfm", [AddNoise(), global_noise])
def test_randomness_belongs_to_the_item_and_the_epoch(tfm: Any) -> None:
    ds = ItemDataset([1.0] * 4, np.zeros(4), identity, tfm)
    ds.epoch_seed = 11
    one_by_one = torch.stack([ds[i][0] for i in (3, 2, 1, 0)]).flip(0)
    together = ds.finish(ds.batch(range(4), ds.epoch_seed))[0]
    assert torch.equal(one_by_one, together)
    assert len(together[:, 0].unique()) == 4  # each item has its own
    ds.epoch_seed = 12
    assert not torch.isclose(ds.finish(ds.batch(range(4), ds.epoch_seed))[0], together).any()


def test_a_transform_that_draws_globally_does_not_move_the_global_generators() -> None:
    def draw() -> list[float]:
        return global_noise(0.0).tolist()

    with seeded_globals(5):
        first = draw()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    expected = draw()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    ItemDataset([1.0], None, identity, global_noise)[0]
    with suppress(KeyError), seeded_globals(5):
        assert draw() == first
        raise KeyError
    assert draw() == expected


def test_items_to_predict_have_target_0() -> None:
    xs, ys = ItemDataset(np.ones((3, 2)), None, torch.tensor).batch([0, 2], 0)
    assert xs.shape == (2, 2)
    assert ys.tolist() == [0, 0]


def test_items_and_targets_must_pair_up() -> None:
    with pytest.raises(DataError, match="3 items and 2 targets"):
        ItemDataset([1, 2, 3], np.zeros(2), identity)


def test_shapes_that_do_not_stack_are_listed_with_their_items() -> None:
    sizes = {"a.png": 4, "b.png": 4, "c.png": 5}
    ds = ItemDataset(list(sizes), None, lambda name: torch.zeros(3, sizes[name]))
    with pytest.raises(DataError, match=r"one shape; got \(3, 4\) .*[ab].png.*; \(3, 5\) \(item 2, c.png\).*size"):
        ds.batch([0, 1, 2], 0)
    rows = ItemDataset(np.array([[1, 0], [1, 1]]), None, lambda row: torch.zeros(int(row.sum())))
    with pytest.raises(DataError, match=r"\(1,\) \(item 0\); \(2,\) \(item 1\)"):
        rows.batch([0, 1], 0)


def test_whatever_a_transform_raises_names_the_item() -> None:
    def broken(x: float) -> Tensor:
        raise ZeroDivisionError("no")

    with pytest.raises(DataError, match="item 1, 2.0 could not be loaded: ZeroDivisionError: no") as caught:
        ItemDataset([1.0, 2.0], None, identity, broken)[1]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
