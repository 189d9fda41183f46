"""`tenku bench`: all parts one after the other, each with what others did to the machine meanwhile."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenku import __version__
from tenku.data.latents import Latents
from tenku.engines.bundled import Engine, load
from tenku.errors import UserError
from tenku.evaluation.bench import PARTS, codecs, machine, making, packing, race
from tenku.evaluation.bench.course import Course, shards
from tenku.evaluation.bench.page import write_page
from tenku.evaluation.bench.peers import need_diffusers
from tenku.evaluation.benchmark import replace_text
from tenku.request import Request
from tenku.training.matching import fresh, vocabulary

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int  # of each timing
    flops: float  # that each transformer trains for
    shards: int  # of 32 clips, to train on
    clips: int  # a training step
    unseen: int  # clips that losses and PSNR are of
    groups: int  # of packing
    tokens: int  # of a group
    gemm: tuple[int, float]  # side of the matrices, seconds for each format
    pictures: tuple[tuple[int, int, int], ...] = ((33, 80, 128), (33, 128, 128))  # frames, height, width: of codecs
    sizes: tuple[str, ...] = ("128x80", "192x112")  # that clips are made in
    steps: tuple[int, ...] = (Request.steps, 4)
    seconds: float = 2.0  # of a clip
    longer: tuple[int, int, int] = (81, 112, 192)  # frames, height, width whose forward pass is timed too


FULL = Scale(rounds=9, flops=2e12, shards=6, clips=8, unseen=16, groups=5, tokens=2048, gemm=(2048, 2.0))
QUICK = Scale(rounds=2, flops=1e11, shards=2, clips=4, unseen=2, groups=2, tokens=1024, gemm=(1024, 0.3),
              pictures=((17, 64, 64),), sizes=("192x112",), steps=(4,), seconds=1.0, longer=(17, 64, 64))


@dataclass(frozen=True)
class Settings:
    """What to measure, and where to write it."""

    out: Path  # folder of bench.json and index.html
    scale: Scale = FULL
    parts: tuple[str, ...] = PARTS
    model: str = "nano"
    data: Path | None = None  # folder of shards; None: the runs' own, or a few are rendered
    rate: float = 1e-3  # learning rate of the race, AdamW's and Muon's
    seed: int = 0
    busy: bool = False  # measure beside other work


def bench(settings: Settings, say: Say) -> dict[str, Any]:
    """Measures, writes bench.json and index.html, returns the report in JSON values.

    `say` gets lines of progress. Raises UserError on a busy machine, where diffusers or shards are missing, and for a
    model that cannot be read.
    """
    for part in settings.parts:
        if part not in PARTS:
            raise UserError(f"no such part: {part[:40]!r}", f"one of {', '.join(PARTS)}")
    disturbed = machine.need_idle(settings.busy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if set(settings.parts) & {"forward", "training", "codecs"}:
            need_diffusers()
    engine = load(settings.model)
    settings.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "tenku": __version__, "model": engine.name, "weights_sha256": engine.weights_sha256,
        "scale": asdict(settings.scale), "seed": settings.seed, "rate": settings.rate, "notes": [], "others": {},
        "seconds": {},
    }
    if disturbed:
        report["notes"].append(f"measured on a busy machine: {disturbed}; no figure here is one to quote")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers about itself, and of torch about how diffusers calls it
        _measure(settings, engine, report, say)
    replace_text(settings.out / "bench.json", json.dumps(report, indent=1))
    write_page(report, settings.out / "index.html")
    return report


def _measure(settings: Settings, engine: Engine, report: dict[str, Any], say: Say) -> None:
    """Fills in all parts, and what others did meanwhile."""
    whole = _Whole(settings, engine, say)
    report["machine"] = whole.about
    for part in settings.parts:
        say(part)
        watch, started = machine.Watch(), time.monotonic()
        report[part] = getattr(whole, part)()
        report["seconds"][part] = round(time.monotonic() - started, 1)
        others = watch.others()
        report["others"][part] = None if others is None else round(others, 2)
        if others is not None and others > machine.IDLE:
            report["notes"].append(f"{part}: other programs used {others:.1f} cores meanwhile")


class _Whole:
    """The parts, by their names, and what several of them need."""

    def __init__(self, settings: Settings, engine: Engine, say: Say) -> None:
        self.settings, self.scale, self.engine, self.say = settings, settings.scale, engine, say
        self.config = engine.transformer.config
        self.pool: Latents | None = None
        if set(settings.parts) & {"training", "packing"}:
            folder = shards(settings.data, settings.out, engine, self.scale.shards, say)
            assert engine.field is not None
            self.pool = Latents(folder, engine.codec, engine.field)
        say("machine")
        self.about = machine.about(*self.scale.gemm)
        self.gemm = {name: float(figure["value"]) for name, figure in self.about["gemm_flop_per_s"].items()}

    def forward(self) -> dict[str, Any]:
        """Denoising steps of one clip, short and long."""
        frames, height, width = self.scale.longer
        grids = [self.engine.codec.grid(33, 80, 128, 16.0), self.engine.codec.grid(frames, height, width, 16.0)]
        return race.forward(self.config, grids, 32, self.scale.rounds, self.gemm)

    def training(self) -> dict[str, Any]:
        """The race."""
        assert self.pool is not None
        course, scale, settings = Course(self.pool, self.scale.unseen), self.scale, self.settings
        entries = race.run(course, self.config, scale.flops, scale.clips, settings.seed, settings.rate, self.say)
        return race.summary(entries, scale.clips, course.grid, self.gemm)

    def packing(self) -> dict[str, Any]:
        """Groups of one shape, or padded batches."""
        assert self.pool is not None
        model = fresh(self.config, self.settings.seed, None)
        return packing.measure(self.pool, vocabulary(), model, self.scale.groups, self.scale.tokens, self.scale.rounds)

    def codecs(self) -> dict[str, Any]:
        """Encoding and decoding."""
        return codecs.measure(self.engine.codec, self.scale.pictures, self.scale.rounds, self.scale.unseen)

    def making(self) -> dict[str, Any]:
        """Clips, warm."""
        s = self.scale
        return {"clips": making.measure(self.settings.model, s.sizes, s.steps, s.seconds, s.rounds),
                "first": making.first(self.settings.model, s.sizes[-1], s.steps[-1], s.seconds, s.rounds)}

    def start(self) -> dict[str, Any]:
        """New processes."""
        s = self.scale
        return making.cold(self.settings.model, s.sizes[-1], s.steps[-1], s.seconds, max(1, s.rounds // 2))
