"""Trains the light fields: pixels of rendered pictures, told what is true of them.

Nothing but pixels is compared, each for itself, so a step takes a few from many pictures. Most of them lie about
things, which few pixels of a picture show. Shards take turns in memory.

Legend: F pictures, n pixels of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku import rng
from tenku.config import LightFieldConfig
from tenku.data.encoding import is_world, looks_of, scenery_of, setting_of
from tenku.data.shards import iter_clips, shard_paths
from tenku.errors import UserError
from tenku.model.lightfield import LightField
from tenku.model.motion import plain, seen
from tenku.model.rays import BOXES, beats
from tenku.training.origin import Origin
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.world.camera import FOV
from tenku.world.grammar import SUBJECTS
from tenku.world.motion import CAMERA, HEIGHT_SPREAD, THING, THINGS, clock, states

HELD = 36  # shards in memory
TURNOVER = 24  # steps after which one of them gives way to the next
PIXELS, NEAR = 256, 176  # of each picture, and how many of them about a thing
DECAY = 0.5  # of the steps: at its peak the rate's own noise is most of the error (dev/LOG.md)
UNTOLD = 0.05  # share of things' looks, places and lights, and sceneries, that are not told: prompts may not say


@dataclass(frozen=True)
class LightFieldTraining:
    """A run of the light fields."""

    data: Path  # folder of world shards
    out: Path  # folder of the run; `lightfield.safetensors` appears there
    steps: int = 8000
    pictures: int = 64  # a step
    rate: float = 2e-3  # peak learning rate
    seed: int = 0
    start: Path | None = None  # a lightfield.safetensors to start from

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({"pictures": self.pictures, "rate": self.rate, "seed": self.seed})


@dataclass
class Shot:
    """One clip in memory."""

    frames: Tensor  # uint8 T H W 3
    rows: Tensor  # T STATE, plain
    looks: Tensor
    setting: Tensor
    scenery: Tensor
    beat: Tensor  # T BEATS


def shots(shard: Path) -> list[Shot]:
    """The clips of a shard; of a long one every second frame."""
    found = []
    for item in iter_clips(shard.parent, shards=[shard]):
        if not is_world(item.facts):
            continue
        every = 2 if len(item.clip.frames) > 9 else 1
        rows = plain(torch.from_numpy(states(item.facts)))
        beat = beats(torch.from_numpy(clock(item.facts)))
        found.append(Shot(torch.from_numpy(item.clip.frames[::every].copy()), rows[::every], looks_of(item.facts),
                          setting_of(item.facts), scenery_of(item.facts), beat[::every]))
    return found


class Shots:
    """Shards in memory, in turns that follow from the step alone."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.paths = shard_paths(folder)
        if not self.paths:
            raise UserError(f"{folder} holds no finished shard", "render some: tenku world make --out DIR")
        self.seed = seed
        self.held: dict[int, list[Shot]] = {}

    def at(self, step: int) -> list[Shot]:
        """The clips that a step draws from."""
        first, size = step // TURNOVER, len(self.paths)
        turns = range(first, first + min(HELD, size))
        self.held = {turn: self.held[turn] for turn in turns if turn in self.held}
        for turn in turns:
            if turn not in self.held:
                order = rng.stream(self.seed, "shards", turn // size).permutation(size)
                self.held[turn] = shots(self.paths[order[turn % size]])
        found = [shot for turn in turns for shot in self.held[turn]]
        if not found:
            raise UserError("the folder holds no clip of a world", "render some: tenku world make --out DIR")
        return found


def batch(
    clips: list[Shot], pictures: int, draw: np.random.Generator, untold: float = UNTOLD,
    pixels: tuple[int, int] = (PIXELS, NEAR),
) -> tuple[tuple[Any, ...], Tensor]:
    """What `LightField.forward` takes for pixels of at most so many pictures of one size, and their colours F n 3."""
    count, near = pixels
    parts: list[list[Tensor]] = [[] for _ in range(8)]
    picks = draw.integers(len(clips), size=pictures)
    height, width = clips[picks[0]].frames.shape[1:3]
    unit = 2 * math.tan(FOV / 2) / height
    for pick in picks:
        shot = clips[pick]
        if shot.frames.shape[1:3] != (height, width):
            continue
        at = int(draw.integers(len(shot.frames)))
        row, looks = shot.rows[at], shot.looks.clone()
        spots = draw.uniform(0, 1, (count, 2)) * (width, height)
        things = seen(row)[CAMERA:].view(THINGS, THING)
        there = [k for k in range(THINGS) if things[k, 0] > 0.5]
        if there:
            k = there[int(draw.integers(len(there)))]
            _, right, up, log_away = things[k, :4].tolist()
            bound = float((looks[k, : len(SUBJECTS)] @ BOXES).norm())
            reach = bound * math.exp(float(looks[k, -1]) * HEIGHT_SPREAD - log_away) / unit  # pixels
            middle = np.array([width / 2 + right / unit, height / 2 - up / unit])
            spots[:near] = middle + (2 * spots[:near] / (width, height) - 1) * reach
        column, line = np.clip(spots, 0, (width - 1, height - 1)).astype(int).T
        looks[torch.from_numpy(draw.random(THINGS) < untold)] = 0
        setting = shot.setting * float(draw.random() >= untold)
        scenery = shot.scenery * float(draw.random() >= untold)
        x = torch.from_numpy((column - (width - 1) / 2) * unit).float()
        y = torch.from_numpy(((height - 1) / 2 - line) * unit).float()
        colour = shot.frames[at, line, column].float() / 127.5 - 1
        for part, value in zip(parts, (row, looks, setting, scenery, shot.beat[at], x, y, colour), strict=True):
            part.append(value)
    *told, colours = (torch.stack(part) for part in parts)
    return (*told, unit), colours


def train_light_field(args: LightFieldTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the light fields. Returns the path of `lightfield.safetensors`."""
    if not args.data.is_dir():
        raise UserError(f"no such folder: {args.data}", "render some clips first: tenku world make --out DIR")
    with torch.random.fork_rng():
        torch.manual_seed(args.seed)
        model = LightField(LightFieldConfig())
    if args.start:
        model.load_state_dict(LightField.load(args.start).state_dict())
    origin = Origin((args.data,), args.start)
    run, path = Run(args.out, args.steps), args.out / "lightfield.safetensors"
    optimizer, ema = Optimizer(model, args.rate, muon=("blocks.",)), Ema(model)
    step = run.resume(model, optimizer, ema, args.identity())
    pool = Shots(args.data, args.seed)
    parameters = sum(p.numel() for p in model.parameters())
    per_pixel = sum(p.numel() for name, p in model.named_parameters() if ".said." not in name)  # at most
    print(f"light field: {parameters / 1e3:.0f} k parameters, {len(pool.paths)} shards", flush=True)
    while step < args.steps:
        told, colours = batch(pool.at(step), args.pictures, rng.stream(args.seed, "pixels", step))
        loss = (model(*told) - colours).square().mean()
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate, decay=DECAY))
        ema.update(step)
        run.log(step, 6.0 * per_pixel * colours[..., 0].numel(), {"loss": float(loss.detach()), "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, model, optimizer, ema, args.identity())
            average = LightField(model.config)
            ema.copy_to(average)
            facts = {"flops": repr(run.flops), "steps": str(step)}
            origin.publish(path, average.save, facts)
            run.leave_if_asked()
        if on_step:
            on_step(step)
    run.close()
    return path
