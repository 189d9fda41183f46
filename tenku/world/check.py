"""Verifies a folder of shards: the ledger, every clip's parts, and that facts and pictures agree in shape."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenku.data import ledger, shards
from tenku.errors import UserError
from tenku.world import captions
from tenku.world.grammar import Scene, held_out


def check_folder(folder: Path) -> dict[str, Any]:
    """Counts and problems in words. Raises UserError when there is no folder or no ledger, or no world's."""
    paths = shards.shard_paths(folder)
    book = ledger.read(folder)
    if book.producer != "tenku.world":
        raise UserError(f"{folder} holds no world but clips of {book.producer}", f"tenku data ledger {folder}")
    problems: list[str] = []
    if book.license != "CC0-1.0":
        problems.append(f"the ledger's licence is {book.license!r}")
    known, keys = set(captions.vocabulary()), set()
    for path in paths:
        if not _ends(path):
            problems.append(f"{path.name}: cut short")
        try:
            for key, facts, item in _clips(folder, path, pictures=book.recipe.get("pictures", True)):
                keys.add(key)
                wrongs = (_pictures_wrong(item) if item else []) + _facts_wrong(facts, known, book.recipe)
                problems += [f"{path.name} {key}: {wrong}" for wrong in wrongs]
        except (UserError, tarfile.TarError, OSError, ValueError, EOFError) as error:
            problems.append(f"{path.name}: {error}")
    if book.complete and len(keys) != book.planned:
        problems.append(f"the ledger promises {book.planned} clips, there are {len(keys)}")
    return {
        "folder": str(folder),
        "shards": len(paths),
        "clips": len(keys),
        "complete": book.complete,
        "problems": problems,
    }


def _ends(path: Path) -> bool:
    """Whether a tar file has its end: two blocks of zeros, in whole records."""
    data = path.read_bytes()
    return len(data) % tarfile.RECORDSIZE == 0 and data[-2 * tarfile.BLOCKSIZE :] == bytes(2 * tarfile.BLOCKSIZE)


def _clips(folder: Path, path: Path, *, pictures: bool) -> Iterator[tuple[str, dict[str, Any], shards.Item | None]]:
    if pictures:
        yield from ((i.key, i.facts, i) for i in shards.iter_clips(folder, arrays=True, shards=[path]))
    else:
        yield from ((key, facts, None) for key, facts in shards.iter_facts(folder, shards=[path]))


def _pictures_wrong(item: shards.Item) -> list[str]:
    facts, found = item.facts, []
    shape = (facts["frames"], facts["height"], facts["width"], 3)
    if item.clip.frames.shape != shape:
        found.append(f"frames are {item.clip.frames.shape}, facts say {shape}")
    for name, array in item.arrays.items():
        wanted = facts["frames"] - (name == "flow")
        if array.shape[:3] != (wanted, facts["height"], facts["width"]):
            found.append(f"{name} is {array.shape}")
    return found


def _facts_wrong(facts: dict[str, Any], known: set[str], recipe: dict[str, Any]) -> list[str]:
    found = []
    if len(facts["cameras"]) != facts["frames"] or any(len(t["poses"]) != facts["frames"] for t in facts["things"]):
        found.append("cameras or poses are not one per frame")
    scene = Scene.from_json(facts["scene"])
    if recipe.get("split") == "train" and held_out(scene):
        found.append(f"holds held-out {', '.join(held_out(scene))}")
    for register in captions.REGISTERS:
        strange = set(captions.words(facts["captions"][register])) - known
        if strange:
            found.append(f"caption words outside the vocabulary: {sorted(strange)}")
    return found
