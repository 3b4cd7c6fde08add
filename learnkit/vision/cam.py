"""Where the model looked: class activation maps (Zhou et al. 2016) and Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import DataError
from learnkit.core.hooks import SaveFeatures
from learnkit.core.layers import model_device
from learnkit.core.plots import plots
from learnkit.core.preserve import evaluating, preserve_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassActivationMap", "class_activation_map"]


@dataclass(frozen=True)
class ClassActivationMap:
    """Heat maps over pictures, one per picture.

    Attributes
    ----------
    maps : array of shape (n, h, w), in 0..1
        Resized to the picture; 1 is where the class was seen most clearly.
    pictures : array of shape (n, h, w, 3), in 0..1
    targets : list of int
        The class each map explains.
    titles : list of str
        For drawing.
    method : {"cam", "grad-cam"}
        How the maps were computed.

    Parameters
    ----------
    maps, pictures, targets, titles, method
        The attributes.
    """

    maps: NDArray[np.float32]
    pictures: NDArray[np.float32]
    targets: list[int]
    titles: list[str]
    method: str

    def plot(self, rows: int = 1, alpha: float = 0.5, figsize: tuple[float, float] | None = None) -> Figure:
        """Draw each picture with its map on top.

        Parameters
        ----------
        rows : int, default 1
        alpha : float, default 0.5
            Opacity of the map.
        figsize : tuple of float, optional
            Inches.
        """
        columns = -(-len(self.maps) // rows)
        fig = plots(self.pictures, rows, self.titles, figsize or (3 * columns, 3.5 * rows))
        for ax, heat in zip(fig.axes, self.maps, strict=True):
            ax.imshow(heat, cmap="jet", alpha=alpha, vmin=0, vmax=1)
        return fig


def class_activation_map(
    model: nn.Module, x: Tensor, target: int | Sequence[int] | None = None, layer: nn.Module | None = None
) -> tuple[NDArray[np.float32], list[int], str]:
    """Return a heat map per picture of where a class was seen.

    Parameters
    ----------
    model : nn.Module
        Left as it was: modes, gradients, random generators.
    x : Tensor of shape (n, 3, h, w)
        Transformed pictures.
    target : int or sequence of int, optional
        The class to explain, one for all or one each; by default the most probable of each.
    layer : nn.Module, optional
        The layer whose feature maps are weighed; by default the last one that gives maps of more than one place.

    Returns
    -------
    maps : array of shape (n, h, w), in 0..1
    targets : list of int
    method : {"cam", "grad-cam"}
        "cam" where the maps of the chosen layer are the class scores before averaging; the gradient of such a model
        with respect to its maps is one constant per class, so both methods share their arithmetic.
    """
    device = model_device(model)
    chosen = layer if layer is not None else _last_map_layer(model, x[:1].to(device))
    frozen = [p for p in model.parameters() if p.requires_grad]
    with evaluating(model), preserve_rng(), torch.enable_grad(), SaveFeatures(chosen, detach=False) as saved:
        for p in frozen:
            p.requires_grad_(False)  # only the maps' gradient is wanted, so nothing is stored for the weights
        try:
            # The picture requires a gradient so that the layer's output does, frozen or not.
            output = model(x.to(device).clone().requires_grad_(True))
            scores = output[0] if isinstance(output, tuple) else output
            features = saved.features
            if not isinstance(features, Tensor) or features.ndim != 4:
                shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                raise DataError(f"`layer` must give feature maps (B, C, h, w); {type(chosen).__name__} gave {shape}.")
            targets = _targets(target, scores)
            index = torch.tensor(targets, device=device)[:, None]
            (gradient,) = torch.autograd.grad(scores.gather(1, index).sum(), features)
        finally:
            for p in frozen:
                p.requires_grad_(True)
    with torch.no_grad():
        if features.shape[1] == scores.shape[1] and layer is None:  # one map per class: they are the answer
            heat, method = features.gather(1, index[..., None, None].expand(-1, 1, *features.shape[2:])), "cam"
        else:
            weights = gradient.mean((2, 3), keepdim=True)
            heat, method = (weights * features).sum(1, keepdim=True), "grad-cam"
        heat = F.interpolate(heat.clamp(min=0).float(), x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        heat = heat - heat.amin((1, 2), keepdim=True)
        heat = heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
    maps: NDArray[np.float32] = heat.cpu().numpy()
    return maps, targets, method


def _targets(target: int | Sequence[int] | None, scores: Tensor) -> list[int]:
    n, c = scores.shape
    if target is None:
        return scores.argmax(1).tolist()
    targets = [int(target)] * n if isinstance(target, int | np.integer) else [int(t) for t in target]
    if len(targets) != n or not all(0 <= t < c for t in targets):
        raise DataError(f"`target` must be one class number in 0..{c - 1}, or {n} of them; got {target!r}.")
    return targets


@torch.no_grad()
def _last_map_layer(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the last layer that gives feature maps of more than one place."""
    found: list[nn.Module] = []

    def listen(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(module)

    leaves = [m for m in model.modules() if next(m.children(), None) is None]
    handles = [leaf.register_forward_hook(listen) for leaf in leaves]
    try:
        with evaluating(model), preserve_rng():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise DataError("no layer of this model gives feature maps of more than one place; bigger pictures may help.")
    return found[-1]
