"""Trains the codec: the linear solution in closed form, then the decoder's network on what it leaves.

Legend: B batch, T frames, H W pixels; P numbers of a group (8*16*16*3), C latent channels.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenku import rng
from tenku.config import CODEC_PRESETS, CodecConfig
from tenku.data.shards import iter_clips
from tenku.errors import UserError
from tenku.model.codec import Codec
from tenku.model.precision import autocast
from tenku.training.origin import Origin
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.types import Clip

HELD = 16  # clips that are measured on and never trained on
NOISE = 0.03  # most that is added to latents in training: those of the transformer are imperfect
SPREAD = 0.5  # latent = component / std**SPREAD: 1 would make all channels equally loud, 0 none


@dataclass(frozen=True)
class CodecTraining:
    """A codec run. All sizes in pixels and frames."""

    data: Path  # folder of world shards
    out: Path  # folder of the run; `codec.safetensors` appears there
    preset: str = "nano"
    steps: int = 4000
    batch: int = 4  # pieces of clips a step
    crop: int = 128  # longest side of a piece; a clip that is smaller is taken whole
    frames: int = 17  # frames of a piece, 1 + 8k
    rate: float = 1.5e-3  # peak learning rate
    clips: int = 1200  # clips kept in memory
    seed: int = 0
    start: Path | None = None  # a codec.safetensors to start from, whose encoder is kept as it is

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({"preset": self.preset, "batch": self.batch, "crop": self.crop, "frames": self.frames,
                           "rate": self.rate, "seed": self.seed})


def to_signal(frames: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return frames.float() / 127.5 - 1


@torch.no_grad()
def fit_linear(codec: Codec, clips: Iterator[Clip], seed: int = 0) -> dict[str, float]:
    """Sets the codec's linear part to the principal components of the clips' groups. Returns their share of variance.

    The leading components come from subspace iteration on the covariance (Halko et al., arXiv:0909.4061).
    """
    numbers = codec.basis.shape[1]
    total = torch.zeros(numbers, dtype=torch.float64)
    gram = torch.zeros(numbers, numbers)
    count = 0
    for clip in clips:
        groups = codec.groups(to_signal(torch.from_numpy(clip.frames))[None]).reshape(-1, numbers)
        total += groups.sum(0, dtype=torch.float64)
        gram.addmm_(groups.T, groups)
        count += len(groups)
    if count < 2:
        raise UserError("there are no clips to fit the codec on", "render some: tenku world make")
    mean = (total / count).float()
    cov = gram.div_(count).sub_(torch.outer(mean, mean))
    wide = min(numbers, codec.config.channels + 64)
    q = torch.linalg.qr(rng.normal((numbers, wide), seed, "codec", "subspace")).Q
    for _ in range(12):
        q = torch.linalg.qr(cov @ q).Q
    values, vectors = torch.linalg.eigh(q.T @ cov @ q)
    order = values.argsort(descending=True)[: codec.config.channels]
    std = values[order].clamp_min(1e-8).sqrt()
    basis = (q @ vectors[:, order]).T
    scale = std**SPREAD
    scale = scale * (std / scale).square().mean().sqrt()  # mean square of the latents is 1
    for buffer, value in ((codec.basis, basis), (codec.mean, mean), (codec.scale, scale)):
        buffer.copy_(value.to(torch.bfloat16))  # as bundled, so that stored and used are the same numbers
    return {"variance": float(cov.diagonal().sum()), "kept": float(values[order].sum()), "groups": count}


class Crops:
    """Clips in memory, and random pieces of them: whole pictures where they are no larger than `side`.

    The network sees 64 pixels to each side, so a piece that is cut out of a picture starves it of what it has there.
    """

    def __init__(self, clips: Iterable[Clip], most: int, frames: int, side: int) -> None:
        self.alike: dict[tuple[int, int], list[np.ndarray]] = {}  # height and width of a piece: clips
        long = (clip.frames for clip in clips if len(clip.frames) >= frames)
        for clip in itertools.islice(long, most):
            height, width = (min(side, n) for n in clip.shape[1:3])
            self.alike.setdefault((height, width), []).append(clip)
        if not self.alike:
            raise UserError(f"no clip has {frames} frames", "tenku world make --mix 128x80x33:1")
        self.frames = frames

    def batch(self, draw: np.random.Generator, size: int) -> Tensor:
        """B T H W 3 in [-1, 1], of clips that give pieces of one size."""
        sizes = list(self.alike)
        counts = np.array([len(self.alike[s]) for s in sizes])
        height, width = sizes[draw.choice(len(sizes), p=counts / counts.sum())]
        clips, found = self.alike[height, width], []
        for _ in range(size):
            clip = clips[draw.integers(len(clips))]
            wanted = (self.frames, height, width)
            t, y, x = (draw.integers(n - m + 1) for n, m in zip(clip.shape[:3], wanted, strict=True))
            piece = clip[t : t + self.frames, y : y + height, x : x + width]
            found.append(piece[:, :, ::-1] if draw.random() < 0.5 else piece)
        return to_signal(torch.from_numpy(np.stack(found)))


def codec_loss(decoded: Tensor, truth: Tensor) -> Tensor:
    """Half the logarithm of each clip's mean square, which is what PSNR says, and for edges the Charbonnier distance
    of pixels and, half each, of their differences in time and space (B T H W 3). At 30 dB the first weighs ten times.
    """
    error = decoded - truth
    parts = [error, *(0.5 * torch.diff(error, dim=d) for d in (1, 2, 3) if error.shape[d] > 1)]
    edges = torch.stack([(p.square() + 1e-4).sqrt().mean() for p in parts]).sum()
    return 0.5 * (error.square().mean((1, 2, 3, 4)) + 1e-5).log().mean() + edges


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of signals in [-1, 1]."""
    return 10 * math.log10(4 / max(1e-12, float((a.clamp(-1, 1) - b).square().mean())))


@torch.no_grad()
def evaluate(codec: Codec, clips: list[Clip]) -> dict[str, float]:
    """Mean PSNR (dB) over clips of the whole codec and of its linear part."""
    whole, linear = [], []
    for clip in clips:
        video = to_signal(torch.from_numpy(clip.frames))[None]
        latents = codec.encode(video)
        height, width = video.shape[2:4]
        whole.append(psnr(codec.decode(latents, height, width)[:, : video.shape[1]], video))
        linear.append(psnr(codec.decode_linear(latents, height, width)[:, : video.shape[1]], video))
    return {"psnr": float(np.mean(whole)), "linear_psnr": float(np.mean(linear))}


def train_codec(args: CodecTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the codec. Returns the path of `codec.safetensors`."""
    if args.preset not in CODEC_PRESETS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(CODEC_PRESETS)}")
    if not args.data.is_dir():
        raise UserError(f"no such folder: {args.data}", "render some clips first: tenku world make --out DIR")
    config: CodecConfig = CODEC_PRESETS[args.preset]
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        codec = Codec(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if args.start:
        codec.load_state_dict(_started(args.start, config).state_dict())
    clips = [item.clip for item in itertools.islice(iter_clips(args.data), args.clips + HELD)]
    held = [clip for clip in clips if len(clip.frames) > 1][:HELD] or clips  # stills would flatter it by 2 dB
    seen = [clip for clip in clips if not any(clip is other for other in held)] or clips
    crops = Crops(seen, args.clips, args.frames, args.crop)
    run = Run(args.out, args.steps)
    optimizer, ema = Optimizer(codec, args.rate, muon=("stages.", "grow.")), Ema(codec)
    step = run.resume(codec, optimizer, ema, args.identity())
    if step == 0:
        if not args.start:
            fit_linear(codec, iter(seen[:500]), args.seed)
        _publish(codec, ema, args, held, run)  # latents can be made from now on
    print(f"codec {args.preset}: {sum(p.numel() for p in codec.parameters()) / 1e6:.2f} M parameters, "
          f"linear {evaluate(codec, held)['linear_psnr']:.2f} dB on {len(held)} held-out clips", flush=True)
    while step < args.steps:
        draw = rng.stream(args.seed, "codec", step)
        truth = crops.batch(draw, args.batch)
        with torch.no_grad():
            latents = codec.encode(truth)
            level = torch.from_numpy(draw.random((args.batch, 1, 1, 1, 1), dtype=np.float32)) * NOISE
            latents = latents + level * torch.from_numpy(draw.standard_normal(latents.shape, dtype=np.float32))
        with autocast():
            decoded = codec(latents)[:, :, : truth.shape[2], : truth.shape[3]]
        loss = codec_loss(decoded, truth)
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate, decay=0.5))
        ema.update(step)
        flops = 3 * args.batch * decode_flops(config, *truth.shape[1:4])
        run.log(step, flops, {"loss": float(loss.detach()), "norm": norm})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, codec, optimizer, ema, args.identity())
            _publish(codec, ema, args, held, run)
            run.leave_if_asked()
        if on_step:
            on_step(step)
    run.close()
    return args.out / "codec.safetensors"


def _started(path: Path, config: CodecConfig) -> Codec:
    codec = Codec.load(path)
    if codec.config != config:
        raise UserError(f"{path.name} is of another size: {codec.config}", "give the preset that it was trained with")
    return codec


def _publish(codec: Codec, ema: Ema, args: CodecTraining, held: list[Clip], run: Run) -> None:
    average = Codec(codec.config)
    average.load_state_dict(codec.state_dict())
    ema.copy_to(average)
    average = average.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    figures = evaluate(average, held)
    print(f"held out: {figures['psnr']:.2f} dB, linear {figures['linear_psnr']:.2f} dB", flush=True)
    facts = {"figures": json.dumps(figures), "flops": repr(run.flops)}
    Origin((args.data,), args.start).publish(args.out / "codec.safetensors", average.save, facts)


def decode_flops(config: CodecConfig, frames: int, height: int, width: int) -> float:
    """Forward FLOPs of decoding a clip."""
    a, b, c = config.widths
    groups = (1 + (frames - 1) // 8) * -(-height // 16) * -(-width // 16)
    per = sum(d * w * w * 20 * n for d, w, n in zip(config.depths, config.widths, (1, 8, 64), strict=True))
    per += 2 * (config.channels * a + a * b * 8 + 8 * b * c * 8 + 64 * 9 * c * 96 + 2 * config.channels * 6144)
    return float(groups * per)
