"""Machines to train on: what their makers say, and what is measured of this one."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """One device, and how it talks to others."""

    name: str
    memory: float  # bytes that programs can have
    flop_per_s: float  # of bf16 products, dense, summed in fp32, at best
    bytes_per_s: float  # of its memory
    near: float  # bytes a second that it sends to others of its node
    node: int  # devices of a node
    far: float = 50e9  # bytes a second that it sends beyond: a port of 400 Gbit/s for each device


# Makers' data sheets: A100 (a100-datasheet-us-nvidia-1758950-r4), H100 SXM, H200 SXM, DGX B200, Ada whitepaper. NVLink
# carries half of the figure on the sheet each way. Of the memory on the sheet a driver leaves about 79.2 of 80 GiB.
MACHINES: dict[str, Machine] = {m.name: m for m in (
    Machine("rtx4090", 24 * GIB * 0.98, 165e12, 1.008e12, 25e9, 1, 3e9),  # PCIe 4 x16; a network of 25 Gbit/s
    Machine("a100", 80 * GIB * 0.99, 312e12, 2.039e12, 300e9, 8, 25e9),
    Machine("h100", 80 * GIB * 0.99, 989e12, 3.35e12, 450e9, 8),
    Machine("h200", 141e9 * 0.99, 989e12, 4.8e12, 450e9, 8),
    Machine("b200", 180e9 * 0.99, 2250e12, 8.0e12, 900e9, 8),
)}
