"""What was sealed here: a small database that leads from pictures back to their manifest.

Metadata is lost on most uploads. The invisible mark's payload, or the fingerprint, finds the clip's entry
again: its request, its signed manifest and what it looked like. One SQLite file in the installation's home,
readable by its owner only; it holds fingerprints, no pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenku.errors import UserError
from tenku.provenance import identity
from tenku.provenance.code import CLIP_DIGITS
from tenku.provenance.fingerprint import Fingerprint

FILE = "provenance.sqlite"
MIGRATIONS = (  # each is applied once, in order; PRAGMA user_version counts them
    """CREATE TABLE clip (
        number INTEGER PRIMARY KEY,
        mark TEXT NOT NULL UNIQUE,      -- the first 13 hex digits of the clip's id: what the invisible mark carries
        clip TEXT NOT NULL,             -- the whole id
        sealed REAL NOT NULL,           -- seconds since 1970
        payload TEXT NOT NULL,          -- of the invisible mark in hex, '' when it could not be read back
        across REAL, down REAL,         -- shift of the mark's tile, in samples
        record TEXT NOT NULL,           -- JSON: model, weights, request
        manifest BLOB NOT NULL,         -- signed C2PA manifest, as a sidecar holds it
        sketches BLOB NOT NULL          -- fingerprint
    );
    CREATE TABLE word (                 -- the fingerprints' words, for finding candidates
        word INTEGER NOT NULL,          -- position of the word * 65536 + the word
        number INTEGER NOT NULL,
        PRIMARY KEY (word, number)
    ) WITHOUT ROWID;
    CREATE INDEX word_of ON word (number);""",
)
_CANDIDATES = 12  # entries whose sketches are compared
_COMMON = 600  # entries that share a word beyond which it says nothing: flat skies, black frames


@dataclass(frozen=True)
class Entry:
    """One sealed clip."""

    clip_id: str  # 16 hex digits
    sealed: float  # seconds since 1970
    payload: str  # hex, "" when the file did not carry it
    shift: tuple[float, float]
    record: Mapping[str, Any]  # as it was sealed
    manifest: bytes  # signed C2PA manifest
    look: bytes  # the sketches of its fingerprint


def path() -> Path:
    """Where the store lies. It need not exist."""
    return identity.home() / FILE


def keep(entry: Entry, words: npt.NDArray[np.uint16]) -> None:
    """Adds an entry, or replaces that of the same clip. words: [K, 12] of its fingerprint.

    Raises UserError when the store cannot be written.
    """
    keep_all([(entry, words)])


def keep_all(entries: Iterable[tuple[Entry, npt.NDArray[np.uint16]]]) -> None:
    """`keep` for many: all of them or none."""
    path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _open(path(), write=True) as base, base:
        for entry, words in entries:
            _keep(base, entry, words)


def _keep(base: sqlite3.Connection, entry: Entry, words: npt.NDArray[np.uint16]) -> None:
    mark = entry.clip_id[:CLIP_DIGITS]
    old = base.execute("SELECT number FROM clip WHERE mark = ?", (mark,)).fetchone()
    if old:
        base.execute("DELETE FROM word WHERE number = ?", old)
        base.execute("DELETE FROM clip WHERE number = ?", old)
    number = base.execute(
        "INSERT INTO clip (mark, clip, sealed, payload, across, down, record, manifest, sketches)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (mark, entry.clip_id, entry.sealed, entry.payload, *entry.shift,
         json.dumps({name: value for name, value in entry.record.items() if name != "shown"}, sort_keys=True),
         entry.manifest,
         entry.look)).lastrowid
    base.executemany("INSERT OR IGNORE INTO word VALUES (?, ?)", [(w, number) for w in _index(words)])


def entry_of(clip_id: str, payload: str, shift: tuple[float, float], record: Mapping[str, Any], manifest: bytes,
             look: Fingerprint) -> Entry:
    """An entry of now."""
    return Entry(clip_id, time.time(), payload, shift, record, manifest, look.to_bytes())


def count() -> int:
    """How many clips it knows."""
    if not path().exists():
        return 0
    with _open(path()) as base:
        return int(base.execute("SELECT count(*) FROM clip").fetchone()[0])


def by_mark(digits: str) -> Entry | None:
    """The clip whose id begins with the 13 hex digits that an invisible mark carries."""
    if not path().exists():
        return None
    with _open(path()) as base:
        row = base.execute(f"SELECT {_COLUMNS} FROM clip WHERE mark = ?", (digits,)).fetchone()
        return _entry(row) if row else None


def by_look(words: npt.NDArray[np.uint16]) -> list[Entry]:
    """The clips that share most words with a fingerprint [K, 12], likeliest first; at most a dozen."""
    if not path().exists():
        return []
    votes: dict[int, float] = defaultdict(float)
    with _open(path()) as base:
        for word in _index(words):
            found = base.execute("SELECT number FROM word WHERE word = ? LIMIT ?", (word, _COMMON)).fetchall()
            if len(found) < _COMMON:
                for (number,) in found:
                    votes[number] += 1 + 1 / len(found)
        entries = []
        for number in sorted(votes, key=lambda n: (-votes[n], n))[:_CANDIDATES]:
            entries.append(_entry(base.execute(f"SELECT {_COLUMNS} FROM clip WHERE number = ?", (number,)).fetchone()))
        return entries


_COLUMNS = "clip, sealed, payload, across, down, record, manifest, sketches"


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[0], row[1], row[2], (row[3], row[4]), json.loads(row[5]), row[6], row[7])


def _index(words: npt.NDArray[np.uint16]) -> list[int]:
    """Each word with its position, once."""
    return np.unique(words.astype(np.int64) + (np.arange(words.shape[1]) << 16)).tolist()


@contextlib.contextmanager
def _open(where: Path, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The database, its tables made at first use."""
    try:
        if write and not where.exists():
            os.close(os.open(where, os.O_CREAT | os.O_WRONLY, 0o600))  # before SQLite makes it for everybody
        base = sqlite3.connect(where if write else f"{where.absolute().as_uri()}?mode=ro", timeout=20, uri=not write)
        try:
            if write:
                _migrate(base)
            yield base
        finally:
            base.close()
    except sqlite3.Error as error:
        raise UserError(f"the provenance store {where} cannot be used: {error}",
                        "move it away to start anew, or set TENKU_HOME") from None


def _migrate(base: sqlite3.Connection) -> None:
    if base.execute("PRAGMA user_version").fetchone()[0] >= len(MIGRATIONS):
        return
    base.execute("BEGIN IMMEDIATE")  # two processes may be the first
    done = base.execute("PRAGMA user_version").fetchone()[0]
    for number, statements in enumerate(MIGRATIONS[done:], done + 1):
        for statement in statements.split(";\n"):
            base.execute(statement)
        base.execute(f"PRAGMA user_version = {number}")
    base.commit()
