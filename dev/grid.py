"""Makes the README's grid of clips with the bundled model: docs/media/grid.webp, sealed like everything it makes.

    python dev/grid.py

Every clip is the first take: seed 0, default settings, nothing chosen among several.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from tenku.provenance.seal import Model, seal
from tenku.sampling.generate import Result, generate
from tenku.types import Clip

PROMPTS = (
    "a red ball bouncing on a beach at sunset",
    "a yellow car drives left on a city street",
    "a blue rocket takes off on the moon at night",
    "an orange fish swims right in a coral reef",
    "a white sailing boat floats on the open sea in fog",
    "a green robot spins in the snow",
    "a purple house in a meadow, the camera orbits left",
    "a pink coffee cup topples over in the desert",
    "a red aeroplane flies across a meadow at sunset",
    "a brown truck drives right in the snow at night",
    "a yellow butterfly flies over a meadow",
    "a red lighthouse on a beach, the camera moves closer",
)
COLUMNS, SCALE, LINE = 4, 1.5, 16  # clips a row; enlargement; pixels of a caption's line


def tile(result: Result, prompt: str) -> np.ndarray:
    """T H W 3: the clip, enlarged, over its prompt."""
    font = ImageFont.load_default(11)
    width, height = (round(side * SCALE) for side in result.clip.size)
    words = prompt.split()
    fits = [i for i in range(1, len(words) + 1) if font.getlength(" ".join(words[:i])) <= width - 8]
    half = max(fits)
    lines = [" ".join(words[:half]), " ".join(words[half:])]
    tiles = []
    for frame in result.clip.frames:
        paper = Image.new("RGB", (width + 4, height + 2 * LINE + 4), (24, 24, 27))
        paper.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC), (2, 2))
        draw = ImageDraw.Draw(paper)
        for number, line in enumerate(lines):
            draw.text((4, height + 3 + number * LINE), line, fill=(228, 228, 231), font=font)
        tiles.append(np.asarray(paper))
    return np.stack(tiles)


def main() -> None:
    """Generates, tiles and seals."""
    results = [generate(prompt)[0] for prompt in tqdm(PROMPTS)]
    tiles = [tile(result, prompt) for result, prompt in zip(results, PROMPTS, strict=True)]
    rows = [np.concatenate(tiles[i : i + COLUMNS], 2) for i in range(0, len(tiles), COLUMNS)]
    path = Path(__file__).parent.parent / "docs" / "media" / "grid.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"clips": [result.record for result in results]}
    clip = Clip(np.concatenate(rows, 1), results[0].clip.fps)
    seal(clip, record, path, model=Model(results[0].model, results[0].weights_sha256, results[0].ledgers))
    print(f"{path.name}  {clip.size[0]}x{clip.size[1]}  {path.stat().st_size >> 10} kB")


if __name__ == "__main__":
    main()
