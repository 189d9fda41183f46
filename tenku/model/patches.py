"""Spacetime patches: tokens of a latent grid and where they are, in physical units.

Legend: T latent steps, H rows, W columns of the latent grid; N = T H W tokens in that order; C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A latent grid and its physical extent."""

    steps: int  # T
    rows: int  # H
    columns: int  # W
    seconds_per_step: float = 0.5  # what one latent step lasts; an image is one step

    @property
    def tokens(self) -> int:
        return self.steps * self.rows * self.columns

    @property
    def tokens_per_step(self) -> int:
        return self.rows * self.columns

    def positions(self) -> Tensor:
        """N 3 float32: seconds x 2, and rows and columns from the centre in units of an eighth of the picture's
        geometric mean side. So a position means the same place at any size, and shapes keep their aspect.
        """
        t = torch.arange(self.steps) * (self.seconds_per_step * 2)
        unit = 8 / (self.rows * self.columns) ** 0.5
        y = (torch.arange(self.rows) - (self.rows - 1) / 2) * unit
        x = (torch.arange(self.columns) - (self.columns - 1) / 2) * unit
        return torch.stack(torch.meshgrid(t, y, x, indexing="ij"), -1).reshape(-1, 3).float()


def patchify(latents: Tensor) -> Tensor:
    """B T H W C -> B N C."""
    return latents.flatten(1, 3)


def unpatchify(tokens: Tensor, grid: Grid) -> Tensor:
    """B N C -> B T H W C."""
    return tokens.unflatten(1, (grid.steps, grid.rows, grid.columns))


def scale_of(grid: Grid) -> Tensor:
    """What the transformer is told of a grid's scale: log2 of seconds per step and of tokens per step."""
    return torch.tensor([grid.seconds_per_step, float(grid.tokens_per_step)]).log2()
