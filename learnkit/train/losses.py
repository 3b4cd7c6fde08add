"""What is known of a loss: how it compares shapes, whether it takes a model's output whole, what its scores mean.

Known are the library's own losses (those of its targets) and PyTorch's. They compare one prediction tensor with a target,
so sizes of one are put right for them, and of a tuple they are given the first part. A loss of the user's gets what the
model returned and what the data holds, untouched, and what its scores mean is the user's to say (`activation=`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from learnkit.core.errors import check_choice
from learnkit.data.shapes import align_classes, align_values
from learnkit.data.targets import MultiCategory, Target

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Loss",
    "Reading",
    "TrainingOutput",
    "aligner",
    "check_activation",
    "gets_whole",
    "is_own",
    "loss_name",
    "read",
    "split_output",
]

Activation = Callable[[Tensor], Tensor]
Loss = Callable[[Any, Any], Tensor]

BY_CLASS = ("cross_entropy", "nll_loss", "multi_margin_loss")
BY_VALUE = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss",
    "mse_loss", "multilabel_soft_margin_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss",
)  # fmt: skip
MODULES: dict[type, str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll_loss",
    nn.MultiMarginLoss: "multi_margin_loss",
    nn.BCELoss: "binary_cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.HuberLoss: "huber_loss",
    nn.KLDivLoss: "kl_div",
    nn.L1Loss: "l1_loss",
    nn.MSELoss: "mse_loss",
    nn.MultiLabelSoftMarginLoss: "multilabel_soft_margin_loss",
    nn.PoissonNLLLoss: "poisson_nll_loss",
    nn.SmoothL1Loss: "smooth_l1_loss",
    nn.SoftMarginLoss: "soft_margin_loss",
}
FUNCTIONS: dict[Any, str] = {getattr(F, name): name for name in (*BY_CLASS, *BY_VALUE)}


class TrainingOutput(ABC):
    """What a model may return while it trains, in place of scores: it knows how a loss is applied to it.

    Examples
    --------
    >>> import torch
    >>> from learnkit import TrainingOutput
    >>> class Twice(TrainingOutput):
    ...     "Two predictions, each of which shall be good by itself."
    ...     def __init__(self, first, second):
    ...         self.both = (first, second)
    ...     def loss(self, crit, y):
    ...         return sum(crit(pred, y) for pred in self.both) / 2
    >>> Twice(torch.ones(3), torch.zeros(3)).loss(torch.nn.functional.mse_loss, torch.ones(3))
    tensor(0.5000)
    """

    @abstractmethod
    def loss(self, crit: Loss, y: Any) -> Tensor:
        """Return the loss `crit` as one number, the mean over the batch."""


def log_softmax(scores: Tensor) -> Tensor:
    """Log-probabilities of scores whose classes are axis 1."""
    return F.log_softmax(scores.float(), dim=1)


def sigmoid(scores: Tensor) -> Tensor:
    """Probabilities, each score by itself."""
    return torch.sigmoid(scores.float())


def as_they_are(scores: Tensor) -> Tensor:
    """Scores as they are, in full precision."""
    return scores.float() if scores.is_floating_point() else scores


ACTIVATIONS: dict[str, Activation] = {"log_softmax": log_softmax, "sigmoid": sigmoid, "none": as_they_are}
"""What `activation=` knows by name."""

OF_LOSS: dict[str, str] = {
    "cross_entropy": "log_softmax",
    "nll_loss": "log_softmax",  # of log-probabilities they are these again
    "binary_cross_entropy_with_logits": "sigmoid",
    "multilabel_soft_margin_loss": "sigmoid",
    "soft_margin_loss": "sigmoid",
}


def check_activation(activation: Activation | str | None) -> None:
    """Raise unless this is a function, a name that is known, or `None`."""
    if activation is not None and not callable(activation):
        check_choice("activation", activation, (*ACTIVATIONS, None))


def torch_name(crit: Any) -> str | None:
    """Return the name of a loss of PyTorch's, with its arguments bound or not; `None` for any other."""
    while isinstance(crit, partial):
        crit = crit.func
    try:
        return MODULES.get(type(crit)) or FUNCTIONS.get(crit)
    except TypeError:  # a callable that cannot be hashed
        return None


def target_of(crit: Any) -> Target | None:
    """Return the target whose loss this is."""
    owner = getattr(crit, "__self__", None)
    return owner if isinstance(owner, Target) and crit.__func__ is type(owner).loss else None


def loss_name(crit: Any) -> str:
    """Return how a loss is called in a message."""
    return f"`{getattr(crit, '__qualname__', type(crit).__name__)}`"


def is_own(crit: Any) -> bool:
    """Whether a loss is of the user's making: neither the library's nor PyTorch's."""
    target = target_of(crit)
    library = target is not None and type(target).loss.__module__.startswith("learnkit.")
    return not library and torch_name(crit) is None


def gets_whole(crit: Any, model: Any, *, regularised: bool) -> bool:
    """Whether a tuple that a model returns is its prediction, not a prediction and extra outputs.

    It is for a loss of the user's, unless the rest has another taker (`reg_fn`) or the model says what it is by an
    attribute `returns_extra`, as the library's own do.
    """
    return is_own(crit) and not regularised and not getattr(model, "returns_extra", False)


def split_output(output: Any, *, whole: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """Split what a model returns into the prediction and extra outputs: a tuple's first element and the rest.

    With `whole` the prediction is the tuple itself.
    """
    if not isinstance(output, tuple) or not output or isinstance(output, PackedSequence):
        return output, ()
    return output if whole else output[0], output[1:]


def aligner(crit: Any) -> Callable[[Any, Any], Any]:
    """Return what puts a target into the shape a loss needs: nothing, for any but PyTorch's (the library's do it themselves)."""
    name = torch_name(crit)
    if name is None:
        return _untouched
    align = align_classes if name in BY_CLASS else align_values
    return lambda pred, y: align(pred, y) if isinstance(pred, Tensor) and isinstance(y, Tensor) else y


def _untouched(pred: Any, y: Any) -> Any:
    return y


@dataclass(frozen=True)
class Reading:
    """How the scores of a model are read.

    Attributes
    ----------
    shown : callable or None
        Scores -> what `predict` returns and a metric of the user's sees; `None` leaves them as they are.
    judged : callable or None
        Scores -> what the library's metrics see.
    class_axis : int or None
        Axis of the scores that holds the classes, see `Target`.
    """

    shown: Activation | None
    judged: Activation | None
    class_axis: int | None

    def for_user(self, pred: Any) -> Any:
        """Return a model's output as `predict` returns it; what is no single tensor stays as it is."""
        return self.shown(pred) if self.shown is not None and isinstance(pred, Tensor) else pred

    def for_library(self, pred: Any, y: Any) -> tuple[Any, Any]:
        """Return output and target as the library's metrics take them: one tensor, of masks a row per place, classes last."""
        pred = pred[0] if isinstance(pred, tuple) and pred else pred
        if not isinstance(pred, Tensor):
            return pred, y
        pred = pred if self.judged is None else self.judged(pred)
        if self.class_axis is not None and pred.ndim > 2 and isinstance(y, Tensor):
            rows = pred.movedim(self.class_axis, -1).flatten(0, -2)
            if y.numel() == len(rows):
                return rows, y.reshape(-1)
        return pred, y


def read(crit: Any, target: Target | None, activation: Activation | str | None = None) -> Reading:
    """Say how scores are read: as the user said, else as target and loss have it.

    Parameters
    ----------
    crit : callable or None
        The loss; `None` where only the target is known, which then decides.
    target : Target or None
        What is predicted. Without one scores are shown as they are; the library's metrics go by the loss.
    activation : callable or str, optional
        What the user said.
    """
    if activation is not None:
        chosen = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        axis = 1 if chosen is log_softmax else getattr(getattr(chosen, "__self__", None), "class_axis", None)
        return Reading(chosen, chosen, axis)
    owner, name = target_of(crit), torch_name(crit)
    of_loss = None if name is None else ACTIVATIONS[OF_LOSS.get(name, "none")]
    of_class = 1 if name in BY_CLASS else None
    if target is None:
        if owner is not None:
            return Reading(owner.activation, owner.activation, owner.class_axis)
        return Reading(None, of_loss, of_class)
    if crit is None or owner is not None or target.classes is None:
        return Reading(target.activation, target.activation, target.class_axis)
    usual = "sigmoid" if isinstance(target, MultiCategory) else "log_softmax"
    if name is not None and OF_LOSS.get(name) == usual:
        return Reading(target.activation, target.activation, of_class)
    if (
        of_loss is None
    ):  # not known: shown as they are; the library's metrics take them for what models speak, raw scores
        return Reading(as_they_are, target.activation, target.class_axis)
    return Reading(as_they_are, of_loss, of_class)
