"""Trains the video transformer on packed groups of latents, each token told of the motion and given a sketch.

The sketch is a light field's (training/lightfield.py): what follows from what is told. The transformer, by flow
matching, paints all else upon it. Of footage nothing is told: its tokens learn from words alone, as in a model's folder
that holds no network of motion they are dreamt from words alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenku.config import TRANSFORMER_PRESETS
from tenku.data.encoding import encoder_hash, field_hash
from tenku.data.latents import Latents
from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.training.matching import Fit, fit, fresh
from tenku.training.origin import Origin
from tenku.training.ranks import Ranks, Ways
from tenku.training.samples import write_samples


@dataclass(frozen=True)
class VideoTraining(Ways):
    """A transformer run."""

    data: Path  # folder of world shards
    codec: Path  # codec.safetensors
    field: Path | None  # lightfield.safetensors; None for footage, of which nothing is known but pictures and words
    out: Path  # folder of the run; `transformer.safetensors` appears there
    preset: str = "nano"
    steps: int = 10_000
    tokens: int = 8192  # tokens a step, context included
    groups: int = 2  # groups that the budget is divided into
    rate: float = 1e-3  # peak learning rate
    seed: int = 0
    start: Path | None = None  # a transformer.safetensors to start from
    refresh: int = 200  # steps between looks for new shards

    def identity(self, codec: Codec, field: LightField | None) -> str:
        """What must be equal for a folder's run to be continued."""
        hashes = {"encoder": encoder_hash(codec), "field": field_hash(field) if field else None}
        return json.dumps({"preset": self.preset, "tokens": self.tokens, "groups": self.groups, "rate": self.rate,
                           "seed": self.seed, **hashes})


def train_video(args: VideoTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the transformer. Returns the path of `transformer.safetensors`."""
    if args.preset not in TRANSFORMER_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(TRANSFORMER_PRESETS)}")
    if not args.data.is_dir():
        raise UserError(f"no such folder: {args.data}", "render some clips first: tenku world make --out DIR")
    ranks = Ranks(args)
    codec = Codec.load(args.codec)
    field = LightField.load(args.field) if args.field else None
    latents = Latents(args.data, codec, field, ranks.first)
    model = fresh(TRANSFORMER_PRESETS[args.preset], args.seed, args.start)
    args.out.mkdir(parents=True, exist_ok=True)
    for path, name in ((args.codec, "codec"), (args.field, "lightfield")):
        if path and ranks.leads:  # the run's folder is a model that `tenku generate --model` loads
            _copy(path, args.out / f"{name}.safetensors")

    def refresh(step: int) -> None:
        if step % args.refresh == 0:
            latents.refresh()

    job = Fit(args.out / "transformer.safetensors", Origin((args.data,), args.start), args.identity(codec, field),
              args.steps, args.tokens, args.groups, args.rate, args.seed, ranks, args.refresh)
    return fit(job, model, latents, refresh, lambda step: write_samples(args.out, f"{step:06d}"), on_step)


def _copy(path: Path, to: Path) -> None:
    """Weights with all that their header says, whole or not at all."""
    tensors, header = read_tensors(path)
    write_tensors(to, tensors, header)
