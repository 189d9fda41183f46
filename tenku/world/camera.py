"""Where the camera is and how it moves, by the nine words of the grammar.

A pose is camera-to-world, 4 x 4, in OpenGL's convention: the columns are the camera's right (+x), up (+y) and
backward (+z) axes in the world, then its position in metres. The undisturbed camera looks along world +y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOV = np.radians(40.0)  # vertical angle of view


@dataclass(frozen=True)
class Track:
    """A camera move over `seconds`."""

    move: str  # of grammar.CAMERAS
    target: tuple[float, float, float]  # what it looks at, metres
    distance: float  # from the target, metres
    height: float  # above the ground, metres
    yaw: float  # radians around the target, positive to the camera's right
    swing: float  # radians: the whole turn of an orbit or a pan
    seconds: float

    def pose(self, t: float, shift: np.ndarray) -> np.ndarray:
        """Camera-to-world at time t (seconds). `shift` (3, metres) is how far the followed subject has come."""
        s = float(np.clip(t / self.seconds, 0.0, 1.0))
        target, distance, height, yaw = np.array(self.target), self.distance, self.height, self.yaw
        turn = 0.0
        if self.move in ("orbit left", "orbit right"):
            yaw += self.swing * (0.5 - s) * (1 if self.move == "orbit left" else -1)
        elif self.move in ("pan left", "pan right"):
            turn = self.swing * (s - 0.5) * (1 if self.move == "pan left" else -1)
        elif self.move == "dolly in":
            distance *= 1.38 - 0.56 * s
        elif self.move == "dolly out":
            distance *= 0.82 + 0.56 * s
        elif self.move == "crane up":
            height = 0.45 + 2.35 * s
        elif self.move == "follow":
            target = target + shift
            height = height + float(shift[2])
        eye = target + np.array([np.sin(yaw) * distance, -np.cos(yaw) * distance, 0.0])
        eye[2] = height
        return look_at(eye, target, turn)


def look_at(eye: np.ndarray, target: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """Camera-to-world [4, 4] of a level camera at `eye` that looks at `target`, turned left by `turn` radians."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward)
    c, s = np.cos(turn), np.sin(turn)
    forward = np.array([c * forward[0] - s * forward[1], s * forward[0] + c * forward[1], forward[2]])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(right, forward), -forward, eye
    return pose


def intrinsics(width: int, height: int) -> dict[str, float]:
    """Pinhole parameters in pixels: x = cx + fx X / Z, y = cy + fy Y / Z with Z forward and Y down."""
    f = height / 2 / np.tan(FOV / 2)
    return {"fx": float(f), "fy": float(f), "cx": width / 2, "cy": height / 2}


def project(points: np.ndarray, pose: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """World points [N, 3] to pixels [N, 2] (x right, y down, origin at the top left corner) and depth [N] (metres)."""
    k = intrinsics(width, height)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = -local[:, 2]
    safe = np.maximum(depth, 1e-6)
    pixels = np.stack([k["cx"] + k["fx"] * local[:, 0] / safe, k["cy"] - k["fy"] * local[:, 1] / safe], axis=1)
    return pixels, depth
