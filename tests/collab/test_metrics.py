import math

import numpy as np
import pytest
import torch

from learnkit import DataError
from learnkit.collab import Interactions, metrics, rank_held_out, ranking_metrics
from learnkit.collab.metrics import top_items


def by_definition(ranked, wanted, k):
    hits = [item in wanted for item in ranked[:k]]
    best = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(wanted))))
    gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
    precision = sum(sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit)
    return sum(hits) / len(wanted), gain / best, precision / min(k, len(wanted)), float(any(hits))


def case(seed=0, n_users=25, n_items=60):
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(n_users, n_items)).astype(np.float32))
    pairs = [np.nonzero(rng.random((n_users, n_items)) < 0.1) for _ in range(2)]
    seen, held_out = (Interactions.from_pairs(u, i, n_users, n_items) for u, i in pairs)
    return scores, seen, held_out


@pytest.mark.parametrize("at_once", [1, 200, 10**7])
def test_metrics_agree_with_their_definitions_however_many_users_at_once(monkeypatch, at_once):
    monkeypatch.setattr(metrics, "SCORES_AT_ONCE", at_once)
    scores, seen, held_out = case()
    expected = []
    for user in range(1, 25):
        wanted = set(held_out.of(user).tolist())
        if wanted:
            ranked = [i for i in scores[user].argsort(descending=True).tolist() if i and i not in set(seen.of(user))]
            expected.append(by_definition(ranked, wanted, 10))
    found = rank_held_out(lambda users: scores[users], seen, held_out, k=10)
    assert list(found.values()) == pytest.approx(np.mean(expected, axis=0).tolist())


def test_a_perfect_ranking_scores_one():
    held_out = Interactions.from_pairs(np.array([1, 1, 2]), np.array([1, 2, 3]), 3, 5)
    scores = torch.zeros(3, 5)
    scores[1, [1, 2]] = scores[2, 3] = 1.0
    assert set(rank_held_out(lambda users: scores[users], None, held_out, k=2).values()) == {1.0}


def test_fewer_items_left_than_asked_for():
    seen = Interactions.from_pairs(np.array([1, 1]), np.array([1, 2]), 2, 4)
    codes, _ = top_items(lambda users: torch.ones(len(users), 4), np.array([1]), 10, seen)
    assert codes.tolist() == [[3, 0, 0, 0]]


def test_a_sample_of_users_is_always_the_same():
    scores, seen, held_out = case()
    one, two = (rank_held_out(lambda users: scores[users], seen, held_out, max_users=5) for _ in range(2))
    assert one == two


def test_nothing_held_out():
    with pytest.raises(DataError, match="no user has a held-out item"):
        rank_held_out(
            lambda users: torch.ones(len(users), 4), None, Interactions(np.zeros(3, int), np.zeros(0, int), 4)
        )


def test_wrong_shapes_are_named():
    with pytest.raises(DataError, match=r"got shapes \(3,\)"):
        ranking_metrics(np.ones(3, bool), np.ones(3, int))
