"""Our own model: codec, transformer and, where there are, the network of motion and light field, from a folder.

Legend: N tokens of a grid, K known, C latent channels, F what a token is told of the motion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tenku.errors import UserError
from tenku.model.adapter import Adapter, header_of, known_to
from tenku.model.checkpoint import read_header, sha256
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.text import Words, padded
from tenku.model.transformer import Transformer
from tenku.sampling.solvers import Velocity
from tenku.world import mentions, scenery
from tenku.world.motion import looks, setting
from tenku.world.newcomers import Newcomer

BUNDLED = Path(__file__).parent.parent / "weights"  # weights/<name>/codec.safetensors, transformer.safetensors


class Engine:
    """A loaded model. `name` and `weights_sha256` say which, `ledgers` (SHA-256 of each) what it learnt from."""

    newcomers: tuple[Newcomer, ...] = ()  # subjects that it knows and the grammar does not

    def __init__(
        self, folder: Path, name: str, device: str = "cpu", adapters: Sequence[tuple[Adapter, float]] = (),
    ) -> None:
        """adapters: what it learnt afterwards, each with its strength. Raises UserError for those of another model."""
        transformer_path = folder / "transformer.safetensors"
        header = read_header(transformer_path)
        self.name = name
        self.device = torch.device(device)
        self.codec = Codec.load(folder / "codec.safetensors").to(self.device)
        self.transformer = Transformer.load(transformer_path).to(self.device)
        motion_path, field_path = folder / "motion.safetensors", folder / "lightfield.safetensors"
        self.motion = Transformer.load(motion_path).to(self.device) if motion_path.exists() else None
        self.field = LightField.load(field_path) if field_path.exists() else None
        try:
            self.words = Words(tuple(json.loads(header["words"])), json.loads(header["lexicon"]))
            self.longest = int(header["longest"])  # latent steps that the model was trained for
            self.newcomers = known_to(header)
        except (KeyError, ValueError):
            raise UserError(f"{transformer_path.name} lacks its word table", "train it with this version") from None
        if self.codec.config.channels != self.transformer.config.channels:
            raise UserError(f"codec and transformer in {folder.name} do not belong together",
                            "put the codec that the transformer was trained on beside it")
        paths = (folder / "codec.safetensors", transformer_path, motion_path, field_path)
        parts = [sha256(path) for path in paths if path.exists()]
        self.ledgers = tuple(dict.fromkeys(d for path in paths if path.exists()
                                           for d in json.loads(read_header(path).get("ledgers", "[]"))))
        self.weights_sha256 = hashlib.sha256("".join(parts).encode()).hexdigest()
        base = self.weights_sha256
        for adapter, strength in adapters:
            if adapter.base != base:
                raise UserError(f"the adapter was learnt upon other weights than {name}'s ({adapter.base[:12]})",
                                "give --model the model that it was learnt upon, or tune again")
            self._learn(adapter, strength)

    def _learn(self, adapter: Adapter, strength: float) -> None:
        """Lays an adapter over the weights, and takes its words and newcomers in. A word that is known stays."""
        twice = {one.name for one in adapter.newcomers} & {one.name for one in self.newcomers}
        if twice:
            raise UserError(f"{', '.join(twice)} is known already", "give each new subject once")
        new = [word for word in adapter.words if word not in self.words.words]
        rows = {word: row for row, word in enumerate(new, len(self.words.words) + 1)}
        if adapter.untold:
            self.motion = self.field = None
        for part, network in (("lightfield", self.field), ("motion", self.motion), ("transformer", self.transformer)):
            if network is None:
                continue
            adapter.lay(part, network, strength)
            if isinstance(network, Transformer):
                adapter.teach(part, network.words, rows)
        self.words = Words((*self.words.words, *new), self.words.lexicon)
        self.newcomers += adapter.newcomers
        self.ledgers = tuple(dict.fromkeys((*self.ledgers, *adapter.ledgers)))
        said = f"{self.weights_sha256} {adapter.sha256} {strength!r}"
        self.weights_sha256 = hashlib.sha256(said.encode()).hexdigest()

    def save(self, out: Path, learnt: Sequence[str] = ()) -> Path:
        """Writes all weights as they are now, whatever was laid over them, as a folder that `--model` takes.

        learnt: SHA-256 of ledgers that they learnt under beside those that are known.
        """
        ledgers = {"ledgers": json.dumps(list(dict.fromkeys((*self.ledgers, *learnt))))}
        words = {"words": json.dumps(self.words.words), "lexicon": json.dumps(dict(self.words.lexicon)),
                 "longest": str(self.longest), **header_of(self.newcomers), **ledgers}
        self.codec.save(out / "codec.safetensors", ledgers)
        self.transformer.save(out / "transformer.safetensors", words)
        if self.motion is not None:
            self.motion.save(out / "motion.safetensors", words)
        if self.field is not None:
            self.field.save(out / "lightfield.safetensors", ledgers)
        return out

    def dreamer(self, model: Transformer, scale: Tensor) -> Dreamer:
        """A reader of prompts for one of the two networks, on a grid of that scale."""
        return Dreamer(self, model, scale.to(self.device))

    def told(self, texts: Sequence[str], seed: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Looks 1 THINGS LOOKS, setting 1 SETTING, scenery 1 LANDMARKS LANDMARK, each as the first text that says it.

        What no text says is drawn from the seed; without one, where pictures show it, it stays unsaid.
        """
        said = mentions.told(texts, seed, self.newcomers)
        things = ((thing.subject, thing.colour, thing.height) for thing in said.things)
        around = scenery.told(said.place, seed, swing=said.swing and seed is not None)
        codes = {one.name: one.code() for one in self.newcomers}
        told = looks(things, codes), setting(said.place, said.light), around
        first, second, third = (torch.from_numpy(numbers)[None] for numbers in told)
        return first, second, third

    def notes(self, prompt: str) -> tuple[str, ...]:
        """What of a prompt is read otherwise than written, or not at all."""
        return self.words.encode(prompt, self.transformer.config.max_words)[1]


class Dreamer:
    """One of an engine's networks at work on one grid: prompts and what is known to velocities."""

    def __init__(self, engine: Engine, model: Transformer, scale: Tensor) -> None:
        self.engine, self.model, self.scale = engine, model, scale

    def velocity(
        self, prompts: Sequence[str], known: Tensor, positions: Tensor, told: Tensor | None = None
    ) -> Velocity:
        """dx/dsigma of canvas tokens 1 N C under each of P prompts, P N C, and known tokens 1 K C, which come first.

        positions (K + N) 3 and what the tokens are told of the motion, P (K + N) F, are of both.
        """
        rows = [self.engine.words.encode(prompt, self.model.config.max_words)[0] for prompt in prompts]
        words, split = torch.tensor(padded(rows), device=self.engine.device), known.shape[1]
        if told is None and self.model.config.motion:  # no network of motion is there: nothing is said
            numbers = self.model.config.motion + self.model.config.channels
            told = torch.zeros(1, len(positions), numbers, device=self.engine.device)
        seen = None if told is None else self.model.see(told)
        before, canvas = (None, None) if seen is None else (seen[:split], seen[split:])
        context = self.model.context(words, known.expand(len(rows), -1, -1), positions[:split], self.scale, before)

        def velocity(x: Tensor, sigma: float) -> Tensor:
            level = torch.full((1, 1), sigma, device=self.engine.device)
            each = x.expand(len(rows), -1, -1)
            return self.model.velocity(each, level, positions[split:], context, self.scale, canvas)

        return velocity


@lru_cache(maxsize=1)
def load(model: str, device: str = "cpu", adapters: tuple[tuple[Path, float], ...] = ()) -> Engine:
    """The bundled model of that name, or the one in that folder. Raises UserError if there is none.

    adapters: files of what it learnt afterwards, each with its strength.
    """
    folder = folder_of(model)
    learnt = [(Adapter.load(path), strength) for path, strength in adapters]
    return Engine(folder, f"tenku-{folder.name}", device, learnt)


def folder_of(model: str) -> Path:
    """The folder of the bundled model of that name, or that folder. Raises UserError if there is none."""
    for folder in (BUNDLED / model, Path(model)):
        if folder.is_dir() and (folder == Path(model) or "/" not in model):
            return folder
    names = ", ".join(sorted(p.name for p in BUNDLED.iterdir())) if BUNDLED.is_dir() else "none"
    raise UserError(f"no such model: {model[:80]!r}",
                    f"bundled: {names}; an open one of docs/engines.md; or a folder of weights")
