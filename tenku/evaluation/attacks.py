"""What happens to videos on their way: Video Seal's list of transformations, ours in time, and some together.

Legend: T frames, H height, W width. Every damage takes frames [T, H, W, 3] and gives frames, in memory; sizes and
lengths may change. The same frames are damaged in the same way each time.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from tenku import media
from tenku.media import Frames
from tenku.provenance.outline import projection
from tenku.rng import stream


def _recoded(frames: Frames, crf: int, codec: str = "libx264") -> Frames:
    return _written(frames, crf, codec)[1]


def _written(frames: Frames, crf: int, codec: str) -> tuple[int, Frames]:
    """The bytes of the file, and what it holds."""
    frames = frames[:, :frames.shape[1] // 2 * 2, :frames.shape[2] // 2 * 2]
    webm = codec == "libvpx-vp9"
    options = {"crf": str(crf), **({"b": "0", "cpu-used": "4"} if webm else {"preset": "medium"})}
    if codec == "libx265":
        options["x265-params"] = "log-level=error"
    file = io.BytesIO()
    media.encode_video(frames, 12, file, container="webm" if webm else "mp4", codec=codec, pixel_format="yuv420p",
                       options=options)
    size = file.tell()
    file.seek(0)
    return size, media.decode(file, "matroska" if webm else "mp4").frames


def _resized(frames: Frames, factor: float) -> Frames:
    size = (round(frames.shape[2] * factor) // 2 * 2, round(frames.shape[1] * factor) // 2 * 2)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames])


def _jpeg(frames: Frames, quality: int) -> Frames:
    file = io.BytesIO()
    Image.fromarray(frames[len(frames) // 2]).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))[None]


def _each(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    return np.stack([np.asarray(change(Image.fromarray(f))) for f in frames])


def _rotated(frames: Frames, degrees: float) -> Frames:
    return _each(frames, lambda i: i.rotate(degrees, Image.Resampling.BILINEAR))


def _enhanced(frames: Frames, what: str, factor: float) -> Frames:
    """Brightness, Contrast or Color times a factor."""
    return _each(frames, lambda i: getattr(ImageEnhance, what)(i).enhance(factor))


def _blurred(frames: Frames, radius: float) -> Frames:
    return _each(frames, lambda i: i.filter(ImageFilter.GaussianBlur(radius)))


def _area(frames: Frames, share: float) -> Frames:
    """A crop to that share of the area, off centre."""
    height, width = frames.shape[1:3]
    h, w = int(height * share**0.5), int(width * share**0.5)
    y, x = (height - h) // 3, (width - w) * 2 // 3
    return frames[:, y:y + h, x:x + w]


def _perspective(frames: Frames, amount: float) -> Frames:
    """Two corners pushed in by that share of the sides."""
    h, w = frames.shape[1:3]
    corners = [(0, 0), (w, 0), (w, h), (0, h)]
    there = [(w * amount / 2, h * amount / 4), (w, 0), (w * (1 - amount / 4), h), (0, h * (1 - amount / 2))]
    numbers = projection(np.array(there), np.array(corners))
    return _each(frames, lambda i: i.transform(i.size, Image.Transform.PERSPECTIVE, numbers,
                                              Image.Resampling.BILINEAR))


def _hue(frames: Frames, turn: float) -> Frames:
    def change(image: Image.Image) -> Image.Image:
        h, s, v = image.convert("HSV").split()
        return Image.merge("HSV", (h.point(lambda x: (x + int(255 * turn)) % 256), s, v)).convert("RGB")

    return _each(frames, change)


def _at(frames: Frames, positions: np.ndarray) -> Frames:
    return frames[np.clip(positions.round().astype(int), 0, len(frames) - 1)]


def _dropped(frames: Frames, share: float) -> Frames:
    return frames[stream(1, "attacks", "dropped").random(len(frames)) >= share]


def _blended(frames: Frames, factor: float) -> Frames:
    """Another frame rate or speed, frames between two being mixed."""
    positions = np.arange(0, len(frames) - 1, factor)
    low = positions.astype(int)
    part = (positions - low)[:, None, None, None]
    return np.rint(frames[low] * (1 - part) + frames[low + 1] * part).astype(np.uint8)


def at_random(frames: Frames, draw: np.random.Generator) -> Frames:
    """A damage that is drawn, each part with a chance: a change of shape, of colours, of time; then some codec."""
    shapes: list[Callable[[Frames], Frames]] = [
        lambda f: f[:, :, ::-1], lambda f: np.rot90(f, int(draw.integers(1, 4)), (1, 2)),
        lambda f: _rotated(f, draw.uniform(-15, 15)), lambda f: _resized(f, draw.uniform(0.5, 1.6)),
        lambda f: _area(f, draw.uniform(0.5, 0.95)), lambda f: _perspective(f, draw.uniform(0.05, 0.5)),
        lambda f: np.pad(f, ((0, 0), (int(draw.integers(2, f.shape[1] // 4)),) * 2, (0, 0), (0, 0)))]
    tones: list[Callable[[Frames], Frames]] = [
        lambda f: _enhanced(f, ("Brightness", "Contrast", "Color")[int(draw.integers(3))], draw.uniform(0.4, 1.7)),
        lambda f: _hue(f, draw.random()), lambda f: _enhanced(f, "Color", 0.0),
        lambda f: _blurred(f, draw.uniform(0.3, 1.8))]
    times = [lambda f: f[::2], lambda f: f[::-1], lambda f: _blended(f, draw.uniform(0.4, 1.6)),
             lambda f: f[draw.random(len(f)) >= draw.uniform(0.1, 0.5)] if len(f) > 8 else f,
             lambda f: _at(f, draw.permutation(len(f))), lambda f: f[len(f) // 2:][:1]]
    for kind, chance in ((shapes, 0.4), (tones, 0.4), (times, 0.2 if len(frames) > 2 else 0.0)):
        if draw.random() < chance:
            frames = kind[int(draw.integers(len(kind)))](frames)
    return sent(frames, draw)[1]


def sent(frames: Frames, draw: np.random.Generator, worst: int = 40) -> tuple[int, Frames]:
    """As it comes back from H.264 or VP9 at a quality that is drawn, crf 14 to `worst`, mostly the better ones.

    With the bytes of the file. No H.265: x265 crashes where pictures are few.
    """
    crf = 14 + int((worst - 14) * draw.random() ** 1.5)
    return _written(frames, crf, "libx264" if draw.random() < 0.7 else "libvpx-vp9")


@dataclass(frozen=True)
class Attack:
    """One way to damage a clip."""

    kind: str  # of AIMS
    do: Callable[[Frames], Frames]


# What is asked for: kind -> share of clips whose mark should be found after it; None: measured, and nothing is promised
AIMS: dict[str, float | None] = {"listed": 0.99, "in time": 0.99, "together": 0.97, "crf 50": 0.9, "more": None}
_LISTED: dict[str, Callable[[Frames], Frames]] = {
    "as sealed (.mp4)": lambda f: f,
    "mirrored": lambda f: f[:, :, ::-1],
    "rotated by 10": lambda f: _rotated(f, 10),
    "turned by 90": lambda f: np.rot90(f, 1, (1, 2)),
    "resized to 71 % of the area": lambda f: _resized(f, 0.71**0.5),
    "resized to 55 % of the area": lambda f: _resized(f, 0.55**0.5),
    "half size, crf 23": lambda f: _recoded(_resized(f, 0.5), 23),
    "twice the size, crf 23": lambda f: _recoded(_resized(f, 2), 23),
    "crop to 71 % of the area": lambda f: _area(f, 0.71),
    "crop to 55 % of the area": lambda f: _area(f, 0.55),
    "perspective 0.5": lambda f: _perspective(f, 0.5),
    "perspective 0.1": lambda f: _perspective(f, 0.1),
    "bars above and below": lambda f: np.pad(f, ((0, 0), (f.shape[1] // 4,) * 2, (0, 0), (0, 0))),
    "stretched to a square": lambda f: _each(f, lambda i: i.resize((max(i.size),) * 2)),
    "brightness 0.5": lambda f: _enhanced(f, "Brightness", 0.5),
    "brightness 1.5": lambda f: _enhanced(f, "Brightness", 1.5),
    "contrast 0.5": lambda f: _enhanced(f, "Contrast", 0.5),
    "contrast 1.5": lambda f: _enhanced(f, "Contrast", 1.5),
    "saturation 0.5": lambda f: _enhanced(f, "Color", 0.5),
    "saturation 1.5": lambda f: _enhanced(f, "Color", 1.5),
    "hue 0.25": lambda f: _hue(f, 0.25),
    "grey": lambda f: _each(f, lambda i: i.convert("L").convert("RGB")),
    "JPEG 40, one frame": lambda f: _jpeg(f, 40),
    "blur 9": lambda f: _blurred(f, 1.7),
    "H.264 crf 23": lambda f: _recoded(f, 23),
    "H.264 crf 28": lambda f: _recoded(f, 28),
    "H.264 crf 30": lambda f: _recoded(f, 30),
    "H.264 crf 35": lambda f: _recoded(f, 35),
    "H.264 crf 40": lambda f: _recoded(f, 40),
    "H.264 crf 50": lambda f: _recoded(f, 50),
    "H.265 crf 23": lambda f: _recoded(f, 23, "libx265"),
    "H.265 crf 30": lambda f: _recoded(f, 30, "libx265"),
    "VP9 crf 30": lambda f: _recoded(f, 30, "libvpx-vp9"),
    "half the speed": lambda f: _blended(f, 0.5),
    "twice the speed": lambda f: f[::2],
    "15 of 16 frames a second, mixed": lambda f: _blended(f, 16 / 15),
    "30 frames a second, mixed": lambda f: _blended(f, 16 / 30),
    "20 % dropped": lambda f: _dropped(f, 0.2),
    "50 % dropped": lambda f: _dropped(f, 0.5),
    "trimmed to 1 s": lambda f: f[8:24],
    "reversed": lambda f: f[::-1],
    "shuffled": lambda f: _at(f, stream(2, "attacks", "shuffled").permutation(len(f))),
    "one frame": lambda f: f[len(f) // 2:][:1],
    "mirrored, crop to 71 %, brightness 1.3, crf 23": lambda f: _recoded(
        _enhanced(_area(f[:, :, ::-1], 0.71), "Brightness", 1.3), 23),
    "trimmed, crop to 71 %, crf 23": lambda f: _recoded(_area(f[8:24], 0.71), 23),
}
_IN_TIME = ("half the speed", "twice the speed", "15 of 16 frames a second, mixed", "30 frames a second, mixed",
            "20 % dropped", "50 % dropped", "trimmed to 1 s", "reversed", "shuffled")
_TOGETHER = tuple(name for name in _LISTED if name.count(",") > 1 or name.startswith("trimmed, "))
_MORE = ("half size, crf 23", "perspective 0.1", "one frame", "stretched to a square", "bars above and below",
         "twice the size, crf 23", "H.264 crf 35")  # beside Video Seal's list


def _kind(name: str) -> str:
    kinds = (("in time", _IN_TIME), ("together", _TOGETHER), ("crf 50", ("H.264 crf 50",)), ("more", _MORE))
    return next((kind for kind, names in kinds if name in names), "listed")


ATTACKS = {name: Attack(_kind(name), do) for name, do in _LISTED.items()}
