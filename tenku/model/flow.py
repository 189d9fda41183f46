"""Flow matching: the one file that knows what sigma means.

Sigma is the noise level: 1 is noise, 0 is data. A straight line joins them (rectified flow, arXiv:2209.03003;
flow matching, arXiv:2210.02747), and the network predicts the velocity along it.
Legend: B batch, S noise slots of a sample (1, or one per latent step), N tokens, C channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def interpolate(data: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma = (1 - sigma) data + sigma noise. Shapes B N C, B N C, B N (or B 1)."""
    return torch.lerp(data, noise, sigma[..., None])


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """dx/dsigma along the line, what the network learns: noise - data."""
    return noise - data


def denoised(x: Tensor, v: Tensor, sigma: Tensor | float) -> Tensor:
    """The data that a velocity points to: x - sigma v."""
    return x - sigma * v


def noise(x: Tensor, data: Tensor, sigma: float) -> Tensor:
    """The noise that is in x, where the data is known: the inverse of `interpolate`, for sigma above 0."""
    return data + (x - data) / sigma


def variance_preserving(sigma: float) -> tuple[float, float, float]:
    """What a sample of the line is times c: sqrt(a) data + sqrt(1 - a) noise. Returns sqrt(a), sqrt(1 - a), c."""
    c = 1 / math.hypot(1 - sigma, sigma)
    return c * (1 - sigma), c * sigma, c


def shift_for(tokens: int, reference: int = 64) -> float:
    """How far to shift noise levels towards 1 for a canvas of that many tokens: sqrt(n / n0), at least 1.

    The more tokens say the same thing, the more noise it takes to hide it (arXiv:2403.03206, section 5.3.2).
    """
    return max(1.0, math.sqrt(tokens / reference))


def shift(sigma: Tensor, by: float) -> Tensor:
    """Eq. 23 of arXiv:2403.03206: sigma' = s sigma / (1 + (s - 1) sigma)."""
    return by * sigma / (1 + (by - 1) * sigma)


def draw_sigmas(rng: np.random.Generator, shape: tuple[int, ...], tokens: int) -> Tensor:
    """Training noise levels: logit-normal(0, 1), shifted for the number of canvas tokens; a tenth uniform.

    The uniform tenth keeps both ends of the line trained, where the logit-normal hardly ever draws.
    """
    logit = torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).sigmoid()
    uniform = torch.from_numpy(rng.random(shape, dtype=np.float32))
    pick = torch.from_numpy(rng.random(shape, dtype=np.float32)) < 0.1
    return shift(torch.where(pick, uniform, logit), shift_for(tokens))


def schedule(steps: int, tokens: int) -> Tensor:
    """Noise levels of a sampling run, from 1 to 0, `steps + 1` of them, shifted as in training."""
    return shift(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift_for(tokens)).to(torch.float32)
