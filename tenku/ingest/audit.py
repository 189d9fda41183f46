"""The ledger held against what is there; and a source taken out, with the models that it touched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenku.data import ledger
from tenku.data.ledger import Ledger, Removed, Source, Touched
from tenku.data.shards import ShardWriter, iter_parts, keys, shard_paths
from tenku.errors import UserError
from tenku.ingest.make import LOOKED_AT
from tenku.ingest.prepare import stem
from tenku.ingest.sources import hashed


@dataclass(frozen=True)
class Finding:
    """What an audit found."""

    book: Ledger
    problems: tuple[str, ...]
    models: tuple[Touched, ...]  # that learnt from the folder

    def to_json(self) -> dict[str, Any]:
        """As `tenku data ledger --json` prints it."""
        return {"license": self.book.license, "producer": self.book.producer, "clips": self.book.clips,
                "complete": self.book.complete, "sources": [vars(one) for one in self.book.sources],
                "removed": [{**vars(one), "source": vars(one.source)} for one in self.book.removed],
                "models": [vars(one) for one in self.models], "problems": list(self.problems)}


def audit(folder: Path) -> Finding:
    """Whether every clip has a source that may be used, and is what it was. Raises UserError without a ledger."""
    book = ledger.read(folder)
    problems = []
    if not book.sources and book.producer != "tenku.ingest":  # a world's: its clips are of nobody else
        there = sum(len(keys(path)) for path in shard_paths(folder))
        if there != book.clips:
            problems.append(f"the ledger says {book.clips} clips, there are {there}")
    else:
        problems += _of_footage(folder, book)
    problems += [f"{one.path}: its weights are not those that were noted" for one in ledger.models(folder)
                 if Path(one.path).exists() and hashed(Path(one.path)) != one.sha256]
    return Finding(book, tuple(problems), tuple(ledger.models(folder)))


def _of_footage(folder: Path, book: Ledger) -> Iterator[str]:
    said = {key: (one, digest) for one in book.sources for key, digest in one.clips.items()}
    for one in book.sources:
        if why := ledger.refused(one.license, book.recipe.get("named", ())):
            yield f"{one.file}: {why}"
    there = set()
    for path in shard_paths(folder):
        for key, parts in iter_parts(path):
            there.add(key)
            if key not in said:
                yield f"{path.name}: clip {key} is of no source of the ledger"
            elif hashlib.sha256(parts["mp4"]).hexdigest() != said[key][1]:
                yield f"{path.name}: clip {key} of {said[key][0].file} is not what it was"
    for key in sorted(set(said) - there):
        yield f"clip {key} of {said[key][0].file} is in no shard"
    if book.license != ledger.together(one.license for one in book.sources):
        yield f"the ledger's licence is {book.license!r}, which is not that of its sources"


def remove(folder: Path, name: str, why: str, elsewhere: Sequence[Path] = ()) -> Removed:
    """Takes a source out of a folder: its clips, what was encoded of them, its place in the ledger.

    name: its file, the place it came from, or the beginning of its SHA-256. elsewhere: files or folders of weights that
    are asked, too, whether they learnt under a ledger that holds it. The same call again goes on where one was killed.
    Raises UserError where there is none or more than one.
    """
    book = ledger.read(folder)
    source, done = _named(book, name)
    touched = _touched(folder, source.sha256, elsewhere)
    if done:
        removed = replace(done, models=sorted({*done.models, *touched}))
    else:
        when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        removed = Removed(source, when, why, touched)
    rest = [one for one in book.sources if one.sha256 != source.sha256]
    others = [one for one in book.removed if one.source.sha256 != source.sha256]
    left = sum(len(one.clips) for one in rest)
    # First the ledger: from now on its clips are nobody's, which an audit finds if what follows is interrupted.
    ledger.write(folder, replace(book, sources=rest, removed=[*others, removed], clips=left, planned=left,
                                 license=ledger.together(one.license for one in rest)))
    for path in shard_paths(folder):
        if set(keys(path)) & set(source.clips):
            _without(path, set(source.clips))
            for latents in folder.glob(f"latents-*/{path.stem}.safetensors"):
                latents.unlink()
    for ending in (".json", ".tar"):
        stem(folder / LOOKED_AT, source.sha256).with_suffix(ending).unlink(missing_ok=True)
    return removed


def _named(book: Ledger, name: str) -> tuple[Source, Removed | None]:
    """The source of that name, and if it was removed before, how."""
    every = [*((one, None) for one in book.sources), *((one.source, one) for one in book.removed)]
    found = [(one, gone) for one, gone in every if name in (one.file, one.source)
             or (re.fullmatch(r"[0-9a-f]{8,64}", name) and one.sha256.startswith(name))]
    if len(found) != 1:
        hint = "; ".join(f"{one.file} {one.sha256[:16]}" for one, _ in (found or every)[:5])
        raise UserError(f"{len(found) or 'no'} sources are called {name[:80]!r}", f"its file or its hash: {hint}")
    return found[0]


def _without(path: Path, gone: set[str]) -> None:
    """A shard without some clips; one that would be empty goes."""
    with ShardWriter(path) as shard:
        count = 0
        for key, parts in iter_parts(path):
            if key not in gone:
                shard.put(key, parts["mp4"], json.loads(parts["json"]))
                count += 1
    if not count:
        path.unlink()


def _touched(folder: Path, digest: str, elsewhere: Sequence[Path]) -> list[str]:
    """The models that learnt from a source: those noted here, and those elsewhere whose header names such a ledger."""
    from tenku.model.checkpoint import read_header

    ledgers = ledger.having(folder, digest)
    found = {one.path for one in ledger.models(folder) if ledgers & set(one.ledgers)}
    for place in elsewhere:
        for path in sorted(place.rglob("*.safetensors")) if place.is_dir() else [place]:
            said = read_header(path).get("ledgers", "")
            if any(one in said for one in ledgers):
                found.add(str(path.resolve()))
    return sorted(found)
