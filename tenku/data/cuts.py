"""Parts of clips that lie askew to the codec's strides: what they show is new to who knows the whole clip by heart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tenku.world.camera import FOV


@dataclass(frozen=True)
class Cut:
    """Which part of a clip is looked at: of its frames, from one on, perhaps backwards, and of its picture a window."""

    first: int
    frames: int
    back: bool
    top: int
    left: int
    height: int
    width: int

    def of(self, frames: Tensor) -> Tensor:
        """B F ... -> the frames of the cut."""
        kept = frames[:, self.first : self.first + self.frames]
        return kept.flip(1) if self.back else kept

    def view(self, height: int, width: int, side: int) -> Tensor:
        """What model/motion.py calls a view, of a picture of that size in tokens of `side` pixels: 3."""
        pixel = 2 * math.tan(FOV / 2) / height
        right, up = self.left + self.width / 2 - width / 2, height / 2 - self.top - self.height / 2
        return torch.tensor([side, right, up]) * pixel


def cut(draw: np.random.Generator, frames: int, height: int, width: int, stride: tuple[int, int, int]) -> Cut:
    """A cut that lies askew to the codec's strides, a stride smaller where a clip has more than one."""
    time, *sides = stride
    first = int(draw.integers(time)) if frames > time else 0
    (high, top), (wide, left) = ((n - side, int(draw.integers(side))) if n > side else (n, 0)
                                 for n, side in zip((height, width), sides, strict=True))
    kept = 1 + (frames - 1 - first) // time * time
    return Cut(first, kept, bool(draw.random() < 0.5), top, left, high, wide)
