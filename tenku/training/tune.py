"""Fine-tunes our model on a folder of clips: a subject that it does not know, a style, or footage.

What a newcomer's word means (`world/newcomers.py`) is learnt in two places: a row of the word table of the network of
motion, which says how high it stands and where one films it from, and the light field's networks of things and shadows,
which say what it looks like. Nothing else of the model changes. That what it knew stays as it was is rehearsed without
any data: the clips are also told that another subject stands there, and the untuned field says what would be seen then
(learning without forgetting, arXiv:1606.09282). Clips of a world that show nobody new teach a style, in all that the
light field draws. Of footage nothing is told, so there the transformer learns, from words alone.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tenku import rng
from tenku.data.latents import Latents, Motions, caption_batch, is_world
from tenku.data.shards import iter_facts
from tenku.engines.bundled import BUNDLED, Engine
from tenku.errors import UserError
from tenku.model.adapter import Adapter
from tenku.model.motion import rotation_of, turning
from tenku.model.text import BUCKET, Words
from tenku.model.transformer import Transformer
from tenku.training.adapting import Loss, fit, learnt, open_up
from tenku.training.lightfield import Shots, batch
from tenku.training.matching import DROPOUT, group_flops, group_loss
from tenku.training.origin import Origin
from tenku.training.run import Ema
from tenku.training.samples import PROMPTS, look
from tenku.world import captions, newcomers
from tenku.world.grammar import COLOURS, MEASURES, SIZES, SUBJECTS, actions
from tenku.world.motion import CAMERA, HEIGHT_SPREAD, THING, THINGS
from tenku.world.newcomers import Newcomer

# What learns, by the names of modules: of the light field what a subject looks like, or all of it; of the transformer
# its blocks.
A_THING = r"(thing|shade)\.(said\.[02]|enter|blocks\.\d+|leave)"
EVERYTHING = r"(thing|shade|scene|landmark)\.(said\.[02]|enter|blocks\.\d+|leave)"
BLOCKS = r"blocks\.\d+\.(qkv|out|gate_up|down)"
PIXELS = 128  # of each picture
KEPT = 3.0  # how much more an error about what was known counts
TILTED = 0.5  # radians: standard deviation of how far things are tilted where what was known is rehearsed
LOOKS = 4  # looks at a run while it goes


@dataclass(frozen=True)
class Tuning:
    """A run."""

    data: Path  # folder of shards
    out: Path  # folder of the run; `adapter.safetensors` appears there, or with rank 0 a whole model, `model`
    model: Path = BUNDLED / "nano"  # folder of the weights to begin with
    rank: int = 16  # of the matrices that learn; 0: all weights do
    steps: int = 1200  # of the light field, or of the transformer where it learns
    word_steps: int = 120  # of the new words in the network of motion
    pictures: int = 16  # of the clips a step
    rehearsed: int = 16  # of what was known a step
    rate: float = 5e-3  # peak learning rate
    word_rate: float = 5e-3
    tokens: int = 512  # of motion, or of latents, a step
    seed: int = 0
    samples: bool = True  # sealed sheets of clips are made as it goes

    def settings(self) -> dict[str, object]:
        """What must be equal for a run to be continued."""
        free = ("steps", "word_steps", "rate", "word_rate", "samples")
        return {name: value for name, value in asdict(self).items()
                if not isinstance(value, Path) and name not in free}


def tune(args: Tuning) -> Path:
    """Tunes, or goes on tuning. Returns the path of the adapter, or of the folder of a whole model.

    Raises UserError for a folder without clips, or with both worlds and footage, or a model that lacks a network.
    """
    engine = Engine(args.model, f"tenku-{args.model.name}")
    origin = Origin((args.data,))
    known, told = cast(args.data)
    if told and (engine.field is None or engine.motion is None):
        raise UserError(f"{args.model.name} has no light field or no network of motion", "it learns from footage alone")
    work = _Work(args, engine, known, origin)
    if not told:
        return work.paint()
    if known:
        work.tell()
    return work.draw()


def cast(folder: Path) -> tuple[tuple[Newcomer, ...], bool]:
    """Everybody new in a folder of shards, and whether it holds worlds.

    Raises UserError where there is no clip, or two newcomers of one name, or both worlds and footage.
    """
    found: dict[str, Newcomer] = {}
    worlds = set()
    for _, facts in iter_facts(folder):
        worlds.add(is_world(facts))
        for one in newcomers.of(facts):
            if found.setdefault(one.name, one) != one:
                raise UserError(f"{folder} holds two that are called {one.name}", "give each a name of its own")
    if len(worlds) != 1:
        raise UserError(f"{folder} holds {'worlds and footage' if worlds else 'no clip'}",
                        "one kind in a folder: tenku data ingest, or what docs/tuning.md renders")
    return tuple(found.values()), worlds.pop()


class _Work:
    """A run in the making: what is learnt so far."""

    def __init__(self, args: Tuning, engine: Engine, known: tuple[Newcomer, ...], origin: Origin) -> None:
        self.args, self.engine, self.known, self.origin = args, engine, known, origin
        self.words = Words((*engine.words.words, *(one.name for one in known)), engine.words.lexicon)
        self.tensors: dict[str, Tensor] = {}
        self.flops: dict[str, float] = {}
        for part, network in (("motion", engine.motion), ("transformer", engine.transformer)):
            if known and network is not None:
                self.tensors[f"{part}.new_words"] = first_rows(network, engine.words, [one.like for one in known])

    @property
    def new_words(self) -> tuple[str, ...]:
        """Words that the model lacks."""
        return self.words.words[len(self.engine.words.words):]

    @property
    def new(self) -> slice:
        """Rows of the word tables that are new."""
        return slice(len(self.engine.words.words) + 1, len(self.words.words) + 1)

    def _open(self, network: Transformer, part: str) -> None:
        """Lets the new rows of a network's word table learn, from where they begin; what the others mean stays."""
        with torch.no_grad():
            network.words.weight[self.new] = self.tensors[f"{part}.new_words"]
        weight = network.words.weight.requires_grad_(True)
        kept = torch.zeros(len(weight), 1)
        kept[self.new] = 1.0
        weight.register_hook(lambda gradient: gradient * kept)

    def _said(self, texts: Sequence[str], most: int, draw: np.random.Generator) -> Tensor:
        return caption_batch([[] if draw.random() < DROPOUT else self.words.encode(text, most)[0] for text in texts],
                             BUCKET)

    def tell(self) -> None:
        """Learns the new words of the network of motion."""
        args = self.args
        model, pool = copy.deepcopy(self.engine.motion), Motions((args.data,), self.engine.codec)
        assert model is not None
        self._open(model.requires_grad_(False), "motion")

        def loss(step: int) -> tuple[Tensor, float]:
            draw = rng.stream(args.seed, "new words", step)
            group = pool.draw(draw, args.tokens)
            rows = self._said(group.captions, model.config.max_words, draw)
            return group_loss(model, group, rows, draw), group_flops(model, group, rows.shape[1])

        def keep(step: int, average: Ema, flops: float) -> None:
            self.flops["motion"] = flops

        average = fit(args.out / "motion", model, loss, args.word_steps, args.word_rate, args.settings(), keep)
        self.tensors["motion.new_words"] = average.average["words.weight"][self.new].clone()

    def draw(self) -> Path:
        """Learns what it looks like."""
        args, field = self.args, self.engine.field
        assert field is not None
        network = open_up(copy.deepcopy(field), args.rank, args.rank, A_THING if self.known else EVERYTHING, args.seed)
        pool, near = Shots(args.data, args.seed), PIXELS * 7 // 8 if self.known else PIXELS // 2
        per_pixel = sum(p.numel() for name, p in field.named_parameters() if ".said." not in name)

        def loss(step: int) -> tuple[Tensor, float]:
            draw = rng.stream(args.seed, "tuning", step)
            told, colours = batch(pool.at(step), args.pictures, draw, 0.0, (PIXELS, near))
            value = (network(*told) - colours).square().mean()
            rays = colours[..., 0].numel()
            if self.known and args.rehearsed:
                told, colours = batch(pool.at(step), args.rehearsed, draw, 0.0, (PIXELS, near))
                told = (turned(told[0], draw), others(told[1], draw), *told[2:])
                with torch.no_grad():
                    colours = field(*told)
                value = value + KEPT * (network(*told) - colours).square().mean()
                rays += colours[..., 0].numel() * 4 // 3  # the untuned one only looks
            return value, 6.0 * per_pixel * rays

        return self._learnt("lightfield", network, loss)

    def paint(self) -> Path:
        """Learns footage: the transformer, from words alone, and rows for those of them that are new."""
        args, pool, known = self.args, Latents(self.args.data, self.engine.codec, None), self.engine.words
        self.words = known.with_words_of(pool.texts(), self.engine.transformer.config.vocabulary - 1 - len(known.words))
        network = copy.deepcopy(self.engine.transformer)
        open_up(network, args.rank, args.rank, BLOCKS, args.seed)  # in place
        self.tensors["transformer.new_words"] = first_rows(network, known, [""] * len(self.new_words))
        self._open(network, "transformer")

        def loss(step: int) -> tuple[Tensor, float]:
            draw = rng.stream(args.seed, "tuning", step)
            group = pool.draw(draw, args.tokens)
            rows = self._said(group.captions, self.engine.transformer.config.max_words, draw)
            return (group_loss(network, group, rows, draw),
                    group_flops(self.engine.transformer, group, rows.shape[1]))

        return self._learnt("transformer", network, loss)

    def _learnt(self, part: str, network: nn.Module, loss: Loss) -> Path:
        """Fits a part, published whenever it is saved; returns where the result lies."""
        def keep(step: int, average: Ema, flops: float) -> None:
            self.flops[part] = flops
            self.publish(step, part, average)

        args, settings = self.args, {**self.args.settings(), "words": self.new_words}
        fit(args.out / part, network, loss, args.steps, args.rate, settings, keep, LOOKS)
        return self.target()

    def target(self) -> Path:
        """Where the result lies. Raises UserError where a finished run's result is gone."""
        path = self.args.out / ("adapter.safetensors" if self.args.rank else "model")
        if not path.exists():
            raise UserError(f"{self.args.out} holds a run that is done, but no {path.name}", "give another --out")
        return path

    def publish(self, step: int, part: str, average: Ema) -> None:
        """Writes what is learnt so far, and makes a sheet of samples with it."""
        args = self.args
        if part == "transformer":
            self.tensors["transformer.new_words"] = average.average["words.weight"][self.new].clone()
        tensors = {**self.tensors, **learnt(part, average.average)}
        facts = {"steps": str(step), "flops": json.dumps(self.flops)}
        adapter = Adapter(tensors, max(1, args.rank), max(1, args.rank), self.engine.weights_sha256,
                          self.new_words, self.known, part == "transformer")
        if args.rank:
            path = self.args.out / "adapter.safetensors"
            self.origin.publish(path, adapter.save_as, facts)
            tuned = Engine(args.model, f"tenku-{args.model.name}", adapters=[(Adapter.load(path), 1.0)])
        else:
            tuned = Engine(args.model, f"tenku-{args.model.name}", adapters=[(adapter, 1.0)])
            average.copy_to(tuned.transformer if part == "transformer" else tuned.field)  # type: ignore[arg-type]
            self.origin.publish(args.out / "model" / "transformer.safetensors",
                                lambda path, said: tuned.save(path.parent, tuple(json.loads(said["ledgers"]))), facts)
        if args.samples:
            look(tuned, self._prompts(), args.out, f"{step:06d}")

    def _prompts(self) -> list[str]:
        """Who is new, in two places and colours, and something that was known."""
        found = [captions.prompt(one.name, colour, "large", action, place, light, "static")
                 for one in self.known for colour, action, place, light in (
                     ("brown", "rests", _home(one, "meadow"), "day"), ("blue", "spins", _home(one, "snow"), "sunset"))]
        return [*found, *PROMPTS[: 4 - min(2, len(found))]]


def _home(one: Newcomer, place: str) -> str:
    return place if actions(one.like, place) else "beach"


def first_rows(network: Transformer, words: Words, like: Sequence[str]) -> Tensor:
    """Rows of a word table that new words begin with: the means of what each is like, or of all words, W D."""
    table = network.words.weight.detach()
    every = list(range(1, len(words.words) + 1))
    rows = [table[words.encode(one, 8)[0] or every].mean(0) for one in like]
    return torch.stack(rows) if rows else table[:0].clone()


def turned(rows: Tensor, draw: np.random.Generator) -> Tensor:
    """Plain rows F STATE with each thing turned any way about its own middle: others do what the newcomer does not."""
    rows = rows.clone()
    things = rows[:, CAMERA:].unflatten(1, (THINGS, THING))
    yaw = torch.from_numpy(draw.uniform(-math.pi, math.pi, things.shape[:2])).float()
    tilt = torch.from_numpy(draw.normal(0, TILTED, (*things.shape[:2], 2))).float()
    by = torch.stack([tilt[..., 0], tilt[..., 1], yaw], -1)
    turn = turning(by) @ rotation_of(rows)
    things[..., 4:7], things[..., 7:10] = turn[..., 0], turn[..., 1]
    return rows


def others(looks: Tensor, draw: np.random.Generator) -> Tensor:
    """Looks F THINGS LOOKS with a subject of the grammar, a colour and a height in the place of each that is there."""
    found = torch.zeros_like(looks)
    for row, was in zip(found.flatten(0, 1), looks.flatten(0, 1), strict=True):
        if was.any():
            subject = int(draw.integers(len(SUBJECTS)))
            size = list(SIZES.values())[int(draw.integers(len(SIZES)))]
            row[subject] = row[len(SUBJECTS) + int(draw.integers(len(COLOURS)))] = 1.0
            row[-1] = math.log(MEASURES[SUBJECTS[subject]][0] * size) / HEIGHT_SPREAD
    return found
