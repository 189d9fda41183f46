"""The fingerprint: what a clip looks like, in a few hundred bytes that survive compression and say nothing else.

Legend: K key frames of a clip.

A clip has a *thumb*, 8 x 8 cells of colour, the mean of its key frames: it survives the strongest compression, and
tells flat clips apart, but not a change of light. A key frame is *words* and a *sketch*. The 12 words of 16 bits are
the signs of its slowest waves (a discrete cosine transform of the brightness, 16 x 16 at most): after compression some
words are still exact, which is how the store finds candidates. The sketch has 32 x 32 cells, brighter or darker than
the surroundings or like them: it decides whether two frames show the same, also when one was cropped, mirrored or
turned, as the invisible mark's place says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tenku.media import Frames
from tenku.provenance import geometry
from tenku.provenance.geometry import Place, Plane

if TYPE_CHECKING:
    from PIL import Image

KEYS = 8  # key frames that are kept of a clip
LOOK = 12  # frames that a reader compares with them
WORDS = 12  # of 16 bits, for each key frame
SIDE = 32  # of the sketch
SAME = 0.5  # of `agreement`: enough where the mark has named the clip; 1 in 100 pairs of rendered clips reaches it
ALIKE = 0.75  # enough where nothing else speaks for it; none of 1,560 pairs of rendered clips reaches it
_GROUND = 9  # samples: the surroundings of the sketch
THUMB = 8  # cells along each side of the thumb
_SHADES = 8.0  # levels between thumbs that show the same
_LIGHT = (0.4, 2.5)  # times as bright
_GLARING = 245  # levels from which brightness may have been cut off
_MIDDLE = 0.6  # of each side of what was rotated
_PLAIN = 20  # cells: with fewer there is nothing to compare
_GUESSED = 0.1  # taken off where several places were tried: other clips come to 0.57 then, the right one to 0.77
_LIKE = 1.5  # levels: below, a cell is like its surroundings


Thumb = npt.NDArray[np.uint8]
Sketches = npt.NDArray[np.int8]  # K SIDE SIDE: 1 lighter, -1 darker than the surroundings, 0 like them


@dataclass(frozen=True)
class Fingerprint:
    """Of a clip."""

    words: npt.NDArray[np.uint16]  # K WORDS
    sketches: Sketches  # K SIDE SIDE
    thumb: Thumb | None = None  # THUMB THUMB 3

    def to_bytes(self) -> bytes:
        """The sketches, 256 bytes for each key frame; the words are the store's index."""
        return np.packbits(np.stack([self.sketches > 0, self.sketches < 0], 1)).tobytes()


def sketches_of(data: bytes) -> Sketches:
    """[K, 32, 32]: the inverse of `Fingerprint.to_bytes`."""
    lighter, darker = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 2, SIDE, SIDE).swapaxes(0, 1)
    return lighter.astype(np.int8) - darker.astype(np.int8)


def take(frames: Frames, count: int = KEYS) -> Fingerprint:
    """Of frames [T, H, W, 3]: up to `count` key frames, evenly spaced."""
    look = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    small = [_small(frames[t]) for t in look]
    return Fingerprint(np.stack([_words(p) for p in small]), np.stack([_sketch(p) for p in small]),
                       _thumb(frames[look]))


def _thumb(frames: Frames) -> Thumb:
    from PIL import Image

    small = [np.asarray(Image.fromarray(f).resize((THUMB, THUMB), Image.Resampling.BOX)) for f in frames]
    return np.rint(np.mean(small, 0)).astype(np.uint8)


def thumb_of(data: bytes) -> Thumb | None:
    """[8, 8, 3]: the inverse of `Thumb.tobytes`; None for none."""
    return np.frombuffer(data, np.uint8).reshape(THUMB, THUMB, 3) if data else None


def apart(one: Thumb, other: Thumb) -> float:
    """How far two thumbs are from each other: root mean square, in levels of 255."""
    return float(np.sqrt(np.square(one.astype(np.float32) - other).mean()))


def _small(frame: Frames) -> Plane:
    """The brightness, 64 x 64 whatever its shape."""
    from PIL import Image

    luma = Image.fromarray(frame).convert("L").resize((2 * SIDE, 2 * SIDE), Image.Resampling.BOX)
    return np.asarray(luma).astype(np.float32)


def _words(small: Plane) -> npt.NDArray[np.uint16]:
    size = len(small)
    n, k = np.arange(size), np.arange(16)
    cosine = np.cos(np.pi / size * (n + 0.5) * k[:, None]).astype(np.float32)
    waves = cosine @ small @ cosine.T
    down, across = np.mgrid[0:16, 0:16]
    order = np.argsort((down + across).ravel() * 100 + down.ravel(), kind="stable")[1:1 + 16 * WORDS]
    bits = (waves.ravel()[order] > 0).reshape(WORDS, 16)
    return (bits @ (1 << np.arange(16))).astype(np.uint16)


def _sketch(small: Plane) -> Sketches:
    return _cells(small.reshape(SIDE, 2, SIDE, 2).mean((1, 3)))


def _cells(picture: Plane) -> Sketches:
    rest = picture - geometry.box(picture, _GROUND)
    return (np.sign(rest) * (np.abs(rest) > _LIKE)).astype(np.int8)


def same_shades(frames: Frames, kept: Thumb, place: Place | None = None) -> bool:
    """Whether frames have the colours of a thumb everywhere, but for their brightness: all that a flat clip has.

    place: as in `agreement`; what was cropped away may have been anywhere.
    """
    from PIL import Image

    seen, share = frames[np.unique(np.linspace(0, len(frames) - 1, KEYS).round().astype(int))], 1.0
    if place is not None:
        seen = np.ascontiguousarray(np.rot90(seen[:, :, ::-1] if place.mirrored else seen, place.turned, (1, 2)))
        share = min(1.0, place.tiles / place.made_with)
        if place.angle:  # the middle of it
            seen = np.stack([np.asarray(Image.fromarray(f).rotate(place.angle, Image.Resampling.BILINEAR))
                             for f in seen])
            high, wide = (round(n * (1 - _MIDDLE) / 2) for n in seen.shape[1:3])
            seen, share = seen[:, high:seen.shape[1] - high, wide:seen.shape[2] - wide], share * _MIDDLE
    here = _thumb(seen).astype(np.float32).ravel()
    side = max(THUMB, round(THUMB / share))
    large = np.asarray(Image.fromarray(kept).resize((side, side), Image.Resampling.BILINEAR)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(large, (THUMB, THUMB, 3), (0, 1, 2)).reshape(-1, len(here))
    told = here < _GLARING
    gain = windows[:, told] @ here[told] / np.maximum(np.square(windows[:, told]).sum(1), 1)
    lit = np.minimum(np.clip(gain, *_LIGHT)[:, None] * windows, 255)
    return bool(np.sqrt(np.square(lit - here).mean(1)).min() <= _SHADES)


def agreement(frames: Frames, kept: Sketches, place: Place | None = None) -> float:
    """How much frames look like the key frames [K, 32, 32], -1..1: the median over frames of the best key frame's.

    place: how the frames were cropped, turned or mirrored, as the invisible mark found it; None means not at all.
    """
    look = np.unique(np.linspace(0, len(frames) - 1, LOOK).round().astype(int))
    return float(np.median([_best(frames[t], kept, place) for t in look]))


def likeness(one: Sketches, other: Sketches) -> float:
    """How much the key frames of a clip [K, 32, 32] look like another's, -1..1, like `agreement`."""
    return float(np.median([_slide(cells, other) for cells in one]))


def _best(frame: Frames, kept: Sketches, place: Place | None) -> float:
    from PIL import Image

    if place is not None:
        if place.mirrored:
            frame = frame[:, ::-1]
        frame = np.ascontiguousarray(np.rot90(frame, place.turned))
    scale = place.tiles / place.made_with if place else 1.0
    if abs(scale - 1) < 0.02 and not (place and place.angle):
        return _slide(_sketch(_small(frame)), kept)
    picture = Image.fromarray(frame).convert("L")
    if place is not None and place.angle:
        picture = picture.rotate(place.angle, Image.Resampling.BILINEAR)
    turn = math.sin(math.radians(abs(place.angle))) if place and place.angle else 0.0
    # What lies at a border has other surroundings than in the whole picture: of the smaller one it is left out.
    edge = max(2, math.ceil(max(SIDE, SIDE * scale) * 0.5 * turn))
    # The frame shows scale^2 of the area that was made.
    both, one = max(8, round(SIDE * scale)), round(SIDE * scale**2)
    if scale < 1.02:
        return _slide(_shrunk(picture, both, both)[edge:-edge, edge:-edge], kept)
    edge += 2
    inner = kept[:, edge:-edge, edge:-edge]
    return max(_slide(_shrunk(picture, both, both), inner),  # bars all around, or on two sides only
               _slide(_shrunk(picture, SIDE, one)[:, edge:-edge], inner),
               _slide(_shrunk(picture, one, SIDE)[edge:-edge], inner)) - _GUESSED


def _shrunk(picture: Image.Image, wide: int, high: int) -> Sketches:
    from PIL import Image

    return _cells(np.asarray(picture.resize((wide, high), Image.Resampling.BOX)).astype(np.float32))


def _slide(cells: Sketches, kept: Sketches) -> float:
    """The best correlation, over all shifts at which one lies inside the other."""
    if cells.shape == kept.shape[1:]:  # one place
        flat, others = cells.ravel().astype(np.float32), kept.reshape(len(kept), -1).astype(np.float32)
        energies = np.square(others).sum(1) * np.square(flat).sum()
        return float((others @ flat / np.sqrt(np.maximum(energies, _PLAIN**2))).max())
    inside = cells.shape[0] <= kept.shape[1] and cells.shape[1] <= kept.shape[2]
    small, large = (cells[None], kept) if inside else (kept, cells[None])
    windows = np.lib.stride_tricks.sliding_window_view(large, small.shape[1:], axis=(1, 2)).astype(np.float32)
    product = (windows * small[:, None, None]).sum((-1, -2))
    energy = np.square(windows).sum((-1, -2)) * np.square(small.astype(np.float32)).sum((-1, -2))[:, None, None]
    return float((product / np.sqrt(np.maximum(energy, _PLAIN**2))).max())
