"""The same step with real tensors, in a process of its own: how much memory it took, and how long.

`python -m tenku.planning.measure` reads settings as JSON from its arguments and prints what it found; `measured` calls
it. Linux alone says how much memory a process took at most (VmHWM), and lets one begin to count anew.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tenku.config import TRANSFORMER_PRESETS
from tenku.errors import UserError
from tenku.model.precision import using
from tenku.planning.step import Batch, Stepper
from tenku.training.ranks import Ranks, Ways

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# glibc is told to give large pieces back at once, so what is taken is what is alive. Left alone it keeps them after a
# while, with holes between; told to keep all, it is fastest and leaves most holes (docs/scaling.md).
GIVING = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}


@dataclass(frozen=True)
class Measured:
    """Steps on this machine, on one thread. Times are of the processor, so others on the machine count little."""

    peak: int  # bytes beyond what the process had before there was a model
    seconds: float  # of a step, the fastest
    flop_per_s: float  # of matrix products of the format, 1024 a side
    bytes_per_s: float  # of adding up what no cache holds
    launch: float  # seconds of an operation on next to nothing


def measured(
    preset: str, batch: Batch, kind: str, *, recompute: bool = False, steps: int = 2,
    malloc: Mapping[str, str] = GIVING,
) -> Measured:
    """Takes real steps in a fresh process. Raises UserError where the system does not tell what memory they took."""
    if not Path("/proc/self/clear_refs").exists():
        raise UserError("this system does not say how much memory a process took at most", "measure on Linux")
    asked = json.dumps({"preset": preset, "batch": asdict(batch), "kind": kind, "recompute": recompute, "steps": steps})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **malloc}
    done = subprocess.run([sys.executable, "-m", "tenku.planning.measure", asked], env=environment, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"the measured step of {preset} ended early", (done.stderr.strip() or "no memory?")[-300:])
    return Measured(**json.loads(done.stdout))


def _main(asked: str) -> None:
    settings = json.loads(asked)
    kind, steps = FORMATS[settings["kind"]], settings["steps"]
    with using(kind):
        _steps("tiny", Batch(2, 2, 4, 4), settings["recompute"], 2)  # libraries load, kernels are made
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _memory("VmRSS")
        seconds = _steps(settings["preset"], Batch(**settings["batch"]), settings["recompute"], steps)
        peak = _memory("VmHWM") - before
        rates = _rates(kind)
    print(json.dumps(asdict(Measured(peak, min(seconds), *rates))))


def _steps(preset: str, batch: Batch, recompute: bool, steps: int) -> list[float]:
    stepper = Stepper(TRANSFORMER_PRESETS[preset], batch, Ranks(Ways(recompute=recompute)))
    return [_timed(stepper.step) for _ in range(steps)]


def _rates(kind: torch.dtype) -> tuple[float, float, float]:
    side, many, few = torch.zeros(1024, 1024, dtype=kind), torch.zeros(2**24), torch.zeros(16)
    products = min(_timed(lambda: side @ side) for _ in range(10))
    adding = min(_timed(lambda: many + many) for _ in range(3))
    small = min(_timed(lambda: [few + few for _ in range(1000)]) for _ in range(3))
    return 2 * 1024**3 / products, 2 * 4 * 2**24 / adding, small / 1000


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _memory(name: str) -> int:
    """Bytes, of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _main(sys.argv[1])
