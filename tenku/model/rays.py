"""Rays through pixels, and what they may meet: the ground, things, what stands around. What light fields are told of.

Legend: F frames, n pixels of each, K things, L landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tenku.model.motion import FARTHEST, axes_of, fade_of, rotation_of
from tenku.world.grammar import MEASURES, SUBJECTS, TAIL, WINGS
from tenku.world.motion import CAMERA, HEIGHT_SPREAD, NEAREST, THING, THINGS

REACH = {"butterfly": 1.0, "rocket": 0.9}  # of a thing's height: how far wings and flames are above or below its middle
# Of a thing's height: half the sides, front, left and up, of a box outside of which nothing of it is, by subject.
BOXES = torch.tensor([[0.57 * length / height, 0.57 * width / height, REACH.get(subject, 0.57)]
                      for subject, (height, length, width) in MEASURES.items()])
BEATS = (WINGS, TAIL)  # Hz: things' parts beat by these clocks
BEATING = ("butterfly", "fish")  # whose (world/subjects.py)
ACROSS = (2.0, 1.0, 0.5, 0.25)  # of a landmark's size
EVERYWHERE = 20.0  # metres: a landmark that wide is near every pixel


@dataclass
class Rays:
    """Rays through pixels, and what they would meet were there nothing but the ground."""

    rows: Tensor  # F STATE, plain
    x: Tensor  # F n, tangents
    y: Tensor
    unit: float
    ray: Tensor  # F n 3, one metre along the view axis
    eye: Tensor  # F 1 3
    spot: Tensor  # F n 3, of the ground, or far away
    depth: Tensor  # F n, metres along the view axis
    wide: int = 0  # rays in a line of a whole picture; 0: any rays

    def some(self, frame: Tensor, pixel: Tensor) -> Rays:
        """Rays N of any frames, as if of one: 1 N."""
        x, y, ray = (t[frame, pixel][None] for t in (self.x, self.y, self.ray))
        return Rays(self.rows, x, y, self.unit, ray, self.eye[frame, 0][None], self.spot[frame, pixel][None],
                     self.depth[frame, pixel][None])


def cast(rows: Tensor, x: Tensor, y: Tensor, unit: float, wide: int = 0) -> Rays:
    """Rays with tangents x and y, F n, of cameras whose rows are plain; `wide`: see `Rays`."""
    eye = rows[:, None, :3]
    right, up, back = (t[:, None] for t in axes_of(rows[:, :CAMERA]))
    ray = x[..., None] * right + y[..., None] * up - back
    fall = -ray[..., 2] / eye[..., 2].clamp(min=NEAREST)
    depth = 1 / fall.clamp(min=1 / FARTHEST)
    return Rays(rows, x, y, unit, ray, eye, eye + ray * depth[..., None], depth, wide)


class Things:
    """The things of some pictures, F K: those that are in any of them."""

    def __init__(self, rays: Rays, looks: Tensor, setting: Tensor, beat: Tensor) -> None:
        numbers = rays.rows[:, CAMERA:].unflatten(1, (THINGS, THING))
        kept = (numbers[..., 0] > 0.5).any(0)
        numbers, looks = numbers[:, kept], looks[:, kept]
        self.there = numbers[..., 0] > 0.5
        self.place = numbers[..., 1:4]
        self.turn = rotation_of(rays.rows)[:, kept]  # F K 3 3, columns front, left, up
        self.pose = self.turn[..., :2].mT.flatten(2)
        self.height = (looks[..., -1] * HEIGHT_SPREAD).exp().expand(len(rays.rows), -1)
        subject = looks[..., : len(SUBJECTS)]
        self.beats = subject @ torch.tensor([float(name in BEATING) for name in SUBJECTS]) > 0.5  # F|1 K
        self.box = torch.where(subject.any(-1, keepdim=True), subject @ BOXES, BOXES.amax(0))  # F|1 K 3
        self.beat = beat
        self.sayings, self.count = looks.shape[:2]
        self.said = torch.cat([looks, setting[:, None].expand(-1, self.count, -1)], -1).flatten(0, 1)

    def which(self, frame: Tensor, k: Tensor) -> Tensor:
        """The sayings that hold for rays of a frame at a thing."""
        return frame % self.sayings * self.count + k


class Marks:
    """The landmarks of some pictures as upright boards, F L."""

    def __init__(self, rays: Rays, scenery: Tensor) -> None:
        count = len(rays.rows)
        self.foot, self.size = (t.expand(count, -1, -1) for t in (scenery[..., 1:4], scenery[..., 4:6].exp()))
        rel = self.foot - rays.eye
        across, above, behind = ((rel * axis[:, None]).sum(-1) for axis in axes_of(rays.rows[:, :CAMERA]))
        self.away = (-behind).clamp(min=NEAREST)
        wide, high = self.size.unbind(-1)
        self.u = (rays.x[..., None] - (across / self.away)[:, None]) * (self.away / wide)[:, None]  # F n L
        self.v = (rays.y[..., None] - (above / self.away)[:, None]) * (self.away / high)[:, None]
        # its near edge is seen lower than its foot
        below = wide * rays.eye[..., 2].clamp(min=NEAREST) / self.away + 2 * self.away * rays.unit
        off = torch.maximum(self.u.abs(), (self.v - 0.5).abs() / (0.5 + below / high)[:, None])
        seen = (scenery[..., 0] > 0.5) & (behind < -NEAREST)
        self.off = torch.where((wide > EVERYWHERE)[:, None], 0.0, off).masked_fill(~seen[:, None], torch.inf)

    def told(self, rays: Rays, frame: Tensor, pixel: Tensor, one: Tensor) -> Tensor:
        """What is told of some rays at a landmark each, N f."""
        uv = torch.stack([self.u[frame, pixel, one], self.v[frame, pixel, one]], -1)
        away, size = self.away[frame, one], self.size[frame, one]
        cover = rays.unit * away / size[:, 1]
        speeds = 2 * math.pi / torch.tensor(ACROSS)
        fade, wave = fade_of(cover[:, None] * speeds).repeat(1, 2), (uv[..., None] * speeds).flatten(1)
        ground = rays.spot[frame, pixel, :2] - self.foot[frame, one, :2]
        beyond = (rays.depth[frame, pixel] / away).log().clamp(-2, 2)
        return torch.cat([uv.clamp(-3, 3), fade * wave.cos(), fade * wave.sin(), (ground / size[:, :1]).clamp(-3, 3),
                          torch.tanh(ground), beyond[:, None], away.log()[:, None] - 2,
                          cover.log()[:, None].clamp(-6, 1) / 2, rays.ray[frame, pixel, 2:]], -1)


class Moved:
    """By how many pixels what some rays meet, and things, have moved since another frame."""

    def __init__(self, rays: Rays, looks: Tensor, setting: Tensor, beat: Tensor) -> None:
        self.rays, self.things = rays, Things(rays, looks, setting, beat)
        things = self.things
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        corners = (corners * (things.box * things.height[..., None])[:, :, None]) @ things.turn.mT
        self.corners = _seen_at((things.place[:, :, None] + corners).flatten(1, 2), rays.rows) / rays.unit
        away = (things.place - rays.eye).norm(dim=-1).clamp(min=NEAREST)
        self.span = things.beats * things.height / away / rays.unit  # F K, pixels: of what beats

    def ground(self, last: int) -> Tensor:
        """What is not a thing, since the frame `last`: F."""
        rays = self.rays
        moved = _seen_at(rays.spot, rays.rows[last : last + 1]) - torch.stack([rays.x, rays.y], -1)
        return moved.norm(dim=-1).amax(-1) / rays.unit

    def anything(self, last: int) -> Tensor:
        """All that is seen, since the frame `last`: F."""
        things, there, beat = self.things, self.things.there, self.things.beat
        moved = (self.corners - self.corners[last]).norm(dim=-1).unflatten(1, (things.count, 8)).amax(-1)
        moved = moved + (beat - beat[last]).abs().amax(-1, keepdim=True) * self.span
        moved = torch.where(there & there[last], moved, torch.where(there == there[last], 0.0, torch.inf))
        return torch.cat([self.ground(last)[:, None], moved], 1).amax(1)


def _seen_at(spots: Tensor, rows: Tensor) -> Tensor:
    """Tangents, right and up, of spots F n 3 as cameras F|1 see them: F n 2."""
    rel = spots - rows[:, None, :3]
    across, above, behind = ((rel * axis[:, None]).sum(-1) for axis in axes_of(rows[:, :CAMERA]))
    return torch.stack([across, above], -1) / (-behind).clamp(min=NEAREST)[..., None]


def beats(seconds: Tensor, around: float | None = None) -> Tensor:
    """Where what beats is in its swing, -1 to 1, at times F: F len(BEATS).

    around: duration of a circle of time, seconds, into which beats then fit.
    """
    hertz = torch.tensor(BEATS)
    if around:
        hertz = (hertz * around).round().clamp(min=1) / around
    return (2 * math.pi * seconds[:, None] * hertz).sin()
