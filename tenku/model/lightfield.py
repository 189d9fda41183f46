"""Light fields: what each pixel looks like as far as it follows from what is told of a clip.

A network for things says what a ray that passes a thing sees of it, in the thing's own axes, whatever it is near and
wherever it is (light field networks, arXiv:2106.02634). Others say what a ray sees of the ground and the sky, of what
stands around, and how dark a thing's shadow is. Laid over each other they give a picture: the sketch that the
transformer paints upon. All is learnt from pictures alone, by regression (training/lightfield.py).

Legend: F frames, n pixels of each, L landmarks near a pixel, STATE, LOOKS, SETTING, LANDMARK numbers of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import LightFieldConfig
from tenku.model.apart import around, between, steps
from tenku.model.checkpoint import load_module, save_module
from tenku.model.motion import AWAY, FARTHEST, PARTS, fade_of, plain
from tenku.model.rays import (
    ACROSS,
    AT_SEA,
    BEATS,
    SOLIDS,
    SWELL,
    Marks,
    Moved,
    Rays,
    Things,
    cast,
    rope,
    solids,
    swell,
    through,
)
from tenku.world.camera import FOV
from tenku.world.grammar import LIGHTS, PLACES
from tenku.world.motion import LOOKS, NEAREST, SETTING, STATE
from tenku.world.scenery import HAND, KINDS, LANDMARK

SHADE = 3.0  # of a thing's height: how far from its foot its shadow reaches
INSIDE = (2.0, 1.0, 0.5, 0.25, 0.125)  # of a thing's height: wavelengths in which a ray's place is told
GROUND = (7.14, 3.57, 1.79, 0.89)  # metres: those of the ground's patterns
AROUND_FOOT = (4.0, 2.0, 1.0)  # of a thing's height: those in which a spot of its shadow is told
UP = (1.0, 4.0, 16.0, 64.0)  # per radian of elevation: how sharply the horizon is told
TURNS = (1.0, 3.0, 7.0, 14.0, 28.0)  # per radian of azimuth
FEW = 256  # rays of a saying
ALIKE = 0.1  # of 2, the range of colours: where a pixel's neighbours differ by less, it is their mean
AT_ONCE = 4096  # rays: what they need stays in the caches, and in memory that is there already (dev/LOG.md)
PIECES = (AT_ONCE, 1024, 256)  # rays, in bfloat16: its kernels are made for each number of rows, and kept
FRAMES = 4  # at once
AROUND = 3  # landmarks that a pixel may see
MARGIN = 1.3  # of a landmark's size: how far from its middle it may be seen

_THING_IN = 3 + 3 + 6 * len(INSIDE) + 12 + 6 + 2 + len(BEATS) + SOLIDS
_SHADE_IN = 2 + 12 + 6 + 1
_SCENE_IN = 3 + 2 + 4 * 2 * len(GROUND) + len(UP) * 3 + 2 * len(TURNS) + 2 + 2 * len(SWELL)
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

        Without `which`: rays M N f, N of each saying, or of the only one -> M N outputs. It works in its weights'
        number format; outputs are float32.
        """
        count = rays.shape[-2]
        pieces = [count] if torch.is_grad_enabled() else self._pieces(count)
        if which is None and pieces != [count]:
            parts = F.pad(rays, (0, 0, 0, sum(pieces) - count)).split(pieces, 1)
            return torch.cat([self(part, said) for part in parts], 1)[:, :count]
        rays = rays.to(self.enter.weight.dtype)
        film = self.said(said.to(rays.dtype))  # M 2 depth width
        if which is None:
            film = film[:, None]
        elif len(said) * FEW < len(rays):  # saying by saying, which saves to copy one for each ray
            order = which.argsort(stable=True)
            parts = rays[order].split(which.bincount(minlength=len(said)).tolist())
            found = [self(part[None], said[i : i + 1])[0] for i, part in enumerate(parts) if len(part)]
            return torch.empty_like(torch.cat(found)).index_put((order,), torch.cat(found))
        elif len(said) > 1:
            spare = sum(pieces) - count
            rays, which = F.pad(rays, (0, 0, 0, spare)), F.pad(which, (0, spare))
            film = F.embedding(which, film)  # its gradient adds up faster than indexing's
        parts = iter(film.unflatten(-1, (2 * self.depth, self.width)).unbind(-2))
        h = F.silu(torch.addcmul(next(parts), self.enter(rays), next(parts)))
        for block in self.blocks:
            if torch.is_grad_enabled():
                h = h + F.silu(torch.addcmul(next(parts), block(h), next(parts)))
            else:  # the same numbers, and half of the memory to walk through
                out = block(h)
                h += F.silu(torch.addcmul(next(parts), out, next(parts), out=out), inplace=True)
        return self.leave(h).float()[..., :count, :]

    def _pieces(self, count: int) -> list[int]:
        """Numbers of rays that so many are worked on in; in bfloat16 some of PIECES, the last one filled up."""
        if count == 0:
            return [0]
        if self.enter.weight.dtype == torch.float32:
            return [AT_ONCE] * (count // AT_ONCE) + [count % AT_ONCE] * (count % AT_ONCE > 0)
        found = []
        for size in PIECES:
            found += [size] * (count // size)
            count %= size
        return [*found, PIECES[-1]] if count else found


class LightField(nn.Module):
    """Pixels from what is told of a clip."""

    def __init__(self, config: LightFieldConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.thing = Field(_THING_IN, _THING_SAID, w, 5, 4)
        self.shade = Field(_SHADE_IN, _THING_SAID, w // 8, 3, 1)
        self.scene = Field(_SCENE_IN, SETTING, w * 3 // 8, 4, 3)
        self.rope = nn.Parameter(torch.zeros(len(LIGHTS), 3))  # its colour
        self.landmark = Field(_LANDMARK_IN, _LANDMARK_SAID, w // 4, 4, 4)

    def forward(
        self, rows: Tensor, looks: Tensor, setting: Tensor, scenery: Tensor, beat: Tensor, x: Tensor, y: Tensor,
        unit: float,
    ) -> Tensor:
        """Colours F n 3, about -1 to 1, of rays with tangents x (right) and y (up), F n.

        rows F STATE in metres and radians; of each picture, or one for all: looks F|1 THINGS LOOKS, setting F|1
        SETTING, scenery F|1 LANDMARKS LANDMARK; beat F CLOCKS (see `beats`); unit: a pixel's side, as a tangent.
        """
        rays = cast(rows, x, y, unit)
        things = Things(rays, looks, setting, beat)
        return self._with_things(self._stage(rays, setting, scenery, beat), rays, things, setting, scenery)

    def video(
        self, motion: Tensor, looks: Tensor, setting: Tensor, scenery: Tensor, beat: Tensor,
        shape: tuple[int, int, int], drawn: Tensor | None = None,
    ) -> Tensor:
        """A clip of `shape` (frames, height, width), 1 F H W 3 in [-1, 1], of its motion 1 T CHANNELS and what is said.

        Drawn is what is seen to have moved: things in no more than each frame, the rest in no more than each second
        one, for which there is a sample of motion. A frame between two that are drawn is their mean.
        looks 1 THINGS LOOKS, setting 1 SETTING, scenery 1 LANDMARKS LANDMARK, beat F CLOCKS. drawn: bool F, the
        frames that are asked for, while the others stay grey, and all of these are rougher: no more than every fourth
        is drawn; all, if left out.
        """
        frames, high, wide = shape
        samples = plain(motion.unflatten(2, (PARTS, STATE)).flatten(1, 2)[0])[PARTS - 1 :]  # from the first frame on
        every = max(1, (frames - 1) // max(1, len(samples) - 1))
        rows = between(samples, torch.arange(len(samples)) * every, torch.arange(frames))
        asked = torch.arange(frames) if drawn is None else drawn.nonzero()[:, 0]
        unit = 2 * math.tan(FOV / 2) / high
        y, x = torch.meshgrid((high - 1) / 2 - torch.arange(high), torch.arange(wide) - (wide - 1) / 2, indexing="ij")
        x, y = (t.reshape(1, -1) * unit for t in (x, y))

        def rays(frames: Tensor) -> Rays:
            return cast(rows[frames], x.expand(len(frames), -1), y.expand(len(frames), -1), unit, wide)

        few = [line * wide + column for line in (0, high // 2, high - 1) for column in (0, wide // 2, wide - 1)]
        moved = Moved(cast(rows, x[:, few].expand(frames, -1), y[:, few].expand(frames, -1), unit), looks, setting,
                       beat)
        least = (1, every) if drawn is None else (2 * every, 2 * every)
        whole = around(steps(moved.anything, frames, least[0]), asked)
        stage = around(steps(moved.ground, frames, least[1]), whole)

        def finished(some: Tensor) -> Tensor:
            here = rays(some)
            things = Things(here, looks, setting, beat[some])
            return self._with_things(between(ground, stage, some), here, things, setting, scenery)

        ground = torch.cat(_side_by_side(
            lambda some: self._stage(rays(some), setting, scenery, beat[some]), stage.split(FRAMES)))
        clip = torch.zeros(frames, high * wide, 3)
        clip[asked] = between(torch.cat(_side_by_side(finished, whole.split(FRAMES))), whole, asked)
        return clip.clamp(-1, 1).unflatten(1, (high, wide))[None]

    def _stage(self, rays: Rays, setting: Tensor, scenery: Tensor, beat: Tensor) -> Tensor:
        """Ground, sky and what stands around, F n 3."""
        return self._landmarks(self._scene(rays, setting, beat[:, None]), rays, setting, scenery)

    def _with_things(self, picture: Tensor, rays: Rays, things: Things, setting: Tensor, scenery: Tensor) -> Tensor:
        """The picture with shadows, things, and the rope that the first one hangs by where there is a swing."""
        picture = self._shadows(picture, rays, things)
        if (scenery[:, -1, 0] > 0.5).any() and things.count:
            hides = (rope(rays, things) * (scenery[:, -1, :1] > 0.5))[..., None]
            picture = torch.lerp(picture, (setting[:, len(PLACES) :] @ self.rope.float())[:, None], hides)
        return self._bodies(picture, rays, things)

    def _scene(self, rays: Rays, setting: Tensor, beat: Tensor) -> Tensor:
        """Ground and sky, F n 3; beat F 1 CLOCKS, or of each ray."""
        if rays.wide:
            frame, pixel = (t.flatten() for t in torch.meshgrid(*map(torch.arange, rays.depth.shape), indexing="ij"))
            return _asked(
                lambda mine: self._scene(rays.some(frame[mine], pixel[mine]), setting, beat[None, frame[mine], 0])[0],
                rays.depth.new_zeros(*rays.depth.shape, 1, 3), (frame, pixel, torch.zeros_like(pixel)), rays.wide,
            )[:, :, 0]
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
        waves = setting[:, None, AT_SEA, None] * swell(b, pixel, beat)
        told = torch.cat([place, fade * along.cos(), fade * along.sin(), up.tanh(), up.cos(), up.sin(), turn.cos(),
                          turn.sin(), waves], -1)
        return self.scene(told, setting)

    def _landmarks(self, picture: Tensor, rays: Rays, setting: Tensor, scenery: Tensor) -> Tensor:
        """What stands around, laid over the picture from far to near."""
        marks = Marks(rays, scenery)
        at = (marks.off + marks.away.log()[:, None] / 4).topk(AROUND, -1, largest=False).indices  # F n A
        frame, pixel, slot = (marks.off.gather(-1, at) < MARGIN).nonzero().unbind(1)
        if not len(frame):
            return picture
        one = at[frame, pixel, slot]
        kind = scenery[..., 6 : 6 + KINDS, None] * setting[:, None, None, : len(PLACES)]  # F L KINDS PLACES
        said = torch.cat([kind.flatten(2), setting[:, None, len(PLACES) :].expand(-1, kind.shape[1], -1),
                          scenery[..., 4:6], scenery[..., HAND:]], -1)
        which = frame % len(setting) * scenery.shape[1] + one

        def ask(mine: Tensor) -> Tensor:
            told = marks.told(rays, frame[mine], pixel[mine], one[mine])
            return _layer(self.landmark(told, said.flatten(0, 1), which[mine]))

        layers = _asked(ask, picture.new_zeros(*at.shape, 4), (frame, pixel, slot), rays.wide)
        away = marks.away[torch.arange(len(at))[:, None, None], at]
        return _laid(picture, layers, away)

    def _shadows(self, picture: Tensor, rays: Rays, things: Things) -> Tensor:
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

    def _bodies(self, picture: Tensor, rays: Rays, things: Things) -> Tensor:
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
        least, most = through(place, way, box)
        hit = (least < most).nonzero()[:, 0]
        if not len(hit):
            return picture
        frame, pixel, k, high, far, place, way, cover = (
            t[hit] for t in (frame, pixel, k, high, far, place, way, cover))
        core, up = things.core.expand(len(things.height), -1, -1)[frame, k], own[hit, :, 2]
        speeds = 2 * math.pi / torch.tensor(INSIDE)

        def ask(mine: Tensor) -> Tensor:
            at, to, size = frame[mine], way[mine], cover[mine]
            fade, wave = fade_of(size * speeds).repeat(1, 3), (place[mine, :, None] * speeds).flatten(1)
            told = torch.cat([place[mine], to, fade * wave.cos(), fade * wave.sin(), (2 * to).cos(), (2 * to).sin(),
                              (4 * to).cos(), (4 * to).sin(), things.pose[at, k[mine]], size.log() / 2 + 1.5,
                              far[mine].log() - AWAY, things.beat[at],
                              solids(place[mine], to, core[mine], size, up[mine],
                                     things.place[at, k[mine], 2:] / high[mine])], -1)
            return _layer(self.thing(told, things.said, things.which(at, k[mine])))

        layers = _asked(ask, picture.new_zeros(*near.shape, 4), (frame, pixel, k), rays.wide, ALIKE / 5)
        return _laid(picture, layers, along)

    def save(self, path: Path, facts: dict[str, str] | None = None, *, half: bool = False) -> None:
        """Writes safetensors with the config in the header. `half` stores bfloat16."""
        save_module(self, path, self.config.to_dict(), facts, half=half)

    @classmethod
    def load(cls, path: Path) -> LightField:
        """Reads what `save` wrote. Raises UserError for a missing, foreign or corrupt file."""
        return load_module(path, lambda values: cls(LightFieldConfig.from_dict(values)))


def _side_by_side(draw: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """Draws parts in as many threads as torch has, of one each: rays in the caches are too few to share."""
    count, quiet = min(torch.get_num_threads(), len(parts)), torch.is_inference_mode_enabled()
    if count < 2 or torch.is_grad_enabled():
        return [draw(part) for part in parts]

    def alone(part: Tensor) -> Tensor:
        torch.set_num_threads(1)  # of this thread
        with torch.inference_mode(quiet):
            return draw(part)

    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(alone, parts))
    torch.set_num_threads(torch.get_num_threads())  # what threads to come begin with
    return found


def _asked(
    ask: Callable[[Tensor], Tensor], found: Tensor, at: tuple[Tensor, Tensor, Tensor], wide: int, middle: float = 0.0,
) -> Tensor:
    """`found`, F n K c, with what `ask` says of rays: which of them, int64 N, -> N c. at: frame, pixel, slot of each.

    Of whole pictures, `wide` pixels in a line, not each ray is asked for: first those of each second line and column,
    then those in the middle of four such, unless these differ by less than `middle`, which lines one pixel wide may
    slip through; then the others, unless the four next to them are alike.
    """
    frame, pixel, slot = at
    if not wide:
        return found.index_put(at, ask(torch.arange(len(pixel))))
    high, (line, column) = found.shape[1] // wide, (pixel // wide, pixel % wide)
    inner = (line > 0) & (line < high - 1) & (column > 0) & (column < wide - 1)
    line, column = line % 2, column % 2
    corners, edges = (-wide - 1, 1 - wide, wide - 1, wide + 1), (-wide, -1, 1, wide)
    for turn, agree, beside in ((line + column == 0, 0.0, ()), (line * column == 1, middle, corners),
                                (line != column, ALIKE, edges)):
        mine = turn.nonzero()[:, 0]
        if beside:
            spots = (pixel[mine, None] + torch.tensor(beside)).clamp(0, found.shape[1] - 1)
            seen = found[frame[mine, None], spots, slot[mine, None]]
            found[frame[mine], pixel[mine], slot[mine]] = seen.mean(1)
            mine = mine[((seen.amax(1) - seen.amin(1)).amax(-1) > agree) | ~inner[mine]]
        found[frame[mine], pixel[mine], slot[mine]] = ask(mine)
    return found


def _layer(found: Tensor) -> Tensor:
    """What a field says, N 4, as a layer: how much of it hides what is behind, after its colour by as much."""
    hides = torch.sigmoid(found[:, 3:])
    return torch.cat([found[:, :3] * hides, hides], -1)


def _laid(picture: Tensor, layers: Tensor, away: Tensor) -> Tensor:
    """Layers F n K 4 over a picture F n 3, those first that are farthest away, F n K."""
    order = away.argsort(-1, descending=True)
    for layer in layers.gather(2, order[..., None].expand_as(layers)).unbind(2):
        picture = torch.addcmul(picture + layer[..., :3], picture, layer[..., 3:], value=-1)
    return picture
