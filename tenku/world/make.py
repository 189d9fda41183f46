"""Renders many clips in parallel into shards, or simulates them without pictures. The same recipe gives the same bytes,
whoever does it and how often it was interrupted: clip i of seed S is a pure function of (S, i) and the recipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenku import __version__
from tenku.data import ledger
from tenku.data.pool import spread
from tenku.data.shards import ShardWriter, sweep
from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world.grammar import SPLITS, Scene

SHARD = 32  # clips of a shard


@dataclass(frozen=True)
class Mixed:
    """One entry of a mix: clips of this size, and how often relative to the others."""

    width: int  # pixels
    height: int  # pixels
    frames: int
    weight: float


@dataclass(frozen=True)
class Recipe:
    """All that decides the bytes of a folder of shards."""

    seed: int
    clips: int
    mix: tuple[Mixed, ...]
    fps: float = 16.0
    split: str = "train"
    arrays: bool = False  # depth, mask and flow too
    pictures: bool = True  # without, facts and captions alone


def parse_mix(text: str) -> tuple[Mixed, ...]:
    """Reads "128x80x33:6,96x96x33:1" (WIDTHxHEIGHTxFRAMES, then :weight or 1). Raises UserError."""
    entries = []
    for part in text.split(","):
        size, _, weight = part.strip().partition(":")
        try:
            width, height, frames = (int(n) for n in size.lower().split("x"))
            entries.append(Mixed(width, height, frames, float(weight or 1)))
        except ValueError:
            raise UserError(f"not a mix entry: {part!r}", "WIDTHxHEIGHTxFRAMES:WEIGHT, such as 128x80x33:6") from None
        if not 0 < entries[-1].weight < float("inf"):
            raise UserError(f"the weight of {part!r} must be positive")
    return tuple(entries)


def clip_scene(recipe: Recipe, index: int) -> tuple[Scene, Mixed]:
    """The scene and the size of clip `index`."""
    rng = stream(recipe.seed, "clip", index)
    scene = grammar.draw(int(rng.integers(2**48)), recipe.split)
    weights = np.cumsum([m.weight for m in recipe.mix])
    return scene, recipe.mix[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]


def make_shard(recipe: Recipe, number: int, path: Path) -> int:
    """Renders shard `number` into `path`. Returns its frames."""
    from tenku.world.simulate import Format, facts_of, render

    total = 0
    with ShardWriter(path) as shard:
        for index in range(number * SHARD, min((number + 1) * SHARD, recipe.clips)):
            scene, size = clip_scene(recipe, index)
            shape = Format(size.width, size.height, size.frames, recipe.fps)
            take = render(scene, shape, arrays=recipe.arrays) if recipe.pictures else None
            facts = take.facts if take else facts_of(scene, shape)
            said = {r: captions.caption(facts, r, stream(recipe.seed, "caption", r, index)) for r in captions.REGISTERS}
            if take:
                shard.add(f"{index:08d}", take.clip, {**facts, "captions": said}, take.arrays)
            else:
                shard.put(f"{index:08d}", None, {**facts, "captions": said})
            total += size.frames
    return total


def shard_path(folder: Path, number: int) -> Path:
    """Where shard `number` of a folder is or will be."""
    return folder / f"{number:06d}.tar"


def make(
    recipe: Recipe, folder: Path, workers: int, progress: Callable[[int, int, int], None], cluster: str = ""
) -> dict[str, Any]:
    """Renders what is missing of a recipe. `progress(done, all, frames)` is called after every shard.

    cluster: address of a Ray cluster, whose machines see the folder at the same path.
    Returns a summary. Raises UserError when the folder holds another recipe's clips, or when EGL is missing.
    """
    if recipe.clips < 1 or workers < 1:
        raise UserError("there must be at least one clip and one worker")
    if recipe.split not in SPLITS:
        raise UserError(f"unknown split {recipe.split!r}", f"one of: {', '.join(SPLITS)}")
    folder.mkdir(parents=True, exist_ok=True)
    _same_recipe(recipe, folder)
    sweep(folder)
    count = -(-recipe.clips // SHARD)
    numbers = [n for n in range(count) if not _whole(recipe, folder, n)]
    done, frames, began = count - len(numbers), 0, time.monotonic()
    _write_ledger(recipe, folder)
    progress(done, count, frames)
    for made in spread(_make, [(recipe, n, shard_path(folder.resolve(), n)) for n in numbers], workers, cluster):
        frames, done = frames + made, done + 1
        progress(done, count, frames)
    _write_ledger(recipe, folder)
    seconds = time.monotonic() - began
    return {
        "folder": str(folder),
        "clips": recipe.clips,
        "shards": count,
        "rendered_shards": len(numbers),
        "rendered_frames": frames,
        "seconds": round(seconds, 1),
        "frames_per_second": round(frames / max(seconds, 1e-9), 1),
        "bytes": sum(shard_path(folder, n).stat().st_size for n in range(count)),
    }


def _make(job: tuple[Recipe, int, Path]) -> int:
    return make_shard(*job)


def _whole(recipe: Recipe, folder: Path, number: int) -> bool:
    """Whether a shard is there with all its clips. The last one of a shorter run is not, when the run grows."""
    path = shard_path(folder, number)
    if not path.exists():
        return False
    wanted = min(SHARD, recipe.clips - number * SHARD)
    if wanted == SHARD and number < -(-recipe.clips // SHARD) - 1:
        return True
    import tarfile

    with tarfile.open(path, "r:") as tar:
        return sum(name.endswith(".json") for name in tar.getnames()) == wanted


def _recipe_json(recipe: Recipe) -> dict[str, Any]:
    data = asdict(recipe)
    data["mix"] = [list(asdict(m).values()) for m in recipe.mix]
    if recipe.pictures:  # as before there were others
        del data["pictures"]
    return data


def _same_recipe(recipe: Recipe, folder: Path) -> None:
    if not (folder / ledger.NAME).exists():
        if any(folder.glob("*.tar")):
            raise UserError(f"{folder} holds shards but no {ledger.NAME}", "choose an empty folder")
        return
    old, new = ledger.read(folder).recipe, _recipe_json(recipe)
    different = [k for k in {**old, **new} if k != "clips" and old.get(k) != new.get(k)]
    if different:
        raise UserError(f"{folder} was begun with another {' and '.join(different)}", "choose another folder")


def _write_ledger(recipe: Recipe, folder: Path) -> None:
    count = -(-recipe.clips // SHARD)
    there = [n for n in range(count) if shard_path(folder, n).exists()]
    clips = sum(min(SHARD, recipe.clips - n * SHARD) for n in there)
    mix = ",".join(f"{m.width}x{m.height}x{m.frames}:{m.weight:g}" for m in recipe.mix)
    command = (f"tenku world make --clips {recipe.clips} --seed {recipe.seed} --mix {mix} --fps {recipe.fps:g}"
               f" --split {recipe.split}{' --arrays' * recipe.arrays}{' --facts' * (not recipe.pictures)}")
    ledger.write(folder, ledger.Ledger("CC0-1.0", "tenku.world", __version__, command, _recipe_json(recipe), clips,
                                       recipe.clips, len(there) == count))  # fmt: skip


def progress_line(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int, int], None]:
    """A progress callback that keeps one line on stderr up to date, when it is a terminal."""
    began = clock()
    first: list[int] = []

    def show(done: int, count: int, frames: int) -> None:
        if not first:
            first.append(done)
        if not sys.stderr.isatty():
            return
        seconds = max(clock() - began, 1e-9)
        made = done - first[0]
        left = f"{(count - done) * seconds / made / 60:.1f} min left" if made else "..."
        end = "\n" if done == count else ""
        print(
            f"\r{done}/{count} shards  {frames / seconds:.0f} frames/s  {left}   ", end=end, file=sys.stderr, flush=True
        )

    return show
