"""The network: what it takes in and gives out, and that a faster gradient is the same gradient."""

import pytest
import torch
from torch import nn

from learnkit import DataError
from learnkit.tabular import MixedInputModel, PiecewiseLinear, quantile_edges
from learnkit.tabular.model import Embeddings


def test_model_without_categories_or_without_numbers():
    cats, conts = torch.ones(8, 1, dtype=torch.long), torch.randn(8, 3)
    none = torch.empty(8, 0)
    assert MixedInputModel([], 3, 0.0, 2, [4], [0.0])(none.long(), conts).shape == (8, 2)
    assert MixedInputModel([(3, 2)], 0, 0.0, 2, [4], [0.0], use_bn=True)(cats, none).shape == (8, 2)
    with pytest.raises(DataError, match="no input"):
        MixedInputModel([], 0, 0.0, 2, [4], [0.0])


def test_piecewise_linear_reaches_through_the_bins():
    edges = quantile_edges(torch.tensor([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]]))
    assert edges.tolist() == [[0, 1, 3], [1, 1, 1]]
    layer = PiecewiseLinear(edges, 2)
    layer.weight.data = torch.eye(2).expand(2, 2, 2).contiguous()
    layer.bias.data.zero_()
    out = layer(torch.tensor([[2.0, 1.0], [-5.0, 0.0], [9.0, 2.0]]))
    assert out[:, :2].tolist() == [[1, 0.5], [0, 0], [1, 1]]
    many = quantile_edges(torch.randn(5000, 2), n_bins=16)
    assert many.shape[1] <= 18
    assert (many.diff(dim=1) >= 0).all()


def test_embeddings_give_the_vectors_and_gradients_of_plain_ones():
    torch.manual_seed(0)
    embs = Embeddings([(9, 5), (40, 21), (3, 2)])
    tables = [emb for emb in embs.embs if isinstance(emb, nn.Embedding)]
    plain = [nn.Embedding.from_pretrained(emb.weight.detach().clone(), freeze=False) for emb in tables]
    cats = torch.stack([torch.randint(0, emb.num_embeddings, (512,)) for emb in plain], dim=1)
    upstream = torch.randn(512, 28)
    ours = torch.cat(embs(cats), dim=1)
    theirs = torch.cat([emb(cats[:, j]) for j, emb in enumerate(plain)], dim=1)
    assert torch.equal(ours, theirs)
    ours.backward(upstream)
    theirs.backward(upstream)
    for mine, other in zip(tables, plain, strict=True):
        assert mine.weight.grad is not None
        assert other.weight.grad is not None
        assert torch.equal(mine.weight.grad, other.weight.grad)
    with pytest.raises(ValueError, match="3 embeddings; the batch has 2"):
        embs(cats[:, :2])
    with pytest.raises(IndexError):
        embs(cats + 40)
