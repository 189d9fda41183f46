"""Whether an open model's clip is its library's pipeline's, with real weights: `python dev/open_models.py MODEL`.

The check of tests/test_engines.py, small in size and steps: the same noise through both. Prints one line.
"""

from __future__ import annotations

import inspect
import sys

import numpy as np

from tenku import rng
from tenku.engines.cogvideox import CogVideoX
from tenku.engines.loading import load
from tenku.engines.ltx import LTX, LTX2, LTXCondition
from tenku.engines.open import OpenEngine
from tenku.sampling.generate import generate

PROMPT, FRAMES, STEPS, GUIDANCE = "a red ball on a beach", 17, 4, 4.0
WIDTH, HEIGHT, FPS = 512, 320, 16


def main(model: str) -> None:
    """Makes the clip both ways and says how far they are apart."""
    engine = load(model)
    if not isinstance(engine, OpenEngine):
        sys.exit(f"{model} is no open model")
    takes = inspect.signature(engine.pipe.__call__).parameters
    if isinstance(engine, LTX2 | LTXCondition) or "image" in takes or "guidance_scale" not in takes:
        print(f"compared {model}: its pipeline takes other arguments; tests/test_engines.py compares it at tiny size")
        return
    [result] = generate(PROMPT, model=model, size=f"{WIDTH}x{HEIGHT}", seconds=1, fps=FPS, steps=STEPS,
                        guidance=GUIDANCE, seed=3)
    grid = engine.grid(FRAMES, HEIGHT, WIDTH, FPS)
    noise = rng.normal((1, grid.tokens, engine.channels), 3, "noise", 0)
    latents = noise.unflatten(1, (grid.steps, grid.rows, grid.columns)).permute(0, 4, 1, 2, 3)
    more = {}
    if isinstance(engine, LTX):
        latents, more = engine.pipe._pack_latents(latents, *engine.patch), {"frame_rate": FPS}
    elif isinstance(engine, CogVideoX):
        latents = latents.transpose(1, 2).to(engine.pipe.transformer.dtype)
    shows = engine.pipe(prompt=PROMPT, height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=STEPS,
                        guidance_scale=GUIDANCE, latents=latents, output_type="np", **more).frames[0]
    apart = np.abs(result.clip.frames / 255 - shows)
    print(f"compared {model}: apart by {apart.mean() * 255:.2f} of 255 in the mean, {apart.max() * 255:.0f} at most")


if __name__ == "__main__":
    main(sys.argv[1])
