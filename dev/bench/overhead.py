"""What the server costs over the bare work, for a 2-second clip: `python dev/bench/overhead.py [TIMES]`.

Alternates between a clip made by a server and the same clip generated and sealed in this process, models loaded in
both. The client is `openai`'s, which asks as often as the server says. Prints one line of JSON with the medians; a time
is about 8 s on an idle machine of two cores.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import openai
from servers import Served

from tenku.request import Request
from tenku.serving.worker import variants

ASKED = {"size": "128x80", "seconds": 2.0, "steps": 30, "seed": 7}


def bare(folder: Path) -> float:
    """Seconds of the sampler and the seal alone, for all that the server keeps of a clip too."""
    from tenku.provenance.seal import Model, seal
    from tenku.sampling.generate import generate

    started = time.monotonic()
    [result] = generate(Request("a red ball", **ASKED))
    for variant, clip, ending in variants(result.clip):
        seal(clip, {**result.record, "variant": variant}, folder / f"{variant}{ending}",
             model=Model(result.model, result.weights_sha256))
    return time.monotonic() - started


def main(times: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="tenku-overhead-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        with Served(Path(folder, "library")) as server:
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
            fields = {"size": "128x80", "seconds": "2", "extra_body": {"steps": ASKED["steps"], "seed": ASKED["seed"]}}

            def served() -> float:
                started = time.monotonic()
                done = client.videos.create_and_poll(prompt="a red ball", **fields)
                assert done.status == "completed"
                return time.monotonic() - started

            served(), bare(Path(folder))  # loads
            pairs = [(served(), bare(Path(folder))) for _ in range(times)]
        there, here = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(json.dumps({"times": times, "server_s": round(there, 3), "bare_s": round(here, 3),
                          "overhead_percent": round(100 * (there / here - 1), 1)}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
