"""A training on paper: how long, on what, on how much data, and whether it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from tenku.config import CODEC_PRESETS, TRANSFORMER_PRESETS
from tenku.errors import UserError
from tenku.model.codec import Codec
from tenku.model.transformer import Transformer
from tenku.planning.laws import EPOCHS, LAWS, learning_rate, tokens_a_step
from tenku.planning.ledger import Cost
from tenku.planning.machines import GIB, MACHINES, Machine
from tenku.planning.simulate import Setting, Simulated, simulate
from tenku.planning.step import GROUP, PHASES, Batch
from tenku.training.ranks import Ways
from tenku.types import Size

FPS = 16.0
# What clips a size is planned for.
SIZES = {"tiny": Size(128, 80), "nano": Size(128, 80), "small": Size(256, 144), "base": Size(640, 352),
         "large": Size(1280, 704)}
# Beyond what tensors take: a context of the driver and of NCCL, and what a caching allocator cannot reuse. A GPU's are
# taken on trust (1 GiB, a tenth); a CPU's are measured (docs/scaling.md).
CONTEXT, SPLINTERS = 1.0 * GIB, 0.10
PRODUCTS = 0.75  # of a GPU's peak that large bf16 products reach
LAUNCH = 5e-6  # seconds that an operation takes at least


@dataclass(frozen=True)
class Asked:
    """What is to be planned."""

    preset: str = "base"
    gpu: str = "h100"
    gpus: int = 8
    ways: Ways = field(default_factory=Ways)
    clips: int = 1  # of a group
    seconds: float = 5.0  # of a clip
    size: Size | None = None  # pixels; None: the preset's of SIZES
    law: str = "image"
    share: float = 0.4  # of a GPU's peak that a training reaches: 0.38 to 0.43 in Llama 3's (arXiv:2407.21783, table 4)

    def check(self) -> None:
        """Raises UserError for what cannot be planned."""
        for name, value, known in (("preset", self.preset, TRANSFORMER_PRESETS), ("gpu", self.gpu, MACHINES),
                                   ("law", self.law, LAWS)):
            if value not in known:
                raise UserError(f"no such {name}: {value!r}", f"one of {', '.join(known)}")
        heads, split = TRANSFORMER_PRESETS[self.preset].heads, self.ways.split
        if split < 1 or self.gpus % split:
            raise UserError(f"--split {split} does not divide {self.gpus} GPUs", "a divisor of --gpus")
        if heads % split:
            raise UserError(f"--split {split} does not divide the {heads} heads of {self.preset}", "a divisor of them")
        if self.ways.shard and self.gpus < 2:
            raise UserError("--shard divides a model among GPUs, and there is one", "--gpus 2, or more")

    def batch(self) -> Batch:
        """The clips of a group."""
        size = self.size or SIZES[self.preset]
        with torch.device("meta"):
            codec = Codec(CODEC_PRESETS["tiny"])
        grid = codec.grid(1 + round(self.seconds * FPS), size.height, size.width, FPS)
        return Batch(self.clips, grid.steps, grid.rows, grid.columns)


def count(preset: str) -> int:
    """Parameters of the real modules."""
    with torch.device("meta"):
        return sum(p.numel() for p in Transformer(TRANSFORMER_PRESETS[preset]).parameters())


def plan(asked: Asked) -> dict[str, Any]:
    """The plan as JSON values: bytes, seconds, FLOP. Raises UserError for what cannot be planned."""
    asked.check()
    machine, batch = MACHINES[asked.gpu], asked.batch()
    config = TRANSFORMER_PRESETS[asked.preset]
    once = simulate(config, batch, Setting(ways=asked.ways, ranks=asked.gpus, groups=2))
    plain = once
    if asked.ways.split > 1 or asked.ways.recompute:  # what the model itself costs, whoever works on it
        plain = simulate(config, batch)
    parameters = count(asked.preset)
    forward, backward = (plain.phases[name].cost.flops for name in GROUP)
    tokens = LAWS[asked.law].tokens(parameters, (forward + backward) / batch.tokens)
    shares = asked.gpus // asked.ways.split
    groups = max(1, round(tokens_a_step(parameters, tokens) / (batch.tokens * shares)))  # of each, in turn
    steps = math.ceil(tokens / (groups * shares * batch.tokens))
    bound = seconds(once, machine, asked.gpus, groups)
    worked = steps * total(once, groups).flops
    stated = worked * asked.gpus / (machine.flop_per_s * asked.share) / 3600
    return {
        "asked": {"preset": asked.preset, "gpu": asked.gpu, "gpus": asked.gpus, "recompute": asked.ways.recompute,
                  "shard": asked.ways.shard, "split": asked.ways.split, "law": asked.law, "share": asked.share},
        "model": {"parameters": parameters, "tokens_a_clip": batch.grid.tokens, "clips_a_group": batch.clips,
                  "flop_forward": forward, "flop_backward": backward},
        "training": {"tokens": tokens, "flop": (forward + backward) * tokens / batch.tokens, "steps": steps,
                     "groups_a_step": groups * shares, "rate": learning_rate(parameters, tokens)},
        "data": _data(tokens, batch, asked.seconds),
        "laws": {name: law.tokens(parameters, (forward + backward) / batch.tokens) for name, law in LAWS.items()},
        "memory": _memory(once, machine),
        "time": {"gpu_hours": stated, "days": stated / asked.gpus / 24, "seconds_a_step": bound["total"],
                 "gpu_hours_uncompiled": bound["total"] * steps * asked.gpus / 3600, "of_a_step": bound},
    }


def _data(tokens: float, batch: Batch, seconds_each: float) -> dict[str, float]:
    clips = tokens / batch.grid.tokens
    return {"clips_shown": clips, "hours_shown": clips * seconds_each / 3600, "epochs": EPOCHS,
            "clips": clips / EPOCHS, "hours": clips * seconds_each / 3600 / EPOCHS}


def _memory(once: Simulated, machine: Machine) -> dict[str, Any]:
    alive = once.phases[once.fullest].alive
    held = {name: alive[name] for name in ("weights", "gradients", "optimizer", "average", "data")}
    activations = min(once.kept, alive["working"]) if once.fullest in GROUP else 0
    parts = {**held, "activations": activations, "workspace": alive["working"] - activations,
             "overhead": round(CONTEXT + SPLINTERS * once.peak)}
    needed = sum(parts.values())
    return {"fullest": once.fullest, **parts, "total": needed, "device": machine.memory,
            "fits": needed <= machine.memory}


def seconds(once: Simulated, machine: Machine, gpus: int, groups: int) -> dict[str, float]:
    """Seconds of a step without torch.compile: products at PRODUCTS of the peak, all else at the memory's speed.

    Messages of sharded weights go while products are worked on; those of divided tokens have to be waited for.
    """
    cost = total(once, groups)
    found = roofline(cost, machine.flop_per_s * PRODUCTS, machine.bytes_per_s, LAUNCH)
    found["messages"] = cost.sent / (machine.near if gpus <= machine.node else machine.far)
    found["total"] = max(found["products"] + found["others"], found["messages"])
    return found


def total(once: Simulated, groups: int) -> Cost:
    """What a device does in a step of so many groups."""
    cost = Cost()
    for name in PHASES:
        for kind, value in vars(once.phases[name].cost).items():
            setattr(cost, kind, getattr(cost, kind) + value * (groups if name in GROUP else 1))
    return cost


def roofline(cost: Cost, flop_per_s: float, bytes_per_s: float, launch: float) -> dict[str, float]:
    """Seconds of products, and of all other operations."""
    return {"products": cost.flops / flop_per_s, "others": cost.moved / bytes_per_s + cost.calls * launch}


