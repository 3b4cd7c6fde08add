"""The lesson's way: your own `EmbeddingDotBias`, your own optimizer, and `fit` without a `Learner`.

Ids become categories of a table, `ColumnarModelData` makes the batches, and the model is a plain `nn.Module` that
takes `(cats, conts)`. Run it with `python -m examples.ratings_by_hand`.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from learnkit import fit, get_cv_idxs, seed_everything, set_lrs
from learnkit.datasets import movielens_frames
from learnkit.tabular import ColumnarModelData

N_FACTORS = 50


def get_emb(ni: int, nf: int) -> nn.Embedding:
    e = nn.Embedding(ni, nf)
    e.weight.data.uniform_(-0.01, 0.01)
    return e


class EmbeddingDotBias(nn.Module):
    def __init__(self, n_users: int, n_movies: int, min_rating: float, max_rating: float) -> None:
        super().__init__()
        self.u, self.m = get_emb(n_users, N_FACTORS), get_emb(n_movies, N_FACTORS)
        self.ub, self.mb = get_emb(n_users, 1), get_emb(n_movies, 1)
        self.min_rating, self.max_rating = min_rating, max_rating

    def forward(self, cats: Tensor, conts: Tensor) -> Tensor:
        users, movies = cats[:, 0], cats[:, 1]
        um = (self.u(users) * self.m(movies)).sum(1)
        res = um + self.ub(users).squeeze(1) + self.mb(movies).squeeze(1)
        return torch.sigmoid(res) * (self.max_rating - self.min_rating) + self.min_rating


def main() -> dict[str, float]:
    seed_everything(0)
    ratings, _ = movielens_frames()

    u_uniq = ratings["userId"].unique()
    user2idx = {o: i for i, o in enumerate(u_uniq)}
    ratings["userId"] = ratings["userId"].map(user2idx)
    m_uniq = ratings["movieId"].unique()
    movie2idx = {o: i for i, o in enumerate(m_uniq)}
    ratings["movieId"] = ratings["movieId"].map(movie2idx)

    val_idxs = get_cv_idxs(len(ratings))
    x: pd.DataFrame = ratings.drop(["rating", "timestamp"], axis=1)
    y = ratings["rating"].astype("float32")
    data = ColumnarModelData.from_data_frame("runs/ratings", val_idxs, x, y, ["userId", "movieId"], 64)

    model = EmbeddingDotBias(len(u_uniq) + 1, len(m_uniq) + 1, float(y.min()), float(y.max()))  # code 0 is "unknown"
    opt = optim.SGD(model.parameters(), 1e-1, weight_decay=1e-5, momentum=0.9)
    fit(model, data, 3, opt, F.mse_loss)
    set_lrs(opt, 0.01)
    return fit(model, data, 3, opt, F.mse_loss)


if __name__ == "__main__":
    main()
