"""Guidance: a velocity made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from tenku.model import flow
from tenku.sampling.solvers import Velocity


def guided(towards: Velocity, away: Callable[[], Velocity], scale: float) -> Velocity:
    """Classifier-free guidance, Eq. 6 of arXiv:2207.12598: away + scale (towards - away).

    At scale 1 the velocity is `towards` itself, and `away`, whose context costs as much, is never made.
    """
    if scale == 1:
        return towards
    other = away()

    def velocity(x: Tensor, sigma: float) -> Tensor:
        base = other(x, sigma)
        return base + scale * (towards(x, sigma) - base)

    return velocity


def scheduled(velocities: Sequence[Velocity], shares: Tensor) -> Velocity:
    """Several captions along time: each token 1 N C follows them by its shares P N, which add up to one."""
    if len(velocities) == 1:
        return velocities[0]

    def velocity(x: Tensor, sigma: float) -> Tensor:
        parts = [share[None, :, None] * v(x, sigma) for v, share in zip(velocities, shares, strict=True)]
        return sum(parts[1:], parts[0])

    return velocity


def led(velocity: Velocity, lead: Callable[[Tensor], Tensor] | None) -> Velocity:
    """A velocity that goes where its data would be after `lead`: what is known of them is put right at every step."""
    if lead is None:
        return velocity

    def leading(x: Tensor, sigma: float) -> Tensor:
        return (x - lead(flow.denoised(x, velocity(x, sigma), sigma))) / sigma

    return leading
