"""Measures the marks: what they survive, what they cost, how long they take.

    python dev/bench/marks.py [--size 128x80] [--frames 33] [--sheet FILE.png] [--only WORD] [VIDEO ... | SHARDS]

Without videos it uses the tests' own scenes and textures; with videos, their first frames, cropped and resized; with a
folder of shards, every eighth of its clips. The attacks are Video Seal's list and ours in time. Each is measured as
`tenku verify` reads files, with the search. The sheet shows originals, marked frames, and eight times the difference.
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
from PIL import Image, ImageEnhance, ImageFilter

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in ("", "tests")]

from scenes import scene, texture  # noqa: E402

from tenku import media  # noqa: E402
from tenku.data.shards import iter_clips  # noqa: E402
from tenku.provenance import embedding, invisible, visible  # noqa: E402
from tenku.provenance.code import Payload  # noqa: E402
from tenku.types import Clip, Size  # noqa: E402

Frames = media.Frames
PAYLOAD = Payload(0x5A, 0x123456789ABCD)


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


def each(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    return np.stack([np.asarray(change(Image.fromarray(f))) for f in frames])


def area(frames: Frames, share: float) -> Frames:
    """A crop to that share of the area, off centre."""
    height, width = frames.shape[1:3]
    h, w = int(height * share**0.5), int(width * share**0.5)
    y, x = (height - h) // 3, (width - w) * 2 // 3
    return frames[:, y:y + h, x:x + w]


def perspective(frames: Frames, amount: float) -> Frames:
    """Two corners pushed in by that share of the sides."""
    h, w = frames.shape[1:3]
    corners = [(0, 0), (w, 0), (w, h), (0, h)]
    there = [(w * amount / 2, h * amount / 4), (w, 0), (w * (1 - amount / 4), h), (0, h * (1 - amount / 2))]
    rows = [row for (x, y), (u, v) in zip(there, corners, strict=True)
            for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])]
    numbers = np.linalg.solve(np.array(rows, float), np.array(corners, float).ravel())
    return each(frames, lambda i: i.transform(i.size, Image.Transform.PERSPECTIVE, numbers.tolist(),
                                              Image.Resampling.BILINEAR))


def hue(frames: Frames, turn: float) -> Frames:
    def change(image: Image.Image) -> Image.Image:
        h, s, v = image.convert("HSV").split()
        return Image.merge("HSV", (h.point(lambda x: (x + int(255 * turn)) % 256), s, v)).convert("RGB")

    return each(frames, change)


def at(frames: Frames, positions: np.ndarray) -> Frames:
    return frames[np.clip(positions.round().astype(int), 0, len(frames) - 1)]


def dropped(frames: Frames, share: float) -> Frames:
    return frames[np.random.Generator(np.random.Philox(1)).random(len(frames)) >= share]


def blended(frames: Frames, factor: float) -> Frames:
    """Another frame rate or speed, frames between two being mixed."""
    positions = np.arange(0, len(frames) - 1, factor)
    low = positions.astype(int)
    part = (positions - low)[:, None, None, None]
    return np.rint(frames[low] * (1 - part) + frames[low + 1] * part).astype(np.uint8)


Attack = Callable[[Frames], Frames]
ATTACKS: dict[str, Attack] = {
    "as sealed (.mp4)": lambda f: f,
    "mirrored": lambda f: f[:, :, ::-1],
    "rotated by 10": lambda f: each(f, lambda i: i.rotate(10, Image.Resampling.BILINEAR)),
    "turned by 90": lambda f: np.rot90(f, 1, (1, 2)),
    "resized to 71 % of the area": lambda f: resized(f, 0.71**0.5),
    "resized to 55 % of the area": lambda f: resized(f, 0.55**0.5),
    "half size, crf 23": lambda f: recoded(resized(f, 0.5), 23),
    "twice the size, crf 23": lambda f: recoded(resized(f, 2), 23),
    "crop to 71 % of the area": lambda f: area(f, 0.71),
    "crop to 55 % of the area": lambda f: area(f, 0.55),
    "perspective 0.5": lambda f: perspective(f, 0.5),
    "perspective 0.1": lambda f: perspective(f, 0.1),
    "bars above and below": lambda f: np.pad(f, ((0, 0), (f.shape[1] // 4,) * 2, (0, 0), (0, 0))),
    "stretched to a square": lambda f: each(f, lambda i: i.resize((max(i.size),) * 2)),
    "brightness 0.5": lambda f: each(f, lambda i: ImageEnhance.Brightness(i).enhance(0.5)),
    "brightness 1.5": lambda f: each(f, lambda i: ImageEnhance.Brightness(i).enhance(1.5)),
    "contrast 0.5": lambda f: each(f, lambda i: ImageEnhance.Contrast(i).enhance(0.5)),
    "contrast 1.5": lambda f: each(f, lambda i: ImageEnhance.Contrast(i).enhance(1.5)),
    "saturation 0.5": lambda f: each(f, lambda i: ImageEnhance.Color(i).enhance(0.5)),
    "saturation 1.5": lambda f: each(f, lambda i: ImageEnhance.Color(i).enhance(1.5)),
    "hue 0.25": lambda f: hue(f, 0.25),
    "grey": lambda f: each(f, lambda i: i.convert("L").convert("RGB")),
    "JPEG 40, one frame": lambda f: jpeg(f, 40),
    "blur 9": lambda f: each(f, lambda i: i.filter(ImageFilter.GaussianBlur(1.7))),
    "H.264 crf 23": lambda f: recoded(f, 23),
    "H.264 crf 28": lambda f: recoded(f, 28),
    "H.264 crf 30": lambda f: recoded(f, 30),
    "H.264 crf 35": lambda f: recoded(f, 35),
    "H.264 crf 40": lambda f: recoded(f, 40),
    "H.264 crf 50": lambda f: recoded(f, 50),
    "H.265 crf 23": lambda f: recoded(f, 23, "libx265"),
    "H.265 crf 30": lambda f: recoded(f, 30, "libx265"),
    "VP9 crf 30": lambda f: recoded(f, 30, "libvpx-vp9"),
    "half the speed": lambda f: blended(f, 0.5),
    "twice the speed": lambda f: f[::2],
    "15 of 16 frames a second, mixed": lambda f: blended(f, 16 / 15),
    "30 frames a second, mixed": lambda f: blended(f, 16 / 30),
    "20 % dropped": lambda f: dropped(f, 0.2),
    "50 % dropped": lambda f: dropped(f, 0.5),
    "trimmed to 1 s": lambda f: f[8:24],
    "reversed": lambda f: f[::-1],
    "shuffled": lambda f: at(f, np.random.Generator(np.random.Philox(2)).permutation(len(f))),
    "one frame": lambda f: f[len(f) // 2:][:1],
    "mirrored, crop to 71 %, brightness 1.3, crf 23": lambda f: recoded(
        each(area(f[:, :, ::-1], 0.71), lambda i: ImageEnhance.Brightness(i).enhance(1.3)), 23),
    "trimmed, crop to 71 %, crf 23": lambda f: recoded(area(f[8:24], 0.71), 23),
}


def clips(size: Size, frames: int, videos: list[Path]) -> dict[str, Frames]:
    """The material by name."""
    if not videos:
        w, h = size.width, size.height
        made = {f"scene {s}": scene(frames, w, h, s) for s in range(8)}
        made |= {f"still texture {s}": texture(frames, w, h, s, 0, 20) for s in range(4)}
        return made | {f"drifting texture {s}": texture(frames, w, h, s, 1, 30) for s in range(4)}
    found = {}
    if videos[0].is_dir():
        return {item.key: item.clip.frames[:frames] for item in iter_clips(videos[0], skip=lambda key: int(key) % 8 > 0)
                if item.clip.size == (size.width, size.height) and len(item.clip.frames) >= frames}
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


def sheet(pairs: list[tuple[Frames, Frames]], path: Path) -> None:
    """Originals, marked frames and eight times the difference, one clip in each column."""
    columns = []
    for before, after in pairs[:8]:
        difference = np.clip(128 + 8 * (after[0].astype(int) - before[0]), 0, 255).astype(np.uint8)
        columns.append(np.concatenate([before[0], after[0], difference]))
    image = Image.fromarray(np.concatenate(columns, 1))
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--size", type=Size.parse, default=Size(128, 80))
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--only", default="", help="attacks whose names hold this word")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    attacks = {name: attack for name, attack in ATTACKS.items() if args.only in name}
    rows: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in attacks}
    cost, pairs, unmarked = [], [], []
    try:
        for name, frames in list(clips(args.size, args.frames, args.videos).items())[:args.limit]:
            plated = visible.draw(frames, 16)
            marked = embedding.embed(plated, PAYLOAD)
            pairs.append((plated, marked))
            cost.append(10 * np.log10(255**2 / np.square(marked.astype(float) - plated).mean()))
            sealed = media.decode(io.BytesIO(media.encode(Clip(marked, 16), ".mp4")), "mp4").frames
            start = time.process_time()
            clean = invisible.detect(frames)
            unmarked.append((clean.found, time.process_time() - start))
            for attack, damage in attacks.items():
                finding = invisible.detect(damage(sealed))
                assert finding.payload in (None, PAYLOAD), "a wrong payload"
                rows[attack].append((finding.found, finding.payload == PAYLOAD, finding.score))
            print(f"{name}: {cost[-1]:.1f} dB, " + " ".join(f"{r[-1][2]:.0f}" for r in rows.values()), file=sys.stderr,
                  flush=True)
    except KeyboardInterrupt:
        print("interrupted: the table holds what was measured", file=sys.stderr)
    if args.sheet:
        sheet(pairs, args.sheet)
    print("| damage | found | payload | score, lowest and middle |\n|---|---|---|---|")
    for attack, results in ((attack, results) for attack, results in rows.items() if results):
        found, read, scores = (list(column) for column in zip(*results, strict=True))
        print(f"| {attack} | {sum(found)}/{len(found)} | {sum(read)}/{len(read)} | {min(scores):.1f}, "
              f"{statistics.median(scores):.1f} |")
    print(f"\nPSNR {min(cost):.2f} to {max(cost):.2f} dB; unmarked: {sum(f for f, _ in unmarked)} of {len(unmarked)}"
          f" found, {statistics.median(t for _, t in unmarked):.1f} s of processor time each with the search")


if __name__ == "__main__":
    main()
