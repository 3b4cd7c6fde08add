"""What is looked at once per fit, on the first batch, before anything is changed by it.

Whether a loss or a metric of the user's only broadcasts predictions against targets, whether the model already ends in the
activation that is applied to its scores, and whether what a metric of another library computes can be shown. Nothing is
left behind: no gradient, no random draw, and the step that follows is the one that would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from learnkit.core.device import to_np
from learnkit.core.errors import TrainingError
from learnkit.core.preserve import preserve_rng
from learnkit.data.shapes import differ_by_ones
from learnkit.train.events import Run
from learnkit.train.foreign import Foreign
from learnkit.train.losses import Reading, is_own, log_softmax, loss_name, sigmoid
from learnkit.train.metric import Metric
from learnkit.train.metrics import figures_of

__all__ = ["FirstLook"]

TRIES = 8
"""Batches after which a loss that could not be judged is let go: the targets of each were all the same."""
FEWEST_SCORES = 16
"""Scores from which on it is no chance that all lie between 0 and 1."""


class FirstLook:
    """Looks at the first batches of a fit until all is known that there is to know.

    Parameters
    ----------
    crit : callable
    reading : Reading
    scorers : sequence of Metric
    """

    def __init__(self, crit: Any, reading: Reading, scorers: Sequence[Metric]) -> None:
        self.crit, self.reading, self.scorers = crit, reading, scorers
        self.undecided: list[Any] = [*([crit] if is_own(crit) else []), *(s for s in scorers if not s.aligns)]
        self.tries = 0
        self.waiting = True

    def __call__(self, run: Run) -> None:
        """Look at a batch whose loss has been computed.

        Raises
        ------
        TrainingError
            If a loss or metric only broadcasts, or a metric cannot be shown.
        """
        first, self.tries = not self.tries, self.tries + 1
        with torch.no_grad(), preserve_rng():
            if first and run.training:
                self._remark_activation(run)
                self._rehearse(run)
            self.undecided = [one for one in self.undecided if not self._decided(run, one)]
        self.waiting = bool(self.undecided) and self.tries < TRIES

    def _decided(self, run: Run, judge: Any) -> bool:
        """Judge a loss or metric of the user's, if the batch allows it."""
        pred, y = run.pred, run.y
        if not (isinstance(pred, Tensor) and isinstance(y, Tensor)):
            return True
        if isinstance(judge, Metric):
            pred = self.reading.for_user(pred)
        if not differ_by_ones(pred.shape, y.shape):
            return True
        verdict = only_broadcasts(judge, pred.detach(), y)
        if verdict:
            what = f"metric {judge.name!r}" if isinstance(judge, Metric) else f"loss {loss_name(judge)}"
            remedy = (
                "a metric by its name"
                if isinstance(judge, Metric)
                else "`F.mse_loss` itself, without a function around it"
            )
            raise TrainingError(
                f"the {what} compares every prediction with every target: the model gave {tuple(pred.shape)}, the target is "
                f"{tuple(y.shape)}, and its value stays the same when the targets are shuffled, so nothing can be learned "
                f"from it. Bring both into one shape in it (`pred.squeeze(1)`, or `y[:, None]`), give the data targets of the "
                f"model's shape, or use {remedy}: the library's losses and metrics put sizes of one right."
            )
        return verdict is not None

    def _remark_activation(self, run: Run) -> None:
        pred = run.pred[0] if isinstance(run.pred, tuple) and run.pred else run.pred
        if not isinstance(pred, Tensor) or not pred.is_floating_point() or self.reading.judged is None or pred.ndim < 2:
            return
        kind = _kind(self.reading.judged, pred)
        inside = bool(((pred > 0) & (pred < 1) if kind == "sigmoid" else (pred >= 0) & (pred <= 1)).all())
        if kind == "softmax" and inside and bool(((pred.float().sum(1) - 1).abs() < 1e-3).all()) and pred.shape[1] > 1:
            run.remark(
                "the model's outputs are probabilities already: those of each item add up to 1, as after a softmax. They are "
                "taken for raw scores, so a softmax is applied twice and the model learns slowly and badly. Leave the "
                "softmax at the end of the model out (a log-softmax may stay)."
            )
        elif kind == "sigmoid" and inside and pred.numel() >= FEWEST_SCORES and float(pred.std()) > 0:
            run.remark(
                "the model's outputs all lie between 0 and 1, as after a sigmoid. They are taken for raw scores, so a sigmoid "
                "is applied twice. Leave the sigmoid at the end of the model out, or "
                "pass `crit=F.binary_cross_entropy`, which takes probabilities."
            )

    def _rehearse(self, run: Run) -> None:
        """Find the columns of metrics of other libraries, and refuse what cannot be shown."""
        for scorer in self.scorers:
            if not isinstance(scorer, Foreign) or isinstance(run.pred, tuple | list | dict):
                continue
            pair = (
                self.reading.for_library(run.pred, run.y) if scorer.aligns else (self.reading.for_user(run.pred), run.y)
            )
            try:
                found = scorer.rehearse(*pair)
            except TrainingError:
                raise
            except Exception:  # of a single batch, with a model in training mode, it may not be defined
                continue
            run.note_columns(figures_of([scorer]), found)


def only_broadcasts(judge: Callable[[Any, Any], Any], pred: Tensor, y: Tensor) -> bool | None:
    """Say whether a loss or metric compares all predictions with all targets, for shapes that differ by sizes of one.

    It does if shuffling the targets changes nothing, though it would if the shapes were the same. `None` if that cannot be
    told: the targets of the batch, or the predictions, are all the same, or it cannot be computed here.
    """
    n = y.numel()
    orders = [order for order in _orders(len(y) if y.ndim else 1, y.device) if not torch.equal(y[order], y)]
    if n < 2 or not orders:
        return None
    try:
        as_given = _spread(judge, pred, [y, *(y[order] for order in orders)])
    except Exception:
        return None
    if as_given > 1e-4:
        return False
    spreads = []
    for aligned_pred, shape in ((pred, pred.shape), (pred.reshape(y.shape), y.shape)):
        try:
            spreads.append(
                _spread(judge, aligned_pred, [x.reshape(shape) for x in (y, *(y[order] for order in orders))])
            )
        except Exception:  # it wants the shapes as they are
            continue
    if not spreads or max(spreads) < 1e-5:
        return None
    return as_given < 1e-2 * max(spreads)  # what moves is no more than rounding


def _orders(n: int, device: torch.device) -> Iterable[Tensor]:
    """Return a few orders of `n` items, the same ones every time."""
    numbers = torch.arange(n, device=device)
    generator = torch.Generator().manual_seed(0)
    return numbers.roll(1), numbers.flip(0), torch.randperm(n, generator=generator).to(device)


def _spread(judge: Callable[[Any, Any], Any], pred: Tensor, targets: Sequence[Tensor]) -> float:
    """Return how much the value moves between targets, relative to its size."""
    values = []
    for y in targets:
        with preserve_rng():  # a loss that draws shall draw the same for each
            values.append(_numbers(judge(pred.clone(), y.clone())))
    table = torch.tensor(values, dtype=torch.float64)
    if not bool(table.isfinite().all()):
        raise ValueError("not finite")
    return float(((table - table[0]).abs() / table.abs().amax(0).clamp(min=1e-12)).max())


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for part in value.values() for x in _numbers(part)]
    if isinstance(value, tuple | list):
        return [x for part in value for x in _numbers(part)]
    value = to_np(value)
    return [float(x) for x in value.reshape(-1)] if hasattr(value, "reshape") else [float(value)]


def _kind(activation: Callable[[Tensor], Tensor], scores: Tensor) -> str:
    """Return which activation this is, of those that must not be applied twice: told by what it does."""
    given = activation(scores)
    for kind, known in (("softmax", log_softmax), ("sigmoid", sigmoid)):
        expected = known(scores)
        if given.shape == expected.shape and torch.allclose(given, expected):
            return kind
    return ""
