"""From a file to clips: decoded stretch by stretch as strangers' files are, cut where scenes change, cropped, scaled.

Cuts are PySceneDetect's (its adaptive detector, which a moving camera does not mislead). A shot gives consecutive
clips of as many frames as are asked for, and a shorter one at its end.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenku import media, untrusted
from tenku.errors import UserError
from tenku.media import Frames
from tenku.types import Size

SEEN = 128  # pixels across: of the pictures in which cuts are looked for
LAG = 3  # frames after which the detector has made up its mind
BYTES = 24 << 20  # of a stretch that is decoded at once, about
GROUP = 8  # frames of a latent step: clips have 1 + 8 k
DARK, EVEN = 24, 3.0  # levels: how bright, and how uneven, a row or a column of a bar may be


@dataclass(frozen=True)
class Shape:
    """What clips are made like."""

    size: Size  # of the default aspect; others have as many pixels, about
    fps: float
    frames: int  # at most, 1 + 8 k
    least: int  # fewer are not worth a clip

    def like(self, width: int, height: int) -> Size:
        """The size of a clip of pictures that wide and high: their aspect, sides multiples of 16."""
        unit = (self.size.width * self.size.height / (width * height)) ** 0.5 / 16
        return Size(*(max(32, 16 * round(side * unit)) for side in (width, height)))


@dataclass(frozen=True)
class Piece:
    """A part of a shot."""

    first: int  # number of its first frame, at the shape's rate
    shot: int  # number of its shot in the file
    frames: Frames  # T H W 3 as decoded, at least twice as large as the clip where the file is


def pieces(path: Path, shape: Shape) -> Iterator[Piece]:
    """The parts of all shots of a file, also those that are too short; a picture is one of one frame.

    Raises UserError for what cannot be decoded, and where PySceneDetect is not installed.
    """
    if media.kind_of(path) in ("png", "jpeg", "webp"):
        clip = untrusted.read_at(path, shape.fps, _least(shape))
        if len(clip.frames) == 1:
            yield Piece(0, 0, clip.frames)
            return
        stretches: Iterator[Frames] = iter([clip.frames])
    else:
        stretches = _stretches(path, shape)
    detector = _Detector(shape)
    held, first, shot, begun = [], 0, 0, 0  # frames since `first` that are no clip yet; where the shot begins
    for stretch in stretches:
        for frame in stretch:
            held.append(frame)
            if cut := detector.cut(frame):
                yield from _parts(held[: cut - first], first, shot, shape, first > begun)
                held, first, shot, begun = held[cut - first :], cut, shot + 1, cut
            elif len(held) >= shape.frames + LAG:
                yield Piece(first, shot, np.stack(held[: shape.frames]))
                held, first = held[shape.frames :], first + shape.frames
    yield from _parts(held, first, shot, shape, first > begun)


def _least(shape: Shape) -> tuple[int, int]:
    """Whatever way a picture stands, it is not made smaller than this."""
    side = min(shape.size.width, shape.size.height)
    return side, side


def _stretches(path: Path, shape: Shape) -> Iterator[Frames]:
    """A video from its beginning to its end, a few seconds at a time."""
    count, first = 16, 0
    while True:
        clip = untrusted.read_span(path, shape.fps, _least(shape), first, count)
        if len(clip.frames):
            yield clip.frames
        if len(clip.frames) < count:
            return
        first += count
        count = max(16, BYTES // clip.frames[0].size)


def _parts(frames: list[Frames], first: int, shot: int, shape: Shape, more: bool) -> Iterator[Piece]:
    """What is left of a shot: whole clips, and what remains, with as many frames as latent steps hold.

    A shot that is too short is a part, too; what is too short behind other parts of the shot (more) is none.
    """
    while frames:
        whole = min(shape.frames, 1 + (len(frames) - 1) // GROUP * GROUP)
        count = whole if whole >= shape.least else len(frames)
        if more and count < shape.least:
            return
        more = True
        yield Piece(first, shot, np.stack(frames[:count]))
        if count < shape.frames:
            return  # behind it is less than a latent step holds
        frames, first = frames[count:], first + count


class _Detector:
    """PySceneDetect, frame by frame."""

    def __init__(self, shape: Shape) -> None:
        try:
            from scenedetect import FrameTimecode
            from scenedetect.detectors import AdaptiveDetector
        except ImportError:
            raise UserError("cutting needs PySceneDetect, which is not installed",
                            'pip install "tenku[ingest]"') from None
        self._time, self._fps = FrameTimecode, shape.fps
        self._detector = AdaptiveDetector(min_scene_len=shape.least)
        self._count = 0

    def cut(self, frame: Frames) -> int:
        """The number of the frame with which a new scene begins, if there one was found up to this frame; else 0."""
        import cv2

        wide = max(16, SEEN * frame.shape[1] // max(frame.shape[:2])) // 2 * 2
        small = cv2.resize(frame, (wide, max(16, wide * frame.shape[0] // frame.shape[1])),
                           interpolation=cv2.INTER_AREA)
        found = self._detector.process_frame(self._time(self._count, self._fps), small[:, :, ::-1])
        self._count += 1
        return int(found[0].frame_num) if found else 0


def inside(frames: Frames) -> tuple[slice, slice]:
    """Rows and columns of T H W 3 that are no bars: what is black and even, as much on both sides, in all frames."""
    luma = frames[:: max(1, len(frames) // 5)].mean(-1)
    rows = (luma.std(2).max(0) > EVEN) | (luma.mean(2).max(0) > DARK)
    columns = (luma.std(1).max(0) > EVEN) | (luma.mean(1).max(0) > DARK)
    return _from_to(rows), _from_to(columns)


def _from_to(seen: np.ndarray) -> slice:
    """All but what is not seen on both sides; a night's sky is on one."""
    there = np.flatnonzero(seen)
    bar = min(int(there[0]), len(seen) - 1 - int(there[-1])) if len(there) else 0
    return slice(bar, len(seen) - bar)


def fitted(frames: Frames, size: Size) -> Frames:
    """Pictures T H W 3 scaled so that they cover a size, and what stands out left away on both sides."""
    import cv2

    height, width = frames.shape[1:3]
    scale = max(size.width / width, size.height / height)
    wide, high = max(size.width, round(width * scale)), max(size.height, round(height * scale))
    left, top = (wide - size.width) // 2, (high - size.height) // 2
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = [cv2.resize(frame, (wide, high), interpolation=way) for frame in frames]
    return np.stack(scaled)[:, top : top + size.height, left : left + size.width]
