"""How sure a share of right answers is: its interval, and that of the difference of two."""

from __future__ import annotations

import math

__all__ = ["newcombe", "wilson"]

Z = 1.959963984540054
"""Of the normal distribution 95% lie between -Z and Z."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95% score interval of a share.

    Parameters
    ----------
    right, n : int
        So many of so many, at least one.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    Association 22 (1927), pp. 209-212.

    Examples
    --------
    >>> from learnkit.serve.intervals import wilson
    >>> [round(x, 4) for x in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    p, z2 = right / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends it is exact on paper only.
    return (0.0 if right == 0 else middle - half, 1.0 if right == n else middle + half)


def newcombe(right_1: int, n_1: int, right_2: int, n_2: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two independent shares, the first less the second.

    Parameters
    ----------
    right_1, n_1, right_2, n_2 : int
        So many of so many, at least one each.

    References
    ----------
    R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven methods",
    Statistics in Medicine 17 (1998), pp. 873-890; method 10, of two score intervals without continuity correction.

    Examples
    --------
    >>> from learnkit.serve.intervals import newcombe
    >>> [round(x, 4) for x in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    p_1, p_2 = right_1 / n_1, right_2 / n_2
    (low_1, high_1), (low_2, high_2) = wilson(right_1, n_1), wilson(right_2, n_2)
    below, above = math.hypot(p_1 - low_1, high_2 - p_2), math.hypot(high_1 - p_1, p_2 - low_2)
    return p_1 - p_2 - below, p_1 - p_2 + above
