"""Optical flow from depth and poses: where each pixel's piece of surface is in the next frame."""

from __future__ import annotations

import numpy as np

from tenku.world.camera import intrinsics, project

Truth = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # depth, geom ids, geom positions, geom rotations


def flow_between(now: Truth, then: Truth, pose_now: np.ndarray, pose_then: np.ndarray) -> np.ndarray:
    """Flow float32 [H, W, 2] in pixels (x right, y down). The sky moves as if infinitely far."""
    depth, ids, positions, rotations = now
    height, width = depth.shape
    k = intrinsics(width, height)
    y, x = np.mgrid[:height, :width] + 0.5
    sky = ~np.isfinite(depth)
    z = np.where(sky, 1e6, depth)
    local = np.stack([(x - k["cx"]) / k["fx"] * z, -(y - k["cy"]) / k["fy"] * z, -z], axis=-1).reshape(-1, 3)
    world = local @ pose_now[:3, :3].T + pose_now[:3, 3]
    flat = ids.ravel()
    for geom in np.unique(flat[flat >= 0]):
        turn_now, turn_then = rotations[geom].reshape(3, 3), then[3][geom].reshape(3, 3)
        if np.array_equal(turn_now, turn_then) and np.array_equal(positions[geom], then[2][geom]):
            continue
        chosen = flat == geom
        own = (world[chosen] - positions[geom]) @ turn_now
        world[chosen] = own @ turn_then.T + then[2][geom]
    pixels, _ = project(world, pose_then, width, height)
    return (pixels.reshape(height, width, 2) - np.stack([x, y], axis=-1)).astype(np.float32)
