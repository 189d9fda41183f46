"""The number format that multiplies matrices fastest on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

_chosen: list[torch.dtype] = []  # by `using`, the last one counts


def fastest(device: str = "cpu") -> torch.dtype:
    """bfloat16 on GPUs and on CPUs that have instructions for it; emulated, it is ten times slower than float32."""
    if _chosen:
        return _chosen[-1]
    if device != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


@contextmanager
def using(kind: torch.dtype) -> Iterator[None]:
    """Says what is fastest, in all threads, whatever this machine would: to plan for another, to compare formats."""
    _chosen.append(kind)
    try:
        yield
    finally:
        _chosen.pop()


def autocast(device: str = "cpu") -> AbstractContextManager[object]:
    """Matrix products and convolutions inside it run in the fastest format; weights stay float32."""
    if fastest(device) == torch.float32:
        return nullcontext()
    return torch.autocast(device, torch.bfloat16)
