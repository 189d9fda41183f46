"""Motion that is asked for: paths of the camera and of things, turned into the numbers that the painter is told.

Motion is dreamt first (model/motion.py), so whoever wants another puts it there: at every denoising step, what the
network of motion thinks it will be is moved to the nearest that obeys. What is not asked for is left to the network,
which thus fits the rest to it. Things keep their places in the world when the camera's path is changed.

Legend: B batch, T latent steps, M samples of the motion (PARTS in each step), STATE numbers of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tenku.inputs import Pose, moves
from tenku.model.motion import AWAY, PARTS, motion_from, plain, scaled, seen, steps_of
from tenku.world.camera import FOV
from tenku.world.motion import CAMERA, NEAREST, STATE, THING, THINGS

EDGE = 0.7  # of the way from the picture's middle to its side: beyond it things turn, if they are free to
NEAR, MIDDLE, FAR = 2.0, 4.0, 8.0  # metres from the camera: at the nearest and the farthest they turn to the middle
TURN = math.pi / 6  # radians, at most, from one sample to the next
HEIGHT = 1.0  # metres: how tall a thing is of which only its box is known


def times(steps: int, seconds_per_step: float) -> np.ndarray:
    """When each sample of `steps` latent steps is seen, in seconds from the clip's first frame: M."""
    t = (np.arange(steps * PARTS) + 1) / PARTS - 1  # the first step is one frame, at 0
    return np.maximum(t, 0) * seconds_per_step


def lead(
    camera: str | Sequence[Pose], tracks: Sequence[Sequence[Sequence[float]]], clock: np.ndarray, seconds: float,
    aspect: float, first: np.ndarray | None = None, *, follows: bool = False,
) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function of samples M STATE (plain: metres, radians) that obeys camera path and tracks, or None.

    clock M: the samples' times in seconds; seconds: of the whole clip; aspect: width / height of the picture; first:
    the clip's first sample, which the camera's path starts from, if it has been dreamt already. follows: the camera
    goes where the first thing goes, if it has no path.
    """
    if not camera and not tracks and not follows:
        return None

    def obey(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        if camera:
            start = (rows if first is None else first[None])[0]
            path = _named(camera, start, clock, seconds) if isinstance(camera, str) else _keyed(camera, start, clock)
            rows[:, :CAMERA] = path
        for k, track in enumerate(tracks[:THINGS]):
            _follow(rows, CAMERA + k * THING, track, clock, seconds, aspect)
        if follows and not camera and rows[0, CAMERA] > 0.5:
            rows[:, :CAMERA] = rows[0, :CAMERA]
            rows[:, :3] += rows[:, CAMERA + 1 : CAMERA + 4] - rows[0, CAMERA + 1 : CAMERA + 4]
        return rows

    return obey


def there_and_back(rows: np.ndarray, aspect: float) -> np.ndarray:
    """A motion M STATE that ends where it begins: half of one that does not, there and, as smoothly, back.

    What is taken of it is the half that shows most: in which things are in the picture the longest. It begins on the
    way, as fast as it is on the whole: one that begins where it turns is seen to stop there.
    """
    count = len(rows) - 1
    limit = math.tan(FOV / 2) * np.array([aspect, 1.0])
    things = seen(torch.from_numpy(rows)).numpy()[:, CAMERA:].reshape(len(rows), THINGS, THING)
    out = (things[..., 0] > 0.5) & (np.abs(things[..., 1:3]) > limit).any(-1)
    first = int(np.argmin([out[i : i + count // 2 + 1].sum() for i in range(count - count // 2 + 1)]))
    at = first + (1 + np.sin(2 * np.pi * (np.arange(len(rows)) / count + 1 / 8))) / 2 * (count // 2)
    low = np.floor(at).astype(int).clip(0, count - 1)
    share = (at - low)[:, None]
    return (1 - share) * rows[low] + share * rows[low + 1]


def carried(rows: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A motion M STATE, camera and each thing moved and turned as a whole so that it ends at a sample STATE."""
    rows = rows.copy()
    rows[:, :CAMERA] += end[:CAMERA] - rows[-1, :CAMERA]
    for at in range(CAMERA, STATE, THING):
        axes_of = [np.stack([s[at + 4 : at + 7], s[at + 7 : at + 10]]) for s in (rows[-1], end)]
        last, wanted = (np.stack([a, b, np.cross(a, b)], 1) for a, b in axes_of)
        rows[:, at] = end[at]
        rows[:, at + 1 : at + 4] += end[at + 1 : at + 4] - rows[-1, at + 1 : at + 4]
        for columns in (slice(at + 4, at + 7), slice(at + 7, at + 10)):
            rows[:, columns] = rows[:, columns] @ (wanted @ last.T).T
    return rows


def settled(rows: np.ndarray, free: int, floor: np.ndarray, aspect: float) -> np.ndarray:
    """A motion M STATE in which what is there is there throughout, and things turn where they would get lost.

    The network dreams how each number changes, and of one that never does the errors add up. free: the first sample
    from which on a thing turns that goes out of the picture, too near, too far, or below its floor (metres, THINGS).
    """
    rows = rows.copy()
    limit = EDGE * math.tan(FOV / 2) * np.array([aspect, 1.0])
    for k, at in enumerate(range(CAMERA, STATE, THING)):
        rows[:, at] = rows[0, at] > 0.5
        if rows[0, at] and free < len(rows):
            _turn_home(rows, at, max(free, 1), floor[k], limit)
    return rows


def _turn_home(rows: np.ndarray, at: int, free: int, floor: float, limit: np.ndarray) -> None:
    """Lets the thing whose numbers begin at `at` go on from sample `free` on, but turn home where it gets lost."""
    steps, turned = np.diff(rows[:, at + 1 : at + 4], axis=0), 0.0
    rises = 1.0
    for i in range(free, len(rows)):
        here, view = rows[i - 1], axes(rows[i - 1 : i, :CAMERA])[0]
        spot, step = (here[at + 1 : at + 4] - here[:3]) @ view, steps[i - 1].copy()
        away = max(-spot[2], NEAREST)
        if abs(spot[0]) > limit[0] * away or not NEAR < -spot[2] < FAR:
            home = here[:2] - MIDDLE * view[:2, 2] - here[at + 1 : at + 3]
            wrong = math.atan2(home[1], home[0]) - math.atan2(step[1], step[0]) - turned
            turned += np.clip((wrong + math.pi) % (2 * math.pi) - math.pi, -TURN, TURN)
        turn = _about(turned)
        if (here[at + 3] < floor and rises * step[2] < 0) or (spot[1] > limit[1] * away and rises * step[2] > 0):
            rises = -rises
        step = np.array([*turn @ step[:2], rises * step[2]])
        rows[i, at + 1 : at + 4] = here[at + 1 : at + 4] + step
        for column in (at + 4, at + 7):
            rows[i, column : column + 2] = turn @ rows[i, column : column + 2]


def _about(angle: float) -> np.ndarray:
    """A turn to the left as seen from above."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def samples_of(motion: Tensor) -> np.ndarray:
    """A motion 1 T CHANNELS as plain samples M STATE."""
    return plain(motion[0].reshape(-1, STATE)).double().numpy()


def on_samples(motion: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Applies a change of plain samples M STATE to a motion 1 T CHANNELS."""
    changed = change(samples_of(motion))
    return scaled(torch.from_numpy(changed).float()).reshape(motion.shape)


def on_steps(change: Callable[[np.ndarray], np.ndarray], before: Tensor) -> Callable[[Tensor], Tensor]:
    """The change as the network of motion meets it: of steps 1 N CHANNELS that follow those `before`, 1 K CHANNELS."""

    def lead_steps(x: Tensor) -> Tensor:
        changed = on_samples(motion_from(torch.cat([before, x], 1)), change)
        return steps_of(changed)[:, before.shape[1] :]

    return lead_steps


def axes(camera: np.ndarray) -> np.ndarray:
    """Rotations M 3 3 of level cameras M 5 (x y z yaw pitch): columns right, up and backward in the world."""
    yaw, pitch = camera[:, 3], camera[:, 4]
    zero = np.zeros_like(yaw)
    right = np.stack([np.cos(yaw), -np.sin(yaw), zero], 1)
    back = -np.stack([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)], 1)
    return np.stack([right, np.cross(back, right), back], 2)


def _named(text: str, start: np.ndarray, clock: np.ndarray, seconds: float) -> np.ndarray:
    """Named moves from a first sample STATE, evenly over the clip: cameras M 5."""
    part = np.clip(clock / max(seconds, 1e-6), 0, 1)
    path = np.repeat(start[None, :CAMERA], len(clock), 0)
    amount = {move.rpartition(" ")[0] or move: 0.0 for move, _ in moves(text)}
    for move, by in moves(text):
        kind, _, way = move.rpartition(" ")
        amount[kind or move] = amount.get(kind or move, 0.0) + (by if way in ("right", "up", "in") else -by)
    forward = np.array([np.sin(path[0, 3]), np.cos(path[0, 3]), 0.0])
    right = np.array([forward[1], -forward[0], 0.0])
    path[:, :3] += part[:, None] * (amount.get("dolly", 0) * forward + amount.get("truck", 0) * right)
    path[:, 2] = np.maximum(path[:, 2] + part * amount.get("crane", 0), NEAREST)
    if amount.get("orbit"):
        radius = _distance(start[None])[0] if start[CAMERA] > 0.5 else math.exp(AWAY)
        angle = -part * math.radians(amount["orbit"])  # going round to the right, one looks more to the left
        centre = path[0, :3] + radius * forward
        arm = path[:, :2] - centre[:2]
        path[:, 0] = centre[0] + np.cos(angle) * arm[:, 0] + np.sin(angle) * arm[:, 1]
        path[:, 1] = centre[1] - np.sin(angle) * arm[:, 0] + np.cos(angle) * arm[:, 1]
        path[:, 3] += angle
    path[:, 3] += part * math.radians(amount.get("pan", 0))
    path[:, 4] += part * math.radians(amount.get("tilt", 0))
    return path


def _keyed(poses: Sequence[Pose], start: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Keyed poses relative to a first sample STATE, with straight lines between them: cameras M 5."""
    keys = np.array(poses, np.float64)
    at = [np.interp(clock, keys[:, 0], column) for column in keys[:, 1:].T]
    yaw = np.interp(clock, keys[:, 0], np.unwrap(np.radians(keys[:, 4])))
    offset = np.stack([at[0], at[1], -at[2]], 1) @ axes(start[None, :CAMERA])[0].T
    path = np.repeat(start[None, :CAMERA], len(clock), 0)
    path[:, :3] += offset
    path[:, 3] += yaw
    path[:, 4] = np.clip(path[:, 4] + np.radians(at[4]), -1.5, 1.5)
    return path


def _follow(rows: np.ndarray, at: int, track: Sequence[Sequence[float]], clock: np.ndarray, seconds: float,
            aspect: float) -> None:
    """Leads the thing whose numbers begin at `at` along a track, in place."""
    keys = np.array(track, np.float64)
    when = np.where(keys[:, 0] < 0, -keys[:, 0] * seconds, keys[:, 0])
    half = math.tan(FOV / 2)
    x = (2 * np.interp(clock, when, keys[:, 1]) - 1) * half * aspect
    y = (1 - 2 * np.interp(clock, when, keys[:, 2])) * half
    away = _distance(rows, at)
    if (keys[:, 3] > 0).all():
        away = np.maximum(HEIGHT / (2 * half * np.interp(clock, when, keys[:, 3])), NEAREST)
    ray = np.einsum("mij,mj->mi", axes(rows[:, :CAMERA]), np.stack([x, y, -np.ones_like(x)], 1))
    rows[:, at] = 1.0
    rows[:, at + 1 : at + 4] = rows[:, :3] + away[:, None] * ray


def _distance(rows: np.ndarray, at: int = CAMERA) -> np.ndarray:
    """How far along the view axis the thing is whose numbers begin at `at`: M, metres."""
    back = axes(rows[:, :CAMERA])[:, :, 2]
    return np.maximum(((rows[:, :3] - rows[:, at + 1 : at + 4]) * back).sum(1), NEAREST)
