"""Rays through pixels, and what they may meet: the ground, things, what stands around. What light fields are told of.

Legend: F frames, n pixels of each, K things, L landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tenku.model.motion import FARTHEST, axes_of, fade_of, rotation_of
from tenku.world.grammar import MEASURES, PLACES, SUBJECTS, TAIL, WINGS
from tenku.world.motion import CAMERA, HEIGHT_SPREAD, NEAREST, THING, THINGS
from tenku.world.scenery import BEAM, CRESTS, HEAVE, ROLL

REACH = {"butterfly": 1.0, "rocket": 0.9}  # of a thing's height: how far wings and flames are above or below its middle
# Of a thing's height: half the sides, front, left and up, of a box outside of which nothing of it is, by subject.
BOXES = torch.tensor([[0.57 * length / height, 0.57 * width / height, REACH.get(subject, 0.57)]
                      for subject, (height, length, width) in MEASURES.items()])
CORES = torch.tensor([[length / height / 2, width / height / 2, 0.5] for height, length, width in MEASURES.values()])
ON_BOX = (2.0, 1.0, 0.5)  # of a thing's height: wavelengths in which is told where a ray enters its box
BEATS = (WINGS, TAIL)  # Hz: things' parts beat by these clocks
# A sea's waves come nearer, y metres away, and rise and fall on their way: by these waves of y and of time, per metre
# and Hz. (The rise of the one that was at y + ROLL t is sin(HEAVE t + y + ROLL t), world/simulate.py.)
SWELL = ((2 * math.pi / CRESTS, ROLL / CRESTS), (1.0, (HEAVE + ROLL) / (2 * math.pi)))
CLOCKS = len(BEATS) + 2 * len(SWELL)
AT_SEA = PLACES.index("open sea")
BEATING = ("butterfly", "fish")  # whose (world/subjects.py)
ACROSS = (2.0, 1.0, 0.5, 0.25)  # of a landmark's size
SOLIDS = 6 + 6 * len(ON_BOX) + 6 + 6 + 5
KNOT, THICK = 0.45, 0.022  # of a thing's height, from its middle, and metres: where a rope begins, and its radius
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
        self.core = torch.where(subject.any(-1, keepdim=True), subject @ CORES, CORES.amax(0))  # F|1 K 3, a closer box
        self.beat = beat[:, : len(BEATS)]
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
        self.rolled = setting[..., AT_SEA, None] * beat[:, len(BEATS) : len(BEATS) + 2] * CRESTS / (2 * math.pi)

    def ground(self, last: int) -> Tensor:
        """What is not a thing, since the frame `last`: F."""
        rays = self.rays
        moved = _seen_at(rays.spot, rays.rows[last : last + 1]) - torch.stack([rays.x, rays.y], -1)
        waves = (self.rolled - self.rolled[last]).norm(dim=-1, keepdim=True) / rays.depth / rays.unit
        return (moved.norm(dim=-1) / rays.unit + waves).amax(-1)

    def anything(self, last: int) -> Tensor:
        """All that is seen, since the frame `last`: F."""
        things, there, beat = self.things, self.things.there, self.things.beat
        moved = (self.corners - self.corners[last]).norm(dim=-1).unflatten(1, (things.count, 8)).amax(-1)
        moved = moved + (beat - beat[last]).abs().amax(-1, keepdim=True) * self.span
        moved = torch.where(there & there[last], moved, torch.where(there == there[last], 0.0, torch.inf))
        return torch.cat([self.ground(last)[:, None], moved], 1).amax(1)


def through(place: Tensor, way: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays, N 3 from points along ways, enter and leave a box with half such sides: lengths N 1, the first not
    less than the second for those that pass it by."""
    slow = torch.where(way.abs() < 1e-6, 1e-6, way)
    one, other = (-half - place) / slow, (half - place) / slow
    return torch.minimum(one, other).amax(-1, keepdim=True), torch.maximum(one, other).amin(-1, keepdim=True)


def solids(place: Tensor, way: Tensor, core: Tensor, cover: Tensor, up: Tensor, above: Tensor) -> Tensor:
    """How rays pass a thing's box, the ellipsoid and the upright cylinder in it: most things are made of such.

    In the thing's axes and heights: the rays' nearest points to its middle and directions, N 3, half the box's sides
    N 3, the side of a pixel there N 1, what is up N 3, and the middle's height above the ground N 1. Returns N SOLIDS:
    how deep rays go in, in lengths and softly in pixels, where they enter, and how high above the ground that is.
    """
    least, most = through(place, way, core)
    enter, leave = ((place + t * way).clamp(-1.5, 1.5) for t in (least, most))
    speeds = 2 * math.pi / torch.tensor(ON_BOX)
    wave = (enter[..., None] * speeds).flatten(1)
    fade = fade_of(cover * speeds).repeat(1, 3)
    told = [enter, leave, fade * wave.cos(), fade * wave.sin(), *_depth(most - least, cover),
            *_depth(above + (enter * up).sum(-1, keepdim=True), cover)]
    for axes in (3, 2):
        q, w = (place / core)[:, :axes], (way / core)[:, :axes]
        a, b = w.square().sum(-1, keepdim=True).clamp(min=1e-6), (q * w).sum(-1, keepdim=True)
        inside = 1 - (q.square().sum(-1, keepdim=True) - b.square() / a).clamp(min=0).sqrt()
        half = (inside * (2 - inside)).clamp(min=0).sqrt() / a.sqrt()  # of the chord, in lengths of the ray
        told += [(q - (b / a + half) * w).clamp(-1.5, 1.5), *_depth(inside, cover / core.mean(-1, keepdim=True))]
    return torch.cat(told, -1)


def _depth(inside: Tensor, cover: Tensor) -> tuple[Tensor, ...]:
    return inside.clamp(-2, 2), (inside / cover).tanh(), (inside / cover / 4).tanh()


def rope(rays: Rays, things: Things) -> Tensor:
    """How much of each pixel, F n, the rope hides that the first thing hangs from a beam by."""
    start = things.place[:, 0] + KNOT * things.height[:, 0, None] * things.turn[:, 0, :, 2]  # F 3
    along = torch.tensor([0.0, 0.0, BEAM]) - start
    beam = torch.nn.functional.normalize(rays.ray, dim=-1)  # F n 3
    rel, line = (start - rays.eye[:, 0])[:, None], along[:, None]
    # nearest points of a ray and of the rope's line, the latter held to the rope
    slope, length = (beam * line).sum(-1), line.square().sum(-1)
    at = ((slope * (beam * rel).sum(-1) - (line * rel).sum(-1)) / (length - slope.square()).clamp(min=1e-6)).clamp(0, 1)
    spot = rel + at[..., None] * line
    far = (beam * spot).sum(-1).clamp(min=NEAREST)
    off, pixel = (spot - far[..., None] * beam).norm(dim=-1), rays.unit * far
    cover = torch.minimum(off + pixel / 2, torch.tensor(THICK)) - torch.maximum(off - pixel / 2, torch.tensor(-THICK))
    return (cover / pixel).clamp(0, 1) * things.there[:, 0, None]


def _seen_at(spots: Tensor, rows: Tensor) -> Tensor:
    """Tangents, right and up, of spots F n 3 as cameras F|1 see them: F n 2."""
    rel = spots - rows[:, None, :3]
    across, above, behind = ((rel * axis[:, None]).sum(-1) for axis in axes_of(rows[:, :CAMERA]))
    return torch.stack([across, above], -1) / (-behind).clamp(min=NEAREST)[..., None]


def beats(seconds: Tensor, around: float | None = None) -> Tensor:
    """Where what beats and rolls is in its swing, -1 to 1, at times F: F CLOCKS, sines of BEATS, and cosines and sines
    of SWELL.

    around: duration of a circle of time, seconds, into which all then fits.
    """
    hertz = torch.tensor([*BEATS, *(rate for _, rate in SWELL)])
    if around:
        hertz = (hertz * around).round().clamp(min=1) / around
    angle = 2 * math.pi * seconds[:, None] * hertz
    swell = angle[:, len(BEATS) :]
    return torch.cat([angle[:, : len(BEATS)].sin(), torch.stack([swell.cos(), swell.sin()], -1).flatten(1)], 1)


def swell(away: Tensor, pixel: Tensor, beat: Tensor) -> Tensor:
    """Where a sea's waves are at spots that are `away` metres from the stage, along y: (...) -> (..., 6).

    pixel: metres of the ground that a pixel covers; beat (..., CLOCKS). What is shorter than that fades out.
    """
    speeds = torch.tensor([SWELL[0][0], 2 * SWELL[0][0], SWELL[1][0]])
    now = torch.atan2(beat[..., len(BEATS) + 1 :: 2], beat[..., len(BEATS) :: 2])
    angle = away[..., None] * speeds + torch.stack([now[..., 0], 2 * now[..., 0], now[..., 1]], -1)
    return fade_of(pixel[..., None] * speeds).repeat(*[1] * away.ndim, 2) * torch.cat([angle.cos(), angle.sin()], -1)
