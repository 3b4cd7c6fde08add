import numpy as np
import pandas as pd
import pytest

from learnkit import seed_everything
from learnkit.collab import CollabFilterDataset, CollabLearner


def make_ratings(n_users: int = 60, n_items: int = 40, share: float = 0.4, seed: int = 0) -> pd.DataFrame:
    """Ratings 1 to 5 from two true factors and an item bias, of users u0.. and items i0.."""
    rng = np.random.default_rng(seed)
    p, q, bias = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2)), rng.normal(size=n_items)
    u, i = np.nonzero(rng.random((n_users, n_items)) < share)
    stars = np.clip(np.round(3 + 0.6 * (p[u] * q[i]).sum(1) + 0.7 * bias[i]), 1, 5)
    frame = pd.DataFrame({"user": [f"u{k}" for k in u], "item": [f"i{k}" for k in i], "rating": stars})
    return frame.assign(time=np.arange(len(frame))).sample(frac=1, random_state=seed).reset_index(drop=True)


@pytest.fixture(scope="session")
def ratings() -> pd.DataFrame:
    return make_ratings()


@pytest.fixture(scope="session")
def titles(ratings: pd.DataFrame) -> dict[str, str]:
    return {item: f"The {item} film, naïve" for item in ratings.item.unique()}


@pytest.fixture
def cf(tmp_path, ratings: pd.DataFrame, titles: dict[str, str]) -> CollabFilterDataset:
    return CollabFilterDataset.from_data_frame(tmp_path, ratings, "user", "item", "rating", titles=titles)


@pytest.fixture
def learn(cf: CollabFilterDataset) -> CollabLearner:
    seed_everything(0)
    learner = cf.get_learner(8, bs=32)
    with learner.no_progress():
        learner.fit_one_cycle(6, 0.03, wds=0.1)
    return learner
