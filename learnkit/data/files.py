"""Finding files, and writing them so that a crash never leaves half of one behind."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from learnkit.core.errors import DataError

__all__ = ["PathLike", "atomic_path", "check_encoding", "find_files", "subfolders"]

PathLike = str | os.PathLike[str]


def find_files(folder: PathLike, extensions: Collection[str]) -> list[Path]:
    """Return the files below `folder` with one of `extensions` (lower case, dot included), sorted by path.

    Hidden files and folders (a leading dot) are passed over.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"expected a folder at {root}; {_what_is_there(root)}.")
    found: list[Path] = []
    for base, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(base, name)
            for name in sorted(names)
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions
        ]
    return sorted(found)


def subfolders(folder: PathLike) -> list[str]:
    """Return the names of the folders directly inside `folder`, sorted, hidden ones left out."""
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"expected a folder at {root}; {_what_is_there(root)}.")
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def check_encoding(encoding: str) -> None:
    """Raise `ValueError` unless Python knows a text encoding of this name."""
    try:
        codecs.lookup(encoding)
    except LookupError as exc:
        raise ValueError(
            f'`encoding` must be the name of one, such as "utf-8" or "latin-1"; got {encoding!r}.'
        ) from exc


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it becomes `path`, in one step.

    The file is flushed to disk before it is renamed, so `path` holds either its old content or all of the
    new one, also after a crash. When the block fails the temporary file is removed and `path` is untouched.
    Missing parent folders are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; a saved model is an ordinary one
        os.replace(temporary, target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Let the disk know the new name too; a no-op where folders cannot be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _what_is_there(path: Path) -> str:
    if path.exists():
        return "that is a file"
    parent = path.parent
    if not parent.is_dir():
        return f"neither it nor {parent} exists"
    names = subfolders(parent)[:8]
    return f"it does not exist. {parent} holds the folders: {', '.join(names) if names else '(none)'}"
