"""The probe: a small network that reads from what is measured in a clip (sight.py) what the clip shows.

It answers six questions with the grammar's own words and knows nothing of prompts, of the model that made the
clip or of its codec. It is trained on rendered truth (training/probe.py); how often it is right about truth it
has not seen is its floor, published beside every figure that it gives.

Legend: B clips, T stills, N cells, K blocks of a cell, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import Config
from tenku.errors import UserError
from tenku.evaluation.sight import (
    BLOCKS,
    COLUMNS,
    FRAMES,
    HEAD,
    MOVEMENT,
    PAIR,
    PARTS,
    ROWS,
    STILLS,
    Backbone,
    Sight,
    sight,
)
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
TIMES, MOVES = 9, 14  # at so many times it also says where camera and subject are, which it is only trained by
SHADE = 32  # width of a block's colour
QUARTERS = 4  # spans of time over which the movement of the whole picture is averaged
BUNDLED = Path(__file__).parent / "probe.safetensors"


@dataclass(frozen=True)
class ProbeConfig(Config):
    """Sizes of the network."""

    width: int = 160
    blocks: int = 2  # attention blocks over the cells
    dropout: float = 0.2
    thin: int = 1  # divides the channels of the backbone


PROBE_PRESETS = {
    "tiny": ProbeConfig(width=32, blocks=1, dropout=0.0, thin=8),  # tests
    "nano": ProbeConfig(),  # bundled
}


class Attention(nn.Module):
    """A pre-norm transformer block on B N D."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = max(1, width // 32)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.drop(self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Probe(nn.Module):
    """What is measured of clips -> scores of every answer, per field. It carries the frozen backbone with it."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        d, cells, channels = config.width, ROWS * COLUMNS, HEAD // config.thin
        self.backbone = Backbone(config.thin).requires_grad_(False)
        # what is subtracted from and divided out of the measurements
        self.feature_scale: Tensor
        self.movement_scale: Tensor
        self.register_buffer("feature_scale", torch.tensor([[0.0], [1.0]]).repeat(1, channels))
        self.register_buffer("movement_scale", torch.tensor([[0.0], [1.0]]).repeat(1, MOVEMENT))
        self.features = nn.Linear(channels, d)
        self.colours = nn.Linear(BLOCKS * 3, d)
        self.shade = nn.Sequential(nn.Linear(6, SHADE), nn.GELU(), nn.Linear(SHADE, SHADE))
        self.shades = nn.Linear(SHADE, d)
        self.still = nn.LayerNorm(d)
        self.cover = nn.Linear(d, 1)
        self.part = nn.Sequential(nn.Linear(MOVEMENT, 2 * SHADE), nn.GELU(), nn.Linear(2 * SHADE, SHADE), nn.GELU())
        self.parts = nn.Linear(PARTS * SHADE, d)
        self.whole = nn.Linear(cells * PARTS * QUARTERS * 4, d)
        self.where = nn.Parameter(torch.randn(cells, d) * 0.02)
        self.blocks = nn.ModuleList(Attention(d, config.dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(d)
        self.pick = nn.Linear(d, len(FIELDS) + 1)  # how much each question looks at a cell; the last: at movement
        self.value = nn.Linear(d, d)
        self.aim = nn.Linear(d, SHADE + 1)  # which blocks of a cell show the subject's colour, and whether any
        self.tint = nn.Linear(SHADE, d)
        self.moves = nn.Linear(d, TIMES * MOVES)
        self.heads = nn.ModuleList(nn.Linear(d, len(answers)) for answers in FIELDS.values())
        self.drop, self.feature_drop = nn.Dropout(config.dropout), nn.Dropout(2 * config.dropout)

    def forward(self, seen: Sight) -> dict[str, Tensor]:
        """Logits per field, B answers; and what only training asks for.

        That is "cover" (logits B T N of the main subject's box) and "motion" (B TIMES MOVES).
        """
        middle, spread = self.feature_scale.unbind()
        kept = self.feature_drop(torch.ones(len(seen), 1, 1, len(spread))) / spread  # whole channels are dropped
        stills = self.features((seen.features.float() - middle) * kept)  # B T N D
        colours = seen.colours.float() / 127.5 - 1  # B T N K 3
        apart = colours - colours.mean((1, 2, 3), keepdim=True)
        shades = self.shade(torch.cat([colours, apart], -1))  # B T N K SHADE
        stills = stills + self.colours(colours.flatten(3)) + self.shades(shades.amax(3))
        stills = F.gelu(self.still(stills))
        middle, spread = self.movement_scale.unbind()
        movement = (seen.movement.float() - middle) / spread  # B N PARTS MOVEMENT
        whole = self.whole(self.feature_drop(_flow(movement)))
        x = stills.mean(1) + self.parts(self.part(movement).flatten(2)) + self.where
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)  # B N D
        picked = self.pick(x).softmax(1).transpose(1, 2) @ self.value(x)  # B fields+1 D
        moved = F.gelu(picked[:, -1] + whole)
        tint = self.tint(self._tint(x, shades))
        more = {"colour": tint, "action": moved, "camera": moved}
        found = {field: head(self.drop(F.gelu(picked[:, i]) + more.get(field, 0.0)))
                 for i, (field, head) in enumerate(zip(FIELDS, self.heads, strict=True))}
        return {**found, "cover": self.cover(stills)[..., 0], "motion": self.moves(moved).unflatten(1, (TIMES, MOVES))}

    def _tint(self, x: Tensor, shades: Tensor) -> Tensor:
        """The colours that the cells aim at, mixed: B N D, B T N K SHADE -> B SHADE."""
        aim = self.aim(x)
        scores = torch.einsum("bnc,btnkc->btnk", aim[..., :-1], shades) / SHADE**0.5 + aim[:, None, :, None, -1]
        return torch.einsum("bs,bsc->bc", scores.flatten(1).softmax(1), shades.flatten(1, 3))

    def flops(self) -> float:
        """Forward FLOPs of the network for what is measured of a clip, without the measuring."""
        d, cells = self.config.width, ROWS * COLUMNS
        still = HEAD // self.config.thin * d + BLOCKS * 3 * d + BLOCKS * SHADE * (6 + SHADE) + SHADE * d + d
        part = 2 * SHADE * (MOVEMENT + SHADE) + SHADE * d
        block = 8 * d * d + 2 * d * cells
        per_cell = len(STILLS) * still + PARTS * part + self.config.blocks * block
        per_cell += d * (len(FIELDS) + 1) * 2 + d * d + d * (SHADE + 1) + len(STILLS) * BLOCKS * SHADE * 2
        rest = cells * PARTS * QUARTERS * 4 * d + SHADE * d + TIMES * MOVES * d + d * sum(map(len, FIELDS.values()))
        return 2.0 * (cells * per_cell + rest)

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
        probe.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return probe


def _flow(movement: Tensor) -> Tensor:
    """Both displacements of every part, averaged over each quarter of the time: B N PARTS MOVEMENT -> B (all)."""
    pairs = movement[..., : PAIR * (FRAMES - 1)].unflatten(-1, (QUARTERS, -1, PAIR)).mean(-2)
    return pairs[..., [0, 1, 4, 5]].flatten(1)


@torch.inference_mode()
def read(probe: Probe, clips: Sequence[Clip]) -> list[dict[str, tuple[str, float]]]:
    """Per clip and field, the answer and the probability that the probe gives it (not calibrated)."""
    found: list[dict[str, tuple[str, float]]] = []
    for clip in clips:  # one by one: a reading does not depend on its company
        scores = probe(sight(probe.backbone, clip))
        found.append({field: _best(field, scores[field][0]) for field in FIELDS})
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
