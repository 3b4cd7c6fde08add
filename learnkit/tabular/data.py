"""Frames and arrays of numbers to a `ColumnarModelData`: whole tensors from which batches are sliced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.optim import Optimizer

from learnkit.core.device import default_device
from learnkit.core.errors import DataError
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.data.loaders import TensorLoader
from learnkit.data.split import check_val_idxs
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.tabular.architecture import build_model, describe_model, start_at_the_average
from learnkit.tabular.mapper import ATTRS_KEY, Mapper
from learnkit.tabular.model import emb_size, quantile_edges
from learnkit.train.events import Callback
from learnkit.train.loop import Loss
from learnkit.train.metrics import MetricLike

if TYPE_CHECKING:
    from learnkit.tabular.learner import TabularLearner

__all__ = ["ColumnarModelData", "frame_tensors"]


class ColumnarModelData(DataBunch):
    """A table's columns and what is predicted from them, ready to train on.

    Make one with `from_data_frame` or `from_arrays`.

    Parameters
    ----------
    path : path-like
        Where `models/` and `tmp/` are kept.
    trn_dl, val_dl, test_dl : TensorLoader
        Batches `(cats, conts, y)` from a frame: int64 `(bs, n_cat)`, float32 `(bs, n_cont)`; `(x1, x2, ..., y)` from
        arrays. A last training batch of a single row is left out: batch norm cannot learn from one.
    target : Target, optional
        What is predicted.
    cat_sz : sequence of (name, int)
        Name and number of codes of each categorical column, in the order of the tensors; empty for arrays.
    cont_flds : sequence
        Names of the continuous columns.
    mapper : Mapper, optional
        How the frame was prepared, if `proc_df` did; saved with the model.

    Attributes
    ----------
    cat_flds : list
        Names of the categorical columns.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from learnkit.tabular import ColumnarModelData
    >>> df = pd.DataFrame({"Store": np.arange(20) % 4, "Km": np.linspace(0, 1, 20)})
    >>> md = ColumnarModelData.from_data_frame(".", [18, 19], df, df["Km"] * 3, ["Store"], bs=6)
    >>> md.cat_sz, md.cont_flds, len(md.trn_dl), len(md.val_dl)
    ([('Store', 4)], ['Km'], 3, 1)
    """

    def __init__(
        self,
        path: PathLike,
        trn_dl: Any,
        val_dl: Any = None,
        test_dl: Any = None,
        *,
        target: Target | None = None,
        cat_sz: Sequence[tuple[Any, int]] = (),
        cont_flds: Sequence[Any] = (),
        mapper: Mapper | None = None,
    ) -> None:
        super().__init__(path, trn_dl, val_dl, test_dl, target=target)
        self.cat_sz = [(name, int(size)) for name, size in cat_sz]
        self.cat_flds = [name for name, _ in self.cat_sz]
        self.cont_flds = list(cont_flds)
        self.mapper = mapper

    @classmethod
    def from_data_frame(
        cls,
        path: PathLike,
        val_idxs: ArrayLike | None,
        df: pd.DataFrame,
        y: ArrayLike,
        cat_flds: Sequence[str] | None = None,
        bs: int = 64,
        test_df: pd.DataFrame | None = None,
        is_reg: bool = True,
        is_multi: bool = False,
        *,
        shuffle: bool = True,
        mapper: Mapper | None = None,
    ) -> ColumnarModelData:
        """Take the columns of a prepared frame: those in `cat_flds` as codes, all others as numbers.

        Parameters
        ----------
        path : path-like
            Where `models/` and `tmp/` are kept.
        val_idxs : array of int or None
            Positions of the validation rows; `None` or `[]` for no validation.
        df : DataFrame
            Numbers only, as `proc_df` gives them.
        y : array of shape (n,) or (n, n_targets)
            What is predicted.
        cat_flds : sequence of str, optional
            Columns of codes 0, 1, ...; by default those that `proc_df` coded.
        bs : int, default 64
            Batch size in training.
        test_df : DataFrame, optional
            Rows to predict, prepared like `df` (`mapper=mapper`).
        is_reg : bool, default True
            Whether `y` is numbers to come close to; otherwise it is classes, of any type.
        is_multi : bool, default False
            With `is_reg=False`: `y` is zeros and ones, `(n, n_classes)`, and several classes can apply.
        shuffle : bool, default True
            New order of the training rows each epoch.
        mapper : Mapper, optional
            How `df` was prepared; found in `df.attrs` where pandas kept it.

        Returns
        -------
        ColumnarModelData

        Raises
        ------
        DataError
            If columns hold text, missing or infinite values or impossible codes, names are not in the frame, `y` has
            missing values or a single class, or `val_idxs` is out of range.

        Examples
        --------
        >>> import pandas as pd
        >>> from learnkit.tabular import ColumnarModelData, proc_df
        >>> trn = pd.DataFrame({"State": ["HE", "BY"] * 10, "Km": range(20), "Sales": range(20)})
        >>> df, y, nas, mapper = proc_df(trn, "Sales")
        >>> md = ColumnarModelData.from_data_frame(".", [18, 19], df, y, cat_flds=["State"], bs=6)
        >>> cats, conts, yt = next(iter(md.trn_dl))
        >>> cats.shape, conts.shape, md.cat_sz
        (torch.Size([6, 1]), torch.Size([6, 1]), [('State', 3)])
        """
        if not isinstance(df, pd.DataFrame):
            raise TypeError(f"`df` must be a pandas DataFrame; got {type(df).__name__}. For arrays use from_arrays.")
        if not len(df):
            raise DataError("the frame has no rows.")
        if mapper is None and ATTRS_KEY in df.attrs:
            mapper = Mapper.from_json(df.attrs[ATTRS_KEY])
        if isinstance(cat_flds, str):
            raise TypeError(f"`cat_flds` must be a list of column names; write [{cat_flds!r}].")
        sizes = dict(mapper.cat_sz) if mapper is not None else {}
        cats = [name for name in df.columns if name in sizes] if cat_flds is None else list(cat_flds)
        unknown = [name for name in cats if name not in df.columns]
        if unknown:
            raise DataError(
                f"`cat_flds` names columns that are not in the frame: {', '.join(map(str, unknown[:5]))}. The frame has: "
                f"{', '.join(map(str, df.columns[:20]))}."
            )
        chosen = set(cats)
        conts = [name for name in df.columns if name not in chosen]
        target, codes = make_target(y, is_reg, is_multi)
        _check_lengths(len(df), len(codes))
        val = check_val_idxs([] if val_idxs is None else val_idxs, len(df))
        trn_rows, val_rows = _rows(len(df), val)
        frames = [df] if test_df is None else [df, test_df]
        missing = [] if test_df is None else [name for name in (*cats, *conts) if name not in test_df.columns]
        if missing:
            raise DataError(f"`test_df` lacks {len(missing)} column(s) of `df`: {', '.join(map(str, missing[:5]))}.")
        cat_sz = [(name, sizes.get(name) or 1 + max(_largest_code(frame, name) for frame in frames)) for name in cats]

        def loader(frame: pd.DataFrame, rows: Any, labels: Tensor, *, train: bool = False) -> TensorLoader:
            xs = frame_tensors(frame, cat_sz, conts, rows)
            return _loader(xs, labels, bs, train=train, shuffle=shuffle)

        everything = torch.from_numpy(np.require(codes, requirements="W"))  # pandas hands out read-only arrays
        return cls(
            path,
            loader(df, trn_rows, everything[trn_rows], train=True),
            loader(df, val_rows, everything[val_rows]) if len(val) else None,
            None if test_df is None else loader(test_df, slice(None), _no_labels(everything, len(test_df))),
            target=target,
            cat_sz=cat_sz,
            cont_flds=conts,
            mapper=mapper,
        )

    @classmethod
    def from_arrays(
        cls,
        path: PathLike,
        val_idxs: ArrayLike | None,
        xs: ArrayLike,
        y: ArrayLike,
        bs: int = 64,
        test_xs: ArrayLike | None = None,
        is_reg: bool | None = None,
        is_multi: bool = False,
        *,
        shuffle: bool = True,
    ) -> ColumnarModelData:
        """Take each column of an array as an input of its own: the model is called as `model(x1, x2, ...)`.

        Parameters
        ----------
        path : path-like
            Where `models/` and `tmp/` are kept.
        val_idxs : array of int or None
            Positions of the validation rows.
        xs : array of shape (n, n_columns)
            Whole numbers reach the model as int64, others as float32.
        y : array of shape (n,) or (n, n_targets)
            What is predicted.
        bs : int, default 64
            Batch size in training.
        test_xs : array of shape (m, n_columns), optional
            Rows to predict.
        is_reg : bool, optional
            As for `from_data_frame`. By default whole numbers are classes 0, 1, ... and others a regression; whole
            numbers in several columns reach the loss as they are, and the learner needs `crit=`.
        is_multi : bool, default False
            As for `from_data_frame`.
        shuffle : bool, default True
            New order of the training rows each epoch.

        Returns
        -------
        ColumnarModelData

        Raises
        ------
        DataError
            As `from_data_frame`.

        Examples
        --------
        >>> import numpy as np
        >>> from learnkit.tabular import ColumnarModelData
        >>> xs = np.stack([np.arange(20), np.arange(20), np.arange(20)], axis=1)
        >>> md = ColumnarModelData.from_arrays(".", [-1], xs, np.arange(20) % 4, bs=8)
        >>> *columns, yt = next(iter(md.trn_dl))
        >>> len(columns), columns[0].shape, md.c
        (3, torch.Size([8]), 4)
        """
        array = _columns_array(xs, "xs")
        labels = np.asarray(y)
        target: Target | None
        if is_reg is None and not is_multi and labels.dtype.kind in "iu":
            if labels.ndim == 1 and len(labels):
                if labels.min() < 0:
                    raise DataError(
                        f"class numbers must be 0, 1, ...; `y` holds {labels.min()}. For values pass is_reg=True."
                    )
                target, codes = Category(range(max(int(labels.max()) + 1, 2))), labels.astype(np.int64)
            else:
                target, codes = None, labels.astype(np.int64)
        else:
            target, codes = make_target(labels, is_reg is not False and not is_multi, is_multi)
        _check_lengths(len(array), len(codes))
        if not len(array):
            raise DataError("`xs` has no rows.")
        val = check_val_idxs([] if val_idxs is None else val_idxs, len(array))
        trn_rows, val_rows = _rows(len(array), val)
        everything = torch.from_numpy(np.require(codes, requirements="W"))  # pandas hands out read-only arrays

        def loader(values: NDArray[Any], rows: Any, ys: Tensor, *, train: bool = False) -> TensorLoader:
            columns = [torch.from_numpy(np.ascontiguousarray(values[rows, j])) for j in range(values.shape[1])]
            return _loader(columns, ys, bs, train=train, shuffle=shuffle)

        test = None if test_xs is None else _columns_array(test_xs, "test_xs")
        if test is not None and test.shape[1] != array.shape[1]:
            raise DataError(f"`test_xs` must have {array.shape[1]} columns, as `xs`; it has {test.shape[1]}.")
        return cls(
            path,
            loader(array, trn_rows, everything[trn_rows], train=True),
            loader(array, val_rows, everything[val_rows]) if len(val) else None,
            None if test is None else loader(test, slice(None), _no_labels(everything, len(test))),
            target=target,
        )

    @property
    def emb_szs(self) -> list[tuple[int, int]]:
        """Number of codes and default embedding width of each categorical column."""
        return [(size, emb_size(size)) for _, size in self.cat_sz]

    def to(self, device: torch.device) -> None:
        """Put the tensors on `device` for good, so that no batch has to be copied."""
        for dl in (self.trn_dl, self.val_dl, self.test_dl):
            if isinstance(dl, TensorLoader):
                dl.tensors = tuple(x.to(device) for x in dl.tensors)

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        loaders = [dl for dl in (self.trn_dl, self.val_dl, self.test_dl) if isinstance(dl, TensorLoader)]
        return sum(x.nbytes for dl in loaders for x in dl.tensors)

    def get_learner(
        self,
        emb_szs: Sequence[tuple[int, int]] | None = None,
        n_cont: int | None = None,
        emb_drop: float | None = None,
        out_sz: int | None = None,
        szs: Sequence[int] | None = None,
        drops: Sequence[float] | float | None = None,
        y_range: tuple[float, float] | None = None,
        use_bn: bool = False,
        metrics: Sequence[MetricLike] | None = None,
        *,
        arch: str = "mlp",
        opt_fn: Callable[..., Optimizer] | None = None,
        crit: Loss | None = None,
        callbacks: Sequence[Callback] | None = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        compile: bool | str = False,
    ) -> TabularLearner:
        """Make a model for this table, and the learner that trains it.

        Parameters
        ----------
        emb_szs : sequence of (int, int), optional
            Number of codes and embedding width of each categorical column; `min(50, (c + 1) // 2)` by default.
        n_cont : int, optional
            Number of continuous columns, for a check.
        emb_drop : float, optional
            Dropout on the embeddings; 0 by default, 0.1 for `"ple"`.
        out_sz : int, optional
            Number of scores; what the target needs by default.
        szs : sequence of int, optional
            Widths of the hidden layers; `[200, 100]` by default, `[256, 128]` for `"ple"`.
        drops : float or sequence of float, optional
            Dropout after each hidden layer; 0 by default, 0.3 for `"ple"`.
        y_range : (float, float), optional
            Squeeze the scores into this range with a sigmoid.
        use_bn : bool, default False
            Batch norm in the hidden layers.
        metrics : sequence, optional
            Those of the target by default.
        arch : {"mlp", "ple"}, default "mlp"
            How numbers are taken in. `"mlp"` is the course's model, numbers normalised; in `"ple"` each number becomes a
            vector of how far it reaches through up to 128 bins of its column (`PiecewiseLinear`). It sees thresholds as
            a tree does and learns longer: on Adult 20 epochs bring it level with boosted trees.
        opt_fn, crit, callbacks, device, precision, accumulate, compile
            As for `Learner`.

        Returns
        -------
        TabularLearner

        Raises
        ------
        DataError
            If the embedding sizes do not fit the columns.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from learnkit.tabular import ColumnarModelData
        >>> df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
        >>> md = ColumnarModelData.from_data_frame(".", range(32, 40), df, df["Km"] * 3, ["Store"], bs=8)
        >>> learn = md.get_learner([(4, 2)], 1, 0.04, 1, [20, 10], [0.001, 0.01], y_range=(0, 4))
        >>> with learn.no_progress():
        ...     results = learn.fit(1e-2, 2, metrics=["mae"])
        >>> learn.predict().shape
        (8, 1)
        """
        from learnkit.tabular.learner import TabularLearner, adamw  # they are built on this file's data

        config = describe_model(self, arch, emb_szs, n_cont, emb_drop, out_sz, szs, drops, y_range, use_bn)
        rows = self.trn_dl.tensors if isinstance(self.trn_dl, TensorLoader) else None
        edges = None
        if arch == "ple":
            if rows is None:
                raise DataError(f"arch={arch!r} needs training rows that were made by from_data_frame.")
            edges = quantile_edges(rows[1])
            config["n_edges"] = edges.shape[1]
        model = build_model(config, edges)
        if rows is not None and self.target is not None and config["out_sz"] == self.c:
            start_at_the_average(model, rows[-1], self.target)
        where = torch.device(device) if device is not None else default_device()
        if where.type == "cuda" and self.nbytes < torch.cuda.mem_get_info(where)[0] / 2:
            self.to(where)
        learn = TabularLearner(
            self, model, opt_fn or adamw, crit, metrics, callbacks,
            device=where, precision=precision, accumulate=accumulate, compile=compile,
        )  # fmt: skip
        learn.config = config
        return learn


def make_target(y: ArrayLike, is_reg: bool, is_multi: bool) -> tuple[Target, NDArray[Any]]:
    """Return the target and the encoded labels."""
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or not len(labels):
        raise DataError(f"`y` must be an array of shape (n,) or (n, n_targets); got shape {labels.shape}.")
    missing = pd.isna(labels)
    if missing.any():
        rows = np.flatnonzero(missing.reshape(len(labels), -1).any(1))
        raise DataError(f"`y` has {len(rows):,} missing value(s), the first in row {rows[0]}. Leave these rows out.")
    if is_reg:
        if labels.dtype.kind not in "iufb":
            raise DataError(
                f"a regression needs numbers as targets; `y` holds {labels.dtype} (such as {labels.flat[0]!r}). To predict "
                "classes pass is_reg=False."
            )
        real = Real(1 if labels.ndim == 1 else labels.shape[1])
        return real, real.encode(labels)
    if is_multi:
        if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
            raise DataError(
                f"with is_multi=True, `y` must be zeros and ones of shape (n, n_classes); got shape {labels.shape}, dtype "
                f"{labels.dtype}."
            )
        return MultiCategory(range(labels.shape[1])), labels.astype(np.float32)
    if labels.ndim != 1:
        raise DataError(
            f"a class per row is expected: `y` of shape (n,); got {labels.shape}. For several, is_multi=True."
        )
    if labels.dtype == object and pd.api.types.infer_dtype(labels).startswith("mixed"):
        raise DataError("`y` mixes types; make all labels text: y.astype(str).")
    codes, classes = pd.factorize(labels, sort=True)
    if len(classes) < 2:
        raise DataError(f"a classifier needs at least two classes; `y` has only {classes.tolist()[0]!r}.")
    return Category(np.asarray(classes).tolist()), codes.astype(np.int64)


def frame_tensors(
    df: pd.DataFrame, cat_sz: Sequence[tuple[Any, int]], cont_flds: Sequence[Any], rows: Any = slice(None)
) -> tuple[Tensor, Tensor]:
    """Return the rows of a prepared frame as codes, in the narrowest integers, and numbers.

    Parameters
    ----------
    df : DataFrame
    cat_sz : sequence of (name, int)
        The columns of codes, and how many codes each can have.
    cont_flds : sequence
        The columns of numbers.
    rows : array of int or bool, or slice(None)
        Which rows.

    Returns
    -------
    cats : Tensor of shape (n, n_cat), integers
    conts : Tensor of shape (n, n_cont), float32
    """
    n = len(df) if isinstance(rows, slice) else int(rows.sum()) if rows.dtype == bool else len(rows)
    largest = max([size for _, size in cat_sz], default=1) - 1
    narrow = torch.int8 if largest <= 127 else torch.int16 if largest <= 32767 else torch.int32
    # Column by column into the final tensors, so that no second copy of the whole table is ever held.
    cats, conts = torch.empty(n, len(cat_sz), dtype=narrow), torch.empty(n, len(cont_flds), dtype=torch.float32)
    for j, (name, size) in enumerate(cat_sz):
        codes = _codes(df, name)[rows]
        if n and codes.max() >= size:
            raise DataError(
                f"column {name!r} holds the code {codes.max()}; the embedding has {size}, for codes 0 to {size - 1}."
            )
        cats.numpy()[:, j] = codes
    for j, name in enumerate(cont_flds):
        conts.numpy()[:, j] = _numbers(df, name)[rows]
    return cats, conts


def _codes(df: pd.DataFrame, name: Any) -> NDArray[Any]:
    series = df[name]
    if series.dtype == bool:
        return series.to_numpy().astype(np.int8)
    if series.dtype.kind not in "iu" or isinstance(series.dtype, pd.CategoricalDtype):
        raise DataError(
            f"column {name!r} is to be categorical, but it holds {series.dtype} values, not codes. Make it a category before "
            f"proc_df: train_cats(df, [{name!r}])."
        )
    if series.isna().any():
        raise DataError(f"column {name!r} has missing values; `proc_df` gives them a code of their own.")
    codes = series.to_numpy(dtype=np.int64) if not isinstance(series.dtype, np.dtype) else series.to_numpy()
    if len(codes) and codes.min() < 0:
        raise DataError(f"column {name!r} holds the code {codes.min()}; codes count from 0.")
    return codes


def _largest_code(df: pd.DataFrame, name: Any) -> int:
    codes = _codes(df, name)
    return int(codes.max()) if len(codes) else 0


def _numbers(df: pd.DataFrame, name: Any) -> NDArray[Any]:
    series = df[name]
    if not (pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype)):
        raise DataError(
            f"column {name!r} holds {series.dtype} values, and the model needs numbers. Prepare the frame with `proc_df`, "
            "or leave the column out."
        )
    values = series.to_numpy(dtype=np.float32, na_value=np.nan)
    # The sum is finite if all values are, and costs no array of its own.
    if not np.isfinite(values.sum(dtype=np.float64)):
        n = int((~np.isfinite(values)).sum())
        raise DataError(f"column {name!r} has {n:,} missing or infinite value(s); `proc_df` fills the missing ones.")
    return values


def _columns_array(xs: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(xs)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"`{name}` must be numbers of shape (n, n_columns); got shape {array.shape}, dtype {array.dtype}."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise DataError(f"`{name}` holds {int((~np.isfinite(array)).sum()):,} missing or infinite value(s).")
        return array.astype(np.float32)
    return array.astype(np.int64)


def _rows(n: int, val: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the training rows as a mask, an eighth of the size of their positions, and the validation rows."""
    trn = np.ones(n, dtype=bool)
    trn[val] = False
    return trn, val


def _loader(xs: Sequence[Tensor], y: Tensor, bs: int, *, train: bool, shuffle: bool) -> TensorLoader:
    if train:
        lone = bs > 1 and len(y) > bs and len(y) % bs == 1  # batch norm cannot learn from a batch of one row
        return TensorLoader(xs, y, bs, shuffle, drop_last=lone, widen=True)
    return TensorLoader(xs, y, max(bs, 1024), widen=True)


def _no_labels(y: Tensor, n: int) -> Tensor:
    return torch.zeros((n, *y.shape[1:]), dtype=y.dtype)


def _check_lengths(n: int, n_labels: int) -> None:
    if n != n_labels:
        raise DataError(f"every row needs a target: got {n:,} rows and {n_labels:,} targets.")
