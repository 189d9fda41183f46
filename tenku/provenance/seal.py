"""The seal: the only door through which generated pictures reach a disk.

A sealed file carries three layers: a visible mark, an invisible mark and a signed C2PA manifest. There is no
flag to skip one. What was sealed is remembered in the installation's store, so that a copy that lost its manifest
finds it again. The file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenku import untrusted
from tenku.errors import UserError
from tenku.sound import with_sound
from tenku.types import Clip

_NAME_BYTES = 240  # file systems allow 255; the sidecar's ending takes some
FORMATS = (".mp4", ".webm", ".webp", ".gif", ".png")  # what a sealed file may end with


@dataclass(frozen=True)
class Model:
    """The weights that dreamt the pictures."""

    name: str  # as users know it, "tenku-tiny"
    weights_sha256: str  # 64 hex digits of the weights file
    ledgers: tuple[str, ...]  # SHA-256 of each ledger of data (data/ledger.py) that they learnt under


@dataclass(frozen=True)
class Sealed:
    """What `seal` wrote."""

    path: Path  # the file
    sidecar: Path | None  # the manifest beside it, where the container cannot hold one (.webm)
    clip_id: str  # 16 hex digits: the hash of record and model; the invisible mark carries the first 13
    mark_score: float  # of the invisible mark in the file as written, in standard deviations
    mark_readable: bool  # the invisible mark's payload was read back from the file as written


def clip_id(record: Mapping[str, Any], model: Model) -> str:
    """16 hex digits that name the clip: the same request, seed and weights always give the same."""
    said = {"record": record, "model": model.name, "weights": model.weights_sha256}
    return hashlib.sha256(json.dumps(said, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def check_path(path: Path, frames: int) -> None:
    """Raises UserError when `frames` pictures cannot be sealed under this name; ask before the work.

    Also makes sure that there is an identity to sign with, and makes one at first use.
    """
    from tenku.provenance import identity, visible

    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"cannot write {path.name}", f"end the name with one of {', '.join(FORMATS)}")
    if ending == ".png" and frames > 1:
        raise UserError(f"{path.name} holds one picture, not {frames}", "use .mp4, .webm or .gif")
    if "\0" in str(path) or len(os.fsencode(path.name)) > _NAME_BYTES:
        raise UserError(f"the name {path.name[:30]!r}... cannot be written", f"at most {_NAME_BYTES} bytes")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", "make it first")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file", "give another name")
    identity.load()
    visible.look()


def seal(
    clip: Clip, record: Mapping[str, Any], path: Path, *, model: Model, ingredients: Sequence[Path] = (),
    sound: Path | None = None, first: int = 0,
) -> Sealed:
    """Marks, encodes, signs and writes a generated clip; the format follows the path's ending (`FORMATS`).

    record: JSON-able; the request, plan, seed and whatever else is needed to make the clip again. It goes
    into the manifest as it is, so it names inputs by hash, never by path. ingredients: the files that it was made of,
    whose own manifests go into this one. sound: a file whose sound goes with the pictures. first: of a piece, how many
    frames of the whole clip went before it. Sealing the same clip again gives the same pictures; the signature
    differs. Raises UserError for a path that cannot hold the clip, ValueError
    for a record that is no JSON, OSError from the disk; whatever is raised, no file is left or changed.
    """
    from tenku import media
    from tenku.provenance import code, embedding, fingerprint, invisible, manifest, store, visible

    check_path(path, len(clip.frames))
    if not len(clip.frames):
        raise ValueError("a clip without frames cannot be sealed")
    ending = path.suffix.lower()
    name = clip_id(record, model)
    payload = code.Payload.of(name, model.weights_sha256)
    fps = media.written_fps(clip.fps, ending)
    marked = embedding.embed(visible.draw(clip.frames, fps, first), payload)
    data = media.encode(Clip(marked, fps), ending)
    kind = media.sniff(data[:16])
    # Pictures of a few pixels or of pure noise may not carry the mark: the manifest promises only what holds.
    written = media.decode(io.BytesIO(data), kind, sample=16).frames
    found = invisible.detect(written, search=False)
    readable = found.payload == payload
    look = fingerprint.take(written)
    if sound is not None:
        data = with_sound(data, kind, untrusted.samples(sound, len(marked) / fps))
    about = {"model": model.name, "weights_sha256": model.weights_sha256, "ledgers": list(model.ledgers),
             "request": dict(record)}
    said = str(payload) if readable else ""
    used = manifest.ingredients(ingredients)
    data, signed = manifest.sign(data, kind, manifest.describe(name, about, said, look.to_bytes(), used), used)
    store.keep(store.entry_of(name, said, found.shift, about, signed, look), look.words)
    sidecar = manifest.sidecar(path)
    if manifest.beside(kind):
        _write(sidecar, signed)  # first the manifest: the file must never lie there without one
    _write(path, data)
    if not manifest.beside(kind):
        sidecar.unlink(missing_ok=True)  # it belonged to another file of this name
    return Sealed(path, sidecar if manifest.beside(kind) else None, name, found.score, readable)


def _write(path: Path, data: bytes) -> None:
    """All of the file or nothing: written under another name in the same folder, then renamed."""
    draft = path.with_name(f".tenku-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
