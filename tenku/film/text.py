"""Words on pictures: titles and captions, in the face that Pillow carries within itself.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

import textwrap

import numpy as np

FADE = 0.25  # of a title's time: how long it comes, and how long it goes


def card(text: str, size: tuple[int, int], frames: int) -> np.ndarray:
    """A title in white on black that comes and goes: T H W 3. size: height and width."""
    ink = _ink(text, size, middle=True)
    part = np.linspace(0, 1, frames)
    light = np.clip(np.minimum(part, 1 - part) / FADE, 0, 1)
    return (light[:, None, None, None] * ink[None, :, :, None] * 235).round().astype(np.uint8).repeat(3, 3)


def captioned(frames: np.ndarray, text: str) -> np.ndarray:
    """Frames T H W 3 with a line at the bottom, white with a dark rim; the same frames where there is none."""
    if not text:
        return frames
    ink = _ink(text, frames.shape[1:3], middle=False)
    rim = np.max([np.roll(ink, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 0)
    dark = frames * (1 - 0.75 * rim[None, :, :, None])
    return (dark + (245 - dark) * ink[None, :, :, None]).round().astype(np.uint8)


def _ink(text: str, size: tuple[int, int], *, middle: bool) -> np.ndarray:
    """Coverage 0..1, H W, of words that are wrapped to fit."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = size
    points = max(8, round(height / (8 if middle else 10)))
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(points)
    letters = max(4, int(width * 0.9 / max(1.0, draw.textlength("n", font=font))))
    words = "\n".join(textwrap.wrap(text, letters))
    at, anchor = ((width / 2, height / 2), "mm") if middle else ((width / 2, height * 0.95), "md")
    draw.multiline_text(at, words, fill=255, font=font, anchor=anchor, align="center")
    return np.asarray(picture, np.float64) / 255
