"""Folders of pictures: which files are read, which class they belong to, and what is passed over."""

from __future__ import annotations

import warnings
from pathlib import Path

from learnkit.core.errors import DataError, user_stacklevel
from learnkit.data.files import OWN_FOLDERS, subfolders
from learnkit.data.labels import one_spelling
from learnkit.vision.images import IMAGE_EXTENSIONS, find_pictures, remark_passed_over

__all__ = ["labelled_files", "unlabelled_files"]


def unlabelled_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder; an error if there is none, a warning for those that cannot be read."""
    files, passed_over = find_pictures(folder)
    if not files:
        raise DataError(
            f"there is no picture in {folder}. Expected files ending in {', '.join(sorted(IMAGE_EXTENSIONS))}"
            f"{_other_files(folder)}."
        )
    remark_passed_over(passed_over, folder)
    return files


def labelled_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the pictures in the class folders of `folder`, and the class of each.

    Warns of pictures that are passed over: those that cannot be read, those in no class folder, and class folders
    without any.
    """
    files: list[Path] = []
    labels: list[str] = []
    passed_over: list[Path] = []
    empty: list[str] = []
    for name in subfolders(folder):
        found, others = find_pictures(folder / name)
        files += found
        labels += [one_spelling(name)] * len(found)
        passed_over += others
        if not found and name not in OWN_FOLDERS:
            empty.append(name)
    if not files:
        loose = len(find_pictures(folder)[0])
        hint = f"; {loose} picture(s) lie in {folder} itself" if loose else _other_files(folder)
        raise DataError(
            f"there is no picture in a class folder of {folder}. Expected {folder}/<class>/<picture>{hint}. "
            f"Known endings: {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    remark_passed_over(passed_over, folder)
    loose_files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS and p.is_file()]
    if loose_files := [p for p in loose_files if not p.name.startswith(".")]:
        warnings.warn(
            f"{len(loose_files)} picture(s) lie in {folder} itself, in no class folder, and are passed over: "
            f"{min(loose_files).name} for one.",
            stacklevel=user_stacklevel(),
        )
    if empty:
        warnings.warn(
            f"these folders in {folder} hold no picture and are no classes: {', '.join(empty)}.",
            stacklevel=user_stacklevel(),
        )
    return files, labels


def _other_files(folder: Path) -> str:
    endings = {path.suffix.lower() or "(no ending)" for path in folder.rglob("*") if path.is_file()}
    return f"; found only {', '.join(sorted(endings)[:8])}" if endings else "; it is empty"
