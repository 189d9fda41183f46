"""What a request can carry besides words: media with their place in time, paths of the camera, paths of things.

Plain data, checked here and drawn nowhere. Units and conventions of the paths are in docs/modes.md.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenku.errors import UserError

MAX_INPUTS = 16
MAX_POSES = 4096  # of a camera path, of a thing's path
MAX_BYTES = 4 << 20  # of a file with poses
HASH = re.compile(r"sha256:[0-9a-f]{64}")

# move -> (unit, amount where none is said). Metres of the world, where a subject is about one metre tall; degrees.
MOVES: dict[str, tuple[str, float]] = {
    "static": ("", 0.0),
    "pan left": ("degrees", 20.0), "pan right": ("degrees", 20.0),
    "tilt up": ("degrees", 10.0), "tilt down": ("degrees", 10.0),
    "orbit left": ("degrees", 30.0), "orbit right": ("degrees", 30.0),
    "dolly in": ("metres", 1.5), "dolly out": ("metres", 1.5),
    "truck left": ("metres", 1.0), "truck right": ("metres", 1.0),
    "crane up": ("metres", 1.5), "crane down": ("metres", 1.0),
}  # fmt: skip
MOVES_HINT = f"moves with amounts, such as \"dolly in 1.5, pan left 20\"; moves are {', '.join(MOVES)}"

# seconds; right, up, forward from the first camera (metres); yaw to the right, pitch upwards (degrees)
Pose = tuple[float, float, float, float, float, float]
# seconds; x, y (0..1 of the picture, from its top left corner); height (of the picture; 0: as it is)
Point = tuple[float, float, float, float]


@dataclass(frozen=True)
class Given:
    """A video or an image that is known, and where it stands in time."""

    source: str  # a path; or "sha256:..." in the manifest of a clip made from it
    at: float = 0.0  # seconds into the clip, for keyframes
    strength: float = 1.0  # 0..1: how firmly it is held; 1 keeps it as it is

    def __post_init__(self) -> None:
        if not isinstance(self.source, str) or not 1 <= len(self.source) <= 4096 or "\0" in self.source:
            raise UserError("the input has no name", "give the path of a video or an image")
        object.__setattr__(self, "at", number(self.at, "the time of an input", 0, 60))
        object.__setattr__(self, "strength", number(self.strength, "the strength of an input", 0.01, 1))

    @classmethod
    def parse(cls, text: str) -> Given:
        """Reads FILE, FILE@SECONDS or FILE@SECONDS:STRENGTH."""
        found = re.fullmatch(r"(.+?)@([0-9.]+)(?::([0-9.]+))?", text, re.DOTALL)
        if not found:
            return cls(text)
        return cls(found[1], found[2], found[3] or 1.0)  # type: ignore[arg-type]  # read by number()

    def to_json(self) -> dict[str, str | float]:
        """The fields as plain JSON values."""
        return {"source": self.source, "at": self.at, "strength": self.strength}


@dataclass(frozen=True)
class Lora:
    """What a model learnt afterwards, in a file of its own, and how much of it counts."""

    source: str  # a path; or "sha256:..." in the manifest of a clip made with it
    strength: float = 1.0  # -4..4: 0 is the model without it, and below 0 its opposite

    def __post_init__(self) -> None:
        if not isinstance(self.source, str) or not 1 <= len(self.source) <= 4096 or "\0" in self.source:
            raise UserError("the adapter has no name", "give the path of a .safetensors file")
        object.__setattr__(self, "strength", number(self.strength, "the strength of an adapter", -4, 4))

    @classmethod
    def parse(cls, text: str) -> Lora:
        """Reads FILE or FILE:STRENGTH."""
        found = re.fullmatch(r"(.+?):(-?[0-9]*\.?[0-9]+)", text, re.DOTALL)
        if not found or HASH.fullmatch(text):
            return cls(text)
        return cls(found[1], float(found[2]))

    def to_json(self) -> dict[str, str | float]:
        """The fields as plain JSON values."""
        return {"source": self.source, "strength": self.strength}


@dataclass(frozen=True)
class Track:
    """The way of one thing over the picture. Before its first and after its last point it stays there."""

    points: tuple[Point, ...]  # in the order of time

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", table(self.points, (3, 4, 5), "a track", _point))

    @classmethod
    def parse(cls, text: str) -> Track:
        """Reads "X,Y X,Y ...", evenly spread over the clip, or "T:X,Y T:X,Y ..." with times in seconds.

        X,Y are the middle of the thing; X0,Y0,X1,Y1 its box. All from 0 to 1.
        """
        rows: list[list[float]] = []
        words = text.split()
        for word in words:
            time, _, place = word.rpartition(":")
            try:
                numbers = [float(n) for n in place.split(",")]
                rows.append([float(time) if time else -1.0, *numbers])
            except ValueError:
                raise UserError(f"a track cannot hold {word[:40]!r}", 'such as "0:0.2,0.6 2:0.8,0.6"') from None
        timed = [row[0] >= 0 for row in rows]
        if any(timed) and not all(timed):
            raise UserError(f"some points of the track have no time: {text[:40]!r}", "give all times, or none")
        if not any(timed):  # negative times count parts of the clip: -1 is its end
            rows = [[-i / max(1, len(rows) - 1), *row[1:]] for i, row in enumerate(rows)]
        return cls(tuple(rows))  # type: ignore[arg-type]  # read by table()

    def to_json(self) -> list[list[float]]:
        """The points as lists of numbers."""
        return [list(point) for point in self.points]


def number(value: Any, name: str, least: float, most: float) -> float:
    """A finite number in a range; text is read. Raises UserError."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not least <= found <= most:
        raise UserError(f"{name} cannot be {str(value)[:40]!r}", f"a number from {least:g} to {most:g}")
    return found + 0.0


def table(rows: Any, widths: Sequence[int], name: str, read: Any) -> tuple[Any, ...]:
    """Rows of numbers in the order of their first column; the widths are those a row may have. Raises UserError."""
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise UserError(f"{name} cannot be {str(rows)[:40]!r}", "rows of numbers")
    rows = list(rows)
    if not 1 <= len(rows) <= MAX_POSES:
        raise UserError(f"{name} has {len(rows)} rows", f"1 to {MAX_POSES}")
    found = []
    for i, row in enumerate(rows, 1):
        if isinstance(row, str) or not isinstance(row, Iterable) or len(values := list(row)) not in widths:
            raise UserError(f"row {i} of {name} has not {' or '.join(map(str, widths))} numbers", "see docs/modes.md")
        found.append(read([number(v, f"row {i} of {name}", -1e4, 1e4) for v in values]))
    # Parts of the clip (0, -0.5, -1) grow downwards, seconds upwards.
    times = [abs(row[0]) for row in found]
    if any(b <= a for a, b in itertools.pairwise(times)):
        raise UserError(f"the times of {name} do not grow", "one row after another")
    return tuple(found)


def _point(row: list[float]) -> Point:
    if len(row) == 5:
        time, x0, y0, x1, y1 = row
        if x1 <= x0 or y1 <= y0:
            raise UserError("a box of a track is empty", "left, top, right, bottom, from 0 to 1")
        row = [time, (x0 + x1) / 2, (y0 + y1) / 2, y1 - y0]
    time, x, y, height = (*row, 0.0)[:4]
    if not -1 <= x <= 2 or not -1 <= y <= 2 or not 0 <= height <= 4:
        raise UserError(f"a track cannot go to {x:g}, {y:g}", "parts of the picture from 0 to 1; 2 is far outside")
    return time, x, y, height


def camera(value: Any) -> str | tuple[Pose, ...]:
    """A camera path: "" for none, named moves as text, or keyed poses. Raises UserError."""
    if isinstance(value, str):
        return ", ".join(f"{move} {amount:g}".removesuffix(" 0") for move, amount in moves(value))
    return table(value, (6,), "the camera's path", tuple)


def moves(text: str) -> list[tuple[str, float]]:
    """Reads "dolly in 1.5, pan left 20" as moves and amounts; they happen together, over the whole clip."""
    found = []
    for part in re.split(r"[,;]| and ", text.strip().lower()) if text.strip() else []:
        said = re.fullmatch(r"\s*([a-z]+(?: [a-z]+)?)(?:\s+([0-9.]+)\s*(?:degrees|deg|°|metres|meters|m)?)?\s*", part)
        if not said or said[1] not in MOVES:
            raise UserError(f"camera cannot be {part.strip()[:40]!r}", MOVES_HINT)
        amount = number(said[2], f"how far the camera goes ({said[1]})", 0, 360) if said[2] else MOVES[said[1]][1]
        found.append((said[1], amount))
    return found


def camera_file(path: Path) -> tuple[Pose, ...]:
    """Keyed poses from a .json or .csv file (docs/modes.md) or a RealEstate10K text file. Raises UserError."""
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "give the path of an existing file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is no text", "JSON, CSV or RealEstate10K") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path.name} is too long for a camera path", f"at most {MAX_BYTES >> 20} MiB")
    try:
        if path.suffix.lower() == ".json":
            rows: Any = [[row[k] for k in POSE_FIELDS] if isinstance(row, dict) else row for row in json.loads(text)]
        elif path.suffix.lower() == ".csv":
            rows = [[row[k] for k in POSE_FIELDS] for row in csv.DictReader(text.splitlines())]
        else:
            rows = realestate(text)
    except KeyError as error:
        raise UserError(f"{path.name} lacks the column {error}", f"columns are {', '.join(POSE_FIELDS)}") from None
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path.name} is no camera path", "JSON, CSV or RealEstate10K: docs/modes.md") from None
    return table(rows, (6,), path.name, tuple)


POSE_FIELDS = ("t", "x", "y", "z", "yaw", "pitch")


def realestate(text: str) -> list[Pose]:
    """Poses of a RealEstate10K file (arXiv:1805.09817), relative to its first camera.

    After a line with an address, each line has a time in microseconds, four intrinsics, two zeros and twelve numbers
    of the world-to-camera matrix, row by row, x right, y down, z forward. Roll is dropped: our camera is level.
    """
    import numpy as np

    poses: list[Pose] = []
    first = start = None
    for line in text.splitlines():
        values = line.split()
        if len(values) != 19:
            if poses or len(values) > 2:
                raise ValueError("no line of RealEstate10K")
            continue
        numbers = np.array([float(v) for v in values])
        outside = np.vstack([numbers[7:].reshape(3, 4), [0, 0, 0, 1]])
        pose = np.linalg.inv(outside)  # camera to world
        if first is None:
            first, start = outside, numbers[0]
        turn = first @ pose
        right, down, forward = turn[:3, 3]
        ahead = turn[:3, 2]
        poses.append(((numbers[0] - start) / 1e6, right, -down, forward,
                      math.degrees(math.atan2(ahead[0], ahead[2])),
                      math.degrees(math.asin(max(-1.0, min(1.0, -ahead[1]))))))
    return poses
