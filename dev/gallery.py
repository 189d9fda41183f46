"""Makes the gallery: one example of each mode and control, docs/media/modes.webp, sealed like everything it makes.

    python dev/gallery.py [STEPS]

Every clip is the first take: seed 0, nothing chosen among several. What is given to a mode is what was made before it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from grid import tile
from tqdm import tqdm

from tenku.inputs import Given
from tenku.provenance.seal import Model, seal
from tenku.request import Request
from tenku.sampling.generate import Result, generate
from tenku.sampling.modes import name_of
from tenku.types import Clip

BALL = "a large red ball rolls to the left on a beach at sunset"
ROCKET = "a large white rocket launches in the desert by day"
# label -> prompt, fields; "ball", "rocket" and "picture" among the inputs are what was made before
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "from words": (BALL, {}),
    "animate a picture": (ROCKET, {"inputs": ["picture"]}),
    "keyframes": (BALL, {"inputs": ["ball@0.5", "picture@2:0.9"], "seconds": 2.5}),
    "extend": (BALL, {"mode": "extend", "inputs": ["ball"], "seconds": 1.5}),
    "backwards": (BALL, {"mode": "extend", "way": "backwards", "inputs": ["ball"], "seconds": 1.5}),
    "blend": (BALL, {"mode": "blend", "inputs": ["ball", "rocket"], "seconds": 1, "captions": [[2.5, ROCKET]]}),
    "morph": (BALL, {"mode": "blend", "way": "morph", "inputs": ["ball", "rocket"], "captions": [[1, ROCKET]]}),
    "loop": ("a yellow butterfly flies to the right over a meadow by day", {"mode": "loop"}),
    "edit": ("a large red ball rolls to the left in the snow at night",
             {"mode": "edit", "inputs": ["ball"]}),
    "a wider canvas": (BALL, {"mode": "edit", "way": "around", "inputs": ["ball"], "size": "176x80"}),
    "camera: orbit right 40": (ROCKET.replace("launches", "rests"), {"camera": "orbit right 40"}),
    "a track": (BALL, {"tracks": ["0:0.15,0.7 1:0.5,0.25 2:0.85,0.7"], "camera": "static"}),
}  # fmt: skip
COLUMNS = 3


def main() -> None:
    """Generates, tiles and seals."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else Request.steps
    made = {"ball": generate(BALL, steps=steps)[0], "rocket": generate(ROCKET, steps=steps)[0],
            "picture": generate(ROCKET, steps=steps, seconds=0)[0]}
    named = {name: result.clip for name, result in made.items()}
    clips = {name_of(clip): clip for clip in named.values()}
    shown = {name_of(result.clip): result.record["shown"] for result in made.values()}
    results = []
    for prompt, fields in tqdm(CASES.values()):
        inputs = [Given.parse(spec) for spec in fields.get("inputs", [])]
        known = [Given(name_of(named[given.source]), given.at, given.strength) for given in inputs]
        request = Request.parse({"prompt": prompt, "steps": steps, **fields, "inputs": known})
        results.append(generate(request, clips=clips, shown=shown)[0])
    path = Path(__file__).parent.parent / "docs" / "media" / "modes.webp"
    seal(Clip(sheet(results)[::2], 8.0), {"clips": [result.record | {"shown": None} for result in results]}, path,
         model=Model(results[0].model, results[0].weights_sha256, results[0].ledgers))
    print(f"{path.name}  {path.stat().st_size >> 10} kB")


def sheet(results: list[Result]) -> np.ndarray:
    """All clips side by side under their labels, as long as the longest: T H W 3."""
    longest = max(len(result.clip.frames) for result in results)
    tiles = []
    for result, label in zip(results, CASES, strict=True):
        count = len(result.clip.frames)
        at = np.arange(longest) % count if label == "loop" else np.arange(longest).clip(0, count - 1)
        tiles.append(tile(Result(Clip(result.clip.frames[at], 16.0), {}, (), "", "", ()), f"{label} "))
    wide = max(t.shape[2] for t in tiles)
    tiles = [np.pad(t, ((0, 0), (0, 0), (0, wide - t.shape[2]), (0, 0)), constant_values=24) for t in tiles]
    return np.concatenate([np.concatenate(tiles[i : i + COLUMNS], 2) for i in range(0, len(tiles), COLUMNS)], 1)


if __name__ == "__main__":
    main()
