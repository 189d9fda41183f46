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
from tenku.provenance.fingerprint import Fingerprint, Thumb, apart, thumb_of

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
    """CREATE TABLE thumb (                -- what a clip looks like from afar
        number INTEGER PRIMARY KEY,
        red INTEGER NOT NULL,           -- mean levels
        green INTEGER NOT NULL,
        blue INTEGER NOT NULL,
        cells BLOB NOT NULL             -- 8 x 8 x 3
    );
    CREATE INDEX thumb_of ON thumb (green, red, blue);""",
)
_CANDIDATES = 12  # entries whose sketches are compared
_SHADE = 8  # levels that the mean of a compressed copy, or of one frame, may be off
_NEAREST = 4  # entries of like thumbs that are given
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
    thumb: bytes = b""  # its fingerprint's thumb; b"" for none


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
        base.execute("DELETE FROM thumb WHERE number = ?", old)
        base.execute("DELETE FROM clip WHERE number = ?", old)
    number = base.execute(
        "INSERT INTO clip (mark, clip, sealed, payload, across, down, record, manifest, sketches)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (mark, entry.clip_id, entry.sealed, entry.payload, *entry.shift,
         json.dumps({name: value for name, value in entry.record.items() if name != "shown"}, sort_keys=True),
         entry.manifest,
         entry.look)).lastrowid
    base.executemany("INSERT OR IGNORE INTO word VALUES (?, ?)", [(w, number) for w in _index(words)])
    if (thumb := thumb_of(entry.thumb)) is not None:
        base.execute("INSERT INTO thumb VALUES (?, ?, ?, ?, ?)", (number, *_shade(thumb), entry.thumb))


def entry_of(clip_id: str, payload: str, shift: tuple[float, float], record: Mapping[str, Any], manifest: bytes,
             look: Fingerprint) -> Entry:
    """An entry of now."""
    thumb = b"" if look.thumb is None else look.thumb.tobytes()
    return Entry(clip_id, time.time(), payload, shift, record, manifest, look.to_bytes(), thumb)


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
        row = base.execute("SELECT number FROM clip WHERE mark = ?", (digits,)).fetchone()
        return _entry(base, row[0]) if row else None


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
        return [_entry(base, number) for number in sorted(votes, key=lambda n: (-votes[n], n))[:_CANDIDATES]]


def by_thumb(thumb: Thumb) -> list[tuple[float, Entry]]:
    """The clips whose thumbs are nearest, nearest first, and how far they are; none where too many are near."""
    if not path().exists():
        return []
    red, green, blue = _shade(thumb)
    with _open(path()) as base:
        if not _has_thumbs(base):
            return []
        rows = base.execute(
            "SELECT number, cells FROM thumb WHERE green BETWEEN ? AND ? AND red BETWEEN ? AND ?"
            " AND blue BETWEEN ? AND ? LIMIT ?",
            (*(level + way * _SHADE for level in (green, red, blue) for way in (-1, 1)), _COMMON)).fetchall()
        if len(rows) == _COMMON:
            return []
        near = sorted((apart(np.frombuffer(cells, np.uint8).reshape(thumb.shape), thumb), number)
                      for number, cells in rows)[:_NEAREST]
        return [(distance, _entry(base, number)) for distance, number in near]


def _shade(thumb: Thumb) -> tuple[int, ...]:
    return tuple(round(float(level)) for level in thumb.mean((0, 1)))


def _has_thumbs(base: sqlite3.Connection) -> bool:
    """A store of before that was only read since has none."""
    return bool(base.execute("PRAGMA user_version").fetchone()[0] >= 2)


def _entry(base: sqlite3.Connection, number: int) -> Entry:
    row = base.execute("SELECT clip, sealed, payload, across, down, record, manifest, sketches FROM clip"
                       " WHERE number = ?", (number,)).fetchone()
    thumb = None
    if _has_thumbs(base):
        thumb = base.execute("SELECT cells FROM thumb WHERE number = ?", (number,)).fetchone()
    return Entry(row[0], row[1], row[2], (row[3], row[4]), json.loads(row[5]), row[6], row[7],
                 thumb[0] if thumb else b"")


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
