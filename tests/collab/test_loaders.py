import numpy as np
import pytest
import torch

from learnkit import DataError
from learnkit.collab import Interactions, RankingLoader, RatingLoader, loaders


def columns(n: int = 1000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    users = torch.arange(n, dtype=torch.int32) % 17 + 1
    items = (torch.arange(n) % 23 + 1).to(torch.int16)
    return users, items, torch.arange(n, dtype=torch.float32)


def test_shuffled_epoch_gives_each_chosen_row_once_in_a_new_order(monkeypatch):
    monkeypatch.setattr(loaders, "BLOCK", 96)
    users, items, y = columns()
    rows = torch.arange(0, 1000, 3, dtype=torch.int32)
    dl = RatingLoader(users, items, y, rows, bs=32, shuffle=True)
    first, second = (torch.cat([batch[2] for batch in dl]) for _ in range(2))
    assert sorted(first.tolist()) == rows.tolist()
    assert first.tolist() != second.tolist() != rows.tolist()
    for batch in dl:
        at = batch[2].long()
        assert torch.equal(batch[0], users[at].long())
        assert torch.equal(batch[1], items[at].long())
        assert [x.dtype for x in batch] == [torch.int64, torch.int64, torch.float32]


@pytest.mark.parametrize("n", [1, 2, 5, 1000, 70_000])
def test_scattered_is_a_permutation_without_pattern(n):
    keys = torch.randint(2**62, (loaders.ROUNDS,), generator=torch.Generator().manual_seed(3)).tolist()
    order = torch.cat(list(loaders.scattered(n, keys, step=300)))
    assert order.sort().values.tolist() == list(range(n))
    if n >= 1000:
        pairs = torch.stack([torch.arange(n), order]).double()
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / n**0.5
        steps = torch.stack([order[:-1], order[1:]]).double()
        assert abs(float(torch.corrcoef(steps)[0, 1])) < 4 / n**0.5
        low_bits = torch.bincount(order[: n // 2] % 8).double() / (
            n // 2
        )  # the first half of an epoch is a fair sample
        assert float((low_bits - 1 / 8).abs().max()) < 4 * (0.11 / (n // 2)) ** 0.5


@pytest.mark.parametrize("large", [0, 10**6])
def test_rows_left_out_never_appear(monkeypatch, large):
    monkeypatch.setattr(loaders, "BLOCK", 96)
    monkeypatch.setattr(loaders, "LARGE", large)
    leave_out = torch.arange(1000) % 5 == 0
    for shuffle in (True, False):
        dl = RatingLoader(*columns(), bs=32, shuffle=shuffle, leave_out=leave_out)
        found = torch.cat([batch[2] for batch in dl]).tolist()
        assert sorted(found) == [float(i) for i in range(1000) if i % 5]
        assert len(dl) == 25
        assert [len(batch[2]) for batch in dl] == [32] * 25
        if shuffle:
            assert found != torch.cat([batch[2] for batch in dl]).tolist()
    with pytest.raises(ValueError, match="pass one of them"):
        RatingLoader(*columns(), rows=torch.tensor([1]), leave_out=leave_out)


def test_validation_rows_keep_their_order():
    dl = RatingLoader(*columns(), rows=torch.tensor([5, 3, 9], dtype=torch.int32), bs=2)
    assert [batch[2].tolist() for batch in dl] == [[5.0, 3.0], [9.0]]
    assert len(dl) == 2


def test_generator_decides_the_order():
    def order(seed):
        dl = RatingLoader(*columns(50), bs=7, shuffle=True, generator=torch.Generator().manual_seed(seed))
        return torch.cat([batch[2] for batch in dl]).tolist()

    assert order(1) == order(1) != order(2)


def test_no_rows_is_an_error():
    with pytest.raises(DataError, match="no ratings here"):
        RatingLoader(*columns(5), rows=torch.zeros(0, dtype=torch.int32))


def test_ranking_batches_put_the_item_taken_first_and_validation_always_draws_the_same():
    users, items, _ = columns(60)
    seen = Interactions.from_pairs(users.numpy(), items.numpy(), 18, 24)
    val = RankingLoader(users, items, seen, bs=16, negatives=3)
    first, second = (torch.cat([batch[1] for batch in val]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first[:, 0], items.long())
    trn = RankingLoader(users, items, seen, bs=60, shuffle=True, negatives=3)
    a, b = (next(iter(trn))[1] for _ in range(2))
    assert not torch.equal(a, b)
    taken = np.repeat(users.numpy()[:, None], 3, axis=1)
    assert not seen.contains(taken, first[:, 1:].numpy()).any()


@pytest.mark.parametrize("large", [0, 10**6])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_can_be_begun_at_any_batch(shuffle, large, monkeypatch):
    monkeypatch.setattr(loaders, "BLOCK", 96)
    monkeypatch.setattr(loaders, "LARGE", large)
    users, items, y = columns()
    seen = Interactions.from_pairs(users.numpy(), items.numpy(), n_users=18, n_items=40)
    out = torch.arange(1000) % 7 == 0
    made = [
        RatingLoader(users, items, y, bs=32, shuffle=shuffle),
        RatingLoader(users, items, y, bs=32, shuffle=shuffle, leave_out=out),
        RankingLoader(users, items, seen, bs=32, shuffle=shuffle, leave_out=out, negatives=2),
        RankingLoader(users, items, seen, torch.arange(0, 1000, 3), bs=32, shuffle=shuffle),
    ]
    for dl in made:
        torch.manual_seed(5)
        whole = list(dl)
        after = torch.get_rng_state()
        for first in (0, 1, 3, 7, len(whole) - 1, len(whole)):
            torch.manual_seed(5)
            rest = list(dl.iter_from(first))
            assert len(rest) == len(whole) - first
            for x, y_ in zip(rest, whole[first:], strict=True):
                assert all(torch.equal(a, b) for a, b in zip(x, y_, strict=True))
            assert torch.equal(after, torch.get_rng_state())
