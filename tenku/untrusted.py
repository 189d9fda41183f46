"""Files of strangers, read by a process of its own that can do nothing else: pictures, sound, content credentials.

The child opens the file and, before it reads a byte of it, gives up opening anything more: no file, no socket (its
limit of file descriptors is what it holds). Its memory and its time are limited. Whatever a hostile file makes of it,
the parent only sees frames, samples, a report, or a short error of ours.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tenku import credentials, media, sound, spans
from tenku.errors import UserError
from tenku.types import Clip

MEMORY = 384 << 20  # bytes of data that the child may hold; with its libraries it stays under 512 MiB
SECONDS = 60  # of processor time; of the clock twice that
_HEAD = 512  # bytes that open the child's answer: JSON, padded with spaces


def read(path: Path, sample: int) -> Clip:
    """`media.read_clip` in a limited process. Raises UserError, also where that process died of the file."""
    return _clip(_asked(path, "sample", str(sample)))[0]


def read_at(path: Path, fps: float, least: tuple[int, int]) -> Clip:
    """`media.read_at` in a limited process. Raises UserError like `read`."""
    return _clip(_asked(path, "at", f"{fps!r}", *map(str, least)))[0]


def read_span(path: Path, fps: float, least: tuple[int, int], first: int, count: int) -> Clip:
    """`spans.decode_span` in a limited process. Raises UserError like `read`."""
    return _clip(_asked(path, "span", f"{fps!r}", *map(str, (*least, first, count))))[0]


def measure(path: Path, fps: float) -> tuple[int, tuple[int, int]]:
    """How many frames a file has at a rate, and their width and height, all of it decoded once in a limited process.

    Raises UserError like `read`.
    """
    head = _head(_asked(path, "measure", f"{fps!r}"))
    return head["frames"], (head["size"][0], head["size"][1])


def read_signed(path: Path, sample: int, roots: str, beside: Path) -> tuple[Clip, dict[str, str]]:
    """`read` and `report` of one process."""
    clip, rest = _clip(_asked(path, "signed", str(sample), str(beside), given=roots))
    return clip, _report(rest)


def report(path: Path, roots: str, beside: Path) -> dict[str, str]:
    """`credentials.report` in a limited process. roots: PEM; beside: where a sidecar may lie.

    Raises UserError like `read`.
    """
    answer = _asked(path, "credentials", str(beside), given=roots)
    _head(answer)
    return _report(answer[_HEAD:])


def ingredient(path: Path, about: dict[str, Any]) -> bytes:
    """`credentials.ingredient` in a limited process; b"" also where that process died of the file."""
    answer = _asked(path, "ingredient", given=json.dumps(about))
    with contextlib.suppress(UserError):
        _head(answer)
        return answer[_HEAD:]
    return b""


def samples(path: Path, seconds: float) -> bytes:
    """`sound.decode` in a limited process. Raises UserError like `read`."""
    answer = _asked(path, "sound", path.name, f"{seconds!r}")
    _head(answer)
    return answer[_HEAD:]


def _asked(path: Path, what: str, *more: str, given: str = "") -> bytes:
    """The child's answer. given: what is too long for its command line."""
    kind = sound.kind_of(path) if what == "sound" else media.kind_of(path)
    command = [sys.executable, "-m", "tenku.untrusted", str(path), kind, what, *more]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env=environment)
    try:
        answer, _ = child.communicate(given.encode(), timeout=2 * SECONDS)
    except subprocess.TimeoutExpired:
        answer = b""
    finally:
        child.kill()
        child.communicate()
    return answer


def _head(answer: bytes) -> dict[str, Any]:
    if len(answer) < _HEAD:
        raise UserError("the file cannot be decoded within this program's limits of memory and time",
                        "convert it to H.264 at a smaller size")
    head = json.loads(answer[:_HEAD])
    if "error" in head:
        raise UserError(head["error"], head["hint"])
    return dict(head)


def _clip(answer: bytes) -> tuple[Clip, bytes]:
    """The frames of an answer, and what follows them."""
    head = _head(answer)
    end = _HEAD + math.prod(head["shape"])
    frames = np.frombuffer(answer, np.uint8)[_HEAD:end].reshape(head["shape"])
    return Clip(frames.copy(), head["fps"]), answer[end:]  # a copy may be written to


def _report(data: bytes) -> dict[str, str]:
    found = json.loads(data)
    return {str(name): str(value) for name, value in found.items()}


def main(path: str, kind: str, what: str, *more: str) -> None:
    """The child: reads a file, and what is given on standard input; answers on standard output."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        given = sys.stdin.buffer.read().decode()
        beside = None
        if what in ("credentials", "signed"):
            with contextlib.suppress(FileNotFoundError):
                beside = stack.enter_context(open(more[-1], "rb"))
        _warm_up(kind, what)
        _confine()
        parts: Iterable[bytes] = ()
        try:
            head, parts = _answer(file, kind, what, *more, given=given, beside=beside)
        except UserError as error:
            head = {"error": str(error)[:200], "hint": error.hint[:200]}
        sys.stdout.buffer.write(json.dumps(head).encode().ljust(_HEAD))
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def _answer(file: BinaryIO, kind: str, what: str, *more: str, given: str,
            beside: BinaryIO | None) -> tuple[dict[str, Any], Iterable[bytes]]:
    """What is said of the file, and what follows."""
    if what == "sound":
        return {}, [sound.decode(file, kind, more[0], float(more[1]))]
    if what == "ingredient":
        return {}, [credentials.ingredient(file, kind, json.loads(given))]
    said = []
    if what in ("credentials", "signed"):
        said = [json.dumps(credentials.report(file, kind, given, beside)).encode()]
        file.seek(0)
    if what == "credentials":
        return {}, said
    if what == "measure":
        first = media.decode_at(file, kind, 0.1)  # as it is, but only a frame in ten seconds
        file.seek(0)
        count = len(media.decode_at(file, kind, float(more[0]), (16, 16)).frames)
        return {"frames": count, "size": first.size}, ()
    if what == "at":
        clip = media.decode_at(file, kind, float(more[0]), (int(more[1]), int(more[2])))
    elif what == "span":
        clip = spans.decode_span(file, kind, float(more[0]), (int(more[1]), int(more[2])), int(more[3]), int(more[4]))
    else:
        clip = media.decode(file, kind, int(more[0]))
    frames = (frame.tobytes() for frame in clip.frames)
    return {"shape": clip.frames.shape, "fps": clip.fps}, itertools.chain(frames, said)


def _warm_up(kind: str, what: str) -> None:
    """Reads something of our own, good and broken: what libraries load late, they load now."""
    if what in ("credentials", "signed", "ingredient"):
        credentials.report(io.BytesIO(b"\x89PNG\r\n\x1a\n"), "png", "")
    if what in ("credentials", "ingredient"):
        return
    if what == "sound":
        sound.warm_up()
        return
    ending = {"png": ".webp", "jpeg": ".webp", "webp": ".webp", "gif": ".gif"}.get(kind, ".mp4")
    if ending == ".webp":
        from PIL import Image

        Image.init()
    data = media.encode(Clip(np.zeros((2, 16, 16, 3), np.uint8), 12.0), ending)
    for part in (data, data[:64]):
        with contextlib.suppress(UserError):
            media.decode(io.BytesIO(part), media.sniff(data[:16]), 1)
            media.decode_at(io.BytesIO(part), media.sniff(data[:16]), 12.0, (2, 2))


def _confine() -> None:
    """No new file descriptors, limited memory and time. Windows has none of these limits: there only the process."""
    try:
        import resource
    except ImportError:
        return
    for what, limit in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 0),
                        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 0)):
        resource.setrlimit(what, (limit, limit))
    signal.alarm(2 * SECONDS)  # where the parent does not live to say so


if __name__ == "__main__":
    main(*sys.argv[1:])
