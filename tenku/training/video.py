"""Trains the video transformer by flow matching on packed groups of latents.

Legend: B clips, N canvas tokens, S noise slots, L words, C channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenku import rng
from tenku.config import TRANSFORMER_PRESETS
from tenku.data.latents import Group, Latents, caption_batch, encoder_hash
from tenku.errors import UserError
from tenku.model import flow
from tenku.model.codec import Codec
from tenku.model.precision import autocast
from tenku.model.text import BUCKET, Words
from tenku.model.transformer import Transformer
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.training.samples import write_samples
from tenku.world import captions as world_captions

DROPOUT = 0.1  # share of captions left out, so that guidance has something to compare with
PER_STEP_NOISE = 0.25  # share of groups whose latent steps have noise levels of their own


@dataclass(frozen=True)
class VideoTraining:
    """A transformer run."""

    data: Path  # folder of world shards
    codec: Path  # codec.safetensors
    out: Path  # folder of the run; `transformer.safetensors` appears there
    preset: str = "nano"
    steps: int = 10_000
    tokens: int = 8192  # tokens a step, context included
    groups: int = 2  # groups that the budget is divided into
    rate: float = 1e-3  # peak learning rate
    seed: int = 0
    start: Path | None = None  # a transformer.safetensors to start from
    compile: bool = False  # torch.compile: faster, wants a C++ compiler
    refresh: int = 200  # steps between looks for new shards

    def identity(self, codec: Codec) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({"preset": self.preset, "tokens": self.tokens, "groups": self.groups, "rate": self.rate,
                           "seed": self.seed, "encoder": encoder_hash(codec)})


def vocabulary() -> Words:
    """The word table of the world's captions, and the phrases of its lexicon that captions never say."""
    known = tuple(world_captions.vocabulary())
    said = set(known)
    lexicon = {synonym: canonical for canonical, synonyms in world_captions.LEXICON.items() for synonym in synonyms
               if "/" not in synonym and not set(synonym.split()) <= said}
    return Words(known, lexicon)


def group_loss(model: Transformer, group: Group, words: Tensor, draw: np.random.Generator) -> Tensor:
    """Mean squared error of the velocity, Eq. 23 of arXiv:2210.02747 on a straight line."""
    batch, tokens, _ = group.data.shape
    slots = group.runs if draw.random() < PER_STEP_NOISE else 1
    sigma = flow.draw_sigmas(draw, (batch, slots), tokens)
    noise = torch.from_numpy(draw.standard_normal(group.data.shape, dtype=np.float32))
    each = sigma.repeat_interleave(tokens // slots, 1)
    x = flow.interpolate(group.data, noise, each)
    with autocast():
        context = model.context(words, group.known, group.known_positions, group.scale)
        v = model.velocity(x, sigma, group.positions, context, group.scale)
    return (v - flow.velocity(group.data, noise)).square().mean()


def group_flops(model: Transformer, group: Group, length: int) -> float:
    """Forward and backward FLOPs of a group: three times the forward ones."""
    batch, canvas, _ = group.data.shape
    context = length + group.known.shape[1]
    config = model.config
    forward = canvas * config.flops_per_token(canvas, context) + context * config.flops_per_token(context, 0)
    return 3.0 * batch * forward


def _rows(captions: list[str], words: Words, most: int, draw: np.random.Generator) -> Tensor:
    rows = [[] if draw.random() < DROPOUT else words.encode(c, most)[0] for c in captions]
    return caption_batch(rows, BUCKET)


def train_video(args: VideoTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the transformer. Returns the path of `transformer.safetensors`."""
    if args.preset not in TRANSFORMER_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(TRANSFORMER_PRESETS)}")
    if not args.data.is_dir():
        raise UserError(f"no such folder: {args.data}", "render some clips first: tenku world make --out DIR")
    codec = Codec.load(args.codec)
    latents = Latents(args.data, codec)
    words = vocabulary()
    config = TRANSFORMER_PRESETS[args.preset]
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        model = Transformer(config)
    if args.start:
        model.load_state_dict(Transformer.load(args.start).state_dict())
    run = Run(args.out, args.steps)
    codec.save(args.out / "codec.safetensors")  # the run's folder is a model that `tenku generate --model` loads
    optimizer, ema = Optimizer(model, args.rate, muon=("blocks.",)), Ema(model)
    step = run.resume(model, optimizer, ema, args.identity(codec))
    print(f"transformer {args.preset}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
          f"{len(words.words)} words, {latents.refresh()} clips", flush=True)
    if args.compile:
        torch._dynamo.config.recompile_limit = 256
        for block in (*model.text_blocks, *model.blocks):
            block.compile(dynamic=True)
    while step < args.steps:
        if step % args.refresh == 0:
            latents.refresh()
        loss, flops = 0.0, 0.0
        for part in range(args.groups):
            draw = rng.stream(args.seed, "video", step, part)
            group = latents.draw(draw, args.tokens // args.groups)
            rows = _rows(group.captions, words, config.max_words, draw)
            part_loss = group_loss(model, group, rows, draw) / args.groups
            part_loss.backward()
            loss += float(part_loss.detach())
            flops += group_flops(model, group, rows.shape[1])
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        run.log(step, flops, {"loss": loss, "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, model, optimizer, ema, args.identity(codec))
            publish(model, ema, words, args.out / "transformer.safetensors",
                    {"flops": repr(run.flops), "steps": str(step), "longest": str(latents.longest)})
            run.leave_if_asked()
            write_samples(args.out, f"{step:06d}")
        if on_step:
            on_step(step)
    run.close()
    return args.out / "transformer.safetensors"


def publish(model: Transformer, ema: Ema, words: Words, path: Path, facts: dict[str, str]) -> None:
    """Writes the averaged weights with their word table, ready to generate from."""
    average = Transformer(model.config)
    ema.copy_to(average)
    table = {"words": json.dumps(words.words), "lexicon": json.dumps(dict(words.lexicon))}
    average.save(path, {**table, **facts})
