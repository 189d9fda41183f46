"""Which frames of a clip are drawn, because something is seen to move, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NOTICED = 0.5  # pixels: what moves less from one frame to another is drawn once for both


def steps(moved: Callable[[int], Tensor], frames: int, least: int) -> Tensor:
    """Frames from the first to the last, K, between which nothing is seen to move, or which are `least` apart."""
    found = [0]
    while found[-1] < frames - 1:
        last = found[-1]
        gone = (moved(last)[last + 1 :] > NOTICED).nonzero()
        still = last + int(gone[0]) if len(gone) else frames - 1
        found.append(min(max(last + least, still // least * least), frames - 1))
    return torch.tensor(found)


def sides(at: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the frames `at` are next to each of some frames, before and after it, or both itself."""
    return torch.searchsorted(at, frames, right=True) - 1, torch.searchsorted(at, frames)


def around(at: Tensor, frames: Tensor) -> Tensor:
    """Those of the frames `at` that are next to any of some frames."""
    return at[torch.cat(sides(at, frames)).unique()]


def between(keys: Tensor, at: Tensor, frames: Tensor) -> Tensor:
    """What is known at the frames `at`, K ..., at each of some frames, N ..., evenly from one to the next."""
    left, right = sides(at, frames)
    share = (frames - at[left]) / (at[right] - at[left]).clamp(min=1)
    return torch.lerp(keys[left], keys[right], share.view(-1, *[1] * (keys.ndim - 1)))
