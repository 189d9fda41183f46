"""What is true of a clip, measured from the simulation: cameras, poses, boxes, visibility, contacts, deeds.

`done` lists what each thing provably did, by thresholds on its own trajectory and contacts; captions may say
nothing else. Units: metres, seconds, radians, pixels; quaternions are w x y z.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from tenku.world.camera import intrinsics, project
from tenku.world.flow import flow_between
from tenku.world.grammar import HITS, MOVES
from tenku.world.parts import SOLID_GROUP
from tenku.world.stage import Actor, Stage, rope

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


def _ball_points() -> np.ndarray:
    """Unit vectors all around, dense enough that a projected sphere's box is right to 1 %."""
    z = np.linspace(-1, 1, 13)
    turn = np.arange(16) * 2 * np.pi / 16
    ring = np.sqrt(1 - z**2)
    return np.array([(r * np.cos(a), r * np.sin(a), h) for h, r in zip(z, ring, strict=True) for a in turn])


_SPHERE = _ball_points()


def _rim(radius: float, half: float) -> np.ndarray:
    turn = np.arange(20) * 2 * np.pi / 20
    return np.array([(radius * np.cos(a), radius * np.sin(a), h) for h in (-half, half) for a in turn])


def _surface(model: Any, geom: int) -> np.ndarray:
    """Points [N, 3] whose hull is the geom's, in its own frame (metres)."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    types = mujoco.mjtGeom
    if kind == types.mjGEOM_BOX:
        return _CORNERS * size
    if kind == types.mjGEOM_SPHERE:
        return _SPHERE * size[0]
    if kind == types.mjGEOM_ELLIPSOID:
        return _SPHERE * size
    if kind == types.mjGEOM_CYLINDER:
        return _rim(size[0], size[1])
    if kind == types.mjGEOM_CAPSULE:
        return _SPHERE * size[0] + np.sign(_SPHERE[:, 2:]) * [0, 0, size[1]]
    mesh = model.geom_dataid[geom]
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    return np.asarray(model.mesh_vert[first : first + count], dtype=np.float64)


class Touches:
    """Contacts as episodes: who, when, for how long, with what impulse. Brief gaps (30 ms) do not end one."""

    GAP = 0.03

    def __init__(self, stage: Stage) -> None:
        model = stage.model
        self._step = float(model.opt.timestep)
        owner = {actor.body: k for k, actor in enumerate(stage.actors)}
        roots = model.body_rootid[model.geom_bodyid]
        self._owner = np.array([owner.get(int(r), -1) for r in roots])  # -1: the ground
        self.episodes: list[dict[str, Any]] = []
        self._open: dict[tuple[int, int], dict[str, Any]] = {}

    def note(self, data: Any, time: float) -> None:
        """Adds the contacts of the step that ended at `time`."""
        pairs, rows = data.contact.geom, data.contact.efc_address
        forces = data.efc_force
        sums: dict[tuple[int, int], float] = {}
        for pair, row in zip(pairs, rows, strict=True):
            if row >= 0:
                a, b = sorted((int(self._owner[pair[0]]), int(self._owner[pair[1]])))
                sums[a, b] = sums.get((a, b), 0.0) + float(forces[row]) * self._step
        for key, impulse in sums.items():
            episode = self._open.get(key)
            if episode is None or time - episode["end"] > self.GAP:
                episode = {"a": key[0], "b": key[1], "start": time - self._step, "end": time, "impulse": 0.0}
                self._open[key] = episode
                self.episodes.append(episode)
            episode["end"] = time
            episode["impulse"] += impulse

    def facts(self) -> list[dict[str, Any]]:
        """Rounded for JSON; "ground" stands for -1."""
        name = {-1: "ground"}
        return [
            {"a": name.get(e["a"], e["a"]), "b": e["b"], "start": round(e["start"], 4), "end": round(e["end"], 4),
             "impulse": round(e["impulse"], 4)}
            for e in self.episodes
        ]  # fmt: skip


class Record:
    """Collects per-frame truth while a clip is drawn."""

    def __init__(self, stage: Stage, width: int, height: int, arrays: bool) -> None:
        self.stage, self.width, self.height, self.arrays = stage, width, height, arrays
        model = stage.model
        self._points = [[(g, _surface(model, g)) for g in actor.geoms] for actor in stage.actors]
        self._bodies = [set(actor.geoms) for actor in stage.actors]
        self._groups = np.array([1, 1, 1, int(SOLID_GROUP > 3), 1, 1], np.uint8)
        self.cameras: list[np.ndarray] = []
        self.poses: list[list[np.ndarray]] = [[] for _ in stage.actors]
        self.boxes: list[list[list[float] | None]] = [[] for _ in stage.actors]
        self.visible: list[list[float]] = [[] for _ in stage.actors]
        self._truth: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def frame(self, data: Any, pose: np.ndarray, renderer: Any) -> None:
        """Notes one frame, whose poses are up to date in `data`."""
        self.cameras.append(pose)
        for k, actor in enumerate(self.stage.actors):
            origin, turn = self._origin(actor, data)
            self.poses[k].append(np.concatenate([origin, turn]))
            box, seen = self._seen(k, data, pose)
            self.boxes[k].append(box)
            self.visible[k].append(seen)
        if self.arrays:
            depth, ids = renderer.truth(data, pose)
            self._truth.append((depth, ids, data.geom_xpos.copy(), data.geom_xmat.copy()))

    def _origin(self, actor: Actor, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """The middle of a thing (a swing's body begins at its beam, so the middle hangs below it)."""
        position = data.xpos[actor.body].copy()
        if hasattr(actor.law, "angle"):
            position += data.xmat[actor.body].reshape(3, 3) @ [0, 0, -rope(actor.thing)]
        return position, data.xquat[actor.body].copy()

    def _seen(self, k: int, data: Any, pose: np.ndarray) -> tuple[list[float] | None, float]:
        """The box of a thing [x0, y0, x1, y1] inside the picture (None when outside) and its visible fraction.

        The fraction is of rays from the camera to points all over the thing: those inside the picture that
        meet the thing before anything else.
        """
        model = self.stage.model
        clouds = [p @ data.geom_xmat[g].reshape(3, 3).T + data.geom_xpos[g] for g, p in self._points[k]]
        points = np.concatenate(clouds)
        pixels, depth = project(points, pose, self.width, self.height)
        if not (depth > 0.1).all():
            keep = depth > 0.1
            if not keep.any():
                return None, 0.0
            pixels = pixels[keep]
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        clip_low = np.clip(low, 0, (self.width, self.height))
        clip_high = np.clip(high, 0, (self.width, self.height))
        if (clip_high - clip_low).min() <= 0:
            return None, 0.0
        box = [round(float(v), 2) for v in (*clip_low, *clip_high)]
        # A dozen points of each geom, shrunk towards its middle so that rays meet the surface and not its rim.
        picked = [(cloud.mean(axis=0), cloud[:: max(1, len(cloud) // 12)]) for cloud in clouds]
        targets = np.concatenate([middle + 0.9 * (cloud - middle) for middle, cloud in picked])
        spots, away = project(targets, pose, self.width, self.height)
        inside = (spots >= 0).all(axis=1) & (spots < (self.width, self.height)).all(axis=1) & (away > 0.1)
        if not inside.any():
            return box, 0.0
        eye, found, hits = pose[:3, 3].copy(), np.full(1, -1, np.int32), 0
        for ray in targets[inside] - eye:  # mj_multiRay would be one call, but it misses thin geoms
            mujoco.mj_ray(model, data, eye, ray, self._groups, 1, -1, found)
            hits += int(found[0]) in self._bodies[k]
        return box, round(hits / len(targets), 3)

    def finish(self, touches: Touches, fps: float) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All facts as JSON, and the arrays."""
        stage = self.stage
        contacts = touches.facts()
        things = []
        for k, actor in enumerate(stage.actors):
            poses = np.array(self.poses[k])
            things.append({
                "subject": actor.thing.subject, "colour": actor.thing.colour, "size": actor.thing.size,
                "action": actor.thing.action, "height": round(2 * actor.centre, 3),
                "poses": np.round(poses, 4).tolist(), "boxes": self.boxes[k], "visible": self.visible[k],
                "done": deeds(k, actor, poses, contacts, self.cameras[0], stage.scene.place),
            })  # fmt: skip
        facts = {
            "scene": stage.scene.to_json(),
            "width": self.width, "height": self.height, "frames": len(self.cameras), "fps": fps,
            "intrinsics": {key: round(v, 3) for key, v in intrinsics(self.width, self.height).items()},
            "cameras": [np.round(pose, 4).tolist() for pose in self.cameras],
            "things": things,
            "relations": relations(stage, [np.array(p) for p in self.poses], self.cameras[0]),
            "contacts": contacts,
        }  # fmt: skip
        return facts, self._arrays() if self.arrays else {}

    def _arrays(self) -> dict[str, np.ndarray]:
        label = np.zeros(self.stage.model.ngeom + 1, np.uint8)
        for k, geoms in enumerate(self._bodies):
            label[list(geoms)] = k + 1
        flows = [
            flow_between(self._truth[i], self._truth[i + 1], self.cameras[i], self.cameras[i + 1])
            for i in range(len(self._truth) - 1)
        ]
        height, width = self._truth[0][0].shape
        return {
            "depth": np.stack([t[0] for t in self._truth]),
            "mask": np.stack([label[t[1]] for t in self._truth]),
            "flow": np.stack(flows) if flows else np.zeros((0, height, width, 2), np.float32),
        }


def deeds(k: int, actor: Actor, poses: np.ndarray, contacts: list[dict[str, Any]],
          camera: np.ndarray, place: str) -> list[str]:  # fmt: skip
    """What thing k provably did, in words of the grammar and a few more ("falls", "in the air", "tumbles").

    `poses` is [T, 7]; left and right, near and away are the initial camera's. Short clips prove little.
    """
    position, action = poses[:, :3], actor.thing.action
    right, back = camera[:3, 0], camera[:3, 2] * (1, 1, 0)
    back = back / np.linalg.norm(back)
    done = []
    moved = position[-1] - position[0]
    sideways, away = float(moved @ right), float(-(moved @ back))
    floor = position[:, 2] - actor.centre
    grounded = [c for c in contacts if c["a"] == "ground" and c["b"] == k]
    if len(poses) == 1:
        aloft = action in (*MOVES, "jumps", "bounces", "flies across", "takes off") and place != "coral reef"
        return ["in the air"] if floor[0] > 0.3 and aloft else []
    if action in MOVES or action == "flies across":
        along = {"left": -sideways, "right": sideways, "away": away, "near": -away}
        direction = max(along, key=lambda word: along[word])
        if along[direction] > 0.3 and (action == "flies across" or action == f"moves {direction}"):
            done.append(action)
            if action == "flies across" and direction in ("left", "right"):
                done.append(f"to the {direction}")
    up = 1 - 2 * (poses[:, 4] ** 2 + poses[:, 5] ** 2)  # z of the body's own up axis
    if action == "rests" and np.ptp(position, axis=0).max() < 0.25 and up.min() > 0.9:
        done.append("rests")
    if action == "bounces" and grounded and floor[0] - floor.min() > 0.3:
        done.append("falls")
        if any(c["impulse"] > 0.05 for c in grounded) and _rebound(floor) > 0.2:
            done.append("bounces")
    if action == "jumps" and np.ptp(floor) > 0.25:
        done.append("jumps")
    if action == "spins" and abs(_turned(poses)) > 1.2:
        done.append("spins")
    if action == "swings" and np.ptp(position @ right) > 0.5:
        done.append("swings")
    if action == "topples" and up[-1] < 0.6:
        done.append("topples")
    if action == "floats" and np.ptp(position[:, 2]) > 0.03:
        done.append("floats")
    if action == "takes off" and moved[2] > 0.4:
        done.append("takes off")
    struck = [c for c in contacts if k in (c["a"], c["b"]) and c["a"] != "ground" and c["impulse"] > 0.05]
    if struck and action in ("is hit", HITS):
        done.append(action)
    if action == "is hit" and struck and up.min() < 0.5:
        done.append("tumbles")
    return done


def _rebound(floor: np.ndarray) -> float:
    """Metres that the lowest point rises again after the first time it was near its lowest."""
    first = int(np.argmax(floor < floor.min() + 0.15))
    return float(floor[first:].max() - floor[first:].min())


def _turned(poses: np.ndarray) -> float:
    """Total turn about the world's z axis, radians, from [T, 7] poses (w x y z at 3:7)."""
    w, x, y, z = poses[:, 3:7].T
    yaw = np.unwrap(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    return float(yaw[-1] - yaw[0])


def relations(stage: Stage, poses: list[np.ndarray], camera: np.ndarray) -> list[dict[str, Any]]:
    """The scene's relations that hold, in the initial camera's eyes, in the first frame and in 80 % of all."""
    right, back = camera[:3, 0], camera[:3, 2] * (1, 1, 0)
    held = []
    for relation in stage.scene.relations:
        apart = poses[relation.a][:, :3] - poses[relation.b][:, :3]
        sideways, behind, above = apart @ right, -(apart @ back), apart[:, 2]
        true = {
            "left of": sideways < -0.15,
            "right of": sideways > 0.15,
            "behind": behind > 0.25,
            "in front of": behind < -0.25,
            "on top of": (above > 0.3) & (np.hypot(apart[:, 0], apart[:, 1]) < 0.6),
        }[relation.kind]
        if true[0] and true.mean() >= 0.8:
            held.append({"a": relation.a, "kind": relation.kind, "b": relation.b})
    return held
