"""`precompute`: the frozen body's activations, computed once, kept on disk, so that only the head is trained.

A file of activations is named by everything they depend on: the body's weights and code, the transforms' state and code,
and the pictures. A change of any of these makes a new file; nothing is ever read that does not belong, and where it cannot
be told nothing is kept. Beside it is its SHA-256: a damaged
file is made again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import DataError, say
from learnkit.core.fingerprint import fingerprint
from learnkit.core.layers import model_device
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.bunch import DataBunch
from learnkit.data.files import atomic_path
from learnkit.data.loaders import DeviceLoader, generators, with_dataset
from learnkit.train.optim import LayerGroup
from learnkit.vision.bunch import ImageBunch
from learnkit.vision.dataset import ImageDataset
from learnkit.vision.models import body_and_head_groups

__all__ = ["ActivationLoader", "BodyAndHead", "OnActivations", "activation_loader", "activations_of"]


class BodyAndHead(nn.Sequential):
    """Body and head: pictures -> scores.

    Parameters
    ----------
    body : nn.Module
        Pictures `(B, 3, H, W)` -> feature maps.
    head : nn.Module
        Feature maps -> scores `(B, c)`. Of an `nn.Sequential`, the layers up to the first one with parameters (the
        pooling) are counted to what is computed once: pooled activations are much smaller than feature maps.
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__(body, head)
        has_parameters = [next(layer.parameters(), None) is not None for layer in self._head_layers()]
        self.n_pooling = has_parameters.index(True) if True in has_parameters else 0

    def get_layer_groups(self) -> list[LayerGroup]:
        """Return early body, late body, head."""
        return body_and_head_groups(self)

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores of activations."""
        for layer in self._head_layers()[self.n_pooling :]:
            x = layer(x)
        return x

    def activations(self, x: Tensor) -> Tensor:
        """Return what the first trained layer of the head takes."""
        x = self[0](x)
        for layer in self._head_layers()[: self.n_pooling]:
            x = layer(x)
        return x

    def _head_layers(self) -> list[nn.Module]:
        head = self[1]
        return list(head) if isinstance(head, nn.Sequential) else [head]


class OnActivations(nn.Sequential):
    """The same body and head, their weights under the same names, called with activations: the body does not run.

    Parameters
    ----------
    model : BodyAndHead
    """

    def __init__(self, model: BodyAndHead) -> None:
        super().__init__(*model)
        self._scores = model.scores

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of activations."""
        return self._scores(x)


def activations_of(model: BodyAndHead, data: ImageBunch) -> DataBunch:
    """Return the activations of all pictures, in the batches of their loaders."""
    loaders = [
        None if dl is None else activation_loader(model, dl, data.cache, data.val_tfm)
        for dl in (data.trn_dl, data.val_dl, data.test_dl)
    ]
    return DataBunch(data.path, *loaders, target=data.target)  # type: ignore[arg-type]


class ActivationLoader:
    """Batches of activations instead of pictures: the batches that the pictures' own loader draws.

    Batch size, order, weights, seed and what is left out of an epoch are those of that loader, as is everything else
    about its sampler.

    Parameters
    ----------
    values : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    batch_sampler : iterable of list of int
    """

    def __init__(self, values: Tensor, y: Tensor, batch_sampler: Iterable[Any]) -> None:
        self.tensors, self.batch_sampler = (values, y), batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.iter_from(0)

    def iter_from(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin at a batch; the order is drawn first, as for a whole epoch."""
        values, y = self.tensors
        for idxs in itertools.islice(self.batch_sampler, batch, None):
            rows = torch.as_tensor(idxs)
            yield values.index_select(0, rows), y.index_select(0, rows)


def activation_loader(model: BodyAndHead, dl: Any, folder: Path, tfm: Any) -> ActivationLoader:
    """Return the activations of a loader's pictures, from disk if they are there already.

    Parameters
    ----------
    model : BodyAndHead
    dl : DataLoader
        Over an `ImageDataset`.
    folder : Path
        The data bunch's `cache`.
    tfm : ImageTransforms or callable
        How the pictures are prepared, without augmentation.
    """
    ds = getattr(dl, "dataset", None)
    if not isinstance(ds, ImageDataset) or getattr(dl, "batch_sampler", None) is None:
        raise DataError(
            "`precompute` needs pictures from files or arrays in batches (`ImageClassifierData`); this loader has none."
        )
    ds = ds.with_tfm(tfm)
    in_order = with_dataset(dl, ds, in_order=True)
    with evaluating(model):  # as they are computed: the mode a fit left the model in makes no difference
        key = _key(model, ds)
    if key is None:
        _say_not_kept()
        values = np.concatenate(list(_activations(model, in_order)))
    else:
        file = folder / "activations" / f"{key}.npy"
        values = _read(file, len(ds))
        if values is None:
            _write(_activations(model, in_order), len(ds), file)
            with atomic_path(file.with_suffix(".sha256")) as temporary:
                temporary.write_text(_checksum(file))
            values = np.load(file, mmap_mode="c", allow_pickle=False)
    y = torch.zeros(len(ds), dtype=torch.long) if ds.y is None else torch.from_numpy(np.asarray(ds.y))
    return ActivationLoader(torch.from_numpy(values), y, dl.batch_sampler)


def _read(file: Path, n: int) -> Any:
    """Return the activations as a memory map, `None` if they are not there or the file is damaged."""
    try:
        if file.with_suffix(".sha256").read_text() != _checksum(file):
            return None
        values = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if values.dtype == np.float32 and len(values) == n else None


def _checksum(file: Path) -> str:
    """Return the SHA-256 of a file; read once, and again when the file has changed."""
    stat = file.stat()
    return _read_checksum(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _read_checksum(file: Path, size: int, mtime: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@cache
def _say_not_kept() -> None:
    say(
        "precompute: activations are computed for each fit and not kept, as it cannot be told whether your own transform or "
        "body has changed."
    )


@torch.no_grad()
def _activations(model: BodyAndHead, dl: Iterable[Any]) -> Iterator[NDArray[np.float32]]:
    with evaluating(model), preserve_rng(*generators(dl)):
        for xs, _ in DeviceLoader(dl, model_device(model)):
            yield model.activations(*xs).float().cpu().numpy()


def _write(batches: Iterable[NDArray[np.float32]], n: int, file: Path) -> None:
    with atomic_path(file) as temporary:
        rows: Any = None
        start = 0
        for values in batches:
            if rows is None:
                rows = open_memmap(temporary, mode="w+", dtype=np.float32, shape=(n, *values.shape[1:]))
            rows[start : start + len(values)] = values
            start += len(values)
        if rows is None:
            raise DataError("there is no picture to compute activations of.")
        rows.flush()


def _key(model: BodyAndHead, ds: ImageDataset) -> str | None:
    """Return a name for everything the activations depend on, `None` if the code of a part cannot be told."""
    pooling = model._head_layers()[: model.n_pooling]
    parts = [fingerprint(part) for part in (model[0], pooling, ds.tfm)]
    if None in parts:
        return None
    digest = hashlib.blake2b("".join(map(str, parts)).encode(), digest_size=16)
    for name, tensor in model[0].state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    if isinstance(ds.items, np.ndarray):
        digest.update(f"{ds.items.shape}{ds.items.dtype}".encode())
        digest.update(np.ascontiguousarray(ds.items).data)
        return digest.hexdigest()
    for item in ds.items:
        if isinstance(item, bytes):
            digest.update(hashlib.sha256(item).digest())
        else:
            stat = Path(item).stat()
            digest.update(f"{Path(item).resolve()}{stat.st_size}{stat.st_mtime_ns}".encode())
    return digest.hexdigest()
