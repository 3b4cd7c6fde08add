"""Principal components: where the rows of a table lie along the directions in which they differ most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["principal_components"]


def principal_components(rows: NDArray[Any], n: int) -> tuple[NDArray[np.float32], list[float]]:
    """Return the first `n` components of each row, and the share of the variance that each has.

    Parameters
    ----------
    rows : array of shape (m, width)
    n : int
        At most the smaller of both.

    Returns
    -------
    components : array of shape (m, n)
    shares : list of float, length n

    Raises
    ------
    ValueError
        If there are not so many.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.core.components import principal_components
    >>> points, shares = principal_components(np.array([[0.0, 0.0], [3.0, 4.0]]), 1)
    >>> points.tolist(), shares
    ([[-2.5], [2.5]], [1.0])
    """
    most = min(rows.shape)
    if n > most:
        raise ValueError(
            f"`pca` must be at most {most} for {rows.shape[0]} items with {rows.shape[1]} factors; got {n}."
        )
    left, sizes, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    # A component has no sign of its own: let its largest loading be positive, so that a plot does not flip.
    signs = np.sign(directions[np.arange(n), np.abs(directions[:n]).argmax(1)])
    share = sizes**2 / max(float((sizes**2).sum()), 1e-30)
    return (left[:, :n] * sizes[:n] * signs).astype(np.float32), share[:n].tolist()
