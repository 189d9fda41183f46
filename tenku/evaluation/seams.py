"""Seams, paths and tracks: what the modes are measured by, as functions of frames and numbers alone.

Legend: T frames, H W pixels, M moments, K features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REACH = 3  # frames before and after a moment that the finder looks at
BLOCKS = 5  # rows and columns of the blocks in which the largest jump is looked for
RIDGE = 1.0  # weight of the finder's penalty, against the sum over its moments


def moments(frames: np.ndarray) -> range:
    """The moments of a clip T H W 3 that the finder can look at: t is the step from frame t - 1 to t."""
    return range(REACH, len(frames) - REACH)


def features(frames: np.ndarray, t: int) -> np.ndarray:
    """How a moment differs from those around it: K logs of ratios, all 0 where every step is like the next.

    The jump of the pixels, of the mean colour, of the most changed block, and of the velocity (the second difference).
    """
    near = frames[t - REACH : t + REACH].astype(np.float64)
    steps = np.diff(near, axis=0)  # the middle one is the moment
    middle = len(steps) // 2
    high, wide = (n // BLOCKS for n in near.shape[1:3])
    blocks = np.abs(steps[:, : high * BLOCKS, : wide * BLOCKS]).mean(3)
    blocks = blocks.reshape(len(steps), BLOCKS, high, BLOCKS, wide).mean((2, 4)).max((1, 2))
    bend = np.abs(np.diff(steps, axis=0)).mean((1, 2, 3))
    series = [np.abs(steps).mean((1, 2, 3)), np.abs(steps.mean((1, 2))).mean(1), blocks]
    found = [np.log((s[middle] + 0.05) / (np.delete(s, middle).mean() + 0.05)) for s in series]
    here = bend[middle - 1 : middle + 1]
    found.append(np.log((here.mean() + 0.05) / (np.delete(bend, [middle - 1, middle]).mean() + 0.05)))
    return np.array(found)


def auc(seams: Sequence[float], ordinary: Sequence[float]) -> float:
    """How often a seam scores higher than an ordinary moment; ties count half. 0.5: nothing to be seen."""
    a, b = np.asarray(seams)[:, None], np.asarray(ordinary)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights K + 1 of a ridge logistic regression on M K features and M answers (0, 1), classes weighted alike."""
    x = np.hstack([x, np.ones((len(x), 1))])
    weight = np.where(y == 1, 0.5 / max(1, (y == 1).sum()), 0.5 / max(1, (y == 0).sum())) * len(y)
    w = np.zeros(x.shape[1])
    penalty = RIDGE * np.eye(len(w))
    penalty[-1, -1] = 1e-6
    for _ in range(25):  # Newton's method
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weight * (p - y)) + penalty @ w
        w = w - np.linalg.solve((x * (weight * p * (1 - p) + 1e-9)[:, None]).T @ x + penalty, gradient)
    return w


def finder(clips: Sequence[tuple[np.ndarray, np.ndarray]], real: np.ndarray | None = None) -> float:
    """AUC of a seam finder that never saw the clip it judges: of each clip, features of seams and of other moments.

    real: features M K of moments of real clips, from which it also learns what seams are not.
    """
    seams: list[float] = []
    ordinary: list[float] = []
    for i, (mine, others) in enumerate(clips):
        rest = [pair for j, pair in enumerate(clips) if j != i]
        x = np.concatenate([np.concatenate(pair) for pair in rest])
        y = np.concatenate([np.r_[np.ones(len(a)), np.zeros(len(b))] for a, b in rest])
        if real is not None:
            x, y = np.concatenate([x, real]), np.r_[y, np.zeros(len(real))]
        w = logistic(x, y)
        seams += (mine @ w[:-1] + w[-1]).tolist()
        ordinary += (others @ w[:-1] + w[-1]).tolist()
    return auc(seams, ordinary)


def path_errors(made: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    """Errors of a camera path against the one asked for, camera-to-world T 4 4 each, relative to their first poses.

    RotErr (radians), TransErr (metres) and CamMC, each summed over the frames: sum of arccos((tr(R~ R') - 1) / 2), of
    |t~ - t|, and of |[R~|t~] - [R|t]| (Frobenius), as in arXiv:2404.02101 and CamI2V (arXiv:2410.15957). Both paths
    are in metres here, so translations are not rescaled.
    """
    made, asked = (np.linalg.inv(path[0]) @ path for path in (made, asked))
    traces = np.einsum("tij,tij->t", made[:, :3, :3], asked[:, :3, :3])
    return {
        "RotErr": float(np.arccos(np.clip((traces - 1) / 2, -1, 1)).sum()),
        "TransErr": float(np.linalg.norm(made[:, :3, 3] - asked[:, :3, 3], axis=1).sum()),
        "CamMC": float(np.linalg.norm((made - asked)[:, :3], axis=(1, 2)).sum()),
    }


def middle_of(frame: np.ndarray, colour: Sequence[float]) -> tuple[float, float] | None:
    """Where a thing of one colour (RGB, 0..1) is in a picture H W 3: the middle in pixels, x and y; None where nowhere.

    Pixels count by how near their hue and saturation are to the colour's, so light and shade matter little.
    """
    pixels = frame.astype(np.float64) / 255
    chroma = pixels - pixels.mean(2, keepdims=True)
    wanted = np.asarray(colour, np.float64) - np.mean(colour)
    along = chroma @ wanted / (wanted @ wanted)
    across = np.linalg.norm(chroma - along[..., None] * wanted, axis=2)
    held = np.clip(along - 0.25, 0, None) * (across < 0.5 * np.linalg.norm(wanted) * np.maximum(along, 0))
    if held.sum() < 0.001 * held.size:
        return None
    y, x = np.mgrid[: held.shape[0], : held.shape[1]]
    return float((held * x).sum() / held.sum()), float((held * y).sum() / held.sum())
