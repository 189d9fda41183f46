"""How fast clips are made: the product's own path from a request to a sealed file, warm, cold, and the first frames."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tenku import media
from tenku.evaluation.bench.timing import in_turns, median
from tenku.provenance.seal import Model, seal
from tenku.request import Request
from tenku.sampling.generate import Result, generate, stream
from tenku.types import Size

PROMPTS = ("a red ball bouncing on a beach at sunset", "a blue car drives left on a city street at night",
           "a white rocket takes off in the desert", "a green robot rests in a meadow")


@contextmanager
def own_home(folder: Path) -> Iterator[None]:
    """Identity and store of the benchmark's own, so that its clips come into nobody's."""
    before = os.environ.get("TENKU_HOME")
    os.environ["TENKU_HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TENKU_HOME"]
        if before is not None:
            os.environ["TENKU_HOME"] = before


def measure(
    model: str, sizes: Sequence[str], steps: Sequence[int], seconds: float, rounds: int
) -> dict[str, Any]:
    """Seconds of video made a second, after warm-up, for each size and number of steps, in JSON values.

    "encoded": words, motion, sketch, transformer, codec and H.264; "sealed": with marks, signature and store, as
    `tenku generate` leaves it.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, own_home(Path(folder) / "home"):
        for size in sizes:
            for count in steps:
                request = Request(PROMPTS[0], size=Size.parse(size), seconds=seconds, steps=count, model=model)
                found[f"{size}, {count} steps"] = _made(request, Path(folder), rounds)
    return found


def _made(request: Request, folder: Path, rounds: int) -> dict[str, Any]:
    took: dict[str, list[float]] = {"dreamt": [], "encoded": [], "sealed": []}
    for number in range(rounds + 1):
        one = replace(request, prompt=PROMPTS[number % len(PROMPTS)], seed=number)
        marks = [time.perf_counter()]
        [result] = generate(one)
        marks.append(time.perf_counter())
        media.encode(result.clip, ".mp4")
        marks.append(time.perf_counter())
        _seal(result, folder / "clip.mp4")
        marks.append(time.perf_counter())
        dreamt, encoded, sealed = (b - a for a, b in itertools.pairwise(marks))
        if number:  # the first warms up
            for name, value in (("dreamt", dreamt), ("encoded", dreamt + encoded), ("sealed", dreamt + sealed)):
                took[name].append(value)
    length = result.clip.seconds
    return {name: {"seconds": median(values).to_json(),
                   "real_time": median([length / value for value in values]).to_json()}
            for name, values in took.items()} | {"clip_seconds": length}


def _seal(result: Result, path: Path) -> None:
    seal(result.clip, result.record, path, model=Model(result.model, result.weights_sha256, result.ledgers))


def first(model: str, size: str, steps: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Seconds to the first pictures in a warm process, in JSON values: a sealed image, and a stream's first piece."""
    picture = Request(PROMPTS[0], size=Size.parse(size), seconds=0.0, steps=steps, model=model)
    clip = replace(picture, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder, own_home(Path(folder) / "home"):
        taken = in_turns({"an image, sealed": lambda: _seal(generate(picture)[0], Path(folder) / "image.png"),
                          f"first piece of {seconds:g} s, streamed": lambda: next(stream(clip))}, rounds)
    return {name: median(values).to_json() for name, values in taken.items()}


def cold(model: str, size: str, steps: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Seconds that new processes take, from start to end, in JSON values."""
    with tempfile.TemporaryDirectory() as folder, own_home(Path(folder) / "home"):
        common = ["-m", "tenku", "generate", PROMPTS[0], "--size", size, "--steps", str(steps), "--model", model]
        load = "import sys; from tenku.engines.bundled import load; load(sys.argv[1])"
        work = {
            "tenku --help": ["-m", "tenku", "--help"],
            "import and load": ["-c", load, model],
            "an image, sealed": [*common, "--seconds", "0", "-o", str(Path(folder) / "image.png")],
            f"a clip of {seconds:g} s, sealed": [*common, "--seconds", str(seconds),
                                                "-o", str(Path(folder) / "clip.mp4")],
        }
        taken = in_turns({name: partial(subprocess.run, [sys.executable, *words], check=True, capture_output=True)
                          for name, words in work.items()}, rounds, warm=rounds > 1)
    return {name: median(values).to_json() for name, values in taken.items()}
