"""What is measured of a clip, why one is left out, and how its camera moves.

All of it is in closed form on pixels; dev/LOG.md says what the limits were set by.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tenku.media import Frames

# name -> (limit, which side is left out, what a clip beyond it is)
LIMITS: dict[str, tuple[float, str, str]] = {
    "short": (9.0, "<", "shorter than so many frames"),
    "small": (1.0, "<", "filmed in so many pixels for each pixel of the clip, along a side"),
    "bars": (0.4, ">", "so large a share of the picture is black bars; fewer are cut off"),
    "still": (0.3, "<", "changes so little from frame to frame, in levels"),
    "restless": (35.0, ">", "changes so much from frame to frame, in levels"),
    "blurred": (60.0, "<", "so little sharp, as the variance of its Laplacian"),
    "text": (0.045, ">", "so large a share of the picture is lettering"),
    "alike": (0.75, ">", "so much like a clip that is there already, by its fingerprint"),
}
CAMERAS = ("static", "pan left", "pan right", "crane up", "crane down", "dolly in", "dolly out", "shaky", "unclear")
EVERY = 0.25  # seconds between the frames that the camera is measured on
SLOW = 0.04  # of the picture's width a second (of its size, for zooms): less is a camera that stands still
SHAKY = 1.5  # of the speed: how much it may vary around its mean before it is no move
SURE = 0.6  # of the points followed that have to move as one for it to be the camera


@dataclass(frozen=True)
class Move:
    """How the picture as a whole moves."""

    right: float  # widths a second; what is seen goes to the right when the camera turns to the left
    down: float  # widths a second
    larger: float  # share a second by which it grows
    varies: float  # mean deviation of the first two from their means, widths a second
    agree: float  # share of the points that move so


def left_out(measured: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """The first of LIMITS that a clip is beyond, "" for none. limits: name -> limit; what is missing is not asked."""
    for name, (_, side, _) in LIMITS.items():
        value, limit = measured.get(name), limits.get(name)
        if value is not None and limit is not None and (value < limit if side == "<" else value > limit):
            return name
    return ""


def measures(frames: Frames, raw: Frames) -> dict[str, float]:
    """What LIMITS ask of the pixels of a clip T H W 3; raw: as it was decoded, without bars."""
    import cv2

    luma = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    look = np.unique(np.linspace(0, len(frames) - 1, 3).round().astype(int))
    sharp = max(float(cv2.Laplacian(luma[t], cv2.CV_32F).var()) for t in look)
    found = {"blurred": sharp, "text": min(lettering(raw[t]) for t in look)}
    if len(frames) > 1:
        change = np.abs(np.diff(luma.astype(np.int16), axis=0)).mean((1, 2))
        found |= {"still": float(change.mean()), "restless": float(np.median(change))}
    return {name: round(value, 4) for name, value in found.items()}


def lettering(picture: Frames) -> float:
    """Share of a picture H W 3 that lines of letters cover: rows of dense, strong strokes, much wider than high.

    Strokes are edges (large letters), or what is thinner than a square is wide (top and black hats: small ones, whose
    lines edges would join); they are closed along the line. Fences and blinds look like letters to it, which is why
    little of it is no reason; few words on a picture are missed.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    high = grey.shape[0]
    side = max(5, high // 36 | 1)
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    along = cv2.getStructuringElement(cv2.MORPH_RECT, (max(5, high // 24), 1))
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    hats = cv2.max(*(cv2.morphologyEx(grey, way, square) for way in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)))
    shares = []
    for strokes, least in ((edges, max(60.0, float(np.percentile(edges, 90)))), (hats, 45.0)):
        strong = (strokes > least).astype(np.uint8)
        lines = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, along)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(lines, connectivity=4)
        shares.append(sum(int(box[2] * box[3]) for box in boxes[1:count] if _is_line(strong, box)) / grey.size)
    return max(shares)


def _is_line(strong: np.ndarray, box: np.ndarray) -> bool:
    """Whether a component, left, top, width, height, area, of strokes H W is a line of letters."""
    left, top, wide, tall, area = (int(n) for n in box)
    if not (max(3, len(strong) / 90) <= tall <= len(strong) / 5 and wide > 3 * tall and area > 0.45 * wide * tall):
        return False
    inside = strong[top : top + tall, left : left + wide].astype(np.int8)
    turns = np.count_nonzero(np.diff(inside, axis=1), axis=1).max()  # a letter has a stroke and more: two edges each
    return bool(turns > 2.4 * wide / tall)


def camera(frames: Frames, fps: float) -> tuple[str, Move]:
    """How the camera moves, of CAMERAS, from clips T H W 3; an image's stands still."""
    move = _move(frames, fps)
    if move.agree < SURE:
        return "unclear", move
    speed = max(abs(move.right), abs(move.down), abs(move.larger))
    if move.varies > max(SLOW, SHAKY * speed):
        return "shaky", move
    if speed < SLOW:
        return "static", move
    if speed == abs(move.larger):
        return ("dolly in" if move.larger > 0 else "dolly out"), move
    if speed == abs(move.right):
        return ("pan left" if move.right > 0 else "pan right"), move
    return ("crane up" if move.down > 0 else "crane down"), move


def _move(frames: Frames, fps: float) -> Move:
    """Points are followed from look to look (pyramidal Lucas-Kanade) and a similarity fitted to most (RANSAC)."""
    import cv2

    step = max(1, round(EVERY * fps))
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[::step]]
    width = frames.shape[2]
    middle = np.array([width, frames.shape[1]]) / 2
    rows, agree = [], []
    for before, after in itertools.pairwise(greys):
        points = cv2.goodFeaturesToTrack(before, 200, 0.01, 4)
        if points is None or len(points) < 8:
            continue
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)
        kept = found[:, 0] > 0
        if kept.sum() < 8:
            continue
        fit, inside = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=0.01 * width)
        if fit is None:
            continue
        shift = fit @ np.array([*middle, 1.0]) - middle  # at the picture's middle, which a zoom leaves in place
        rows.append([shift[0] / width, shift[1] / width, float(np.log(np.hypot(fit[0, 0], fit[1, 0])))])
        agree.append(float(inside.mean()) * float(kept.mean()))
    if not rows:
        return Move(0.0, 0.0, 0.0, 0.0, 1.0 if len(frames) == 1 else 0.0)
    a_second = np.array(rows) * (fps / step)
    right, down, larger = (float(v) for v in a_second.mean(0))
    varies = float(np.abs(a_second[:, :2] - a_second[:, :2].mean(0)).mean())
    return Move(right, down, larger, varies, float(np.mean(agree)))
