"""Frames and arrays of numbers to a `ColumnarModelData`: whole tensors from which batches are sliced."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from learnkit.core.errors import DataError
from learnkit.core.listing import some
from learnkit.core.old_names import old_arguments
from learnkit.data.files import PathLike
from learnkit.data.frames import check_columns
from learnkit.data.loaders import TensorLoader
from learnkit.data.split import split_rows
from learnkit.data.targets import Category, Target
from learnkit.tabular.architecture import (
    check_targets,
    describe_model,
    start_at_the_average,
    start_unknown,
)
from learnkit.tabular.bunch import TableBunch
from learnkit.tabular.columns import check_listed
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.labels import as_labels, class_numbers, join_labels, make_target
from learnkit.tabular.learner import TabularLearner
from learnkit.tabular.mapper import ATTRS_KEY, Mapper
from learnkit.tabular.model import quantile_edges
from learnkit.tabular.tensors import columns_array, frame_tensors, largest_code, row_loader
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options

__all__ = ["ColumnarModelData"]


class ColumnarModelData(TableBunch):
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
    coverage : Coverage, optional
        What the training rows do not hold, so that nothing was learned of it; saved with the model.

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

    @classmethod
    def from_data_frame(
        cls,
        path: PathLike,
        val_idxs: ArrayLike | bool | None,
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
        val_idxs : array of int, False or None
            Positions of the validation rows; `False` or `[]` for no validation; `None` for a random fifth (`get_cv_idxs`),
            or for the latest where the index of `df` holds dates.
        df : DataFrame
            Numbers only, as `proc_df` gives them.
        y : array of shape (n,) or (n, n_targets)
            What is predicted, a number or a label per row.
        cat_flds : sequence of str, optional
            Columns of codes 0, 1, ...; by default those that `proc_df` coded.
        bs : int, default 64
            Batch size in training.
        test_df : DataFrame, optional
            Rows to predict, prepared like `df` (`mapper=mapper`).
        is_reg : bool, default True
            Whether `y` is numbers to come close to; otherwise it is classes: text, whole numbers or booleans.
        is_multi : bool, default False
            `y` is zeros and ones, `(n, n_classes)`, and several classes can apply; `is_reg` then does not matter.
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
            missing values, a single class or probabilities for classes, or `val_idxs` is out of range.

        Warns
        -----
        UserWarning
            If validation or test rows hold a category, or any value but the one, of which there is no training row:
            they count as missing, or as that one value. Nothing was learned of them.
        """
        mapper = _check_prepared(df, "df", mapper)
        target, codes = make_target(y, is_reg and not is_multi, is_multi)
        _check_lengths(len(df), len(codes))
        times = df.index if isinstance(df.index, pd.DatetimeIndex) else None
        trn_rows, val = split_rows(val_idxs, len(df), times=times, before="nothing")
        labels = _to_tensor(codes)
        trn = _Rows("training", df, trn_rows, labels[trn_rows])
        held_out = _Rows("validation", df, val, labels[val]) if len(val) else None
        return cls._from_rows(path, trn, held_out, test_df, target, cat_flds, bs, shuffle, mapper)

    @classmethod
    def from_data_frames(
        cls,
        path: PathLike,
        trn_df: pd.DataFrame,
        val_df: pd.DataFrame,
        trn_y: ArrayLike,
        val_y: ArrayLike,
        cat_flds: Sequence[str] | None = None,
        bs: int = 64,
        is_reg: bool = True,
        is_multi: bool = False,
        test_df: pd.DataFrame | None = None,
        *,
        shuffle: bool = True,
        mapper: Mapper | None = None,
    ) -> ColumnarModelData:
        """Take training and validation rows from two frames, for which `proc_df` prepared the second like the first.

        For the other options see `from_data_frame`.

        Parameters
        ----------
        trn_df, val_df : DataFrame
            Numbers only; `val_df` has the columns of `trn_df`, in any order.
        trn_y, val_y : array of shape (n,) or (n, n_targets)
            What is predicted.

        Raises
        ------
        DataError
            As `from_data_frame`; and if the frames were not prepared alike.

        Examples
        --------
        >>> import pandas as pd
        >>> from learnkit.tabular import ColumnarModelData, proc_df
        >>> trn = pd.DataFrame({"State": ["HE", "BY"] * 10, "Km": range(20), "Sales": range(20)})
        >>> val = pd.DataFrame({"State": ["BY", "HE"], "Km": [5, 6], "Sales": [5, 6]})
        >>> df, y, nas, mapper = proc_df(trn, "Sales")
        >>> val_df, val_y, _, _ = proc_df(val, "Sales", mapper=mapper)
        >>> md = ColumnarModelData.from_data_frames(".", df, val_df, y, val_y, ["State"], bs=6)
        >>> len(md.trn_dl), len(md.val_dl), md.val_y.tolist()
        (4, 1, [5.0, 6.0])
        """
        mapper = _check_prepared(trn_df, "trn_df", mapper)
        joined, n = join_labels(trn_y, val_y)
        target, codes = make_target(joined, is_reg and not is_multi, is_multi)
        _check_lengths(len(trn_df), n)
        _check_prepared(val_df, "val_df", mapper)
        _check_lengths(len(val_df), len(codes) - n, "validation row")
        labels = _to_tensor(codes)
        trn = _Rows("training", trn_df, slice(None), labels[:n])
        held_out = _Rows("validation", val_df, slice(None), labels[n:])
        return cls._from_rows(path, trn, held_out, test_df, target, cat_flds, bs, shuffle, mapper)

    @classmethod
    def _from_rows(
        cls,
        path: PathLike,
        trn: _Rows,
        val: _Rows | None,
        test_df: pd.DataFrame | None,
        target: Target,
        cat_flds: Sequence[str] | None,
        bs: int,
        shuffle: bool,
        mapper: Mapper | None,
    ) -> ColumnarModelData:
        test = None
        if test_df is not None:
            _check_prepared(test_df, "test_df", mapper)
            test = _Rows("test", test_df, slice(None), torch.zeros((len(test_df), *trn.y.shape[1:]), dtype=trn.y.dtype))
        sizes = dict(mapper.cat_sz) if mapper is not None else {}
        cat_names = check_listed(trn.df, "cat_flds", cat_flds)
        cats = [name for name in trn.df.columns if name in sizes] if cat_flds is None else cat_names
        conts = [name for name in trn.df.columns if name not in set(cats)]
        parts = [part for part in (trn, val, test) if part is not None]
        for part in parts[1:]:
            frame = "test_df" if part is test else "val_df"
            check_columns(part.df.columns, [*cats, *conts], f"`{frame}`, unlike the training frame,")
        cat_sz = [(name, sizes.get(name) or 1 + max(largest_code(part.df, name) for part in parts)) for name in cats]
        xs = frame_tensors(trn.df, cat_sz, conts, trn.rows)
        coverage = Coverage.of(*xs, cat_sz, conts)
        _check_classes_are_trained(trn.y, target)

        def loader(part: _Rows | None) -> TensorLoader | None:
            if part is None:
                return None
            rows = frame_tensors(part.df, cat_sz, conts, part.rows)
            coverage.apply(*rows, cats, conts, mapper, f"preparing the {part.name} rows")
            return row_loader(rows, part.y, bs, train=False, shuffle=False)

        return cls(
            path,
            row_loader(xs, trn.y, bs, train=True, shuffle=shuffle),
            loader(val),
            loader(test),
            target=target,
            cat_sz=cat_sz,
            cont_flds=conts,
            mapper=mapper,
            coverage=coverage,
        )

    @classmethod
    def from_arrays(
        cls,
        path: PathLike,
        val_idxs: ArrayLike | bool | None,
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

        For the other options see `from_data_frame`.

        Parameters
        ----------
        val_idxs : array of int, False or None
            Positions of the validation rows, `False` for none, `None` for a random fifth.
        xs : array of shape (n, n_columns)
            Whole numbers reach the model as int64, others as float32.
        test_xs : array of shape (m, n_columns), optional
            Rows to predict.
        is_reg : bool, optional
            By default whole numbers are classes 0, 1, ... and others a regression; whole numbers in several columns reach
            the loss as they are, and the learner needs `crit=`.

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
        array = columns_array(xs, "xs")
        labels = as_labels(y)
        target: Target | None
        if is_reg is None and not is_multi and labels.dtype.kind in "iu":
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = labels[:, 0]
            target, codes = class_numbers(labels) if labels.ndim == 1 else (None, labels.astype(np.int64))
        else:
            target, codes = make_target(labels, is_reg is not False and not is_multi, is_multi)
        _check_lengths(len(array), len(codes))
        trn, val = split_rows(val_idxs, len(array), before="nothing")
        everything = _to_tensor(codes)

        def loader(values: NDArray[Any], ys: Tensor, *, train: bool = False) -> TensorLoader:
            columns = [torch.from_numpy(np.ascontiguousarray(values[:, j])) for j in range(values.shape[1])]
            return row_loader(columns, ys, bs, train=train, shuffle=shuffle)

        test = None if test_xs is None else columns_array(test_xs, "test_xs")
        if test is not None and test.shape[1] != array.shape[1]:
            raise DataError(f"`test_xs` must have {array.shape[1]} columns, as `xs`; it has {test.shape[1]}.")
        no_labels = None if test is None else torch.zeros((len(test), *everything.shape[1:]), dtype=everything.dtype)
        return cls(
            path,
            loader(array[trn], everything[trn], train=True),
            loader(array[val], everything[val]) if len(val) else None,
            None if test is None or no_labels is None else loader(test, no_labels),
            target=target,
        )

    @old_arguments
    @with_options
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
        opt_fn: OptFn | None = None,
        **options: Unpack[LearnerOptions],
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
            Squeeze the values of a regression into this range with a sigmoid. It must hold all training targets but
            for one in a hundred, which are remarked; a little more on both sides is better, as a sigmoid never reaches its ends.
        use_bn : bool, default False
            Batch norm in the hidden layers.
        metrics : sequence, optional
            Those of the target by default.
        arch : {"mlp", "ple"}, default "mlp"
            How numbers are taken in. `"mlp"` is the course's model, numbers normalised; in `"ple"` each number becomes a
            vector of how far it reaches through up to 128 bins of its column (`PiecewiseLinear`). It sees thresholds as
            a tree does and learns longer: on Adult 20 epochs bring it level with boosted trees.
        opt_fn, **options
            As for `Learner`.

        Returns
        -------
        TabularLearner

        Raises
        ------
        DataError
            If the embedding sizes do not fit the columns, or the targets `y_range`.
        """
        spec = describe_model(self, arch, emb_szs, n_cont, emb_drop, out_sz, szs, drops, y_range, use_bn)
        rows = self.trn_dl.tensors if isinstance(self.trn_dl, TensorLoader) else None
        held_out = self.val_dl.tensors[-1] if isinstance(self.val_dl, TensorLoader) else None
        if y_range is not None:
            check_targets(self.target, y_range, None if rows is None else rows[-1], held_out)
        edges = None
        if arch == "ple":
            if rows is None:
                raise DataError(f"arch={arch!r} needs training rows that were made by from_data_frame.")
            edges = quantile_edges(rows[1])
            spec = replace(spec, n_edges=edges.shape[1])
        model = spec.build(edges)
        for j, name in enumerate(self.cat_flds):  # what was never trained says nothing, whatever the seed
            start_unknown(model, j, self.coverage.untrained.get(name, []))
        if rows is not None and self.target is not None and spec.out_sz == self.c:
            start_at_the_average(model, rows[-1], self.target)
        learn = TabularLearner(self, model, opt_fn, metrics=metrics, **options)
        if learn.device.type == "cuda" and self.nbytes < torch.cuda.mem_get_info(learn.device)[0] / 2:
            self.to(learn.device)
        learn.spec = spec
        return learn


@dataclass(frozen=True)
class _Rows:
    """Rows of a prepared frame and their encoded labels; which rows they are, for messages."""

    name: str
    df: pd.DataFrame
    rows: Any
    y: Tensor


def _check_prepared(df: Any, name: str, mapper: Mapper | None) -> Mapper | None:
    """Return how a frame was prepared, as far as is known, and refuse one that was prepared otherwise."""
    if not isinstance(df, pd.DataFrame):
        hint = " For arrays use from_arrays." if name == "df" else ""
        raise TypeError(f"`{name}` must be a pandas DataFrame; got {type(df).__name__}.{hint}")
    if not len(df):
        raise DataError(f"the frame `{name}` has no rows.")
    if ATTRS_KEY not in df.attrs:
        return mapper
    own = Mapper.from_json(df.attrs[ATTRS_KEY])
    if mapper is not None and own != mapper:
        raise DataError(
            f"`{name}` was not prepared like the training rows, so its codes and numbers mean other things. Prepare it with their "
            "mapper: proc_df(..., mapper=mapper)."
        )
    return own


def _check_classes_are_trained(y: Tensor, target: Target) -> None:
    if not isinstance(target, Category):
        return
    counts = torch.bincount(y, minlength=target.c)
    absent = [name for name, count in zip(target.classes, counts.tolist(), strict=True) if not count]
    if absent:
        warnings.warn(
            f"{len(absent)} class(es) have no training row and cannot be learned: {some(absent)}.", stacklevel=4
        )


def _to_tensor(codes: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(codes, requirements="W"))  # pandas hands out read-only arrays


def _check_lengths(n: int, n_labels: int, what: str = "row") -> None:
    if n != n_labels:
        raise DataError(f"every {what} needs a target: got {n:,} rows and {n_labels:,} targets.")
