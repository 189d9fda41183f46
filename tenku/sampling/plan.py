"""Plans: what is to be dreamt, what is known, and in which rounds. Plain data; the same plan, the same clip.

All lengths are latent steps of the engine's codec. A plan longer than the model was trained for is dreamt in
rounds: what one round has dreamt is known to the next.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tenku.request import Request

OVERLAP = 2  # latent steps of the past that a later round sees


@dataclass(frozen=True)
class Round:
    """One call of the solver: dream steps start..stop, given that known..start are there already."""

    known: int  # first step that is seen
    start: int  # first step that is dreamt
    stop: int  # one past the last


@dataclass(frozen=True)
class Plan:
    """Everything that decides a clip, apart from the weights."""

    prompt: str
    negative_prompt: str
    width: int  # pixels
    height: int  # pixels
    frames: int
    fps: float
    seed: int
    steps: int  # denoising steps a round
    guidance: float
    rounds: tuple[Round, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest."""
        return asdict(self)


def rounds(steps: int, longest: int) -> tuple[Round, ...]:
    """Rounds that dream `steps` latent steps in windows of at most `longest` (which exceeds OVERLAP)."""
    found = [Round(0, 0, min(steps, longest))]
    while (done := found[-1].stop) < steps:
        known = done - min(OVERLAP, longest - 1)
        found.append(Round(known, done, min(steps, known + longest)))
    return tuple(found)


def plan(request: Request, steps: int, longest: int) -> Plan:
    """The plan of a text-to-video or text-to-image request whose clip has `steps` latent steps."""
    return Plan(
        prompt=request.prompt, negative_prompt=request.negative_prompt, width=request.size.width,
        height=request.size.height, frames=request.frames, fps=request.fps, seed=request.seed,
        steps=request.steps, guidance=request.guidance, rounds=rounds(steps, longest),
    )
