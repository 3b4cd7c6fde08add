"""Who is trained: one player as a rule, or several that take turns, as the critic and the generator of a GAN do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from learnkit.core.errors import TrainingError, check_positive
from learnkit.core.listing import check_list
from learnkit.train.trainable import check_trains, parameters

__all__ = ["Player", "as_players", "check_players"]


@dataclass(frozen=True, eq=False)
class Player:
    """A part of the model with an optimizer and a loss of its own, trained in turn with others: `fit(..., players=[...])`.

    In its turn the parameters that the others' optimizers hold need no gradient, so neither `detach` nor `requires_grad_`
    has to be written. Each player has its own windows of accumulation and its own scale of fp16.

    Parameters
    ----------
    name : str
        What its loss is called in the table: `critic_loss` for `"critic"`.
    opt : torch.optim.Optimizer
        Over its parameters, which are in no other player's optimizer.
    crit : callable
        `crit(pred, y)` -> scalar tensor, as for `fit`.
    forward : callable, optional
        `forward(*xs)` -> `pred`, a method of the model as a rule. By default the model itself.
    steps : int, default 1
        Steps of its optimizer in a turn: `steps` batches, times `accumulate`. A batch that a callback cancels counts. Turns
        go on from one epoch to the next.
    clip : float, optional
        Scale its gradients down to this norm; by default as the fit has it.

    Examples
    --------
    >>> import torch
    >>> from torch import nn, optim
    >>> from learnkit import DataBunch, Player, fit
    >>> class GAN(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.generator, self.critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    ...     def forward(self, x):
    ...         return self.generator(torch.randn(len(x), 4))
    ...     def both(self, x):
    ...         return self.critic(x), self.critic(self(x))
    ...     def faked(self, x):
    ...         return self.critic(self(x))
    >>> gan, x = GAN(), torch.randn(64, 2)
    >>> critic = Player(
    ...     "critic", optim.RMSprop(gan.critic.parameters()), lambda pred, y: (pred[1] - pred[0]).mean(), gan.both, steps=3
    ... )
    >>> generator = Player("generator", optim.RMSprop(gan.generator.parameters()), lambda pred, y: -pred.mean(), gan.faked)
    >>> data = DataBunch(".", list(zip(x.split(8), x.split(8))))
    >>> list(fit(gan, data, 1, players=[critic, generator], progress=False))
    ['trn_loss', 'critic_loss', 'generator_loss']
    """

    name: str
    opt: Optimizer
    crit: Callable[[Any, Any], Any]
    forward: Callable[..., Any] | None = None
    steps: int = 1
    clip: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"the `name` of a player must be a word, such as 'critic'; got {self.name!r}.")
        if isinstance(self.crit, type):
            raise TypeError(f"`crit` is the class {self.crit.__name__}; pass an instance, {self.crit.__name__}().")
        check_positive("steps", self.steps, integer=True)
        if self.clip is not None:
            check_positive("clip", self.clip)


def as_players(
    players: Sequence[Player] | None, opt: Optimizer | None, crit: Callable[[Any, Any], Any] | None
) -> tuple[Player, ...]:
    """Return the players of a fit, which is called with several, or with the optimizer and the loss of the only one."""
    if players is None:
        if opt is None or crit is None:
            raise TypeError("`fit` needs an optimizer and a loss, `opt` and `crit`, or several of both as `players`.")
        return (Player("only", opt, crit),)
    if opt is not None or crit is not None:
        raise TypeError("each of the `players` has its own `opt` and `crit`; leave those of `fit` out.")
    chosen = tuple(check_list("players", players, "players"))
    if not chosen or not all(isinstance(player, Player) for player in chosen):
        raise TypeError(f"`players` must hold one `Player` or more; got {players!r}.")
    names = [player.name for player in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"players must differ in their names; got {', '.join(names)}.")
    return chosen


def check_players(model: nn.Module, players: Sequence[Player], others: Sequence[Any]) -> str | None:
    """Raise unless each player trains something that no other does; return what may be meant but usually is not.

    `others` are the callbacks, which may have parameters in an optimizer, too.
    """
    if len(players) == 1:
        return check_trains(model, players[0].opt, (players[0].crit, *others))
    owner: dict[int, str] = {}
    for player in players:
        try:
            check_trains(model, player.opt, (player.crit, *others))
        except (TrainingError, TypeError) as exc:
            raise type(exc)(f"player {player.name!r}: {exc}") from exc
        own = {id(p) for p in parameters(player.opt)}
        if shared := own & set(owner):
            named = [name for name, p in model.named_parameters() if id(p) in shared]
            raise TrainingError(
                f"the optimizers of the players {owner[shared.pop()]!r} and {player.name!r} share parameters: "
                f"{', '.join(named[:3])}{', ...' if len(named) > 3 else ''}. Make each over the parameters of its own part, "
                "`optim.Adam(model.generator.parameters())`."
            )
        owner |= dict.fromkeys(own, player.name)
    return None
