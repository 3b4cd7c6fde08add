"""The models: a user and an item become vectors, and the vectors a score.

All take `(users, items)`: int64 codes, `users` of shape `(B,)` and `items` of shape `(B,)` or `(B, k)`; the scores
have the shape of `items`. Row 0 of each table stands for the unknown user or item.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.core.errors import check_positive
from learnkit.core.layers import init_linear
from learnkit.core.listing import numbers

__all__ = ["MODELS", "EmbeddingDot", "EmbeddingDotBias", "EmbeddingModel", "EmbeddingNet"]


class EmbeddingModel(nn.Module, ABC):
    """What the models share: the two tables of factors, and the way from raw scores to ratings.

    Parameters
    ----------
    n_users, n_items : int
        Rows of the tables, row 0 (unknown) included: `cf.n_users`, `cf.n_items`.
    n_factors : int
        Length of the vectors.
    y_range : pair of float, optional
        Scores are squashed into this range by a sigmoid; `None` leaves them as they are.
    mean : float, optional
        Mean rating. The model starts there, so that weight decay pulls towards it and not to the middle of the range.
    sparse : bool, default False
        Give the tables sparse gradients, for `torch.optim.SparseAdam`.

    Examples
    --------
    A model of your own says how a pair is scored:

    >>> import torch
    >>> from learnkit.collab import EmbeddingModel
    >>> class Distance(EmbeddingModel):
    ...     def raw_scores(self, users, items):
    ...         return -(self.user_factors(users) - self.item_factors(items)).norm(dim=-1)
    >>> Distance(10, 20, 5, y_range=(1, 5))(torch.tensor([1, 2]), torch.tensor([3, 4])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 50,
        y_range: tuple[float, float] | None = None,
        *,
        mean: float | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        check_positive("n_factors", n_factors, integer=True)
        self.n_users, self.n_items, self.n_factors = n_users, n_items, int(n_factors)
        self.y_range, self.mean, self.sparse = y_range, mean, sparse
        self.start = _raw_score(mean, y_range)
        self.user_factors = embedding(n_users, self.n_factors, sparse=sparse)
        self.item_factors = embedding(n_items, self.n_factors, sparse=sparse)

    __jit_unused_properties__ = ("u", "i", "ub", "ib")  # TorchScript compiles every property but these

    @abstractmethod
    def raw_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Return scores before they are squashed into the range; a dot product for most models."""

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user with their item, or with each of their `k` items.

        Parameters
        ----------
        users : Tensor of int64, shape (B,)
        items : Tensor of int64, shape (B,) or (B, k)

        Returns
        -------
        Tensor of float, of the shape of `items`
        """
        return self.to_range(self.raw_scores(users, items))

    def to_range(self, raw: Tensor) -> Tensor:
        """Add the starting point and squash into the range."""
        raw = raw + self.start
        if self.y_range is None:
            return raw
        low, high = self.y_range
        return torch.sigmoid(raw) * (high - low) + low

    @property
    def u(self) -> nn.Embedding:
        """The users' factors, by the course's name."""
        return self.user_factors

    @property
    def i(self) -> nn.Embedding:
        """The items' factors, by the course's name."""
        return self.item_factors

    def get_layer_groups(self) -> list[list[nn.Module]]:
        """Return the factors, and the rest if there is any (biases, the layers of a network)."""
        factors = [self.user_factors, self.item_factors]
        rest = [module for module in self.children() if not any(module is table for table in factors)]
        return [list(factors), rest] if rest else [list(factors)]

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item for each user: shape `(B, n_items)`, column 0 being the unknown item."""
        return self(users, torch.arange(self.n_items, device=users.device).expand(len(users), -1))

    def user_tables(self) -> list[nn.Embedding]:
        """Return the tables that are looked up by user."""
        return [self.user_factors]

    def item_tables(self) -> list[nn.Embedding]:
        """Return the tables that are looked up by item."""
        return [self.item_factors]

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this model again, as JSON can hold them."""
        return {
            "n_users": self.n_users,
            "n_items": self.n_items,
            "n_factors": self.n_factors,
            "y_range": None if self.y_range is None else list(self.y_range),
            "mean": self.mean,
            "sparse": self.sparse,
        }


class EmbeddingDot(EmbeddingModel):
    """The dot product of user and item factors, nothing else."""

    def raw_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the dot products."""
        return _dot(self.user_factors(users), self.item_factors(items))

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item for each user, in one matrix product."""
        return self.to_range(self.user_factors(users) @ self.item_factors.weight.T)


class EmbeddingDotBias(EmbeddingModel):
    """Dot product of factors, plus a bias of the user and of the item: the default; see `EmbeddingModel`.

    The item's bias is how good it is for everybody, so sorting by it gives the best and the worst items with the
    users' habits taken out (Koren, Bell & Volinsky 2009, "Matrix Factorization Techniques for Recommender Systems").

    Examples
    --------
    >>> import torch
    >>> from learnkit.collab import EmbeddingDotBias
    >>> model = EmbeddingDotBias(10, 20, 5, y_range=(1, 5), mean=3.5)
    >>> [round(x, 1) for x in model(torch.tensor([1, 2]), torch.tensor([3, 4])).tolist()]
    [3.5, 3.5]
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 50,
        y_range: tuple[float, float] | None = None,
        *,
        mean: float | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__(n_users, n_items, n_factors, y_range, mean=mean, sparse=sparse)
        self.user_bias = embedding(n_users, 1, std=0.0, sparse=sparse)
        self.item_bias = embedding(n_items, 1, std=0.0, sparse=sparse)

    @property
    def ub(self) -> nn.Embedding:
        """The users' biases, by the course's name."""
        return self.user_bias

    @property
    def ib(self) -> nn.Embedding:
        """The items' biases, by the course's name."""
        return self.item_bias

    def raw_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Return dot products plus both biases."""
        user_bias = self.user_bias(users).squeeze(-1)
        if items.ndim > users.ndim:
            user_bias = user_bias.unsqueeze(-1)
        dot = _dot(self.user_factors(users), self.item_factors(items))
        return dot + user_bias + self.item_bias(items).squeeze(-1)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item for each user, in one matrix product."""
        raw = torch.addmm(self.item_bias.weight.T, self.user_factors(users), self.item_factors.weight.T)
        return self.to_range(raw + self.user_bias(users))

    def user_tables(self) -> list[nn.Embedding]:
        """Return factors and bias."""
        return [self.user_factors, self.user_bias]

    def item_tables(self) -> list[nn.Embedding]:
        """Return factors and bias."""
        return [self.item_factors, self.item_bias]


class EmbeddingNet(EmbeddingModel):
    """The two vectors side by side through a small network, as in the lesson's third model; see `EmbeddingModel`.

    Parameters
    ----------
    nh : int or sequence of int, default 10
        Widths of the hidden layers.
    drops : pair of float, default (0.05, 0.5)
        Dropout on the embeddings, and after each hidden layer.

    Examples
    --------
    >>> import torch
    >>> from learnkit.collab import EmbeddingNet
    >>> EmbeddingNet(10, 20, 5, nh=[16, 8])(torch.tensor([1, 2]), torch.zeros(2, 3, dtype=torch.long)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 50,
        y_range: tuple[float, float] | None = None,
        *,
        nh: int | Sequence[int] = 10,
        drops: tuple[float, float] = (0.05, 0.5),
        mean: float | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__(n_users, n_items, n_factors, y_range, mean=mean, sparse=sparse)
        self.nh = [int(width) for width in numbers("nh", nh, "widths")]
        self.drops = drops
        for width in self.nh:
            check_positive("nh", width, integer=True)
        widths = [2 * self.n_factors, *self.nh]
        layers: list[nn.Module] = [nn.Dropout(drops[0])]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [init_linear(nn.Linear(n_in, n_out)), nn.ReLU(), nn.Dropout(drops[1])]
        self.layers = nn.Sequential(*layers, init_linear(nn.Linear(widths[-1], 1)))

    def raw_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the network's output for each pair."""
        user, item = self.user_factors(users), self.item_factors(items)
        if item.ndim > user.ndim:
            user = user.unsqueeze(-2).expand_as(item)
        return self.layers(torch.cat([user, item], dim=-1)).squeeze(-1)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this model again."""
        return {**super().config(), "nh": self.nh, "drops": list(self.drops)}


MODELS: dict[str, type[EmbeddingModel]] = {
    model.__name__: model for model in (EmbeddingDot, EmbeddingDotBias, EmbeddingNet)
}
"""The models a saved file can be made of again, by name."""


class Table(nn.Embedding):
    """An embedding that is looked up by whole numbers of any type: codes are kept in the smallest that holds them."""

    def forward(self, codes: Tensor) -> Tensor:
        """Return the rows of `codes`, shape `(*codes.shape, size)`."""
        if codes.dtype not in (torch.int64, torch.int32) and not codes.is_floating_point():
            codes = codes.long()
        return F.embedding(codes, self.weight, sparse=self.sparse)


def embedding(n: int, size: int, *, std: float = 0.01, sparse: bool = False) -> nn.Embedding:
    """Make a table that starts near zero, so that the first predictions are near the mean rating."""
    table = Table(n, size, sparse=sparse)
    with torch.no_grad():
        table.weight.normal_(0, std) if std else table.weight.zero_()
    return table


def _dot(user: Tensor, item: Tensor) -> Tensor:
    if item.ndim > user.ndim:
        return (item @ user.unsqueeze(-1)).squeeze(-1)
    return (user * item).sum(-1)


def _raw_score(mean: float | None, y_range: tuple[float, float] | None) -> float:
    """Return the raw score whose rating is `mean`."""
    if mean is None:
        return 0.0
    if y_range is None:
        return float(mean)
    low, high = y_range
    if not low < high:
        return 0.0
    share = min(max((mean - low) / (high - low), 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))
