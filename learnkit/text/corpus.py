"""From files or texts to one long array of token numbers on disk, made once.

Texts stream through in pieces, so memory does not grow with them: each piece is tokenized (in all cores, if there is
much), its tokens get provisional numbers in the order they are first seen, and those go to a file. When all is read
the vocabulary is known, and the file is rewritten with the final numbers, two bytes each if they fit. The result is
memory-mapped. It is found again by a key made of the texts themselves, the field's settings and its vocabulary.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import sys
import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learnkit import __version__
from learnkit.core.errors import DataError
from learnkit.data.files import PathLike, atomic_path, check_encoding, find_files, writing
from learnkit.text.field import Field
from learnkit.text.texts import Corpus, without_mark
from learnkit.text.vocab import Vocab

__all__ = ["build_corpus", "text_files"]

PIECE = 1 << 18  # characters tokenized at a time
READ = 1 << 20  # bytes read at a time
BLOCK = 1 << 20  # numbers rewritten at a time
RULES = 2  # how texts are read and special tokens told apart; another number makes every cache anew
MANY = 1 << 23  # characters from which several processes are worth their start
TEXT_EXTENSIONS = frozenset({".txt", ".text", ".md", ""})

Piece = list[tuple[int, str]]
"""Consecutive parts of texts, each with the number of its text."""


def text_files(path: PathLike, part: PathLike | Sequence[PathLike], what: str) -> list[Path]:
    """Return the text files of `path / part`: a file, a folder with its subfolders, or several of them.

    Raises
    ------
    DataError
        If there is none; what is there instead is named.
    """
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [file for one in part for file in text_files(path, one, what)]
    place = Path(path) / part
    if place.is_file():
        return [place]
    files = find_files(place, TEXT_EXTENSIONS)
    if not files:
        raise DataError(f"`{what}`: there is no text file (.txt) in {place}.")
    return files


def build_corpus(
    field: Field,
    source: Sequence[Path] | Sequence[str],
    folder: PathLike,
    *,
    encoding: str = "utf-8",
    n_workers: int | None = None,
) -> Corpus:
    """Turn files or texts into a corpus, or take it from the cache.

    Parameters
    ----------
    field : Field
        If it has no vocabulary yet, it gets that of these texts.
    source : sequence of Path or sequence of str
        Files, each one text, or the texts themselves.
    folder : path-like
        Where the cache is kept.
    encoding : str, default "utf-8"
        Of files.
    n_workers : int, optional
        Processes; all cores for much text, none besides this one for little, by default.

    Returns
    -------
    Corpus

    Raises
    ------
    DataError
        If there is nothing to read, or a file has another encoding: file and place are named.
    """
    if not len(source):
        raise DataError("there are no texts.")
    check_encoding(encoding)
    key = _key(field, source, encoding)
    place = Path(folder) / key
    found = _open(place, field)
    if found is not None:
        return found
    with writing(place):
        Path(folder).mkdir(parents=True, exist_ok=True)
        own_folder = tempfile.TemporaryDirectory(prefix=f".{key}.", dir=folder)
    with own_folder as scratch:
        raw = Path(scratch) / "provisional"
        counter = _write_provisional(field, source, encoding, raw, n_workers)
        if not field.has_vocab:
            field.vocab = field.vocab_from_counts(counter.counts_by_token())
        _rewrite(raw, counter, field.vocab, place)
    made = _open(place, field)
    if made is None:
        raise DataError(f"the cache {place}.npy could not be read back; is the disk full?")
    return made


# ---------------------------------------------------------------- tokens to provisional numbers


class TokenCounter:
    """Provisional numbers, in the order tokens are first seen, and how often each came."""

    def __init__(self, n_texts: int) -> None:
        self.numbers: dict[str, int] = {}
        self.counts = np.zeros(1 << 12, dtype=np.int64)
        self.lengths = np.zeros(n_texts, dtype=np.int64)

    def take(self, tokens: Sequence[str], ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Count a piece whose token `i` is `tokens[ids[i]]`, and return its provisional numbers."""
        numbers = self.numbers
        table = np.array([numbers.setdefault(token, len(numbers)) for token in tokens], dtype=np.int32)
        if len(numbers) > len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros(len(numbers), dtype=np.int64)])
        self.counts[table] += np.bincount(ids, minlength=len(table))
        return table[ids]

    def counts_by_token(self) -> dict[str, int]:
        """Return how often each token came."""
        return dict(zip(self.numbers, self.counts.tolist(), strict=False))


@dataclass(frozen=True)
class Tokenized:
    """A piece as numbers of its own distinct tokens."""

    tokens: list[str]
    ids: NDArray[np.int32]
    texts: list[tuple[int, int]]  # number of each text and how many tokens of it are here


def _tokenize(field: Field, piece: Piece) -> Tokenized:
    if field.characters:
        return _characters(field, piece)
    index: dict[str, int] = {}
    ids: list[int] = []
    texts = []
    for number, text in piece:
        before = len(ids)
        ids += [index.setdefault(token, len(index)) for token in field.line_tokens(text)]
        texts.append((number, len(ids) - before))
    return Tokenized(list(index), np.array(ids, dtype=np.int32), texts)


def _characters(field: Field, piece: Piece) -> Tokenized:
    """Do the same for single characters without a Python step for each."""
    parts = [text.lower() if field.lower else text for _, text in piece]
    codes = np.frombuffer("".join(parts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    distinct, ids = np.unique(codes, return_inverse=True)
    texts = [(number, len(part)) for (number, _), part in zip(piece, parts, strict=True)]
    return Tokenized([chr(code) for code in distinct.tolist()], ids.astype(np.int32).reshape(-1), texts)


def _write_provisional(
    field: Field, source: Sequence[Path] | Sequence[str], encoding: str, raw: Path, n_workers: int | None
) -> TokenCounter:
    from tqdm import tqdm

    counter = TokenCounter(len(source))
    size = _size(source)
    if n_workers is None:
        n_workers = (os.cpu_count() or 1) if size >= MANY else 1
    quiet = True if os.environ.get("LEARNKIT_PROGRESS", "1") == "0" or size < MANY else None
    pieces = _pieces(source, encoding)
    eos_seen = False  # whether the text being written ends a line where it stands
    current = 0
    with (
        open(raw, "wb") as out,
        tqdm(total=size, desc="tokenizing", unit="B", unit_scale=True, disable=quiet, leave=False) as bar,
    ):

        def end_texts(until: int) -> None:
            """Give every text before `until` its last token."""
            nonlocal current, eos_seen
            while current < until:
                if not eos_seen:
                    counter.take([field.eos], np.zeros(1, dtype=np.int32)).tofile(out)
                    counter.lengths[current] += 1
                current, eos_seen = current + 1, False

        for piece, done in _in_order(partial(_tokenize, field), pieces, n_workers):
            ids = counter.take(done.tokens, done.ids)
            eos = counter.numbers.get(field.eos, -1)
            start = 0
            for number, n in done.texts:
                end_texts(number)
                ids[start : start + n].tofile(out)
                counter.lengths[number] += n
                if n:
                    eos_seen = bool(ids[start + n - 1] == eos)
                start += n
            bar.update(sum(len(text) for _, text in piece))
        end_texts(len(source))
    return counter


def _in_order(
    work: Callable[[Piece], Tokenized], pieces: Iterator[Piece], n_workers: int
) -> Iterator[tuple[Piece, Tokenized]]:
    """Yield each piece with what was made of it, in order, with only a few pieces under way at a time."""
    if n_workers < 2:
        yield from ((piece, work(piece)) for piece in pieces)
        return
    # A forked process has the tokenizer already, a function of a notebook too. Elsewhere it must be sent.
    context = get_context("fork" if sys.platform.startswith("linux") else "spawn")
    waiting: deque[tuple[Piece, Future[Tokenized]]] = deque()
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_remember, initargs=(work,)) as pool:
        try:
            for piece in pieces:
                with warnings.catch_warnings():  # Python warns of forking beside threads; the workers use none of them
                    warnings.simplefilter("ignore", DeprecationWarning)
                    waiting.append((piece, pool.submit(_work, piece)))
                if len(waiting) > 2 * n_workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as exc:
            raise DataError(
                "a tokenizing process died. In a script, start from `if __name__ == '__main__':`, or pass `n_workers=1`."
            ) from exc


_remembered: Callable[[Piece], Tokenized] | None = None


def _remember(work: Callable[[Piece], Tokenized]) -> None:
    global _remembered
    _remembered = work


def _work(piece: Piece) -> Tokenized:
    if _remembered is None:
        raise RuntimeError("this process was not set up to tokenize.")
    return _remembered(piece)


# ---------------------------------------------------------------- reading


def _size(source: Sequence[Path] | Sequence[str]) -> int:
    return sum(item.stat().st_size if isinstance(item, Path) else len(item) for item in source)


def _pieces(source: Sequence[Path] | Sequence[str], encoding: str) -> Iterator[Piece]:
    """Yield consecutive parts of the texts, about `PIECE` characters at a time."""
    piece: Piece = []
    size = 0
    for number, item in enumerate(source):
        for part in _parts(item, encoding):  # type: ignore[arg-type] # a join of two kinds of sequence
            piece.append((number, part))
            size += len(part)
            if size >= PIECE:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece


def _parts(item: Path | str, encoding: str) -> Iterator[str]:
    """Yield a text in parts that end at a line end, or at a space where lines are long."""
    rest = ""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for block in _read(item, encoding) if isinstance(item, Path) else _blocks(item):
        text = rest + newlines.decode(block)
        while len(text) > PIECE:
            cut = max(text.rfind("\n", 0, PIECE), 0) or max(text.rfind(" ", 0, PIECE), 0) or PIECE - 1
            cut += text[cut + 1] == "\n"
            yield text[: cut + 1]
            text = text[cut + 1 :]
        rest = text
    rest += newlines.decode("", final=True)
    if rest:
        yield rest


def _blocks(text: str) -> Iterator[str]:
    return (text[i : i + READ] for i in range(0, len(text), READ))


def _read(file: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    begun = False
    with open(file, "rb") as opened:
        while True:
            block = opened.read(READ)
            kept = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as exc:
                raise DataError(
                    f"{file} is not {encoding}: byte {done - kept + exc.start:,} ({exc.object[exc.start]:#04x}) does not "
                    f'fit. Pass the right `encoding=`, such as "latin-1" for old Western texts.'
                ) from exc
            done += len(block)
            if text:
                yield text if begun else without_mark(text)
                begun = True
            if not block:
                return


# ---------------------------------------------------------------- the cache


def _key(field: Field, source: Sequence[Path] | Sequence[str], encoding: str) -> str:
    """Return a name for these texts, prepared in this way."""
    settings = {**field.settings(), "learnkit": __version__, "rules": RULES, "encoding": encoding}
    if field.tokenize == "spacy":
        settings["spacy"] = version("spacy")
    hasher = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    if settings["own"]:  # the same name may mean other code next time: what it makes of a sample tells
        hasher.update(_of_sample(field).encode("utf-8", "surrogatepass"))
    if field.has_vocab:
        hasher.update("\0".join(field.vocab.itos).encode("utf-8", "surrogatepass"))
    for item in source:
        if isinstance(item, Path):
            with open(item, "rb") as opened:
                while block := opened.read(READ):
                    hasher.update(block)
            hasher.update(b"\0file")
        else:
            hasher.update(item.encode("utf-8", "surrogatepass") + b"\0text")
    return hasher.hexdigest()


def _of_sample(field: Field) -> str:
    try:
        return repr(field.line_tokens(_SAMPLE))
    except Exception as exc:  # a tokenizer may be made for texts of another kind
        return repr(exc)


_SAMPLE = 'The Tempest (1611): "We are such stuff\nAs dreams are made on..." ISN\'T it? sooo e-mail@home.org 3.14'


def _rewrite(raw: Path, counter: TokenCounter, vocab: Vocab, place: Path) -> None:
    """Write the final numbers, then what they belong to; the second file says that the first is whole."""
    kind = np.uint16 if len(vocab) <= np.iinfo(np.uint16).max + 1 else np.int32
    table = np.array([vocab.stoi[token] for token in counter.numbers], dtype=kind)
    n, checksum = int(counter.lengths.sum()), 0
    with atomic_path(place.with_suffix(".npy")) as temporary:
        final = np.lib.format.open_memmap(temporary, mode="w+", dtype=kind, shape=(n,))
        with open(raw, "rb") as opened:
            for start in range(0, n, BLOCK):
                block = table[np.fromfile(opened, np.int32, min(BLOCK, n - start))]
                final[start : start + BLOCK] = block
                checksum = zlib.crc32(block.data, checksum)
        final.flush()
        del final
    offsets = np.concatenate([[0], np.cumsum(counter.lengths)]).tolist()
    with atomic_path(place.with_suffix(".json")) as temporary:
        described = {"itos": vocab.itos, "offsets": offsets, "checksum": checksum}
        temporary.write_text(json.dumps(described), encoding="utf-8")


def _open(place: Path, field: Field) -> Corpus | None:
    try:
        described = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
        ids = np.load(place.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        corpus = Corpus(ids, np.array(described["offsets"], dtype=np.int64), Vocab(described["itos"]))
        whole = ids.ndim == 1 and corpus.offsets[-1] == len(ids) and described["checksum"] == _checksum(ids)
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, RecursionError):
        return None  # not there, or damaged: it is made again
    if not whole or (field.has_vocab and corpus.vocab != field.vocab):
        return None
    if not field.has_vocab:
        field.vocab = corpus.vocab
    return Corpus(corpus.ids, corpus.offsets, field.vocab)


def _checksum(ids: NDArray[Any]) -> int:
    checksum = 0
    for start in range(0, len(ids), BLOCK):
        checksum = zlib.crc32(np.ascontiguousarray(ids[start : start + BLOCK]).data, checksum)
    return checksum
