"""Texts become one array on disk: the same however they are cut, read or shared among processes, and made only once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learnkit import DataError
from learnkit.runtime.tokens import line_ends
from learnkit.text import Corpus, Field, TokenList
from learnkit.text import corpus as module
from learnkit.text.corpus import build_corpus, text_files
from learnkit.text.texts import texts_of
from tests.text.helpers import hamlet, sentences, words

# Vocabularies of a few hundred words, for tests to be quick, leave many words of other texts unknown.
pytestmark = pytest.mark.filterwarnings("ignore:.*are not in the vocabulary")


def texts_in(corpus: Corpus) -> list[list[str]]:
    return [corpus.vocab.tokens(corpus[i].tolist()) for i in range(len(corpus))]


def count_tokenized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    done: list[int] = []
    whole = module._tokenize

    def tokenize(field: Field, piece: Any) -> Any:
        done.append(len(piece))
        return whole(field, piece)

    monkeypatch.setattr(module, "_tokenize", tokenize)
    return done


def test_the_numbers_are_those_of_the_field(tmp_path: Path) -> None:
    texts = [hamlet()[:20_000], "", *sentences(40)["text"], "one line", "\n\n", "ends so\n", "a\r\nb\rc"]
    for field in (Field(min_freq=2), Field(tokenize=list, lower=False), Field(markers=True, max_size=300)):
        corpus = build_corpus(field, texts, tmp_path)
        expected = [field.vocab.numbers(field.tokens(line_ends(text))) for text in texts]
        assert len(corpus) == len(texts)
        assert all(np.array_equal(corpus[i], ids) for i, ids in enumerate(expected))
        assert corpus.lengths.tolist() == [len(ids) for ids in expected]
        again = Field.from_dict({**field.to_dict(), "itos": None})
        again.build_vocab([line_ends(text) for text in texts])
        assert again.vocab == field.vocab  # counted over pieces as over whole texts
        with pytest.raises(IndexError):
            corpus[len(texts)]


SMALL = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SMALL
@given(
    texts=st.lists(st.text(alphabet="ab \n\r", max_size=40), min_size=1, max_size=6),
    piece=st.integers(2, 30),
    characters=st.booleans(),
)
def test_however_it_is_cut_into_pieces(texts: list[str], piece: int, characters: bool, tmp_path: Path) -> None:
    field = Field(tokenize=list) if characters else words(lower=False)
    if not any(text.strip() for text in texts):
        return
    expected = [field.tokens(line_ends(text)) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", piece)
        found = texts_in(build_corpus(field, texts, tmp_path / str(piece)))
    if characters or all(len(line) < piece for text in texts for line in text.splitlines()):
        assert found == expected
    else:  # a line longer than a piece may be cut within a word
        whole = [["".join(text).replace("<eos>", "") for text in tokens] for tokens in (found, expected)]
        assert whole[0] == whole[1]


def test_files_are_read_in_blocks_whatever_a_character_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "naïve 日本 😀 words\r\n" * 50
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.txt").write_bytes(text.replace("日本 😀 ", "").encode("latin-1"))
    monkeypatch.setattr(module, "READ", 7)
    field = words()
    corpus = build_corpus(field, [tmp_path / "a.txt"], tmp_path / "tmp")
    assert texts_in(corpus) == [field.tokens(line_ends(text))]
    assert "naïve" in texts_in(build_corpus(words(), [tmp_path / "b.txt"], tmp_path / "tmp", encoding="latin-1"))[0]


def test_a_file_in_another_encoding_is_named_with_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "old.txt"
    file.write_bytes(b"x" * 1000 + "na\u00efve".encode("latin-1"))
    for block in (1 << 20, 64):
        monkeypatch.setattr(module, "READ", block)
        with pytest.raises(DataError, match=r"old.txt is not utf-8: byte 1,002 \(0xef\).*`encoding=`"):
            build_corpus(words(), [file], tmp_path / "tmp")
    file.write_bytes("end \u00e9".encode()[:-1])
    with pytest.raises(DataError, match=r"old.txt is not utf-8: byte 4 \(0xc3\)"):
        build_corpus(words(), [file], tmp_path / "tmp")
    assert list((tmp_path / "tmp").iterdir()) == []  # nothing half made is left


def test_several_processes_make_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 3000)
    texts = [hamlet()[:40_000], *sentences(100)["text"]]
    made = []
    for n in (1, 2, 3):
        field = Field(tokenize=lambda line: line.split(","), min_freq=2) if n == 3 else Field(min_freq=2)
        made.append(build_corpus(field, texts, tmp_path / str(n), n_workers=n))
    one, two, three = made
    assert one.vocab == two.vocab
    assert np.array_equal(one.ids, two.ids)
    assert np.array_equal(one.offsets, two.offsets)
    assert len(three) == len(texts)  # a function without a name goes along too


class Fails(Exception):
    pass


def fail(line: str) -> list[str]:
    raise Fails(line)


def test_an_error_of_the_tokenizer_comes_through(tmp_path: Path) -> None:
    for n in (1, 2):
        with pytest.raises(Fails, match="to be"):
            build_corpus(Field(tokenize=fail), ["to be"], tmp_path, n_workers=n)


def test_the_second_time_nothing_is_tokenized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(50)["text"].tolist()
    field = Field()
    first = build_corpus(field, texts, tmp_path)
    done = count_tokenized(monkeypatch)
    again = Field()
    second = build_corpus(again, texts, tmp_path)
    assert done == []
    assert again.vocab == field.vocab
    assert np.array_equal(first.ids, second.ids)
    assert isinstance(second.ids.base, np.memmap) or isinstance(second.ids, np.memmap)
    assert second.ids.dtype == np.uint16


def test_the_cache_is_of_these_texts_prepared_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the sea", "the sky"]
    done = count_tokenized(monkeypatch)
    known = words()
    known.build_vocab(["sea sky sun"])

    def unlike(a: str) -> list[str]:
        return a.split("e")

    others: list[tuple[Field, Sequence[str], str]] = [
        (words(), texts, "utf-8"),
        (words(), ["the sea", "the sun"], "utf-8"),
        (words(), ["the seat", "he sky"], "utf-8"),
        (words(), ["the sea the sky"], "utf-8"),
        (words(lower=False), texts, "utf-8"),
        (words(min_freq=2), texts, "utf-8"),
        (words(max_size=2), texts, "utf-8"),
        (words(markers=True), texts, "utf-8"),
        (Field(tokenize=list), texts, "utf-8"),
        (Field(), texts, "utf-8"),
        (Field(lang="de"), texts, "utf-8"),
        (Field(tokenize=unlike), texts, "utf-8"),
        (known, texts, "utf-8"),
    ]
    for i, (field, source, encoding) in enumerate(others):
        build_corpus(field, source, tmp_path, encoding=encoding)
        assert len(done) == i + 1, i
    assert texts_in(build_corpus(known, texts, tmp_path)) == [["<unk>", "sea", "<eos>"], ["<unk>", "sky", "<eos>"]]

    def unlike(a: str) -> list[str]:  # type: ignore[no-redef]
        return a.split("s")

    build_corpus(Field(tokenize=unlike), texts, tmp_path)
    assert len(done) == len(others) + 1


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "no json", "json", "other words", "nested"])
def test_a_damaged_cache_is_made_again(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(50)["text"].tolist()
    right = np.array(build_corpus(words(), texts, tmp_path).ids)
    numbers, described = next(tmp_path.glob("*.npy")), next(tmp_path.glob("*.json"))
    whole = bytearray(numbers.read_bytes())
    if damage == "cut":
        numbers.write_bytes(whole[: len(whole) // 2])
    elif damage == "bit":
        whole[-5] ^= 1
        numbers.write_bytes(whole)
    elif damage == "empty":
        numbers.write_bytes(b"")
    elif damage == "no json":
        described.unlink()
    elif damage == "json":
        described.write_text(described.read_text()[:-9])
    elif damage == "nested":
        described.write_text("[" * 10**5)
    else:
        described.write_text(json.dumps({**json.loads(described.read_text()), "itos": ["a", "b"]}))
    done = count_tokenized(monkeypatch)
    field = words()
    assert np.array_equal(build_corpus(field, texts, tmp_path).ids, right)
    assert done
    build_corpus(field, texts, tmp_path)


def test_what_is_no_text_is_named() -> None:
    assert texts_of(["a", None, float("nan"), pd.NA, pd.NaT], "df") == ["a", "", "", "", ""]
    with pytest.raises(DataError, match="df: row 1 holds int 3, not a text"):
        texts_of(["a", 3], "df")
    with pytest.raises(DataError, match="df: row 0 holds list"):
        texts_of([["a"]], "df")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no texts"):
        build_corpus(words(), [], tmp_path)
    for empty in (["", " \n"], [tmp_path / "empty.txt"]):
        (tmp_path / "empty.txt").write_text("")
        with pytest.raises(DataError, match="no token in the training texts: they are empty"):
            build_corpus(words(), empty, tmp_path / "tmp")


def test_finding_files(tmp_path: Path) -> None:
    for name in ("trn/a.txt", "trn/deep/b.md", "trn/c.png", "trn/.hidden", "one.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [file.name for file in text_files(tmp_path, "trn", "train")] == ["a.txt", "b.md"]
    assert text_files(tmp_path, ["one.txt", Path("trn")], "train")[0] == tmp_path / "one.txt"
    assert text_files("elsewhere", tmp_path / "one.txt", "train") == [tmp_path / "one.txt"]
    with pytest.raises(DataError, match="val.* does not exist. .* holds the folders: trn"):
        text_files(tmp_path, "val", "validation")
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_text("")
    with pytest.raises(DataError, match="`train`: there is no text file"):
        text_files(tmp_path, "pics", "train")


def test_a_token_list_is_a_list_of_words(tmp_path: Path) -> None:
    corpus = build_corpus(words(), ["to be or not"], tmp_path)
    tokens = TokenList(corpus.ids, corpus.vocab)
    assert (len(tokens), tokens[0], tokens[-1], tokens[1:3]) == (5, "to", "<eos>", ["be", "or"])
    assert list(tokens) == ["to", "be", "or", "not", "<eos>"]
    assert "5 tokens: to be or" in repr(tokens)


def test_many_words_take_four_bytes(tmp_path: Path) -> None:
    text = " ".join(map(str, range(70_000)))
    corpus = build_corpus(words(), [text], tmp_path)
    assert corpus.ids.dtype == np.int32
    assert len(corpus.vocab) == 70_003
    assert corpus.vocab.tokens(corpus[0][:3].tolist()) == ["0", "1", "2"]


# ---------------------------------------------------------------- what people really have


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("text", ["sea and sky", "", "é"])
def test_a_mark_before_a_text_is_no_part_of_its_first_word(encoding: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_bytes(
        ("" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff").encode(encoding) + text.encode(encoding)
    )
    for field in (words(), Field(tokenize=list)):
        field.build_vocab(["sea and sky é"])
        corpus = build_corpus(field, [file], tmp_path, encoding=encoding)
        assert corpus[0].tolist() == field.vocab.numbers(field.tokens(text)).tolist()
    assert texts_of(["\ufeff" + text], "texts") == [text]


def test_an_encoding_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`encoding` must be the name of one"):
        build_corpus(words(), ["sea"], tmp_path, encoding="latin-99")


def test_a_special_token_in_a_text_is_unknown_in_the_corpus_too(tmp_path: Path) -> None:
    field = words()
    corpus = build_corpus(field, ["a <pad> b <eos>", "<pad>"], tmp_path)
    assert [corpus[i].tolist() for i in range(2)] == [
        [field.vocab.stoi["a"], 0, field.vocab.stoi["b"], 0, field.vocab.stoi["<eos>"]],
        [0, field.vocab.stoi["<eos>"]],
    ]


def test_the_share_of_unknown_words_counts_words_only(tmp_path: Path) -> None:
    field = words(markers=True)
    field.build_vocab(["The sea is grey"])
    for text, share in (("The sea\n\nis land", 0.25), ("Land ho", 1.0), ("", 0.0), ("sea\nis", 0.0)):
        assert build_corpus(field, [text], tmp_path).unknown_share() == pytest.approx(share)
