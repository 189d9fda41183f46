"""What the probe is trained on: what it measures in rendered clips, with what is true of them.

Measuring is dear and training cheap, so each shard's measurements are kept in a file of the run's folder.

Legend: B clips, T frames, N cells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku.data.encoding import is_world
from tenku.data.shards import iter_clips
from tenku.evaluation.probe import FIELDS, TIMES, expected
from tenku.evaluation.sight import COLUMNS, FRAMES, HEIGHT, ROWS, SECONDS, STILLS, WIDTH, Backbone, Sight, sight
from tenku.evaluation.sight import mirror as mirror_sight
from tenku.model.checkpoint import read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.model.motion import AWAY, plain, seen
from tenku.types import Clip
from tenku.world import motion
from tenku.world.grammar import Scene

CELL = HEIGHT // ROWS  # pixels
MIRROR = {"moves left": "moves right", "pan left": "pan right", "orbit left": "orbit right"}
MIRROR |= {right: left for left, right in MIRROR.items()}
MOVES = (*range(motion.CAMERA), *range(motion.CAMERA + 1, motion.CAMERA + motion.THING))  # of a row of motion
# Taken from, and divided into, what a camera sees of a thing, so that it has mean 0 and deviation 1, roughly.
MIDDLE, SPREAD = (torch.tensor([0.0, 0.0, AWAY, *[0.0] * 6]), torch.tensor([0.25, 0.12, 0.3, *[0.6] * 6]))


@dataclass
class Examples:
    """Clips as the probe measures them, and what is true of them."""

    sight: Sight
    answers: Tensor  # int64 B fields
    cover: Tensor  # float16 B T N, share of each cell that the main subject's box covers, in the stills
    motion: Tensor  # float32 B TIMES MOVES, the camera (less where it was at first) and the main subject

    @classmethod
    def join(cls, parts: list[Examples]) -> Examples:
        """Several in one."""
        return cls(Sight.join([p.sight for p in parts]), *(torch.cat([getattr(p, name) for p in parts])
                                                           for name in ("answers", "cover", "motion")))

    def __getitem__(self, picks: Tensor) -> Examples:
        return Examples(self.sight[picks], self.answers[picks], self.cover[picks], self.motion[picks])

    def __len__(self) -> int:
        return len(self.answers)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, to be written."""
        return {**vars(self.sight), "answers": self.answers, "cover": self.cover, "motion": self.motion}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Examples:
        """The inverse of `tensors`."""
        return cls(Sight(*(tensors[f.name] for f in fields(Sight))), tensors["answers"], tensors["cover"],
                   tensors["motion"])


def answers(scene: Scene) -> list[int]:
    """The index of the right answer per field."""
    right = expected(scene)
    return [choices.index(right[field]) for field, choices in FIELDS.items()]


def unambiguous(scene: Scene) -> bool:
    """Whether it is plain which subject is meant: it is alone, or with what runs into it when it "is hit"."""
    return len(scene.things) == 1 or (len(scene.things) == 2 and scene.things[0].action == "is hit")


def cover(facts: dict[str, Any], frame: int) -> np.ndarray:
    """Share of each cell that the main subject's box covers in a frame: float32 N."""
    box = facts["things"][0]["boxes"][frame]
    if box is None:
        return np.zeros(ROWS * COLUMNS, np.float32)
    x0, y0, x1, y1 = np.array(box) * ([WIDTH / facts["width"], HEIGHT / facts["height"]] * 2) / CELL
    across = np.clip(np.minimum(x1, np.arange(COLUMNS) + 1) - np.maximum(x0, np.arange(COLUMNS)), 0, 1)
    down = np.clip(np.minimum(y1, np.arange(ROWS) + 1) - np.maximum(y0, np.arange(ROWS)), 0, 1)
    return (down[:, None] * across).reshape(-1).astype(np.float32)


def example(backbone: Backbone, clip: Clip, facts: dict[str, Any]) -> Examples:
    """One clip measured, with its answers."""
    scene = Scene.from_json(facts["scene"])
    count = min(len(facts["cameras"]), round(SECONDS * facts["fps"]) + 1)
    frames = np.linspace(0, count - 1, FRAMES).round().astype(int)
    covered = np.stack([cover(facts, frames[still]) for still in STILLS])
    rows = torch.from_numpy(motion.states(facts)[np.linspace(0, count - 1, TIMES).round().astype(int)])
    camera, thing = rows[:, : motion.CAMERA], (seen(plain(rows))[:, MOVES[motion.CAMERA :]] - MIDDLE) / SPREAD
    return Examples(sight(backbone, clip), torch.tensor([answers(scene)]), torch.from_numpy(covered)[None].half(),
                    torch.cat([camera - camera[:1], thing], 1)[None])


@torch.inference_mode()
def seen_through(codec: Codec, clip: Clip) -> Clip:
    """The clip after the codec's linear part, rounded to 8 bits: less sharp than what a model generates."""
    video = torch.from_numpy(clip.frames)[None].float() / 127.5 - 1
    shown = codec.decode_linear(codec.encode(video), *video.shape[2:4])[0, : len(clip.frames)]
    return Clip(((shown.float() + 1) * 127.5).round().clamp(0, 255).byte().numpy(), clip.fps)


def usable(clip: Clip) -> bool:
    """Whether a clip has the two seconds, and about the shape, that the probe looks at."""
    width, height = clip.size
    return clip.seconds >= SECONDS and abs(width / height / (WIDTH / HEIGHT) - 1) < 0.2


def of_shard(shard: Path, backbone: Backbone, codec: Codec | None, folder: Path) -> Examples | None:
    """A shard's clips measured, through the codec if there is one; from the folder if they are there already.

    None where the shard has no usable clip.
    """
    told = f"{shard.resolve()} {'plain' if codec is None else 'coded'}"
    path = folder / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        found = [example(backbone, item.clip if codec is None else seen_through(codec, item.clip), item.facts)
                 for item in iter_clips(shard.parent, shards=[shard])
                 if is_world(item.facts) and usable(item.clip) and unambiguous(Scene.from_json(item.facts["scene"]))]
        write_tensors(path, Examples.join(found).tensors() if found else {}, {})
    tensors, _ = read_tensors(path)
    return Examples.of(tensors) if tensors else None


def mirror(examples: Examples) -> Examples:
    """The examples seen in a mirror: left and right change places."""
    right = examples.answers.clone()
    for column, choices in enumerate(FIELDS.values()):
        for word, other in MIRROR.items():
            if word in choices:
                right[examples.answers[:, column] == choices.index(word), column] = choices.index(other)
    covered = examples.cover.unflatten(2, (ROWS, COLUMNS)).flip(3).flatten(2, 3)
    signs = torch.from_numpy(motion.MIRROR[[*MOVES]])
    return Examples(mirror_sight(examples.sight), right, covered, examples.motion * signs)
