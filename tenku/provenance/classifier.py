"""Was this made by a Tenku model? A small network looks at the pictures alone: no mark, no signature, no store.

It looks at single moments, three frames in a row: what is in the middle one, what changes, and what is finer than its
neighbourhood. Its answer is evidence only: docs/classifier.md has its error rates. training/classifier.py makes the
weights; here they are read and used with numpy, so that `verify` needs no torch.

Legend: T frames, S moments, H W pixels, C channels.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenku.errors import UserError

if TYPE_CHECKING:
    from tenku.media import Frames

Floats = npt.NDArray[np.float32]

BUNDLED = Path(__file__).parent / "classifier.safetensors"
MOMENTS = 6  # of a clip that are looked at
PIXELS = 128 * 80  # of a picture; one of half as many more is made as small
PLANES = 12  # numbers of each pixel: colours, changes from the frame before and to the one after, what is fine
LEAST = 24  # pixels of a side, below which nothing can be told
LOUD = 4.0  # by which changes and fine structure are made stronger
STRIDES = (2, 1, 2, 1, 1, 2, 1, 1)  # of the 3x3 convolutions, one after the other; then the mean and the deviation
WIDTHS = {"tiny": (8, 8, 12, 12, 12, 16, 16, 16), "nano": (64, 64, 96, 96, 96, 128, 128, 128)}  # channels after each


@dataclass(frozen=True)
class Opinion:
    """What the network makes of a clip."""

    says: str  # "made", "cannot tell" or "other"
    probability: float  # that a Tenku model made it, if before looking either were as likely; calibrated
    score: float  # the mean logit of its moments, as it is; nan where there is nothing to look at

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        score = None if math.isnan(self.score) else round(self.score, 3)
        return {"says": self.says, "probability": round(self.probability, 4), "score": score}


UNSEEN = Opinion("cannot tell", 0.5, math.nan)


def moments(frames: Frames) -> Frames:
    """Up to MOMENTS times three frames in a row, S 3 H W 3, evenly over the clip; large pictures made smaller."""
    count = min(MOMENTS, max(1, len(frames) - 2))
    middle = np.linspace(1, max(1, len(frames) - 2), count).round().astype(int)
    picks = np.clip(middle[:, None] + np.arange(-1, 2), 0, len(frames) - 1)
    needed, where = np.unique(picks, return_inverse=True)
    return _smaller(frames[needed])[where.reshape(picks.shape)]


def _smaller(frames: Frames) -> Frames:
    height, width = frames.shape[1:3]
    scale = math.sqrt(PIXELS / (height * width))
    if scale > math.sqrt(1 / 1.5):
        return frames
    from PIL import Image

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames])


def planes(seen: Frames) -> Floats:
    """What the network is given of moments, S 3 H W 3 -> S H W PLANES, each about -1 to 1."""
    before, now, after = (seen[:, i].astype(np.float32) / 127.5 - 1 for i in range(3))
    padded = np.pad(now, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return np.concatenate([now, (now - before) * LOUD, (after - now) * LOUD, (now - around) * LOUD], -1)


class Classifier:
    """The network, with how its score is to be read."""

    def __init__(self, tensors: dict[str, Floats], facts: dict[str, float]) -> None:
        self.tensors = tensors
        self.slope, self.offset = facts["slope"], facts["offset"]  # score -> log odds
        self.made, self.other = facts["made"], facts["other"]  # scores from which, and up to which, it says so

    def scores(self, frames: Frames) -> Floats:
        """The logit of every moment of a clip, S."""
        return np.concatenate([self.logits(planes(one[None])) for one in moments(frames)])

    def logits(self, x: Floats) -> Floats:
        """S H W PLANES -> S."""
        for number, stride in enumerate(STRIDES):
            x = _convolved(x, self.tensors[f"{number}.weight"], self.tensors[f"{number}.bias"], stride)
        pooled = np.concatenate([x.mean((1, 2)), x.std((1, 2))], -1)
        return (pooled @ self.tensors["last.weight"].T + self.tensors["last.bias"])[:, 0]

    def look(self, frames: Frames) -> Opinion:
        """What it makes of the frames of a clip, T H W 3; of a picture, where T is 1."""
        if min(frames.shape[1:3]) < LEAST or int(frames.max()) - int(frames.min()) < LEAST:
            return UNSEEN
        return self.read(float(self.scores(frames).mean()))

    def read(self, score: float) -> Opinion:
        """What a score says."""
        odds = max(-50.0, min(50.0, self.slope * score + self.offset))
        says = "made" if score >= self.made else "other" if score <= self.other else "cannot tell"
        return Opinion(says, 1 / (1 + math.exp(-odds)), score)


def _convolved(x: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """A 3x3 convolution and what of it is positive: S H W C, O C 3 3 -> S H/stride W/stride O."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::stride, ::stride]
    found = patches.reshape(*patches.shape[:3], -1) @ weight.reshape(len(weight), -1).T
    return np.maximum(found + bias, 0, out=found)


@lru_cache(maxsize=1)
def load(path: Path = BUNDLED) -> Classifier:
    """The network of a file, the bundled one by default. Raises UserError where it is missing or of another kind."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        return Classifier(tensors, json.loads(header["reading"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path.name} is missing, or no classifier of this version",
                        "reinstall tenku, or give what `tenku train classifier` wrote") from None
