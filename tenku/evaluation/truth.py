"""Rendered truth to measure against: the probe's floor on the prompts' own scenes, and the codec's fidelity.

The floor is how often the probe is right where the right answer is in the picture by construction; no model can
be expected to score above it. It needs MuJoCo and EGL; elsewhere the committed floor of the bundled probe stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tenku.errors import UserError
from tenku.evaluation.metrics import Figure, agreement, mean, psnr
from tenku.evaluation.probe import FIELDS, Probe, agree, expected, read
from tenku.evaluation.prompts import TRUTH_SEED, Prompt
from tenku.model.codec import Codec
from tenku.types import Clip
from tenku.world.grammar import Scene, draw

COMMITTED = Path(__file__).parent / "floor.json"
CODEC_SEED = 800_000_000  # scenes that the codec is measured on; nobody trains on them
CODEC_CLIPS = 64
WIDTH, HEIGHT, FRAMES, FPS = 128, 80, 33, 16.0  # of every clip in the evaluation: pixels, frames, frames per second

Hits = list[dict[str, bool]]  # per clip: field -> agreed


@dataclass(frozen=True)
class Floor:
    """What the probe reaches on truth: per field, as rendered and through the codec."""

    plain: dict[str, Figure]
    coded: dict[str, Figure]
    measured: str  # where the figures come from, in words

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"plain": {k: v.to_json() for k, v in self.plain.items()},
                "coded": {k: v.to_json() for k, v in self.coded.items()}, "measured": self.measured}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Floor:
        """The inverse of `to_json`."""
        return cls({k: Figure.from_json(v) for k, v in data["plain"].items()},
                   {k: Figure.from_json(v) for k, v in data["coded"].items()}, data["measured"])


def film(scene: Scene) -> Clip:
    """Renders a scene as the evaluation's clips are. Raises UserError where MuJoCo or EGL is missing."""
    try:
        from tenku.world.simulate import Format, render
    except ImportError:
        raise UserError("truth cannot be rendered: MuJoCo is missing", "pip install 'tenku[world]'") from None
    return render(scene, Format(WIDTH, HEIGHT, FRAMES, FPS)).clip


@torch.inference_mode()
def through(codec: Codec, clip: Clip) -> Clip:
    """The clip encoded and decoded, rounded to 8 bits as generated clips are."""
    video = torch.from_numpy(clip.frames)[None].float() / 127.5 - 1
    decoded = codec.decode(codec.encode(video), *video.shape[2:4])[0, : len(clip.frames)]
    return Clip(((decoded.float() + 1) * 127.5).round().clamp(0, 255).byte().numpy(), clip.fps)


def floor_hits(
    probe: Probe, codec: Codec, prompts: Sequence[Prompt], takes: int, on_clip: Callable[[int, int], None]
) -> dict[str, list[Hits]]:
    """Whether the probe agrees with the prompts' rendered scenes: {"plain" or "coded": prompts x takes}."""
    found: dict[str, list[Hits]] = {"plain": [], "coded": []}
    for number, prompt in enumerate(prompts):
        wanted = expected(prompt.scene)
        clips = []
        for take in range(takes):
            clips.append(film(replace(prompt.scene, seed=TRUTH_SEED + number + 1_000_000 * take)))
            on_clip(number * takes + take + 1, len(prompts) * takes)
        found["plain"].append([agree(reading, wanted) for reading in read(probe, clips)])
        found["coded"].append([agree(reading, wanted) for reading in read(probe, [through(codec, c) for c in clips])])
    return found


def figures(hits: Sequence[Hits]) -> dict[str, Figure]:
    """Agreement per field, and of "all six" together, over prompts x takes; fields of no prompts are left out."""
    found = {field: agreement([[take[field] for take in takes] for takes in hits]) for field in FIELDS}
    found["all six"] = agreement([[all(take.values()) for take in takes] for takes in hits])
    return {field: figure for field, figure in found.items() if figure is not None}


def committed(probe_sha256: str, path: Path = COMMITTED) -> Floor | None:
    """The floor measured when the bundled probe was made; None where there is none for this probe."""
    try:
        data = json.loads(path.read_text())
        return Floor.from_json(data) if data["probe_sha256"] == probe_sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fidelity(codec: Codec, count: int, on_clip: Callable[[int, int], None]) -> Figure | None:
    """Mean PSNR (dB) of the codec over `count` clips of scenes that it never saw, bystanders included."""
    values = []
    for index in range(count):
        clip = film(draw(CODEC_SEED + index, "any"))
        values.append(psnr(through(codec, clip).frames, clip.frames))
        on_clip(index + 1, count)
    return mean(values)


def fingerprint(codec: Codec) -> str:
    """Sixteen hex digits of the codec's weights: what a measurement through it depends on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(name.encode() + tensor.float().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
