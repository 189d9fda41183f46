"""What carries things: the ground those that cannot fly, a rope those that swing. Dreamt motion is put right by it.

The network of motion dreams how heights change, and errors of changes add up: what has jumped comes down on nothing, or
through the ground. Wherever such a thing is lowest, or keeps its height, the ground carries it; it is put there, and
what is aloft between two such moments flies as gravity lets it. What hangs on a rope has but one number that is free,
the rope's angle, and that swings as a pendulum does.

Legend: M samples of motion, STATE numbers of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tenku.model.motion import PARTS
from tenku.world import mentions
from tenku.world.grammar import FLYERS, MEASURES
from tenku.world.motion import CAMERA, THING
from tenku.world.scenery import BEAM, EARTH_GRAVITY, GRAVITY, rope_of

KEEPS = 0.12  # metres a second: what changes less keeps its height, but at the top of a flight
HOP = 0.08  # metres above the ground: what gets higher flies
TOP = 0.02  # metres by which that is above the mean of what is APART seconds before and after it
APART = 0.5
SLACK = 0.05  # of a thing's height: how much nearer to the ground than its hull a thing lies that has fallen over
HULL = 1.3  # most things lack the corners of their box: of its sides' reaches downwards the norm of this power
SLOWER = (0.85, 0.9, 0.95, 1.0)  # than a pendulum that swings little: one of 60 degrees is 7 % slower
EDGED, ROUND = ("cube",), ("ball",)  # all of whose box is filled; whose ellipsoid


@dataclass(frozen=True)
class Body:
    """What of a thing touches the ground, or how long the rope is that it hangs on."""

    subject: str
    half: tuple[float, float, float]  # metres: half its length, width and height
    gravity: float  # metres a second squared
    rope: float | None = None  # metres, from the beam to its middle

    def reach(self, rows: np.ndarray, at: int) -> np.ndarray:
        """How far, M metres, its lowest point is below its middle, its numbers beginning at `at`."""
        front, left = (_unit(rows[:, i : i + 3]) for i in (at + 4, at + 7))
        down = np.stack([front[:, 2], left[:, 2], np.cross(front, left)[:, 2]], 1)
        power = 2.0 if self.subject in ROUND else 1.0 if self.subject in EDGED else HULL
        return ((np.abs(down) * self.half) ** power).sum(1) ** (1 / power)

    def slack(self, rows: np.ndarray, at: int) -> np.ndarray:
        """By how much, M metres, that may be too far."""
        if self.subject in (*EDGED, *ROUND):
            return np.zeros(len(rows))
        up = np.cross(_unit(rows[:, at + 4 : at + 7]), _unit(rows[:, at + 7 : at + 10]))[:, 2]
        return SLACK * 2 * self.half[2] * np.sqrt(np.clip(1 - up**2, 0, 1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-6)


def bodies(texts: Sequence[str], motion: float = 1.0) -> list[Body | None]:
    """The things that the first text names, as far as ground or rope must carry them; none where water may.

    motion: how many times as much as usual moves, and so how many times as strong gravity is.
    """
    told = mentions.told(texts, None)
    if told.place in ("open sea", "coral reef", None):
        return []
    found: list[Body | None] = []
    gravity = motion * GRAVITY.get(told.place, EARTH_GRAVITY)
    for number, thing in enumerate(told.things if motion > 0 else ()):
        measures = thing.newcomer.measures if thing.newcomer else MEASURES[thing.subject]
        high, long, wide = (thing.height / measures[0] * metres / 2 for metres in measures)
        swings = number == 0 and told.swing
        other = (number == 0 and mentions.stacked(texts[0])) or thing.like in (*FLYERS, "fish")
        rope = rope_of(2 * high) if swings else None
        found.append(None if other and not swings else Body(thing.subject, (long, wide, high), gravity, rope))
    return found


def carried_by(rows: np.ndarray, some: Sequence[Body | None], since: int, every: float) -> np.ndarray:
    """A motion M STATE (plain: metres) whose bodies touch the ground where they must, or hang on a rope that keeps its
    length, from sample `since` on. every: seconds between samples.

    Its first PARTS samples are of one moment: clips begin with a still.
    """
    rows, still = rows.copy(), PARTS - 1
    for k, body in enumerate(some[: (rows.shape[1] - CAMERA) // THING]):
        at = CAMERA + k * THING
        if body is None or not (rows[:, at] > 0.5).all() or len(rows) - max(since, still) < 3:
            continue
        if body.rope:
            angle = np.arctan2(rows[still:, at + 1], BEAM - rows[still:, at + 3])
            angle = _swung(angle, body.rope, max(since - still, 0), every)
            rows[since:, at + 1 : at + THING] = _hung(np.r_[np.full(still, angle[0]), angle][since:], body.rope)
        else:
            reach, slack = (numbers[still:] for numbers in (body.reach(rows, at), body.slack(rows, at)))
            high = _carried(rows[still:, at + 3], reach, slack, max(since - still, 0), body.gravity, every)
            rows[since:, at + 3] = np.r_[np.full(still, high[0]), high][since:]
    return rows


def _carried(high: np.ndarray, reach: np.ndarray, slack: np.ndarray, since: int, gravity: float,
             every: float) -> np.ndarray:
    """Heights M of a thing's middle, put right from sample `since` on."""
    gap = high - reach
    step = np.diff(gap)
    before, after = np.r_[step[:1], step], np.r_[step, step[-1:]]
    lowest = (before < 0) & (after >= 0)
    lowest[-1] = before[-1] < 0 and gap[-1] < -before[-1] / 2
    keeps = np.maximum(np.abs(before), np.abs(after)) < KEEPS * every
    keeps &= ~_tops(gap, max(1, round(APART / every)))
    if since and keeps[since - 1]:  # where it is known to be is its ground
        reach, gap = reach + gap[since - 1], gap - gap[since - 1]
    # between two samples a thing can have been down and up again
    most = np.where(keeps, 0.0, np.maximum(np.abs(before), np.abs(after)) / 2)
    put = np.clip(gap, -slack, most) - gap
    down = lowest | keeps
    beside = np.abs(step) < KEEPS * every
    down |= np.r_[False, down[:-1] & beside] | np.r_[down[1:] & beside, False]
    down = np.flatnonzero(down & (np.arange(len(gap)) >= since))
    if since:  # goes on from where it is
        down, put = np.r_[since - 1, down], np.where(np.arange(len(gap)) < since, 0.0, put)
    if not len(down):
        return high
    found = high + np.interp(np.arange(len(gap)), down, put[down])
    for start, end in pairwise([-1, *down, len(gap)]):
        _fly(found, reach, start, end, gravity * every**2)
    found = np.maximum(found, reach - slack)
    return np.where(np.arange(len(gap)) < since, high, found)


def _fly(high: np.ndarray, reach: np.ndarray, start: int, end: int, fall: float) -> None:
    """Between two samples that are on the ground, or outside of the clip, gravity alone moves what is aloft: `fall`
    metres a sample more from each to the next.

    It gets as high as was dreamt, unless time is too short for that; the rest of the time it is on the ground.
    """
    first, last = max(start, 0), min(end, len(high) - 1)
    falls, rises = start < 0, end >= len(high)
    if (falls and rises) or last - first < 2 or (high - reach)[first : last + 1].max() < HOP:
        return
    there = slice(first, last + 1)
    t = np.arange(last - first + 1.0)
    if falls:
        path = high[there] - high[first] + fall * t**2 / 2  # a straight line, if it flies as it should
        most = np.sqrt(2 * fall * (high[there].max() - high[first]))
        flown = high[first] + min(float(path @ t / (t @ t)), path[-1] / t[-1], most) * t - fall * t**2 / 2
    else:
        low = high[start] if rises else (high[start] + high[end]) / 2
        top = float(high[there].max()) - low
        top = top if rises else min(top, fall * t[-1] ** 2 / 8)
        half = np.sqrt(2 * max(top, 0.0) / fall)
        flown = low + top - fall * (t - np.clip(high[there].argmax(), half, np.inf if rises else t[-1] - half)) ** 2 / 2
    high[there] = np.maximum(flown, reach[there])


def _swung(angle: np.ndarray, length: float, since: int, every: float) -> np.ndarray:
    """The nearest swing, in radians, to angles M of a rope: a sine of a pendulum's frequency, slower if it goes far."""
    best, least = angle, np.inf
    for share in SLOWER:
        phase = np.arange(len(angle)) * every * share * np.sqrt(EARTH_GRAVITY / length)
        basis = np.stack([np.cos(phase), np.sin(phase)], 1)
        swing = basis @ np.linalg.lstsq(basis, angle, rcond=None)[0]
        if (error := float(np.square(swing - angle).sum())) < least:
            best, least = swing, error
    return best if since == 0 else best + (angle - best)[since - 1]


def _hung(angle: np.ndarray, length: float) -> np.ndarray:
    """Poses M 9 of what hangs on the middle of a beam along x, at angles M of its rope."""
    sine, cosine, zero = np.sin(angle), np.cos(angle), np.zeros(len(angle))
    return np.stack([length * sine, zero, BEAM - length * cosine, cosine, zero, sine, zero, zero + 1, zero], 1)


def _tops(gap: np.ndarray, apart: int) -> np.ndarray:
    padded = np.pad(gap, apart, mode="edge")
    return gap - (padded[: len(gap)] + padded[2 * apart :]) / 2 > TOP
