"""How different takes of a prompt are, and how far each is from the nearest training clip. `tenku eval variety`.

Two clips are as far apart as the features of the probe's frozen backbone in each cell (sight.py), root mean square, in
units of 1; their motions as the places of the main thing, in metres. Truth of the same scenes with other seeds, which
nobody trained on, says what is usual: a model that copies has takes nearer to a training clip than that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenku.data.shards import iter_clips
from tenku.errors import UserError
from tenku.evaluation import prompts, truth
from tenku.evaluation.benchmark import Settings as Benchmark
from tenku.evaluation.figures import grid, html, said
from tenku.evaluation.mechanics import place_of
from tenku.evaluation.metrics import mean
from tenku.evaluation.probe import Probe, bundled
from tenku.evaluation.sheet import strip
from tenku.evaluation.sight import STILLS, look
from tenku.model.motion import PARTS
from tenku.sampling.generate import Result, generate
from tenku.sampling.shown import Shown
from tenku.types import Clip
from tenku.world.motion import CAMERA, MIDDLE, SPREAD, THING, states

Say = Callable[[str], None]
PAIRS = 6  # nearest pairs on the contact sheet
WORDS = {"features": "between takes, features", "motion": "between takes, main thing's place, m",
         "nearest": "to the nearest training clip, features"}


@dataclass(frozen=True)
class Settings:
    """What to measure with."""

    out: Path  # folder of variety.json, index.html and nearest.png
    data: Path  # shards that the model was trained on
    model: str = "nano"
    takes: int = 8
    limit: int = 20  # prompts
    steps: int = 30
    clips: int = 1000  # training clips that are looked at, the first of their size

    def __post_init__(self) -> None:
        if self.takes < 2 or min(self.limit, self.clips) < 1:
            raise UserError("seeds are at least 2, limit and clips at least 1", "tenku eval --help")


@dataclass
class _Take:
    clip: Clip
    place: np.ndarray  # M 3, of the main thing, eight times a second
    seen: torch.Tensor
    nearest: float = float("inf")
    like: Clip | None = field(default=None, repr=False)
    result: Result | None = field(default=None, repr=False)


@torch.inference_mode()
def seen(probe: Probe, clip: Clip) -> torch.Tensor:
    """A clip's features: stills N D, flat."""
    return probe.backbone(torch.from_numpy(look(clip))[list(STILLS)]).float().flatten()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far features are apart: root mean square."""
    return float((one - other).square().mean().sqrt())


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All figures, as plain JSON values; also written to `variety.json`, with a page and the nearest pairs.

    Raises UserError where truth cannot be rendered, or where the data hold no clip of the evaluation's size.
    """
    probe, _ = bundled()
    kinds: dict[str, list[list[_Take]]] = {"dreamt": [], "truth": []}
    for number, prompt in enumerate(prompts.load()[: settings.limit]):
        say(f"variety {number + 1}/{settings.limit}")
        ask = Benchmark(settings.out, settings.model, steps=settings.steps)
        kinds["dreamt"].append([_dreamt(probe, ask.request(prompt, number, take)) for take in range(settings.takes)])
        kinds["truth"].append([_true(probe, prompt, number, take) for take in range(settings.takes)])
    count = _search(settings, probe, [take for each in kinds.values() for takes in each for take in takes], say)
    figures = {name: {of: mean([_value(name, takes) for takes in each]) for of, each in kinds.items()}
               for name in WORDS}
    report: dict[str, Any] = {
        "model": settings.model, "prompts": settings.limit, "takes": settings.takes, "steps": settings.steps,
        "training_clips": count,
        "figures": {name: {of: one.to_json() if one else None for of, one in row.items()}
                    for name, row in figures.items()},
        "least": {of: round(min(take.nearest for takes in each for take in takes), 4) for of, each in kinds.items()},
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "variety.json").write_text(json.dumps(report, indent=1))
    _sheet([take for takes in kinds["dreamt"] for take in takes], settings.out / "nearest.png")
    (settings.out / "index.html").write_text(html("Takes, and what they are like", _about(report), [
        ("Distances", "", rows_of(report)), ("Takes above the training clips nearest to them",
                                             '<img src="nearest.png" alt="nearest pairs">', [])]))
    return report


def _dreamt(probe: Probe, request: Any) -> _Take:
    result = generate(request)[0]
    shown = Shown.from_json(result.record["shown"])
    assert shown is not None, "clips of words alone say what they show"
    return _Take(result.clip, place_of(shown.worlds[0], 0), seen(probe, result.clip), result=result)


def _true(probe: Probe, prompt: prompts.Prompt, number: int, take: int) -> _Take:
    try:
        from tenku.world.simulate import Format, render
    except ImportError:
        raise UserError("truth cannot be rendered: MuJoCo is missing", "pip install 'tenku[world]'") from None
    scene = replace(prompt.scene, seed=prompts.TRUTH_SEED + number + 1_000_000 * take)
    made = render(scene, Format(truth.WIDTH, truth.HEIGHT, truth.FRAMES, truth.FPS))
    rows = states(made.facts)[:: 8 // PARTS] * SPREAD + MIDDLE
    return _Take(made.clip, rows[:, CAMERA + 1 : CAMERA + THING][:, :3], seen(probe, made.clip))


def _search(settings: Settings, probe: Probe, takes: Sequence[_Take], say: Say) -> int:
    """Finds for each take the training clip nearest to it. Returns how many were looked at."""
    size, count = (truth.FRAMES, truth.HEIGHT, truth.WIDTH), 0
    fits = (item.clip for item in iter_clips(settings.data) if item.clip.frames.shape[:3] == size)
    every = torch.stack([take.seen for take in takes])
    for count, clip in enumerate(islice(fits, settings.clips), 1):
        if count % 100 == 0:
            say(f"training clip {count}")
        off = (every - seen(probe, clip)).square().mean(1).sqrt().tolist()
        for take, far in zip(takes, off, strict=True):
            if far < take.nearest:
                take.nearest, take.like = far, clip
    if not count:
        raise UserError(f"{settings.data} holds no clip of {truth.FRAMES} frames of {truth.WIDTH}x{truth.HEIGHT}",
                        f"tenku world make --mix {truth.WIDTH}x{truth.HEIGHT}x{truth.FRAMES}")
    return count


def _value(name: str, takes: Sequence[_Take]) -> float:
    if name == "nearest":
        return float(np.mean([take.nearest for take in takes]))
    pairs = list(combinations(takes, 2))
    if name == "features":
        return float(np.mean([apart(a.seen, b.seen) for a, b in pairs]))
    return float(np.mean([np.linalg.norm(a.place - b.place, axis=1).mean() for a, b in pairs]))


def _sheet(takes: Sequence[_Take], path: Path) -> None:
    from tenku.provenance.seal import Model, seal

    clips, labels = [], []
    for take in sorted(takes, key=lambda take: take.nearest)[:PAIRS]:
        if take.like is not None:
            clips += [take.clip, take.like]
            labels += [f"dreamt, {take.nearest:.3f} from", "the nearest training clip"]
    result = takes[0].result
    assert result is not None, "the takes are dreamt"
    seal(Clip(strip(clips, labels, scale=1)[None], 1.0), result.record, path,
         model=Model(result.model, result.weights_sha256, result.ledgers))


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    """The figures as rows of text, the heading first."""
    rows = [[words, *(said(report["figures"][name][of]) for of in ("dreamt", "truth"))]
            for name, words in WORDS.items()]
    least = [f"{report['least'][of]:.3g}" for of in ("dreamt", "truth")]
    return [["", "dreamt", "truth nobody trained on"], *rows, ["the nearest of all", *least]]


def table(report: dict[str, Any]) -> str:
    """The figures as lines of text."""
    return "\n".join([_about(report), grid(rows_of(report))])


def _about(report: dict[str, Any]) -> str:
    return (f"{report['model']}, {report['prompts']} prompts, {report['takes']} seeds each, {report['steps']} steps; "
            f"{report['training_clips']} training clips; means over prompts, 95 % intervals")
