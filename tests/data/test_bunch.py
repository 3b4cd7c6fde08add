"""A data bunch takes any loaders and answers for them."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from learnkit.core.errors import DataError
from learnkit.data.bunch import DataBunch
from learnkit.data.dataset import ItemDataset
from learnkit.data.loaders import ItemLoader, TensorLoader
from learnkit.data.targets import Category, MultiCategory, Real

x, y = torch.randn(7, 3), torch.arange(7)
ds = TensorDataset(x, y)
items = ItemDataset(list(x), y.numpy(), lambda row: row)


@pytest.mark.parametrize(
    "val_dl",
    [
        [(x[:4], y[:4]), (x[4:], y[4:])],
        DataLoader(ds, batch_size=4),
        TensorLoader(x, y, 4),
        ItemLoader(items, 4),
    ],
    ids=["list", "DataLoader", "TensorLoader", "ItemLoader"],
)
def test_val_y_is_the_whole_target_in_order_and_costs_no_randomness(val_dl: object) -> None:
    data = DataBunch("somewhere", [], val_dl)  # type: ignore[arg-type]
    state = torch.get_rng_state()
    assert data.val_y.tolist() == list(range(7))
    assert torch.equal(torch.get_rng_state(), state)
    assert data.path == Path("somewhere")


def test_classes_c_and_is_multi_come_from_the_target() -> None:
    figures = [
        (data.classes, data.c, data.is_multi)
        for data in (DataBunch(".", [], target=t) for t in (Category(list("ab")), MultiCategory(list("abc")), Real(2)))
    ]
    assert figures == [(["a", "b"], 2, False), (["a", "b", "c"], 3, True), (None, 2, False)]
    unknown = DataBunch(".", [])
    assert unknown.classes is None
    with pytest.raises(DataError, match="pass `target=`"):
        _ = unknown.c


def test_datasets_are_those_of_the_loaders() -> None:
    data = DataBunch(".", ItemLoader(items), DataLoader(ds), ItemLoader(items))
    assert data.trn_ds is data.test_ds is items
    assert data.val_ds is ds
    for name in ("trn", "val", "test"):
        with pytest.raises(DataError, match=f"`{name}_dl` is list, which has no dataset"):
            getattr(DataBunch(".", [], [], []), f"{name}_ds")


def test_what_is_no_loader_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="`val_dl` must be an iterable of batches .x, y.; got int"):
        DataBunch(".", [], 3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no validation set"):
        _ = DataBunch(".", []).val_y


@pytest.mark.parametrize("new", [False, True])
def test_its_folders_are_there_from_the_start(new: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" if new else tmp_path
    data = DataBunch(path, [(torch.zeros(2, 3), torch.zeros(2))])
    (data.path / "tmp" / "a.csv").write_text("as df.to_csv(PATH/'tmp'/...) does")
    assert (data.path / "models").is_dir()
    DataBunch(path, [(torch.zeros(2, 3), torch.zeros(2))])  # again: nothing is lost
    assert (data.path / "tmp" / "a.csv").exists()


def test_a_folder_that_may_not_be_written_to_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    assert DataBunch(file, [(torch.zeros(2, 3), torch.zeros(2))]).path == file
    tmp_path.chmod(0o500)
    try:
        DataBunch(tmp_path, [(torch.zeros(2, 3), torch.zeros(2))])
    finally:
        tmp_path.chmod(0o700)


def test_nothing_to_train_on_makes_no_folder(tmp_path: Path) -> None:
    DataBunch(tmp_path, [])  # a learner that was opened to predict
    assert list(tmp_path.iterdir()) == []


def test_own_folders_are_no_classes(tmp_path: Path) -> None:
    from PIL import Image

    from learnkit.text import Field, TextData
    from learnkit.vision import ImageClassifierData

    for name in ("a", "b"):
        for i in range(2):
            folder = tmp_path / "pictures" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(folder / f"{i}.png")
            folder = tmp_path / "texts" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.txt").write_text(f"word {name}")
    for _ in range(2):  # the second time the folders of the first are there
        pictures = ImageClassifierData.from_paths(tmp_path / "pictures", trn_name=".", val_name=".")
        texts = TextData.from_folders(tmp_path / "texts", Field(tokenize=str.split), trn_name=".", val_name=None)
        assert pictures.classes == texts.classes == ["a", "b"]
