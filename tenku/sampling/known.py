"""What is known of clips that are given: their motion and their places, where they are ours and say so.

Then nothing need be guessed: a clip goes on from its own motion, what comes before it arrives as it begins, and between
two clips things go from where the one leaves them to where the other finds them, while its place gives way.

Legend: T latent steps, C numbers of a row of motion, M samples of it, STATE numbers of a sample, K things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tenku.engines.bundled import Engine
from tenku.model.motion import scaled, turned
from tenku.model.patches import Grid
from tenku.request import GROUP
from tenku.sampling.control import axes, samples_of, times
from tenku.sampling.moves import coming_to, motion_of
from tenku.sampling.plan import Plan, rounds
from tenku.sampling.shown import FADE, Placed, Said, Shown
from tenku.sampling.window import sketch_of, what_is_told
from tenku.world.motion import CAMERA, STATE, THING

ALIKE = 0.25  # mean square by which a sketch and pictures may differ in latents, and still be of one clip (dev/LOG.md)

REST = 0.2  # of the way between two clips, at each of its ends


@torch.inference_mode()
def known(engine: Engine, plan: Plan, placed: Sequence[Placed]) -> tuple[Plan, list[Tensor]]:
    """The plan with what its given clips show, and their motions 1 T C, of the first perhaps the beginning alone.

    The plan as it was, and no motion, where nothing is known or what is said to be shown is not what is seen.
    """
    if not placed or engine.motion is None or engine.field is None:
        return plan, []
    first, last = placed[0], placed[-1]
    again = len(placed) > 1 and first.clip is last.clip
    if not all(_believed(engine, plan, one) for one in (placed[:1] if again else placed)):
        return plan, []
    if len(placed) == 1:
        if first.first == 0:
            return _on(engine, plan, first)
        return _backwards(engine, plan, first)
    if again:
        return _round(engine, plan, first, last)
    return _between(engine, plan, first, last)


def _grid(engine: Engine, plan: Plan, frames: int) -> Grid:
    return engine.codec.grid(frames, plan.height, plan.width, plan.fps)


def _rows(engine: Engine, plan: Plan, one: Placed, world: int, frames: int) -> np.ndarray:
    """A clip's motion as a clip of so many frames has it that begins with it: M STATE."""
    grid = _grid(engine, plan, frames)
    return one.shown.at(world, times(grid.steps, grid.seconds_per_step))


def _motion(samples: np.ndarray, grid: Grid) -> Tensor:
    return scaled(torch.from_numpy(samples).float()).reshape(1, grid.steps, -1)


def _believed(engine: Engine, plan: Plan, one: Placed) -> bool:
    """Whether its sketch is like its pictures. It may be of another model, or only said to be theirs."""
    frames, (width, height) = len(one.clip.frames), one.clip.size
    alone = replace(plan, said=one.shown.said, frames=frames, width=width, height=height, tracks=())
    grid = _grid(engine, alone, frames)
    worlds = [_motion(_rows(engine, plan, one, world, frames), grid) for world in range(len(one.shown.worlds))]
    told = what_is_told(engine, alone, worlds, grid, 0)
    assert told is not None
    video = torch.from_numpy(one.clip.frames)[None].to(engine.device).float() / 127.5 - 1
    there = engine.codec.encode(video).flatten(1, 3).cpu()
    return bool((sketch_of(engine, alone, told)[0] - there).square().mean() < ALIKE)


def _led(shown: Shown, world: int) -> tuple[list[Said], list[int]]:
    """What a clip says, with one of its motions in the first place, and its motions in that order."""
    order = [world, *(w for w in range(len(shown.worlds)) if w != world)]
    return [replace(one, world=order.index(one.world)) for one in shown.said], order


def _on(engine: Engine, plan: Plan, one: Placed) -> tuple[Plan, list[Tensor]]:
    """From a clip's end on; or that clip otherwise, where all is given."""
    last = one.shown.said[-1]
    said, order = _led(one.shown, last.world)
    asked = [replace(ask, scenery=last.scenery, clock=last.clock) for ask in plan.said]
    if one.stop >= plan.frames:  # an edit: as it moved, and what is asked
        if len(order) > 1:
            return plan, []
        rows = _rows(engine, plan, one, 0, plan.frames)
        return replace(plan, said=tuple(asked)), [_motion(rows, _grid(engine, plan, plan.frames))]
    asked[0] = replace(asked[0], start=(one.stop - 1) / plan.fps + FADE / 2)
    if asked[0].text == last.text:
        asked = asked[1:]
    begun = _motion(_rows(engine, plan, one, order[0], one.stop), _grid(engine, plan, one.stop))
    whole = _grid(engine, plan, plan.frames)
    others = [_motion(_rows(engine, plan, one, w, plan.frames), whole) for w in order[1:]]
    return replace(plan, said=_sorted([*said, *asked])), [begun, *others]


def _backwards(engine: Engine, plan: Plan, one: Placed) -> tuple[Plan, list[Tensor]]:
    """What comes to a clip's beginning: of several motions the one that arrives as the clip goes on."""
    if plan.camera or plan.tracks:  # which would have to be led from the clip's first frame back
        return plan, []
    begins = one.first / plan.fps
    said, order = _led(one.shown, one.shown.said[0].world)
    asked = [replace(ask, scenery=said[0].scenery, clock=said[0].clock + begins)
             for ask in plan.said if ask.start < begins]
    there = [ask.later(begins) for ask in said]
    there[0] = replace(there[0], start=begins - there[0].fade / 2)
    if asked[-1].text == there[0].text:
        there = there[1:]
    motions = [_arriving(engine, plan, one, w, asked) for w in order[:1]]
    whole = _grid(engine, plan, plan.frames)
    late = times(whole.steps, whole.seconds_per_step) - begins
    motions += [_motion(one.shown.at(w, np.maximum(late, 0)), whole) for w in order[1:]]
    return replace(plan, said=_sorted([*asked, *there])), motions


def _arriving(engine: Engine, plan: Plan, one: Placed, world: int, said: Sequence[Said]) -> Tensor:
    """The motion of the whole plan, that comes to a clip's beginning and is its own from there on."""
    arrives = one.first // GROUP * GROUP
    until, whole = _grid(engine, plan, arrives + 1), _grid(engine, plan, plan.frames)
    late = times(whole.steps, whole.seconds_per_step) - one.first / plan.fps
    own = _motion(one.shown.at(world, late), whole)
    then = torch.cat([own[:, until.steps - 1 : until.steps, -STATE:].repeat(1, 1, own.shape[2] // STATE),
                      own[:, until.steps :]], 1)
    leads = replace(plan, prompt=said[0].text, said=tuple(said), frames=arrives + 1, camera="", tracks=(), motion=1.0,
                    rounds=rounds(until.steps, engine.longest))
    return torch.cat([coming_to(engine, leads, until, then), own[:, until.steps :]], 1)


def _leaving(engine: Engine, plan: Plan, one: Placed, world: int, frames: int) -> Tensor:
    """The motion of a plan of so many frames, that begins with a clip's own and goes on from it."""
    last = one.shown.said[-1]
    whole = _grid(engine, plan, frames)
    begun = _motion(_rows(engine, plan, one, world, one.stop), _grid(engine, plan, one.stop))
    goes_on = replace(plan, prompt=last.text, said=(replace(last, start=0.0),), frames=frames, camera="", tracks=(),
                      motion=1.0, rounds=rounds(whole.steps, engine.longest))
    return motion_of(engine, goes_on, whole, [begun])


def _round(engine: Engine, plan: Plan, one: Placed, again: Placed) -> tuple[Plan, list[Tensor]]:
    """From a clip's end to its own beginning, in one place: all goes the shortest way."""
    first, last = one.shown.said[0], one.shown.said[-1]
    if len(one.shown.worlds) > 1:
        return plan, []
    left, reached = _ends(engine, plan, one, again)
    share, whole = _share(engine, plan, one, again), _grid(engine, plan, plan.frames)
    turn = (reached[:, 3] - left[:, 3] + np.pi) % (2 * np.pi) - np.pi  # of the camera
    reached[:, 3] = left[:, 3] + turn
    mixed = left + share[:, None] * (reached - left)
    for at in range(CAMERA, STATE, THING):
        mixed[:, at : at + THING] = _poses(left[:, at : at + THING], reached[:, at : at + THING], share)
    said = list(one.shown.said)
    if first.text != last.text:
        said.append(replace(first, start=(one.stop - 1 + again.first) / 2 / plan.fps))
    return replace(plan, said=tuple(said)), [_motion(mixed, whole)]


def _between(engine: Engine, plan: Plan, one: Placed, other: Placed) -> tuple[Plan, list[Tensor]]:
    """From one clip to another: in the camera's eyes each thing goes to where the other clip's thing will be.

    So the pictures of both show them at one spot while one place gives way to the other. Clips that overlap turn into
    each other all the time.
    """
    left, reached = _ends(engine, plan, one, other)
    share, whole = _share(engine, plan, one, other), _grid(engine, plan, plan.frames)
    for at in range(CAMERA, STATE, THING):
        if left[:, at].all() and reached[:, at].all():
            mixed = _poses(_viewed(left, at), _viewed(reached, at), share)
            for rows in (left, reached):
                rows[:, at : at + THING] = _viewed(rows, at, mixed)
    said, order = _led(one.shown, one.shown.said[-1].world)
    others, then = _led(other.shown, other.shown.said[0].world)
    ends, begins = _gap(plan, one, other)
    late = other.first / plan.fps
    after = [ask.later(late, len(order)) for ask in others]
    way = [replace(ask, scenery=said[-1].scenery, clock=said[-1].clock, start=max(ask.start, ends + FADE / 2))
           for ask in plan.said if ask.text not in (said[-1].text, after[0].text)]
    middle, fade = ((begins - FADE / 2, FADE) if way else ((ends + begins) / 2, begins - ends))
    after[0] = replace(after[0], start=middle, fade=fade)
    clock = times(whole.steps, whole.seconds_per_step)
    motions = [left, *(one.shown.at(w, clock) for w in order[1:]),
               reached, *(other.shown.at(w, np.maximum(clock - late, 0)) for w in then[1:])]
    return (replace(plan, start=1.0, said=_sorted([*said, *way, *after])),
            [_motion(samples, whole) for samples in motions])


def _gap(plan: Plan, one: Placed, other: Placed) -> tuple[float, float]:
    """From when to when one clip becomes another, in seconds; all the time where they overlap.

    Between them each first goes on for a while as it is: a change that begins with the seam shows where that lies.
    """
    if other.first < one.stop:
        return 0.0, (plan.frames - 1) / plan.fps
    ends, begins = (one.stop - 1) / plan.fps, other.first / plan.fps
    rest = REST * (begins - ends)
    return ends + rest, begins - rest


def _share(engine: Engine, plan: Plan, one: Placed, other: Placed) -> np.ndarray:
    """How far the way is from one clip to the other at each sample of the plan: M, evenly begun and ended."""
    whole, (ends, begins) = _grid(engine, plan, plan.frames), _gap(plan, one, other)
    part = ((times(whole.steps, whole.seconds_per_step) - ends) / (begins - ends)).clip(0, 1)
    return part * part * (3 - 2 * part)


def _poses(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Things M THING on the shortest way from a to b."""
    mixed = a + share[:, None] * (b - a)
    one, other = (torch.from_numpy(np.stack([rows[:, 4:7], rows[:, 7:]], 2)) for rows in (a, b))
    columns = turned(one, other, torch.from_numpy(share)).numpy()
    mixed[:, 4:7], mixed[:, 7:] = columns[..., 0], columns[..., 1]
    return mixed


def _viewed(rows: np.ndarray, at: int, seen: np.ndarray | None = None) -> np.ndarray:
    """A thing of M STATE, M THING, as the camera has it; or, given that, as the world has it."""
    eye, own = axes(rows[:, :CAMERA]), rows[:, at : at + THING] if seen is None else seen
    vectors = np.stack([own[:, 1:4] - (rows[:, :3] if seen is None else 0), own[:, 4:7], own[:, 7:]], 2)
    vectors = (eye.transpose(0, 2, 1) if seen is None else eye) @ vectors
    vectors[:, :, 0] += 0 if seen is None else rows[:, :3]
    return np.concatenate([own[:, :1], *vectors.transpose(2, 0, 1)], 1)


def _ends(engine: Engine, plan: Plan, one: Placed, other: Placed) -> tuple[np.ndarray, np.ndarray]:
    """The motion that goes on from one clip, and the one that comes to another, of the whole plan: M STATE each."""
    world, then = one.shown.said[-1].world, other.shown.said[0].world
    if other.first < one.stop:
        return _rows(engine, plan, one, world, plan.frames), _rows(engine, plan, other, then, plan.frames)
    left = samples_of(_leaving(engine, plan, one, world, other.first // GROUP * GROUP + 1))
    reached = samples_of(_arriving(engine, plan, other, then, other.shown.said[:1]))
    return np.concatenate([left, left[-1:].repeat(len(reached) - len(left), 0)]), reached


def _sorted(said: Sequence[Said]) -> tuple[Said, ...]:
    return tuple(sorted(said, key=lambda one: one.start))
