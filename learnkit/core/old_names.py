"""Names of fastai 0.7 that are gone, or that moved: one table, read by the errors and by `docs/course.md`.

An argument is looked up by `old_arguments`, an attribute by `old_attributes`, a name of a package by `old_package_names`.
Where a row says `works`, the name is still there and the row is for the page alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import FunctionType
from typing import Any, NoReturn, TypeVar

__all__ = [
    "OLD_NAMES",
    "OldAttribute",
    "OldName",
    "in_place_of",
    "old_arguments",
    "old_attributes",
    "old_package_names",
]

Fn = TypeVar("Fn", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class OldName:
    """A row of the table.

    Attributes
    ----------
    where : str
        The call that took the argument (`Learner.fit`), the class that had the attribute (`Learner`), or "" for a name that
        was imported.
    kind : {"argument", "attribute", "name"}
    name : str
    instead : str
        What to write today.
    works : bool
        Whether the old name works too.
    """

    where: str
    kind: str
    name: str
    instead: str
    works: bool = False


def _rows(where: str, kind: str, names: dict[str, str], *, works: bool = False) -> tuple[OldName, ...]:
    return tuple(OldName(where, kind, name, instead, works) for name, instead in names.items())


_FOLDERS = {
    "tmp_name": "copies and activations are kept under `data.path / 'tmp'`: make the data with another `path`",
    "models_name": "weights are kept under `data.path / 'models'`: make the data with another `path`, or save to an absolute name",
}
_TFMS = {
    "tfm_y": "leave it out: targets that are pictures, boxes or points are not transformed",
    "sz_y": "leave it out: targets that are pictures are not transformed",
    "pad_mode": "leave it out: padding mirrors the picture",
    "norm_y": "leave it out: targets are not normalised",
    "scale": "`aug_tfms=[Scale(sz), ...]` or `RandomScale`",
}
_AVERAGED = {"use_swa": "leave it out: with `callbacks=[WeightAverage(start=...)]` the model ends with the average"}
_CYCLES = "`learn.fit(..., cycle_save_name=...)`, and `learn.load_cycle(name, i)`"
_PRECOMPUTED = "leave it out: `learn.precompute = True` keeps the activations and trains the head alone"
_SIZES = {"emb_sz": "`em_sz`", "n_hid": "`nh`", "n_layers": "`nl`"}

OLD_NAMES: tuple[OldName, ...] = (
    *_rows("fit", "argument", {"epochs": "`n_epochs`", "stepper": "a model that returns a `TrainingOutput`, or a `Callback`"}),
    *_rows(
        "Learner.fit",
        "argument",
        {
            "epochs": "`n_cycle`, which counts epochs where no `cycle_len` is given",
            "use_swa": "`callbacks=[WeightAverage(start=...)]`",
            "swa_start": "`callbacks=[WeightAverage(start=...)]`",
            "swa_eval_freq": "leave it out: `WeightAverage` is validated after every epoch",
            "stepper": "a model that returns a `TrainingOutput`, or a `Callback`",
            "get_ep_vals": "leave it out: `learn.sched.to_frame()` has the figures of every epoch",
        },
    ),
    *_rows(
        "Learner.fit",
        "argument",
        {
            "use_clr": "`use_clr=(div, cut_div)`; `use_clr_beta=(div, pct)`",
            "use_wd_sched": "`use_wd_sched=True`; without it, decay is decoupled already and follows the rate",
            "norm_wds": "`norm_wds=True`, with `use_wd_sched`",
            "wds_sched_mult": "`wds_sched_mult=function`, with `use_wd_sched`",
        },
        works=True,
    ),
    *_rows(
        "Learner.lr_find",
        "argument",
        {
            "linear": "leave it out: the rate rises by a constant factor",
            "num_it": "`n_iter`",
            "stop_dv": "leave it out: it stops when the loss has blown up",
        },
    ),
    *_rows("Learner", "argument", {"models": "`model`, an nn.Module", **_FOLDERS}),
    *_rows(
        "ConvLearner.pretrained",
        "argument",
        {
            "f": "`arch`",
            "pretrained": "`weights=False` for random weights",
            "xtra_cut": "a body of your own as `arch`: an nn.Module that gives feature maps",
            **_FOLDERS,
        },
    ),
    *_rows("ConvLearner.from_model_data", "argument", {"m": "`model`", **_FOLDERS}),
    *_rows("Recorder.plot", "argument", {"n_skip": "`skip_start`", "n_skip_end": "`skip_end`"}),
    *_rows("Recorder.plot_loss", "argument", {"n_skip": "`skip_start`", "n_skip_end": "leave it out"}),
    *_rows("tfms_from_model", "argument", {"f_model": "`arch`", **_TFMS}),
    *_rows("tfms_from_stats", "argument", _TFMS),
    *_rows(
        "ImageClassifierData.from_paths",
        "argument",
        {"test_with_labels": "`learn.validate(dl)` on a loader of pictures with labels"},
    ),
    *_rows("proc_df", "argument", {"preproc_fn": "call the function on the frame before `proc_df`"}),
    *_rows("LanguageModelData.get_model", "argument", {**_SIZES, **_FOLDERS}),
    *_rows("TextData.get_model", "argument", _FOLDERS),
    *_rows("ColumnarModelData.get_learner", "argument", _FOLDERS),
    *_rows("CollabFilterDataset.get_learner", "argument", _FOLDERS),
    *_rows("Learner.predict", "argument", _AVERAGED),
    *_rows("Learner.predict_with_targs", "argument", _AVERAGED),
    *_rows("ConvLearner.set_data", "argument", {"precompute": "`learn.precompute = False` or `True`, after it"}),
    *_rows(
        "Learner",
        "attribute",
        {
            "models": "`learn.model`, the module itself",
            "models_name": _FOLDERS["models_name"],
            "tmp_name": _FOLDERS["tmp_name"],
            "data_": "`learn.data`",
            "from_model_data": "`Learner(data, model)`",
            "lr_find2": "`learn.lr_find()`, which tries `n_iter` batches and stops when the loss has blown up",
            "half": "`learn.precision = 'fp16'`, or `'bf16'`",
            "float": "`learn.precision = 'fp32'`",
            "fit_opt_sched": "`learn.fit(...)`, or `callbacks=[ScheduleRates(lo, nb, phases(...))]` with the function `fit`",
            "fit_gen": "`learn.fit(...)`",
            "warm_up": "`learn.fit_one_cycle(...)`, which begins at a low rate",
            "swa_model": "`callbacks=[WeightAverage(start=...)]`: the model ends with the average",
            "layer_opt": "`LayerOptimizer(opt_fn, learn.get_layer_groups(), lrs)`: each fit makes its own",
            "get_layer_opt": "`LayerOptimizer(opt_fn, learn.get_layer_groups(), lrs)`",
            "save_cycle": _CYCLES,
            "get_cycle_end": _CYCLES,
            "best_save_name": "`learn.fit(..., best_save_name=...)`",
            "wds": "`learn.fit(lrs, n_cycle, wds)`",
            "set_bn_freeze": "`learn.bn_freeze(True)`",
            "fp16": "`learn.precision = 'fp16'`",
            "get_model_path": "`learn.models_path / name`",
            "fc_data": _PRECOMPUTED,
            "fc_model": _PRECOMPUTED,
            "save_fc1": _PRECOMPUTED,
            "get_activations": _PRECOMPUTED,
            "activations": _PRECOMPUTED,
        },
    ),
    *_rows("Learner", "attribute", {"models_path": "`learn.data.path / 'models'`", "tmp_path": "`learn.data.path / 'tmp'`"}, works=True),
    *_rows("DataBunch", "attribute", {"trn_y": "`data.trn_y`, in the order of the data set"}, works=True),
    *_rows(
        "DataBunch",
        "attribute",
        {
            "is_reg": "`isinstance(data.target, Real)`",
            "get_dl": "`data.trn_dl`, `val_dl`, `test_dl`",
            "get_ds": "`data.trn_ds`, `val_ds`, `test_ds`",
            "num_workers": "`data.trn_dl.num_workers`",
            "transform": "`data.trn_ds.tfm` and `data.val_ds.tfm`",
            "bs": "`data.trn_dl.bs`, or `batch_size` of PyTorch's own loaders",
        },
    ),
    *_rows(
        "CollabFilterDataset",
        "attribute",
        {
            "get_model": "`cf.get_learner(...).model`",
            "min_score": "`cf.y_range[0]`",
            "max_score": "`cf.y_range[1]`",
        },
    ),
    *_rows(
        "Recorder",
        "attribute",
        {
            "iterations": "`range(len(learn.sched.losses))`",
            "iteration": "`len(learn.sched.losses)`",
            "epoch": "`len(learn.sched.epochs)`",
            "val_losses": "`learn.sched.to_frame()['val_loss']`",
            "rec_metrics": "`learn.sched.to_frame()`",
            "momentums": "`learn.sched.moms`",
            "init_lrs": "`learn.sched.lrs`, the rate of each batch",
            "layer_opt": "`LayerOptimizer(opt_fn, learn.get_layer_groups(), lrs)`: each fit makes its own",
        },
    ),
    *_rows("ImageClassifierData", "attribute", {"test_aug_dl": "`data.augmented(is_test=True)`"}, works=True),
    *_rows(
        "ImageDataset",
        "attribute",
        {
            "get_x": "`open_image(path / ds.fnames[i])` for the picture, `ds[i][0]` for what the model gets",
            "get_y": "`ds.y[i]`",
            "get_c": "`data.c`",
            "get_n": "`len(ds)`",
            "get_sz": "`ds.sz`",
            "transform": "`ds.tfm`",
            "c": "`data.c`",
        },
    ),
    *_rows(
        "",
        "name",
        {
            "A": "`np.asarray`",
            "BaseDataset": "`learnkit.vision.ImageDataset`, or any torch `Dataset`",
            "CircularLR": "`learn.fit(..., use_clr=(div, cut_div))`",
            "CollabFilterModel": "`cf.get_learner(...)`",
            "ColumnarDataset": "`ColumnarModelData.from_data_frame` and `from_arrays`",
            "ConvnetBuilder": "`ConvLearner.pretrained(arch, data, ps=..., xtra_fc=...)`",
            "DecayType": "`constant`, `linear`, `cosine`, `exponential`: schedules are functions",
            "FilesArrayDataset": "`learnkit.vision.ImageDataset`",
            "FilesNhotArrayDataset": "`ImageClassifierData.from_names_and_array(path, fnames, y, classes)`",
            "ImageData": "`learnkit.vision.ImageClassifierData`",
            "LR_Finder": "`learn.lr_find()`",
            "LinearDecoder": "`learnkit.text.LanguageModel`",
            "LossRecorder": "`learnkit.Recorder`",
            "ModelData": "`learnkit.DataBunch(path, trn_dl, val_dl)`",
            "MultiBatchRNN": "`TextData.get_model(...)`, which reads long texts in pieces of `bptt`",
            "OptimScheduler": "`learnkit.ScheduleRates`",
            "PoolingLinearClassifier": "`learnkit.text.PoolingHead`",
            "RNN_Encoder": "`learnkit.text.AWDLSTM`",
            "RNN_Learner": "`learnkit.text.LanguageLearner` and `TextLearner`",
            "SWA": "`learnkit.WeightAverage(start=...)`",
            "SaveBestModel": "`learnkit.SaveBest`, or `learn.fit(..., best_save_name=...)`",
            "SequentialRNN": "`learnkit.text.LanguageModel`",
            "Stepper": "a model that returns a `TrainingOutput`, or a `Callback`",
            "StructuredLearner": "`learnkit.tabular.TabularLearner`, which `md.get_learner(...)` makes",
            "StructuredModel": "the model itself: `learnkit.tabular.MixedInputModel`",
            "TfmType": "leave it out: targets that are pictures, boxes or points are not transformed",
            "TrainingPhase": "`phases((share, schedule), ...)` with `ScheduleRates`",
            "Transforms": "`learnkit.vision.ImageTransforms`",
            "accuracy_multi": "`learn.fit(..., metrics=['f1'])`, or a function of your own",
            "accuracy_thresh": "`learn.fit(..., metrics=['f1'])`, or a function of your own",
            "emb_init": "leave it out: embeddings of learnkit's models start so",
            "image_gen": "`tfms_from_stats`",
            "inception_4": 'the name `"timm/inception_v4"` as `arch`',
            "inceptionresnet_2": 'the name `"timm/inception_resnet_v2"` as `arch`',
            "is_listy": "`isinstance(x, (list, tuple))`",
            "nasnet": 'the name `"timm/nasnetalarge"` as `arch`',
            "noop": "leave it out",
            "to_gpu": "`model.to(default_device())`; learners and `V` do it",
        },
    ),
)  # fmt: skip
"""Every name of the course that is gone or moved."""


def old_arguments(fn: Fn) -> Fn:
    """Make a call say of an argument that fastai 0.7 had and it has not, what replaced it.

    What is called otherwise is `fn`: its signature, its docstring and its other errors are unchanged.
    """
    where = fn.__qualname__.removesuffix(".__init__")
    gone = {row.name: row for row in OLD_NAMES if row.kind == "argument" and row.where == where and not row.works}
    if not gone or gone.keys() & inspect.signature(fn).parameters.keys():
        raise ValueError(f"the table of old names and the arguments of {where} do not go together.")

    def call(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name in gone:
                raise TypeError(f"{where}() takes no `{name}`, which fastai 0.7 had. Instead: {gone[name].instead}.")
        return fn(*args, **kwargs)

    return in_place_of(fn, call)


def in_place_of(fn: Fn, call: Callable[..., Any]) -> Fn:
    """Return `call` with name, docstring and signature of `fn`, which it calls; `call` may use no globals."""
    # With the globals of `fn`'s module, of which it needs none: `doctest` finds the examples of a module's functions so.
    named = FunctionType(call.__code__, fn.__globals__, fn.__name__, None, call.__closure__)
    return wraps(fn)(named)  # type: ignore[return-value]


class OldAttribute:
    """An attribute that is no more: `hasattr` is false, and the error says what replaced it."""

    def __init__(self, row: OldName) -> None:
        self.row = row

    def __get__(self, obj: object, owner: type) -> NoReturn:
        raise AttributeError(
            f"{owner.__name__} has no `{self.row.name}`, which fastai 0.7 had. Instead: {self.row.instead}."
        )


def old_attributes(cls: Class) -> Class:
    """Make a class say of an attribute that fastai 0.7 had and it has not, what replaced it."""
    for row in OLD_NAMES:
        if row.kind == "attribute" and row.where == cls.__name__ and not row.works:
            if row.name in vars(cls):
                raise ValueError(f"the table of old names calls {cls.__name__}.{row.name} gone, and it is there.")
            setattr(cls, row.name, OldAttribute(row))
    return cls


def old_package_names(package: str) -> Callable[[str], NoReturn]:
    """Return a package's `__getattr__`: it says of a name that fastai 0.7 had, what replaced it."""

    def missing(name: str) -> NoReturn:
        for row in OLD_NAMES:
            if row.kind == "name" and row.name == name:
                raise ImportError(
                    f"{package} has no `{name}`, which fastai 0.7 had. Instead: {row.instead}.", name=package
                )
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return missing
