"""Light fields: what each pixel looks like as far as it follows from what is told of a clip.

A network for things says what a ray that passes a thing sees of it, in the thing's own axes, whatever it is near and
wherever it is (light field networks, arXiv:2106.02634). Others say what a ray sees of the ground and the sky, of what
stands around, and how dark a thing's shadow is. Laid over each other they give a picture: the sketch that the
transformer paints upon. All is learnt from pictures alone, by regression (training/lightfield.py).

Legend: F frames, n pixels of each, L landmarks near a pixel, STATE, LOOKS, SETTING, LANDMARK numbers of a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import LightFieldConfig
from tenku.model.checkpoint import load_module, save_module
from tenku.model.motion import AWAY, FARTHEST, PARTS, axes_of, fade_of, plain, rotation_of
from tenku.world.camera import FOV
from tenku.world.grammar import LIGHTS, MEASURES, PLACES, SUBJECTS, TAIL, WINGS
from tenku.world.motion import CAMERA, HEIGHT_SPREAD, LOOKS, NEAREST, SETTING, STATE, THING, THINGS
from tenku.world.scenery import HAND, KINDS, LANDMARK

REACH = {"butterfly": 1.0, "rocket": 0.9}  # of a thing's height: how far wings and flames are above or below its middle
# Of a thing's height: half the sides, front, left and up, of a box outside of which nothing of it is, by subject.
BOXES = torch.tensor([[0.57 * length / height, 0.57 * width / height, REACH.get(subject, 0.57)]
                      for subject, (height, length, width) in MEASURES.items()])
BEATS = (WINGS, TAIL)  # Hz: things' parts beat by these clocks
SHADE = 3.0  # of a thing's height: how far from its foot its shadow reaches
INSIDE = (2.0, 1.0, 0.5, 0.25, 0.125)  # of a thing's height: wavelengths in which a ray's place is told
GROUND = (7.14, 3.57, 1.79, 0.89)  # metres: those of the ground's patterns
AROUND_FOOT = (4.0, 2.0, 1.0)  # of a thing's height: those in which a spot of its shadow is told
ACROSS = (2.0, 1.0, 0.5, 0.25)  # of a landmark's size
UP = (1.0, 4.0, 16.0, 64.0)  # per radian of elevation: how sharply the horizon is told
TURNS = (1.0, 3.0, 7.0, 14.0, 28.0)  # per radian of azimuth
FEW = 256  # rays of a saying
AT_ONCE = 1024  # rays: what they need stays in the caches, and in memory that is there already (dev/LOG.md)
FRAMES = 4  # at once
AROUND = 3  # landmarks that a pixel may see
MARGIN = 1.3  # of a landmark's size: how far from its middle it may be seen
EVERYWHERE = 20.0  # metres: a landmark that wide is near every pixel

_THING_IN = 3 + 3 + 6 * len(INSIDE) + 12 + 6 + 2 + len(BEATS)
_SHADE_IN = 2 + 12 + 6 + 1
_SCENE_IN = 3 + 2 + 4 * 2 * len(GROUND) + len(UP) * 3 + 2 * len(TURNS)
_LANDMARK_IN = 2 + 4 * len(ACROSS) + 2 + 2 + 2 + 2
_THING_SAID = LOOKS + SETTING
_LANDMARK_SAID = KINDS * len(PLACES) + len(LIGHTS) + LANDMARK - 4 - KINDS


class Field(nn.Module):
    """A small network of rays, whose hidden layers are scaled and shifted by what is said (FiLM, arXiv:1709.07871)."""

    def __init__(self, inputs: int, said: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        heard = max(64, width // 2)
        film = nn.Linear(heard, 2 * depth * width)
        self.said = nn.Sequential(nn.Linear(said, heard), nn.SiLU(), film)
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.leave = nn.Linear(width, outputs)
        with torch.no_grad():
            film.weight.mul_(0.5)
            film.bias.view(depth, 2, width).copy_(torch.tensor([[0.0], [1.0]]))

    def forward(self, rays: Tensor, said: Tensor, which: Tensor | None = None) -> Tensor:
        """rays N f, said M s, which of the sayings holds for each ray, int64 N, -> N outputs.

        Without `which`: rays M N f, N of each saying, or of the only one -> M N outputs.
        """
        if which is None and rays.shape[1] > AT_ONCE and not torch.is_grad_enabled():
            return torch.cat([self(part, said) for part in rays.split(AT_ONCE, 1)], 1)
        film = self.said(said)  # M 2 depth width
        if which is None:
            film = film[:, None]
        elif len(said) * FEW < len(rays):  # saying by saying, which saves to copy one for each ray
            order = which.argsort(stable=True)
            parts = rays[order].split(which.bincount(minlength=len(said)).tolist())
            found = [self(part[None], said[i : i + 1])[0] for i, part in enumerate(parts) if len(part)]
            return torch.empty_like(torch.cat(found)).index_put((order,), torch.cat(found))
        elif len(said) > 1:
            film = F.embedding(which, film)  # its gradient adds up faster than indexing's
        parts = iter(film.unflatten(-1, (2 * self.depth, self.width)).unbind(-2))
        h = F.silu(torch.addcmul(next(parts), self.enter(rays), next(parts)))
        for block in self.blocks:
            h = h + F.silu(torch.addcmul(next(parts), block(h), next(parts)))
        return self.leave(h)


class LightField(nn.Module):
    """Pixels from what is told of a clip."""

    def __init__(self, config: LightFieldConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.thing = Field(_THING_IN, _THING_SAID, w, 5, 4)
        self.shade = Field(_SHADE_IN, _THING_SAID, w // 8, 3, 1)
        self.scene = Field(_SCENE_IN, SETTING, w * 3 // 8, 4, 3)
        self.landmark = Field(_LANDMARK_IN, _LANDMARK_SAID, w // 4, 4, 4)

    def forward(
        self, rows: Tensor, looks: Tensor, setting: Tensor, scenery: Tensor, beat: Tensor, x: Tensor, y: Tensor,
        unit: float,
    ) -> Tensor:
        """Colours F n 3, about -1 to 1, of rays with tangents x (right) and y (up), F n.

        rows F STATE in metres and radians; of each picture, or one for all: looks F|1 THINGS LOOKS, setting F|1
        SETTING, scenery F|1 LANDMARKS LANDMARK; beat F len(BEATS) (see `beats`); unit: a pixel's side, as a tangent.
        """
        rays = _cast(rows, x, y, unit)
        return self._with_things(self._stage(rays, setting, scenery), rays, _Things(rays, looks, setting, beat))

    def video(
        self, motion: Tensor, looks: Tensor, setting: Tensor, scenery: Tensor, beat: Tensor,
        shape: tuple[int, int, int], drawn: Tensor | None = None,
    ) -> Tensor:
        """A clip of `shape` (frames, height, width), 1 F H W 3 in [-1, 1], of its motion 1 T CHANNELS and what is said.

        Things are drawn in each frame, what stands still in every second one, for which there is a sample of motion;
        what lies between two of these is their mean.
        looks 1 THINGS LOOKS, setting 1 SETTING, scenery 1 LANDMARKS LANDMARK, beat F len(BEATS). drawn: bool F, the
        frames that are asked for, while the others stay grey, and all of these are rougher: every fourth is drawn, and
        the others are means; all, if left out.
        """
        frames, high, wide = shape
        keys = plain(motion.unflatten(2, (PARTS, STATE)).flatten(1, 2)[0])[PARTS - 1 :]  # from the first frame on
        keys = keys if drawn is None else keys[::2]
        every = max(1, (frames - 1) // max(1, len(keys) - 1))
        unit = 2 * math.tan(FOV / 2) / high
        y, x = torch.meshgrid((high - 1) / 2 - torch.arange(high), torch.arange(wide) - (wide - 1) / 2, indexing="ij")
        x, y = (t.reshape(1, -1) * unit for t in (x, y))

        def rays(rows: Tensor) -> _Rays:
            return _cast(rows, x.expand(len(rows), -1), y.expand(len(rows), -1), unit)

        def things(rays: _Rays, frames: Tensor) -> _Things:
            return _Things(rays, looks, setting, beat[frames])

        asked = torch.ones(frames, dtype=torch.bool) if drawn is None else drawn
        wanted = F.max_pool1d(asked[None].float(), 2 * every - 1, every, every - 1)[0] > 0
        stage = torch.zeros(len(keys), high * wide, 3)
        for some in wanted.nonzero()[:, 0].split(FRAMES):
            here = rays(keys[some])
            stage[some] = self._stage(here, setting, scenery)
            if drawn is not None:
                stage[some] = self._with_things(stage[some], here, things(here, some * every))
        clip = _between(stage, every) * asked[:, None, None]
        if drawn is None:
            rows = _between(keys, every)
            for some in torch.arange(frames).split(FRAMES):
                here = rays(rows[some])
                clip[some] = self._with_things(clip[some], here, things(here, some))
        return clip.clamp(-1, 1).unflatten(1, (high, wide))[None]

    def _stage(self, rays: _Rays, setting: Tensor, scenery: Tensor) -> Tensor:
        """Ground, sky and what stands around, F n 3."""
        return self._landmarks(self._scene(rays, setting), rays, setting, scenery)

    def _with_things(self, picture: Tensor, rays: _Rays, things: _Things) -> Tensor:
        """The picture with shadows and things."""
        return self._bodies(self._shadows(picture, rays, things), rays, things)

    def _scene(self, rays: _Rays, setting: Tensor) -> Tensor:
        """Ground and sky, F n 3."""
        ray, eye, spot, depth = rays.ray, rays.eye, rays.spot, rays.depth
        pixel = rays.unit * depth.square() / eye[..., 2].clamp(min=NEAREST)
        a, b = spot[..., 0], spot[..., 1]
        azimuth = torch.atan2(ray[..., 0], ray[..., 1])
        elevation = torch.atan2(ray[..., 2], ray[..., :2].norm(dim=-1))
        speeds = 2 * math.pi / torch.tensor(GROUND)
        along = (torch.stack([a, b, a + b, a - b], -1)[..., None] * speeds).flatten(-2)
        fade = fade_of(pixel[..., None] * speeds).repeat(1, 1, 4)
        up, turn = elevation[..., None] * torch.tensor(UP), azimuth[..., None] * torch.tensor(TURNS)
        place = torch.stack([(a / 4).clamp(-3, 3), (b / 4).clamp(-3, 3), eye[..., 2].expand_as(a), depth.log(),
                             1 / depth], -1)
        told = torch.cat([place, fade * along.cos(), fade * along.sin(), up.tanh(), up.cos(), up.sin(), turn.cos(),
                          turn.sin()], -1)
        return self.scene(told, setting)

    def _landmarks(self, picture: Tensor, rays: _Rays, setting: Tensor, scenery: Tensor) -> Tensor:
        """What stands around, laid over the picture from far to near."""
        marks = _Marks(rays, scenery)
        at = (marks.off + marks.away.log()[:, None] / 4).topk(AROUND, -1, largest=False).indices  # F n A
        frame, pixel, slot = (marks.off.gather(-1, at) < MARGIN).nonzero().unbind(1)
        if not len(frame):
            return picture
        one = at[frame, pixel, slot]
        kind = scenery[..., 6 : 6 + KINDS, None] * setting[:, None, None, : len(PLACES)]  # F L KINDS PLACES
        said = torch.cat([kind.flatten(2), setting[:, None, len(PLACES) :].expand(-1, kind.shape[1], -1),
                          scenery[..., 4:6], scenery[..., HAND:]], -1)
        which = frame % len(setting) * scenery.shape[1] + one
        found = self.landmark(marks.told(rays, frame, pixel, one), said.flatten(0, 1), which)
        layers = picture.new_zeros(*at.shape, 4).index_put((frame, pixel, slot), _layer(found))
        away = marks.away[torch.arange(len(at))[:, None, None], at]
        return _laid(picture, layers, away)

    def _shadows(self, picture: Tensor, rays: _Rays, things: _Things) -> Tensor:
        """The picture with what things take of the ground's light."""
        off = (rays.spot[:, :, None, :2] - things.place[:, None, :, :2]) / things.height[:, None, :, None]  # F n K 2
        lit = things.there[:, None] & (off.norm(dim=-1) < SHADE) & (rays.depth < FARTHEST / 2)[..., None]
        frame, pixel, k = lit.nonzero().unbind(1)
        if not len(frame):
            return picture
        flat = off[frame, pixel, k]
        wave = (flat[..., None] * (2 * math.pi / torch.tensor(AROUND_FOOT))).flatten(1)
        told = torch.cat([flat, wave.cos(), wave.sin(), things.pose[frame, k],
                          things.place[frame, k, 2:] / things.height[frame, k, None]], -1)
        dark = torch.sigmoid(self.shade(told, things.said, things.which(frame, k)) - 3)[:, 0]
        light = torch.ones(lit.shape, device=picture.device).index_put((frame, pixel, k), 1 - dark)
        return (picture + 1) * light.prod(-1, keepdim=True) - 1

    def _bodies(self, picture: Tensor, rays: _Rays, things: _Things) -> Tensor:
        """The things, laid over the picture from far to near."""
        beam = F.normalize(rays.ray, dim=-1)
        rel = rays.eye - things.place  # F K 3, from the thing to the eye
        along = -(rel[:, None] * beam[:, :, None]).sum(-1)  # F n K, metres to the nearest point of the ray
        past = rel[:, None] + along[..., None] * beam[:, :, None]  # F n K 3, from the middle to it
        bound = (things.box.norm(dim=-1) * things.height).square()[:, None]
        near = things.there[:, None] & (past.square().sum(-1) < bound) & (along > NEAREST / 2)
        frame, pixel, k = near.nonzero().unbind(1)
        own = things.turn[frame, k].mT  # N 3 3: world to thing
        high, far = things.height[frame, k, None], along[frame, pixel, k, None]
        place = (own @ past[frame, pixel, k, :, None])[..., 0] / high
        way = (own @ beam[frame, pixel, :, None])[..., 0]
        cover = rays.unit * far / high
        box = things.box.expand(len(things.height), -1, -1)[frame, k] + cover
        slow = torch.where(way.abs() < 1e-6, 1e-6, way)
        least, most = ((-box - place) / slow, (box - place) / slow)
        hit = (torch.minimum(least, most).amax(-1) < torch.maximum(least, most).amin(-1)).nonzero()[:, 0]
        if not len(hit):
            return picture
        frame, pixel, k, high, far, place, way, cover = (
            t[hit] for t in (frame, pixel, k, high, far, place, way, cover))
        speeds = 2 * math.pi / torch.tensor(INSIDE)
        fade, wave = fade_of(cover * speeds).repeat(1, 3), (place[..., None] * speeds).flatten(1)
        told = torch.cat([place, way, fade * wave.cos(), fade * wave.sin(), (2 * way).cos(), (2 * way).sin(),
                          (4 * way).cos(), (4 * way).sin(), things.pose[frame, k], cover.log() / 2 + 1.5,
                          far.log() - AWAY, things.beat[frame]], -1)
        found = self.thing(told, things.said, things.which(frame, k))
        return _laid(picture, picture.new_zeros(*near.shape, 4).index_put((frame, pixel, k), _layer(found)), along)

    def save(self, path: Path, facts: dict[str, str] | None = None, *, half: bool = False) -> None:
        """Writes safetensors with the config in the header. `half` stores bfloat16."""
        save_module(self, path, self.config.to_dict(), facts, half=half)

    @classmethod
    def load(cls, path: Path) -> LightField:
        """Reads what `save` wrote. Raises UserError for a missing, foreign or corrupt file."""
        return load_module(path, lambda values: cls(LightFieldConfig.from_dict(values)))


@dataclass
class _Rays:
    """Rays through pixels, and what they would meet were there nothing but the ground."""

    rows: Tensor  # F STATE, plain
    x: Tensor  # F n, tangents
    y: Tensor
    unit: float
    ray: Tensor  # F n 3, one metre along the view axis
    eye: Tensor  # F 1 3
    spot: Tensor  # F n 3, of the ground, or far away
    depth: Tensor  # F n, metres along the view axis


def _cast(rows: Tensor, x: Tensor, y: Tensor, unit: float) -> _Rays:
    eye = rows[:, None, :3]
    right, up, back = (t[:, None] for t in axes_of(rows[:, :CAMERA]))
    ray = x[..., None] * right + y[..., None] * up - back
    fall = -ray[..., 2] / eye[..., 2].clamp(min=NEAREST)
    depth = 1 / fall.clamp(min=1 / FARTHEST)
    return _Rays(rows, x, y, unit, ray, eye, eye + ray * depth[..., None], depth)


class _Things:
    """The things of some pictures, F K."""

    def __init__(self, rays: _Rays, looks: Tensor, setting: Tensor, beat: Tensor) -> None:
        numbers = rays.rows[:, CAMERA:].unflatten(1, (THINGS, THING))
        self.there = numbers[..., 0] > 0.5
        self.place = numbers[..., 1:4]
        self.turn = rotation_of(rays.rows)  # F K 3 3, columns front, left, up
        self.pose = self.turn[..., :2].mT.flatten(2)
        self.height = (looks[..., -1] * HEIGHT_SPREAD).exp().expand(len(rays.rows), -1)
        subject = looks[..., : len(SUBJECTS)]
        self.box = torch.where(subject.any(-1, keepdim=True), subject @ BOXES, BOXES.amax(0))  # F|1 K 3
        self.beat = beat
        self.sayings = len(looks)
        self.said = torch.cat([looks, setting[:, None].expand(-1, THINGS, -1)], -1).flatten(0, 1)

    def which(self, frame: Tensor, k: Tensor) -> Tensor:
        """The sayings that hold for rays of a frame at a thing."""
        return frame % self.sayings * THINGS + k


class _Marks:
    """The landmarks of some pictures as upright boards, F L."""

    def __init__(self, rays: _Rays, scenery: Tensor) -> None:
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

    def told(self, rays: _Rays, frame: Tensor, pixel: Tensor, one: Tensor) -> Tensor:
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


def beats(seconds: Tensor, around: float | None = None) -> Tensor:
    """Where what beats is in its swing, -1 to 1, at times F: F len(BEATS).

    around: duration of a circle of time, seconds, into which beats then fit.
    """
    hertz = torch.tensor(BEATS)
    if around:
        hertz = (hertz * around).round().clamp(min=1) / around
    return (2 * math.pi * seconds[:, None] * hertz).sin()


def _between(keys: Tensor, every: int) -> Tensor:
    """K ... -> 1 + (K - 1) every ...: as many steps from each to the next, evenly."""
    parts = (torch.arange(1, every + 1) / every).view(-1, *[1] * (keys.ndim - 1))
    return torch.cat([keys[:1], torch.lerp(keys[:-1, None], keys[1:, None], parts).flatten(0, 1)])


def _layer(found: Tensor) -> Tensor:
    """What a field says, N 4, as a layer: colour, and how much of it hides what is behind."""
    return torch.cat([found[:, :3], torch.sigmoid(found[:, 3:])], -1)


def _laid(picture: Tensor, layers: Tensor, away: Tensor) -> Tensor:
    """Layers F n K 4 over a picture F n 3, those first that are farthest away, F n K."""
    order = away.argsort(-1, descending=True)
    for layer in layers.gather(2, order[..., None].expand_as(layers)).unbind(2):
        picture = torch.lerp(picture, layer[..., :3], layer[..., 3:])
    return picture
