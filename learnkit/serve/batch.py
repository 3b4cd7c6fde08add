"""A job over a whole file or folder: `learnkit predict model.onnx in.csv out.csv`.

Rows are read, predicted and written piece by piece, so memory stays flat. Each piece of results is a file that appears in one
step, in a folder beside the output; a job that was killed goes on after the last of them. At the end they become the output, also
in one step. Rows that cannot be read are named in a side file, and the job goes on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from learnkit.core.errors import DataError
from learnkit.runtime.model import RuntimeModel
from learnkit.serve.rows import FolderSource, Piece, Source, Writer, source_of, writer_of

__all__ = ["Report", "predict_file"]

PIECE = 4096
"""Rows at a time; pictures are decoded, so of these there are fewer."""
PICTURES = 256


class Report:
    """What became of a job.

    Attributes
    ----------
    n_rows, n_bad : int
        Rows written, and rows that could not be read.
    resumed : int
        Rows that an earlier run had done.
    notes : Counter of str
        Remarks of the preparation, and in how many pieces each was made.
    """

    def __init__(self) -> None:
        self.n_rows = self.n_bad = self.resumed = 0
        self.notes: Counter[str] = Counter()


def predict_file(
    model: RuntimeModel,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    piece: int | None = None,
    probabilities: bool = False,
    column: str = "text",
    progress: Callable[[int, int | None], object] | None = None,
) -> Report:
    """Predict every row of a file, or every picture of a folder.

    Parameters
    ----------
    model : RuntimeModel
    source : path-like
        A `.csv` file with a header, a `.parquet` file, or a folder of pictures.
    output : path-like
        A `.csv` or `.parquet` file: the columns of the source and `prediction`, `probability` where classes are predicted.
        Rows that cannot be read are not in it, but beside it, in `NAME.unread.csv`, with their number and the reason.
    piece : int, optional
        Rows at a time, 4096 by default, 256 pictures.
    probabilities : bool, default False
        Write the probability of every class, too, in columns `p_CLASS`.
    column : str, default "text"
        Of a model of texts, where the text stands.
    progress : callable, optional
        Told how many rows are done, and of how many if that is known.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If the source cannot be read, does not have what the model takes, or has a column of the name of a result.
    """
    target = Path(output)
    rows, writer = source_of(Path(source)), writer_of(target)
    size = piece or (PICTURES if model.kind == "pictures" else PIECE)
    job = Job(model, rows, writer, Path(source), target, size, probabilities, column)
    return job.run(progress or (lambda done, total: None))


class Job:
    """One run over a source; see `predict_file`."""

    def __init__(
        self,
        model: RuntimeModel,
        source: Source,
        writer: Writer,
        path: Path,
        target: Path,
        size: int,
        probabilities: bool,
        column: str,
    ) -> None:
        self.model, self.source, self.writer, self.path, self.target = model, source, writer, path, target
        self.size, self.column = size, column
        self.probabilities = probabilities and model.task in ("category", "multi")
        self.results = self._result_columns()
        self.columns = [*source.columns, *self.results]
        self.folder = target.with_name(f".{target.name}.pieces")
        self._check()

    def run(self, progress: Callable[[int, int | None], object]) -> Report:
        """Predict what is left, and put all together."""
        report, total = Report(), self.source.total()
        done = self._begin()
        report.resumed = min(done * self.size, total or done * self.size)
        progress(report.resumed, total)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            n = done
            for n, piece in enumerate(self.source.pieces(self.size, done), start=done + 1):
                self._predict(piece, n)
                progress(piece.first - 1 + len(piece.rows), total)
                report.notes.update({str(remark.message) for remark in said})
                said.clear()
        self._finish(report, n)
        return report

    def _check(self) -> None:
        """Refuse what cannot work, before anything is written."""
        if self.target.resolve() == self.path.resolve():
            raise DataError(f"the output would take the place of the source, {self.path}; give it another name.")
        if isinstance(self.source, FolderSource) is not (self.model.kind == "pictures"):
            raise DataError(f"this model takes {self.model.kind}: give it {_WANTED[self.model.kind]}.")
        if taken := [name for name in self.results if name in self.source.columns]:
            raise DataError(
                f"the source has a column {taken[0]!r} already, which is what a result is called; rename it."
            )
        needed: dict[str, list[str]] = {
            "table": list(getattr(self.model.preparation, "names", [])),
            "texts": [self.column],
        }
        missing = [name for name in needed.get(self.model.kind, []) if name not in self.source.columns]
        if missing:
            raise DataError(
                f"the source has no column {', '.join(map(repr, missing[:5]))}, which the model takes; it has: "
                f"{', '.join(map(repr, self.source.columns[:20]))}."
            )

    def _result_columns(self) -> list[str]:
        classes = [str(name) for name in self.model.classes or ()]
        if self.model.task in ("value", "order"):
            return [f"prediction_{name}" for name in classes] or ["prediction"]
        named = [f"p_{name}" for name in classes] if self.probabilities else []
        return ["prediction", *(["probability"] if self.model.task == "category" else []), *named]

    def _begin(self) -> int:
        """Return how many pieces an earlier run of the same job has left; of another job none is kept."""
        about = [self.model.version, self.size, self.columns, self.column, self.source.identity()]
        mine = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        note = self.folder / "job"
        if not note.is_file() or note.read_text() != mine:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            _write_whole(note, lambda file: file.write_text(mine))
        n = 0
        while self._piece(n + 1).is_file():
            n += 1
        return n

    def _piece(self, n: int) -> Path:
        return self.folder / f"{n:09}{self.writer.suffix}"

    def _account(self, n: int) -> Path:
        return self.folder / f"{n:09}.account"

    def _predict(self, piece: Piece, n: int) -> None:
        """Write the results of a piece: its account first, so that a piece that is there has one."""
        items: list[Any] = []
        places: list[int] = []
        unread: dict[int, str] = {}
        for i, row in enumerate(piece.rows):
            try:
                if isinstance(row, DataError):
                    raise row
                items.append(self._item(row))
                places.append(i)
            except DataError as exc:
                unread[i] = str(exc)
        answers = _answers(self.model, items)
        written = []
        for i, answer in zip(places, answers, strict=True):
            row = piece.rows[i]
            if isinstance(answer, Exception):
                unread[i] = str(answer)
            elif isinstance(row, dict):
                written.append([*row.values(), *self._cells(answer)])
        account = {"rows": len(written), "unread": [[piece.first + i, unread[i]] for i in sorted(unread)]}
        _write_whole(self._account(n), lambda file: file.write_text(json.dumps(account)))
        _write_whole(self._piece(n), lambda file: self.writer.piece(file, self.columns, written))

    def _item(self, row: dict[str, Any]) -> Any:
        if isinstance(self.source, FolderSource):
            return self.source.folder / row["file"]
        if self.model.kind == "texts":
            return row[self.column]
        preparation: Any = self.model.preparation
        if self.source.is_text and hasattr(preparation, "from_text"):
            return preparation.from_text(row)
        return self.model.instance(row)

    def _cells(self, answer: dict[str, Any]) -> list[Any]:
        if "value" in answer:
            return [answer["value"]]
        if "values" in answer:
            return [*answer["values"].values()]
        named = [*answer["probabilities"].values()] if self.probabilities else []
        if "labels" in answer:
            return [" ".join(map(str, answer["labels"])), *named]
        return [answer["label"], answer["probability"], *named]

    def _finish(self, report: Report, n: int) -> None:
        """Make one file of all pieces, and one of the rows that could not be read."""
        accounts = [json.loads(self._account(i).read_text()) for i in range(1, n + 1)]
        bad = [row for account in accounts for row in account["unread"]]
        report.n_rows, report.n_bad = sum(account["rows"] for account in accounts), len(bad)
        unread = self.target.with_name(f"{self.target.stem}.unread.csv")
        if bad:
            _write_whole(unread, lambda file: _write_csv(file, [("row", "reason"), *bad]))
        else:
            unread.unlink(missing_ok=True)
        pieces = [self._piece(i) for i in range(1, n + 1)]
        if pieces:
            _write_whole(self.target, lambda file: self.writer.join(pieces, file))
        else:
            _write_whole(self.target, lambda file: self.writer.piece(file, self.columns, []))
        shutil.rmtree(self.folder, ignore_errors=True)


_WANTED = {
    "pictures": "a folder of them",
    "table": "a .csv or .parquet file of rows",
    "ratings": "a .csv or .parquet file with a column of users and one of items",
    "texts": "a .csv or .parquet file with a column of texts",
    "arrays": "arrays, in Python",
}


def _answers(model: RuntimeModel, items: Sequence[Any]) -> list[Any]:
    """Return an answer for each item, or the error that it raises: a batch that fails is halved."""
    if not items:
        return []
    try:
        return list(model.answers(items))
    except Exception as exc:  # a decoder, say, may fail in any way
        if len(items) == 1:
            return [exc]
        half = len(items) // 2
        return [*_answers(model, items[:half]), *_answers(model, items[half:])]


def _write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Let a file appear in one step, whole and on the disk."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as opened:
            os.fsync(opened.fileno())
        temporary.replace(file)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_csv(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
