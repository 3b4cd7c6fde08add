"""Rows of a table without torch or pandas: categories to codes, numbers scaled, as the training rows were.

`learnkit.tabular.Mapper` does the same for whole frames. Here rows come as dicts, and every value by itself.
"""

from __future__ import annotations

import datetime
import decimal
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, user_stacklevel
from learnkit.runtime.columns import as_python, columns_of, is_missing, some

__all__ = ["TablePreparation"]


class TablePreparation:
    """From rows to codes and numbers.

    Parameters
    ----------
    prep : mapping
        `columns` (what was learned of each, as `Mapper.to_dict` writes it), `other` (names that training had and the network
        does not need), `cats` and `conts` (which prepared columns it takes, in order), `untrained` (codes without a training
        row, by column) and `constant` (the value that all training rows had, by column), as `TablePrep.portable` writes them.
    """

    def __init__(self, prep: Mapping[str, Any]) -> None:
        self.columns: list[dict[str, Any]] = prep["columns"]
        self.names = [column["name"] for column in self.columns]
        self._by_name = {column["name"]: column for column in self.columns}
        # JSON and CSV know names as text only; those of an array's columns are numbers.
        self._named = {str(name): name for name in self.names}
        self.cats, self.conts, self.other = prep["cats"], prep["conts"], set(prep["other"])
        self._codes = {
            column["name"]: {level: code for code, level in enumerate(column["levels"], start=1)}
            for column in self.columns
            if column["kind"] == "category"
        }
        made = {name for column in self.columns for name in _made_of(column)}
        if unknown := [name for name in (*self.cats, *self.conts) if name not in made]:
            raise ValueError(f"the network takes {some(unknown)}, which no column becomes")
        self.untrained = {name: set(codes) for name, codes in prep["untrained"]}
        self.constant = dict(prep["constant"])

    def prepare(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return `cats` of shape `(B, n_cat)` and `conts` of shape `(B, n_cont)`.

        Parameters
        ----------
        items : mapping, list of mappings, or frame
            A row as a dict, columns as a dict of lists, or rows as dicts. Categories that no training row had count as missing
            and columns that were not there in training are ignored, with a warning.

        Raises
        ------
        DataError
            If a column is missing, or holds something else than in training; column and row are named.
        """
        columns = columns_of(items)
        n = self._check(columns)
        notes: list[str] = []
        known = {*self.names, *self.other}
        extra = [name for name, values in columns.items() if name not in known and not all(map(is_missing, values))]
        if extra:
            notes.append(f"{len(extra)} column(s) were not there in training and are ignored: {some(extra)}")
        made: dict[Any, NDArray[Any]] = {}
        for column in self.columns:
            made |= (
                self._category(column, columns, notes)
                if column["kind"] == "category"
                else _number(column, columns, notes)
            )
        cats = np.zeros((n, len(self.cats)), np.int64)
        conts = np.zeros((n, len(self.conts)), np.float32)
        for j, name in enumerate(self.cats):
            cats[:, j] = made[name]
        for j, name in enumerate(self.conts):
            conts[:, j] = self._as_the_network_takes_it(name, made[name], notes)
        if notes:
            warnings.warn("preparing the rows: " + "; ".join(notes) + ".", stacklevel=user_stacklevel())
        return {"cats": cats, "conts": conts}

    def instance(self, value: Any) -> dict[Any, Any]:
        """Return the row of a JSON object."""
        if not isinstance(value, dict):
            raise DataError(f"a row must be an object, {{column: value}}; got {type(value).__name__}.")
        row = {self._named.get(name, name): cell for name, cell in value.items()}
        if missing := [name for name in self.names if name not in row]:
            raise DataError(
                f"the row has no column {some([repr(name) for name in missing])}; a value that is missing is null."
            )
        for column in self.columns:
            _check_type(column, row[column["name"]])
        return row

    def unseen(self, row: Mapping[str, Any]) -> list[str]:
        """Return the columns of a row whose level training did not have."""
        return [
            name
            for name, code_of in self._codes.items()
            if not is_missing(row[name]) and _plain(row[name], self._by_name[name]["values"]) not in code_of
        ]

    def from_text(self, row: Mapping[str, str]) -> dict[Any, Any]:
        """Return the row of the cells of a CSV file, each as the kind of value that it was in training.

        An empty cell is missing, and so is `NA` or `nan` where it is no level of a category.

        Raises
        ------
        DataError
            If a cell is no number where training had numbers.
        """
        named = {self._named.get(name, name): cell for name, cell in row.items()}
        return {name: self._cell(name, cell) for name, cell in named.items()}

    def _cell(self, name: Any, cell: str) -> Any:
        column = self._by_name.get(name)
        if column is None:
            return cell
        category = column["kind"] == "category"
        kind = (
            column["values"] if category else "bool" if column.get("boolean") or column["dtype"] == "bool" else "float"
        )
        if category and kind in ("text", "date", "other") and cell in self._codes[name]:
            return cell
        if cell.strip() in _MISSING:
            return None
        if kind in ("text", "date", "other"):
            return cell
        try:
            return _READERS[kind](cell.strip())
        except (KeyError, ValueError) as exc:
            if category:  # a level that training did not have
                return cell
            raise DataError(f"column {name!r} holds {cell!r:.60}, which is no number.") from exc

    def fields(self) -> list[dict[str, Any]]:
        """Return name and kind of each column, and the levels of a category: what a form asks for."""
        return [
            {"name": column["name"], "kind": "category", "levels": column["levels"]}
            if column["kind"] == "category"
            else {
                "name": column["name"],
                "kind": "bool" if column.get("boolean") or column["dtype"] == "bool" else "number",
            }
            for column in self.columns
        ]

    def _check(self, columns: Mapping[Any, Sequence[Any]]) -> int:
        """Return how many rows there are, if every column that training had is there."""
        missing = [repr(name) for name in self.names if name not in columns]
        if missing:
            there = some([repr(name) for name in columns], 20) or "none"
            raise DataError(f"the frame, unlike that of the training, has no column {some(missing)}; it has: {there}.")
        n = len(next(iter(columns.values())))
        if not n:
            raise DataError("the frame has no rows.")
        return n

    def _as_the_network_takes_it(self, name: Any, values: NDArray[Any], notes: list[str]) -> NDArray[np.float32]:
        """Return a prepared column in single precision; of one that never changed in the training rows, that value."""
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        if not np.isfinite(single).all():
            row = int(np.isfinite(single).argmin())
            raise DataError(
                f"column {name!r} holds {values[row]:g} in row {row}, too large a number for a model; scale the column."
            )
        if name not in self.constant:
            return single
        value = np.float32(self.constant[name])
        if n := int((~np.isclose(single, value, rtol=1e-5, atol=1e-6)).sum()):
            column = self._by_name.get(name, {})
            raw = float(value) * column.get("std", 1.0) + column.get("mean", 0.0)
            notes.append(f"{n:,} value(s) of {name!r}, which was always {raw:g} in training, became that")
        return np.full_like(single, value)

    def _category(
        self, column: Mapping[str, Any], columns: Mapping[Any, list[Any]], notes: list[str]
    ) -> dict[Any, Any]:
        name, code_of = column["name"], self._codes[column["name"]]
        untrained = self.untrained.get(name, ())
        if column["values"] == "int":
            _check_whole(columns[name], name)
        codes, unseen = [], []
        for i, value in enumerate(columns[name]):
            if is_missing(value):
                codes.append(0)
                continue
            try:
                hash(value)  # of "other" values the text would be looked up
                code = code_of.get(_plain(value, column["values"]), 0)
            except (TypeError, ValueError) as exc:  # a list, or a span of time
                raise DataError(f"column {name!r} holds {value!r:.60} in row {i}: {exc}.") from exc
            if not code:
                unseen.append(value)
            codes.append(code)
        numbers = np.array(codes, np.int64)
        if unseen:
            hint = ""
            if len(unseen) == len(codes) and column["levels"]:
                hint = f"; none matches, so compare types: training had {column['levels'][0]!r}, here is {unseen[0]!r}"
            notes.append(_never_seen(name, unseen, hint))
        if column["one_hot"]:
            n = len(column["levels"]) + 1
            outputs = [*(f"{name}_{level}" for level in column["levels"]), f"{name}_nan"]
            return {output: numbers == (i + 1) % n for i, output in enumerate(outputs)}
        if untrained:
            odd = np.isin(numbers, [code for code in untrained if code])
            if odd.any():
                never = [column["levels"][code - 1] for code in numbers[odd]]
                notes.append(_never_seen(name, never, ""))
                numbers[odd] = 0
        return {name: numbers}


def _made_of(column: Mapping[str, Any]) -> list[Any]:
    """Return the names of what a column becomes; it must say all that is needed to make it."""
    name = column["name"]
    if column["kind"] == "category":
        if not isinstance(column["values"], str):
            raise ValueError(f"the levels of {name!r} are of no kind")
        return [*(f"{name}_{level}" for level in column["levels"]), f"{name}_nan"] if column["one_hot"] else [name]
    np.dtype(column["dtype"])
    for key in ("fill", "mean", "std"):
        float(column[key])
    _ = column["constant"]
    return [name, f"{name}_na"] if column["flag"] else [name]


def _never_seen(name: Any, values: Sequence[Any], hint: str) -> str:
    examples = list(dict.fromkeys(map(str, values)))
    return f"{len(values):,} value(s) of {name!r} were never seen in training ({some(examples)}) and became 0, as if missing{hint}"


def _check_whole(values: Sequence[Any], name: Any) -> None:
    """Refuse floats so large that the whole number that was meant may be another."""
    odd = [i for i, value in enumerate(values) if isinstance(value, float) and abs(value) >= EXACT]
    if odd:
        raise DataError(
            f"column {name!r} held whole numbers in training; row {odd[0]} has the float {values[odd[0]]!r}, which cannot tell "
            f"apart those above {EXACT:,}. Give whole numbers, in every row, or text."
        )


def _number(column: Mapping[str, Any], columns: Mapping[Any, list[Any]], notes: list[str]) -> dict[Any, Any]:
    name, fill = column["name"], column["fill"]
    values, kind = _floats(columns[name], name)
    known = ~np.isnan(values)
    boolean = column.get("boolean", column["dtype"] == "bool")
    if boolean and (odd := known & (values != 0) & (values != 1)).any():
        raise DataError(
            f"column {name!r} was true or false in training; here it holds {values[odd][0]:g} in row {int(odd.argmax())}."
        )
    if kind == "bool" and not boolean:
        notes.append(f"{name!r} was made of numbers in training and is true or false here, taken as 1 and 0")
    made: dict[Any, Any] = {}
    if column["flag"]:
        made[f"{name}_na"] = ~known
    elif n := int((~known).sum()):
        shown = str(bool(fill)) if column["dtype"] == "bool" else f"its median {fill:g}"
        notes.append(f"{n:,} missing value(s) in {name!r}, which had none in training, became {shown}")
    if column["constant"]:
        if n := int((known & ~np.isclose(values, fill, rtol=1e-6, atol=0)).sum()):
            always = bool(fill) if column["dtype"] == "bool" else f"{fill:g}"
            notes.append(f"{n:,} value(s) of {name!r}, which was always {always} in training, became that")
        values = np.full(len(values), fill)
    values = np.where(np.isnan(values), fill, values)
    if (column["mean"], column["std"]) == (0.0, 1.0):
        return made | {name: values.astype(column["dtype"])}
    with np.errstate(over="ignore"):  # the same steps as in training, or the last bit is another
        scaled = ((values - column["mean"]) / column["std"]).astype(column["dtype"])
    if not np.isfinite(scaled).all():
        row = int(np.isfinite(scaled).argmin())
        raise DataError(
            f"column {name!r} holds {values[row]:g} in row {row}, too large a number beside those of training."
        )
    return made | {name: scaled}


def _floats(values: Sequence[Any], name: Any) -> tuple[NDArray[np.float64], str | None]:
    """Return numbers with NaN for what is missing, and of what kind all of them are: "bool", "number" or "decimal"."""
    found = np.full(len(values), np.nan)
    kind, first = None, None
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        own = _kind(value)
        if own is None:
            hint = " Give it without quotes." if isinstance(value, str) else ""
            raise DataError(
                f"column {name!r} was made of numbers in training; here it holds {value!r:.60} ({type(value).__name__}) in row "
                f"{i}.{hint}"
            )
        if kind is None:
            kind, first = own, value
        elif own != kind:
            raise DataError(
                f"column {name!r} mixes types: {first!r} ({type(first).__name__}) and, in row {i}, {value!r} "
                f"({type(value).__name__}). Make it one."
            )
        try:
            found[i] = float(value)
        except OverflowError:
            found[i] = np.inf
        if np.isinf(found[i]):
            raise DataError(f"column {name!r} holds an infinite value, or one too large, in row {i}; make it missing.")
    return found, kind


def _kind(value: Any) -> str | None:
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, np.timedelta64):  # an integer, to numpy
        return None
    if isinstance(value, int | float | np.integer | np.floating):
        return "number"
    return "decimal" if isinstance(value, decimal.Decimal) else None


EXACT = 2**53
"""Up to here a float holds every whole number."""
_MISSING = ("", "NA", "NaN", "nan", "N/A", "null", "NULL", "None")
_TRUTH = {"true": True, "True": True, "TRUE": True, "1": True, "1.0": True} | {
    "false": False, "False": False, "FALSE": False, "0": False, "0.0": False
}  # fmt: skip


def _whole(cell: str) -> int:
    """Read a whole number, also as pandas writes those of a column with gaps: `7.0`."""
    try:
        return int(cell)
    except ValueError:
        number = float(cell)
        if not number.is_integer():
            raise
        return int(number)


_READERS: dict[str, Callable[[str], Any]] = {"int": _whole, "float": float, "bool": _TRUTH.__getitem__}


def _check_type(column: Mapping[str, Any], value: Any) -> None:
    """Refuse a value of JSON that is of another type than training had: it would count as one that was never seen."""
    if value is None:
        return
    kind = column["values"] if column["kind"] == "category" else "number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("text", "date", "other") and (is_number or isinstance(value, bool)):
        raise DataError(f"column {column['name']!r} held text in training; got {value!r}. Give it in quotes.")
    if kind in ("int", "float") and not is_number and not isinstance(value, list | dict):
        hint = " Give it without quotes." if isinstance(value, str) else ""
        raise DataError(f"column {column['name']!r} held numbers in training; got {value!r:.60}.{hint}")
    if kind == "number" and isinstance(value, bool) and not (column.get("boolean") or column["dtype"] == "bool"):
        raise DataError(f"column {column['name']!r} held numbers in training; got {value!r}.")


def _plain(value: Any, values: str) -> Any:
    """Return a value as levels are kept: dates and what is "other" as text, others as they are."""
    if values == "date":
        if isinstance(value, np.datetime64):
            return _iso(value)
        if isinstance(value, datetime.datetime):
            return value.isoformat()
        return f"{value.isoformat()}T00:00:00" if isinstance(value, datetime.date) else value
    if values == "other":
        if type(value) is datetime.timedelta or isinstance(value, np.timedelta64):
            raise ValueError('a span of time is to be given as its text, such as "1 days 00:00:00"')
        return str(value)
    return as_python(value)


def _iso(value: np.datetime64) -> str:
    """Return a date and time as text, with a fraction of a second where there is one, in six digits or in nine."""
    fine = np.datetime_data(value)[0] in ("ns", "ps", "fs", "as")
    whole, _, fraction = str(value.astype("datetime64[ns]" if fine else "datetime64[us]")).partition(".")
    fraction = fraction[:6] if fraction.endswith("000") and len(fraction) > 6 else fraction
    return f"{whole}.{fraction}" if fraction.strip("0") else whole
