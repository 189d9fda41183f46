"""Small moving pictures for the tests of media and provenance: no model and no renderer needed."""

from __future__ import annotations

import numpy as np

from tenku import rng
from tenku.media import Frames


def scene(frames: int = 17, width: int = 128, height: int = 80, seed: int = 0) -> Frames:
    """A ball rolls over a checkered floor under a plain sky, as rendered worlds look: [T, H, W, 3]."""
    draw = rng.stream(seed, "test scene")
    sky, light, dark, ball = draw.integers(30, 225, (4, 3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    horizon = 0.35 * height
    depth = 8 / np.maximum(y - horizon, 1)
    out = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        side = ((x - width / 2) * depth / 60 + t * 0.02).astype(int) + (depth * 3).astype(int)
        picture = np.where((side % 2 == 0)[..., None], light, dark)
        picture = np.where((y < horizon)[..., None], sky, picture)
        round_ = np.hypot(x - width * (0.2 + 0.03 * t), y - height * 0.6) < height * 0.15
        out[t] = np.where(round_[..., None], ball, picture)
    return out


def texture(
    frames: int = 17, width: int = 128, height: int = 80, seed: int = 0, speed: int = 1, rough: float = 40,
) -> Frames:
    """Noise with the spectrum of photographs (amplitude 1/f), drifting: hard for a mark. [T, H, W, 3]

    speed: pixels a frame; rough: standard deviation in levels.
    """
    draw = rng.stream(seed, "test texture")
    down, across = np.fft.fftfreq(2 * height)[:, None] * height, np.fft.fftfreq(2 * width)[None] * width
    spectrum = np.fft.fft2(draw.standard_normal((2 * height, 2 * width))) / np.maximum(1, np.hypot(down, across))
    wide = np.real(np.fft.ifft2(spectrum))
    wide = 128 + rough * wide / wide.std()
    views = [np.roll(wide, t * speed, 1)[:height, :width] for t in range(frames)]
    return np.repeat(np.clip(views, 0, 255).astype(np.uint8)[..., None], 3, 3)
