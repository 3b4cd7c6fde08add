"""Word vectors from files, and words that lie near each other."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from learnkit import DataError
from learnkit.text import Vocab, load_vectors, nearest_words, start_from_vectors
from tests.text.helpers import language_data, language_learner

VOCAB = Vocab(["<unk>", "<pad>", "sea", "sky", "sun"])
GLOVE = "the 1 2 3\nsky 4 5e0 -6\nnew york 7 8 9\nsea 1.5 2.5 3.5\n"


def written(path: Path, text: str, name: str = "v.txt") -> Path:
    file = path / name
    if name.endswith(".gz"):
        with gzip.open(file, "wt", encoding="utf-8") as out:
            out.write(text)
    else:
        file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", [GLOVE, "4 3\n" + GLOVE, GLOVE.replace("\n", " \n")])
@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz"])
def test_glove_and_word2vec_files(text: str, name: str, tmp_path: Path) -> None:
    vectors, found = load_vectors(written(tmp_path, text, name), VOCAB)
    assert found.tolist() == [False, False, True, True, False]
    assert vectors.tolist() == [[0, 0, 0], [0, 0, 0], [1.5, 2.5, 3.5], [4, 5, -6], [0, 0, 0]]


def test_the_embedding_starts_from_vectors_at_its_own_scale(tmp_path: Path) -> None:
    learn = language_learner(tmp_path)
    known = learn.field.vocab.itos[3:60]
    rng = np.random.default_rng(0)
    vectors = dict(zip(known, 40 * rng.normal(size=(57, 12)), strict=True))
    file = written(tmp_path, "\n".join(f"{w} {' '.join(map(str, v))}" for w, v in vectors.items()))
    before = learn.encoder.embedding.weight.detach().clone()
    assert start_from_vectors(learn, file) == 57
    after = learn.encoder.embedding.weight.detach()
    assert torch.equal(after[60:], before[60:])
    assert torch.equal(after[:3], before[:3])
    assert after[3:60].std().item() == pytest.approx(before.std().item(), rel=0.01)
    ours, theirs = after[3:60].numpy(), np.stack(list(vectors.values()))
    np.testing.assert_allclose(ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs), atol=1e-6)
    assert learn.model.get_parameter("decoder.weight") is learn.encoder.embedding.weight
    near = nearest_words(learn, known[5], n=4)
    cosine = theirs @ theirs[5] / np.linalg.norm(theirs, axis=1) / np.linalg.norm(theirs[5])
    best = [known[i] for i in np.argsort(-cosine) if i != 5][:1]
    assert near["similarity"].is_monotonic_decreasing
    assert best[0] in set(near["word"]) or near["similarity"].min() >= cosine[known.index(best[0])]
    assert known[5] not in set(near["word"])


def test_words_near_each_other(tmp_path: Path) -> None:
    learn = language_learner(tmp_path)
    table = learn.encoder.embedding.weight
    with torch.no_grad():
        table[10], table[11] = 3 * table[7], 0.5 * table[7] + 1e-4
    frame = nearest_words(learn, learn.field.vocab.itos[7], n=3)
    assert frame["word"].tolist()[:2] == [learn.field.vocab.itos[10], learn.field.vocab.itos[11]]
    assert frame["similarity"].iloc[0] == pytest.approx(1)
    assert len(nearest_words(learn, learn.field.vocab.itos[7], n=10**6)) == learn.data.nt - 3
    with pytest.raises(DataError, match="'zebra' is not in the vocabulary"):
        nearest_words(learn, "zebra")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a vector for none of the 5 tokens"),
        ("the 1 2\nof 3 4\n", "none of the 5 tokens; were the words lower-cased"),
        ("the 1 2\nsea 3\n", "line 2: 1 numbers, 2 in the lines before"),
        ("the 1 2\nsea 3 x\n", "line 2: could not convert"),
        ("word\n", "line 1: expected a word and its numbers; got 'word'"),
    ],
)
def test_damaged_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_vectors(written(tmp_path, text), VOCAB)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "v.bin").write_bytes(b"3000000 300\n</s> \x80\x81\xff")
    with pytest.raises(DataError, match=r"v.bin cannot be read as word vectors: .* A text file is needed"):
        load_vectors(tmp_path / "v.bin", VOCAB)
    with pytest.raises(DataError, match="cannot be read as word vectors"):
        load_vectors(tmp_path / "none.txt", VOCAB)
    file = written(tmp_path, GLOVE.replace("sky", "the"))
    learn = language_learner(tmp_path, language_data(tmp_path))
    file.write_text(f"{learn.field.vocab.itos[5]} 1 2 3\n")
    with pytest.raises(DataError, match=r"vectors of 3 numbers; the embedding has 12 \(`emb_sz`\)"):
        start_from_vectors(learn, file)


def test_a_module_is_asked_with_its_vocabulary(tmp_path: Path) -> None:
    learn = language_learner(tmp_path)
    word = learn.field.vocab.itos[5]
    expected = nearest_words(learn, word, n=4)
    for module in (learn.model, learn.encoder, learn.encoder.embedding):
        assert nearest_words(module, word, 4, vocab=learn.field.vocab).equals(expected)
    table = learn.encoder.embedding.weight
    for weights in (table, table.detach(), table.detach().numpy()):
        assert nearest_words(weights, word, 4, vocab=learn.field.vocab).equals(expected)
    with pytest.raises(DataError, match=r"a row for each of the [\d,]+ tokens; got shape \(3, 2\)"):
        nearest_words(torch.zeros(3, 2), word, vocab=learn.field.vocab)
    for wrong in (learn.model, learn.data, "model"):
        with pytest.raises(TypeError, match="takes a learner of text, or a module with `vocab=TEXT.vocab`"):
            nearest_words(wrong, word)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Linear has no embedding with a row for each"):
        nearest_words(torch.nn.Linear(2, 2), word, vocab=learn.field.vocab)


def test_vectors_with_a_mark_in_another_encoding_and_of_padding(tmp_path: Path) -> None:
    vocab = Vocab(["<unk>", "<pad>", "é", "b"])
    for encoding in ("utf-8", "latin-1", "utf-16"):
        text = "é 1.0 2.0\r\n<pad> 9.0 9.0\r\n"
        (tmp_path / "v.txt").write_bytes(("\ufeff" * (encoding == "utf-8") + text).encode(encoding))
        vectors, found = load_vectors(tmp_path / "v.txt", vocab, encoding=encoding)
        assert vectors.tolist() == [[0, 0], [0, 0], [1, 2], [0, 0]]
        assert found.tolist() == [False, False, True, False]
    (tmp_path / "v.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="for another encoding pass `encoding=`"):
        load_vectors(tmp_path / "v.txt", vocab)
    with pytest.raises(ValueError, match="`encoding` must be the name of one"):
        load_vectors(tmp_path / "v.txt", vocab, encoding="utf-99")
