"""One small file of every kind that learnkit writes and reads, and what is in it as a digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from learnkit import load_learner, load_model
from learnkit.collab import CollabFilterDataset
from learnkit.store.archive import digest, read_archive
from learnkit.store.weights import read_weights
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.text import Field, LanguageModelData
from learnkit.train.exported import described_target
from learnkit.vision import ConvLearner, ImageClassifierData, RandomFlip, tfms_from_stats
from tests.train.helpers import learner, net

Read = Callable[[Path], str]


def of_model(model: nn.Module) -> str:
    """Return a digest of a model's weights."""
    return digest(dict(model.state_dict()))


def weights(folder: Path) -> tuple[Path, Read]:
    """What `learn.save` writes."""

    def read(path: Path) -> str:
        model = net(seed=9)
        load_model(model, path)
        return of_model(model)

    return learner(folder, net(seed=1)).save("weights"), read


def checkpoint(folder: Path) -> tuple[Path, Read]:
    """What a fit with `checkpoint=` writes."""
    learn = learner(folder, net(seed=1))
    learn.fit(1e-2, 2, checkpoint=folder / "checkpoints", every=3)
    file = max((folder / "checkpoints").iterdir())

    def read(path: Path) -> str:
        archive = read_archive(path, "checkpoint")
        return digest([archive.weights, archive.state])

    return file, read


def _exported(file: Path) -> tuple[Path, Read]:
    def read(path: Path) -> str:
        learn: Any = load_learner(path)
        described = [learn.prep.to_data(), learn.spec.to_data(), described_target(learn.prep, learn.data)]
        return digest([dict(learn.model.state_dict()), *described, learn.precision])

    return file, read


def pictures(folder: Path) -> tuple[Path, Read]:
    """An exported picture classifier."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32, aug_tfms=[RandomFlip()])
    data = ImageClassifierData.from_arrays(folder, (pixels, [0, 1] * 4), (pixels, [0, 1] * 4), 4, tfms, num_workers=0)
    torch.manual_seed(0)
    learn = ConvLearner.pretrained("timm/test_resnet", data, weights=False, xtra_fc=[4])
    return _exported(learn.export(folder / "pictures"))


def table(folder: Path) -> tuple[Path, Read]:
    """An exported table learner."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"State": rng.choice(["BY", "HE"], 60), "Km": rng.uniform(0, 9, 60), "Sales": rng.uniform(0, 9, 60)}
    )
    df, y, _, _ = proc_df(frame, "Sales")
    assert y is not None
    torch.manual_seed(0)
    data = ColumnarModelData.from_data_frame(folder, False, df, y, bs=8)
    return _exported(data.get_learner(szs=[8]).export(folder / "table"))


def ratings(folder: Path) -> tuple[Path, Read]:
    """An exported learner of ratings."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"u": rng.integers(0, 9, 80), "i": rng.integers(0, 9, 80), "r": rng.integers(1, 6, 80)})
    torch.manual_seed(0)
    cf = CollabFilterDataset.from_data_frame(folder, frame.drop_duplicates(["u", "i"]), "u", "i", "r")
    return _exported(cf.get_learner(4, val_idxs=[]).export(folder / "ratings"))


def stream(folder: Path) -> tuple[Path, Read]:
    """An exported language model."""
    frame = pd.DataFrame({"text": ["to be or not to be that is the question"] * 20})
    torch.manual_seed(0)
    data = LanguageModelData.from_dataframes(
        folder, Field(tokenize=str.split), "text", frame, frame[:5], bs=2, bptt=5, n_workers=1
    )
    return _exported(data.get_model(None, 4, 6, 1).export(folder / "stream"))


def foreign(folder: Path) -> tuple[Path, Read]:
    """Weights of another program, as `.pth`: they have a checksum of the zip's own."""
    file = folder / "foreign.pth"
    torch.save(net(seed=1).state_dict(), file)
    return file, lambda path: digest(read_weights(path))


KINDS: dict[str, Callable[[Path], tuple[Path, Read]]] = {
    "weights": weights,
    "checkpoint": checkpoint,
    "pictures": pictures,
    "table": table,
    "ratings": ratings,
    "stream": stream,
    "foreign": foreign,
}
