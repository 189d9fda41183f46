"""Cuts real footage and photographs into pieces of a generated clip's size and length: the classifier's real side.

Run: python dev/bench/footage.py FILES_OR_FOLDERS... --out DIR [--held-out bikes dog ...]
Every source gives pieces of 33 frames of 128x80, as wide as it is and half as wide; a photograph is panned over. Those
of sources named --held-out, and the second half of every source longer than two minutes, go to DIR/test, the others to
DIR/train.
The pieces are somebody else's work (docs/classifier.md says where each comes from): they are not committed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tenku import media
from tenku.rng import stream

WIDTH, HEIGHT, FRAMES, FPS = 128, 80, 33, 16.0
LONG = 120  # seconds
PHOTOS = (".jpg", ".jpeg", ".png", ".webp")


def windows(path: Path) -> Iterator[tuple[bool, list[Image.Image]]]:
    """Runs of 33 frames of a video at about 16 per second; True: of the second half of a long one."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        step = max(1, round(float(video.average_rate or 25) / FPS))
        seconds = float(source.duration or 0) / av.time_base
        kept: list[Image.Image] = []
        for number, frame in enumerate(source.decode(video)):
            if number % step == 0:
                kept.append(frame.to_image())
            if len(kept) == FRAMES:
                yield seconds > LONG and (frame.time or 0.0) > seconds / 2, kept
                kept = []


def cut(frames: list[Image.Image], part: float, draw: np.random.Generator) -> np.ndarray:
    """A piece of the pictures with a generated clip's shape, `part` as wide as fits, made smaller."""
    wide, high = frames[0].size
    w = min(wide, high * WIDTH / HEIGHT) * part
    h = w * HEIGHT / WIDTH
    x, y = draw.random() * (wide - w), draw.random() * (high - h)
    box = (x, y, x + w, y + h)
    return np.stack([np.asarray(f.resize((WIDTH, HEIGHT), Image.Resampling.BOX if w > 2 * WIDTH else
                                         Image.Resampling.BICUBIC, box, reducing_gap=3.0)) for f in frames])


def panned(photo: Image.Image, draw: np.random.Generator) -> np.ndarray:
    """A camera that moves over a photograph."""
    photo.thumbnail((1600, 1600))
    wide, high = photo.size
    w = min(wide, high * WIDTH / HEIGHT) * draw.uniform(0.3, 0.9)
    h = w * HEIGHT / WIDTH
    ends = [(draw.random() * (wide - w), draw.random() * (high - h)) for _ in range(2)]
    if draw.random() < 0.3:
        ends[1] = ends[0]  # it stands still
    found = []
    for share in np.linspace(0, 0.4, FRAMES):
        x, y = ((1 - share) * a + share * b for a, b in zip(*ends, strict=True))
        found.append(np.asarray(photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (x, y, x + w, y + h))))
    return np.stack(found)


def main() -> None:
    """Reads the sources, writes the pieces without loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held-out", nargs="*", default=[])
    parser.add_argument("--pans", type=int, default=4, help="pieces of each photograph")
    args = parser.parse_args()
    for folder in ("train", "test"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    files = [f for s in args.sources for f in (sorted(s.rglob("*")) if s.is_dir() else [s]) if f.is_file()]
    for file in files:
        name = f"{file.parent.name}-{file.stem}".replace(" ", "_")
        apart = any(word in str(file) for word in args.held_out)
        count = 0
        if file.suffix.lower() in PHOTOS:
            photo = Image.open(file).convert("RGB")
            if min(photo.size) < 240:
                continue
            for count in range(args.pans):
                piece = panned(photo.copy(), stream(count, "footage", name))
                _write(piece, args.out / ("test" if apart else "train") / f"{name}-{count:04d}.mp4")
        elif file.suffix.lower() in (".mp4", ".avi", ".mkv", ".webm", ".mov"):
            for late, frames in windows(file):
                draw = stream(count, "footage", name)
                for part in (1.0, 0.5):
                    folder = "test" if apart or late else "train"
                    _write(cut(frames, part, draw), args.out / folder / f"{name}-{count:04d}.mp4")
                    count += 1
        print(name, count + 1, flush=True)


def _write(frames: np.ndarray, path: Path) -> None:
    path.write_bytes(media.write_lossless(frames, FPS))


if __name__ == "__main__":
    main()
