"""What is foretold held against what happens here: memory and processor time of real steps, on one thread."""

from __future__ import annotations

import os
from typing import Any

from tenku.config import TRANSFORMER_PRESETS
from tenku.planning.measure import FORMATS, measured
from tenku.planning.plan import Asked, roofline, total
from tenku.planning.simulate import Setting, simulate
from tenku.planning.text import table
from tenku.training.ranks import Ways

MIB = 2**20
SUSTAINED = 0.85  # of the speed of large products and long sums that a step keeps (docs/scaling.md)
LIBRARIES = {"fp32": 0, "bf16": 50 * MIB}  # beyond tensors, measured: 44 to 75 MiB (dev/LOG.md)


def check(asked: Asked) -> list[dict[str, Any]]:
    """A row for each format, with and without working activations out again."""
    return [row(asked, kind, recompute) for kind in FORMATS for recompute in (False, True)]


def row(asked: Asked, kind: str, recompute: bool) -> dict[str, Any]:
    """One step foretold and taken: bytes, seconds."""
    batch = asked.batch()
    told = simulate(TRANSFORMER_PRESETS[asked.preset], batch, Setting(FORMATS[kind], Ways(recompute=recompute)))
    found = measured(asked.preset, batch, kind, recompute=recompute)
    cost = total(told, 1)
    parts = roofline(cost, found.flop_per_s, found.bytes_per_s, found.launch)
    return {"preset": asked.preset, "tokens": batch.tokens, "format": kind, "recompute": recompute,
            "phase": told.fullest, "peak": told.peak + LIBRARIES[kind], "measured_peak": found.peak,
            "seconds": sum(parts.values()) / SUSTAINED,
            "measured_seconds": found.seconds, "flop": cost.flops, "gemm": found.flop_per_s, "load": os.getloadavg()[0]}


def text(checks: list[list[dict[str, Any]]]) -> str:
    """The rows as a table."""
    head = ["preset", "tokens", "format", "recompute", "foretold, MiB", "measured", "off", "foretold, s", "measured",
            "GFLOP/s", "GEMM", "load"]
    rows = [[r["preset"], str(r["tokens"]), r["format"], "yes" if r["recompute"] else "no",
             f"{r['peak'] / MIB:.0f}", f"{r['measured_peak'] / MIB:.0f}", f"{r['peak'] / r['measured_peak'] - 1:+.1%}",
             f"{r['seconds']:.2f}", f"{r['measured_seconds']:.2f}", f"{r['flop'] / r['measured_seconds'] / 1e9:.0f}",
             f"{r['gemm'] / 1e9:.0f}", f"{r['load']:.1f}"] for rows in checks for r in rows]
    return table([head, *rows])
