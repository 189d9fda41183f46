"""What the server costs over the bare work, for a 2-second clip: `python dev/bench/overhead.py [TIMES]`.

Alternates between a clip made by a server and the same clip generated and sealed in this process, models loaded in
both, both at nice 5 as workers are. The client is `openai`'s, which asks as often as the server says. Prints the
medians, by the clock and in processor time (all of the server's and the worker's against this process's, which other
programs disturb less). A time is about 3 s on an idle machine of two cores.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
import openai
from servers import Served

from tenku import calm_threads
from tenku.request import Request
from tenku.serving.worker import variants

ASKED = {"size": "128x80", "seconds": 2.0, "steps": 30, "seed": 7}


def bare(folder: Path) -> tuple[float, float]:
    """Seconds of the clock and of the processor, of sampler and seal alone, for all that the server keeps of a clip."""
    from tenku.provenance.seal import Model, seal
    from tenku.sampling.generate import generate

    started, before = time.monotonic(), time.process_time()
    [result] = generate(Request("a red ball", **ASKED))
    for variant, clip, ending in variants(result.clip):
        seal(clip, {**result.record, "variant": variant}, folder / f"{variant}{ending}",
             model=Model(result.model, result.weights_sha256, result.ledgers))
    return time.monotonic() - started, time.process_time() - before


def spent(server: Served) -> float:
    """Seconds of processor time that a server and its workers had."""
    assert server.process is not None
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
             for pid in (server.process.pid, *server.workers())]
    return sum(map(int, (ticks for two in stats for ticks in two))) / os.sysconf("SC_CLK_TCK")


def main(times: int) -> int:
    """Measures and prints."""
    calm_threads()  # as the command does
    warnings.simplefilter("ignore", DeprecationWarning)  # the client says that OpenAI's service has ended
    with tempfile.TemporaryDirectory(prefix="tenku-overhead-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        with Served(Path(folder, "library")) as server:
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
            fields = {"size": "128x80", "seconds": "2", "extra_body": {"steps": ASKED["steps"], "seed": ASKED["seed"]}}

            def served() -> tuple[float, float, float]:
                started, before = time.monotonic(), spent(server)
                done = client.videos.create_and_poll(prompt="a red ball", **fields)
                assert done.status == "completed"
                took = time.monotonic() - started
                return took, took - done.tenku["facts"]["seconds_taken"], spent(server) - before

            os.nice(5)
            served(), bare(Path(folder))  # loads
            pairs = [(*served(), *bare(Path(folder))) for _ in range(times)]
        there, beside, work, here, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    over, more = 100 * (there / here - 1), 100 * (work / own - 1)
    return figures.judged(
        {"times": times, "server_s": round(there, 3), "of_which_not_the_workers_s": round(beside, 3),
         "bare_s": round(here, 3), "overhead_percent": round(over, 1),
         "server_cpu_s": round(work, 3), "bare_cpu_s": round(own, 3), "cpu_overhead_percent": round(more, 1)},
        {f"the server costs {over:.1f} % over the bare work, {times} clips of 2 s (asked: 5)": over <= 5})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
