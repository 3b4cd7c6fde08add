"""From a frame of anything to a frame of numbers, and the same again for rows that come later.

`proc_df` turns categories into codes (0 is missing or unknown), fills missing numbers with the median beside a
column that says so, and scales. What it learns from the training rows is a `Mapper`: plain data, which is saved
with the model as JSON and prepares raw rows months later. Plain pandas; torch is not touched.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learnkit.core.errors import DataError, check_positive

__all__ = [
    "CategoryColumn",
    "Mapper",
    "NumberColumn",
    "apply_cats",
    "cont_cat_split",
    "df_shrink",
    "proc_df",
    "train_cats",
]

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
    """

    name: str
    values: str
    levels: tuple[Any, ...]
    one_hot: bool = False

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        return [f"{self.name}_{level}" for level in (*self.levels, "nan")] if self.one_hot else [self.name]


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
    """

    name: str
    fill: float
    flag: bool
    mean: float = 0.0
    std: float = 1.0
    dtype: str = "float32"
    constant: bool = False


@dataclass(frozen=True)
class Mapper:
    """What `proc_df` learned from the training rows: all that is needed to prepare other rows the same way.

    Attributes
    ----------
    columns : tuple of CategoryColumn or NumberColumn
        The columns a frame must have, in any order.
    y_fld : str or None
        The target's column; new rows need not have it.
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
        raise DataError(f"there is no column {name!r}; there are: {_some([c.name for c in self.columns], 20)}.")

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
        _check_frame(df)
        missing = [name for name in (*self.ignore_flds, *(c.name for c in self.columns)) if name not in df.columns]
        if missing:
            raise DataError(
                f"{len(missing)} column(s) the model was trained on are missing: {_some(missing)}. The frame has: "
                f"{_some(list(df.columns), 20)}."
            )
        notes: list[str] = []
        known = {*self.ignore_flds, *self.skip_flds, self.y_fld, *(c.name for c in self.columns)}
        extra = [name for name in df.columns if name not in known]
        if extra:
            notes.append(f"{len(extra)} column(s) were not there in training and are ignored: {_some(extra)}")
        out: dict[Any, Any] = {name: df[name] for name in self.ignore_flds}
        late: dict[Any, Any] = {}
        for column in self.columns:
            if isinstance(column, CategoryColumn):
                codes = _encode(df[column.name], column, notes)
                if column.one_hot:
                    late |= {name: codes == (i + 1) % (len(column.levels) + 1) for i, name in enumerate(column.outputs)}
                else:
                    out[column.name] = codes
            else:
                values = _as_numbers(df[column.name], column.name)
                gaps = np.isnan(values)
                if column.flag:
                    late[f"{column.name}_na"] = gaps
                elif n := int(gaps.sum()):
                    notes.append(
                        f"{n:,} missing value(s) in {column.name!r}, which had none in training, became its median "
                        f"{column.fill:g}"
                    )
                out[column.name] = _scaled(values, gaps, column)
        if notes:
            warnings.warn("preparing the rows: " + "; ".join(notes) + ".", stacklevel=2)
        return self._frame(out, late, df.index)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and text, as JSON can hold it."""
        columns = []
        for column in self.columns:
            entry = {"kind": _KINDS[type(column)], **asdict(column)}
            columns.append({key: list(v) if isinstance(v, tuple) else v for key, v in entry.items()})
        return {
            "format": FORMAT,
            "y_fld": self.y_fld,
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
                columns.append(classes[entry["kind"]](**fields))
            return cls(tuple(columns), data["y_fld"], tuple(data["skip_flds"]), tuple(data["ignore_flds"]))
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


def train_cats(df: pd.DataFrame, cat_flds: Sequence[str] | None = None) -> pd.DataFrame:
    """Make every column of text an ordered pandas categorical, in place.

    Parameters
    ----------
    df : DataFrame
        Changed in place.
    cat_flds : sequence of str, optional
        Further columns to make categories of: numbers that are names, such as a store's.

    Returns
    -------
    DataFrame
        `df` itself.

    Raises
    ------
    DataError
        If a column mixes types, or one of `cat_flds` is not in the frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import train_cats
    >>> df = train_cats(pd.DataFrame({"State": ["HE", "BY", "HE"], "Store": [7, 7, 9]}), ["Store"])
    >>> list(df["State"].cat.categories), list(df["Store"].cat.categories)
    (['BY', 'HE'], [7, 9])
    """
    _check_frame(df)
    wanted = _check_listed(df, "cat_flds", cat_flds)
    for name in df.columns:
        column = df[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            continue
        if name in wanted or _kind(column, name) == "text":
            df[name] = column.astype("category").cat.as_ordered()
    return df


def apply_cats(df: pd.DataFrame, trn: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of `df` the categories that the same columns of `trn` have, in place.

    Parameters
    ----------
    df : DataFrame
        Changed in place. A value that is no category of `trn` becomes missing, and a warning counts it.
    trn : DataFrame
        After `train_cats`.

    Returns
    -------
    DataFrame
        `df` itself.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import apply_cats, train_cats
    >>> trn = train_cats(pd.DataFrame({"State": ["HE", "BY"]}))
    >>> apply_cats(pd.DataFrame({"State": ["HE", "HE"]}), trn)["State"].cat.codes.tolist()
    [1, 1]
    """
    _check_frame(df)
    notes = []
    for name in df.columns:
        if name in trn.columns and isinstance(trn[name].dtype, pd.CategoricalDtype):
            categories = trn[name].cat.categories
            own = df[name].astype("category")
            # The last entry is that of missing values, whose code is -1.
            table = np.append(categories.get_indexer(own.cat.categories), -1)
            new = pd.Categorical.from_codes(table[own.cat.codes.to_numpy()], categories=categories, ordered=True)
            lost = int(((new.codes < 0) & df[name].notna().to_numpy()).sum())
            if lost:
                notes.append(f"{lost:,} value(s) of {name!r} are no category of the training frame and became missing")
            df[name] = pd.Series(new, index=df.index)
    if notes:
        warnings.warn("apply_cats: " + "; ".join(notes) + ".", stacklevel=2)
    return df


def proc_df(
    df: pd.DataFrame,
    y_fld: str | None = None,
    skip_flds: Sequence[str] | None = None,
    ignore_flds: Sequence[str] | None = None,
    do_scale: bool = True,
    na_dict: dict[str, float] | None = None,
    max_n_cat: int | None = None,
    subset: int | None = None,
    mapper: Mapper | None = None,
    *,
    seed: int = 42,
) -> tuple[pd.DataFrame, NDArray[Any] | None, dict[str, float], Mapper]:
    """Split off the target and turn everything else into numbers.

    Categories (and text) become codes 1, 2, ... with 0 for missing. A number that is missing becomes the median, and
    a column `{name}_na` says where. Numbers are scaled to mean 0 and standard deviation 1, booleans stay.

    Parameters
    ----------
    df : DataFrame
        It is not changed.
    y_fld : str, optional
        The target's column.
    skip_flds : sequence of str, optional
        Columns to leave out.
    ignore_flds : sequence of str, optional
        Columns to pass through as they are.
    do_scale : bool, default True
        Scale numbers. Without it they stay float64.
    na_dict : dict, optional
        `nas` of an earlier call: exactly these columns get a `_na` column, and these fillers.
    max_n_cat : int, optional
        A category with at most so many levels becomes columns of zeros and ones instead of codes.
    subset : int, optional
        Use only so many rows, chosen at random, in their order.
    mapper : Mapper, optional
        `mapper` of an earlier call: prepare these rows as those were, see `Mapper.transform`. It holds the
        fillers too, and all other arguments but `y_fld` and `subset` are then taken from it.
    seed : int, default 42
        Of the choice of `subset`.

    Returns
    -------
    df : DataFrame
        The prepared columns.
    y : array of shape (n,) or None
        The target: numbers as they are, text and categories as labels. `None` without `y_fld`, or where new rows
        have no such column.
    nas : dict of str to float
        The fillers of the columns that had missing values.
    mapper : Mapper
        What was learned; `df.attrs` carries it along, so that the model can be saved with it.

    Raises
    ------
    DataError
        If a column mixes types, is empty, holds infinite values or dates; if columns share a name; if the target has
        missing values. The message names the column.

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import proc_df
    >>> trn = pd.DataFrame({"State": ["HE", None, "BY"], "Km": [1.0, None, 3.0], "Sales": [5, 6, 7]})
    >>> df, y, nas, mapper = proc_df(trn, "Sales", do_scale=False)
    >>> df
       State   Km  Km_na
    0      2  1.0  False
    1      0  2.0   True
    2      1  3.0  False
    >>> nas
    {'Km': 2.0}
    """
    _check_frame(df)
    if mapper is not None and not isinstance(mapper, Mapper):
        raise TypeError(f"`mapper` must be what `proc_df` returned; got {type(mapper).__name__}.")
    if subset is not None:
        size = min(int(check_positive("subset", subset, integer=True)), len(df))
        df = df.iloc[np.sort(np.random.default_rng(seed).choice(len(df), size, replace=False))]
    if y_fld is not None and y_fld not in df.columns and mapper is None:
        raise DataError(f"there is no column {y_fld!r} to predict; the frame has: {_some(list(df.columns), 20)}.")
    y = None if y_fld is None or y_fld not in df.columns else _target(df[y_fld], y_fld)
    if mapper is not None:
        out = mapper.transform(df)
    else:
        out, mapper = _learn(df, y_fld, skip_flds, ignore_flds, do_scale, na_dict, max_n_cat)
    nas = {c.name: c.fill for c in mapper.columns if isinstance(c, NumberColumn) and c.flag}
    return out, y, nas, mapper


def cont_cat_split(
    df: pd.DataFrame, max_card: int = 20, dep_var: str | Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """Sort columns into continuous and categorical ones by their values.

    Parameters
    ----------
    df : DataFrame
    max_card : int, default 20
        Whole numbers with at most so many distinct values are categories.
    dep_var : str or sequence of str, optional
        The target(s), left out.

    Returns
    -------
    cont_names : list of str
    cat_names : list of str

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import cont_cat_split
    >>> df = pd.DataFrame({"Km": [0.5, 1.5], "State": ["HE", "BY"], "Open": [1, 0], "Sales": [5, 6]})
    >>> cont_cat_split(df, dep_var="Sales")
    (['Km'], ['State', 'Open'])
    """
    _check_frame(df)
    left_out = {dep_var} if isinstance(dep_var, str) else set(dep_var or ())
    cont_names, cat_names = [], []
    for name in df.columns:
        if name in left_out:
            continue
        kind = _kind(df[name], name)
        if kind == "date":
            raise DataError(_DATES.format(name=name))
        whole = kind == "number" and pd.api.types.is_integer_dtype(df[name].dtype)
        if kind == "number" and not (whole and df[name].nunique() <= max_card):
            cont_names.append(name)
        else:
            cat_names.append(name)
    return cont_names, cat_names


def df_shrink(df: pd.DataFrame, skip: Sequence[str] = (), obj2cat: bool = True) -> pd.DataFrame:
    """Return the frame with every column in the smallest type that holds it.

    Whole numbers get the smallest integer type, floats become float32 (seven digits), text becomes a categorical.

    Parameters
    ----------
    df : DataFrame
        It is not changed.
    skip : sequence of str
        Columns to leave as they are.
    obj2cat : bool, default True
        Make text categorical.

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import df_shrink
    >>> [str(dtype) for dtype in df_shrink(pd.DataFrame({"n": [1, 300], "x": [0.5, 1.5], "s": ["a", "b"]})).dtypes]
    ['int16', 'float32', 'category']
    """
    _check_frame(df)
    _check_listed(df, "skip", skip)
    out = df.copy(deep=False)
    for name in df.columns:
        column = df[name]
        if name in set(skip) or isinstance(column.dtype, pd.CategoricalDtype):
            continue
        if pd.api.types.is_integer_dtype(column.dtype):
            out[name] = pd.to_numeric(column, downcast="integer")
        elif pd.api.types.is_float_dtype(column.dtype):
            known = column.to_numpy(dtype=np.float64, na_value=np.nan)
            if not (np.abs(known[np.isfinite(known)]) > np.finfo(np.float32).max).any():
                out[name] = column.astype("Float32" if isinstance(column.dtype, pd.Float64Dtype) else "float32")
        elif obj2cat and _kind(column, name) == "text":
            out[name] = column.astype("category")
    return out


# ---------------------------------------------------------------- learning


def _learn(
    df: pd.DataFrame,
    y_fld: str | None,
    skip_flds: Sequence[str] | None,
    ignore_flds: Sequence[str] | None,
    do_scale: bool,
    na_dict: dict[str, float] | None,
    max_n_cat: int | None,
) -> tuple[pd.DataFrame, Mapper]:
    skip, ignore = _check_listed(df, "skip_flds", skip_flds), _check_listed(df, "ignore_flds", ignore_flds)
    used = [name for name in df.columns if name not in (*skip, *ignore) and name != y_fld]
    if not used:
        raise DataError("no column is left to learn from.")
    columns: list[CategoryColumn | NumberColumn] = []
    out: dict[Any, Any] = {name: df[name] for name in ignore}
    late: dict[Any, Any] = {}
    for name in used:
        series = df[name]
        kind = _kind(series, name)
        if kind == "date":
            raise DataError(_DATES.format(name=name))
        if kind in ("category", "text"):
            categorical = series if kind == "category" else series.astype("category")
            values, levels = _levels(categorical, name)
            category = CategoryColumn(name, values, levels, max_n_cat is not None and len(levels) <= max_n_cat)
            codes = _narrow(categorical.cat.codes.to_numpy(), len(levels))
            codes += 1
            columns.append(category)
            if category.one_hot:
                late |= {n: codes == (i + 1) % (len(levels) + 1) for i, n in enumerate(category.outputs)}
            else:
                out[name] = codes
        else:
            number, result, gaps = _learn_number(series, name, do_scale and kind != "bool", na_dict)
            columns.append(number)
            out[name] = result
            if number.flag:
                late[f"{name}_na"] = gaps
    clash = sorted(str(name) for name in late if name in df.columns)
    if clash:
        raise DataError(f"the frame has columns with the names of new ones, {_some(clash)}; rename them.")
    mapper = Mapper(tuple(columns), y_fld, tuple(skip), tuple(ignore))
    return mapper._frame(out, late, df.index), mapper


def _learn_number(
    series: pd.Series[Any], name: str, do_scale: bool, na_dict: dict[str, float] | None
) -> tuple[NumberColumn, NDArray[Any], NDArray[np.bool_]]:
    values = _as_numbers(series, name)
    gaps = np.isnan(values)
    any_gap = bool(gaps.any())
    known = values[~gaps] if any_gap else values
    if not len(known):
        raise DataError(f"column {name!r} holds no value at all; leave it out with skip_flds=[{name!r}].")
    fill = float(np.median(known))
    flag = any_gap
    if na_dict is not None:
        flag = name in na_dict
        fill = float(na_dict.get(name, fill))
    filled = np.where(gaps, fill, values) if any_gap else values
    mean, std = (float(filled.mean()), float(filled.std())) if do_scale else (0.0, 1.0)
    constant = bool((known == known[0]).all())
    if constant:
        mean, std = (fill, 1.0) if do_scale else (0.0, 1.0)
    if not np.isfinite(std):
        raise DataError(f"column {name!r} holds numbers too large to scale (up to {np.abs(known).max():g}).")
    dtype = "bool" if series.dtype == bool else "float32" if do_scale else "float64"
    number = NumberColumn(name, fill, flag, mean, std, dtype, constant)
    return number, _scaled(values, gaps, number), gaps


def _scaled(values: NDArray[np.float64], gaps: NDArray[np.bool_], column: NumberColumn) -> NDArray[Any]:
    if column.constant:
        values = np.full(len(values), column.fill)
    elif gaps.any():
        values = np.where(gaps, column.fill, values)
    if (column.mean, column.std) == (0.0, 1.0):
        return values.astype(column.dtype)
    result = values - column.mean
    result /= column.std
    return result.astype(column.dtype)


def _levels(categorical: pd.Series[Any], name: str) -> tuple[str, tuple[Any, ...]]:
    """Return what kind of values the categories are, and the categories as JSON can hold them."""
    categories = categorical.cat.categories
    if not len(categories):
        raise DataError(f"column {name!r} holds no value at all; leave it out with skip_flds=[{name!r}].")
    inferred = pd.api.types.infer_dtype(categories, skipna=False)
    if inferred.startswith("mixed") and inferred != "mixed-integer-float":
        raise DataError(_mixed(categories.tolist(), name))
    values = _VALUES.get(inferred, "other")
    return values, tuple(_plain(level, values) for level in categories)


_VALUES = {
    "string": "text", "integer": "int", "floating": "float", "mixed-integer-float": "float", "boolean": "bool",
    "date": "date", "datetime": "date", "datetime64": "date",
}  # fmt: skip


def _plain(level: Any, values: str) -> Any:
    """Return a level as JSON can hold it; also the key by which later values are looked up."""
    if values == "text":
        return str(level) if isinstance(level, str) else level
    if values == "date":
        return pd.Timestamp(level).isoformat() if not isinstance(level, str) else level
    if values == "other":
        return str(level)
    item = level.item() if isinstance(level, np.generic) else level
    return item


def _encode(series: pd.Series[Any], column: CategoryColumn, notes: list[str]) -> NDArray[Any]:
    categorical = series if isinstance(series.dtype, pd.CategoricalDtype) else series.astype("category")
    code_of = {level: code for code, level in enumerate(column.levels, start=1)}
    categories = categorical.cat.categories.tolist()
    table = np.zeros(len(categories) + 1, dtype=np.int64)  # the last entry is that of missing values, code -1
    for i, level in enumerate(categories):
        table[i] = code_of.get(_plain(level, column.values), 0)
    raw = categorical.cat.codes.to_numpy()
    codes = table[raw]
    unseen = (codes == 0) & (raw >= 0)
    if n := int(unseen.sum()):
        examples = [categories[i] for i in np.unique(raw[unseen])[:5]]
        hint = ""
        if n == int((raw >= 0).sum()) and column.levels:
            hint = f"; none matches, so compare types: training had {column.levels[0]!r}, here is {examples[0]!r}"
        notes.append(
            f"{n:,} value(s) of {column.name!r} were never seen in training ({_some(examples)}) and became 0, as if "
            f"missing{hint}"
        )
    return _narrow(codes, len(column.levels))


def _narrow(codes: NDArray[Any], n_levels: int) -> NDArray[Any]:
    """Return codes in the smallest signed type that holds 0..n_levels."""
    dtype = np.int8 if n_levels <= 127 else np.int16 if n_levels <= 32767 else np.int32
    return codes.astype(dtype)


def _target(series: pd.Series[Any], name: str) -> NDArray[Any]:
    missing = int(series.isna().sum())
    if missing:
        raise DataError(
            f"the target {name!r} has {missing:,} missing value(s), the first in row {int(series.isna().to_numpy().argmax())}. "
            f"Leave these rows out: df = df[df[{name!r}].notna()]."
        )
    kind = _kind(series, name)
    if kind == "date":
        raise DataError(
            f"the target {name!r} holds dates; turn them into numbers first, days since a start for example."
        )
    if kind in ("category", "text"):
        _levels(series if kind == "category" else series.astype("category"), name)
        return series.to_numpy(dtype=object)
    if kind == "number":
        values = _as_numbers(series, name)  # refuses infinite values
        whole = pd.api.types.is_integer_dtype(series.dtype)
        return series.to_numpy(dtype=np.int64) if whole else values
    return series.to_numpy(dtype=bool)


# ---------------------------------------------------------------- what a column is


def _kind(series: pd.Series[Any], name: Any) -> str:
    """Return what a column holds: "category", "text", "bool", "number" or "date"."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"column {name!r} holds complex numbers; split it into two columns of real ones.")
    if pd.api.types.is_numeric_dtype(dtype):
        return "number"
    if dtype.kind in "mM" or isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return "date"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred in ("string", "empty"):
        return "text"
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return "number"
    if inferred == "boolean":
        return "bool"
    if inferred in ("date", "datetime", "datetime64", "timedelta", "time", "period"):
        return "date"
    raise DataError(_mixed(series.dropna().tolist(), name))


def _as_numbers(series: pd.Series[Any], name: Any) -> NDArray[np.float64]:
    """Return a column as float64 with NaN for missing; infinite values are refused."""
    try:
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as exc:
        examples = [v for v in series.dropna().head(1000).tolist() if not isinstance(v, int | float)][:3]
        raise DataError(
            f"column {name!r} was made of numbers in training; here it is {series.dtype}, with values like {_some(examples)}. "
            "Convert it with pd.to_numeric."
        ) from exc
    # A sum is finite exactly if all values are (or it overflows), and needs no array of its own.
    if not np.isfinite(values.sum()) and np.isinf(values).any():
        n = int(np.isinf(values).sum())
        raise DataError(
            f"column {name!r} holds {n:,} infinite value(s). Make them missing first: "
            f"df[{name!r}] = df[{name!r}].replace([np.inf, -np.inf], np.nan)."
        )
    return values


def _mixed(values: list[Any], name: Any) -> str:
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(type(value).__name__, value)
    listing = ", ".join(f"{kind} ({value!r})" for kind, value in list(found.items())[:4])
    return (
        f"column {name!r} mixes types: {listing}. Make it one: df[{name!r}].astype(str) for categories, "
        f"pd.to_numeric(df[{name!r}], errors='coerce') for numbers."
    )


_DATES = (
    "column {name!r} holds dates. Call add_datepart(df, {name!r}) first, or leave it out with skip_flds=[{name!r}]."
)


def _check_frame(df: pd.DataFrame) -> None:
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"`df` must be a pandas DataFrame; got {type(df).__name__}.")
    if isinstance(df.columns, pd.MultiIndex):
        raise DataError("the frame's columns have several levels; join their names into one first.")
    if not df.columns.is_unique:
        twice = sorted({str(name) for name in df.columns[df.columns.duplicated()]})
        raise DataError(f"several columns share the name(s) {_some(twice)}; rename or drop one of each.")
    if not len(df):
        raise DataError("the frame has no rows.")


def _check_listed(df: pd.DataFrame, argument: str, names: Sequence[str] | None) -> list[Any]:
    if isinstance(names, str):
        raise TypeError(f"`{argument}` must be a list of column names; write [{names!r}].")
    listed = list(names or ())
    unknown = [name for name in listed if name not in df.columns]
    if unknown:
        raise DataError(
            f"`{argument}` names {len(unknown)} column(s) that are not in the frame: {_some(unknown)}. The frame has: "
            f"{_some(list(df.columns), 20)}."
        )
    return listed


def _some(values: Sequence[Any], n: int = 5) -> str:
    return ", ".join(map(str, values[:n])) + (", ..." if len(values) > n else "")
