"""Ids as people have them, and the row numbers of an embedding table: `Vocabulary` goes from one to the other.

Code 0 is kept for "unknown", so a new user or item at prediction time needs no special case: it looks up row 0,
which holds the mean embedding (see `learnkit.collab.coldstart`).
"""

from __future__ import annotations

import datetime
import json
import uuid
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import CheckpointError, DataError
from learnkit.core.listing import check_list, some
from learnkit.data.labels import one_spelling

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Vocabulary", "code_dtype", "decode_ids", "decoded", "encode_ids", "some"]

CHUNK = 1 << 17  # rows looked up at a time, so that a long column needs no second copy of itself


class Vocabulary:
    """The ids of one kind (users, items), numbered from 1 in order of first appearance.

    Parameters
    ----------
    ids : sequence of hashable
        Distinct ids: numbers, text, UUIDs, tuples, anything hashable.
    what : str
        "user" or "item", for messages.

    Attributes
    ----------
    ids : array of shape (n,)
        `ids[code - 1]` is the id of `code`.

    Examples
    --------
    >>> from learnkit.collab import Vocabulary
    >>> users = Vocabulary(["ann", "bob"], "user")
    >>> users.encode(["bob", "eve"]), users.size
    (array([2, 0], dtype=int16), 3)
    """

    def __init__(self, ids: Iterable[Any], what: str) -> None:
        import pandas as pd

        self.what = what
        array = ids if isinstance(ids, np.ndarray) else object_array(check_list("ids", ids, f"{what} ids"))
        self.index = pd.Index(array, tupleize_cols=False)
        self.ids: NDArray[Any] = array
        if not self.index.is_unique:
            raise DataError(
                f"the {what} ids are not distinct: {some([*map(repr, self.index[self.index.duplicated()])])}."
            )

    @classmethod
    def from_column(cls, column: pd.Series, what: str) -> Vocabulary:
        """Make the vocabulary of a column of a frame.

        Raises
        ------
        DataError
            If an id is missing or cannot be hashed; the first such row is named.
        """
        import pandas as pd

        missing = column.isna().to_numpy()
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise DataError(
                f"{int(missing.sum())} row(s) have no {what} id in column {column.name!r}, the first is row {row}. "
                f"Drop them: df.dropna(subset=[{column.name!r}])."
            )
        try:
            found = pd.unique(decoded(column))
        except TypeError as exc:
            raise DataError(f"the {what} ids in column {column.name!r} must be hashable: {exc}.") from exc
        vocabulary = cls(np.asarray(found), what)
        vocabulary._warn_of_likenesses(str(column.name))
        return vocabulary

    def _warn_of_likenesses(self, column: str) -> None:
        """Name ids that are two for us and, most likely, one for whoever wrote them."""
        if self.ids.dtype != object:
            return
        first: dict[str, Any] = {}
        alike = []
        for value in self.ids:
            if isinstance(value, str | int | float):
                other = first.setdefault(one_spelling(str(value).strip()), value)
                if other is not value:
                    alike.append((other, value))
        if alike:
            warnings.warn(
                f"{len(alike)} {self.what} id(s) in column {column!r} differ from another one only in their type, in blanks "
                f"around them or in how Unicode spells them, such as {alike[0][0]!r} and {alike[0][1]!r}; they count as different. Give the column one "
                "type: pd.read_csv(..., dtype={column: str}).",
                stacklevel=5,
            )

    @property
    def size(self) -> int:
        """Rows of the embedding table: one per id, and row 0 for the unknown."""
        return len(self.ids) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, values: pd.Series | Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
        """Return the code of each id, 0 for an unknown one, in the smallest integer type that holds them."""
        import pandas as pd

        series = (
            decoded(values)
            if isinstance(values, pd.Series)
            else pd.Series(object_array(check_list("values", values, f"{self.what} ids")))
        )
        codes = np.empty(len(series), dtype=code_dtype(self.size))
        for start in range(0, len(series), CHUNK):
            part = pd.Index(series.iloc[start : start + CHUNK].to_numpy(), tupleize_cols=False)
            if self.index.dtype != part.dtype and object in (self.index.dtype, part.dtype):
                part = part.astype(object)  # a column of ids typed differently may still hold equal ids
            try:
                codes[start : start + CHUNK] = self.index.get_indexer(part) + 1
            except TypeError as exc:
                raise DataError(
                    f"{self.what} ids must be hashable; got {some([*map(repr, part[:3])])}: {exc}."
                ) from exc
        return codes

    def as_dict(self) -> dict[Any, int]:
        """Return the code of each id, `{id: code}`; 0 stands for the unknown and has none."""
        return {value: code for code, value in enumerate(self.ids.tolist(), start=1)}

    def encode_one(self, value: Any) -> int:
        """Return the code of one id, 0 if it is unknown."""
        return int(self.encode([value])[0])

    def decode(self, codes: NDArray[Any] | Sequence[int]) -> list[Any]:
        """Return the id of each code, `None` for code 0, as plain Python objects."""
        codes = np.asarray(
            codes if isinstance(codes, np.ndarray) else check_list("codes", codes, "codes"), dtype=np.int64
        )
        ids = self.ids[np.maximum(codes - 1, 0)].tolist()
        return [value if code else None for value, code in zip(ids, codes, strict=True)]

    def unknown(self, values: Iterable[Any]) -> list[Any]:
        """Return the distinct values that are no id of this vocabulary, in order."""
        values = check_list("values", values, f"{self.what} ids")
        missing = self.encode(values) == 0
        return list(dict.fromkeys(value for value, gone in zip(values, missing, strict=True) if gone))


def decoded(column: pd.Series) -> pd.Series:
    """Return a column whose values pandas can look up: dictionary-encoded Arrow ones are read out."""
    if str(column.dtype).startswith("dictionary<"):
        return column.astype(object)
    return column


def object_array(values: list[Any]) -> NDArray[Any]:
    """Return a one-dimensional array of `values`: of numbers or text where all are, else of objects."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {int, str, np.int64, np.int32}:
        array = np.array(values, dtype=object if kinds == {str} else None)
        if array.dtype != np.uint64:
            return array
    boxed = np.empty(len(values), dtype=object)
    boxed[:] = values
    return boxed


def code_dtype(size: int) -> type[np.signedinteger[Any]]:
    """Return the smallest signed integer type whose values reach `size - 1`."""
    for dtype in (np.int16, np.int32):
        if size - 1 <= np.iinfo(dtype).max:
            return dtype
    return np.int64


def encode_ids(ids: Iterable[Any], what: str) -> list[Any]:
    """Turn ids into what JSON can hold, each marked with its type unless it is a number or text.

    Raises
    ------
    CheckpointError
        If an id is of a type that cannot be written as data.
    """
    plain = np.asarray(ids).tolist() if isinstance(ids, np.ndarray) else list(ids)
    return [_to_json(value, what) for value in plain]


def decode_ids(values: Iterable[Any]) -> list[Any]:
    """Turn what `encode_ids` wrote back into ids."""
    return [_from_json(value) for value in values]


def _to_json(value: Any, what: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, uuid.UUID):
        return {"uuid": str(value)}
    if isinstance(value, datetime.datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(item, what) for item in value]}
    raise CheckpointError(
        f"{what} ids of type {type(value).__name__} cannot be saved as data. Use numbers, text, UUIDs, dates, bytes or "
        "tuples of these as ids, e.g. df[column].map(str)."
    )


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_from_json(item) for item in content)
    readers: dict[str, Any] = {
        "uuid": uuid.UUID,
        "datetime": datetime.datetime.fromisoformat,
        "date": datetime.date.fromisoformat,
        "bytes": bytes.fromhex,
    }
    if kind not in readers:
        raise CheckpointError(f"the file holds ids of the unknown kind {json.dumps(kind)}; update learnkit.")
    return readers[kind](content)
