"""Media files of strangers, decoded by a process of its own that can do nothing else.

The child gets the file already open and, before it reads a byte of it, gives up opening anything: no file, no
socket (its limit of file descriptors is what it holds). Its memory and its time are limited. Whatever a hostile file
makes of it, the parent only sees frames, or a short error of ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tenku import media
from tenku.errors import UserError
from tenku.types import Clip

MEMORY = 384 << 20  # bytes of data that the child may hold; with its libraries it stays under 512 MiB
SECONDS = 60  # of processor time; of the clock twice that
_HEAD = 512  # bytes that open the child's answer: JSON, padded with spaces


def read(path: Path, sample: int) -> Clip:
    """`media.read_clip` in a limited process. Raises UserError, also where that process died of the file."""
    return _clip(_asked(path, str(sample)))


def read_at(path: Path, fps: float, least: tuple[int, int]) -> Clip:
    """`media.read_at` in a limited process. Raises UserError like `read`."""
    return _clip(_asked(path, "at", f"{fps!r}", *map(str, least)))


def measure(path: Path, fps: float) -> tuple[int, tuple[int, int]]:
    """How many frames a file has at a rate, and their width and height, all of it decoded once in a limited process.

    Raises UserError like `read`.
    """
    head = _head(_asked(path, "measure", f"{fps!r}"))
    return head["frames"], (head["size"][0], head["size"][1])


def _asked(path: Path, *what: str) -> bytes:
    """The child's answer."""
    kind = media.kind_of(path)
    with path.open("rb") as file:
        command = [sys.executable, "-m", "tenku.untrusted", kind, *what]
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        child = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 env=environment)
        try:
            answer, _ = child.communicate(timeout=2 * SECONDS)
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


def _clip(answer: bytes) -> Clip:
    head = _head(answer)
    frames = np.frombuffer(answer, np.uint8, offset=_HEAD).reshape(head["shape"]).copy()  # that may be written to
    return Clip(frames, head["fps"])


def main(kind: str, *what: str) -> None:
    """The child: reads standard input, answers on standard output."""
    _warm_up()
    _confine()
    frames = np.empty((0, 1, 1, 3), np.uint8)
    try:
        head, frames = _answer(sys.stdin.buffer, kind, *what)
    except UserError as error:
        head = {"error": str(error)[:200], "hint": error.hint[:200]}
    sys.stdout.buffer.write(json.dumps(head).encode().ljust(_HEAD))
    for frame in frames:
        sys.stdout.buffer.write(frame.tobytes())
    sys.stdout.buffer.flush()


def _answer(file: BinaryIO, kind: str, what: str, *more: str) -> tuple[dict[str, Any], media.Frames]:
    """What is said of the file, and the frames that follow."""
    if what == "measure":
        first = media.decode_at(file, kind, 0.1)  # as it is, but only a frame in ten seconds
        file.seek(0)
        count = len(media.decode_at(file, kind, float(more[0]), (16, 16)).frames)
        return {"frames": count, "size": first.size}, first.frames[:0]
    if what == "at":
        clip = media.decode_at(file, kind, float(more[0]), (int(more[1]), int(more[2])))
    else:
        clip = media.decode(file, kind, int(what))
    return {"shape": clip.frames.shape, "fps": clip.fps}, clip.frames


def _warm_up() -> None:
    """Decodes something of our own, good and broken: what libraries load late, they load now."""
    from PIL import Image

    Image.init()
    tiny = Clip(np.zeros((2, 16, 16, 3), np.uint8), 12.0)
    for ending in (".mp4", ".gif", ".webp"):
        data = media.encode(tiny, ending)
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


if __name__ == "__main__":
    main(*sys.argv[1:])
