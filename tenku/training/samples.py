"""A look at a run: a sealed contact sheet of what its weights make of a few prompts."""

from __future__ import annotations

from pathlib import Path

from tenku.engines.bundled import Engine
from tenku.evaluation.sheet import strip
from tenku.provenance.seal import Model, seal
from tenku.request import Request
from tenku.sampling.generate import dream
from tenku.sampling.plan import plan
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


def write_samples(folder: Path, name: str, steps: int = 10, guidance: float = 4.0) -> Path:
    """Makes a clip of each prompt with the weights in `folder`, and seals them as `folder/samples/<name>.png`."""
    engine = Engine(folder, f"tenku-{folder.name}")
    clips, plans = [], []
    for seed, prompt in enumerate(PROMPTS):
        request = Request(prompt=prompt, seed=seed, steps=steps, guidance=guidance)
        grid = engine.codec.grid(request.frames, request.size.height, request.size.width, request.fps)
        plans.append(plan(request, grid.steps, engine.longest))
        clips.append(dream(engine, plans[-1])[0])
    path = folder / "samples" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    sheet = Clip(strip(clips, PROMPTS)[None], 1.0)
    model = Model(engine.name, engine.weights_sha256, engine.ledgers)
    seal(sheet, {"plans": [p.to_dict() for p in plans]}, path, model=model)
    return path
