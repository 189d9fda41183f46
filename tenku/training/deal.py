"""The groups of a run's steps, drawn when they are needed or ahead by threads.

What a group holds follows from the seed, the step and its number alone, so the order of samples is the same for any
number of ranks and of threads, wherever a run is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenku.data.latents import Group

AHEAD = 2  # steps that threads draw ahead


@dataclass(frozen=True)
class Drawn:
    """A group, its words (B L int64), and the stream that its noise comes from."""

    group: Group
    words: Tensor
    draw: np.random.Generator

    def to(self, device: torch.device) -> Drawn:
        """The same on a device; noise is drawn on the CPU."""
        moved: dict[str, Any] = {name: x.to(device) for name, x in vars(self.group).items() if isinstance(x, Tensor)}
        return Drawn(replace(self.group, **moved), self.words.to(device), self.draw)


class Deal:
    """This rank's groups of each step."""

    def __init__(
        self, draw: Callable[[int, int], Drawn], parts: list[int], steps: int, workers: int = 0, refresh: int = 0
    ) -> None:
        """`draw(step, part)` draws one. The clips change every `refresh` steps, 0 never: not drawn across."""
        self.draw, self.parts, self.steps, self.refresh = draw, parts, steps, refresh
        self.threads = ThreadPoolExecutor(workers, "deal", initializer=one_thread) if workers else None
        self.waiting: dict[tuple[int, int], Future[Drawn]] = {}

    def ahead(self, step: int) -> None:
        """Has threads draw the groups of this step and the next ones; call it before any is taken."""
        if self.threads is None:
            return
        end = self.steps if not self.refresh else min(self.steps, (step // self.refresh + 1) * self.refresh)
        for s in range(step, min(step + 1 + AHEAD, end)):
            for part in self.parts:
                if (s, part) not in self.waiting:
                    self.waiting[s, part] = self.threads.submit(self.draw, s, part)

    def take(self, step: int, part: int) -> Drawn:
        """One of this step's."""
        found = self.waiting.pop((step, part), None)
        return self.draw(step, part) if found is None else found.result()

    def close(self) -> None:
        """Lets the threads go."""
        if self.threads is not None:
            self.threads.shutdown(cancel_futures=True)


def one_thread() -> None:
    """What a thread that works beside others begins with."""
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 256  # a thread has settings of its own
