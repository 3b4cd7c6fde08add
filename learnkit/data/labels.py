"""Labels as people write them: one spelling for each name, none missing, as a sorted list of classes."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any

from learnkit.core.errors import DataError
from learnkit.core.listing import check_list

__all__ = ["as_labels", "classes_of", "is_missing", "one_spelling", "several_labels"]


def one_spelling(label: Any) -> Any:
    """Return a text in Unicode's composed form, in which two spellings of one name are equal; others as they are."""
    return unicodedata.normalize("NFC", label) if isinstance(label, str) and not label.isascii() else label


def is_missing(label: Any) -> bool:
    """Whether a label is `None`, NaN or pandas' NA; an empty text is not."""
    try:
        return label is None or bool(label != label)  # only a missing value differs from itself
    except TypeError:  # pandas' NA does not even say that
        return True
    except (RuntimeError, ValueError):  # a tensor or an array
        return False


def as_labels(labels: Iterable[Any]) -> list[Any]:
    """Return one label per item as plain Python values; those of tensors and arrays would not compare by value.

    Raises
    ------
    DataError
        If a label is missing, or is a list; the item is named.
    """
    if isinstance(labels, str):
        raise DataError(f"labels must be a list, one for each item; got the text {labels!r}.")
    to_list = getattr(labels, "tolist", None)
    plain = to_list() if to_list is not None else labels
    if not isinstance(plain, list):
        plain = check_list("labels", plain, "labels, one for each item", error=DataError)
    try:
        missing = any(map(is_missing, set(plain)))
    except TypeError as exc:
        at = next(i for i, label in enumerate(plain) if label.__hash__ is None)
        raise DataError(
            f"every item must have one label; that of item {at} is the {type(plain[at]).__name__} {plain[at]!r:.60}. "
            "For several labels per item use `MultiCategory`."
        ) from exc
    if missing:
        rows = [i for i, label in enumerate(plain) if is_missing(label)]
        raise DataError(
            f"{len(rows)} of {len(plain)} labels are missing ({plain[rows[0]]}), the first is that of item {rows[0]}. "
            "Leave these items out, or give them a class."
        )
    return plain


def several_labels(items: Iterable[Any]) -> list[list[Any]]:
    """Return the labels of each item as a list of lists.

    Raises
    ------
    DataError
        If an item is a text, which would be read letter by letter, is no list, or holds a missing label.
    """
    if isinstance(items, str):
        raise DataError(f"labels must be a list of lists, one for each item; got the text {items!r}.")
    result = []
    for i, item in enumerate(check_list("labels", items, "lists, one for each item", error=DataError)):
        if isinstance(item, str) or not isinstance(item, Iterable):
            hint = f"{item.split()!r}" if isinstance(item, str) else "[] for none"
            raise DataError(f"every item must have a list of labels; item {i} has {item!r}. Write {hint}.")
        labels = list(item)
        if any(map(is_missing, labels)):
            raise DataError(f"a label of item {i} is missing: {labels!r}. Leave it out of the list.")
        result.append(labels)
    return result


def classes_of(labels: Iterable[Any]) -> list[Any]:
    """Return the distinct labels, sorted, each in one spelling; those of several types by type.

    Warns of names that differ only in capitals or in blanks around them: they stay classes of their own.
    """
    names = {one_spelling(label) for label in set(labels)}
    try:
        classes = sorted(names)
    except TypeError:
        classes = sorted(names, key=lambda name: (isinstance(name, str), type(name).__name__, str(name)))
    known: dict[str, str] = {}
    for name in classes:
        if isinstance(name, str) and known.setdefault(name.strip().casefold(), name) != name:
            warnings.warn(
                f"the classes {known[name.strip().casefold()]!r} and {name!r} differ only in capitals or blanks; they are "
                "two classes. Write them alike if one is meant.",
                stacklevel=4,
            )
    return classes
