"""Where a clip's camera was: the told things are filmed in the world itself until the picture looks the same.

A network that reads cameras knows the moves that it was trained on, and of a crane that does not tilt it says nothing;
this asks the world's own renderer, which no network has seen.

Legend: M moments, 5 numbers of a camera: x y z (metres), yaw to the right, pitch upwards (radians).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.sampling.control import axes
from tenku.world.grammar import Scene
from tenku.world.motion import CAMERA, THING

NUDGES = np.array([0.04, 0.04, 0.04, 0.012, 0.012])  # by which a camera is moved to see what changes
POOLS = (8, 4, 2)  # pixels that are averaged, coarse to fine
ROUNDS = 8  # steps at each of them, at most
ROBUST = 0.08  # of a range of 1: a pixel that differs by more is a thing that looks otherwise


class Survey:
    """A scene of which the world's own pictures can be taken from anywhere. A context manager, as Renderer is.

    Raises UserError where MuJoCo or EGL is missing.
    """

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        try:
            import mujoco

            from tenku.world.render import OVER, Renderer
            from tenku.world.stage import build
        except ImportError:
            raise UserError("the world cannot be filmed: MuJoCo is missing", "pip install 'tenku[world]'") from None
        stage = build(scene, 2.0, width / height, (width * OVER, height * OVER), 16.0)
        self.bodies = [actor.body for actor in stage.actors]
        self.model, self.data, self.mujoco = stage.model, mujoco.MjData(stage.model), mujoco
        self.renderer = Renderer(stage, width, height)

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *error: Any) -> None:
        self.renderer.__exit__(*error)

    def place(self, row: np.ndarray) -> None:
        """Puts the things where a row of motion (plain units) says that they are."""
        for k, body in enumerate(self.bodies):
            thing = row[CAMERA + k * THING :][:THING]
            turned = np.stack([thing[4:7], thing[7:10], np.cross(thing[4:7], thing[7:10])], 1)
            quaternion = np.empty(4)
            self.mujoco.mju_mat2Quat(quaternion, turned.ravel())
            mocap, joint = self.model.body_mocapid[body], self.model.body_jntadr[body]
            if mocap >= 0:
                self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = thing[1:4], quaternion
            else:
                at = self.model.jnt_qposadr[joint]
                self.data.qpos[at : at + 7] = [*thing[1:4], *quaternion]
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def picture(self, camera: np.ndarray) -> np.ndarray:
        """What a camera (5) sees: H W 3 in 0..1."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = axes(camera[None])[0], camera[:3]
        return self.renderer.picture(self.data, pose) / 255.0

    def film(self, rows: np.ndarray) -> np.ndarray:
        """The world's pictures of M rows of motion: uint8 M H W 3."""
        taken = []
        for row in rows:
            self.place(row)
            taken.append(np.rint(self.picture(row[:CAMERA]) * 255).astype(np.uint8))
        return np.stack(taken)

    def cameras(self, frames: np.ndarray, rows: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The cameras M 5 of M frames, uint8 M H W 3, whose things are where M rows of motion (plain units) say.

        start: the first camera, roughly; each next one is looked for from where the last was found, and from where it
        would be if it went on as it did.
        """
        found = [start.astype(np.float64)]
        for frame, row in zip(frames, rows, strict=True):
            self.place(row)
            starts = [found[-1], 2 * found[-1] - found[-2]] if len(found) > 2 else [found[-1]]
            found.append(min((self.find(frame, one) for one in starts), key=lambda pair: pair[1])[0])
        return np.stack(found[1:])

    def find(self, frame: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
        """The camera (5) whose picture is most like a frame, uint8 H W 3, looked for from `start` on, and how unlike.

        Gauss-Newton with numeric derivatives and robust weights, coarse to fine.
        """
        camera = start
        for pool in POOLS:
            wanted = _pooled(frame / 255.0, pool)
            damping, (now, off) = 1e-2, self._off(camera, wanted, pool)
            for _ in range(ROUNDS):
                slopes = np.stack([(self._off(camera + nudge, wanted, pool)[0] - now) for nudge in np.diag(NUDGES)], 1)
                weight = 1 / (1 + (now / ROBUST) ** 2)
                square = slopes.T @ (weight[:, None] * slopes)
                step = -np.linalg.solve(square + damping * np.diag(np.diag(square) + 1e-9), slopes.T @ (weight * now))
                moved = camera + np.clip(step, -8, 8) * NUDGES
                then, less = self._off(moved, wanted, pool)
                if less >= off:
                    damping *= 10
                    if damping > 1e3:
                        break
                    continue
                gained = off - less
                camera, now, off, damping = moved, then, less, damping / 5
                if gained < 1e-4 * off:
                    break
        return camera, off

    def _off(self, camera: np.ndarray, wanted: np.ndarray, pool: int) -> tuple[np.ndarray, float]:
        error = (_pooled(self.picture(camera), pool) - wanted).ravel()
        return error, float(np.log1p((error / ROBUST) ** 2).mean())


def _pooled(picture: np.ndarray, pool: int) -> np.ndarray:
    high, wide = (n // pool for n in picture.shape[:2])
    return picture[: high * pool, : wide * pool].reshape(high, pool, wide, pool, 3).mean((1, 3))
