"""How the invisible mark lies in a picture: square tiles around the centre, and the search for where they went.

Legend: a tile has 64 x 64 samples; N tiles fit along the geometric mean of width and height; a *plane* is one
channel of a picture [H, W], float32; a *fold* is the sum of all tiles of a plane [64, 64].

Tiles are square in pixels, so that a crop shifts them, a resize scales them and a rotation turns them: three numbers
and a shift, whatever was cropped away. The shift costs nothing to search: one transform tries all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

TILE = 64  # samples along each side of a tile
TILE_PIXELS = 192  # a picture has as many tiles as make one about this wide; small pictures have one
_EDGE = 0.06  # of each side fades out: a border is an edge like no other

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where the tiles lie in a picture."""

    tiles: float = 1.0  # along the geometric mean of width and height
    turned: int = 0  # quarter turns that set it upright
    mirrored: bool = False
    angle: float = 0.0  # degrees that set it upright after that
    squeezed: float = 1.0  # its width against its height, 1 when its shape was kept
    made_with: int = 1  # tiles of the picture that it was cut from
    bent: bool = False  # a quadrilateral on black, which was set straight first

    def __str__(self) -> str:
        said = ["drawn into a quadrilateral"] if self.bent else []
        said += ["mirrored"] if self.mirrored else []
        if self.turned:
            said.append(f"turned by {90 * self.turned} degrees")
        if abs(self.angle) >= 0.5:
            said.append(f"rotated by {abs(self.angle):.1f} degrees")
        if self.squeezed != 1:
            said.append(f"stretched by {self.squeezed:.2f}")
        scale = self.tiles / self.made_with
        if abs(scale - 1) > 0.01:
            said.append(f"cropped to {scale:.0%} of each side" if scale < 1 else f"with bars around {1 / scale:.0%}")
        return ", ".join(said) or "as it was made"


def tiles_of(height: int, width: int) -> int:
    """How many tiles a picture made with that many pixels has, along the mean of its sides."""
    return max(1, round(math.sqrt(height * width) / TILE_PIXELS))


def likely_tiles(height: int, width: int) -> range:
    """The tiles that a picture may have been made with, had it since been resized by a half to two."""
    return range(max(1, tiles_of(height, width) // 2), tiles_of(2 * height, 2 * width) + 1)


def box(picture: Plane, side: int) -> Plane:
    """The mean over the side x side pixels around each, edges repeated. side: odd."""
    p = side // 2
    total = np.pad(picture, p, mode="edge").astype(np.float64).cumsum(0).cumsum(1)
    total = np.pad(total, ((1, 0), (1, 0)))
    inner = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return (inner / side**2).astype(np.float32)


def shrink(picture: Plane, longest: float) -> Plane:
    """The plane with at most that geometric mean of its sides, in samples."""
    from PIL import Image

    height, width = picture.shape
    factor = longest / math.sqrt(height * width)
    if factor >= 1:
        return picture
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def fold(plane: Plane, place: Place, most: float = 0.0) -> Plane:
    """[64, 64]: the sum of the plane's tiles at that place. most: look only at so many tiles around the centre."""
    samples = _samples(plane, place, most)
    return _summed(samples * _taper(samples.shape[0])[:, None] * _taper(samples.shape[1])[None])


def _summed(samples: Plane) -> Plane:
    """[64, 64]: the sum of the tiles around the middle."""
    height, width = samples.shape
    half = [-(-n // 2 // TILE) * TILE for n in (height, width)]
    canvas = np.zeros((2 * half[0], 2 * half[1]), np.float32)
    top, left = half[0] - height // 2, half[1] - width // 2
    canvas[top:top + height, left:left + width] = samples
    return canvas.reshape(2 * half[0] // TILE, TILE, 2 * half[1] // TILE, TILE).sum((0, 2))


def _samples(plane: Plane, place: Place, most: float) -> Plane:
    """The plane set upright and resampled to the tile's own samples, around its centre, with even sides."""
    from PIL import Image

    if place.mirrored:
        plane = plane[:, ::-1]
    plane = np.ascontiguousarray(np.rot90(plane, place.turned))
    height, width = plane.shape
    step = math.sqrt(height * width) / (TILE * place.tiles)  # pixels for a sample
    across, down = step * math.sqrt(place.squeezed), step / math.sqrt(place.squeezed)
    limit = most * TILE if most else math.inf
    size = [max(2, int(min(side / s, limit)) // 2 * 2) for side, s in ((width, across), (height, down))]
    half = size[0] * across / 2, size[1] * down / 2
    region = (max(0.0, width / 2 - half[0]), max(0.0, height / 2 - half[1]),
              min(float(width), width / 2 + half[0]), min(float(height), height / 2 + half[1]))
    picture = Image.fromarray(plane).resize((size[0], size[1]), Image.Resampling.BILINEAR, box=region)
    if place.angle:
        picture = picture.rotate(place.angle, Image.Resampling.BICUBIC)
    return np.asarray(picture)


@lru_cache(maxsize=256)
def _taper(n: int) -> npt.NDArray[np.float32]:
    x = (np.arange(n) + 0.5) / n
    edge = np.minimum(x, 1 - x) / _EDGE
    return np.where(edge < 1, 0.5 - 0.5 * np.cos(np.pi * edge), 1).astype(np.float32)


def spread(spectrum: npt.NDArray[np.complexfloating], height: int, width: int) -> Plane:
    """A tile, given by its spectrum [64, 33], laid around the centre of a picture [height, width]."""
    fine = 8  # samples of the tile are interpolated so finely
    half, size = TILE // 2, TILE * fine
    wide = np.zeros((size, size // 2 + 1), complex)
    wide[:half, :half], wide[-half:, :half] = spectrum[:half, :half], spectrum[-half:, :half]
    tile = np.fft.irfft2(wide, (size, size)) * fine**2
    step = math.sqrt(height * width) / (TILE * tiles_of(height, width))
    down, across = (np.rint((((np.arange(n) + 0.5 - n / 2) / step) - 0.5) * fine).astype(int) % size
                    for n in (height, width))
    return tile[np.ix_(down, across)].astype(np.float32)


_ANGLES = [1.5 * i for i in range(-10, 11)]  # degrees
_SCALE = 0.03  # step of the search, as a logarithm
_WIDEST, _TIGHTEST = 1.45, 0.5  # bars around, and how much of each side a crop leaves
_LOOKED = 1.5  # tiles around the centre that the search's first look takes in
_NEAREST = 3  # samples of the finer picture for one
FINER = 16  # steps of the refinement for one of the search


def straight(height: int, width: int) -> list[Place]:
    """The places that need no search: as it was made, resized, mirrored, turned by quarters."""
    return [Place(n, turned, mirrored, made_with=n) for n in likely_tiles(height, width)
            for turned in range(4) for mirrored in (False, True)]


Look = tuple[list[Place], npt.NDArray[np.float32], list[int]]


def searched(plane: Plane, height: int, width: int) -> Iterator[Look]:
    """The places of the search, the plane's folds [N, 64, 64] before mirroring and turning, and which is whose.

    Crops, bars and scales, each rotated, turned or mirrored; and stretched ones. height, width: of the picture. The
    folds are a first look: the tiles around the centre, and nearest samples of a finer picture.
    """
    for made in {tiles_of(round(height * f), round(width * f)) for f in (0.75, 1.0, 1.33)}:
        scale = _TIGHTEST
        while scale < _WIDEST:
            yield _rotated(plane, Place(made * scale, made_with=made))
            scale *= 1 + _SCALE
        places, folds = [], []
        for ratio in range(-20, 21):
            if ratio:
                places.append(Place(made, squeezed=math.exp(_SCALE * ratio), made_with=made))
                folds.append(fold(plane, places[-1], _LOOKED))
        of = list(range(len(folds)))
        yield [*places, *(replace(place, mirrored=True) for place in places)], np.stack(folds), of + of


def _rotated(plane: Plane, place: Place) -> Look:
    """A place at all angles, mirrored and turned by quarters, from one resampled picture."""
    from PIL import Image

    picture = Image.fromarray(_samples(plane, place, _LOOKED))
    height, width = picture.height, picture.width
    margin = 2 + math.ceil(math.sin(math.radians(_ANGLES[-1])) * max(height, width) / 2)  # what turns in from outside
    fine = np.pad(np.asarray(picture.resize((_NEAREST * width, _NEAREST * height), Image.Resampling.BICUBIC)),
                  _NEAREST * margin)
    x, y = (np.arange(n, dtype=np.float32) + 0.5 - n / 2 for n in (width, height))
    taper = _taper(height)[:, None] * _taper(width)[None]
    folds = []
    for angle in _ANGLES:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        across = (((cos * x)[None] - (sin * y)[:, None] + (width / 2 + margin)) * _NEAREST).astype(np.int32)
        down = (((sin * x)[None] + (cos * y)[:, None] + (height / 2 + margin)) * _NEAREST).astype(np.int32)
        folds.append(_summed(fine.ravel()[down * fine.shape[1] + across] * taper))
    turned = [replace(place, turned=turned) for turned in (1, 2, 3)]
    places = [replace(place, angle=angle) for angle in _ANGLES] + turned
    of = [*range(len(_ANGLES)), *[_ANGLES.index(0.0)] * 3]
    # Mirroring comes first: what is then rotated one way is what is rotated the other way and then mirrored.
    mirrored = [replace(p, mirrored=True) for p in places]
    return places + mirrored, np.stack(folds), [*of, *reversed(of[:len(_ANGLES)]), *of[len(_ANGLES):]]


def waves_of(down: npt.NDArray[np.intp], across: npt.NDArray[np.intp],
             place: Place) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which waves of a fold, after a place's mirroring and turning, stand where these stood before, but for a shift."""
    turns = ((down, across), (across, -down), (-down, -across), (-across, down))
    down, across = turns[place.turned]
    return down, -across if place.mirrored else across


def neighbours(place: Place, step: float) -> list[Place]:
    """The places around one; step: of the search's own steps."""
    grow = (1 + _SCALE) ** step
    around = [replace(place, tiles=place.tiles * grow), replace(place, tiles=place.tiles / grow)]
    if place.squeezed != 1:
        return [*around, replace(place, squeezed=place.squeezed * grow), replace(place, squeezed=place.squeezed / grow)]
    turn = 1.5 * step
    return [*around, replace(place, angle=place.angle + turn), replace(place, angle=place.angle - turn)]
