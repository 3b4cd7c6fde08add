"""Augmentations: what shall happen to one picture in one epoch, noted in a `Draw` before a pixel is touched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from learnkit.core.errors import check_positive

__all__ = [
    "Augment",
    "Cutout",
    "Draw",
    "RandomCrop",
    "RandomDihedral",
    "RandomFlip",
    "RandomLighting",
    "RandomRotate",
    "RandomZoom",
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
    place : tuple of float
        Vertical and horizontal place of the crop, 0 to 1; (0.5, 0.5) is the centre.
    brightness : float
        Added to every pixel, in units of the full range.
    contrast : float
        Factor around mid-grey.
    holes : list of tuple of float
        `(y, x, size)` of squares to blank out, y and x as shares of the side, size in pixels.

    Parameters
    ----------
    flip, quarter_turns, angle, zoom, place, brightness, contrast, holes
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
    place: tuple[float, float] = (0.5, 0.5)
    brightness: float = 0.0
    contrast: float = 1.0
    holes: list[tuple[float, float, int]] = field(default_factory=list)


class Augment(ABC):
    """One kind of augmentation: writes what it wants into a `Draw`.

    Examples
    --------
    >>> from learnkit.vision import Augment
    >>> class AlwaysUpsideDown(Augment):
    ...     def draw(self, rng, draw):
    ...         draw.quarter_turns += 2
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

    Examples
    --------
    >>> from learnkit.vision import RandomFlip
    >>> RandomFlip()
    RandomFlip(p=0.5)
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Flip, or not."""
        draw.flip ^= bool(rng.random() < self.p)


class RandomDihedral(Augment):
    """Any of the eight ways to lay down a square, for pictures taken from above.

    Examples
    --------
    >>> from learnkit.vision import RandomDihedral
    >>> RandomDihedral()
    RandomDihedral()
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

    Examples
    --------
    >>> from learnkit.vision import RandomRotate
    >>> RandomRotate(10)
    RandomRotate(deg=10, p=0.75)
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

    Examples
    --------
    >>> from learnkit.vision import RandomZoom
    >>> RandomZoom(1.1)
    RandomZoom(zoom_max=1.1)
    """

    def __init__(self, zoom_max: float) -> None:
        if zoom_max < 1:
            raise ValueError(f"`zoom_max` must be at least 1; got {zoom_max}. 1.1 zooms in by up to a tenth.")
        self.zoom_max = zoom_max

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a zoom."""
        draw.zoom *= float(rng.uniform(1, self.zoom_max))


class RandomCrop(Augment):
    """Take the crop from anywhere in the picture instead of its centre.

    Examples
    --------
    >>> from learnkit.vision import RandomCrop
    >>> RandomCrop()
    RandomCrop()
    """

    def draw(self, rng: np.random.Generator, draw: Draw) -> None:
        """Choose a place."""
        draw.place = (float(rng.random()), float(rng.random()))


class RandomLighting(Augment):
    """Change brightness and contrast.

    Parameters
    ----------
    b : float
        Largest change of brightness, in units of the full range.
    c : float
        Largest change of contrast: factors from `1 / (1 + c)` to `1 + c`.

    Examples
    --------
    >>> from learnkit.vision import RandomLighting
    >>> RandomLighting(0.05, 0.05)
    RandomLighting(b=0.05, c=0.05)
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

    Examples
    --------
    >>> from learnkit.vision import Cutout
    >>> Cutout(1, 16)
    Cutout(n_holes=1, length=16)
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
