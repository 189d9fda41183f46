"""One file to what may become clips of it: pictures in a shard of its own, and a record of all that was looked at.

A pure function of the file and the recipe; it writes `<id>.tar`, then `<id>.json`, each whole or not at all, so what
was done before a run was killed is not done again.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenku import media
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.ingest.measure import LIMITS, camera, left_out, measures
from tenku.ingest.shots import Piece, Shape, fitted, inside, pieces
from tenku.media import Frames
from tenku.provenance import fingerprint
from tenku.types import Clip, Size

KEYS = 4  # key frames of a fingerprint
THUMBS = 6  # pictures that are kept of a file, for each reason that clips are left out, and of those that are not
THUMB = 96  # pixels across


@dataclass(frozen=True)
class Recipe:
    """All that decides what becomes of a file."""

    size: str = "128x80"  # of clips of this aspect; others have as many pixels, about
    fps: float = 16.0
    frames: int = 33  # at most, 1 + 8 k
    limits: tuple[tuple[str, float], ...] = tuple((name, limit) for name, (limit, _, _) in LIMITS.items())
    captioner: str = "given"  # (ingest/captions.py)

    @property
    def shape(self) -> Shape:
        return Shape(Size.parse(self.size), self.fps, self.frames, int(dict(self.limits).get("short", 1)))

    def to_json(self) -> dict[str, Any]:
        """As a ledger keeps it."""
        return {**asdict(self), "limits": dict(self.limits), "captioner": Path(self.captioner).name}


@dataclass(frozen=True)
class Candidate:
    """A part of a shot, and what is said of it."""

    key: str  # 16 hex digits: 12 of the file's hash, 4 that count
    shot: int
    start: float  # seconds into the file
    frames: int
    size: str
    reason: str  # of LIMITS, why it is left out; "" for not
    measured: dict[str, float]
    camera: str
    look: str  # its fingerprint, base64: words, then sketches
    thumb: str  # a small WebP, base64; "" where there are enough


@dataclass(frozen=True)
class Job:
    """A file, and where what becomes of it goes."""

    path: Path
    sha256: str
    recipe: Recipe
    out: Path


def stem(out: Path, sha256: str) -> Path:
    """Where a file's record and pictures are, but for the ending."""
    return out / sha256[:16]


def prepare(job: Job) -> None:
    """Looks at a file. One that cannot be decoded gets a record that says so."""
    base = stem(job.out, job.sha256)
    found: list[Candidate] = []
    refused = ""
    try:
        with ShardWriter(base.with_suffix(".tar")) as shard:
            for piece in pieces(job.path, job.recipe.shape):
                found.append(_look(piece, job, len(found), found, shard))
    except UserError as error:
        refused = str(error)
    said = {"refused": refused, "clips": [] if refused else [asdict(one) for one in found]}
    temporary = base.with_name(f"{base.name}.json.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(said, separators=(",", ":")), encoding="utf-8")
    os.replace(temporary, base.with_suffix(".json"))


def record(out: Path, sha256: str) -> tuple[str, list[Candidate]] | None:
    """Why a file was refused, "" for not, and what was found in it; None before it was looked at."""
    path = stem(out, sha256).with_suffix(".json")
    if not path.exists():
        return None
    said = json.loads(path.read_text(encoding="utf-8"))
    return said["refused"], [Candidate(**one) for one in said["clips"]]


def _look(piece: Piece, job: Job, number: int, before: list[Candidate], shard: ShardWriter) -> Candidate:
    recipe, limits = job.recipe, dict(job.recipe.limits)
    key = f"{job.sha256[:12]}{number:04x}"
    rows, columns = inside(piece.frames)
    raw = piece.frames[:, rows, columns]
    high, wide = raw.shape[1:3]
    size = recipe.shape.like(wide, high)
    measured = {"short": float(len(raw)), "small": round(min(wide / size.width, high / size.height), 3),
                "bars": round(1 - wide * high / piece.frames[0, ..., 0].size, 3)}
    if len(raw) == 1 and piece.first == 0:
        del measured["short"]  # a picture is no short video
    reason, moves, look = left_out(measured, limits), "", ""
    clip = Clip(fitted(raw, size), recipe.fps)
    if not reason:
        measured |= measures(clip.frames, raw)
        reason = left_out(measured, limits)
    if not reason:
        moves, _ = camera(clip.frames, clip.fps)
        taken = fingerprint.take(clip.frames, KEYS)
        look = base64.b64encode(taken.words.astype("<u2").tobytes() + taken.to_bytes()).decode()
        shard.add(key, clip, {"frames": len(raw)})
    few = sum(one.reason == reason and bool(one.thumb) for one in before) < THUMBS
    return Candidate(key, piece.shot, round(piece.first / recipe.fps, 3), len(raw), str(size), reason, measured, moves,
                     look, _thumb(clip.frames[len(raw) // 2]) if few else "")


def look_of(one: Candidate) -> fingerprint.Fingerprint:
    """A candidate's fingerprint."""
    data = base64.b64decode(one.look)
    count = len(data) // (2 * fingerprint.WORDS + 256)
    words = np.frombuffer(data[: count * 2 * fingerprint.WORDS], "<u2").reshape(count, fingerprint.WORDS)
    return fingerprint.Fingerprint(words.astype(np.uint16), fingerprint.sketches_of(data[words.nbytes :]))


def _thumb(picture: Frames) -> str:
    import cv2

    high, wide = picture.shape[:2]
    small = cv2.resize(picture, (THUMB, max(8, THUMB * high // wide)), interpolation=cv2.INTER_AREA)
    return base64.b64encode(media.encode(Clip(small[None], 1.0), ".webp")).decode()


def limits(given: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """LIMITS with some of them set, or "off". Raises UserError for what is no limit."""
    found = {name: limit for name, (limit, _, _) in LIMITS.items()}
    for name, value in given.items():
        if name not in LIMITS:
            raise UserError(f"no such filter: {name[:40]!r}", f"one of {', '.join(LIMITS)}")
        try:
            if value == "off":
                del found[name]
            else:
                found[name] = float(value)
        except ValueError:
            raise UserError(f"the filter {name} cannot be {value[:40]!r}", "a number, or off") from None
    return tuple(found.items())
