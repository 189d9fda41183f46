"""A step of training without its memory: what is alive when most is, and what the step computes and moves.

The real model, loss, optimiser and division among ranks run on fake tensors, as the first of ranks that are not there,
with few blocks: for all blocks are alike, and what a block adds is added for those that are missing.
tests/test_planning.py holds this against all blocks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp._fully_shard import _fsdp_param

from tenku.config import TransformerConfig
from tenku.model.precision import using
from tenku.planning.ledger import Cost, Ledger
from tenku.planning.step import PHASES, Batch, Stepper
from tenku.training import sharding
from tenku.training.ranks import Ranks, Ways

FEW = (2, 4)  # blocks


@dataclass(frozen=True)
class Phase:
    """One phase of a step on one device."""

    cost: Cost
    alive: Counter[str]  # bytes when most is alive: weights, gradients, optimizer, average, data, working

    @property
    def peak(self) -> int:
        """Bytes of all together."""
        return self.alive.total()


@dataclass(frozen=True)
class Simulated:
    """A step on one device. Bytes."""

    kept: int  # activations that wait for the way back, when the forward pass is done
    phases: dict[str, Phase]  # PHASES; backward with what is worked out again

    @property
    def fullest(self) -> str:
        """The phase in which most is alive."""
        return max(PHASES, key=lambda name: self.phases[name].peak)

    @property
    def peak(self) -> int:
        """Bytes that the step needs."""
        return self.phases[self.fullest].peak


@dataclass(frozen=True)
class Setting:
    """How a step is taken."""

    kind: torch.dtype = torch.bfloat16  # of matrix products
    ways: Ways = field(default_factory=Ways)
    ranks: int = 1
    groups: int = 1  # that a rank works on in turn; from the second on there are gradients of the first


def simulate(config: TransformerConfig, batch: Batch, how: Setting | None = None) -> Simulated:
    """A step of a training of that config, on one of the ranks; forward and backward are those of its last group."""
    if config.depth <= FEW[1]:
        return simulate_all(config, batch, how)
    one, two = (simulate_all(replace(config, depth=few), batch, how) for few in FEW)

    def at(a: int, b: int) -> int:
        return a + (b - a) * (config.depth - FEW[0]) // (FEW[1] - FEW[0])

    def between(a: Phase, b: Phase) -> Phase:
        cost = Cost(*(at(x, y) for x, y in zip(vars(a.cost).values(), vars(b.cost).values(), strict=True)))
        return Phase(cost, Counter({k: at(a.alive[k], b.alive[k]) for k in b.alive}))

    return Simulated(at(one.kept, two.kept), {name: between(one.phases[name], two.phases[name]) for name in PHASES})


def simulate_all(config: TransformerConfig, batch: Batch, how: Setting | None = None) -> Simulated:
    """The same with every block: the second step, for the first makes the optimiser's states."""
    how, ledger = how or Setting(), Ledger()
    kept = 0

    def say(phase: str) -> None:
        nonlocal kept
        if phase == "backward":
            kept = ledger.live["working"]
        graded(*stepper.model.parameters())  # FSDP2 puts those of pieces there unseen
        ledger.begin(phase)

    def graded(*parameters: Tensor) -> None:
        ledger.name((p.grad for p in parameters if p.grad is not None), "gradients")

    with _pretended(how.ranks), using(how.kind), FakeTensorMode(allow_non_fake_inputs=True), _watched(ledger), ledger:
        stepper = Stepper(config, batch, Ranks(how.ways))
        ledger.name(stepper.model.parameters(), "weights")
        ledger.name(stepper.ema.average.values(), "average")
        for parameter in stepper.model.parameters():
            parameter.register_post_accumulate_grad_hook(graded)
        ledger.name((t for t in vars(stepper.group).values() if isinstance(t, Tensor)), "data")
        stepper.step()
        ledger.name(stepper.states(), "optimizer")
        stepper.groups = how.groups
        stepper.step(say)
    return Simulated(kept, {name: Phase(ledger.costs[name], ledger.peaks[name]) for name in PHASES})


@contextmanager
def _pretended(ranks: int) -> Iterator[None]:
    """As the first of so many ranks, whose messages go nowhere."""
    if ranks == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (ranks,))  # here, for it looks at numbers, which fake tensors have not
        with (mock.patch.dict(os.environ, {"RANK": "0", "MASTER_ADDR": "nowhere"}),
              mock.patch.object(sharding, "init_device_mesh", return_value=mesh)):
            yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _watched(ledger: Ledger) -> Iterator[None]:
    """FSDP2 resizes the storages that weights are brought together in; the ledger is told. Nothing changes device."""
    def noticed(real: Any, tensor: Tensor, *rest: Any) -> None:
        real(tensor, *rest)
        ledger.resized(tensor)

    made, freed = (partial(noticed, getattr(_fsdp_param, name)) for name in ("alloc_storage", "free_storage"))
    with (mock.patch.object(_fsdp_param, "alloc_storage", made), mock.patch.object(_fsdp_param, "free_storage", freed),
          mock.patch.object(nn.Module, "to", lambda module, *to: module)):
        yield
