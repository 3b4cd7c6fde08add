"""Tables and arrays that say what is on pictures: read as they are written, checked as a whole, made into labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learnkit.core.errors import DataError, say
from learnkit.data.files import check_encoding, find_spelling
from learnkit.data.frames import check_columns
from learnkit.data.labels import as_labels
from learnkit.data.targets import Category, MultiCategory, Real, Target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Labelled", "Mistakes", "labels_from_array", "read_cells", "read_table"]

_YES_OR_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_SHOWN = 20


@dataclass
class Labelled:
    """Labels as `target` takes them, one per picture; without a target, names whose distinct ones are the classes."""

    labels: Any
    target: Target | type[MultiCategory] | None


class Mistakes:
    """What is wrong with the rows of a table, gathered, so that all of it is said at once."""

    def __init__(self, where: str, names: Sequence[str]) -> None:
        self.where, self.names = where, names
        self.kinds: list[str] = []
        self.rows: list[tuple[int, str]] = []

    def add(self, rows: Sequence[int] | NDArray[Any], summary: str, each: str) -> None:
        """Note that in `rows` there is something wrong; `each` says what, of one row, `summary` of all of them."""
        if len(rows):
            self.kinds.append(f"{len(rows)} {summary}, the first is row {rows[0]} ({self.names[rows[0]]})")
            self.rows += [(int(row), each) for row in rows]

    def check(self) -> None:
        """Raise one error for everything that was noted; the first twenty rows are listed."""
        if not self.kinds:
            return
        listed = "".join(f"\n  row {row} ({self.names[row]}): {what}" for row, what in sorted(self.rows)[:_SHOWN])
        more = f"\n  and {len(self.rows) - _SHOWN} more" if len(self.rows) > _SHOWN else ""
        raise DataError(f"{self.where}: {'; '.join(self.kinds)}.{listed}{more}")


def read_table(
    table: Path,
    folder: Path,
    *,
    suffix: str,
    cat_separator: str,
    continuous: bool,
    skip_header: bool,
    label_columns: Sequence[str] | None,
    is_multi: bool | None,
    encoding: str,
) -> tuple[list[Path], Labelled, Mistakes]:
    """Read the pictures' files and labels from a table, and note what is wrong with it; see `from_csv`."""
    if not isinstance(cat_separator, str) or not cat_separator:
        raise ValueError(f"`cat_separator` must be the text between two labels; got {cat_separator!r}.")
    check_encoding(encoding)
    cells: Any = read_cells(table, encoding)
    columns = [f"column {i}" for i in range(cells.shape[1])]
    first = folder / f"{cells.iat[0, 0]}{suffix}"
    if skip_header and cells.iat[0, 0] and find_spelling(first).is_file():
        warnings.warn(
            f"the first line of {table} names a picture, {first.name}, so the table is taken to have no header. Say so "
            "with `skip_header=False`.",
            stacklevel=3,
        )
    elif skip_header:
        columns = list(cells.iloc[0])
        cells = cells.iloc[1:].reset_index(drop=True)
    if cells.shape[1] < 2 or not len(cells):
        raise DataError(
            f"{table} must have names in its first column and labels in its second; it has {columns} and {len(cells)} row(s)."
        )
    names = cells.iloc[:, 0].tolist()
    wrong = Mistakes(str(table), names)
    wrong.add(np.flatnonzero(cells.iloc[:, 0] == ""), "row(s) have no name", "has no name")
    twice = cells.iloc[:, 0].duplicated(keep=False) & (cells.iloc[:, 0] != "")
    wrong.add(np.flatnonzero(twice), "name(s) stand in several rows", "stands in several rows")
    labels = cells.iloc[:, 1:]
    labels.columns = columns[1:]
    if label_columns is not None:
        chosen = [label_columns] if isinstance(label_columns, str) else list(label_columns)
        check_columns(columns[1:], chosen, str(table))
        labels = labels[chosen]
    files = [find_spelling(folder / f"{name}{suffix}") for name in names]
    if continuous:
        return files, _numbers(labels, wrong), wrong
    return files, _classes(labels, label_columns, cat_separator, is_multi, table, wrong), wrong


def read_cells(table: Path, encoding: str) -> pd.DataFrame:
    """Return all cells of a table as text without the blanks around it; nothing is taken for a number or a gap."""
    import pandas as pd

    try:
        cells = pd.read_csv(table, header=None, dtype=str, na_filter=False, index_col=False, encoding=encoding)
    except UnicodeDecodeError as exc:
        raise DataError(
            f"{table} is not written in {encoding} ({exc}). Say how with `encoding=`, 'latin-1' say."
        ) from exc
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as exc:
        raise DataError(f"{table} cannot be read as a table of comma-separated text: {exc}") from exc
    return cells.apply(lambda column: column.str.strip())


def _numbers(labels: pd.DataFrame, wrong: Mistakes) -> Labelled:
    import pandas as pd

    values: NDArray[Any] = labels.apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(
        dtype=np.float64
    )
    empty = ((labels == "") | (labels.apply(lambda column: column.str.lower()) == "nan")).to_numpy().any(axis=1)
    wrong.add(np.flatnonzero(empty), "row(s) have no label", "has no label")
    no_number = ~np.isfinite(values).all(axis=1) & ~empty
    wrong.add(np.flatnonzero(no_number), "row(s) hold labels that are no finite numbers", "its label is no number")
    n = labels.shape[1]
    return Labelled(values[:, 0] if n == 1 else values, Real(n))


def _classes(
    labels: pd.DataFrame,
    label_columns: Sequence[str] | None,
    separator: str,
    is_multi: bool | None,
    table: Path,
    wrong: Mistakes,
) -> Labelled:
    if labels.shape[1] > 1:
        flags = labels.apply(lambda column: column.str.lower().map(_YES_OR_NO))
        if not flags.isna().to_numpy().any():
            return _one_hot(flags.to_numpy(dtype=np.int64), list(labels.columns), is_multi, table, wrong)
        if label_columns is not None or _are_shares(labels):
            raise DataError(
                f"several columns of {table} hold labels ({', '.join(map(str, labels.columns))}), so every cell must be 0 or 1; "
                f"{int(flags.isna().to_numpy().sum())} are not. For numbers to predict pass `continuous=True`."
            )
        warnings.warn(
            f"the labels are read from the second column of {table}, {labels.columns[0]!r}; {', '.join(labels.columns[1:])} "
            "are not used. `label_columns=` chooses.",
            stacklevel=4,
        )
    texts = labels.iloc[:, 0].tolist()
    if is_multi is None:
        is_multi = any(separator in text for text in texts) if separator.strip() else _are_lists(texts, separator)
    if is_multi:
        several = [[part.strip() for part in text.split(separator) if part.strip()] for text in texts]
        return Labelled(several, MultiCategory)
    empty = [row for row, text in enumerate(texts) if not text]
    wrong.add(empty, "row(s) have no label", "has no label")
    return Labelled(texts, None)


def _one_hot(flags: NDArray[Any], names: list[str], is_multi: bool | None, table: Path, wrong: Mistakes) -> Labelled:
    if is_multi is False:
        wrong.add(np.flatnonzero(flags.sum(1) != 1), "row(s) have not exactly one label", "has not exactly one label")
        return Labelled([names[i] for i in flags.argmax(1)], Category(names))
    say(f"the columns {', '.join(names)} of {table} hold zeros and ones: several labels per picture.")
    return Labelled([[names[i] for i in np.flatnonzero(row)] for row in flags], MultiCategory(names))


def _are_shares(labels: pd.DataFrame) -> bool:
    """Whether all the columns hold numbers in 0..1: probabilities."""
    import pandas as pd

    values = labels.apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(dtype=np.float64)
    return bool(((values >= 0) & (values <= 1)).all())


def _are_lists(texts: Sequence[str], blank: str) -> bool:
    """Whether the blanks in labels separate several labels, and are not part of names such as "golden retriever".

    A label that is known by itself ends one text and stands before others elsewhere: "clear" and "primary" do in "clear",
    "clear primary", "clear primary water". The words of names keep their places: a retriever comes last, golden or not.
    Lists it is where at least half of the texts of several words hold such a label.
    """
    distinct = {tuple(part for part in text.split(blank) if part) for text in texts if text}
    several = [parts for parts in distinct if len(parts) > 1]
    known = {parts[-1] for parts in distinct} & {part for parts in several for part in parts[:-1]}
    telling = sum(not known.isdisjoint(parts) for parts in several)
    are_lists = bool(several) and 2 * telling >= len(several)
    words = [part for parts in several for part in parts]
    if 0 < telling < len(several) or (not are_lists and len(set(words)) < len(words)):
        taken, other = ("several labels per picture", False) if are_lists else ("names that hold blanks", True)
        say(
            f"labels such as {blank.join(min(several))!r} are taken for {taken}; `is_multi={other}` says that they are not."
        )
    return are_lists


def labels_from_array(y: ArrayLike, classes: Sequence[Any] | None, *, where: str = "`y`") -> Labelled:
    """Return the labels that an array of class numbers, names, or zeros and ones per class holds.

    Parameters
    ----------
    y : array of shape (n,), (n, 1) or (n, n_classes)
    classes : sequence or None
        Names of the class numbers, or of the columns; `None` where the values themselves are the classes.
    where : str
        What `y` is called, for messages.

    Raises
    ------
    DataError
        If there is a value that is none of these: missing, negative, a fraction.
    """
    if isinstance(classes, str | bytes):
        raise DataError(f"`classes` must be a list of names; got the text {classes!r}.")
    try:
        values = np.asarray(y)
    except ValueError as exc:
        raise DataError(f"{where} must hold one label, or one number per class, for each picture: {exc}") from exc
    if values.dtype.kind == "U" and not hasattr(y, "dtype"):
        values = np.asarray(y, dtype=object)  # of a list of 1 and "1" NumPy makes two equal texts
    names = None if classes is None else list(classes)
    if values.ndim == 2 and values.shape[1] == 1 and (names is None or len(names) != 1):
        values = values[:, 0]
    if values.ndim == 2:
        return _from_columns(values, names, where)
    if values.ndim != 1:
        raise DataError(f"{where} must have the shape (n,) or (n, n_classes); got {values.shape}.")
    numbers = values.dtype.kind in "biuf"
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~(np.isfinite(values) & (values == np.trunc(np.where(np.isfinite(values), values, 0)))))
        if len(bad):
            raise DataError(
                f"{where} must hold class numbers; {len(bad)} are missing or fractions, the first is item {bad[0]} "
                f"({values[bad[0]]:g}). Leave items without a class out; for numbers to predict pass `continuous=True`."
            )
    if numbers and len(values) and values.min() < 0:
        bad = np.flatnonzero(values < 0)
        raise DataError(
            f"class numbers must be in 0..{'' if names is None else len(names) - 1}; {len(bad)} of {where} are negative, the "
            f"first is item {bad[0]} ({values[bad[0]]}). Leave items without a class out, or give classes by name."
        )
    if names is None or not numbers:
        return Labelled(as_labels(values), None if names is None else Category(names))
    target = Category(names)
    if len(values) and values.max() >= len(names):
        bad_numbers = np.unique(values[values >= len(names)])[:5].tolist()
        raise DataError(
            f"{where}: class numbers must be in 0..{len(names) - 1}, as there are {len(names)} `classes`; got {bad_numbers}."
        )
    return Labelled([names[int(i)] for i in values], target)


def _from_columns(values: NDArray[Any], names: list[Any] | None, where: str) -> Labelled:
    names = list(range(values.shape[1])) if names is None else names
    if values.shape[1] != len(names):
        raise DataError(f"{where} has {values.shape[1]} columns, and there are {len(names)} `classes`: one for each.")
    flags = values.astype(np.float64) if values.dtype.kind in "biuf" else np.full(values.shape, np.nan)
    bad = np.argwhere((flags != 0) & (flags != 1))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"with a column for every class, {where} must hold zeros and ones; {len(bad)} numbers are neither, the first is "
            f"{values[row, column]} (item {row}, class {names[column]!r}). Of probabilities take `y >= 0.5`, or `np.argmax(y, 1)` for one "
            "class per picture; for numbers to predict pass `continuous=True`."
        )
    return Labelled([[names[i] for i in np.flatnonzero(row)] for row in flags], MultiCategory(names))
