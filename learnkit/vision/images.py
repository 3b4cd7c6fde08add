"""Picture files: reading any of them as RGB, checking a folder of them, and making smaller copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from learnkit.core.errors import DataError, check_positive
from learnkit.data.files import PathLike, atomic_path, find_files

__all__ = ["IMAGE_EXTENSIONS", "open_image", "read_rgb", "readable", "resized_copies", "verify_images"]

Result = TypeVar("Result")

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})


def open_image(fn: PathLike) -> NDArray[np.float32]:
    """Read a picture as RGB, turned the way its EXIF data says.

    Parameters
    ----------
    fn : path-like
        Any format Pillow reads. Transparent parts become white; of an animation the first frame is taken.

    Returns
    -------
    array of float32, shape (H, W, 3), in 0..1

    Raises
    ------
    DataError
        If the file is missing, cut off or no picture; it is named.

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
    return np.asarray(read_rgb(fn), dtype=np.float32) / np.float32(255)


def read_rgb(fn: PathLike) -> Image.Image:
    """Read a picture as an 8-bit RGB PIL image."""
    try:
        with Image.open(fn) as file:
            turned = file.getexif().get(ExifTags.Base.Orientation, 1) != 1
            image: Image.Image = ImageOps.exif_transpose(file) if turned else file
            if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: bring the range to 0..255
                values = np.asarray(image, dtype=np.float32)
                scale = 255 / 65535 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 1
                image = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            if image is file and image.mode == "RGB":
                image.load()  # before the file is closed; `convert` would copy
                return image
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise DataError(f"the picture {fn} cannot be read: {exc}. Replace or remove the file.") from exc


def verify_images(folder: PathLike | Sequence[PathLike]) -> dict[Path, str]:
    """Read every picture of a folder and report those that cannot be read, all at once.

    Parameters
    ----------
    folder : path-like or sequence of path-like
        A folder, searched with its subfolders, or the files themselves.

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
    files = find_files(folder, IMAGE_EXTENSIONS) if isinstance(folder, str | os.PathLike) else [Path(f) for f in folder]

    def problem(file: Path) -> str | None:
        try:
            read_rgb(file)
        except DataError as exc:
            return str(exc)
        return None

    found = _in_threads(problem, files, "checking pictures")
    return {file: text for file, text in zip(files, found, strict=True) if text is not None}


def readable(files: Sequence[Path], labels: Sequence[Any]) -> tuple[list[Path], list[Any]]:
    """Return the files that can be read with their labels, and say which are left out."""
    bad = verify_images(files)
    if bad:
        shown = ", ".join(str(file) for file in list(bad)[:5])
        print(
            f"left out {len(bad)} of {len(files)} pictures that cannot be read: {shown}{', ...' if len(bad) > 5 else ''}"
        )
    kept = [(file, label) for file, label in zip(files, labels, strict=True) if file not in bad]
    return [file for file, _ in kept], [label for _, label in kept]


def resized_copies(files: Iterable[Path], root: Path, folder: Path, sz: int) -> list[Path]:
    """Write copies whose shorter side is `sz` pixels below `folder`, keeping those that are up to date.

    A copy carries the time of its original, so a picture that was replaced is copied anew. Each appears in one step:
    a full disk or a crash leaves no half of one. Pictures that are not larger are copied at their own size.
    """
    check_positive("sz", sz, integer=True)

    def copy(file: Path) -> Path:
        inside = file.relative_to(root) if file.is_relative_to(root) else Path(*file.resolve().parts[1:])
        target = folder / str(sz) / inside.with_suffix(".jpg" if inside.suffix.lower() in (".jpg", ".jpeg") else ".png")
        modified = file.stat().st_mtime_ns
        if target.exists() and target.stat().st_mtime_ns == modified:
            return target
        image = read_rgb(file)
        scale = sz / min(image.size)
        if scale < 1:
            width, height = (max(round(side * scale), sz) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        with atomic_path(target) as temporary:
            image.save(temporary, format="JPEG" if target.suffix == ".jpg" else "PNG", quality=95)
            os.utime(temporary, ns=(modified, modified))
        return target

    return _in_threads(copy, list(files), f"resizing to {sz} px")


def _in_threads(work: Callable[[Path], Result], files: Sequence[Path], what: str) -> list[Result]:
    """Do `work` on every file with all cores (Pillow lets go of the interpreter meanwhile), showing progress."""
    from tqdm import tqdm

    quiet = True if os.environ.get("LEARNKIT_PROGRESS", "1") == "0" else None  # None: only in a terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(work, files), total=len(files), desc=what, disable=quiet, leave=False))
