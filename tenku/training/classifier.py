"""Trains the classifier that says whether a Tenku model made a clip (provenance/classifier.py).

Four kinds of clips with the same scenes, words, sizes and lengths: rendered truth, the clip that the model dreams from
the truth's own caption, and both through the codec, so that neither the content nor the codec tells them apart; and
real footage. All of them are damaged and sent through the same codecs at the same settings. What is dreamt here has no
mark, for a mark is not what is to be learnt: it is kept locked, as films keep their latents, and never as a picture.

Legend: E examples of one moment, B examples of a batch, 3 frames, H W pixels, C channels.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku import media, rng
from tenku.data.shards import Item, iter_clips, shard_paths
from tenku.errors import UserError
from tenku.evaluation.attacks import at_random
from tenku.media import Frames
from tenku.model.checkpoint import write_tensors
from tenku.model.codec import Codec
from tenku.model.precision import autocast
from tenku.provenance.classifier import PLANES, STRIDES, WIDTHS, Classifier, moments, planes
from tenku.provenance.lock import lock, unlock
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.world.make import SHARD

KINDS = ("dreamt", "dreamt, through the codec", "truth", "truth, through the codec", "real")  # the first two are ours
OURS = 2
SHARES = (0.3, 0.2, 0.17, 0.17, 0.16)  # of a batch
SIDE = 64  # pixels of an example
OF_EACH = 2  # moments of a damaged clip
STEPS = (30, 20, 12, 8)  # of denoising
LONGEST = 17  # frames of a clip that is learnt from
KEPT = 8  # every so many-th shard, and real clip, is kept to find out how scores are to be read
STRAY = 0.001  # share of clips that others made, of which it may be wrong
MISSED = 0.02  # share of ours that may be told to be others'
DECAY = 0.02  # of the weights
SETTLING = 20  # batches from which norms take their means


@dataclass(frozen=True)
class ClassifierTraining:
    """A run of the classifier."""

    data: Path  # folder of world shards
    out: Path  # folder of the run; `classifier.safetensors` appears there
    real: Path | None = None  # folder of real clips, about as large and long as the world's (dev/bench/footage.py)
    model: str = "nano"  # whose clips are to be known
    preset: str = "nano"
    steps: int = 3000
    batch: int = 64  # moments a step
    rate: float = 1e-3  # peak learning rate
    clips: int = 768  # of the world
    versions: int = 6  # of each clip, each damaged otherwise
    seed: int = 0

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({name: getattr(self, name) for name in
                           ("model", "preset", "batch", "rate", "clips", "versions", "seed")})


class Network(nn.Module):
    """The network as it is trained: `planes` of moments, E H W C, to logits E. What it ships has no norms any more."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, width, 3, stride, 1, bias=False)
            for before, width, stride in zip((PLANES, *widths), widths, STRIDES, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.last = nn.Linear(2 * widths[-1], 1)

    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each convolution, and the norm behind it."""
        return cast(list[tuple[nn.Conv2d, nn.BatchNorm2d]], list(zip(self.convolutions, self.norms, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        for convolution, norm in self.layers():
            x = F.relu(norm(convolution(x)))
        x = x.float()
        pooled = torch.cat([x.mean((2, 3)), (x.var((2, 3), correction=0) + 1e-8).sqrt()], 1)
        found: Tensor = self.last(pooled)[:, 0]
        return found

    def flops(self) -> float:
        """Forward FLOPs for one example."""
        total, side = 0.0, SIDE
        for (convolution, _), stride in zip(self.layers(), STRIDES, strict=True):
            side = -(-side // stride)
            total += 2.0 * side * side * convolution.weight.numel()
        return total

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """By the names that provenance/classifier.py knows, as float16: norms have gone into the convolutions."""
        found: dict[str, Tensor] = {f"last.{name}": p for name, p in self.last.named_parameters()}
        for number, (convolution, norm) in enumerate(self.layers()):
            mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            found[f"{number}.weight"] = convolution.weight * scale[:, None, None, None]
            found[f"{number}.bias"] = norm.bias - mean * scale
        return {name: p.detach().half() for name, p in found.items()}


# -- clips ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def through(codec: Codec, frames: Frames) -> Frames:
    """The pictures encoded and decoded."""
    video = torch.from_numpy(np.ascontiguousarray(frames))[None].float() / 127.5 - 1
    shown = codec.decode(codec.encode(video), *frames.shape[1:3])[0, : len(frames)]
    return ((shown.float() + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def dreamt(item: Item, model: str, seed: int) -> Frames:
    """The clip that the model makes of the words that are true of a rendered one, in its size and length."""
    from tenku.sampling.generate import generate

    count, height, width = item.clip.frames.shape[:3]
    draw = rng.stream(seed, "classifier", "dreamt", item.key)
    words = item.facts["captions"][("few", "sentence", "everything")[int(draw.integers(3))]]
    [result] = generate(words, size=f"{width}x{height}", fps=item.clip.fps, seconds=(count - 1) / item.clip.fps,
                        seed=int(draw.integers(2**31)), steps=STEPS[int(draw.integers(len(STEPS)))], model=model)
    return result.clip.frames


def four(item: Item, model: str, codec: Codec, seed: int, longest: int = 1 << 30) -> list[Frames]:
    """A scene's clips of at most so many frames, in the order of KINDS."""
    item = replace(item, clip=replace(item.clip, frames=item.clip.frames[:longest]))
    ours, truth = dreamt(item, model, seed), item.clip.frames
    return [ours, through(codec, ours), truth, through(codec, truth)]


def footage(folder: Path | None) -> list[Path]:
    """The clips of a folder, in order of their names. Raises UserError where there are none."""
    if folder is None:
        return []
    found = sorted(p for p in folder.rglob("*") if p.suffix in (".mp4", ".webm", ".mkv", ".mov", ".gif", ".png"))
    if not found:
        raise UserError(f"there is no footage in {folder}", "leave out --real, or give a folder of short clips")
    return found


# -- examples -------------------------------------------------------------------------------------------------


@dataclass
class Examples:
    """Moments of damaged clips, cut to one size."""

    seen: Frames  # E 3 SIDE SIDE 3
    kinds: np.ndarray  # int64 E, of KINDS


def shown(frames: Frames, draw: np.random.Generator) -> Frames:
    """OF_EACH moments of a clip, each cut somewhere else, OF_EACH 3 SIDE SIDE 3; mirrored at its edge if too small."""
    seen = moments(frames)
    found = []
    for one in seen[draw.permutation(np.arange(OF_EACH) % len(seen))]:
        short = [max(0, SIDE - n) for n in one.shape[1:3]]
        filled = np.pad(one, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
        y, x = (int(draw.integers(n - SIDE + 1)) for n in filled.shape[1:3])
        found.append(filled[:, y:y + SIDE, x:x + SIDE])
    return np.stack(found)


def damaged(frames: Frames, versions: int, draw: np.random.Generator) -> Frames:
    """Moments of so many versions of a clip, of which each is a part of it and damaged otherwise."""
    found = []
    for _ in range(versions):
        length = min(len(frames), int(draw.integers(6, 18)))
        start = int(draw.integers(len(frames) - length + 1))
        found.append(shown(at_random(frames[start:start + length], draw), draw))
    return np.concatenate(found)


class Library:
    """All examples of a run. Each part is made once and kept locked in the run's folder, so a killed run goes on."""

    def __init__(self, args: ClassifierTraining) -> None:
        from tenku.engines.bundled import load

        self.args, self.codec = args, load(args.model).codec
        self.shards = shard_paths(args.data)
        if len(self.shards) < 2:
            raise UserError(f"{args.data} has one shard, and one is kept apart", "tenku world make --clips 64 or more")
        self.real = footage(args.real)
        self.told = f"{args.model} {load(args.model).weights_sha256} {args.versions} {args.seed} {args.data.resolve()}"

    def kept_apart(self) -> tuple[list[Path], list[Path]]:
        """Shards and real clips that nothing is learnt from."""
        return self.shards[KEPT - 1 :: KEPT] or self.shards[-1:], self.real[KEPT - 1 :: KEPT]

    def learnt_from(self) -> Iterator[Examples]:
        """Parts of the examples: a shard of the world each, then of real clips."""
        apart, real_apart = self.kept_apart()
        left = self.args.clips
        for shard in self.shards:
            if shard in apart or left <= 0:
                continue
            part = self._part(f"{shard.name} {min(left, SHARD)}", self._of_world(shard, left))
            left -= int((part.kinds == 0).sum()) // (OF_EACH * self.args.versions)
            yield part
        real = [path for path in self.real if path not in real_apart]
        for start in range(0, len(real), SHARD):
            some = real[start : start + SHARD]
            yield self._part(" ".join(str(path) for path in some), self._of_real(some))

    def _of_world(self, shard: Path, most: int) -> Iterator[tuple[int, Frames]]:
        for number, item in enumerate(iter_clips(shard.parent, shards=[shard])):
            if number >= most:
                return
            for kind, frames in enumerate(four(item, self.args.model, self.codec, self.args.seed, LONGEST)):
                draw = rng.stream(self.args.seed, "classifier", "damaged", item.key, kind)
                yield kind, damaged(frames, self.args.versions, draw)

    def _of_real(self, paths: Sequence[Path]) -> Iterator[tuple[int, Frames]]:
        for path in paths:
            draw = rng.stream(self.args.seed, "classifier", "damaged", path.name)
            yield KINDS.index("real"), damaged(media.read_clip(path).frames, self.args.versions, draw)

    def _part(self, name: str, made: Iterator[tuple[int, Frames]]) -> Examples:
        key = hashlib.sha256(f"{self.told} {name}".encode()).hexdigest()[:16]
        path = self.args.out / "seen" / f"{key}.locked"
        if path.exists() and (data := unlock(path.read_bytes(), key)) is not None:
            with np.load(io.BytesIO(data)) as arrays:
                return Examples(arrays["seen"], arrays["kinds"])
        parts = list(made)
        found = Examples(np.concatenate([seen for _, seen in parts]),
                         np.concatenate([np.full(len(seen), kind) for kind, seen in parts]))
        buffer = io.BytesIO()
        np.savez(buffer, seen=found.seen, kinds=found.kinds)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_bytes(lock(buffer.getvalue(), key))
        draft.replace(path)
        return found


def batch(library: Examples, step: int, args: ClassifierTraining) -> tuple[Tensor, Tensor]:
    """`planes` of some examples, B H W C, half of them mirrored; and which are ours, B."""
    draw = rng.stream(args.seed, "classifier", step)
    there = [kind for kind in range(len(KINDS)) if (library.kinds == kind).any()]
    shares = np.array([SHARES[kind] for kind in there])
    kinds = draw.choice(there, args.batch, p=shares / shares.sum())
    picks = np.array([draw.choice(np.flatnonzero(library.kinds == kind)) for kind in kinds])
    seen = library.seen[picks]
    turned = draw.random(args.batch) < 0.5
    seen[turned] = seen[turned, :, :, ::-1]
    return torch.from_numpy(planes(seen)), torch.from_numpy((kinds < OURS).astype(np.float32))


# -- training -------------------------------------------------------------------------------------------------


def train_classifier(args: ClassifierTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the classifier. Returns the path of `classifier.safetensors`."""
    if args.preset not in WIDTHS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(WIDTHS)}")
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        network = Network(WIDTHS[args.preset]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    args.out.mkdir(parents=True, exist_ok=True)
    library = Library(args)
    parts = []
    for part in library.learnt_from():
        parts.append(part)
        print(f"{sum(len(p.kinds) for p in parts)} examples", file=sys.stderr, flush=True)
    examples = Examples(np.concatenate([p.seen for p in parts]), np.concatenate([p.kinds for p in parts]))
    del parts
    run = Run(args.out, args.steps)
    optimizer, ema = Optimizer(network, args.rate, muon=(), decay=DECAY), Ema(network)
    step = run.resume(network, optimizer, ema, args.identity())
    while step < args.steps:
        x, ours = batch(examples, step, args)
        with autocast():
            found = network(x)
        loss = F.binary_cross_entropy_with_logits(found, ours)
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        right = float(((found > 0) == (ours > 0.5)).float().mean())
        run.log(step, 3 * network.flops() * args.batch, {"loss": float(loss.detach()), "norm": norm, "right": right})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, network, optimizer, ema, args.identity())
            run.leave_if_asked()
        if on_step:
            on_step(step)
    run.close()
    ema.copy_to(network)
    settle(network, examples, args)
    return publish(network, library, run.flops)


@torch.no_grad()
def settle(network: Network, examples: Examples, args: ClassifierTraining) -> None:
    """The norms' means and deviations under the averaged weights."""
    for _, norm in network.layers():
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all that follows
    for number in range(SETTLING):
        network(batch(examples, args.steps + number, args)[0])


def publish(network: Network, library: Library, flops: float) -> Path:
    """Writes the averaged weights, and how their scores are to be read: found on clips that nothing was learnt from."""
    path = library.args.out / "classifier.safetensors"
    tensors = network.tensors()
    plain = Classifier({k: v.float().numpy() for k, v in tensors.items()},
                       {"slope": 1.0, "offset": 0.0, "made": 0.0, "other": 0.0})
    scores: list[float] = []
    ours: list[bool] = []
    for kind, frames in _apart(library):
        scores.append(float(plain.scores(frames).mean()))
        ours.append(kind < OURS)
    reading = read_scores(np.array(scores), np.array(ours))
    facts = {"kind": "Classifier", "reading": json.dumps(reading), "flops": repr(flops), "model": library.args.model,
             "read_on": json.dumps({"ours": sum(ours), "others": len(ours) - sum(ours)})}
    write_tensors(path, tensors, facts)
    print(f"reading: {json.dumps(reading)}", file=sys.stderr, flush=True)
    return path


def _apart(library: Library) -> Iterator[tuple[int, Frames]]:
    """Whole clips, damaged, of the shards and footage that are kept apart; a sixth as many twins as are learnt from."""
    args = library.args
    shards, real = library.kept_apart()
    left = max(2, args.clips // 6)
    for shard in shards:
        for item in iter_clips(shard.parent, shards=[shard]):
            kinds = four(item, args.model, library.codec, args.seed) if left > 0 else [item.clip.frames]
            left -= 1
            for kind, frames in enumerate(kinds, 0 if len(kinds) > 1 else KINDS.index("truth")):
                yield kind, at_random(frames, rng.stream(args.seed, "classifier", "apart", item.key, kind))
    for path in real:
        draw = rng.stream(args.seed, "classifier", "apart", path.name)
        yield KINDS.index("real"), at_random(media.read_clip(path).frames, draw)


def read_scores(scores: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    """How scores are to be read: log odds = slope * score + offset, as if either were as likely (Platt, 1999); and
    from which score on, and up to which one, the classifier says so."""
    weights = np.where(ours, 0.5 / max(1, ours.sum()), 0.5 / max(1, (~ours).sum()))
    center, spread = float(scores.mean()), float(scores.std()) + 1e-6
    x = np.stack([(scores - center) / spread, np.ones_like(scores)], 1)
    fit = np.zeros(2)
    for _ in range(50):  # Newton's method, held back a little so that it ends where the classes are apart
        p = 1 / (1 + np.exp(-np.clip(x @ fit, -50, 50)))
        slope = x.T @ (weights * (ours - p)) - 1e-4 * fit
        fit += np.linalg.solve((x.T * (weights * p * (1 - p))) @ x + 1e-4 * np.eye(2), slope)
    made = float(np.quantile(scores[~ours], 1 - STRAY)) if (~ours).any() else 0.0
    other = min(made, float(np.quantile(scores[ours], MISSED))) if ours.any() else made
    return {"slope": float(fit[0] / spread), "offset": float(fit[1] - fit[0] * center / spread), "made": made,
            "other": other}
