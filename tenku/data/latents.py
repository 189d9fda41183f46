"""The packed groups that training draws from the latents of a folder of shards.

A training step is a budget of tokens filled with groups; all clips of a group have one shape, one length, one
known set and one caption length, so nothing is padded and nothing is masked, and the groups of a step mix sizes,
lengths, images and tasks. The first latent step of a clip is its first frame alone, hence an image; any prefix of
a clip is a shorter clip.

Legend: B clips of a group, T H W latent grid, C channels, K known tokens, N canvas tokens, L words, F what a token is
told of the motion.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenku.data.encoding import TOLD, encode_shards, is_world, motion_of, said
from tenku.data.shards import iter_facts
from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.motion import FEATURES, features, spots, steps_of, told_of
from tenku.model.patches import Grid, scale_of
from tenku.model.text import padded
from tenku.world.captions import REGISTERS

Bucket = tuple[int, int, int, float, float]  # T, H, W, seconds per latent step, width / height
First = Callable[[Callable[[], list[str]]], list[str]]  # has one of several ranks work, and tells all what it found

CLOSE = 0.6  # share of groups that hold only what is around a thing, step by step: few tokens of a picture show one
ACROSS = (3, 5)  # least and one more than most rows and columns of what is around a thing
IMAGES = 3.0  # how much oftener an image's token is drawn than a video's
WORDS = 64  # tokens: twice what a caption has, for a canvas is what is learnt from
# How often each kind of known set is drawn; "none" is text-to-video. (dev/LOG.md has the reasons.)
KNOWN = {"none": 0.66, "first": 0.10, "head": 0.06, "tail": 0.04, "ends": 0.04, "scattered": 0.04, "box": 0.06}


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


@dataclass
class Group:
    """Clips of one shape, ready to train on."""

    data: Tensor  # B N C canvas latents
    known: Tensor  # B K C
    positions: Tensor  # N 3, or B N 3
    known_positions: Tensor  # K 3, or B K 3
    runs: int  # latent steps that the canvas tokens divide into equally
    captions: list[str]  # B
    scale: Tensor  # 2: log2 of seconds per latent step, and of tokens per latent step
    motion: Tensor | None = None  # B N F, and the sketch behind it
    known_motion: Tensor | None = None  # B K F


class Pool:
    """Clips in memory by shape, and the groups that training draws from them."""

    def __init__(self) -> None:
        self.clips: dict[Bucket, list[Tensor]] = {}  # each 1|2 T H W C bfloat16: as filmed, mirrored
        self.captions: dict[Bucket, list[dict[str, list[str]]]] = {}

    def add(self, bucket: Bucket, clip: Tensor, captions: dict[str, list[str]]) -> None:
        """Takes in a clip, and its mirror image where it has one, 1|2 T H W C, with CAPTIONS texts of each register."""
        self.clips.setdefault(bucket, []).append(clip)
        self.captions.setdefault(bucket, []).append(captions)

    def texts(self) -> Iterator[str]:
        """All captions."""
        for held in self.captions.values():
            for registers in held:
                for texts in registers.values():
                    yield from texts

    @property
    def count(self) -> int:
        """Clips held."""
        return sum(len(clips) for clips in self.clips.values())

    @property
    def longest(self) -> int:
        """Latent steps of the longest clip."""
        return max(bucket[0] for bucket in self.clips)

    def pick(self, bucket: Bucket, draw: np.random.Generator) -> int:
        """The number of a clip of a bucket; each is as likely as any other."""
        return int(draw.integers(len(self.clips[bucket])))

    def scale(self, grid: Grid, aspect: float) -> Tensor:
        """What the network is told of the grid as a whole."""
        return scale_of(grid)

    def told(self, bucket: Bucket, picks: list[tuple[int, int]], grid: Grid, rows: Tensor | None) -> Tensor | None:
        """What tokens (rows B N, or all) of picked clips (number, 1 for mirrored) are told of the motion: B N F."""
        return None

    def spots(self, bucket: Bucket, picks: list[tuple[int, int]], grid: Grid, draw: np.random.Generator) -> Tensor:
        """Where one thing of each picked clip is on the grid, or the middle where nothing is: B T 2, row and column."""
        return torch.tensor([grid.rows - 1, grid.columns - 1]).div(2).expand(len(picks), grid.steps, 2)

    def draw(self, draw: np.random.Generator, budget: int) -> Group:
        """A group of about `budget` tokens, context included: whole clips, or what is around a thing of each."""
        buckets = sorted(self.clips)
        weights = np.array([len(self.clips[b]) * b[0] * b[1] * b[2] * (IMAGES if b[0] == 1 else 1) for b in buckets])
        bucket = buckets[draw.choice(len(buckets), p=weights / weights.sum())]
        length = _length(draw, bucket[0])
        grid = Grid(length, bucket[1], bucket[2], bucket[3])
        high, wide = grid.rows, grid.columns
        if draw.random() < CLOSE:
            high, wide = (min(side, int(draw.integers(*ACROSS))) for side in (high, wide))
        part = Grid(length, high, wide, grid.seconds_per_step)
        canvas, known, runs = known_set(draw, part)
        register = REGISTERS[draw.integers(len(REGISTERS))]
        count = max(1, round(budget / (part.tokens * repeats(len(canvas)) + 32)))
        ways = len(self.clips[bucket][0])
        picks = [(self.pick(bucket, draw), int(draw.integers(ways))) for _ in range(count)]
        tokens = torch.stack([self.clips[bucket][p][m, :length] for p, m in picks]).flatten(1, 3).float()
        captions = []
        for p, m in picks:
            texts = self.captions[bucket][p][register]
            text = texts[draw.integers(len(texts))]
            captions.append(mirrored(text) if m else text)
        positions, rows = grid.positions(), None
        if part != grid:
            rows = around(self.spots(bucket, picks, grid, draw), part, grid, draw)
            positions, tokens = positions[rows], tokens[torch.arange(count)[:, None], rows]
        told = self.told(bucket, picks, grid, rows)
        return Group(tokens[:, canvas], tokens[:, known], positions[..., canvas, :], positions[..., known, :], runs,
                     captions, self.scale(grid, bucket[4]), None if told is None else told[:, canvas],
                     None if told is None else told[:, known])


def repeats(canvas: int) -> int:
    """How many noises each clip is shown with: several where the canvas costs less than the words do."""
    return max(1, WORDS // canvas)


def around(spots: Tensor, part: Grid, grid: Grid, draw: np.random.Generator) -> Tensor:
    """The tokens of parts of a grid that lie about spots, B T 2, each a little off: B N rows of the grid's tokens."""
    room = torch.tensor([grid.rows - part.rows, grid.columns - part.columns])
    off = torch.from_numpy(draw.uniform(-1.0, 1.0, (len(spots), 1, 2)))
    half = torch.tensor([part.rows - 1, part.columns - 1]) / 2
    first = (spots + off - half).round().long().clamp(min=torch.zeros_like(room), max=room)  # B T 2
    down = first[..., 0, None] + torch.arange(part.rows)
    right = first[..., 1, None] + torch.arange(part.columns)
    step = torch.arange(grid.steps)[:, None, None] * grid.tokens_per_step
    return (step + down[..., :, None] * grid.columns + right[..., None, :]).flatten(1)


class Latents(Pool):
    """Everything of a folder that is encoded so far. No mirror images: light comes from one side, and so do shadows."""

    def __init__(
        self, folder: Path, codec: Codec, field: LightField | None, first: First = lambda work: work()
    ) -> None:
        super().__init__()
        self.folder, self.source, self.first = folder, (folder, codec, field), first
        self.read: set[str] = set()
        self.facts: dict[Bucket, list[tuple[Tensor, ...]]] = {}  # of each clip what TOLD names; () of footage
        self.refresh()
        if not self.clips:
            raise UserError(f"{folder} holds no finished shard", "tenku world make --out DIR, or tenku data ingest")

    def refresh(self) -> int:
        """Takes in shards finished since the last call; returns the number of clips held."""
        for path in self.first(lambda: sorted(map(str, encode_shards(*self.source).glob("*.safetensors")))):
            if path in self.read:
                continue
            tensors, header = read_tensors(Path(path))
            for key, facts in json.loads(header["facts"]).items():
                latents = tensors[key]
                _, steps, rows, columns, _ = latents.shape
                bucket = (steps, rows, columns, float(facts["seconds_per_step"]), columns / rows)
                self.add(bucket, latents, facts["captions"])
                told = tuple(tensors[f"{key}.{name}"] for name in TOLD if f"{key}.{name}" in tensors)
                self.facts.setdefault(bucket, []).append(told)
            self.read.add(path)
        return self.count

    def told(self, bucket: Bucket, picks: list[tuple[int, int]], grid: Grid, rows: Tensor | None) -> Tensor:
        """What tokens (rows B N, or all) of picked clips are told of the motion, and their sketch: B N F + C.

        Of footage all is 0, as for a model without a network of motion: nothing is said, not even that nothing moves.
        """
        clips = [self.facts[bucket][p] for p, _ in picks]
        count, channels = grid.tokens if rows is None else rows.shape[1], self.clips[bucket][0].shape[-1]
        found = torch.zeros(len(picks), count, FEATURES + channels)
        known = torch.tensor([bool(told) for told in clips])
        if not known.any():
            return found
        sketch, motion, looks, where, around = (torch.stack(some) for some in zip(*filter(None, clips), strict=True))
        sketch = sketch[:, 0, : grid.steps].flatten(1, 3).float()
        if rows is not None:
            rows = rows[known]
            sketch = sketch[torch.arange(len(rows))[:, None], rows]
        found[known] = torch.cat([features(motion[:, : grid.steps], looks, where, around, grid, rows), sketch], -1)
        return found

    def spots(self, bucket: Bucket, picks: list[tuple[int, int]], grid: Grid, draw: np.random.Generator) -> Tensor:
        """Where one thing of each picked clip is on the grid, B T 2, row and column; of footage, anywhere."""
        found = []
        for p, _ in picks:
            if told := self.facts[bucket][p]:
                where, there = spots(told[TOLD.index("motion")][None, : grid.steps], grid)
                found.append(where[0, :, int(draw.integers(max(1, int(there.sum()))))])
            else:
                anywhere = torch.from_numpy(draw.uniform(0, (grid.rows - 1, grid.columns - 1)))
                found.append(anywhere.float().expand(grid.steps, 2))
        return torch.stack(found)


class Motions(Pool):
    """The motion of every clip in some folders of shards, as clips of one token a step; no picture is decoded."""

    def __init__(self, folders: Sequence[Path], codec: Codec) -> None:
        super().__init__()
        kinds: dict[Bucket, list[tuple[str, str]]] = {}  # camera and what the first thing does, of each clip
        for folder in folders:
            for key, facts in iter_facts(folder):
                if not is_world(facts):  # where things are is not known of footage
                    continue
                grid = codec.grid(facts["frames"], facts["height"], facts["width"], facts["fps"])
                bucket = (grid.steps, 1, 1, grid.seconds_per_step, facts["width"] / facts["height"])
                self.add(bucket, steps_of(motion_of(facts, codec))[:, :, None, None], said(key, facts))
                kinds.setdefault(bucket, []).append((facts["scene"]["camera"], facts["things"][0]["action"]))
        if not self.clips:
            raise UserError(f"{folders[0]} holds no clip of a world", "render some: tenku world make --out DIR")

        # A clip is drawn the oftener, the rarer its camera and its action are: words ask for all of them alike.
        cameras, actions = (Counter(pair[i] for some in kinds.values() for pair in some) for i in (0, 1))
        self.shares: dict[Bucket, np.ndarray] = {}
        for bucket, some in kinds.items():
            weight = np.cumsum([(cameras[camera] * actions[action]) ** -0.5 for camera, action in some])
            self.shares[bucket] = weight / weight[-1]

    def pick(self, bucket: Bucket, draw: np.random.Generator) -> int:
        """The number of a clip of a bucket."""
        return int(np.searchsorted(self.shares[bucket], draw.random(), side="right"))

    def scale(self, grid: Grid, aspect: float) -> Tensor:
        """What the network is told of the clip as a whole: how much time a step takes, how wide the picture is."""
        return told_of(grid.seconds_per_step, aspect)


def _length(draw: np.random.Generator, steps: int) -> int:
    if steps == 1:
        return 1
    kind = draw.choice(3, p=[0.12, 0.18, 0.70])
    return (1, (steps + 1) // 2, steps)[kind]


def known_set(draw: np.random.Generator, grid: Grid) -> tuple[Tensor, Tensor, int]:
    """Draws what is known: canvas rows, known rows (int64), and the number of equal runs the canvas divides into."""
    kinds = list(KNOWN)
    kind = kinds[draw.choice(len(kinds), p=list(KNOWN.values()))]
    if (grid.steps == 1 and kind != "box") or (grid.tokens_per_step == 1 and kind == "box"):
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
    return torch.tensor(padded(captions, bucket))
