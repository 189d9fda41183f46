"""Requests to clips: the one sampling path.

Legend: N canvas tokens, K known tokens, T of both, C channels, F what a token is told of the motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku import __version__, rng
from tenku.engines.bundled import Dreamer, Engine, load
from tenku.model import flow
from tenku.model.motion import CHANNELS, features, motion_from, steps_of, timeline, told_of
from tenku.model.patches import Grid, scale_of
from tenku.request import Request
from tenku.sampling.guidance import guided
from tenku.sampling.plan import Plan, Round, plan
from tenku.sampling.solvers import euler
from tenku.types import Clip

# How hard the prompt pulls on each network; 0: as the request says. Motion follows words well without being pulled far.
GUIDANCE = {"motion": 2.0, "noise": 0.0}


@dataclass(frozen=True)
class Step:
    """Progress: a denoising step was made."""

    index: int  # steps done, over all samples and rounds
    total: int
    preview: Callable[[], Clip]  # decodes what the clip looks like so far


@dataclass(frozen=True)
class Result:
    """A finished clip and what made it."""

    clip: Clip
    record: dict[str, Any]  # request, plan and versions: enough to make the clip again
    notes: tuple[str, ...]  # what of the prompt was read otherwise, or not at all
    model: str  # the model's name
    weights_sha256: str


def generate(
    request: Request | str | None = None, *, on_step: Callable[[Step], None] | None = None, **fields: Any
) -> list[Result]:
    """Makes the clips of a request: `generate("a red ball bouncing on a beach", seconds=2, seed=7)`.

    Returns one Result per sample. Every sample is computed by itself, so it is the same alone or among others.
    Raises UserError for a request that cannot be.
    """
    if not isinstance(request, Request):
        request = Request.parse(fields if request is None else {"prompt": request, **fields})
    engine = load(request.model)
    singles = request.each()
    grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
    plans = [plan(single, grid.steps, engine.longest) for single in singles]
    total = sum(len(p.rounds) * p.steps for p in plans)
    notes = engine.notes(request.prompt) + engine.notes(request.negative_prompt)
    results = []
    for i, (single, one) in enumerate(zip(singles, plans, strict=True)):
        done = i * total // len(plans)
        clip = dream(engine, one, _counted(on_step, done, total))
        record = {"request": single.to_json(), "plan": one.to_dict(), "tenku": __version__}
        results.append(Result(clip, record, notes, engine.name, engine.weights_sha256))
    return results


Report = Callable[[int, Callable[[], Clip]], None]  # steps done, preview


def _counted(on_step: Callable[[Step], None] | None, done: int, total: int) -> Report:
    def report(index: int, preview: Callable[[], Clip]) -> None:
        if on_step:
            on_step(Step(done + index, total, preview))

    return report


@torch.inference_mode()
def dream(engine: Engine, plan: Plan, report: Report | None = None) -> Clip:
    """Samples a plan, round by round, and decodes it. In each round motion is dreamt first, then what it looks like."""
    whole = engine.codec.grid(plan.frames, plan.height, plan.width, plan.fps)
    latents = torch.zeros(1, whole.steps, whole.rows, whole.columns, engine.codec.config.channels)
    motion = torch.zeros(1, whole.steps, CHANNELS)
    for number, part in enumerate(plan.rounds):
        def show(index: int, x: Tensor, part: Round = part, number: int = number) -> None:
            if report:
                def preview() -> Clip:
                    sketch = latents.clone()
                    sketch[:, part.start : part.stop] = x.unflatten(1, (-1, whole.rows, whole.columns)).cpu()
                    return decode(engine, plan, sketch[:, : part.stop])

                report(number * plan.steps + index, preview)

        grid = Grid(part.stop - part.known, whole.rows, whole.columns, whole.seconds_per_step)
        told = None
        if engine.motion is not None:
            dreamer = engine.dreamer(engine.motion, told_of(grid.seconds_per_step, plan.width / plan.height))
            moves = steps_of(motion[:, part.known : part.start]) if part.known < part.start else motion[:, :0]
            dreamt = _round(plan, dreamer, timeline(grid), moves, None, number, "motion")
            motion[:, part.known : part.stop] = motion_from(torch.cat([moves, dreamt], 1))
            told = features(motion[:, part.known : part.stop], engine.looks(plan.prompt), grid)
        known = latents[:, part.known : part.start].flatten(1, 3)
        dreamer = engine.dreamer(engine.transformer, scale_of(grid))
        x = _round(plan, dreamer, grid, known, told, number, "noise", show)
        latents[:, part.start : part.stop] = x.unflatten(1, (-1, grid.rows, grid.columns))
    return decode(engine, plan, latents)


def _round(
    plan: Plan, dreamer: Dreamer, grid: Grid, known: Tensor, told: Tensor | None, number: int, stream: str,
    show: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """One round of one network: dreams what follows the known tokens 1 K C of a grid, told 1 T F: 1 N C."""
    device = dreamer.scale.device
    positions = grid.positions().to(device)
    count = grid.tokens - known.shape[1]
    arguments = (known.to(device), positions, None if told is None else told.to(device))
    velocity = guided(dreamer.velocity(plan.prompt, *arguments), dreamer.velocity(plan.negative_prompt, *arguments),
                      GUIDANCE[stream] or plan.guidance)
    noise = rng.normal((1, count, dreamer.model.config.channels), plan.seed, stream, number).to(device)
    sigmas = flow.schedule(plan.steps, count)

    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        if show:
            show(index, flow.denoised(x, v, sigma))

    return euler(velocity, noise, sigmas, on_step).cpu()


@torch.inference_mode()
def decode(engine: Engine, plan: Plan, latents: Tensor) -> Clip:
    """Latents 1 T H W C to the plan's clip."""
    video = engine.codec.decode(latents.to(engine.device), plan.height, plan.width)
    frames = ((video[0, : plan.frames].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Clip(np.ascontiguousarray(frames.cpu().numpy()), plan.fps)
