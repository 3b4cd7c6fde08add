from learnkit.core.device import VV, T, V, default_device, seed_everything, to_np
from learnkit.core.errors import (
    CheckpointError,
    DataError,
    ExportError,
    LearnkitError,
    MissingExtraError,
    NonFiniteError,
    OutOfMemoryError,
    TrainingError,
    UnwritableError,
)
from learnkit.core.hooks import ActivationStats, SaveFeatures
from learnkit.core.layers import AdaptiveConcatPool2d, Flatten, children
from learnkit.core.plots import plot_confusion_matrix, plots
from learnkit.core.version import __version__ as __version__
from learnkit.data.bunch import DataBunch
from learnkit.data.loaders import TensorLoader
from learnkit.data.prep import Prep
from learnkit.data.split import get_cv_idxs, split_by_group, split_by_order, split_by_stratum
from learnkit.data.targets import Category, MultiCategory, Real, Target
from learnkit.load import load_learner
from learnkit.store.spec import ModelSpec
from learnkit.store.weights import load_model, save_model
from learnkit.train.blend import CutMix, MixUp
from learnkit.train.callbacks import GradientClip, LossRegulariser, StopOnNaN, WeightAverage
from learnkit.train.class_metrics import (
    Accuracy,
    AveragePrecision,
    Perplexity,
    RocAuc,
    TopKAccuracy,
    accuracy,
    accuracy_np,
    average_precision,
    error_rate,
    perplexity,
    roc_auc,
    top_k_accuracy,
)
from learnkit.train.counts import (
    F2,
    FBeta,
    Precision,
    Recall,
    Specificity,
    f1,
    f2,
    fbeta,
    precision,
    recall,
    sensitivity,
    specificity,
)
from learnkit.train.decay import WeightDecaySchedule
from learnkit.train.events import Callback, CancelBatch, CancelEpoch, CancelFit, Run
from learnkit.train.interpret import Interpretation, ValueInterpretation
from learnkit.train.learner import Learner
from learnkit.train.logs import CSVLog, TensorBoardLog
from learnkit.train.loop import fit, validate
from learnkit.train.losses import TrainingOutput
from learnkit.train.lr_find import LRFindResult
from learnkit.train.metric import Collected, Mean, Metric, Rooted
from learnkit.train.optim import LayerOptimizer, set_lrs
from learnkit.train.options import CheckpointOptions, FitOptions, LearnerOptions, RunOptions
from learnkit.train.penalties import l1_penalty, l2_penalty
from learnkit.train.plans import Cycles, FineTune, OneCycle, Plan
from learnkit.train.players import Player
from learnkit.train.recorder import ProgressTable, Recorder
from learnkit.train.schedules import (
    CosAnneal,
    ScheduleRates,
    constant,
    cosine,
    exponential,
    flat_cosine,
    linear,
    one_cycle,
    phases,
    slanted_triangle,
    triangle,
)
from learnkit.train.value_metrics import R2, exp_rmspe, mae, mse, r2, rmse
from learnkit.train.watch import EarlyStopping, ReduceOnPlateau, SaveBest

__all__ = [
    "F2",
    "R2",
    "VV",
    "Accuracy",
    "ActivationStats",
    "AdaptiveConcatPool2d",
    "AveragePrecision",
    "CSVLog",
    "Callback",
    "CancelBatch",
    "CancelEpoch",
    "CancelFit",
    "Category",
    "CheckpointError",
    "CheckpointOptions",
    "Collected",
    "CosAnneal",
    "CutMix",
    "Cycles",
    "DataBunch",
    "DataError",
    "EarlyStopping",
    "ExportError",
    "FBeta",
    "FineTune",
    "FitOptions",
    "Flatten",
    "GradientClip",
    "Interpretation",
    "LRFindResult",
    "LayerOptimizer",
    "Learner",
    "LearnerOptions",
    "LearnkitError",
    "LossRegulariser",
    "Mean",
    "Metric",
    "MissingExtraError",
    "MixUp",
    "ModelSpec",
    "MultiCategory",
    "NonFiniteError",
    "OneCycle",
    "OutOfMemoryError",
    "Perplexity",
    "Plan",
    "Player",
    "Precision",
    "Prep",
    "ProgressTable",
    "Real",
    "Recall",
    "Recorder",
    "ReduceOnPlateau",
    "RocAuc",
    "Rooted",
    "Run",
    "RunOptions",
    "SaveBest",
    "SaveFeatures",
    "ScheduleRates",
    "Specificity",
    "StopOnNaN",
    "T",
    "Target",
    "TensorBoardLog",
    "TensorLoader",
    "TopKAccuracy",
    "TrainingError",
    "TrainingOutput",
    "UnwritableError",
    "V",
    "ValueInterpretation",
    "WeightAverage",
    "WeightDecaySchedule",
    "accuracy",
    "accuracy_np",
    "average_precision",
    "children",
    "constant",
    "cosine",
    "default_device",
    "error_rate",
    "exp_rmspe",
    "exponential",
    "f1",
    "f2",
    "fbeta",
    "fit",
    "flat_cosine",
    "get_cv_idxs",
    "l1_penalty",
    "l2_penalty",
    "linear",
    "load_learner",
    "load_model",
    "mae",
    "mse",
    "one_cycle",
    "perplexity",
    "phases",
    "plot_confusion_matrix",
    "plots",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "save_model",
    "seed_everything",
    "sensitivity",
    "set_lrs",
    "slanted_triangle",
    "specificity",
    "split_by_group",
    "split_by_order",
    "split_by_stratum",
    "to_np",
    "top_k_accuracy",
    "triangle",
    "validate",
]
