"""Pictures of a stage through EGL on any machine: twice the size, then averaged down.

Drawing at double size and averaging 2 x 2 pixels costs half of what 4x multisampling costs on Mesa's software
rasteriser and smooths textures too. A context belongs to one model and takes about 15 ms to make.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import numpy as np

from tenku.errors import UserError

os.environ.setdefault("MUJOCO_GL", "egl")
# Draw in the calling thread: workers already share the cores, and the pixels do not depend on it.
os.environ.setdefault("LP_NUM_THREADS", "0")

import mujoco

from tenku.world.stage import Stage

OVER = 2  # supersampling per axis
_HINT = "on Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
_CONTEXT: list[Any] = []  # the process's OpenGL context, made once


def _make_current() -> None:
    if _CONTEXT:
        return
    try:
        from mujoco.egl import GLContext

        context = GLContext(16, 16)
        context.make_current()
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise UserError(f"cannot draw without a screen: EGL failed ({error})", _HINT) from None
    _CONTEXT.append(context)


class Renderer:
    """Draws one stage at one size. Use it as a context manager: OpenGL memory is returned at the end."""

    def __init__(self, stage: Stage, width: int, height: int) -> None:
        _make_current()
        self.model = stage.model
        self.width, self.height = width, height
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self.model, 400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = 1
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        self._nudge = mujoco.MjvPerturb()
        self._big = mujoco.MjrRect(0, 0, width * OVER, height * OVER)
        self._small = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height * OVER, width * OVER, 3), np.uint8)

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.free()

    def _aim(self, data: Any, pose: np.ndarray) -> None:
        """Copies the world's state into the drawing and puts the camera there."""
        mujoco.mjv_updateScene(self.model, data, self._option, self._nudge, self._view, mujoco.mjtCatBit.mjCAT_ALL,
                               self._scene)  # fmt: skip
        for eye in self._scene.camera:
            eye.pos, eye.forward, eye.up = pose[:3, 3], -pose[:3, 2], pose[:3, 1]

    def picture(self, data: Any, pose: np.ndarray) -> np.ndarray:
        """RGB uint8 [H, W, 3] from a camera-to-world pose."""
        self._aim(data, pose)
        mujoco.mjr_render(self._big, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._big, self._context)
        p = self._pixels
        total = p[0::2, 0::2].astype(np.uint16)
        total += p[0::2, 1::2]
        total += p[1::2, 0::2]
        total += p[1::2, 1::2]
        return ((total + 2) >> 2).astype(np.uint8)[::-1]

    def truth(self, data: Any, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth float32 [H, W] (metres along the view axis, inf for sky) and geom ids int32 [H, W] (-1 for sky)."""
        flags, scene = mujoco.mjtRndFlag, self._scene
        self._aim(data, pose)
        scene.flags[flags.mjRND_SEGMENT] = scene.flags[flags.mjRND_IDCOLOR] = 1
        colours = np.empty((self.height, self.width, 3), np.uint8)
        buffer = np.empty((self.height, self.width), np.float32)
        mujoco.mjr_render(self._small, scene, self._context)
        mujoco.mjr_readPixels(colours, buffer, self._small, self._context)
        scene.flags[flags.mjRND_SEGMENT] = scene.flags[flags.mjRND_IDCOLOR] = 0
        codes = colours[::-1].astype(np.int32) @ np.array([1, 256, 65536])
        table = np.full(scene.ngeom + 1, -1, np.int32)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                table[geom.segid + 1] = geom.objid
        ids = table[np.minimum(codes, scene.ngeom)]
        near, far = (float(v) * self.model.stat.extent for v in (self.model.vis.map.znear, self.model.vis.map.zfar))
        depth = near / (1 - buffer[::-1] * (1 - near / far))
        return np.where(ids < 0, np.inf, depth).astype(np.float32), ids
