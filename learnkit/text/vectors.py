"""Word vectors: start an embedding from those of GloVe or word2vec, and see which words lie near each other."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learnkit.core.errors import DataError, check_positive, say
from learnkit.data.files import PathLike, check_encoding
from learnkit.runtime.tokens import PAD
from learnkit.text.awd_lstm import WordDropout
from learnkit.text.learner import TABLE, EncoderLearner
from learnkit.text.texts import without_mark
from learnkit.text.vocab import Vocab

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_vectors", "nearest_words", "start_from_vectors"]


def load_vectors(
    path: PathLike, vocab: Vocab, *, encoding: str = "utf-8"
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read the vectors of a vocabulary's words from a text file of GloVe or word2vec.

    The file is read line by line and only what is wanted is kept.

    Parameters
    ----------
    path : path-like
        A word and its numbers per line, `.gz` or not; word2vec's first line of two numbers is passed over.
    vocab : Vocab
    encoding : str, default "utf-8"
        Of the file.

    Returns
    -------
    vectors : array of float32, shape (len(vocab), width)
        Zero where there is none.
    found : array of bool, shape (len(vocab),)

    Raises
    ------
    DataError
        If a line has no vector or one of another width (it is named), or not one word is there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from learnkit.text import Vocab, load_vectors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "v.txt").write_text("be 1.0 2.0\\nsea 3.0 4.0\\n")
    ...     vectors, found = load_vectors(f"{folder}/v.txt", Vocab(["<unk>", "<pad>", "to", "be"]))
    >>> vectors[3].tolist(), found.tolist()
    ([1.0, 2.0], [False, False, False, True])
    """
    vectors: NDArray[np.float32] | None = None
    found = np.zeros(len(vocab), dtype=bool)
    for number, line in _lines(Path(path), encoding):
        if vectors is None:
            if number == 0 and len(line.split(" ")) == 2:
                continue  # word2vec says how many there are
            width = len(line.split(" ")) - 1
            if width < 1:
                raise DataError(f"{path}, line {number + 1}: expected a word and its numbers; got {line[:60]!r}.")
            vectors = np.zeros((len(vocab), width), dtype=np.float32)
        word, *numbers = line.rsplit(" ", vectors.shape[1])
        if word not in vocab or word == PAD:  # padding has no meaning, whatever a file says
            continue
        try:
            row = np.array(numbers, dtype=np.float32)
        except ValueError as exc:
            raise DataError(f"{path}, line {number + 1}: {exc}.") from exc
        if len(row) != vectors.shape[1]:
            raise DataError(f"{path}, line {number + 1}: {len(row)} numbers, {vectors.shape[1]} in the lines before.")
        vectors[vocab.stoi[word]], found[vocab.stoi[word]] = row, True
    if vectors is None or not found.any():
        raise DataError(f"{path} has a vector for none of the {len(vocab):,} tokens; were the words lower-cased?")
    return vectors, found


def start_from_vectors(learn: EncoderLearner, path: PathLike, *, encoding: str = "utf-8") -> int:
    """Start the embedding from word vectors; words without one keep what they have.

    The vectors are brought to the scale of the embedding.

    Parameters
    ----------
    learn : LanguageLearner or TextLearner
        With an embedding as wide as the vectors.
    path : path-like
    encoding : str, default "utf-8"
        See `load_vectors`.

    Returns
    -------
    int
        How many words have a vector.

    Raises
    ------
    DataError
        If the widths differ, or no word is found.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> from learnkit.text import Field, LanguageModelData, start_from_vectors
    >>> frame = pd.DataFrame({"text": ["to be or not to be"] * 40})
    >>> md = LanguageModelData.from_dataframes(".", Field(tokenize=str.split), "text", frame, bs=4, bptt=10)
    >>> learn = md.get_model(None, em_sz=2, nh=4, nl=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "v.txt").write_text("be 1.0 2.0\\nto 3.0 4.0\\n")
    ...     start_from_vectors(learn, f"{folder}/v.txt")
    2
    """
    vectors, found = load_vectors(path, learn.field.vocab, encoding=encoding)
    table = learn.encoder.get_parameter(TABLE)
    if vectors.shape[1] != table.shape[1]:
        raise DataError(
            f"{path} has vectors of {vectors.shape[1]} numbers; the embedding has {table.shape[1]} (`emb_sz`)."
        )
    scale = float(table.detach().std()) / max(float(vectors[found].std()), 1e-12)
    rows = torch.from_numpy(np.flatnonzero(found)).to(table.device)
    with torch.no_grad():
        table[rows] = torch.from_numpy(vectors[found] * scale).to(table)
    say(f"{int(found.sum()):,} of {len(found):,} words start from {Path(path).name}.")
    return int(found.sum())


def nearest_words(
    learn: EncoderLearner | nn.Module | Tensor | NDArray[Any], word: str, n: int = 10, *, vocab: Vocab | None = None
) -> pd.DataFrame:
    """Return the words whose embeddings point the same way.

    Parameters
    ----------
    learn : LanguageLearner, TextLearner, nn.Module, or Tensor or array of shape (len(vocab), width)
        A module (a model, an encoder, an embedding) or its weights with `vocab=`.
    word : str
    n : int, default 10
    vocab : Vocab, optional
        `TEXT.vocab`; a learner has its own.

    Returns
    -------
    DataFrame
        `word` and `similarity` (cosine), most similar first.

    Raises
    ------
    DataError
        If the word is not in the vocabulary, or the model has no embedding with a row for each of its tokens.
    TypeError
        If it is not known which row is which word.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.text import Vocab, nearest_words
    >>> table = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.5], [0.0, 1.0]])
    >>> vocab = Vocab(["<unk>", "<pad>", "king", "queen", "cabbage"])
    >>> nearest_words(table, "king", vocab=vocab).round(2)
          word  similarity
    0    queen        0.97
    1  cabbage        0.00
    """
    import pandas as pd

    n = int(check_positive("n", n, integer=True))
    if isinstance(learn, EncoderLearner):
        source: Any = learn.model
        vocab = learn.field.vocab if vocab is None else vocab
    elif isinstance(learn, nn.Module | Tensor | np.ndarray) and isinstance(vocab, Vocab):
        source = learn
    else:
        raise TypeError(
            "`nearest_words` takes a learner of text, or a module with `vocab=TEXT.vocab`, which says which row is which "
            f"word, or its weights with that; got {type(learn).__name__} and vocab={type(vocab).__name__}."
        )
    if word not in vocab:
        raise DataError(f"{word!r} is not in the vocabulary of {len(vocab):,} tokens.")
    table = _table(source, len(vocab)).detach().float().cpu()
    table = torch.nn.functional.normalize(table, dim=1)
    similar = table @ table[vocab.stoi[word]]
    similar[[Vocab.unk, Vocab.pad, vocab.stoi[word]]] = -torch.inf
    best: Any = similar.topk(min(n, len(vocab) - 3))
    return pd.DataFrame({"word": vocab.tokens(best.indices.tolist()), "similarity": best.values.numpy()})


def _table(module: nn.Module | Tensor | NDArray[Any], n_tokens: int) -> Tensor:
    """Return the first embedding with a row per token."""
    if not isinstance(module, nn.Module):
        weights = torch.as_tensor(module)
        if weights.ndim != 2 or len(weights) != n_tokens:
            raise DataError(
                f"the weights must have a row for each of the {n_tokens:,} tokens; got shape {tuple(weights.shape)}."
            )
        return weights
    for part in module.modules():
        if isinstance(part, nn.Embedding | WordDropout) and len(part.weight) == n_tokens:
            return part.weight
    raise DataError(f"{type(module).__name__} has no embedding with a row for each of the {n_tokens:,} tokens.")


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    check_encoding(encoding)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding=encoding, newline="\n") as file:
            for number, line in enumerate(file):
                yield number, (line if number else without_mark(line)).rstrip("\r\n ")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(
            f"{path} cannot be read as word vectors: {exc}. A text file is needed, no binary "
            "one; for another encoding pass `encoding=`."
        ) from exc
