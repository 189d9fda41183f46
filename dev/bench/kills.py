"""kill -9 of server, worker or both at random moments under load: `python dev/bench/kills.py 200 [sqlite|postgresql]`.

What tests/test_serve.py does a few times: no accepted job lost, none done twice, no file without a row, every clip's
pictures equal to an undisturbed run's, half of them made from another clip in two rounds; it ends with an error where
that does not hold. Measured is how soon work went on after each kill, which is said at once. About 15 s a kill on an
idle machine; on one so busy that a model takes minutes to load it waits, and says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
import servers
import test_serve


def main(count: int, kind: str) -> int:
    """Kills and prints."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tenku-kills-")))
        os.environ["TENKU_HOME"] = str(folder / "home")
        started = time.monotonic()
        url = held.enter_context(servers.postgres()) if kind == "postgresql" else ""
        try:
            waits = sorted(test_serve.kills(servers.Served(folder / "library", db=url), count, 1, model="tenku-nano",
                                            patience=1800))
        except AssertionError as error:
            return figures.judged({"database": kind, "error": str(error)[:2000]},
                                  {"every job is completed once, with equal bytes": False})
    most, late = waits[-1], sum(wait > 10 for wait in waits)
    return figures.judged(
        {"database": kind, "kills": count, "clips": 2 * count + 2, "median_s": round(waits[len(waits) // 2], 2),
         "most_s": round(most, 2), "over_10_s": late, "seconds": round(time.monotonic() - started)},
        {f"{count} kills, {kind}: none of {2 * count + 2} jobs lost or done twice, no orphaned file, equal bytes": True,
         f"work goes on after {most:.1f} s at most (asked: 10)": most <= 10})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "sqlite"))
