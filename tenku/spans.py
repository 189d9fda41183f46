"""Stretches of videos, each decoded by itself: footage is longer than what may lie in memory, or be decoded at once."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np

from tenku.errors import UserError
from tenku.media import MAX_DECODED_PIXELS, Frames, reduced, rgb
from tenku.types import Clip


def decode_span(
    file: BinaryIO, kind: str, fps: float, least: tuple[int, int], first: int, count: int
) -> Clip:
    """What `media.read_at` would show at a rate of `fps` from frame number `first` on: at most `count` frames.

    Fewer where the video ends, none behind its end. kind: as `media.sniff` names it, not of a picture. least: width and
    height as for `read_at`. Raises UserError for a broken or foreign file.
    """
    import av

    shown = None
    try:
        for seek in (True, False) if first and kind != "gif" else (False,):
            file.seek(0)
            with av.open(file, format=kind, metadata_errors="ignore") as source:
                if not source.streams.video or source.streams.video[0].codec_context is None:
                    raise UserError("the file holds no pictures that can be read", "give a file with a video stream")
                shown = _shown(source, fps, least, first, count, seek=seek)
            if shown is not None:
                break
    except UserError:
        raise
    except (av.error.FFmpegError, EOFError, ValueError, OverflowError, MemoryError):
        raise UserError("the video is broken", "try to open it in a player") from None
    if not shown and first == 0:
        raise UserError("the video holds no frame", "try to open it in a player")
    return Clip(np.stack(shown) if shown else np.zeros((0, 1, 1, 3), np.uint8), fps)


def _shown(
    source: Any, fps: float, least: tuple[int, int], first: int, count: int, *, seek: bool
) -> list[Frames] | None:
    """The frames; None where the container, asked to seek, leads behind the first of them."""
    video = source.streams.video[0]
    rate = float(video.average_rate or 25)
    begin = float(video.start_time * video.time_base) if video.start_time is not None else 0.0
    if seek:
        source.seek(int((begin + first / fps) / video.time_base), stream=video)  # to the keyframe before
    shown: list[Frames] = []
    last, number, pixels, now = None, 0, 0, 0.0

    def until(time: float) -> None:
        """What came last is shown until then."""
        missing = min(count, math.ceil(time * fps - 1e-3) - first) - len(shown)
        if missing > 0 and last is not None:
            picture = reduced(np.rot90(rgb(last, None), round(last.rotation / 90)), least)
            if shown and picture.shape != shown[0].shape:
                picture = rgb(last, shown[0].shape)
            shown.extend([picture] * missing)

    for frame in source.decode(video=0):
        pixels += frame.width * frame.height
        if pixels > MAX_DECODED_PIXELS:
            raise UserError("the video is too long for its size", "cut it into parts")
        if seek and (frame.time is None or (last is None and (frame.time - begin) * fps > first + 1e-3)):
            return None
        now = frame.time - begin if frame.time is not None else number / rate
        until(now)
        if len(shown) == count:
            return shown
        last, number = frame, number + 1
    until(now + 1 / rate)
    return shown
