"""`ConvLearner`: a learner for pictures, on a pretrained architecture or on any model."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learnkit.core.device import T
from learnkit.core.errors import DataError, say, user_stacklevel
from learnkit.core.old_names import old_arguments
from learnkit.core.preserve import preserve_rng
from learnkit.data.bunch import DataBunch
from learnkit.data.dataset import ItemDataset
from learnkit.data.files import PathLike
from learnkit.data.joining import stack
from learnkit.data.labels import one_spelling
from learnkit.data.targets import Category
from learnkit.train.learner import Learner
from learnkit.train.metrics import MetricLike
from learnkit.train.optim import OptFn
from learnkit.train.options import LearnerOptions, with_options
from learnkit.vision.bunch import ImageBunch
from learnkit.vision.cam import ClassActivationMap, class_activation_map
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.images import Picture
from learnkit.vision.interpret import ImageInterpretation
from learnkit.vision.models import (
    Arch,
    arch_name,
    conv_body,
    conv_head,
    head_drops,
    head_widths,
    n_channels,
    own_classes,
    whole_model,
)
from learnkit.vision.precompute import BodyAndHead, OnActivations, activations_of
from learnkit.vision.prep import ImagePrep
from learnkit.vision.report import write_report
from learnkit.vision.spec import ConvSpec
from learnkit.vision.transforms import ImageTransforms

__all__ = ["ConvLearner"]


class ConvLearner(Learner):
    """A learner for pictures; make one with `pretrained` or `from_model_data`.

    Attributes
    ----------
    precompute : bool
        Train the head on activations of the frozen layers that were computed once; see `pretrained`.
    spec : ConvSpec or None
        What `pretrained` made the model of; `None` for a model or a head of your own.
    """

    application = "vision"
    bunch_type, prep_type, spec_type = ImageBunch, ImagePrep, ConvSpec
    _settings = (*Learner._settings, "precompute")
    _precompute = False
    _said_no_augmentation = False

    @classmethod
    @old_arguments
    @with_options
    def pretrained(
        cls,
        arch: Arch,
        data: DataBunch,
        precompute: bool = False,
        ps: float | Sequence[float] | None = None,
        xtra_fc: Sequence[int] | None = None,
        metrics: Sequence[MetricLike] | None = None,
        custom_head: nn.Module | None = None,
        weights: PathLike | bool | None = None,
        *,
        head: bool = True,
        opt_fn: OptFn | None = None,
        **options: Unpack[LearnerOptions],
    ) -> ConvLearner:
        """Put a new head on a pretrained architecture and freeze all but the head.

        Layer groups are three: early body, late body, head.

        Parameters
        ----------
        arch : callable, str or nn.Module
            A torchvision constructor (`resnet34`) or its name, a timm name (`"timm/tf_efficientnet_lite0"`), or a
            model: of one that a learner was made of before, a copy.
        data : DataBunch
            Pictures; `data.c` scores per picture.
        precompute : bool, default False
            Compute the frozen layers' activations once, keep them on disk under `path/tmp`, and train the head on
            them. Much faster; augmentation does nothing meanwhile. `learn.precompute = False`, `unfreeze()` and
            `TTA()` turn it off. Weights are always saved and loaded whole.
        ps : float, sequence of float or None
            Dropout before each linear layer of the head: one number for all, or one for each; `None` is 0.25 and, before
            the last layer, 0.5.
        xtra_fc : sequence of int, optional
            Widths of the head's hidden layers; `[512]` by default, `[]` for none.
        metrics : sequence, optional
            `["accuracy"]` by default, for single-label classification.
        custom_head : nn.Module, optional
            Instead of the standard head; takes feature maps `(B, C, h, w)`.
        weights : path-like, bool or None, default None
            `None` loads the architecture's default ImageNet weights, `False` starts from random ones, a path reads
            a `.pth` (tensors only) or `.safetensors` file.
        head : bool, default True
            `False` keeps the architecture as it is, with the classes it was made for. Unless the data is of as many, the
            learner predicts those classes and cannot be trained or measured: the labels are of others.
        opt_fn, **options
            As for `Learner`.

        Returns
        -------
        ConvLearner

        Raises
        ------
        LearnkitError
            If the weights cannot be downloaded (pass a file), or the architecture has no feature maps.
        CheckpointError
            If the weights file does not fit; the layers are named.

        Examples
        --------
        >>> import numpy as np
        >>> from learnkit.vision import ConvLearner, ImageClassifierData
        >>> x, y = np.random.rand(8, 3, 32, 32), np.arange(8) % 2
        >>> data = ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y), bs=4)
        >>> learn = ConvLearner.pretrained("resnet18", data, weights=False)
        >>> learn.freeze()
        >>> [any(p.requires_grad for layer in group for p in layer.parameters()) for group in learn.get_layer_groups()]
        [False, False, True]
        """
        arch = _unshared(arch, "arch") if isinstance(arch, nn.Module) else arch
        custom_head = None if custom_head is None else _unshared(custom_head, "custom_head")
        name = arch_name(arch)
        spec: ConvSpec | None = None
        if not head:
            if custom_head is not None or ps is not None or xtra_fc is not None:
                raise ValueError(
                    "`custom_head`, `ps` and `xtra_fc` are of a new head; with `head=False` there is none."
                )
            model = whole_model(arch, weights)
            data, options["crit"], metrics = _of_own_classes(
                data, own_classes(arch, model), options.get("crit"), metrics
            )
            spec = None if name is None else ConvSpec(name, head=False)
        elif custom_head is not None:
            model = BodyAndHead(conv_body(arch, weights), custom_head)
        else:
            body, drops = conv_body(arch, weights), _drops(ps, xtra_fc)
            model = BodyAndHead(body, conv_head(n_channels(body), data.c, drops, xtra_fc))
            widths = None if xtra_fc is None else head_widths(xtra_fc)
            spec = None if name is None else ConvSpec(name, data.c, drops, widths)
        learn = cls(data, model, opt_fn, metrics=metrics, **options)
        if weights is not False:
            if head:
                learn.freeze()
            tfm = getattr(getattr(data.trn_dl, "dataset", None), "tfm", None)
            if isinstance(tfm, ImageTransforms) and tfm.stats is None:
                say(
                    "the pictures are not normalised as these weights expect: give the data `tfms=tfms_from_model(...)`."
                )
        if learn.crit is _labels_of_others and data.target is not None:
            learn.activation = data.target.activation  # only what is measured is not known
        learn.precompute = precompute
        learn.spec = spec
        return learn

    @classmethod
    @old_arguments
    @with_options
    def from_model_data(
        cls,
        model: nn.Module,
        data: DataBunch,
        *,
        opt_fn: OptFn | None = None,
        metrics: Sequence[MetricLike] | None = None,
        **options: Unpack[LearnerOptions],
    ) -> ConvLearner:
        """Train a model of your own on pictures; see `Learner`.

        Parameters
        ----------
        model : nn.Module
            Layer groups are the children of an `nn.Sequential`, else there is one.
        """
        return cls(data, model, opt_fn, metrics=metrics, **options)

    @property
    def precompute(self) -> bool:
        """Whether the head is trained on activations that were computed once."""
        return self._precompute

    @precompute.setter
    def precompute(self, on: bool) -> None:
        if on and not isinstance(self.model, BodyAndHead):
            raise DataError("`precompute` needs a body and a head: make the learner with `ConvLearner.pretrained`.")
        if on and any(p.requires_grad for p in self.model[0].parameters()):  # type: ignore[index]
            self.freeze()
        self._precompute = bool(on)

    def freeze_to(self, n: int) -> None:
        """Train only the layer groups from `n` on; see `Learner.freeze_to`. Unfreezing the body ends `precompute`."""
        super().freeze_to(n)
        if self._precompute and any(p.requires_grad for p in self.model[0].parameters()):  # type: ignore[index]
            self._precompute = False

    @old_arguments
    def set_data(self, data: DataBunch) -> None:
        """Go on with other data, e.g. bigger pictures; see `Learner.set_data`."""
        super().set_data(data)
        self._said_no_augmentation = False

    def TTA(self, n_aug: int = 4, is_test: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        """Predict each picture as it is and `n_aug` times with the training augmentation (test-time augmentation).

        `np.mean(np.exp(log_preds), 0)` are the probabilities of single-label classification.

        Parameters
        ----------
        n_aug : int, default 4
            Augmented versions of each picture.
        is_test : bool, default False
            The test set instead of the validation set.

        Returns
        -------
        log_preds : array of shape (n_aug + 1, n, c)
            What `predict` returns, for the plain pictures first: `(n_aug + 1, n)` where the targets are `(n,)`.
        targs : array of shape (n, ...)
            Encoded targets.
        """
        if not isinstance(self.data, ImageBunch):
            raise DataError("TTA needs the pictures themselves: make the data with `ImageClassifierData`.")
        self._precompute = False
        _, pictures = self._held_out(is_test)
        plain = self._predict(pictures)
        augmented = self.data.augmented(is_test)
        versions = [plain.preds]
        with preserve_rng():
            for _ in range(n_aug):
                torch.randint(2, ())  # predicting puts the generators back, so move on for the next augmentation
                versions.append(self._predict(augmented).preds)
        return stack(versions), plain.targs

    def interpret(self) -> Any:
        """Predict the validation set, for questions with an answer in pictures; see `Learner.interpret`."""
        if self.crit is _labels_of_others:
            raise DataError(_OTHER_LABELS)
        if self.data.classes is None:
            return super().interpret()
        preds, targs = self.predict_with_targs()
        dataset = getattr(self.data.val_dl, "dataset", None)
        return ImageInterpretation(self._to_proba(preds), targs, self.data.classes, dataset)

    def predict_array(self, arr: Any) -> NDArray[Any]:
        """Predict pictures that are transformed already, shape (n, 3, H, W); see `Learner.predict_array`."""
        if not isinstance(arr, tuple) and np.ndim(arr) == 3:
            raise DataError(
                f"expected pictures of shape (n, 3, H, W); got {np.shape(arr)}. For one picture pass `im[None]`."
            )
        return super().predict_array(arr)

    def predict_files(self, files: Picture | Iterable[Picture], bs: int = 64) -> NDArray[Any]:
        """Predict picture files, their bytes, or arrays, a single one as a list of one; see `predict_raw`."""
        return self.predict_raw(files, bs=bs)

    def cam(
        self, x: Any, target: int | str | Sequence[int] | None = None, layer: nn.Module | None = None
    ) -> ClassActivationMap:
        """Show where the model saw a class: CAM where the last maps are one per class, Grad-CAM otherwise.

        Parameters
        ----------
        x : int, sequence of int, or array of shape (3, H, W) or (n, 3, H, W)
            Items of the validation set, or transformed pictures.
        target : class number or name, or one number per picture, optional
            The class to explain; by default the most probable one of each picture.
        layer : nn.Module, optional
            The layer whose feature maps are weighed; by default the last one with maps of more than one place.

        Returns
        -------
        ClassActivationMap
            Its `maps` are arrays; `plot()` draws them over the pictures.

        References
        ----------
        Zhou et al. 2016, "Learning Deep Features for Discriminative Localization"; Selvaraju et al. 2017, "Grad-CAM".
        """
        ds = self.data.val_ds
        if isinstance(x, int | np.integer) or (isinstance(x, Sequence | np.ndarray) and np.asarray(x).ndim == 1):
            if not isinstance(ds, ItemDataset):
                raise DataError("the pictures are not at hand: pass transformed ones of shape (n, 3, H, W).")
            xs = ds.finish(ds.batch([int(i) % len(ds) for i in np.atleast_1d(np.asarray(x))], ds.epoch_seed))[0]
        else:
            xs = T(x)
            xs = xs[None] if xs.ndim == 3 else xs
        classes = self.data.classes or []
        if isinstance(target, str):
            spelt = [one_spelling(name) for name in classes]
            if one_spelling(target) not in spelt:
                raise DataError(f"there is no class {target!r}; classes are {', '.join(map(str, classes[:10]))}.")
            target = spelt.index(one_spelling(target))
        maps, targets, method = class_activation_map(self.model, xs, target, layer)
        denorm = ds.denorm if isinstance(ds, ImageDataset) else ImageTransforms(None).denorm
        titles = [str(classes[t]) if classes else str(t) for t in targets]
        return ClassActivationMap(maps, denorm(xs), targets, titles, method)

    def report(self, path: PathLike = "report.html", *, n_worst: int = 8) -> Path:
        """Write a self-contained HTML page about the trained model, to be opened in a browser or sent to somebody.

        The latest fit, the learning-rate finder, confusion matrix, figures per class, the highest losses with
        activation maps over them, and the settings.

        Parameters
        ----------
        path : path-like, default "report.html"
        n_worst : int, default 8
            How many of the highest losses to show.

        Returns
        -------
        Path
            The file written.
        """
        return write_report(self, path, self.cam, n_worst=n_worst)

    @classmethod
    def adopted(cls, model: nn.Module, kind: str) -> nn.Module:
        """Return body and head as one model that knows which is which."""
        return BodyAndHead(*model.children()) if kind == "BodyAndHead" and type(model) is nn.Sequential else model

    def _task(self) -> tuple[nn.Module, DataBunch]:
        """Return model and data; with `precompute` the head, and the activations it takes."""
        data, model = self.data, self.model
        if not self._precompute:
            return model, data
        if not isinstance(data, ImageBunch) or not isinstance(model, BodyAndHead):
            raise DataError("`precompute` needs pictures from `ImageClassifierData`.")
        if not self._said_no_augmentation and getattr(data.trn_ds.tfm, "aug_tfms", None):
            say("precompute is on: augmentation does nothing until `learn.precompute = False`.")
            self._said_no_augmentation = True
        return OnActivations(model), activations_of(model, data)


def _drops(ps: float | Sequence[float] | None, xtra_fc: Sequence[int] | None) -> list[float]:
    n_hidden = len(head_widths(xtra_fc))
    drops = head_drops(ps, n_hidden)
    if isinstance(ps, int | float) and ps and n_hidden:
        warnings.warn(
            f"ps={ps} is the dropout before every layer of the head; in learnkit 0.1 it was halved before all but the last. "
            f"Pass ps={[ps / 2] * n_hidden + [ps]} for what it was.",
            FutureWarning,
            stacklevel=user_stacklevel(),
        )
    return drops


_OTHER_LABELS = (
    "this learner predicts the classes that its network was made for, and the labels of the data are of other classes: it "
    "can predict, but not be trained or measured on them. For the classes of the data leave `head=True`."
)


def _labels_of_others(pred: Any, y: Any) -> Any:
    raise DataError(_OTHER_LABELS)


def _of_own_classes(data: DataBunch, names: list[str], crit: Any, metrics: Any) -> tuple[DataBunch, Any, Any]:
    """Return data, loss and metrics for a network with its own classes: those given where the data is of as many."""
    if data.target is not None and data.c == len(names):
        return data, crit, metrics
    if crit is not None or metrics:
        raise DataError(_OTHER_LABELS)
    same = copy.copy(data)
    same.target = Category(names)
    return same, _labels_of_others, []


_USED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _unshared(module: nn.Module, name: str) -> nn.Module:
    """Return a module, or a copy of one that a learner was made of before: training one must not change the other."""
    if module in _USED:
        say(f"a learner was made of this `{name}` before: the new one gets a copy of it as it is now.")
        module = copy.deepcopy(module)
    _USED.add(module)
    return module
