"""Trains the network of motion: what the camera and the things do, dreamt from words before anything is painted.

It learns from facts alone, so any shards will do, however small their pictures are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenku.config import MOTION_PRESETS
from tenku.data.latents import Motions
from tenku.errors import UserError
from tenku.model.codec import Codec
from tenku.training.matching import Fit, fit, fresh
from tenku.training.origin import Origin
from tenku.training.ranks import Ranks, Ways


@dataclass(frozen=True)
class MotionTraining(Ways):
    """A run of the network of motion."""

    data: Path  # folder of world shards
    codec: Path  # codec.safetensors, whose latent steps the motion is told in
    out: Path  # folder of the run; `motion.safetensors` appears there
    extra: Sequence[Path] = ()  # more folders of shards
    preset: str = "nano"
    steps: int = 3000
    tokens: int = 4096  # tokens a step, words included
    groups: int = 1  # groups that the budget is divided into
    rate: float = 1e-3  # peak learning rate
    seed: int = 0
    start: Path | None = None  # a motion.safetensors to start from

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({"preset": self.preset, "tokens": self.tokens, "groups": self.groups, "rate": self.rate,
                           "seed": self.seed})


def train_motion(args: MotionTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the network of motion. Returns the path of `motion.safetensors`."""
    if args.preset not in MOTION_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(MOTION_PRESETS)}")
    for folder in (args.data, *args.extra):
        if not folder.is_dir():
            raise UserError(f"no such folder: {folder}", "render some clips first: tenku world make --out DIR")
    pool = Motions((args.data, *args.extra), Codec.load(args.codec))
    model = fresh(MOTION_PRESETS[args.preset], args.seed, args.start)
    origin = Origin((args.data, *args.extra), args.start)
    job = Fit(args.out / "motion.safetensors", origin, args.identity(), args.steps, args.tokens, args.groups,
              args.rate, args.seed, Ranks(args))
    return fit(job, model, pool, lambda step: None, lambda step: None, on_step)
