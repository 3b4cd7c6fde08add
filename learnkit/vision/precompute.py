"""`precompute`: the frozen body's activations, computed once, kept on disk, so that only the head is trained.

A file of activations is named by everything they depend on: the body's weights, the transforms and the pictures. A
change of any of these makes a new file; nothing is ever read that does not belong. Beside it is its SHA-256: a damaged
file is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from learnkit.core.errors import DataError
from learnkit.core.layers import model_device
from learnkit.core.preserve import evaluating, preserve_rng
from learnkit.data.files import atomic_path
from learnkit.data.loaders import DeviceLoader, TensorLoader, generators, single_left
from learnkit.vision.data import ImageDataset

__all__ = ["ActivationLoader", "BodyAndHead", "activation_loader"]


class BodyAndHead(nn.Sequential):
    """Body and head; with `skip_body` it takes the pooled activations instead of pictures.

    Parameters
    ----------
    body : nn.Module
        Pictures `(B, 3, H, W)` -> feature maps.
    head : nn.Module
        Feature maps -> scores `(B, c)`. Of an `nn.Sequential`, the layers up to the first one with parameters (the
        pooling) are counted to what is computed once: pooled activations are much smaller than feature maps.
    """

    skip_body = False

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__(body, head)
        has_parameters = [next(layer.parameters(), None) is not None for layer in self._head_layers()]
        self.n_pooling = has_parameters.index(True) if True in has_parameters else 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of pictures, or of activations."""
        x = x if self.skip_body else self.activations(x)
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


class ActivationLoader(TensorLoader):
    """Batches of activations instead of pictures."""


def activation_loader(
    model: BodyAndHead, dl: Iterable[Any], folder: Path, bs: int, *, shuffle: bool = False
) -> ActivationLoader:
    """Return the activations of a loader's pictures, from disk if they are there already.

    Parameters
    ----------
    model : BodyAndHead
    dl : ItemLoader
        In a fixed order, without augmentation.
    folder : Path
        The data bunch's `tmp`.
    bs : int
        Batch size of the result.
    shuffle : bool, default False
        New order each epoch.
    """
    ds = getattr(dl, "dataset", None)
    if not isinstance(ds, ImageDataset):
        raise DataError(
            "`precompute` needs pictures from files or arrays (`ImageClassifierData`); this loader has none."
        )
    file = folder / "activations" / f"{_key(model, ds)}.npy"
    values = _read(file, len(ds))
    if values is None:
        _compute(model, dl, len(ds), file)
        with atomic_path(file.with_suffix(".sha256")) as temporary:
            temporary.write_text(_checksum(file))
        values = np.load(file, mmap_mode="c", allow_pickle=False)
    y = torch.zeros(len(ds), dtype=torch.long) if ds.y is None else torch.from_numpy(np.asarray(ds.y))
    drop = shuffle and single_left(len(ds), bs)
    return ActivationLoader(torch.from_numpy(values), y, bs, shuffle, drop_last=drop)


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


@torch.no_grad()
def _compute(model: BodyAndHead, dl: Iterable[Any], n: int, file: Path) -> None:
    with atomic_path(file) as temporary, evaluating(model), preserve_rng(*generators(dl)):
        rows: Any = None
        start = 0
        for xs, _ in DeviceLoader(dl, model_device(model)):
            values = model.activations(*xs).float().cpu().numpy()
            if rows is None:
                rows = open_memmap(temporary, mode="w+", dtype=np.float32, shape=(n, *values.shape[1:]))
            rows[start : start + len(values)] = values
            start += len(values)
        if rows is None:
            raise DataError("there is no picture to compute activations of.")
        rows.flush()


def _key(model: BodyAndHead, ds: ImageDataset) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model[0].state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(f"{model[0]!r}{model._head_layers()[: model.n_pooling]!r}{ds.tfm!r}".encode())
    if isinstance(ds.items, np.ndarray):
        digest.update(f"{ds.items.shape}{ds.items.dtype}".encode())
        digest.update(np.ascontiguousarray(ds.items).data)
    else:
        for item in ds.items:
            stat = Path(item).stat()
            digest.update(f"{Path(item).resolve()}{stat.st_size}{stat.st_mtime_ns}".encode())
    return digest.hexdigest()
