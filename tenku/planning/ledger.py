"""A ledger of what torch allocates and computes: bytes alive by kind, FLOPs and bytes moved of every operation.

It stands under autograd, so it sees what the way back does, and what autograd keeps for it, without asking why. Upon
fake tensors (torch's FakeTensorMode), which have shapes and no numbers, it needs neither the memory nor the device.
What kernels take for themselves while they run it does not see.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


@dataclass
class Cost:
    """What some operations cost."""

    flops: int = 0  # of matrix products and attention
    moved: int = 0  # bytes that all others read and write
    calls: int = 0  # operations
    sent: int = 0  # bytes that are exchanged with other ranks


class Ledger(TorchDispatchMode):
    """Counts while it is entered. Costs and peaks are kept phase by phase."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: dict[str, Cost] = {}
        self.live: Counter[str] = Counter()  # bytes by kind
        self.total = 0  # bytes
        self.peaks: dict[str, Counter[str]] = {}  # what was alive when most was, phase by phase
        self.begin("start")
        self._held: dict[int, list[Any]] = {}  # storage -> bytes, kind

    def name(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Says what tensors are; those never named are "working"."""
        for tensor in map(piece, tensors):
            self._see(tensor)
            held = self._held[tensor.untyped_storage()._cdata]
            self.live[held[1]] -= held[0]
            self.live[kind] += held[0]
            held[1] = kind

    def resized(self, tensor: Tensor) -> None:
        """Has another look at a tensor whose storage was made larger or smaller, which is no operation."""
        self._see(tensor)
        storage = tensor.untyped_storage()
        held = self._held[storage._cdata]
        self.live[held[1]] += storage.nbytes() - held[0]
        self.total += storage.nbytes() - held[0]
        held[0] = storage.nbytes()
        self._look()

    def begin(self, phase: str) -> None:
        """Says what comes next; of a phase that comes again the last time counts."""
        self.phase = phase
        self.costs[phase], self.peaks[phase] = Cost(), Counter()
        self._look()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default:
            return 1.0  # of a fake tensor nothing is known; norms and counts of steps are asked for, and any will do
        if any(issubclass(t, DTensor) for t in types):
            return NotImplemented  # it does the same to its piece, and that is seen
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for tensor in given:
            self._see(tensor)
        out = func(*args, **(kwargs or {}))
        fresh = [t for t in tree_leaves(out) if isinstance(t, Tensor) and self._see(t)]
        if "c10d" in func.namespace and "wait" not in func.__name__:
            twice = 2 if "reduce" in func.__name__ and "scatter" not in func.__name__ else 1  # there and back again
            self.costs[self.phase].sent += twice * max((_bytes(t) for t in given), default=0)
        if fresh or func._schema.is_mutable:  # else a view, which costs nothing
            self._look()
            cost = self.costs[self.phase]
            done = _flops(func, args, kwargs or {}, out)
            cost.flops += done
            cost.moved += 0 if done else sum(_bytes(t) for t in (*given, *fresh))
            cost.calls += 1
        return out

    def _see(self, tensor: Tensor) -> bool:
        """Whether what the tensor stands in is new."""
        storage = tensor.untyped_storage()
        if (key := storage._cdata) in self._held:
            return False
        size = storage.nbytes()
        self._held[key] = [size, "working"]
        self.live["working"] += size
        self.total += size
        weakref.finalize(storage, self._free, key)
        return True

    def _free(self, key: int) -> None:
        size, kind = self._held.pop(key)
        self.live[kind] -= size
        self.total -= size

    def _look(self) -> None:
        if self.total > self.peaks[self.phase].total():
            self.peaks[self.phase] = self.live.copy()


def piece(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def _bytes(tensor: Tensor) -> int:
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _flops(func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> int:
    packet = func._overloadpacket
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:  # which torch's counter does not know
        return int(sdpa_flop_count(*(t.shape for t in args[:3])))
    if packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return int(sdpa_backward_flop_count(*(t.shape for t in args[:4])))
    counter = flop_registry.get(packet)
    return int(counter(*args, **kwargs, out_val=out)) if counter else 0
