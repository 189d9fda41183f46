"""Requests to clips: the one sampling path.

Legend: N canvas tokens, K known tokens, T of both, C channels, F what a token is told of the motion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku import __version__
from tenku.director import spelt
from tenku.engines.bundled import Engine
from tenku.engines.loading import load
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.model.motion import PARTS
from tenku.model.patches import Grid, scale_of
from tenku.request import Request
from tenku.sampling import plain
from tenku.sampling.canvas import FIRM, Tokens, leader, restore, still, tokens
from tenku.sampling.circle import circle
from tenku.sampling.control import samples_of
from tenku.sampling.known import known
from tenku.sampling.modes import Setting, hashed, setting
from tenku.sampling.moves import Moves
from tenku.sampling.plan import Plan, Round, plan, rounds
from tenku.sampling.shown import Shown
from tenku.sampling.window import Window, sketched, solve, upon_sketch, what_is_told
from tenku.types import Clip
from tenku.world.reading import read

AT_ONCE = 16  # latent steps that are decoded at once


@dataclass(frozen=True)
class Step:
    """Progress: a denoising step was made."""

    index: int  # steps done, over all samples and rounds
    total: int
    preview: Callable[[], Clip]  # decodes what the clip looks like so far


@dataclass(frozen=True)
class Saved:
    """A clip between two of its rounds: what another process goes on from, to the same pictures bit by bit."""

    rounds: int  # that are done
    total: int
    latents: Tensor  # 1 T H W C of the whole clip; of rounds to come nothing yet
    rows: Tensor  # 1 T C of its motion
    drawn: Tensor  # uint8 F H W 3: its pictures, of what is done; F is 0 where it is not dreamt upon a sketch
    finished: Callable[[], Clip]  # decodes the frames from the clip's beginning that will not change any more


@dataclass(frozen=True)
class Result:
    """A finished clip and what made it."""

    clip: Clip
    record: dict[str, Any]  # request, plan, what it shows and versions: enough to make the clip again, and to go on
    notes: tuple[str, ...]  # what of the prompt was read otherwise, or not at all
    model: str  # the model's name
    weights_sha256: str
    ledgers: tuple[str, ...]  # SHA-256 of each ledger of data that it learnt under


def generate(
    request: Request | str | None = None, *, on_step: Callable[[Step], None] | None = None,
    clips: Mapping[str, Clip] | None = None, shown: Mapping[str, Any] | None = None,
    on_round: Callable[[Saved], None] | None = None, saved: Saved | None = None, **fields: Any,
) -> list[Result]:
    """Makes the clips of a request: `generate("a red ball bouncing on a beach", seconds=2, seed=7)`.

    clips: inputs that are in memory, by the "sha256:..." that the request names them by (`modes.name_of`); shown: what
    the records of inputs say that they show, by the names that the request has for them.
    on_round: called after every round of a request of one sample; saved: what it was called with, in another process,
    for the same request and weights. Returns one Result per sample. Every sample is computed by itself, so it is the
    same alone or among others. Raises UserError for a request that cannot be.
    """
    if not isinstance(request, Request):
        request = Request.parse(fields if request is None else {"prompt": request, **fields})
    request = replace(request, prompt=spelt(request.prompt))
    engine = load(request.model, request.lora)
    assert request.samples == 1 or not (on_round or saved), "rounds are saved of one sample"
    if isinstance(engine, OpenEngine):
        return _opened(engine, request, setting(request, clips, shown), on_step, on_round, saved)
    heard = english(request)
    made = setting(heard, clips, shown)
    grid = engine.codec.grid(made.frames, request.size.height, request.size.width, request.fps)
    given = tokens(made.canvas, engine.codec) if made.canvas else None
    done = given.known.flatten(1).all(1).tolist() if given else []
    cyclic = bool(made.more.get("cyclic"))  # all of the circle at once
    steps = (Round(0, 0, grid.steps, grid.steps),) if cyclic else rounds(grid.steps, engine.longest, done)
    more = {"frames": made.frames, "rounds": steps, **made.more}
    made_so = [plan(single, grid.steps, engine.longest, **more) for single in heard.each()]
    pasts = [known(engine, one, made.placed) for one in made_so]
    plans = [sketched(engine, one) for one, _ in pasts]
    total = sum(len(p.rounds) * p.steps_a_round for p in plans)
    notes = tuple(dict.fromkeys(note for text in request.texts for note in (
        *read(text).notes, *engine.notes(read(text).text))))
    results = []
    for i, (single, one, (_, worlds)) in enumerate(zip(hashed(request).each(), plans, pasts, strict=True)):
        counted = _counted(on_step, i * total // len(plans), total)
        clip, seen = dream(engine, one, counted, given, saved, on_round, worlds)
        record = {"request": single.to_json(), "plan": one.to_dict(), "shown": seen, "tenku": __version__}
        results.append(Result(clip, record, notes, engine.name, engine.weights_sha256, engine.ledgers))
    return results


def english(request: Request) -> Request:
    """The request as the bundled model reads it; what it is asked in is what its record keeps."""
    return replace(request, prompt=read(request.prompt).text, negative_prompt=read(request.negative_prompt).text,
                   captions=tuple((at, read(text).text) for at, text in request.captions))


def _opened(
    engine: OpenEngine, request: Request, made: Setting, on_step: Callable[[Step], None] | None,
    on_round: Callable[[Saved], None] | None, saved: Saved | None,
) -> list[Result]:
    """The same for a model that knows nothing of motion: it is a velocity with a codec, and prompts are its own."""
    plain.check(request)
    parts = (Round(0, 0, 1, 1),) if made.more.get("cyclic") else plain.windows(engine, made.canvas, made.frames)
    more = {**made.more, "frames": made.frames, "rounds": parts}
    about = {"model": engine.about.to_dict(), "tenku": __version__}
    results = []
    for i, (single, named) in enumerate(zip(request.each(), hashed(request).each(), strict=True)):
        one = plan(single, 1, engine.longest, **more)
        total = len(one.rounds) * one.steps_a_round

        def keep(count: int, frames: np.ndarray, one: Plan = one) -> None:
            if on_round:
                there = one.rounds[count].start if count < len(one.rounds) else engine.steps(one.frames)
                so_far = Clip(frames[: engine.frames(there)], one.fps)
                none = torch.zeros(0)
                on_round(Saved(count, len(one.rounds), none, none, torch.from_numpy(frames), lambda: so_far))

        before = (saved.rounds, saved.drawn.numpy()) if saved else None
        report = _counted(on_step, i * total, total * request.samples)
        clip = plain.dream(engine, one, made.canvas, report, keep, before)
        record = {"request": named.to_json(), "plan": one.to_dict(), **about}
        results.append(Result(clip, record, (), engine.name, engine.weights_sha256, engine.ledgers))
    return results


Report = Callable[[int, Callable[[], Clip]], None]  # steps done, preview


def _counted(on_step: Callable[[Step], None] | None, done: int, total: int) -> Report:
    def report(index: int, preview: Callable[[], Clip]) -> None:
        if on_step:
            on_step(Step(done + index, total, preview))

    return report


@torch.inference_mode()
def dream(
    engine: Engine, plan: Plan, report: Report | None = None, given: Tokens | None = None, saved: Saved | None = None,
    on_round: Callable[[Saved], None] | None = None, worlds: Sequence[Tensor] = (),
) -> tuple[Clip, dict[str, Any] | None]:
    """Samples a plan, round by round, and decodes it. In each round motion is dreamt first, then what it looks like.

    worlds: the motions 1 T C that are known (`known.known`). Also returns what the clip shows, where that can be said.
    """
    if plan.cyclic:
        return circle(engine, plan, report), None
    work = _Work(engine, plan, given, worlds)
    drawn = _drawn(plan, given)
    if saved:
        work.latents, work.moves.rows, drawn = saved.latents.clone(), saved.rows.clone(), saved.drawn.clone()
    for number, part in enumerate(plan.rounds):
        if saved and number < saved.rounds:
            work.skip(part)
            continue
        pictures = work.round(number, report)
        if pictures is not None:
            first, last = work.frames(part)
            drawn[first:last] = pictures[: len(drawn) - first]
        if on_round:
            on_round(work.saved(number, drawn))
    return finished(engine, plan, work.latents, given, drawn), _shown(work.moves)


@torch.inference_mode()
def stream(request: Request) -> Iterator[Clip]:
    """The clip of a request of words alone, in pieces, as they are finished; memory does not grow with its length.

    Together they are what `generate` makes. Raises UserError like it.
    """
    if request.mode != "generate" or request.inputs or request.samples > 1:
        raise UserError("only one clip of words alone can be streamed", "leave out inputs and samples, or generate it")
    request = replace(request, prompt=spelt(request.prompt))
    engine = load(request.model, request.lora)
    if isinstance(engine, OpenEngine):
        yield generate(request)[0].clip
        return
    request = english(request)
    grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
    one = sketched(engine, plan(request, grid.steps, engine.longest))
    if not one.sketched:
        yield dream(engine, one)[0]
        return
    work = _Work(engine, one, None, ())
    for number, part in enumerate(one.rounds):
        pictures = work.round(number, None)
        assert pictures is not None, "what is painted upon a sketch is finished in each round"
        yield Clip(pictures[: one.frames - work.frames(part)[0]].numpy(), one.fps)


class _Work:
    """A clip in the making: what is known of it so far."""

    def __init__(self, engine: Engine, plan: Plan, given: Tokens | None, worlds: Sequence[Tensor]) -> None:
        self.engine, self.plan, self.given = engine, plan, given
        whole = engine.codec.grid(plan.frames, plan.height, plan.width, plan.fps)
        self.latents = torch.zeros(1, whole.steps, whole.rows, whole.columns, engine.codec.config.channels)
        self.done = torch.zeros(whole.steps, whole.rows, whole.columns, dtype=torch.bool)
        if given is not None:
            self.latents, self.done = given.latents.clone(), given.known.clone()
        self.moves = Moves(engine, plan, whole, worlds)

    def frames(self, part: Round) -> tuple[int, int]:
        """The first frame of a round's own, and one past the last."""
        return max(0, self.engine.codec.frames(part.start)), self.engine.codec.frames(part.stop)

    def skip(self, part: Round) -> None:
        """A round that was done before."""
        self.done[part.start : part.stop] = True
        self.moves.there[part.known : part.end] = [True] * (part.end - part.known)

    def round(self, number: int, report: Report | None) -> Tensor | None:
        """Dreams a round. Returns the pictures of its own steps, uint8 F H W 3, where they lie upon a sketch."""
        plan, part, before = self.plan, self.plan.rounds[number], self.done.clone()

        def show(index: int, x: Tensor) -> None:
            if report:
                def preview() -> Clip:
                    so_far = self.latents.clone()
                    _put(so_far, before, x.cpu(), part)
                    return finished(self.engine, plan, so_far)

                report(number * plan.steps_a_round + index, preview)

        x, drawn = _round(self.moves, part, number, self.latents, self.done, self.given, show)
        _put(self.latents, self.done, x, part)
        self.done[part.start : part.stop] = True
        if drawn is None:
            return None
        own = self.latents[:, part.start : part.stop].to(self.engine.device)
        video = self.engine.codec.decode_over(own, drawn.to(self.engine.device), plan.height, plan.width,
                                              first=part.start == 0)
        return ((video[0] + 1) * 127.5).round().to(torch.uint8).cpu()

    def saved(self, number: int, drawn: Tensor) -> Saved:
        """What there is after a round. The codec looks back, not ahead, so a beginning decodes to what it will be."""
        there = [*self.done.flatten(1).all(1).tolist(), False].index(False)
        return Saved(number + 1, len(self.plan.rounds), self.latents.clone(), self.moves.rows.clone(), drawn.clone(),
                     lambda: finished(self.engine, self.plan, self.latents[:, :there], self.given, drawn))


def _shown(moves: Moves) -> dict[str, Any] | None:
    """What a finished clip shows, as its record has it; None where that cannot be said in words, seeds and motion."""
    plan = moves.plan
    if moves.engine.motion is None or any(one.scenery is None for one in plan.said):
        return None
    every = moves.whole.seconds_per_step / PARTS
    worlds = tuple(samples_of(rows)[PARTS - 1 :] for rows in (moves.rows, *moves.others))
    first, stop = plan.crop or (0, plan.frames)
    return Shown(every, plan.said, worlds).part(first / plan.fps, (stop - 1) / plan.fps).to_json()


def _drawn(plan: Plan, given: Tokens | None) -> Tensor:
    """Room for the pictures of a clip that lies upon its sketch, uint8 F H W 3; what is given of it is there."""
    if not plan.sketched:
        return torch.zeros(0, plan.height, plan.width, 3, dtype=torch.uint8)
    if given is None:
        return torch.zeros(plan.frames, plan.height, plan.width, 3, dtype=torch.uint8)
    return torch.from_numpy(given.canvas.frames.copy())


def _put(latents: Tensor, done: Tensor, x: Tensor, part: Round) -> None:
    """Writes a round's canvas tokens, 1 N C, where they belong; those of its other steps are left out."""
    canvas = ~done[part.known : part.end]
    window = latents[:, part.known : part.end].clone()
    window[:, canvas] = x
    latents[:, part.start : part.stop] = window[:, part.start - part.known : part.stop - part.known]


def _round(
    moves: Moves, part: Round, number: int, latents: Tensor, done: Tensor, given: Tokens | None,
    show: Callable[[int, Tensor], None],
) -> tuple[Tensor, Tensor | None]:
    """Dreams a round's canvas tokens, 1 N C. With the sketch of its steps, 1 F H W 3, where they lie upon one."""
    engine, plan = moves.engine, moves.plan
    pictures, known = latents[:, part.known : part.end].clone(), done[part.known : part.end]
    steps = list(range(part.known, part.end))
    if part.known:  # a window that begins inside the clip begins with a still, as clips do
        pictures[:, 0], steps[0] = still(pictures[:, 0], engine.codec), -1
    whole = moves.whole
    grid = Grid(len(steps), whole.rows, whole.columns, whole.seconds_per_step)
    told = what_is_told(engine, plan, moves.of(part, number, pictures, known), grid, part.known)
    seconds = ((torch.arange(part.known, part.end) - 0.5).clamp(min=0) * whole.seconds_per_step)
    window = Window(grid, pictures.flatten(1, 3), known.flatten(), told,
                    seconds.repeat_interleave(grid.tokens_per_step))
    lead = None if given is None or plan.sketched else leader(given, steps, (~window.known).nonzero()[:, 0])
    window, drawn = upon_sketch(engine, plan, window)
    dreamer = engine.dreamer(engine.transformer, scale_of(grid))
    x = solve(plan, dreamer, window, ("noise", number), lead, show)
    if drawn is None:
        return x, None
    first, last = (max(0, engine.codec.frames(step - part.known)) for step in (part.start, part.stop))
    return x, drawn[:, first:last]


@torch.inference_mode()
def finished(
    engine: Engine, plan: Plan, latents: Tensor, given: Tokens | None = None, drawn: Tensor | None = None
) -> Clip:
    """The plan's clip, as far as there are latents 1 T H W C, with what is given of it. drawn: its pictures, uint8
    F H W 3, where they lie upon a sketch."""
    if drawn is not None and len(drawn):
        frames = drawn[: engine.codec.frames(latents.shape[1])].numpy().copy()
        if given is not None:
            firm = given.canvas.weight[: len(frames)] == FIRM
            frames[firm] = given.canvas.frames[: len(frames)][firm]
    else:
        video = engine.codec.stream(iter(latents.to(engine.device).split(AT_ONCE, 1)), plan.height, plan.width)
        parts = [((part[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu() for part in video]
        frames = torch.cat(parts)[: plan.frames].numpy()
        if given is not None:
            restore(given, frames, engine.codec, engine.device)
    return Clip(np.ascontiguousarray(frames[slice(*(plan.crop or (None,)))]), plan.fps)
