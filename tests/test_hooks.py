"""Webhooks as the official client reads them, delivered again until they arrive, never to a neighbour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select, update

from tenku.errors import UserError
from tenku.serving import hooks, jobs
from tenku.serving.db import Database, deliveries
from tenku.serving.jobs import New


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'tenku.db'}")
    yield database
    database.close()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any], list[int]]]:
    """A server that notes what it is sent, and answers with the first of some states."""
    got: list[Any] = []
    answers = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(answers[0] if len(answers) == 1 else answers.pop(0))
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got, answers
    server.shutdown()
    server.server_close()


def finish(db: Database) -> str:
    job = jobs.submit(db, New("local", "m", {"prompt": "x"}, {}, 1.0, "f"))
    jobs.complete(db, jobs.claim(db, "w", ["m"]), {}, {}, None)
    return str(job["id"])


def due(db: Database) -> None:
    with db.write() as connection:
        connection.execute(update(deliveries).values(due_at=0.0))


def test_the_official_client_unwraps_what_is_sent(db, receiver):
    url, got, _ = receiver
    _, secret = hooks.add_hook(db, f"private+{url}/path?a=b")
    job = finish(db)
    due(db)
    hooks.deliver(db)
    [(path, headers, body)] = got
    assert path == "/path?a=b"
    event = openai.OpenAI(api_key="x").webhooks.unwrap(body, {k.lower(): v for k, v in headers.items()}, secret=secret)
    assert (event.type, event.data.id) == ("video.completed", job)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="x").webhooks.unwrap(body + b" ", {k.lower(): v for k, v in headers.items()},
                                                   secret=secret)
    due(db)
    hooks.deliver(db)
    assert len(got) == 1


def test_what_does_not_arrive_is_sent_again_and_at_last_given_up(db, receiver):
    url, got, answers = receiver
    answers[:] = [500, 302, 200]
    hooks.add_hook(db, f"private+{url}")
    finish(db)
    for _ in range(5):
        due(db)
        hooks.deliver(db)
    assert len(got) == 3  # a redirect is an answer that is not followed
    answers[:] = [500]
    finish(db)
    for _ in range(len(hooks.PAUSES) + 5):
        due(db)
        hooks.deliver(db)
    assert len(got) == 3 + len(hooks.PAUSES) + 1
    assert len({headers["webhook-id"] for _, headers, _ in got}) == 2


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/", "https://localhost:{port}/", "https://[::1]:{port}/",
                                 "https://0.0.0.0:{port}/"])
def test_a_private_address_is_never_called(db, receiver, url):
    address, got, _ = receiver
    hooks.add_hook(db, url.format(port=address.rpartition(":")[2]))
    finish(db)
    due(db)
    hooks.deliver(db)
    assert got == []
    with db.read() as connection:
        assert connection.execute(select(deliveries.c.status)).scalar_one() == 0


def test_only_https_and_only_what_is_a_url(db):
    for url in ("http://example.org", "ftp://x", "https://", "https://user@example.org/", "private+file:///x",
                "https://example.org/" + "x" * 2000):
        with pytest.raises(UserError, match="cannot be"):
            hooks.add_hook(db, url)
    name, _ = hooks.add_hook(db, "https://example.org/")
    assert [hook["id"] for hook in hooks.all_hooks(db)] == [name]
    hooks.remove_hook(db, name)
    with pytest.raises(UserError, match="no such webhook"):
        hooks.remove_hook(db, name)
