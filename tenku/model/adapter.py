"""Adapters: what a network learnt afterwards, in a file of its own that is laid over its weights (LoRA).

A matrix W of n rows and m columns becomes W + strength * alpha / rank * B A, with A of `rank` rows and B of as many
columns (arXiv:2106.09685). New words are rows of the word table (arXiv:2208.01618). Names of tensors are
"<part>.<module>.lora_A.weight" and "<part>.<module>.lora_B.weight", as `peft` has them, and "<part>.new_words"; a part
is a file of the model's folder: lightfield, motion, transformer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors, sha256, write_tensors
from tenku.world.newcomers import Newcomer

KIND = "Adapter"
PARTS = ("lightfield", "motion", "transformer")


@dataclass(frozen=True)
class Adapter:
    """What was learnt, for which weights, from what."""

    tensors: Mapping[str, Tensor]
    rank: int
    alpha: float
    base: str  # 64 hex digits: the model's weights that it was learnt upon (`Engine.weights_sha256`)
    words: tuple[str, ...] = ()  # new ones, of which `new_words` holds rows
    newcomers: tuple[Newcomer, ...] = ()  # whom it knows, each by one of the words
    untold: bool = False  # it was learnt from footage, of whose motion nothing is told: words alone lead
    ledgers: tuple[str, ...] = ()  # SHA-256 of each ledger of data that it learnt under
    facts: Mapping[str, str] = field(default_factory=dict)  # steps, FLOPs
    sha256: str = ""  # of its file

    def save(self, path: Path) -> None:
        """Writes safetensors with all that is not tensors in the header."""
        config = {"rank": self.rank, "alpha": self.alpha, "base": self.base, "untold": self.untold,
                  "words": self.words, "newcomers": [asdict(one) for one in self.newcomers]}
        header = {"kind": KIND, "config": json.dumps(config), "ledgers": json.dumps(self.ledgers), **self.facts}
        write_tensors(path, dict(self.tensors), header)

    def save_as(self, path: Path, said: Mapping[str, str]) -> None:
        """The same with other ledgers and facts, as training says them."""
        facts = {name: value for name, value in said.items() if name != "ledgers"}
        replace(self, ledgers=tuple(json.loads(said["ledgers"])), facts=facts).save(path)

    @classmethod
    def load(cls, path: Path) -> Adapter:
        """Reads what `save` wrote. Raises UserError for a missing, foreign or corrupt file."""
        tensors, header = read_tensors(path)
        try:
            if header["kind"] != KIND:
                raise ValueError(header["kind"])
            config = json.loads(header["config"])
            known = tuple(Newcomer.from_json(one) for one in config["newcomers"])
            ledgers = tuple(str(one) for one in json.loads(header["ledgers"]))
            facts = {name: value for name, value in header.items() if name not in ("kind", "config", "ledgers")}
            return cls(tensors, int(config["rank"]), float(config["alpha"]), str(config["base"]),
                       tuple(map(str, config["words"])), known, bool(config["untold"]), ledgers, facts, sha256(path))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path.name} is no adapter of ours", "give one that `tenku tune lora` wrote") from None

    def lay(self, part: str, network: nn.Module, strength: float = 1.0) -> None:
        """Adds to a part's weights, in place. Raises UserError where they are of another shape."""
        weights = dict(network.named_parameters())
        for name, a in self.tensors.items():
            if not name.startswith(f"{part}.") or not name.endswith(".lora_A.weight"):
                continue
            module = name.removeprefix(f"{part}.").removesuffix(".lora_A.weight")
            b = self.tensors[name.replace(".lora_A.", ".lora_B.")]
            weight = weights.get(f"{module}.weight")
            if weight is None or weight.shape != (b.shape[0], a.shape[1]):
                raise UserError(f"the adapter was learnt upon another network: it has no {part} {module} of that size",
                                "give --model the model that it was learnt upon")
            with torch.no_grad():
                weight.add_((b.float() @ a.float()).to(weight), alpha=strength * self.alpha / self.rank)

    def teach(self, part: str, table: nn.Embedding, rows: Mapping[str, int]) -> None:
        """Writes new words of a part into these rows of its word table. Raises UserError if it is full."""
        learnt = self.tensors.get(f"{part}.new_words")
        if learnt is None:
            return
        if max(rows.values(), default=0) >= table.num_embeddings or learnt.shape != (len(self.words),
                                                                                     table.embedding_dim):
            raise UserError(f"the word table of {part} has no room for {len(rows)} more",
                            "give fewer adapters with new words, or the model that they were learnt upon")
        with torch.no_grad():
            for word, row in rows.items():
                table.weight[row] = learnt[self.words.index(word)].to(table.weight)


def header_of(known: tuple[Newcomer, ...]) -> dict[str, Any]:
    """How the header of merged weights says whom they know."""
    return {"newcomers": json.dumps([one.to_json() for one in known])} if known else {}


def known_to(header: Mapping[str, str]) -> tuple[Newcomer, ...]:
    """Whom weights know, from their header; nobody where it says nothing."""
    return tuple(Newcomer.from_json(one) for one in json.loads(header.get("newcomers", "[]")))
