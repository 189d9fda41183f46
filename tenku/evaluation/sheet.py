"""Contact sheets: clips as rows of frames under their labels, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenku.types import Clip

Picture = npt.NDArray[np.uint8]  # H W 3, sRGB, 0..255

PAPER, INK = (24, 24, 27), (228, 228, 231)  # sRGB
GAP = 2  # pixels between pictures
FONT = 11  # pixels, height of the labels' letters


def strip(clips: Sequence[Clip], labels: Sequence[str], frames: int = 5, scale: int = 2) -> Picture:
    """A row per clip: its label above, below it `frames` frames evenly spaced from the first to the last.

    Every pixel becomes a block of `scale` x `scale`. Clips may differ in size and length: a clip of fewer
    frames shows each once, and rows are as wide as the widest. Raises ValueError for no clips, for a number
    of labels that differs, or for `frames` or `scale` below 1.
    """
    if not clips or len(clips) != len(labels):
        raise ValueError(f"{len(clips)} clips and {len(labels)} labels: one label each, at least one clip")
    if frames < 1 or scale < 1:
        raise ValueError(f"frames and scale must be 1 or more, not {frames} and {scale}")
    rows = [_row(clip, frames, scale) for clip in clips]
    width = max(row.shape[1] for row in rows)
    parts = []
    for row, label in zip(rows, labels, strict=True):
        paper = np.full((row.shape[0], width, 3), PAPER, np.uint8)
        paper[:, : row.shape[1]] = row
        parts += [_label(label, width), paper]
    return np.concatenate(parts)


def _row(clip: Clip, frames: int, scale: int) -> Picture:
    count = len(clip.frames)
    picks = np.linspace(0, count - 1, min(frames, count)).round().astype(int)
    big = clip.frames[picks].repeat(scale, 1).repeat(scale, 2)
    gap = np.full((big.shape[1], GAP, 3), PAPER, np.uint8)
    parts = [part for picture in big for part in (picture, gap)]
    return np.concatenate(parts[:-1], 1)


def _label(text: str, width: int) -> Picture:
    """The text on as many lines as `width` pixels demand."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT)
    lines = _wrap(text, width - 2 * GAP, font)
    step = FONT + 4
    image = Image.new("RGB", (width, step * len(lines) + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((GAP, GAP + number * step), line, fill=INK, font=font)
    return np.asarray(image)


def _wrap(text: str, width: int, font: Any) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
