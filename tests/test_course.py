"""The course's calls: each against what plain torch, numpy or pandas would do."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn, optim
from torchvision import models as tv_models

from learnkit import DataBunch, Learner, TensorLoader, course
from learnkit.core.errors import DataError
from learnkit.course import (
    BasicModel,
    EmbeddingDropout,
    FilesIndexArrayDataset,
    SGD_Momentum,
    get_data,
    model_features,
    parse_csv_labels,
    plots_from_files,
    predict,
    repackage_var,
    resnext50,
    set_trainable,
    spacy_tok,
    split_by_idx,
    vgg16,
)
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_stats


def test_get_data_keeps_a_file_copies_a_local_one_and_says_how_to_fetch_others(tmp_path: Path) -> None:
    source = tmp_path / "some text.txt"
    source.write_text("first")
    for i, url in enumerate((source, str(source), source.as_uri())):
        wanted = tmp_path / f"deep{i}" / "copy.txt"
        get_data(url, wanted)  # type: ignore[arg-type]
        assert wanted.read_text() == "first"
    source.write_text("second")
    get_data(str(source), tmp_path / "deep0" / "copy.txt")
    assert (tmp_path / "deep0" / "copy.txt").read_text() == "first"
    url = "https://example.org/nietzsche.txt"
    with pytest.raises(DataError, match=r"downloads nothing.*curl -L .*nietzsche.txt' 'https://example.org"):
        get_data(url, tmp_path / "nietzsche.txt")


def test_split_by_idx_gives_the_chosen_rows_and_the_others() -> None:
    x, df, t = np.arange(10).reshape(5, 2), pd.DataFrame({"a": list("vwxyz")}), torch.arange(5)
    (x1, x2), (df1, df2), (t1, t2) = split_by_idx([3, 0], x, df, t)
    assert x1.tolist() == [[0, 1], [6, 7]]
    assert x2.tolist() == [[2, 3], [4, 5], [8, 9]]
    assert list(df1.a) == ["v", "y"]
    assert list(df2.a) == ["w", "x", "z"]
    assert (t1.tolist(), t2.tolist()) == ([0, 3], [1, 2, 4])
    assert split_by_idx([-1], [7, 8, 9])[0][0].tolist() == [9]
    with pytest.raises(DataError, match="one length; got 5, 4"):
        split_by_idx([0], x, x[:4])
    with pytest.raises(DataError, match=r"0\.\.4"):
        split_by_idx([5], x)


def test_labels_of_a_table_are_split_and_stay_as_written(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("name,tags\n007,clear  primary \n1e5,NA\nc,\n")
    fnames, labels = parse_csv_labels(table)
    assert fnames == ["007", "1e5", "c"]
    assert labels == {"007": ["clear", "primary"], "1e5": ["NA"], "c": []}
    assert parse_csv_labels(table, skip_header=False)[0][0] == "name"
    table.write_text("name,tags\na,x|y z\n")
    assert parse_csv_labels(table, cat_separator="|")[1] == {"a": ["x", "y z"]}
    table.write_text("name,tags\na,x\na,y\n")
    with pytest.raises(DataError, match=r"several rows.*: a\."):
        parse_csv_labels(table)
    table.write_text("name\na\n")
    with pytest.raises(DataError, match="in its second"):
        parse_csv_labels(table)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_files_of_an_index_array_are_pictures_with_their_numbers(pictures: Path) -> None:
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 6)
    names = [f"{i}.png" for i in range(4)]
    ds = FilesIndexArrayDataset(names, np.array([0, 1, 1, 2]), tfms[1], pictures)
    for i, (x, y) in enumerate(ds[i] for i in range(4)):
        with Image.open(pictures / names[i]) as image:
            pixels = np.asarray(image, np.float32) / 255
        np.testing.assert_allclose(x.permute(1, 2, 0), (pixels - 0.5) / 0.5, atol=1e-5)
        assert int(y) == [0, 1, 1, 2][i]
    with pytest.raises(DataError, match="class numbers"):
        FilesIndexArrayDataset(names, [[0, 1]] * 4, None, pictures)
    with pytest.raises(DataError, match="class numbers"):
        FilesIndexArrayDataset(names, list("abcd"), None, pictures)


def test_plots_from_files_draws_each_with_its_title(pictures: Path) -> None:
    files = [pictures / f"{i}.png" for i in range(4)]
    fig = plots_from_files(files, rows=2, titles=list("abcd"), maintitle="all")
    assert [ax.get_title() for ax in fig.axes] == list("abcd")
    assert fig.get_suptitle() == "all"
    assert np.allclose(np.asarray(fig.axes[0].images[0].get_array()), np.asarray(Image.open(files[0])) / 255)
    with pytest.raises(TypeError, match="list of files"):
        plots_from_files(str(files[0]))


def test_tokens_answer_as_the_lesson_asks_them() -> None:
    tokens = spacy_tok("Don't panic, it's 5pm.")
    assert tokens == ["Do", "n't", "panic", ",", "it", "'s", "5", "pm", "."]
    assert " ".join([sent.string.strip() for sent in tokens]) == "Do n't panic , it 's 5 pm ."
    assert [token.text for token in tokens] == tokens


def test_a_repackaged_state_has_its_values_and_no_history() -> None:
    h = torch.ones(2, requires_grad=True) * 3
    again = repackage_var((h, (h + 1, [h])))
    assert torch.equal(again[1][0], torch.full((2,), 4.0))
    assert not any(x.requires_grad for x in (again[0], again[1][0], again[1][1][0]))
    assert h.requires_grad


def data() -> DataBunch:
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    return DataBunch(".", TensorLoader(x, x.sum(1, keepdim=True), 8), TensorLoader(x, x.sum(1, keepdim=True), 8))


def test_a_basic_model_trains_by_its_childrens_groups() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    learn = Learner(data(), BasicModel(model, "two layers"), crit=F.mse_loss)
    assert [group[0] for group in learn.get_layer_groups()] == list(model)
    learn.freeze_to(-1)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    with learn.no_progress():
        learn.fit([0.0, 0.0, 0.01], 1)
    assert len(BasicModel(nn.Linear(2, 2)).get_layer_groups()) == 1


@pytest.mark.parametrize("with_argument", [True, False])
def test_a_model_says_its_own_layer_groups(with_argument: bool) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(self.b(self.a(x)))
            return out

    class Course(Own):
        def get_layer_groups(self, precompute: bool) -> list[object]:
            return [self.a, [self.b, self.c]]

    class Plain(Own):
        def get_layer_groups(self) -> list[object]:
            return [self.a, [self.b, self.c]]

    model = Course() if with_argument else Plain()
    learn = Learner(data(), model, crit=F.mse_loss)
    assert learn.get_layer_groups() == [[model.a], [model.b, model.c]]


def test_every_layer_says_whether_it_trains() -> None:
    """The lesson's `m[-4].trainable`."""
    m: Any = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LogSoftmax(1),
    )
    x, y = np.random.default_rng(0).random((8, 3, 8, 8)), np.arange(8) % 2
    learn = ConvLearner.from_model_data(m, ImageClassifierData.from_arrays(".", trn=(x, y), val=(x, y), bs=4))
    learn.freeze_to(-4)
    assert [layer.trainable for layer in m] == [False, False, True, True, True, True]
    assert [p.requires_grad for p in m.parameters()] == [False] * 4 + [True] * 2
    learn.unfreeze()
    assert m[0].trainable
    set_trainable(m[0], False)
    assert (m[0].trainable, m[1].trainable) == (False, True)
    stats = m[1].running_mean.clone()
    set_trainable(m[1], False)
    with learn.no_progress():
        learn.fit(0.1, 1)
    assert torch.equal(m[1].running_mean, stats)


def test_what_two_groups_share_is_the_first_ones() -> None:
    shared: Any = nn.Linear(4, 4)
    model: Any = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 1))
    learn = Learner(data(), model, crit=F.mse_loss)
    learn.freeze_to(2)
    assert (shared.trainable, shared.weight.requires_grad, model[3].trainable) == (False, False, True)


def test_a_layer_with_a_trainable_of_its_own_keeps_it() -> None:
    class Own(nn.Linear):
        @property
        def trainable(self) -> str:
            return "mine"

    layer = Own(2, 2)
    set_trainable(layer, False)
    assert layer.trainable == "mine"
    assert not layer.weight.requires_grad


def test_architectures_are_torchvisions_and_their_features_are_counted() -> None:
    assert (resnext50, vgg16) == (tv_models.resnext50_32x4d, tv_models.vgg16)
    assert model_features[tv_models.resnet18] == 2 * 512
    assert model_features[course.dn121] == 2 * 1024
    assert model_features["squeezenet1_1"] == 2 * 512


def test_embedding_dropout_drops_whole_words_and_scales_the_others() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 4, padding_idx=1)
    drop = EmbeddingDropout(table)
    words = torch.randint(50, (20, 30))
    plain = table(words)
    ratio = (drop(words, dropout=0.4) / plain).nan_to_num(0)
    for word in words.unique():
        values = ratio[words == word].flatten()
        torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-4, atol=1e-4)  # one word, one fate
    kept = ratio[words != 1]
    assert 0.4 < float((kept > 0).float().mean()) < 0.8
    torch.testing.assert_close(kept[kept > 0], torch.full_like(kept[kept > 0], 1 / 0.6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drop(words, dropout=0.0, scale=2.0), 2 * plain)
    torch.testing.assert_close(drop.eval()(words, dropout=0.4), plain)
    with pytest.raises(ValueError, match="`dropout`"):
        drop.train()(words, dropout=1.5)


def test_momentum_is_that_of_sgd() -> None:
    weights = []
    opt_fn: Any
    for opt_fn in (SGD_Momentum(0.9), lambda params, lr: optim.SGD(params, lr, momentum=0.9)):
        torch.manual_seed(0)
        net: Any = nn.Linear(4, 1)
        learn = Learner(data(), net, opt_fn, F.mse_loss)
        with learn.no_progress():
            learn.fit(0.01, 2)
        weights.append(net.weight.detach().clone())
    assert torch.equal(*weights)


def test_predict_gives_what_the_model_returns_without_dropout_in_order() -> None:
    model: Any = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    dl = data().val_dl
    assert dl is not None
    x = torch.cat([x for x, _ in dl])
    result = predict(model, dl)
    np.testing.assert_allclose(result, model[1](x).detach(), rtol=1e-5, atol=1e-6)
    assert model.training
