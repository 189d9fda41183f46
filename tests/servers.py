"""Real servers for the tests: a throw-away PostgreSQL, and `tenku serve` with its workers."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], object], seconds: float = 120.0, every: float = 0.1) -> object:
    """Waits for something to be true and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s: {what}")


def postgres_programs() -> Path | None:
    """Debian's folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A cluster of its own on a free loopback port; its URL. Refuses to run as root, so it gets another user."""
    programs = postgres_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="tenku-pg-"))
    user: dict[str, object] = {}
    if os.geteuid() == 0:
        who = pwd.getpwnam("postgres")
        os.chown(folder, who.pw_uid, who.pw_gid)
        user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    port = free_port()
    try:
        subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "tenku", "-A", "trust", "-E", "UTF8"],
                       check=True, capture_output=True, cwd=folder, **user)  # type: ignore[call-overload]
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1",
             "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user)  # type: ignore[call-overload]
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
            yield f"postgresql+psycopg://tenku@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Served:
    """A `tenku serve` of the tests' own, in a process of its own."""

    def __init__(self, folder: Path, *flags: str, db: str = "") -> None:
        self.folder, self.flags, self.db = folder, flags, db
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> Served:
        """Starts it and waits until it listens."""
        environment = {**os.environ, "TENKU_FILES": str(self.folder), "TENKU_LOG": "INFO"}
        if self.db:
            environment["TENKU_DB"] = self.db
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tenku", "serve", "--port", "0", *self.flags], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        try:
            line = str(until(lambda: next((line for line in self.lines if "listens on" in line), None)
                             or (self.process and self.process.poll() is not None and "\n".join(self.lines))))
            assert "listens on" in line, line
        except BaseException:
            self.kill()
            raise
        self.url = line.split()[-1]
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            self.lines.extend(line.rstrip("\n") for line in process.stdout)

    def workers(self) -> list[int]:
        """Process ids of its workers that live."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        with contextlib.suppress(OSError):
            return [int(pid) for file in found for pid in file.read_text().split()]
        return []

    def kill(self) -> None:
        """As a machine's owner with kill -9 would. Its workers notice by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end, and waits; twice as long as it may take. What does not end is killed, and an error."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            finally:
                self.kill()

    def __enter__(self) -> Served:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
