"""The nouns that every part shares.

Legend: T frames, H height, W width (pixels); C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Clip:
    """Pictures in time. An image is a clip of one frame."""

    frames: npt.NDArray[np.uint8]  # T H W 3, sRGB, 0..255
    fps: float  # frames per second, > 0

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], not {self.frames.dtype} {self.frames.shape}")
        if not self.fps > 0:
            raise ValueError(f"fps must be positive, not {self.fps}")

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.frames.shape[2], self.frames.shape[1]


@dataclass(frozen=True)
class Size:
    """What a clip measures: `Size.parse("128x80")`."""

    width: int  # pixels
    height: int  # pixels

    @classmethod
    def parse(cls, text: str) -> Size:
        """Reads "WIDTHxHEIGHT". Raises ValueError for anything else."""
        width, sep, height = text.lower().partition("x")
        if not sep or not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
            raise ValueError(f"size must look like 128x80, not {text[:40]!r}")
        return cls(int(width), int(height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
