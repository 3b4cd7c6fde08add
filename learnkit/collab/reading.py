"""A file of ratings to a frame: ids as they are written, whatever else the file holds.

pandas guesses the type of a column a chunk at a time, so that `007` becomes 7 and the same ISBN is a number in one chunk and
text in the next. Here ids are read as text, and one rule holds for a whole column: if every id is a whole number as Python
writes it (`7`, not `007`, `+7` or `7.0`), they are numbers; else all stay the text that is there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError
from learnkit.data.files import check_encoding
from learnkit.data.frames import check_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_columns", "with_ids"]

CHUNK = 1 << 18  # rows read at a time

WHOLE = r"-?[1-9][0-9]{0,17}|0"
"""A whole number as Python writes it, of at most 18 digits, so that it fits 64 bits."""


def read_columns(where: Path, ids: Sequence[str], others: Sequence[str], *, sep: str, encoding: str) -> pd.DataFrame:
    """Read some columns of a file; those of `ids` as categories: the texts that are written there.

    Raises
    ------
    DataError
        If the file or a column is not there, or it is no text in this encoding.
    """
    import pandas as pd

    if not where.is_file():
        near = sorted(entry.name for entry in where.parent.glob("*") if entry.is_file())[:8]
        raise DataError(f"there is no file {where}. Its folder holds: {', '.join(near) or '(nothing)'}.")
    check_encoding(encoding)
    names = [*ids, *others]
    numbers: dict[str, dict[str, int]] = {name: {} for name in ids}  # each distinct text once, however long the column
    codes: dict[str, list[NDArray[np.int64]]] = {name: [] for name in ids}
    rest = []
    try:
        check_columns(pd.read_csv(where, sep=sep, nrows=0, encoding=encoding).columns, names, str(where))
        chunks = pd.read_csv(
            where,
            sep=sep,
            encoding=encoding,
            usecols=names,
            index_col=False,  # a separator at the end of each line makes no index of the first column
            dtype=dict.fromkeys(ids, str),
            # A user called NA is one; in the other columns the usual words mean a missing value.
            keep_default_na=False,
            na_values={name: [""] if name in ids else MISSING for name in names},
            chunksize=CHUNK,
        )
        for chunk in chunks:
            for name in ids:
                found, texts = pd.factorize(chunk[name])
                known = numbers[name]
                table = np.array([*(known.setdefault(str(text), len(known)) for text in texts), -1], dtype=np.int64)
                codes[name].append(table[found])  # -1, a missing id, stays -1
            rest.append(chunk[list(others)])
    except UnicodeDecodeError as exc:
        raise DataError(
            f'{where} is not {encoding}: {exc}. Pass the right `encoding=`, such as "latin-1" for old Western files.'
        ) from exc
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as exc:
        raise DataError(f"{where} cannot be read as a table with columns separated by {sep!r}: {exc}.") from exc
    frame = pd.concat(rest, ignore_index=True)
    for name in ids:
        categories = pd.Index(list(numbers[name]), dtype=object)
        frame[name] = pd.Categorical.from_codes(np.concatenate(codes[name]), categories=categories)
    return frame


def with_ids(column: pd.Series, *, like: pd.Series | None = None) -> pd.Series:
    """Return a column of `read_columns` as ids: numbers if all are whole numbers as Python writes them, else as it is.

    Parameters
    ----------
    column : Series of categories
    like : Series, optional
        Ids that decide in place of the column: those of the ratings, for the pairs to predict.
    """
    import pandas as pd

    texts = column.cat.categories
    whole = np.array([re.fullmatch(WHOLE, text) is not None for text in texts], dtype=bool)
    as_numbers = bool(len(texts) and whole.all()) if like is None else like.dtype.kind == "i"
    if not as_numbers or column.hasnans:
        return column
    if whole.all():
        values = texts.astype(np.int64).to_numpy()[column.cat.codes]
    else:  # some are no id of the ratings, whose ids are numbers
        mixed = np.empty(len(texts), dtype=object)
        mixed[:] = [int(text) if number else text for text, number in zip(texts, whole, strict=True)]
        values = mixed[column.cat.codes]
    return pd.Series(values, index=column.index, name=column.name)


MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""What stands for a missing rating or time."""
