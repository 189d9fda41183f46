"""What every measurement ends with: its figures, whether they are what was asked for, and nothing left running."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping


def tidy() -> None:
    """Lets `kill` and a closed terminal end a measurement as Ctrl+C does: servers and databases go with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def judged(measured: Mapping[str, object], asked: Mapping[str, bool]) -> int:
    """Prints the figures as JSON and, as the last line, what holds of what was asked for; the exit code."""
    print(json.dumps(measured))
    said = [f"{what}{'' if held else ' MISSED'}" for what, held in asked.items()]
    print(f"{'PASS' if all(asked.values()) else 'FAIL'}: {'; '.join(said)}", flush=True)
    return 0 if all(asked.values()) else 1
