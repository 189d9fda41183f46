"""The way from plan to clip for engines that are a velocity with a codec, and nothing more: the open models.

Between rounds what is known are pixels, for these codecs cannot begin inside a clip: a later round reads the end of
what there is as if a clip began there. What is given leaves as it came.

Legend: F frames, H W pixels; S latent steps, N latents, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tenku import rng
from tenku.engines.open import OpenEngine, Seen
from tenku.engines.schedules import Schedule
from tenku.errors import UserError
from tenku.model import flow
from tenku.request import Request
from tenku.sampling.canvas import FIRM, Canvas
from tenku.sampling.guidance import guided, scheduled
from tenku.sampling.held import held
from tenku.sampling.plan import Plan, Round, rounds
from tenku.sampling.solvers import Velocity
from tenku.sampling.window import said_at
from tenku.types import Clip

TURN = 0.381966  # of a circle of time, that it is turned on at every step: the golden angle
LEAD = 3  # latent steps of a circle that are decoded before its first and after its last, for the codec's memory

Report = Callable[[int, Callable[[], Clip]], None]  # steps done, preview
Show = Callable[[int, Tensor], None]  # steps done, the latents as they look so far, 1 N C
Put = Callable[[np.ndarray], np.ndarray]
Kept = Callable[[int, np.ndarray], None]  # rounds done, the frames so far


def check(request: Request) -> None:
    """Raises UserError for controls that need a model which is told motion."""
    for name, said in (("camera", request.camera), ("tracks", request.tracks), ("motion", request.motion != 1)):
        if said:
            raise UserError(f"{name} cannot be given to {Path(request.model).name}",
                            "only our own model takes it; say it in the prompt")


def windows(engine: OpenEngine, canvas: Canvas | None, frames: int) -> tuple[Round, ...]:
    """The rounds in which a clip is dreamt."""
    steps = engine.steps(frames)
    if canvas is None:
        return rounds(steps, engine.longest)
    firm = (canvas.weight == FIRM).all((1, 2))
    ends = [engine.frames(step + 1) for step in range(steps)]
    return rounds(steps, engine.longest, [bool(firm[max(0, end - engine.spans[0]) : end].all()) for end in ends])


@torch.inference_mode()
def dream(
    engine: OpenEngine, plan: Plan, canvas: Canvas | None, report: Report | None = None, kept: Kept | None = None,
    saved: tuple[int, np.ndarray] | None = None,
) -> Clip:
    """Samples a plan, round by round. saved: what `kept` was called with, to go on from there."""
    if plan.cyclic:
        return _circle(engine, plan, report)
    canvas = canvas or Canvas.empty(plan.frames, plan.height, plan.width)
    frames, weight = canvas.frames.copy(), canvas.weight.copy()
    done = 0
    if saved:
        done, frames = saved[0], saved[1].copy()
    for number, part in enumerate(plan.rounds):
        begin = engine.frames(part.known + 1) - 1  # the last frame of the step, with which the window begins
        seen = slice(begin, engine.frames(part.end))
        own = slice(engine.frames(part.start) if part.start else 0, engine.frames(part.stop))
        if number >= done:
            put = partial(_put, frames, weight, seen, own)

            def show(index: int, x: Tensor, put: Put = put, number: int = number, seen: slice = seen) -> None:
                if report:
                    report(number * plan.steps_a_round + index,
                           lambda: _clip(plan, put(_decoded(engine, plan, x, seen.stop - seen.start))))

            frames = put(_window(engine, plan, Canvas(frames[seen], weight[seen]), (number, begin), show))
        weight[own] = FIRM
        if kept and number >= done:
            kept(number + 1, frames)
    return _clip(plan, frames)


def _put(frames: np.ndarray, weight: np.ndarray, seen: slice, own: slice, made: np.ndarray) -> np.ndarray:
    """The clip with what a window made of its own frames, where these are not given."""
    frames = frames.copy()
    firm = weight[own, ..., None] == FIRM
    frames[own] = np.where(firm, frames[own], made[own.start - seen.start :][: len(firm)])
    return frames


def _clip(plan: Plan, frames: np.ndarray) -> Clip:
    return Clip(np.ascontiguousarray(frames[slice(*(plan.crop or (None,)))]), plan.fps)


def _decoded(engine: OpenEngine, plan: Plan, x: Tensor, count: int) -> np.ndarray:
    """Latents 1 N C of a window to its frames."""
    grid = engine.grid(count, plan.height, plan.width, plan.fps)
    latents = x[:, : grid.tokens].unflatten(1, (grid.steps, grid.rows, grid.columns))
    return engine.decode(latents, count, plan.height, plan.width)


def _window(engine: OpenEngine, plan: Plan, window: Canvas, place: tuple[int, int], show: Show) -> np.ndarray:
    """Dreams a window: its frames, uint8 F H W 3. place: the round's number, and the frame it begins with."""
    number, first = place
    count = len(window.frames)
    grid = engine.grid(count, plan.height, plan.width, plan.fps)
    given = window if window.weight.any() or plan.start < 1 else None
    seen = engine.see(_filled(window) if given and plan.start == 1 else given, grid)
    more = engine.beside(grid)
    x = rng.normal((1, grid.tokens + more, engine.channels), plan.seed, "noise", number)
    if plan.start < 1 and seen.latents is not None:
        x = flow.interpolate(seen.latents, x, torch.full((1, 1), plan.start))
    steps = torch.arange(grid.steps) - (grid.steps - engine.steps(count))  # what is ahead is before the first
    seconds = (steps - 0.5).clamp(min=0) * grid.seconds_per_step + first / plan.fps
    schedule = engine.schedule(plan.steps_a_round, grid)
    seconds = F.pad(seconds.repeat_interleave(grid.tokens_per_step), (0, more), value=first / plan.fps)
    velocity = velocity_of(engine, plan, schedule, seen, seconds)
    return _decoded(engine, plan, _solved(engine, plan, velocity, x, schedule, show), count)


def _solved(
    engine: OpenEngine, plan: Plan, velocity: Velocity, x: Tensor, schedule: Schedule, show: Show
) -> Tensor:
    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        show(index, flow.denoised(x, v, sigma))

    return engine.solver(velocity, x.to(engine.device), schedule.sigmas * plan.start, on_step)


def velocity_of(
    engine: OpenEngine, plan: Plan, schedule: Schedule, seen: Seen, seconds: Tensor
) -> Velocity:
    """The velocity of a window's latents 1 N C under the plan's captions, at these seconds N of the clip."""
    heard = said_at(plan.said, seconds)
    shares = torch.stack([share for _, share in heard]).to(engine.device)

    def under(prompts: list[str]) -> Velocity:
        each = [engine.velocity(prompt, schedule, seen) for prompt in prompts]
        return scheduled(each, shares)

    dreamt = guided(under([one.text for one, _ in heard]), lambda: under([plan.negative_prompt] * len(heard)),
                    plan.guidance)
    known = None if seen.latents is None else seen.latents.to(engine.device)
    return held(dreamt, known, seen.weight.to(engine.device))


def _filled(window: Canvas) -> Canvas:
    """Frames of which nothing is known look like the next that something is known of, or like the last.

    These codecs look back: what is known encodes to what it is only after frames that are like it.
    """
    there = np.flatnonzero(window.weight.any((1, 2)))
    index = there[np.searchsorted(there, np.arange(len(window.frames))).clip(max=len(there) - 1)]
    return Canvas(window.frames[index], window.weight)


def _circle(engine: OpenEngine, plan: Plan, report: Report | None) -> Clip:
    """A clip on a circle of time. At every step it is turned on, so that no place of it is ever the seam for long.

    As latents are shifted in Mobius (arXiv:2502.20307). A circle that is longer than the model is cut into pieces.
    """
    count = plan.frames // engine.spans[0]  # latent steps of the circle
    tokens = np.array_split(np.arange(count // engine.at_once), math.ceil(count / engine.longest))
    pieces = [len(part) * engine.at_once for part in tokens]
    grids = {steps: engine.grid(engine.frames(steps), plan.height, plan.width, plan.fps) for steps in {count, *pieces}}
    whole = grids[count]
    schedule = engine.schedule(plan.steps_a_round, grids[pieces[0]])
    beside = [engine.beside(grids[steps]) for steps in pieces]
    cut = {steps: velocity_of(engine, plan, schedule, engine.see(None, grids[steps]),
                              torch.zeros(grids[steps].tokens + engine.beside(grids[steps]))) for steps in set(pieces)}

    def velocity(x: Tensor, sigma: float) -> Tensor:
        turn = round(TURN * count * schedule.index(sigma)) * whole.tokens_per_step
        turned = x[:, : whole.tokens].roll(-turn, 1).split([steps * whole.tokens_per_step for steps in pieces], 1)
        others = x[:, whole.tokens :].split(beside, 1)
        found = [cut[steps](torch.cat(both, 1), sigma)
                 for steps, *both in zip(pieces, turned, others, strict=True)]
        shown = [v[:, : part.shape[1]] for v, part in zip(found, turned, strict=True)]
        rest = [v[:, part.shape[1] :] for v, part in zip(found, turned, strict=True)]
        return torch.cat([torch.cat(shown, 1).roll(turn, 1), *rest], 1)

    def decoded(x: Tensor) -> Clip:
        latents = x[:, : whole.tokens].unflatten(1, (count, whole.rows, whole.columns))
        around = latents[:, [step % count for step in range(-LEAD, count + LEAD)]]
        video = engine.decode(around, engine.frames(around.shape[1]), plan.height, plan.width)
        begin = engine.frames(LEAD)
        return Clip(np.ascontiguousarray(video[begin : begin + plan.frames]), plan.fps)

    def show(index: int, x: Tensor) -> None:
        if report:
            report(index, lambda: decoded(x))

    x = rng.normal((1, whole.tokens + sum(beside), engine.channels), plan.seed, "noise", 0)
    return decoded(_solved(engine, plan, velocity, x, schedule, show))
