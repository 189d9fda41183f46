"""50 clients against one server with ten times more work than it can do: `python dev/bench/load.py [SECONDS]`.

Prints one line of JSON: how long status calls take, how much of the worker's time goes into clips, and what the
server's memory does. Takes its seconds (60) and half a minute to start.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers import Served, until

from tenku.serving.client import Client

CLIENTS = 50
ASKED = {"size": "64x48", "seconds": 0.5, "steps": 20}


def resident(pid: int) -> int:
    """MiB of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20


def main(seconds: float) -> None:
    """Loads, measures, prints."""
    with tempfile.TemporaryDirectory(prefix="tenku-load-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        with Served(Path(folder, "library"), "--queue", "100000") as server:
            client = Client(server.url)
            for _ in range(2):  # the first loads the model
                alone = client.create("a red ball", **ASKED).id
                started = time.monotonic()
                until(lambda name=alone: client.retrieve(name).over)
                single = time.monotonic() - started
            names = [client.create("a red ball", **ASKED).id for _ in range(int(10 * seconds / single) + 1)]
            before = resident(server.process.pid)
            times: list[float] = []
            over = time.monotonic() + seconds

            def ask(number: int) -> None:
                mine = Client(server.url)
                time.sleep(number / (2 * CLIENTS))  # people do not ask all at the same moment
                while time.monotonic() < over:
                    began = time.monotonic()
                    mine.retrieve(names[number])
                    times.append(time.monotonic() - began)
                    time.sleep(0.5)  # as `openai-poll-after-ms` asks at the least, twice as often

            threads = [threading.Thread(target=ask, args=(i % len(names),)) for i in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            done = sum(video.status == "completed" for video in client.videos()) - 2
            times.sort()
            print(json.dumps({
                "clients": CLIENTS, "status_calls": len(times), "median_ms": round(1000 * times[len(times) // 2], 1),
                "p99_ms": round(1000 * times[int(0.99 * len(times))], 1), "most_ms": round(1000 * times[-1], 1),
                "goodput_percent": round(100 * done * single / seconds, 1), "clips": done,
                "clip_s": round(single, 2), "seconds": seconds, "server_mib_before": before,
                "server_mib_after": resident(server.process.pid)}))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
