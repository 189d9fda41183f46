"""Measures the marks: what they survive, what they cost, how long they take.

    python dev/bench/marks.py [--size 128x80] [--frames 33] [VIDEO ...]

Without videos it uses the tests' own scenes and textures, so that the table in docs/provenance.md can be made again;
with videos, their first frames, cropped and resized.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in ("", "tests")]

from scenes import scene, texture  # noqa: E402

from tenku import media  # noqa: E402
from tenku.provenance import invisible, visible  # noqa: E402
from tenku.provenance.code import Payload  # noqa: E402
from tenku.types import Clip, Size  # noqa: E402

Frames = media.Frames
PAYLOAD = Payload(0x5A, 0x123456789A)


def recoded(frames: Frames, crf: int, codec: str = "libx264") -> Frames:
    frames = frames[:, :frames.shape[1] // 2 * 2, :frames.shape[2] // 2 * 2]
    webm = codec == "libvpx-vp9"
    options = {"crf": str(crf), **({"b": "0", "cpu-used": "4"} if webm else {"preset": "medium"})}
    if codec == "libx265":
        options["x265-params"] = "log-level=error"
    file = io.BytesIO()
    media.encode_video(frames, 12, file, container="webm" if webm else "mp4", codec=codec, pixel_format="yuv420p",
                       options=options)
    file.seek(0)
    return media.decode(file, "matroska" if webm else "mp4").frames


def resized(frames: Frames, factor: float) -> Frames:
    size = (round(frames.shape[2] * factor) // 2 * 2, round(frames.shape[1] * factor) // 2 * 2)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames])


def jpeg(frames: Frames, quality: int) -> Frames:
    file = io.BytesIO()
    Image.fromarray(frames[len(frames) // 2]).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))[None]


def light(frames: Frames, gain: float, lift: float) -> Frames:
    return np.clip((frames.astype(float) - 128) * gain + 128 + lift, 0, 255).astype(np.uint8)


def crop(frames: Frames, left: float, top: float, right: float, bottom: float) -> Frames:
    height, width = frames.shape[1:3]
    return frames[:, int(height * top):int(height * (1 - bottom)), int(width * left):int(width * (1 - right))]


ATTACKS: dict[str, Callable[[Frames], Frames]] = {
    "as sealed (.mp4)": lambda f: f,
    "H.264 crf 23": lambda f: recoded(f, 23),
    "H.264 crf 28": lambda f: recoded(f, 28),
    "H.264 crf 33": lambda f: recoded(f, 33),
    "H.265 crf 28": lambda f: recoded(f, 28, "libx265"),
    "VP9 crf 30": lambda f: recoded(f, 30, "libvpx-vp9"),
    "2x larger, crf 23": lambda f: recoded(resized(f, 2), 23),
    "half size, crf 23": lambda f: recoded(resized(f, 0.5), 23),
    "contrast 1.3, darker, crf 23": lambda f: recoded(light(f, 1.3, -18), 23),
    "contrast 0.5, crf 23": lambda f: recoded(light(f, 0.5, 0), 23),
    "mirrored, crf 23": lambda f: recoded(f[:, :, ::-1], 23),
    "crop to 95 %, crf 23": lambda f: recoded(crop(f, .025, .025, .025, .025), 23),
    "crop to 90 % uneven, crf 23": lambda f: recoded(crop(f, .07, .03, .03, .07), 23),
    "crop to 70 %": lambda f: crop(f, .1, .2, .2, .1),
    "bars above and below": lambda f: np.pad(f, ((0, 0), (f.shape[1] // 4,) * 2, (0, 0), (0, 0))),
    "a third of the frames": lambda f: f[::3],
    "one frame": lambda f: f[len(f) // 2:][:1],
    "one frame, JPEG 75": lambda f: jpeg(f, 75),
    "blur 3x3, crf 23": lambda f: recoded(resized(resized(f, 0.66), 1 / 0.66), 23),
}


def clips(size: Size, frames: int, videos: list[Path]) -> dict[str, Frames]:
    """The material by name."""
    if not videos:
        w, h = size.width, size.height
        made = {f"scene {s}": scene(frames, w, h, s) for s in range(8)}
        made |= {f"still texture {s}": texture(frames, w, h, s, 0, 20) for s in range(4)}
        return made | {f"drifting texture {s}": texture(frames, w, h, s, 1, 30) for s in range(4)}
    found = {}
    for path in videos:
        pictures = media.read_clip(path).frames
        for part, start in enumerate(range(0, max(1, len(pictures) - frames + 1), max(frames, len(pictures) // 4))):
            found[f"{path.stem} {part}"] = np.stack([_fit(p, size) for p in pictures[start:start + frames]])
    return found


def _fit(picture: Frames, size: Size) -> Frames:
    height, width = picture.shape[:2]
    scale = min(width / size.width, height / size.height)
    w, h = int(size.width * scale), int(size.height * scale)
    x, y = (width - w) // 2, (height - h) // 2
    return np.asarray(Image.fromarray(picture[y:y + h, x:x + w]).resize((size.width, size.height),
                                                                       Image.Resampling.LANCZOS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--size", type=Size.parse, default=Size(128, 80))
    parser.add_argument("--frames", type=int, default=33)
    args = parser.parse_args()
    rows: dict[str, list[tuple[bool, bool, float, bool]]] = {name: [] for name in ATTACKS}
    cost, writing, reading = [], [], []
    for name, frames in clips(args.size, args.frames, args.videos).items():
        plated = visible.draw(frames, 12)
        start = time.process_time()
        marked = invisible.embed(plated, PAYLOAD)
        writing.append(time.process_time() - start)
        cost.append(10 * np.log10(255**2 / np.square(marked.astype(float) - plated).mean()))
        sealed = media.decode(io.BytesIO(media.encode(Clip(marked, 12), ".mp4")), "mp4").frames
        for attack, damage in ATTACKS.items():
            damaged = damage(sealed)
            start = time.process_time()
            finding = invisible.detect(damaged)
            reading.append(time.process_time() - start)
            assert finding.payload in (None, PAYLOAD), "a wrong payload"
            plate = visible.detect(damaged, 4 if "third" in attack else 12).found
            rows[attack].append((finding.found, finding.payload == PAYLOAD, finding.score, plate))
        print(f"{name}: {cost[-1]:.1f} dB, " + " ".join(f"{r[-1][2]:.0f}" for r in rows.values()), file=sys.stderr)
    print("| damage | found | payload | score, lowest and middle | visible mark |\n|---|---|---|---|---|")
    for attack, results in rows.items():
        found, read, scores, plates = (list(column) for column in zip(*results, strict=True))
        print(f"| {attack} | {sum(found)}/{len(found)} | {sum(read)}/{len(read)} | {min(scores):.1f}, "
              f"{statistics.median(scores):.1f} | {sum(plates)}/{len(plates)} |")
    print(f"\nPSNR {min(cost):.1f} to {max(cost):.1f} dB; writing {statistics.median(writing) * 1e3:.0f} ms; "
          f"reading {statistics.median(reading) * 1e3:.0f} ms, at most {max(reading) * 1e3:.0f} (CPU)")


if __name__ == "__main__":
    main()
