"""Attempts to take a mark away, or to put one on, with many sealed clips: averaging, pasting, moving manifests."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tenku.evaluation.prompts import load
from tenku.media import Frames
from tenku.provenance import embedding, verify
from tenku.provenance.code import Payload
from tenku.provenance.manifest import Manifest, Signature
from tenku.provenance.seal import Model, seal
from tenku.rng import stream
from tenku.sampling.generate import generate
from tenku.types import Clip

_TAKES = 20  # pictures of each prompt, by mirroring, shifting and other payloads
TRIED = 50  # clips that the stolen pattern is taken from or put on
MOVED = 10  # manifests that are moved to another clip


def normal(scores: np.ndarray) -> np.ndarray:
    """P(standard normal > score)."""
    return np.array([0.5 * math.erfc(score / math.sqrt(2)) for score in np.ravel(scores)])


def measure(outputs: int, model: str, steps: int, folder: Path) -> dict[str, Any]:
    """Averages so many sealed pictures, as somebody would who also had them unsealed; and moves manifests."""
    marked, plain = [], []
    stolen = np.zeros((80, 128, 3))
    for number in range(outputs):
        if number % _TAKES == 0:
            prompt = load()[number // _TAKES % len(load())].text
            [result] = generate(prompt, seconds=0, seed=60_000 + number, steps=steps, model=model)
            picture = result.clip.frames
        draw = stream(number, "eval seal", "theft")
        before = np.roll(picture[:, :, ::-1] if number % 2 else picture, int(draw.integers(128)), 2)
        after = embedding.embed(before, Payload(0x5A, int(draw.integers(1 << 52))))
        stolen += (after[0].astype(float) - before[0]) / outputs
        if number < TRIED:
            marked.append(after)
            plain.append(before)
    size = float(np.sqrt(np.square(stolen).mean()))
    loud = stolen * (255 / 10 ** (embedding.FLOOR_DB / 20) / max(size, 1e-9))  # as strong as a mark is
    return {"outputs": outputs, "tried": len(marked), "residue": round(size, 4),
            "kept": sum(_found(_plus(frames, -stolen)) for frames in marked),
            "kept_after_more": sum(_found(_plus(frames, -loud)) for frames in marked),
            "forged": sum(_found(_plus(frames, loud)) for frames in plain),
            "moved": MOVED, "accepted": _moved(plain, folder)}


def _plus(frames: Frames, change: np.ndarray) -> Frames:
    return np.clip(np.rint(frames + change), 0, 255).astype(np.uint8)


def _found(frames: Frames) -> bool:
    return verify.trace(frames, 16.0, Manifest(Signature.MISSING))[1].found


def _moved(pictures: list[Frames], folder: Path) -> int:
    """How many files pass for made by Tenku that bear another's manifest: as a sidecar, and inside."""
    model, accepted = Model("eval", "5a" + "0" * 62, ()), 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tenku-") as name:
        for number in range(MOVED):
            one, other = (np.repeat(pictures[(2 * number + i) % len(pictures)], 9, 0) for i in (0, 1))
            paths = [Path(name) / f"{number}-{i}.webm" for i in (0, 1)]
            for path, frames in zip(paths, (one, other), strict=True):
                seal(Clip(frames, 16.0), {"n": number, "of": path.name}, path, model=model)
            shutil.copy(f"{paths[0]}.c2pa", f"{paths[1]}.c2pa")
            accepted += verify.examine(paths[1]).verdict is verify.Verdict.MADE
            films = [path.with_suffix(".mp4") for path in paths]
            for path, frames in zip(films, (one, other), strict=True):
                seal(Clip(frames, 16.0), {"n": number, "of": path.name}, path, model=model)
            films[1].write_bytes(_with_box_of(films[1].read_bytes(), films[0].read_bytes()))
            accepted += verify.examine(films[1]).verdict is verify.Verdict.MADE
    return accepted


def _with_box_of(file: bytes, other: bytes) -> bytes:
    """An mp4 with the manifest's box of another, in the place of its own."""
    boxes, foreign = _boxes(file), _boxes(other)
    moved = next(box for box in foreign if box[4:8] == b"uuid")
    return b"".join(moved if box[4:8] == b"uuid" else box for box in boxes)


def _boxes(file: bytes) -> list[bytes]:
    boxes, at = [], 0
    while at + 8 <= len(file):
        size = int.from_bytes(file[at:at + 4], "big") or len(file) - at
        boxes.append(file[at:at + size])
        at += size
    return boxes
