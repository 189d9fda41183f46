"""A look at a run: a sealed contact sheet of what its weights make of a few prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenku.engines.bundled import Engine
from tenku.evaluation.sheet import strip
from tenku.provenance.seal import Model, seal
from tenku.request import Request
from tenku.sampling.generate import dream
from tenku.sampling.plan import Plan, plan
from tenku.sampling.window import sketched
from tenku.types import Clip

PROMPTS = (
    "a large red ball bounces on a beach at sunset",
    "a large yellow car moves left on a city street in the day",
    "a large blue rocket takes off on the moon at night",
    "a small orange fish swims right in a coral reef",
    "a large white sailing boat floats on the open sea in the fog",
    "a green robot spins in the snow, the camera orbits left",
    "a large purple house in a meadow, the camera moves closer",
    "a pink coffee cup topples in the desert",
)


def look(engine: Engine, prompts: Sequence[str], folder: Path, name: str, steps: int = 20) -> Path:
    """Makes a clip of each prompt with an engine, as it makes them, sealed as one sheet `folder/samples/<name>.png`."""
    clips, plans = [], []
    for seed, prompt in enumerate(prompts):
        request = Request(prompt=prompt, seed=seed, steps=steps)
        grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
        plans.append(sketched(engine, plan(request, grid.steps, engine.longest)))
        clips.append(dream(engine, plans[-1])[0])
    return _sheet(engine, clips, plans, prompts, folder, name)


def write_samples(folder: Path, name: str, steps: int = 10, guidance: float = 4.0) -> Path:
    """Makes a clip of each prompt with the weights in `folder`, and seals them as `folder/samples/<name>.png`."""
    engine = Engine(folder, f"tenku-{folder.name}")
    clips, plans = [], []
    for seed, prompt in enumerate(PROMPTS):
        request = Request(prompt=prompt, seed=seed, steps=steps, guidance=guidance)
        grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
        plans.append(plan(request, grid.steps, engine.longest))
        clips.append(dream(engine, plans[-1])[0])
    return _sheet(engine, clips, plans, PROMPTS, folder, name)


def _sheet(engine: Engine, clips: Sequence[Clip], plans: Sequence[Plan], prompts: Sequence[str], folder: Path,
           name: str) -> Path:
    path = folder / "samples" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = Clip(strip(clips, prompts)[None], 1.0)
    model = Model(engine.name, engine.weights_sha256, engine.ledgers)
    seal(sheet, {"plans": [p.to_dict() for p in plans]}, path, model=model)
    return path
