"""Trains the probe that evaluation reads clips with, on rendered truth.

It must see every combination that the model under test is kept from, or it would read those worse than others:
give it clips of the split "any", or those of "train" and, as `extra`, those of "held_out". Half of what it sees
has been through the codec, so that a figure measures what a clip shows and not how sharp it is.

Legend: B clips, T frames, H W pixels.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tenku import rng
from tenku.data.shards import iter_clips
from tenku.errors import UserError
from tenku.evaluation.probe import FIELDS, FRAMES, HEIGHT, PROBE_PRESETS, SECONDS, WIDTH, Probe, expected, look
from tenku.model.checkpoint import sha256
from tenku.model.codec import Codec
from tenku.model.precision import autocast
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.types import Clip
from tenku.world.grammar import Scene

UNSEEN = 0.05  # share of the clips that is kept from training and measured on
SMOOTHING = 0.05  # of the targets: what is asked for is now and then not to be seen
MIRROR = {"moves left": "moves right", "pan left": "pan right", "orbit left": "orbit right"}
MIRROR |= {right: left for left, right in MIRROR.items()}


@dataclass(frozen=True)
class ProbeTraining:
    """A probe run."""

    data: Path  # folder of world shards
    out: Path  # folder of the run; `probe.safetensors` appears there
    extra: Sequence[Path] = ()  # more folders of shards, such as the held-out split
    codec: Path | None = None  # codec.safetensors whose blur the probe must see through; None: none
    preset: str = "nano"
    steps: int = 2500
    batch: int = 24  # clips a step
    rate: float = 1.5e-3  # peak learning rate
    clips: int = 12_000  # clips kept in memory, 0.28 MB each
    through: int = 1000  # clips shown through the whole codec; the others through its linear part
    seed: int = 0
    start: Path | None = None  # a probe.safetensors to start from

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        shown = {"codec": sha256(self.codec)[:8] if self.codec else None, "through": self.through}
        return json.dumps({"preset": self.preset, "batch": self.batch, "rate": self.rate, "clips": self.clips,
                           "seed": self.seed, **shown})


@dataclass
class Examples:
    """Clips as the probe sees them, with the answers."""

    frames: Tensor  # uint8 B T H W 3
    answers: Tensor  # int64 B fields


def answers(scene: Scene) -> list[int]:
    """The index of the right answer per field."""
    right = expected(scene)
    return [choices.index(right[field]) for field, choices in FIELDS.items()]


def unambiguous(scene: Scene) -> bool:
    """Whether it is plain which subject is meant: it is alone, or with what runs into it when it "is hit"."""
    return len(scene.things) == 1 or (len(scene.things) == 2 and scene.things[0].action == "is hit")


@torch.inference_mode()
def seen_through(codec: Codec, clip: Clip, *, whole: bool = True) -> Clip:
    """The clip after the codec, rounded to 8 bits; not `whole`: after its linear part alone, at a tenth of the cost."""
    video = torch.from_numpy(clip.frames)[None].float() / 127.5 - 1
    frames, height, width = video.shape[1:4]
    latents = codec.encode(video)
    if whole:
        with autocast():
            decoded = codec.decode(latents, height, width)
    else:
        decoded = codec.decode_linear(latents, height, width)
    shown = ((decoded[0, :frames].float() + 1) * 127.5).round().clamp(0, 255).byte()
    return Clip(shown.numpy(), clip.fps)


def usable(clip: Clip) -> bool:
    """Whether a clip has the two seconds, and about the shape, that the probe looks at."""
    width, height = clip.size
    return clip.seconds >= SECONDS and abs(width / height / (WIDTH / HEIGHT) - 1) < 0.2


class Library:
    """All clips of a run in memory: `plain` and `coded` to train on, `unseen` to measure on."""

    def __init__(self, args: ProbeTraining) -> None:
        codec = Codec.load(args.codec) if args.codec else None
        plain: list[tuple[np.ndarray, list[int]]] = []
        coded: list[tuple[np.ndarray, list[int]]] = []
        unseen: list[tuple[np.ndarray, list[int]]] = []
        for number, (clip, scene) in enumerate(_clips(args)):
            example = (look(clip), answers(scene))
            if number % round(1 / UNSEEN) == 0:
                unseen.append(example)
                continue
            plain.append(example)
            # A codec sees movement at the rate it was trained for: clips of few frames are not shown through it.
            if codec is not None and clip.fps >= 12:
                seen = seen_through(codec, clip, whole=len(coded) < args.through)
                coded.append((look(seen), example[1]))
            if len(plain) == args.clips:
                break
        if not plain or not unseen:
            raise UserError(f"too few clips in {args.data} show one subject for {SECONDS:g} s in {WIDTH}x{HEIGHT}",
                            "render some: tenku world make --out DIR")
        self.plain, self.unseen = _pack(plain), _pack(unseen)
        self.coded = _pack(coded) if coded else None

    def batch(self, draw: np.random.Generator, size: int) -> Examples:
        """`size` clips at random, half of them through the codec if there is one, disturbed."""
        coded = 0 if self.coded is None else size // 2
        parts = []
        for pool, count in ((self.plain, size - coded), (self.coded, coded)):
            if pool is not None and count:
                picks = torch.from_numpy(draw.integers(len(pool.frames), size=count))
                parts.append((pool.frames[picks], pool.answers[picks]))
        frames, right = (torch.cat(part) for part in zip(*parts, strict=True))
        return disturb(Examples(frames, right), draw)


def _clips(args: ProbeTraining) -> Iterator[tuple[Clip, Scene]]:
    """The folders' clips in turn, one of each while both last, so that a limit cuts off both alike."""
    sources = [iter_clips(folder) for folder in (args.data, *args.extra)]
    while sources:
        for source in list(sources):
            sample = next(source, None)
            if sample is None:
                sources.remove(source)
            elif usable(sample.clip) and unambiguous(scene := Scene.from_json(sample.facts["scene"])):
                yield sample.clip, scene


def _pack(examples: list[tuple[np.ndarray, list[int]]]) -> Examples:
    return Examples(torch.from_numpy(np.stack([e[0] for e in examples])), torch.tensor([e[1] for e in examples]))


def mirror(examples: Examples, which: Tensor) -> Examples:
    """The examples with those marked in `which` (bool B) seen in a mirror: left and right change places."""
    frames, right = examples.frames.clone(), examples.answers.clone()
    frames[which] = frames[which].flip(3)
    for column, choices in enumerate(FIELDS.values()):
        for word, other in MIRROR.items():
            if word in choices:
                hit = which & (examples.answers[:, column] == choices.index(word))
                right[hit, column] = choices.index(other)
    return Examples(frames, right)


def disturb(examples: Examples, draw: np.random.Generator) -> Examples:
    """Mirrors half of the clips; shifts, tints, blurs and sprinkles all a little, each in its own way."""
    count = len(examples.frames)
    examples = mirror(examples, torch.from_numpy(draw.random(count) < 0.5))
    noise = torch.from_numpy(draw.standard_normal((FRAMES, HEIGHT, WIDTH, 3), dtype=np.float32))
    light, tint = draw.uniform(0.93, 1.07, (count, 1, 1, 1, 1)), draw.uniform(0.97, 1.03, (count, 1, 1, 1, 3))
    gain = torch.from_numpy((light * tint).astype(np.float32))
    shift = draw.integers(-4, 5, (count, 2))
    loud = draw.uniform(0, 6, count) * (draw.random(count) < 0.5)
    blurred = draw.random(count) < 0.3
    rows, columns = torch.arange(HEIGHT), torch.arange(WIDTH)
    out = torch.empty_like(examples.frames)
    for i in range(count):
        x = examples.frames[i]
        x = x[:, (rows + int(shift[i, 0])).clamp(0, HEIGHT - 1)][:, :, (columns + int(shift[i, 1])).clamp(0, WIDTH - 1)]
        x = x.float() * gain[i]
        if blurred[i]:
            x = F.avg_pool2d(x.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
        if loud[i]:
            x = x + float(loud[i]) * noise.roll((int(i), int(i) * 7), (0, 1))
        out[i] = x.round_().clamp_(0, 255).byte()
    return Examples(out, examples.answers)


def probe_loss(scores: dict[str, Tensor], right: Tensor) -> Tensor:
    """Sum over the fields of the mean cross-entropy with smoothed targets."""
    losses = [F.cross_entropy(scores[field], right[:, column], label_smoothing=SMOOTHING)
              for column, field in enumerate(FIELDS)]
    return torch.stack(losses).sum()


@torch.inference_mode()
def accuracy(probe: Probe, examples: Examples) -> dict[str, float]:
    """Share of right answers per field."""
    scores = [probe(frames) for frames in examples.frames.split(16)]
    guesses = torch.stack([torch.cat([s[field] for s in scores]).argmax(1) for field in FIELDS], 1)
    return dict(zip(FIELDS, (guesses == examples.answers).float().mean(0).tolist(), strict=True))


def train_probe(args: ProbeTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the probe. Returns the path of `probe.safetensors`."""
    if args.preset not in PROBE_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(PROBE_PRESETS)}")
    for folder in (args.data, *args.extra):
        if not folder.is_dir():
            raise UserError(f"no such folder: {folder}", "render some clips first: tenku world make --out DIR")
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        probe: Probe = Probe(PROBE_PRESETS[args.preset]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if args.start:
        probe.load_state_dict(Probe.load(args.start).state_dict())
    library = Library(args)
    run = Run(args.out, args.steps)
    optimizer, ema = Optimizer(probe, args.rate, muon=("blocks.",)), Ema(probe)
    step = run.resume(probe, optimizer, ema, args.identity())
    shown = 0 if library.coded is None else len(library.coded.frames)
    print(f"probe {args.preset}: {sum(p.numel() for p in probe.parameters()) / 1e6:.2f} M parameters, "
          f"{len(library.plain.frames)} clips, {shown} also through the codec", file=sys.stderr, flush=True)
    while step < args.steps:
        examples = library.batch(rng.stream(args.seed, "probe", step), args.batch)
        with autocast():
            scores = probe(examples.frames)
        loss = probe_loss(scores, examples.answers)
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        run.log(step, 3 * probe.flops() * args.batch, {"loss": float(loss.detach()), "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, probe, optimizer, ema, args.identity())
            publish(probe, ema, args.out / "probe.safetensors", library.unseen, run.flops)
        if on_step:
            on_step(step)
    run.close()
    return args.out / "probe.safetensors"


def publish(probe: Probe, ema: Ema, path: Path, unseen: Examples, flops: float) -> None:
    """Writes the averaged weights as they are bundled (bfloat16), with what they reach on unseen clips."""
    average: Any = Probe(probe.config)
    ema.copy_to(average)
    average = average.to(memory_format=torch.channels_last)
    average.save(path, half=True)
    figures = accuracy(Probe.load(path), unseen)  # of the rounded weights
    print("unseen: " + "  ".join(f"{k} {v:.1%}" for k, v in figures.items()), file=sys.stderr, flush=True)
    facts = {"figures": json.dumps(figures), "unseen_clips": str(len(unseen.frames)), "flops": repr(flops)}
    average.save(path, facts, half=True)
