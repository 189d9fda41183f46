"""kill -9 of server, worker or both at random moments under load: `python dev/bench/kills.py 200 [sqlite|postgresql]`.

What tests/test_serve.py does a few times: no accepted job lost, none done twice, no file without a row, every clip's
pictures equal to an undisturbed run's, half of them made from another clip in two rounds. Prints one line of JSON: how
soon work went on after each kill. About 15 s a kill on an idle machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import servers
import test_serve


def main(count: int, kind: str) -> None:
    """Kills and prints."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tenku-kills-")))
        os.environ["TENKU_HOME"] = str(folder / "home")
        started = time.monotonic()
        url = held.enter_context(servers.postgres()) if kind == "postgresql" else ""
        waits = sorted(test_serve.kills(servers.Served(folder / "library", db=url), count, 1, model="tenku-nano"))
        print(json.dumps({"database": kind, "kills": count, "clips": 2 * count + 2, "median_s":
                          round(waits[len(waits) // 2], 2), "most_s": round(waits[-1], 2),
                          "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "sqlite")
