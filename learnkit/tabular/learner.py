"""`TabularLearner`: train on a table, then predict raw rows, save the preparation with the model, look inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.components import principal_components
from learnkit.core.device import to_np
from learnkit.core.errors import DataError, check_positive
from learnkit.core.plots import as_text, get_ax
from learnkit.data.bunch import DataBunch, known_prep
from learnkit.data.frames import Rows
from learnkit.data.loaders import TensorLoader
from learnkit.tabular.architecture import TableSpec
from learnkit.tabular.bunch import TableBunch
from learnkit.tabular.coverage import Coverage
from learnkit.tabular.prep import TablePrep
from learnkit.train.learner import Learner
from learnkit.train.metrics import MetricLike, as_metrics
from learnkit.train.optim import OptFn, adamw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TabularLearner"]


class TabularLearner(Learner):
    """A learner for tables; make one with `ColumnarModelData.get_learner`, or `load_learner` from an exported one.

    Besides what every learner does, it takes raw rows (`predict_df`), shows what it learned of each variable
    (`embeddings`, `feature_importance`, `partial_dependence`), and exports how the table was prepared with its weights.

    Attributes
    ----------
    data : ColumnarModelData

    Examples
    --------
    >>> import pandas as pd
    >>> from learnkit.tabular import ColumnarModelData, proc_df
    >>> trn = pd.DataFrame({"State": ["HE", "BY"] * 50, "Km": range(100), "Sales": range(100)})
    >>> df, y, nas, mapper = proc_df(trn, "Sales")
    >>> learn = ColumnarModelData.from_data_frame(".", range(80, 100), df, y, bs=16).get_learner(y_range=(0, 120))
    >>> with learn.no_progress():
    ...     results = learn.fit_one_cycle(3, 1e-2)
    >>> 30 < learn.predict_df(pd.DataFrame({"Km": [50], "State": ["BY"]})).item() < 70
    True
    """

    application = "tabular"
    bunch_type, prep_type, spec_type = TableBunch, TablePrep, TableSpec
    data: TableBunch
    _coverage: Coverage | None = None

    @classmethod
    def usual_opt(cls, model: nn.Module) -> OptFn:
        """AdamW in one kernel."""
        return adamw

    # ---------------------------------------------------------------- raw rows

    def predict_df(self, df: Rows, *, decode: bool = False) -> Any:
        """Predict raw rows: a frame with the columns that `proc_df` was given in training; see `predict_raw`.

        Parameters
        ----------
        df : DataFrame, Series, dict or list of dict
            Columns in any order, the target's not needed; a series or a dict of single values is one row. Categories
            that no training row had count as missing and columns that were not there in training are ignored, with
            a warning.
        """
        return self.predict_raw(df, decode)

    def dl_from_df(self, df: Rows, bs: int = 4096) -> TensorLoader:
        """Prepare raw rows as in training and return a loader of them, for `predict_dl`."""
        return known_prep(self.prep, "raw rows cannot be prepared").loader(df, bs)

    @property
    def coverage(self) -> Coverage:
        """What no training row held, of the present data nor of earlier ones prepared alike (`set_data`)."""
        return self.data.coverage if self._coverage is None else self._coverage

    def set_data(self, data: DataBunch) -> None:
        """Go on with other rows: the model stays, and what it learned of the earlier ones still counts.

        Raises
        ------
        DataError
            If the classes differ from the present ones.
        """
        before, prep = self.coverage, data.prep
        alike = prep is not None and self.prep is not None and prep.identity() == self.prep.identity()
        super().set_data(data)
        self._coverage = before.joined(self.data.coverage) if alike else None

    @property
    def prep(self) -> TablePrep | None:
        """How raw rows are prepared, with what no training row held, of the present data nor of earlier ones."""
        prep = self.data.prep
        return None if prep is None else replace(prep, coverage=self.coverage)

    # ---------------------------------------------------------------- looking inside

    def embeddings(self, var: str) -> pd.DataFrame:
        """Return the embedding of a categorical variable: one row of numbers per category.

        Parameters
        ----------
        var : str
            The column's name.

        Returns
        -------
        DataFrame of shape (n_codes, width)
            The index holds the categories, first `"(missing)"` (the codes, if it is not known how they were made).

        Raises
        ------
        DataError
            If there is no such categorical column.
        """
        embs = getattr(self.model, "embs", None)
        if var not in self.data.cat_flds or embs is None:
            raise DataError(
                f"there is no categorical column {var!r}; there are: {', '.join(map(str, self.data.cat_flds))}."
            )
        weight = to_np(embs.embs[self.data.cat_flds.index(var)].weight)
        return pd.DataFrame(
            weight,
            index=pd.Index(known_prep(self.prep, "its codes have no names").categories(var)[: len(weight)], name=var),
        )

    def plot_embeddings(self, var: str, *, n_labels: int = 60, ax: Axes | None = None) -> Axes:
        """Draw the categories of a variable where the first two principal components of their embedding put them.

        Categories with a similar effect lie close together.

        Parameters
        ----------
        var : str
            The column's name.
        n_labels : int, default 60
            Label at most so many categories, the first ones.
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        frame = self.embeddings(var)
        if self.data.mapper is not None and len(frame) > 2:
            frame = frame.iloc[1:]  # what is missing is not a category
        points, share = principal_components(frame.to_numpy(), min(2, *frame.shape))
        points = points if points.shape[1] > 1 else np.c_[points, np.zeros(len(points))]
        ax = get_ax(ax, (7, 5))
        ax.scatter(points[:, 0], points[:, 1], s=18)
        for label, (x, y) in list(zip(frame.index, points, strict=True))[:n_labels]:
            as_text(ax.annotate(str(label), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8))
        ax.margins(0.1)
        as_text(ax.set_title(f"embedding of {var}"))
        ax.set_xlabel(f"component 1 ({share[0]:.0%})")
        ax.set_ylabel(f"component 2 ({share[1]:.0%})" if len(share) > 1 else "")
        return ax

    def feature_importance(
        self,
        metric: MetricLike | None = None,
        *,
        n_repeats: int = 1,
        max_rows: int = 20_000,
        seed: int = 42,
    ) -> pd.DataFrame:
        """Measure how much worse the validation result gets when a column's values change places between the rows.

        Parameters
        ----------
        metric : str, function or Metric, optional
            What gets worse; the validation loss by default.
        n_repeats : int, default 1
            Shuffles per column; the mean is returned.
        max_rows : int, default 20,000
            Use at most so many validation rows, chosen at random.
        seed : int, default 42
            Of the shuffles.

        Returns
        -------
        DataFrame
            Columns `column`, `importance` (the change for the worse) and `std` (over the repeats), the most important
            first. A number and its `_na` flag are shuffled together.

        References
        ----------
        Breiman 2001, "Random Forests"; Fisher, Rudin & Dominici 2019.
        """
        check_positive("n_repeats", n_repeats, integer=True)
        rng = np.random.default_rng(seed)
        (cats, conts), y = self._validation_rows(max_rows, rng)
        scorer = None if metric is None else as_metrics([metric])[0]

        def score(cats: Tensor, conts: Tensor) -> float:
            dl = TensorLoader((cats, conts), y, 4096, widen=True)
            results = self.validate(dl, metrics=[] if scorer is None else [scorer])
            return results["val_loss" if scorer is None else scorer.name]

        base = score(cats, conts)
        sign = -1.0 if scorer is not None and scorer.higher_is_better is not False else 1.0
        rows = []
        for column, cat_js, cont_js in self._variables():
            changes = []
            for _ in range(int(n_repeats)):
                order = torch.from_numpy(rng.permutation(len(y)))
                new_cats, new_conts = cats.clone(), conts.clone()
                new_cats[:, cat_js], new_conts[:, cont_js] = cats[order][:, cat_js], conts[order][:, cont_js]
                changes.append(sign * (score(new_cats, new_conts) - base))
            rows.append((column, float(np.mean(changes)), float(np.std(changes))))
        frame = pd.DataFrame(rows, columns=["column", "importance", "std"])
        return frame.sort_values("importance", ascending=False, ignore_index=True)

    def plot_importance(self, importance: pd.DataFrame | None = None, *, n: int = 20, ax: Axes | None = None) -> Axes:
        """Draw `feature_importance` as bars.

        Parameters
        ----------
        importance : DataFrame, optional
            What `feature_importance` returned; computed by default.
        n : int, default 20
            The most important so many.
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        frame = (self.feature_importance() if importance is None else importance).head(n)[::-1]
        ax = get_ax(ax, (6.4, 1 + 0.3 * len(frame)))
        spread = frame["std"] if frame["std"].any() else None  # a single shuffle says nothing of it
        ax.barh(frame["column"].astype(str), frame["importance"], xerr=spread, error_kw={"ecolor": "0.3", "capsize": 2})
        ax.margins(y=0.01)
        ax.set_xlabel(
            "loss added by shuffling the column" if importance is None else "worse by, with the column shuffled"
        )
        return ax

    def partial_dependence(
        self,
        var: str,
        *,
        n_points: int = 30,
        max_rows: int = 1000,
        target: Any = None,
        seed: int = 42,
    ) -> pd.DataFrame:
        """Predict validation rows with one column set to each of its values in turn, all else as it is.

        Parameters
        ----------
        var : str
            The column's name, as in the raw frame.
        n_points : int, default 30
            Values of a number to try, at its quantiles from 1% to 99%.
        max_rows : int, default 1000
            Validation rows to average over, chosen at random.
        target : Any, optional
            Whose probability: a class; the last one by default. For several numbers, which of them (0, 1, ...).
        seed : int, default 42
            Of the choice of rows.

        Returns
        -------
        DataFrame
            Columns `var` (raw values or categories) and `prediction`, the mean probability or value.

        References
        ----------
        Friedman 2001, "Greedy Function Approximation".
        """
        rng = np.random.default_rng(seed)
        (cats, conts), y = self._validation_rows(max_rows, rng)
        score = self._which_score(target)
        if var in self.data.cat_flds:
            j, labels = self.data.cat_flds.index(var), known_prep(self.prep, "its codes have no names").categories(var)
            codes = [int(code) for code in np.unique(cats[:, j].numpy())]
            values: list[Any] = [labels[code] for code in codes]
            inputs: list[float] = [float(code) for code in codes]
            into, flag = cats, None
        elif var in self.data.cont_flds:
            j = self.data.cont_flds.index(var)
            known = conts[:, j].numpy()
            inputs = [float(v) for v in np.unique(np.quantile(known, np.linspace(0.01, 0.99, n_points)))]
            column = known_prep(self.prep, "its values are not known").number(var)
            scale = (1.0, 0.0) if column is None else (column.std, column.mean)
            values = [v * scale[0] + scale[1] for v in inputs]
            into = conts
            flagged = column is not None and column.flag and f"{var}_na" in self.data.cont_flds
            flag = self.data.cont_flds.index(f"{var}_na") if flagged else None
        else:
            names = (*self.data.cat_flds, *self.data.cont_flds)
            raise DataError(f"there is no column {var!r}; there are: {', '.join(map(str, names[:20]))}.")
        means = []
        if flag is not None:
            conts[:, flag] = 0.0
        for value in inputs:
            into[:, j] = value
            preds = self.predict_dl(TensorLoader((cats, conts), y, 4096, widen=True))
            means.append(float(score(preds).mean()))
        return pd.DataFrame({var: values, "prediction": means})

    def plot_partial_dependence(self, var: str, *, target: Any = None, n: int = 30, ax: Axes | None = None) -> Axes:
        """Draw `partial_dependence`: a line for a number, bars for a category, the highest on top.

        Parameters
        ----------
        var : str
            The column's name.
        target : Any, optional
            Whose probability, see `partial_dependence`.
        n : int, default 30
            Of a category with more levels, draw so many: those with the highest and the lowest predictions.
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        frame = self.partial_dependence(var, target=target)
        classes = None if self.data.target is None else self.data.target.classes
        whose = (classes[-1] if target is None else target) if classes is not None else target
        what = "mean prediction" if whose is None else f"mean probability of {whose}" if classes else f"mean of {whose}"
        if var not in self.data.cat_flds:
            ax = get_ax(ax)
            ax.plot(frame[var], frame["prediction"], marker=".")
            ax.set_xlabel(var)
            ax.set_ylabel(what)
            return ax
        frame = frame.sort_values("prediction", kind="stable")
        if len(frame) > n:
            frame = pd.concat([frame[: n // 2], frame[len(frame) - (n - n // 2) :]])
        ax = get_ax(ax, (6.4, 1 + 0.25 * len(frame)))
        ax.barh(frame[var].astype(str), frame["prediction"])
        ax.margins(y=0.01)
        ax.set_xlabel(what)
        ax.set_ylabel(var)
        return ax

    # ---------------------------------------------------------------- private

    def _variables(self) -> list[tuple[Any, list[int], list[int]]]:
        """Return the raw columns, each with the positions of what it became among codes and among numbers."""
        of_output: dict[Any, Any] = {}
        for column in self.data.mapper.columns if self.data.mapper is not None else ():
            of_output |= dict.fromkeys(column.outputs, column.name)
        found: dict[Any, tuple[list[int], list[int]]] = {}
        for part, names in enumerate((self.data.cat_flds, self.data.cont_flds)):
            for j, name in enumerate(names):
                found.setdefault(of_output.get(name, name), ([], []))[part].append(j)
        return [(name, *positions) for name, positions in found.items()]

    def _validation_rows(self, max_rows: int, rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
        _, dl = self._held_out(False)
        if not isinstance(dl, TensorLoader) or (not self.data.cat_flds and not self.data.cont_flds):
            raise DataError("this needs a validation set made by ColumnarModelData.from_data_frame.")
        cats, conts, y = dl.tensors
        rows = np.sort(rng.choice(len(y), min(int(max_rows), len(y)), replace=False))
        index = torch.from_numpy(rows).to(y.device)
        return (cats[index].cpu(), conts[index].cpu()), y[index].cpu()

    def _which_score(self, target: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
        kind = self.data.target
        classes = None if kind is None else kind.classes
        if classes is not None:
            if target is not None and target not in classes:
                raise DataError(
                    f"`target` must be one of the classes {', '.join(map(str, classes[:8]))}; got {target!r}."
                )
            column = len(classes) - 1 if target is None else classes.index(target)
        else:
            column = 0 if target is None else int(target)
        return lambda preds: (preds if kind is None else kind.to_proba(preds)).reshape(len(preds), -1)[:, column]
