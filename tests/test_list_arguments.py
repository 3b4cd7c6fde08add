"""Every list argument of the public API, given a text or a single item: one item, or refused in words, never its letters."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn, optim

import learnkit
from learnkit import Category, Cycles, DataBunch, Interpretation, Learner, MultiCategory, Real, TensorLoader, course
from learnkit.collab import CollabFilterDataset, EmbeddingNet, Vocabulary
from learnkit.data.dataset import ItemDataset
from learnkit.tabular import ColumnarModelData, MixedInputModel, TabularRegressor, proc_df, train_cats
from learnkit.text import Field, NextToken, TextData, TextEnsemble, Vocab, join_tokens
from learnkit.vision import ConvLearner, ImageClassifierData

from .test_public_api import PACKAGES

LIST = re.compile(r"\b(Sequence|Iterable|Collection|list|ArrayLike)\b")


def list_arguments() -> Iterator[str]:
    """Name every argument of the public API whose type is a list of something."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            obj = getattr(module, name)
            bases = [b for b in obj.__mro__ if b.__module__.startswith("learnkit")] if inspect.isclass(obj) else []
            calls = {
                (f"{base.__name__}" if key == "__init__" else f"{base.__name__}.{key}"): getattr(
                    value, "__func__", value
                )
                for base in bases
                for key, value in vars(base).items()
                if key == "__init__" or not key.startswith("_")
            }
            if inspect.isfunction(obj) and obj.__module__.startswith("learnkit"):
                calls[name] = obj
            for call, function in calls.items():
                if not inspect.isfunction(function):
                    continue
                for argument, parameter in inspect.signature(function).parameters.items():
                    kind = str(parameter.annotation)
                    if LIST.search(kind) and not kind.startswith("Callable"):
                        yield f"{call}({argument})"


X, Y = torch.randn(12, 3), torch.arange(12) % 2
FRAME = pd.DataFrame({"Store": np.arange(12) % 4, "Km": np.linspace(0, 1, 12)})
SENTENCES = pd.DataFrame({"text": ["good", "not bad", "bad", "no good"], "label": ["p", "p", "n", "n"]})
PIXELS = np.zeros((6, 8, 8, 3), np.uint8)
RATINGS = pd.DataFrame({"u": np.arange(30) % 6, "i": np.arange(30) % 5, "r": np.arange(30) % 5 + 1.0})


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def bunch() -> DataBunch:
    return DataBunch(".", TensorLoader(X, Y, 4), TensorLoader(X, Y, 4), target=Category(["a", "b"]))


def learner(**kwargs: Any) -> Learner:
    learn = Learner(bunch(), net(), **kwargs)
    learn.no_progress()
    return learn


def collab() -> CollabFilterDataset:
    return CollabFilterDataset.from_data_frame(".", RATINGS, "u", "i", "r")


def table(**kwargs: Any) -> ColumnarModelData:
    return ColumnarModelData.from_data_frame(".", [11], FRAME, np.arange(12.0), **{"cat_flds": ["Store"], **kwargs})


@pytest.fixture
def texts(tmp_path: Path) -> TextData:
    return TextData.from_dataframes(tmp_path, Field(tokenize=str.split), "text", "label", SENTENCES, bs=2)


def pictures(**kwargs: Any) -> ImageClassifierData:
    return ImageClassifierData.from_arrays(
        ".", **{"trn": (PIXELS, np.arange(6) % 2), "val": (PIXELS, np.arange(6) % 2), **kwargs}
    )


def targets(target: Any) -> dict[str, Callable[[Any], Any]]:
    name = type(target).__name__
    return {f"{name}.encode(labels)": target.encode}


VOCAB = Vocab(["<unk>", "<pad>", "a", "b"])
MODEL: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

# What is called with a text of two letters; each must say what it is, or take it for one item.
REFUSED: dict[str, Callable[[Any], Any]] = {
    "Category(classes)": Category,
    "Category.from_labels(labels)": Category.from_labels,
    **targets(Category(["a", "b"])),
    "MultiCategory(classes)": MultiCategory,
    "MultiCategory.from_labels(labels)": MultiCategory.from_labels,
    **targets(MultiCategory(["a", "b"])),
    "Real(shape)": lambda x: Real(shape=x),
    **targets(Real()),
    "NextToken(itos)": NextToken,
    **targets(NextToken(["<unk>", "<pad>", "a", "b"])),
    "Preference.encode(labels)": lambda x: collab().get_data(feedback="implicit").target.encode(x),  # type: ignore[union-attr]
    "DataBunch(trn_dl)": lambda x: DataBunch(".", x),
    "DataBunch(val_dl)": lambda x: DataBunch(".", [], x),
    "DataBunch(test_dl)": lambda x: DataBunch(".", [], test_dl=x),
    "TensorLoader(xs)": lambda x: TensorLoader(x, Y),
    "TensorLoader(y)": lambda x: TensorLoader(X, x),
    "Learner(callbacks)": lambda x: learner(callbacks=x),
    "Learner.fit(callbacks)": lambda x: learner().fit(0.1, 1, callbacks=x),
    "Learner.follow(callbacks)": lambda x: learner().follow(Cycles(0.1, 1), callbacks=x),
    "Learner.follow(plans)": lambda x: learner().follow(x),
    "Learner.fit_one_cycle(callbacks)": lambda x: learner().fit_one_cycle(1, 0.1, callbacks=x),
    "Learner.validate(dl)": lambda x: learner().validate(x),
    "Learner.predict_dl(dl)": lambda x: learner().predict_dl(x),
    "fit(callbacks)": lambda x: learnkit.fit(
        m := net(), bunch(), 1, optim.SGD(m.parameters(), 0.1), nn.CrossEntropyLoss(), callbacks=x
    ),
    "validate(dl)": lambda x: learnkit.validate(net(), x, nn.CrossEntropyLoss()),
    "validate(callbacks)": lambda x: learnkit.validate(net(), [(X, Y)], nn.CrossEntropyLoss(), callbacks=x),
    "predict(dl)": lambda x: course.predict(net(), x),
    "LayerOptimizer(layer_groups)": lambda x: learnkit.LayerOptimizer(optim.SGD, x, 0.1),
    "l1_penalty(groups)": lambda x: learnkit.l1_penalty(x, 0.1),
    "l1_penalty(weights)": lambda x: learnkit.l1_penalty(net(), x),
    "l2_penalty(groups)": lambda x: learnkit.l2_penalty(x, 0.1),
    "l2_penalty(weights)": lambda x: learnkit.l2_penalty(net(), x),
    "ActivationStats(modules)": learnkit.ActivationStats,
    "FBeta(threshold)": lambda x: learnkit.FBeta(2, threshold=x),
    "F2(threshold)": lambda x: learnkit.F2(threshold=x),
    "Counts(threshold)": lambda x: learnkit.Precision(threshold=x),
    "Interpretation(classes)": lambda x: Interpretation(np.eye(2), [0, 1], x),
    "Interpretation(probs)": lambda x: Interpretation(x, [0, 1], ["a", "b"]),
    "Interpretation(targs)": lambda x: Interpretation(np.eye(2), x, ["a", "b"]),
    "Interpretation.best_threshold(thresholds)": lambda x: Interpretation(np.eye(2), [0, 1], ["a", "b"]).best_threshold(
        thresholds=x
    ),
    "ValueInterpretation(preds)": lambda x: learnkit.ValueInterpretation(x, [0.0, 1.0]),
    "ValueInterpretation(targs)": lambda x: learnkit.ValueInterpretation([0.0, 1.0], x),
    "plot_confusion_matrix(cm)": lambda x: learnkit.plot_confusion_matrix(x, ["a", "b"]),
    "plot_confusion_matrix(classes)": lambda x: learnkit.plot_confusion_matrix(np.eye(2), x),
    "plots(ims)": learnkit.plots,
    "plots(titles)": lambda x: learnkit.plots([np.zeros((2, 2))] * 2, titles=x),
    "split_by_group(groups)": learnkit.split_by_group,
    "split_by_order(values)": learnkit.split_by_order,
    "split_by_stratum(labels)": learnkit.split_by_stratum,
    "CollabFilterDataset(titles)": lambda x: CollabFilterDataset(
        ".", (cf := collab()).users, cf.items, cf.user_codes, cf.item_codes, cf.ratings, titles=x
    ),
    "CollabFilterDataset.get_data(val_idxs)": lambda x: collab().get_data(x),
    "CollabFilterDataset.get_learner(val_idxs)": lambda x: collab().get_learner(4, x),
    "CollabFilterDataset.get_learner(callbacks)": lambda x: collab().get_learner(4, callbacks=x),
    "EmbeddingNet(nh)": lambda x: EmbeddingNet(5, 5, 3, (0, 5), nh=x),
    "Vocabulary(ids)": lambda x: Vocabulary(x, "user"),
    "Vocabulary.encode(values)": lambda x: collab().users.encode(x),
    "Vocabulary.decode(codes)": lambda x: collab().users.decode(x),
    "Vocabulary.unknown(values)": lambda x: collab().users.unknown(x),
    "FilesIndexArrayDataset(fnames)": lambda x: course.FilesIndexArrayDataset(x, [0, 1], None, "."),
    "FilesIndexArrayDataset(y)": lambda x: course.FilesIndexArrayDataset(["a", "b"], x, None, "."),
    "RandomBlur(blur_strengths)": lambda x: course.RandomBlur(x),
    "RandomRotateZoom(ps)": lambda x: course.RandomRotateZoom(9, 0.1, 0.1, ps=x),
    "plots_from_files(imspaths)": course.plots_from_files,
    "plots_from_files(titles)": lambda x: course.plots_from_files(["a.png", "b.png"], titles=x),
    "split_by_idx(idxs)": lambda x: course.split_by_idx(x, np.arange(12)),
    "TableBunch(cat_sz)": lambda x: ColumnarModelData(".", [], cat_sz=x),
    "TableBunch(cont_flds)": lambda x: ColumnarModelData(".", [], cont_flds=x),
    "ColumnarModelData.from_data_frame(val_idxs)": lambda x: ColumnarModelData.from_data_frame(".", x, FRAME, Y),
    "ColumnarModelData.from_data_frame(y)": lambda x: ColumnarModelData.from_data_frame(".", [1], FRAME, x),
    "ColumnarModelData.from_data_frame(cat_flds)": lambda x: table(cat_flds=x),
    "ColumnarModelData.from_data_frames(trn_y)": lambda x: ColumnarModelData.from_data_frames(".", FRAME, FRAME, x, Y),
    "ColumnarModelData.from_data_frames(val_y)": lambda x: ColumnarModelData.from_data_frames(".", FRAME, FRAME, Y, x),
    "ColumnarModelData.from_data_frames(cat_flds)": lambda x: ColumnarModelData.from_data_frames(
        ".", FRAME, FRAME, Y, Y, x
    ),
    "ColumnarModelData.from_arrays(val_idxs)": lambda x: ColumnarModelData.from_arrays(".", x, X, Y),
    "ColumnarModelData.from_arrays(xs)": lambda x: ColumnarModelData.from_arrays(".", [1], x, Y),
    "ColumnarModelData.from_arrays(y)": lambda x: ColumnarModelData.from_arrays(".", [1], X, x),
    "ColumnarModelData.from_arrays(test_xs)": lambda x: ColumnarModelData.from_arrays(".", [1], X, Y, test_xs=x),
    "ColumnarModelData.get_learner(emb_szs)": lambda x: table().get_learner(x),
    "ColumnarModelData.get_learner(szs)": lambda x: table().get_learner(szs=x),
    "ColumnarModelData.get_learner(drops)": lambda x: table().get_learner(drops=x),
    "ColumnarModelData.get_learner(callbacks)": lambda x: table().get_learner(callbacks=x),
    "MixedInputModel(emb_szs)": lambda x: MixedInputModel(x, 2, 0.0, 1, [4], [0.1]),
    "MixedInputModel(szs)": lambda x: MixedInputModel([(4, 2)], 2, 0.0, 1, x, [0.1]),
    "MixedInputModel(drops)": lambda x: MixedInputModel([(4, 2)], 2, 0.0, 1, [4], x),
    "_TabularEstimator(szs)": lambda x: TabularRegressor(szs=x).fit(FRAME, np.arange(12.0)),
    "_TabularEstimator(cat_flds)": lambda x: TabularRegressor(cat_flds=x).fit(FRAME, np.arange(12.0)),
    "df_shrink(skip)": lambda x: learnkit.tabular.df_shrink(FRAME, skip=x),
    "proc_df(skip_flds)": lambda x: proc_df(FRAME, skip_flds=x),
    "proc_df(ignore_flds)": lambda x: proc_df(FRAME, ignore_flds=x),
    "train_cats(cat_flds)": lambda x: train_cats(FRAME, x),
    "Field.build_vocab(texts)": lambda x: Field(tokenize=str.split).build_vocab(x),
    "Field.join(tokens)": lambda x: Field(tokenize=str.split).join(x),
    "join_tokens(tokens)": join_tokens,
    "Vocab(itos)": Vocab,
    "Vocab.numbers(tokens)": VOCAB.numbers,
    "Vocab.tokens(numbers)": VOCAB.tokens,
    "TextData.from_folders(classes)": lambda x: TextData.from_folders(".", Field(), trn_name="tests", classes=x),
    "TextData.from_splits(splits)": lambda x: TextData.from_splits(".", x),
    "TextEnsemble(learners)": TextEnsemble,
    "ConvLearner.pretrained(ps)": lambda x: ConvLearner.pretrained("squeezenet1_1", pictures(), weights=False, ps=x),
    "ConvLearner.pretrained(xtra_fc)": lambda x: ConvLearner.pretrained(
        "squeezenet1_1", pictures(), weights=False, xtra_fc=x
    ),
    "ConvLearner.pretrained(callbacks)": lambda x: ConvLearner.pretrained(
        "squeezenet1_1", pictures(), weights=False, callbacks=x
    ),
    "ConvLearner.from_model_data(callbacks)": lambda x: ConvLearner.from_model_data(MODEL, pictures(), callbacks=x),
    "ImageClassifierData.from_names_and_array(fnames)": lambda x: ImageClassifierData.from_names_and_array(
        ".", x, [0, 1], ["a", "b"]
    ),
    "ImageClassifierData.from_names_and_array(y)": lambda x: ImageClassifierData.from_names_and_array(
        ".", ["a", "b"], x, ["a", "b"]
    ),
    "ImageClassifierData.from_names_and_array(classes)": lambda x: ImageClassifierData.from_names_and_array(
        ".", ["a", "b"], [0, 1], x
    ),
    "ImageClassifierData.from_arrays(trn)": lambda x: pictures(trn=x),
    "ImageClassifierData.from_arrays(val)": lambda x: pictures(val=x),
    "ImageClassifierData.from_arrays(classes)": lambda x: pictures(classes=x),
    "ImageClassifierData.from_arrays(test)": lambda x: pictures(test=x),
    "ItemDataset(items)": lambda x: ItemDataset(x, None, str),
}

# Metrics are names: a text is one of them, which must be known.
METRICS: dict[str, Callable[[Any], Any]] = {
    "Learner(metrics)": lambda x: learner(metrics=x),
    "Learner.fit(metrics)": lambda x: learner().fit(0.1, 1, metrics=x),
    "Learner.follow(metrics)": lambda x: learner().follow(Cycles(0.1, 1), metrics=x),
    "Learner.fit_one_cycle(metrics)": lambda x: learner().fit_one_cycle(1, 0.1, metrics=x),
    "Learner.validate(metrics)": lambda x: learner().validate(metrics=x),
    "fit(metrics)": lambda x: learnkit.fit(
        m := net(), bunch(), 1, optim.SGD(m.parameters(), 0.1), nn.CrossEntropyLoss(), x, progress=False
    ),
    "validate(metrics)": lambda x: learnkit.validate(net(), [(X, Y)], nn.CrossEntropyLoss(), x),
    "CollabFilterDataset.get_learner(metrics)": lambda x: collab().get_learner(4, metrics=x),
    "ColumnarModelData.get_learner(metrics)": lambda x: table().get_learner(metrics=x),
    "ConvLearner.pretrained(metrics)": lambda x: ConvLearner.pretrained(
        "squeezenet1_1", pictures(), weights=False, metrics=x
    ),
    "ConvLearner.from_model_data(metrics)": lambda x: ConvLearner.from_model_data(MODEL, pictures(), metrics=x),
}

# Where a text is one item, or is tested with what else the argument takes: the reason.
ELSEWHERE = {
    r"(Learner|CollabLearner|EncoderLearner|LanguageLearner)(\.resume)?\((metrics|callbacks)\)": "as Learner, below",
    r"(LanguageModelData|TextData|TextClassifierData)\.\w+\((metrics|callbacks)\)": "handed to Learner",
    r"Target\.encode\(labels\)": "abstract",
    r"load_learner\((metrics|callbacks)\)": "handed to Learner",
    r"Learner\.fine_tune\((metrics|callbacks)\)": "as Learner.follow",
    r"fit\(players\)": "tests/train/test_players.py",
    r"app\(cors_origin\)": "one origin may be a text",
    r"LRFindResult\(": "a record that lr_find makes",
    r"(Draw|ClassActivationMap)\(": "records that the library makes",
    r"Run": "made by the loop",
    r"\w+Spec\(": "records that the library makes",
    r"(Prep|DataBunch)\.(dataset|from_items)\(": "tests/data/test_prep.py",
    r"\w*Prep(\(|\.(show|loader)\()": "made by the bunches; items as `predict_raw` gets them",
    r"Learner\.summary\(xs\)": "tests/train/test_learner.py",
    r"CollabFilterData\(titles\)": "as CollabFilterDataset",
    r"CollabLearner\.(recommend|recommend_many|plot_item_factors)\(": "one id; tests/collab/test_learner.py",
    r"(cont_cat_split|join_df|proc_df|rolling_means|rolling_sums)\((dep_var|left_on|right_on|y_fld|cols)\)": "one column",
    r"TextData\.from_dataframes\(label\)": "one column",
    r"LanguageModelData\.from_text_files\(": "one file",
    r"(verify_images|ConvLearner\.predict_files)\(": "one folder or file; tests/vision",
    r"ImageClassifierData\.from_csv\(": "tests/vision/test_labels.py",
    r"ConvLearner\.cam\(target\)": "the name of a class",
    r"(Field\.numericalize|TextBunch\.texts_dl|TextLearner\.predict_texts|TextEnsemble\.predict_texts)\(": "below",
    r"ImageDataset\.with_files|ItemDataset\.(in_hand|batch)\(": "asked for by loaders",
    r"Image(Interpretation)\(|ImageInterpretation\.plot\(": "as Interpretation; one picture",
    r"glove_file\(": "needs a package of data",
    r"Tabular(Regressor|Classifier)\.fit\(y\)": "scikit-learn's own check says it",
    r"ImageClassifierData\.from_names_and_array\(val_idxs\)": "as ColumnarModelData",
}


def test_every_list_argument_is_looked_at() -> None:
    found = set(list_arguments())
    looked_at = {*REFUSED, *METRICS}
    missing = [name for name in sorted(found - looked_at) if not any(re.match(pattern, name) for pattern in ELSEWHERE)]
    assert missing == []
    assert len(found) > 100


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("text", ["ab", b"ab"])
def test_a_text_is_refused_in_words(name: str, text: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSED[name](text)
    words = str(caught.value)
    argument = name[name.index("(") + 1 : -1]
    said = (argument, "text", "list", "array", "batch", "pair", "tuple", "shape", "number")
    assert any(word in words for word in said), words
    # Said by the library, and not by whatever tripped over the letters.
    raised_in = caught.traceback[-1].path
    assert "learnkit" in str(raised_in), f"{raised_in}: {words}"


@pytest.mark.parametrize("name", METRICS)
def test_one_metric_is_one(name: str) -> None:
    of_values = "Collab" in name or "Column" in name
    for one in ("rmse", learnkit.mse) if of_values else ("accuracy", learnkit.accuracy):
        result = METRICS[name](one)
        if isinstance(result, Learner):
            assert result.metrics == [one]
    with pytest.raises(ValueError, match="unknown metric 'ab'"):
        METRICS[name]("ab")


def test_one_metric_survives_export_and_resuming(tmp_path: Path) -> None:
    learn = learner(metrics="accuracy")
    learn.fit(0.1, 2, checkpoint=tmp_path / "c", every=2, metrics="f1")
    again = learner(metrics="accuracy")
    assert "f1" in again.resume(tmp_path / "c")
    assert learnkit.load_learner(learn.export(tmp_path / "a"), model=net()).metrics == ["accuracy"]
    learn.metrics = "error_rate"
    assert "error_rate" in learn.fit(0.1, 1)
    assert learnkit.load_learner(learn.export(tmp_path / "b"), model=net()).metrics == ["error_rate"]


def test_one_text_where_many_are_meant(texts: TextData) -> None:
    learn = texts.get_model(None, 70, 70, 4, 4, 1)
    for call in (texts.texts_dl, learn.predict_texts, TextEnsemble(learn).predict_texts, texts.field.numericalize):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="list"):
            call("ab")
    assert TextEnsemble(learn).learners == [learn]  # type: ignore[arg-type]


def test_one_item_is_a_list_of_it() -> None:
    assert Real(shape=3).shape == (3,)  # type: ignore[arg-type]
    assert EmbeddingNet(5, 5, 3, (0, 5), nh=8).nh == [8]
    assert len(table().get_learner(szs=20).model.lins) == 2  # type: ignore[arg-type]
    model = net()
    groups = learnkit.LayerOptimizer(optim.SGD, [model[0], model[1]], [0.1, 0.2]).layer_groups  # type: ignore[list-item]
    assert groups == [[model[0]], [model[1]]]
    assert len(learnkit.plots(np.zeros((8, 8, 3))).axes) == 1
    assert len(learnkit.plots(np.zeros((8, 8))).axes) == 1
    with learnkit.ActivationStats(model[0]) as watch:  # type: ignore[arg-type]
        model(X)
    assert len(watch.stats) == 1
    assert VOCAB.tokens(2) == ["a"]  # type: ignore[arg-type]


def test_a_set_has_no_order_and_a_mapping_no_items() -> None:
    with pytest.raises(learnkit.DataError, match=r"a set has none: write sorted\(classes\)"):
        Category({"a", "b"})  # type: ignore[arg-type]
    with pytest.raises(learnkit.DataError, match="must be a list of names; got dict"):
        MultiCategory({0: "a", 1: "b"})  # type: ignore[arg-type]
