"""Clips of shards to latents, each once: what they look like, how they are said, and what is told of worlds.

Every shard is a pure function of its bytes and the weights, so many processes, or machines, may share the work.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tenku.data.pool import spread
from tenku.data.shards import iter_clips, shard_paths
from tenku.errors import UserError
from tenku.model.checkpoint import write_tensors
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.motion import PARTS
from tenku.model.patches import Grid
from tenku.model.rays import beats
from tenku.rng import stream
from tenku.world import newcomers, scenery
from tenku.world.captions import REGISTERS, caption
from tenku.world.motion import MIRROR, THINGS, clock, looks, setting, states

UNTOLD = 0.1  # share of clips whose setting or scenery, and of things whose looks, are not told: prompts may not say
TOLD = ("sketch", "motion", "looks", "setting", "scenery")  # of each clip
CAPTIONS = 4  # ways of saying each clip in each register


def encoder_hash(codec: Codec) -> str:
    """Eight hex digits that change when latents would."""
    digest = hashlib.sha256()
    for buffer in (codec.basis, codec.mean, codec.scale):
        digest.update(buffer.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def field_hash(field: LightField) -> str:
    """Eight hex digits that change when sketches would."""
    digest = hashlib.sha256()
    for parameter in field.parameters():
        digest.update(parameter.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def is_world(facts: dict[str, Any]) -> bool:
    """Whether the facts of a clip say where everything is; of footage only pictures and captions are known."""
    return "scene" in facts


def said(key: str, facts: dict[str, Any]) -> dict[str, list[str]]:
    """CAPTIONS ways of saying a clip in each register; of footage the one that it has."""
    if not is_world(facts):
        return {r: [facts["captions"][r]] for r in REGISTERS}
    return {r: [caption(facts, r, stream(i, "caption", r, key)) for i in range(CAPTIONS)] for r in REGISTERS}


def moves_of(facts: dict[str, Any]) -> Tensor:
    """The motion of a clip in each frame, as filmed and mirrored: 2 F STATE."""
    moves = torch.from_numpy(states(facts))
    return torch.stack([moves, moves * torch.from_numpy(MIRROR)])


def motion_of(facts: dict[str, Any], codec: Codec) -> Tensor:
    """The motion of a clip, as filmed and mirrored, in the codec's latent steps: 2 T CHANNELS."""
    return codec.steps(moves_of(facts), PARTS).flatten(2)


def looks_of(facts: dict[str, Any]) -> Tensor:
    """What the things of a clip are: THINGS LOOKS."""
    codes = {newcomer.name: newcomer.code() for newcomer in newcomers.of(facts)}
    things = ((thing["subject"], thing["colour"], thing["height"]) for thing in facts["things"])
    return torch.from_numpy(looks(things, codes))


def setting_of(facts: dict[str, Any]) -> Tensor:
    """Place and light of a clip: SETTING."""
    return torch.from_numpy(setting(facts["scene"]["place"], facts["scene"]["light"]))


def scenery_of(facts: dict[str, Any]) -> Tensor:
    """What stands around the stage of a clip: LANDMARKS LANDMARK."""
    swing = any(thing["action"] == "swings" for thing in facts["scene"]["things"])
    return torch.from_numpy(scenery.told(facts["scene"]["place"], facts["scene"]["seed"], swing=swing))


def latents_folder(folder: Path, codec: Codec, field: LightField | None) -> Path:
    """Where the latents of a folder's shards are, by these weights."""
    return folder / f"latents-{encoder_hash(codec)}-{field_hash(field) if field else 'untold'}"


def encode_shards(folder: Path, codec: Codec, field: LightField | None) -> Path:
    """Encodes every finished shard that has no latents yet, and its sketches; returns the latents' folder.

    Footage has no sketches. Raises UserError for clips of worlds without a light field.
    """
    out = latents_folder(folder, codec, field)
    for shard in missing(folder, out):
        encode_shard(shard, out, codec, field)
    return out


def missing(folder: Path, out: Path) -> list[Path]:
    """The finished shards that have no latents yet."""
    return [shard for shard in shard_paths(folder) if not (out / f"{shard.stem}.safetensors").exists()]


@torch.inference_mode()
def encode_shard(shard: Path, out: Path, codec: Codec, field: LightField | None) -> int:
    """Encodes a shard into the latents' folder `out`, whole or not at all; returns its clips. Raises UserError."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for item in iter_clips(shard.parent, shards=[shard]):
        video = torch.from_numpy(item.clip.frames)[None]
        grid = codec.grid(len(item.clip.frames), *item.clip.size[::-1], item.clip.fps)
        tensors[item.key] = codec.encode(video.float() / 127.5 - 1).to(torch.bfloat16)
        if is_world(item.facts):
            if field is None:
                raise UserError(f"{shard.name} holds clips of worlds", "give the light field: --field FILE")
            told = _told(item.key, item.facts, codec, field, grid)
            tensors |= {f"{item.key}.{name}": tensor for name, tensor in zip(TOLD, told, strict=True)}
        facts[item.key] = {"captions": said(item.key, item.facts), "seconds_per_step": grid.seconds_per_step}
    write_tensors(out / f"{shard.stem}.safetensors", tensors, {"facts": json.dumps(facts)})
    return len(facts)


@dataclass(frozen=True)
class Encoding:
    """A shard, and the files of weights that encode it."""

    shard: Path
    out: Path
    codec: Path
    field: Path | None


def encode_in_parallel(
    folder: Path, codec: Path, field: Path | None, workers: int, cluster: str = ""
) -> dict[str, Any]:
    """The same as `encode_shards`, shard by shard in many processes (`pool.spread`), each of one thread.

    Returns a summary. Raises UserError.
    """
    out = latents_folder(folder.resolve(), *_loaded(codec, field))
    jobs = [Encoding(shard, out, codec, field) for shard in missing(folder.resolve(), out)]
    clips = 0
    with tqdm(total=len(jobs), desc="encoding", unit="shard", disable=None, leave=False) as bar:
        for count in spread(encode, jobs, workers, cluster):
            clips += count
            bar.update()
    return {"folder": str(out), "shards": len(shard_paths(folder)), "encoded_shards": len(jobs), "encoded_clips": clips}


def encode(job: Encoding) -> int:
    """One shard, in a process of the pool. Raises UserError where its weights are not those that were meant."""
    torch.set_num_threads(1)  # the same bits everywhere
    codec, field = _loaded(job.codec, job.field)
    if latents_folder(job.out.parent, codec, field) != job.out:
        raise UserError("a machine of the cluster has other weights", "the same version and files on all of them")
    return encode_shard(job.shard, job.out, codec, field)


@functools.lru_cache(maxsize=1)
def _loaded(codec: Path, field: Path | None) -> tuple[Codec, LightField | None]:
    return Codec.load(codec), LightField.load(field) if field else None


def _told(key: str, facts: dict[str, Any], codec: Codec, field: LightField, grid: Grid) -> tuple[Tensor, ...]:
    """What is told of a clip of a world, in the order of TOLD."""
    draw = stream(0, "untold", key)
    motion = codec.steps(torch.from_numpy(states(facts))[None], PARTS).flatten(2)
    looks = looks_of(facts) * torch.from_numpy(draw.random((THINGS, 1)) >= UNTOLD)
    where, around = setting_of(facts), scenery_of(facts)
    where, around = (told * float(draw.random() >= UNTOLD) for told in (where, around))
    shape = codec.shape(grid)
    beat = beats(torch.from_numpy(clock(facts)))
    beat = torch.cat([beat, beat[-1:].expand(shape[0] - len(beat), -1)])
    sketch = codec.encode(field.video(motion, looks[None], where[None], around[None], beat, shape))
    return sketch.to(torch.bfloat16), motion[0], looks, where, around
