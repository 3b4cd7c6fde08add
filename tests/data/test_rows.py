"""Data sets of tables, ratings, texts and tensors in PyTorch's own loader: the values of ours, item by item or by batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler

from learnkit import DataBunch, Learner, Real, TensorLoader
from learnkit.collab import CollabFilterDataset
from learnkit.tabular import ColumnarModelData
from learnkit.text import Field, LanguageModelData, TextClassifierData, TextData


def table() -> ColumnarModelData:
    df = pd.DataFrame({"Store": np.arange(40) % 4, "Km": np.linspace(0, 1, 40)})
    return ColumnarModelData.from_data_frame(".", range(30, 40), df, np.arange(40.0), ["Store"], bs=8)


def ratings(feedback: str) -> Any:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"u": rng.integers(0, 20, 300), "i": rng.integers(0, 10, 300)}).drop_duplicates()
    frame["r"] = frame.i % 5 + 1.0
    cf = CollabFilterDataset.from_data_frame(".", frame, "u", "i", "r")
    return cf.get_data(bs=16, feedback=feedback)


def bags() -> TextClassifierData:
    sparse = pytest.importorskip("scipy.sparse")
    trn, val = (sparse.csr_array(np.random.default_rng(i).integers(0, 2, (20, 9))) for i in (0, 1))
    return TextClassifierData.from_bow(trn, np.arange(20) % 2, val, np.arange(20) % 2)


def texts(path: Path, **kwargs: Any) -> TextData:
    words = ["good a", "not bad", "bad", "no good x y z"] * 5
    frame = pd.DataFrame({"text": words, "label": ["p", "p", "n", "n"] * 5})
    return TextData.from_dataframes(
        path, Field(tokenize=str.split), "text", "label", frame, frame[::-1], frame[["text"]], bs=3, **kwargs
    )


def tensors() -> DataBunch:
    x = torch.randn(20, 3)
    return DataBunch(".", TensorLoader(x, x.sum(1), 8, shuffle=True), TensorLoader((x, x), x.sum(1), 8), target=Real())


DATA = {
    "tensors": tensors,
    "table": table,
    "ratings": lambda: ratings("explicit"),
    "pairs": lambda: ratings("implicit"),
    "bags": bags,
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("n_workers", [0, 1])
def test_pytorchs_loader_gives_the_values_of_ours(kind: str, n_workers: int) -> None:
    data = DATA[kind]()
    ours = list(data.val_dl)
    theirs = list(DataLoader(data.val_ds, getattr(data.val_dl, "bs"), num_workers=n_workers))  # noqa: B009
    assert len(ours) == len(theirs)
    for batch, other in zip(ours, theirs, strict=True):
        assert [x.dtype for x in batch] == [x.dtype for x in other]
        assert all(map(torch.equal, batch, other))
    for i in (0, len(data.val_ds) - 1, -1):
        y = data.val_ds[i][-1]
        assert float(y) == float(data.val_y[i])
    with pytest.raises(IndexError):
        data.val_ds[len(data.val_ds)]


@pytest.mark.parametrize("kind", DATA)
def test_a_part_a_weighted_sampler_and_folds(kind: str) -> None:
    data = DATA[kind]()
    ds = data.trn_ds
    n = len(ds)
    part: list[Any] = list(DataLoader(Subset(ds, [3, 1, 2]), 2))
    assert torch.cat([batch[-1] for batch in part]).tolist() == data.trn_y[[3, 1, 2]].tolist()
    weights = torch.zeros(n)
    weights[5] = 1
    drawn: list[Any] = list(DataLoader(ds, 4, sampler=WeightedRandomSampler(weights.tolist(), 8)))
    assert torch.cat([batch[-1] for batch in drawn]).tolist() == [data.trn_y[5]] * 8
    folds = np.array_split(np.arange(n), 3)
    seen = [y for fold in folds for *_, y in DataLoader(Subset(ds, fold.tolist()), 7)]
    assert torch.cat(seen).tolist() == data.trn_y.tolist()


def test_a_learner_trains_on_and_predicts_such_a_loader() -> None:
    data = table()
    learn = data.get_learner([(4, 2)], 1)
    learn.no_progress()
    np.testing.assert_allclose(learn.predict_dl(DataLoader(data.val_ds, 4)), learn.predict(), atol=1e-5)
    other = DataBunch(".", DataLoader(Subset(data.trn_ds, range(20)), 8), DataLoader(data.val_ds, 8), target=Real())
    again = Learner(other, learn.model)
    again.no_progress()
    assert again.fit(1e-3, 1)["rmse"] > 0


def columns(batches: Any) -> list[tuple[list[int], float]]:
    return [(x[:, j].tolist(), float(y[j])) for x, y in batches for j in range(len(y))]


@pytest.mark.parametrize("kwargs", [{}, {"backwards": True, "max_len": 3}])
def test_texts_in_pytorchs_loader(kwargs: dict[str, Any], tmp_path: Path) -> None:
    data = texts(tmp_path, **kwargs)
    assert data.val_dl is not None
    order: Any = data.val_dl.order  # type: ignore[attr-defined]
    theirs: Any = DataLoader(Subset(data.val_ds, order.tolist()), 3, num_workers=1)
    assert columns(theirs) == columns(data.val_dl)
    shuffled: list[Any] = list(DataLoader(data.trn_ds, 4, shuffle=True))
    assert sorted(float(y) for _, ys in shuffled for y in ys) == sorted(map(float, data.trn_y))
    learn = data.get_model(None, 100, 20, 8, 8, 1)
    learn.no_progress()
    np.testing.assert_allclose(learn.predict_dl(DataLoader(data.val_ds, 4)), learn.predict(), atol=1e-5)
    x, y = next(iter(DataLoader(data.test_ds, 2)))
    assert isinstance(x, Tensor)
    assert (x.shape[1], y.tolist()) == (2, [0, 0])


def test_texts_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    ds = texts(tmp_path).val_ds
    assert [item.label for item in ds] == ["n", "n", "p", "p"] * 5
    assert (ds[-1].text[:2], ds[1:3][1].label, len(ds[2:])) == (["good", "a"], "p", 18)
    with pytest.raises(IndexError, match="text 20 of 20"):
        ds[20]


def test_a_stream_is_said_to_be_no_data_set(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["to be or not"] * 40})
    md = LanguageModelData.from_dataframes(tmp_path, Field(tokenize=str.split), "text", frame, bs=4)
    with pytest.raises(TypeError, match="cut into windows by `BPTTLoader`"):
        next(iter(DataLoader(md.trn_ds, 2)))
