"""The guard: who gets in, under which name, from which page, and with which headers."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from tenku.cli import main
from tenku.errors import UserError
from tenku.serving import access, app, jobs
from tenku.serving.access import add_key, all_keys, revoke_key
from tenku.serving.db import Database, keys
from tenku.serving.service import Service
from tenku.serving.store import Store

HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ID = "video_" + "0" * 24


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    db = Database(f"sqlite:///{tmp_path / 'tenku.db'}")
    yield Service(db, Store(str(tmp_path / "files")), ("tenku-nano",), needs_key=True)
    db.close()


@pytest.fixture
def client() -> Iterator[Callable[..., TestClient]]:
    """A caller of a service with a key; a loop for each call and an application for each caller took longest."""
    built: dict[bool, Any] = {}  # whether it needs a key; a test has one service
    with contextlib.ExitStack() as held:
        def of(service: Service, secret: str = "") -> TestClient:
            headers = {"authorization": f"Bearer {secret}"} if secret else {}
            if service.needs_key not in built:
                built[service.needs_key] = app.build(service, HOSTS)
            own = built[service.needs_key]
            return held.enter_context(TestClient(own, base_url="http://127.0.0.1", headers=headers))

        yield of


def routes() -> list[tuple[str, str]]:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
    names = {"{id}": ID, "{sha256}": "0" * 64, "{model}": "tenku-nano"}
    paths = {re.sub(r"{\w+}", lambda found: names[found[0]], path) for _, path, _, _ in app.ROUTES}
    return [(method, path) for path in sorted({*paths, "/v1/openapi.json", "/v1/nowhere", "/v1", "/v1/"})
            for method in methods]


def test_without_a_good_key_only_health_and_static_files_answer(service, client):
    _, secret = add_key(service.db, "bad")
    revoke_key(service.db, all_keys(service.db)[0]["id"])
    for who in ("", "tk_wrong", secret):
        caller = client(service, who)
        for method, path in routes():
            status = caller.request(method, path).status_code
            if path == "/health":
                assert status == 200 if method == "GET" else status in (404, 405)
            elif path == "/v1/session":
                assert status in (200, 401, 404, 405)  # where a key is brought
            else:
                assert status == 401, (method, path, who)
        assert caller.get("/").status_code == 200


def test_a_method_that_is_not_there_names_those_that_are(service, client):
    service.needs_key = False
    for method, path, allowed in (("OPTIONS", "/v1/videos", "GET, POST"), ("GET", "/v1/videos/edits", "POST"),
                                  ("PUT", f"/v1/videos/{ID}", "DELETE, GET"), ("GET", "/v1/films", "POST")):
        answer = client(service).request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_another_tenants_key_finds_nothing_and_changes_nothing(service, client):
    _, ann = add_key(service.db, "ann")
    _, bob = add_key(service.db, "bob")
    made = client(service, ann).post("/v1/videos", json={"prompt": "mine"}).json()["id"]
    other = client(service, bob)
    for method, path in routes():
        if ID not in path or not path.startswith("/v1/videos"):
            continue
        body = {"json": {"prompt": "x", "rating": 1}} if method == "POST" else {}
        assert other.request(method, path.replace(ID, made), **body).status_code in (404, 405), (method, path)
    assert other.get("/v1/videos").json()["data"] == []
    assert other.get(f"/v1/videos?after={made}").status_code == 404
    kept = client(service, ann).post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"}).json()["id"]
    for method, path in (("GET", f"/v1/files/{kept}"), ("GET", f"/v1/files/{kept}/content"),
                         ("DELETE", f"/v1/files/{kept}")):
        assert other.request(method, path).status_code == 404
    batch = {"input_file_id": kept, "endpoint": "/v1/videos", "completion_window": "24h"}
    assert other.post("/v1/batches", json=batch).status_code == 404
    theirs = client(service, ann).post("/v1/batches", json=batch).json()["id"]
    assert other.get(f"/v1/batches/{theirs}").status_code == 404
    assert other.post(f"/v1/batches/{theirs}/cancel").status_code == 404
    worse = other.post("/v1/videos", json={"prompt": "theirs"}).json()["id"]
    assert other.post(f"/v1/videos/{worse}/feedback", json={"better_than": made}).status_code == 404
    assert client(service, ann).get(f"/v1/videos/{made}").json()["status"] == "queued"


def test_nothing_is_made_from_what_another_tenant_has(service, client):
    (_, ann), (_, bob) = add_key(service.db, "ann"), add_key(service.db, "bob")
    mine, other = client(service, ann), client(service, bob)
    made = mine.post("/v1/videos", json={"prompt": "mine"}).json()["id"]
    kept = mine.post("/v1/files", data={"purpose": "vision"}, files={"file": b"GIF89a"}).json()["id"]
    name = mine.post("/v1/videos/characters", json={"name": "Mossy", "description": "a ball"}).json()["id"]
    assert mine.post("/v1/videos/edits", json={"video": made}).status_code == 400  # not ready, but there
    for source in (made, kept):
        for path, body in (("", {"prompt": "x", "inputs": [source]}), ("", {"input_reference": {"id": source}}),
                           ("", {"mask": source}), ("/edits", {"video": source}),
                           ("/extensions", {"video": {"id": source}}), ("/characters", {"name": "x", "video": source})):
            refused = other.post(f"/v1/videos{path}", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found"), (path, body)
    board = {"shots": [{"prompt": "x", "keyframes": [made]}]}
    for path, body in (("/films", {"storyboard": board}), ("/films", {"storyboard": {}, "parent": made}),
                       ("/videos", {"prompt": "Mossy", "characters": [{"id": name}]})):
        assert other.post(f"/v1{path}", json=body).status_code == 404
    assert other.get(f"/v1/videos/characters/{name}").status_code == 404
    assert mine.get(f"/v1/videos/characters/{name}").status_code == 200
    assert other.get(f"/v1/videos?parent={made}").json()["data"] == []


def test_keys_of_one_tenant_share_their_videos(service, client):
    secrets = [add_key(service.db, name, tenant="team")[1] for name in ("ann", "bob")]
    made = client(service, secrets[0]).post("/v1/videos", json={"prompt": "ours"}).json()["id"]
    assert client(service, secrets[1]).get(f"/v1/videos/{made}").status_code == 200


def test_scopes(service, client):
    _, reader = add_key(service.db, "reader", scopes=["read"])
    _, writer = add_key(service.db, "writer", scopes=["read", "write"])
    _, admin = add_key(service.db, "admin", scopes=["admin"])
    assert client(service, reader).get("/v1/videos").status_code == 200
    refused = client(service, reader).post("/v1/videos", json={"prompt": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    for path in access.ADMIN:
        assert client(service, writer).get(path).status_code == 403
        assert client(service, admin).get(path).status_code == 200
    assert client(service, admin).get("/v1/videos").status_code == 403


def test_a_revoked_key_is_out_at_the_next_call(service, client):
    name, secret = add_key(service.db, "ann")
    caller = client(service, secret)
    assert caller.get("/v1/videos").status_code == 200
    revoke_key(service.db, name)
    assert caller.get("/v1/videos").status_code == 401
    with pytest.raises(UserError, match="no such key"):
        revoke_key(service.db, name)


def test_a_revoked_key_watches_no_longer(service, client):
    made = {}
    for tenant in ("ann", "bob"):
        name, secret = add_key(service.db, tenant)
        made[tenant] = name, client(service, secret)
        made[tenant][1].post("/v1/videos", json={"prompt": "x"})
    name, caller = made["ann"]
    path = f"/v1/videos/{caller.get('/v1/videos').json()['data'][0]['id']}"
    assert caller.get("/v1/status").json()["queued"] == 1  # and not what others wait for
    ends = threading.Timer(0.5, revoke_key, (service.db, name))
    ends.start()
    seen = caller.get(f"{path}/events").text  # ends, though the job does not
    assert seen.count("event: progress") == 1
    assert "event: d" not in seen
    assert caller.get(path).status_code == 401
    name, caller = made["bob"]
    path = f"/v1/videos/{caller.get('/v1/videos').json()['data'][0]['id']}"
    for call in (f"{path}/stream", path):
        ends = threading.Timer(0.5, revoke_key, (service.db, name))
        ends.start()
        answer = caller.get(call, headers={"X-Stainless-Poll-Helper": "true"})
        assert (answer.status_code, answer.content) == (200, b"") if call != path else answer.status_code == 401
        ends.join()
        with service.db.write() as connection:
            connection.execute(update(keys).values(revoked_at=None))


def test_secrets_are_not_kept(service, client, tmp_path):
    _, secret = add_key(service.db, "ann")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert "hash" not in all_keys(service.db)[0]


def test_a_key_has_its_own_limits(service, client):
    _, secret = add_key(service.db, "ann", most_waiting=1)
    caller = client(service, secret)
    assert caller.post("/v1/videos", json={"prompt": "x"}).status_code == 200
    refused = caller.post("/v1/videos", json={"prompt": "x"})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    for wrong in ({"scopes": ["root"]}, {"most_daily": 0}, {"tenant": "x" * 41}):
        with pytest.raises(UserError):
            add_key(service.db, "x", **wrong)


def test_a_key_keeps_no_more_bytes_than_it_may(service, client, capsys):
    _, secret = add_key(service.db, "ann", most_bytes=1_000_000)
    caller = client(service, secret)

    def upload(size: int):
        return caller.post("/v1/files", data={"purpose": "batch"}, files={"file": b"x" * size})

    first = upload(600_000).json()["id"]
    refused = upload(600_000)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (429, "storage_full", "rate_limit_error")
    assert "1.0 MB" in error["message"]
    assert "DELETE /v1/files/ID" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    job = caller.post("/v1/videos", json={"prompt": "x"}).json()["id"]
    taken = jobs.claim(service.db, "w", ["tenku-nano"])
    jobs.complete(service.db, taken, {"video": {"key": "k", "type": "video/mp4", "bytes": 500_000}}, {}, None)
    assert all_keys(service.db)[0]["kept"] == 1_100_000
    for full in (caller.post("/v1/videos", json={"prompt": "x"}), upload(1)):
        assert full.json()["error"]["code"] == "storage_full"
    assert main(["keys", "list", "--db", str(service.db.url)]) == 0
    assert "1.1 of 1.0 MB" in capsys.readouterr().out
    caller.delete(f"/v1/files/{first}")
    assert caller.post("/v1/videos", json={"prompt": "x"}).status_code == 200
    caller.delete(f"/v1/videos/{job}")
    assert all_keys(service.db)[0]["kept"] == 0
    assert upload(1_000_000).status_code == 200


def test_on_loopback_nobody_needs_a_key(service, client):
    service.needs_key = False
    assert client(service).get("/v1/videos").status_code == 200
    assert client(service).get("/v1/status").json()["tenant"] == "local"
    for said in ("", "Bearer", "Bearer ", "Bearer sk-anything", "Basic x", "x"):
        assert client(service).get("/v1/videos", headers={"authorization": said}).status_code == 200


def test_a_key_that_does_not_hold_is_refused_on_loopback_too(service, client):
    service.needs_key = False
    name, revoked = add_key(service.db, "ann", scopes=["read"])
    assert client(service, revoked).get("/v1/status").json()["scopes"] == ["read"]
    studio = client(service)
    studio.post("/v1/session", json={"key": revoked})
    revoke_key(service.db, name)
    plain = client(service)
    for said in (f"Bearer {revoked}", "Bearer tk_wrong", f"bearer {revoked}", revoked):
        error = plain.get("/v1/videos", headers={"authorization": said}).json()["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")
    for method, path in routes():
        if path not in ("/v1/session", "/health"):  # where a key is brought, and what is everybody's
            answer = plain.request(method, path, headers={"authorization": f"Bearer {revoked}"})
            assert answer.status_code == 401, (method, path)
    refused = studio.get("/v1/videos")
    assert refused.status_code == 401
    assert studio.get("/v1/status").json()["tenant"] == "local"  # the cookie went with its key


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1",
                                  "localhost:x@evil.example"])
def test_other_names_get_no_answer(service, client, host):
    service.needs_key = False
    for path in ("/", "/health", "/v1/videos"):
        answer = client(service).get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
    {"sec-fetch-site": "cross-site"}])
def test_pages_of_other_sites_change_nothing(service, client, headers):
    service.needs_key = False
    refused = client(service).post("/v1/videos", data={"prompt": "x"}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
    allowed = client(service).post("/v1/videos", json={"prompt": "x"}, headers={"origin": "http://127.0.0.1"})
    assert allowed.status_code == 200


def test_every_answer_has_strict_headers_and_a_name(service, client):
    caller = client(service)
    answers = [caller.get(path) for path in ("/", "/health", "/v1/videos", "/nowhere")]
    answers.append(caller.get("/health", headers={"host": "evil"}))
    for answer in answers:
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"].startswith("req_")
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_body_without_end_is_refused(service, client, monkeypatch):
    service.needs_key = False
    monkeypatch.setattr(access, "MAX_BODY", 1000)
    said = client(service).post("/v1/videos", content=b"{" + b" " * 2000)
    unsaid = client(service).post("/v1/videos", content=iter([b" " * 600] * 3),
                                  headers={"content-type": "application/json"})
    assert [said.status_code, unsaid.status_code] == [413, 413]


def test_the_studio_keeps_a_key_where_scripts_cannot_read_it(service, client):
    _, secret = add_key(service.db, "ann")
    studio = client(service)
    assert studio.post("/v1/session", json={"key": "tk_wrong"}).status_code == 401
    answer = studio.post("/v1/session", json={"key": secret})
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert studio.get("/v1/videos").status_code == 200
    foreign = studio.post("/v1/videos", json={"prompt": "x"}, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    studio.delete("/v1/session")
    assert studio.get("/v1/videos").status_code == 401
