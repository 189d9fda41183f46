"""What a clip of ours shows, as its manifest holds it: words, seeds and motion, from which its sketch can be drawn.

Who goes on from such a clip need not guess how it moves. It is believed where its sketch is like the pictures
(sampling/known.py), so a forged one says only what is to be seen anyway.

Legend: M samples of motion, STATE numbers of each, in metres and radians (world/motion.py).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.inputs import number
from tenku.types import Clip
from tenku.world.motion import STATE

FADE = 0.5  # seconds in which one caption gives way to the next
MOST = 16  # captions, and motions
LONGEST = 1 << 14  # samples of a motion
FARTHEST = 1e4  # metres, radians, seconds
FINE = 1000.0  # a metre or radian is kept to the thousandth


@dataclass(frozen=True)
class Said:
    """What is to be seen from some time on."""

    start: float  # seconds
    text: str
    rest: str  # the text that says what this one leaves open
    scenery: int | None = None  # seed of what stands around and of what no text says; None: pictures show it
    world: int = 0  # which of the clip's motions it follows
    fade: float = FADE  # seconds in which it takes over, around its start
    clock: float = 0.0  # seconds at which wings began to beat

    def later(self, seconds: float, worlds: int = 0) -> Said:
        """The same, so much later, after so many other motions."""
        return replace(self, start=self.start + seconds, clock=self.clock + seconds, world=self.world + worlds)


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything that a clip's pictures follow from but noise."""

    every: float  # seconds from one sample of motion to the next
    said: tuple[Said, ...]  # from its beginning on, in the order of time
    worlds: tuple[np.ndarray, ...]  # M STATE each

    def at(self, world: int, seconds: np.ndarray) -> np.ndarray:
        """A motion at some times K: K STATE. Before its beginning it came as it goes on; after its end it rests."""
        samples, when = self.worlds[world], np.asarray(seconds) / self.every
        low = np.floor(when).clip(0, max(0, len(samples) - 2)).astype(int)
        share = (when.clip(-1, len(samples) - 1) - low)[:, None]
        return samples[low] + share * (samples[np.minimum(low + 1, len(samples) - 1)] - samples[low])

    def part(self, first: float, last: float) -> Shown:
        """What is shown from some second to another."""
        count = max(1, round((last - first) / self.every) + 1)
        moments = first + self.every * np.arange(count)
        heard = [one for i, one in enumerate(self.said) if one.start - one.fade / 2 < last
                 and (i + 1 == len(self.said) or self.said[i + 1].start + self.said[i + 1].fade / 2 > first)]
        return Shown(self.every, tuple(one.later(-first) for one in heard or self.said[-1:]),
                     tuple(self.at(world, moments) for world in range(len(self.worlds))))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: a few hundred characters a second."""
        rows = [np.diff((world * FINE).round().astype(np.int32), axis=0, prepend=0) for world in self.worlds]
        return {"every": self.every, "said": [asdict(one) for one in self.said],
                "motion": [base64.b64encode(zlib.compress(one.astype("<i4").tobytes(), 9)).decode() for one in rows]}

    @classmethod
    def from_json(cls, values: object) -> Shown | None:
        """The inverse of `to_json`; None for what is none, whoever wrote it."""
        if not isinstance(values, Mapping):
            return None
        try:
            found, worlds = [Said(**one) for one in values["said"]], [_rows(text) for text in values["motion"]]
            every = number(values["every"], "every", 1e-3, 1)
        except (KeyError, TypeError, ValueError, OverflowError, zlib.error, UserError):
            return None
        sound = 1 <= len(found) <= MOST and 1 <= len(worlds) <= MOST and all(_sound(one, len(worlds)) for one in found)
        return cls(every, tuple(found), tuple(worlds)) if sound else None


@dataclass(frozen=True)
class Placed:
    """A given clip of which is said what it shows, and the frame with which it begins."""

    clip: Clip
    first: int
    shown: Shown

    @property
    def stop(self) -> int:
        """One past its last frame."""
        return self.first + len(self.clip.frames)


def shares(said: Sequence[Said], seconds: np.ndarray) -> np.ndarray:
    """How much each says at each time T, adding up to one: M T. One gives way to the next smoothly around its start."""
    part = np.stack([((seconds - one.start) / max(one.fade, 1e-6) + 0.5).clip(0, 1) for one in said])
    begun = part * part * (3 - 2 * part)
    begun[0] = 1.0
    begun = np.minimum.accumulate(begun)
    return begun - np.concatenate([begun[1:], np.zeros_like(begun[:1])])


def _rows(text: str) -> np.ndarray:
    """Reads one motion. Raises ValueError and others for what is none."""
    unpack = zlib.decompressobj()
    data = unpack.decompress(base64.b64decode(text, validate=True), 4 * STATE * LONGEST)
    samples = np.cumsum(np.frombuffer(data, "<i4").reshape(-1, STATE), 0, dtype=np.int64) / FINE
    if not unpack.eof or not len(samples) or np.abs(samples).max() > FARTHEST:
        raise ValueError("no motion")
    return samples


def _sound(one: Said, worlds: int) -> bool:
    texts = all(isinstance(text, str) and 1 <= len(text) <= 2000 for text in (one.text, one.rest))
    seed = one.scenery is None or (type(one.scenery) is int and 0 <= one.scenery < 2**63)
    times = all(isinstance(n, int | float) and abs(n) < FARTHEST for n in (one.start, one.fade, one.clock))
    return texts and seed and times and type(one.world) is int and 0 <= one.world < worlds
