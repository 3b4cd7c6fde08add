import numpy as np
import torch

from learnkit.collab import interactions
from learnkit.collab.interactions import Interactions, count_codes, sorted_pairs


def random_pairs(n=500, n_users=30, n_items=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_users, n), rng.integers(1, n_items, n)


def test_rows_hold_the_distinct_items_of_each_user_whatever_the_block(monkeypatch):
    users, items = random_pairs()
    for block in (1, 37, 10**6):
        monkeypatch.setattr(interactions, "BLOCK", block)
        seen = Interactions.from_pairs(users, items, 30, 50)
        for user in range(30):
            assert seen.of(user).tolist() == sorted(set(items[users == user].tolist()))


def test_contains_agrees_with_a_set():
    users, items = random_pairs()
    seen = Interactions.from_pairs(users, items, 30, 50)
    pairs = set(zip(users.tolist(), items.tolist(), strict=True))
    asked = random_pairs(seed=1)
    assert seen.contains(*asked).tolist() == [pair in pairs for pair in zip(*(a.tolist() for a in asked), strict=True)]


def test_rows_of_several_users_with_an_empty_one_and_a_repeated_one():
    seen = Interactions.from_pairs(np.array([1, 1, 3]), np.array([2, 1, 4]), 5, 6)
    where, items = seen.rows(np.array([3, 2, 1, 1]))
    assert list(zip(where.tolist(), items.tolist(), strict=True)) == [(0, 4), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_nothing_seen():
    seen = Interactions.from_pairs(np.zeros(0, int), np.zeros(0, int), 3, 4)
    assert not seen.contains(np.array([1]), np.array([2])).any()
    assert seen.rows(np.array([1, 2]))[1].size == 0


def test_sampled_items_are_not_the_users_own():
    users, items = random_pairs(n=400)
    seen = Interactions.from_pairs(users, items, 30, 50)
    drawn = seen.sample_others(torch.from_numpy(users), 8, torch.Generator().manual_seed(0))
    assert drawn.shape == (400, 8)
    assert 1 <= int(drawn.min()) <= int(drawn.max()) < 50
    assert seen.contains(users[:, None].repeat(8, 1), drawn.numpy()).mean() < 1e-2


def test_equal_pairs_stay_in_the_order_of_the_rows():
    users, items = np.array([2, 1, 2, 2]), np.array([3, 1, 3, 1])
    ((keys, rows),) = sorted_pairs(users, items, 3, 4)
    assert keys.tolist() == [5, 9, 11, 11]
    assert rows.tolist() == [1, 3, 0, 2]


def test_counts_without_rows_left_out():
    assert count_codes(np.array([1, 2, 2, 0]), 4).tolist() == [1, 1, 2, 0]
    assert count_codes(np.array([1, 2, 2, 0]), 4, np.array([True, False, False, True])).tolist() == [0, 0, 2, 0]
