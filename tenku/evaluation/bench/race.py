"""The race of transformers: what a step costs, and how low the loss gets for equal FLOPs.

Everybody gets the same batches with the same noise, in turns, so all meet the same weather. FLOPs are counted by
torch's own counter over one whole step, optimiser included, with attention as plain products; the counted step is not
timed. Peers and "ours" are trained as anybody would: AdamW, one batch over all threads. "ours, as trained" is what
`tenku train video` does: two groups side by side, Muon, and told of motion and sketch, which no peer can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tenku.config import TransformerConfig
from tenku.evaluation.bench.course import Batch, Course
from tenku.evaluation.bench.peers import KINDS, Racer, build, size
from tenku.evaluation.bench.timing import Times, in_turns, median, rate, ratio
from tenku.evaluation.metrics import mean
from tenku.model import flow
from tenku.model.patches import Grid
from tenku.model.precision import autocast
from tenku.rng import normal
from tenku.training.matching import Hands
from tenku.training.run import Optimizer

BEST = "ours, as trained"
OURS = ("ours", "ours, Muon", BEST)
NAMES = (*OURS, *KINDS)
GROUPS = 2  # of `tenku train video`
POINTS = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)  # shares of the FLOPs at which unseen clips are read
WARM = 0.05  # share of the FLOPs in which the learning rate rises; then it stays


@dataclass(frozen=True)
class Point:
    """Where a racer was on its way."""

    flops: float
    seconds: float  # in steps, without reading unseen clips
    losses: list[float]  # of each unseen clip: mean squared error of the velocity, over all noise levels

    @property
    def loss(self) -> float:
        return sum(self.losses) / len(self.losses)


@dataclass
class Entry:
    """One in the race."""

    name: str
    racer: Racer
    optimizer: Optimizer
    hands: Any = None  # groups side by side, where it trains so
    per_step: float = 0.0  # FLOPs
    flops: float = 0.0
    seconds: list[float] = field(default_factory=list)  # of each timed step
    rounds: list[int] = field(default_factory=list)  # in which they were
    curve: list[Point] = field(default_factory=list)


def enter(name: str, config: TransformerConfig, seed: int, rate: float) -> Entry:
    """A racer at the start, with fresh weights."""
    racer = build("ours, told" if name == BEST else name, config, seed)
    optimizer = Optimizer(racer, rate, muon=("blocks.",) if name in (BEST, "ours, Muon") else ())
    return Entry(name, racer, optimizer, Hands(racer, GROUPS) if name == BEST else None)  # type: ignore[arg-type]


def loss_of(racer: Racer, batch: Batch, grid: Grid) -> Tensor:
    """Mean squared error of the velocity of each clip: B."""
    each = batch.sigma[:, None].expand(-1, grid.tokens)
    x = flow.interpolate(batch.data.flatten(1, 3), batch.noise.flatten(1, 3), each).view_as(batch.data)
    with autocast():
        v = racer(x, batch.sigma, batch.words, grid, batch.told)
    return F.mse_loss(v, flow.velocity(batch.data, batch.noise), reduction="none").flatten(1).mean(1)


def run(
    course: Course, config: TransformerConfig, budget: float, clips: int, seed: int, rate: float,
    say: Callable[[str], None],
) -> list[Entry]:
    """The race: everybody trains on `clips` clips a step until its FLOPs are spent. Returns where they came."""
    entries = [enter(name, config, seed, rate) for name in NAMES]
    unseen, threads, number = course.unseen(), torch.get_num_threads(), 0
    shown = time.monotonic()
    while racing := [entry for entry in entries if entry.flops < budget or not entry.seconds]:
        batch = course.batch(clips, seed, "race", number)
        first = number % len(racing)
        for entry in (*racing[first:], *racing[:first]):
            _step(entry, batch, course.grid, rate * min(1.0, (entry.flops / budget + 1e-3) / WARM), number)
            torch.set_num_threads(threads)  # hands work on one thread each, and may have said so for all
            due = [point for point in POINTS if point * budget <= entry.flops]
            if len(due) > len(entry.curve):
                entry.curve += [_read(entry, unseen, course.grid)] * (len(due) - len(entry.curve))
        number += 1
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            say(f"race {min(1.0, *(entry.flops / budget for entry in entries)):.0%}")
    return entries


def count(work: Callable[[], object]) -> float:
    """FLOPs of some work of this thread: its products, attention's among them."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


def _step(entry: Entry, batch: Batch, grid: Grid, rate: float, number: int) -> None:
    def plain() -> None:
        loss_of(entry.racer, batch, grid).mean().backward()
        entry.optimizer.step(rate)

    if not entry.per_step:
        entry.per_step = count(plain)
    else:
        started = time.perf_counter()
        if entry.hands is None:
            plain()
        else:
            def work(twin: Racer, part: int) -> tuple[float, float]:
                loss = loss_of(twin, batch.part(part, GROUPS), grid).sum() / len(batch.data)
                loss.backward()
                return float(loss.detach()), 0.0

            entry.hands.gather(work)
            entry.optimizer.step(rate)
        entry.seconds.append(time.perf_counter() - started)
        entry.rounds.append(number)
    entry.flops += entry.per_step


@torch.inference_mode()
def _read(entry: Entry, unseen: Sequence[Batch], grid: Grid) -> Point:
    levels = [loss_of(entry.racer, batch, grid) for batch in unseen]
    return Point(entry.flops, sum(entry.seconds), torch.stack(levels).mean(0).tolist())


def times(entries: Sequence[Entry]) -> Times:
    """Seconds of the steps in rounds that everybody timed: neighbours, which can be compared pair by pair."""
    common = set.intersection(*(set(entry.rounds) for entry in entries))
    return {e.name: [s for s, number in zip(e.seconds, e.rounds, strict=True) if number in common] for e in entries}


def reaches(entry: Entry, loss: float) -> float | None:
    """FLOPs after which a curve is at a loss, straight between its points in the logarithm of FLOPs; None: never."""
    before: Point | None = None
    for point in entry.curve:
        if point.loss <= loss:
            if before is None or before.loss <= point.loss:
                return point.flops
            part = (before.loss - loss) / (before.loss - point.loss)
            return float(before.flops * (point.flops / before.flops) ** part)
        before = point
    return None


def summary(entries: Sequence[Entry], clips: int, grid: Grid, gemm: Mapping[str, float]) -> dict[str, Any]:
    """What the race says, in JSON values. gemm: the machine's FLOP/s of matrix products in each format."""
    taken = times(entries)
    found: dict[str, Any] = {"clips": clips, "tokens": clips * grid.tokens, "rounds": len(taken[entries[0].name]),
                             "racers": {}}
    for entry in entries:
        end = entry.curve[-1]
        others = {
            peer.name: {"loss_less": _figure([b - a for a, b in zip(end.losses, peer.curve[-1].losses, strict=True)]),
                        "speed": ratio(taken, entry.name, peer.name).to_json(),
                        "flops_to_its_loss": _share(reaches(entry, peer.curve[-1].loss), peer.curve[-1].flops)}
            for peer in entries if peer.name in KINDS and peer is not entry
        }
        found["racers"][entry.name] = {
            "parameters": size(entry.racer), "flops_a_step": entry.per_step,
            "tokens_per_s": rate(clips * grid.tokens, taken[entry.name]).to_json(),
            "flop_per_s": rate(entry.per_step, taken[entry.name]).to_json(),
            "of_gemm": {name: entry.per_step / median(taken[entry.name]).value / flops for name, flops in gemm.items()},
            "loss": end.loss, "steps": len(entry.seconds) + 1,
            "curve": [{"flops": p.flops, "seconds": p.seconds, "loss": p.loss} for p in entry.curve],
            "against": others if entry.name in OURS else {},
        }
    return found


def _figure(values: Sequence[float]) -> dict[str, float | int]:
    figure = mean(values)
    assert figure is not None
    return figure.to_json()


def _share(flops: float | None, of: float) -> float | None:
    return None if flops is None else flops / of


@torch.inference_mode()
def forward(
    config: TransformerConfig, grids: Sequence[Grid], words: int, rounds: int, gemm: Mapping[str, float]
) -> dict[str, Any]:
    """Milliseconds of a denoising step of one clip, and of reading its prompt, for each grid, in JSON values.

    What is read once for all steps is not in a step: keys and values of ours; a peer's text comes in embedded.
    """
    racers = {name: build(name, config).eval() for name in ("ours", "ours, told", *KINDS)}
    found: dict[str, Any] = {}
    for grid in grids:
        x = normal((1, grid.steps, grid.rows, grid.columns, config.channels), 0, "bench", "forward")
        told = normal((1, grid.tokens, config.motion + config.channels), 0, "bench", "told")
        text, sigma = torch.zeros(1, words, dtype=torch.int64), torch.full((1,), 0.5)
        with autocast():
            ready = {name: racer.read(text, grid, told) for name, racer in racers.items()}
            steps = {name: partial(racer.velocity, x, sigma, grid, ready[name]) for name, racer in racers.items()}
            flops = {name: count(step) for name, step in steps.items()}
            taken = in_turns(steps, rounds)
            reading = in_turns({name: partial(racer.read, text, grid, told) for name, racer in racers.items()}, rounds)
        found[f"{grid.steps}x{grid.rows}x{grid.columns}"] = {name: {
            "tokens": grid.tokens, "flops": flops[name], "ms": median([1e3 * s for s in taken[name]]).to_json(),
            "ms_reading": median([1e3 * s for s in reading[name]]).to_json(),
            "of_gemm": {kind: flops[name] / median(taken[name]).value / f for kind, f in gemm.items()},
            "against_ours": ratio(taken, "ours", name).to_json()} for name in racers}
    return found
