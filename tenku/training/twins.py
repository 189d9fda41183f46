"""What the classifier learns from: moments of clips with the same scenes, words, sizes and lengths.

Rendered truth, the clip that the model dreams from the truth's own caption, and both through the codec, so that neither
the content nor the codec tells them apart; more of the world without twins; and real footage. All of them are damaged
and sent through the same codecs at the same settings. What is dreamt here has no mark, for a mark is not what is to be
learnt: it is kept locked, as films keep their latents, and never as a picture.

Legend: E examples of one moment, S moments of a clip, 3 frames, H W pixels, C channels.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenku import media, rng
from tenku.data.shards import Item, iter_clips, shard_paths
from tenku.errors import UserError
from tenku.evaluation.attacks import at_random, sent
from tenku.media import Frames
from tenku.model.codec import Codec
from tenku.provenance.classifier import moments
from tenku.provenance.lock import lock, unlock
from tenku.world.make import SHARD

KINDS = ("dreamt", "dreamt, through the codec", "truth", "truth, through the codec", "real")  # the first two are ours
OURS = 2
SIDE = 80  # pixels of an example
OF_EACH = 2  # moments of a damaged clip
STEPS = (30, 20, 12, 8)  # of denoising
LONGEST = 9  # frames of a clip that is learnt from
KEPT = 8  # every so many-th shard, and real clip, is kept to find out how scores are to be read
READ_ON = 256  # scenes of these shards, at most


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
    rate: float = 2e-3  # peak learning rate
    clips: int = 768  # of the world, each with the model's twin
    others: int = 1024  # more of the world, without
    versions: int = 4  # of each clip, each damaged otherwise
    seed: int = 0

    def identity(self) -> str:
        """What must be equal for a folder's run to be continued."""
        return json.dumps({name: getattr(self, name) for name in
                           ("model", "preset", "batch", "rate", "clips", "others", "versions", "seed")})


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


def of_scene(item: Item, model: str, codec: Codec, seed: int, longest: int = 1 << 30) -> dict[int, Frames]:
    """A scene's clips of at most so many frames, by their number in KINDS; those of the model if one is named."""
    item = replace(item, clip=replace(item.clip, frames=item.clip.frames[:longest]))
    found = [dreamt(item, model, seed)] if model else []
    found.append(item.clip.frames)
    return dict(zip((0, 1, 2, 3) if model else (2, 3), [one for f in found for one in (f, through(codec, f))],
                    strict=True))


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
    """Moments of so many versions of a clip, each a part of it; every other one has only been sent, not damaged."""
    found = []
    for version in range(versions):
        length = min(len(frames), int(draw.integers(6, 18)))
        start = int(draw.integers(len(frames) - length + 1))
        some = frames[start:start + length]
        found.append(shown(at_random(some, draw) if version % 2 else sent(some, draw)[1], draw))
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
        twins, left = self.args.clips, self.args.clips + self.args.others
        for shard in self.shards:
            if shard in apart or left <= 0:
                continue
            part = self._part(f"{shard.name} {min(twins, SHARD)} {min(left, SHARD)}",
                              self._of_world(shard, twins, left))
            twins -= int((part.kinds == 0).sum()) // (OF_EACH * self.args.versions)
            left -= int((part.kinds == KINDS.index("truth")).sum()) // (OF_EACH * self.args.versions)
            yield part
        real = [path for path in self.real if path not in real_apart]
        for start in range(0, len(real), SHARD):
            some = real[start : start + SHARD]
            yield self._part(" ".join(str(path) for path in some), self._of_real(some))

    def _of_world(self, shard: Path, twins: int, most: int) -> Iterator[tuple[int, Frames]]:
        for number, item in enumerate(iter_clips(shard.parent, shards=[shard])):
            if number >= most:
                return
            model = self.args.model if number < twins else ""
            for kind, frames in of_scene(item, model, self.codec, self.args.seed, LONGEST).items():
                draw = rng.stream(self.args.seed, "classifier", "damaged", item.key, kind)
                yield kind, damaged(frames, self.args.versions, draw)

    def _of_real(self, paths: Sequence[Path]) -> Iterator[tuple[int, Frames]]:
        for path in paths:
            draw = rng.stream(self.args.seed, "classifier", "damaged", path.name)
            yield KINDS.index("real"), damaged(media.read_clip(path).frames, self.args.versions, draw)

    def read_on(self) -> Iterator[tuple[int, Frames]]:
        """Moments of whole clips, sent and damaged, of what is kept apart; a sixth as many twins as are learnt from."""
        shards, real = self.kept_apart()
        left = max(2, self.args.clips // 6)
        for shard in shards[: READ_ON // SHARD]:
            with_twins = min(left, SHARD)
            left -= with_twins
            yield from self._moments(f"apart {shard.name} {with_twins}", self._of_world_apart(shard, with_twins))
        yield from self._moments("apart " + " ".join(map(str, real)), self._of_real_apart(real))

    def _of_world_apart(self, shard: Path, twins: int) -> Iterator[tuple[int, Frames]]:
        for number, item in enumerate(iter_clips(shard.parent, shards=[shard])):
            model = self.args.model if number < twins else ""
            for kind, frames in of_scene(item, model, self.codec, self.args.seed, 2 * LONGEST - 1).items():
                draw = rng.stream(self.args.seed, "classifier", "apart", item.key, kind)
                yield kind, sent(frames, draw)[1]
                yield kind, at_random(frames, draw)

    def _of_real_apart(self, paths: Sequence[Path]) -> Iterator[tuple[int, Frames]]:
        for path in paths:
            draw, frames = rng.stream(self.args.seed, "classifier", "apart", path.name), media.read_clip(path).frames
            for _ in range(OF_EACH):
                yield KINDS.index("real"), sent(frames, draw)[1]
                yield KINDS.index("real"), at_random(frames, draw)

    def _part(self, name: str, made: Iterator[tuple[int, Frames]]) -> Examples:
        arrays = self._kept(name, lambda: _joined(list(made)))
        return Examples(arrays["seen"], arrays["kinds"])

    def _moments(self, name: str, made: Iterator[tuple[int, Frames]]) -> Iterator[tuple[int, Frames]]:
        """Of clips whose pictures have different sizes."""
        arrays = self._kept(name, lambda: {f"{n} {kind}": moments(frames) for n, (kind, frames) in enumerate(made)})
        for key, seen in arrays.items():
            yield int(key.split()[1]), seen

    def _kept(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What was made before, by its name; else it is made, and kept locked."""
        key = hashlib.sha256(f"{self.told} {name}".encode()).hexdigest()[:16]
        path = self.args.out / "seen" / f"{key}.locked"
        if path.exists() and (data := unlock(path.read_bytes(), key)) is not None:
            with np.load(io.BytesIO(data)) as arrays:
                return dict(arrays)
        found: dict[str, Any] = make()
        buffer = io.BytesIO()
        np.savez(buffer, **found)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_bytes(lock(buffer.getvalue(), key))
        draft.replace(path)
        return found


def _joined(parts: Sequence[tuple[int, Frames]]) -> dict[str, np.ndarray]:
    return {"seen": np.concatenate([seen for _, seen in parts]),
            "kinds": np.concatenate([np.full(len(seen), kind) for kind, seen in parts])}
