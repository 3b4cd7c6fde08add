"""Choosing the validation set: indices in, indices out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError, check_fraction, check_positive

__all__ = ["check_val_idxs", "get_cv_idxs", "split_by_group", "split_by_order", "split_by_stratum"]


def get_cv_idxs(n: int, cv_idx: int = 0, val_pct: float = 0.2, seed: int = 42) -> NDArray[np.int64]:
    """Return the indices of a random validation set, or of one fold of a cross-validation.

    Parameters
    ----------
    n : int
        Number of items.
    cv_idx : int, default 0
        Which fold: 0 to `1 / val_pct - 1`. Folds of one seed do not overlap.
    val_pct : float, default 0.2
        Share of the items to hold out, in (0, 1).
    seed : int, default 42
        Of the shuffle; the global random state is neither used nor changed.

    Returns
    -------
    array of int64
        `int(n * val_pct)` indices (at least one).

    Raises
    ------
    ValueError
        If `val_pct` is no fraction or there is no such fold.

    Examples
    --------
    >>> from learnkit import get_cv_idxs
    >>> idxs = get_cv_idxs(10, val_pct=0.3)
    >>> len(idxs), len(set(idxs) & set(get_cv_idxs(10, cv_idx=1, val_pct=0.3)))
    (3, 0)
    """
    check_positive("n", n, integer=True)
    check_fraction("val_pct", val_pct)
    size = max(int(n * val_pct), 1)
    if not 0 <= cv_idx < n // size:
        raise ValueError(f"`cv_idx` must be in 0..{n // size - 1} for {n} items at val_pct={val_pct}; got {cv_idx}.")
    order = np.random.default_rng(seed).permutation(n)
    return order[cv_idx * size : (cv_idx + 1) * size].copy()  # a view would keep the whole order in memory


def split_by_order(values: ArrayLike, val_pct: float = 0.2) -> NDArray[np.int64]:
    """Hold out the last items in order of `values` (dates, say): validate on the future, train on the past.

    Items with equal values stay on one side, so the validation set can be a little larger than asked.

    Parameters
    ----------
    values : array of shape (n,)
        Anything that sorts.
    val_pct : float, default 0.2
        Share of the items to hold out, in (0, 1).

    Returns
    -------
    array of int64
        Sorted indices of the validation set.

    Raises
    ------
    DataError
        If values are missing, do not sort, or are nearly all the same.

    Warns
    -----
    UserWarning
        If the values are text, which is in the order of its letters: "10" comes before "9".

    Examples
    --------
    >>> from learnkit import split_by_order
    >>> split_by_order([3, 1, 2, 5, 4], val_pct=0.4)
    array([3, 4])
    """
    check_fraction("val_pct", val_pct)
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"`values` must be one value per item, of shape (n,); got shape {array.shape}.")
    if not len(array) or _is_missing(array).any():
        raise DataError("`values` must be there for every item; some are missing, or there are no items.")
    if array.dtype.kind in "USO" and isinstance(array[0], str):
        warnings.warn(
            f"`values` is text, such as {str(array[0])!r}, and is put in the order of its letters: '10' before '9', '02.01.2016' "
            "before '03.01.2015'. For dates pass pd.to_datetime(values), for numbers pd.to_numeric(values).",
            stacklevel=2,
        )
    try:
        cut = np.sort(array)[len(array) - max(int(len(array) * val_pct), 1)]
    except TypeError as exc:
        raise DataError(f"`values` must be of one type that sorts: {exc}.") from exc
    if (array >= cut).all():
        raise DataError(f"too many items share the value {cut}: nothing would be left to train on.")
    return np.flatnonzero(array >= cut)


def split_by_group(groups: ArrayLike, val_pct: float = 0.2, seed: int = 42) -> NDArray[np.int64]:
    """Hold out whole groups (all pictures of a patient, all ratings of a user), about `val_pct` of the items.

    Parameters
    ----------
    groups : array of shape (n,)
        The group of each item.
    val_pct : float, default 0.2
        Share of the items to hold out, in (0, 1).
    seed : int, default 42
        Of the order in which groups are taken.

    Returns
    -------
    array of int64
        Sorted indices of the validation set.

    Examples
    --------
    >>> from learnkit import split_by_group
    >>> groups = ["a", "a", "b", "b", "c", "c"]
    >>> idxs = split_by_group(groups, val_pct=0.3)
    >>> len(idxs), len({groups[i] for i in idxs})
    (2, 1)
    """
    check_fraction("val_pct", val_pct)
    _, codes, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise DataError("`groups` holds a single group, so nothing would be left to train on.")
    order = np.random.default_rng(seed).permutation(len(counts))
    taken = np.cumsum(counts[order]) <= max(val_pct * len(codes), counts[order[0]])
    return np.flatnonzero(np.isin(codes, order[taken]))


def split_by_stratum(labels: ArrayLike, val_pct: float = 0.2, seed: int = 42) -> NDArray[np.int64]:
    """Hold out the same share of every class, at least one item of each class that has two or more.

    Parameters
    ----------
    labels : array of shape (n,)
        The class of each item.
    val_pct : float, default 0.2
        Share to hold out, in (0, 1).
    seed : int, default 42
        Of the choice within each class.

    Returns
    -------
    array of int64
        Sorted indices of the validation set.

    Examples
    --------
    >>> from learnkit import split_by_stratum
    >>> idxs = split_by_stratum([0] * 8 + [1] * 2, val_pct=0.25)
    >>> len(idxs)
    3
    """
    check_fraction("val_pct", val_pct)
    rng = np.random.default_rng(seed)
    array = np.asarray(labels)
    if not len(array):
        raise DataError("`labels` is empty: there is nothing to split.")
    chosen = []
    for value in np.unique(array):
        members = rng.permutation(np.flatnonzero(array == value))
        size = min(max(round(len(members) * val_pct), 1), len(members) - 1)
        chosen.append(members[:size])
    return np.sort(np.concatenate(chosen))


def check_val_idxs(val_idxs: ArrayLike, n: int) -> NDArray[np.int64]:
    """Return `val_idxs` as an index array, or say what is wrong with them for `n` items."""
    idxs = np.asarray(val_idxs)
    if idxs.ndim != 1 or (len(idxs) and idxs.dtype.kind not in "iu"):
        raise DataError(f"`val_idxs` must be a list of whole numbers; got shape {idxs.shape}, dtype {idxs.dtype}.")
    idxs = idxs.astype(np.int64)
    if len(idxs) and not (-n <= idxs.min() and idxs.max() < n):
        raise DataError(f"`val_idxs` must be in 0..{n - 1} for {n} items; got {idxs.min()}..{idxs.max()}.")
    idxs = idxs % n if n else idxs  # -1 means the last item, as in the course
    if len(np.unique(idxs)) != len(idxs):
        raise DataError("`val_idxs` holds the same index more than once.")
    if len(idxs) == n:
        raise DataError(f"`val_idxs` holds all {n} items, so nothing would be left to train on.")
    return idxs


def _is_missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    if array.dtype != object:
        return array != array  # only a missing value differs from itself
    return np.fromiter((value is None or _differs_from_itself(value) for value in array), bool, len(array))


def _differs_from_itself(value: Any) -> bool:
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither
        return True
