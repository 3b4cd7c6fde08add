"""The training loss so far, without a wait for the device."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor

__all__ = ["RunningLoss"]


class RunningLoss:
    """Losses that stay on the device until somebody asks, so that no training step waits for the device.

    Parameters
    ----------
    beta : float, default 0.98
        Weight of the past in the smoothed value.
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self._read: list[float] = []
        self._pending: list[Tensor] = []
        self._sizes: list[int] = []
        self._players: list[int] = []
        self._epoch_start = 0
        self._average, self._weight = 0.0, 0.0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def sizes(self) -> list[int]:
        """Number of items of every batch so far."""
        return self._sizes

    def start_epoch(self) -> None:
        """Begin a new `epoch_mean`."""
        self._epoch_start = len(self)

    def add(self, loss: Tensor, n_items: int = 1, player: int = 0) -> None:
        """Take note of the loss of one batch, and of the number of the player that learnt from it."""
        self._sizes.append(n_items)
        self._players.append(player)
        if loss.device.type == "cpu" and not self._pending:  # reading it waits for nothing
            self._note(loss.item())
        else:
            self._pending.append(loss.detach())

    def read(self) -> list[float]:
        """Return every loss so far, which waits for the device."""
        if self._pending:
            new = torch.stack(self._pending).tolist()
            self._pending.clear()
            for loss in new:
                self._note(loss)
        return self._read

    def _note(self, loss: float) -> None:
        self._read.append(loss)
        self._average = self.beta * self._average + (1 - self.beta) * loss
        self._weight = self.beta * self._weight + (1 - self.beta)

    def state_dict(self) -> dict[str, Any]:
        """Return every loss so far and what else `load_state_dict` needs."""
        return {
            "losses": list(self.read()),
            "sizes": list(self._sizes),
            **({"players": list(self._players)} if any(self._players) else {}),
            "epoch_start": self._epoch_start,
            "average": (self._average, self._weight),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._read, self._sizes, self._pending = state["losses"], state["sizes"], []
        self._players = state.get("players", [0] * len(self._sizes))
        self._epoch_start, (self._average, self._weight) = state["epoch_start"], state["average"]

    def smooth(self) -> float:
        """Exponentially weighted average of the losses, without the bias of its start at zero."""
        return self._average / self._weight if self.read() else math.nan

    def epoch_mean(self, player: int = 0) -> float:
        """Mean loss per item since `start_epoch`, in the turns of a player."""
        batches = zip(self.read(), self._sizes, self._players, strict=True)
        own = [(loss, n) for loss, n, whose in islice(batches, self._epoch_start, None) if whose == player]
        total = sum(n for _, n in own)
        return sum(loss * n for loss, n in own) / total if total else math.nan
