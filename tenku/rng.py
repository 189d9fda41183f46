"""Random streams: the only source of randomness in the project.

A stream is named, not shared: `stream(7, "noise", 3)` is the same numbers whatever else was drawn before,
in whichever process, so a clip never depends on batch size, worker count or the order of work.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _key(seed: int, names: tuple[str | int, ...]) -> int:
    text = "\x1f".join([str(int(seed)), *(f"{type(n).__name__}:{n}" for n in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator keyed by the seed and the names (Philox, a counter-based generator)."""
    return np.random.Generator(np.random.Philox(key=_key(seed, names)))


def normal(shape: tuple[int, ...], seed: int, *names: str | int) -> torch.Tensor:
    """Standard normal float32 noise of the given shape, drawn on the CPU from `stream(seed, *names)`."""
    import torch

    return torch.from_numpy(stream(seed, *names).standard_normal(shape, dtype=np.float32))
