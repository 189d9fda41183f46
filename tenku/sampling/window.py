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
from tenku.sampling.guidance import guided, led, scheduled
from tenku.sampling.plan import Plan
from tenku.sampling.solvers import Velocity, euler
from tenku.world.motion import CAMERA, STATE, THING, THINGS

# How hard the prompt pulls on each network; 0: as the request says. Motion that is pulled more obeys its words, but
# its things come too near, rise too high and are not rigid (dev/LOG.md).
GUIDANCE = {"motion": 1.5, "noise": 0.0}
UPON = 0.3  # noise level at which a sketch is painted upon: with more, what it knows is lost (dev/LOG.md)
FADE = 0.5  # seconds in which one caption gives way to the next


@dataclass(frozen=True)
class Window:
    """Tokens of a grid, some of them known, and the time of each in the whole clip."""

    grid: Grid
    latents: Tensor  # 1 T C: of the known tokens; of canvas tokens what dreaming starts from, where it does
    known: Tensor  # bool T
    told: Callable[[str], Tensor] | None  # what the tokens are told under a prompt, 1 T F
    seconds: Tensor  # T


Show = Callable[[int, Tensor], None]  # steps done, the canvas tokens as they look so far, 1 N C


def captions(plan: Plan, stream: str) -> list[tuple[float, str]]:
    """When each prompt begins to hold, in seconds. The motion of another clip follows that clip's prompt."""
    if plan.moves and stream == "motion":
        return [(0.0, plan.moves[0])]
    return [(0.0, plan.prompt), *plan.captions]


def shares(starts: Sequence[float], seconds: Tensor) -> Tensor:
    """How much each caption says at each time T, adding up to one: M T. One fades into the next around its start."""
    begun = torch.stack([((seconds - start) / FADE + 0.5).clamp(0, 1) for start in starts])
    begun[0] = 1.0
    return begun - torch.cat([begun[1:], torch.zeros_like(begun[:1])])


def what_is_told(
    engine: Engine, plan: Plan, rows: Tensor, grid: Grid, drawn: Tensor | None = None
) -> Callable[[str], Tensor] | None:
    """What each token of a window is told of its motion, 1 T C, and of a prompt's things and place, and its sketch.

    1 N F + C; None for a model that is told nothing. drawn: bool T, the steps whose sketch is asked for, or all.
    """
    if engine.motion is None or engine.field is None:
        return None
    field = engine.field

    @cache
    def told(prompt: str) -> Tensor:
        looks, where, around = engine.told((prompt, plan.prompt), plan.scenery)
        said = without(rows, looks, len(plan.tracks)), looks, where, around
        shape = engine.codec.shape(grid)
        frames = None if drawn is None else engine.codec.spread(drawn[:, None, None], 1, 1).flatten()
        sketch = engine.codec.encode(field.video(*said, shape, frames).to(engine.device)).flatten(1, 3).cpu()
        return torch.cat([features(*said, grid), sketch], -1)

    return told


def upon_sketch(engine: Engine, plan: Plan, window: Window) -> tuple[Window, float]:
    """The window, and the noise level from which to dream it: from its sketch, where all that it shows is told.

    Where the plan gives something else to start from, or pictures show what nobody said, it stays as it is.
    """
    if window.told is None or plan.start < 1 or plan.scenery is None:
        return window, plan.start
    asked = captions(plan, "noise")
    parts = shares([start for start, _ in asked], window.seconds)
    sketch = sum(part[:, None] * window.told(text)[..., -engine.codec.config.channels :]
                 for part, (_, text) in zip(parts, asked, strict=True))
    assert isinstance(sketch, Tensor)
    return replace(window, latents=torch.where(window.known[:, None], window.latents, sketch)), UPON


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
    told = [None if window.told is None else window.told(words)[:, order].to(device) for words in said]

    def under(prompts: Sequence[str]) -> Velocity:
        """Under these words in the place of the captions, each told what the caption says."""
        each = [dreamer.velocity(words, known, positions, of) for words, of in zip(prompts, told, strict=True)]
        return scheduled(each, parts[heard].to(device))

    return guided(under(said), lambda: under([plan.negative_prompt] * len(said)), GUIDANCE[stream] or plan.guidance)


def solve(
    plan: Plan, dreamer: Dreamer, window: Window, stream: tuple[str, *tuple[int, ...]], start: float = 1.0,
    lead: Callable[[Tensor], Tensor] | None = None, show: Show | None = None,
) -> Tensor:
    """Dreams a window's canvas tokens, 1 N C, from the noise of a stream, or from what is given and some noise."""
    device = dreamer.scale.device
    count = int((~window.known).sum())
    seed = plan.moves[1] if plan.moves and stream[0] == "motion" else plan.seed
    x = rng.normal((1, count, dreamer.model.config.channels), seed, *stream)
    if start < 1:
        x = flow.interpolate(window.latents[:, ~window.known], x, torch.full((1, 1), start))

    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        if show:
            show(index, flow.denoised(x, v, sigma))

    velocity = led(velocity_of(plan, dreamer, window, stream[0]), lead)
    return euler(velocity, x.to(device), flow.schedule(plan.steps, count) * start, on_step).cpu()
