"""The visible mark: a small "AI tenku" that walks slowly around the picture, and the reader that finds it.

The mark is a rounded plate, dark and half transparent, with light letters, legible on every background. It takes
a quarter of the width of a frame 128 pixels wide and an eighth of 1280. It keeps near the border and goes round
in `PERIOD` seconds, so that no fixed crop or painted box removes it. Its letters are our own shapes: the mark
does not depend on a font or its version.

The operator of a server may say how it looks and where it begins, within bounds that keep it legible; whether it is
there is nobody's choice:

    TENKU_VISIBLE_MARK    "size=1.5 opacity=0.6 start=0.25"; what is left out stays as it is
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tenku.errors import UserError
from tenku.media import Frames

PERIOD = 24.0  # seconds for one round
INK = 0.85  # opacity of the light letters
THRESHOLD = 0.55  # of `detect`'s score; docs/provenance.md has the calibration
_MADE_AT = (128, 192, 256, 384, 512, 640, 960, 1280)  # frame widths from which a file may have been resized
_LOOK = 24  # frames that the reader looks at

_GLYPHS = {  # 5 rows each
    "A": (".#.", "#.#", "###", "#.#", "#.#"),
    "I": ("#", "#", "#", "#", "#"),
    " ": ("..", "..", "..", "..", ".."),
    "t": (".#.", "###", ".#.", ".#.", ".##"),
    "e": ("...", ".##", "#.#", "##.", ".##"),
    "n": ("...", "##.", "#.#", "#.#", "#.#"),
    "k": ("#..", "#.#", "##.", "##.", "#.#"),
    "u": ("...", "#.#", "#.#", "#.#", ".##"),
}
_TEXT = "AI tenku"

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """What `detect` saw."""

    found: bool
    score: float  # mean correlation with the mark along its path, -1..1


@dataclass(frozen=True)
class Look:
    """What an operator may choose."""

    size: float = 1.0  # times the usual
    opacity: float = 0.42  # of the dark plate
    start: float = 0.0  # of its round at which it begins: 0 lower right, 0.25 and so on clockwise


_BOUNDS = {"size": (0.8, 3.0), "opacity": (0.3, 1.0), "start": (0.0, 1.0)}


def look() -> Look:
    """The operator's choice. Raises UserError for what cannot be."""
    chosen = Look()
    for word in os.environ.get("TENKU_VISIBLE_MARK", "").split():
        name, _, value = word.partition("=")
        low, high = _BOUNDS.get(name, (1.0, 0.0))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not low <= number <= high:
            hint = ", ".join(f"{n} from {a:g} to {b:g}" for n, (a, b) in _BOUNDS.items())
            raise UserError(f"TENKU_VISIBLE_MARK cannot have {word[:40]!r}", hint)
        chosen = replace(chosen, **{name: number})
    return chosen


@lru_cache(maxsize=16)
def stamp(frame_width: int, size: float = 1.0) -> tuple[Plane, Plane]:
    """(plate, ink), both [h, w] with coverage 0..1, for frames of that many pixels across.

    size: times the usual.
    """
    from PIL import Image, ImageDraw

    rows = [".".join(_GLYPHS[c][row] for c in _TEXT) for row in range(5)]
    letters = np.array([[c == "#" for c in row] for row in rows], np.float32)
    letters = np.pad(letters, 2)  # the plate's margin, in the letters' own pixels
    unit = max(1.0, size * (frame_width / 128) ** 0.7)  # pixels of the frame for one of the letters'
    if unit < 1.4:
        unit = 1.0  # whole pixels read better than blurred ones
    width, height = round(letters.shape[1] * unit), round(letters.shape[0] * unit)
    fine = 8  # the letters drawn large, then averaged down
    ink = Image.fromarray(letters).resize((width * fine, height * fine), Image.Resampling.NEAREST)
    plate = Image.new("F", (width * fine, height * fine), 0.0)
    ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, width * fine - 1, height * fine - 1), radius=int(2.2 * unit * fine), fill=1.0)
    down = [np.asarray(i.resize((width, height), Image.Resampling.BOX)) for i in (plate, ink)]
    return down[0], down[1]


def place(seconds: float, frame: tuple[int, int], mark: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the mark in a frame, both sizes as (width, height) in pixels.

    A rectangle near the border, walked at an even pace; at 0 seconds in the lower right, from there to the left.
    """
    margin = 0.03 * max(frame)
    low = [min((f - m) / 2, margin) for f, m in zip(frame, mark, strict=True)]
    across, down = (f - m - 2 * edge for f, m, edge in zip(frame, mark, low, strict=True))
    across, down = max(0.0, across), max(0.0, down)
    way = (seconds / PERIOD % 1) * 2 * (across + down)
    if way < across:
        x, y = across - way, down
    elif way < across + down:
        x, y = 0.0, down - (way - across)
    elif way < 2 * across + down:
        x, y = way - across - down, 0.0
    else:
        x, y = across, way - 2 * across - down
    return max(0, round(low[0] + x)), max(0, round(low[1] + y))


def draw(frames: Frames, fps: float, first: int = 0) -> Frames:
    """The frames [T, H, W, 3] with the mark. fps: frames per second, > 0.

    first: how many frames of their clip went before them, so that the mark walks through pieces as through the whole.
    """
    height, width = frames.shape[1:3]
    chosen = look()
    plate, ink = (layer[:height, :width, None] for layer in stamp(width, chosen.size))
    out = frames.copy()
    for t, frame in enumerate(out):
        x, y = place((first + t) / fps + chosen.start * PERIOD, (width, height), (plate.shape[1], plate.shape[0]))
        under = frame[y:y + plate.shape[0], x:x + plate.shape[1]].astype(np.float32)
        dark = under + (16 - under) * chosen.opacity * plate
        frame[y:y + plate.shape[0], x:x + plate.shape[1]] = np.rint(dark + (248 - dark) * INK * ink)
    return out


def detect(frames: Frames, fps: float) -> Finding:
    """Looks for the mark on its path: from the start, as if the beginning had been cut off, and mirrored.

    A weak layer: anybody can draw it, a crop hides it. The score is a correlation, not a probability.
    """
    look = np.unique(np.linspace(0, len(frames) - 1, _LOOK).round().astype(int))
    luma = [frames[t].astype(np.float32).mean(2) for t in look]
    best = _best(luma, look / fps)
    if best < THRESHOLD:
        best = max(best, _best([picture[:, ::-1] for picture in luma], look / fps))
    return Finding(best > THRESHOLD, best)


def _best(luma: list[Plane], seconds: npt.NDArray[np.floating]) -> float:
    """The score at the likeliest size and beginning."""
    height, width = luma[0].shape
    inks = [ink for ink in _inks(width) if ink.shape[0] + 2 <= height and ink.shape[1] + 2 <= width]
    if not inks:
        return -1.0
    begin = look().start * PERIOD
    best = max(_follow(luma, seconds + late, ink) for ink in inks for late in dict.fromkeys((0.0, begin)))
    if best < THRESHOLD:  # cut: the path's beginning is unknown; a quick look at each, then a thorough one
        starts = np.arange(0.125, PERIOD, 0.125)
        quick = [_follow(luma[::3], seconds[::3] + start, inks[0]) for start in starts]
        best = max(best, _follow(luma, seconds + starts[int(np.argmax(quick))], inks[0]))
    return best


def _inks(width: int) -> list[Plane]:
    """The letters as they look in a frame of that width, made so or resized from another."""
    from PIL import Image

    found = [stamp(width, size)[1] for size in dict.fromkeys((1.0, look().size))]
    for made in _MADE_AT:
        letters = stamp(made)[1]
        size = (round(letters.shape[1] * width / made), round(letters.shape[0] * width / made))
        if made != width and min(size) >= 5:
            found.append(np.asarray(Image.fromarray(letters).resize(size, Image.Resampling.BILINEAR)))
    return found


def _follow(luma: list[Plane], seconds: npt.NDArray[np.floating], ink: Plane) -> float:
    """Mean correlation of the letters with what lies on their path, at the best of 3 x 3 neighbouring spots."""
    height, width = luma[0].shape
    pattern = _without_stripes(ink)
    pattern = pattern / np.sqrt(np.square(pattern).sum())
    total = np.zeros((3, 3))
    for picture, moment in zip(luma, seconds.tolist(), strict=True):
        x, y = place(moment, (width, height), (ink.shape[1], ink.shape[0]))
        x, y = min(max(x, 1), width - ink.shape[1] - 1), min(max(y, 1), height - ink.shape[0] - 1)
        region = picture[y - 1:y + ink.shape[0] + 1, x - 1:x + ink.shape[1] + 1]
        spots = _without_stripes(np.lib.stride_tricks.sliding_window_view(region, ink.shape))
        norm = np.sqrt(np.square(spots).sum((2, 3)))
        total += (spots * pattern).sum((2, 3)) / np.maximum(norm, 1e-3 * ink.size)
    return float(total.max()) / len(luma)


def _without_stripes(pictures: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Less the mean of each row and column: horizons and walls else pass for lines of letters."""
    rows = pictures - pictures.mean(-1, keepdims=True)
    return rows - rows.mean(-2, keepdims=True)
