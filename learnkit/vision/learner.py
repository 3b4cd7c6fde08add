"""`ConvLearner`: a learner for pictures, on a pretrained architecture or on any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.core.hooks import output_shape
from learnkit.data.bunch import DataBunch
from learnkit.data.files import PathLike
from learnkit.train.events import Callback
from learnkit.train.learner import Learner
from learnkit.train.loop import Loss
from learnkit.train.metrics import MetricLike
from learnkit.vision.models import Arch, body_and_head_groups, conv_body, conv_head

__all__ = ["ConvLearner"]


class ConvLearner(Learner):
    """A learner for pictures; make one with `pretrained` or `from_model_data`.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from learnkit.vision import ConvLearner, ImageClassifierData
    >>> x, y = np.random.rand(20, 3, 8, 8), np.arange(20) % 2
    >>> data = ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y), bs=10)
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> learn = ConvLearner.from_model_data(model, data)
    >>> learn.freeze_to(-1)
    """

    @classmethod
    def pretrained(
        cls,
        arch: Arch,
        data: DataBunch,
        ps: float | Sequence[float] = 0.5,
        xtra_fc: Sequence[int] | None = None,
        metrics: Sequence[MetricLike] | None = None,
        custom_head: nn.Module | None = None,
        weights: PathLike | bool | None = None,
        *,
        opt_fn: Callable[..., Optimizer] | None = None,
        crit: Loss | None = None,
        callbacks: Sequence[Callback] | None = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        channels_last: bool = False,
        compile: bool | str = False,
    ) -> ConvLearner:
        """Put a new head on a pretrained architecture and freeze all but the head.

        Layer groups are three: early body, late body, head.

        Parameters
        ----------
        arch : callable, str or nn.Module
            A torchvision constructor (`resnet34`) or its name, a timm name (`"timm/tf_efficientnet_lite0"`), or a
            model.
        data : DataBunch
            Pictures; `data.c` scores per picture.
        ps : float or sequence of float, default 0.5
            Dropout before each linear layer of the head. One number is used before the last one and halved before
            the others.
        xtra_fc : sequence of int, optional
            Widths of the head's hidden layers; `[512]` by default, `[]` for none.
        metrics : sequence, optional
            `["accuracy"]` by default, for single-label classification.
        custom_head : nn.Module, optional
            Instead of the standard head; takes feature maps `(B, C, h, w)`.
        weights : path-like, bool or None, default None
            `None` loads the architecture's default ImageNet weights, `False` starts from random ones, a path reads
            a `.pth` (tensors only) or `.safetensors` file.
        opt_fn, crit, callbacks, device, precision, accumulate, channels_last, compile
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
        >>> len(learn.get_layer_groups())
        3
        """
        body = conv_body(arch, weights)
        if custom_head is None:
            n_features = output_shape(body, (1, 3, 64, 64))[1]
            head: nn.Module = conv_head(n_features, data.c, ps, xtra_fc)
        else:
            head = custom_head
        learn = cls(
            data,
            nn.Sequential(body, head),
            opt_fn,
            crit,
            metrics,
            callbacks,
            body_and_head_groups,
            device=device,
            precision=precision,
            accumulate=accumulate,
            channels_last=channels_last,
            compile=compile,
        )
        if weights is not False:
            learn.freeze()
        return learn

    @classmethod
    def from_model_data(
        cls,
        model: nn.Module,
        data: DataBunch,
        *,
        opt_fn: Callable[..., Optimizer] | None = None,
        crit: Loss | None = None,
        metrics: Sequence[MetricLike] | None = None,
        callbacks: Sequence[Callback] | None = None,
        splitter: Callable[[nn.Module], Any] | None = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        accumulate: int = 1,
        channels_last: bool = False,
        compile: bool | str = False,
    ) -> ConvLearner:
        """Train a model of your own on pictures.

        Parameters
        ----------
        model : nn.Module
            Layer groups are the children of an `nn.Sequential`, else there is one.
        data : DataBunch
        opt_fn, crit, metrics, callbacks, splitter, device, precision, accumulate, channels_last, compile
            As for `Learner`.

        Returns
        -------
        ConvLearner

        Examples
        --------
        See `ConvLearner`.

        >>> from learnkit.vision import ConvLearner
        """
        return cls(
            data,
            model,
            opt_fn,
            crit,
            metrics,
            callbacks,
            splitter,
            device=device,
            precision=precision,
            accumulate=accumulate,
            channels_last=channels_last,
            compile=compile,
        )
