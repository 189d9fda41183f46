"""One step of training as `training/matching.py` takes it, on clips of zeros: for fake tensors and for real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tenku import rng
from tenku.config import TransformerConfig
from tenku.data.latents import Group
from tenku.model.motion import FEATURES
from tenku.model.patches import Grid, scale_of
from tenku.model.transformer import Transformer
from tenku.training.matching import group_loss, hands_for
from tenku.training.ranks import Ranks
from tenku.training.run import Ema, Optimizer

GROUP = ("forward", "backward")  # phases of each group
PHASES = (*GROUP, "norm", "adamw", "muon", "average")  # of a step


@dataclass(frozen=True)
class Batch:
    """The group of clips of one shape that is worked on at once."""

    clips: int
    steps: int  # latent steps of a clip
    rows: int
    columns: int
    known: int = 1  # latent steps that are given: context, not canvas
    words: int = 96  # of a prompt

    @property
    def grid(self) -> Grid:
        return Grid(self.steps, self.rows, self.columns)

    @property
    def tokens(self) -> int:
        """Tokens of pictures, context included."""
        return self.clips * self.grid.tokens

    def group(self, config: TransformerConfig) -> Group:
        """Latents of zeros, told of a motion of zeros where the network wants one."""
        grid, known = self.grid, self.known * self.grid.tokens_per_step
        positions = grid.positions()
        data = torch.zeros(self.clips, grid.tokens, config.channels)
        told = torch.zeros(self.clips, grid.tokens, FEATURES + config.channels) if config.motion else None
        return Group(data[:, known:].contiguous(), data[:, :known].contiguous(), positions[known:], positions[:known],
                     self.steps - self.known, [""] * self.clips, scale_of(grid),
                     None if told is None else told[:, known:].contiguous(),
                     None if told is None else told[:, :known].contiguous())


class Stepper:
    """A model in training on one batch, over and over: `groups` times a step, in turn."""

    def __init__(self, config: TransformerConfig, batch: Batch, ranks: Ranks) -> None:
        self.ranks, self.groups, self.model = ranks, 1, Transformer(config)
        hands_for(self.model, ranks, 1)
        self.optimizer, self.ema = Optimizer(self.model, 1e-3, muon=("blocks.",)), Ema(self.model)
        self.group, self.words = batch.group(config), torch.zeros(batch.clips, batch.words, dtype=torch.int64)
        self.number = 0

    def states(self) -> list[Tensor]:
        """What the optimiser remembers."""
        states = (state for part in self.optimizer.parts for state in part.state.values())
        return [t for state in states for t in state.values() if isinstance(t, Tensor)]

    def step(self, say: Callable[[str], None] = lambda phase: None) -> None:
        """The next step. `say` hears which of PHASES comes next."""
        for number in range(self.groups):
            say("forward")
            draw = rng.stream(0, "plan", self.number, number)
            loss = self.model(lambda whole, draw=draw: group_loss(whole, self.group, self.words, draw))
            say("backward")
            loss.backward()
            del loss
        say("norm")
        self.ranks.add_up(self.optimizer.parameters)
        hooks = [part.register_step_pre_hook(lambda *_, name=name: say(name))
                 for part, name in zip(self.optimizer.parts, PHASES[3:5], strict=True)]
        self.optimizer.step(1e-3)
        for hook in hooks:
            hook.remove()
        say("average")
        self.ema.update(self.number)
        self.number += 1
