"""Modes: a few lines each that turn a Request into a plan and a canvas. They only say what is known where.

A clip has one frame and whole groups of GROUP frames, so what is to be dreamt is rounded to fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tenku import untrusted
from tenku.errors import UserError
from tenku.inputs import HASH, Given
from tenku.request import GROUP, MAX_PIXELS, Request, whole
from tenku.sampling.canvas import FIRM, Canvas
from tenku.sampling.shown import Placed, Shown
from tenku.types import Clip, Size


@dataclass(frozen=True)
class Setting:
    """What a mode makes of a request: how many frames, what of them is given, and what the plan says besides."""

    frames: int  # of the clip as it is dreamt: 1 + a multiple of GROUP, or the multiple itself where time is a circle
    canvas: Canvas | None = None
    placed: tuple[Placed, ...] = ()  # what is given, where it is ours and says what it shows
    more: Mapping[str, Any] = field(default_factory=dict)  # of the Plan's fields


class Inputs:
    """What a request is given: clips at its size and rate, and what they show."""

    def __init__(self, request: Request, clips: Mapping[str, Clip], shown: Mapping[str, Any]) -> None:
        self.request, self.clips, self.shown = request, clips, shown

    def take(self, given: Given, uncut: bool = False) -> Clip:
        """An input; uncut, near the request's size."""
        size, fps = self.request.size, self.request.fps
        clip = self.clips.get(given.source)
        if clip is None:
            clip = untrusted.read_at(located(given.source), fps, (size.width, size.height))
        return clip if uncut else fitted(clip, size)

    def placed(self, *at: tuple[Given, Clip, int]) -> tuple[Placed, ...]:
        """Inputs with the frame where each begins, if of all of them is said what they show.

        Only what fills latent steps is known to the painter.
        """
        found = [Placed(clip, first, shown) for given, clip, first in at
                 if (shown := Shown.from_json(self.shown.get(given.source))) and len(clip.frames) % GROUP == 1]
        return tuple(found) if len(found) == len(at) else ()


def setting(
    request: Request, clips: Mapping[str, Clip] | None = None, shown: Mapping[str, Any] | None = None
) -> Setting:
    """The setting of a request. Raises UserError for inputs that are missing, broken, or do not fit.

    clips: inputs that are at hand already, by their "sha256:..."; others are read from their files. shown: what inputs
    show, by their sources, as their manifests have it (`Shown.to_json`).
    """
    size, made = request.size, _MODES[request.mode](request, Inputs(request, clips or {}, shown or {}))
    if made.frames * size.width * size.height * request.samples > MAX_PIXELS:
        raise UserError(f"{made.frames} frames of {size} are more than fits", f"at most {MAX_PIXELS / 1e6:.0f} million "
                        "pixels: shorter inputs, or a smaller size")
    return made


def _generate(request: Request, inputs: Inputs) -> Setting:
    """From words; keyframes are pictures, or clips, at their times."""
    if not request.inputs:
        return Setting(request.frames)
    canvas = Canvas.empty(request.frames, request.size.height, request.size.width)
    for given in request.inputs:
        clip = inputs.take(given)
        canvas.put(clip, round(given.at * request.fps), given.strength)
    alone = len(request.inputs) == 1 and (canvas.weight[: len(clip.frames)] == FIRM).all()
    return Setting(request.frames, canvas, inputs.placed((request.inputs[0], clip, 0)) if alone else ())


def _extend(request: Request, inputs: Inputs) -> Setting:
    """Goes on from a clip's end, or comes to its beginning."""
    clip = inputs.take(request.inputs[0])
    have = len(clip.frames)
    frames = request.length([have])
    canvas = Canvas.empty(frames, request.size.height, request.size.width)
    begins = 0 if request.way == "forwards" else frames - have
    canvas.put(clip, begins)
    return Setting(frames, canvas, inputs.placed((request.inputs[0], clip, begins)))


def _blend(request: Request, inputs: Inputs) -> Setting:
    """Two clips become one: a way from one's end to the other's beginning, or one turning into the other."""
    before, after = (inputs.take(given) for given in request.inputs)
    one, other = request.inputs
    frames = request.length([len(before.frames), len(after.frames)])
    if request.way == "transition":
        canvas = Canvas.empty(frames, request.size.height, request.size.width)
        canvas.put(before, 0)
        canvas.put(after, frames - len(after.frames))
        placed = inputs.placed((one, before, 0), (other, after, frames - len(after.frames)))
        return Setting(frames, canvas, placed)
    if frames == 1:
        raise UserError("a morph of one frame cannot be", f"two clips of more than {GROUP} frames, or a transition")
    share = np.linspace(0, 1, frames)[:, None, None, None]  # of the second
    mixed = (1 - share) * before.frames[:frames] + share * after.frames[:frames]
    canvas = Canvas(mixed.round().astype(np.uint8), np.zeros((frames, *mixed.shape[1:3]), np.uint8))
    canvas.weight[[0, -1]] = FIRM
    return Setting(frames, canvas, inputs.placed((one, before, 0), (other, after, 0)), {"start": request.strength})


def _loop(request: Request, inputs: Inputs) -> Setting:
    """A circle of time; a clip that is given is led back to its beginning within `seconds`."""
    if not request.inputs:
        return Setting(request.length([]), more={"cyclic": True})
    clip = inputs.take(request.inputs[0])
    have = len(clip.frames)
    again = min(have, GROUP)  # frames of its beginning that are seen after the way back
    frames = whole(request.length([have]) + again)
    canvas = Canvas.empty(frames, request.size.height, request.size.width)
    canvas.put(clip, 0)
    canvas.put(Clip(clip.frames[:again], clip.fps), frames - again)
    placed = inputs.placed((request.inputs[0], clip, 0))
    placed = (*placed, *(replace(one, first=frames - again) for one in placed))
    return Setting(frames, canvas, placed, {"crop": (0, frames - again)})


def _edit(request: Request, inputs: Inputs) -> Setting:
    """The clip again: nearer to the prompt, within or without a mask, on a larger canvas, or between spans kept."""
    around = request.way == "around"
    source = request.inputs[0]
    own = inputs.take(source, uncut=around)
    clip, inside = _framed(own, request) if around else (own, None)
    have = len(clip.frames)
    frames = whole(have)
    canvas = Canvas.empty(frames, request.size.height, request.size.width)
    canvas.put(Clip(clip.frames[np.arange(frames).clip(0, have - 1)], clip.fps), 0, 0.0)
    if inside is not None:
        canvas.weight[:have] = inside
    elif request.mask:
        white = inputs.take(Given(request.mask)).frames.max(-1)
        white = np.where(white[np.arange(have).clip(0, len(white) - 1)] >= 128, np.uint8(FIRM), np.uint8(0))
        canvas.weight[:have] = FIRM - white if request.way == "inside" else white
    for begin, end in request.keep:
        canvas.weight[round(begin * request.fps) : min(have, round(end * request.fps) + 1)] = FIRM
    start = 1.0 if around or request.keep else request.strength
    crop = (0, have) if have < frames else None
    seen = own.size[1] == request.size.height  # above and below it, too, another camera sees more
    placed = inputs.placed((source, own, 0)) if seen else ()
    return Setting(frames, canvas, placed, {"start": start, "crop": crop})


_MODES: dict[str, Callable[[Request, Inputs], Setting]] = {
    "generate": _generate, "extend": _extend, "blend": _blend, "loop": _loop, "edit": _edit,
}


def _framed(clip: Clip, request: Request) -> tuple[Clip, np.ndarray]:
    """A clip as large as fits into the middle of the picture, and where it is: T H W 3, and 0 or FIRM H W."""
    width, height = request.size.width, request.size.height
    scale = min(width / clip.size[0], height / clip.size[1])
    wide, high = (max(1, min(n, round(m * scale))) for n, m in ((width, clip.size[0]), (height, clip.size[1])))
    small = fitted(clip, Size(wide, high)).frames
    top, left = (height - high) // 2, (width - wide) // 2
    around = ((0, 0), (top, height - high - top), (left, width - wide - left))
    inside = np.pad(np.full((high, wide), FIRM, np.uint8), around[1:])
    return Clip(np.pad(small, (*around, (0, 0)), mode="edge"), request.fps), inside


def located(source: str) -> Path:
    """The file of an input. Raises UserError for one that only its hash is known of."""
    if HASH.fullmatch(source):
        raise UserError(f"the input {source[:19]}... is known by its hash only", "give the file's path in its place")
    return Path(source)


def fitted(clip: Clip, size: Size) -> Clip:
    """A clip scaled until it fills the size; what stands over is cut off evenly on both sides."""
    width, height = clip.size
    if (width, height) == (size.width, size.height):
        return clip
    scale = max(size.width / width, size.height / height)
    wide, high = max(size.width, round(width * scale)), max(size.height, round(height * scale))
    top, left = (high - size.height) // 2, (wide - size.width) // 2
    frames = np.empty((len(clip.frames), size.height, size.width, 3), np.uint8)
    for i, frame in enumerate(clip.frames):
        picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
        picture = F.interpolate(picture, (high, wide), mode="bilinear", antialias=True, align_corners=False)
        picture = picture[0, :, top : top + size.height, left : left + size.width].round().clamp(0, 255)
        frames[i] = picture.permute(1, 2, 0).to(torch.uint8).numpy()
    return Clip(frames, clip.fps)


def name_of(clip: Clip) -> str:
    """What a request names a clip in memory by: the hash of its rate, size and pixels."""
    about = f"{clip.fps} {clip.frames.shape}".encode()
    return f"sha256:{hashlib.sha256(about + clip.frames.tobytes()).hexdigest()}"


def hashed(request: Request) -> Request:
    """The request as a manifest holds it: inputs and adapters named by the hash of their bytes, a model by its folder's
    own name."""

    def name(source: str) -> str:
        if not source or HASH.fullmatch(source):
            return source
        with located(source).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    return replace(request, inputs=tuple(replace(g, source=name(g.source)) for g in request.inputs),
                   lora=tuple(replace(one, source=name(one.source)) for one in request.lora),
                   mask=name(request.mask), model=Path(request.model).name or request.model)
