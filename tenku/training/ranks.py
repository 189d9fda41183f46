"""The processes of one run, its ranks: which groups of a step are whose, and what they tell each other.

torchrun starts them; the command is the laptop's. Whatever is drawn follows from seed, step and number of the group, so
neither samples nor their order depend on how many ranks there are, and the loss is the mean over all groups of a step
whoever worked on them. Alone, nothing of torch.distributed is loaded.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from tenku.errors import UserError

if TYPE_CHECKING:
    from tenku.config import TransformerConfig

T = TypeVar("T")
BUCKET = 1 << 24  # numbers of which gradients are added up at once: 64 MiB
PATIENCE = timedelta(hours=1)  # for a rank that encodes new shards, or makes samples, while the others wait


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a run makes use of machines. None of it changes what is learnt, but for the order of additions."""

    compile: bool = False  # torch.compile: faster, wants a C++ compiler
    recompute: bool = False  # activations are worked out again in the backward pass: less memory, a third more work
    workers: int = 0  # threads that draw groups ahead; 0: each is drawn when it is needed
    shard: bool = False  # weights, gradients and optimiser state divided among ranks (FSDP2), for large models
    split: int = 1  # ranks that share the tokens of a group (context parallelism), for long ones


class Ranks:
    """This process among those of its run.

    Raises UserError where the run's ways ask for more ranks than there are.
    """

    def __init__(self, ways: Ways) -> None:
        self.ways = ways
        self.launched = "RANK" in os.environ and "MASTER_ADDR" in os.environ  # by torchrun, or by hand as it would
        self.index, self.count = 0, 1
        self.device = torch.device("cpu")
        self.split_group: Any = None
        if self.launched:
            self._join()
        if self.count % ways.split or ways.split > self.count:
            raise UserError(f"--split {ways.split} does not divide {self.count} ranks",
                            f"torchrun --nproc-per-node {ways.split} -m tenku train ...")
        if ways.shard and not self.launched:
            raise UserError("--shard divides a model among ranks, and there is one",
                            "torchrun --nproc-per-node 2 -m tenku train ...")
        self.shares, self.share = self.count // ways.split, self.index // ways.split
        if ways.split > 1:
            import torch.distributed as dist

            groups = [dist.new_group(list(range(i, i + ways.split))) for i in range(0, self.count, ways.split)]
            self.split_group = groups[self.share]

    def _join(self) -> None:
        import torch.distributed as dist

        if torch.cuda.is_available():
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            store, index, count = next(dist.rendezvous("env://", timeout=PATIENCE))
            if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ["GROUP_WORLD_SIZE"] == "1":
                # One store serves all lives of a run, so one would find the addresses of the dead (pytorch#135712).
                store = dist.PrefixStore(f"life {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
            dist.init_process_group(backend, store=store, rank=index, world_size=count, timeout=PATIENCE)
            atexit.register(dist.destroy_process_group)
        self.index, self.count = dist.get_rank(), dist.get_world_size()

    @property
    def leads(self) -> bool:
        """Whether this rank writes what a run shows: weights, samples, curves, progress."""
        return self.index == 0

    @property
    def in_turn(self) -> bool:
        """Whether groups have to be worked on one after the other: ranks must meet in the same order."""
        return self.ways.shard or self.ways.split > 1 or self.device.type != "cpu"

    def parts(self, groups: int) -> list[int]:
        """The numbers of the groups of a step that are this rank's. Raises UserError if they cannot be dealt evenly."""
        if groups % self.shares:
            whole = -(-groups // self.shares) * self.shares
            raise UserError(f"--groups {groups} cannot be dealt to {self.shares} ranks evenly",
                            f"--groups {whole}, or as many ranks as divide {groups}")
        return list(range(self.share, groups, self.shares))

    def first(self, work: Callable[[], T]) -> T:
        """What `work` returns on the first rank, a JSON value; the others wait for it. So is a UserError shared."""
        if self.count == 1:
            return work()
        said: dict[str, Any] = {}
        if self.leads:
            try:
                said = {"value": work()}
            except UserError as error:
                said = {"error": [str(error), error.hint]}
        said = self._told(said)
        if "error" in said:
            raise UserError(*said["error"])
        return said["value"]

    def _told(self, said: dict[str, Any]) -> dict[str, Any]:
        import torch.distributed as dist

        text = bytearray(json.dumps(said).encode())
        length = torch.tensor([len(text)])
        dist.broadcast(length, 0)
        data = torch.frombuffer(text, dtype=torch.uint8) if self.leads else torch.zeros(int(length), dtype=torch.uint8)
        dist.broadcast(data, 0)
        found: dict[str, Any] = json.loads(bytes(data.tolist()))
        return found

    def agree(self, what: str) -> None:
        """Raises UserError where the ranks do not all say the same, such as which clips they hold."""
        if self.first(lambda: what) != what:
            raise UserError("shards were finished while the ranks read them, so they hold others than the first one",
                            "the same command again")

    def everyone(self, values: list[float]) -> list[list[float]]:
        """The values of all ranks, in their order."""
        if self.count == 1:
            return [values]
        import torch.distributed as dist

        mine = torch.tensor(values, dtype=torch.float64)
        found = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(found, mine)
        return [one.tolist() for one in found]

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each gradient becomes the sum of those of all ranks. What is sharded has been added up already."""
        if self.count == 1 or self.ways.shard:
            return
        import torch.distributed as dist

        bucket: list[Tensor] = []
        gradients = [p.grad for p in parameters if p.grad is not None]
        for i, gradient in enumerate(gradients):
            bucket.append(gradient)
            if i + 1 == len(gradients) or sum(g.numel() for g in bucket) >= BUCKET:
                flat = torch.cat([g.flatten() for g in bucket])
                dist.all_reduce(flat)
                for g, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                    g.copy_(total.view_as(g))
                bucket = []

    def check(self, config: TransformerConfig) -> None:
        """Raises UserError for a model whose heads cannot be divided among the ranks that share a group."""
        if config.heads % self.ways.split:
            raise UserError(f"--split {self.ways.split} does not divide the {config.heads} heads of this size",
                            "a divisor of them, or another --preset")

    def peak_bytes(self) -> float:
        """The most memory that this rank has taken: of its GPU, or else of the machine."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else peak * 1024)
