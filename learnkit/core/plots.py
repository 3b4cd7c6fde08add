"""Drawing from arrays: axes in, axes out. matplotlib is imported when something is drawn, not before.

Nothing here calls `show()`; a notebook displays the figure, a script saves it with `ax.figure.savefig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from learnkit.core.listing import check_list, number_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["as_text", "get_ax", "plot_confusion_matrix", "plots"]


def as_text(*texts: Text) -> None:
    """Draw texts letter by letter: a dollar in the name of a class begins no formula."""
    for text in texts:
        text.set_parse_math(False)


def get_ax(ax: Axes | None, figsize: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """Return `ax`, or the axes of a new figure where it is `None`."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def plots(
    ims: Sequence[Any] | np.ndarray,
    rows: int = 1,
    titles: Sequence[Any] | None = None,
    figsize: tuple[float, float] = (12, 6),
) -> Figure:
    """Draw pictures in a grid.

    Parameters
    ----------
    ims : sequence of array of shape (H, W, 3), (H, W) or (3, H, W)
        Floats in 0..1 (clipped) or `uint8`.
    rows : int, default 1
        Number of rows; columns follow.
    titles : sequence, optional
        One title per picture, numbers are shown with three digits.
    figsize : tuple of float, default (12, 6)
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no picture, or titles and pictures differ in number.
    """
    import matplotlib.pyplot as plt

    ims = _as_pictures(ims)
    if titles is not None:
        titles = check_list("titles", titles, "titles, one per picture")
    n = len(ims)
    if n == 0:
        raise ValueError("`ims` holds no picture to draw.")
    if titles is not None and len(titles) != n:
        raise ValueError(f"`titles` must have one entry per picture: {n} pictures, {len(titles)} titles.")
    columns = -(-n // rows)
    fig, grid = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")
    for i, ax in enumerate(grid.flat):
        ax.axis("off")
        if i >= n:
            ax.remove()
            continue
        picture = _as_picture(ims[i])
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
        if titles is not None:
            title = titles[i]
            shown = f"{title:.3f}" if isinstance(title, float | np.floating) else str(title)
            as_text(ax.set_title(shown, fontsize=12))
    return fig


def plot_confusion_matrix(
    cm: ArrayLike,
    classes: Sequence[Any],
    normalize: bool = False,
    title: str = "Confusion matrix",
    cmap: str = "Blues",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix with its counts.

    Parameters
    ----------
    cm : array of shape (n_classes, n_classes)
        `cm[i, j]` counts items of class `i` predicted as `j`, as scikit-learn's `confusion_matrix` gives it.
    classes : sequence
        Names, in the order of the rows.
    normalize : bool, default False
        Show each row as shares of its total.
    title, cmap : str
        Title and matplotlib colour map.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    classes = check_list("classes", classes, "names")
    matrix = number_array("cm", cm).astype(float)
    n = len(classes)
    if matrix.shape != (n, n):
        raise ValueError(f"`cm` must be {n} x {n} for {n} classes; got shape {matrix.shape}.")
    if normalize:
        matrix = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    size = min(3 + 0.5 * n, 14)
    ax = get_ax(ax, (size, size))
    ax.imshow(matrix, cmap=cmap, interpolation="nearest")
    as_text(ax.set_title(title))
    names = [str(name) for name in classes]
    slanted = max(map(len, names)) * n > 60
    ax.set_xticks(range(n), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    ax.set_yticks(range(n), names)
    as_text(*ax.get_xticklabels(), *ax.get_yticklabels())
    if n <= 40:
        for (row, col), value in np.ndenumerate(matrix):
            colour = "white" if value > matrix.max() / 2 else "black"
            ax.text(col, row, f"{value:.2f}" if normalize else f"{value:.0f}", ha="center", va="center", color=colour)
    ax.set_xlabel("predicted")
    ax.set_ylabel("actual")
    return ax


def _as_pictures(ims: Any) -> Any:
    """Return pictures as a sequence; a single one, of shape (H, W) or (H, W, 3), is one of one."""
    shape = np.shape(ims) if hasattr(ims, "shape") else None
    if shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4))):
        return [ims]
    if hasattr(ims, "getbands"):  # Pillow's
        return [ims]
    return ims if shape is not None else check_list("ims", ims, "pictures")


def _as_picture(im: Any) -> np.ndarray:
    array = np.asarray(im)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    return array if array.dtype == np.uint8 else np.clip(array, 0, 1)
