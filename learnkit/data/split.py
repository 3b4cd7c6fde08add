"""Choosing the validation set: indices in, indices out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError, check_fraction, check_positive, say_once, warn_once

__all__ = ["check_val_idxs", "get_cv_idxs", "split_by_group", "split_by_order", "split_by_stratum", "split_rows"]


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
    array = _column("values", values)
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
    """Hold out whole groups (all pictures of a patient, all ratings of a user), as near to `val_pct` as they allow.

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

    Raises
    ------
    DataError
        If an item has no group, or all have the same.

    Warns
    -----
    UserWarning
        If the groups only allow a share that is off by more than a quarter of `val_pct`; it says which.

    Examples
    --------
    >>> from learnkit import split_by_group
    >>> groups = ["a", "a", "b", "b", "c", "c"]
    >>> idxs = split_by_group(groups, val_pct=0.3)
    >>> len(idxs), len({groups[i] for i in idxs})
    (2, 1)
    """
    check_fraction("val_pct", val_pct)
    array = _column("groups", groups)
    if _is_missing(array).any():
        row = int(_is_missing(array).argmax())
        raise DataError(
            f"every item must have a group; item {row} has {array[row]!r}. Give it one of its own, or leave it out."
        )
    codes, counts = _codes_of(array)
    if len(counts) < 2:
        raise DataError("`groups` holds a single group, so nothing would be left to train on.")
    n = len(codes)
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = order[nearest_sum(counts[order].tolist(), val_pct * n, CLOSE * n)]
    held_out = np.flatnonzero(np.isin(codes, chosen))
    if abs(len(held_out) - val_pct * n) > max(val_pct * n / 4, 1):
        warnings.warn(
            f"whole groups do not come nearer to val_pct={val_pct:g} than {len(held_out) / n:.1%}: {len(held_out):,} of {n:,} "
            f"items are held out, {len(chosen):,} of {len(counts):,} groups. The largest group has {counts.max():,} items.",
            stacklevel=2,
        )
    return held_out


CLOSE = 0.005  # share of the items within which the first groups, in random order, are near enough
TABLE_BYTES = 1 << 26  # what finding the nearest sum may take


def nearest_sum(sizes: list[int], wanted: float, close: float) -> NDArray[np.int64]:
    """Choose some of the sizes, not none and not all, whose sum comes nearest to what is wanted.

    Parameters
    ----------
    sizes : list of int
        At least two, positive.
    wanted : float
        The sum to come near to.
    close : float
        The first sizes are taken as they come where they are as near as this.

    Returns
    -------
    array of int64
        Positions of those chosen.
    """
    first = np.flatnonzero(np.cumsum(sizes) <= max(wanted, sizes[0]))
    gap = abs(sum(sizes[i] for i in first) - wanted)
    if gap <= close and len(first) < len(sizes):
        return first
    total = sum(sizes)
    if len(sizes) * total <= 8 * TABLE_BYTES:
        return _exactly_nearest(sizes, total, wanted)
    # Too many to look at every sum: take each that still fits, and one more if that is nearer.
    taken, left = [], wanted
    for i, size in enumerate(sizes):
        if size <= left:
            taken.append(i)
            left -= size
    rest = sorted(set(range(len(sizes))).difference(taken), key=lambda i: sizes[i])
    if len(rest) > 1 and (not taken or abs(sizes[rest[0]] - left) < left):
        taken.append(rest[0])
    return np.array(sorted(taken), dtype=np.int64)


def _exactly_nearest(sizes: list[int], total: int, wanted: float) -> NDArray[np.int64]:
    reached = [1]  # bit s of entry i: the sum s can be made of the first i sizes
    for size in sizes:
        reached.append(reached[-1] | reached[-1] << size)
    sums = reached[-1] & ~1 & ~(1 << total)  # neither none nor all
    middle = int(wanted) + 1
    below, above = sums & (1 << middle) - 1, sums >> middle
    found = [below.bit_length() - 1] if below else []
    found += [middle + (above & -above).bit_length() - 1] if above else []
    left = min(found, key=lambda s: abs(s - wanted))
    chosen = []
    for i in reversed(range(len(sizes))):
        if not reached[i] >> left & 1:
            chosen.append(i)
            left -= sizes[i]
    return np.array(chosen[::-1], dtype=np.int64)


def _codes_of(groups: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each item's group, and how many items each group has."""
    try:
        _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    except TypeError:  # of several types, which do not sort
        numbers: dict[Any, int] = {}
        codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups.tolist()], dtype=np.int64)
        counts = np.bincount(codes)
    return codes, counts


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
    >>> labels = [0] * 8 + [1] * 2
    >>> [labels[i] for i in sorted(split_by_stratum(labels, val_pct=0.25))]
    [0, 0, 1]
    """
    check_fraction("val_pct", val_pct)
    rng = np.random.default_rng(seed)
    array = _column("labels", labels)
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
        hint = " Of a mask take the places: np.flatnonzero(mask)." if idxs.dtype == bool else ""
        raise DataError(
            f"`val_idxs` must be a list of whole numbers; got shape {idxs.shape}, dtype {idxs.dtype}.{hint}"
        )
    idxs = idxs.astype(np.int64)
    if len(idxs) and not (-n <= idxs.min() and idxs.max() < n):
        raise DataError(f"`val_idxs` must be in 0..{n - 1} for {n} items; got {idxs.min()}..{idxs.max()}.")
    idxs = idxs % n if n else idxs  # -1 means the last item, as in the course
    if len(np.unique(idxs)) != len(idxs):
        raise DataError("`val_idxs` holds the same index more than once.")
    if len(idxs) == n:
        raise DataError(f"`val_idxs` holds all {n} items, so nothing would be left to train on.")
    return idxs


def split_rows(
    val_idxs: ArrayLike | bool | None, n: int, *, times: ArrayLike | None = None, before: str | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which of `n` items train, as a mask, and the positions of those that validate, in the order given.

    Every factory with an argument `val_idxs` splits here, so `None` means the same in all of them.

    Parameters
    ----------
    val_idxs : array of int, False or None
        Those that validate: `False` or none for no validation, by default a fifth; it is said, once.
    n : int
    times : array of shape (n,), optional
        When each item was, if that is known: the default is the latest fifth instead of the random one of `get_cv_idxs`.
    before : str, optional
        What the default was until now, where it was something else: said with a warning.
    """
    if val_idxs is None:
        val = _default_fifth(n, times, before)
    else:
        val = check_val_idxs([] if val_idxs is False else val_idxs, n)
    trains = np.ones(n, dtype=bool)  # a mask, an eighth of the size of their positions
    trains[val] = False
    return trains, val


def _default_fifth(n: int, times: ArrayLike | None, before: str | None) -> NDArray[np.int64]:
    if n < 2:
        return np.zeros(0, dtype=np.int64)
    which = "a random fifth, `get_cv_idxs(n)`" if times is None else "the latest fifth, `split_by_order(times)`"
    said = f"`val_idxs=None` holds out {which}, for validation"
    if before is None:
        say_once(f"{said}. `val_idxs=False` holds out nothing.")
    else:
        warn_once(
            f"{said}. This is new: until now it held out {before}. To choose, pass indices, or `val_idxs=False` for no "
            "validation.",
            FutureWarning,
        )
    if times is None:
        return get_cv_idxs(n)
    try:
        return split_by_order(times)
    except DataError as exc:
        raise DataError(f"the latest fifth cannot be held out, as is done by default. Pass `val_idxs`. {exc}") from exc


def _column(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return one value per item as an array, or say what is wrong."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        got = f"the text {values!r:.60}" if isinstance(values, str) else f"shape {array.shape}"
        raise DataError(f"`{name}` must be one value per item, of shape (n,); got {got}.")
    return array


def _is_missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    if array.dtype != object:
        return array != array  # only a missing value differs from itself
    return np.fromiter((value is None or _differs_from_itself(value) for value in array), bool, len(array))


def _differs_from_itself(value: Any) -> bool:
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither
        return True
