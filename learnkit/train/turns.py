"""The order in which the players of a fit are trained; with one, it is always that one's turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from learnkit.train.events import Run
from learnkit.train.step import Step

__all__ = ["Turns"]


class Turns:
    """Says whose step the next batch is for.

    Parameters
    ----------
    run : Run
    steps : sequence of Step
        One for each player, in the order of their turns.
    """

    def __init__(self, run: Run, steps: Sequence[Step]) -> None:
        self.run, self.steps = run, steps
        self.step = steps[0]
        self.left = self._length  # batches of this turn

    def next(self) -> Step:
        """Return the step of the player that learns from the next batch."""
        if len(self.steps) > 1:
            # Gradients that wait, as a batch was cancelled, are used first: after another's turn they would be stale.
            if self.left <= 0 and self.step.between_windows:
                self.run.opt.zero_grad(set_to_none=True)
                self._sit(self.steps[(self.step.number + 1) % len(self.steps)])
                self.left = self._length
            self.left -= 1
        return self.step

    def start_pass(self) -> None:
        """Forget what a pass before may have left of a window, which counts as a whole one."""
        for step in self.steps:
            step.waiting = 0
        self.left -= self.left % self.step.accumulate
        self._sit(self.step)

    def end_pass(self) -> None:
        """Make the step of a short last window, where the loader does not know its length."""
        if not self.step.between_windows:
            with self.step:
                self.step.update()

    def losses(self) -> dict[str, float]:
        """Return the training losses of the epoch: the last player's, as the validation has it, and each of several."""
        own = {name: self.run.running_loss.epoch_mean(i) for i, name in enumerate(loss_names(self.run))}
        return {"trn_loss": self.run.running_loss.epoch_mean(len(self.steps) - 1), **own}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each player's optimizer and scaler, and whose turn it is."""
        first, *others = [
            {"optimizer": step.player.opt.state_dict(), "scaler": step.scaler.state_dict()} for step in self.steps
        ]
        return first | ({"others": others, "turn": [self.step.number, self.left]} if others else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for step, own in zip(self.steps, [state, *state.get("others", ())], strict=True):
            step.player.opt.load_state_dict(own["optimizer"])
            step.scaler.load_state_dict(own["scaler"])
        if "turn" in state:
            number, self.left = state["turn"]
            self._sit(self.steps[number])

    @property
    def _length(self) -> int:
        return self.step.player.steps * self.step.accumulate

    def _sit(self, step: Step) -> None:
        self.step = step
        self.run.give_turn(step.player)


def loss_names(run: Run) -> tuple[str, ...]:
    """The columns of the players' losses, where there are several."""
    return tuple(f"{player.name}_loss" for player in run.players) if len(run.players) > 1 else ()
