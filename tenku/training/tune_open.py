"""Fine-tunes an open model on a folder of clips, as `tenku data ingest` makes it: small matrices beside its attention
(LoRA), or all weights of its network.

The model's own codec, text encoder and noise levels are used as they are (engines/open.py): a level is drawn from its
own schedule, and the network learns the velocity from noise to data there (flow matching, arXiv:2210.02747). A model
that animates pictures is given the first frame, as when it is used.

Legend: N latents of a clip, C channels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenku import rng
from tenku.data.shards import iter_clips
from tenku.engines import adapters
from tenku.engines.loading import fresh
from tenku.engines.open import At, OpenEngine, Seen
from tenku.engines.schedules import Schedule
from tenku.errors import UserError
from tenku.model import flow
from tenku.provenance.seal import Model, seal
from tenku.request import Request
from tenku.sampling import plain
from tenku.sampling.canvas import FIRM, Canvas
from tenku.sampling.plan import plan
from tenku.training.adapting import fit
from tenku.training.origin import Origin
from tenku.training.run import Ema
from tenku.types import Size

LOOKS = 4  # looks at a run while it goes
LEVELS = 1000  # noise levels of the schedule that one is drawn from
# The attention of all families here. Not of what prepares the words (HunyuanVideo's refiner), whose gradients are not
# finite where a prompt is padded.
ATTENTION = r"(transformer_blocks|blocks)\..*\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"


@dataclass(frozen=True)
class OpenTuning:
    """A run on an open model."""

    data: Path  # folder of shards
    out: Path  # folder of the run; `lora.safetensors` appears there, or with rank 0 the whole pipeline as `model`
    model: str  # a listed name, or a folder that save_pretrained wrote
    rank: int = 16  # 0: all weights of the network learn
    steps: int = 500  # clips seen, one a step
    rate: float = 1e-4  # peak learning rate
    register: str = "sentence"  # which of a clip's captions is said
    word: str = ""  # said before each caption: a word that is to stand for what the clips show
    dropout: float = 0.1  # share of clips that are seen without words, so that guidance has something to compare with
    seed: int = 0
    samples: bool = True  # sealed clips are made as it goes

    def settings(self) -> dict[str, object]:
        """What must be equal for a run to be continued."""
        return {name: value for name, value in asdict(self).items()
                if not isinstance(value, Path) and name not in ("steps", "rate", "samples")}


@dataclass(frozen=True)
class Example:
    """One clip as the network sees it."""

    data: Tensor  # 1 N C
    weight: Tensor  # 1 N, 1 where a latent counts, 0 where it was given or is not shown
    seen: Seen
    schedule: Schedule
    caption: str


def examples(engine: OpenEngine, args: OpenTuning) -> list[Example]:
    """All clips of a folder, encoded once. Raises UserError where there is none."""
    found = []
    for item in iter_clips(args.data):
        frames = item.clip.frames[: engine.frames(engine.longest)]
        frames = frames[: engine.frames(max(1, engine.steps(len(frames) + 1) - 1))]  # whole latent steps
        grid = engine.grid(len(frames), frames.shape[1], frames.shape[2], item.clip.fps)
        canvas, given = None, torch.zeros(grid.steps, dtype=torch.bool)
        if getattr(engine, "takes_frames", False):
            weight = np.zeros(frames.shape[:3], np.uint8)
            weight[0] = FIRM
            canvas = Canvas(frames, weight)
            taken = engine.condition(canvas, grid)[1]
            given = given if taken is None else taken
        data = engine.encode(frames).flatten(1, 3)
        more = engine.beside(grid)  # sound, of which the clips have none
        weight_of = torch.cat([(~given).float().repeat_interleave(grid.rows * grid.columns), torch.zeros(more)])[None]
        data = torch.cat([data, torch.zeros(1, more, data.shape[2])], 1)
        seen = engine.see(canvas, grid)
        seen = Seen(grid, None, seen.weight, _owned(seen.native))
        said = item.facts["captions"].get(args.register) or next(iter(item.facts["captions"].values()))
        found.append(Example(data.clone(), weight_of, seen, engine.schedule(LEVELS, grid),
                             f"{args.word} {said}".strip()))
    if not found:
        raise UserError(f"{args.data} holds no finished shard", "tenku data ingest makes some")
    return found


def _owned(values: Any) -> Any:
    """Tensors made without gradients, as such that may take part in some."""
    if isinstance(values, Tensor):
        return values.clone()
    if isinstance(values, dict):
        return {name: _owned(value) for name, value in values.items()}
    return values


def loss_of(engine: OpenEngine, example: Example, said: dict[str, Any], draw: np.random.Generator) -> Tensor:
    """Mean squared error of the velocity at one noise level of the model's own, of what is not given."""
    schedule, device = example.schedule, engine.device
    at = int(draw.integers(len(schedule.times)))
    sigma = float(schedule.sigmas[at])
    noise = torch.from_numpy(draw.standard_normal(example.data.shape, dtype=np.float32))
    x = flow.interpolate(example.data, noise, torch.full((1, 1), sigma)).to(device)
    where = At(sigma, schedule.time(sigma).to(device), schedule.after(sigma))
    v = engine.flat(x, where, said, example.seen).float()
    error = (v - flow.velocity(example.data, noise).to(device)).square().mean(-1)
    weight = example.weight.to(device)
    return (error * weight).sum() / weight.sum()


def show(engine: OpenEngine, example: Example, path: Path, steps: int = 20) -> None:
    """Makes a clip of an example's words and size with the networks as they are, and seals it."""
    grid = example.seen.grid
    size = Size(grid.columns * engine.spans[2], grid.rows * engine.spans[1])
    fps = engine.spans[0] / grid.seconds_per_step
    frames = engine.frames(grid.steps - engine.ahead(engine.steps(engine.frames(grid.steps))))
    request = Request(prompt=example.caption or "nothing", size=size, fps=min(60.0, max(1.0, fps)), steps=steps)
    one = plan(request, 1, engine.longest, frames=frames, rounds=plain.windows(engine, None, frames))
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = plain.dream(engine, one, None, lambda *_: None, lambda *_: None, None)
    model = Model(engine.name, engine.weights_sha256, engine.ledgers)
    seal(clip, {"plan": one.to_dict(), "model": engine.about.to_dict(), "tuning": path.stem}, path, model=model)


class _Both(nn.Module):
    """All networks of a pipeline as one, for the optimiser."""

    def __init__(self, networks: list[Any]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)


def tune_open(args: OpenTuning) -> Path:
    """Tunes, or goes on tuning. Returns the adapter's path, or the folder of a whole pipeline.

    Raises UserError for a model that is none of the open ones, or whose weights are quantised where all should learn.
    """
    engine = fresh(args.model)
    if not isinstance(engine, OpenEngine):
        raise UserError(f"{args.model} is a model of ours", "training/tune.py tunes it")
    origin = Origin((args.data,))
    _open(engine, args)
    both = _Both(engine.networks)
    clips = examples(engine, args)
    said = {text: _owned(engine.said(text)) for text in {"", *(clip.caption for clip in clips)}}
    open_ones = sum(p.numel() for p in both.parameters() if p.requires_grad)
    every = sum(p.numel() for p in both.parameters())
    print(f"{engine.name}: {open_ones / 1e6:.2f} M of {every / 1e6:.1f} M parameters learn, {len(clips)} clips",
          flush=True)

    def loss(step: int) -> tuple[Tensor, float]:
        draw = rng.stream(args.seed, "open tuning", step)
        clip = clips[int(draw.integers(len(clips)))]
        words = said["" if draw.random() < args.dropout else clip.caption]
        return loss_of(engine, clip, words, draw), 6.0 * every * clip.data.shape[1]

    def keep(step: int, average: Ema, flops: float) -> None:
        facts = {"steps": str(step), "flops": repr(flops), "base": engine.weights_sha256, "model": engine.name,
                 "license": engine.about.licence}
        publish(engine, args, origin, average, facts)
        if args.samples:
            both.eval()
            show(engine, clips[0], args.out / "samples" / f"{step:06d}.mp4")
            both.train()

    both.train()
    fit(args.out / "run", both, loss, args.steps, args.rate, args.settings(), keep, LOOKS)
    return args.out / ("lora.safetensors" if args.rank else "model")


def _open(engine: OpenEngine, args: OpenTuning) -> None:
    """Lets the networks learn."""
    for number, network in enumerate(engine.networks):
        network.requires_grad_(False)
        if not args.rank:
            for name, part in network.named_children():
                part.requires_grad_(name != "context_embedder")
        else:
            try:
                from peft import LoraConfig
            except ImportError:
                raise UserError("LoRA needs peft", "pip install -c constraints.txt '.[models]'") from None
            with torch.random.fork_rng():
                torch.manual_seed(args.seed + number)
                network.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=ATTENTION))


def publish(engine: OpenEngine, args: OpenTuning, origin: Origin, average: Ema, facts: dict[str, str]) -> None:
    """Writes the averaged matrices in diffusers' format, or with rank 0 the whole pipeline."""
    for number, network in enumerate(engine.networks):
        mine = f"networks.{number}."
        values = {name.removeprefix(mine): value for name, value in average.average.items() if name.startswith(mine)}
        if args.rank:
            tensors = {name.replace(".default", ""): value for name, value in values.items() if ".lora_" in name}
            config = {**network.peft_config["default"].to_dict(), "target_modules": sorted(
                {name.partition(".lora_")[0] for name in tensors})}
            path = args.out / "lora.safetensors"
            path = adapters.second(path) if number else path
            origin.publish(path, partial(adapters.write, tensors=tensors, config=config), facts)
    if not args.rank:
        before = [p.detach().clone() for p in _Both(engine.networks).parameters()]
        average.copy_to(_Both(engine.networks))
        engine.pipe.save_pretrained(args.out / "model")
        for p, was in zip(_Both(engine.networks).parameters(), before, strict=True):
            p.data.copy_(was)
