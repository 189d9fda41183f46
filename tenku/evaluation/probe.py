"""The probe: a small network that reads from a clip's pixels what the clip shows.

It answers six questions with the grammar's own words and knows nothing of prompts, of the model that made the
clip or of its codec. It is trained on rendered truth (training/probe.py); how often it is right about truth it
has not seen is its floor, published beside every figure that it gives.

Legend: B clips, T frames, H W pixels; R rows, Q columns of features; D width; N tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import Config
from tenku.errors import UserError
from tenku.model.checkpoint import load_module, read_header, save_module, sha256
from tenku.types import Clip
from tenku.world import grammar

FIELDS: dict[str, tuple[str, ...]] = {  # question -> possible answers
    "subject": grammar.SUBJECTS,
    "colour": tuple(grammar.COLOURS),
    "place": grammar.PLACES,
    "light": grammar.LIGHTS,
    "action": grammar.ACTIONS,
    "camera": grammar.CAMERAS,
}
FRAMES, HEIGHT, WIDTH = 9, 80, 128  # what the network sees of a clip; SECONDS apart from first to last
SECONDS = 2.0
BUNDLED = Path(__file__).parent / "probe.safetensors"


@dataclass(frozen=True)
class ProbeConfig(Config):
    """Sizes of the network."""

    widths: tuple[int, int, int] = (48, 96, 192)  # channels at 1/4, 1/8 and 1/16 of the pixels a side
    depths: tuple[int, int, int] = (1, 2, 1)  # convolution blocks at each
    blocks: int = 2  # attention blocks over all of space and time


PROBE_PRESETS = {
    "tiny": ProbeConfig(widths=(16, 16, 32), depths=(1, 1, 1), blocks=1),  # tests
    "nano": ProbeConfig(),  # bundled
}


class Convolution(nn.Module):
    """Residual 3x3 convolution; an eighth of the channels each comes from the frames before and after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.space = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 1)
        self.shifted = width // 8
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        # x: (B T) D R Q, channels last. Temporal shift: arXiv:1811.08383.
        h = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).unflatten(0, (-1, FRAMES))
        n = self.shifted
        before = F.pad(h[:, :-1, :n], (0, 0, 0, 0, 0, 0, 1, 0))
        after = F.pad(h[:, 1:, n : 2 * n], (0, 0, 0, 0, 0, 0, 0, 1))
        h = torch.cat([before, after, h[:, :, 2 * n :]], 2).flatten(0, 1)
        h = h.contiguous(memory_format=torch.channels_last)
        return x + self.out(F.silu(self.space(h)))


class Attention(nn.Module):
    """A pre-norm transformer block on B N D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // 64)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Probe(nn.Module):
    """Frames B T H W 3 (uint8) -> scores of every answer, per field."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.widths
        self.enter = nn.Conv2d(24, a, 4, stride=2, padding=1)  # of 2x2 pixels, and of their change
        self.down = nn.ModuleList(nn.Conv2d(n, m, 3, stride=2, padding=1) for n, m in ((a, b), (b, c)))
        self.leave = nn.Conv2d(c, c, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Convolution(width) for _ in range(depth)))
            for width, depth in zip(config.widths, config.depths, strict=True)
        )
        self.when = nn.Parameter(torch.randn(FRAMES, 1, c) * 0.02)
        self.where = nn.Parameter(torch.randn(-(-HEIGHT // 32) * (WIDTH // 32), c) * 0.02)
        self.questions = nn.Parameter(torch.randn(len(FIELDS), c) * 0.02)
        self.blocks = nn.ModuleList(Attention(c) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(c)
        self.heads = nn.ModuleList(nn.Linear(c, len(answers)) for answers in FIELDS.values())

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """uint8 B 9 80 128 3 -> {field: B answers}, float32 logits."""
        assert frames.shape[1:] == (FRAMES, HEIGHT, WIDTH, 3), frames.shape
        x = frames.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 2, 4, 3, 5, 6).flatten(4)
        x = x.to(torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32) / 127.5 - 1  # B T R Q 12
        change = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))  # nothing at the first
        x = torch.cat([x, change], 4).flatten(0, 1).permute(0, 3, 1, 2)  # channels last
        x = self.stages[0](self.enter(x))
        for down, stage in zip(self.down, self.stages[1:], strict=True):
            x = stage(down(x))
        x = self.leave(F.silu(x))
        tokens = x.unflatten(0, (-1, FRAMES)).flatten(3).transpose(2, 3)  # B T (R Q) D
        tokens = (tokens + self.when + self.where).flatten(1, 2)
        tokens = torch.cat([self.questions.expand(len(tokens), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        read = self.norm(tokens[:, : len(FIELDS)])
        return {field: head(read[:, i]).float() for i, (field, head) in enumerate(zip(FIELDS, self.heads, strict=True))}

    def flops(self) -> float:
        """Forward FLOPs of a clip."""
        a, b, c = self.config.widths
        cells = HEIGHT * WIDTH // 256 * FRAMES  # positions at 1/16 of a side, over all frames
        per = 16 * 24 * a * 16 + 9 * a * b * 4 + 9 * b * c
        per += sum(d * 10 * w * w * n for d, w, n in zip(self.config.depths, (a, b, c), (16, 4, 1), strict=True))
        tokens = len(self.where) * FRAMES + len(FIELDS)
        per += 9 * c * c * 12 // 40  # 3 x 4 of 5 x 8
        return 2.0 * (cells * per + self.config.blocks * tokens * (10 * c * c + 2 * c * tokens))

    def save(self, path: Path, facts: dict[str, str] | None = None, *, half: bool = False) -> None:
        """Writes safetensors with config and answers in the header. `half` stores bfloat16."""
        save_module(self, path, self.config.to_dict(), {"fields": json.dumps(FIELDS), **(facts or {})}, half=half)

    @classmethod
    def load(cls, path: Path) -> Probe:
        """Reads what `save` wrote.

        Raises UserError for a missing or corrupt file, or when the grammar has other words than the probe was
        trained for.
        """
        header = read_header(path)
        if header.get("fields") != json.dumps(FIELDS):
            raise UserError(f"the probe {path.name} reads another world's words", "train one: tenku train probe")
        probe = load_module(path, lambda values: cls(ProbeConfig.from_dict(values)))
        return probe.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def look(clip: Clip) -> np.ndarray:
    """What the probe sees of a clip: uint8 9 80 128 3.

    Nine frames, a quarter of a second apart, from the clip's first two seconds; evenly from first to last where
    it is shorter. Other sizes are resampled, not cropped.
    """
    count = min(len(clip.frames), round(SECONDS * clip.fps) + 1)
    frames = clip.frames[np.linspace(0, count - 1, FRAMES).round().astype(int)]
    if frames.shape[1:3] == (HEIGHT, WIDTH):
        return np.ascontiguousarray(frames)
    flat = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    shrunk = F.interpolate(flat, (HEIGHT, WIDTH), mode="bilinear", antialias=True, align_corners=False)
    return shrunk.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


@torch.inference_mode()
def read(probe: Probe, clips: Sequence[Clip]) -> list[dict[str, tuple[str, float]]]:
    """Per clip and field, the answer and the probability that the probe gives it (not calibrated)."""
    found: list[dict[str, tuple[str, float]]] = []
    for clip in clips:  # one by one: a reading does not depend on its company
        scores = probe(torch.from_numpy(look(clip))[None])
        found.append({field: _best(field, logits[0]) for field, logits in scores.items()})
    return found


def _best(field: str, logits: Tensor) -> tuple[str, float]:
    share = logits.softmax(0)
    index = int(share.argmax())
    return FIELDS[field][index], float(share[index])


def expected(scene: grammar.Scene) -> dict[str, str]:
    """The right answers about a scene: its place, light and camera, and what its main subject is and does."""
    main = scene.things[0]
    return {"subject": main.subject, "colour": main.colour, "place": scene.place, "light": scene.light,
            "action": main.action, "camera": scene.camera}


def agree(reading: Mapping[str, tuple[str, float]], wanted: Mapping[str, str]) -> dict[str, bool]:
    """Per field, whether the reading is what was wanted."""
    return {field: reading[field][0] == wanted[field] for field in FIELDS}


@lru_cache(maxsize=1)
def bundled(path: Path = BUNDLED) -> tuple[Probe, str]:
    """The probe that comes with the package, and its SHA-256. Raises UserError where it is missing."""
    return Probe.load(path), sha256(path)
