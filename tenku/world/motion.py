"""Motion: where the camera and the things are in every frame, as plain numbers; and what the things are.

A clip's motion is what remains of it when all looks are taken away: the camera's place and direction, and for each
of up to three things whether it is there, where it is, and how it is turned. It is read
off the facts, so it is exact; a network that has seen many learns to invent it from words (training/motion.py), and
the one that paints is told it. What the things are needs no inventing: a prompt says it (world/mentions.py).

A frame's row of STATE numbers, all in the world, so that what rests is the same number again whatever the camera does;
each is scaled to be of the order of one:
camera    x, y, z (metres), yaw to the right, pitch upwards (radians)
thing k   1 if it is there, x, y, z of its middle (metres), and the first two columns of its rotation (front is +x)

A thing's row of LOOKS numbers: which subject it is and which colour it has (1 for the one that it is, else 0; in the
grammar's order), and the log of its height (metres, in units of HEIGHT_SPREAD). All 0: not there, or not said. A
clip's row of SETTING numbers says likewise which place and which light it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tenku.world.grammar import COLOURS, LIGHTS, PLACES, SUBJECTS

THINGS = 3
CAMERA, THING = 5, 10
STATE = CAMERA + THINGS * THING
LOOKS = len(SUBJECTS) + len(COLOURS) + 1
SETTING = len(PLACES) + len(LIGHTS)
HEIGHT_SPREAD = 0.3  # of the log of a thing's height
STILL_AT = 0.9  # seconds into the action at which a still picture is taken
NEAREST = 0.3  # metres: what is nearer, or behind the camera, counts as this far

# Subtracted and divided by, so that the numbers of `tenku world make` have mean 0 and deviation 1, roughly.
_CAMERA_MIDDLE, _CAMERA_SPREAD = (0.0, -3.8, 1.35, 0.0, -0.1), (1.2, 0.9, 0.5, 0.3, 0.12)
_THING_MIDDLE = (0.0, 0.0, 0.15, 0.6, *[0.0] * 6)
_THING_SPREAD = (1.0, 0.7, 0.6, 0.3, *[0.6] * 6)
MIDDLE = np.array([*_CAMERA_MIDDLE, *_THING_MIDDLE * THINGS], np.float32)
SPREAD = np.array([*_CAMERA_SPREAD, *_THING_SPREAD * THINGS], np.float32)
# What a mirror does: left and right change places, and every thing is its own mirror image across its front axis.
_MIRROR = (-1, 1, 1, -1, 1, *(1, -1, 1, 1, -1, 1, 1, 1, -1, -1) * THINGS)
MIRROR = np.array(_MIRROR, np.float32)


def states(facts: dict[str, Any]) -> np.ndarray:
    """The motion of a clip from its facts: float32 [frames, STATE]. Things after the third are left out."""
    cameras = np.array(facts["cameras"], np.float64)  # T 4 4
    found = np.zeros((len(cameras), STATE))
    forward = -cameras[:, :3, 2]
    found[:, :3] = cameras[:, :3, 3]
    found[:, 3] = np.arctan2(forward[:, 0], forward[:, 1])
    found[:, 4] = np.arcsin(np.clip(forward[:, 2], -1, 1))
    for k, thing in enumerate(facts["things"][:THINGS]):
        poses = np.array(thing["poses"], np.float64)  # T 7
        turned = rotations(poses[:, 3:])
        at = CAMERA + k * THING
        found[:, at] = 1.0
        found[:, at + 1 : at + 4] = poses[:, :3]
        found[:, at + 4 : at + 7], found[:, at + 7 : at + 10] = turned[:, :, 0], turned[:, :, 1]
    scaled = (found - MIDDLE) / SPREAD
    for k in range(len(facts["things"]), THINGS):
        scaled[:, CAMERA + k * THING : CAMERA + (k + 1) * THING] = 0.0
    return scaled.astype(np.float32)


def clock(facts: dict[str, Any]) -> np.ndarray:
    """When each frame of a clip was taken, seconds from the start of the action: float32 [frames]."""
    frames = len(facts["cameras"])
    times = [frame / facts["fps"] for frame in range(frames)] if frames > 1 else [STILL_AT]
    return np.array(times, np.float32)


def looks(
    things: Iterable[tuple[str | None, str | None, float | None]], codes: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """What things are, each a subject, a colour and a height in metres where known: float32 [THINGS, LOOKS].

    Things after the third are left out. codes: what stands for subjects that are not of the grammar
    (`newcomers.Newcomer.code`).
    """
    found = np.zeros((THINGS, LOOKS), np.float32)
    for row, (subject, colour, height) in zip(found, things, strict=False):
        if codes and subject is not None and subject in codes:
            row[: len(SUBJECTS)] = codes[subject]
        elif subject is not None:
            row[SUBJECTS.index(subject)] = 1
        if colour is not None:
            row[len(SUBJECTS) + list(COLOURS).index(colour)] = 1
        if height is not None:
            row[-1] = np.log(height) / HEIGHT_SPREAD
    return found


def setting(place: str | None, light: str | None) -> np.ndarray:
    """Place and light, each where known, as numbers: float32 [SETTING]."""
    found = np.zeros(SETTING, np.float32)
    if place is not None:
        found[PLACES.index(place)] = 1
    if light is not None:
        found[len(PLACES) + LIGHTS.index(light)] = 1
    return found


def rotations(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices [T, 3, 3] of unit quaternions w x y z [T, 4]."""
    w, x, y, z = quaternions.T
    rows = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]  # fmt: skip
    return np.moveaxis(np.array(rows), 2, 0)
