"""50 clients against one server with ten times more work than it can do: `python dev/bench/load.py [SECONDS]`.

First the clips of a full queue are counted with nobody asking, then while 50 clients ask for theirs twice a second: how
long status calls take, what is left of the clips (goodput), what the server's memory does. Meanwhile a customer with a
key of its own asks for a clip, looks at it for as long as it likes, asks for the next: how much longer these take than
they did alone. Takes its seconds (60), half as many before, and a minute.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
from servers import Served

from tenku.serving.client import Client

CLIENTS = 50
ASKED = {"size": "64x48", "seconds": 0.5, "steps": 20}
ALONE = 10  # clips that are timed before the others come


def resident(pid: int) -> float:
    """MiB of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def made(client: Client) -> float:
    """Seconds until a clip that one asks for is there."""
    started = time.monotonic()
    for _ in client.watch(client.create("a red ball", **ASKED).id, every=0.05):
        pass
    return time.monotonic() - started


def clips(client: Client) -> int:
    """How many of the queue are made."""
    return sum(video.status == "completed" for video in client.videos(status="completed", limit=100))


class Crowd:
    """Clients that ask for their video twice a second, and what that showed."""

    def __init__(self, url: str, names: list[str]) -> None:
        self.url, self.names, self.over = url, names, threading.Event()
        self.times: list[float] = []
        self.threads = [threading.Thread(target=self._ask, args=(i,), daemon=True) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self, number: int) -> None:
        client = Client(self.url)
        self.over.wait(number / (2 * CLIENTS))  # people do not ask all at the same moment
        while not self.over.is_set():
            began = time.monotonic()
            client.retrieve(self.names[number % len(self.names)])
            self.times.append(time.monotonic() - began)
            self.over.wait(0.5)  # as `openai-poll-after-ms` asks at the least, twice as often

    def end(self) -> list[float]:
        """Sends them home; seconds of each call, in order of length."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        return sorted(self.times)


def main(seconds: float) -> int:
    """Loads, measures, prints."""
    with tempfile.TemporaryDirectory(prefix="tenku-load-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        with Served(Path(folder, "library"), "--queue", "100000") as server:
            assert server.process is not None
            client = Client(server.url)
            small = Client(server.url, client._json("POST", "/keys", {"name": "small"})["key"])
            made(client)  # loads the model
            alone = statistics.mean(made(small) for _ in range(ALONE))
            names = [client.create("a red ball", **ASKED).id for _ in range(int(10 * 1.5 * seconds / alone) + CLIENTS)]
            time.sleep(1)
            before, started = clips(client), time.monotonic()
            time.sleep(seconds / 2)
            after = clips(client)
            quiet = (after - before) / (time.monotonic() - started)
            crowd, started = Crowd(server.url, names), time.monotonic()
            waits, memory, looks = [], resident(server.process.pid), random.Random(1)
            while time.monotonic() < started + seconds:
                time.sleep(2 * alone * looks.random())  # else it asks just when the worker took another's
                waits.append(made(small))
                if time.monotonic() < started + seconds / 3:
                    memory = resident(server.process.pid)
            busy = (clips(client) - after + len(waits)) / (time.monotonic() - started)
            grown = resident(server.process.pid) - memory
            times = crowd.end()
    p99, goodput = 1000 * times[int(0.99 * len(times))], 100 * busy / quiet
    longer = statistics.mean(waits) / alone
    return figures.judged(
        {"clients": CLIENTS, "status_calls": len(times), "median_ms": round(1000 * times[len(times) // 2], 1),
         "p99_ms": round(p99, 1), "most_ms": round(1000 * times[-1], 1), "clips_a_minute_alone": round(60 * quiet, 1),
         "clips_a_minute": round(60 * busy, 1), "goodput_percent": round(goodput, 1), "queued": len(names),
         "small_alone_s": round(alone, 2), "small_s": round(longer * alone, 2), "small_most_s": round(max(waits), 2),
         "server_mib": round(memory), "grown_mib": round(grown, 1), "seconds": seconds},
        {f"p99 of status calls {p99:.0f} ms (asked: 50)": p99 <= 50,
         f"goodput {goodput:.0f} % (asked: 95)": goodput >= 95,
         f"memory grows by {grown:.1f} of {memory:.0f} MiB in two thirds of the time (flat: 5 %)":
         grown <= 0.05 * memory,
         f"the small customer waits {longer:.2f} times as long as alone (asked: 2)": longer <= 2})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
