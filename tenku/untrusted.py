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

import numpy as np

from tenku import media
from tenku.errors import UserError
from tenku.types import Clip

MEMORY = 384 << 20  # bytes of data that the child may hold; with its libraries it stays under 512 MiB
SECONDS = 60  # of processor time; of the clock twice that
_HEAD = 512  # bytes that open the child's answer: JSON, padded with spaces


def read(path: Path, sample: int) -> Clip:
    """`media.read_clip` in a limited process. Raises UserError, also where that process died of the file."""
    kind = media.kind_of(path)
    with path.open("rb") as file:
        command = [sys.executable, "-m", "tenku.untrusted", kind, str(sample)]
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
    return _clip(answer)


def _clip(answer: bytes) -> Clip:
    if len(answer) < _HEAD:
        raise UserError("the file cannot be decoded within this program's limits of memory and time",
                        "convert it to H.264 at a smaller size")
    head = json.loads(answer[:_HEAD])
    if "error" in head:
        raise UserError(head["error"], head["hint"])
    frames = np.frombuffer(answer, np.uint8, offset=_HEAD).reshape(head["shape"])
    return Clip(frames, head["fps"])


def main(kind: str, sample: int) -> None:
    """The child: reads standard input, answers on standard output."""
    _warm_up()
    _confine()
    try:
        clip = media.decode(sys.stdin.buffer, kind, sample)
        head, body = {"shape": clip.frames.shape, "fps": clip.fps}, clip.frames.tobytes()
    except UserError as error:
        head, body = {"error": str(error)[:200], "hint": error.hint[:200]}, b""
    sys.stdout.buffer.write(json.dumps(head).encode().ljust(_HEAD))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


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
    main(sys.argv[1], int(sys.argv[2]))
