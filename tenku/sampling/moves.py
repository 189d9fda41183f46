"""Motion for every round: dreamt on from what is known of it, or found to fit pictures whose motion nobody knows.

Legend: T latent steps of a window, C numbers of a row of motion, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tenku import rng
from tenku.engines.bundled import Engine
from tenku.model import flow
from tenku.model.motion import CHANNELS, PARTS, motion_from, steps_of, stretched, timeline, told_of
from tenku.model.patches import Grid, scale_of
from tenku.request import Request
from tenku.sampling.control import STATE, carried, lead, on_samples, on_steps, samples_of, settled, times
from tenku.sampling.ground import Body, bodies, carried_by
from tenku.sampling.plan import Plan, Round, plan
from tenku.sampling.window import Window, solve, what_is_told
from tenku.world.mentions import followed
from tenku.world.motion import CAMERA, THING

CANDIDATES = 6  # motions of which the likeliest is taken, where pictures are given whose motion nobody knows
JUDGED_AT = (0.45, 0.7)  # noise levels at which it is judged

Change = Callable[[np.ndarray], np.ndarray]  # of samples in plain units: metres, radians


class Moves:
    """The motion of a clip as it becomes known, step by step."""

    def __init__(self, engine: Engine, plan: Plan, whole: Grid, worlds: Sequence[Tensor] = ()) -> None:
        """worlds: the motions 1 K C that are known, of the first the beginning, of others all."""
        self.engine, self.plan, self.whole = engine, plan, whole
        self.rows = torch.zeros(1, whole.steps, CHANNELS)
        self.there = [False] * whole.steps
        self.others = tuple(worlds[1:])
        if worlds:
            count = worlds[0].shape[1]
            self.rows[:, :count], self.there[:count] = worlds[0], [True] * count

    def of(self, part: Round, number: int, pictures: Tensor, known: Tensor) -> list[Tensor]:
        """The motions of a round's window, 1 T C each, given its latents 1 T R Q C and which of its tokens are known.

        The first is dreamt, as far as it is not known.
        """
        first = self._first(part, number, pictures, known)
        return [first, *(self._seen(part, rows) for rows in self.others)]

    def _first(self, part: Round, number: int, pictures: Tensor, known: Tensor) -> Tensor:
        if self.engine.motion is None:
            return self.rows[:, part.known : part.end]
        there = self.there[part.known : part.end]
        if all(there):
            return self._seen(part, self.rows)
        head = there.index(False) if False in there else len(there)
        continues = head > 0 and not any(there[head:])
        before = self._seen(part, self.rows)[:, : head if continues else 0]
        count = 1
        if not continues and known.any():
            count = CANDIDATES
        found = [self._dreamt(part, number, before, i) for i in range(count)]
        best = found[0] if count == 1 else min(found, key=lambda rows: self.unlikely(rows, pictures, known, part.known))
        head = before.shape[1]
        self.rows[:, part.known + head : part.end] = best[:, head:]
        self.there[part.known : part.end] = [True] * (part.end - part.known)
        return best

    def _seen(self, part: Round, rows: Tensor) -> Tensor:
        """The rows of a window. One that begins inside the clip begins with a still, as clips do."""
        rows = rows[:, part.known : part.end].clone()
        return stilled(rows) if part.known else rows

    def _dreamt(self, part: Round, number: int, before: Tensor, candidate: int) -> Tensor:
        """One motion of the window that goes on from the rows `before` 1 K C."""
        plan, steps, head = self.plan, part.end - part.known, before.shape[1]
        assert self.engine.motion is not None, "without a network of motion none is dreamt"
        scale = told_of(self.whole.seconds_per_step, plan.width / plan.height)
        dreamer = self.engine.dreamer(self.engine.motion, scale)
        grid = Grid(steps, self.whole.rows, self.whole.columns, self.whole.seconds_per_step)
        coded = steps_of(before) if head else before
        known = torch.arange(steps) < head
        latents = torch.cat([coded, torch.zeros(1, steps - head, CHANNELS)], 1)
        window = Window(timeline(grid), latents, known, None, self._seconds(part))
        obey = self._obey(part)
        names = ("motion", number, candidate) if candidate else ("motion", number)
        dreamt = solve(plan, dreamer, window, names, lead=on_steps(obey, coded) if obey else None)
        if plan.motion != 1:  # every sample but the clip's first says how it differs from the one before
            first, rest = dreamt.unflatten(2, (PARTS, STATE)).flatten(1, 2).tensor_split([int(head == 0)], 1)
            dreamt = torch.cat([first, stretched(rest, plan.motion)], 1).reshape(dreamt.shape)
        rows = motion_from(torch.cat([coded, dreamt], 1))
        free = max(PARTS * head, PARTS * (self.engine.longest - part.known))  # in the first window nothing turns
        floor = samples_of(self.rows[:, : self.engine.longest])[:, CAMERA + 3 :: THING].min(0)  # of the first window
        rows = on_samples(rows, lambda samples: settled(samples, len(samples) if plan.tracks else free, floor,
                                                        plan.width / plan.height))
        if not plan.tracks:
            rows = on_samples(rows, lambda samples: carried_by(
                samples, self._bodies(), PARTS * head, self.whole.seconds_per_step / PARTS))
        return on_samples(rows, obey) if obey else rows

    def _bodies(self) -> list[Body | None]:
        """What of the clip's things touches the ground; of a clip that says several things in turn, nothing."""
        said = self.plan.said
        return bodies((said[0].text, said[0].rest), self.plan.motion) if len(said) == 1 else []

    def _clock(self, part: Round) -> np.ndarray:
        clock = times(self.whole.steps, self.whole.seconds_per_step).reshape(self.whole.steps, -1)
        clock = clock[part.known : part.end].copy()
        if part.known:
            clock[0] = clock[0, -1]
        return clock.reshape(-1)

    def _seconds(self, part: Round) -> Tensor:
        return torch.from_numpy(self._clock(part).reshape(part.end - part.known, -1).mean(1)).float()

    def _obey(self, part: Round) -> Change | None:
        plan = self.plan
        first: list[np.ndarray] = []
        if self.there[0]:
            on_samples(self.rows[:, :1], lambda rows: first.append(rows[0].copy()) or rows)  # type: ignore[func-returns-value]
        seconds = (plan.frames - 1) / plan.fps
        return lead(plan.camera, plan.tracks, self._clock(part), seconds, plan.width / plan.height,
                    first[0] if first else None, follows=all(followed(one.text) for one in plan.said))

    def unlikely(self, rows: Tensor, pictures: Tensor, known: Tensor, first: int) -> float:
        """How badly the painter can tell the known pictures, from latent step `first` on, under a motion: the error of
        its velocity there."""
        grid = Grid(pictures.shape[1], self.whole.rows, self.whole.columns, self.whole.seconds_per_step)
        at = known.flatten().nonzero()[:, 0]
        data = pictures.flatten(1, 3)[:, at]
        dreamer = self.engine.dreamer(self.engine.transformer, scale_of(grid))
        of = what_is_told(self.engine, self.plan, [rows], grid, first, known.flatten(1).any(1))
        told = None if of is None else of.tokens(self.plan.said[0])[:, at].to(self.engine.device)
        positions = grid.positions()[at].to(self.engine.device)
        velocity = dreamer.velocity([self.plan.prompt], data[:, :0].to(self.engine.device), positions, told)
        noise = rng.normal(tuple(data.shape), self.plan.seed, "judge")
        error = 0.0
        for sigma in JUDGED_AT:
            x = flow.interpolate(data, noise, torch.full((1, 1), sigma)).to(self.engine.device)
            error += float((velocity(x, sigma).cpu() - flow.velocity(data, noise)).square().mean())
        return error


@torch.inference_mode()
def motion_of(engine: Engine, plan: Plan, whole: Grid, known: Sequence[Tensor] = ()) -> Tensor:
    """The motion 1 T C of a plan of which no picture is given; known: its beginning, 1 K C, where there is one."""
    moves = Moves(engine, plan, whole, known)
    for number, part in enumerate(plan.rounds):
        shape = (1, part.end - part.known, whole.rows, whole.columns, engine.codec.config.channels)
        moves.of(part, number, torch.zeros(shape), torch.zeros(shape[1:4], dtype=torch.bool))
    return moves.rows


def dreamt(engine: Engine, request: Request) -> np.ndarray:
    """The motion of a clip of words alone, as its record has it (sampling/shown.py): M STATE in plain units, from its
    first moment on. Nothing is painted."""
    grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
    made = plan(request, grid.steps, engine.longest)
    return samples_of(motion_of(engine, made, grid))[PARTS - 1 :]  # behind the other samples of the still


def coming_to(engine: Engine, plan: Plan, whole: Grid, then: Tensor) -> Tensor:
    """The motion of a plan that ends as another, `then` 1 T C, begins: of several the one that arrives as that goes on.

    Each is carried as a whole to where it has to end. Physics does not run backwards, so it is dreamt forwards.
    """
    wanted = samples_of(then)[PARTS - 1 : PARTS + 1]  # two, or of a picture one, which rests
    found: list[tuple[float, Tensor]] = []
    for candidate in range(CANDIDATES):
        rows = motion_of(engine, replace(plan, seed=plan.seed + candidate), whole)
        moved = on_samples(rows, lambda samples: carried(samples, wanted[0]))
        ends = samples_of(moved)[-2:]
        found.append((float(np.square((ends[1] - ends[0]) - (wanted[-1] - wanted[0])).sum()), moved))
    return min(found, key=lambda pair: pair[0])[1]


def stilled(rows: Tensor) -> Tensor:
    """Rows of motion 1 T C whose first step stands still at its last sample."""
    rows = rows.clone()
    rows[:, 0] = rows[:, 0, -STATE:].repeat(1, CHANNELS // STATE)
    return rows
