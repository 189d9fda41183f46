"""What a long clip keeps: its last five seconds beside its first, and its subject. `tenku eval minute`.

Clips come in pieces (`generate.stream`), and of each only what lies in the first or last five seconds is kept. Memory
is measured in processes of their own, by the kernel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenku.evaluation.metrics import mean
from tenku.evaluation.modes import words_of
from tenku.evaluation.probe import bundled, read
from tenku.request import Request
from tenku.sampling.generate import stream
from tenku.types import Clip
from tenku.world import captions

Say = Callable[[str], None]
ENDS = 5.0  # seconds
READ = 33  # frames of them that the probe reads
_PEAK = """
import resource, sys
from tenku.request import Request
from tenku.sampling.generate import stream
for piece in stream(Request(sys.argv[1], seconds=float(sys.argv[2]), steps=int(sys.argv[3]), model=sys.argv[4])):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Settings:
    """What to measure with."""

    out: Path  # folder of minute.json
    model: str = "nano"
    clips: int = 12
    steps: int = Request.steps
    seconds: float = 60.0

    def request(self, number: int) -> Request:
        """The canonical sentence of the n-th scene, under a camera that stands."""
        prompt = captions.prompt(**words_of(number))
        return Request(prompt, seconds=self.seconds, seed=60_000 + number, steps=self.steps, model=self.model)


def ends(pieces: Iterator[Clip], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last `count` frames of a clip that comes in pieces, uint8 T H W 3 each."""
    first = last = np.zeros((0, 1, 1, 3), np.uint8)
    for piece in pieces:
        if len(first) < count:
            first = np.concatenate([first, piece.frames])[:count] if len(first) else piece.frames[:count]
        last = (np.concatenate([last, piece.frames]) if len(last) else piece.frames)[-count:]
    return first, last


def looks(frames: np.ndarray) -> dict[str, float]:
    """Sharpness (mean step between neighbouring pixels), mean colours, and motion (mean step from frame to frame), of
    frames uint8 T H W 3, all in levels of 255."""
    pictures = frames.astype(np.float32)
    grey = pictures.mean(3)
    sharp = np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean()
    colours = dict(zip(("red", "green", "blue"), pictures.mean((0, 1, 2)).tolist(), strict=True))
    return {"sharpness": float(sharp), **colours, "motion": float(np.abs(np.diff(pictures, axis=0)).mean())}


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All figures, as plain JSON values; also written to `minute.json`."""
    probe, _ = bundled()
    before: list[dict[str, float]] = []
    after: list[dict[str, float]] = []
    right: dict[str, list[float]] = {"first": [], "last": []}
    speeds: list[float] = []
    for n in range(settings.clips):
        say(f"minute {n + 1}/{settings.clips}")
        request, began = settings.request(n), time.perf_counter()
        first, last = ends(stream(request), round(ENDS * request.fps))
        speeds.append(request.frames / request.fps / (time.perf_counter() - began))
        before.append(looks(first))
        after.append(looks(last))
        found = read(probe, [Clip(first[:READ], request.fps), Clip(last[-READ:], request.fps)])
        for name, seen in zip(right, found, strict=True):
            right[name].append(float(seen["subject"][0] == words_of(n)["subject"]))
    report: dict[str, Any] = {
        "model": settings.model, "clips": settings.clips, "seconds": settings.seconds, "steps": settings.steps,
        "last_over_first": {name: _ratio([b[name] for b in before], [a[name] for a in after]) for name in before[0]},
        "subject": {name: round(float(np.mean(values)), 3) for name, values in right.items()},
        "seconds_made_per_second": round(float(np.median(speeds)), 2),
        "peak_mb": {f"{seconds:g} s": _peak(settings, seconds) for seconds in (10.0, settings.seconds)},
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "minute.json").write_text(json.dumps(report, indent=1))
    return report


def _ratio(before: list[float], after: list[float]) -> dict[str, float]:
    """The mean over clips after, over that before; and the 95 % interval of the mean of each clip's own ratio."""
    own = mean([(a + 0.05) / (b + 0.05) for a, b in zip(after, before, strict=True)])
    assert own is not None
    return {"of_means": round(sum(after) / sum(before), 4), "low": round(own.low, 4), "high": round(own.high, 4)}


def _peak(settings: Settings, seconds: float) -> float:
    """Megabytes that a process held at most that made a clip of so many seconds in pieces."""
    arguments = [settings.request(0).prompt, str(seconds), str(settings.steps), settings.model]
    done = subprocess.run([sys.executable, "-c", _PEAK, *arguments], capture_output=True, text=True, check=True)
    return round(int(done.stdout.split()[-1]) / 1024, 1)


def table(report: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{report['model']}, {report['clips']} clips of {report['seconds']:g} s, {report['steps']} steps; last"
             " five seconds over first five"]
    lines += [f"{name}: {100 * f['of_means']:.1f} % (of each clip {100 * f['low']:.0f} to {100 * f['high']:.0f})"
              for name, f in report["last_over_first"].items()]
    read = (f"{100 * share:.0f} % {name}" for name, share in report["subject"].items())
    lines.append("subject read: " + ", ".join(read))
    lines.append(f"made: {report['seconds_made_per_second']:g} seconds of video a second")
    lines.append("peak memory: " + ", ".join(f"{mb:g} MB for {name}" for name, mb in report["peak_mb"].items()))
    return "\n".join(lines)
