"""`EncoderSettings`: what an encoder is made of, as data, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from learnkit.core.errors import DataError, check_choice
from learnkit.text.awd_lstm import AWDLSTM, Encoder
from learnkit.text.transformer import TransformerEncoder

__all__ = ["EncoderSettings"]

ARCHS = ("lstm", "gru", "transformer")
MOST_LAYERS = 100  # a saved description may claim any number


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder is made of.

    Attributes
    ----------
    arch : {"lstm", "gru", "transformer"}
    emb_sz, n_hid, n_layers : int
    dropouti, dropout, wdrop, dropoute, dropouth : float
        See `AWDLSTM`.
    """

    arch: str
    emb_sz: int
    n_hid: int
    n_layers: int
    dropouti: float
    dropout: float
    wdrop: float
    dropoute: float
    dropouth: float

    def __post_init__(self) -> None:
        check_choice("arch", self.arch, ARCHS)
        for name in ("emb_sz", "n_hid", "n_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` must be a positive whole number; got {value!r}.")
        if self.n_layers > MOST_LAYERS:
            raise ValueError(f"`n_layers` must be at most {MOST_LAYERS}; got {self.n_layers}.")
        for name in ("dropouti", "dropout", "wdrop", "dropoute", "dropouth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1); got {value!r}.")

    def build(self, n_tokens: int) -> Encoder:
        """Make the encoder for a vocabulary of so many tokens."""
        sizes = (n_tokens, self.emb_sz, self.n_hid, self.n_layers)
        if self.arch == "transformer":
            return TransformerEncoder(
                *sizes, dropouti=self.dropouti, dropout=self.dropout, dropoute=self.dropoute, dropouth=self.dropouth
            )
        return AWDLSTM(
            *sizes,
            dropouti=self.dropouti,
            dropout=self.dropout,
            wdrop=self.wdrop,
            dropoute=self.dropoute,
            dropouth=self.dropouth,
            rnn=self.arch,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> EncoderSettings:
        """Read what `to_dict` gave."""
        names = {field.name for field in fields(cls)}
        if set(saved) != names:
            raise DataError(f"an encoder is described by {', '.join(sorted(names))}; got {', '.join(sorted(saved))}.")
        return cls(**saved)
