"""What must work where only learnkit and its dependencies are installed, from a folder that is not the checkout."""

import os
import tempfile
from importlib.metadata import version
from importlib.resources import files

os.environ.setdefault("LEARNKIT_PROGRESS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pandas as pd
from torchvision.models import resnet18

import learnkit
from learnkit import MissingExtraError, load_learner
from learnkit.collab import CollabFilterDataset
from learnkit.tabular import ColumnarModelData, proc_df, train_cats
from learnkit.text import Field, LanguageModelData, TextData
from learnkit.vision import ConvLearner, ImageClassifierData, tfms_from_model

PATH = tempfile.mkdtemp()
rng = np.random.default_rng(0)


def pictures() -> None:
    y = np.arange(24) % 2
    x = (rng.integers(0, 60, (24, 32, 32, 3)) + 150 * y[:, None, None, None]).astype(np.uint8)
    tfms = tfms_from_model(resnet18, 32)
    data = ImageClassifierData.from_arrays(PATH, (x, y), (x, y), bs=8, tfms=tfms, classes=["dark", "light"])
    learn = ConvLearner.pretrained(resnet18, data, weights=False)
    learn.lr_find(n_iter=5)
    learn.fit(1e-3, 1)
    again = load_learner(learn.export(f"{PATH}/pictures"))
    assert np.allclose(again.predict_array(tfms[1](x[0] / np.float32(255))[None]), learn.predict()[:1], atol=1e-3)


def table() -> None:
    df = pd.DataFrame({"kind": list("abab") * 10, "size": rng.normal(size=40), "price": rng.normal(size=40)})
    train_cats(df)
    x, y, _, _ = proc_df(df, "price", do_scale=True)
    learn = ColumnarModelData.from_data_frame(PATH, [0, 1, 2], x, y, ["kind"], bs=8).get_learner(
        None, 1, 0.0, 1, [8], [0.0]
    )
    learn.fit(1e-3, 1)
    assert len(learn.predict()) == 3


def ratings() -> None:
    df = pd.DataFrame(
        {"user": rng.integers(0, 9, 200), "item": rng.integers(0, 9, 200), "stars": rng.integers(1, 6, 200)}
    )
    learn = CollabFilterDataset.from_data_frame(
        PATH, df.drop_duplicates(["user", "item"]), "user", "item", "stars"
    ).get_learner(4, [0, 1], 16)
    learn.fit(1e-2, 1)
    assert len(learn.recommend(0, n=2, exclude_seen=False)) == 2


def text() -> None:
    df = pd.DataFrame({"text": ["good very good", "bad so bad"] * 20, "label": ["yes", "no"] * 20})
    field = Field(tokenize=str.split, min_freq=1)
    learn = LanguageModelData.from_dataframes(PATH, field, "text", df, df, bs=2, bptt=4).get_model(None, 8, 8, 1)
    learn.fit(1e-3, 1)
    data = TextData.from_dataframes(PATH, field, "text", "label", df, df, bs=4)
    data.get_model(None, 20, 10, 8, 8, 1).fit(1e-3, 1)


def extras() -> None:
    """What is not installed is named with the command that installs it."""
    try:
        Field(tokenize="spacy").tokenize("a text")
    except MissingExtraError as error:
        said = str(error)
    else:
        said = "spaCy is installed"
    assert "learnkit[text]" in said, said


assert version("learnkit") == learnkit.__version__
assert files("learnkit").joinpath("py.typed").is_file()
for part in (pictures, table, ratings, text, extras):
    part()
    print(f"{part.__name__}: works")
