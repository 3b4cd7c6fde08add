"""What every learner can be told by name wherever one is made, and every fit however it is called: said once, here.

A constructor, factory or fit takes `**options: Unpack[LearnerOptions]`, which type checkers read, and is decorated with
`with_options`, which puts the same options into its signature for `help`, completion and documentation.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ForwardRef, NoReturn, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from learnkit.core.old_names import in_place_of
from learnkit.data.files import PathLike
from learnkit.train.events import Callback
from learnkit.train.losses import Activation, Loss
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import LayerGroup
from learnkit.train.resume import Checkpoints

__all__ = ["CheckpointOptions", "FitOptions", "LearnerOptions", "RunOptions", "with_options"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class RunOptions(TypedDict, total=False):
    """How a learner computes; all but `device` and `compile` may be set between fits, `learn.clip = 0.3`.

    Attributes
    ----------
    device : torch.device or str, optional
        CUDA, then MPS, then CPU by default; `LEARNKIT_DEVICE` overrides.
    precision : {"fp32", "bf16", "fp16"}, default "fp32"
        Arithmetic of the forward pass, see `fit`.
    accumulate : int, default 1
        Batches per optimizer step.
    channels_last : bool, default False
        Memory layout of pictures and convolutions.
    compile : bool or str, default False
        Run the model through `torch.compile`; a string names the backend.
    activation : callable or {"log_softmax", "sigmoid", "none"}, optional
        What turns the model's scores into what `predict` returns and metrics see. By default the target and the loss
        decide; what belongs to a loss of your own is not known, so scores of classes are then left as they are
        (`activation=data.target.activation` where it is as usual).
    clip : float, optional
        Largest gradient norm; larger ones are scaled down.
    reg_fn : callable, optional
        `reg_fn(pred, extra, loss)` -> loss with a penalty.
    """

    device: torch.device | str | None
    precision: str
    accumulate: int
    channels_last: bool
    compile: bool | str
    activation: Activation | str | None
    clip: float | None
    reg_fn: Callable[[Any, tuple[Any, ...], Tensor], Tensor] | None


class LearnerOptions(RunOptions, total=False):
    """What every factory of learners takes besides `opt_fn` and `metrics`; with the options of `RunOptions`.

    Attributes
    ----------
    crit : callable, optional
        `crit(pred, y)` -> scalar tensor; the loss of what is predicted by default.
    callbacks : sequence of Callback, optional
        Used in every fit.
    splitter : callable, optional
        `splitter(model)` -> layer groups, a list of lists of modules.
    """

    crit: Loss | None
    callbacks: Sequence[Callback] | None
    splitter: Callable[[nn.Module], Sequence[LayerGroup]] | None


class CheckpointOptions(TypedDict, total=False):
    """How a fit is kept on disk while it runs, so that `resume` can go on with it.

    Attributes
    ----------
    checkpoint : path-like, optional
        Folder to keep checkpoints of this fit in; `resume` goes on from the newest one.
    every : int or timedelta, default 10 minutes
        Batches, or time, from one checkpoint to the next.
    keep : int, default 2
        How many checkpoints are kept.
    """

    checkpoint: PathLike | Checkpoints | None
    every: int | timedelta
    keep: int


class FitOptions(CheckpointOptions, total=False):
    """What every fit takes; with the options of `CheckpointOptions`.

    Attributes
    ----------
    metrics : sequence, optional
        Instead of the learner's, for this fit.
    callbacks : sequence of Callback, optional
        Besides the learner's, for this fit.
    best_save_name : str, optional
        Save the weights of the epoch with the lowest validation loss (training loss without validation).
    """

    metrics: Sequence[MetricLike] | None
    callbacks: Sequence[Callback] | None
    best_save_name: str | None


RUN_DEFAULTS: RunOptions = {"precision": "fp32", "accumulate": 1, "channels_last": False, "compile": False}
CHECKPOINT_DEFAULTS: CheckpointOptions = {"every": timedelta(minutes=10), "keep": 2}
DEFAULTS: dict[str, Any] = {**RUN_DEFAULTS, **CHECKPOINT_DEFAULTS}
"""Of the options whose default is not `None`."""

_KINDS = {f"Unpack[{kind.__name__}]": kind for kind in (RunOptions, LearnerOptions, CheckpointOptions, FitOptions)}


def with_options(fn: Fn) -> Fn:
    """Show the options a function takes as `**options: Unpack[...]` in its signature, and refuse those that it has not.

    Raises
    ------
    TypeError
        When it is called with an option that there is not; the nearest one is named.

    Examples
    --------
    >>> import inspect
    >>> from learnkit import Learner
    >>> inspect.signature(Learner).parameters["precision"].default
    'fp32'
    >>> Learner(None, None, precison="bf16")
    Traceback (most recent call last):
    ...
    TypeError: Learner() has no option `precison`; did you mean `precision`?
    """
    signature = inspect.signature(fn)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    kind = _KINDS[next(p.annotation for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD)]
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS.get(name), annotation=_text(annotation)
        )
        for name, annotation in kind.__annotations__.items()
    ]
    known = {p.name for p in (*own, *options)}
    where = fn.__qualname__.removesuffix(".__init__")

    def refuse(name: str) -> NoReturn:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(p.name for p in options)}."
        raise TypeError(f"{where}() has no option `{name}`; {hint}")

    def call(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                refuse(name)
        return fn(*args, **kwargs)

    shown = in_place_of(fn, call)
    shown.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return shown


def _text(annotation: Any) -> Any:
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
