"""What was learned of the training rows as plain data: the `Mapper`, which prepares other rows the same way.

It is saved with the model as JSON and prepares raw rows months later. Plain pandas; torch is not touched.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError, user_stacklevel
from learnkit.core.listing import some
from learnkit.data.frames import check_columns, check_frame
from learnkit.runtime.columns import as_python
from learnkit.tabular.columns import EXACT_FLOAT64, as_numbers, column_of, kind_of, names_of

__all__ = ["ATTRS_KEY", "CategoryColumn", "Mapper", "NumberColumn"]

FORMAT = 1
ATTRS_KEY = "learnkit.mapper"


@dataclass(frozen=True)
class CategoryColumn:
    """What was learned of a column of categories.

    Attributes
    ----------
    name : str
    values : {"text", "int", "float", "bool", "date", "other"}
        What the levels are; dates and others are kept and compared as text.
    levels : tuple
        The level of code 1, 2, ...; code 0 is missing or unknown.
    one_hot : bool
        Whether each level becomes a column of zeros and ones (`max_n_cat`), instead of the column of codes.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import proc_df
    >>> _, _, _, mapper = proc_df(pd.DataFrame({"State": ["HE", "BY", None]}))
    >>> mapper.column("State")
    CategoryColumn(name='State', values='text', levels=('BY', 'HE'), one_hot=False)
    """

    name: str
    values: str
    levels: tuple[Any, ...]
    one_hot: bool = False

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        return [name for name, _ in self.derived] if self.one_hot else [self.name]

    @property
    def derived(self) -> list[tuple[str, str]]:
        """Name of each column that is made beside or instead of it, and what of, for a message."""
        if not self.one_hot:
            return []
        levels = [(f"{self.name}_{level}", f"the level {level!r} of {self.name!r}") for level in self.levels]
        return [*levels, (f"{self.name}_nan", f"the missing values of {self.name!r}")]


@dataclass(frozen=True)
class NumberColumn:
    """What was learned of a column of numbers.

    Attributes
    ----------
    name : str
    fill : float
        The median, which takes the place of missing values.
    flag : bool
        Whether a column `{name}_na` says which values were missing, as some were in training.
    mean, std : float
        The column becomes `(x - mean) / std`; 0 and 1 leave it as it is.
    dtype : str
        Of the result.
    constant : bool
        Whether all training rows had one value. Nothing was learned of any other, so new rows get that value too.
    boolean : bool
        Whether it was true or false in training, so that a 2 or a 0.5 later on is a mistake.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import proc_df
    >>> _, _, _, mapper = proc_df(pd.DataFrame({"Km": [1.0, None, 3.0]}))
    >>> km = mapper.column("Km")
    >>> km.fill, km.flag, km.mean
    (2.0, True, 2.0)
    """

    name: str
    fill: float
    flag: bool
    mean: float = 0.0
    std: float = 1.0
    dtype: str = "float32"
    constant: bool = False
    boolean: bool = False

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        return [self.name, *(name for name, _ in self.derived)]

    @property
    def derived(self) -> list[tuple[str, str]]:
        """Name of each column that is made beside or instead of it, and what of, for a message."""
        return [(f"{self.name}_na", f"the missing values of {self.name!r}")] if self.flag else []

    @property
    def shown_fill(self) -> str:
        """What takes the place of a missing value, for a message."""
        return str(bool(self.fill)) if self.dtype == "bool" else f"its median {self.fill:g}"


@dataclass(frozen=True)
class Mapper:
    """What `proc_df` learned from the training rows: all that is needed to prepare other rows the same way.

    Attributes
    ----------
    columns : tuple of CategoryColumn or NumberColumn
        The columns a frame must have, in any order.
    y_fld : str, tuple of str or None
        The target's column, or columns; new rows need not have them.
    skip_flds, ignore_flds : tuple of str
        Columns left out, and columns passed through as they are.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import Mapper, proc_df
    >>> trn = pd.DataFrame({"State": ["HE", "BY", "HE"], "Km": [1.0, 2.0, 3.0], "Sales": [5, 6, 7]})
    >>> df, y, nas, mapper = proc_df(trn, "Sales")
    >>> again = Mapper.from_json(mapper.to_json())
    >>> again.transform(pd.DataFrame({"Km": [2.0], "State": ["BY"]}))
       State   Km
    0      1  0.0
    """

    columns: tuple[CategoryColumn | NumberColumn, ...]
    y_fld: Any = None
    skip_flds: tuple[Any, ...] = ()
    ignore_flds: tuple[Any, ...] = ()

    @property
    def cat_flds(self) -> list[Any]:
        """Names of the columns of codes."""
        return [c.name for c in self.columns if isinstance(c, CategoryColumn) and not c.one_hot]

    @property
    def cat_sz(self) -> list[tuple[Any, int]]:
        """Name and number of codes of each column of codes, the 0 for missing included."""
        return [(c.name, len(c.levels) + 1) for c in self.columns if isinstance(c, CategoryColumn) and not c.one_hot]

    @property
    def outputs(self) -> list[Any]:
        """Names of the prepared columns: the columns in their order, then the `_na` flags, then one-hot columns."""
        plain = [c.name for c in self.columns if not (isinstance(c, CategoryColumn) and c.one_hot)]
        flags = [f"{c.name}_na" for c in self.columns if isinstance(c, NumberColumn) and c.flag]
        one_hot = [name for c in self.columns if isinstance(c, CategoryColumn) and c.one_hot for name in c.outputs]
        return [*self.ignore_flds, *plain, *flags, *one_hot]

    def column(self, name: str) -> CategoryColumn | NumberColumn:
        """Return what was learned of one column.

        Raises
        ------
        DataError
            If there is no such column; those there are are listed.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"there is no column {name!r}; there are: {some([c.name for c in self.columns], 20)}.")

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        """Prepare rows as the training rows were.

        Values never seen in training become code 0, missing numbers the training median, columns that were not
        there in training are left out: a warning says what was done.

        Parameters
        ----------
        df : DataFrame
            With the columns of the training rows, in any order; it is not changed.

        Returns
        -------
        DataFrame
            With the columns `outputs`.

        Raises
        ------
        DataError
            If columns are missing, or one holds something else than in training.
        """
        return self._transform(df, ())

    def _transform(self, df: pd.DataFrame, skip: Sequence[Any]) -> pd.DataFrame:
        """Prepare rows; of the columns in `skip`, which training did not have, nothing is said."""
        check_frame(df)
        trained = [*self.ignore_flds, *(column.name for column in self.columns)]
        check_columns(df.columns, trained, "the frame, unlike that of the training,")
        notes: list[str] = []
        known = {*self.ignore_flds, *self.skip_flds, *names_of(self.y_fld), *skip, *(c.name for c in self.columns)}
        extra = [name for name in df.columns if name not in known and df[name].notna().any()]
        if extra:
            notes.append(f"{len(extra)} column(s) were not there in training and are ignored: {some(extra)}")
        out: dict[Any, Any] = {name: df[name] for name in self.ignore_flds}
        late: dict[Any, Any] = {}
        for column in self.columns:
            series = column_of(df, column.name)
            if isinstance(column, CategoryColumn):
                codes = _encode(series, column, notes)
                if column.one_hot:
                    late |= {name: codes == (i + 1) % (len(column.levels) + 1) for i, name in enumerate(column.outputs)}
                else:
                    out[column.name] = codes
            else:
                values = _read_numbers(series, column, notes)
                gaps = np.isnan(values)
                if column.flag:
                    late[f"{column.name}_na"] = gaps
                elif n := int(gaps.sum()):
                    notes.append(
                        f"{n:,} missing value(s) in {column.name!r}, which had none in training, became {column.shown_fill}"
                    )
                out[column.name] = scaled(values, gaps, column)
        if notes:
            warnings.warn("preparing the rows: " + "; ".join(notes) + ".", stacklevel=user_stacklevel())
        return self._frame(out, late, df.index)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and text, as JSON can hold it."""
        columns = []
        for column in self.columns:
            entry = {"kind": _KINDS[type(column)], **asdict(column)}
            if entry.get("boolean") == (
                entry.get("dtype") == "bool"
            ):  # said by the other; so do earlier versions' files
                del entry["boolean"]
            columns.append({key: list(v) if isinstance(v, tuple) else v for key, v in entry.items()})
        return {
            "format": FORMAT,
            "y_fld": list(self.y_fld) if isinstance(self.y_fld, tuple) else self.y_fld,
            "skip_flds": list(self.skip_flds),
            "ignore_flds": list(self.ignore_flds),
            "columns": columns,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Mapper:
        """Make a mapper of what `to_dict` returned.

        Raises
        ------
        DataError
            If the data is not of this kind.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise DataError(f"this preparation has format {found!r}; this learnkit reads format {FORMAT}.")
        classes = {kind: cls_ for cls_, kind in _KINDS.items()}
        try:
            columns = []
            for entry in data["columns"]:
                fields = {key: tuple(v) if key == "levels" else v for key, v in entry.items() if key != "kind"}
                if entry["kind"] == "number":  # earlier versions did not write it
                    fields.setdefault("boolean", entry.get("dtype") == "bool")
                columns.append(classes[entry["kind"]](**fields))
            y_fld = tuple(data["y_fld"]) if isinstance(data["y_fld"], list) else data["y_fld"]
            return cls(tuple(columns), y_fld, tuple(data["skip_flds"]), tuple(data["ignore_flds"]))
        except (KeyError, TypeError) as exc:
            raise DataError(f"this is not a preparation that learnkit wrote: {exc!r}.") from exc

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Mapper:
        """Make a mapper of what `to_json` returned."""
        return cls.from_dict(json.loads(text))

    def _frame(self, out: dict[Any, Any], late: dict[Any, Any], index: pd.Index[Any]) -> pd.DataFrame:
        everything = out | late
        frame = pd.DataFrame({name: everything[name] for name in self.outputs}, index=index, copy=False)
        # As text, so that copies of the frame are cheap and files that keep `attrs` can write it.
        frame.attrs[ATTRS_KEY] = self.to_json()
        return frame


_KINDS: dict[type, str] = {CategoryColumn: "category", NumberColumn: "number"}


def scaled(values: NDArray[np.float64], gaps: NDArray[np.bool_], column: NumberColumn) -> NDArray[Any]:
    if column.constant:
        values = np.full(len(values), column.fill)
    elif gaps.any():
        values = np.where(gaps, column.fill, values)
    if (column.mean, column.std) == (0.0, 1.0):
        return values.astype(column.dtype)
    with np.errstate(over="ignore"):
        result = values - column.mean
        result /= column.std
        result = result.astype(column.dtype)
        finite = np.isfinite(result.sum(dtype=np.float64))
    if not finite:
        row = int(np.isfinite(result).argmin())
        raise DataError(
            f"column {column.name!r} holds {values[row]:g} in row {row}, too large a number beside those of training, whose "
            f"mean is {column.mean:g} and standard deviation {column.std:g}. Correct it, or make it missing."
        )
    return result


def _read_numbers(series: pd.Series[Any], column: NumberColumn, notes: list[str]) -> NDArray[np.float64]:
    """Return the column's numbers, if it holds the kind of values that it held in training."""
    values = as_numbers(series, column.name)
    known = ~np.isnan(values)
    if column.boolean:
        odd = known & (values != 0) & (values != 1)
        if odd.any():
            raise DataError(
                f"column {column.name!r} was true or false in training; here it holds {values[odd][0]:g} in row "
                f"{int(odd.argmax())}. Make it boolean first."
            )
    elif known.any() and kind_of(series, column.name) == "bool":
        notes.append(f"{column.name!r} was made of numbers in training and is true or false here, taken as 1 and 0")
    if column.constant and (n := int((known & ~np.isclose(values, column.fill, rtol=1e-6, atol=0)).sum())):
        always = bool(column.fill) if column.dtype == "bool" else f"{column.fill:g}"
        notes.append(f"{n:,} value(s) of {column.name!r}, which was always {always} in training, became that")
    return values


def _encode(series: pd.Series[Any], column: CategoryColumn, notes: list[str]) -> NDArray[Any]:
    categorical = series if isinstance(series.dtype, pd.CategoricalDtype) else series.astype("category")
    code_of = {level: code for code, level in enumerate(column.levels, start=1)}
    categories = categorical.cat.categories.tolist()
    if column.values == "int" and any(isinstance(level, float) and abs(level) >= EXACT_FLOAT64 for level in categories):
        raise DataError(
            f"column {column.name!r} held whole numbers in training; here they are {series.dtype}, which cannot tell apart "
            f"those above {EXACT_FLOAT64:,}. Read them as whole numbers or as text."
        )
    table = np.zeros(len(categories) + 1, dtype=np.int64)  # the last entry is that of missing values, code -1
    for i, level in enumerate(categories):
        table[i] = code_of.get(plain(level, column.values), 0)
    raw = categorical.cat.codes.to_numpy()
    codes = table[raw]
    unseen = (codes == 0) & (raw >= 0)
    if n := int(unseen.sum()):
        examples = [categories[i] for i in np.unique(raw[unseen])[:5]]
        hint = ""
        if n == int((raw >= 0).sum()) and column.levels:
            hint = f"; none matches, so compare types: training had {column.levels[0]!r}, here is {examples[0]!r}"
        notes.append(
            f"{n:,} value(s) of {column.name!r} were never seen in training ({some(examples)}) and became 0, as if "
            f"missing{hint}"
        )
    return narrow(codes, len(column.levels))


def narrow(codes: NDArray[Any], n_levels: int) -> NDArray[Any]:
    """Return codes in the smallest signed type that holds 0..n_levels."""
    dtype = np.int8 if n_levels <= 127 else np.int16 if n_levels <= 32767 else np.int32
    return codes.astype(dtype)


def plain(level: Any, values: str) -> Any:
    """Return a level as JSON can hold it; also the key by which later values are looked up."""
    if values == "text":
        return str(level) if isinstance(level, str) else level
    if values == "date":
        # A number is no date, though pandas would read one as nanoseconds.
        return pd.Timestamp(level).isoformat() if isinstance(level, datetime.date | np.datetime64) else level
    if values == "other":
        return str(level)
    return as_python(level)
