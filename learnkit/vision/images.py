"""Picture files: finding and reading any of them as RGB, checking a folder of them, and making smaller copies."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learnkit.core.errors import DataError, check_positive, user_stacklevel
from learnkit.data.files import PathLike, all_files, atomic_path
from learnkit.runtime.pictures import Picture, picture_name, read_rgb

__all__ = [
    "IMAGE_EXTENSIONS",
    "Picture",
    "find_pictures",
    "one_array",
    "open_image",
    "picture_name",
    "read_rgb",
    "readable",
    "remark_passed_over",
    "resized_copies",
    "verify_images",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

IMAGE_EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".tga",
        ".pcx",
    ]
)

# Pictures that Pillow reads only where it, or a package that registers with it, brings the decoder.
_WITH_DECODER = frozenset(
    [
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".jxl",
        ".psd",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".raf",
        ".rw2",
        ".svg",
        ".dcm",
    ]
)


def open_image(fn: Picture, *, max_value: float | None = None) -> NDArray[np.float32]:
    """Read a picture as RGB, turned the way its EXIF data says.

    Parameters
    ----------
    fn : path-like, bytes or binary file
        Any format Pillow reads. Transparent parts become white; of an animation the first frame is taken.
    max_value : float, optional
        The value that is white in pictures of more than 8 bits per channel; 65,535 for whole numbers and 1 for floats by
        default. Use one for a whole data set: `tfms_from_model(..., max_value=)`.

    Returns
    -------
    array of float32, shape (H, W, 3), in 0..1

    Raises
    ------
    DataError
        If the file is missing, cut off or no picture, or has values outside 0..`max_value`; it is named.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from learnkit.vision import open_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 255).save(f"{folder}/white.png")
    ...     open_image(f"{folder}/white.png").shape
    (3, 4, 3)
    """
    return np.asarray(read_rgb(fn, max_value), dtype=np.float32) / np.float32(255)


def find_pictures(folder: PathLike) -> tuple[list[Path], list[Path]]:
    """Return the pictures below a folder, and the files that are pictures but cannot be read here by their ending.

    Those are pictures that need a decoder which is not installed, and files whose content is a picture while their
    ending is not one of a picture's. Of each unknown ending the first few files are looked into.
    """
    endings = IMAGE_EXTENSIONS | (_WITH_DECODER & Image.registered_extensions().keys())
    pictures: list[Path] = []
    others: dict[str, list[Path]] = defaultdict(list)
    for file in all_files(folder):
        if file.suffix.lower() in endings:
            pictures.append(file)
        else:
            others[file.suffix.lower()].append(file)
    passed_over = [
        file
        for ending, files in others.items()
        if ending in _WITH_DECODER or any(map(_is_picture, files[:3]))
        for file in files
    ]
    return pictures, passed_over


def _is_picture(file: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(file).close()
    except Exception:
        return False
    return True


def remark_passed_over(files: Sequence[Path], folder: Path) -> None:
    """Warn of files that `find_pictures` cannot read, counted by their ending."""
    if not files:
        return
    counts: dict[str, int] = defaultdict(int)
    for file in files:
        counts[file.suffix.lower() or "without an ending"] += 1
    warnings.warn(
        f"{len(files)} picture(s) in {folder} are passed over ({', '.join(f'{n} {end}' for end, n in counts.items())}), "
        f"{files[0].relative_to(folder)} for one. Convert or rename them, or install what reads them (for .heic: "
        "pillow-heif, and its `register_heif_opener()`).",
        stacklevel=user_stacklevel(),
    )


def verify_images(folder: PathLike | Sequence[PathLike], *, max_value: float | None = None) -> dict[Path, str]:
    """Read every picture of a folder and report those that cannot be read, all at once.

    Parameters
    ----------
    folder : path-like or sequence of path-like
        A folder, searched with its subfolders, or the files themselves.
    max_value : float, optional
        As for `open_image`.

    Returns
    -------
    dict of Path to str
        The unreadable files and what is wrong with each; empty if all is well.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from learnkit.vision import verify_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "broken.png").write_text("no picture")
    ...     [file.name for file in verify_images(folder)]
    ['broken.png']
    """
    if isinstance(folder, str | os.PathLike):
        pictures, passed_over = find_pictures(folder)
        files = sorted([*pictures, *(file for file in passed_over if file.suffix.lower() in _WITH_DECODER)])
    else:
        files = [Path(file) for file in folder]

    def problem(file: Path) -> str | None:
        try:
            read_rgb(file, max_value)
        except DataError as exc:
            return str(exc)
        return None

    found = _in_threads(problem, files, "checking pictures")
    return {file: text for file, text in zip(files, found, strict=True) if text is not None}


def readable(files: Sequence[Path], max_value: float | None = None) -> NDArray[np.bool_]:
    """Return which files can be read, and say which cannot, as they are to be left out."""
    bad = verify_images(files, max_value=max_value)
    if bad:
        shown = ", ".join(str(file) for file in list(bad)[:5])
        print(
            f"left out {len(bad)} of {len(files)} pictures that cannot be read: {shown}{', ...' if len(bad) > 5 else ''}"
        )
    return np.array([file not in bad for file in files], dtype=bool)


def resized_copies(
    files: Iterable[Path], root: Path, folder: Path, sz: int, *, max_value: float | None = None
) -> list[Path]:
    """Write copies whose shorter side is `sz` pixels below `folder`, keeping those that are up to date.

    A copy carries the name and the time of its original, so a picture that was replaced is copied anew. Each appears in
    one step: a full disk or a crash leaves no half of one. Pictures that are not larger are copied at their own size.
    """
    check_positive("sz", sz, integer=True)
    place = folder / (f"{sz}" if max_value is None else f"{sz}_of_{max_value:g}")
    originals = list(files)
    targets = [place / _copy_name(file, root) for file in originals]
    taken: dict[Path, Path] = {}
    for file, target in zip(originals, targets, strict=True):
        if taken.setdefault(target, file) != file:
            raise DataError(f"{taken[target]} and {file} would both be copied to {target}: rename one of them.")

    def copy(pair: tuple[Path, Path]) -> Path:
        file, target = pair
        modified = file.stat().st_mtime_ns
        if target.exists() and target.stat().st_mtime_ns == modified:
            return target
        image = read_rgb(file, max_value)
        scale = sz / min(image.size)
        if scale < 1:
            width, height = (max(round(side * scale), sz) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        with atomic_path(target) as temporary:
            image.save(temporary, format="JPEG" if target.suffix.lower() in _AS_JPEG else "PNG", quality=95)
            os.utime(temporary, ns=(modified, modified))
        return target

    return _in_threads(copy, list(zip(originals, targets, strict=True)), f"resizing to {sz} px")


_AS_JPEG = (".jpg", ".jpeg")


def _copy_name(file: Path, root: Path) -> Path:
    """Return where a copy lies below the folder of its size: as the original below `root`, or as on the whole disk.

    The name stays the original's to the letter, ending included, so that no two are copied to one place, except that a
    copy which is no JPEG is a PNG and says so in its ending.
    """
    if file.is_relative_to(root) and ".." not in file.relative_to(root).parts:
        inside = file.relative_to(root)
    else:
        real = file.resolve()
        inside = Path("_elsewhere", real.drive.strip(":/\\"), *real.parts[1:])
    known = inside.suffix.lower() in (*_AS_JPEG, ".png")
    return inside if known else inside.with_name(f"{inside.name}.png")


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """Do `work` on every item with all cores (Pillow lets go of the interpreter meanwhile), showing progress."""
    from tqdm import tqdm

    quiet = True if os.environ.get("LEARNKIT_PROGRESS", "1") == "0" else None  # None: only in a terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(work, items), total=len(items), desc=what, disable=quiet, leave=False))


def one_array(x: Any, name: str) -> NDArray[Any]:
    """Return pictures as one array, or say that they have no one size."""
    try:
        pictures = np.asarray(x)
    except ValueError as exc:
        sizes = sorted({str(np.shape(picture)) for picture in x})
        raise DataError(
            f"the pictures of `{name}` must have one shape to be an array; there are {', '.join(sizes[:4])}. Resize them, or "
            "save them as files."
        ) from exc
    if not pictures.ndim:
        raise DataError(f"`{name}` must be a pair (pictures, targets); its pictures are {type(x).__name__} {x!r:.60}.")
    return pictures
