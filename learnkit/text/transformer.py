"""A small Transformer language model (Vaswani et al. 2017), behind the same data and learner as the AWD-LSTM.

It sees a window of text at a time and carries the last tokens before it along, so it has some context from the start.
A window begins at the same position however many tokens are carried, so a short prompt is nothing strange to it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.core.errors import check_positive
from learnkit.text.awd_lstm import Encoded, Encoder, LockedDropout, State, WordDropout

__all__ = ["TransformerEncoder"]


class TransformerEncoder(Encoder):
    """Encoder of causal self-attention blocks, normalised first, with sinusoidal positions.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary.
    emb_sz : int
        Width of everything; a multiple of `n_heads`.
    n_hid : int
        Width inside the feed-forward parts.
    n_layers : int
    n_heads : int, default 4
    dropouti, dropout, dropoute, dropouth : float
        Of the embedded input, of the output, of whole words, inside the blocks.
    context : int, default 64
        Tokens of the window before that are read again.

    Attributes
    ----------
    out_sz : int
        Width of the output: `emb_sz`.

    References
    ----------
    Vaswani et al. 2017, "Attention Is All You Need"; Xiong et al. 2020, "On Layer Normalization in the Transformer
    Architecture".

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import TransformerEncoder
    >>> TransformerEncoder(100, 16, 32, 2)(torch.zeros(5, 3, dtype=torch.long)).dropped.shape
    torch.Size([5, 3, 16])
    """

    def __init__(
        self,
        n_tokens: int,
        emb_sz: int,
        n_hid: int,
        n_layers: int,
        n_heads: int = 4,
        *,
        dropouti: float = 0.05,
        dropout: float = 0.05,
        dropoute: float = 0.02,
        dropouth: float = 0.05,
        context: int = 64,
    ) -> None:
        super().__init__()
        if emb_sz % n_heads or emb_sz % 2:
            raise ValueError(f"`emb_sz` must be even and a multiple of `n_heads`; got {emb_sz} and {n_heads}.")
        self.embedding = WordDropout(n_tokens, emb_sz, dropoute)
        self.layers = nn.ModuleList(Block(emb_sz, n_hid, n_heads, dropouth) for _ in range(n_layers))
        self.norm = nn.LayerNorm(emb_sz)
        self.input_drop = nn.Dropout(dropouti)
        self.output_drop = LockedDropout(dropout)
        self.out_sz = emb_sz
        self.context = int(check_positive("context", context, integer=True))

    def forward(self, x: Tensor, state: State = None) -> Encoded:
        """Encode a window, with the tokens before, `(context, B)`, as its state; see `Encoder.forward`."""
        seen = x if state is None else torch.cat([state, x])
        # Embeddings start small; scaled up they weigh as much as the positions.
        first = self.context - (len(seen) - len(x))
        positions = _positions(first, first + len(seen), self.out_sz, x.device)
        h = self.input_drop(self.embedding(seen) * math.sqrt(self.out_sz) + positions[:, None])
        for layer in self.layers:
            h = layer(h)
        h = self.norm(h[len(seen) - len(x) :])
        return Encoded(h, self.output_drop(h), seen[-self.context :])

    def layer_groups(self) -> list[list[nn.Module]]:
        """Return the embedding and each block, first to last."""
        *most, last = self.layers
        return [[self.embedding], *([layer] for layer in most), [last, self.norm]]


class Block(nn.Module):
    """Attention to what came before, then a feed-forward network, each added to what it was given."""

    def __init__(self, width: int, n_hid: int, n_heads: int, p: float) -> None:
        super().__init__()
        self.n_heads, self.p = n_heads, p
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv, self.from_heads = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, n_hid), nn.GELU(), nn.Linear(n_hid, width))
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(T, B, width)` for `(T, B, width)`."""
        steps, batch, width = x.shape
        qkv = self.to_qkv(self.norm1(x)).view(steps, batch, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 1, 3, 0, 4)  # each (B, heads, T, width / heads)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.p if self.training else 0.0)
        attended = attended.permute(2, 0, 1, 3).reshape(steps, batch, width)
        x = x + self.drop(self.from_heads(attended))
        return x + self.drop(self.feed(self.norm2(x)))


def _positions(start: int, stop: int, width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of positions at wavelengths from 2 pi to 20,000 pi, shape `(stop - start, width)`."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angles = torch.arange(start, stop, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
