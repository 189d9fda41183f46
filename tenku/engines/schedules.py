"""A checkpoint's own noise levels and solver, as the pure functions that everything here samples with.

`diffusers` keeps both in one object with a step counter. Here the levels are a tensor, and whoever needs the object's
formulas makes a new one inside a single call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku.sampling.solvers import OnStep, Velocity, euler

Solver = Callable[[Velocity, Tensor, Tensor, OnStep | None], Tensor]
# Schedulers whose step is Euler's on the straight line. The last adds noise of its own at every step; its probability
# flow is the same, and solved here.
EULER = ("FlowMatchEulerDiscreteScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a run, and what the network is told at each of them in their place."""

    sigmas: Tensor  # n + 1, float64, from the highest down to 0
    times: Tensor  # n, float64, 0..1000

    def time(self, sigma: float | Tensor) -> Tensor:
        """What the network is told at these levels: the scheduler's own value at its levels, a line between them.

        float32, of the shape of sigma, or 1.
        """
        levels, times = self.sigmas.flip(0).numpy(), np.append(self.times.numpy(), 0.0)[::-1]
        asked = np.atleast_1d(sigma.cpu().numpy() if isinstance(sigma, Tensor) else sigma).astype(np.float64)
        return torch.from_numpy(np.interp(asked, levels, times)).float()

    def index(self, sigma: float) -> int:
        """The step at which a level is reached, counted from the beginning."""
        return int((self.sigmas >= sigma).sum()) - 1

    def after(self, sigma: float) -> float:
        """What the network is told at the next step after a level."""
        following = self.index(sigma) + 1
        return float(self.times[following]) if following < len(self.times) else 0.0


def fresh(scheduler: Any) -> Any:
    """A scheduler of the same kind and settings that nobody has stepped yet."""
    return type(scheduler).from_config(scheduler.config)


def flow_schedule(scheduler: Any, steps: int | None, **how: Any) -> Schedule:
    """The levels of a scheduler whose samples lie on a straight line from noise to data."""
    own = fresh(scheduler)
    own.set_timesteps(steps, **how)
    return Schedule(own.sigmas.double(), own.timesteps.double())


def variance_preserving_schedule(scheduler: Any, steps: int) -> Schedule:
    """The levels of a scheduler whose samples are sqrt(a) data + sqrt(1 - a) noise, on the straight line.

    Divided by sqrt(a) + sqrt(1 - a) such a sample is one of the line, at sigma = sqrt(1 - a) / (sqrt(a) + sqrt(1 - a)).
    There one Euler step is the DDIM step, Eq. 12 of arXiv:2010.02502 with no noise.
    """
    own = fresh(scheduler)
    own.set_timesteps(steps)
    kept = torch.cat([own.alphas_cumprod.double()[own.timesteps], own.final_alpha_cumprod.double()[None]])
    data, noise = kept.sqrt(), (1 - kept).sqrt()
    return Schedule(noise / (data + noise), own.timesteps.double())


def solver_of(scheduler: Any) -> Solver:
    """The solver that a checkpoint comes with."""
    if type(scheduler).__name__ in EULER:
        return euler

    def solve(velocity: Velocity, x: Tensor, sigmas: Tensor, on_step: OnStep | None = None) -> Tensor:
        own = fresh(scheduler)
        own.set_timesteps(len(sigmas) - 1)
        own.sigmas = sigmas.float().cpu()
        own.set_begin_index(0)
        for i, (now, _) in enumerate(pairwise(sigmas.tolist())):
            v = velocity(x, now)
            if on_step:
                on_step(i + 1, x, v, now)
            x = own.step(v, own.timesteps[i], x, return_dict=False)[0]
        return x

    return solve
