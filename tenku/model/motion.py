"""Motion as networks see it: a row of numbers per latent step, and what each token of a picture is told of it.

The motion of a clip (world/motion.py) is sampled PARTS times in each latent step. One network dreams these rows from
words, as another dreams latents: a row is a token, with CHANNELS numbers, in which each sample but the first says how
it differs from the one before (see `steps_of`). The other is told, for every token, where it lies as seen from each
thing and from the camera, and what is near: so it need not find out where things are, only how they look. The last two
numbers shift the token's position (see `_drift`).

Legend: B batch, T latent steps, N = T H W tokens of a grid, P parts, F features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tenku.model.patches import Grid
from tenku.world.camera import FOV
from tenku.world.motion import (
    CAMERA,
    HEIGHT_SPREAD,
    LOOKS,
    MIDDLE,
    NEAREST,
    SETTING,
    SPREAD,
    STATE,
    THING,
    THINGS,
)
from tenku.world.scenery import KINDS

PARTS = 4  # samples of the motion in a latent step
CHANNELS = PARTS * STATE
# What counts as small in a step from one sample to the next: metres and radians. What does not move must not creep.
FINE = torch.tensor([*[0.01] * 3, *[0.003] * 2, *[1.0, *[0.01] * 3, *[0.02] * 3, *[1.0] * 3] * THINGS])
SQUASH = 2.0  # a step of FINE sinh(SQUASH) is a 1 to the network: about what moving things do
LONGEST = 4.0  # step, in the network's numbers, that is taken at its word: 15 metres
AWAY = 1.35  # log of the metres that a thing is away, usually
WAVES = (1.0, 0.5)  # metres: wavelengths in which a token's place beside a thing is told
INSIDE = (1.8, 0.9, 0.45, 0.225)  # of a thing's height: wavelengths in which its place within the thing is told
REACH = 1.2  # metres: how far around a thing tokens are told its pose
TURNS = (1.0, 3.0, 9.0, 27.0)  # per radian: frequencies in which directions are told
GROUND = (7.14, 3.57, 1.79, 0.89)  # metres: wavelengths in which a spot of the ground is told, those of its patterns
BESIDE = 2  # things of which each token is told: the nearest, so what is learnt of one thing is learnt of all
AROUND = 3  # landmarks of which each token is told: the nearest in the picture
ACROSS = (2.0, 0.7)  # of a landmark's width and height: wavelengths in which its place there is told
_NEAR = 3 + 4 * len(WAVES) + 7 + 6 + 6 * len(INSIDE)  # of them fade out with the distance from a thing
_CAMERA, _THING = 5 + 4 * len(TURNS) + 4 * len(GROUND), 3 + _NEAR  # numbers about camera, about a thing, in each part
SCENERY = 1 + AROUND * (PARTS * (3 + 4 * len(ACROSS)) + KINDS + 6)  # numbers about what stands around
FEATURES = 1 + PARTS * (_CAMERA + BESIDE * _THING) + BESIDE * LOOKS + SETTING + SCENERY + 2
FARTHEST = 40.0  # metres: what a token looks at is thought to be this far where the ground is not nearer
BEYOND = 3.0  # how far outside of the picture a position may lie, in tangents of the viewing angle


def steps_of(motion: Tensor) -> Tensor:
    """Motion as the network dreams it, B T CHANNELS: the first sample, then the steps from each sample to the next.

    Steps are differences, for a rotation the vector about which, and by how many radians, it turns (3 numbers, and 3 of
    0). They are squashed by an inverse hyperbolic sine: small ones add up over time, so they must be dreamt finely.
    """
    rows = _samples(motion)
    metres = plain(rows)
    turn = rotation_of(metres)
    by = _vector(turn[:, 1:] @ turn[:, :-1].mT)
    step = metres.diff(dim=1)
    things = torch.cat([step[..., CAMERA:].unflatten(-1, (THINGS, THING))[..., :4], by, torch.zeros_like(by)], -1)
    step = torch.cat([step[..., :CAMERA], things.flatten(-2)], -1)
    return torch.cat([rows[:, :1], _squashed(step)], 1).unflatten(1, (-1, PARTS)).flatten(2)


def motion_from(steps: Tensor) -> Tensor:
    """The inverse of `steps_of`."""
    rows = _samples(steps)
    step = _unsquashed(rows[:, 1:])
    first = plain(rows[:, :1])
    by = _cross(step[..., CAMERA:].unflatten(-1, (THINGS, THING))[..., 4:7]).matrix_exp()
    turns = [rotation_of(first)[:, 0]]
    for i in range(by.shape[1]):
        turns.append(by[:, i] @ turns[-1])
    turn = torch.stack(turns, 1)  # B M THINGS 3 3
    metres = torch.cat([first, step], 1).cumsum(1)
    things = metres[..., CAMERA:].unflatten(-1, (THINGS, THING))
    things = torch.cat([things[..., :4], turn[..., 0], turn[..., 1]], -1)
    metres = torch.cat([metres[..., :CAMERA], things.flatten(-2)], -1)
    return scaled(metres).unflatten(1, (-1, PARTS)).flatten(2)


def stretched(steps: Tensor, by: float) -> Tensor:
    """Steps of some samples, (..., STATE) as `steps_of` has them, made so many times as long."""
    return _squashed(_unsquashed(steps) * by)


def _squashed(step: Tensor) -> Tensor:
    return torch.asinh(step / FINE) / SQUASH


def _unsquashed(step: Tensor) -> Tensor:
    return torch.sinh(step.clamp(-LONGEST, LONGEST) * SQUASH) * FINE


def _samples(motion: Tensor) -> Tensor:
    """B T CHANNELS -> B M STATE."""
    return motion.unflatten(2, (PARTS, STATE)).flatten(1, 2)


def plain(rows: Tensor) -> Tensor:
    """Rows (..., STATE) in metres and radians."""
    return rows * torch.from_numpy(SPREAD) + torch.from_numpy(MIDDLE)


def scaled(metres: Tensor) -> Tensor:
    """The inverse of `plain`: rows (..., STATE) as networks have them."""
    return (metres - torch.from_numpy(MIDDLE)) / torch.from_numpy(SPREAD)


def rotation_of(rows: Tensor) -> Tensor:
    """The rotations of things in plain rows (..., STATE): (..., THINGS, 3, 3), columns front, left, up."""
    columns = rows[..., CAMERA:].unflatten(-1, (THINGS, THING))[..., 4:]
    return _rotation(columns[..., :3], columns[..., 3:])


def _rotation(front: Tensor, left: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of axes (..., 3) that are nearly of length one and upright."""
    front = F.normalize(front, dim=-1)
    left = F.normalize(left - (left * front).sum(-1, keepdim=True) * front, dim=-1)
    return torch.stack([front, left, torch.linalg.cross(front, left)], -1)


def turned(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by a share (...) of the shortest way from one to another, of which front and left are given
    in columns, (..., 3, 2)."""
    a, b = (_rotation(*columns.unbind(-1)) for columns in (one, other))
    return (_cross(share[..., None] * _vector(b @ a.mT))).matrix_exp() @ a


def _cross(vector: Tensor) -> Tensor:
    """The matrices (..., 3, 3) that multiply like a cross product with vectors (..., 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def turning(by: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about vectors (..., 3), by as many radians as these are long."""
    return _cross(by).matrix_exp()


def _vector(turn: Tensor) -> Tensor:
    """The vector (..., 3) about which, and by how many radians, rotations (..., 3, 3) turn."""
    twice = torch.stack([turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0],
                         turn[..., 1, 0] - turn[..., 0, 1]], -1)
    sine = twice.norm(dim=-1, keepdim=True) / 2
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1) / 2
    return torch.where(sine > 1e-7, torch.atan2(sine, cosine) / sine.clamp(min=1e-7), 1.0) * twice / 2


def seen(rows: Tensor) -> Tensor:
    """Plain rows (..., STATE) with things as the camera sees them: where it is there, tangents to the middle (right,
    up), log of its distance along the view axis (metres), and its rotation's columns (x right, y up, z backward)."""
    things = rows[..., CAMERA:].unflatten(-1, (THINGS, THING))
    axes = torch.stack(axes_of(rows[..., None, :CAMERA]), -2)  # ... 1 3 3: rows right, up, backward
    local = (axes @ (things[..., 1:4] - rows[..., None, :3])[..., None])[..., 0]
    away = (-local[..., 2:]).clamp(min=NEAREST)
    sides = [(axes @ things[..., i : i + 3, None])[..., 0] for i in (4, 7)]
    found = torch.cat([things[..., :1], (local[..., :2] / away).clamp(-3, 3), away.log(), *sides], -1)
    return torch.cat([rows[..., :CAMERA], found.flatten(-2)], -1)


def told_of(seconds_per_step: float, aspect: float) -> Tensor:
    """What the network of motion is told in place of a grid's scale: log2 of seconds per step and of width / height."""
    return torch.tensor([seconds_per_step, aspect]).log2()


def timeline(grid: Grid) -> Grid:
    """The grid of a clip's motion: one token a step."""
    return Grid(grid.steps, 1, 1, grid.seconds_per_step)


def features(
    motion: Tensor, looks: Tensor, setting: Tensor, scenery: Tensor, grid: Grid, tokens: Tensor | None = None
) -> Tensor:
    """What each token of a grid is told, B N FEATURES: motion B T CHANNELS, looks B THINGS LOOKS, setting B SETTING,
    scenery B LANDMARKS LANDMARK.

    Looks, settings and scenery of zeros are not said, and left to the network's reading of the words. tokens: the
    numbers of those that are asked for, B N, step after step and as many of each step; all of the grid's where left
    out.
    """
    rows = seen(plain(motion.unflatten(2, (PARTS, STATE))))
    x, y = (t[:, None] for t in _tangents(grid))  # 1 1 H W
    if tokens is not None:  # B T N/T 1
        at = tokens % grid.tokens_per_step
        x, y = (t.flatten(1).expand(len(at), -1).gather(1, at).unflatten(1, (grid.steps, -1, 1)) for t in (x, y))
    rows = rows[:, :, None, None]  # B T 1 1 P STATE
    x, y = (t[..., None].expand(-1, -1, -1, -1, PARTS) for t in (x, y))
    unit = _side(grid)
    point, depth = _behind(rows[..., :CAMERA], x, y)
    parts = [_directions(rows[..., :CAMERA], x, y), _ground(rows[..., :CAMERA], point, depth, unit / 16)]
    things, which = _nearest(rows, looks, x, y, unit / 16)
    told = torch.cat([*parts, things], -1)  # B T H W P f
    look = looks[:, None, None, None].expand(*which.shape[:4], -1, -1)
    look = look.gather(-2, which[..., None].expand(*which.shape, LOOKS))
    what = (_nearness(told)[..., None] * look).flatten(4)
    one = torch.ones_like(what[..., :1])
    where = setting[:, None, None, None].expand(*what.shape[:4], -1)
    drift = _drift(rows[..., :CAMERA], point, x, y) * (8 / grid.tokens_per_step**0.5 / unit)  # in positions
    around = _around(rows[..., :CAMERA], scenery, x, y, unit / 2)
    return torch.cat([one, told.flatten(4), what, where, around, drift], -1).flatten(1, 3)


def spots(motion: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Where things are on the grid, B T THINGS 2, and which are there, B THINGS, in a motion B T CHANNELS.

    Rows and columns of tokens, which may lie outside of the grid.
    """
    rows = seen(plain(motion.unflatten(2, (PARTS, STATE)))).mean(2)
    things = rows[..., CAMERA:].unflatten(-1, (THINGS, THING))
    row = (grid.rows - 1) / 2 - things[..., 2] / _side(grid)
    column = (grid.columns - 1) / 2 + things[..., 1] / _side(grid)
    return torch.stack([row, column], -1), things[:, 0, :, 0] > 0.5


def _behind(camera: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The spot of the ground, or of the sky far away, behind each token, and how far along the view axis it is.

    camera B T 1 1 P 5, tangents B|1 T|1 H W P -> B T H W P 3 and B T H W P, metres.
    """
    right, up, back = axes_of(camera)
    ray = x[..., None] * right + y[..., None] * up - back
    fall = -ray[..., 2] / camera[..., 2].clamp(min=NEAREST)  # 1 over the length at which a ray meets the ground
    depth = 1 / fall.clamp(min=1 / FARTHEST)
    return camera[..., :3] + ray * depth[..., None], depth


def _ground(camera: Tensor, point: Tensor, depth: Tensor, least: float) -> Tensor:
    """Where in the world the spot behind each token is: B T H W P f. In all clips of a place the ground is alike.

    A wave fades out where it is shorter than `least`, a tangent: beyond, and in the sky, it says nothing.
    """
    pixel = least * depth.square() / camera[..., 2].clamp(min=NEAREST)  # metres that it covers
    waves = []
    for length in GROUND:
        speed = 2 * math.pi / length
        fade = fade_of(speed * pixel)[..., None]
        waves += [fade * (speed * point[..., :2]).cos(), fade * (speed * point[..., :2]).sin()]
    return torch.cat([(point[..., :2] / 4).clamp(-3, 3), *waves], -1)


def fade_of(covered: Tensor) -> Tensor:
    """What is left of a wave when a pixel covers so much of it, in radians (arXiv:2103.13415, Eq. 14)."""
    return torch.exp(-covered.square() / 2)


def _around(camera: Tensor, scenery: Tensor, x: Tensor, y: Tensor, half: float) -> Tensor:
    """Where each token lies on the landmarks next to it in the picture, and what they are: B T H W f.

    camera B T 1 1 P 5, tangents B|1 T|1 H W P; half a token's side, in tangents.
    """
    foot, size = scenery[:, None, None, :, 1:4], scenery[:, None, None, :, 4:6].exp()  # B 1 1 L of each
    rel = foot - camera[..., 0, 0, :, None, :3]  # B T P L 3
    across, above, behind = ((rel * axis[:, :, 0, 0, :, None]).sum(-1) for axis in axes_of(camera))
    away = (-behind).clamp(min=NEAREST)
    spots = torch.stack([across / away, above / away, away, *size.expand(*away.shape, 2).unbind(-1)], -1)  # B T P L 5
    seen = (scenery[:, None, :, 0] > 0.5) & (behind < -NEAREST).all(2)  # B T L
    middle = spots.mean(2)[:, :, None, None]  # B T 1 1 L 5
    far = _off(middle, x.mean(-1, keepdim=True), y.mean(-1, keepdim=True), half) + middle[..., 2].log() / 3
    far, which = far.masked_fill(~seen[:, :, None, None], torch.inf).topk(AROUND, -1, largest=False)  # B T H W A
    at = which[..., None, :, None].expand(*which.shape[:4], PARTS, -1, 5)
    spots = spots[:, :, None, None].expand(*which.shape[:4], -1, -1, -1).gather(-2, at)  # B T H W P A 5
    x, y = x[..., None], y[..., None]
    near = torch.exp(-_off(spots, x, y, half) / 2) * far.isfinite()[..., None, :]
    right, up, away, wide, high = spots.unbind(-1)
    u, v = (x - right) * away / (2 * wide), (y - up) * away / high
    phase = torch.stack([t * (2 * math.pi / wave) for t in (u, v) for wave in ACROSS], -1)
    linear = torch.stack([torch.ones_like(u), u.clamp(-3, 3), v.clamp(-3, 3)], -1)
    place = torch.cat([linear, phase.cos(), phase.sin()], -1) * near[..., None]
    kind = scenery[:, None, None, None, :, 6:].expand(*which.shape[:4], -1, -1)
    kind = kind.gather(-2, which[..., None].expand(*which.shape, kind.shape[-1]))  # B T H W A k
    angle = [(t / away).mean(-2).log() + 2 for t in (wide, high)]
    kind = torch.cat([kind, torch.stack(angle, -1)], -1) * near.mean(-2)[..., None]
    known = (scenery[:, None, None, None, :, 0].amax(-1, keepdim=True)).expand(*which.shape[:4], 1)
    return torch.cat([known, place.flatten(4), kind.flatten(4)], -1)


def _off(spots: Tensor, x: Tensor, y: Tensor, half: float) -> Tensor:
    """How far tokens are off landmarks, in sizes of these, squared. A token's own side counts with the size."""
    right, up, away, wide, high = spots.unbind(-1)
    margin = away * half
    u, v = (x - right) * away / (wide + margin), ((y - up) * away - high / 2) / (high / 2 + margin)
    return u.square() + v.square()


def _drift(camera: Tensor, point: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """How far from a token one saw, in the first sample's picture, the point of the ground or the sky behind it.

    camera B T 1 1 P 5, tangents B|1 T|1 H W P -> B T H W 2, tangents down and right. A position shifted by it stands
    still when the camera moves: for rotary attention, tokens of one spot of the world are then at one place at all
    times, so what the world looks like there is looked up rather than worked out again. While a camera stands it is 0.
    """
    first = camera[:, :1, :, :, :1]
    across, above, behind = (((point - first[..., :3]) * axis).sum(-1) for axis in axes_of(first))
    depth = (-behind).clamp(min=NEAREST)
    was = torch.stack([-above / depth, across / depth], -1).clamp(-BEYOND, BEYOND).mean(4)  # B T H W 2
    return was - torch.stack([-y, x], -1)[..., 0, :]


def axes_of(camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A level camera's right, up and backward axes in the world, (..., 3) each, of (..., x y z yaw pitch)."""
    yaw, pitch = camera[..., 3], camera[..., 4]
    zero = torch.zeros_like(yaw)
    right = torch.stack([yaw.cos(), -yaw.sin(), zero], -1)
    up = torch.stack([-yaw.sin() * pitch.sin(), -yaw.cos() * pitch.sin(), pitch.cos()], -1)
    back = -torch.stack([yaw.sin() * pitch.cos(), yaw.cos() * pitch.cos(), pitch.sin()], -1)
    return right, up, back


def nearness(told: Tensor) -> Tensor:
    """How near each token is to a thing, from what it is told (B N FEATURES): B N, 1 at a middle, 0 far away."""
    samples = told[..., 1 : 1 + PARTS * (_CAMERA + BESIDE * _THING)]
    return _nearness(samples.unflatten(-1, (PARTS, -1))).amax(-1)


def beside(told: Tensor) -> Tensor:
    """How near each token is to something that stands around, from what it is told (B N FEATURES): B N, 1 on it."""
    parts = told[..., 1 - SCENERY - 2 : -2 - AROUND * (KINDS + 6)].unflatten(-1, (PARTS, AROUND, -1))
    return parts[..., 0].amax((-1, -2))


def _nearness(told: Tensor) -> Tensor:
    """How near each token is to its nearest things, in the nearest part: (..., P, f) -> (..., BESIDE)."""
    return told[..., _CAMERA:].unflatten(-1, (BESIDE, _THING))[..., 3].amax(-2)


def _side(grid: Grid) -> float:
    """A token's side, as a tangent of the viewing angle."""
    return 2 * math.tan(FOV / 2) / grid.rows


def _tangents(grid: Grid) -> tuple[Tensor, Tensor]:
    """Right and up tangents of the viewing angle to the middle of each token, 1 H W each."""
    y = ((grid.rows - 1) / 2 - torch.arange(grid.rows)[:, None]) * _side(grid)
    x = (torch.arange(grid.columns) - (grid.columns - 1) / 2) * _side(grid)
    return x.expand(1, grid.rows, -1), y.expand(1, -1, grid.columns)


def _directions(camera: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The camera's place, and in which direction of the world each token looks: B T H W P f."""
    azimuth, elevation = camera[..., 3] + torch.atan(x), camera[..., 4] + torch.atan(y)
    angle = torch.stack([a * turn for a in torch.broadcast_tensors(azimuth, elevation) for turn in TURNS], -1)
    middle, spread = (torch.from_numpy(t[:3]) for t in (MIDDLE, SPREAD))
    place = ((camera[..., :3] - middle) / spread).expand(*angle.shape[:-1], 3)
    return torch.cat([place, angle.cos(), angle.sin()], -1)


def _nearest(rows: Tensor, looks: Tensor, x: Tensor, y: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """What each token is told of the things nearest to it, B T H W P f, and which these are, B T H W BESIDE.

    rows B T 1 1 P STATE, tangents B|1 T|1 H W P; least: a pixel, as a tangent.
    """
    each = []
    for k in range(THINGS):
        thing = rows[..., CAMERA + k * THING : CAMERA + (k + 1) * THING]
        height = (looks[:, k, -1] * HEIGHT_SPREAD).exp()[:, None, None, None, None]
        each.append(_beside(thing, x, y, height, least) * (thing[..., 0] > 0.5)[..., None])
    found = torch.stack(each, -2)  # B T H W P THINGS f
    which = found[..., 3].amax(-2).topk(BESIDE, -1).indices
    at = which[..., None, :, None].expand(*found.shape[:5], BESIDE, found.shape[-1])
    return found.gather(-2, at).flatten(-2), which


def _beside(thing: Tensor, x: Tensor, y: Tensor, height: Tensor, least: float) -> Tensor:
    """Where each token lies from a thing, as the camera and as the thing has it, and the thing's pose: B T H W P f.

    The first in metres at the thing's distance, the other in heights of the thing, along its own axes, with the
    direction in which it is looked through there: what a thing looks like at a token is a function of these two, the
    same however it is turned and wherever it is (a light field, https://doi.org/10.1145/237170.237199).
    """
    away = thing[..., 3].exp()
    u, v = torch.broadcast_tensors((x - thing[..., 1]) * away, (y - thing[..., 2]) * away)
    near = torch.exp(-(u.square() + v.square()) / (2 * REACH**2))
    front, left = thing[..., 4:7], thing[..., 7:10]
    front = F.normalize(front, dim=-1)
    left = F.normalize(left - (left * front).sum(-1, keepdim=True) * front, dim=-1)
    axes = torch.stack([front, left, torch.linalg.cross(front, left)], -2)  # B T 1 1 P 3 3, of the thing by the camera
    spot = (axes[..., 0] * u[..., None] + axes[..., 1] * v[..., None]) / height[..., None]
    through = axes[..., 0] * x[..., None] + axes[..., 1] * y[..., None] - axes[..., 2]
    through = F.normalize(through, dim=-1).expand_as(spot)
    phase = torch.stack([t * (2 * math.pi / wave) for t in (u, v) for wave in WAVES], -1)
    speeds = [2 * math.pi / wave for wave in INSIDE]
    inside = torch.cat([spot * speed for speed in speeds], -1)
    fade = torch.stack([fade_of(speed * least * away / height) for speed in speeds], -1).repeat_interleave(3, -1)
    pose = torch.cat([thing[..., 3:4] - AWAY, thing[..., 4:]], -1).expand(*u.shape, 7)
    close = torch.cat([torch.stack([torch.ones_like(u), u, v], -1), phase.cos(), phase.sin(), pose,
                       spot, through, fade * inside.cos(), fade * inside.sin()], -1)
    far = torch.stack([torch.ones_like(u), torch.tanh(u / 2), torch.tanh(v / 2)], -1)
    return torch.cat([far, near[..., None] * close], -1)
