"""Where the invisible mark's pattern lies in a picture: resizing, mirroring, and the search for crops.

The reader's plane is 128 x 128 samples, two along each side of a cell, whatever the size of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CELLS = 64  # along each side of the pattern
PLANE = 2 * CELLS  # samples along each side of the reader's plane

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """How a picture lies over the pattern it was cut from, in the plane's samples."""

    width: int = PLANE  # of the pattern that the picture shows; more than 128: it was padded
    height: int = PLANE
    x: int = 0  # of the picture's left edge in the pattern, negative when padded
    y: int = 0
    mirrored: bool = False

    def __str__(self) -> str:
        said = ["mirrored"] if self.mirrored else []
        if (self.width, self.height) != (PLANE, PLANE):
            said.append(f"{self.width / PLANE:.0%} of the width and {self.height / PLANE:.0%} of the height")
        return ", ".join(said) or "as it was made"


def resize(picture: Plane, height: int, width: int) -> Plane:
    """[H, W] to [height, width]: area mean where it shrinks, linear where it grows."""
    from PIL import Image

    how = Image.Resampling.BOX if picture.shape[1] > width else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture).resize((width, height), how))


def box(picture: Plane, side: int) -> Plane:
    """The mean over the side x side pixels around each, edges repeated. side: odd."""
    p = side // 2
    wide = np.pad(picture, p, mode="edge")
    rows, total = np.zeros((picture.shape[0], wide.shape[1]), np.float32), np.zeros_like(picture, np.float32)
    for i in range(side):
        rows += wide[i:i + picture.shape[0]]
    for i in range(side):
        total += rows[:, i:i + picture.shape[1]]
    return (total / side**2).astype(np.float32)


def cells_at(plane: Plane, place: Place, limited: bool = True) -> npt.NDArray[np.float32]:
    """[4096]: what the plane holds at each cell when it lies at `place`; 0 for cells outside the picture.

    limited: bounded by the median magnitude, because a picture's strong cells say nothing about the mark.
    """
    if place.mirrored:
        plane = plane[:, ::-1]
    if (place.width, place.height) != (PLANE, PLANE):
        plane = resize(np.ascontiguousarray(plane), place.height, place.width)
    canvas = np.zeros((PLANE, PLANE), np.float32)
    left, top = max(place.x, 0), max(place.y, 0)
    right, bottom = min(place.x + place.width, PLANE), min(place.y + place.height, PLANE)
    canvas[top:bottom, left:right] = plane[top - place.y:bottom - place.y, left - place.x:right - place.x]
    cells = canvas.reshape(CELLS, 2, CELLS, 2).mean((1, 3)).ravel()
    if limited and cells.any():
        limit = float(np.median(np.abs(cells[cells != 0])))
        cells = np.clip(cells, -limit, limit)
    return cells


def _scales() -> list[tuple[int, int]]:
    """(width, height) of the shown pattern, in samples: crops to 85 % of each side, to half of both, and padding."""
    near = range(108, PLANE + 1, 2)
    found = {(w, h) for w in near for h in near}
    found |= {(w, w + d) for w in range(64, 108, 2) for d in (-4, -2, 0, 2, 4)}
    found |= {(w, PLANE) for w in range(PLANE, 194, 2)} | {(PLANE, h) for h in range(PLANE, 194, 2)}
    return sorted(found - {(PLANE, PLANE)})


def search(
    plane: Plane, pilot: npt.NDArray[np.intp], signs: npt.NDArray[np.float32], keep: int = 4,
) -> tuple[list[Place], int]:
    """The most promising places of the pilot, and how many places were compared to find them.

    Correlates by FFT over all offsets, for each mirror and scale.
    """
    impulses = np.zeros((PLANE, PLANE), np.float32)
    impulses[2 * (pilot // CELLS), 2 * (pilot % CELLS)] = signs[pilot]
    spectra: dict[tuple[int, int], npt.NDArray[np.complexfloating]] = {}
    ranked: list[tuple[float, Place]] = []
    tried = 0
    for mirrored in (False, True):
        base = np.ascontiguousarray(plane[:, ::-1]) if mirrored else plane
        for width, height in _scales():
            size = (_transform_size(height), _transform_size(width))
            if size not in spectra:
                spectra[size] = np.conj(np.fft.rfft2(impulses, size))
            score, place, places = _peak(resize(base, height, width), spectra[size], size)
            tried += places
            ranked.append((score, Place(width, height, *place, mirrored)))
    ranked.sort(key=lambda r: -r[0])
    return [place for _, place in ranked[:keep]], tried


def _transform_size(side: int) -> int:
    """A length for the FFT that holds the pattern and a picture of that side, of small prime factors."""
    return next(n for n in (144, 160, 180, 200) if n > max(side, PLANE))


def _peak(
    small: Plane, spectrum: npt.NDArray[np.complexfloating], size: tuple[int, int],
) -> tuple[float, tuple[int, int], int]:
    """The best offset (x, y) of one rescaled plane, its score, and the number of offsets."""
    height, width = small.shape
    cell = (small[:-1, :-1] + small[1:, :-1] + small[:-1, 1:] + small[1:, 1:]) / 4
    limit = float(np.median(np.abs(cell)))
    cell = np.clip(cell, -limit, limit)
    # corr[v] = sum over u of cell[u + v] * impulse[u], so v = -offset of the picture in the pattern
    corr = np.fft.irfft2(np.fft.rfft2(cell, size) * spectrum, size)
    span_y, span_x = abs(PLANE - height) + 1, abs(PLANE - width) + 1
    ys = np.arange(span_y) if height > PLANE else -np.arange(span_y)
    xs = np.arange(span_x) if width > PLANE else -np.arange(span_x)
    window = corr[np.ix_(ys % size[0], xs % size[1])]
    at = np.unravel_index(int(window.argmax()), window.shape)
    seen = min(height, PLANE) * min(width, PLANE) / PLANE**2
    score = float(window[at]) / (max(limit, 1e-9) * seen**0.5)
    return score, (-int(xs[at[1]]), -int(ys[at[0]])), span_y * span_x
