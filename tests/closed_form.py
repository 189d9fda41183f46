"""Truth in closed form: the exact velocity of a one-dimensional Gaussian mixture under straight-line flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians."""

    means: Tensor
    stds: Tensor
    weights: Tensor

    def velocity(self, x: Tensor, sigma: float) -> Tensor:
        """E[noise - data | x_sigma = x]: each component's posterior mean, weighted by its responsibility."""
        mean, std, weight = (t.double() for t in (self.means, self.stds, self.weights))
        keep = 1 - sigma
        variance = keep**2 * std**2 + sigma**2
        off = x[:, None] - keep * mean
        log = weight.log() - off**2 / (2 * variance) - variance.log() / 2
        data = mean + keep * std**2 / variance * off
        noise = sigma / variance * off
        return (torch.softmax(log, 1) * (noise - data)).sum(1)
