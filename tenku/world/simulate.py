"""Runs a stage through time: frames on one side, the facts about them on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from tenku.errors import UserError
from tenku.types import Clip
from tenku.world import facts as truth
from tenku.world.grammar import Scene
from tenku.world.motion import STILL_AT
from tenku.world.render import OVER, Renderer
from tenku.world.scenery import CRESTS, HEAVE, ROLL
from tenku.world.stage import Stage, build

STILL = 2.0  # seconds of action that a still picture is taken out of


@dataclass(frozen=True)
class Take:
    """One rendered clip."""

    clip: Clip
    facts: dict[str, Any]  # JSON, see docs/world.md
    arrays: dict[str, np.ndarray]  # depth, mask and flow when asked for, else empty


@dataclass(frozen=True)
class Format:
    """Size and time of a clip."""

    width: int  # pixels, 16 to 2048
    height: int  # pixels, 16 to 2048
    frames: int  # 1 makes a still picture
    fps: float = 16.0  # frames per second

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 2048 and 16 <= self.height <= 2048):
            raise UserError(f"size {self.width}x{self.height} is out of range", "16 to 2048 pixels a side")
        if not 1 <= self.frames <= 10_000:
            raise UserError(f"{self.frames} frames is out of range", "1 to 10000 frames")
        if not 1 <= self.fps <= 240:
            raise UserError(f"{self.fps} frames per second is out of range", "1 to 240")


def render(scene: Scene, shape: Format, *, arrays: bool = False) -> Take:
    """Simulates and films a scene.

    Returns frames [T, H, W, 3], facts, and with `arrays` depth float32 [T, H, W] (metres, inf for sky), mask uint8
    [T, H, W] (0 scenery, k + 1 thing k) and flow float32 [T - 1, H, W, 2] (pixels to the next frame, x right, y
    down). Raises UserError where EGL is missing.
    """
    stage = _staged(scene, shape)
    record = truth.Record(stage, shape.width, shape.height, arrays)
    run, frames = _Run(stage), np.empty((shape.frames, shape.height, shape.width, 3), np.uint8)
    with Renderer(stage, shape.width, shape.height) as renderer:
        for index, pose in enumerate(run.play(shape)):
            frames[index] = renderer.picture(run.data, pose)
            record.frame(run.data, pose, renderer)
    facts, extra = record.finish(run.touches, shape.fps)
    return Take(Clip(frames, shape.fps), facts, extra)


def facts_of(scene: Scene, shape: Format) -> dict[str, Any]:
    """The facts of a scene that nobody films: the same as `render` finds, without its pictures, and without EGL."""
    stage = _staged(scene, shape)
    record, run = truth.Record(stage, shape.width, shape.height, False), _Run(stage)
    for pose in run.play(shape):
        record.frame(run.data, pose, None)
    return record.finish(run.touches, shape.fps)[0]


def _staged(scene: Scene, shape: Format) -> Stage:
    seconds = STILL if shape.frames == 1 else (shape.frames - 1) / shape.fps
    buffer = (shape.width * OVER, shape.height * OVER)
    return build(scene, seconds, shape.width / shape.height, buffer, shape.fps)


class _Run:
    """The clockwork: laws before every step, touches after it."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.data = stage, mujoco.MjData(stage.model)
        data = self.data
        self.time = 0.0
        self.touches = truth.Touches(stage)
        for actor in stage.actors:
            actor.law.begin(data)
        self._waves()
        mujoco.mj_forward(stage.model, data)
        self.origin = data.xpos[stage.actors[0].body].copy()

    def play(self, shape: Format) -> Iterator[np.ndarray]:
        """The camera's pose at each frame, when `data` is up to date for it."""
        step, still = self.stage.model.opt.timestep, shape.frames == 1
        if still:
            self.advance(round(STILL_AT / step))
        for index in range(shape.frames):
            if index:
                self.advance(round(1.0 / shape.fps / step))
            self.settle()
            yield self.stage.track.pose(self.time if not still else STILL / 2, self.shift())

    def advance(self, steps: int) -> None:
        """Physics steps of the model's timestep."""
        model, data = self.stage.model, self.data
        for _ in range(steps):
            for actor in self.stage.actors:
                actor.law.step(data, self.time)
            mujoco.mj_step(model, data)
            self.time += model.opt.timestep
            if data.ncon:
                self.touches.note(data, self.time)

    def settle(self) -> None:
        """Puts what is kinematic where it belongs at this instant, and all poses up to date for the picture."""
        for actor in self.stage.actors:
            if hasattr(actor.law, "mocap"):
                actor.law.step(self.data, self.time)
        self._waves()
        mujoco.mj_kinematics(self.stage.model, self.data)
        mujoco.mj_camlight(self.stage.model, self.data)

    def shift(self) -> np.ndarray:
        """How far (metres, 3) the main subject is from the track's target; upwards, from its own start."""
        target = self.stage.track.target
        moved: np.ndarray = self.data.xpos[self.stage.actors[0].body] - (target[0], target[1], self.origin[2])
        return moved

    def _waves(self) -> None:
        for mocap, y, high in self.stage.swell:
            come = (y + 2.6 - ROLL * self.time) % (CRESTS * len(self.stage.swell)) - 2.6
            self.data.mocap_pos[mocap] = (0.0, come, -0.35 * high + 0.4 * high * np.sin(HEAVE * self.time + y))
