"""Folders of texts, one for each label: which of them are labels at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from learnkit.core.errors import DataError
from learnkit.data.files import OWN_FOLDERS, subfolders

__all__ = ["label_folders", "warn_of_unlabelled"]

UNLABELLED = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "nolabel", "no_label", "unknown"})
"""What data sets call their folder of texts without labels."""


def label_folders(folder: Path, classes: Sequence[str] | None) -> list[str]:
    """Return the folders below `folder` that are labels: all of them, or those of `classes`.

    Raises
    ------
    DataError
        If there is none, or one of `classes` is not there.
    """
    found = subfolders(folder)
    found = [name for name in found if name not in OWN_FOLDERS or any((folder / name).rglob("*.txt"))]
    if not found:
        raise DataError(f"{folder} holds no folders of texts, one for each label.")
    if classes is None:
        return found
    if isinstance(classes, str):
        raise TypeError(f"`classes` must be a list of folders; got the text {classes!r}.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(f"{folder} has no folder {missing[0]!r} of `classes`; it holds: {', '.join(found[:12])}.")
    return [name for name in found if name in set(classes)]


def warn_of_unlabelled(folder: Path, trn: Sequence[str] | None, val: Sequence[str] | None, *, stacklevel: int) -> None:
    """Name the training folders that look like no label: by their name, or as the validation set has none of them.

    Files beside the folders of labels belong to none of them; they are counted.
    """
    odd = [name for name in trn or () if name.lower() in UNLABELLED or (val is not None and name not in val)]
    if odd:
        listing = ", ".join(map(repr, odd[:8]))
        warnings.warn(
            f"{folder}: each folder is a label, {listing} too, though it looks like texts without labels or is not in the "
            f"validation set. Pass `classes=` with the labels that are meant.",
            stacklevel=stacklevel + 1,
        )
    with os.scandir(folder) as entries:
        loose = sorted(entry.name for entry in entries if entry.is_file() and entry.name.lower().endswith(".txt"))
    if loose:
        warnings.warn(
            f"{folder}: {len(loose):,} text(s) lie beside the folders of labels, such as {loose[0]!r}; they have no label and "
            "are left out.",
            stacklevel=stacklevel + 1,
        )
