"""The seal: the only door through which generated pictures reach a disk.

A sealed file carries three layers: a visible mark, an invisible mark and a signed C2PA manifest. There is no
flag to skip one. The file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenku.errors import UserError
from tenku.types import Clip

FORMATS = (".mp4", ".webm", ".gif", ".png")  # what a sealed file may end with


@dataclass(frozen=True)
class Model:
    """The weights that dreamt the pictures."""

    name: str  # as users know it, "tenku-tiny"
    weights_sha256: str  # 64 hex digits of the weights file


@dataclass(frozen=True)
class Sealed:
    """What `seal` wrote."""

    path: Path  # the file
    sidecar: Path | None  # the manifest beside it, where the container cannot hold one (.webm)
    clip_id: str  # 16 hex digits: the hash of record and model, also (in part) in the invisible mark


def clip_id(record: Mapping[str, Any], model: Model) -> str:
    """16 hex digits that name the clip: the same request, seed and weights always give the same."""
    said = {"record": record, "model": model.name, "weights": model.weights_sha256}
    return hashlib.sha256(json.dumps(said, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def check_path(path: Path, frames: int) -> None:
    """Raises UserError when `frames` pictures cannot be sealed under this name; ask before the work."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"cannot write {path.name}", f"end the name with one of {', '.join(FORMATS)}")
    if ending == ".png" and frames > 1:
        raise UserError(f"{path.name} holds one picture, not {frames}", "use .mp4, .webm or .gif")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", "make it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder", "give the name of a file")


def seal(clip: Clip, record: Mapping[str, Any], path: Path, *, model: Model) -> Sealed:
    """Marks, encodes, signs and writes a generated clip; the format follows the path's ending (`FORMATS`).

    record: JSON-able; the request, plan, seed and whatever else is needed to make the clip again. It goes
    into the manifest as it is, so it names inputs by hash, never by path. Sealing the same clip again gives
    the same pictures; the signature differs. Raises UserError for a path that cannot hold the clip, OSError
    from the disk.
    """
    from tenku import media

    check_path(path, len(clip.frames))
    ending = path.suffix.lower()
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{ending}")
    try:
        if ending == ".png":
            from PIL import Image

            Image.fromarray(clip.frames[0]).save(draft)
        else:
            container, codec, pixel_format, options = media.VIDEO_FORMATS[ending]
            media.encode_video(clip.frames, clip.fps, draft, container=container, codec=codec,
                               pixel_format=pixel_format, options=options)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return Sealed(path, None, clip_id(record, model))
