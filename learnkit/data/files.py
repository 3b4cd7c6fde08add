"""Finding files, and writing them so that a crash never leaves half of one behind."""

from __future__ import annotations

import codecs
import errno
import os
import tempfile
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from learnkit.core.errors import DataError, UnwritableError

__all__ = [
    "OWN_FOLDERS",
    "PathLike",
    "all_files",
    "as_path",
    "atomic_path",
    "check_encoding",
    "find_files",
    "find_spelling",
    "make_folders",
    "subfolders",
    "writing",
]

PathLike = str | os.PathLike[str]

OWN_FOLDERS = ("models", "tmp")
"""What a data bunch makes in its folder; empty of pictures or texts they are no classes."""

# A folder of somebody else's, a disk that is read only, a file where a folder is meant.
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def as_path(name: str, value: PathLike) -> Path:
    """Return an argument that names a file or folder as a path, or say what it must be."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"`{name}` must be a name or path, as text or a `pathlib.Path`; got {value!r:.60}.")
    if not os.fspath(value).strip():
        raise ValueError(f"`{name}` must be a name or path; got the empty text {os.fspath(value)!r}.")
    return Path(value)


def find_files(folder: PathLike, extensions: Collection[str]) -> list[Path]:
    """Return the files below `folder` with one of `extensions` (lower case, dot included), sorted by path.

    Hidden files and folders (a leading dot) are passed over; links to folders are followed.
    """
    return [file for file in all_files(folder) if file.suffix.lower() in extensions]


def all_files(folder: PathLike) -> list[Path]:
    """Return the files below `folder`, sorted by path: hidden ones left out, links to folders followed once around.

    Raises
    ------
    DataError
        If there is no such folder, or one that may not be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"expected a folder at {root}; {_what_is_there(root)}.")
    found: list[Path] = []
    waiting = [(root, frozenset[str]())]
    while waiting:
        place, above = waiting.pop()
        real = os.path.realpath(place)
        if real in above:
            continue  # a link to a folder it lies in
        try:
            entries = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
        except OSError as exc:
            raise DataError(f"the folder {place} cannot be read: {exc}. Allow it, or leave it out.") from exc
        found += [Path(entry.path) for entry in entries if not entry.is_dir()]
        waiting += [(Path(entry.path), above | {real}) for entry in entries if entry.is_dir()]
    return sorted(found)


def find_spelling(path: Path) -> Path:
    """Return the file that is there under another Unicode spelling of its name, else `path` as it is.

    A disk may spell "é" in two letters where a table has one.
    """
    if path.exists() or str(path).isascii():
        return path
    parent = path.parent if path.parent.exists() else find_spelling(path.parent)
    if not parent.is_dir():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    return next((entry for entry in parent.iterdir() if unicodedata.normalize("NFC", entry.name) == wanted), path)


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

    Raises
    ------
    UnwritableError
        If the folder may not be written to.
    """
    target = Path(path)
    with writing(target):
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


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say what was to be written where the folder of `target` may not be written to."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _NOT_ALLOWED:
            raise
        raise UnwritableError(
            exc.errno,
            f"{target} was to be written, and its folder cannot be written to ({exc.strerror}). Give the data another "
            "`path=` (or pictures another `cache=`), or this call another file",
        ) from exc


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


def make_folders(*folders: Path) -> None:
    """Make folders that will be handy; where that is not possible, whatever needs one says so when it does."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
