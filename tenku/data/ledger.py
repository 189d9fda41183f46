"""The ledger of a folder of shards: who made them, from what, under which licence, and which models learnt from them.

`ledger.json` is what is true now. Whoever trains on a folder keeps the ledger as it was (`ledgers/<sha256>.json`),
writes that hash into the weights, and notes the weights in `models.jsonl`: so of a source that has to go it is known
which models it has touched, whenever that was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenku.errors import UserError

NAME = "ledger.json"
KEPT, MODELS = "ledgers", "models.jsonl"
# SPDX identifiers of licences under which anybody may use, change and share; what asks for more is named by the user.
OPEN = frozenset((
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-2.0 CC-BY-SA-2.5 "
    "CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CC-PDDC GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later ISC "
    "LGPL-2.1-or-later LGPL-3.0-or-later MIT MIT-0 ODC-By-1.0 PDDL-1.0 Unlicense"
).split())


@dataclass(frozen=True)
class Source:
    """A file that clips were made of."""

    file: str  # its name, below the folder that was given
    sha256: str  # of its bytes
    source: str  # where it comes from: an address, a package
    author: str
    license: str  # SPDX identifier or expression, or a URL
    fetched: str  # when it came here, ISO 8601
    consent: str  # what is known of the consent of those who are seen; "" for nothing
    clips: dict[str, str] = field(default_factory=dict)  # key -> SHA-256 of its pictures in the shard


@dataclass(frozen=True)
class Removed:
    """A source that had to go."""

    source: Source
    when: str  # ISO 8601
    why: str
    models: list[str]  # those known to have learnt from it


@dataclass(frozen=True)
class Ledger:
    """What is in the folder. `recipe` holds all that is needed to make it again."""

    license: str  # SPDX identifier, or expression of all of them
    producer: str
    version: str
    command: str
    recipe: dict[str, Any]
    clips: int  # in complete shards when the ledger was written
    planned: int  # clips when finished
    complete: bool
    sources: list[Source] = field(default_factory=list)  # of footage; worlds have none
    removed: list[Removed] = field(default_factory=list)


@dataclass(frozen=True)
class Touched:
    """Weights that learnt from a folder."""

    path: str  # where they were written
    sha256: str  # of that file, when it was last noted
    ledgers: tuple[str, ...]  # SHA-256 of each ledger that they learnt under


def write(folder: Path, ledger: Ledger) -> None:
    """Writes `ledger.json`, whole or not at all."""
    _replace(folder / NAME, json.dumps(asdict(ledger), indent=2, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a shard's: a killed run's is swept away (data/shards.py)
        file.write(text)
        file.flush()
        os.replace(temporary, path)


def read(folder: Path) -> Ledger:
    """Reads it back. Raises UserError when it is missing or not a ledger."""
    path = folder / NAME
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {NAME} in {folder}", "`tenku world make` and `tenku data ingest` write one") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a ledger: {error}") from None


def _parsed(text: str) -> Ledger:
    values = json.loads(text)
    sources = [Source(**one) for one in values.pop("sources", [])]
    removed = [Removed(**{**one, "source": Source(**one["source"])}) for one in values.pop("removed", [])]
    return Ledger(**values, sources=sources, removed=removed)


def is_open(license: str) -> bool:
    """Whether a licence is of OPEN; of an SPDX expression without brackets, whether one side of an OR is all open."""
    return any(all(part.strip() in OPEN for part in side.split(" AND ")) for side in license.split(" OR "))


def refused(license: str, named: Iterable[str]) -> str:
    """Why a source of this licence may not be used, "" if it may. named: licences that the user vouches for."""
    if not license.strip():
        return "no licence is given"
    if license in set(named) or is_open(license):
        return ""
    kind = "address" if re.match(r"https?://", license) else "licence"
    return f"the {kind} {license[:80]!r} is none of an open licence, and was not named"


def together(licenses: Iterable[str]) -> str:
    """One SPDX expression for all of several licences; "NONE" for no one's."""
    found = sorted(set(licenses))
    return " AND ".join(f"({one})" if " OR " in one and len(found) > 1 else one for one in found) or "NONE"


# -- which models learnt from it ------------------------------------------------------------------------------


def keep(folder: Path) -> str:
    """Keeps the ledger as it is now beside the shards, and returns its SHA-256. Raises UserError like `read`."""
    read(folder)
    text = (folder / NAME).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = folder / KEPT / f"{digest}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        _replace(path, text)
    return digest


def kept(folder: Path) -> dict[str, Ledger]:
    """All ledgers that somebody learnt under, by their SHA-256."""
    return {path.stem: _parsed(path.read_text(encoding="utf-8")) for path in sorted((folder / KEPT).glob("*.json"))}


def newest(folder: Path, digests: Iterable[str]) -> list[str]:
    """The digests, in order, without those of this folder whose every source a later one of them has as well."""
    known, digests = kept(folder), list(dict.fromkeys(digests))

    def holds(later: Ledger, earlier: Ledger) -> bool:
        files = [{one.sha256 for one in ledger.sources} for ledger in (later, earlier)]
        return files[1] <= files[0] and later.producer == earlier.producer

    return [digest for i, digest in enumerate(digests)
            if not any(digest in known and later in known and holds(known[later], known[digest])
                       for later in digests[i + 1 :])]


def note(folder: Path, model: Touched) -> None:
    """Notes that weights learnt from this folder."""
    with (folder / MODELS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(model)) + "\n")


def models(folder: Path) -> Iterator[Touched]:
    """The weights that learnt from this folder, each with every ledger that it ever learnt under."""
    found: dict[str, Touched] = {}
    path = folder / MODELS
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        values = json.loads(line)
        before = found.get(values["path"])
        ledgers = dict.fromkeys([*(before.ledgers if before else ()), *values["ledgers"]])
        found[values["path"]] = Touched(values["path"], values["sha256"], tuple(ledgers))
    yield from found.values()


def having(folder: Path, sha256: str) -> set[str]:
    """The ledgers of this folder that hold a source, of those that somebody learnt under."""
    return {digest for digest, ledger in kept(folder).items() if any(one.sha256 == sha256 for one in ledger.sources)}
