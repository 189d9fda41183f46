"""What stands around the stage in each place, as plain numbers: trees, dunes, palms, towers, craters, corals.

Drawn from a seed alone, so whoever paints a scene can be told of it, with MuJoCo or without (landmarks.py builds it).
A landmark's row of LANDMARK numbers: 1 if it is there, x, y, z of its foot (metres), half its width and its height
(logs of metres), which of its place's kinds it is (KINDS of them, 1 for the one that it is), how it leans or looks to
the right, and its colour before light. All 0: not there, or not said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tenku.rng import stream

RGB = tuple[float, float, float]
LANDMARKS = 14  # most that a place has, and a swing's frame
KINDS = 4  # most that a place has
LANDMARK = 6 + KINDS + 4
HAND = 6 + KINDS
BEAM, POSTS = 2.08, 1.75  # metres: how high the beam is that swings hang from, and half of what is between its posts
WOOD: RGB = (0.36, 0.24, 0.14)  # of both
GRAVITY, EARTH_GRAVITY = {"moon": 1.62, "coral reef": 2.2}, 9.81  # m/s2; under water what is left after buoyancy
CRESTS, ROLL, HEAVE = 2.3, 0.9, 1.3  # of a sea's swell: metres from wave to wave, metres and radians a second
Draw = np.random.Generator


@dataclass(frozen=True)
class Landmark:
    """One of them. Its foot is at x, y, z."""

    kind: int  # 0 to KINDS - 1, each place has its own
    x: float  # metres
    y: float
    wide: float  # metres, half of what is seen
    high: float  # metres
    rgb: RGB  # 0..1, most of it
    hand: float = 1.0  # -1..1
    z: float = 0.0
    more: tuple[float, ...] = ()  # what else building it takes


def rope_of(height: float) -> float:
    """Metres from the beam to the middle of what hangs and is that high."""
    return BEAM - 0.14 - height / 2


def landmarks(place: str, seed: int) -> list[Landmark]:
    """What stands around the stage of a scene of that seed. Raises KeyError for a place that is none."""
    return _DRAWN[place](stream(seed, "landmarks"))


def told(place: str | None, seed: int | None, *, swing: bool = False) -> np.ndarray:
    """The landmarks as numbers, float32 [LANDMARKS, LANDMARK]; zeros without a place or a seed.

    The last one is the frame of a swing, where something swings; it is of no kind, and the same in all places.
    """
    rows = np.zeros((LANDMARKS, LANDMARK), np.float32)
    for row, one in zip(rows, landmarks(place, seed) if place and seed is not None else (), strict=False):
        row[:6] = 1, one.x, one.y, one.z, np.log(one.wide), np.log(one.high)
        row[6 + one.kind] = 1
        row[HAND:] = one.hand, *one.rgb
    if swing:
        rows[-1, :6] = 1, 0, 0, 0, np.log(POSTS), np.log(BEAM)
        rows[-1, HAND + 1 :] = WOOD
    return rows


def _arc(rng: Draw, count: int, near: float, far: float, spread: float = 1.15) -> list[tuple[float, float]]:
    """Places on an arc beyond the stage: spread evenly in angle with jitter, between two distances.

    Neither an orbiting nor a dollying camera passes there, and nothing on the stage (about four metres wide) can run
    into what stands there.
    """
    slots = (np.arange(count) + rng.uniform(0.15, 0.85, count)) / count * 2 - 1
    distances = rng.uniform(near, far, count)
    return [
        (float(np.sin(a * spread) * r), float(np.cos(a * spread) * r)) for a, r in zip(slots, distances, strict=True)
    ]


def _meadow(rng: Draw) -> list[Landmark]:
    trees = []
    for x, y in _arc(rng, 5, 7.0, 12.0):
        s = float(rng.uniform(0.9, 1.4))
        trees.append(Landmark(0, x, y, s, 2.35 * s, (0.17, 0.43, 0.14), more=(s,)))
    return trees + [Landmark(1, x, y, 0.35, 0.32, (0.22, 0.48, 0.13)) for x, y in _arc(rng, 6, 3.6, 6.5)]


def _desert(rng: Draw) -> list[Landmark]:
    found = []
    for x, y in _arc(rng, 4, 9.0, 16.0):
        wide, high = float(rng.uniform(3, 5)), float(rng.uniform(0.9, 1.5))
        found.append(Landmark(0, x, y, wide, high, (0.90, 0.68, 0.38)))
    for x, y in _arc(rng, 4, 5.2, 9.0):
        s = float(rng.uniform(0.9, 1.3))
        side = 1.0 if rng.random() < 0.5 else -1.0
        found.append(Landmark(1, x, y, 0.5 * s, 1.6 * s, (0.24, 0.46, 0.22), side, more=(s,)))
    return found


def _snow(rng: Draw) -> list[Landmark]:
    firs = []
    for x, y in _arc(rng, 6, 5.5, 11.0):
        s = float(rng.uniform(0.9, 1.5))
        firs.append(Landmark(0, x, y, 0.75 * s, 1.95 * s, (0.12, 0.34, 0.24), more=(s,)))
    return firs + [Landmark(1, x, y, 0.9, 0.25, (0.90, 0.93, 0.97)) for x, y in _arc(rng, 4, 4.0, 8.0)]


def _beach(rng: Draw) -> list[Landmark]:
    edge = float(rng.uniform(4.6, 5.6))
    found = [Landmark(1, 0.0, edge, 90.0, 0.3, (0.10, 0.46, 0.64))]  # where the sea begins
    side = 1.0 if rng.random() < 0.5 else -1.0
    for turn, r in ((0.50, 5.4), (-0.62, 6.2), (0.95, 6.5)):
        a = turn * side + float(rng.uniform(-0.08, 0.08))
        x, y = float(np.sin(a) * r), float(np.cos(a) * r * 0.8)
        lean = float(rng.uniform(-0.3, 0.3))
        turn = float(rng.uniform(0, 1))
        found.append(Landmark(0, x, y, 0.9, 2.0, (0.14, 0.46, 0.16), lean / 0.3, more=(lean, turn)))
    return found


def _open_sea(rng: Draw) -> list[Landmark]:
    """The swell is the stage's, since it moves; here only a far island."""
    a = float(rng.uniform(-0.5, 0.5))
    return [Landmark(0, float(np.sin(a) * 26), float(np.cos(a) * 26), 5.0, 2.0, (0.28, 0.40, 0.29))]


_WALLS: tuple[RGB, ...] = (
    (0.72, 0.50, 0.42), (0.78, 0.72, 0.60), (0.56, 0.60, 0.68), (0.66, 0.64, 0.62), (0.80, 0.62, 0.46)
)  # fmt: skip


def _city(rng: Draw) -> list[Landmark]:
    found = []
    x = -13.0 + float(rng.uniform(-1, 0))
    while x < 13:
        wide = float(rng.uniform(1.2, 2.1))
        tall = float(rng.uniform(1.6, 4.6))
        rgb = _WALLS[int(rng.integers(len(_WALLS)))]
        y = 9.2 + float(rng.uniform(0, 0.8))
        found.append(Landmark(0, x + wide, y, wide, 2 * tall, rgb, more=(tall,)))
        x += 2 * wide + float(rng.uniform(0.1, 0.7))
    for lamp in (-3.4 + float(rng.uniform(-0.5, 0.5)), 3.6 + float(rng.uniform(-0.5, 0.5))):
        found.append(Landmark(1, lamp, 3.4, 0.2, 2.4, (1.0, 0.92, 0.62)))
    return found


def _moon(rng: Draw) -> list[Landmark]:
    found = []
    for x, y in _arc(rng, 7, 3.4, 12.0):
        r = float(rng.uniform(0.6, 1.5))
        found.append(Landmark(0, x, y, r, 0.2 * r, (0.30, 0.30, 0.32)))
    for x, y in _arc(rng, 5, 5.0, 10.0):
        s = float(rng.uniform(0.25, 0.6))
        found.append(Landmark(1, x, y, s, 0.8 * s, (0.42, 0.42, 0.44)))
    a = float(rng.uniform(0.12, 0.42)) * (1 if rng.random() < 0.5 else -1)
    earth = Landmark(2, float(np.sin(a) * 34), float(np.cos(a) * 34), 2.0, 4.0, (0.16, 0.40, 0.86), z=4.4)
    return [*found, earth]


_CORALS: tuple[RGB, ...] = (
    (0.95, 0.42, 0.45), (0.98, 0.62, 0.25), (0.72, 0.35, 0.75), (0.95, 0.80, 0.35), (0.95, 0.55, 0.70)
)  # fmt: skip


def _reef(rng: Draw) -> list[Landmark]:
    found = []
    for x, y in _arc(rng, 6, 3.4, 6.5, 1.0):
        s, rgb = float(rng.uniform(0.7, 1.25)), _CORALS[int(rng.integers(len(_CORALS)))]
        if rng.random() < 0.6:
            ends = tuple(float(rng.uniform(0.6, 1.0)) * s for _ in range(3))
            found.append(Landmark(0, x, y, 0.5 * s, max(ends), rgb, more=(s, *ends)))
        else:
            found.append(Landmark(1, x, y, 0.5 * s, 0.65 * s, rgb, more=(s,)))
    for x, y in _arc(rng, 4, 3.8, 7.0, 0.9):
        tall = float(rng.uniform(1.2, 2.2))
        found.append(Landmark(2, x, y, 0.12, tall, (0.18, 0.53, 0.29)))
    return found + [Landmark(3, x, y, 0.9, 0.5, (0.42, 0.44, 0.46)) for x, y in _arc(rng, 3, 4.5, 8.0)]


_DRAWN: dict[str, Callable[[Draw], list[Landmark]]] = {
    "meadow": _meadow, "desert": _desert, "snow": _snow, "beach": _beach, "open sea": _open_sea,
    "city street": _city, "moon": _moon, "coral reef": _reef,
}  # fmt: skip
