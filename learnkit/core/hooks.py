"""Looking inside a model while it runs: forward hooks that remove themselves, output sizes, the summary.

Every hook here is a context manager, so none is left behind when something fails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from learnkit.core.device import map_tensors, to_device
from learnkit.core.layers import model_device, set_train_mode
from learnkit.core.listing import one_or_list
from learnkit.core.preserve import evaluating, preserve_rng, preserve_states

__all__ = [
    "ActivationStats",
    "LayerSummary",
    "ModelSummary",
    "SaveFeatures",
    "output_shape",
    "summarize",
]


class SaveFeatures:
    """Keep the output of a module each time it runs.

    Works as in the course, `sf = SaveFeatures(m[-4]); m(x); sf.remove()`, and as a context manager.

    Parameters
    ----------
    module : nn.Module
        The layer to listen to.
    detach : bool, default True
        Keep the output without its gradient graph. Pass `False` to differentiate through it (Grad-CAM).

    Attributes
    ----------
    features : Tensor or None
        The latest output, `None` before the first run.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from learnkit import SaveFeatures
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> with SaveFeatures(model[1]) as sf:
    ...     _ = model(torch.zeros(3, 4))
    >>> sf.features.shape
    torch.Size([3, 8])
    """

    def __init__(self, module: nn.Module, *, detach: bool = True) -> None:
        self.features: Any = None
        self.detach = detach
        self._handle = module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.features = map_tensors(lambda x: x.detach(), output) if self.detach else output

    def remove(self) -> None:
        """Stop listening; `features` stays readable."""
        self._handle.remove()

    def __enter__(self) -> SaveFeatures:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.remove()


class ActivationStats:
    """Record mean, standard deviation and share of near-zero values of several layers' outputs, run by run.

    Parameters
    ----------
    modules : sequence of nn.Module
        The layers to watch.
    near_zero : float, default 0.05
        Absolute value below which an activation counts as near zero.

    Attributes
    ----------
    stats : list of list of tuple of float
        `stats[layer][run]` is `(mean, std, near_zero_share)`.

    Examples
    --------
    >>> import torch
    >>> from learnkit import ActivationStats
    >>> relu = torch.nn.ReLU()
    >>> with ActivationStats([relu]) as watch:
    ...     _ = relu(torch.tensor([-1.0, 4.0]))
    >>> watch.stats
    [[(2.0, 2.0, 0.5)]]
    """

    def __init__(self, modules: Sequence[nn.Module] | nn.Sequential, *, near_zero: float = 0.05) -> None:
        self.near_zero = near_zero
        one = isinstance(modules, nn.Module) and not isinstance(modules, Iterable)
        layers = one_or_list("modules", modules, "modules", lambda value: one)
        for layer in layers:
            if not isinstance(layer, nn.Module):
                raise TypeError(f"`modules` must be a list of modules; it holds {layer!r:.60}.")
        self._pending: list[list[Tensor]] = [[] for _ in layers]
        self._handles = [layer.register_forward_hook(self._listener(i)) for i, layer in enumerate(layers)]

    def _listener(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                x = output.detach().float()
                share = (x.abs() < self.near_zero).float().mean()
                self._pending[index].append(torch.stack([x.mean(), x.std(unbiased=False), share]))

        return listen

    @property
    def stats(self) -> list[list[tuple[float, ...]]]:
        """The recorded figures; reading them waits for the device."""
        return [[tuple(row) for row in torch.stack(rows).tolist()] if rows else [] for rows in self._pending]

    def remove(self) -> None:
        """Stop recording; `stats` stays readable."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> ActivationStats:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.remove()


def output_shape(model: nn.Module, *input_shapes: Sequence[int]) -> torch.Size:
    """Return the shape a model gives for inputs of the given shapes (batch included), leaving it unchanged."""
    device = model_device(model)
    with evaluating(model), preserve_rng(), torch.no_grad():
        output = model(*(torch.zeros(tuple(shape), device=device) for shape in input_shapes))
    return output.shape


@dataclass(frozen=True)
class LayerSummary:
    """One row of a model summary.

    Attributes
    ----------
    name : str
        Dotted path of the layer in the model.
    kind : str
        Class name of the layer.
    input_shape, output_shape : tuple of int, or None
        With the batch size replaced by -1; `None` where the value is no tensor, or the layer was not called.
    nb_params : int
        Number of parameters the layer owns, without those that a row before has counted: of a layer that is called again,
        or of weights that layers share.
    trainable : bool or None
        Whether they are trained; `None` for a layer without parameters.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    nb_params: int
    trainable: bool | None


@dataclass(frozen=True)
class ModelSummary:
    """What `Learner.summary` returns: printable, and its `layers` are there to be read by a program.

    Attributes
    ----------
    layers : list of LayerSummary
        A row for each call of a layer, in their order; at the end layers whose parameters are used without a call.
    nb_params, nb_trainable : int
        Of the whole model, shared parameters counted once.
    """

    layers: list[LayerSummary]
    nb_params: int
    nb_trainable: int

    def __str__(self) -> str:
        head = ("layer", "kind", "input", "output", "params", "trainable")
        rows = [head] + [
            (
                row.name,
                row.kind,
                _shape_text(row.input_shape),
                _shape_text(row.output_shape),
                f"{row.nb_params:,}",
                {None: "", True: "yes", False: "frozen"}[row.trainable],
            )
            for row in self.layers
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "-" * (sum(widths) + 2 * (len(head) - 1)))
        frozen = self.nb_params - self.nb_trainable
        lines.append(f"{self.nb_params:,} parameters: {self.nb_trainable:,} trainable, {frozen:,} frozen")
        return "\n".join(lines)

    __repr__ = __str__


def summarize(model: nn.Module, xs: Sequence[Any]) -> ModelSummary:
    """Run `model(*xs)` once and report shape, parameters and trainability for each call of a layer.

    In evaluation mode; in training mode if the model can predict nothing before it has been trained, such as one that
    takes its statistics from the batches.

    Parameters
    ----------
    model : nn.Module
        Left exactly as it was: modes, statistics, buffers, attributes, gradients, random generators, and layers that are
        built at their first input.
    xs : sequence
        The model's inputs; moved to its device.

    Returns
    -------
    ModelSummary
    """
    if any(is_lazy(x) for x in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model)  # what is built at its first input is built in the copy
    calls: list[tuple[nn.Module, Any, Any]] = []

    def listen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append((module, _shape_of((*args, *kwargs.values())), _shape_of(output)))

    # Rows are the leaves, plus any container that owns parameters directly.
    shown = [m for m in model.modules() if not _has_children(m) or next(m.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_hook(listen, with_kwargs=True) for module in shown]
    try:
        with evaluating(model), preserve_states(model), preserve_rng(), torch.no_grad():
            inputs = to_device(tuple(xs), model_device(model))
            try:
                model(*inputs)
            except Exception as exc:
                calls.clear()
                set_train_mode(model)
                try:
                    model(*inputs)
                except Exception:
                    raise exc from None  # it fails in either mode
    finally:
        for handle in handles:
            handle.remove()
    called = {module for module, _, _ in calls}
    calls += [(m, None, None) for m in shown if m not in called and next(m.parameters(), None) is not None]
    params = list(model.parameters())
    return ModelSummary(
        layers=_rows(model, calls),
        nb_params=sum(p.numel() for p in params),
        nb_trainable=sum(p.numel() for p in params if p.requires_grad),
    )


def _rows(model: nn.Module, calls: list[tuple[nn.Module, Any, Any]]) -> list[LayerSummary]:
    names = {module: name or "(model)" for name, module in model.named_modules()}
    counted: set[nn.Parameter] = set()
    rows = []
    for module, input_shape, output_shape in calls:
        own = list(module.parameters(recurse=not _has_children(module)))
        nb_params = sum(p.numel() for p in own if p not in counted)
        counted.update(own)
        trainable = any(p.requires_grad for p in own) if own else None
        rows.append(LayerSummary(names[module], type(module).__name__, input_shape, output_shape, nb_params, trainable))
    return rows


def _has_children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _shape_of(value: Any) -> tuple[int, ...] | None:
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return (-1, *value.shape[1:]) if isinstance(value, Tensor) and value.ndim else None


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "(" + ", ".join(map(str, shape)) + ")"
