"""Latents of a folder of shards, encoded once, and the packed groups that training draws from them.

A training step is a budget of tokens filled with groups; all clips of a group have one shape, one length, one
known set and one caption length, so nothing is padded and nothing is masked, and the groups of a step mix sizes,
lengths, images and tasks. The first latent step of a clip is its first frame alone, hence an image; any prefix of
a clip is a shorter clip.

Legend: B clips of a group, T H W latent grid, C channels, K known tokens, N canvas tokens, L words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenku.data.shards import iter_clips, shard_paths
from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.model.patches import Grid, scale_of
from tenku.rng import stream
from tenku.world.captions import REGISTERS, caption

Bucket = tuple[int, int, int, float]  # T, H, W, seconds per latent step

# How often each kind of known set is drawn; "none" is text-to-video. (dev/LOG.md has the reasons.)
CAPTIONS = 4  # ways of saying each clip in each register
KNOWN = {"none": 0.66, "first": 0.10, "head": 0.06, "tail": 0.04, "ends": 0.04, "scattered": 0.04, "box": 0.06}


def encoder_hash(codec: Codec) -> str:
    """Eight hex digits that change when latents would."""
    digest = hashlib.sha256()
    for buffer in (codec.basis, codec.mean, codec.scale):
        digest.update(buffer.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def mirrored(caption: str) -> str:
    """The caption of the clip seen in a mirror: left and right change places."""
    swap = {"left": "right", "right": "left", "leftward": "rightward", "rightward": "leftward",
            "leftwards": "rightwards", "rightwards": "leftwards", "clockwise": "anticlockwise",
            "anticlockwise": "clockwise", "counterclockwise": "clockwise"}
    words = []
    for word in caption.split(" "):
        core = word.strip(".,;:")
        words.append(word.replace(core, swap[core]) if core in swap else word)
    return " ".join(words)


@torch.no_grad()
def encode_shards(folder: Path, codec: Codec) -> Path:
    """Encodes every finished shard that has no latents yet, as filmed and mirrored; returns the latents' folder."""
    out = folder / f"latents-{encoder_hash(codec)}"
    for shard in shard_paths(folder):
        path = out / f"{shard.stem}.safetensors"
        if path.exists():
            continue
        tensors: dict[str, Tensor] = {}
        facts: dict[str, dict[str, object]] = {}
        for item in iter_clips(folder, shards=[shard]):
            video = torch.from_numpy(item.clip.frames)[None].float() / 127.5 - 1
            tensors[item.key] = codec.encode(torch.cat([video, video.flip(3)])).to(torch.bfloat16)
            grid = codec.grid(video.shape[1], video.shape[2], video.shape[3], item.clip.fps)
            texts = {r: [caption(item.facts, r, stream(i, "caption", r, item.key)) for i in range(CAPTIONS)]
                     for r in REGISTERS}
            facts[item.key] = {"captions": texts, "seconds_per_step": grid.seconds_per_step}
        write_tensors(path, tensors, {"facts": json.dumps(facts)})
    return out


@dataclass
class Group:
    """Clips of one shape, ready to train on."""

    data: Tensor  # B N C canvas latents
    known: Tensor  # B K C
    positions: Tensor  # N 3
    known_positions: Tensor  # K 3
    runs: int  # latent steps that the canvas tokens divide into equally
    captions: list[str]  # B
    scale: Tensor  # 2: log2 of seconds per latent step, and of tokens per latent step


class Latents:
    """Everything encoded so far, in memory, by shape."""

    def __init__(self, folder: Path, codec: Codec) -> None:
        self.folder, self.codec = folder, codec
        self.read: set[str] = set()
        self.clips: dict[Bucket, list[Tensor]] = {}  # each 2 T H W C bfloat16: as filmed, mirrored
        self.captions: dict[Bucket, list[dict[str, list[str]]]] = {}
        self.refresh()
        if not self.clips:
            raise UserError(f"{folder} holds no finished shard", "render some: tenku world make --out DIR")

    def refresh(self) -> int:
        """Takes in shards finished since the last call; returns the number of clips held."""
        out = encode_shards(self.folder, self.codec)
        for path in sorted(out.glob("*.safetensors")):
            if path.name in self.read:
                continue
            tensors, header = read_tensors(path)
            for key, facts in json.loads(header["facts"]).items():
                latents = tensors[key]
                bucket = (*latents.shape[1:4], float(facts["seconds_per_step"]))
                self.clips.setdefault(bucket, []).append(latents)
                self.captions.setdefault(bucket, []).append(facts["captions"])
            self.read.add(path.name)
        return sum(len(c) for c in self.clips.values())

    @property
    def longest(self) -> int:
        """Latent steps of the longest clip."""
        return max(bucket[0] for bucket in self.clips)

    def draw(self, draw: np.random.Generator, budget: int) -> Group:
        """A group of about `budget` tokens, context included."""
        buckets = sorted(self.clips)
        weights = np.array([len(self.clips[b]) * b[0] * b[1] * b[2] for b in buckets], dtype=np.float64)
        bucket = buckets[draw.choice(len(buckets), p=weights / weights.sum())]
        length = _length(draw, bucket[0])
        grid = Grid(length, bucket[1], bucket[2], bucket[3])
        canvas, known, runs = known_set(draw, grid)
        register = REGISTERS[draw.integers(len(REGISTERS))]
        count = max(1, round(budget / (grid.tokens + 32)))
        picks = draw.integers(len(self.clips[bucket]), size=count)
        mirror = draw.integers(2, size=count)
        latents = torch.stack([self.clips[bucket][p][m, :length] for p, m in zip(picks, mirror, strict=True)])
        tokens = latents.flatten(1, 3).float()
        captions = []
        for p, m in zip(picks, mirror, strict=True):
            texts = self.captions[bucket][p][register]
            text = texts[draw.integers(len(texts))]
            captions.append(mirrored(text) if m else text)
        positions = grid.positions()
        return Group(tokens[:, canvas], tokens[:, known], positions[canvas], positions[known], runs, captions,
                     scale_of(grid))


def _length(draw: np.random.Generator, steps: int) -> int:
    if steps == 1:
        return 1
    kind = draw.choice(3, p=[0.12, 0.18, 0.70])
    return (1, (steps + 1) // 2, steps)[kind]


def known_set(draw: np.random.Generator, grid: Grid) -> tuple[Tensor, Tensor, int]:
    """Draws what is known: canvas rows, known rows (int64), and the number of equal runs the canvas divides into."""
    kinds = list(KNOWN)
    kind = kinds[draw.choice(len(kinds), p=list(KNOWN.values()))]
    if grid.steps == 1 and kind not in ("none", "box"):
        kind = "none"
    rows = torch.arange(grid.tokens).view(grid.steps, grid.rows, grid.columns)
    if kind == "box":  # the canvas is a box in every step, or everything but it
        top, left = (int(draw.integers(0, n // 2 + 1)) for n in (grid.rows, grid.columns))
        high, wide = max(1, grid.rows // 2), max(1, grid.columns // 2)
        inside = torch.zeros(grid.rows, grid.columns, dtype=torch.bool)
        inside[top : top + high, left : left + wide] = True
        if draw.random() < 0.3:
            inside = ~inside
        return rows[:, inside].reshape(-1), rows[:, ~inside].reshape(-1), grid.steps
    known = np.zeros(grid.steps, dtype=bool)
    if kind == "first":
        known[0] = True
    elif kind == "head":
        known[: draw.integers(1, grid.steps)] = True
    elif kind == "tail":
        known[draw.integers(1, grid.steps) :] = True
    elif kind == "ends":
        known[[0, -1]] = grid.steps > 2
        known[0] = True
    elif kind == "scattered":
        known[:] = draw.random(grid.steps) < 0.5
        known[draw.integers(grid.steps)] = False
    mask = torch.from_numpy(known)
    return rows[~mask].reshape(-1), rows[mask].reshape(-1), int((~known).sum())


def caption_batch(captions: Sequence[list[int]], bucket: int) -> Tensor:
    """Rows of words, each filled with 0 to the longest, to a multiple of `bucket`: B L int64."""
    length = max(bucket, -(-max(len(c) for c in captions) // bucket) * bucket)
    return torch.tensor([[*c, *[0] * (length - len(c))] for c in captions])
