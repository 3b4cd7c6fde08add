"""Loaders: every item once, in the order promised, the same whatever the number of workers."""

import gc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from learnkit import DataBunch
from learnkit.core.errors import DataError
from learnkit.core.preserve import random_state, set_random_state
from learnkit.data.dataset import ItemDataset
from learnkit.data.loaders import (
    DeviceLoader,
    ItemLoader,
    TensorLoader,
    fast_forward,
    generators,
    n_batches,
    split_batch,
)


class Noisy:
    """Adds noise to each item, and fails on item 13."""

    def item(self, x: int, rng: np.random.Generator) -> Tensor:
        if x == 13:
            raise ValueError("unlucky")
        return torch.tensor([x + rng.random() / 2])

    def batch(self, x: Tensor) -> Tensor:
        return x


def noisy_items(n: int) -> ItemDataset:
    return ItemDataset(list(range(n)), np.arange(n), int, Noisy())


def epoch(dl: Any) -> list[list[float]]:
    return [x.flatten().tolist() for x, _ in dl]


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.booleans())
def test_tensor_loader_gives_every_row_once_with_its_target(n: int, bs: int, shuffle: bool, drop_last: bool) -> None:
    x = torch.arange(n)
    dl = TensorLoader([x[:, None], -x], x * 2, bs, shuffle, drop_last=drop_last)
    batches = list(dl)
    assert len(batches) == len(dl) == n_batches(dl)
    full, rest = divmod(n, bs)
    assert [len(y) for *_, y in batches] == [bs] * full + [rest] * (rest > 0 and not drop_last)
    rows = [tuple(map(int, row)) for a, b, y in batches for row in zip(a[:, 0], b, y, strict=True)]
    expected = [(i, -i, 2 * i) for i in range(n)]
    if drop_last:
        assert set(rows) <= set(expected)
    elif shuffle:
        assert sorted(rows) == expected
    else:
        assert rows == expected


def test_shuffling_follows_its_generator_and_changes_each_epoch() -> None:
    def order(dl: TensorLoader) -> list[int]:
        return [int(i) for _, y in dl for i in y]

    x = torch.arange(50)
    dl = TensorLoader(x, x, 8, shuffle=True, generator=torch.Generator().manual_seed(1))
    again = TensorLoader(x, x, 50, shuffle=True, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    first, second = order(dl), order(dl)
    assert torch.equal(torch.get_rng_state(), state)
    assert first != second
    assert [order(again), order(again)] == [first, second]


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def batches() -> list[tuple[list[int], list[int]]]:
        dl = TensorLoader(
            torch.arange(23), torch.arange(23) * 2, 4, shuffle, generator=torch.Generator().manual_seed(0)
        )
        return [(x.tolist(), y.tolist()) for x, y in dl]

    together = batches()
    monkeypatch.setattr("learnkit.data.loaders.CHUNK_BYTES", 150)  # two batches of four pairs of int64
    assert batches() == together


def test_narrow_codes_are_widened_where_asked() -> None:
    codes, values, y = torch.ones(3, dtype=torch.int8), torch.ones(3), torch.ones(3, dtype=torch.uint8)
    kinds = [[x.dtype for x in next(iter(TensorLoader([codes, values], y, widen=w)))] for w in (True, False)]
    assert kinds == [[torch.int64, torch.float32, torch.uint8], [torch.int8, torch.float32, torch.uint8]]


def test_items_are_drawn_by_their_weights() -> None:
    dl = ItemLoader(noisy_items(10), bs=4, weights=[0, 0, 0, 1, 0, 0, 0, 0, 0, 9])
    drawn = [int(i) for _ in range(20) for _, y in dl for i in y]
    assert len(drawn) == 200
    assert set(drawn) == {3, 9}
    assert drawn.count(9) > 150


def test_tensor_loader_says_what_is_wrong() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(DataError, match=r"one length; got \[3, 4\] inputs and 3 targets"):
        TensorLoader([x, torch.zeros(4)], torch.zeros(3))
    with pytest.raises(DataError, match="empty"):
        TensorLoader(x[:0], torch.zeros(0))
    with pytest.raises(ValueError, match="`bs` must be a positive whole number; got 0"):
        TensorLoader(x, torch.zeros(3), bs=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_batches_and_the_next_epoch_others(workers: int) -> None:
    def two_epochs(num_workers: int) -> tuple[list[list[float]], list[list[float]]]:
        torch.manual_seed(5)
        dl = ItemLoader(noisy_items(10), bs=4, shuffle=True, num_workers=num_workers)
        return epoch(dl), epoch(dl)

    first, second = two_epochs(workers)
    assert (first, second) == two_epochs(0)
    noise = [{int(x): x for batch in batches for x in batch} for batches in (first, second)]
    assert sorted(noise[0]) == sorted(noise[1]) == list(range(10))
    assert all(noise[0][i] != noise[1][i] for i in range(10))


def test_item_loader_in_order_with_targets_and_drop_last() -> None:
    ys = [y.tolist() for _, y in ItemLoader(noisy_items(5), bs=2)]
    assert ys == [[0, 1], [2, 3], [4]]
    dl = ItemLoader(noisy_items(5), bs=2, drop_last=True)
    assert len(dl) == len(list(dl)) == 2
    with pytest.raises(ValueError, match="`bs`"):
        ItemLoader(noisy_items(5), bs=-1)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_named_also_by_a_worker(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # After an error PyTorch waits this long for each worker before it ends it.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    with pytest.raises(DataError, match="item 13, 13 could not be loaded: ValueError: unlucky") as caught:
        list(ItemLoader(noisy_items(16), bs=4, num_workers=workers))
    del caught
    gc.collect()


@pytest.mark.parametrize(
    ("batch", "n_inputs"),
    [
        ((1, "y"), 1),
        ([1, "y"], 1),
        ((1, 2, 3, "y"), 3),
        (((1, 2), "y"), 2),
        (([1], "y"), 1),
    ],
)
def test_the_last_element_of_a_batch_is_the_target(batch: Any, n_inputs: int) -> None:
    xs, y = split_batch(batch)
    assert xs == tuple(range(1, n_inputs + 1))
    assert y == "y"


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        (torch.zeros(4, 2), r"Tensor of shape \(4, 2\)"),
        ({"x": 1}, "dict"),
        ((torch.zeros(1),), "tuple"),
        (None, "None"),
    ],
)
def test_a_batch_without_a_target_is_refused(batch: Any, got: str) -> None:
    with pytest.raises(DataError, match=rf"must be a tuple \(x, y\).*got {got}.*add one"):
        split_batch(batch)


def test_device_loader_moves_everything_and_inputs_are_always_a_tuple() -> None:
    x = torch.randn(2, 3, 4, 4)
    batches = [(x, x), ((x, [x]), {"y": x})]
    moved = list(DeviceLoader(batches, torch.device("meta"), channels_last=True))
    assert [len(xs) for xs, _ in moved] == [1, 2]
    assert moved[1][0][1][0].is_meta
    assert moved[1][1]["y"].is_meta
    assert moved[0][0][0].is_contiguous(memory_format=torch.channels_last)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(range(3))


def test_n_batches_is_none_for_a_loader_that_does_not_know() -> None:
    assert n_batches([1, 2]) == 2
    assert n_batches(iter([1, 2])) is None
    assert n_batches(DataLoader(Endless())) is None


def test_generators_finds_all_that_a_loader_owns_once() -> None:
    a, b = torch.Generator(), torch.Generator()
    ds = TensorDataset(torch.arange(3))
    assert generators(DataLoader(ds, shuffle=True, generator=a)) == [a]
    assert set(generators(DataLoader(ds, sampler=RandomSampler(ds, generator=b), generator=a))) == {a, b}
    assert generators(TensorLoader(torch.ones(2), torch.ones(2), generator=a)) == [a]
    assert generators([(1, 2)]) == generators(DataLoader(ds)) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: TensorLoader(torch.arange(43.0), torch.arange(43), 4, shuffle=True),
        lambda: TensorLoader(torch.arange(43.0), torch.arange(43), 4, shuffle=True, drop_last=True),
        lambda: TensorLoader(torch.arange(43.0), torch.arange(43), 4),
        lambda: ItemLoader(ItemDataset(list(range(20, 63)), np.arange(43), int, Noisy()), 4, True, num_workers=0),
        lambda: ItemLoader(ItemDataset(list(range(20, 63)), np.arange(43), int, Noisy()), 4, True, num_workers=2),
        lambda: ItemLoader(
            ItemDataset(list(range(20, 63)), None, int, Noisy()), 4, num_workers=0, weights=np.arange(43) + 1
        ),
        lambda: DataLoader(TensorDataset(torch.arange(43), torch.arange(43)), 4, shuffle=True),
        lambda: [(torch.full((2,), i), torch.zeros(2)) for i in range(11)],
    ],
)
def test_an_epoch_can_be_begun_at_any_batch(make: Any) -> None:
    """With the draws of a whole epoch: the rest of it is the same, and the generators end in the same state."""
    dl = make()
    state = random_state(*generators(dl))
    whole = list(dl)
    after = torch.get_rng_state()
    for first in (0, 1, 5, 10, len(whole)):
        set_random_state(state, *generators(dl))
        rest = list(fast_forward(dl, first))
        assert len(rest) == len(whole) - first
        assert all(
            torch.equal(a, b) for x, y in zip(rest, whole[first:], strict=True) for a, b in zip(x, y, strict=True)
        )
        assert torch.equal(after, torch.get_rng_state())


def test_skipped_items_are_not_loaded() -> None:
    opened: list[int] = []

    def open_item(item: int) -> int:
        opened.append(item)
        return item

    dl = ItemLoader(ItemDataset(list(range(20, 60)), None, open_item, Noisy()), 4, num_workers=0)
    assert len(list(dl.iter_from(8))) == 2
    assert opened == list(range(52, 60))
    with pytest.raises(DataError, match="fewer than 9 batches"):
        fast_forward([(torch.zeros(1), torch.zeros(1))] * 3, 9)


class Transformed(Dataset[Any]):
    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return self.tfm(torch.zeros(2)), torch.tensor(i % 2)


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_what_cannot_be_copied_to_a_loading_process_is_named(start: str) -> None:
    """A lambda works where processes are forked, and not where they are started anew, as on macOS and Windows."""

    def local(batch: Any) -> Any:
        return batch

    transformed: Any = DataLoader(Transformed(lambda x: x), 2, num_workers=1, multiprocessing_context=start)
    with pytest.raises(DataError, match=r"cannot be started.*`Transformed.tfm` cannot be copied.*`num_workers=0`"):
        next(iter(DeviceLoader(transformed, torch.device("cpu"))))
    with pytest.raises(DataError, match=r"`Transformed.tfm` cannot be copied"):
        DataBunch(".", transformed).check()
    with pytest.raises(DataError, match=r"`Transformed.tfm` cannot be copied"):
        _ = DataBunch(".", transformed, transformed).val_y
    collated: Any = DataLoader(
        Transformed(torch.neg), 2, num_workers=1, multiprocessing_context=start, collate_fn=local
    )
    with pytest.raises(DataError, match=r"`collate_fn` cannot be copied"):
        fast_forward(collated, 1)
