"""What text adds to the training loop: a state that is forgotten in time, a rate that fits the window, NT-ASGD."""

from __future__ import annotations

import math

from learnkit.core.errors import check_positive
from learnkit.core.layers import forget_state
from learnkit.text.language_model import LanguageModel
from learnkit.train.callbacks import WeightAverage
from learnkit.train.events import Callback, Run

__all__ = ["NTASGD", "ResetState", "ScaleRateByLength", "SkipScores"]


class ResetState(Callback):
    """Let the model forget the text before each pass: calls `model.reset()`, as `fit` does by itself."""

    def before_train(self, run: Run) -> None:
        """Begin the training text with a fresh state."""
        forget_state(run.model)

    def before_valid(self, run: Run) -> None:
        """Begin the validation text with a fresh state."""
        forget_state(run.model)


class ScaleRateByLength(Callback):
    """Make a step in proportion to its window: rate times length over `bptt` (Merity, Keskar & Socher 2017).

    Windows vary in length, and a gradient averaged over fewer tokens would otherwise weigh as much as one over more.

    Parameters
    ----------
    bptt : int
        Usual length.
    """

    def __init__(self, bptt: int) -> None:
        self.bptt = int(check_positive("bptt", bptt, integer=True))
        self._rates: list[float] | None = None

    def before_fit(self, run: Run) -> None:
        """Start anew."""
        self._rates = None

    def before_step(self, run: Run) -> None:
        """Scale the rates for this step."""
        factor = len(run.xs[0]) / self.bptt
        self._rates = [group["lr"] for group in run.opt.param_groups]
        for group, rate in zip(run.opt.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def after_batch(self, run: Run) -> None:
        """Put the rates back."""
        if self._rates is not None:
            for group, rate in zip(run.opt.param_groups, self._rates, strict=True):
                group["lr"] = rate
            self._rates = None


class SkipScores(Callback):
    """Let a language model leave its scores uncomputed while it trains: the loss does without (see `Undecoded`)."""

    def before_train(self, run: Run) -> None:
        """Begin to."""
        self._set(run, True)

    def after_train(self, run: Run) -> None:
        """Validation wants the scores."""
        self._set(run, False)

    def cleanup_fit(self, run: Run) -> None:
        """Leave the model as it was, also after an error."""
        self._set(run, False)

    def _set(self, run: Run, value: bool) -> None:
        if isinstance(run.model, LanguageModel):
            run.model.undecoded = value


class NTASGD(WeightAverage):
    """Average the weights of all steps from when the validation loss stops improving (NT-ASGD).

    The trigger is non-monotonic: the loss is not below the best of the epochs more than `patience` ago. Meant for plain
    SGD at a constant, large rate: `opt_fn=optim.SGD`, `fit(30, n)`.

    Parameters
    ----------
    patience : int, default 5
        Epochs.

    References
    ----------
    Merity, Keskar & Socher 2017, "Regularizing and Optimizing LSTM Language Models".
    """

    def __init__(self, patience: int = 5) -> None:
        super().__init__()
        self.patience = int(check_positive("patience", patience, integer=True))
        self._losses: list[float] = []
        self._triggered = False

    def before_fit(self, run: Run) -> None:
        """Forget the previous fit."""
        super().before_fit(run)
        self._losses, self._triggered = [], False

    def after_step(self, run: Run) -> None:
        """Take in the step, once triggered."""
        if self._triggered:
            self._update(run.model, 1 / (self._n + 1))

    def after_train(self, run: Run) -> None:
        """Nothing: steps are averaged, not epochs."""

    def after_epoch(self, run: Run) -> None:
        """Look whether the loss still improves."""
        loss = run.results.get("val_loss", run.results.get("trn_loss", math.nan))
        before = self._losses[: -self.patience] if len(self._losses) >= self.patience else []
        if before and not loss < min(before):
            self._triggered = True
        self._losses.append(loss)
