"""What one status call costs the server: `python dev/bench/status.py [TIMES]`; half a minute.

GET /v1/videos/{id} through the whole application, without a network: milliseconds of processor time a call, for one
video of each state in a queue of 50, without a key and with one. The least of five rounds counts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tenku.request import Request
from tenku.serving import jobs
from tenku.serving.access import Guard, add_key
from tenku.serving.app import build
from tenku.serving.db import Database
from tenku.serving.jobs import New
from tenku.serving.service import Service
from tenku.serving.store import Store


async def called(app: Guard, path: str, secret: str) -> None:
    """One call; its answer must be good."""
    headers = [(b"host", b"127.0.0.1"), *([(b"authorization", f"Bearer {secret}".encode())] if secret else [])]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    said: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            said.append(int(str(message["status"])))

    await app(scope, receive, send)
    assert said == [200], said


async def measured(app: Guard, path: str, secret: str, times: int) -> float:
    """Milliseconds of processor time a call."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            await called(app, path, secret)
        best = min(best, (time.process_time() - started) / times * 1000)
    return best


def main(times: int) -> None:
    """Fills a queue, measures and prints."""
    request = Request("a red ball on a beach").to_json()
    new = New("local", "m", request, {}, 1000.0, "f")
    with tempfile.TemporaryDirectory(prefix="tenku-status-") as folder:
        db = Database(f"sqlite:///{folder}/tenku.db")
        _, secret = add_key(db, "bench", tenant="local")
        for _ in range(52):
            jobs.submit(db, new)
        done, running = (jobs.claim(db, "w", ["m"]) for _ in range(2))
        assert done is not None
        assert running is not None
        jobs.complete(db, done, {}, {}, None)
        jobs.step(db, running, 3, 30)
        queued = jobs.page(db, "local", None, 1, newest_first=True)[0][0]
        app = build(Service(db, Store(str(Path(folder, "files"))), ("m",), needs_key=False), frozenset({"127.0.0.1"}))
        for name, job in (("queued", queued), ("in progress", running), ("completed", done)):
            for who in ("", secret):
                spent = asyncio.run(measured(app, f"/v1/videos/{job['id']}", who, times))
                print(f"{name:<12} {'with a key' if who else 'without a key':<14} {spent:6.2f} ms")
        db.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
