"""A window of a clip: what the networks see at once, and the velocities that they give for it.

Legend: N canvas tokens, K known tokens, T of both, C channels, F what a token is told of the motion, M captions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from tenku import rng
from tenku.engines.bundled import Dreamer, Engine
from tenku.model import flow
from tenku.model.motion import PARTS, features
from tenku.model.patches import Grid
from tenku.model.rays import beats
from tenku.sampling.guidance import led
from tenku.sampling.plan import Plan
from tenku.sampling.shown import Said, shares
from tenku.sampling.solvers import Velocity, euler
from tenku.world.mentions import filmed, headed
from tenku.world.motion import CAMERA, STATE, THING, THINGS

# How hard the prompt pulls on each network; 0: as the request says. Motion that is pulled more obeys its words, but
# its things come too near, rise too high and are not rigid (dev/LOG.md).
GUIDANCE = {"motion": 1.25, "noise": 0.0}
UPON = 0.02  # noise level at which a sketch is painted upon: the more, the farther from the truth (dev/LOG.md)


@dataclass(frozen=True)
class Told:
    """What a window's tokens are told of its motion, and of things and places that are said; and its sketch."""

    tokens: Callable[[Said], Tensor]  # 1 T F + C
    pictures: Callable[[Said], Tensor]  # what is sketched, 1 frames H W 3 in [-1, 1]
    seconds: Tensor  # of the frames


@dataclass(frozen=True)
class Window:
    """Tokens of a grid, some of them known, and the time of each in the whole clip."""

    grid: Grid
    latents: Tensor  # 1 T C: of the known tokens; of canvas tokens what dreaming starts from, where it does
    known: Tensor  # bool T
    told: Told | None
    seconds: Tensor  # T


Show = Callable[[int, Tensor], None]  # steps done, the canvas tokens as they look so far, 1 N C


def heard(plan: Plan, stream: str, begun: bool) -> tuple[Said, ...]:
    """What each network hears. A camera of which nothing is said stands still, unless pictures show what it does; and
    what moves nobody says where to goes to a side, unless it goes somewhere already: it has `begun`, or is led."""
    if stream != "motion":
        return plan.said
    said = tuple(one if plan.camera or one.scenery is None else replace(one, text=filmed(one.text))
                 for one in plan.said)
    return said if begun or plan.tracks else tuple(replace(one, text=headed(one.text, plan.seed)) for one in said)


def said_at(said: Sequence[Said], seconds: Tensor) -> list[tuple[Said, Tensor]]:
    """What is said at some times T, and how much it is that, T; what is said at none of them is left out."""
    parts = torch.from_numpy(shares(said, seconds.numpy())).float()
    return [(one, part) for one, part in zip(said, parts, strict=True) if part.max() > 0]


def what_is_told(
    engine: Engine, plan: Plan, worlds: Sequence[Tensor], grid: Grid, first: int, drawn: Tensor | None = None,
    sketch: Callable[[Said], Tensor] | None = None,
) -> Told | None:
    """What the tokens of a window are told of its motions, 1 T C each; None for a model that is told nothing.

    first: the latent step of the clip with which the window begins; drawn: bool T, the steps whose sketch is asked for,
    and roughly, or all. sketch: that of what is said, 1 N C, where there is one.
    """
    if engine.motion is None or engine.field is None:
        return None
    field, shape = engine.field, engine.codec.shape(grid)
    frame = torch.arange(shape[0]) + engine.codec.frames(first + 1) - 1
    seconds, turn = frame / plan.fps, plan.frames / plan.fps if plan.cyclic else None

    @cache
    def known(one: Said) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        looks, where, around = engine.told((one.text, one.rest), one.scenery)
        return without(worlds[one.world], looks, len(plan.tracks)), looks, where, around

    @cache
    def pictures(one: Said) -> Tensor:
        frames = None if drawn is None else engine.codec.spread(drawn[:, None, None], 1, 1).flatten()
        return field.video(*known(one), beats(seconds - one.clock, turn), shape, frames)

    @cache
    def tokens(one: Said) -> Tensor:
        if sketch is not None:
            seen = sketch(one)
        else:
            seen = engine.codec.encode(pictures(one).to(engine.device)).flatten(1, 3).cpu()
        return torch.cat([features(*known(one), grid), seen], -1)

    return Told(tokens, pictures, seconds)


def sketch_of(engine: Engine, plan: Plan, told: Told) -> tuple[Tensor, Tensor]:
    """A window's sketch, in which what is said gives way to what is said next: latents 1 T C, pictures 1 F H W 3."""
    parts = said_at(plan.said, told.seconds)
    if len(parts) == 1:
        one = parts[0][0]
        return told.tokens(one)[..., -engine.codec.config.channels :], told.pictures(one)
    pictures = torch.stack([part[:, None, None, None] * told.pictures(one) for one, part in parts]).sum(0)
    return engine.codec.encode(pictures.to(engine.device)).flatten(1, 3).cpu(), pictures


def upon_sketch(engine: Engine, plan: Plan, window: Window) -> tuple[Window, Tensor | None]:
    """The window, and its sketch as pictures, 1 frames H W 3; none where it is not dreamt from its sketch."""
    if window.told is None or not plan.sketched:
        return window, None
    sketch, pictures = sketch_of(engine, plan, window.told)
    return replace(window, latents=torch.where(window.known[:, None], window.latents, sketch)), pictures


def sketched(engine: Engine, plan: Plan) -> Plan:
    """The plan, from a sketch where the engine draws one and all that it shows is told."""
    told = engine.motion is not None and engine.field is not None and all(s.scenery is not None for s in plan.said)
    if not told or plan.start < 1:
        return plan
    return replace(plan, start=UPON, sketched=True)


def without(rows: Tensor, looks: Tensor, led: int) -> Tensor:
    """Motion 1 T C without things of which nothing is said, 1 THINGS LOOKS, unless they are among the `led` first."""
    there = looks.any(-1) | (torch.arange(THINGS) < led)
    samples = rows.unflatten(2, (PARTS, STATE)).clone()
    samples[..., CAMERA::THING] *= there
    return samples.flatten(2)


def same_noise(grid: Grid, seed: int, channels: int) -> Tensor:
    """Noise for painting upon a sketch, 1 T C, the same at all times: what rests flickers half as much (dev/LOG.md).

    After noise priors for video (PYoCo, arXiv:2305.10474).
    """
    return rng.normal((1, grid.tokens_per_step, channels), seed, "noise").repeat(1, grid.steps, 1)


def velocity_of(plan: Plan, dreamer: Dreamer, window: Window, stream: str) -> Velocity:
    """The velocity of a window's canvas tokens, in their order, under the plan's captions.

    Guided (Eq. 6 of arXiv:2207.12598) away from the negative prompt. All captions are worked on at once: with few
    tokens, most of the time is the weights' way to the processor.
    """
    device = dreamer.scale.device
    canvas = (~window.known).nonzero()[:, 0]
    order = torch.cat([window.known.nonzero()[:, 0], canvas])
    known = window.latents[:, window.known].to(device)
    positions = window.grid.positions()[order].to(device)
    parts = said_at(heard(plan, stream, bool(window.known.any())), window.seconds[canvas])
    prompts, scale = [one.text for one, _ in parts], GUIDANCE[stream] or plan.guidance
    told = None
    if window.told is not None:
        told = torch.cat([window.told.tokens(one)[:, order] for one, _ in parts]).to(device)
    if scale != 1:
        prompts += [plan.negative_prompt] * len(parts)
        told = None if told is None else told.repeat(2, 1, 1)
    each = dreamer.velocity(prompts, known, positions, told)
    shares = torch.stack([part for _, part in parts]).to(device)[None, ..., None]

    def velocity(x: Tensor, sigma: float) -> Tensor:
        towards, *away = (each(x, sigma).unflatten(0, (-1, len(parts))) * shares).sum(1, keepdim=True)
        return towards if not away else away[0] + scale * (towards - away[0])

    return velocity


def solve(
    plan: Plan, dreamer: Dreamer, window: Window, stream: tuple[str, *tuple[int, ...]],
    lead: Callable[[Tensor], Tensor] | None = None, show: Show | None = None,
) -> Tensor:
    """Dreams a window's canvas tokens, 1 N C, from the noise of a stream, or from what is there and some noise."""
    device = dreamer.scale.device
    count = int((~window.known).sum())
    channels = dreamer.model.config.channels
    if plan.sketched and stream[0] == "noise":
        x = same_noise(window.grid, plan.seed, channels)[:, ~window.known]
    else:
        x = rng.normal((1, count, channels), plan.seed, *stream)
    start, steps = (1.0, plan.steps) if stream[0] == "motion" else (plan.start, plan.steps_a_round)
    if start < 1:
        x = flow.interpolate(window.latents[:, ~window.known], x, torch.full((1, 1), start))

    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        if show:
            show(index, flow.denoised(x, v, sigma))

    velocity = led(velocity_of(plan, dreamer, window, stream[0]), lead)
    return euler(velocity, x.to(device), flow.schedule(steps, count) * start, on_step).cpu()
