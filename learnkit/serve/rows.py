"""Rows from a file or folder in pieces, and pieces of results as files: nothing is ever in memory whole."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from learnkit.core.errors import DataError, optional_import

__all__ = ["Piece", "Source", "Writer", "source_of", "writer_of"]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Piece:
    """Some rows of the input, in order.

    Attributes
    ----------
    first : int
        Number of the first row, from 1.
    rows : list of dict or DataError
        What each row holds, or why it cannot be read.
    """

    first: int
    rows: list[dict[str, Any] | DataError]


class Source(ABC):
    """Where rows come from.

    Attributes
    ----------
    columns : list of str
        What each row has.
    is_text : bool
        Whether every value is a text that has to be read as something.
    """

    columns: list[str]
    is_text = False

    @abstractmethod
    def pieces(self, size: int, done: int) -> Iterator[Piece]:
        """Yield rows, `size` at a time, after the first `done` pieces."""

    @abstractmethod
    def identity(self) -> list[Any]:
        """Return what tells this input from another: a job goes on only with its own."""

    def total(self) -> int | None:
        """Return how many rows there are, `None` where counting would mean reading."""
        return None


class CSVSource(Source):
    """A CSV file with a header, in UTF-8."""

    is_text = True

    def __init__(self, file: Path) -> None:
        self.file = file
        with self._opened() as opened:
            self.columns = next(csv.reader(opened), [])
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise DataError(f"{file} must begin with a line of distinct column names; got {self.columns}.")

    def _opened(self) -> IO[str]:
        try:  # bytes that are no UTF-8 come as half characters, by which their row is known
            return self.file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        except OSError as exc:
            raise DataError(f"{self.file} cannot be read: {exc}.") from exc

    def pieces(self, size: int, done: int) -> Iterator[Piece]:
        """Yield rows; one with more or fewer cells than the header, or that is no UTF-8, cannot be read."""
        with self._opened() as opened:
            rows = itertools.islice(self._rows(csv.reader(opened)), 1 + done * size, None)
            first = done * size + 1
            while chunk := list(itertools.islice(rows, size)):
                yield Piece(first, chunk)
                first += len(chunk)

    def _rows(self, lines: Iterator[list[str]]) -> Iterator[dict[str, Any] | DataError]:
        while True:
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error as exc:  # a cell of more characters than fit
                yield DataError(f"it is no CSV: {exc}")
                continue
            if len(cells) != len(self.columns):
                yield DataError(f"it has {len(cells)} cells, and the header {len(self.columns)}")
            elif any(not cell.isprintable() and _has_halves(cell) for cell in cells):
                yield DataError("it is not UTF-8")
            else:
                yield dict(zip(self.columns, cells, strict=True))

    def identity(self) -> list[Any]:
        """Return path, size and time."""
        return _identity(self.file)


class ParquetSource(Source):
    """A Parquet file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        parquet = optional_import("pyarrow.parquet", extra="serve")
        try:
            self.opened = parquet.ParquetFile(file)
        except Exception as exc:  # of Arrow's several
            raise DataError(f"{file} cannot be read: {exc}") from exc
        self.columns = list(self.opened.schema_arrow.names)

    def pieces(self, size: int, done: int) -> Iterator[Piece]:
        """Yield rows."""
        batches = self.opened.iter_batches(batch_size=size)
        rows: Iterator[Any] = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        first = done * size + 1
        rows = itertools.islice(rows, done * size, None)
        while chunk := list(itertools.islice(rows, size)):
            yield Piece(first, chunk)
            first += len(chunk)

    def identity(self) -> list[Any]:
        """Return path, size and time."""
        return _identity(self.file)

    def total(self) -> int:
        """Return the number that the file gives."""
        return int(self.opened.metadata.num_rows)


class FolderSource(Source):
    """The pictures below a folder, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns = ["file"]
        names = (Path(top, name).relative_to(folder) for top, _, files in os.walk(folder) for name in files)
        self.names = sorted(str(name) for name in names if name.suffix.lower() in PICTURES)
        if not self.names:
            raise DataError(f"there is no picture below {folder}.")

    def pieces(self, size: int, done: int) -> Iterator[Piece]:
        """Yield the names of files."""
        for start in range(done * size, len(self.names), size):
            yield Piece(start + 1, [{"file": name} for name in self.names[start : start + size]])

    def identity(self) -> list[Any]:
        """Return the folder and the names in it."""
        return [str(self.folder.resolve()), *self.names]

    def total(self) -> int:
        """Return how many there are."""
        return len(self.names)


def source_of(path: Path) -> Source:
    """Return the rows of a CSV file, a Parquet file, or a folder of pictures."""
    if path.is_dir():
        return FolderSource(path)
    kinds = {".csv": CSVSource, ".parquet": ParquetSource}
    if path.suffix.lower() not in kinds:
        raise DataError(f"the input must be a .csv file, a .parquet file, or a folder of pictures; got {path}.")
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    source: Source = kinds[path.suffix.lower()](path)
    return source


class Writer(ABC):
    """Writes results: a file for each piece, and all of them as one at the end."""

    suffix: str

    @abstractmethod
    def piece(self, file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write the results of a piece."""

    @abstractmethod
    def join(self, pieces: Sequence[Path], file: Path) -> None:
        """Write all pieces, in order, as one file."""


class CSVWriter(Writer):
    """CSV, each piece with its header."""

    suffix = ".csv"

    def piece(self, file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write the results of a piece."""
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(columns)
            writer.writerows(rows)

    def join(self, pieces: Sequence[Path], file: Path) -> None:
        """Write all pieces without the headers of all but the first."""
        with file.open("wb") as whole:
            for i, piece in enumerate(pieces):
                with piece.open("rb") as part:
                    header = part.readline()
                    if i == 0:
                        whole.write(header)
                    shutil.copyfileobj(part, whole)


class ParquetWriter(Writer):
    """Parquet, a row group for each piece."""

    suffix = ".parquet"

    def piece(self, file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write the results of a piece."""
        arrow = optional_import("pyarrow", extra="serve")
        parquet = optional_import("pyarrow.parquet", extra="serve")
        table = arrow.table({name: [row[i] for row in rows] for i, name in enumerate(columns)})
        parquet.write_table(table, file)

    def join(self, pieces: Sequence[Path], file: Path) -> None:
        """Write all pieces; a column that is empty in some has the type of the others."""
        arrow = optional_import("pyarrow", extra="serve")
        parquet = optional_import("pyarrow.parquet", extra="serve")
        schema = arrow.unify_schemas([parquet.read_schema(piece) for piece in pieces], promote_options="permissive")
        with parquet.ParquetWriter(file, schema) as whole:
            for piece in pieces:
                whole.write_table(parquet.read_table(piece).cast(schema))


def writer_of(path: Path) -> Writer:
    """Return what writes a file of this name."""
    writers: dict[str, type[Writer]] = {".csv": CSVWriter, ".parquet": ParquetWriter}
    if path.suffix.lower() not in writers:
        raise DataError(f"the output must be a .csv or .parquet file; got {path}.")
    return writers[path.suffix.lower()]()


def _has_halves(cell: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in cell)


def _identity(file: Path) -> list[Any]:
    found = file.stat()
    return [str(file.resolve()), found.st_size, found.st_mtime_ns]
