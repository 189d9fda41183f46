"""What a server is told, and its housekeeping."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
from servers import Served, until
from sqlalchemy import func, select, update

from tenku.errors import UserError
from tenku.serving import jobs, server
from tenku.serving.db import Database, deliveries
from tenku.serving.db import jobs as table
from tenku.serving.hooks import add_hook
from tenku.serving.jobs import New
from tenku.serving.server import Settings, expire, models_of, sweep
from tenku.serving.store import Store


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'tenku.db'}")
    yield database
    database.close()


def settings(**changes: object) -> Settings:
    return Settings(**{"host": "127.0.0.1", "port": 0, "db": "", "files": "", "models": {}, **changes})  # type: ignore[arg-type]


def test_whoever_can_be_reached_from_elsewhere_needs_keys():
    assert not any(settings(host=host).needs_key for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"))
    assert all(settings(host=host).needs_key for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"))
    assert settings(names=("videos.example.org",)).needs_key
    assert settings(require_key=True).needs_key
    assert "videos.example.org" in settings(names=("Videos.Example.org",)).hosts


def test_models_are_bundled_or_folders(tmp_path):
    (tmp_path / "mine").mkdir()
    assert models_of([]) == {"tenku-nano": "nano"}
    assert models_of([f"mine={tmp_path / 'mine'}", "nano"]) == {"mine": str(tmp_path / "mine"), "tenku-nano": "nano"}
    assert models_of(["tenku-nano=nano"]) == {"tenku-nano": "nano"}
    for wrong in ("nothing", str(tmp_path / "mine"), "mine=", "=nano", "x=/no/such/folder", "../weights/nano"):
        with pytest.raises(UserError, match="no such model"):
            models_of([wrong])


def test_files_that_no_row_names_are_swept_and_others_are_not(db, tmp_path):
    store = Store(str(tmp_path / "files"))
    for _ in range(3):
        jobs.submit(db, New("ann", "m", {"prompt": "x"}, {}, 1.0, "f"))
    done, running, deleted = (jobs.claim(db, "w", ["m"]) for _ in range(3))
    for job in (done, running, deleted):
        for token in (job["token"], job["token"] + 7):
            with store.attempt(job["id"], token) as folder:
                (folder / "video.mp4").write_bytes(b"x")
    jobs.complete(db, done, {"video": {"key": f"{done['id']}/1/video.mp4"}}, {}, None)
    jobs.remove(db, "ann", deleted["id"])
    with store.attempt("video_" + "f" * 24, 1):
        pass
    sweep(db, store)
    assert store.attempts() == sorted([(done["id"], "1"), (running["id"], "1")])


def test_what_expired_loses_its_files_and_keeps_its_row(db, tmp_path):
    store = Store(str(tmp_path / "files"))
    jobs.submit(db, New("ann", "m", {"prompt": "x"}, {}, 1.0, "f"))
    job = jobs.claim(db, "w", ["m"])
    with store.attempt(job["id"], job["token"]) as folder:
        (folder / "video.mp4").write_bytes(b"x")
    jobs.complete(db, job, {"video": {"key": f"{job['id']}/1/video.mp4"}}, {}, keep=1000)
    expire(db, store)
    assert store.attempts()
    with db.write() as connection:
        connection.execute(update(table).values(expires_at=db.clock - 1))
    expire(db, store)
    assert store.attempts() == []
    row = jobs.get(db, "ann", job["id"])
    assert (row["status"], row["artifacts"]) == ("completed", None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_told_to_stop_before_it_listens_for_that_stops(tmp_path, monkeypatch, number):
    """It says that it listens before uvicorn has taken the signals over."""
    run = server._Server.run

    def told(self: server._Server, sockets: list[socket.socket]) -> None:
        signal.raise_signal(number)
        run(self, sockets)

    monkeypatch.setattr(server._Server, "run", told)
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it went on"))
    signal.alarm(30)
    try:
        server.serve(settings(db=f"sqlite:///{tmp_path / 'tenku.db'}", files=str(tmp_path), workers=0))
    finally:
        signal.alarm(0)
        for n, handler in before.items():
            signal.signal(n, handler)


def test_a_webhook_that_never_answers_keeps_nobody_waiting(db, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, Served(tmp_path, "--workers", "0"):
        add_hook(db, f"private+http://127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(22):
            jobs.submit(db, New("local", "m", {"prompt": "x"}, {}, 1.0, "f"))
        *ended, lost, _ = (jobs.claim(db, "w", ["m"]) for _ in range(22))
        for job in ended:
            jobs.fail(db, job, "x", "x")
        until(lambda: asked(db) > 0)
        with db.write() as connection:
            connection.execute(update(table).where(table.c.id == lost["id"]).values(lease_until=0))
        until(lambda: jobs.get(db, "local", lost["id"])["status"] == "queued", 30)
        assert asked(db) < 20  # else it waited for them, after all


def asked(db: Database) -> int:
    """How many webhooks were tried."""
    with db.read() as connection:
        return int(connection.execute(select(func.count()).where(deliveries.c.tries > 0)).scalar_one())


def test_a_server_told_to_stop_does_not_wait_for_what_cannot_be_cancelled(tmp_path):
    """A file that is being examined, which may take two minutes."""
    hangs = ("import sys, time; from tenku.cli import main; from tenku.serving import server, verifying;"
             "server.LAST = 1.0; verifying.examine = lambda path: print('examines', flush=True) or time.sleep(300);"
             "sys.exit(main(['serve', '--port', '0', '--workers', '0', '--files', sys.argv[1]]))")
    with subprocess.Popen([sys.executable, "-c", hangs, tmp_path], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            url = running.stdout.readline().split()[-1]
            form = '--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nGIF89a\r\n--x--\r\n'
            call = urllib.request.Request(f"{url}/v1/verify", form.encode(),
                                          {"content-type": "multipart/form-data; boundary=x"})
            asks = threading.Thread(target=pytest.raises, args=((OSError, HTTPException), urllib.request.urlopen, call))
            asks.start()
            assert running.stdout.readline() == "examines\n"
            running.terminate()
            assert running.wait(60) == 0
            asks.join()
        finally:
            running.kill()
