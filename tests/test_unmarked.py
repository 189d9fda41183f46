"""No way leads to a generated picture without its marks: every command, route, preview, cancelled and killed job.

Whatever lies on the disk or comes over the wire is either a sealed file, or one of a few known kinds that hold no
picture that anybody else can see. A file of a new kind fails here until somebody has thought about it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from servers import Served, until

from tenku import media
from tenku.cli import VERBS, main
from tenku.errors import UserError
from tenku.provenance import manifest
from tenku.provenance.lock import unlock
from tenku.provenance.manifest import Signature
from tenku.provenance.verify import Verdict, examine
from tenku.serving.videos import VARIANTS

# What may lie there beside sealed files. Locked latents of films are the only ones that hold pictures.
OTHER = {".pem", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal", ".db", ".db-wal", ".db-shm", ".db-journal",
         ".otio", ".json", ".yaml", ".c2pa", ".locked", ".lock", ".py", ".pyc", ".log", ""}
SMALL = ["--size", "64x48", "--seconds", "0.5", "--steps", "2"]
MAKING = {"generate", "extend", "blend", "loop", "edit", "film"}  # verbs that write pictures of a model
# Verbs that write none: rendered truth is no model's, reports hold sealed clips only (their own tests say so).
# Samples of tuning are sealed: tests/test_tuning.py.
OTHERS = {"serve", "jobs", "worker", "keys", "hooks", "verify", "world", "train", "tune", "eval", "bench", "data",
          "plan"}


def check(folder: Path) -> int:
    """Every file below: sealed, or of a kind that holds no picture. Returns how many were sealed."""
    sealed = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        try:
            media.sniff(data[:16])
        except UserError:
            assert path.suffix in OTHER, path
            if path.suffix == ".locked":
                assert unlock(data, path.stem) is not None
                assert b"latents" not in data
            continue
        assert examine(path).verdict is Verdict.MADE, path
        sealed += 1
    return sealed


def test_every_verb_is_thought_of():
    assert set(VERBS) == MAKING | OTHERS


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with everything that a command can write to: its own, the installation's, the system's for drafts."""
    for name in ("work", "home", "drafts"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "drafts"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_every_command_writes_sealed_files_alone(home):
    ball = ["generate", "a red ball on a beach", *SMALL, "-o"]
    for name in ("a.mp4", "a.webm"):
        assert main([*ball, name]) == 0
    assert main(["generate", "a red ball", "--size", "64x48", "--steps", "2", "-o", "a.png", "--preview", "p.png"]) == 0
    assert main(["generate", "a red ball", *SMALL, "--image", "a.png", "--samples", "2", "-o", "i.mp4"]) == 0
    assert main(["extend", "a.mp4", *SMALL, "-o", "e.mp4"]) == 0
    assert main(["blend", "a.mp4", "i-1.mp4", *SMALL, "-o", "b.mp4"]) == 0
    assert main(["loop", "a.mp4", "--steps", "2", "-o", "l.webp"]) == 0
    assert main(["edit", "a.mp4", "a blue ball", "--steps", "2", "-o", "d.mp4"]) == 0
    Path("s.yaml").write_text("size: 64x48\nsteps: 2\nshots:\n  - {prompt: a red ball, seconds: 0.5}\n"
                              "  - {prompt: a blue cube, seconds: 0.5, transition: dream 0.5}\n")
    assert main(["film", "s.yaml", "-o", "f.mp4"]) == 0
    assert check(home) >= 2 + 2 + 2 + 4 + 4  # with the shots of the film


@pytest.mark.parametrize("signal", ["KILL", "INT"])
def test_a_command_that_is_ended_leaves_sealed_files_alone(home, signal):
    command = [sys.executable, "-m", "tenku", "generate", "a red ball", "--size", "64x48", "--steps", "60",
               "--preview", "p.png", "-o", "a.mp4"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: Path("p.png").exists() or process.poll() is not None, 300)
    assert process.poll() is None
    subprocess.run(["kill", f"-{signal}", str(process.pid)], check=True)
    process.wait(60)
    assert not Path("a.mp4").exists()
    drafts = [path for path in home.rglob(".tenku-*.tmp") if path.is_file()]
    for draft in drafts:  # an unfinished one holds the beginning of a sealed file
        draft.unlink()
    check(home)


class Watch:
    """Looks at a folder all the time and keeps every picture file that it saw there."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder, self.kept, self.over = folder, kept, threading.Event()
        self.seen: dict[str, bytes] = {}
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        looked: set[tuple[str, int]] = set()
        while not self.over.wait(0.05):
            # os.walk, unlike rglob, goes on where a folder that it is about to read is removed
            for path in [Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names]:
                try:
                    known = (str(path), path.stat().st_mtime_ns)
                    if known in looked:
                        continue
                    looked.add(known)
                    data = path.read_bytes()
                    media.sniff(data[:16])
                except (OSError, UserError):
                    continue
                self.seen[f"{path.name}-{len(data)}"] = data

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def check(self) -> None:
        """Whole files are sealed; one that was seen half written holds no readable pictures or its manifest."""
        for name, data in self.seen.items():
            path = self.kept / name
            path.write_bytes(data)
            try:
                media.read_clip(path, 1)
            except UserError:
                continue
            assert manifest.read(path).signature is not Signature.MISSING, name


def ask(url: str, body: object = None, method: str = "GET") -> tuple[int, str, bytes]:
    call = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method,
                                  headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


def test_every_route_gives_sealed_files_alone(home):
    """With a job that is done, one that is being made and watched, one cancelled, one whose worker was killed."""
    with Served(home / "library") as served, Watch(home, home.parent) as watch:
        def create(**more: object) -> str:
            body = {"prompt": "a red ball on a beach", "size": "64x48", "seconds": "0.5", "steps": 4, "seed": 3, **more}
            status, _, data = ask(f"{served.url}/v1/videos", body, "POST")
            assert status == 200, data
            return str(json.loads(data)["id"])

        def state(job: str) -> dict[str, object]:
            return dict(json.loads(ask(f"{served.url}/v1/videos/{job}")[2]))

        done = create()
        until(lambda: state(done)["status"] == "completed")
        slow = create(steps=200, size="128x80", seconds="2")
        watcher = threading.Thread(target=ask, args=(f"{served.url}/v1/videos/{slow}/events",), daemon=True)
        watcher.start()  # previews are made for who watches
        preview = f"{served.url}/v1/videos/{slow}/content?variant=preview"
        _, kind, data = until(lambda: (said := ask(preview))[0] == 200 and said, every=0.2)
        pictures = _sealed(home / "preview", kind, data)
        assert pictures == 1
        os.kill(served.workers()[0], 9)
        time.sleep(0.3)
        ask(f"{served.url}/v1/videos/{slow}/cancel", {}, "POST")
        until(lambda: state(slow)["status"] == "failed")
        watcher.join(60)
        routes = json.loads(ask(f"{served.url}/v1/openapi.json")[2])["paths"]
        for route, methods in routes.items():
            if "get" not in methods or "events" in route:
                continue
            for job in (done, slow):
                url = served.url + route.replace("{id}", job)
                variants = [f"?variant={name}" for name in VARIANTS] if "content" in route else [""]
                for query in variants:
                    _, kind, data = ask(url + query)
                    pictures += _sealed(home / "answer", kind, data)
        assert pictures >= 3
    watch.check()
    assert len(watch.seen) >= 3
    assert check(home) >= 3


def _sealed(path: Path, kind: str, data: bytes) -> int:
    """1 for a sealed picture, 0 for what is none."""
    if not kind.startswith(("image/", "video/")) or kind == "image/svg+xml":
        return 0
    path.write_bytes(data)
    verdict = examine(path).verdict
    path.unlink()
    assert verdict is Verdict.MADE
    return 1
