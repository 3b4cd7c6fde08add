"""Augmentations: what shall happen to one picture in one epoch, noted in a `Draw` before a pixel is touched."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from learnkit.core.errors import check_choice, check_positive
from learnkit.core.listing import numbers

__all__ = [
    "AddPadding",
    "Augment",
    "CenterCrop",
    "Cutout",
    "Draw",
    "NoCrop",
    "RandomBlur",
    "RandomCrop",
    "RandomDihedral",
    "RandomFlip",
    "RandomFlipXY",
    "RandomLighting",
    "RandomRotate",
    "RandomRotateZoom",
    "RandomScale",
    "RandomStretch",
    "RandomZoom",
    "Scale",
    "transforms_basic",
    "transforms_side_on",
    "transforms_top_down",
]


@dataclass
class Draw:
    """What happens to one picture in one epoch.

    Attributes
    ----------
    flip : bool
        Left becomes right.
    quarter_turns : int
        By 90 degrees each, counterclockwise.
    angle : float
        Rotation in degrees, counterclockwise.
    zoom : float
        2 shows half of the height and width.
    stretch : tuple of float
        Further zoom of the height alone, and of the width alone.
    squish : bool
        Take the whole picture and distort it to a square, instead of cutting one out.
    pad : int
        Pixels of the result by which the picture is mirrored outwards on each side, to crop from.
    place : tuple of float
        Vertical and horizontal place of the crop, 0 to 1; (0.5, 0.5) is the centre.
    brightness : float
        Added to every pixel, in units of the full range.
    contrast : float
        Factor around mid-grey.
    blur : int
        Side in pixels of the Gaussian window that blurs, an odd number; 0 for none.
    holes : list of tuple of float
        `(y, x, size)` of squares to blank out, y and x as shares of the side, size in pixels.
    sz : int or None
        Side of the result in pixels, for augmentations that depend on it; `None` where pictures keep their own size.

    Parameters
    ----------
    flip, quarter_turns, angle, zoom, stretch, squish, pad, place, brightness, contrast, blur, holes, sz
        The attributes; nothing happens by default.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import Draw, RandomFlip
    >>> draw = Draw()
    >>> RandomFlip(p=1.0).draw(np.random.default_rng(0), draw)
    >>> draw.flip
    True
    """

    flip: bool = False
    quarter_turns: int = 0
    angle: float = 0.0
    zoom: float = 1.0
    stretch: tuple[float, float] = (1.0, 1.0)
    squish: bool = False
    pad: int = 0
    place: tuple[float, float] = (0.5, 0.5)
    brightness: float = 0.0
    contrast: float = 1.0
    blur: int = 0
    holes: list[tuple[float, float, int]] = field(default_factory=list)
    sz: int | None = None


class Augment(ABC):
    """One kind of augmentation: writes what it wants into a `Draw`.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import Augment, ImageTransforms
    >>> class UpsideDown(Augment):
    ...     def draw(self, rng, draw):
    ...         draw.quarter_turns += 2
    >>> ImageTransforms(2, aug_tfms=UpsideDown())(np.array([[0, 0], [0, 255]], dtype=np.uint8))[0]
    array([[1., 0.],
           [0., 0.]], dtype=float32)
    """

    @abstractmethod
    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Change `draw`, taking all randomness from `rng`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class RandomFlip(Augment):
    """Mirror left and right.

    Parameters
    ----------
    p : float, default 0.5
        How often.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Flip, or not."""
        draw.flip ^= bool(rng.random() < self.p)


class RandomFlipXY(Augment):
    """Mirror left and right, and, by a draw of its own, top and bottom.

    Parameters
    ----------
    p : float, default 0.5
        How often, for each of the two.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Flip, or not."""
        x, y = rng.random(2) < self.p
        draw.flip ^= bool(x ^ y)  # upside down is half a turn and mirrored
        draw.quarter_turns += 2 * int(y)


class RandomDihedral(Augment):
    """Any of the eight ways to lay down a square, for pictures taken from above.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit.vision import ImageTransforms, RandomDihedral
    >>> tfm, picture = ImageTransforms(2, aug_tfms=RandomDihedral()), np.array([[0, 1], [2, 3]], dtype=np.uint8)
    >>> len({tfm(picture).tobytes() for _ in range(200)})
    8
    """

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose one of the eight."""
        draw.flip ^= bool(rng.integers(2))
        draw.quarter_turns += int(rng.integers(4))


class RandomRotate(Augment):
    """Rotate a little; what comes into view at the corners is mirrored.

    Parameters
    ----------
    deg : float
        Largest angle in degrees, to either side.
    p : float, default 0.75
        How often.
    """

    def __init__(self, deg: float, p: float = 0.75) -> None:
        self.deg, self.p = deg, p

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose an angle."""
        if rng.random() < self.p:
            draw.angle += float(rng.uniform(-self.deg, self.deg))


class RandomZoom(Augment):
    """Zoom in.

    Parameters
    ----------
    zoom_max : float
        Largest zoom; 1.1 shows at least 1 / 1.1 of height and width.
    """

    def __init__(self, zoom_max: float) -> None:
        if zoom_max < 1:
            raise ValueError(f"`zoom_max` must be at least 1; got {zoom_max}. 1.1 zooms in by up to a tenth.")
        self.zoom_max = zoom_max

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a zoom."""
        draw.zoom *= float(rng.uniform(1, self.zoom_max))


class RandomStretch(Augment):
    """Zoom into the height alone or into the width alone, which distorts.

    Parameters
    ----------
    max_stretch : float
        0.1 stretches by up to a tenth.
    """

    def __init__(self, max_stretch: float) -> None:
        if not 0 <= max_stretch < math.inf:
            raise ValueError(f"`max_stretch` must not be negative; got {max_stretch}. 0.1 stretches by up to a tenth.")
        self.max_stretch = max_stretch

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose direction and amount."""
        by = 1 + float(rng.uniform(0, self.max_stretch))
        height, width = draw.stretch
        draw.stretch = (height * by, width) if rng.random() < 0.5 else (height, width * by)


class RandomRotateZoom(Augment):
    """One of four things by chance: rotate, zoom in, stretch, or nothing.

    Parameters
    ----------
    deg : float
        Largest angle in degrees, to either side.
    zoom : float
        Largest zoom; 0.1 zooms in by up to a tenth.
    stretch : float
        Largest stretch of height or width, likewise.
    ps : sequence of float, optional
        How often each of the four, in this order; a quarter each by default.
    """

    def __init__(self, deg: float, zoom: float, stretch: float, ps: Sequence[float] | None = None) -> None:
        self.deg, self.zoom, self.stretch = deg, zoom, stretch
        self.ps = [0.25] * 4 if ps is None else numbers("ps", ps, "shares")
        if len(self.ps) != 4 or min(self.ps) < 0 or abs(sum(self.ps) - 1) > 1e-6:
            raise ValueError(f"`ps` must be four shares that add up to 1 (rotate, zoom, stretch, nothing); got {ps!r}.")

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose which, and how much."""
        kinds = (RandomRotate(self.deg, p=1), RandomZoom(1 + self.zoom), RandomStretch(self.stretch))
        chosen = int(np.searchsorted(np.cumsum(self.ps), rng.random(), side="right"))
        if chosen < 3:
            kinds[chosen].draw(rng, draw)


class Scale(Augment):
    """Bring the shorter side of the picture to `sz` pixels before the crop is cut out.

    Parameters
    ----------
    sz : int
        At least the size of the crop, `sz` of the transforms.

    Examples
    --------
    >>> from learnkit.vision import Draw, Scale
    >>> draw = Draw(sz=200)
    >>> Scale(250).draw(None, draw)
    >>> draw.zoom
    1.25
    """

    def __init__(self, sz: int) -> None:
        self.sz = int(check_positive("sz", sz, integer=True))

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Zoom so far in that the crop is its share of the picture."""
        if draw.sz is None or self.sz < draw.sz:
            crop = "pictures keep their own size" if draw.sz is None else f"the crop has {draw.sz} pixels"
            raise ValueError(
                f"`{self!r}` scales pictures to cut a square from, and here {crop}. Give `tfms` a smaller `sz`."
            )
        draw.zoom *= self.sz / draw.sz


class RandomScale(Scale):
    """Bring the shorter side of the picture to between `sz` and `sz * max_zoom` pixels before the crop is cut out.

    Parameters
    ----------
    sz : int
        At least the size of the crop.
    max_zoom : float
        Largest factor, at least 1.
    p : float, default 0.75
        How often more than `sz`.
    """

    def __init__(self, sz: int, max_zoom: float, p: float = 0.75) -> None:
        super().__init__(sz)
        if max_zoom < 1:
            raise ValueError(f"`max_zoom` must be at least 1; got {max_zoom}. 1.1 zooms in by up to a tenth.")
        self.max_zoom, self.p = max_zoom, p

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a size."""
        super().draw(rng, draw)
        if rng.random() < self.p:
            draw.zoom *= float(rng.uniform(1, self.max_zoom))


class AddPadding(Augment):
    """Mirror the picture outwards on each side, so that a random crop can reach over its border.

    Parameters
    ----------
    pad : int
        Pixels of the result.
    mode : str or int, default "reflect"
        Only mirroring is known (OpenCV's `BORDER_REFLECT`, 2).
    """

    def __init__(self, pad: int, mode: str | int = "reflect") -> None:
        self.pad = int(check_positive("pad", pad, integer=True))
        check_choice("mode", mode, ("reflect", 2))
        self.mode = "reflect"

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Note the padding."""
        draw.pad += self.pad


class RandomCrop(Augment):
    """Take the crop from anywhere in the picture instead of its centre.

    Parameters
    ----------
    sz : int, optional
        Side of the crop, which is `sz` of the transforms: it may be left out, and no other is accepted.
    """

    def __init__(self, sz: int | None = None) -> None:
        self.sz = sz

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a place."""
        _check_size(self, self.sz, draw)
        draw.place = (float(rng.random()), float(rng.random()))


class CenterCrop(Augment):
    """Take the crop from the centre of the picture, where training would take it from anywhere.

    Parameters
    ----------
    sz : int, optional
        As for `RandomCrop`.
    """

    def __init__(self, sz: int | None = None) -> None:
        self.sz = sz

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose the centre."""
        _check_size(self, self.sz, draw)
        draw.place = (0.5, 0.5)


class NoCrop(Augment):
    """Cut nothing off: distort the whole picture to a square.

    In training, as all of `aug_tfms`; `crop_type=CropType.NO` does it in validation too.

    Parameters
    ----------
    sz : int, optional
        As for `RandomCrop`.
    """

    def __init__(self, sz: int | None = None) -> None:
        self.sz = sz

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Ask for the whole picture."""
        _check_size(self, self.sz, draw)
        draw.squish = True


def _check_size(crop: Augment, sz: int | None, draw: Draw) -> None:
    if sz not in (None, draw.sz):
        own = "keep the size of the pictures" if draw.sz is None else f"cut out {draw.sz} pixels"
        raise ValueError(f"{crop!r} asks for another size than the transforms, which {own}. Make them with sz={sz}.")


class RandomBlur(Augment):
    """Blur the picture by a Gaussian window.

    Parameters
    ----------
    blur_strengths : int or sequence of int, default 5
        Side of the window in pixels of the result, odd numbers; one of several is drawn. The window's deviation grows
        with it, 1.1 pixels for 5.
    probability : float, default 0.5
        How often.
    """

    def __init__(self, blur_strengths: int | Sequence[int] = 5, probability: float = 0.5) -> None:
        sides = numbers("blur_strengths", blur_strengths, "odd numbers")
        if not sides or any(side < 1 or side % 2 == 0 for side in sides):
            raise ValueError(
                f"`blur_strengths` must be odd numbers of pixels, such as 3 or [3, 5]; got {blur_strengths!r}."
            )
        self.blur_strengths = [int(side) for side in sides]
        self.probability = probability

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a window, or none."""
        if rng.random() < self.probability:
            draw.blur = self.blur_strengths[int(rng.integers(len(self.blur_strengths)))]


class RandomLighting(Augment):
    """Change brightness and contrast.

    Parameters
    ----------
    b : float
        Largest change of brightness, in units of the full range.
    c : float
        Largest change of contrast: factors from `1 / (1 + c)` to `1 + c`.
    """

    def __init__(self, b: float, c: float) -> None:
        self.b, self.c = b, c

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose brightness and contrast."""
        draw.brightness += float(rng.uniform(-self.b, self.b))
        draw.contrast *= float((1 + self.c) ** rng.uniform(-1, 1))


class Cutout(Augment):
    """Blank out squares at random places (DeVries & Taylor 2017).

    Parameters
    ----------
    n_holes : int
    length : int
        Side of each square in pixels of the result.
    """

    def __init__(self, n_holes: int, length: int) -> None:
        self.n_holes = int(check_positive("n_holes", n_holes, integer=True))
        self.length = int(check_positive("length", length, integer=True))

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose the places."""
        draw.holes += [(float(y), float(x), self.length) for y, x in rng.random((self.n_holes, 2))]


transforms_basic: list[Augment] = [RandomRotate(10), RandomLighting(0.05, 0.05)]
"""For any picture: small rotations and changes of light."""
transforms_side_on: list[Augment] = [*transforms_basic, RandomFlip()]
"""For pictures taken from the side (things, animals, people): also mirrored."""
transforms_top_down: list[Augment] = [*transforms_basic, RandomDihedral()]
"""For pictures taken from above (satellites, microscopes): also turned any way."""
