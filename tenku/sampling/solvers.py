"""Solvers of the probability flow: pure functions of (velocity, x, sigmas, on_step).

`velocity(x, sigma) -> dx/dsigma` is all they know; a solver holds no counter and no state.
Legend: x of any shape; sigmas (n + 1,) from the highest noise level down to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, Tensor, Tensor, float], None]  # steps done, x, the velocity there, sigma before the step


def euler(velocity: Velocity, x: Tensor, sigmas: Tensor, on_step: OnStep | None = None) -> Tensor:
    """First order: one evaluation a step, error O(h)."""
    levels = sigmas.tolist()
    for i, (now, after) in enumerate(pairwise(levels)):
        v = velocity(x, now)
        if on_step:
            on_step(i + 1, x, v, now)
        x = x + (after - now) * v
    return x


def heun(velocity: Velocity, x: Tensor, sigmas: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Second order: two evaluations a step (one in the last), error O(h^2). Algorithm 1 of arXiv:2206.00364."""
    levels = sigmas.tolist()
    for i, (now, after) in enumerate(pairwise(levels)):
        v = velocity(x, now)
        if on_step:
            on_step(i + 1, x, v, now)
        ahead = x + (after - now) * v
        if after > 0:
            ahead = x + (after - now) * (v + velocity(ahead, after)) / 2
        x = ahead
    return x


SOLVERS = {"euler": euler, "heun": heun}
