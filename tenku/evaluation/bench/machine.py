"""The machine: whether it is idle, who else used it meanwhile, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tenku.errors import UserError
from tenku.evaluation.bench.timing import in_turns, rate
from tenku.evaluation.metrics import Figure
from tenku.model.precision import fastest
from tenku.rng import normal

IDLE = 0.5  # load average of the last minute, and cores that others use, up to which figures are figures
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def busy() -> str:
    """In what way the machine is busy; an empty string where it is not."""
    load = os.getloadavg()[0]
    return f"load average {load:.1f} in the last minute" if load > IDLE else ""


def need_idle(anyway: bool) -> str:
    """What `busy` says. Raises UserError where it says something, unless told to go on."""
    said = busy()
    if said and not anyway:
        raise UserError(f"the machine is busy: {said}, timings would mean little",
                        f"wait until it is below {IDLE:g}, or measure all the same: --busy")
    return said


class Watch:
    """Who else computes: cores that other processes used on average since it was made (Linux; elsewhere None)."""

    def __init__(self) -> None:
        self.before = _used()

    def others(self) -> float | None:
        """Cores. Children of ours count as ours once they have ended."""
        now = _used()
        if self.before is None or now is None:
            return None
        seconds, everybody, own = (b - a for a, b in zip(self.before, now, strict=True))
        return max(0.0, everybody - own) / max(seconds, 1e-9)


def _used() -> tuple[float, float, float] | None:
    """Seconds now, and of processor time: of everybody, of us and our children."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, first)
    ticks = os.sysconf("SC_CLK_TCK")
    own = os.times()
    return (time.monotonic(), (user + nice + system + irq + softirq + steal) / ticks, sum(own[:4]))


def products(width: int, seconds: float) -> dict[str, Figure]:
    """FLOP/s of matrix products in each format, `width` a side, measured for about that long; median of products."""
    found = {}
    for name, kind in FORMATS.items():
        a, b = (normal((width, width), 0, "bench", name, side).to(kind) for side in ("a", "b"))
        work = {name: partial(torch.matmul, a, b)}
        once = in_turns(work, 1)[name][0]
        rounds = int(min(200, max(5, seconds / once)))
        found[name] = rate(2.0 * width**3, in_turns(work, rounds)[name])
    return found


def about(width: int, seconds: float) -> dict[str, Any]:
    """The machine in JSON values: cores, versions, matrix products."""
    rates = products(width, seconds)
    used = "fp32" if fastest() == torch.float32 else "bf16"
    return {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
            "python": platform.python_version(), "gemm_side": width, "format": used,
            "gemm_flop_per_s": {name: figure.to_json() for name, figure in rates.items()}}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
