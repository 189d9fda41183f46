"""What everybody trains on: clips of one size out of rendered worlds, as latents, with words and told motion.

Legend: B batch, T H W latent grid, N = T H W tokens, C channels, L words, F what a token is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenku.data.encoding import encoder_hash, field_hash
from tenku.data.latents import Latents, caption_batch
from tenku.data.shards import shard_paths
from tenku.engines.bundled import Engine
from tenku.errors import UserError
from tenku.model import flow
from tenku.model.lightfield import LightField
from tenku.model.patches import Grid
from tenku.model.text import BUCKET
from tenku.rng import stream
from tenku.training.matching import vocabulary
from tenku.world.captions import REGISTERS

WORLD = Path("runs/out/world")  # where the runs keep their shards
MIX = "128x80x33:6,96x96x33:1,80x128x33:1,128x80x1:2"  # of shards rendered for this
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # noise levels that unseen clips are read at


@dataclass(frozen=True)
class Batch:
    """Clips to train on, with noise drawn: the same for everybody."""

    data: Tensor  # B T H W C
    noise: Tensor  # B T H W C
    sigma: Tensor  # B
    words: Tensor  # B L
    told: Tensor  # B N F + C

    def part(self, part: int, parts: int) -> Batch:
        """Every `parts`-th clip."""
        one = slice(part, None, parts)
        return Batch(self.data[one], self.noise[one], self.sigma[one], self.words[one], self.told[one])


def shards(data: Path | None, out: Path, engine: Engine, count: int, say: Callable[[str], None]) -> Path:
    """A folder with links to the first shards of `data`, and to their latents where there are any.

    Without `data`, those of the runs; where there are none, a few clips are rendered. Raises UserError where there are
    none in `data`, or nothing can be rendered.
    """
    data = data or (WORLD if WORLD.is_dir() and shard_paths(WORLD) else None)
    if data is None:
        from tenku.world.make import Recipe, make, parse_mix

        say("rendering clips to train on")
        make(Recipe(0, 32 * count, parse_mix(MIX)), out / "world", os.cpu_count() or 1, lambda *_: None)
        return out / "world"
    found = shard_paths(data)[:count] if data.is_dir() else []
    if not found:
        raise UserError(f"{data} holds no finished shard", "render some: tenku world make --out DIR")
    folder = out / "shards"
    latents = f"latents-{encoder_hash(engine.codec)}-{field_hash(_field(engine))}"
    wanted = {folder / shard.name: shard for shard in found}
    ready = [data / latents / f"{shard.stem}.safetensors" for shard in found]
    wanted |= {folder / latents / path.name: path for path in ready if path.exists()}
    for old in folder.glob("*.tar"):
        old.unlink()
    for link, target in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())
    return folder


def _field(engine: Engine) -> LightField:
    if engine.field is None:
        raise UserError(f"{engine.name} has no light field, which its transformer is told a sketch by",
                        "train it: tenku train lightfield")
    return engine.field


class Course:
    """The clips of the commonest size; the last quarter is kept to be read, unseen."""

    def __init__(self, pool: Latents, clips: int) -> None:
        self.pool = pool
        self.bucket = max(pool.clips, key=lambda b: (len(pool.clips[b]) * (b[0] > 1), b))
        steps, rows, columns, seconds, _ = self.bucket
        self.grid = Grid(steps, rows, columns, seconds)
        count = len(pool.clips[self.bucket])
        if count < 4:
            raise UserError(f"{pool.folder} holds only {count} clips of one size", "give --data with more")
        self.train = range(count - count // 4)
        self.held = range(len(self.train), count)[:clips]
        self.vocabulary = vocabulary()
        texts = [self.vocabulary.encode(text, 10**6)[0] for held in pool.captions[self.bucket] for said in held.values()
                 for text in said]
        self.length = caption_batch(texts, BUCKET).shape[1]  # of all: one shape for all batches

    def batch(self, count: int, seed: int, *names: str | int) -> Batch:
        """Clips to learn from, drawn anew for each name."""
        draw = stream(seed, "bench", *names)
        clips = [int(draw.integers(len(self.train))) for _ in range(count)]
        return self._batch(clips, flow.draw_sigmas(draw, (count,), self.grid.tokens), draw)

    def unseen(self) -> list[Batch]:
        """The clips that are kept, once for each noise level: always with the same noise."""
        held = list(self.held)
        return [self._batch(held, torch.full((len(held),), level), stream(0, "bench", "unseen", str(level)))
                for level in LEVELS]

    def _batch(self, clips: list[int], sigma: Tensor, draw: np.random.Generator) -> Batch:
        data = torch.stack([self.pool.clips[self.bucket][clip][0] for clip in clips]).float()
        rows = []
        for clip in clips:
            said = self.pool.captions[self.bucket][clip][REGISTERS[draw.integers(len(REGISTERS))]]
            rows.append(self.vocabulary.encode(said[draw.integers(len(said))], self.length)[0])
        noise = torch.from_numpy(draw.standard_normal(data.shape, dtype=np.float32))
        told = self.pool.told(self.bucket, [(clip, 0) for clip in clips], self.grid, None)
        return Batch(data, noise, sigma, caption_batch(rows, self.length), told)
