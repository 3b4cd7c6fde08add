"""AWD-LSTM (Merity, Keskar & Socher 2017): an LSTM regularised wherever it can be.

Dropout of whole words (embedding), of the same units at every time step (locked), of the recurrent weights (weight
drop). An encoder is a function of tokens and state, `outputs, state = encoder(x, state)`; who keeps the state between
calls is another's affair: `LanguageModel` for a stream, `TextClassifier` for the windows of a long text.

References
----------
Merity, Keskar & Socher 2017, "Regularizing and Optimizing LSTM Language Models"; Gal & Ghahramani 2016, "A Theoretically
Grounded Application of Dropout in Recurrent Neural Networks"; Inan, Khosravi & Socher 2017 and Press & Wolf 2017 for
tied weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.core.errors import check_choice
from learnkit.text.vocab import Vocab

__all__ = [
    "AWDLSTM",
    "Encoded",
    "Encoder",
    "LockedDropout",
    "WeightDropRNN",
    "WordDropout",
    "repackage_var",
    "seq2seq_reg",
]

INDEX_TYPES = (torch.int64, torch.int32)
"""Types of whole numbers that PyTorch looks up by."""

State = Any
"""What an encoder carries from one window to the next: a nest of tensors, or `None` to begin."""


@dataclass
class Encoded:
    """What an encoder gives for a window.

    Attributes
    ----------
    raw : Tensor of shape (T, B, emb_sz)
        Output of the last layer.
    dropped : Tensor of shape (T, B, emb_sz)
        The same after the output dropout; what a decoder is given.
    state : nest of Tensor or None
        For the next window.
    """

    raw: Tensor
    dropped: Tensor
    state: State


class Encoder(nn.Module, ABC):
    """What every encoder has: a table of embeddings, a width, layer groups, and how it reads a window.

    Attributes
    ----------
    embedding : WordDropout
    out_sz : int
        Width of its output.
    bs : int
        What the course's scripts set before they read one text (`m[0].bs = 1`). The state follows the batch by itself
        here, so it changes nothing.
    carries_all : bool
        Whether the state holds all that came before, so that a text in windows is read as in one piece; `False` unless an
        encoder says otherwise. Only such a one can be exported to other programs.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import Encoded, Encoder, LanguageModel, WordDropout
    >>> class Window(Encoder):
    ...     "Sees two tokens and carries nothing."
    ...     def __init__(self, n_tokens, width):
    ...         super().__init__()
    ...         self.embedding, self.out_sz = WordDropout(n_tokens, width, 0.1), width
    ...         self.conv = torch.nn.Conv1d(width, width, 2)
    ...     def forward(self, x, state=None):
    ...         h = torch.nn.functional.pad(self.embedding(x).permute(1, 2, 0), (1, 0))
    ...         h = self.conv(h).permute(2, 0, 1)
    ...         return Encoded(h, h, None)
    ...     def layer_groups(self):
    ...         return [[self.embedding], [self.conv]]
    >>> LanguageModel(Window(100, 8), 100)(torch.zeros(5, 3, dtype=torch.long))[0].shape
    torch.Size([15, 100])
    """

    embedding: WordDropout
    out_sz: int
    bs: int = 1
    carries_all: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor, state: State = None) -> Encoded:
        """Encode a window `(T, B)` that follows the one that gave `state`."""

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Module]]:
        """Return the embedding and each layer, first to last."""


class LockedDropout(nn.Module):
    """Dropout with one mask for all time steps of a batch: `(T, B, C)` keeps its shape.

    Parameters
    ----------
    p : float
        Share of the units that are dropped.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import LockedDropout
    >>> dropped = LockedDropout(0.5)(torch.ones(3, 1, 4))
    >>> bool((dropped == dropped[0]).all())
    True
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the same units dropped at every step."""
        if not self.training or not self.p:
            return x
        return x * F.dropout(x.new_ones(1, *x.shape[1:]), self.p)

    def extra_repr(self) -> str:
        """Show the share."""
        return f"p={self.p}"


class WordDropout(nn.Module):
    """An embedding that, while training, drops whole words: each is zero wherever it comes in the batch.

    Parameters
    ----------
    n_tokens, emb_sz : int
        Size of the table.
    p : float
        Share of the words that are dropped.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import WordDropout
    >>> rows = WordDropout(1000, 8, 0.5)(torch.arange(1000))
    >>> 400 < int((rows == 0).all(1).sum()) < 600
    True
    """

    def __init__(self, n_tokens: int, emb_sz: int, p: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_tokens, emb_sz).uniform_(-0.1, 0.1))
        self.p = p
        with torch.no_grad():
            self.weight[Vocab.pad] = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings of `x`, whole numbers of any type, shape `(*x.shape, emb_sz)`."""
        if x.dtype not in INDEX_TYPES and not x.is_floating_point():
            x = x.long()
        embedded = F.embedding(x, self.weight, padding_idx=Vocab.pad)
        if not self.training or not self.p:
            return embedded
        kept = F.dropout(self.weight.new_ones(len(self.weight)), self.p)
        return embedded * kept[x].unsqueeze(-1)

    def extra_repr(self) -> str:
        """Show size and share."""
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, p={self.p}"


class WeightDropRNN(nn.Module):
    """One layer of PyTorch's LSTM or GRU whose recurrent weights are dropped while training (DropConnect).

    The parameters are those of `nn.LSTM`, in `rnn`; a training pass runs PyTorch's own kernel with a masked copy of
    the recurrent ones, so that nothing is replaced or renamed.

    Parameters
    ----------
    n_in, n_hid : int
        Width of input and output.
    p : float
        Share of the recurrent weights that is dropped, anew for each call.
    kind : {"lstm", "gru"}

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import WeightDropRNN
    >>> output, state = WeightDropRNN(8, 16, 0.5)(torch.zeros(5, 2, 8))
    >>> output.shape, [part.shape for part in state]
    (torch.Size([5, 2, 16]), [torch.Size([1, 2, 16]), torch.Size([1, 2, 16])])
    """

    def __init__(self, n_in: int, n_hid: int, p: float, kind: str = "lstm") -> None:
        super().__init__()
        check_choice("rnn", kind, ("lstm", "gru"))
        self.rnn: nn.LSTM | nn.GRU = nn.LSTM(n_in, n_hid) if kind == "lstm" else nn.GRU(n_in, n_hid)
        self.p, self.kind = p, kind

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over a window.

        Parameters
        ----------
        x : Tensor of shape (T, B, n_in)
        state : tuple of Tensor of shape (1, B, n_hid), optional
            Hidden and cell state; of a GRU the hidden state only. Zero by default.

        Returns
        -------
        output : Tensor of shape (T, B, n_hid)
        state : tuple of Tensor
        """
        if state is None:
            zero = x.new_zeros(1, x.shape[1], self.rnn.hidden_size)
            state = (zero, zero) if self.kind == "lstm" else (zero,)
        if self.training and self.p:
            return self._dropped(x, state)
        output, new = self.rnn(x, state if self.kind == "lstm" else state[0])
        return output, new if self.kind == "lstm" else (new,)

    def _dropped(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights: list[Tensor] = [getattr(self.rnn, name) for name in names]
        weights[1] = F.dropout(weights[1], self.p)
        if x.is_cuda:  # cuDNN wants them to lie one behind the other
            flat = torch.cat([weight.flatten() for weight in weights]).split([weight.numel() for weight in weights])
            weights = [part.view_as(weight) for part, weight in zip(flat, weights, strict=True)]
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        rest = (True, 1, 0.0, True, False, False)
        if self.kind == "lstm":
            output, hidden, cell = torch.lstm(x, state, weights, *rest)
            return output, (hidden, cell)
        output, hidden = torch.gru(x, state[0], weights, *rest)
        return output, (hidden,)

    def extra_repr(self) -> str:
        """Show the share."""
        return f"p={self.p}"


class AWDLSTM(Encoder):
    """Encoder: embedding, then layers of LSTM (or GRU), dropout of every sort between them.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary.
    emb_sz : int
        Width of the embedding, and of the last layer.
    n_hid : int
        Width of the other layers.
    n_layers : int
    dropouti, dropout : float
        Locked dropout of the embedded input, and of the output.
    wdrop : float
        Dropout of the recurrent weights.
    dropoute : float
        Dropout of whole words.
    dropouth : float
        Locked dropout between the layers.
    rnn : {"lstm", "gru"}

    Attributes
    ----------
    out_sz : int
        Width of the output: `emb_sz`.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import AWDLSTM
    >>> encoder = AWDLSTM(100, 8, 16, 2)
    >>> encoded = encoder(torch.zeros(5, 3, dtype=torch.long))
    >>> encoded.dropped.shape
    torch.Size([5, 3, 8])
    """

    carries_all = True

    def __init__(
        self,
        n_tokens: int,
        emb_sz: int,
        n_hid: int,
        n_layers: int,
        *,
        dropouti: float = 0.05,
        dropout: float = 0.05,
        wdrop: float = 0.1,
        dropoute: float = 0.02,
        dropouth: float = 0.05,
        rnn: str = "lstm",
    ) -> None:
        super().__init__()
        self.embedding = WordDropout(n_tokens, emb_sz, dropoute)
        widths = [emb_sz, *[n_hid] * (n_layers - 1), emb_sz]
        self.layers = nn.ModuleList(WeightDropRNN(n_in, n_out, wdrop, rnn) for n_in, n_out in pairwise(widths))
        self.input_drop = LockedDropout(dropouti)
        self.hidden_drop = LockedDropout(dropouth)
        self.output_drop = LockedDropout(dropout)
        self.out_sz = emb_sz

    def forward(self, x: Tensor, state: State = None) -> Encoded:
        """Encode a window, with the layers' states of the window before; see `Encoder.forward`."""
        h = self.input_drop(self.embedding(x))
        new_state = []
        for i, layer in enumerate(self.layers):
            h, layer_state = layer(h if i == 0 else self.hidden_drop(h), None if state is None else state[i])
            new_state.append(layer_state)
        return Encoded(h, self.output_drop(h), tuple(new_state))

    def layer_groups(self) -> list[list[nn.Module]]:
        """Return the embedding and each layer, first to last."""
        return [[self.embedding], *([layer] for layer in self.layers)]


def seq2seq_reg(pred: Any, extra: tuple[Any, ...], loss: Tensor, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
    """Add a penalty for large activations (AR) and for activations that jump from token to token (TAR).

    Use it as `learn.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)`.

    Parameters
    ----------
    pred : Tensor
        Not used.
    extra : tuple of two Tensor of shape (T, B, C)
        What the model returns besides: raw and dropped output of the last layer.
    loss : Tensor
        The loss so far.
    alpha, beta : float
        Weight of the mean square of the dropped output, and of that of the raw output's steps.

    Returns
    -------
    Tensor
        The loss with the penalties.

    References
    ----------
    Merity, McCann & Socher 2017, "Revisiting Activation Regularization for Language RNNs".

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import seq2seq_reg
    >>> h = torch.ones(3, 1, 2)
    >>> seq2seq_reg(None, (h, h), torch.tensor(1.0), alpha=2, beta=1)
    tensor(3.)
    """
    raw, dropped = extra
    if alpha:
        loss = loss + alpha * dropped.float().pow(2).mean()
    if beta and len(raw) > 1:
        loss = loss + beta * (raw[1:] - raw[:-1]).float().pow(2).mean()
    return loss


def repackage_var(state: State) -> State:
    """Return what a model carries to its next window without its history, so that gradients end there.

    Parameters
    ----------
    state : Tensor, nest of tuples and lists of Tensor, or None

    Returns
    -------
    the same nest

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import repackage_var
    >>> h = torch.zeros(2, requires_grad=True) + 1
    >>> repackage_var((h, h))[0].requires_grad
    False
    """
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, list):
        return [repackage_var(part) for part in state]
    return None if state is None else tuple(repackage_var(part) for part in state)
