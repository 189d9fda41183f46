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
from tenku.sampling.guidance import guided, led, scheduled
from tenku.sampling.plan import Plan
from tenku.sampling.solvers import Velocity, euler
from tenku.world.mentions import filmed
from tenku.world.motion import CAMERA, STATE, THING, THINGS

# How hard the prompt pulls on each network; 0: as the request says. Motion that is pulled more obeys its words, but
# its things come too near, rise too high and are not rigid (dev/LOG.md).
GUIDANCE = {"motion": 1.5, "noise": 0.0}
UPON = 0.1  # noise level at which a sketch is painted upon: the more, the farther from the truth (dev/LOG.md)
FADE = 0.5  # seconds in which one caption gives way to the next


@dataclass(frozen=True)
class Told:
    """What a window's tokens are told of its motion, and of a prompt's things and place; and its sketch."""

    tokens: Callable[[str], Tensor]  # under a prompt, 1 T F + C
    pictures: Callable[[str], Tensor]  # what is sketched, 1 frames H W 3 in [-1, 1]


@dataclass(frozen=True)
class Window:
    """Tokens of a grid, some of them known, and the time of each in the whole clip."""

    grid: Grid
    latents: Tensor  # 1 T C: of the known tokens; of canvas tokens what dreaming starts from, where it does
    known: Tensor  # bool T
    told: Told | None
    seconds: Tensor  # T


Show = Callable[[int, Tensor], None]  # steps done, the canvas tokens as they look so far, 1 N C


def captions(plan: Plan, stream: str) -> list[tuple[float, str]]:
    """When each prompt begins to hold, in seconds. The motion of another clip follows that clip's prompt.

    A camera of which nothing is said stands still, unless pictures show what it does.
    """
    if stream != "motion":
        return [(0.0, plan.prompt), *plan.captions]
    asked = [(0.0, plan.moves[0])] if plan.moves else [(0.0, plan.prompt), *plan.captions]
    if plan.camera or plan.scenery is None:
        return asked
    return [(start, filmed(text)) for start, text in asked]


def shares(starts: Sequence[float], seconds: Tensor) -> Tensor:
    """How much each caption says at each time T, adding up to one: M T. One fades into the next around its start."""
    begun = torch.stack([((seconds - start) / FADE + 0.5).clamp(0, 1) for start in starts])
    begun[0] = 1.0
    return begun - torch.cat([begun[1:], torch.zeros_like(begun[:1])])


def what_is_told(
    engine: Engine, plan: Plan, rows: Tensor, grid: Grid, first: int, drawn: Tensor | None = None,
    sketch: Callable[[str], Tensor] | None = None,
) -> Told | None:
    """What the tokens of a window are told of its motion, 1 T C; None for a model that is told nothing.

    first: the latent step of the clip with which the window begins; drawn: bool T, the steps whose sketch is asked for,
    and roughly, or all. sketch: that under a prompt, 1 N C, where there is one.
    """
    if engine.motion is None or engine.field is None:
        return None
    field, shape = engine.field, engine.codec.shape(grid)
    frame = torch.arange(shape[0]) + engine.codec.frames(first + 1) - 1
    beat = beats(frame / plan.fps, plan.frames / plan.fps if plan.cyclic else None)

    def said(prompt: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        looks, where, around = engine.told((prompt, plan.prompt), plan.scenery)
        return without(rows, looks, len(plan.tracks)), looks, where, around

    @cache
    def pictures(prompt: str) -> Tensor:
        frames = None if drawn is None else engine.codec.spread(drawn[:, None, None], 1, 1).flatten()
        return field.video(*said(prompt), beat, shape, frames)

    @cache
    def tokens(prompt: str) -> Tensor:
        if sketch is not None:
            seen = sketch(prompt)
        else:
            seen = engine.codec.encode(pictures(prompt).to(engine.device)).flatten(1, 3).cpu()
        return torch.cat([features(*said(prompt), grid), seen], -1)

    return Told(tokens, pictures)


def upon_sketch(engine: Engine, plan: Plan, window: Window) -> tuple[Window, Tensor | None]:
    """The window, and its sketch as pictures, 1 frames H W 3; none where it is not dreamt from its sketch."""
    if window.told is None or not plan.sketched:
        return window, None
    asked = captions(plan, "noise")
    parts = shares([start for start, _ in asked], window.seconds)
    steps = parts[:, :: window.grid.tokens_per_step, None, None]
    heard = [(part, engine.codec.spread(step, 1, 1)[..., None], text)
             for part, step, (_, text) in zip(parts, steps, asked, strict=True) if part.max() > 0]
    sketch = torch.stack([part[:, None] * window.told.tokens(text)[..., -engine.codec.config.channels :]
                          for part, _, text in heard]).sum(0)
    pictures = torch.stack([share * window.told.pictures(text) for _, share, text in heard]).sum(0)
    return replace(window, latents=torch.where(window.known[:, None], window.latents, sketch)), pictures


def sketched(engine: Engine, plan: Plan) -> Plan:
    """The plan, from a sketch where the engine draws one and all that it shows is told."""
    if engine.motion is None or engine.field is None or plan.scenery is None or plan.start < 1:
        return plan
    return replace(plan, start=UPON, sketched=True)


def without(rows: Tensor, looks: Tensor, led: int) -> Tensor:
    """Motion 1 T C without things of which nothing is said, 1 THINGS LOOKS, unless they are among the `led` first."""
    there = looks.any(-1) | (torch.arange(THINGS) < led)
    samples = rows.unflatten(2, (PARTS, STATE)).clone()
    samples[..., CAMERA::THING] *= there
    return samples.flatten(2)


def velocity_of(plan: Plan, dreamer: Dreamer, window: Window, stream: str) -> Velocity:
    """The velocity of a window's canvas tokens, in their order, under the plan's captions."""
    device = dreamer.scale.device
    canvas = (~window.known).nonzero()[:, 0]
    order = torch.cat([window.known.nonzero()[:, 0], canvas])
    known = window.latents[:, window.known].to(device)
    positions = window.grid.positions()[order].to(device)
    asked = captions(plan, stream)
    parts = shares([start for start, _ in asked], window.seconds[canvas])
    heard = [i for i in range(len(asked)) if parts[i].max() > 0]
    said = [asked[i][1] for i in heard]
    told = [None if window.told is None else window.told.tokens(words)[:, order].to(device) for words in said]

    def under(prompts: Sequence[str]) -> Velocity:
        """Under these words in the place of the captions, each told what the caption says."""
        each = [dreamer.velocity(words, known, positions, of) for words, of in zip(prompts, told, strict=True)]
        return scheduled(each, parts[heard].to(device))

    return guided(under(said), lambda: under([plan.negative_prompt] * len(said)), GUIDANCE[stream] or plan.guidance)


def solve(
    plan: Plan, dreamer: Dreamer, window: Window, stream: tuple[str, *tuple[int, ...]],
    lead: Callable[[Tensor], Tensor] | None = None, show: Show | None = None,
) -> Tensor:
    """Dreams a window's canvas tokens, 1 N C, from the noise of a stream, or from what is there and some noise."""
    device = dreamer.scale.device
    count = int((~window.known).sum())
    seed = plan.moves[1] if plan.moves and stream[0] == "motion" else plan.seed
    x = rng.normal((1, count, dreamer.model.config.channels), seed, *stream)
    start, steps = (1.0, plan.steps) if stream[0] == "motion" else (plan.start, plan.steps_a_round)
    if start < 1:
        x = flow.interpolate(window.latents[:, ~window.known], x, torch.full((1, 1), start))

    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        if show:
            show(index, flow.denoised(x, v, sigma))

    velocity = led(velocity_of(plan, dreamer, window, stream[0]), lead)
    return euler(velocity, x.to(device), flow.schedule(steps, count) * start, on_step).cpu()
