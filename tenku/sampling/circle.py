"""A clip on a closed circle of time: after its last frame comes its first, and no frame is the first to the network.

At every denoising step the circle is cut into windows elsewhere, so that no place of it is ever the seam for long. A
window begins with a still of the frame before it, as clips do.

Legend: S groups of the circle (latent steps without the still), R Q rows and columns, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tenku import rng
from tenku.engines.bundled import Engine
from tenku.model import flow
from tenku.model.motion import PARTS
from tenku.model.patches import Grid, scale_of
from tenku.sampling.canvas import still
from tenku.sampling.control import on_samples, there_and_back
from tenku.sampling.moves import motion_of, stilled
from tenku.sampling.plan import Plan, rounds
from tenku.sampling.shown import Said
from tenku.sampling.solvers import Velocity, euler
from tenku.sampling.window import Window, same_noise, sketch_of, velocity_of, what_is_told
from tenku.types import Clip

TURN = 0.381966  # of the circle, that the cuts go on at every step: the golden angle, which comes nowhere near twice
LEAD_IN = 3  # groups that are decoded before the first, so that the codec knows what was before


@torch.inference_mode()
def circle(engine: Engine, plan: Plan, report: Callable[[int, Callable[[], Clip]], None] | None = None) -> Clip:
    """Samples a cyclic plan, whose frames are whole groups: the clip, one round of the circle."""
    whole = engine.codec.grid(plan.frames + 1, plan.height, plan.width, plan.fps)
    groups = whole.steps - 1
    motion = _motion(engine, plan, whole)
    shape = (1, groups, whole.rows, whole.columns, engine.codec.config.channels)
    x = rng.normal(shape, plan.seed, "noise", 0)
    told = what_is_told(engine, plan, [stilled(motion[:, [groups, *range(1, 1 + groups)]])], whole, 0)

    def sketch(one: Said) -> Tensor:  # of the groups, 1 S R Q C
        assert told is not None
        return told.tokens(one)[..., -shape[-1] :].unflatten(1, (1 + groups, *shape[2:4]))[:, 1:]

    pictures = None
    if told is not None and plan.sketched:
        drawn, pictures = sketch_of(engine, plan, told)
        drawn = drawn[:, whole.tokens_per_step :]
        noise = same_noise(whole, plan.seed, shape[-1])[:, whole.tokens_per_step :]
        x = flow.interpolate(drawn, noise, torch.full((1, 1), plan.start)).view(shape)
    velocity = _velocity(engine, plan, whole, motion, sketch)

    def on_step(index: int, x: Tensor, v: Tensor, sigma: float) -> None:
        if report:
            report(index, lambda: _decode(engine, plan, flow.denoised(x, v, sigma).cpu(), pictures))

    count = min(groups, engine.longest - 1) * whole.tokens_per_step
    sigmas = flow.schedule(plan.steps_a_round, count) * plan.start
    return _decode(engine, plan, euler(velocity, x.to(engine.device), sigmas, on_step).cpu(), pictures)


def _motion(engine: Engine, plan: Plan, whole: Grid) -> Tensor:
    """Motion that comes back to where it began: 1 (1 + S) C, a still and the groups."""
    found = motion_of(engine, replace(plan, cyclic=False, rounds=rounds(whole.steps, engine.longest)), whole)

    def ends_meet(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[PARTS - 1 :] = there_and_back(rows[PARTS - 1 :], plan.width / plan.height)
        rows[: PARTS - 1] = rows[PARTS - 1]  # the still's samples are one
        return rows

    return on_samples(found, ends_meet)


def _velocity(
    engine: Engine, plan: Plan, whole: Grid, motion: Tensor, sketch: Callable[[Said], Tensor]
) -> Velocity:
    """The velocity of the circle's groups, 1 S R Q C, from windows that are cut elsewhere at every call."""
    groups, size = whole.steps - 1, engine.longest - 1
    shape = (1, 1, whole.rows, whole.columns, engine.codec.config.channels)
    noise = [rng.normal(shape, plan.seed, "still", g).to(engine.device) for g in range(groups)]
    state: dict[str, Tensor] = {}
    calls = iter(range(1 << 30))

    @cache
    def window(first: int, count: int) -> Velocity:
        turn = [(first + i) % groups for i in range(count)]
        grid = Grid(1 + count, whole.rows, whole.columns, whole.seconds_per_step)
        before = (first - 1) % groups

        def seen_so(one: Said) -> Tensor:
            drawn = sketch(one)
            return torch.cat([still(drawn[:, before, None], engine.codec), drawn[:, turn]], 1).flatten(1, 3)

        rows = stilled(motion[:, [1 + before, *(1 + g for g in turn)]])
        told = what_is_told(engine, plan, [rows], grid, 1 + before, sketch=seen_so)
        known = torch.zeros(grid.tokens, dtype=torch.bool)
        latents = torch.zeros(1, grid.tokens, shape[-1])
        seconds = (torch.tensor([before + 0.5, *(g + 0.5 for g in turn)]) * whole.seconds_per_step)
        dreamer = engine.dreamer(engine.transformer, scale_of(grid))
        seen = Window(grid, latents, known, told, seconds.repeat_interleave(grid.tokens_per_step))
        return velocity_of(plan, dreamer, seen, "noise")

    def velocity(x: Tensor, sigma: float) -> Tensor:
        offset = int(next(calls) * TURN % 1 * groups)
        found = torch.empty_like(x)
        for cut in range(0, groups, size):
            count = min(size, groups - cut)
            first = (offset + cut) % groups
            turn = [(first + i) % groups for i in range(count)]
            eps = noise[first]
            if "data" in state:
                began = still(state["data"][:, (first - 1) % groups, None], engine.codec)
                level = torch.full((1, 1), sigma, device=x.device)
                eps = flow.interpolate(began.flatten(1, 3), eps.flatten(1, 3), level).view_as(eps)
            tokens = torch.cat([eps, x[:, turn]], 1).flatten(1, 3)
            v = window(first, count)(tokens, sigma).unflatten(1, (1 + count, whole.rows, whole.columns))
            found[:, turn] = v[:, 1:]
        state["data"] = flow.denoised(x, found, sigma)
        return found

    return velocity


@torch.inference_mode()
def _decode(engine: Engine, plan: Plan, latents: Tensor, pictures: Tensor | None) -> Clip:
    """Groups 1 S R Q C, and the sketch with the frame before, 1 1+frames H W 3, to the clip.

    Without a sketch the codec is led in: it comes round to the first group after the last ones.
    """
    groups = latents.shape[1]
    turn = [g % groups for g in range(-LEAD_IN if pictures is None else -1, groups)]
    led_in = torch.cat([still(latents[:, turn[0], None], engine.codec), latents[:, turn[1:]]], 1).to(engine.device)
    if pictures is None:
        video = engine.codec.decode(led_in, plan.height, plan.width)[0, -plan.frames :]
    else:
        over = pictures.to(engine.device)
        video = engine.codec.decode_over(led_in, over, plan.height, plan.width)[0, -plan.frames :]
    frames = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Clip(np.ascontiguousarray(frames.cpu().numpy()), plan.fps)
