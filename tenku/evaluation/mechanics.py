"""What motion obeys: gravity, steadiness, rest, energy, solid ground and solid things, deeds and relations.

Every measure takes samples of motion alone, so dreamt motion and simulated truth go the same way through it; what it
finds in truth is its floor. Bodies are those of the world's own physics.

Legend: M samples of motion, STATE numbers of each, in metres and radians (world/motion.py); K things.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.sampling.control import axes
from tenku.world.grammar import HITS, MOVES, Scene
from tenku.world.motion import CAMERA, THING
from tenku.world.scenery import BEAM, EARTH_GRAVITY, GRAVITY

FLIES = ("bounces", "jumps", "flies across")  # of free bodies: in between they are in gravity's hands
REACH = 4.0  # metres: what is farther apart is said to be so far
LEAST = 0.05  # metres a second: what is slower does not travel
TOUCH = 0.1  # metres above the ground at which a thing counts as having been there, besides what its speed allows


class Bodies:
    """A scene's things as solids that can be put anywhere. Raises UserError where MuJoCo is missing."""

    def __init__(self, scene: Scene, seconds: float, aspect: float, fps: float) -> None:
        try:
            import mujoco

            from tenku.world.parts import SOLID_GROUP
            from tenku.world.stage import build, rope
        except ImportError:
            raise UserError("truth cannot be simulated: MuJoCo is missing", "pip install 'tenku[world]'") from None
        self.scene, self.mujoco = scene, mujoco
        self.stage = build(scene, seconds, aspect, (64, 64), fps)
        self.model, self.data = self.stage.model, mujoco.MjData(self.stage.model)
        for actor in self.stage.actors:
            actor.law.begin(self.data)
        mujoco.mj_forward(self.model, self.data)
        roots = self.model.body_rootid[self.model.geom_bodyid]
        self.ground = self.model.geom("ground").id
        self.solids: list[list[tuple[int, np.ndarray, np.ndarray]]] = []  # geom, place and turn in its thing's frame
        for actor in self.stage.actors:
            turn = self.data.xmat[actor.body].reshape(3, 3)
            origin = self.data.xpos[actor.body] + turn @ [0, 0, -rope(actor.thing) if self.hangs(actor) else 0.0]
            geoms = np.flatnonzero((roots == actor.body) & (self.model.geom_group == SOLID_GROUP))
            self.solids.append([(int(g), turn.T @ (self.data.geom_xpos[g] - origin),
                                 turn.T @ self.data.geom_xmat[g].reshape(3, 3)) for g in geoms])

    @staticmethod
    def hangs(actor: Any) -> bool:
        """Whether a thing hangs on a rope."""
        return actor.thing.action == "swings"

    @property
    def free(self) -> bool:
        """Whether the main thing obeys forces, or hangs; else it follows a path."""
        return not hasattr(self.stage.actors[0].law, "mocap")

    @property
    def gravity(self) -> float:
        """Metres a second squared."""
        return GRAVITY.get(self.scene.place, EARTH_GRAVITY)

    def gaps(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far things M K are from the ground, and the nearest two of them from each other, M: metres, negative
        where they are inside."""
        ground = np.full((len(rows), len(self.solids)), REACH)
        others = np.full(len(rows), REACH)
        for i, row in enumerate(rows):
            for k, solids in enumerate(self.solids):
                at, turn = place_of(row, k), turn_of(row, k)
                for geom, offset, own in solids:
                    self.data.geom_xpos[geom] = at + turn @ offset
                    self.data.geom_xmat[geom] = (turn @ own).ravel()
            for k, solids in enumerate(self.solids):
                ground[i, k] = min((self._apart(self.ground, geom) for geom, *_ in solids), default=REACH)
                for later in self.solids[k + 1 :]:
                    gap = min((self._apart(a, b) for a, *_ in solids for b, *_ in later), default=REACH)
                    others[i] = min(others[i], gap)
        return ground, others

    def _apart(self, a: int, b: int) -> float:
        return float(self.mujoco.mj_geomDistance(self.model, self.data, a, b, REACH, None))


def place_of(rows: np.ndarray, k: int) -> np.ndarray:
    """Where thing k is: (..., 3) of rows (..., STATE)."""
    at = CAMERA + k * THING
    return rows[..., at + 1 : at + 4]


def turn_of(rows: np.ndarray, k: int) -> np.ndarray:
    """How thing k is turned: rotations (..., 3, 3) of rows (..., STATE), columns front, left, up."""
    at = CAMERA + k * THING
    front = rows[..., at + 4 : at + 7] / np.linalg.norm(rows[..., at + 4 : at + 7], axis=-1, keepdims=True)
    left = rows[..., at + 7 : at + 10] - (rows[..., at + 7 : at + 10] * front).sum(-1, keepdims=True) * front
    left = left / np.linalg.norm(left, axis=-1, keepdims=True)
    return np.stack([front, left, np.cross(front, left)], -1)


def fastest(clear: np.ndarray, gravity: float) -> float:
    """Metres a second that a thing reaches which falls from as high as it gets; clear M."""
    return float(np.sqrt(2 * gravity * max(clear.max(), 0.05)))


def flights(clear: np.ndarray, gravity: float, every: float) -> np.ndarray:
    """The samples M of a thing at which it certainly flies, and did and will: indices of the middles of such threes.

    clear M: metres above the ground; every: seconds between samples. Between two of them it can have touched the
    ground only if it is fast enough to go down and up again, so nothing is chosen by how it accelerates.
    """
    reach = fastest(clear, gravity) * every
    aloft = (clear[:-1] + clear[1:] > reach) & (np.minimum(clear[:-1], clear[1:]) > 0.02)
    return np.flatnonzero(aloft[:-1] & aloft[1:]) + 1


def measure(bodies: Bodies, rows: np.ndarray, every: float) -> dict[str, float]:
    """Everything that can be said of a motion M STATE whose samples are `every` seconds apart; what makes no sense for
    the scene is left out.

    fall: downward acceleration in free flight, of the place's gravity; gravity: its mean error; energy: gained, of what
    there was first; speed, turning: deviation over mean of what should be steady; rest: metres
    from its place; rope: metres, deviation of its length; ground, others: metres that things are inside of the ground,
    of each other; deed: 1 where the world's own facts would say so, else 0; relation: the share of which they would.
    """
    scene, main = bodies.scene, bodies.scene.things[0]
    ground, others = bodies.gaps(rows)
    found: dict[str, float] = {}
    dry = scene.place not in ("open sea", "coral reef")
    if bodies.free and dry and main.action in FLIES:
        found |= _flying(bodies, rows, ground[:, 0], every)
    if main.action == "swings":
        found |= _swinging(bodies, rows, every)
    if main.action in MOVES:
        way = np.linalg.norm(np.diff(place_of(rows, 0)[:, :2], axis=0), axis=1)
        found["speed"] = _unsteady(way / every)
    if main.action == "spins":
        rate = np.linalg.norm(turns(rows, 0), axis=1)
        found["turning"] = _unsteady(rate / every)
    resting = [k for k, thing in enumerate(scene.things) if thing.action == "rests" and thing.subject != "fish"]
    if resting and scene.place != "open sea" and main.action not in ("is hit", HITS):
        away = [np.linalg.norm(place_of(rows, k) - place_of(rows, k)[0], axis=1).max() for k in resting]
        found["rest"] = float(max(away))
    if scene.place != "open sea":
        found["ground"] = float(max(0.0, -ground.min()))
    if len(scene.things) > 1:
        found["others"] = float(max(0.0, -others.min()))
    return found | _said(bodies, rows, ground[:, 0], every)


def _flying(bodies: Bodies, rows: np.ndarray, clear: np.ndarray, every: float) -> dict[str, float]:
    gravity, at = bodies.gravity, place_of(rows, 0)
    middles = flights(clear, gravity, every)
    if not len(middles):
        return {}
    parts = np.split(middles, np.flatnonzero(np.diff(middles) > 1) + 1)  # one flight each
    falls = np.array([_fall(at[part[0] - 1 : part[-1] + 2, 2], every) for part in parts]) / gravity
    found = {"fall": float(falls.mean()), "gravity": float(np.abs(falls - 1).mean())}
    if bodies.scene.things[0].action != "jumps" and len(middles) > 1:  # who jumps gains energy each time
        speed = (at[middles + 1] - at[middles - 1]) / (2 * every)
        energy = gravity * (at[middles, 2] - bodies.stage.actors[0].centre) + (speed**2).sum(1) / 2
        found["energy"] = float(max(0.0, energy.max() / max(energy[0], 1e-3) - 1))
    return found


def _fall(heights: np.ndarray, every: float) -> float:
    """Downward acceleration of the parabola that fits three heights or more, `every` seconds apart."""
    return float(-2 * np.polyfit(every * np.arange(len(heights)), heights, 2)[0])


def _swinging(bodies: Bodies, rows: np.ndarray, every: float) -> dict[str, float]:
    at = place_of(rows, 0)
    length = np.linalg.norm(at - (0.0, 0.0, BEAM), axis=1)
    speed = (at[2:] - at[:-2]) / (2 * every)
    height = at[1:-1, 2] - (BEAM - length.mean())
    energy = bodies.gravity * height + (speed**2).sum(1) / 2
    return {"rope": float(length.std()), "energy": float(max(0.0, energy.max() / max(energy[0], 1e-3) - 1))}


def _unsteady(speed: np.ndarray) -> float:
    return float(min(1.0, speed.std() / speed.mean())) if speed.mean() > LEAST else 1.0


def turns(rows: np.ndarray, k: int) -> np.ndarray:
    """The vectors, M - 1 3, about which, and by how many radians, thing k turns from sample to sample."""
    turn = turn_of(rows, k)
    by = turn[1:] @ turn[:-1].transpose(0, 2, 1)
    twice = np.stack([by[:, 2, 1] - by[:, 1, 2], by[:, 0, 2] - by[:, 2, 0], by[:, 1, 0] - by[:, 0, 1]], 1)
    sine, cosine = np.linalg.norm(twice, axis=1) / 2, (np.trace(by, axis1=1, axis2=2) - 1) / 2
    return np.where(sine > 1e-7, np.arctan2(sine, cosine) / np.maximum(sine, 1e-7), 1.0)[:, None] * twice / 2


def _said(bodies: Bodies, rows: np.ndarray, clear: np.ndarray, every: float) -> dict[str, float]:
    """Whether the world's own facts (world/facts.py) would say of the motion what its scene says."""
    from tenku.world import facts

    scene, stage = bodies.scene, bodies.stage
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = axes(rows[:1, :CAMERA])[0], rows[0, :3]
    poses = [_poses(rows, k, bodies.mujoco.mju_mat2Quat) for k in range(len(scene.things))]
    pairs = clear[:-1] + clear[1:] < fastest(clear, bodies.gravity) * every
    touched = bool((clear < TOUCH).any() or pairs.any())
    contacts = [{"a": "ground", "b": 0, "impulse": 1.0}] if touched else []
    done = facts.deeds(0, stage.actors[0], poses[0], contacts, view, scene.place)
    found = {"deed": float(scene.things[0].action in done)}
    if scene.relations:
        found["relation"] = len(facts.relations(stage, poses, view)) / len(scene.relations)
    return found


def _poses(rows: np.ndarray, k: int, quaternion_of: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
    """Thing k as facts have it: M 7, place and quaternion w x y z."""
    found = np.zeros((len(rows), 7))
    found[:, :3] = place_of(rows, k)
    for pose, turn in zip(found, turn_of(rows, k), strict=True):
        quaternion_of(pose[3:], turn.ravel())
    return found
