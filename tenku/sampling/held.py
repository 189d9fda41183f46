"""What is known, for models that were not built to be told it: latents that are held while the rest is dreamt.

A latent of weight w is held at what is known of it until the noise level falls below 1 - w, and free from then on. A
known latent has w = 1 and is held to the end; one that stands for pixels of which only some are known is let go when
it has taken its place among the others.

Legend: N latents, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tenku.model import flow
from tenku.sampling.solvers import Velocity


def held(velocity: Velocity, known: Tensor | None, weight: Tensor) -> Velocity:
    """A velocity under which the latents 1 N C of weight 1 N go straight from their noise to what is known of them.

    So each of them is at every level what is known with that level's noise: replacement, as in RePaint
    (arXiv:2201.09865), on a straight line.
    """
    if known is None or not weight.any():
        return velocity

    def holding(x: Tensor, sigma: float) -> Tensor:
        return torch.where(_holds(weight, sigma), (x - known) / sigma, velocity(x, sigma))

    return holding


def eased(x: Tensor, sigma: float, known: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """For networks that are told a level for each latent: held ones with no more noise than they end with.

    Returns what the network sees, 1 N C, and the levels, 1 N.
    """
    ends = (weight - 1).neg()
    levels = torch.where(_holds(weight, sigma)[..., 0], ends, torch.full_like(ends, sigma))
    quiet = flow.interpolate(known, flow.noise(x, known, sigma), ends)
    return torch.where(_holds(weight, sigma), quiet, x), levels


def _holds(weight: Tensor, sigma: float) -> Tensor:
    """Which are held at a level, 1 N 1."""
    return ((weight > 0) & (weight + sigma > 1))[..., None]
