"""`LanguageModel`: an encoder and a decoder for a stream of text, which remembers where the stream was."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.text.awd_lstm import Encoder, State, repackage_var
from learnkit.text.next_token import NextToken
from learnkit.train.losses import Loss, TrainingOutput

__all__ = ["LanguageModel", "Undecoded"]

CHUNKED: Any = getattr(nn, "LinearCrossEntropyOptions", None)
"""What asks PyTorch for a cross-entropy whose scores are never all in memory; older versions have none."""
if "batch_chunk_size" not in getattr(CHUNKED, "__dataclass_fields__", ()):
    CHUNKED = None

AT_A_TIME = 1 << 22
"""Scores in memory at a time: 16 MB stay in or near the cache, and the matrix products are large enough to be fast."""


class LanguageModel(nn.Module):
    """Encoder and decoder for a stream of text: scores for the next token at every place.

    The encoder's state is carried from batch to batch, without its gradients; `reset` forgets it, and so does a
    batch of another size.

    Parameters
    ----------
    encoder : Encoder
    n_tokens : int
        Size of the vocabulary.
    tie_weights : bool, default True
        Let the decoder use the embedding's table.

    Attributes
    ----------
    undecoded : bool
        Return `Undecoded` instead of the scores while training, as `LanguageLearner` wants it. `False` by default.

    Examples
    --------
    >>> import torch
    >>> from learnkit.text import AWDLSTM, LanguageModel
    >>> model = LanguageModel(AWDLSTM(100, 8, 16, 2), 100)
    >>> scores, raw, dropped = model(torch.zeros(5, 3, dtype=torch.long))
    >>> scores.shape
    torch.Size([15, 100])
    """

    returns_extra = True  # the scores, and what `seq2seq_reg` needs

    def __init__(self, encoder: Encoder, n_tokens: int, tie_weights: bool = True) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.decoder = nn.Linear(encoder.out_sz, n_tokens)
        if tie_weights:
            self.decoder.weight = encoder.embedding.weight
        else:
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.undecoded = False
        self.state: State = None

    def __getitem__(self, i: int) -> nn.Module:
        """Return the encoder, `m[0]`, or the decoder, `m[1]`, as the course's scripts name them."""
        return (self.encoder, self.decoder)[i]

    def get_layer_groups(self) -> list[list[nn.Module]]:
        """Return each layer, then embedding and decoder, which share their table and learn new words first."""
        embedding, *layers = self.encoder.layer_groups()
        return [*layers, [*embedding, self.decoder]]

    def reset(self) -> None:
        """Forget the text so far."""
        self.state = None

    def forward(self, x: Tensor) -> tuple[Tensor | Undecoded, Tensor, Tensor]:
        """Score the next token at every place of a window.

        Parameters
        ----------
        x : Tensor of int64, shape (T, B)

        Returns
        -------
        scores : Tensor of shape (T * B, n_tokens), or Undecoded
        raw, dropped : Tensor of shape (T, B, out_sz)
            The encoder's output before and after dropout, for `seq2seq_reg`.
        """
        state = self.state if _batch_size(self.state) == x.shape[1] else None
        encoded = self.encoder(x, state)
        self.state = repackage_var(encoded.state)
        hidden = encoded.dropped.flatten(0, 1)
        scores = Undecoded(hidden, self.decoder) if self.undecoded and self.training else self.decoder(hidden)
        return scores, encoded.raw, encoded.dropped

    def next_scores(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Score what follows a window, leaving the model's own state alone.

        Parameters
        ----------
        x : Tensor of int64, shape (T, B)
        state : nest of Tensor, optional

        Returns
        -------
        scores : Tensor of shape (B, n_tokens)
        state : nest of Tensor
        """
        encoded = self.encoder(x, state)
        return self.decoder(encoded.dropped[-1]), encoded.state


class Undecoded(TrainingOutput):
    """The scores of a window before the decoder, whose cross-entropy can be had without a table of tokens x words.

    That table is most of a step's memory, and writing and reading it a good part of its time. Another loss than
    cross-entropy gets the scores.

    Parameters
    ----------
    hidden : Tensor of shape (n, width)
    decoder : nn.Linear
        To `n_tokens` scores.

    Examples
    --------
    >>> import torch
    >>> import torch.nn.functional as F
    >>> from learnkit.text.language_model import Undecoded
    >>> pred = Undecoded(torch.zeros(3, 8), torch.nn.Linear(8, 100))
    >>> y = torch.tensor([1, 2, 3])
    >>> bool(torch.isclose(pred.loss(F.cross_entropy, y), F.cross_entropy(pred.scores(), y)))
    True
    """

    def __init__(self, hidden: Tensor, decoder: nn.Linear) -> None:
        self.hidden, self.decoder = hidden, decoder

    def scores(self) -> Tensor:
        """Return the scores, shape `(n, n_tokens)`."""
        scores: Tensor = self.decoder(self.hidden)
        return scores

    def loss(self, crit: Loss, y: Any) -> Tensor:
        """Return the loss, in pieces of the window where PyTorch knows how."""
        usual = crit is F.cross_entropy or getattr(crit, "__func__", None) is NextToken.loss
        # It knows nothing of autocast: in bfloat16 it would sum up in bfloat16, too.
        if not usual or CHUNKED is None or torch.is_autocast_enabled(self.hidden.device.type):
            return crit(self.scores(), y)
        weight, bias = self.decoder.weight, self.decoder.bias
        rows = min(max(AT_A_TIME // len(weight), 1), len(self.hidden))
        options = CHUNKED(batch_chunk_size=rows)
        loss: Tensor = F.linear_cross_entropy(self.hidden, weight, y, linear_bias=bias, options=options)
        return loss


def _batch_size(state: State) -> int | None:
    while isinstance(state, tuple):
        state = state[0]
    return None if state is None else int(state.shape[1])
