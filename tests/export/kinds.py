"""Learners whose networks are translated: every architecture of learnkit's own, on a few items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from learnkit import Learner
from learnkit.collab import CollabFilterDataset, EmbeddingDot, EmbeddingNet
from learnkit.tabular import ColumnarModelData, proc_df
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)


def pictures(folder: Path) -> Learner:
    y = np.array(["cat", "dog"])[np.arange(12) % 2]
    tfms = tfms_from_stats(([0.4] * 3, [0.3] * 3), 32)
    data = ImageClassifierData.from_arrays(folder, (PIXELS, y), (PIXELS, y), 6, tfms, num_workers=0)
    return ConvLearner.pretrained("resnet18", data, weights=False)


def table(folder: Path, columns: Sequence[str] = ("State", "Km"), **options: Any) -> Learner:
    """Return one on a table; with one column an input of the network has none."""
    df = pd.DataFrame({"State": ["HE", "BY", "SH", "NI"] * 10, "Km": np.arange(40) * 1.5, "Sales": np.arange(40.0)})
    x, y, _, _ = proc_df(df[[*columns, "Sales"]], "Sales", do_scale=True)
    assert y is not None
    return ColumnarModelData.from_data_frame(folder, range(30, 40), x, y, bs=8).get_learner(szs=[6], **options)


def ratings(folder: Path, **options: Any) -> Learner:
    frame = pd.DataFrame({"user": list("aabbccdd"), "item": list("xyxyxzyz"), "rating": [5, 4, 5, 4, 5, 1, 4, 1]})
    cf = CollabFilterDataset.from_data_frame(folder, frame, "user", "item", "rating")
    return cf.get_learner(3, val_idxs=[0, 1, 7], bs=4, **options)


def texts(folder: Path, arch: str = "lstm") -> Learner:
    frame = pd.DataFrame({"text": ["to be or not to be", "that is the question"] * 20, "label": ["p", "n"] * 20})
    field = Field()
    field.build_vocab(list(frame.text))
    md = TextData.from_dataframes(folder, field, "text", "label", frame, frame[:8], bs=4)
    return md.get_model(None, 10, 6, 4, 6, 1, arch=arch)


FIXED: dict[str, Callable[[Path], Learner]] = {
    "pictures": pictures,
    "table": table,
    "table, ple": partial(table, arch="ple"),
    "table, numbers": partial(table, columns=["Km"]),
    "table, categories": partial(table, columns=["State"]),
    "ratings": ratings,
    "ratings, dot": partial(ratings, model=EmbeddingDot),
    "ratings, net": partial(ratings, model=EmbeddingNet),
}
"""Those whose inputs have no length."""
