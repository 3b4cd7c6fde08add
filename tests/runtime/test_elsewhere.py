"""Where there is no torch and no pandas, raw items become exactly the arrays that learnkit makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnkit.collab import CollabFilterDataset
from learnkit.datasets import adult_frames, movielens_frames
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, TextPrep
from tests.text.helpers import sentences

ELSEWHERE = """
import json, sys, warnings

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pandas", "torchvision", "sklearn", "matplotlib"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, NotThere())
warnings.simplefilter("ignore")
import numpy as np
from learnkit.runtime.ratings import RatingPreparation
from learnkit.runtime.tables import TablePreparation
from learnkit.runtime.texts import TextPreparation

folder = sys.argv[1]
kinds = {"table": TablePreparation, "ratings": RatingPreparation, "texts": TextPreparation}
for name, (kind, portable, instances) in json.load(open(f"{folder}/asked.json")).items():
    preparation = kinds[kind](portable)
    items = [preparation.instance(instance) for instance in instances]
    for i, array in enumerate(preparation.prepare(items).values()):
        np.save(f"{folder}/{name}_{i}.npy", array)
assert not {"torch", "pandas"} & set(sys.modules)
"""


def table() -> tuple[Any, list[Any]]:
    train, test = adult_frames()
    train = train[:2000]
    cats = [str(name) for name in train if train[name].dtype.kind not in "if" and name != "income"]
    df, y, _, mapper = proc_df(train_cats(train.copy(), cats), "income")
    data = ColumnarModelData.from_data_frame(
        ".", range(1500, 2000), df, np.asarray(y), cat_flds=cats, is_reg=False, mapper=mapper
    )
    assert data.prep is not None
    rows = test.astype(object).where(test.notna(), None).head(500).to_dict("records")
    return data.prep, rows


def ratings() -> tuple[Any, list[Any]]:
    frame, _ = movielens_frames()
    known, more = frame[:5000], frame[["userId", "movieId"]].sample(500, random_state=0)
    data = CollabFilterDataset.from_data_frame(".", known, "userId", "movieId", "rating")
    prep = data.get_data(list(range(4000, 5000)), 64).prep
    assert prep is not None
    return prep, more.to_dict("records")


def texts(**options: Any) -> tuple[Any, list[Any]]:
    found = sentences(400)["text"].tolist()
    field = Field(min_freq=2, **options)
    field.build_vocab(found[:200])
    return TextPrep(field, backwards=bool(options), max_len=30), ["", "SOOO good\r\n!!! <pad>", *found[200:]]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is unknown
def test_real_items_become_the_same_arrays(tmp_path: Path) -> None:
    kinds = {"table": table(), "ratings": ratings(), "texts": texts(), "marked": texts(markers=True)}
    asked = {name: (prep.portable_kind, prep.portable(), items) for name, (prep, items) in kinds.items()}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (prep, items) in kinds.items():
        loader: Any = prep.loader(items, len(items))
        *xs, _ = next(iter(loader))
        for i, x in enumerate(xs):
            ours = x.numpy()
            if (order := getattr(loader, "order", None)) is not None:  # texts come sorted by their length
                ours = np.empty_like(ours)
                ours[:, order] = x.numpy()
            theirs = np.load(tmp_path / f"{name}_{i}.npy")
            assert theirs.dtype == ours.dtype
            np.testing.assert_array_equal(theirs, ours, err_msg=name)
