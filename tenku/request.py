"""What somebody asked for, validated once: the one form that commands, Python and a file's manifest share.

A Request that exists is valid: every field is read by the table below, whoever constructs it.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any

from tenku import catalogue
from tenku.config import CodecConfig
from tenku.errors import UserError
from tenku.inputs import MAX_INPUTS, Given, Lora, Pose, Track, camera, table
from tenku.types import Size

GROUP = CodecConfig.stride[0]  # frames: a video is one frame and whole groups of so many
MAX_PIXELS = 1 << 28  # of all frames of all samples together: they are held in memory at once (800 MB)
MAX_SEED = 2**63 - 1
SAID = 60  # characters of a wrong value that an error repeats
LIKE = 'say what to show, such as "a red ball bouncing on a beach"'
DEFAULT_SIZE = Size(128, 80)
LARGEST = 256  # pixels of a side: a clip made from a larger one has about the size that the model was trained for
# mode -> how many inputs it takes, and the ways in which it goes; the first way is meant where none is said
MODES: dict[str, tuple[range, tuple[str, ...]]] = {
    "generate": (range(MAX_INPUTS + 1), ("",)),  # from words, and keyframes
    "extend": (range(1, 2), ("forwards", "backwards")),
    "blend": (range(2, 3), ("transition", "morph")),
    "loop": (range(2), ("",)),
    "edit": (range(1, 2), ("", "inside", "outside", "around")),  # all of it; a mask's inside or outside; the margin
}


@dataclass(frozen=True)
class Request:
    """A video or an image to make. Construct it or `parse` it; either raises UserError for what cannot be."""

    prompt: str  # 1..2000 characters
    negative_prompt: str = ""  # 0..2000 characters: what to steer away from
    size: Size = DEFAULT_SIZE  # pixels, 32..1920 a side
    seconds: float = 2.0  # 0..60; 0 asks for an image; `frames` says what it comes to
    fps: float = 16.0  # frames per second, 1..60
    seed: int = 0  # 0..2^63-1: the same request gives the same pictures
    steps: int = 30  # 1..200 denoising steps
    guidance: float = 1.0  # 0..20: how hard the prompt pulls; 1 means no guidance, and 3 where there is a negative one
    samples: int = 1  # 1..16 takes, made together
    model: str = "nano"  # the bundled weights, a listed open model (catalogue.py), or a folder of weights
    mode: str = "generate"  # of MODES
    way: str = ""  # of the mode's ways
    inputs: tuple[Given, ...] = ()  # what is given: keyframes, or the clips to go on from
    mask: str = ""  # a picture or a video, white where it holds; "" for none
    keep: tuple[tuple[float, float], ...] = ()  # spans in seconds that a re-cut keeps; the rest is dreamt again
    strength: float = 0.9  # 0.05..1: how far an edit or a morph may go from what is given
    captions: tuple[tuple[float, str], ...] = ()  # (seconds, what is to be seen from then on), after the prompt
    camera: str | tuple[Pose, ...] = ""  # "": as the words say; named moves, or keyed poses
    tracks: tuple[Track, ...] = ()  # where the first, second and third thing go
    motion: float = 1.0  # 0..3: how strongly everything moves; 0 stands still
    lora: tuple[Lora, ...] = ()  # at most 8: what the model learnt afterwards (docs/tuning.md)

    def __post_init__(self) -> None:
        for name, read in _READERS.items():
            object.__setattr__(self, name, read(name, getattr(self, name)))
        self._check_mode()
        if self.seed + self.samples - 1 > MAX_SEED:
            raise UserError(f"seed cannot be {self.seed} for {self.samples} samples", "give a smaller seed")
        pixels = self.size.width * self.size.height * self.frames * self.samples
        if pixels > MAX_PIXELS:
            raise UserError(
                f"{self.samples} x {self.frames} frames of {self.size} are {pixels / 1e6:.0f} million pixels",
                f"at most {MAX_PIXELS / 1e6:.0f} million: fewer seconds, samples or pixels",
            )

    def _check_mode(self) -> None:
        count, ways = MODES[self.mode]
        if not self.way:
            object.__setattr__(self, "way", ways[0])
        if self.way not in ways:
            raise UserError(f"way cannot be {_say(self.way)} for {self.mode}", f"one of {', '.join(filter(None, ways))}"
                            if any(ways) else f"{self.mode} has no ways")
        if len(self.inputs) not in count:
            raise UserError(f"inputs cannot be {len(self.inputs)} for {self.mode}",
                            f"give {count.start}" if len(count) == 1 else f"from {count.start} to {count.stop - 1}")
        late = [one.at for one in self.inputs if self.mode == "generate" and round(one.at * self.fps) >= self.frames]
        if late:
            raise UserError(f"inputs cannot be at {late[0]:g} s of {(self.frames - 1) / self.fps:g} s",
                            "an earlier time, or more seconds")
        if (self.way in ("inside", "outside")) != bool(self.mask):
            raise UserError(f"mask cannot be {_say(self.mask)} for {self.mode} {self.way}".rstrip(),
                            "a mask goes with the ways inside and outside of edit")
        if self.keep and self.mode != "edit":
            raise UserError(f"keep cannot be given for {self.mode}", "spans to keep go with edit")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Request:
        """Reads fields from outside: numbers may be text, size "128x80", None means the default, or the model's own."""
        unknown = [str(name) for name in values if name not in _READERS]
        if unknown:
            raise UserError(f"no such field: {_say(unknown[0])}", f"one of {', '.join(_READERS)}")
        given = {name: value for name, value in values.items() if value is not None}
        if "prompt" not in given:
            raise UserError("the prompt is missing", LIKE)
        return cls(**{**catalogue.defaults(given.get("model")), **given})

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; `from_json` reads them back to an equal Request."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return values | {"size": str(self.size)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Request:
        """The inverse of `to_json`. Raises UserError like `parse`."""
        return cls.parse(values)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is said: the prompt, the negative one, and the captions along time."""
        return (self.prompt, self.negative_prompt, *(text for _, text in self.captions))

    @property
    def frames(self) -> int:
        """How many frames the clip has: 1 for an image, else 1 + a multiple of 8 (2 s at 16 fps: 33)."""
        if self.seconds == 0:
            return 1
        return 1 + GROUP * max(1, int(self.seconds * self.fps / GROUP + 0.5))

    def length(self, given: Sequence[int]) -> int:
        """How many frames the clip has that leaves, where the inputs have so many frames at `fps`."""
        if self.mode == "generate":
            return self.frames
        add = max(1, round(self.seconds * self.fps))
        if self.mode == "loop":
            return given[0] + add if given else self.frames - 1
        if self.mode == "edit":
            return given[0]
        if self.way == "morph":
            return (min(given) - 1) // GROUP * GROUP + 1
        return whole(sum(given) + add)

    def each(self) -> list[Request]:
        """One request per sample: sample i is what seed + i gives alone, so any take can be made again."""
        return [replace(self, seed=self.seed + i, samples=1) for i in range(self.samples)]


def size_like(width: int, height: int, model: str = "nano") -> Size:
    """The size of a clip made from one of so many pixels: its own where the model knows such sizes, else its aspect."""
    known = catalogue.listed(model)
    meant = DEFAULT_SIZE if known is None else Size.parse(known.size)
    if known is None and min(width, height) >= 32 and max(width, height) <= LARGEST:
        return Size(width, height)
    unit = (meant.width * meant.height / (width * height)) ** 0.5 / 16
    wide, high = (max(32, min(1920, 16 * round(n * unit))) for n in (width, height))
    return Size(wide, high)


def whole(frames: int) -> int:
    """At least so many frames, such that a clip can have them."""
    return 1 + -(-(frames - 1) // GROUP) * GROUP


def _plain(value: Any) -> Any:
    """Tuples as lists, inputs and tracks as their own JSON."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.to_json() if isinstance(value, Given | Track | Lora) else value


def _say(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        text = "a number without end"
    return text if len(text) <= SAID else text[: SAID - 3] + "..."


def _refuse_control(name: str, text: str) -> None:
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None)
    if bad is not None:
        raise UserError(f"{name} holds the control character U+{ord(bad):04X}", "remove it")


def _text(limit: int, least: int) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise UserError(f"{name} must be text, not {_say(value)}", "put it in quotes")
        if len(value) > 100 * limit:  # before any work on it
            raise UserError(f"{name} has {len(value)} characters", f"at most {limit}")
        text = " ".join(value.split())  # line breaks, tabs and exotic spaces are one space
        _refuse_control(name, text)
        if len(text) < least:
            raise UserError(f"{name} is empty", LIKE)
        if len(text) > limit:
            raise UserError(f"{name} has {len(text)} characters", f"at most {limit}")
        return text

    return read


def _model(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str | PurePath) else ""
    if not 1 <= len(text) <= 1000:
        raise UserError(f"{name} cannot be {_say(value)}", "nano, or a folder of weights")
    _refuse_control(name, text)
    return text


def _number(least: float, most: float) -> Callable[[str, Any], float]:
    def read(name: str, value: Any) -> float:
        hint = f"a number from {least:g} to {most:g}"
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not least <= number <= most:  # also false for nan
            raise UserError(f"{name} cannot be {_say(value)}", hint)
        return number + 0.0  # -0.0 is 0.0

    return read


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        hint = f"a whole number from {least} to {most}"
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,20}\s*", value):
            value = int(value)
        elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # JSON knows only one kind of number
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UserError(f"{name} cannot be {_say(value)}", hint)
        return value

    return read


def _size(name: str, value: Any) -> Size:
    hint = "width x height such as 128x80, each side from 32 to 1920"
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = Size.parse(value.strip())
        except ValueError:
            raise UserError(f"{name} cannot be {_say(value)}", hint) from None
    if not isinstance(value, Size):
        raise UserError(f"{name} cannot be {_say(value)}", hint)
    sides = (value.width, value.height)
    if not all(isinstance(side, int) and 32 <= side <= 1920 for side in sides):
        raise UserError(f"{name} cannot be {value}", hint)
    return value


def _choice(options: Sequence[str]) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise UserError(f"{name} cannot be {_say(value)}", f"one of {', '.join(filter(None, options))}")
        return value

    return read


def _path(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str | PurePath) else "\0"
    if len(text) > 4096 or "\0" in text:
        raise UserError(f"{name} cannot be {_say(value)}", "give the path of a picture or a video")
    return text


def _list(read: Callable[[Any], Any], most: int) -> Callable[[str, Any], tuple[Any, ...]]:
    def read_all(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            raise UserError(f"{name} cannot be {_say(value)}", f"a list of at most {most}")
        return tuple(_named(read)(name, item) for item in value)

    return read_all


def _given(value: Any) -> Given:
    if isinstance(value, Mapping):
        if set(value) - {"source", "at", "strength"} or "source" not in value:
            raise UserError("an input has other fields", "source, at and strength")
        return Given(**value)
    if isinstance(value, str | PurePath):
        return Given.parse(str(value))
    if not isinstance(value, Given):
        raise UserError(f"an input cannot be {_say(value)}", "the path of a video or an image")
    return value


def _track(value: Any) -> Track:
    if isinstance(value, Track):
        return value
    return Track.parse(value) if isinstance(value, str) else Track(value)


def _lora(value: Any) -> Lora:
    if isinstance(value, Mapping):
        if set(value) - {"source", "strength"} or "source" not in value:
            raise UserError("an adapter has other fields", "source and strength")
        return Lora(**value)
    if isinstance(value, str | PurePath):
        return Lora.parse(str(value))
    if not isinstance(value, Lora):
        raise UserError(f"an adapter cannot be {_say(value)}", "the path of a .safetensors file")
    return value


def _spans(value: Any) -> tuple[tuple[float, float], ...]:
    if isinstance(value, list | tuple) and not value:
        return ()
    found: tuple[tuple[float, float], ...] = table(value, (2,), "the spans", tuple)
    if any(b <= a or a < 0 for a, b in found) or any(n[0] < m[1] for m, n in itertools.pairwise(found)):
        raise UserError(f"they are {_say(value)}", "spans that end after they begin, one after another")
    return found


def _captions(name: str, value: Any) -> tuple[tuple[float, str], ...]:
    if not isinstance(value, list | tuple) or len(value) > 32 or any(
            not isinstance(row, list | tuple) or len(row) != 2 for row in value):
        raise UserError(f"{name} cannot be {_say(value)}", "at most 32 pairs of seconds and text")
    found = tuple((_number(0, 60)(name, at), _text(2000, 1)(name, said)) for at, said in value)
    if any(b[0] <= a[0] for a, b in itertools.pairwise(found)):
        raise UserError(f"{name} cannot be {_say(value)}", "their times grow")
    return found


def _named(read: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    def read_named(name: str, value: Any) -> Any:
        try:
            return read(value)
        except UserError as error:
            raise UserError(f"{name} cannot be so: {error}", error.hint) from None

    return read_named


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "prompt": _text(2000, 1),
    "negative_prompt": _text(2000, 0),
    "size": _size,
    "seconds": _number(0, 60),
    "fps": _number(1, 60),
    "seed": _whole(0, MAX_SEED),
    "steps": _whole(1, 200),
    "guidance": _number(0, 20),
    "samples": _whole(1, 16),
    "model": _model,
    "mode": _choice(tuple(MODES)),
    "way": _choice(tuple(dict.fromkeys(way for _, ways in MODES.values() for way in ways))),
    "inputs": _list(_given, MAX_INPUTS),
    "mask": _path,
    "keep": _named(_spans),
    "strength": _number(0.05, 1),
    "captions": _captions,
    "camera": _named(camera),
    "tracks": _list(_track, 3),
    "motion": _number(0, 3),
    "lora": _list(_lora, 8),
}
