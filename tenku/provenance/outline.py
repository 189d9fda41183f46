"""The quadrilateral that a picture fills on black ground: what a perspective, or bars, make of a video.

Each of its sides is the line that most border pixels lie on. Set straight again, the picture lies nearly as it was
made; where it was looked for depends on what it shows and not on a key, so it is one more place to look at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tenku.media import Frames

_DARK = (2, 24)  # levels: ground as it was drawn, and after compression
_NEAR = 0.8  # pixels from a border pixel to its side
_HELD = 0.4  # of a side's border pixels that lie on it, at least
_FILLED = (0.2, 0.98)  # of the area: with less it is no picture, with more there is nothing to set straight
_LOOK = 12  # frames

Corners = npt.NDArray[np.floating]  # [4, 2] x, y in pixels: top left, top right, bottom right, bottom left


def straightened(frames: Frames) -> Frames | None:
    """Frames [T, H, W, 3] with the quadrilateral that they fill drawn out to the whole picture; None without one."""
    from PIL import Image

    corners = find(frames)
    if corners is None:
        return None
    height, width = frames.shape[1:3]
    whole = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    numbers = projection(whole, corners)
    return np.stack([np.asarray(Image.fromarray(frame).transform(
        (width, height), Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BICUBIC)) for frame in frames])


def find(frames: Frames) -> Corners | None:
    """The corners of what is not black in any of some frames, where it is a quadrilateral."""
    look = np.unique(np.linspace(0, len(frames) - 1, _LOOK).round().astype(int))
    bright = frames[look].max((0, 3))
    for dark in _DARK:
        corners = _quadrilateral(bright > dark)
        if corners is not None:
            return corners
    return None


def _quadrilateral(mask: npt.NDArray[np.bool_]) -> Corners | None:
    if not _FILLED[0] < mask.mean() < _FILLED[1] or min(mask.shape) < 32:
        return None
    sides = []
    for turned, last in ((mask, False), (mask, True), (mask.T, False), (mask.T, True)):
        rows = np.flatnonzero(turned.any(1))
        first = (turned[rows, ::-1] if last else turned[rows]).argmax(1)
        line = _line(rows + 0.5, (turned.shape[1] - first if last else first).astype(float))
        if line is None:
            return None
        sides.append(line)
    left, right, top, bottom = sides
    corners = np.array([_crossing(left, top), _crossing(right, top), _crossing(right, bottom),
                        _crossing(left, bottom)])
    edges = np.roll(corners, -1, 0) - corners
    after = np.roll(edges, -1, 0)
    turns = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    high, wide = mask.shape
    near = np.abs(corners / (wide, high) - 0.5).max() < 0.6
    return corners if near and (turns > 0).all() else None


def _line(at: npt.NDArray[np.floating], border: npt.NDArray[np.floating]) -> tuple[float, float] | None:
    """Slope and start of border = slope * at + start, on which most border pixels lie."""
    some = np.unique(np.linspace(0, len(at) - 1, 32).round().astype(int))
    one, other = (some[i] for i in np.triu_indices(len(some), 1))
    slopes = (border[other] - border[one]) / (at[other] - at[one])
    starts = border[one] - slopes * at[one]
    on = np.abs(border - slopes[:, None] * at - starts[:, None]) < _NEAR
    held = on[on.sum(1).argmax()]
    if held.mean() < _HELD or held.sum() < 8:
        return None
    slope, start = np.polyfit(at[held], border[held], 1)
    return float(slope), float(start)


def _crossing(upright: tuple[float, float], level: tuple[float, float]) -> tuple[float, float]:
    """Of x = a y + b and y = c x + d."""
    (a, b), (c, d) = upright, level
    x = (a * d + b) / (1 - a * c) if abs(1 - a * c) > 1e-6 else 0.0
    return x, c * x + d


def projection(there: Corners, here: Corners) -> list[float]:
    """The eight numbers of Pillow's perspective that puts the corners `here` of a picture to `there`."""
    rows = [row for (x, y), (u, v) in zip(there, here, strict=True)
            for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])]
    return np.linalg.solve(np.array(rows, float), np.ravel(here)).tolist()
