"""The Videos API where a real server would be too slow to catch at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tenku.serving import app, jobs, videos
from tenku.serving.db import Database
from tenku.serving.service import Service
from tenku.serving.store import Store

POLLS = {"X-Stainless-Poll-Helper": "true"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    db = Database(f"sqlite:///{tmp_path / 'tenku.db'}")
    yield Service(db, Store(str(tmp_path / "files")), ("tenku-nano",), needs_key=False)
    db.close()


def test_the_clients_own_poll_is_answered_when_the_video_is_done(service, monkeypatch):
    monkeypatch.setattr(videos, "HOLD", 60)
    looked = threading.Event()
    look = jobs.look
    looks: list[object] = []
    monkeypatch.setattr(jobs, "look", lambda *given: looked.set() or looks.append(given) or look(*given))

    def work() -> None:
        looked.wait(60)
        jobs.complete(service.db, jobs.claim(service.db, "w", ["tenku-nano"]), {}, {}, None)

    with TestClient(app.build(service, frozenset({"127.0.0.1"})), base_url="http://127.0.0.1") as client:
        path = f"/v1/videos/{client.post('/v1/videos', json={'prompt': 'x'}).json()['id']}"
        for plain in ({}, {**POLLS, "X-Stainless-Custom-Poll-Interval": "50"}):  # who has an interval is not kept
            assert client.get(path, headers=plain).json()["status"] == "queued"
        assert len(looks) == 2
        monkeypatch.setattr(videos, "HOLD", 0.1)
        waiting = client.get(path, headers=POLLS)
        assert (waiting.json()["status"], waiting.headers["openai-poll-after-ms"]) == ("queued", "250")
        monkeypatch.setattr(videos, "HOLD", 60)
        looked.clear()
        works = threading.Thread(target=work)
        works.start()
        assert client.get(path, headers=POLLS).json()["status"] == "completed"
        works.join()
