"""Who may do what: keys, and the guard that every call passes before any route.

On loopback one person needs no key. Elsewhere everything but `/health` and the studio's static files needs one. A key
of ours that is brought must hold, everywhere: one that was revoked is never taken for no key at all. Keys are random,
so their SHA-256 is as good as any slow hash; they are looked up on every call, so revoking one takes effect at once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, insert, select, update
from starlette.concurrency import run_in_threadpool

from tenku.errors import UserError
from tenku.serving.db import Database, keys
from tenku.serving.errors import ApiError
from tenku.serving.quota import Limits, kept

SCOPES = ("read", "write", "admin")  # GET; everything else; metrics, keys and everybody's feedback
LOCAL = "local"  # the tenant of who needs no key
COOKIE = "tenku_key"
OURS = "tk_"  # what keys begin with
FORGET = f"{COOKIE}=; Max-Age=0; Path=/v1; HttpOnly; SameSite=strict"
MAX_BODY = 64 << 20  # bytes
SAFE = ("GET", "HEAD", "OPTIONS")
ADMIN = ("/metrics", "/v1/feedback", "/v1/keys")  # need the scope admin
OPEN = ("/v1/session",)  # where the studio brings its key
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                               "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; "
                               "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

_VALID = select(keys.c.tenant, keys.c.scopes, keys.c.most_waiting, keys.c.most_daily, keys.c.most_bytes, keys.c.share,
                keys.c.name, keys.c.id).where(keys.c.hash == bindparam("hash"), keys.c.revoked_at.is_(None))
_REVOKED = select(keys.c.id).where(keys.c.id == bindparam("id"), keys.c.revoked_at.is_not(None))

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Caller:
    """Who calls."""

    tenant: str
    scopes: tuple[str, ...]
    most_waiting: int | None = None
    most_daily: int | None = None
    most_bytes: int | None = None
    share: int = 1
    name: str = ""  # of the key; rules of the policy may be for some keys only
    key: str = ""  # its id; "" where none is needed

    def limits(self, most_queued: int) -> Limits:
        """What the caller may have waiting."""
        return Limits(self.most_waiting, self.most_daily, self.most_bytes, most_queued, self.share)


def add_key(
    db: Database, name: str, *, tenant: str = "", scopes: Sequence[str] = ("read", "write"),
    most_waiting: int | None = None, most_daily: int | None = None, most_bytes: int | None = None, share: int = 1,
) -> tuple[str, str]:
    """Makes a key; returns its id and the secret, which is kept nowhere. tenant "": one of its own.
    share: how many turns it gets for one of another's, while both wait.

    Raises UserError for an unknown scope or a limit below 1.
    """
    if wrong := [scope for scope in scopes if scope not in SCOPES]:
        raise UserError(f"no such scope: {wrong[0][:40]!r}", f"one of {', '.join(SCOPES)}")
    if any(limit is not None and limit < 1 for limit in (most_waiting, most_daily, most_bytes, share)):
        raise UserError("a limit must be at least 1", "leave it out for none")
    if not 1 <= len(name) <= 80 or len(tenant) > 40:
        raise UserError("a key's name has 1 to 80 characters, a tenant's at most 40", "give a shorter one")
    secret, name_id = f"{OURS}{secrets.token_urlsafe(32)}", f"key_{secrets.token_hex(6)}"
    with db.write() as connection:
        connection.execute(insert(keys).values(
            id=name_id, hash=_hash(secret), tenant=tenant or name_id, name=name, scopes=list(scopes),
            most_waiting=most_waiting, most_daily=most_daily, most_bytes=most_bytes, share=share,
            created_at=db.clock))
    return name_id, secret


def revoke_key(db: Database, key: str) -> None:
    """Ends a key at once. Raises UserError when there is none of that id."""
    with db.write() as connection:
        if not connection.execute(update(keys).where(keys.c.id == key, keys.c.revoked_at.is_(None)).values(
                revoked_at=db.clock)).rowcount:
            raise UserError(f"no such key: {key[:40]!r}", "tenku keys list")


def all_keys(db: Database) -> list[dict[str, Any]]:
    """What is known of the keys, and the bytes that their tenants keep (`kept`); their secrets are not."""
    with db.read() as connection:
        rows = connection.execute(
            select(*(c for c in keys.c if c.name != "hash")).order_by(keys.c.created_at)).mappings().all()
        return [{**row, "kept": kept(connection, row["tenant"])} for row in rows]


def find_caller(db: Database, secret: str) -> Caller | None:
    """Whose key this is, if it is one and not revoked."""
    with db.read() as connection:
        row = connection.execute(_VALID, {"hash": _hash(secret)}).first()
    return None if row is None else Caller(row.tenant, tuple(row.scopes), *row[2:])


def still(db: Database, caller: Caller) -> None:
    """Raises ApiError where the key of a call was revoked since: for calls that last."""
    with db.read() as connection:
        if caller.key and connection.execute(_REVOKED, {"id": caller.key}).first():
            raise _no_key("Incorrect API key provided")


def _no_key(said: str, **headers: str) -> ApiError:
    return ApiError(401, said, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer", **headers})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Guard:
    """Wraps the application: request ids, Host and Origin, sizes, keys, and strict headers on every answer."""

    def __init__(self, app: App, *, db: Database, hosts: frozenset[str], needs_key: bool) -> None:
        """hosts: names by which the server may be called, lower case, without port."""
        self.app, self.db, self.hosts, self.needs_key = app, db, hosts, needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        name = f"req_{secrets.token_hex(12)}"
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}

        async def sealed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {key for key, _ in message["headers"]}
                extra = {**HEADERS, "x-request-id": name}
                if scope["path"].startswith("/v1/"):
                    extra["cache-control"] = "no-store"
                message["headers"] = [*message["headers"], *(
                    (key.encode(), value.encode()) for key, value in extra.items() if key.encode() not in own)]
            await send(message)

        try:
            _same_site(scope, headers, self.hosts)
            caller = await self._caller(scope, headers)
            scope.setdefault("state", {})["caller"] = caller
            await self.app(scope, _limited(receive, headers), sealed_send)
        except ApiError as error:
            await _answer(error, sealed_send)

    async def _caller(self, scope: Scope, headers: dict[str, str]) -> Caller | None:
        path = scope["path"]
        if not path.startswith(("/v1/", "/metrics")) and path != "/v1":
            return None
        if path in OPEN:
            return None
        brought = _brought(headers)
        if not self.needs_key and not brought.startswith(OURS):  # clients insist on some word where a key would be
            return Caller(LOCAL, SCOPES)
        caller = await run_in_threadpool(find_caller, self.db, brought) if brought else None
        if caller is None:
            said = "Incorrect API key provided" if brought else "You did not provide an API key"
            # A cookie goes with the key that it held, or a studio that needs none would be shut out by it for ever.
            gone = {} if not brought or headers.get("authorization") else {"Set-Cookie": FORGET}
            raise _no_key(said, **gone)
        needed = "admin" if path.startswith(ADMIN) else "read" if scope["method"] in SAFE else "write"
        if needed not in caller.scopes:
            raise ApiError(403, f"This key lacks the scope {needed!r}", code="insufficient_scope")
        return caller


def _brought(headers: dict[str, str]) -> str:
    """The key that a call brings, "" where it brings none; what is brought in another way is one that never holds."""
    said = headers.get("authorization", "").strip()
    if not said:
        return _cookie(headers.get("cookie", ""))
    kind, _, secret = said.partition(" ")
    return secret.strip() if kind.lower() == "bearer" else said


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same_site(scope: Scope, headers: dict[str, str], hosts: frozenset[str]) -> None:
    """Refuses calls under other names (a rebound DNS name) and writes that another site's page makes."""
    host = headers.get("host", "")
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        name = ""
    if name not in hosts:
        raise ApiError(421, "This server does not answer to that name", code="unknown_host")
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if scope["method"] not in SAFE and (foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site")):
        raise ApiError(403, "Calls from pages of other sites are refused", code="foreign_origin")


def _limited(receive: Receive, headers: dict[str, str]) -> Receive:
    """Refuses bodies that are too large, said or not."""
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise _too_large()
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise _too_large()
        return message

    return count


def _too_large() -> ApiError:
    return ApiError(413, f"The body may have at most {MAX_BODY >> 20} MiB", code="request_too_large")


async def _answer(error: ApiError, send: Send) -> None:
    body = json.dumps(error.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
