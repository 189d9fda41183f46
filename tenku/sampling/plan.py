"""Plans: what is to be dreamt, what is known, and in which rounds. Plain data; the same plan, the same clip.

All lengths are latent steps of the engine's codec. A plan longer than the model was trained for is dreamt in
rounds: what one round has dreamt is known to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tenku.inputs import Pose
from tenku.request import Request
from tenku.sampling.shown import Said

NEGATIVE = 3.0  # how hard the prompt pulls away from a negative one where nothing is said of it
LEAST = 0.1  # of the steps are made upon a sketch, however little noise it gets
OVERLAP = 2  # latent steps of the past that a later round sees


@dataclass(frozen=True)
class Round:
    """One call of the solver: dream steps start..stop, given what is there of known..end."""

    known: int  # first step that is seen
    start: int  # first step that is dreamt
    stop: int  # one past the last that is dreamt
    end: int  # one past the last that is seen


@dataclass(frozen=True)
class Plan:
    """Everything that decides a clip, apart from the weights and the pixels that are given (sampling/canvas.py)."""

    prompt: str
    negative_prompt: str
    width: int  # pixels
    height: int  # pixels
    frames: int
    fps: float
    seed: int
    steps: int  # denoising steps from noise alone
    guidance: float
    rounds: tuple[Round, ...]
    said: tuple[Said, ...]  # what is to be seen, from 0 on; where pictures show what stands around, no seed says it
    start: float = 1.0  # the noise level that dreaming starts from; below 1, from what is given, or from a sketch
    sketched: bool = False  # it is dreamt from its sketch, for all that it shows is told
    cyclic: bool = False  # after the last frame comes the first
    crop: tuple[int, int] | None = None  # frames first..last + 1 that leave; None: all
    camera: str | tuple[Pose, ...] = ""
    tracks: tuple[tuple[tuple[float, ...], ...], ...] = ()
    motion: float = 1.0

    @property
    def steps_a_round(self) -> int:
        """As many of the steps as lie below the noise level that dreaming starts from; more upon a sketch."""
        return max(1, round(self.steps * max(self.start, LEAST * self.sketched)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest."""
        return asdict(self)


def rounds(steps: int, longest: int, known: Sequence[bool] = ()) -> tuple[Round, ...]:
    """Rounds that dream all of `steps` that are not known, in windows of at most `longest` (which exceeds OVERLAP).

    A gap between known steps is dreamt with both of its ends in view, as soon as they fit; the past of a clip is
    dreamt backwards from it.
    """
    done = [*known, *[False] * (steps - len(known))]
    found = []
    while not all(done):
        start = done.index(False)
        stop = next((s for s in range(start, steps) if done[s]), steps)  # the gap
        run = next((s for s in range(stop, steps) if not done[s]), steps) - stop  # that is known after the gap
        before, after = min(OVERLAP, start), min(OVERLAP if start == 0 else 1, run)
        if before > 1 and stop - start + before + after == longest + 1:
            before -= 1  # the far end is worth more than a second step of the near one
        if stop - start + before + after <= longest:
            pass
        elif start == 0 and after:  # backwards; a first step that is not the clip's own is seen as a still
            after = min(after, longest - 2)
            start = max(0, stop + after + 1 - longest)
            before = int(start > 0)
        else:
            before = min(before, longest - 1)
            stop = min(start + longest - before, max(stop - 2, start + 1) if after else stop)
            after = 0
        found.append(Round(start - before, start, stop, stop + after))
        done[start:stop] = [True] * (stop - start)
    return tuple(found)


def pull(request: Request) -> float:
    """How hard the prompt pulls. Without any guidance nobody would hear a negative prompt."""
    return NEGATIVE if request.negative_prompt and request.guidance == 1 else request.guidance


def said(request: Request, scenery: int | None) -> tuple[Said, ...]:
    """What a request asks to be seen; what a caption leaves open the prompt says."""
    texts = [(0.0, request.prompt), *request.captions]
    return tuple(Said(start, text, request.prompt, scenery) for start, text in texts)


def plan(request: Request, steps: int, longest: int, **more: Any) -> Plan:
    """The plan of a request whose clip has `steps` latent steps: of text to video, unless a mode says `more`."""
    made = Plan(
        prompt=request.prompt, negative_prompt=request.negative_prompt, width=request.size.width,
        height=request.size.height, frames=request.frames, fps=request.fps, seed=request.seed,
        steps=request.steps, guidance=pull(request), rounds=rounds(steps, longest),
        said=said(request, None if request.inputs else request.seed), camera=request.camera, motion=request.motion,
        tracks=tuple(track.points for track in request.tracks),
    )
    return replace(made, **more)
