from learnkit.data.split import get_cv_idxs, split_by_group, split_by_order
from learnkit.tabular.architecture import TableSpec
from learnkit.tabular.columns import apply_cats, cont_cat_split, df_shrink, train_cats
from learnkit.tabular.data import ColumnarModelData
from learnkit.tabular.dates import add_datepart, get_elapsed, rolling_means, rolling_sums
from learnkit.tabular.join import join_df
from learnkit.tabular.learner import TabularLearner
from learnkit.tabular.mapper import CategoryColumn, Mapper, NumberColumn
from learnkit.tabular.model import MixedInputModel, PiecewiseLinear, quantile_edges
from learnkit.tabular.prep import TablePrep
from learnkit.tabular.preprocess import proc_df
from learnkit.tabular.sklearn_api import TabularClassifier, TabularRegressor
from learnkit.train.class_metrics import accuracy, roc_auc
from learnkit.train.value_metrics import exp_rmspe, mae, r2, rmse

__all__ = [
    "CategoryColumn",
    "ColumnarModelData",
    "Mapper",
    "MixedInputModel",
    "NumberColumn",
    "PiecewiseLinear",
    "TablePrep",
    "TableSpec",
    "TabularClassifier",
    "TabularLearner",
    "TabularRegressor",
    "accuracy",
    "add_datepart",
    "apply_cats",
    "cont_cat_split",
    "df_shrink",
    "exp_rmspe",
    "get_cv_idxs",
    "get_elapsed",
    "join_df",
    "mae",
    "proc_df",
    "quantile_edges",
    "r2",
    "rmse",
    "roc_auc",
    "rolling_means",
    "rolling_sums",
    "split_by_group",
    "split_by_order",
    "train_cats",
]
