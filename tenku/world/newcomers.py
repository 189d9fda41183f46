"""Newcomers: subjects that the grammar does not know, rendered in the place of one that it does.

A newcomer stands in for a subject of the grammar, whose actions and places it takes over. Facts say its own name, and
in "newcomers" whom it stood in for, so that whoever reads the numbers of its looks needs no other file.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenku import __version__
from tenku.data import ledger
from tenku.data.pool import quiet
from tenku.data.shards import ShardWriter, sweep
from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world.grammar import COLOURS, MEASURES, SUBJECTS, Scene

SHARD = 16  # clips
APART = ("butterfly", "fish", "rocket")  # subjects with wings, tails and flames that reach out of their measures
LENGTH = 1.0  # of a code: that of a subject of the grammar


@dataclass(frozen=True)
class Newcomer:
    """A subject as far as the world must know it."""

    name: str  # one word of small letters that is no subject
    like: str  # of SUBJECTS: in whose place it comes, where and as it moves
    measures: tuple[float, float, float]  # metres at unit size: height, length along its front axis, width

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and 2 <= len(self.name) <= 30 and self.name.isalpha()
                and self.name.isascii() and self.name.islower()) or self.name in SUBJECTS:
            raise UserError(f"a newcomer cannot be called {str(self.name)[:40]!r}", "one new word of small letters")
        if self.like not in SUBJECTS:
            raise UserError(f"a newcomer cannot be like {str(self.like)[:40]!r}", f"one of {', '.join(SUBJECTS)}")
        if len(self.measures) != 3 or not all(0.05 <= side <= 5 for side in self.measures):
            raise UserError(f"the measures of {self.name} cannot be {self.measures}",
                            "height, length and width in metres, 0.05 to 5")
        object.__setattr__(self, "measures", tuple(float(side) for side in self.measures))

    def code(self) -> np.ndarray:
        """The numbers of its looks in the place of a subject's 1 among zeros: float32 [len(SUBJECTS)].

        A mixture of subjects that has its measures, as far from all of them as they are from each other: what
        networks were never told, and so are free to learn. It follows from the name and the measures alone.
        """
        usual = [i for i, subject in enumerate(SUBJECTS) if subject not in APART]
        sides = np.array([[1.0, MEASURES[SUBJECTS[i]][1] / MEASURES[SUBJECTS[i]][0],
                           MEASURES[SUBJECTS[i]][2] / MEASURES[SUBJECTS[i]][0]] for i in usual]).T
        high, long, wide = self.measures
        back = np.linalg.pinv(sides)
        least = back @ [1.0, long / high, wide / high]
        free = stream(0, "newcomer", self.name).standard_normal(len(usual))
        free -= back @ (sides @ free)
        free *= max(0.0, LENGTH**2 - least @ least) ** 0.5 / np.linalg.norm(free)
        code = np.zeros(len(SUBJECTS), np.float32)
        code[usual] = least + free
        return code

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "measures": list(self.measures)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Newcomer:
        """The inverse of `to_json`. Raises UserError for what is none."""
        try:
            return cls(values["name"], values["like"], tuple(values["measures"]))
        except (KeyError, TypeError, ValueError):
            raise UserError("that is no newcomer", "name, like and measures") from None


def of(facts: Mapping[str, Any]) -> tuple[Newcomer, ...]:
    """The newcomers of a clip, from its facts."""
    return tuple(Newcomer.from_json(one) for one in facts.get("newcomers", ()))


def scene(newcomer: Newcomer, seed: int, split: str = "any") -> Scene:
    """A scene of a seed with the newcomer's stand-in alone: place, light, camera, colour and action all over."""
    draw = stream(seed, "newcomer scene")
    drawn = grammar.draw(seed, split)
    place = drawn.place if grammar.actions(newcomer.like, drawn.place) else ""
    homes = [home for home in grammar.PLACES if grammar.actions(newcomer.like, home)]
    place = place or homes[int(draw.integers(len(homes)))]
    can = [one for one in grammar.actions(newcomer.like, place) if one != "is hit"]  # alone, nobody hits it
    main = {"subject": newcomer.like, "action": can[int(draw.integers(len(can)))],
            "colour": list(COLOURS)[int(draw.integers(len(COLOURS)))], "size": drawn.things[0].size}
    still = replace(drawn, camera="static", things=drawn.things[:1], relations=())
    made = grammar.variant(still, place=place, **main)
    cameras = grammar.cameras(main["action"])
    return replace(made, camera=drawn.camera if drawn.camera in cameras else "static")


@contextlib.contextmanager
def standing_in(newcomer: Newcomer, build: Callable[..., None]) -> Iterator[None]:
    """While it lasts, the world builds the newcomer wherever a scene has its stand-in. build: as in subjects.py."""
    from tenku.world.subjects import SPECS, Spec

    known = SPECS[newcomer.like]
    SPECS[newcomer.like] = Spec(build, *newcomer.measures, face=known.face)
    try:
        yield
    finally:
        SPECS[newcomer.like] = known


def render(newcomer: Newcomer, build: Callable[..., None], of: Scene, shape: Any) -> Any:
    """Films a scene of the stand-in with the newcomer in its place: a Take whose facts say its name."""
    from tenku.world import simulate

    with standing_in(newcomer, build):
        take = simulate.render(of, shape)
    for thing in take.facts["things"]:
        if thing["subject"] == newcomer.like:
            thing["subject"] = newcomer.name
    take.facts["newcomers"] = [newcomer.to_json()]
    return take


@dataclass(frozen=True)
class Recipe:
    """All that decides the bytes of a folder of a newcomer's clips, but for how it looks."""

    newcomer: Newcomer
    build: Callable[..., None]  # of a module's level, that other processes can import
    seed: int
    clips: int
    size: tuple[int, int, int] = (128, 80, 33)  # width, height, frames
    fps: float = 16.0


def make_shard(recipe: Recipe, number: int, path: Path) -> int:
    """Renders shard `number` into `path`. Returns its clips."""
    from tenku.world.simulate import Format

    numbers = range(number * SHARD, min((number + 1) * SHARD, recipe.clips))
    with ShardWriter(path) as shard:
        for index in numbers:
            drawn = scene(recipe.newcomer, int(stream(recipe.seed, "newcomer", index).integers(2**48)))
            take = render(recipe.newcomer, recipe.build, drawn, Format(*recipe.size, recipe.fps))
            said = {r: captions.caption(take.facts, r, stream(recipe.seed, "caption", r, index))
                    for r in captions.REGISTERS}
            shard.add(f"{index:08d}", take.clip, {**take.facts, "captions": said})
    return len(numbers)


def make(recipe: Recipe, folder: Path, workers: int = 2, licence: str = "CC0-1.0",
         progress: Callable[[int, int], None] | None = None) -> Path:
    """Renders what is missing of a recipe into a folder of shards with a ledger. `progress(shards, all)`.

    Raises UserError where the folder holds another recipe's clips, or EGL is missing.
    """
    if recipe.clips < 1 or workers < 1:
        raise UserError("there must be at least one clip and one worker")
    folder.mkdir(parents=True, exist_ok=True)
    said = {"newcomer": recipe.newcomer.to_json(), "seed": recipe.seed, "clips": recipe.clips,
            "size": list(recipe.size), "fps": recipe.fps, "build": recipe.build.__name__}
    if (folder / ledger.NAME).exists() and ledger.read(folder).recipe != said:
        raise UserError(f"{folder} was begun with another recipe", "choose another folder")
    sweep(folder)
    count = -(-recipe.clips // SHARD)
    paths = [folder / f"{number:06d}.tar" for number in range(count)]
    todo = [number for number in range(count) if not paths[number].exists()]
    command = f"tenku.world.newcomers.make, {recipe.newcomer.name}"

    def write(there: Sequence[Path]) -> None:
        clips = recipe.clips if len(there) == count else SHARD * len(there)
        ledger.write(folder, ledger.Ledger(licence, "tenku.world", __version__, command, said, clips, recipe.clips,
                                           len(there) == count))

    write([path for path in paths if path.exists()])
    context = multiprocessing.get_context("spawn")  # OpenGL and fork do not mix
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as pool:
        jobs = [pool.submit(make_shard, recipe, number, paths[number]) for number in todo]
        for done, job in enumerate(concurrent.futures.as_completed(jobs), count - len(todo) + 1):
            job.result()
            if progress:
                progress(done, count)
    write(paths)
    return folder


def _quiet() -> None:
    import os

    quiet()
    os.environ["MUJOCO_GL"] = "egl"
    os.environ.setdefault("LP_NUM_THREADS", "0")
