"""Examples of Keras, rewritten on other data: `compile`, `fit` and `evaluate` become a learner and its calls."""

# Scripts as people write them, who do not annotate.
# mypy: ignore-errors

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn, optim

from learnkit import CSVLog, DataBunch, EarlyStopping, Learner, Real, SaveBest, T, TensorLoader, load_learner
from learnkit.collab import CollabFilterDataset, EmbeddingNet
from learnkit.datasets import adult_frames, movie_sentences, movielens_frames
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, TextData
from learnkit.vision import ConvLearner, ImageClassifierData

Mnist = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def test_mnist_convnet(tmp_path: Path, mnist: Mnist) -> None:
    """Example "Simple MNIST convnet": a sequential model, a batch size, a share to validate, `evaluate`."""
    x_train, y_train, x_test, y_test = mnist
    num_classes, batch_size, epochs = 10, 64, 3
    x_train, x_test = np.expand_dims(x_train, 1), np.expand_dims(x_test, 1)

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(32 * 25, num_classes),
    )  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 16 * 10 + 32 * 145 + 800 * 10 + 10

    data = ImageClassifierData.from_arrays(
        tmp_path, trn=(x_train[:1800], y_train[:1800]), val=(x_train[1800:], y_train[1800:]), bs=batch_size
    )
    learn = ConvLearner.from_model_data(model, data, opt_fn=optim.Adam)
    learn.fit(3e-3, epochs)
    score = learn.validate(TensorLoader(T(x_test), T(y_test), 100))
    assert score["accuracy"] > 0.75
    assert learn.summary().layers[0].output_shape[1:] == (16, 26, 26)


def test_structured_data_classification(tmp_path: Path) -> None:
    """Example "Structured data classification from scratch": categories and numbers, AUC, one row of raw values predicted."""
    train, _test = adult_frames()
    frame = train.sample(6000, random_state=0)[
        ["age", "workclass", "education", "marital-status", "hours-per-week", "sex", "income"]
    ]
    frame["target"] = (frame.pop("income") == ">50K").astype(int)
    train_cats(frame)
    df, y, _nas, mapper = proc_df(frame, "target", do_scale=True)
    cats = ["workclass", "education", "marital-status", "sex"]
    val_idx = np.arange(4800, 6000)

    md = ColumnarModelData.from_data_frame(tmp_path, val_idx, df, y, cats, bs=128, is_reg=False, mapper=mapper)
    learn = md.get_learner(emb_drop=0.04, szs=[32], drops=[0.3])
    learn.fit(5e-3, 3)
    assert roc_auc_score(y[val_idx], learn.predict_proba()[:, 1]) > 0.75

    sample = {"age": 45, "workclass": "Private", "education": "Masters", "marital-status": "Married-civ-spouse",
              "hours-per-week": 50, "sex": "Male"}  # fmt: skip
    other = {**sample, "age": 19, "education": "11th", "marital-status": "Never-married", "hours-per-week": 15}
    likely, unlikely = np.exp(learn.predict_df(type(frame)([sample, other])))[:, 1]
    assert likely > 0.5 > unlikely


@pytest.mark.filterwarnings("ignore:.*never seen in training")
def test_collaborative_filtering_for_movies(tmp_path: Path) -> None:
    """Example "Collaborative Filtering for Movie Recommendations": embeddings, films that a reader has not seen yet, best first."""
    df, movie_df = movielens_frames()
    df = df.sample(frac=0.3, random_state=42)
    val_idxs = np.arange(int(0.9 * len(df)), len(df))
    data = CollabFilterDataset.from_data_frame(tmp_path, df, "userId", "movieId", "rating")
    learn = data.get_learner(16, val_idxs, 128, opt_fn=optim.Adam, model=EmbeddingNet)
    learn.fit(3e-3, 2, wds=1e-5)
    held_out = df.rating.to_numpy()[val_idxs]
    assert np.sqrt(((learn.predict().ravel() - held_out) ** 2).mean()) < 0.97 * held_out.std()

    user_id = df.userId.iloc[0]
    watched = set(df.iloc[: val_idxs[0]].query("userId == @user_id").movieId)
    top = learn.recommend(user_id, 10)
    assert len(top) == 10
    assert not watched & set(top["item"])
    assert list(top["score"]) == sorted(top["score"], reverse=True)
    assert set(top["item"]) <= set(movie_df.movieId)


def test_bidirectional_lstm_on_reviews(tmp_path: Path) -> None:
    """Example "Text classification from scratch": a vocabulary that is cut off, an LSTM, texts predicted as they are written."""
    frame = movie_sentences()
    frame = frame[frame.valence.abs() > 1.2].sample(2400, random_state=0).reset_index(drop=True)
    frame["label"] = np.where(frame.valence > 0, "pos", "neg")
    maxlen, embedding = 40, 32
    field = Field(lower=True, tokenize="spacy", min_freq=3)
    data = TextData.from_dataframes(tmp_path, field, "text", "label", frame[:2000], frame[2000:], bs=32)
    learn = data.get_model(optim.Adam, maxlen, maxlen, embedding, 32, 1, 0.2, 0.1, 0.1, 0.02, 0.1)
    log = tmp_path / "training.csv"
    results = learn.fit(1e-2, 4, metrics=["accuracy"], callbacks=[CSVLog(log)])
    assert results["accuracy"] > 0.58
    assert len(log.read_text().splitlines()) == 5

    again = load_learner(learn.export(tmp_path / "reviews"))
    texts = list(frame.text[2000:2010])
    np.testing.assert_allclose(again.predict_texts(texts), learn.predict()[:10], atol=1e-4)


def test_building_autoencoders(tmp_path: Path, mnist: Mnist) -> None:
    """Example "Building Autoencoders in Keras": the picture is its own target; the best epoch is kept."""
    x_train, x_test = mnist[0].reshape(-1, 784), mnist[2].reshape(-1, 784)
    encoding_dim = 32

    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(784, encoding_dim), nn.ReLU())
            self.decoder = nn.Sequential(nn.Linear(encoding_dim, 784), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.decoder(self.encoder(x))
            return out

    trn_dl = TensorLoader(T(x_train), T(x_train), 64, shuffle=True)
    data = DataBunch(tmp_path, trn_dl, TensorLoader(T(x_test), T(x_test), 256), target=Real(784))
    autoencoder = Learner(data, Autoencoder(), optim.Adam, nn.BCELoss(), metrics=[])
    callbacks = [EarlyStopping(patience=3), SaveBest(tmp_path / "best", restore=True)]
    autoencoder.fit(3e-3, 8, callbacks=callbacks)

    decoded_imgs = autoencoder.predict()
    assert decoded_imgs.shape == x_test.shape
    error = ((decoded_imgs - x_test) ** 2).mean()
    of_the_mean = ((x_train.mean(0) - x_test) ** 2).mean()
    assert error < 0.7 * of_the_mean
