"""The course's own calls (fastai 0.7) that have no other place here: thin, each a line or two on what learnkit does.

Star-import it beside the packages to run a notebook of the course. `docs/course.md` lists all of them, and the names
that are gone with what replaced each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.models import (
    densenet121 as dn121,
)
from torchvision.models import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    vgg16,
    vgg19,
)
from torchvision.models import (
    resnext50_32x4d as resnext50,
)
from torchvision.models import (
    resnext101_32x8d as resnext101,
)
from torchvision.models import (
    wide_resnet50_2 as wrn,
)

from learnkit.core.device import VV, T, V, map_tensors, to_np
from learnkit.core.errors import DataError, check_fraction
from learnkit.core.layers import children, set_trainable
from learnkit.core.listing import check_list
from learnkit.core.old_names import old_package_names
from learnkit.core.plots import plots
from learnkit.data.files import PathLike
from learnkit.data.split import check_val_idxs
from learnkit.runtime.tokens import SpacyTokenizer
from learnkit.train import predictions
from learnkit.train.decay import WeightDecaySchedule
from learnkit.vision.augment import (
    AddPadding,
    CenterCrop,
    NoCrop,
    RandomBlur,
    RandomFlipXY,
    RandomRotateZoom,
    RandomScale,
    RandomStretch,
    Scale,
)
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.images import open_image
from learnkit.vision.labels import read_cells
from learnkit.vision.models import Arch, conv_body, n_channels
from learnkit.vision.transforms import CropType

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "VV",
    "AddPadding",
    "BasicModel",
    "CenterCrop",
    "CropType",
    "EmbeddingDropout",
    "FilesIndexArrayDataset",
    "NoCrop",
    "RandomBlur",
    "RandomFlipXY",
    "RandomRotateZoom",
    "RandomScale",
    "RandomStretch",
    "SGD_Momentum",
    "Scale",
    "T",
    "V",
    "WeightDecaySchedule",
    "dn121",
    "get_data",
    "model_features",
    "parse_csv_labels",
    "plots_from_files",
    "predict",
    "repackage_var",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50",
    "resnext101",
    "set_trainable",
    "spacy_tok",
    "split_by_idx",
    "vgg16",
    "vgg19",
    "wrn",
]


# ---------------------------------------------------------------- data


def get_data(url: str, filename: PathLike) -> None:
    """Be content if a file is there, copy it from a local path; learnkit downloads nothing.

    Parameters
    ----------
    url : str
        Where the file comes from: a path, or a `file:` address; of any other only the name is said.
    filename : path-like
        Where it is to be.

    Raises
    ------
    DataError
        If it is not there and cannot be copied; the message says how to fetch it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from learnkit.course import get_data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("Thus spake")
    ...     get_data(f"{folder}/a.txt", f"{folder}/data/nietzsche.txt")
    ...     Path(folder, "data/nietzsche.txt").read_text()
    'Thus spake'
    """
    file, address = Path(filename), urlsplit(str(url))
    if file.is_file():
        return
    local = Path(url2pathname(address.path)) if address.scheme == "file" else Path(str(url))
    if not local.is_file():
        raise DataError(
            f"there is no file {file}, and learnkit downloads nothing by itself. Fetch it where there is a network: "
            f"curl -L --create-dirs -o '{file}' '{url}'"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local, file)


def split_by_idx(idxs: ArrayLike, *a: Any) -> list[tuple[Any, Any]]:
    """Split arrays or frames into the rows of `idxs` and the other rows.

    Parameters
    ----------
    idxs : array of int
        Rows of the first part. Both parts keep the order of the rows.
    *a : array or DataFrame
        All of one length.

    Returns
    -------
    list of (part, part)
        One pair for each of `a`.

    Raises
    ------
    DataError
        If lengths differ, or an index does not exist or comes twice.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.course import split_by_idx
    >>> ((val, trn),) = split_by_idx([1, 3], np.array([10, 20, 30, 40, 50]))
    >>> val.tolist(), trn.tolist()
    ([20, 40], [10, 30, 50])
    """
    arrays = [x if hasattr(x, "iloc") or isinstance(x, Tensor) else np.asarray(x) for x in a]
    lengths = [len(x) for x in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"what is split must have one length; got {', '.join(map(str, lengths))}.")
    if not arrays:
        return []
    mask = np.zeros(lengths[0], dtype=bool)
    mask[check_val_idxs(idxs, lengths[0])] = True
    return [(x[mask], x[~mask]) for x in arrays]


def parse_csv_labels(
    fn: PathLike, skip_header: bool = True, cat_separator: str = " "
) -> tuple[list[str], dict[str, list[str]]]:
    """Read a table of names and labels, the labels of a name separated by `cat_separator`.

    Parameters
    ----------
    fn : path-like
        CSV: names in the first column, labels in the second.
    skip_header : bool, default True
        Whether the first line holds names of columns.
    cat_separator : str, default " "
        Between two labels of one cell.

    Returns
    -------
    fnames : list of str
        In the order of the table, as written.
    labels : dict of str to list of str
        Empty for an empty cell.

    Raises
    ------
    DataError
        If a name comes twice, or there are no two columns.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from learnkit.course import parse_csv_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels.csv").write_text("name,tags\\n007,clear primary\\nb,haze\\n")
    ...     parse_csv_labels(f"{folder}/labels.csv")
    (['007', 'b'], {'007': ['clear', 'primary'], 'b': ['haze']})
    """
    cells = read_cells(Path(fn), "utf-8")
    if cells.shape[1] < 2:
        raise DataError(f"{fn} must have names in its first column and labels in its second; it has one column.")
    rows = cells.iloc[1:] if skip_header else cells
    twice = rows[0][rows[0].duplicated()].unique()
    if len(twice):
        raise DataError(f"{len(twice)} name(s) stand in several rows of {fn}: {', '.join(twice[:5])}.")
    labels = [[label.strip() for label in cell.split(cat_separator)] for cell in rows[1]]
    fnames = rows[0].tolist()
    return fnames, {name: [label for label in cell if label] for name, cell in zip(fnames, labels, strict=True)}


class FilesIndexArrayDataset(ImageDataset):
    """Picture files below a folder, with their class numbers.

    Parameters
    ----------
    fnames : sequence of path-like
        Relative to `path`.
    y : array of int, shape (n,)
        Class numbers.
    transform : ImageTransforms, callable or None
    path : path-like

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from learnkit.course import FilesIndexArrayDataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 4)).save(f"{folder}/a.png")
    ...     x, y = FilesIndexArrayDataset(["a.png"], [2], None, folder)[0]
    >>> tuple(x.shape), int(y)
    ((3, 4, 4), 2)
    """

    def __init__(self, fnames: Sequence[PathLike], y: ArrayLike, transform: Any, path: PathLike) -> None:
        numbers = np.asarray(y)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise DataError(
                f"`y` must be class numbers of shape (n,); got shape {numbers.shape}, dtype {numbers.dtype}."
            )
        super().__init__(
            [Path(path) / name for name in check_list("fnames", fnames, "files")],
            numbers.astype(np.int64),
            transform,
            path=path,
        )


def plots_from_files(
    imspaths: Sequence[PathLike],
    figsize: tuple[float, float] = (10, 5),
    rows: int = 1,
    titles: Sequence[Any] | None = None,
    maintitle: str | None = None,
) -> Figure:
    """Draw picture files in a grid; see `plots`.

    Parameters
    ----------
    imspaths : sequence of path-like
    maintitle : str, optional
        Over all of them.
    """
    if titles is not None:
        titles = check_list("titles", titles, "titles, one per picture")
    if isinstance(imspaths, str | bytes | Path):
        raise TypeError(f"`imspaths` must be a list of files; got one, {str(imspaths)!r}. Write [file].")
    fig = plots([open_image(file) for file in imspaths], rows, titles, figsize)
    if maintitle is not None:
        fig.suptitle(maintitle, fontsize=16)
    return fig


class _Word(str):
    """A token that answers as spaCy's did."""

    __slots__ = ()

    @property
    def text(self) -> str:
        return str(self)

    string = text


@cache
def _spacy() -> SpacyTokenizer:
    return SpacyTokenizer("en")


def spacy_tok(text: str) -> list[Any]:
    """Split an English text into tokens by spaCy's rules; no model is needed.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Each also has `.text` and `.string`, as the lesson writes it.

    Examples
    --------
    >>> from learnkit.course import spacy_tok
    >>> " ".join(sent.string.strip() for sent in spacy_tok("It isn't bad."))
    "It is n't bad ."
    """
    return [_Word(token) for token in _spacy()(text)]


# ---------------------------------------------------------------- models


def repackage_var(h: Any) -> Any:
    """Keep a hidden state without its history; see `learnkit.text.repackage_var`.

    Parameters
    ----------
    h : Tensor, or tuples and lists of tensors
    """
    return map_tensors(Tensor.detach, h)


class BasicModel(nn.Module):
    """A model with a name, whose layer groups are its children.

    Parameters
    ----------
    model : nn.Module
    name : str, default "unnamed"

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from learnkit.course import BasicModel
    >>> model = BasicModel(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), name="two layers")
    >>> model(torch.zeros(5, 4)).shape, len(model.get_layer_groups())
    (torch.Size([5, 2]), 2)
    """

    def __init__(self, model: nn.Module, name: str = "unnamed") -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, *xs: Any) -> Any:
        """Return what the model returns."""
        return self.model(*xs)

    def get_layer_groups(self, do_fc: bool = False) -> list[nn.Module]:
        """Return the children of the model, or the model if it has none; `do_fc` changes nothing."""
        return children(self.model) or [self.model]


class _ModelFeatures:
    """Looks like the course's dictionary, and knows every architecture."""

    def __getitem__(self, arch: Arch) -> int:
        return 2 * n_channels(conv_body(arch, False))


model_features = _ModelFeatures()
"""Features that the standard head gets of an architecture, `model_features[resnet34]`: twice the channels of its maps."""


class EmbeddingDropout(nn.Module):
    """Look words up in an embedding of which, while training, whole words are dropped.

    `learnkit.text.WordDropout` is table and dropout in one.

    Parameters
    ----------
    embed : nn.Embedding

    References
    ----------
    Merity, Keskar & Socher 2017, "Regularizing and Optimizing LSTM Language Models"; Gal & Ghahramani 2016.
    """

    def __init__(self, embed: nn.Embedding) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, words: Tensor, dropout: float = 0.1, scale: Tensor | float | None = None) -> Tensor:
        """Return the embeddings of `words`, shape `(*words.shape, n)`.

        Parameters
        ----------
        words : Tensor of int64
        dropout : float, default 0.1
            Share of the words that are dropped, the others are scaled up; nothing in evaluation mode.
        scale : Tensor or float, optional
            What the table is multiplied by.
        """
        weight = self.embed.weight
        if self.training and dropout:
            check_fraction("dropout", dropout)
            weight = weight * F.dropout(weight.new_ones(len(weight), 1), dropout)
        if scale is not None:
            weight = weight * scale
        e = self.embed
        return F.embedding(words, weight, e.padding_idx, e.max_norm, e.norm_type, e.scale_grad_by_freq, e.sparse)


def SGD_Momentum(momentum: float) -> Callable[..., Optimizer]:
    """Return an `opt_fn`: gradient descent with momentum.

    Parameters
    ----------
    momentum : float
        0.9, say.

    Returns
    -------
    callable
        `opt_fn(params, lr=...)`.
    """
    return partial(torch.optim.SGD, momentum=momentum)


def predict(m: nn.Module, dl: Iterable[Any]) -> NDArray[Any]:
    """Return what a model says of a loader's items, in their order, in evaluation mode.

    Parameters
    ----------
    m : nn.Module
    dl : iterable of batches (x, y)

    Returns
    -------
    array of shape (n, ...)
        As the model returns it: no activation is applied.
    """
    return to_np(predictions.predict(m, dl).preds)


if not TYPE_CHECKING:  # a checker would take every name for one that is there
    __getattr__ = old_package_names(__name__)
