"""Points with titles beside them: array-level drawing for `CollabLearner.plot_item_factors`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learnkit.core.plots import as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["scatter_titles"]

FONT_SIZE = 8.0
PLACES = ((3, 2, "left"), (3, -9, "left"), (-3, 2, "right"), (-3, -9, "right"), (3, 10, "left"), (-3, 10, "right"))
"""Where a title may stand: points to the right of and above its dot, and how it is aligned."""


def scatter_titles(ax: Axes, x: NDArray[np.floating], y: NDArray[np.floating], titles: Sequence[str]) -> Axes:
    """Draw points with titles, each where it covers no title drawn before, if there is such a place.

    Parameters
    ----------
    ax : matplotlib axes
    x, y : array of shape (n,)
    titles : sequence of str

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax.scatter(x, y, s=12, color="tab:blue", alpha=0.5)
    ax.margins(x=0.2)
    ax.autoscale_view()
    points_per_pixel = 72 / ax.figure.dpi
    taken: list[tuple[float, float, float, float]] = []
    for (px, py), at, title in zip(
        ax.transData.transform(np.column_stack([x, y])), zip(x, y, strict=True), titles, strict=True
    ):
        boxes = [_box(px * points_per_pixel, py * points_per_pixel, place, len(title)) for place in PLACES]
        best = next((i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)), 0)
        dx, dy, side = PLACES[best]
        taken.append(boxes[best])
        as_text(ax.annotate(title, at, xytext=(dx, dy), textcoords="offset points", ha=side, fontsize=FONT_SIZE))
    return ax


def _box(x: float, y: float, place: tuple[int, int, str], length: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a title, in points, by the usual width of a letter."""
    dx, dy, side = place
    width = 0.56 * FONT_SIZE * length
    left = x + dx - (width if side == "right" else 0)
    return left, y + dy, left + width, y + dy + FONT_SIZE


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
