"""Laws of motion: what makes a thing do its action, as initial conditions and forces, or a path where it must fly.

A law has `begin(data)`, called once, and `step(data, t)`, called before every physics step. Things on the
ground are free bodies under gravity and contact; whatever flies, swims or floats follows a smooth path (`Path`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import mujoco
import numpy as np

from tenku.world.parts import euler_quat

Pose = tuple[np.ndarray, np.ndarray]  # position (3), unit quaternion w x y z (4)
HEADING = {"left": np.pi, "right": 0.0, "away": np.pi / 2, "near": -np.pi / 2}  # yaw of a front that points there
TOWARDS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "away": (0.0, 1.0), "near": (0.0, -1.0)}  # x, y


@dataclass
class Handle:
    """Where a free body lives in MuJoCo's arrays."""

    body: int
    qpos: int  # first of 7: x y z, quaternion
    dof: int  # first of 6: velocity in the world's axes, turning in the body's
    mass: float  # kg
    gravity: float  # m/s2


class Law(Protocol):
    """What makes a thing move."""

    def begin(self, data: Any) -> None:
        """Sets position and velocity at time 0."""
        ...

    def step(self, data: Any, t: float) -> None:
        """Acts before the physics step that starts at t (seconds)."""
        ...


@dataclass
class Rest:
    """Stays where it was put, under gravity."""

    h: Handle
    pose: Pose
    velocity: tuple[float, ...] = (0, 0, 0, 0, 0, 0)  # m/s and rad/s

    def begin(self, data: Any) -> None:
        """Puts the body at its pose with its velocity."""
        data.qpos[self.h.qpos : self.h.qpos + 3] = self.pose[0]
        data.qpos[self.h.qpos + 3 : self.h.qpos + 7] = self.pose[1]
        data.qvel[self.h.dof : self.h.dof + 6] = self.velocity

    def step(self, data: Any, t: float) -> None:
        """Nothing acts but gravity and contact."""
        pass


@dataclass
class Roll(Rest):
    """A ball set rolling: its motion is contact and inertia alone."""


@dataclass
class Drive(Rest):
    """Holds a horizontal velocity with a limited force, as an engine would, and keeps its heading."""

    target: tuple[float, float] = (0.0, 0.0)  # m/s
    until: float = np.inf  # seconds; afterwards it coasts

    def step(self, data: Any, t: float) -> None:
        """Pushes towards the target velocity."""
        force = data.xfrc_applied[self.h.body]
        force[:] = 0
        if t > self.until:
            return
        v = data.qvel[self.h.dof : self.h.dof + 6]
        error = np.array(self.target) - v[:2]
        force[:2] = np.clip(error * 12.0, -15.0, 15.0) * self.h.mass
        force[5] = -v[5] * 0.6 * self.h.mass


@dataclass
class Spin(Rest):
    """Turns on the spot at a steady rate."""

    rate: float = 0.0  # rad/s

    def step(self, data: Any, t: float) -> None:
        """Holds the rate, stays upright and on the ground, which its own feet would else shoot it off on the moon."""
        v = data.qvel[self.h.dof : self.h.dof + 6]
        v[0:2] *= 0.9
        v[2] = min(v[2], 0.0)
        v[3:5] *= 0.9
        v[5] = self.rate


@dataclass
class Jump(Rest):
    """Leaps whenever it has stood for a moment; the flight is gravity's. The take-off speed comes from the height."""

    height: float = 0.7  # metres
    pause: float = 0.16  # seconds on the ground between leaps
    stood: float = 0.0

    def step(self, data: Any, t: float) -> None:
        """Leaps when it has stood long enough."""
        v = data.qvel[self.h.dof : self.h.dof + 6]
        v[3:6] *= 0.5
        on_ground = data.qpos[self.h.qpos + 2] < self.pose[0][2] + 0.02 and v[2] < 0.3
        self.stood = self.stood + data_step(data) if on_ground else 0.0
        if self.stood >= self.pause:
            v[2] = np.sqrt(2 * self.h.gravity * self.height)
            self.stood = 0.0


def data_step(data: Any) -> float:
    """The physics step of the model that `data` belongs to, in seconds."""
    return float(data.model.opt.timestep)


@dataclass
class Topple(Rest):
    """Is pushed near its top until it tips over; gravity does the rest."""

    side: float = 1.0  # -1 falls to the left, +1 to the right
    height: float = 1.0  # metres, of the thing
    half_width: float = 0.3  # metres, of its foot
    start: float = 0.15  # seconds

    def step(self, data: Any, t: float) -> None:
        """Pushes while the thing is nearly upright and slow."""
        force = data.xfrc_applied[self.h.body]
        force[:] = 0
        if t < self.start:
            return
        up = data.xmat[self.h.body].reshape(3, 3)[:, 2]
        turning = np.linalg.norm(data.qvel[self.h.dof + 3 : self.h.dof + 6])
        if up[2] > 0.55 and turning < 1.7:
            push = 1.9 * self.h.mass * self.h.gravity * self.half_width / (0.8 * self.height)
            force[0] = self.side * push
            force[4] = self.side * push * 0.35 * self.height


@dataclass
class Path:
    """A kinematic body: flies, swims or floats along `pose(t)`; flaps beat by their own clocks."""

    mocap: int
    pose_at: Callable[[float], Pose]
    flaps: list[tuple[int, float, float, float]] = field(default_factory=list)  # qpos, amplitude, offset, Hz

    def begin(self, data: Any) -> None:
        """Goes to the start of the path."""
        self.step(data, 0.0)

    def step(self, data: Any, t: float) -> None:
        """Goes to the pose of time t."""
        data.mocap_pos[self.mocap], data.mocap_quat[self.mocap] = self.pose_at(t)
        for qpos, amplitude, offset, hertz in self.flaps:
            data.qpos[qpos] = offset + amplitude * np.sin(2 * np.pi * hertz * t)


@dataclass
class Swing:
    """A pendulum on a hinge, let go from the side; the rest is gravity."""

    qpos: int
    dof: int
    angle: float  # radians at the start

    def begin(self, data: Any) -> None:
        """Pulls the pendulum aside."""
        data.qpos[self.qpos] = self.angle
        data.qvel[self.dof] = 0.0

    def step(self, data: Any, t: float) -> None:
        """Nothing acts but gravity."""
        pass


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The turn b, then the turn a (quaternions w x y z)."""
    out = np.zeros(4)
    mujoco.mju_mulQuat(out, a, b)
    return out


def waves(t: float, phase: float) -> tuple[float, float, float]:
    """The sea at a thing: heave (metres), roll and pitch (radians) as sums of sines."""
    w = 2 * np.pi
    heave = 0.10 * np.sin(w * 0.55 * t + phase) + 0.04 * np.sin(w * 0.93 * t + 2 * phase)
    roll = 0.13 * np.sin(w * 0.48 * t + phase + 0.8) + 0.04 * np.sin(w * 0.9 * t)
    pitch = 0.11 * np.sin(w * 0.60 * t + 1.7 * phase)
    return float(heave), float(roll), float(pitch)


def glide(start: np.ndarray, velocity: np.ndarray, yaw: float, lean: float, phase: float) -> Callable[[float], Pose]:
    """A straight flight with a little bobbing. `lean` (radians) tips the top towards the camera, whatever the yaw."""

    def pose(t: float) -> Pose:
        bob = np.array([0, 0, 0.05 * np.sin(2 * np.pi * 0.8 * t + phase)])
        tilt = lean + 0.08 * np.sin(2 * np.pi * 0.5 * t + phase)
        # Yaw first, then the lean about the world's x: with fixed axes that order is z before x.
        turned = euler_quat((0.0, 0.0, yaw))
        return start + velocity * t + bob, multiply(euler_quat((tilt, 0.0, 0.0)), turned)

    return pose


def sail(start: np.ndarray, velocity: np.ndarray, yaw: float, phase: float) -> Callable[[float], Pose]:
    """A straight course (or none) on the waves."""

    def pose(t: float) -> Pose:
        heave, roll, pitch = waves(t, phase)
        return start + velocity * t + np.array([0, 0, heave]), euler_quat((roll, pitch, yaw))

    return pose


def hover(start: np.ndarray, yaw: float, rate: float, phase: float) -> Callable[[float], Pose]:
    """In the air or in the water on one spot, turning at `rate` rad/s."""

    def pose(t: float) -> Pose:
        bob = np.array([0.03 * np.sin(1.9 * t + phase), 0, 0.05 * np.sin(2 * np.pi * 0.7 * t + phase)])
        return start + bob, euler_quat((0.05 * np.sin(2 * t + phase), 0.0, yaw + rate * t))

    return pose


def cross(half: float, height: float, side: float, seconds: float, nose_up: bool) -> Callable[[float], Pose]:
    """Through the picture from edge to edge (`side` +1: to the right) along a shallow arc.

    `nose_up` bodies (rockets) stand on their tail at rest and lie along the path in flight.
    """

    def pose(t: float) -> Pose:
        s = t / seconds
        position = np.array([side * half * (2 * s - 1), 0.0, height + 0.45 * np.sin(np.pi * np.clip(s, -0.2, 1.2))])
        slope = 0.45 * np.pi * np.cos(np.pi * np.clip(s, 0, 1)) / (2 * half)  # dz/dx along the arc
        climb = np.arctan(slope)
        if nose_up:
            return position, euler_quat((0.0, side * (np.pi / 2 - climb), 0.0))
        yaw = 0.0 if side > 0 else np.pi
        # Pitch comes before yaw, about the body's own y: nose up is a negative turn. The roll banks inwards so
        # that the camera sees the wings from above.
        return position, euler_quat((0.40 * side, -climb, yaw))

    return pose


def leap(half: float, low: float, high: float, side: float, gravity: float) -> Callable[[float], Pose]:
    """A fish out of the water, again and again: a parabola from below the surface, the body along it."""
    speed = np.sqrt(2 * gravity * (high - low))
    flight = 2 * speed / gravity
    period = flight + 0.25

    def pose(t: float) -> Pose:
        u = (t + 0.12) % period
        s = min(u / flight, 1.0)
        z = low + speed * u - gravity * u * u / 2 if u < flight else low
        position = np.array([side * half * (2 * s - 1), 0.0, z])
        climb = np.arctan2(speed - gravity * min(u, flight), 2 * half / flight)
        return position, euler_quat((0.0, -climb, 0.0 if side > 0 else np.pi))

    return pose


def lift(start: np.ndarray, yaw: float, rise: float, seconds: float, phase: float) -> Callable[[float], Pose]:
    """Stands for a moment, then climbs with steady acceleration to `rise` metres at `seconds`."""
    wait = 0.1 * seconds

    def pose(t: float) -> Pose:
        s = max(t - wait, 0.0) / (seconds - wait)
        sway = 0.02 * np.sin(9 * t + phase) * min(s, 1.0)
        return start + np.array([sway, 0.0, rise * s * s]), euler_quat((0.0, 0.3 * sway, yaw))

    return pose
