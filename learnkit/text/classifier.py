"""A classifier on a language model's encoder (ULMFiT, Howard & Ruder 2018).

A text is read in windows, the encoder's state carried along, so memory does not grow with its length; only the last
`max_sl` tokens are learnt from. Three vectors describe the text: the last output, and maximum and mean over all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learnkit.core.errors import ExportError, check_positive
from learnkit.core.layers import bn_drop_lin
from learnkit.text.awd_lstm import Encoder, State, repackage_var
from learnkit.text.vocab import Vocab

__all__ = ["PoolingHead", "TextClassifier"]


class TextClassifier(nn.Module):
    """Encoder, pooling and head: `(T, B)` token numbers to `(B, c)` scores.

    Texts of a batch may end anywhere; padding at their end changes nothing. If the longest is longer than `max_sl`, each
    is moved down by whole windows so that all end in the last one: every text then begins at the start of a window with
    a fresh state, and at least its last `max_sl` tokens are learnt from.

    Parameters
    ----------
    encoder : Encoder
        With a state of zeros to begin, as `AWDLSTM` has.
    c : int
        Number of scores.
    max_sl : int, default 1400
        Tokens at the end of a text that gradients reach, rounded up to whole windows.
    bptt : int, default 70
        Tokens in a window.
    head_sz : int, default 50
        Width of the head's hidden layer.
    ps : tuple of float, default (0.4, 0.1)
        Dropout of the head's two layers.

    References
    ----------
    Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification".

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import AWDLSTM, TextClassifier
    >>> model = TextClassifier(AWDLSTM(100, 8, 16, 2), 2)
    >>> scores, raw, dropped = model(torch.randint(2, 100, (30, 4)))
    >>> scores.shape
    torch.Size([4, 2])
    """

    returns_extra = True  # the scores, and what `seq2seq_reg` needs

    def __init__(
        self,
        encoder: Encoder,
        c: int,
        max_sl: int = 1400,
        bptt: int = 70,
        *,
        head_sz: int = 50,
        ps: tuple[float, float] = (0.4, 0.1),
    ) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.head = PoolingHead(encoder.out_sz, c, head_sz, ps)
        self.bptt = int(check_positive("bptt", bptt, integer=True))
        self.max_sl = int(check_positive("max_sl", max_sl, integer=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score texts.

        Parameters
        ----------
        x : Tensor of int64, shape (T, B)
            Padded at the end with `Vocab.pad`.

        Returns
        -------
        scores : Tensor of shape (B, c)
        raw, dropped : Tensor of shape (last windows, B, out_sz)
            The encoder's output over the windows that are learnt from, for `seq2seq_reg`.
        """
        first_row = None  # where each text begins, if not all at once
        if len(x) > self.max_sl:
            x, first_row = _end_in_last_window(x, self.bptt)
        pooled = Pooled()
        state: State = None
        raws, drops = [], []
        last_window = (len(x) - 1) // self.bptt * self.bptt
        learnt_from = max(last_window + 1 - self.max_sl, 0) // self.bptt * self.bptt
        for start in range(0, len(x), self.bptt):
            window = x[start : start + self.bptt]
            real = window != Vocab.pad
            with torch.set_grad_enabled(torch.is_grad_enabled() and start >= learnt_from):
                if state is not None and first_row is not None:
                    state = _only_begun(state, first_row < start)
                encoded = self.encoder(window, state)
                pooled.add(encoded.dropped, real)
            # Whole windows are the steps of a stream: gradients pass from one to the next while they are learnt from.
            state = encoded.state if start >= learnt_from else repackage_var(encoded.state)
            if start >= learnt_from:
                raws.append(encoded.raw)
                drops.append(encoded.dropped)
        return self.head(pooled.vector()), torch.cat(raws), torch.cat(drops)

    def in_one_piece(self) -> nn.Module:
        """Return a module of the same layers that reads a text at once, without windows, and gives its scores only.

        Raises
        ------
        ExportError
            If the encoder sees but a part of what was before a window: in one piece it would predict otherwise.
        """
        if not self.encoder.carries_all:
            raise ExportError(
                f"a text classifier on {type(self.encoder).__name__} cannot be exported to other programs: it reads a text in windows "
                f"of {self.bptt} tokens, which the formats do not have, and in one piece it would predict otherwise. Use an LSTM or "
                "GRU; an encoder of your own whose state holds all that came before says so by `carries_all = True`."
            )
        return WholeText(self.encoder, self.head)

    def __getitem__(self, i: int) -> nn.Module:
        """Return the encoder, `m[0]`, or the head, `m[1]`, as the course's scripts name them."""
        return (self.encoder, self.head)[i]

    def get_layer_groups(self) -> list[list[nn.Module]]:
        """Return embedding, each layer of the encoder, head."""
        return [*self.encoder.layer_groups(), [self.head]]


class WholeText(nn.Module):
    """A text classifier without windows, for the formats of other programs: `(T, B)` token numbers to `(B, c)` scores."""

    def __init__(self, encoder: Encoder, head: PoolingHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        """Score texts, padded at the end."""
        pooled = Pooled()
        pooled.add(self.encoder(x, None).dropped, x != Vocab.pad)
        scores: Tensor = self.head(pooled.vector())
        return scores


class PoolingHead(nn.Sequential):
    """Batch norm, dropout, linear, ReLU, then batch norm, dropout, linear to the scores.

    Parameters
    ----------
    n_in : int
        Width of the encoder; the head is given three such vectors.
    c : int
        Number of scores.
    head_sz : int
        Width of the hidden layer.
    ps : tuple of float
        Dropout of the two layers.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import PoolingHead
    >>> PoolingHead(8, 2, 50, (0.4, 0.1))(torch.zeros(4, 24)).shape
    torch.Size([4, 2])
    """

    def __init__(self, n_in: int, c: int, head_sz: int, ps: tuple[float, float]) -> None:
        super().__init__(
            *bn_drop_lin(3 * n_in, head_sz, p=ps[0], relu=True),
            *bn_drop_lin(head_sz, c, p=ps[1]),
        )


class Pooled:
    """Last, maximum and mean of what the encoder gave so far, over the real tokens only."""

    def __init__(self) -> None:
        self.last: Tensor | None = None
        self.largest: Tensor | None = None
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def add(self, output: Tensor, real: Tensor) -> None:
        """Take in a window: outputs `(T, B, C)` and which of them are of real tokens, `(T, B)`."""
        mask = real.unsqueeze(-1)
        output = output.float()
        largest = output.masked_fill(~mask, -torch.inf).amax(0)
        total, count = (output * mask).sum(0), mask.sum(0)
        at_end = (count.squeeze(-1) - 1).clamp(min=0)  # real tokens come first in a window
        last = output[at_end, torch.arange(output.shape[1], device=output.device)]
        if self.last is None or self.largest is None or self.total is None or self.count is None:
            self.last, self.largest, self.total, self.count = last, largest, total, count
            return
        self.last = torch.where(count > 0, last, self.last)
        self.largest = torch.maximum(self.largest, largest)
        self.total, self.count = self.total + total, self.count + count

    def vector(self) -> Tensor:
        """Return last, maximum and mean side by side, shape `(B, 3 C)`; zeros for a text without tokens."""
        if self.last is None or self.largest is None or self.total is None or self.count is None:
            raise ValueError("there is nothing to pool: the batch has no tokens.")
        some = self.count > 0
        parts = (self.last, self.largest, self.total / self.count.clamp(min=1))
        return torch.cat([part.masked_fill(~some, 0.0) for part in parts], dim=1)


def _end_in_last_window(x: Tensor, bptt: int) -> tuple[Tensor, Tensor]:
    """Move each column down by whole windows until it ends in the last; also return where each begins, `(B,)`."""
    n_windows = -(-len(x) // bptt)
    rows = torch.arange(n_windows * bptt, device=x.device)[:, None]
    lengths = (rows[: len(x)] + 1).mul(x != Vocab.pad).amax(0)
    first_row = (n_windows - 1 - (lengths - 1).clamp(min=0) // bptt) * bptt
    from_row = rows - first_row
    moved = x.gather(0, from_row.clamp(0, len(x) - 1))
    return moved.masked_fill((from_row < 0) | (from_row >= len(x)), Vocab.pad), first_row


def _only_begun(state: State, begun: Tensor) -> State:
    """Return the state, zero where a text has not begun: it has only seen padding."""
    if isinstance(state, Tensor):
        return state * begun.view(1, -1, *[1] * (state.ndim - 2)).to(state.dtype)
    return tuple(_only_begun(part, begun) for part in state)
