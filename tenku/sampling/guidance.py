"""Guidance: a velocity made of two others."""

from __future__ import annotations

from torch import Tensor

from tenku.sampling.solvers import Velocity


def guided(towards: Velocity, away: Velocity, scale: float) -> Velocity:
    """Classifier-free guidance, Eq. 6 of arXiv:2207.12598: away + scale (towards - away).

    At scale 1 the velocity is `towards` itself and `away` is never evaluated.
    """
    if scale == 1:
        return towards

    def velocity(x: Tensor, sigma: float) -> Tensor:
        base = away(x, sigma)
        return base + scale * (towards(x, sigma) - base)

    return velocity
