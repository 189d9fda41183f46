"""Files of strangers: read by a process that can open nothing, in bounded memory and time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from scenes import scene

from tenku import media, untrusted
from tenku.errors import UserError
from tenku.types import Clip


def written(path: Path, frames: np.ndarray) -> Path:
    path.write_bytes(media.encode(Clip(frames, 12.0), path.suffix))
    return path


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ".webp", ".png"])
def test_it_reads_what_media_reads(ending, tmp_path):
    path = written(tmp_path / f"a{ending}", scene(1 if ending == ".png" else 9))
    here, there = media.read_clip(path, 8), untrusted.read(path, 8)
    assert np.array_equal(here.frames, there.frames)
    assert here.fps == there.fps


def test_our_own_words_come_through(tmp_path):
    for name, data in {"a.mp4": b"\0\0\0\x20ftypisom" + b"\xff" * 99, "b.png": b"\x89PNG\r\n\x1a\n1234"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="is broken") as caught:
            untrusted.read(tmp_path / name, 8)
        assert caught.value.hint
        assert str(tmp_path) not in str(caught.value)


def test_a_child_that_dies_is_an_error_message(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp4", scene(3))
    monkeypatch.setattr(untrusted.sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="within this program's limits") as caught:
        untrusted.read(path, 8)
    assert caught.value.hint


def test_a_child_that_hangs_is_ended(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp4", scene(3))
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 20\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(untrusted.sys, "executable", str(sleeper))
    monkeypatch.setattr(untrusted, "SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(UserError, match="limits"):
        untrusted.read(path, 8)
    assert time.monotonic() - started < 20


CONFINED = """
import sys, socket
from tenku import untrusted
untrusted._confine()
for attempt in (lambda: open('/etc/hostname'), lambda: socket.socket(), lambda: open('new', 'w'),
                lambda: __import__('subprocess').run(['true']), lambda: bytearray(600 << 20)):
    try:
        attempt()
        print('allowed')
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
def test_the_child_can_open_nothing_and_hold_little(tmp_path):
    done = subprocess.run([sys.executable, "-c", CONFINED], capture_output=True, text=True, cwd=tmp_path, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
    assert done.stdout.split() == ["OSError", "OSError", "OSError", "OSError", "MemoryError"]
    assert os.listdir(tmp_path) == []


def corpus(folder: Path) -> list[Path]:
    """Files that mean harm, each of another kind."""
    from PIL import Image

    secret = written(folder / "secret.mp4", scene(3))
    list_ = f"ffconcat version 1.0\nfile {secret.name}\n".encode()
    dash = b'<?xml version="1.0"?><MPD><BaseURL>secret.mp4</BaseURL></MPD>'
    playlist = f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXTINF:1,\nhttp://127.0.0.1:9/x\n".encode()
    files = {
        "concat.mp4": list_, "brand.mp4": b"\0\0\0\x20ftypisom" + list_ * 4, "hls.mp4": playlist, "dash.mp4": dash,
        "sdp.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "matroska.webm": b"\x1aE\xdf\xa3" + playlist * 4, "riff.webp": b"RIFF\x20\0\0\0WEBPVP8 " + playlist,
        "noise.gif": b"GIF89a" + bytes(range(256)) * 8, "noise.jpg": b"\xff\xd8\xff" + bytes(range(256)) * 8,
        "svg.png": b"\x89PNG\r\n\x1a\n<svg><image href='file:///etc/passwd'/></svg>",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    Image.new("1", (4096, 4096)).save(folder / "bomb.png")
    Image.new("1", (9000, 9000)).save(folder / "larger.png")
    with av.open(str(folder / "bomb.mp4"), "w") as out:  # a few KB that decode to half a gigabyte
        video = out.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 2048, 2048, "yuv420p"
        black = av.VideoFrame(2048, 2048, "yuv420p")
        for plane in black.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(40):
            black.pts = number
            out.mux(video.encode(black))
        out.mux(video.encode(None))
    data = bytearray(secret.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (folder / "length.mp4").write_bytes(bytes(data))
    return sorted(p for p in folder.iterdir() if p != secret)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_hostile_files_open_nothing_else(tmp_path):
    """What the decoding process opens after it has the upload: nothing, seen from outside."""
    files = {path.name: path for path in corpus(tmp_path)}
    for name in ("brand.mp4", "matroska.webm", "svg.png", "length.mp4"):  # what passes the first look
        path, kind = files[name], media.kind_of(files[name])
        log = tmp_path / "strace.txt"
        calls = "trace=open,openat,socket,connect,setrlimit,prlimit64"
        command = [sys.executable, "-m", "tenku.untrusted", str(path), kind, "signed", "8", f"{path}.c2pa"]
        subprocess.run(["strace", "-f", "-e", calls, "-o", str(log), *command], stdin=subprocess.DEVNULL,
                       capture_output=True, check=False, timeout=120)
        after = log.read_text().rpartition("RLIMIT_NOFILE, {rlim_cur=0")[2]
        opened = [line for line in after.splitlines() if ("open" in line or "socket(" in line) and " = -1 " not in line]
        assert not opened, path.name


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
def test_hostile_files_are_answered_in_little_memory_and_time(tmp_path):
    for path in corpus(tmp_path):
        try:
            kind = media.kind_of(path)
        except UserError:
            continue
        # in between stands a small process: a child's peak counts what its parent held when it was forked
        done = subprocess.run([sys.executable, "-c", MEASURED, sys.executable, "-m", "tenku.untrusted", str(path), kind,
                               "signed", "8", f"{path}.c2pa"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        peak, seconds = map(float, done.stdout.split())
        assert peak < 512 << 10, f"{path.name}: {peak} KB"
        assert seconds < 5, path.name
